"""The result directory: the per-seed table, the report and the figures of a run.

OUT/population/part-0.parquet   one row per seed; a plain Parquet dataset
OUT/report.json                 the numbers of `convergence_report`; written last
OUT/figures/*.png
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from gan1010_jax.errors import InvalidArgument


@contextmanager
def new_run(out: Path) -> Iterator[None]:
    """Claim a directory for a run; if the run is interrupted, leave nothing in it.

    Raises:
      InvalidArgument: (a `ValueError`) if it is a file, holds anything, or cannot be written;
        nothing that was there is touched.
    """
    allowed = "a new or empty directory that can be written to"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise InvalidArgument("out", str(out), f"{allowed} (this one holds files already)")
        (out / "population").mkdir()  # only one of two runs that start together gets here
    except OSError as error:
        raise InvalidArgument("out", str(out), f"{allowed} ({error.strerror})") from error
    try:
        yield
    except KeyboardInterrupt:
        for path in (out / "population", out / "figures"):
            shutil.rmtree(path, ignore_errors=True)
        (out / "report.json").unlink(missing_ok=True)
        raise


def write_population(out: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write the per-seed table, one Parquet column for each array [seeds]."""
    pq.write_table(pa.table(dict(columns)), out / "population" / "part-0.parquet")


def write_report(out: Path, report: Mapping[str, Any]) -> None:
    """Write the report as JSON, in the order given."""
    text = json.dumps(report, indent=2, allow_nan=False)
    (out / "report.json").write_text(text + "\n", encoding="utf-8")


def write_figures(out: Path, figures: Mapping[str, Figure]) -> None:
    """Write each figure as `figures/NAME.png`, the same bytes for the same figure."""
    (out / "figures").mkdir(exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(out / "figures" / f"{name}.png", metadata={"Software": None})
