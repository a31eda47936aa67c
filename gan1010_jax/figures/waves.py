"""Figures of the waves of forgetting: training beside the models that explain it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from gan1010_jax.figures.style import (
    THOUSANDS,
    find_fall,
    headed,
    legend_below,
    mark_reference,
    palette,
    percent,
    show_percent,
    show_steps,
    styled,
)

_Numbers = Mapping[str, Any]
# Each curve of `plot_waves`, by its name there: its label, and its line.
_CURVES = {
    "training": ("training", "-"),
    "without randomness": ("training, with every real sample at its mean", "-"),
    "expected step": ("the expected step's equation, from the initial weights", "--"),
    "level model": ("the level model, from step 10,000", "-"),
}
_SCATTERS = {
    "expected step": "the expected step,\nfrom the initial weights",
    "level model": "the level model,\nfrom step 10,000",
    "level model, level free": "the same with\nits level left free",
}
_LEARNING = 10_000  # steps
_SHOWN_STEPS = (20_000, 50_000, 100_000, 200_000)
# Those of viridis that are seen on white, and on a dark ground.
_PATH_COLORS = ListedColormap(colormaps["viridis"](np.linspace(0.3, 0.95, 256)))
# The parts of a wave, and where they stand beside the orbit of `plot_orbit`.
_PARTS = (
    (0.53, 1.75, "1  D's slope pulls G in,\nand past the middle"),
    (0.705, -0.45, "2  The error is at most 0.1:\nD's slope fades, and turns,\nin 30,000 steps"),
    (0.52, -1.7, "3  D's new slope drives G\nout in a few thousand steps"),
    (0.5, -0.6, "4  The error is\nlarge, and D turns\nround at once"),
)


@styled
def plot_finding(
    steps: np.ndarray, runs: Mapping[str, np.ndarray], note: str, *, style: str = "paper"
) -> Figure:
    """Learning, forgetting, and the cure: the fraction in support over training.

    The first 10,000 steps are drawn at a larger scale.

    Args:
      steps: the steps of the records, [records].
      runs: the fractions at these, [records], by their labels: of the reference, and of the cure.
      note: the line below the title.
      style: a name of `FIGURE_STYLES`.
    """
    (plain, cured), (_, cure) = runs.values(), runs
    (best, worst), (_, least) = map(find_fall, (plain, cured))
    title = (
        f"{percent(plain[best])} learn 1010, but at step {steps[worst]:,} only "
        f"{percent(plain[worst])} still have it; {cure}, at least {percent(cured[least])}"
    )
    figure, colors = headed(title, note, (8, 3.6)), palette()
    learning, later = figure.subplots(1, 2, sharey=True, width_ratios=(1, 2.4))
    for axes in (learning, later):
        for (label, curve), color in zip(runs.items(), (colors.orange, colors.blue)):
            axes.plot(steps, curve, color=color, lw=2.5, label=label)
        axes.xaxis.set_major_formatter(THOUSANDS)
        axes.grid(axis="y", color=colors.grey, alpha=0.25, lw=0.8)
    place = {"xytext": (0, -8), "textcoords": "offset points", "ha": "center", "va": "top"}
    later.annotate(percent(plain[worst]), (steps[worst], plain[worst]), **place)
    learning.set(xlim=(0, _LEARNING), xticks=(0, _LEARNING / 2))
    learning.set_title(f"the first {_LEARNING:,} steps")
    later.set(xlim=(_LEARNING, steps[-1]), xlabel="step", title="training on")
    later.set_xticks(range(50_000, steps[-1] + 1, 50_000))
    later.spines.left.set(linestyle=":", color=colors.grey)
    later.tick_params(left=False)
    learning.set(ylabel="seeds in support", ylim=(0, 1.02))
    show_percent(learning.yaxis)
    figure.get_layout_engine().set(wspace=0, w_pad=0.01)
    legend_below(figure)
    return figure


@styled
def plot_waves(
    steps: np.ndarray, runs: Mapping[str, np.ndarray], note: str, *, style: str = "paper"
) -> Figure:
    """The fraction in support over training, and as models predict it.

    Args:
      steps: the steps of the records, [records].
      runs: who is in support, bool [seeds, records], by the names of `_CURVES`.
      note: the line below the title.
      style: a name of `FIGURE_STYLES`.
    """
    curves = {name: runs[name].mean(axis=0) for name in _CURVES}
    ends = []
    for name in ("training", "level model"):
        _, worst = find_fall(curves[name])
        ends.append(f"{percent(curves[name][worst])} at step {steps[worst]:,}")
    title = "At worst {} are in support; the level model says {}".format(*ends)
    figure, colors = headed(title, note, (8, 3.8)), palette()
    axes = figure.subplots()
    looks = (colors.blue, colors.green, colors.ink, colors.orange)
    for (name, (label, line)), color in zip(_CURVES.items(), looks):
        width = 2.6 if name == "training" else 1.3
        axes.plot(steps, curves[name], line, color=color, lw=width, label=label)
    show_steps(axes, steps[-1])
    axes.set(ylabel="in support", ylim=(0, 1.02))
    show_percent(axes.yaxis)
    legend_below(figure)
    return figure


@styled
def plot_departures(
    departures: Mapping[str, np.ndarray],
    scores: Mapping[str, _Numbers],
    note: str,
    *,
    style: str = "paper",
) -> Figure:
    """When each seed first leaves the support: as predicted, over as measured.

    Args:
      departures: steps [seeds], or NaN, by the names of `_SCATTERS`, and "training".
      scores: `r2` of each prediction, by the same names.
      note: the line below the title.
      style: a name of `FIGURE_STYLES`.
    """
    explained = [f"R² {scores[name]['r2']:.3f}" for name in ("expected step", "level model")]
    title = f"When each seed first leaves is predicted: {' and '.join(explained)}"
    figure, colors = headed(title, note, (8, 3.3)), palette()
    panels = figure.subplots(1, len(_SCATTERS), sharex=True, sharey=True)
    measured = departures["training"]
    every = np.concatenate([departures[name] for name in ("training", *_SCATTERS)])
    low, high = np.nanquantile(every, (0.002, 0.998))
    ends = (0.95 * low, 1.05 * high)
    for axes, (name, title) in zip(panels, _SCATTERS.items()):
        axes.plot(ends, ends, color=colors.grey, lw=1)
        axes.plot(measured, departures[name], ".", color=colors.blue, ms=4, alpha=0.6, mew=0)
        axes.set_title(title)
        axes.text(0.05, 0.95, f"R² {scores[name]['r2']:.3f}", transform=axes.transAxes, va="top")
        axes.set(xlim=ends, ylim=ends, aspect="equal", xlabel="measured step")
        axes.locator_params(nbins=2)
        axes.xaxis.set_major_formatter(THOUSANDS)
        axes.yaxis.set_major_formatter(THOUSANDS)
    panels[0].set_ylabel("predicted step")
    return figure


@styled
def plot_orbit(
    trained: _Numbers, model: _Numbers, note: str, last: int = 90_000, *, style: str = "paper"
) -> Figure:
    """One seed's orbit in the plane of G's output and D's slope, with the four parts of a wave.

    Args:
      trained: `step`, `output` and `slope`, each [records], in training.
      model: the same by the level model.
      note: the line below the title.
      last: the last step that is shown.
      style: a name of `FIGURE_STYLES`.
    """
    figure, colors = (
        headed("One wave: D's slope turns, and drives G out again", note, (8, 4.6)),
        palette(),
    )
    axes = figure.subplots()
    axes.axvspan(0.8, 1.0, color=colors.real_range, lw=0, label="real range")
    axes.axhline(0, color=colors.grey, lw=1)
    axes.axvline(0.9, color=colors.grey, lw=1, ls=":", label="its middle")
    seen = model["step"] <= last
    path = model["output"][seen], model["slope"][seen]
    axes.plot(*path, "--", color=colors.ink, lw=1, label="level model")
    seen = trained["step"] <= last
    step, output, slope = (trained[key][seen] for key in ("step", "output", "slope"))
    points = np.stack([output, slope], axis=-1)
    line = LineCollection(
        np.stack([points[:-1], points[1:]], axis=1), array=step[1:], cmap=_PATH_COLORS, lw=2
    )
    axes.add_collection(line)
    marks = step % 5_000 == 0
    axes.scatter(output[marks], slope[marks], c=step[marks], cmap=_PATH_COLORS, s=16, zorder=3)
    bar = figure.colorbar(line, ax=axes, pad=0.02)
    bar.set_label("step (a dot every 5,000)")
    bar.ax.yaxis.set_major_formatter(THOUSANDS)
    axes.set(
        xlabel="G's output: how near its coordinates are to their bits, on average",
        ylabel="slope of D's logit towards the bits",
    )
    for x, y, text in _PARTS:
        axes.text(x, y, text, fontsize=9, va="center")
    axes.autoscale_view()
    legend_below(figure)
    return figure


@styled
def plot_rates(
    rates: Mapping[str, _Numbers], rays: _Numbers, note: str, *, style: str = "paper"
) -> Figure:
    """The median departure over each learning rate, and who is in support over both.

    Args:
      rates: for `d_lr` and `g_lr`: `rates`, `measured` and `model`, and the exponents of both.
      rays: `rates` of both players, and `measured` and `model`, the fractions [cells] after
        10,000 steps.
      note: the line below the title.
      style: a name of `FIGURE_STYLES`.
    """
    powers = [f"{of['measured_exponent']:.2f}" for of in rates.values()]
    title = "The wait goes as the power {} of D's rate, {} of G's".format(*powers)
    figure, colors = headed(title.replace("-", "−"), note, (8, 3.3)), palette()
    lines, *maps = figure.subplots(1, 3, width_ratios=(1.25, 1, 1))
    for (name, of), color in zip(rates.items(), (colors.blue, colors.orange)):
        player = name[0].upper()
        lines.plot(of["rates"], of["measured"], "o", color=color, ms=6, label=f"{player}'s rate")
        lines.plot(of["rates"], of["model"], "-", color=color, lw=1.5)
    lines.plot([], [], "o", color=colors.grey, label="training")
    lines.plot([], [], "-", color=colors.grey, label="level model")
    lines.set(xscale="log", yscale="log", xlabel="one rate, the other at 0.01")
    lines.set_title("median first departure")
    lines.set_xticks(of["rates"][::2], [f"{rate:g}" for rate in of["rates"][::2]])
    lines.set_yticks(_SHOWN_STEPS, [f"{step:,}" for step in _SHOWN_STEPS])
    lines.minorticks_off()
    side = np.array(rays["rates"])
    ratio = side[1] / side[0]
    edges = np.append(side, side[-1] * ratio) / np.sqrt(ratio)
    for axes, kind, title in zip(maps, ("measured", "model"), ("training", "level model")):
        cells = np.reshape(rays[kind], (len(side), len(side))).T
        image = axes.pcolormesh(edges, edges, cells, cmap="cividis", vmin=0, vmax=1)
        axes.set(xscale="log", yscale="log", xlabel="D's rate")
        axes.set_title(title)
        axes.set_xticks((1e-3, 1e-1))
        mark_reference(axes, (0.01, 0.01))
    maps[0].set_ylabel("G's rate")
    maps[1].set_yticklabels([])
    bar = figure.colorbar(image, ax=maps, pad=0.02, label="in support at step 10,000")
    show_percent(bar.ax.yaxis)
    legend_below(figure)
    return figure


@styled
def plot_brake(brake: _Numbers, note: str, *, style: str = "paper") -> Figure:
    """The least fraction in support after the first success, over the weight of R1.

    Args:
      brake: `weights`, and `measured` and `model`, the fractions.
      note: the line below the title.
      style: a name of `FIGURE_STYLES`.
    """
    first, *_, last = map(percent, brake["measured"])
    title = f"R1 ends the waves: the fewest in support rise from {first} to {last}"
    figure, colors = headed(title, note, (8, 3.4)), palette()
    axes = figure.subplots()
    look = {"color": colors.blue, "clip_on": False, "zorder": 3}
    axes.plot(brake["weights"], brake["measured"], "o", label="training", **look)
    axes.plot(brake["weights"], brake["model"], "-", color=colors.orange, label="the level model")
    axes.set(xlabel="weight of R1", ylim=(0, 1.03), xlim=(0, None))
    axes.set_ylabel("fewest in support\nafter the first success")
    show_percent(axes.yaxis)
    legend_below(figure)
    return figure


@styled
def plot_predictions(
    rows: Sequence[_Numbers], predictions: Mapping[str, str], note: str, *, style: str = "paper"
) -> Figure:
    """How well each setting's departures are predicted: a line a setting, the worst first.

    Args:
      rows: for each setting, its name, `setting`, and for each prediction `r2`, or None.
      predictions: the predictions, by their labels.
      note: the line below the title.
      style: a name of `FIGURE_STYLES`.
    """
    rows = [row for row in rows if row["level"]["left"] > 0]
    medians = {}
    for kind in predictions:
        medians[kind] = np.median([row[kind]["r2"] for row in rows if row[kind]["r2"] is not None])
    title = (
        f"In half of the settings, the expected step explains {percent(medians['step'])} of the "
        f"variance or more, the level model {percent(medians['level'])}"
    )
    figure, colors = headed(title, note, (8, 10.5)), palette()
    axes = figure.subplots()
    looks = ((colors.green, "s"), (colors.blue, "o"), (colors.grey, "x"), (colors.orange, "D"))
    for (kind, label), (color, marker) in zip(predictions.items(), looks):
        found = [max(row[kind]["r2"] or 0, 0) for row in rows]
        axes.plot(found, range(len(rows)), marker, color=color, ms=5, label=label, clip_on=False)
    axes.set_yticks(range(len(rows)), [row["setting"] for row in rows], fontsize=9)
    axes.set(
        xlim=(0, 1),
        ylim=(len(rows) - 0.5, -0.5),
        xlabel="R² of each seed's departure (0: that or less, or nothing foreseen)",
    )
    axes.grid(axis="y", color=colors.grey, alpha=0.2, lw=0.8)
    legend_below(figure)
    return figure
