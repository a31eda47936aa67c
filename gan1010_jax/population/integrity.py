"""Whether the tables of a chunk can be what training wrote: schemas, sizes, ranges, and counts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import numpy as np

from gan1010_jax.convergence import count_rows
from gan1010_jax.engines import properties
from gan1010_jax.lazy import import_when_used
from gan1010_jax.population.blocks import no_results
from gan1010_jax.population.settings import RunSettings, count_kept, select_rows
from gan1010_jax.population.tables import MAIN_TABLE, Results, make_tables
from gan1010_jax.training import record_columns

pa, pq = import_when_used("pyarrow"), import_when_used("pyarrow.parquet")

# Bytes of a file beside its values: page headers, statistics and metadata.
_OVERHEAD = 2**20


class Expected(NamedTuple):
    """What the files of a run hold.

    Attributes:
      settings: the run's.
      schemas: of each table, by its name.
    """

    settings: RunSettings
    schemas: dict[str, pa.Schema]

    def tables_of(self, rows: range) -> list[str]:
        """The names of the tables that a chunk has."""
        return [name for name in self.schemas if self.count_rows(name, rows)]

    def count_rows(self, table: str, rows: range) -> int:
        """How many rows a chunk has in a table."""
        if table == MAIN_TABLE:
            return len(rows)
        records = len(self.settings.record_steps)
        return records if table == "curves" else records * count_kept(self.settings, rows)

    def most_bytes(self, table: str, rows: range) -> int:
        """The size that a chunk's file of a table cannot exceed, compressed or not."""
        width = sum(field.type.bit_width for field in self.schemas[table]) / 8
        return _OVERHEAD + 2 * int(width * self.count_rows(table, rows))


def expect(settings: RunSettings) -> Expected:
    """What the files of a run with these settings hold."""
    results = no_results(settings)
    varied = {name: values[:0] for name, values in settings.grid.items()}
    results = results._replace(columns=results.columns | varied)
    tables = make_tables(results, settings.record_steps)
    return Expected(settings, {name: table.schema for name, table in tables.items()})


def find_file_flaw(file: pq.ParquetFile, table: str, rows: range, expected: Expected) -> str | None:
    """What is wrong with a file of a table by its footer, before a value of it is read."""
    there, here = file.schema_arrow, expected.schemas[table]
    if (there.names, there.types) != (here.names, here.types):
        pairs = itertools.zip_longest(_describe(there), _describe(here), fillvalue="nothing")
        found, wanted = next(pair for pair in pairs if pair[0] != pair[1])
        return f"has the column {found}, where the run has {wanted}"
    about, count = file.metadata, expected.count_rows(table, rows)
    if about.num_rows != count:
        return f"has {about.num_rows:,} rows, not {count:,}"
    groups = [about.row_group(group) for group in range(about.num_row_groups)]
    if sum(group.total_byte_size for group in groups) > expected.most_bytes(table, rows):
        return "is larger than its rows, by its footer"
    return None


def _describe(schema: pa.Schema) -> list[str]:
    return [f"{field.name} of {field.type}" for field in schema]


def find_flaw(
    tables: Mapping[str, pa.Table], results: Results, rows: range, expected: Expected
) -> tuple[str, str] | None:
    """The first thing in a chunk that training cannot have written: its table, and what it is."""
    return next(_flaws(tables, results, rows, expected.settings), None)


def _flaws(
    tables: Mapping[str, pa.Table], results: Results, rows: range, settings: RunSettings
) -> Iterator[tuple[str, str]]:
    """The table and the description of each; later ones rely on the absence of earlier ones."""
    for table, about in tables.items():
        if any(column.null_count for column in about.columns):
            yield table, "has values that are missing"
    columns, curves, history = results
    steps = settings.record_steps
    seeds, _, varied = select_rows(settings, settings.float_setup, rows)
    if not np.array_equal(columns["seed"], seeds):
        yield MAIN_TABLE, "has other seeds than its name says"
    for name, values in varied.items():
        if not np.array_equal(columns[name], values):
            yield MAIN_TABLE, f"has other values of {name} than the grid"

    matched, diverged = columns["matched"], columns["diverged"]
    first, settled = columns["first_match_step"], columns["settled_step"]
    for name in ("first_match_step", "settled_step"):
        if not np.isin(columns[name], [-1, *steps]).all():
            yield MAIN_TABLE, f"has a {name} at which there is no record"
    for name, is_possible in {
        "forgot": columns["forgot"] == ((first >= 0) & ~matched),
        "settled_step": (settled >= 0) == matched,
        "first_match_step": ~matched | ((first >= 0) & (first <= settled)),
        "diverged": ~(diverged & (matched | columns["in_support"])),
    }.items():
        if not is_possible.all():
            yield MAIN_TABLE, f"has a {name} that other columns rule out"

    counts = count_rows(columns, steps)
    ever_matched, have_settled = np.cumsum(counts.first_matched), np.cumsum(counts.settled)
    if not np.array_equal(tables["curves"]["step"], steps):
        yield "curves", "has other steps than the run"
    if not np.all(tables["curves"]["seeds"].to_numpy() == len(rows)):
        yield "curves", f"does not count {len(rows):,} seeds"
    for name, count in curves.items():
        if not ((count >= 0) & (count <= len(rows))).all():
            yield "curves", f"counts {name} outside 0 to {len(rows):,}"
        if count[-1] != columns[name].sum():
            yield "curves", f"counts {count[-1]:,} {name} at the end, not {columns[name].sum():,}"
    if not ((have_settled <= curves["matched"]) & (curves["matched"] <= ever_matched)).all():
        yield "curves", "counts matched as the rows rule out"

    if history is None:
        return
    kept, records = history.step.shape
    if not np.array_equal(tables["histories"]["seed"], np.repeat(seeds[:kept], records)):
        yield "histories", "has other seeds than its name says"
    if not np.array_equal(history.step, np.broadcast_to(steps, history.step.shape)):
        yield "histories", "has other steps than the run"
    ends = record_columns(jax.tree.map(lambda leaf: leaf[:, -1], history))
    for name in filter(columns.__contains__, ends):
        if ends[name].tobytes() != columns[name][:kept].tobytes():
            yield "histories", f"ends with another {name} than its row"
    misses = np.where(history.matched, -1, np.arange(records)).max(axis=1)
    ever, at_end = history.matched.any(axis=1), misses < records - 1
    for name, found, record in (
        ("first_match_step", ever, history.matched.argmax(axis=1)),
        ("settled_step", at_end, np.minimum(misses + 1, records - 1)),
    ):
        if not np.array_equal(np.where(found, steps[record], -1), columns[name][:kept]):
            yield "histories", f"has another {name} than its row"
    for name, flags in properties(history).items():
        others = curves[name] - flags.sum(axis=0)
        if not ((others >= 0) & (others <= len(rows) - kept)).all():
            yield "histories", f"has other counts of {name} than its curves"
