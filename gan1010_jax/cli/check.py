"""The program `check`: whether every file of a result directory is sound."""

import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from gan1010_jax.population import audit_population, is_begun


@dataclass(frozen=True)
class Check:
    """Check every file of a result directory, of train's or of a sweep's.

    Reads everything, writes and trains nothing. Prints how many rows, files and bytes are sound,
    and on standard error what is wrong. The exit code is 0 if nothing is, and 1 otherwise.
    """

    directory: Positional[Path]
    """The directory."""


def check(options: Check) -> None:
    """Audit the directory, or each one of a sweep."""
    out, is_bad = options.directory, False
    inside = sorted(path for path in out.glob("*") if is_begun(path))
    for one in inside if inside and not is_begun(out) else [out]:
        audit = audit_population(one)
        for bad in audit.bad:
            print(f"error: {bad}", file=sys.stderr)
        is_bad |= bool(audit.bad)
        rows = f"{audit.rows:,} of {audit.all_rows:,} rows"
        print(f"{one}: {rows}, {audit.files:,} files and {audit.size:,} bytes are sound")
    if is_bad:
        sys.exit(1)
