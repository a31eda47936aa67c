"""The program `watch`: one GAN, replayed in a browser."""

import gan1010_jax as gan
from gan1010_jax.checks import check_run, check_whole
from gan1010_jax.cli.commands import Watch
from gan1010_jax.cli.options import check_page_file
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
    check_page_file(options.out)

    length = {"steps": options.steps, "record_every": options.record_every}
    say(f"training {options.steps:,} steps")
    trace = gan.train_traced(seed_key(options.seed), setup, **length)
    say("making the page")
    write_file(options.out, make_page(trace, options.seed, setup).encode())
    print(f"written to {options.out}: open it in a browser")
