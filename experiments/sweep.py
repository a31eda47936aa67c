"""Where does a method converge? A grid over one or two hyperparameters, every cell many seeds."""

import dataclasses
import shlex
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.table import Column, Table

import gan1010_jax as gan
from gan1010_jax import store
from gan1010_jax.checks import check_run
from gan1010_jax.command_line import (
    MethodOptions,
    check_given_with,
    keep_compiled_programs,
    number,
    progress_bar,
    run,
)
from gan1010_jax.diagrams import plot_phase_diagram
from gan1010_jax.methods import (
    HYPERPARAMS,
    OBJECTIVES,
    PENALTIES,
    PENALTY_NUMBERS,
    allowed_values,
    is_allowed,
)
from gan1010_jax.population import seed_range
from gan1010_jax.tables import make_table

CELLS = "cells.parquet"
MAX_VALUES = 10_000
AXIS = (
    "NAME=log:LOW:HIGH:COUNT, NAME=linear:LOW:HIGH:COUNT or NAME=VALUE,VALUE,…, where NAME is one "
    f"of {', '.join(HYPERPARAMS)}"
)


@dataclass(frozen=True)
class Sweep:
    """Train every cell of a grid over one or two hyperparameters, each with many seeds.

    All cells of a method are one population of one compiled program. Writes a directory for each
    method, such as experiments/train.py does, with a row for each seed and cell; cells.parquet, a
    row for each method and cell; and figures/phase_diagram.png.
    """

    x: str
    """The horizontal axis: d_lr=log:1e-3:1:31 for 31 values from 0.001 to 1 that grow by the same
    factor, d_lr=linear:0:0.1:11 for the same step, or d_lr=0.01,0.02,0.05 for a list."""
    y: str | None = None
    """The vertical axis, likewise; else there is none."""
    methods: str | None = None
    """What to compare: objectives with commas between, each with a penalty if it needs one, as in
    mse,nonsaturating,nonsaturating+r1; else --objective with --penalty. A number that a penalty
    does not use is left out for it."""
    seeds: Annotated[int, number("seeds", int)] = 256
    """How many GANs to train in each cell, each from its own seed."""
    first_seed: Annotated[int, number("first_seed", int)] = 0
    """The first seed; the others follow it."""
    steps: Annotated[int, number("steps", int)] = 10_000
    """How many steps to train each; a multiple of --record-every."""
    record_every: Annotated[int, number("record_every", int)] = 10
    """How many steps from one record to the next."""
    game: str = "1010"
    """What to learn: 1 to 16 characters, each 0 or 1; or dirac, the Dirac-GAN."""
    engine: str = "auto"
    """How the seeds are run: vmap, fused, pallas, or auto for the fastest that this machine has."""
    workers: Annotated[int | None, number("workers", int)] = None
    """How many blocks of seeds run at a time; else one on each core, or two on an accelerator."""
    out: Path | None = None
    """Where to write: a new or empty directory; else runs/sweep-<the time>."""
    chunk: Annotated[int | None, number("chunk", int)] = None
    """How many GANs are written, and resumed, as one unit; else 8192 (more on accelerators)."""
    resume: bool = False
    """Go on with what is in --out, with the same options, or more --seeds or --methods."""
    repair: bool = False
    """With --resume: move damaged files to set-aside/, and train their seeds again."""
    method: tyro.conf.OmitArgPrefixes[MethodOptions] = MethodOptions()


def main(options: Sweep) -> None:
    """Check every option, train every method's grid, write the results, print the best cells."""
    axes = [parse_axis("x", options.x)]
    if options.y is not None:
        axes.append(parse_axis("y", options.y))
    names, grid = [name for name, _ in axes], dict(axes)
    if len(grid) < len(axes):
        allowed = f"another hyperparameter than {names[0]}, that of --x"
        raise gan.InvalidArgument("y", options.y, allowed)
    game, methods = choose_game(options.game), choose_methods(options)
    seeds = seed_range(options.seeds, options.first_seed)
    for method, hyperparams in methods.values():
        varied = dataclasses.replace(hyperparams, **{name: grid[name][0] for name in names})
        check_run(game, method, varied, options.steps, options.record_every)
    out = options.out or Path("runs") / time.strftime("sweep-%Y%m%d-%H%M%S")
    check_begun(options, out, methods)

    keep_compiled_programs()
    tables = {}
    try:
        with store.claim(out, options.resume):
            for name, (method, hyperparams) in methods.items():
                begun = options.resume and (out / name).exists()
                with progress_bar() as progress:
                    population = gan.train_population(
                        seeds,
                        game,
                        method,
                        hyperparams,
                        steps=options.steps,
                        record_every=options.record_every,
                        grid=grid,
                        engine=options.engine,
                        workers=options.workers,
                        chunk=options.chunk,
                        out=out / name,
                        resume=begun,
                        repair=begun and options.repair,
                        progress=progress,
                    )
                tables[name] = gan.tabulate_cells(population)
            everything = {
                "method": np.repeat([*tables], [len(table["seeds"]) for table in tables.values()]),
                **{key: np.concatenate([t[key] for t in tables.values()]) for key in tables[name]},
            }
            store.write_table(out / CELLS, make_table(everything))
            figure = plot_phase_diagram(tables, *names)
            store.write_figures(out, {"phase_diagram": figure})
    except (KeyboardInterrupt, OSError) as error:
        error.add_note(f"to go on: {command_to_go_on(out)}")
        raise
    print_best(tables, names, out)


