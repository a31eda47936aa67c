"""The look that all figures share: palettes, matplotlib's settings, titles, labels, files.

Nothing here touches pyplot or any global state, and equal results give equal files. Nor does
anything import JAX: another process draws sooner.
"""

import io
import textwrap
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from typing import NamedTuple, ParamSpec, TypeVar

import matplotlib as mpl
import matplotlib.style
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import PercentFormatter

from gan1010_jax.errors import check_choice
from gan1010_jax.figures.coordinates import Coordinates
from gan1010_jax.names import FIGURE_FORMATS, FIGURE_STYLES

_Arguments = ParamSpec("_Arguments")
_Drawn = TypeVar("_Drawn")


class Palette(NamedTuple):
    """The colours of a style; the first five are colour-blind-safe."""

    blue: str
    orange: str
    green: str
    pink: str
    grey: str
    real_range: str
    ink: str
    paper: str


PAPER = Palette(
    *("#0063B0", "#D55E00", "#00A36C", "#BC7DAE", "#555555", "#F3DFA2", "black", "white")
)
_DARK = Palette(
    *("#3D9DE0", "#E8702A", "#5AE8AA", "#F5BDE6", "#8C959F", "#5C4F24", "#E6EDF3", "#0D1117")
)
# Of each style its palette, and how much larger text and lines are.
_LOOKS = dict(zip(FIGURE_STYLES, ((PAPER, 1.0), (PAPER, 1.25), (_DARK, 1.0)), strict=True))
_DPI = 150
_TITLE, _NOTE = 13.0, 9.5  # points
_LINE = 1.25  # the height of a line of text, in its size

THOUSANDS = "{x:,.0f}"  # whole numbers on an axis, with commas
# The name of each of the `Losses`, and its colour in a `Palette`.
LOSS_KEYS = (("D on a real sample", "blue"), ("D on a fake sample", "orange"), ("G", "green"))
# A legend of two columns that fits over narrow axes.
COMPACT_LEGEND = {"ncols": 2, "handlelength": 1, "handletextpad": 0.4, "columnspacing": 1}


def _use(style: str) -> AbstractContextManager[None]:
    """Draw in a style, whatever the user's is."""
    colors, zoom = _LOOKS[style]
    ink = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"),
        colors.ink,
    )
    settings = {
        "axes.facecolor": colors.paper,
        "axes.prop_cycle": cycler(color=colors),  # where `palette` finds it
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": 11,
        "figure.constrained_layout.use": True,
        "figure.dpi": _DPI * zoom,
        "figure.facecolor": colors.paper,
        "figure.titlesize": _TITLE,
        "font.size": 11,
        "legend.frameon": False,
    }
    return matplotlib.style.context(["default", settings | ink])


