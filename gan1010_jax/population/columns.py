"""The results of some rows on the host: columns, whose names follow from the records' fields."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from gan1010_jax.gan import Losses, Setup
from gan1010_jax.training import History, init_carry, make_record


class Results(NamedTuple):
    """The results of some rows.

    Attributes:
      columns: final values by name, [rows].
      curves: how many of the rows have each property at every record, [records].
      history: of the rows whose history is kept, each leaf [rows, records, ...], or None.
    """

    columns: dict[str, np.ndarray]
    curves: dict[str, np.ndarray]
    history: History | None


def join_results(results: Sequence[Results]) -> Results:
    """The results of all rows, in the order given."""
    first = results[0]
    histories = [one.history for one in results if one.history is not None]
    return Results(
        columns={
            name: np.concatenate([one.columns[name] for one in results]) for name in first.columns
        },
        curves={name: sum(one.curves[name] for one in results) for name in first.curves},
        history=join_histories(histories) if histories else None,
    )


def join_histories(histories: Sequence[History]) -> History:
    """Histories [rows, ...], end to end."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *histories)


def record_columns(records: History) -> dict[str, np.ndarray]:
    """Records [...] as columns of their fields; the units of the output are on its last axis."""
    columns = {}
    for name, value in records._asdict().items():
        if name == "output":
            columns |= {f"output_{unit}": value[..., unit] for unit in range(value.shape[-1])}
        elif name == "losses":
            columns |= {_loss_column(loss): x for loss, x in value._asdict().items()}
        else:
            columns[name] = value
    return columns


def records_of(columns: Mapping[str, np.ndarray]) -> History:
    """The inverse of `record_columns`."""
    losses = Losses(*(columns[_loss_column(name)] for name in Losses._fields))
    outputs = [column for name, column in columns.items() if name.startswith("output_")]
    fields = {**columns, "output": np.stack(outputs, axis=-1), "losses": losses}
    return History(*(fields[name] for name in History._fields))


def _loss_column(loss: str) -> str:
    """The column of a field of `Losses`: `d_loss_real` of `d_real`, and `g_loss` of `g`."""
    player, *samples = loss.split("_")
    return "_".join([player, "loss", *samples])


def no_history(setup: Setup, records: int) -> History:
    """The histories of no rows, each leaf [0, records, ...]."""

    def first_record(key):
        carry, _ = init_carry(key, setup)
        return make_record(carry, np.int32(0), setup)

    shapes = jax.eval_shape(first_record, jax.random.key(0))
    return jax.tree.map(lambda leaf: np.empty((0, records, *leaf.shape), leaf.dtype), shapes)
