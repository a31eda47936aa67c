"""The result directory: tables in parts, a manifest before them, a report after.

OUT/manifest.json               what is run; written first
OUT/population/part-*.parquet   a row per seed
OUT/curves/part-*.parquet       a row per record: how many of a chunk's seeds have each property
OUT/histories/part-*.parquet    a row per seed and record, of the first seeds
OUT/report.json                 the results; written last
OUT/figures/*.png               and training.gif or training.mp4, if asked for

A part is the file of a chunk in a table, and gets its name when all of it is on the disk. The name
states the chunk's rows and a digest of the file's bytes, so that a part that exists is complete,
and a changed one is detected. A part of the population names its curves and histories, which are
written before it.
"""

import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gan1010_jax.errors import BadFile
from gan1010_jax.population.files import TEMPORARY, write_file
from gan1010_jax.population.manifest import REPORT, digest, fingerprint
from gan1010_jax.population.settings import count_cells
from gan1010_jax.population.tables import MAIN_TABLE, SIDE_TABLES, as_parquet

_METADATA = b"gan1010_jax"
_PART = re.compile(r"part-(\d{10})-(\d{10})-([0-9a-f]{16})\.parquet")


class Part(NamedTuple):
    """The file of a chunk in one table."""

    rows: range
    digest: str

    @property
    def name(self) -> str:
        """Its file's name."""
        return f"part-{self.rows.start:010d}-{self.rows.stop:010d}-{self.digest}.parquet"


# The parts of a chunk, by table.
Parts = Mapping[str, Part]


def write_chunk(
    out: Path, rows: range, configuration: Mapping[str, Any], tables: Mapping[str, pa.Table]
) -> Parts:
    """Write the tables of a chunk; the part of the population comes last."""
    facts = _chunk_facts(rows, configuration)
    parts = {
        name: _write_part(out, name, rows, tables[name], facts)
        for name in SIDE_TABLES
        if name in tables
    }
    digests = {name: part.digest for name, part in parts.items()}
    main = _write_part(out, MAIN_TABLE, rows, tables[MAIN_TABLE], {**facts, **digests})
    return {MAIN_TABLE: main, **parts}


