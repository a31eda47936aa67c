"""The program `watch`: one GAN, replayed in a browser."""

import tempfile
from pathlib import Path

import gan1010_jax as gan
from gan1010_jax.checks import check_run, check_whole
from gan1010_jax.cli.commands import Watch
from gan1010_jax.cli.program import prepare_jax, say
from gan1010_jax.figures import make_page
from gan1010_jax.gan import seed_key
from gan1010_jax.population import MAX_SEED, write_file

_MAX_RECORDS = 1000  # a page of 1 MB for four bits, and of 3 MB for sixteen


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
