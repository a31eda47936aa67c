"""The result directory: tables in parts, a manifest before them, a report after.

OUT/manifest.json               what is run; written first
OUT/population/part-*.parquet   a row per seed
OUT/curves/part-*.parquet       a row per record: how many of a part's seeds have succeeded
OUT/histories/part-*.parquet    a row per seed and record, of the first seeds
OUT/report.json                 how it went; written last
OUT/figures/*.png               and training.gif or training.mp4, if asked for

A file gets its name when all of it is on the disk. A part's name says which rows of the population
it has, and ends in a digest of its bytes, so that a part that exists is complete, and one that was
changed is found out. A part of the population names its curves and histories, which are written
before it. One run writes at a time, held to it by a lock that ends with its process.
"""

import errno
import hashlib
import io
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import filelock
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gan1010_jax.checks import count_cells
from gan1010_jax.errors import BadFile, InvalidArgument

if TYPE_CHECKING:  # its import takes four times as long as all others here
    from matplotlib.figure import Figure

FORMAT = 2
MANIFEST, REPORT = "manifest.json", "report.json"
MANIFEST_KEYS = ("seeds", "chunk", "configuration", "device", "versions")
MAIN_TABLE = "population"
SIDE_TABLES = ("curves", "histories")
TABLES = (MAIN_TABLE, *SIDE_TABLES)
LOCK = ".lock"
METADATA = b"gan1010_jax"
DIGEST_LENGTH = 16
PART = re.compile(r"part-(\d{10})-(\d{10})-([0-9a-f]{16})\.parquet")
TEMPORARY = re.compile(r"\..+\.\d+\.tmp")


class Part(NamedTuple):
    """A part of a table: it has the rows from `first` up to `stop` of the population."""

    first: int
    stop: int
    digest: str

    @property
    def name(self) -> str:
        """Its file's name."""
        return f"part-{self.first:010d}-{self.stop:010d}-{self.digest}.parquet"


@contextmanager
def claim(out: Path, resume: bool) -> Iterator[None]:
    """Be the one run that writes to a directory, which is made if there is none.

    Raises:
      InvalidArgument: (a `ValueError`) if it is a file, cannot be written to or, unless
        `resume`, holds anything. Nothing that was there is touched.
      BadFile: (a `ValueError`) if another run is writing to it.
    """
    allowed = "a new or empty directory that can be written to"
    lock = filelock.FileLock(out / LOCK)
    try:
        out.mkdir(parents=True, exist_ok=True)
        sync(out.parent)
        check_empty(out, allowed, resume)
        lock.acquire(blocking=False)
    except filelock.Timeout as error:
        raise BadFile(out, "is being written to by another run") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        if resume:
            raise BadFile(out, f"cannot be written to ({error.strerror})") from error
        raise InvalidArgument("out", str(out), f"{allowed} ({error.strerror})") from error
    try:
        check_empty(out, allowed, resume)  # by now another run may have come and gone
        yield
    finally:
        lock.release()


def check_empty(out: Path, allowed: str, resume: bool) -> None:
    """Refuse a directory that holds anything, unless a run is to be resumed there."""
    if not resume and not is_empty(out):
        raise InvalidArgument("out", str(out), f"{allowed} (this one holds files already)")


def is_empty(out: Path) -> bool:
    """Whether a directory holds nothing yet, but the lock or what a killed run has left."""
    return all(path.name == LOCK or TEMPORARY.fullmatch(path.name) for path in out.iterdir())


def is_begun(out: Path) -> bool:
    """Whether a run was begun in a directory: whether there is a manifest."""
    return (out / MANIFEST).exists()


def write_manifest(out: Path, manifest: Mapping[str, Any]) -> None:
    """Write what is run, as JSON, with the format's version and a checksum.

    A report on fewer seeds, of an earlier run in the same directory, is withdrawn.
    """
    (out / REPORT).unlink(missing_ok=True)
    manifest = {"format": FORMAT, **manifest}
    write_json(out / MANIFEST, {**manifest, "checksum": fingerprint(manifest)})


