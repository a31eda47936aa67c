"""The program `watch`: one GAN, replayed in a browser."""

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes

import gan1010_jax as gan
from gan1010_jax.checks import check_run, check_whole
from gan1010_jax.cli.options import MethodOptions, number, path
from gan1010_jax.cli.program import prepare_jax, say
from gan1010_jax.figures import make_page
from gan1010_jax.gan import seed_key
from gan1010_jax.population import MAX_SEED, write_file

_MAX_RECORDS = 1000  # a page of 1 MB for four bits, and of 3 MB for sixteen


@dataclass(frozen=True)
class Watch:
    """Watch one GAN learn: write a page for the browser that replays its training.

    The page shows both networks with their weights and activations, the output of G beside the real
    ranges, the belief of D, the losses, and the updates of a step one after the other. It is one
    file, and needs no network.
    """

    seed: Annotated[int, number("seed", int)] = 17
    """Which GAN to watch."""
    steps: Annotated[int, number("steps", int)] = 10_000
    """How many steps to train it; a multiple of --record-every."""
    record_every: Annotated[int, number("record_every", int)] = 10
    """How many steps from one picture to the next; there may be 1000 of them."""
    pattern: str = "1010"
    """The pattern to learn: 1 to 16 characters, each 0 or 1."""
    out: Annotated[Path, path("out")] = field(
        default_factory=lambda: Path("runs") / time.strftime("watch-%Y%m%d-%H%M%S.html")
    )
    """The page to write, a name that ends in .html. One that is there is replaced."""
    method: OmitArgPrefixes[MethodOptions] = field(default_factory=MethodOptions)


def watch(options: Watch) -> None:
    """Check every option, train, write the page."""
    prepare_jax()
    check_whole("seed", options.seed, 0, MAX_SEED)
    game, method = gan.pattern_game(options.pattern), options.method.method()
    setup = gan.Setup(game, method, options.method.hyperparams())
    check_run(setup, options.steps, options.record_every)
    least = -(-options.steps // _MAX_RECORDS)
    if options.record_every < least:
        allowed = (
            f"{least} or more for {options.steps} steps, since a page has {_MAX_RECORDS} records"
        )
        raise gan.InvalidArgument("record_every", options.record_every, allowed)
    _check_out(options.out)

    length = {"steps": options.steps, "record_every": options.record_every}
    say(f"training {options.steps:,} steps")
    trace = gan.train_traced(seed_key(options.seed), setup, **length)
    say("making the page")
    write_file(options.out, make_page(trace, options.seed, setup).encode())
    print(f"written to {options.out}: open it in a browser")


def _check_out(out: Path) -> None:
    """Reject the name of a file that cannot be written, or does not end in .html."""
    allowed = "the name of a file that ends in .html"
    try:
        if out.suffix != ".html" or out.is_dir():
            raise gan.InvalidArgument("out", str(out), allowed)
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=out.parent, prefix=f".{out.name}"):
            pass  # the page itself may be there already
    except OSError as error:
        allowed += f" and can be written ({error.strerror})"
        raise gan.InvalidArgument("out", str(out), allowed) from None
