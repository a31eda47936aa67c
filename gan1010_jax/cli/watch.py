"""The program `watch`: one GAN, training in a browser."""

import gan1010_jax as gan
from gan1010_jax.cli.commands import Watch
from gan1010_jax.cli.options import check_page_file
from gan1010_jax.cli.program import prepare_jax, say
from gan1010_jax.laboratory import check_watch_page, make_watch_page
from gan1010_jax.population import write_file


def watch(options: Watch) -> None:
    """Check every option, print the program, write the page."""
    prepare_jax()
    setup = gan.Setup(
        gan.pattern_game(options.pattern), options.method.method(), options.method.hyperparams()
    )
    check_watch_page(options.seed, options.steps)
    check_page_file(options.out)
    say("making the page")
    page = make_watch_page(setup, options.seed, options.steps)
    write_file(options.out, page.encode())
    print(f"written to {options.out}: open it in a browser")