def check_begun(options: Sweep, out: Path, methods: Iterable[str]) -> None:
    """Refuse to go on with what is no sweep, or to leave methods of it behind."""
    check_given_with(options, {"resume": "out", "repair": "resume"})
    if options.resume:
        begun = {path.parent.name for path in out.glob(f"*/{store.MANIFEST}")}
        if not begun:
            allowed = "a directory that a sweep was begun in, with --resume"
            raise gan.InvalidArgument("out", str(out), allowed)
        if not begun <= set(methods):
            allowed = f"at least those begun in {out}, {','.join(sorted(begun))}"
            raise gan.InvalidArgument("methods", ",".join(methods), allowed)


def parse_axis(option: str, text: str) -> tuple[str, np.ndarray]:
    """A hyperparameter's name and its values, of six digits, from a command line."""
    refusal = gan.InvalidArgument(option, text, AXIS)
    name, _, values = text.partition("=")
    kind, *rest = values.split(":")
    try:
        if kind in ("log", "linear"):
            low, high, count = float(rest[0]), float(rest[1]), int(rest[2])
            positive = low > 0 and high > 0 if kind == "log" else True
            if len(rest) != 3 or not 1 <= count <= MAX_VALUES or not positive:
                raise refusal
            space = np.geomspace if kind == "log" else np.linspace
            numbers = space(low, high, count) if np.isfinite([low, high]).all() else [np.nan]
        else:
            numbers = [float(value) for value in values.split(",")]
    except (ValueError, IndexError):
        raise refusal from None
    if name not in HYPERPARAMS:
        raise refusal
    if not np.all(is_allowed(name, np.asarray(numbers))):
        allowed = allowed_values(name).removesuffix(", or None")
        raise gan.InvalidArgument(option, text, f"a list of values for {name}, each {allowed}")
    return name, np.unique([float(f"{value:.6g}") for value in numbers])


def choose_game(name: str) -> gan.Game:
    """A game by its name."""
    if name == "dirac":
        return gan.dirac_game()
    try:
        return gan.pattern_game(name)
    except gan.InvalidArgument as error:
        raise gan.InvalidArgument("game", name, f"dirac, or {error.allowed}") from None


def choose_methods(options: Sweep) -> dict[str, tuple[gan.Method, gan.Hyperparams]]:
    """Each method and its numbers, by the name of its directory."""
    names = [(options.method.objective, options.method.penalty)]
    if options.methods is not None:
        for name in ("objective", "penalty"):
            value = getattr(options.method, name)
            if value != getattr(MethodOptions, name):
                raise gan.InvalidArgument(name, value, "left out with --methods")
        names = [text.partition("+")[::2] for text in options.methods.split(",")]
        if any(
            first not in OBJECTIVES or (second or "none") not in PENALTIES
            for first, second in names
        ):
            allowed = (
                f"some of {', '.join(OBJECTIVES)}, with commas between, each with a penalty if "
            )
            allowed += f"it needs one, as in mse+r1: {', '.join(PENALTIES)}"
            raise gan.InvalidArgument("methods", options.methods, allowed)
    chosen = {}
    for objective, penalty in names:
        one = dataclasses.replace(options.method, objective=objective, penalty=penalty or "none")
        method, numbers = one.method(), vars(one.hyperparams())
        if options.methods is not None:
            unused = set(PENALTY_NUMBERS) - set(method.penalty.numbers)
            numbers |= dict.fromkeys(unused)
        name = objective if method.penalty.name == "none" else f"{objective}+{penalty}"
        chosen[name] = method, gan.Hyperparams(**numbers)
    return chosen


def command_to_go_on(out: Path) -> str:
    """The command that resumes a sweep."""
    command = ["python", *(argument for argument in sys.argv if argument != "--resume")]
    if not any(argument.split("=")[0] == "--out" for argument in command):
        command += ["--out", str(out)]
    return shlex.join([*command, "--resume"])


def print_best(tables: dict[str, dict[str, np.ndarray]], names: list[str], out: Path) -> None:
    """Print each method's best cell on standard output."""
    titles = (*names, "matched", "in\nsupport", "settling,\n50 %", "cells ≥ 99 %\nmatched")
    best = Table(
        Column("method", no_wrap=True),
        *(Column(title, justify="right", no_wrap=True) for title in titles),
        title="The cell with the most seeds in support",
    )
    for method, table in tables.items():
        cell = np.lexsort((table["matched_fraction"], table["in_support_fraction"]))[-1]
        settled = table["settled_p50"][cell]
        good = table["matched_fraction"] >= 0.99
        best.add_row(
            method,
            *(f"{table[name][cell]:.6g}" for name in names),
            *(f"{table[f'{key}_fraction'][cell]:.1%}" for key in ("matched", "in_support")),
            "none" if settled < 0 else f"{settled:,}",
            f"{good.sum():,} / {good.size:,}",
        )
    console = Console(highlight=False, markup=False)
    console.print(best)
    console.print(f"written to {out}", soft_wrap=True)


if __name__ == "__main__":
    run(Sweep, main)
