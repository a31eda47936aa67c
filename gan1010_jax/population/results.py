"""The results of many seeds: `Population`, its curves, its report, and the cells of a grid."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gan1010_jax.checks import check_kind
from gan1010_jax.convergence import (
    OUTCOMES,
    Counts,
    Proportion,
    as_json,
    count_rows,
    proportion,
    settling_quantiles,
)
from gan1010_jax.gan import Setup
from gan1010_jax.methods import Hyperparams
from gan1010_jax.population.blocks import no_results
from gan1010_jax.population.settings import RunSettings, count_cells, shortest
from gan1010_jax.population.tables import Results
from gan1010_jax.training import History, to_frame

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, repr=False, eq=False)
class Population:
    """Trained seeds: what was run, and its results.

    Attributes:
      setup: what was trained; a hyperparameter that the grid varies has its first value.
      steps: how many steps each seed was trained.
      record_every: the number of steps from record to record.
      engine: the name of the engine.
      platform: JAX's name of the platform, such as cpu.
      device: the device, in words.
      versions: of the packages that computed it.
      columns: one row per seed, or per seed and cell, in the order given, as NumPy arrays [rows]:
        `seed` (uint32); `matched`, `in_support`, `forgot`, `diverged` (bool); `first_match_step`,
        `settled_step` (int32, -1 where there is none); `output_0` … `output_{n-1}`, `d_loss_real`,
        `d_loss_fake`, `g_loss` (float32, or float64 in JAX's x64 mode) at the end; and the
        hyperparameters that a grid varies. Those of a directory are read when first asked for.
      curves: one entry per record, as NumPy arrays [records]: `step`, and how many rows were
        `matched`, `in_support` and `diverged` there.
      history: the full `History` of the first 1,024 seeds, each leaf [seeds, records, ...]; of a
        grid, that of none.
      counts: the counts over the rows that figures and the report need.
      first_seed: the seed of the first row.
      grid: the values of each hyperparameter that is varied, as NumPy arrays, by name. Every seed
        has a row for each combination of them, a *cell*, the last name's values changing fastest.
      wall_seconds: the duration of the whole training. In a directory, this and the next two are of
        the last session, and None until one has ended well.
      compile_seconds: how much of that passed before the first step.
      seed_steps_per_second: the number of steps of one seed in a second, compilation excluded; None
        if no seed was trained.
    """

    setup: Setup
    steps: int
    record_every: int
    engine: str
    platform: str
    device: str
    versions: Mapping[str, str]
    columns: Mapping[str, np.ndarray]
    curves: Mapping[str, np.ndarray]
    history: History
    counts: Counts
    first_seed: int
    grid: Mapping[str, np.ndarray]
    wall_seconds: float | None = None
    compile_seconds: float | None = None
    seed_steps_per_second: float | None = None

    def hyperparams_of(self, row: int) -> Hyperparams:
        """The hyperparameters of a row, scalars."""
        place = row // count_cells(self.grid)  # of its seed
        numbers = {
            name: value if np.ndim(value) == 0 else value[place]
            for name, value in vars(self.setup.hyperparams).items()
        }
        return Hyperparams(**numbers | {name: self.columns[name][row] for name in self.grid})

    def to_pandas(self) -> pandas.DataFrame:
        """The `columns` as a `pandas.DataFrame`, a row per seed, or per seed and cell.

        Raises:
          ImportError: if pandas is not installed, which this package does not depend on.
        """
        return to_frame(self.columns)

    def __repr__(self) -> str:
        """The size of the population and its outcomes."""
        outcomes = ", ".join(f"{getattr(self.counts, name):,} {name}" for name in OUTCOMES)
        return f"Population({self._title()}: {outcomes})"

    def _repr_html_(self) -> str:
        """A small table for notebooks: each outcome's count, fraction and interval."""
        rows = [["", "count", "fraction", "95 % interval"]]
        for name in OUTCOMES:
            found = as_json(proportion(getattr(self.counts, name), self.counts.seeds))
            interval = f"{found['ci_low']:.2%} – {found['ci_high']:.2%}"
            rows.append([name, f"{found['count']:,}", f"{found['fraction']:.2%}", interval])
        cells = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
        body = "".join(f"<tr>{row}</tr>" for row in cells)
        return f"<table><caption>{html.escape(self._title())}</caption>{body}</table>"

    def _title(self) -> str:
        game = self.setup.game.name
        return f"{self.counts.seeds:,} GANs of the game {game!r}, {self.steps:,} steps each"


def make_population(
    settings: RunSettings, results: Results, counts: Counts, first_row: int = 0, **facts: Any
) -> Population:
    """The population of all results from a row on; `facts` are its other fields."""
    shared = ("setup", "steps", "record_every", "engine", "grid")
    steps = settings.record_steps
    return Population(
        **{name: getattr(settings, name) for name in shared},
        columns=results.columns,
        curves={"step": steps, **results.curves},
        history=results.history or no_results(settings).history,
        counts=counts,
        first_seed=settings.first_seed + first_row // count_cells(settings.grid),
        **facts,
    )


def convergence_curves(population: Population) -> dict[str, Proportion]:
    """How a population converges, and whether it stays so: proportions at every record, [records].

    Returns:
      Of all seeds: `matched`, `in_support` and `diverged` at the record; and `ever_matched`, those
      that matched at it or before, which is one minus the Kaplan–Meier estimate of the time to the
      first match (*Nonparametric Estimation from Incomplete Observations*, JASA 53, 1958): every
      seed is observed to the end, so that none is censored before. Of the seeds that matched at it
      or before: `forgotten`, those that do not match at it.

    Raises:
      InvalidArgument: (a `ValueError`) for anything but a `Population`.
    """
    check_kind("population", population, Population)
    counts = {name: population.curves[name] for name in ("matched", "in_support", "diverged")}
    counts["ever_matched"] = np.cumsum(population.counts.first_matched)
    lost = counts["ever_matched"] - counts["matched"]
    return {
        **{name: proportion(count, population.counts.seeds) for name, count in counts.items()},
        "forgotten": proportion(lost, counts["ever_matched"]),
    }


def convergence_report(population: Population) -> dict[str, Any]:
    """How often a population converged, as a dict that `json` can write.

    Returns:
      `matched`, `in_support`, `forgot` and `diverged`, each the `Proportion` of seeds as
      `{count, fraction, ci_low, ci_high}`; `settled_step`, `{p5, p50, p95}` over the seeds
      that settled, or None if none did; `over_training`, a list of the `convergence_curves` after
      each fifth of the steps, `{step, matched, in_support, diverged, ever_matched, forgotten}`;
      what was run: `seeds` (how many; of a grid, how many rows), `grid`, `method`, `first_seed`,
      `steps`, `record_every`, `game` (its name), `hyperparams`, `engine`, `platform`, `device`,
      `versions`; and `wall_seconds` for the whole training, `compile_seconds` of it before the
      first step, `seed_steps_per_second` after that (of the last session, if there were several).

    Raises:
      InvalidArgument: (a `ValueError`) for anything but a `Population`.
    """
    check_kind("population", population, Population)
    counts, steps, setup = population.counts, population.curves["step"], population.setup
    curves = convergence_curves(population)
    fifths = sorted({-(-fifth * len(steps) // 5) - 1 for fifth in range(1, 6)})
    quantiles = settling_quantiles(counts, steps)
    facts = ("platform", "device", "wall_seconds", "compile_seconds", "seed_steps_per_second")
    return {
        "seeds": counts.seeds,
        "steps": population.steps,
        **{name: as_json(proportion(getattr(counts, name), counts.seeds)) for name in OUTCOMES},
        "settled_step": {f"p{percent}": step for percent, step in quantiles.items()} or None,
        "over_training": [
            {
                "step": int(steps[record]),
                **{name: as_json(curve, record) for name, curve in curves.items()},
            }
            for record in fifths
        ],
        "method": setup.method.options,
        "grid": {name: np.asarray(values).tolist() for name, values in population.grid.items()},
        "first_seed": population.first_seed,
        "record_every": population.record_every,
        "game": setup.game.name,
        "hyperparams": {
            name: np.asarray(value).tolist()
            for name, value in vars(setup.hyperparams).items()
            if value is not None and name not in population.grid
        },
        "engine": population.engine,
        **{name: getattr(population, name) for name in facts},
        "versions": population.versions,
    }


def tabulate_cells(population: Population) -> dict[str, np.ndarray]:
    """How often each cell of a grid converged: NumPy arrays [cells].

    Returns:
      The hyperparameters that the grid varies, in its order; `seeds` and `steps`; for each of
      `matched`, `in_support`, `forgot` and `diverged`, the `Proportion` of the cell's seeds, as
      `matched_count`, `matched_fraction`, `matched_ci_low`, `matched_ci_high` and so on; and the
      quantiles of the settling step, `settled_p5`, `settled_p50` and `settled_p95`, -1 in a cell
      where no seed settled.

    Raises:
      InvalidArgument: (a `ValueError`) for anything but a `Population`.
    """
    check_kind("population", population, Population)
    grid, steps = population.grid, population.curves["step"]
    of_row = np.zeros(population.counts.seeds, int)  # a directory may lack some
    for name, values in grid.items():
        order = np.argsort(values)
        places = order[np.searchsorted(values, population.columns[name], sorter=order)]
        of_row = of_row * len(values) + places
    ends = np.cumsum(np.bincount(of_row, minlength=count_cells(grid)))
    columns = dict(population.columns)
    counts = [
        count_rows({name: column[rows] for name, column in columns.items()}, steps)
        for rows in np.split(np.argsort(of_row, kind="stable"), ends[:-1])
    ]
    seeds = np.array([cell.seeds for cell in counts])
    axes = np.meshgrid(*[list(map(shortest, values)) for values in grid.values()], indexing="ij")
    table = {name: values.ravel() for name, values in zip(grid, axes)}
    table |= {"seeds": seeds, "steps": np.full(len(seeds), population.steps)}
    for name in OUTCOMES:
        found = proportion([getattr(cell, name) for cell in counts], seeds)
        for key in ("count", "fraction", "ci_low", "ci_high"):
            table[f"{name}_{key}"] = getattr(found, key)
    quantiles = [settling_quantiles(cell, steps) for cell in counts]
    for percent in (5, 50, 95):
        table[f"settled_p{percent}"] = np.array([found.get(percent, -1) for found in quantiles])
    return table
