"""The look that all figures share: colours, matplotlib's settings, labels, and files.

The colours are Okabe and Ito's, colour-blind-safe. Nothing here touches pyplot or any global state,
and equal results give equal figures.
"""

import io
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.style
import numpy as np
from flax import linen as nn
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from gan1010_jax.games import Distribution, Game, Matches
from gan1010_jax.gan import Losses, seed_key
from gan1010_jax.methods import Objective
from gan1010_jax.population import write_file

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


def write_figures(out: Path, figures: Mapping[str, Figure]) -> None:
    """Write each figure as `figures/NAME.png`, the same bytes for the same figure."""
    for name, figure in figures.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
        write_file(out / "figures" / f"{name}.png", buffer.getbuffer())


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


def draw_ranges(axes: Axes, game: Game) -> np.ndarray:
    """Draw the real range of each coordinate as a bar: the coordinates, counted from 1."""
    coordinates = 1 + np.arange(len(game.real.low))
    low, high = np.asarray(game.real.low), np.asarray(game.real.high)
    axes.bar(coordinates, high - low, 0.9, low, color=REAL_RANGE, label="real range")
    return coordinates


def coordinate_labels(game: Game, separator: str) -> list[str]:
    """Name each coordinate by its number, from 1 on, and its bit where the game has bits."""
    if not isinstance(game.matched, Matches):
        return [str(1 + unit) for unit in range(len(game.real.low))]
    return [f"{1 + unit}{separator}({bit})" for unit, bit in enumerate(game.matched.bits)]


def coordinate_title(game: Game) -> str:
    """The title of an axis with `coordinate_labels`."""
    return "coordinate (its bit)" if isinstance(game.matched, Matches) else "coordinate"


def undecided_losses(objective: Objective) -> Losses:
    """Each loss, a float, while D cannot tell real from fake samples.

    D's logit is then the one with the smallest loss on both, and of several that nearest to 0.
    """
    logits = jnp.arange(-200, 201) / 100
    d_real, d_fake, g = (
        jax.vmap(loss)(logits) for loss in (objective.d_real, objective.d_fake, objective.g)
    )
    both = d_real + d_fake
    place = jnp.where(both <= both.min() + 1e-6, jnp.abs(logits), jnp.inf).argmin()
    return Losses(*(float(loss[place]) + 0.0 for loss in (d_real, d_fake, g)))  # and no -0


def layer_sizes(network: nn.Module, inputs: Distribution) -> list[int]:
    """The number of units of each layer of a fully connected network, inputs first."""
    params = jax.eval_shape(network.init, seed_key(0), inputs.center)
    kernels = [leaf.shape for leaf in jax.tree.leaves(params) if leaf.ndim == 2]
    return [kernels[0][0], *(units for _, units in kernels)]
