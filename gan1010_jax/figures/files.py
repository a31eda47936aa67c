"""The files of figures, which processes of their own draw, so that the results are waited for less.

They begin to import matplotlib while this one trains. They cannot end, nor be left by, the process
that started them: what they do not draw is drawn here, and they end with their standard input.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from gan1010_jax.population import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_Painter = subprocess.Popen[bytes]
_MAX_PAINTERS = 2  # by which the slowest figure takes nearly as long as all others


def write_figures(out: Path, figures: Mapping[str, "Figure"]) -> None:
    """Write each figure as `figures/NAME.png`, the same bytes for the same figure."""
    from gan1010_jax.figures.style import encode_png

    for name, figure in figures.items():
        write_file(out / "figures" / f"{name}.png", encode_png(figure))


@contextmanager
def start_painters() -> Iterator[list[_Painter]]:
    """Start processes that draw figures, as many as there are processors, up to two."""
    path = os.pathsep.join(place or os.getcwd() for place in sys.path)
    painters: list[_Painter] = []
    try:
        for _ in range(min(os.cpu_count() or 1, _MAX_PAINTERS)):
            painter = subprocess.Popen(
                [sys.executable, "-P", "-m", "gan1010_jax.figures.painter"],
                env=os.environ | {"PYTHONPATH": path},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                process_group=0,  # which an interrupt from the keyboard does not reach
            )
            painters.append(painter)
    except OSError:
        pass  # too many processes: all is drawn here
    try:
        yield painters
    finally:
        for painter in painters:
            painter.kill()
            painter.communicate()


def draw_files(out: Path, values: Mapping[str, Any], painters: list[_Painter]) -> None:
    """Draw figures from their values, and write each as `figures/NAME.png`."""
    idle: SimpleQueue[_Painter] = SimpleQueue()
    for painter in painters:
        idle.put(painter)

    def paint(figure: tuple[str, Any]) -> bytes | None:
        painter = idle.get()
        try:
            pickle.dump(figure, painter.stdin)
            painter.stdin.flush()
            return pickle.load(painter.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            return None  # it has ended
        finally:
            idle.put(painter)

    with ThreadPoolExecutor(max(1, len(painters))) as pool:
        painted = pool.map(paint, values.items()) if painters else [None] * len(values)
        for (name, of_one), png in zip(values.items(), painted):
            if png is None:
                from gan1010_jax.figures.drawing import draw_png

                png = draw_png(name, of_one)
            write_file(out / "figures" / f"{name}.png", png)
