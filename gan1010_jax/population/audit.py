"""An audit of a result directory: every file is read and checked, and nothing is written."""

import os
from pathlib import Path
from typing import NamedTuple

from gan1010_jax.checks import check_path
from gan1010_jax.environment import in_dtype
from gan1010_jax.errors import BadFile
from gan1010_jax.gan import Setup
from gan1010_jax.population.manifest import MANIFEST, REPORT, read_manifest, settings_of
from gan1010_jax.population.results import convergence_report
from gan1010_jax.population.runner import Stored
from gan1010_jax.population.store import TIMES, read_report

# What a report says of the last session alone.
_SESSION = {"device", *TIMES}


class Audit(NamedTuple):
    """What is sound in a result directory, and what is not.

    Attributes:
      rows: the number of rows in parts that are sound.
      all_rows: how many rows the run has when it is finished.
      files: the number of sound files.
      size: their bytes.
      bad: what is wrong, in the order in which it was found.
    """

    rows: int
    all_rows: int
    files: int
    size: int
    bad: list[BadFile]


def audit_population(out: str | Path, setup: Setup | None = None) -> Audit:
    """Read and check everything in a result directory, whose run may be unfinished.

    Raises:
      InvalidArgument: (a `ValueError`) for another game or method than what was used, as
        `load_population` does.
    """
    out, bad = check_path("out", out), []
    try:
        manifest = read_manifest(out)
        settings = settings_of(out, manifest, setup)
    except BadFile as error:
        return Audit(0, 0, 0, 0, [error])
    stored, files = Stored(out, settings), [out / MANIFEST]
    with in_dtype(manifest["configuration"]["dtype"]):
        stored.read(manifest, bad.append)
        for parts in stored.parts.values():
            files += [out / table / part.name for table, part in parts.items()]
        if not bad and os.path.lexists(out / REPORT):
            found = (
                convergence_report(stored.population(manifest, settings)) if stored.parts else {}
            )
            stated = read_report(out)
            if any(stated.get(name) != found.get(name) for name in {*stated, *found} - _SESSION):
                bad.append(BadFile(out / REPORT, "does not report the rows that are there"))
            else:
                files.append(out / REPORT)
    rows = sum(map(len, (part.rows for part in stored.main_parts)))
    return Audit(rows, settings.rows, len(files), sum(file.stat().st_size for file in files), bad)
