"""Grids: several values of some hyperparameters, every seed trained with each combination."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from gan1010_jax.checks import as_hyperparam
from gan1010_jax.errors import InvalidArgument
from gan1010_jax.methods import HYPERPARAMS

Grid = Mapping[str, Any]  # values of hyperparameters by their names, [values]


def as_grid(grid: Grid) -> dict[str, np.ndarray]:
    """A grid in JAX's default float type, in the order of `HYPERPARAMS`.

    Raises:
      InvalidArgument: (a `ValueError`) for another name, or anything but a list of different
        allowed numbers.
    """
    if not isinstance(grid, Mapping) or not set(grid) <= set(HYPERPARAMS):
        allowed = f"lists of values by name, among {', '.join(HYPERPARAMS)}"
        raise InvalidArgument("grid", grid, allowed)
    arrays = {}
    for name in HYPERPARAMS:
        if name in grid:
            values = grid[name]
            is_list = isinstance(values, list | tuple | np.ndarray | jax.Array)
            if not is_list or np.shape(values)[:1] in ((), (0,)):
                raise InvalidArgument(name, values, "a list of one or more values in a grid")
            arrays[name] = as_hyperparam(name, values)
            if arrays[name].ndim != 1 or len(np.unique(arrays[name])) < len(values):
                raise InvalidArgument(name, values, "a list of different values in a grid")
    return arrays


def count_cells(grid: Grid) -> int:
    """The number of combinations of a grid's values, each a row of every seed."""
    return math.prod(map(len, grid.values()))


def cell_columns(grid: Grid, cells: np.ndarray) -> dict[str, np.ndarray]:
    """The hyperparameters of some cells; those of the last name change fastest."""
    columns = {}
    for name, values in reversed(grid.items()):
        cells, places = np.divmod(cells, len(values))
        columns[name] = values[places]
    return {name: columns[name] for name in grid}


def shortest(number: np.ndarray) -> float:
    """The shortest decimal number of a float: 0.01 instead of 0.009999999776482582."""
    return float(str(number[()]))
