"""Train many 1010-GANs and say how often the generator converges to 1010."""

import dataclasses
import shlex
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Column, Table

import gan1010_jax as gan
from gan1010_jax import store
from gan1010_jax.animation import animate_run, check_movie, encode
from gan1010_jax.command_line import (
    MethodOptions,
    check_given_with,
    keep_compiled_programs,
    method_options,
    number,
    progress_bar,
    run,
)
from gan1010_jax.convergence import OUTCOMES, list_options
from gan1010_jax.manifest import recognize_method
from gan1010_jax.plotting import plot_population
from gan1010_jax.population import first_history, seed_range
from gan1010_jax.processes import decided_by_first, is_first, join_processes

NEEDED = {
    "repair": "resume",
    "movie": "animate",
    "coordinator": "distributed",
    "num_processes": "distributed",
    "process_id": "distributed",
}


@dataclass(frozen=True)
class Train:
    """Train many 1010-GANs and say how often the generator converges to 1010.

    Writes a directory: manifest.json (what is run), population/ (Parquet, one row per seed),
    curves/ and histories/ (how it went over training), report.json (the numbers of the table
    printed at the end) and figures/*.png. What is finished is on disk at once: a run that was
    interrupted, or killed, goes on with --resume. So does one that is finished, to draw its figures
    again, or with --animate an animation of its first seed.

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
    engine: str = "auto"
    """How the seeds are run: vmap, fused, pallas, or auto for the fastest that this machine has."""
    workers: Annotated[int | None, number("workers", int)] = None
    """How many blocks of seeds run at a time; else one on each core, or two on an accelerator."""
    chunk: Annotated[int | None, number("chunk", int)] = None
    """How many seeds are written, and resumed, as one unit; else 8192 (more on accelerators)."""
    out: Path = field(default_factory=lambda: Path("runs") / time.strftime("%Y%m%d-%H%M%S"))
    """Where to write: a new or empty directory."""
    resume: Path | None = None
    """A directory to go on with. It knows its options; --seeds may be larger than before."""
    repair: bool = False
    """With --resume: move damaged files to set-aside/, and train their seeds again."""
    figures: bool = True
    """Whether to draw the figures."""
    animate: bool = False
    """Animate the first seed, its output and its losses over training, for slides:
    figures/training.gif, also with --no-figures."""
    movie: str | None = None
    """With --animate: gif, or mp4, which takes ffmpeg and makes figures/training.mp4; else gif."""
    distributed: bool = False
    """Share the work with other processes, started alike under SLURM, MPI, Kubernetes or on a TPU
    pod; elsewhere, with the next three options. All must see the same directory."""
    coordinator: str | None = None
    """With --distributed: HOST:PORT of process 0, with a free port."""
    num_processes: Annotated[int | None, number("num_processes", int)] = None
    """With --distributed: how many processes there are."""
    process_id: Annotated[int | None, number("process_id", int)] = None
    """With --distributed: which one this is, from 0."""
    method: tyro.conf.OmitArgPrefixes[MethodOptions] = MethodOptions()


def main(options: Train) -> None:
    """Check every option, train, write the results, print the table."""
    if options.resume is not None:
        options = go_on(options.resume)
    check_given_with(options, NEEDED)
    seeds = seed_range(options.seeds, options.first_seed)
    game, method = gan.pattern_game(options.pattern), options.method.method()
    if options.distributed:
        join_processes(options.coordinator, options.num_processes, options.process_id)
        # The default's time of day may be another in each process.
        out = decided_by_first(lambda: str(options.out))
        options = dataclasses.replace(options, out=Path(out))
    movie = "gif" if options.movie is None else options.movie
    if options.animate:  # by the first process, which alone writes
        decided_by_first(lambda: check_movie(movie))

    keep_compiled_programs()
    try:
        with progress_bar() as progress:
            population = gan.train_population(
                seeds,
                game,
                method,
                options.method.hyperparams(),
                steps=options.steps,
                record_every=options.record_every,
                engine=options.engine,
                workers=options.workers,
                chunk=options.chunk,
                out=options.out,
                resume=options.resume is not None,
                repair=options.repair,
                progress=progress,
            )
        if not is_first():
            return
        if options.figures:
            store.write_figures(options.out, plot_population(population))
        if options.animate:
            animation = animate_run(
                first_history(population),
                population.game,
                population.method,
                population.first_seed,
            )
            store.write_file(
                options.out / "figures" / f"training.{movie}", encode(animation, movie)
            )
    except gan.BadFile as error:
        if error.path.parent.name in store.TABLES:
            error.add_note(f"{command_to_go_on(options)} --repair trains its seeds again")
        raise
    except (KeyboardInterrupt, OSError, gan.UnfinishedRun) as error:
        if not store.is_begun(options.out):
            error.add_note("nothing is kept")
        elif is_first() or isinstance(error, KeyboardInterrupt):
            error.add_note(f"to go on: {command_to_go_on(options)}")
        raise
    print_report(gan.convergence_report(population), options.out)


def go_on(out: Path) -> Train:
    """The options of a run that was begun in a directory, but where the command line has others."""
    manifest = store.read_manifest(out)
    begun = manifest["configuration"]
    default = Train(
        seeds=manifest["seeds"],
        first_seed=begun["first_seed"],
        steps=begun["steps"],
        record_every=begun["record_every"],
        pattern=begun["game"]["name"],
        engine=begun["engine"],
        chunk=manifest["chunk"],
        out=out,
        method=method_options(
            recognize_method(begun, None), gan.Hyperparams(**begun["hyperparams"])
        ),
    )
    options = tyro.cli(Train, default=default)
    if options.out != out:
        raise gan.InvalidArgument("out", str(options.out), "left out with --resume")
    return options


def command_to_go_on(options: Train) -> str:
    """The command that resumes a run."""
    command = ["python", sys.argv[0], "--resume", str(options.out)]
    for flag, given in (
        ("--no-figures", not options.figures),
        ("--animate", options.animate),
        ("--distributed", options.distributed),
    ):
        if given:
            command.append(flag)
    for name in ("movie", "coordinator", "num_processes", "process_id"):
        value = getattr(options, name)
        if value is not None:
            command += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(command)


def print_report(report: dict, out: Path) -> None:
    """Print the report as three tables on standard output."""
    digits = max(2, len(str(report["seeds"])) - 3)  # as many as the interval is wide

    def show(row: dict) -> tuple[str, str]:
        fraction, low, high = (
            f"{row[key]:.{digits}%}" for key in ("fraction", "ci_low", "ci_high")
        )
        return fraction, f"{low} – {high}"

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
        cells = [*show(record["matched"]), *show(record["in_support"])]
        over_training.add_row(f"{record['step']:,}", *cells)

    settled = report["settled_step"] or {}
    quantiles = " / ".join(f"{step:,}" for step in settled.values())
    facts = Table.grid(padding=(0, 2))
    facts.add_row("settling step, 5 / 50 / 95 %", quantiles or "none settled")
    if report["seed_steps_per_second"]:
        wall, compiling = report["wall_seconds"], report["compile_seconds"]
        facts.add_row("training", f"{wall:.1f} s, {compiling:.1f} s of it compiling")
        facts.add_row("seed-steps per second", f"{report['seed_steps_per_second']:,.0f}")
    others = list_options(report["method"] | report["hyperparams"])
    facts.add_row("method", " ".join(others) or "the reference")
    facts.add_row("device", f"{report['device']}, engine {report['engine']}")
    facts.add_row("written to", str(out))

    console = Console(highlight=False, markup=False)
    console.print(outcomes)
    console.print(over_training)
    console.print(facts, soft_wrap=True)


if __name__ == "__main__":
    run(Train, main)
