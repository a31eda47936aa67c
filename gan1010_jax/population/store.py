"""The result directory: tables in parts, a manifest before them, a report after.

OUT/manifest.json               what is run; written first
OUT/population/part-*.parquet   a row per seed
OUT/curves/part-*.parquet       a row per record: how many of a chunk's seeds have each property
OUT/histories/part-*.parquet    a row per seed and record, of the first seeds
OUT/report.json                 the results; written last
OUT/figures/*                   and training.gif or training.mp4, if asked for

A part is the file of a chunk in a table, and gets its name when all of it is on the disk. The name
states the chunk's rows and a digest of the file's bytes, so that a part that exists is complete,
and a changed one is detected. A part of the population names its curves and histories, which are
written before it.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from gan1010_jax.errors import BadFile
from gan1010_jax.lazy import import_when_used
from gan1010_jax.population.files import (
    TEMPORARY,
    find_misplaced,
    is_folder,
    is_number,
    read_file,
    read_json,
    write_file,
)
from gan1010_jax.population.integrity import Expected, find_file_flaw, find_flaw
from gan1010_jax.population.manifest import REPORT, digest, fingerprint
from gan1010_jax.population.settings import MAX_CHUNK
from gan1010_jax.population.tables import (
    MAIN_TABLE,
    SIDE_TABLES,
    TABLES,
    Results,
    as_parquet,
    read_tables,
)

pa, pq = import_when_used("pyarrow"), import_when_used("pyarrow.parquet")

_SET_ASIDE = "set-aside"
# What a report says of the last session alone.
TIMES = ("wall_seconds", "compile_seconds", "seed_steps_per_second")
FOLDERS = (*TABLES, "figures", _SET_ASIDE)
_METADATA = b"gan1010_jax"
_DIGEST = "[0-9a-f]{16}"
_PART = re.compile(rf"part-(\d{{10}})-(\d{{10}})-({_DIGEST})\.parquet")


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
    out: Path,
    rows: int,
    expected: Expected,
    configuration: Mapping[str, Any],
    known: Iterable[Part],
    on_bad: Callable[[BadFile], object],
) -> Iterator[tuple[Parts, Results]]:
    """Read and check every chunk of `rows` rows but those of the `known` parts, in order.

    `on_bad` is called with what is wrong with a file, and its chunk is left out.
    """
    known = set(known)
    for part in list_parts(out, rows):
        if part in known:
            continue
        try:
            if isinstance(part, BadFile):
                raise part
            chunk = _read_chunk(out, part, expected, configuration)
        except BadFile as bad:
            on_bad(bad)
            if isinstance(part, Part) and bad.path.parent.name != MAIN_TABLE:
                needs = out / MAIN_TABLE / part.name
                on_bad(BadFile(needs, f"needs {bad.path.name} of {bad.path.parent.name}"))
        else:
            yield chunk


def list_parts(out: Path, rows: int) -> Iterator[Part | BadFile]:
    """The parts of the population of `rows` rows, in order; or what is wrong with a file there.

    By their names alone. Hidden files are left out, temporary ones among them.
    """
    directory, stop = out / MAIN_TABLE, 0
    names = sorted(path.name for path in directory.iterdir()) if is_folder(directory) else []
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
        elif not 1 <= len(part.rows) <= MAX_CHUNK:
            yield BadFile(directory / name, f"has not 1 to {MAX_CHUNK:,} rows, by its name")
        elif part.rows.stop > rows:
            yield BadFile(directory / name, f"has rows beyond the {rows} that the manifest knows")
        else:
            stop = part.rows.stop
            yield part


def _read_chunk(
    out: Path, part: Part, expected: Expected, configuration: Mapping[str, Any]
) -> tuple[Parts, Results]:
    """Read and check the chunk that a part of the population belongs to."""
    stated = _chunk_facts(part.rows, configuration)
    file, facts = _open_part(out, MAIN_TABLE, part, expected, stated)
    parts, opened = {MAIN_TABLE: part}, {MAIN_TABLE: file}
    for name in filter(SIDE_TABLES.__contains__, expected.tables_of(part.rows)):
        if not re.fullmatch(_DIGEST, str(facts.get(name))):
            raise BadFile(out / MAIN_TABLE / part.name, f"does not name its {name}")
        parts[name] = part._replace(digest=facts[name])
        opened[name], _ = _open_part(out, name, parts[name], expected, stated)
    # Only now that every file of the chunk is as large as it should be.
    tables = {
        name: _read_values(file, out / name / parts[name].name) for name, file in opened.items()
    }
    results = read_tables(tables, len(expected.settings.record_steps))
    if flaw := find_flaw(tables, results, part.rows, expected):
        name, problem = flaw
        raise BadFile(out / name / parts[name].name, problem)
    return parts, results


def _open_part(
    out: Path, name: str, part: Part, expected: Expected, stated: Mapping[str, Any]
) -> tuple[pq.ParquetFile, dict[str, Any]]:
    """Open a part of a table, and check its footer; and the facts in its metadata."""
    path = out / name / part.name
    data = _read_checked(path, part.digest, expected.most_bytes(name, part.rows))
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        facts = dict(json.loads(file.schema_arrow.metadata[_METADATA]))
        for key, value in {"table": name, **stated}.items():
            if facts.get(key) != value:
                raise BadFile(path, f"is of another {key}: {facts.get(key)}, not {value}")
        if flaw := find_file_flaw(file, name, part.rows, expected):
            raise BadFile(path, flaw)
        return file, facts
    except BadFile:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadFile(path, "is no part of a run") from error


def _read_values(file: pq.ParquetFile, path: Path) -> pa.Table:
    """Read the values of a part that is open."""
    try:
        return file.read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadFile(path, "is no part of a run") from error


def _read_checked(path: Path, expected: str, most: int) -> bytes:
    """The bytes of a part, `most` at most, if they have its digest."""
    data = read_file(path, most)
    if digest(data) != expected:
        raise BadFile(path, "is damaged: its bytes do not have the digest in its name")
    return data


def raise_bad(bad: BadFile) -> NoReturn:
    """Do not go on after a bad file."""
    raise bad


def find_bad_rest(out: Path) -> Iterator[BadFile]:
    """What is wrong beside the manifest and the parts: folders that are none, and the report."""
    figures = out / "figures"
    drawn = figures.iterdir() if is_folder(figures) else ()
    folders = (out / name for name in FOLDERS)
    yield from find_misplaced(folders, (path for path in drawn if path.suffix))
    try:
        read_report(out)
    except BadFile as bad:
        yield bad


def set_aside(bad: BadFile, out: Path) -> None:
    """Move a bad file or link to `OUT/set-aside/`; a report that counted it is deleted."""
    path, directory, report = bad.path, out / _SET_ASIDE, out / REPORT
    if path == directory:
        raise bad
    if not os.path.lexists(path):
        return
    directory.mkdir(exist_ok=True)
    names = (f"{number}-{path.parent.name}-{path.name}" for number in itertools.count())
    path.rename(next(directory / name for name in names if not os.path.lexists(directory / name)))
    if not is_folder(report):
        report.unlink(missing_ok=True)


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
    folders = [out, *filter(is_folder, (out / name for name in FOLDERS))]
    for path in (path for folder in folders for path in folder.iterdir() if not path.is_dir()):
        is_side = path.parent.name in SIDE_TABLES and _PART.fullmatch(path.name)
        if TEMPORARY.fullmatch(path.name) or (is_side and path not in used):
            path.unlink()


def read_report(out: Path) -> dict[str, Any]:
    """Read the report, an object of JSON; empty if there is none."""
    path = out / REPORT
    if not os.path.lexists(path):
        return {}
    report = read_json(path)
    times = [report.get(name) for name in TIMES] if type(report) is dict else [False]
    if times != [None] * len(TIMES) and not all(is_number(time) and time >= 0 for time in times):
        raise BadFile(path, "is not the report of a run")
    return report


class StoredColumns(Mapping[str, np.ndarray]):
    """The columns of parts, each read when it is first asked for, from files that have not changed.

    Reading one raises `BadFile` for a part whose bytes are not those of its digest any more.
    """

    def __init__(self, out: Path, parts: Iterable[Part], expected: Expected):
        """Read nothing yet."""
        self._out, self._parts, self._expected = out, list(parts), expected
        names = expected.schemas[MAIN_TABLE].names
        self._columns: dict[str, Any] = dict.fromkeys(names)

    def __getitem__(self, name: str) -> np.ndarray:
        """One column, [rows]."""
        if self._columns[name] is None:
            with ThreadPoolExecutor() as pool:
                found = pool.map(lambda part: self._read(name, part), self._parts)
                self._columns[name] = np.concatenate([*found])
        return self._columns[name]

    def _read(self, name: str, part: Part) -> np.ndarray:
        most = self._expected.most_bytes(MAIN_TABLE, part.rows)
        data = _read_checked(self._out / MAIN_TABLE / part.name, part.digest, most)
        return pq.read_table(pa.BufferReader(data), columns=[name])[name].to_numpy()

    def __iter__(self) -> Iterator[str]:
        """The names of the columns, in their order."""
        return iter(self._columns)

    def __len__(self) -> int:
        """The number of columns."""
        return len(self._columns)
