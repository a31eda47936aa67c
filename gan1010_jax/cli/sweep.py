"""The program `sweep`: where a method converges, over a grid of one or two hyperparameters."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Column, Table

import gan1010_jax as gan
from gan1010_jax.checks import as_hyperparam
from gan1010_jax.cli.commands import Sweep
from gan1010_jax.cli.options import MethodOptions
from gan1010_jax.cli.program import prepare_jax, progress_bar, say, says_how_to_go_on
from gan1010_jax.figures import plot_phase_diagram, write_figures
from gan1010_jax.games import find_game
from gan1010_jax.methods import (
    HYPERPARAMS,
    OBJECTIVES,
    PENALTIES,
    PENALTY_HYPERPARAMS,
    is_allowed,
)
from gan1010_jax.population import name_method, seed_range

_MAX_VALUES = 10_000
_AXIS = (
    "NAME=log:LOW:HIGH:COUNT, NAME=linear:LOW:HIGH:COUNT or NAME=VALUE,VALUE,…, where NAME is one "
    f"of {', '.join(HYPERPARAMS)}"
)


def sweep(options: Sweep) -> None:
    """Check every option, train every method's grid, write the results, print the cells."""
    prepare_jax()
    grid = dict([_parse_axis("x", options.x)])
    if options.y is not None:
        name, values = _parse_axis("y", options.y)
        if name in grid:
            allowed = f"another hyperparameter than {name}, that of --x"
            raise gan.InvalidArgument("y", options.y, allowed)
        grid[name] = values
    setups = _choose_setups(options, find_game(options.game))
    seeds = seed_range(options.run.seeds, options.run.first_seed)
    out = options.out or Path("runs") / time.strftime("sweep-%Y%m%d-%H%M%S")

    def draw(swept: gan.Sweep) -> None:
        showing.close()
        say("drawing the phase diagram")
        diagram = partial(plot_phase_diagram, swept.tables, *grid)
        write_figures(out, {"phase_diagram": diagram}, *options.look.arguments())

    with says_how_to_go_on(out), ExitStack() as showing:
        swept = gan.sweep(
            seeds,
            setups,
            grid,
            **options.run.arguments(),
            out=out,
            repair=options.repair,
            finish=draw,
            progress=showing.enter_context(progress_bar()),
        )
    _print_cells(swept.tables, [*grid], out)


def _parse_axis(option: str, text: str) -> tuple[str, np.ndarray]:
    """A hyperparameter's name and its values, of six digits, from a command line."""
    name, _, values = text.partition("=")
    kind, *ends = values.split(":")
    try:
        if kind in ("log", "linear"):
            low, high, count = ends
            low, high, count = float(low), float(high), int(count)
            is_positive = (low > 0 and high > 0) or kind == "linear"
            if not 1 <= count <= _MAX_VALUES or not is_positive:
                raise ValueError
            space = np.geomspace if kind == "log" else np.linspace
            with np.errstate(all="ignore"):  # what is not finite is rejected below
                numbers = space(low, high, count) if np.isfinite([low, high]).all() else [np.nan]
        else:
            numbers = [float(value) for value in values.split(",")]
        about = HYPERPARAMS[name]
    except (ValueError, KeyError):
        raise gan.InvalidArgument(option, text, _AXIS, HYPERPARAMS) from None
    if not np.all(is_allowed(name, np.asarray(numbers))):
        allowed = about["allowed"].removesuffix(", or None")
        raise gan.InvalidArgument(option, text, f"a list of values for {name}, each {allowed}")
    kept = np.array([float(f"{value:.6g}") for value in numbers])
    if len(np.unique(as_hyperparam(name, kept))) < len(kept):
        allowed = f"different values for {name}, of which six digits are kept"
        raise gan.InvalidArgument(option, text, allowed)
    return name, np.sort(kept)


def _choose_setups(options: Sweep, game: gan.Game) -> dict[str, gan.Setup]:
    """Each method with its hyperparameters, by the name of its directory."""
    if options.methods is None:
        pairs = [(options.method.objective, options.method.penalty)]
    else:
        for name in ("objective", "penalty"):
            value = getattr(options.method, name)
            if value != getattr(MethodOptions, name):
                raise gan.InvalidArgument(name, value, "left out with --methods")
        texts = [text.partition("+") for text in options.methods.split(",")]
        pairs = [(objective, penalty if plus else "none") for objective, plus, penalty in texts]
        are_known = all(one in OBJECTIVES and other in PENALTIES for one, other in pairs)
        if not are_known or len(set(pairs)) < len(pairs):
            allowed = (
                f"some of {', '.join(OBJECTIVES)}, with commas between, each with a penalty if "
                f"it needs one, as in mse+r1: {', '.join(PENALTIES)}; and each method once"
            )
            choices = *OBJECTIVES, *PENALTIES
            raise gan.InvalidArgument("methods", options.methods, allowed, choices)
    setups = []
    for objective, penalty in pairs:
        one = replace(options.method, objective=objective, penalty=penalty)
        method, hyperparams = one.method(), one.hyperparams()
        if options.methods is not None:
            unused = set(PENALTY_HYPERPARAMS) - set(method.penalty.hyperparams)
            hyperparams = replace(hyperparams, **dict.fromkeys(unused))
        setups.append(gan.Setup(game, method, hyperparams))
    return {name_method(setup): setup for setup in setups}


def _print_cells(
    tables: Mapping[str, Mapping[str, np.ndarray]], names: list[str], out: Path
) -> None:
    """Print each method's best cell on standard output, or every cell of a grid of one or two."""
    is_small = max(len(table["seeds"]) for table in tables.values()) <= 2
    titles = [*names, "matched", "in\nsupport", "settling,\n50 %"]
    titles += [] if is_small else ["cells ≥ 99 %\nmatched"]
    printed = Table(
        Column("method", no_wrap=True),
        *(Column(title, justify="right", no_wrap=True) for title in titles),
        title="" if is_small else "The cell with the most seeds in support",
    )
    for method, table in tables.items():
        best = np.lexsort((table["matched_fraction"], table["in_support_fraction"]))[-1]
        good = table["matched_fraction"] >= 0.99
        for cell in range(good.size) if is_small else [best]:
            settled = table["settled_p50"][cell]
            printed.add_row(
                method,
                *(f"{table[name][cell]:.6g}" for name in names),
                *(f"{table[f'{key}_fraction'][cell]:.1%}" for key in ("matched", "in_support")),
                "none" if settled < 0 else f"{settled:,}",
                *([] if is_small else [f"{good.sum():,} / {good.size:,}"]),
            )
    console = Console(highlight=False, markup=False)
    console.print(printed)
    console.print(f"written to {out}", soft_wrap=True)
