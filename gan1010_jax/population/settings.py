"""The settings of a run: its seeds, its setup and its grid, and how they are validated."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from gan1010_jax.checks import MAX_STEPS, as_hyperparam, check_setup, check_steps, check_whole
from gan1010_jax.engines import check_engine, of_caller
from gan1010_jax.errors import InvalidArgument
from gan1010_jax.gan import Setup
from gan1010_jax.methods import HYPERPARAMS
from gan1010_jax.training import Log, record_steps

MAX_SEED = 2**32 - 1
MAX_WORKERS = 1024
MAX_CHUNK = 2**20
MAX_CHUNKS = 2**20
MAX_ROWS = 10**10 - 1
KEPT_HISTORIES = 1024

Grid = Mapping[str, Any]  # values of hyperparameters by their names, [values]
# Called with how many rows are done, and how many there are.
Progress = Callable[[int, int], object]


class RunSettings(NamedTuple):
    """The arguments of `train_population`; of a manifest, without `workers`, `progress` and `log`.

    When validated, a hyperparameter of the grid has its first value in the setup.
    """

    seed_list: Any
    setup: Setup
    steps: int = 10_000
    record_every: int = 10
    grid: Grid | None = None
    engine: str = "auto"
    workers: int | None = None
    chunk: int | None = None
    progress: Progress | None = None
    log: Log | None = None

    @property
    def seeds(self) -> int:
        """The number of seeds."""
        return len(self.seed_list)

    @property
    def first_seed(self) -> int:
        """The first of them."""
        return int(self.seed_list[0])

    @property
    def rows(self) -> int:
        """The number of rows: one for each seed and cell of the grid."""
        return self.seeds * count_cells(self.grid)

    @property
    def record_steps(self) -> np.ndarray:
        """The steps at which there is a record, int32 [records]."""
        return record_steps(self.steps, self.record_every)

    @property
    def dtype(self) -> str:
        """The name of JAX's default float type, in which they are trained."""
        return self.float_setup.hyperparams.d_lr.dtype.name

    @property
    def float_setup(self) -> Setup:
        """The setup in JAX's default float type: each hyperparameter a scalar or [seeds]."""
        return check_setup(self.setup, self.seeds)


