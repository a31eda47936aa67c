"""The program `check`: whether every file of a result directory is sound."""

import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import gan1010_jax as gan
from gan1010_jax.cli.commands import Check
from gan1010_jax.population import (
    CELLS,
    OTHER_FOLDERS,
    audit_population,
    find_misplaced_in,
    is_begun,
    join_cells,
    read_file,
)

_MAX_CELLS = 2**28  # bytes


def check(options: Check) -> None:
    """Audit the directory, or each one of a sweep and the table of its cells."""
    out, bad, runs = options.directory, [], [options.directory]
    if out.is_dir() and not is_begun(out):
        inside = sorted(
            one for one in out.iterdir() if one.is_dir() and one.name not in OTHER_FOLDERS
        )
        runs = [one for one in inside if any(one.glob("*/*")) or is_begun(one)] or runs
    for one in runs:
        audit = audit_population(one)
        bad += audit.bad
        rows = f"{audit.rows:,} of {audit.all_rows:,} rows"
        print(f"{one}: {rows}, {audit.files:,} files and {audit.size:,} bytes are sound")
    if runs != [out]:
        bad += find_misplaced_in(out, [one.name for one in runs])
        if os.path.lexists(out / CELLS) and not bad:
            bad += _find_bad_cells(out / CELLS, runs)
    for one in bad:
        print(f"error: {one}", file=sys.stderr)
    if bad:
        sys.exit(1)


def _find_bad_cells(cells: Path, runs: list[Path]) -> list[gan.BadFile]:
    """What is wrong with the table of a sweep's cells, if it is not that of its runs."""
    tables = {run.name: gan.tabulate_cells(gan.load_population(run)) for run in runs}
    try:
        found = pq.read_table(pa.BufferReader(read_file(cells, _MAX_CELLS))).to_pydict()
    except gan.BadFile as bad:
        return [bad]
    except (pa.ArrowException, OSError, ValueError):
        return [gan.BadFile(cells, "is no table of cells")]
    # The methods are in the order in which they were given.
    order = [run for run in dict.fromkeys(found.get("method", ())) if run in tables]
    expected = join_cells({name: tables[name] for name in [*order, *tables]})
    if found.keys() != expected.keys() or any(
        not np.array_equal(found[name], expected[name], equal_nan=expected[name].dtype.kind == "f")
        for name in expected
    ):
        return [gan.BadFile(cells, "does not count the rows that are there")]
    return []
