"""The command `gan1010`, whose subcommands are the programs of this room."""

import sys

from gan1010_jax.cli.process import start


def main(program: str | None = None) -> None:
    """Run the program of a name; without one, the first word of the command line is the name.

    It does not return.
    """
    start()
    from gan1010_jax.cli.commands import PROGRAMS, Check, Gan1010, Lab, Sweep, Train, Watch
    from gan1010_jax.cli.program import read, run

    word = next(iter(sys.argv[1:]), "")
    if program is not None:
        options = read(PROGRAMS[program])
    elif word in PROGRAMS:
        options = read(PROGRAMS[word], word)
    else:  # help, or a mistake
        options = read(Gan1010).program
    match options:  # JAX is imported now
        case Train():
            from gan1010_jax.cli.train import train as program
        case Watch():
            from gan1010_jax.cli.watch import watch as program
        case Lab():
            from gan1010_jax.cli.lab import lab as program
        case Sweep():
            from gan1010_jax.cli.sweep import sweep as program
        case Check():
            from gan1010_jax.cli.check import check as program
    run(program, options)
