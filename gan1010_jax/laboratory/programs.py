"""The programs of the laboratory: each method's training as JavaScript, compressed.

One takes a second or more to print, so that processes of their own share them out.
"""

import base64
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Sequence
from contextlib import ExitStack

from gan1010_jax.engines import browser_program
from gan1010_jax.games import pattern_game
from gan1010_jax.gan import Setup, state_shapes
from gan1010_jax.methods import Hyperparams, Method
from gan1010_jax.networks import activations

# A program is named by these parts of its method, with blanks between.
PARTS = ("objective", "penalty", "optimizer", "update_order")
_FEW = 3  # that take less time than to start processes


def _program_setup(name: str, units: int) -> Setup:
    """The setup of a program, which is for all patterns of a length."""
    parts = dict(zip(PARTS, name.split()))
    method = Method.from_options(**(Method().options | parts))
    weight = None if parts["penalty"] == "none" else 1.0
    return Setup(pattern_game(("10" * 8)[:units]), method, Hyperparams(penalty_weight=weight))


def print_programs(names: Sequence[str], units: int) -> dict[str, str]:
    """Each program by its name: JavaScript, deflated and in base64."""
    if len(names) <= _FEW:
        return {name: _print_program(name, units) for name in names}
    path = os.pathsep.join(place or os.getcwd() for place in sys.path)
    command = [sys.executable, "-P", "-m", __name__, str(units)]
    processes, found = os.cpu_count() or 1, {}
    with ExitStack() as ending:
        printing = [
            ending.enter_context(
                subprocess.Popen(
                    [*command, *names[first::processes]],
                    env=os.environ | {"PYTHONPATH": path},
                    stdout=subprocess.PIPE,
                )
            )
            for first in range(min(processes, len(names)))
        ]
        for process in printing:
            ending.callback(process.kill)
        for process in printing:
            printed, _ = process.communicate()
            found |= json.loads(printed)
    return {name: found[name] for name in names}


def _print_program(name: str, units: int) -> str:
    """A program, whose function `units` gives the activations of both networks.

    units(State, Sample, Units)     G's from the latent on, and D's on a sample, inputs first;
                                    D's last is its logit
    """
    setup = _program_setup(name, units)
    game = setup.game

    def both(state, sample):
        g, d = state.generator.params, state.discriminator.params
        return {
            "generator": activations(game.generator, g, game.latent.center),
            "discriminator": activations(game.discriminator, d, sample),
        }

    text = browser_program(setup, {"units": (both, (state_shapes(setup), game.real.center))})
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


if __name__ == "__main__":
    length, *own = sys.argv[1:]
    json.dump({name: _print_program(name, int(length)) for name in own}, sys.stdout)
