"""The program `train`: many GANs, and how often the generator converges."""

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Column, Table

import gan1010_jax as gan
from gan1010_jax import figures
from gan1010_jax.cli.commands import Train
from gan1010_jax.cli.options import MethodOptions, SeedOptions, check_given_with
from gan1010_jax.cli.program import (
    prepare_jax,
    progress_bar,
    say,
    says_how_to_go_on,
    split_command,
)
from gan1010_jax.convergence import OUTCOMES
from gan1010_jax.figures import start_painters
from gan1010_jax.methods import flags_of
from gan1010_jax.population import (
    decided_by_first,
    first_history,
    gather,
    is_first,
    join_processes,
    read_run,
    seed_range,
    write_file,
)

_CLUSTER = ("coordinator", "num_processes", "process_id")


def train(options: Train) -> None:
    """Check every option, train, write the results, print the table."""
    if options.resume is not None:
        options = _options_of(options.resume)
    figure, cluster = options.figure, options.cluster
    check_given_with(figure, {"movie": "animate"})
    check_given_with(cluster, dict.fromkeys(_CLUSTER, "distributed"))
    seeds = seed_range(options.run.seeds, options.run.first_seed)
    game, method = gan.pattern_game(options.pattern), options.method.method()
    out = options.out or Path("runs") / time.strftime("%Y%m%d-%H%M%S")
    if cluster.distributed:
        join_processes(cluster.coordinator, cluster.num_processes, cluster.process_id)
        first = gather(str(out))[0]
        out = options.out or Path(first)  # its time may differ among processes
    movie = figure.movie or "gif"
    if figure.animate:  # by the first process, which alone writes
        decided_by_first(lambda: figures.check_movie(movie))

    prepare_jax()
    lost: list[OSError] = []  # with standard output

    def finish(population: gan.Population, report: dict[str, Any]) -> None:
        showing.close()  # or what is printed would go to the bar
        try:
            _print_report(report)
            sys.stdout.flush()
        except OSError as error:
            lost.append(error)
        if figure.figures:
            say("drawing the figures")
            draw_files(out, population)
        if figure.animate:
            say("drawing the animation")
            history, seed = first_history(population), population.first_seed
            animation = figures.animate_run(history, seed, population.setup)
            path = out / "figures" / f"training.{movie}"
            write_file(path, figures.encode_animation(animation, movie))
        print(f"written to {out}")

    train_all = gan.train_share if cluster.distributed else gan.train_population
    with ExitStack() as drawing, says_how_to_go_on(out), ExitStack() as showing:
        if figure.figures and is_first():  # which alone draws
            draw_files = drawing.enter_context(start_painters(*figure.arguments()))
        train_all(
            seeds,
            gan.Setup(game, method, options.method.hyperparams()),
            **options.run.arguments(),
            out=out,
            repair=options.repair,
            progress=showing.enter_context(progress_bar()),
            finish=finish,
        )
    for error in lost:
        raise error


def _options_of(out: Path) -> Train:
    """The options of a run that was begun in a directory, but where the command line has others."""
    begun = read_run(out)
    hyperparams = vars(begun.setup.hyperparams).items()
    numbers = {name: None if value is None else float(value) for name, value in hyperparams}
    names = ("seeds", "first_seed", "steps", "record_every", "engine", "chunk")
    default = Train(
        pattern=begun.setup.game.name,
        out=out,
        run=SeedOptions(**{name: getattr(begun, name) for name in names}),
        method=MethodOptions(**begun.setup.method.options, **numbers),
    )
    options = tyro.cli(Train, args=split_command()[1], default=default)
    if options.out != out:
        raise gan.InvalidArgument("out", str(options.out), "left out with --resume")
    return options


def _print_report(report: dict[str, Any]) -> None:
    """Print the report as three tables on standard output."""
    digits = max(2, len(str(report["seeds"])) - 3)  # as precise as the interval

    def show(row: dict[str, Any]) -> list[str]:
        fraction, low, high = (
            f"{row[key]:.{digits}%}" for key in ("fraction", "ci_low", "ci_high")
        )
        return [fraction, f"{low} – {high}"]

    def right(*names: str) -> list[Column]:
        return [Column(name, justify="right") for name in names]

    outcomes = Table(
        f"{report['seeds']:,} GANs, {report['steps']:,} steps each",
        *right("seeds", "fraction", "95 % interval"),
        title=f"How often the generator converges to {report['game']}",
    )
    for name in OUTCOMES:
        row = report[name]
        outcomes.add_row(name.replace("_", " "), f"{row['count']:,}", *show(row))

    names = right("after step", "matched", "95 % interval", "in support", "95 % interval")
    over_training = Table(*names)
    for record in report["over_training"]:
        cells = show(record["matched"]) + show(record["in_support"])
        over_training.add_row(f"{record['step']:,}", *cells)

    settled = report["settled_step"] or {}
    quantiles = " / ".join(f"{step:,}" for step in settled.values())
    facts = Table.grid(padding=(0, 2))
    facts.add_row("settling step, 5 / 50 / 95 %", quantiles or "none settled")
    if report["seed_steps_per_second"]:
        wall, compiling = report["wall_seconds"], report["compile_seconds"]
        facts.add_row("training", f"{wall:.1f} s, {compiling:.1f} s of it compiling")
        facts.add_row("seed-steps per second", f"{report['seed_steps_per_second']:,.0f}")
    others = flags_of(report["method"] | report["hyperparams"])
    facts.add_row("method", " ".join(others) or "the reference")
    facts.add_row("device", f"{report['device']}, engine {report['engine']}")

    console = Console(highlight=False, markup=False)
    console.print(outcomes)
    console.print(over_training)
    console.print(facts, soft_wrap=True)