def styled(draw: Callable[_Arguments, _Drawn]) -> Callable[_Arguments, _Drawn]:
    """Make a function draw in the style that its keyword argument `style` names, or on paper.

    Raises:
      InvalidArgument: for another name than those of `FIGURE_STYLES`.
    """

    @wraps(draw)
    def draw_in_style(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Drawn:
        style = kwargs.get("style", "paper")
        check_choice("style", style, FIGURE_STYLES)
        with _use(style):
            return draw(*args, **kwargs)

    return draw_in_style


def palette() -> Palette:
    """The colours of the style that is drawn in."""
    return Palette(*mpl.rcParams["axes.prop_cycle"].by_key()["color"])


def headed(title: str, note: str = "", size: tuple[float, float] = (8, 4)) -> Figure:
    """A figure with a title, which says what it shows, and in grey below it of what.

    Args:
      title: the finding, a sentence.
      note: the method, learning rates, steps and seeds.
      size: the inches of what is below these, on paper; on slides, it has as many pixels across.
    """
    zoom = mpl.rcParams["figure.dpi"] / _DPI
    width, height = size[0] / zoom, size[1] / zoom**0.5
    texts, tops = [], [0.08]  # inches from the top
    note = note.replace(" ·", "\N{NO-BREAK SPACE}·")  # which begins no line
    for text, points, across in ((title, _TITLE, 0.65), (note, _NOTE, 0.56)):  # of a letter
        lines = _wrap(text, int(72 * width / points / across))
        texts.append("\n".join(lines))
        tops.append(tops[-1] + len(lines) * _LINE * points / 72)
    tops[-1] += 0.05
    figure = Figure(figsize=(width, height + tops[-1]))
    title_top, note_top, bottom = (1 - top / (height + tops[-1]) for top in tops)
    left = {"x": 0.08 / width, "ha": "left", "va": "top", "linespacing": 1.1}
    figure.suptitle(texts[0], y=title_top, weight="bold", **left)
    figure.text(s=texts[1], y=note_top, fontsize=_NOTE, color=palette().grey, **left)
    figure.get_layout_engine().set(rect=(0, 0, 1, bottom))
    return figure


def _wrap(text: str, across: int) -> list[str]:
    """Break a text into as few lines as it takes, of about the same length."""
    lines = textwrap.wrap(text, across)
    while len(shorter := textwrap.wrap(text, max(1, across - 1))) == len(lines) and across > 1:
        lines, across = shorter, across - 1
    return lines


def legend_below(figure: Figure, side: str = "center") -> None:
    """Put the legend of all axes below them, in as many columns as the figure has room for."""
    found = [axes.get_legend_handles_labels() for axes in figure.axes]
    labels = {label: handle for pair in found for handle, label in zip(*pair)}
    look = {"handlelength": 1.6, "columnspacing": 1.5, "fontsize": 10}
    for columns in range(len(labels), 0, -1):
        legend = figure.legend(
            labels.values(), labels, loc=f"outside lower {side}", ncols=columns, **look
        )
        if columns == 1 or legend.get_window_extent().width < figure.bbox.width:
            return
        legend.remove()


def encode(figure: Figure, format: str = "png") -> bytes:
    """A figure as the bytes of a file, the same for the same figure.

    Raises:
      InvalidArgument: for another format than those of `FIGURE_FORMATS`.
    """
    check_choice("format", format, FIGURE_FORMATS)
    dated = {"png": "Software", "svg": "Date", "pdf": "CreationDate"}[format]
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "gan1010"}):
        figure.savefig(buffer, format=format, metadata={dated: None})
    return buffer.getvalue()


def show_steps(axes: Axes, steps: int) -> None:
    """Label the horizontal axis as the step of training, from 0 to the last."""
    axes.set(xlabel="step", xlim=(0, steps))
    axes.xaxis.set_major_formatter(THOUSANDS)


def show_few_steps(axes: Axes, steps: int) -> None:
    """The same on a narrow axis: the first, the middle and the last, all within its width."""
    show_steps(axes, steps)
    axes.set_xticks((0, steps / 2, steps))
    for label, side in zip(axes.get_xticklabels(), ("left", "center", "right")):
        label.set_ha(side)


def show_percent(axis: Axis) -> None:
    """Write fractions as percentages."""
    axis.set_major_formatter(PercentFormatter(1, symbol=" %"))


def percent(fraction: float) -> str:
    """A fraction in percent, by as many digits as it takes to tell it from none and from all."""
    for digits in range(8):
        text = f"{100 * fraction:.{digits}f}"
        if float(text) not in (0, 100) or fraction in (0, 1):
            break
    return f"{text}\N{NO-BREAK SPACE}%"


def find_fall(curve: np.ndarray) -> tuple[int, int]:
    """The place of a curve's greatest value, the first of them, and of the least after it."""
    best = int(curve.argmax())
    return best, best + int(curve[best:].argmin())


def draw_ranges(axes: Axes, of: Coordinates) -> np.ndarray:
    """Draw the real range of each coordinate as a bar: the coordinates, counted from 1."""
    coordinates = 1 + np.arange(len(of.low))
    color = palette().real_range
    axes.bar(coordinates, of.high - of.low, 0.9, of.low, color=color, label="real range")
    return coordinates


def mark_reference(axes: Axes, place: Sequence[float]) -> None:
    """Mark the reference's hyperparameters on a map by a cross that is seen on any colour."""
    edge = [Stroke(linewidth=5, foreground="black"), Normal()]
    look = {"color": "white", "ms": 11, "mew": 2, "path_effects": edge}
    axes.plot(*place, "+", label="reference", **look)
