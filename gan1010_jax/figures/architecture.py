"""The figure of both networks and of the reference's three updates."""

import itertools

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from gan1010_jax.figures.style import headed, palette

# The center and half the width of each node of an update.
_NODES = {
    "z": (4.0, 0.25),
    "G": (5.3, 0.3),
    "real x": (5.3, 0.45),
    "D": (6.9, 0.3),
    "loss": (8.9, 0.9),
}


def draw_architecture(
    note: str, g_sizes: list[int], d_sizes: list[int], latent: float | None
) -> Figure:
    """Draw networks of layers of these sizes, for a latent that is one number, or None."""
    figure, colors = headed("A step updates D twice and G once", note, (8, 5.1)), palette()
    axes = figure.subplots()
    axes.set(xlim=(0.2, 9.9), ylim=(0, 6.4))
    axes.set_axis_off()

    _draw_network(axes, (1.3, 3.9), g_sizes, "Generator G", colors.green)
    _draw_network(axes, (6.1, 8.7), d_sizes, "Discriminator D", colors.blue)
    _draw_arrow(axes, (4.3, 4.8), (5.7, 4.8))
    for x, label in (
        (1.3, "latent z\n(random)" if latent is None else f"latent z\n(always {latent})"),
        (3.9, "G(z),\na fake"),
        (5.0, "or a\nreal x"),
        (6.1, "x, real\nor fake"),
        (8.7, "belief that\nx is real"),
    ):
        axes.text(x, 3.72, label, ha="center", va="center", fontsize=10)

    axes.text(0.3, 3.1, "The three updates of a step", fontsize=13, va="center")
    for y, title, target, chain, moves in (
        (2.45, "1  D on a real sample", 1, ("real x", "D"), "D"),
        (1.65, "2  D on a fake sample", 0, ("z", "G", "D"), "D"),
        (0.85, "3  G, through the new D", 1, ("z", "G", "D"), "G"),
    ):
        axes.text(0.3, y, title, va="center")
        _draw_update(axes, y, target, chain, moves)
    _draw_arrow(axes, (0.35, 0.25), (0.95, 0.25))
    _draw_arrow(axes, (2.65, 0.25), (2.05, 0.25), colors.orange)
    _draw_box(axes, (4.35, 0.25), "D", moves=True, size=(0.6, 0.3))
    _draw_box(axes, (6.15, 0.25), "D", moves=False, size=(0.6, 0.3))
    for x, label in ((1.05, "values"), (2.75, "gradients"), (4.75, "moves"), (6.55, "held still")):
        axes.text(x, 0.25, label, va="center", fontsize=10)
    return figure


def _draw_network(
    axes: Axes, ends: tuple[float, float], sizes: list[int], title: str, color: str
) -> None:
    """Draw a fully connected network of layers of these sizes from one end to the other."""
    title = f"{title}: {'-'.join(map(str, sizes))}"
    axes.text(np.mean(ends), 6.05, title, ha="center", va="center", fontsize=13)
    columns = []
    for x, units in zip(np.linspace(*ends, len(sizes)), sizes):
        spacing = min(0.55, 1.7 / units)
        columns.append((x, 4.8 + spacing * (np.arange(units) - (units - 1) / 2)))
        circle = {"facecolor": palette().paper, "edgecolor": color, "lw": 1.8, "zorder": 2}
        for y in columns[-1][1]:
            axes.add_patch(Circle((x, y), min(0.16, 0.42 * spacing), **circle))
    for (left, ys), (right, next_ys) in itertools.pairwise(columns):
        for y, next_y in itertools.product(ys, next_ys):
            axes.plot((left, right), (y, next_y), color=palette().grey, lw=0.6, zorder=1)


def _draw_update(axes: Axes, y: float, target: int, chain: tuple[str, ...], moves: str) -> None:
    """Draw one update as a row: values to the right, gradients back to the player that moves."""
    nodes = (*chain, "loss")
    for name in nodes:
        label = f"loss, target {target}" if name == "loss" else name
        center, half = _NODES[name]
        _draw_box(axes, (center, y), label, moves=name == moves, size=(2 * half, 0.46))
    for left, right in itertools.pairwise(nodes):
        start, end = sum(_NODES[left]), _NODES[right][0] - _NODES[right][1]
        _draw_arrow(axes, (start, y + 0.09), (end, y + 0.09))
        if nodes.index(left) >= nodes.index(moves):
            _draw_arrow(axes, (end, y - 0.12), (start, y - 0.12), palette().orange)
        elif right == moves and left == "G":
            middle = (start + end) / 2
            axes.plot((middle, middle), (y - 0.25, y), color=palette().orange, lw=3)
            axes.plot((middle, end), (y - 0.12, y - 0.12), color=palette().orange, lw=1.8)
            stopped = {"color": palette().orange, "ha": "center", "va": "center", "fontsize": 9}
            axes.text(middle, y - 0.36, "stopped", **stopped)


def _draw_box(
    axes: Axes, center: tuple[float, float], label: str, *, moves: bool, size: tuple[float, float]
) -> None:
    """Draw a labelled box, filled if it stands for the player that moves."""
    (x, y), (width, height) = center, size
    place = (x - width / 2, y - height / 2)
    colors = palette()
    fill, edge, ink = (
        (colors.orange, colors.orange, "white")
        if moves
        else (colors.paper, colors.grey, colors.ink)
    )
    look = {"boxstyle": "round,pad=0,rounding_size=0.08", "fc": fill, "ec": edge, "lw": 1.5}
    axes.add_patch(FancyBboxPatch(place, width, height, **look))
    axes.text(x, y, label, ha="center", va="center", fontsize=10, color=ink)


def _draw_arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str = ""
) -> None:
    look = {"arrowstyle": "-|>", "mutation_scale": 12, "shrinkA": 2, "shrinkB": 2}
    axes.add_patch(FancyArrowPatch(start, end, color=color or palette().ink, lw=1.5, **look))
