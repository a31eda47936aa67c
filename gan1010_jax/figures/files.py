"""The files of figures, and the processes that draw them while others are at work.

A painter imports matplotlib while this process trains, which need not import it at all. What a
painter does not draw, because it could not be started or has ended, is drawn here.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # and imported when used, so that painters begin without JAX
    from matplotlib.figure import Figure

    from gan1010_jax.population import Population

_Painter = subprocess.Popen[bytes]
_MAX_PAINTERS = 2  # with more, the slowest figure would still take half as long as with two


def write_figures(
    out: Path,
    draw: Mapping[str, Callable[..., "Figure"]],
    styles: Sequence[str] = ("paper",),
    format: str = "png",
) -> None:
    """Write figures in every style: the same bytes for the same results.

    Args:
      out: the directory; its files are `figures/NAME.FORMAT`, or `figures/NAME-STYLE.FORMAT`.
      draw: functions of `style`, each of which draws a figure, by their names.
      styles: names of `FIGURE_STYLES`.
      format: a name of `FIGURE_FORMATS`.
    """
    from gan1010_jax.figures.style import encode
    from gan1010_jax.population import write_file

    for name, draw_one in draw.items():
        for style in styles:
            data = encode(draw_one(style=style), format)
            write_file(out / _figure_file(name, style, format), data)


def _figure_file(name: str, style: str, format: str) -> Path:
    """The file of a figure in a result directory; on paper, its style has no part in the name."""
    suffix = "" if style == "paper" else f"-{style}"
    return Path("figures") / f"{name}{suffix}.{format}"


@contextmanager
def start_painters(
    styles: Sequence[str] = ("paper",), format: str = "png"
) -> Iterator[Callable[[Path, "Population"], None]]:
    """Start processes that draw figures, as many as there are processors, but two at most.

    Args:
      styles: as in `write_figures`.
      format: likewise.

    Yields:
      A function of a directory and a population, which draws the figures of `plot_population` and
      writes the same files as `write_figures`.
    """
    painters: list[_Painter] = []
    with suppress(OSError):  # of a machine with too many processes
        for _ in range(min(os.cpu_count() or 1, _MAX_PAINTERS)):
            painters.append(_start_painter())
    idle: SimpleQueue[_Painter] = SimpleQueue()
    for painter in painters:
        idle.put(painter)

    def paint(figure: tuple[Any, ...]) -> bytes | None:
        if not painters:
            return None
        painter = idle.get()
        try:
            pickle.dump(pickle.dumps(figure), painter.stdin)
            painter.stdin.flush()
            return pickle.load(painter.stdout)
        except (OSError, EOFError, pickle.PickleError):
            return None  # it has ended
        finally:
            idle.put(painter)

    with ExitStack() as ending, ThreadPoolExecutor(_MAX_PAINTERS) as pool:
        for painter in painters:
            ending.callback(painter.communicate)

        def draw_files(out: Path, population: "Population") -> None:
            from gan1010_jax.figures.values import population_values
            from gan1010_jax.population import write_file

            values = population_values(population)
            figures = [(*one, style, format) for one in values.items() for style in styles]
            for figure, data in zip(figures, pool.map(paint, figures)):
                if data is None:
                    from gan1010_jax.figures.drawing import draw_file

                    data = draw_file(*figure)
                name, _, *look = figure
                write_file(out / _figure_file(name, *look), data)

        try:
            yield draw_files
        finally:
            for painter in painters:
                painter.kill()  # so that no thread of the pool waits for it


def _start_painter() -> _Painter:
    """Start a process that finds the modules that this one finds, and says nothing."""
    path = os.pathsep.join(place or os.getcwd() for place in sys.path)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "gan1010_jax.figures.painter"],
        env=os.environ | {"PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        process_group=0,  # which an interrupt from the keyboard does not reach
    )
