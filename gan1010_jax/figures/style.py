"""The look that all figures share: colours, matplotlib's settings, labels.

The colours are Okabe and Ito's, colour-blind-safe. Nothing here touches pyplot or any global state,
and equal results give equal figures. Nor does anything import JAX: another process draws sooner.
"""

import io

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from gan1010_jax.figures.coordinates import Coordinates

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6E6E6E"
REAL_RANGE = "#F3DFA2"
THOUSANDS = "{x:,.0f}"  # whole numbers on an axis, with commas
# The name and the colour of each of the `Losses`.
LOSS_KEYS = (("D on a real sample", BLUE), ("D on a fake sample", ORANGE), ("G", GREEN))
# A legend of two columns that fits over narrow axes.
COMPACT_LEGEND = {"ncols": 2, "handlelength": 1, "handletextpad": 0.4, "columnspacing": 1}
_STYLE = {
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 150,
    "figure.titlesize": 13,
    "figure.constrained_layout.use": True,
    "legend.frameon": False,
}
# A decorator of functions that draw in this style, whatever the user's is.
styled = matplotlib.style.context(["default", _STYLE])


def encode_png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file, the same for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def titled(title: str, size: tuple[float, float] = (8, 4)) -> tuple[Figure, Axes]:
    """A figure of one panel with a title."""
    figure = Figure(figsize=size)
    axes = figure.subplots()
    axes.set_title(title, fontsize=13)
    return figure, axes


def show_steps(axes: Axes, steps: int) -> None:
    """Label the horizontal axis as the step of training, from 0 to the last."""
    axes.set(xlabel="step", xlim=(0, steps))
    axes.xaxis.set_major_formatter(THOUSANDS)


def show_percent(axis: Axis) -> None:
    """Write fractions as percentages."""
    axis.set_major_formatter(PercentFormatter(1, symbol=" %"))


def draw_ranges(axes: Axes, of: Coordinates) -> np.ndarray:
    """Draw the real range of each coordinate as a bar: the coordinates, counted from 1."""
    coordinates = 1 + np.arange(len(of.low))
    axes.bar(coordinates, of.high - of.low, 0.9, of.low, color=REAL_RANGE, label="real range")
    return coordinates
