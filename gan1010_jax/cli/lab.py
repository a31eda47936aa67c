"""The program `lab`: the laboratory, a page on which 64 GANs train in the browser."""

from gan1010_jax.cli.commands import Lab
from gan1010_jax.cli.options import check_page_file
from gan1010_jax.cli.program import prepare_jax, say
from gan1010_jax.laboratory import check_laboratory, make_laboratory
from gan1010_jax.population import write_file


def lab(options: Lab) -> None:
    """Check every option, print the programs, write the page."""
    prepare_jax()
    names = ("objectives", "optimizers", "update_orders")
    parts = {name: getattr(options, name).split(",") for name in names}
    check_laboratory(**parts, bits=options.bits)
    check_page_file(options.out)
    say("printing the programs")
    page = make_laboratory(**parts, bits=options.bits)
    write_file(options.out, page.encode())
    print(f"written to {options.out}: open it in a browser")
