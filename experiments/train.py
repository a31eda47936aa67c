"""Train many 1010-GANs and say how often the generator converges to 1010."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from rich.console import Console
from rich.table import Column, Table

import gan1010_jax as gan
from gan1010_jax import store
from gan1010_jax.command_line import keep_compiled_programs, number, progress_bar, run
from gan1010_jax.engines import choose_engine
from gan1010_jax.plotting import plot_population
from gan1010_jax.population import seed_range
from gan1010_jax.training import as_floats, check_run


@dataclass(frozen=True)
class Train:
    """Train many 1010-GANs and say how often the generator converges to 1010.

    Writes a directory: report.json (the numbers of the table printed at the end),
    population/part-0.parquet (one row per seed) and figures/*.png.

    Compiled programs are kept in the user's cache directory, so that a second run starts sooner;
    set JAX_COMPILATION_CACHE_DIR for another place, JAX_ENABLE_COMPILATION_CACHE=false for none.
    """

    seeds: Annotated[int, number("seeds", int)] = 64
    """How many GANs to train, each from its own seed."""
    first_seed: Annotated[int, number("first_seed", int)] = 0
    """The first seed; the others follow it, up to 4294967295."""
    steps: Annotated[int, number("steps", int)] = 10_000
    """How many steps to train each; a multiple of --record-every."""
    record_every: Annotated[int, number("record_every", int)] = 10
    """How many steps from one record of output and losses to the next."""
    pattern: str = "1010"
    """What to learn: 1 to 16 characters, each 0 or 1."""
    d_lr: Annotated[float, number("d_lr", float)] = 0.01
    """The discriminator's learning rate, zero or more."""
    g_lr: Annotated[float, number("g_lr", float)] = 0.01
    """The generator's learning rate, zero or more."""
    engine: str = "auto"
    """How the seeds are run: vmap, fused, pallas, or auto for the fastest that this machine has."""
    out: Path = field(default_factory=lambda: Path("runs") / time.strftime("%Y%m%d-%H%M%S"))
    """Where to write: a new or empty directory."""
    figures: bool = True
    """Whether to draw the figures."""


def main(options: Train) -> None:
    """Check every option, train, write the results, print the table."""
    seeds = seed_range(options.seeds, options.first_seed)
    game = gan.pattern_game(options.pattern)
    hyperparams = gan.Hyperparams(d_lr=options.d_lr, g_lr=options.g_lr)
    as_floats(hyperparams)
    check_run(game, gan.Method(), hyperparams, options.steps, options.record_every)
    choose_engine(options.engine)

    with store.new_run(options.out):
        keep_compiled_programs()
        with progress_bar(len(seeds)) as progress:
            population = gan.train_population(
                seeds,
                game,
                hyperparams=hyperparams,
                steps=options.steps,
                record_every=options.record_every,
                engine=options.engine,
                progress=progress,
            )
        store.write_population(options.out, population.columns)
        if options.figures:
            store.write_figures(options.out, plot_population(population))
        report = gan.convergence_report(population)
        store.write_report(options.out, report)
    print_report(report, options.out)


def print_report(report: dict, out: Path) -> None:
    """Print the report as two tables on standard output."""
    outcomes = Table(
        f"{report['seeds']:,} GANs, {report['steps']:,} steps each",
        Column("seeds", justify="right"),
        Column("fraction", justify="right"),
        Column("95 % interval", justify="right"),
        title=f"How often the generator converges to {report['game']}",
    )
    for name in ("matched", "in_support", "forgot", "diverged"):
        row = report[name]
        interval = f"{row['ci_low']:.2%} – {row['ci_high']:.2%}"
        outcomes.add_row(
            name.replace("_", " "), f"{row['count']:,}", f"{row['fraction']:.2%}", interval
        )

    settled = report["settled_step"] or {}
    quantiles = " / ".join(f"{step:,}" for step in settled.values())
    facts = Table.grid(padding=(0, 2))
    facts.add_row("settling step, 5 / 50 / 95 %", quantiles or "none settled")
    facts.add_row(
        "training",
        f"{report['wall_seconds']:.1f} s, {report['compile_seconds']:.1f} s of it compiling",
    )
    facts.add_row("seed-steps per second", f"{report['seed_steps_per_second']:,.0f}")
    facts.add_row("device", f"{report['device']}, engine {report['engine']}")
    facts.add_row("written to", str(out))

    console = Console(highlight=False, markup=False)
    console.print(outcomes)
    console.print(facts, soft_wrap=True)


if __name__ == "__main__":
    run(Train, main)
