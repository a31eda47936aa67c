"""The command `gan1010`, whose subcommands are the programs of this room."""

from typing import NoReturn

from gan1010_jax.cli.check import Check, check
from gan1010_jax.cli.program import run
from gan1010_jax.cli.sweep import Sweep, sweep
from gan1010_jax.cli.train import Train, train
from gan1010_jax.cli.watch import Watch, watch

_PROGRAMS = {
    "train": (Train, train),
    "watch": (Watch, watch),
    "sweep": (Sweep, sweep),
    "check": (Check, check),
}


def main(program: str | None = None) -> NoReturn:
    """Run the program of a name; without one, the first word of the command line is the name."""
    if program is not None:
        run(*_PROGRAMS[program])
    programs = dict(_PROGRAMS.values())
    run(Train | Watch | Sweep | Check, lambda options: programs[type(options)](options))
