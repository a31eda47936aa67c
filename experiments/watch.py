"""Watch one GAN learn: a page for the browser that replays its training, step by step."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import jax
import tyro
from rich.console import Console

import gan1010_jax as gan
from gan1010_jax import store
from gan1010_jax.checks import check_run, check_whole
from gan1010_jax.command_line import MethodOptions, keep_compiled_programs, number, run
from gan1010_jax.page import make_page
from gan1010_jax.population import MAX_SEED

MAX_RECORDS = 1000  # a page of 1 MB for four bits, and of 3 MB for sixteen


@dataclass(frozen=True)
class Watch:
    """Watch one GAN learn: write a page for the browser that replays its training.

    The page shows both networks with their weights and activations, what G makes beside the real
    ranges, what D believes, the losses, and the updates of a step one after the other. It is one
    file, and needs no network.
    """

    seed: Annotated[int, number("seed", int)] = 17
    """Which GAN to watch."""
    steps: Annotated[int, number("steps", int)] = 10_000
    """How many steps to train it; a multiple of --record-every."""
    record_every: Annotated[int, number("record_every", int)] = 10
    """How many steps from one picture to the next; there may be 1000 of them."""
    pattern: str = "1010"
    """What to learn: 1 to 16 characters, each 0 or 1."""
    out: Path = field(
        default_factory=lambda: Path("runs") / time.strftime("watch-%Y%m%d-%H%M%S.html")
    )
    """The page to write, a name that ends in .html. One that is there is replaced."""
    method: tyro.conf.OmitArgPrefixes[MethodOptions] = MethodOptions()


def main(options: Watch) -> None:
    """Check every option, train, write the page."""
    check_whole("seed", options.seed, 0, MAX_SEED)
    game, method = gan.pattern_game(options.pattern), options.method.method()
    hyperparams = options.method.hyperparams()
    check_run(game, method, hyperparams, options.steps, options.record_every)
    least = -(-options.steps // MAX_RECORDS)
    if options.record_every < least:
        allowed = (
            f"{least} or more for {options.steps} steps, since a page has {MAX_RECORDS} records"
        )
        raise gan.InvalidArgument("record_every", options.record_every, allowed)
    if options.out.suffix != ".html" or options.out.is_dir():
        raise gan.InvalidArgument("out", str(options.out), "the name of a file that ends in .html")
    options.out.parent.mkdir(parents=True, exist_ok=True)

    keep_compiled_programs()
    film = gan.watch(
        jax.random.key(options.seed),
        game,
        method,
        hyperparams,
        steps=options.steps,
        record_every=options.record_every,
    )
    page = make_page(film, options.seed, game, method, hyperparams)
    store.write_file(options.out, page.encode())
    console = Console(highlight=False, markup=False)
    console.print(f"written to {options.out}: open it in a browser", soft_wrap=True)


if __name__ == "__main__":
    run(Watch, main)
