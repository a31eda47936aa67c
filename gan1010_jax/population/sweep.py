"""Sweeps: the same grid of hyperparameters under several methods, and the table of its cells."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gan1010_jax.checks import check_callable, check_kind
from gan1010_jax.errors import BadFile, InvalidArgument
from gan1010_jax.gan import Setup
from gan1010_jax.population.api import check_files, train_population
from gan1010_jax.population.files import claim, find_misplaced
from gan1010_jax.population.manifest import is_begun
from gan1010_jax.population.results import Population, tabulate_cells
from gan1010_jax.population.settings import Grid, RunSettings, check_settings
from gan1010_jax.population.store import set_aside
from gan1010_jax.population.tables import write_columns

CELLS = "cells.parquet"
OTHER_FOLDERS = ("figures", "set-aside")  # of a sweep, that are no method's


@dataclass(frozen=True, repr=False, eq=False)
class Sweep:
    """Trained grids: a population for each method, and the table of its cells.

    Attributes:
      populations: a `Population` of all cells for each method, by its name.
      tables: of each, what `tabulate_cells` returns: NumPy arrays [cells] by the column's name.
    """

    populations: Mapping[str, Population]
    tables: Mapping[str, Mapping[str, np.ndarray]]

    @property
    def cells(self) -> dict[str, np.ndarray]:
        """The tables one below the other, [methods x cells]: `method`, and all their columns."""
        return join_cells(self.tables)

    def __repr__(self) -> str:
        """Its populations."""
        return f"Sweep({dict(self.populations)!r})"


def sweep(
    seeds: Sequence[int] | np.ndarray,
    methods: Setup | Mapping[str, Setup],
    grid: Grid,
    *,
    out: str | Path | None = None,
    repair: bool = False,
    finish: Callable[[Sweep], object] | None = None,
    **options: Any,
) -> Sweep:
    """Train every cell of a grid under one method or several, each with many seeds.

        methods = {name: gan.Setup(method=gan.Method(name)) for name in ("mse", "hinge")}
        swept = gan.sweep(range(64), methods, {"d_lr": np.geomspace(0.01, 1, 21)})
        swept.tables["hinge"]["matched_fraction"]  # [21]

    All cells of a method are one population of one compiled program.

    Args:
      seeds: those of each cell, as for `train_population`.
      methods: a `Setup` for each, by a name of letters, digits and any of `_+-.=`; a `Setup` alone
        has the name of its objective and penalty, such as `hinge+r1`.
      grid: values of hyperparameters by their names, as for `train_population`.
      out: a directory that is new, empty, or begun by the same call, which goes on with it, with as
        many seeds and methods or more. It has one of `train_population` for each method,
        and `cells.parquet`, a row for each method and cell.
      repair: whether bad files are moved to `out/set-aside/`, and their seeds trained again.
      finish: called with the `Sweep` when `cells.parquet` is written, while the directory is still
        locked: for files that belong to it, such as figures.
      options: any of `steps`, `record_every`, `engine`, `workers`, `chunk`, `progress` and `log`,
        as for `train_population`; `progress` counts the rows of all methods, and `log` is called
        for one after the other, with its name as `method`.

    Raises:
      InvalidArgument: (a `ValueError`) for an argument outside these limits, before anything is
        trained.
      BadFile, OSError: as `train_population`.
    """
    check_callable("progress", options.get("progress"))
    check_callable("log", options.get("log"))
    for name in options.keys() - set(RunSettings._fields[2:]):
        raise TypeError(f"sweep() got an unexpected keyword argument {name!r}")
    setups = _check_setups(methods)
    settings = [
        check_settings(RunSettings(seeds, setup, grid=grid, **options)) for setup in setups.values()
    ]
    if not settings[0].grid:
        raise InvalidArgument("grid", grid, "values of one hyperparameter or more")
    out = check_files(out, repair, finish)
    report, rows = settings[0].progress, settings[0].rows
    with ExitStack() as stack:
        if out is not None:
            stack.enter_context(claim(out, lambda: _is_ours(out, setups)))
            for bad in find_misplaced_in(out, setups):
                if not repair:
                    raise bad
                set_aside(bad, out)
        populations = {}
        for name, setup in setups.items():
            before = rows * len(populations)

            def progress(done: int, total: int, before: int = before) -> None:
                report(before + done, rows * len(setups))

            def log(row: dict[str, Any], name: str = name) -> None:
                settings[0].log({"method": name, **row})

            calls = {"progress": progress, "log": settings[0].log and log}
            place = {} if out is None else {"out": out / name, "repair": repair}
            populations[name] = train_population(
                seeds, setup, grid=grid, **place, **options | calls
            )
        swept = Sweep(populations, {name: tabulate_cells(x) for name, x in populations.items()})
        if out is not None:
            write_columns(out / CELLS, swept.cells)
        if finish is not None:
            finish(swept)
    return swept


def _check_setups(setups: Any) -> dict[str, Setup]:
    """Setups by name; raise for what is none, or for a name that cannot be a directory's."""
    if isinstance(setups, Setup):
        setups = {name_method(setups): setups}
    if not isinstance(setups, Mapping) or not setups:
        raise InvalidArgument("methods", setups, "a Setup, or one or more by their names")
    for name, setup in setups.items():
        check_kind("setup", setup, Setup)
        is_plain = isinstance(name, str) and re.fullmatch(r"\w[\w+.=-]{0,99}", name)
        if not is_plain or name in OTHER_FOLDERS:
            allowed = "named by letters, digits and any of _+-.=, and not figures or set-aside"
            raise InvalidArgument("methods", name, allowed)
    return dict(setups)


def name_method(setup: Setup) -> str:
    """A setup's objective and penalty in one word, such as `hinge+r1`."""
    objective, penalty = setup.method.objective.name, setup.method.penalty.name
    return objective if penalty == "none" else f"{objective}+{penalty}"


def join_cells(tables: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The columns of cells.parquet: the tables of all methods, one below the other."""
    cells = [len(table["seeds"]) for table in tables.values()]
    names = next(iter(tables.values()))
    joined = {name: np.concatenate([table[name] for table in tables.values()]) for name in names}
    return {"method": np.repeat([*tables], cells), **joined}


def _is_ours(out: Path, names: Iterable[str]) -> bool:
    """Whether a directory is a sweep's; reject one that was begun with other methods too."""
    begun = {path.name for path in out.iterdir() if is_begun(path)}
    if not begun <= set(names):
        allowed = f"at least those begun in {out}, {','.join(sorted(begun))}"
        raise InvalidArgument("methods", ",".join(names), allowed)
    return bool(begun)


def find_misplaced_in(out: Path, names: Iterable[str]) -> Iterator[BadFile]:
    """What is in the place of a sweep's own folders and files."""
    folders = (out / name for name in (*OTHER_FOLDERS, *names))
    return find_misplaced(folders, (out / CELLS, *(out / "figures").glob("phase_diagram*")))
