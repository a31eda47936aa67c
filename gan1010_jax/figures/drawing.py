"""The figures of one run and of populations, drawn from their `values`, without JAX.

Every function takes the values of its name and returns a `Figure`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gan1010_jax.figures import style
from gan1010_jax.figures.architecture import draw_architecture
from gan1010_jax.figures.coordinates import Coordinates

_Interval = Mapping[str, np.ndarray]  # the fields of a `Proportion`


def draw(name: str, values: Mapping[str, Any]) -> Figure:
    """The figure of this name."""
    return _DRAWN_BY[name](**values)


def draw_png(name: str, values: Mapping[str, Any]) -> bytes:
    """The figure of this name as the bytes of a PNG file."""
    return style.encode_png(draw(name, values))


@style.styled
def _draw_generator(
    seed: int, game: str, last: int, output: np.ndarray, coordinates: Coordinates
) -> Figure:
    """Draw an output [records, units] up to the last step."""
    units = output.shape[-1]
    figure = Figure(figsize=(9, 0.9 + 0.55 * max(4, units)))
    figure.suptitle(f"What the generator of seed {seed} draws while it learns {game}")
    heat, ranges = figure.subplots(1, 2, width_ratios=(4, 1.3))

    image = heat.imshow(
        output.T,
        cmap="Blues",
        vmin=0,
        vmax=1,
        aspect="auto",
        interpolation="nearest",
        extent=(0, last, units + 0.5, 0.5),
    )
    heat.set_title("output at every record")
    style.show_steps(heat, last)
    figure.colorbar(image, ax=heat, pad=0.02, label="output")

    low, high, _ = coordinates
    places = 1 + np.arange(units)
    ranges.barh(places, high - low, left=low, height=0.6, color=style.REAL_RANGE, label="real")
    ranges.plot(output[-1], places, "o", color=style.BLUE, label="at the end")
    ranges.set(xlabel="output", xlim=(-0.03, 1.03), ylim=heat.get_ylim(), xticks=(0, 0.5, 1))
    ranges.legend(loc="lower center", bbox_to_anchor=(0.5, 0.98), **style.COMPACT_LEGEND)
    for axes in (heat, ranges):
        axes.set_yticks(places, coordinates.labels("  "))
    heat.set_ylabel(coordinates.title)
    return figure


@style.styled
def _draw_losses(
    seed: int,
    steps: np.ndarray,
    losses: Sequence[np.ndarray],
    undecided: Sequence[float],
    others: Sequence[np.ndarray] | None,
) -> Figure:
    """Draw the three losses [records] of a run, and those of others [seeds, records]."""
    figure = Figure(figsize=(10, 3.6))
    beside = "" if others is None else f" and of {len(others[0]):,} seeds"
    figure.suptitle(f"The losses of seed {seed}{beside}")
    panels = figure.subplots(1, 3, sharey=True)
    panels[0].set_ylabel("loss")
    for k, (axes, (title, color)) in enumerate(zip(panels, style.LOSS_KEYS)):
        if others is not None:
            of_all = np.where(np.isfinite(others[k]), others[k], np.inf)
            low, median, high = np.percentile(of_all, (5, 50, 95), axis=0, method="nearest")
            axes.fill_between(steps, low, high, color=color, alpha=0.2, lw=0, label="5–95 %")
        axes.plot(steps, losses[k], color=color, lw=1, label=f"seed {seed}")
        if others is not None:
            axes.plot(steps, median, color="black", lw=1.2, ls="--", label="median")
        label = f"D undecided: {undecided[k]:.3g}"
        axes.axhline(undecided[k], color=style.GREY, lw=1, ls=":", label=label)
        axes.set_title(title)
        style.show_steps(axes, steps[-1])
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.legend(loc="upper right", fontsize=9)
    return figure


@style.styled
def _draw_convergence(
    seeds: int, game: str, steps: np.ndarray, curves: Mapping[str, _Interval]
) -> Figure:
    """Draw the fractions of seeds that match and that are in support."""
    figure, axes = style.titled(f"How many of {seeds:,} seeds have learned {game}")
    for name, label, color, line in (
        ("matched", "matched: on their bits' sides", style.BLUE, "-"),
        ("in_support", "in support: in the real ranges", style.ORANGE, "--"),
    ):
        _draw_interval(axes, steps, curves[name], color)
        axes.plot(steps, curves[name]["fraction"], color=color, ls=line, label=label)
    _finish_curves(figure, axes, steps)
    axes.set_ylim(-0.02, 1.02)
    style.show_percent(axes.yaxis)
    return figure


@style.styled
def _draw_forgetting(
    seeds: int, game: str, steps: np.ndarray, missing: Mapping[str, _Interval]
) -> Figure:
    """Draw the fractions of seeds that do not match and the like, on a log scale."""
    figure, axes = style.titled(
        f"How many of {seeds:,} seeds have not learned {game} or not kept it"
    )
    for name, label, color, line in (
        ("in_support", "not in support", style.ORANGE, "--"),
        ("matched", "do not match", style.BLUE, "-"),
        ("ever_matched", "have never matched", style.GREEN, ":"),
    ):
        some = np.where(missing[name]["count"], missing[name]["fraction"], np.nan)
        axes.plot(steps, some, color=color, ls=line, lw=2, label=label)
        if name != "ever_matched":  # whose interval would hide the others
            _draw_interval(axes, steps, missing[name], color)
    _finish_curves(figure, axes, steps)
    axes.set(yscale="log", ylim=(0.5 / seeds, 1.2))
    axes.yaxis.set_major_formatter(lambda fraction, _: f"{100 * fraction:g} %")
    axes.yaxis.set_minor_formatter("")
    return figure


def _draw_interval(axes: Axes, steps: np.ndarray, of: _Interval, color: str) -> None:
    axes.fill_between(steps, of["ci_low"], of["ci_high"], color=color, alpha=0.25, lw=0)


def _finish_curves(figure: Figure, axes: Axes, steps: np.ndarray) -> None:
    axes.fill_between([], [], color=style.GREY, alpha=0.25, lw=0, label="95 % interval")
    axes.set_ylabel("fraction of seeds")
    style.show_steps(axes, steps[-1])
    figure.legend(loc="outside lower center", ncols=4, columnspacing=1.5)


@style.styled
def _draw_outputs(
    seeds: int, counts: np.ndarray, edges: np.ndarray, coordinates: Coordinates
) -> Figure:
    """Draw the counts [units, bins] of final outputs between edges [bins + 1]."""
    figure, axes = style.titled(f"What {seeds:,} generators draw in the end")
    places = style.draw_ranges(axes, coordinates)
    for place, count in zip(places, counts):
        width = 0.8 * np.sqrt(count / max(1, count.max()))  # so that a single seed is seen
        half = np.append(width, 0) / 2
        label = "seeds (width: √count)" if place == 1 else None
        histogram = {"step": "post", "lw": 0, "color": style.BLUE, "label": label}
        axes.fill_betweenx(edges, place - half, place + half, **histogram)
    axes.axhline(0.5, color=style.GREY, lw=1, ls=":", label="0.5, the border of a match")
    axes.set_xticks(places, coordinates.labels("\n"))
    axes.set(xlabel=coordinates.title, ylabel="output", ylim=(-0.02, 1.02))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


@style.styled
def _draw_settling(
    seeds: int,
    game: str,
    steps: np.ndarray,
    last: int,
    settled: np.ndarray,
    quantiles: Mapping[int, int],
) -> Figure:
    """Draw how many seeds settled at each record, and the quantiles."""
    never = seeds - settled.sum()
    figure, axes = style.titled(
        f"When {seeds:,} seeds settle on {game} ({never:,} never did in {last:,} steps)"
    )
    if settled.any():
        axes.hist(steps, np.linspace(0, last, 51), weights=settled, color=style.BLUE)
        for percent, step in quantiles.items():
            line = "-" if percent == 50 else ":"
            axes.axvline(step, color=style.ORANGE, ls=line, label=f"{percent} %: step {step:,}")
        axes.legend(loc="best")
    style.show_steps(axes, last)
    axes.set(xlabel="settling step: it matches at every record from here on", ylabel="seeds")
    axes.yaxis.set_major_formatter(style.THOUSANDS)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, steps=(1, 2, 5, 10)))
    return figure


_DRAWN_BY = {
    "generator": _draw_generator,
    "losses": _draw_losses,
    "convergence": _draw_convergence,
    "forgetting": _draw_forgetting,
    "outputs": _draw_outputs,
    "settling": _draw_settling,
    "architecture": draw_architecture,
}
