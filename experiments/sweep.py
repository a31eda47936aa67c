"""Where does a method converge? A grid over one or two hyperparameters, every cell many seeds."""

import dataclasses
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.table import Column, Table

import gan1010_jax as gan
from gan1010_jax import store
from gan1010_jax.command_line import (
    MethodOptions,
    keep_compiled_programs,
    number,
    progress_bar,
    run,
)
from gan1010_jax.diagrams import plot_phase_diagram
from gan1010_jax.methods import HYPERPARAMS, PENALTIES
from gan1010_jax.population import seed_range
from gan1010_jax.tables import make_table

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
    mse,nonsaturating,nonsaturating+r1; else --objective with --penalty."""
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
    resume: bool = False
    """Go on with what is in --out, with the same options, or more --seeds."""
    method: tyro.conf.OmitArgPrefixes[MethodOptions] = MethodOptions()


def main(options: Sweep) -> None:
    """Check every option, train every method's grid, write the results, print the best cells."""
    x, y = (axis and parse_axis(name, axis) for name, axis in (("x", options.x), ("y", options.y)))
    axes = [x, y] if y else [x]
    if y and x[0] == y[0]:
        raise gan.InvalidArgument(
            "y", options.y, f"another hyperparameter than {x[0]}, that of --x"
        )
    game = gan.dirac_game() if options.game == "dirac" else gan.pattern_game(options.game)
    seeds = seed_range(options.seeds, options.first_seed)
    methods = {name: choice.method() for name, choice in choose_methods(options).items()}
    if options.resume and options.out is None:
        raise gan.InvalidArgument("resume", True, "given with --out")
    out = options.out or Path("runs") / time.strftime("sweep-%Y%m%d-%H%M%S")

    keep_compiled_programs()
    tables = {}
    try:
        for name, method in methods.items():
            with progress_bar() as progress:
                population = gan.train_population(
                    seeds,
                    game,
                    method,
                    options.method.hyperparams(),
                    steps=options.steps,
                    record_every=options.record_every,
                    grid=dict(axes),
                    engine=options.engine,
                    workers=options.workers,
                    out=out / name,
                    resume=options.resume and (out / name).exists(),
                    progress=progress,
                )
            tables[name] = gan.tabulate_cells(population)
    except (KeyboardInterrupt, OSError) as error:
        error.add_note(f"to go on: {command_to_go_on(out)}")
        raise
    everything = {
        "method": np.repeat([*tables], [len(table["seeds"]) for table in tables.values()]),
        **{key: np.concatenate([t[key] for t in tables.values()]) for key in tables[name]},
    }
    store.write_table(out / "cells.parquet", make_table(everything))
    figure = plot_phase_diagram(tables, *(name for name, _ in axes))
    store.write_figures(out, {"phase_diagram": figure})
    print_best(tables, [name for name, _ in axes], out)


def parse_axis(option: str, text: str) -> tuple[str, np.ndarray]:
    """A hyperparameter's name and its values, of six digits, from a command line."""
    refusal = gan.InvalidArgument(option, text, AXIS)
    name, _, values = text.partition("=")
    kind, *rest = values.split(":")
    try:
        if kind in ("log", "linear"):
            low, high, count = float(rest[0]), float(rest[1]), int(rest[2])
            space = np.geomspace if kind == "log" else np.linspace
            if len(rest) != 3 or not 1 <= count <= MAX_VALUES or (kind == "log" and low <= 0):
                raise refusal
            numbers = space(low, high, count)
        else:
            numbers = [float(value) for value in values.split(",")]
    except (ValueError, IndexError):
        raise refusal from None
    if name not in HYPERPARAMS:
        raise refusal
    return name, np.unique([float(f"{value:.6g}") for value in numbers])


def choose_methods(options: Sweep) -> dict[str, MethodOptions]:
    """The options of each method, by the name of its directory."""
    if options.methods is None:
        pairs = [(options.method.objective, options.method.penalty)]
    else:
        pairs = [name.partition("+")[::2] for name in options.methods.split(",")]
    chosen = {}
    for objective, penalty in pairs:
        penalty = penalty or "none"
        if penalty not in PENALTIES:
            raise gan.InvalidArgument("penalty", penalty, f"one of {', '.join(PENALTIES)}")
        name = objective if penalty == "none" else f"{objective}+{penalty}"
        chosen[name] = dataclasses.replace(options.method, objective=objective, penalty=penalty)
    return chosen


def command_to_go_on(out: Path) -> str:
    """The command that resumes a sweep."""
    command = ["python", *(argument for argument in sys.argv if argument != "--resume")]
    if not any(argument.split("=")[0] == "--out" for argument in command):
        command += ["--out", str(out)]
    return shlex.join([*command, "--resume"])


def print_best(tables: dict[str, dict[str, np.ndarray]], names: list[str], out: Path) -> None:
    """Print each method's best cell on standard output."""
    right = [
        Column(title, justify="right")
        for title in (
            *names,
            "matched",
            "in support",
            "settling step, 50 %",
            "cells ≥ 99 % matched",
        )
    ]
    best = Table("the most in support", *right)
    for method, table in tables.items():
        cell = np.lexsort((table["matched_fraction"], table["in_support_fraction"]))[-1]
        settled = table["settled_p50"][cell]
        good = table["matched_fraction"] >= 0.99
        best.add_row(
            method,
            *(f"{table[name][cell]:.6g}" for name in names),
            *(f"{table[f'{key}_fraction'][cell]:.1%}" for key in ("matched", "in_support")),
            "none settled" if settled < 0 else f"{settled:,}",
            f"{good.sum():,} of {good.size:,}",
        )
    console = Console(highlight=False, markup=False)
    console.print(best)
    console.print(f"written to {out}", soft_wrap=True)


if __name__ == "__main__":
    run(Sweep, main)
