"""Files that are complete or absent, and a directory that one run writes at a time."""

import errno
import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import filelock

from gan1010_jax.errors import BadFile, InvalidArgument

TEMPORARY = re.compile(r"\..+\.\d+\.tmp")
_LOCK = ".lock"
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)
_MAX_JSON = 2**24  # bytes
_MAX_DEPTH = 200


@contextmanager
def claim(out: Path, is_ours: Callable[[], bool] | None = None) -> Iterator[None]:
    """Take the lock of a directory, which is made if there is none; it ends with the process.

    Raises:
      InvalidArgument: (a `ValueError`) if it cannot be written to, or holds files and, by
        `is_ours`, is not this run's. Nothing that was there is touched.
      BadFile: (a `ValueError`) if another run is writing to it, or it cannot be locked.
    """
    allowed = "a new or empty directory that can be written to"
    if is_ours:
        allowed = "a directory that can be written to, and is new, empty or begun by the same run"

    def check_ours() -> None:
        if not _is_empty(out) and not (is_ours and is_ours()):
            raise InvalidArgument("out", str(out), f"{allowed} (this one holds other files)")

    try:
        out.mkdir(parents=True, exist_ok=True)
        _sync(out.parent)
        check_ours()
        lock = filelock.FileLock(out / _LOCK, fallback_to_soft=False)
        lock.acquire(blocking=False)
    except filelock.Timeout as error:
        raise BadFile(out, "is being written to by another run") from error
    except OSError as error:
        if error.errno in _NO_LOCKS:
            problem = "is on a file system without locks: write to another, such as a local disk"
            raise BadFile(out, problem) from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InvalidArgument("out", str(out), f"{allowed} ({error.strerror})") from error
    try:
        check_ours()  # by now another run may have come and gone
        yield
    finally:
        lock.release()


def _is_empty(out: Path, levels: int = 3) -> bool:
    """Whether a directory holds nothing but locks and temporary files of runs that were killed."""
    return all(
        path.name == _LOCK
        or TEMPORARY.fullmatch(path.name)
        or (levels and is_folder(path) and _is_empty(path, levels - 1))
        for path in out.iterdir()
    )


def is_folder(path: Path) -> bool:
    """Whether this is a directory itself, and no link to one."""
    return path.is_dir() and not path.is_symlink()


def find_misplaced(folders: Iterable[Path], files: Iterable[Path]) -> Iterator[BadFile]:
    """Links and files in the place of folders, and folders in that of files."""
    for path in folders:
        if os.path.lexists(path) and not is_folder(path):
            yield BadFile(path, "is no folder of its own")
    for path in files:
        if is_folder(path):
            yield BadFile(path, "is a folder in the place of a file")


def read_json(path: Path) -> Any:
    """Read a JSON value; raise `BadFile` if there is none, of 16 MiB or less."""
    try:
        value = json.loads(read_file(path, _MAX_JSON), parse_constant=_reject_constant)
    except BadFile:
        raise
    except (ValueError, RecursionError) as error:
        raise BadFile(path, "is not JSON") from error
    if not _is_shallow(value, _MAX_DEPTH):
        raise BadFile(path, "is nested too deeply")
    return value


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _is_shallow(value: Any, levels: int) -> bool:
    """Whether a JSON value has this many levels of lists and objects, or fewer."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels >= 0 and all(_is_shallow(item, levels - 1) for item in items)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number that a float can hold."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def read_file(path: Path, most: int) -> bytes:
    """Read a regular file of `most` bytes or fewer; raise `BadFile` for anything else."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise BadFile(path, "cannot be read (it is no regular file)")
        if found.st_size > most:
            raise BadFile(path, f"is too large: it has {found.st_size:,} bytes of {most:,} at most")
        return path.read_bytes()
    except OSError as error:
        raise BadFile(path, f"cannot be read ({error.strerror})") from error


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, in the order given."""
    write_file(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def write_file(path: Path, data: bytes | memoryview) -> None:
    """Write a file that is complete or absent, even after a power failure."""
    if not path.parent.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _sync(path.parent.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)  # of a killed process of this number, or a link
    try:
        with open(temporary, "xb") as file:
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
