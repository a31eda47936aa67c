"""Files that are complete or absent, and a directory that one run writes at a time."""

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from gan1010_jax.errors import BadFile, InvalidArgument

TEMPORARY = re.compile(r"\..+\.\d+\.tmp")
_LOCK = ".lock"


@contextmanager
def claim(out: Path, resume: bool) -> Iterator[None]:
    """Take the lock of a directory, which is made if there is none; it ends with the process.

    Raises:
      InvalidArgument: (a `ValueError`) if it is a file, cannot be written to or, unless
        `resume`, holds anything. Nothing that was there is touched.
      BadFile: (a `ValueError`) if another run is writing to it.
    """
    allowed = "a new or empty directory that can be written to"

    def check_empty() -> None:
        if not resume and not is_empty(out):
            raise InvalidArgument("out", str(out), f"{allowed} (this one holds files already)")

    lock = filelock.FileLock(out / _LOCK)
    try:
        out.mkdir(parents=True, exist_ok=True)
        _sync(out.parent)
        check_empty()
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
        check_empty()  # by now another run may have come and gone
        yield
    finally:
        lock.release()


def is_empty(out: Path) -> bool:
    """Whether a directory holds nothing but the lock and a killed run's temporary files."""
    return all(path.name == _LOCK or TEMPORARY.fullmatch(path.name) for path in out.iterdir())


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, in the order given."""
    write_file(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def write_file(path: Path, data: bytes | memoryview) -> None:
    """Write a file that is complete or absent, even after a power failure."""
    if not path.parent.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _sync(path.parent.parent)
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
            error.filename = str(path)  # an error of a full disk has none
        raise
    _sync(path.parent)


def _sync(directory: Path) -> None:
    """Fsync a directory, so that the names in it are on the disk."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