def read_manifest(out: Path) -> dict[str, Any]:
    """Read what is run.

    Raises:
      BadFile: (a `ValueError`) if there is none, it is not a manifest, it was changed, or it is
        of another format than this version of the package knows.
    """
    path = out / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as error:
        raise BadFile(path, f"cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise BadFile(path, "is not JSON") from error
    version = manifest.get("format") if isinstance(manifest, dict) else None
    if type(version) is not int or version < 1:
        raise BadFile(path, "is not the manifest of a run")
    if version != FORMAT:
        raise BadFile(path, f"is of format {version}, and this version knows format {FORMAT}")
    if not {"checksum", *MANIFEST_KEYS} <= manifest.keys():
        raise BadFile(path, "is not the manifest of a run")
    checksum = manifest.pop("checksum")
    if checksum != fingerprint(manifest):
        raise BadFile(path, "was changed since it was written: its checksum is not right")
    del manifest["format"]
    return manifest


def fingerprint(value: Any) -> str:
    """A digest of what JSON can write, whatever the order of keys."""
    return digest(json.dumps(value, sort_keys=True).encode())


def digest(data: bytes | memoryview) -> str:
    """The first 64 bits of the SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()[:DIGEST_LENGTH]


def write_chunk(
    out: Path, rows: range, configuration: Mapping[str, Any], tables: Mapping[str, pa.Table]
) -> None:
    """Write the tables of some rows of a population; the part of the population comes last."""
    facts = part_facts(rows, configuration)
    digests = {
        name: write_part(out, name, rows, tables[name], facts)
        for name in SIDE_TABLES
        if name in tables
    }
    write_part(out, MAIN_TABLE, rows, tables[MAIN_TABLE], {**facts, **digests})


def part_facts(rows: range, configuration: Mapping[str, Any]) -> dict[str, Any]:
    """What every part says of itself."""
    return {"rows": [rows.start, rows.stop], "configuration": fingerprint(configuration)}


def write_part(out: Path, name: str, rows: range, table: pa.Table, facts: Mapping[str, Any]) -> str:
    """Write a part of a table, with some facts in its metadata; its digest."""
    metadata = {METADATA: json.dumps({"table": name, **facts})}
    data = as_parquet(table.replace_schema_metadata(metadata))
    part = Part(rows.start, rows.stop, digest(data))
    write_file(out / name / part.name, data)
    return part.digest


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


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table as a Parquet file of its own."""
    write_file(path, as_parquet(table))


def read_chunk(out: Path, part: Part, configuration: Mapping[str, Any]) -> dict[str, pa.Table]:
    """Read the tables of a part of the population, and check them.

    Raises:
      BadFile: (a `ValueError`) for the first that is not what its name says.
    """
    rows = range(part.first, part.stop)
    expected = part_facts(rows, configuration)
    table, facts = read_part(out, MAIN_TABLE, part, expected)
    seeds = configuration["first_seed"] + np.asarray(rows) // count_cells(configuration["grid"])
    if "seed" not in table.column_names or not np.array_equal(table["seed"], seeds):
        raise BadFile(out / MAIN_TABLE / part.name, "has other seeds than its name says")
    tables = {MAIN_TABLE: table}
    for name in SIDE_TABLES:
        if name in facts:
            side = part._replace(digest=facts[name])
            tables[name], _ = read_part(out, name, side, expected)
    return tables


def read_part(
    out: Path, name: str, part: Part, expected: Mapping[str, Any]
) -> tuple[pa.Table, dict[str, Any]]:
    """Read a part of a table, and the facts in its metadata, of which some are expected."""
    path = out / name / part.name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadFile(path, f"cannot be read ({error.strerror})") from error
    if digest(data) != part.digest:
        raise BadFile(path, "is damaged: its bytes do not have the digest in its name")
    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read()
        facts = dict(json.loads(table.schema.metadata[METADATA]))
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise BadFile(path, "is no part of a run") from error
    for key, value in {"table": name, **expected}.items():
        if facts.get(key) != value:
            raise BadFile(path, f"is of another {key}: {facts.get(key)}, not {value}")
    return table, facts


def list_parts(out: Path, rows: int) -> Iterator[Part | BadFile]:
    """The parts of so many rows by their names, in order; or what is wrong with a file there.

    Hidden files are left out, temporary ones among them.
    """
    directory, stop = out / MAIN_TABLE, 0
    names = sorted(path.name for path in directory.iterdir()) if directory.exists() else []
    for name in names:
        if name.startswith("."):
            continue
        match = PART.fullmatch(name)
        if not match:
            yield BadFile(directory / name, "is no part of a run")
            continue
        part = Part(int(match[1]), int(match[2]), match[3])
        if part.first < stop:
            yield BadFile(directory / name, "has rows that another part has already")
        elif part.stop <= part.first:
            yield BadFile(directory / name, "has no rows, by its name")
        elif part.stop > rows:
            yield BadFile(directory / name, f"has rows beyond the {rows} that the manifest knows")
        else:
            stop = part.stop
            yield part


def read_chunks(
    out: Path, manifest: Mapping[str, Any], repair: bool = False
) -> Iterator[tuple[Part, dict[str, pa.Table]]]:
    """Read the tables of every part of the population, in order, and check them.

    Args:
      out: the directory.
      manifest: what is run. Among it, `seeds` is the number of seeds, and the `configuration`'s
        `first_seed` the seed of the first rows, as many as its `grid` has cells.
      repair: whether a bad file, with the part of the population that needs it, is moved to
        `OUT/set-aside/` instead of raising an error.

    Raises:
      BadFile: (a `ValueError`) for the first bad file.
    """
    cells = count_cells(manifest["configuration"]["grid"])
    for part in list_parts(out, manifest["seeds"] * cells):
        try:
            if isinstance(part, BadFile):
                raise part
            tables = read_chunk(out, part, manifest["configuration"])
        except BadFile as bad:
            if not repair:
                raise
            set_aside(out, bad.path)
            if isinstance(part, Part):
                set_aside(out, out / MAIN_TABLE / part.name)
        else:
            yield part, tables


def set_aside(out: Path, path: Path) -> None:
    """Move a file, if it is there, to `OUT/set-aside/`; the report, which knew it, is withdrawn."""
    if not os.path.lexists(path):
        return
    (out / REPORT).unlink(missing_ok=True)
    directory = out / "set-aside"
    directory.mkdir(exist_ok=True)
    names = (f"{number}-{path.parent.name}-{path.name}" for number in itertools.count())
    path.rename(next(directory / name for name in names if not os.path.lexists(directory / name)))


def find_gaps(parts: Iterable[Part | BadFile], rows: int) -> list[range]:
    """The rows from 0 to `rows` that no part has; the parts are in order."""
    gaps, stop = [], 0
    end = Part(rows, rows, "")
    for part in (*parts, end):
        if isinstance(part, Part):
            if stop < part.first:
                gaps.append(range(stop, part.first))
            stop = part.stop
    return gaps


def cut(rows: range, size: int) -> list[range]:
    """Rows cut at the multiples of a size."""
    cuts = range(rows.start - rows.start % size, rows.stop, size)
    return [range(max(rows.start, first), min(rows.stop, first + size)) for first in cuts]


def clean(out: Path, rows: int) -> None:
    """Remove what interrupted runs left behind: temporary files, and side tables of no part."""
    used = set()
    for part in list_parts(out, rows):
        if isinstance(part, Part):
            schema = pq.read_schema(out / MAIN_TABLE / part.name)
            facts = json.loads(schema.metadata[METADATA])
            used |= {(name, facts[name]) for name in SIDE_TABLES if name in facts}
    for path in filter(Path.is_file, (*out.glob("*"), *out.glob("*/*"))):
        part = PART.fullmatch(path.name) if path.parent.name in SIDE_TABLES else None
        unused = part and (path.parent.name, part[3]) not in used
        if unused or TEMPORARY.fullmatch(path.name):
            path.unlink()


def write_report(out: Path, report: Mapping[str, Any]) -> None:
    """Write how it went, as JSON, in the order given."""
    write_json(out / REPORT, report)


def read_report(out: Path) -> dict[str, Any]:
    """Read how it went; empty if there is no report, or none that can be read."""
    try:
        report = json.loads((out / REPORT).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return report if isinstance(report, dict) else {}


def write_figures(out: Path, figures: Mapping[str, "Figure"]) -> None:
    """Write each figure as `figures/NAME.png`, the same bytes for the same figure."""
    for name, figure in figures.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
        write_file(out / "figures" / f"{name}.png", buffer.getbuffer())


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, in the order given."""
    write_file(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def write_file(path: Path, data: bytes | memoryview) -> None:
    """Write a file that is there as a whole or not at all, even after a power failure."""
    if not path.parent.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        sync(path.parent.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # which a full disk does not say
        raise
    sync(path.parent)


def sync(directory: Path) -> None:
    """Have the names in a directory on the disk."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
