"""The figures of one run and of populations, drawn from their `values`, without JAX.

Every function takes the values of its name and returns a `Figure`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gan1010_jax.figures.architecture import draw_architecture
from gan1010_jax.figures.coordinates import Coordinates
from gan1010_jax.figures.style import (
    LOSS_KEYS,
    THOUSANDS,
    encode,
    find_fall,
    headed,
    legend_below,
    palette,
    percent,
    show_few_steps,
    show_percent,
    show_steps,
    styled,
)

_Interval = Mapping[str, np.ndarray]  # the fields of a `Proportion`
_FALL = 0.1  # of a fraction, that a title reports
_GAP = 0.3  # between outputs, that is left out
_THIN = 0.005  # half the width of an interval that would not be seen


@styled
def draw(name: str, values: Mapping[str, Any], *, style: str = "paper") -> Figure:
    """The figure of this name."""
    return _DRAWN_BY[name](**values)


def draw_file(name: str, values: Mapping[str, Any], style: str, format: str) -> bytes:
    """The figure of this name as the bytes of a file."""
    return encode(draw(name, values, style=style), format)


def _draw_generator(
    note: str, seed: int, game: str, last: int, output: np.ndarray, coordinates: Coordinates
) -> Figure:
    """Draw an output [records, units] up to the last step."""
    (low, high, _), units, colors = coordinates, output.shape[-1], palette()
    inside = int(((low <= output[-1]) & (output[-1] <= high)).sum())
    which = "All" if inside == units else f"{inside} of"
    title = f"{which} {units} outputs of seed {seed} end in their real ranges"
    figure = headed(title, note, (8, 0.9 + 0.5 * max(4, units)))
    heat, ranges = figure.subplots(1, 2, width_ratios=(3, 1.2))

    image = heat.imshow(
        output.T,
        cmap="Blues",
        vmin=0,
        vmax=1,
        aspect="auto",
        interpolation="nearest",
        extent=(0, last, units + 0.5, 0.5),
    )
    show_few_steps(heat, last)
    figure.colorbar(image, ax=heat, pad=0.02, ticks=(0, 0.5, 1), label="output")

    places = 1 + np.arange(units)
    ranges.barh(places, high - low, left=low, height=0.6, color=colors.real_range, label="real")
    ranges.plot(output[-1], places, "o", color=colors.blue, label="at the end")
    ranges.set(xlabel="output", xlim=(-0.05, 1.05), ylim=heat.get_ylim(), xticks=(0, 0.5, 1))
    for axes in (heat, ranges):
        axes.set_yticks(places, coordinates.labels("  "))
    heat.set_ylabel(coordinates.title)
    legend_below(figure)
    return figure


def _draw_losses(
    note: str,
    seed: int,
    steps: np.ndarray,
    losses: Sequence[np.ndarray],
    undecided: Sequence[float],
    others: Sequence[np.ndarray] | None,
) -> Figure:
    """Draw the three losses [records] of a run, and those of others [seeds, records]."""
    apart = np.max([abs(loss[-1] - value) for loss, value in zip(losses, undecided)])
    title = f"The losses of seed {seed} "
    if np.isfinite(apart):
        title += f"end within about {apart:.1g} of an undecided D's"
    else:
        title += "are not finite at the end"
    note += "" if others is None else f" · median and 5–95 % of {len(others[0]):,} seeds"
    figure, colors = headed(title, note, (8, 3)), palette()
    panels = figure.subplots(1, 3, sharey=True)
    panels[0].set_ylabel("loss")
    for k, (axes, (label, color)) in enumerate(zip(panels, LOSS_KEYS)):
        color = getattr(colors, color)
        if others is not None:
            of_all = np.where(np.isfinite(others[k]), others[k], np.inf)
            low, median, high = np.percentile(of_all, (5, 50, 95), axis=0, method="nearest")
            axes.fill_between(steps, low, high, color=color, alpha=0.25, lw=0)
        axes.plot(steps, losses[k], color=color, lw=1)
        if others is not None:
            axes.plot(steps, median, color=colors.ink, lw=1.2, ls="--")
        axes.axhline(undecided[k], color=colors.grey, lw=1.2, ls=":")
        axes.set_title(label)
        show_few_steps(axes, steps[-1])
    panels[0].plot([], [], color=colors.grey, label=f"seed {seed}")  # of each colour
    if others is not None:
        panels[0].plot([], [], color=colors.ink, ls="--", label="median")
        panels[0].fill_between([], [], color=colors.grey, alpha=0.25, lw=0, label="5–95 %")
    values = ", ".join(dict.fromkeys(f"{value:.3g}" for value in undecided))
    panels[0].plot([], [], color=colors.grey, ls=":", label=f"D undecided: {values}")
    legend_below(figure)
    return figure


def _draw_convergence(
    note: str, seeds: int, game: str, steps: np.ndarray, curves: Mapping[str, _Interval]
) -> Figure:
    """Draw the fractions of seeds that match and that are in support."""
    matched, inside = (curves[name]["fraction"] for name in ("matched", "in_support"))
    most, least = find_fall(inside)
    if inside[most] - inside[least] > _FALL:
        title = f"{percent(inside[most])} are in support at step {steps[most]:,}"
        title += f", and only {percent(inside[least])} at step {steps[least]:,}"
    else:
        title = (
            f"At the end, {percent(matched[-1])} match, and {percent(inside[-1])} are in support"
        )
    widest = max(np.max(of["ci_high"] - of["ci_low"]) / 2 for of in curves.values())
    if is_thin := widest < _THIN:
        note += f" · 95 % intervals within ±{100 * widest:.2g} points"
    figure, colors = headed(title, note, (8, 3.6)), palette()
    axes = figure.subplots()
    for name, label, color, line in (
        ("matched", "matched: on their bits' sides", colors.blue, "-"),
        ("in_support", "in support: in the real ranges", colors.orange, "--"),
    ):
        if not is_thin:
            _draw_interval(axes, steps, curves[name], color)
        axes.plot(steps, curves[name]["fraction"], color=color, ls=line, lw=2, label=label)
    axes.set_ylim(-0.02, 1.02)
    show_percent(axes.yaxis)
    _finish_curves(figure, axes, steps, has_intervals=not is_thin)
    return figure


def _draw_forgetting(
    note: str, seeds: int, game: str, steps: np.ndarray, missing: Mapping[str, _Interval]
) -> Figure:
    """Draw the fractions of seeds that do not match and the like, on a log scale."""
    worst = []  # after the best
    for name in ("in_support", "matched"):
        fraction = missing[name]["fraction"]
        worst.append(percent(fraction[fraction.argmin() :].max()))
    title = "At worst after the best step, {} are out of support, {} unmatched".format(*worst)
    figure, colors = headed(title, note, (8, 3.6)), palette()
    axes = figure.subplots()
    for name, label, color, line, width in (
        ("ever_matched", "have never matched", colors.green, "-", 6),
        ("in_support", "not in support", colors.orange, "--", 2),
        ("matched", "do not match", colors.blue, "-", 2),
    ):
        are_some = missing[name]["count"] > 0
        some = {key: np.where(are_some, of, np.nan) for key, of in missing[name].items()}
        alpha = 0.4 if width > 2 else None  # behind another line
        look = {"color": color, "ls": line, "lw": width, "alpha": alpha, "label": label}
        axes.plot(steps, some["fraction"], **look)
        if name != "ever_matched":  # whose interval would hide the others
            _draw_interval(axes, steps, some, color)
    every = np.concatenate([of["fraction"] for of in missing.values()])
    least = every[every > 0].min(initial=1)
    axes.set(yscale="log", ylim=(0.5 * least, 1.2))
    axes.yaxis.set_major_formatter(lambda fraction, _: f"{100 * fraction:g} %")
    axes.yaxis.set_minor_formatter("")
    _finish_curves(figure, axes, steps)
    return figure


def _draw_interval(axes: Axes, steps: np.ndarray, of: _Interval, color: str) -> None:
    axes.fill_between(steps, of["ci_low"], of["ci_high"], color=color, alpha=0.25, lw=0)


def _finish_curves(
    figure: Figure, axes: Axes, steps: np.ndarray, *, has_intervals: bool = True
) -> None:
    if has_intervals:
        axes.fill_between([], [], color=palette().grey, alpha=0.25, lw=0, label="95 % interval")
    axes.set_ylabel("fraction of seeds")
    show_steps(axes, steps[-1])
    legend_below(figure)


def _draw_outputs(
    note: str,
    seeds: int,
    counts: np.ndarray,
    edges: np.ndarray,
    inside: int,
    coordinates: Coordinates,
) -> Figure:
    """Draw the counts [units, bins] of final outputs between edges [bins + 1]."""
    units, colors = len(counts), palette()
    title = f"{percent(inside / seeds)} of the generators end in the real ranges"
    figure = headed(title, note, (8, 1.1 + 0.42 * max(4, units)))
    low, high, _ = coordinates
    shown = _find_shown(counts, edges, coordinates)
    widths = [end - begin for begin, end in shown]
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False, width_ratios=widths)[0]
    places = 1 + np.arange(units)
    for axes, span in zip(panels, shown):
        axes.barh(places, high - low, 0.9, low, color=colors.real_range, label="real range")
        for place, count in zip(places, counts):
            width = 0.8 * np.sqrt(count / max(1, count.max()))  # so that a single seed is seen
            half = np.append(width, 0) / 2
            label = "seeds (height: √count)" if place == 1 else None
            histogram = {"step": "post", "lw": 0, "color": colors.blue, "label": label}
            axes.fill_between(edges, place - half, place + half, **histogram)
        axes.set(xlabel="output", xlim=span, ylim=(units + 0.6, 0.4))
    if len(shown) == 1:
        axes.axvline(0.5, color=colors.grey, lw=1.2, ls=":", label="0.5, the border of a match")
    panels[0].set_yticks(places, coordinates.labels("  "))
    panels[0].set_ylabel(coordinates.title)
    legend_below(figure)
    return figure


def _find_shown(
    counts: np.ndarray, edges: np.ndarray, coordinates: Coordinates
) -> list[tuple[float, float]]:
    """The spans of outputs that are worth to be shown: all, or those beside a wide gap."""
    low, high, _ = coordinates
    in_range = (edges[:-1, None] < high) & (edges[1:, None] > low)
    filled = np.flatnonzero(counts.any(axis=0) | in_range.any(axis=1))
    begin, end = edges[0] - 0.02, edges[-1] + 0.02
    if len(filled) > 1:
        place = np.diff(filled).argmax()
        gap = edges[filled[place] + 1] + 0.02, edges[filled[place + 1]] - 0.02
        if gap[1] - gap[0] > _GAP:
            return [(begin, gap[0]), (gap[1], end)]
    return [(begin, end)]


def _draw_settling(
    note: str,
    seeds: int,
    game: str,
    steps: np.ndarray,
    last: int,
    settled: np.ndarray,
    quantiles: Mapping[int, int],
) -> Figure:
    """Draw how many seeds settled at each record, and the quantiles."""
    never = seeds - settled.sum()
    title = f"None of the seeds settles on {game}"
    if settled.any():
        title = f"Half of the seeds that settle on {game} have settled by step {quantiles[50]:,}"
    figure, colors = headed(title, f"{note} · {never:,} never settle", (8, 3.6)), palette()
    axes = figure.subplots()
    if settled.any():
        axes.hist(steps, np.linspace(0, last, 51), weights=settled, color=colors.blue)
        for percent_of_them, step in quantiles.items():
            line = "-" if percent_of_them == 50 else ":"
            label = f"{percent_of_them} %: step {step:,}"
            axes.axvline(step, color=colors.orange, lw=2, ls=line, label=label)
        legend_below(figure)
    show_steps(axes, last)
    axes.set(xlabel="settling step: it matches at every record from here on", ylabel="seeds")
    axes.yaxis.set_major_formatter(THOUSANDS)
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
