"""The command `gan1010`, whose subcommands are the programs of this room."""

from gan1010_jax.cli.process import start


def main(program: str | None = None) -> None:
    """Run the program of a name; without one, the first word of the command line is the name.

    It does not return.
    """
    start()
    from gan1010_jax.cli.check import Check, check
    from gan1010_jax.cli.program import run
    from gan1010_jax.cli.sweep import Sweep, sweep
    from gan1010_jax.cli.train import Train, train
    from gan1010_jax.cli.watch import Watch, watch

    programs = {
        "train": (Train, train),
        "watch": (Watch, watch),
        "sweep": (Sweep, sweep),
        "check": (Check, check),
    }
    if program is not None:
        run(*programs[program])
    mains = dict(programs.values())
    run(Train | Watch | Sweep | Check, lambda options: mains[type(options)](options))