def _chunk_facts(rows: range, configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that every part of a chunk states in its metadata."""
    return {"rows": [rows.start, rows.stop], "configuration": fingerprint(configuration)}


def _write_part(
    out: Path, name: str, rows: range, table: pa.Table, facts: Mapping[str, Any]
) -> Part:
    """Write a part of a table, with these facts in its metadata."""
    metadata = {_METADATA: json.dumps({"table": name, **facts})}
    data = as_parquet(table.replace_schema_metadata(metadata))
    part = Part(rows, digest(data))
    write_file(out / name / part.name, data)
    return part


def read_chunks(
    out: Path, manifest: Mapping[str, Any], known: Iterable[Part] = (), repair: bool = False
) -> Iterator[tuple[Parts, dict[str, pa.Table]]]:
    """Read and check the parts and tables of every chunk, in order, but the `known` parts'.

    A bad file raises `BadFile` or, with `repair`, is moved to `OUT/set-aside/` together with the
    part of the population that needs it.
    """
    known = set(known)
    cells = count_cells(manifest["configuration"]["grid"])
    for part in list_parts(out, manifest["seeds"] * cells):
        if part in known:
            continue
        try:
            if isinstance(part, BadFile):
                raise part
            chunk = _read_chunk(out, part, manifest["configuration"])
        except BadFile as bad:
            if not repair:
                raise
            _set_aside(out, bad.path)
            if isinstance(part, Part):
                _set_aside(out, out / MAIN_TABLE / part.name)
        else:
            yield chunk


def list_parts(out: Path, rows: int) -> Iterator[Part | BadFile]:
    """The parts of the population of `rows` rows, in order; or what is wrong with a file there.

    By their names alone. Hidden files are left out, temporary ones among them.
    """
    directory, stop = out / MAIN_TABLE, 0
    names = sorted(path.name for path in directory.iterdir()) if directory.exists() else []
    for name in names:
        if name.startswith("."):
            continue
        match = _PART.fullmatch(name)
        if not match:
            yield BadFile(directory / name, "is no part of a run")
            continue
        part = Part(range(int(match[1]), int(match[2])), match[3])
        if part.rows.start < stop:
            yield BadFile(directory / name, "has rows that another part has already")
        elif not part.rows:
            yield BadFile(directory / name, "has no rows, by its name")
        elif part.rows.stop > rows:
            yield BadFile(directory / name, f"has rows beyond the {rows} that the manifest knows")
        else:
            stop = part.rows.stop
            yield part


def _read_chunk(
    out: Path, part: Part, configuration: Mapping[str, Any]
) -> tuple[Parts, dict[str, pa.Table]]:
    """Read and check the tables of the chunk that a part of the population belongs to."""
    expected = _chunk_facts(part.rows, configuration)
    table, facts = _read_part(out, MAIN_TABLE, part, expected)
    places = np.asarray(part.rows) // count_cells(configuration["grid"])
    seeds = configuration["first_seed"] + places
    if "seed" not in table.column_names or not np.array_equal(table["seed"], seeds):
        raise BadFile(out / MAIN_TABLE / part.name, "has other seeds than its name says")
    parts, tables = {MAIN_TABLE: part}, {MAIN_TABLE: table}
    for name in SIDE_TABLES:
        if name in facts:
            parts[name] = part._replace(digest=facts[name])
            tables[name], _ = _read_part(out, name, parts[name], expected)
    return parts, tables


def _read_part(
    out: Path, name: str, part: Part, expected: Mapping[str, Any]
) -> tuple[pa.Table, dict[str, Any]]:
    """Read a part of a table and the facts in its metadata, and check the expected ones."""
    path = out / name / part.name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadFile(path, f"cannot be read ({error.strerror})") from error
    if digest(data) != part.digest:
        raise BadFile(path, "is damaged: its bytes do not have the digest in its name")
    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read()
        facts = dict(json.loads(table.schema.metadata[_METADATA]))
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise BadFile(path, "is no part of a run") from error
    for key, value in {"table": name, **expected}.items():
        if facts.get(key) != value:
            raise BadFile(path, f"is of another {key}: {facts.get(key)}, not {value}")
    return table, facts


def _set_aside(out: Path, path: Path) -> None:
    """Move a file, if it is there, to `OUT/set-aside/`; a report that counted it is deleted."""
    if not os.path.lexists(path):
        return
    (out / REPORT).unlink(missing_ok=True)
    directory = out / "set-aside"
    directory.mkdir(exist_ok=True)
    names = (f"{number}-{path.parent.name}-{path.name}" for number in itertools.count())
    path.rename(next(directory / name for name in names if not os.path.lexists(directory / name)))


def find_gaps(parts: Iterable[Part | BadFile], rows: int) -> list[range]:
    """The rows from 0 to `rows` that no part has; the parts are in order."""
    known = [part.rows for part in parts if isinstance(part, Part)]
    stops, starts = [0, *(x.stop for x in known)], [*(x.start for x in known), rows]
    return [range(stop, start) for stop, start in zip(stops, starts) if stop < start]


def cut(rows: range, size: int) -> list[range]:
    """Rows cut at the multiples of a size."""
    cuts = range(rows.start - rows.start % size, rows.stop, size)
    return [range(max(rows.start, first), min(rows.stop, first + size)) for first in cuts]


def clean(out: Path, chunks: Iterable[Parts]) -> None:
    """Remove what interrupted runs left: temporary files, and parts of side tables of no chunk."""
    used = {out / table / part.name for parts in chunks for table, part in parts.items()}
    for path in filter(Path.is_file, (*out.glob("*"), *out.glob("*/*"))):
        is_side = path.parent.name in SIDE_TABLES and _PART.fullmatch(path.name)
        if TEMPORARY.fullmatch(path.name) or (is_side and path not in used):
            path.unlink()


def read_report(out: Path) -> dict[str, Any]:
    """Read the report; empty if there is none, or none that can be read."""
    try:
        return dict(json.loads((out / REPORT).read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError):
        return {}
