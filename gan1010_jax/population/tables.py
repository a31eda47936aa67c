"""The results of some rows: as columns, and as Arrow tables that state units and meanings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from gan1010_jax.convergence import OUTCOMES, VERDICT_MEANINGS
from gan1010_jax.gan import Losses
from gan1010_jax.lazy import import_when_used
from gan1010_jax.methods import HYPERPARAMS
from gan1010_jax.population.files import write_file
from gan1010_jax.training import History, loss_column, record_columns

pa, pq = import_when_used("pyarrow"), import_when_used("pyarrow.parquet")

MAIN_TABLE = "population"
SIDE_TABLES = ("curves", "histories")
TABLES = (MAIN_TABLE, *SIDE_TABLES)

_OUTPUT = ("", "a coordinate of the generator's output, or of the game's summary")
_PROPORTION = {
    "count": ("seeds", "the number of the cell's seeds with the property: {}"),
    "fraction": ("", "the fraction of the cell's seeds with the property: {}"),
    "ci_low": ("", "the lower end of that fraction's 95 % Wilson interval"),
    "ci_high": ("", "the upper end of that fraction's 95 % Wilson interval"),
}
# name: unit, meaning
_MEANINGS = {
    "seed": ("", "the integer that the run started from"),
    "step": ("steps", "how many steps had been taken"),
    "seeds": ("seeds", "the number of seeds that are counted"),
    "finite": ("", "every parameter is finite"),
    "d_loss_real": ("loss", "the discriminator's loss on a real sample, in the last step"),
    "d_loss_fake": ("loss", "the discriminator's loss on a fake sample, in the last step"),
    "g_loss": ("loss", "the generator's loss, in the last step"),
    "method": ("", "the training method"),
    "steps": ("steps", "how many steps each seed was trained"),
    **VERDICT_MEANINGS,
    **{name: (about["unit"], about["meaning"]) for name, about in HYPERPARAMS.items()},
    **{
        f"{name}_{key}": (unit, meaning.format(VERDICT_MEANINGS[name][1]))
        for name in OUTCOMES
        for key, (unit, meaning) in _PROPORTION.items()
    },
    **{
        f"settled_p{percent}": ("steps", f"the {percent} % quantile of the settling step, or -1")
        for percent in (5, 50, 95)
    },
}


class Results(NamedTuple):
    """The results of some rows.

    Attributes:
      columns: final values by name, [rows].
      curves: how many of the rows have each property at every record, [records].
      history: of the rows whose history is kept, each leaf [rows, records, ...], or None.
    """

    columns: Mapping[str, np.ndarray]
    curves: dict[str, np.ndarray]
    history: History | None


def join_results(results: Sequence[Results]) -> Results:
    """The results of all rows, in the order given."""
    columns, curves, _ = results[0]
    return Results(
        columns={name: np.concatenate([one.columns[name] for one in results]) for name in columns},
        curves={name: sum(one.curves[name] for one in results) for name in curves},
        history=join_histories(one.history for one in results),
    )


def join_histories(histories: Iterable[History | None]) -> History | None:
    """Histories [rows, ...], end to end; None if all of them are."""
    kept = [history for history in histories if history is not None]
    if len(kept) < 2:
        return kept[0] if kept else None  # not copied: it may be large
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *kept)


def _records_of(columns: Mapping[str, np.ndarray]) -> History:
    """The inverse of `record_columns`."""
    losses = Losses(*(columns[loss_column(name)] for name in Losses._fields))
    outputs = [column for name, column in columns.items() if name.startswith("output_")]
    fields = {**columns, "output": np.stack(outputs, axis=-1), "losses": losses}
    return History(*(fields[name] for name in History._fields))


def make_tables(results: Results, steps: np.ndarray) -> dict[str, pa.Table]:
    """The tables of some rows with records at these steps [records], by their names.

    `population` has a row for each row, `curves` one for each record with the number of rows that
    have each property, and `histories` one for each row and record, of the rows whose history is
    kept.
    """
    seeds, history = results.columns["seed"], results.history
    curves = {"step": steps, "seeds": np.full(len(steps), len(seeds)), **results.curves}
    tables = {MAIN_TABLE: results.columns, "curves": curves}
    if history is not None:
        rows, records = history.step.shape
        columns = {"seed": np.repeat(seeds[:rows], records), **record_columns(history)}
        tables["histories"] = {name: np.ravel(column) for name, column in columns.items()}
    return {name: _make_table(columns) for name, columns in tables.items()}


def read_tables(tables: Mapping[str, pa.Table], records: int) -> Results:
    """The inverse of `make_tables`."""
    columns = {
        name: {column: table[column].to_numpy() for column in table.column_names}
        for name, table in tables.items()
    }
    curves, history = columns["curves"], None
    if "histories" in columns:
        long = columns["histories"]
        history = _records_of({name: long[name].reshape(-1, records) for name in long})
    counted = {name: curves[name] for name in curves if name not in ("step", "seeds")}
    return Results(columns[MAIN_TABLE], counted, history)


def _make_table(columns: Mapping[str, np.ndarray]) -> pa.Table:
    """A table of columns, with the unit and the meaning of each."""
    arrays = {name: pa.array(column) for name, column in columns.items()}
    fields = []
    for name, array in arrays.items():
        unit, meaning = _OUTPUT if name.startswith("output_") else _MEANINGS[name]
        fields.append(pa.field(name, array.type, metadata={"unit": unit, "meaning": meaning}))
    return pa.table(arrays, schema=pa.schema(fields))


def as_parquet(table: pa.Table) -> memoryview:
    """The bytes of a Parquet file with a table."""
    floats = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    buffer = pa.BufferOutputStream()
    pq.write_table(
        table,
        buffer,
        compression="zstd",
        use_dictionary=[column for column in table.column_names if column not in floats],
        use_byte_stream_split=floats,
    )
    return memoryview(buffer.getvalue())


def write_columns(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write columns as a Parquet file, with the unit and the meaning of each."""
    write_file(path, as_parquet(_make_table(columns)))
