"""The programs of the laboratory: each method's training as JavaScript, compressed.

One takes a second or more to print, so that processes of their own share them out.
"""

import base64
import itertools
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from gan1010_jax.engines import browser_program
from gan1010_jax.errors import InvalidArgument
from gan1010_jax.games import pattern_game
from gan1010_jax.gan import Setup, state_shapes
from gan1010_jax.methods import Method
from gan1010_jax.networks import activations

# A program is named by these parts of its method, with blanks between.
PARTS = ("objective", "penalty", "optimizer", "update_order")
_FEW = 3  # that take less time than to start processes


def program_name(method: Method) -> str:
    """The name of a method's program."""
    return " ".join(method.options[part] for part in PARTS)


def program_names(choices: Mapping[str, Sequence[str]]) -> list[str]:
    """The names of the programs of all methods that these parts can make.

    Raises:
      InvalidArgument: (a `ValueError`) for an objective that goes with none of the others.
    """
    found = []
    for objective in choices["objective"]:
        parts = [[objective], *(choices[part] for part in PARTS[1:])]
        names = [" ".join(names) for names in itertools.product(*parts)]
        made = [name for name in names if _is_method(name)]
        if not made:
            _named_method(names[0])  # raises, and says why
        found += made
    return found


def _is_method(name: str) -> bool:
    try:
        _named_method(name)
    except InvalidArgument:
        return False
    return True


def _named_method(name: str) -> Method:
    """The method of a program's name, in all else the reference.

    Raises:
      InvalidArgument: (a `ValueError`) for parts that do not go together.
    """
    return Method.from_options(**(Method().options | dict(zip(PARTS, name.split()))))


def named_setup(name: str, bits: int) -> Setup:
    """The setup of a program's name, for patterns of a length."""
    return Setup(pattern_game(("10" * 8)[:bits]), _named_method(name))


def print_programs(names: Sequence[str], bits: int) -> dict[str, str]:
    """Each program by its name, as `print_program` gives it."""
    if len(names) <= _FEW:
        return {name: print_program(named_setup(name, bits)) for name in names}
    path = os.pathsep.join(place or os.getcwd() for place in sys.path)
    command = [sys.executable, "-P", "-m", __name__, str(bits)]
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
            if process.returncode:
                raise RuntimeError(f"a process that prints programs ended: {process.returncode}")
            found |= json.loads(printed)
    return {name: found[name] for name in names}


def with_weight(setup: Setup) -> Setup:
    """A setup whose penalty, if it has one, has a weight that can be set."""
    if setup.method.penalty.name == "none" or setup.hyperparams.penalty_weight is not None:
        return setup
    return replace(setup, hyperparams=replace(setup.hyperparams, penalty_weight=1.0))


def print_program(setup: Setup) -> str:
    """A setup's program: JavaScript, deflated and in base64.

    The function `units` gives the activations of both networks:

        units(State, Sample, Units)     G's from the latent on, and D's on a sample, inputs first;
                                        D's last is its logit
    """
    setup = with_weight(setup)
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
    json.dump({name: print_program(named_setup(name, int(length))) for name in own}, sys.stdout)