def check_settings(settings: RunSettings) -> RunSettings:
    """Validate the arguments of `train_population`; the settings with complete values."""
    seeds = _check_seeds(settings.seed_list)
    setup = check_setup(settings.setup, len(seeds))
    check_steps(settings.steps, settings.record_every, MAX_STEPS // setup.method.d_steps)
    check_engine(settings.engine)
    for name, most in (("workers", MAX_WORKERS), ("chunk", MAX_CHUNK)):
        if getattr(settings, name) is not None:
            check_whole(name, getattr(settings, name), 1, most, ", or None")
    grid = _as_grid({} if settings.grid is None else settings.grid)
    first_cell = {name: values[0] for name, values in grid.items()}
    rows = len(seeds) * count_cells(grid)
    if rows > MAX_ROWS:
        allowed = f"{MAX_ROWS:,} or fewer; {len(seeds):,} in each cell of the grid are {rows:,}"
        raise InvalidArgument("seeds", len(seeds), allowed)
    least = count_least_chunk(rows)
    if settings.chunk is not None and settings.chunk < least:
        allowed = f"{least} or more for {rows:,} rows, which are {MAX_CHUNKS:,} chunks at most"
        raise InvalidArgument("chunk", settings.chunk, allowed)
    return settings._replace(
        seed_list=seeds,
        setup=_with_hyperparams(settings.setup, **first_cell),
        steps=int(settings.steps),
        record_every=int(settings.record_every),
        grid=grid,
        chunk=settings.chunk and int(settings.chunk),
        progress=of_caller(settings.progress or (lambda done, total: None)),
        log=settings.log and of_caller(settings.log),
    )


def _check_seeds(seeds: Any) -> range | np.ndarray:
    """Raise unless these are seeds; a range stays one, however long it is."""
    few = [seeds[0], seeds[-1]] if isinstance(seeds, range) and seeds else seeds
    try:
        array = np.asarray(few)
    except (TypeError, ValueError):
        array = np.asarray(None)
    is_list = array.ndim == 1 and array.size > 0 and np.issubdtype(array.dtype, np.integer)
    if not is_list or array.min() < 0 or array.max() > MAX_SEED:
        allowed = f"one or more whole numbers from 0 to {MAX_SEED}, such as range(64)"
        raise InvalidArgument("seeds", seeds, allowed)
    return seeds if isinstance(seeds, range) else array


def seed_range(seeds: int, first_seed: int = 0) -> range:
    """The `seeds` seeds from `first_seed` on.

    Raises:
      InvalidArgument: (a `ValueError`) if there are none or they leave 0 … 2³²-1.
    """
    check_whole("first_seed", first_seed, 0, MAX_SEED)
    most = MAX_SEED + 1 - first_seed
    check_whole("seeds", seeds, 1, most, f", so that no seed is beyond {MAX_SEED}")
    return range(first_seed, first_seed + seeds)


def _as_grid(grid: Grid) -> dict[str, np.ndarray]:
    """Validate a grid; its values in JAX's default float type, in the order of `HYPERPARAMS`."""
    if not isinstance(grid, Mapping) or not set(grid) <= set(HYPERPARAMS):
        allowed = f"lists of values by name, among {', '.join(HYPERPARAMS)}"
        raise InvalidArgument("grid", grid, allowed, HYPERPARAMS)
    arrays = {}
    for name in filter(grid.__contains__, HYPERPARAMS):
        values = grid[name]
        is_list = isinstance(values, list | tuple | np.ndarray | jax.Array)
        if not is_list or getattr(values, "ndim", 1) == 0 or len(values) == 0:
            raise InvalidArgument(name, values, "a list of one or more values in a grid")
        array = arrays[name] = as_hyperparam(name, values)
        if array.ndim != 1 or len(np.unique(array)) < len(array):
            raise InvalidArgument(name, values, "a list of different values in a grid")
    return arrays


def count_cells(grid: Grid) -> int:
    """The number of combinations of a grid's values, each a row of every seed."""
    return math.prod(map(len, grid.values()))


def count_least_chunk(rows: int) -> int:
    """The smallest chunk in which so many rows can be written."""
    return -(-rows // MAX_CHUNKS)


def count_kept(settings: RunSettings, rows: range) -> int:
    """Of how many of some rows the history is kept: of those of the first seeds, if no grid."""
    return 0 if settings.grid else max(0, min(rows.stop, KEPT_HISTORIES) - rows.start)


def select_rows(
    settings: RunSettings, setup: Setup, rows: range
) -> tuple[np.ndarray, Setup, dict[str, np.ndarray]]:
    """The seeds, the setup and the grid's hyperparameters of some rows, each leaf [rows].

    The rows are sorted by seed, then by cell; the values of the grid's last name change fastest.
    """
    grid = settings.grid
    places, *cells = np.unravel_index(rows, (settings.seeds, *map(len, grid.values())))
    first, last = int(places[0]), int(places[-1])
    seeds = np.asarray(settings.seed_list[first : last + 1], np.uint32)[places - first]
    setup = jax.tree.map(lambda leaf: np.broadcast_to(leaf, settings.seeds)[places], setup)
    varied = {name: grid[name][indices] for name, indices in zip(grid, cells)}
    return seeds, _with_hyperparams(setup, **varied), varied


def _with_hyperparams(setup: Setup, **hyperparams: Any) -> Setup:
    """A setup with other hyperparameters."""
    changed = dataclasses.replace(setup.hyperparams, **hyperparams)
    return dataclasses.replace(setup, hyperparams=changed)


def shortest(number: np.ndarray) -> float:
    """The shortest decimal number of a float: 0.01 instead of 0.009999999776482582."""
    return float(str(number[()]))
