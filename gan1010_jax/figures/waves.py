"""Figures of the waves of forgetting: training beside the models that explain it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from gan1010_jax.figures import style

_Numbers = Mapping[str, Any]
# Each curve of `plot_waves`, by its name there: its label, colour and line.
_CURVES = {
    "training": ("training", style.BLUE, "-"),
    "without randomness": ("training, with every real sample at its mean", style.GREEN, "-"),
    "expected step": ("the expected step's equation, from the initial weights", "black", "--"),
    "level model": ("the level model, from step 10,000", style.ORANGE, "-"),
}
_SCATTERS = {
    "expected step": "the expected step,\nfrom the initial weights",
    "level model": "the level model,\nfrom step 10,000",
    "level model, level free": "the same with its level left free",
}
_SHOWN_STEPS = (20_000, 50_000, 100_000, 200_000)
# The parts of a wave, and where they stand beside the orbit of `plot_orbit`.
_PARTS = (
    (0.53, 1.75, "1  D's slope pulls G in,\nand past the middle"),
    (0.818, 0.3, "2  The error is at most 0.1:\nD's slope fades, and turns,\nin 30,000 steps"),
    (0.815, -1.15, "3  D's new slope\ndrives G out in a\nfew thousand steps"),
    (0.66, -0.25, "4  The error is large, and\nD turns round at once"),
)


@style.styled
def plot_waves(steps: np.ndarray, runs: Mapping[str, np.ndarray]) -> Figure:
    """The fraction in support over training, and as models predict it.

    Args:
      steps: the steps of the records, [records].
      runs: who is in support, bool [seeds, records], by the names of `_CURVES`.
    """
    seeds = len(runs["training"])
    figure, axes = style.titled(f"{seeds:,} seeds leave and come back: training, and its models")
    for name, (label, color, line) in _CURVES.items():
        width = 2.2 if name == "training" else 1.2
        axes.plot(steps, runs[name].mean(axis=0), line, color=color, lw=width, label=label)
    style.show_steps(axes, steps[-1])
    axes.set(ylabel="in support", ylim=(0, 1.02))
    style.show_percent(axes.yaxis)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    return figure


@style.styled
def plot_departures(departures: Mapping[str, np.ndarray], scores: Mapping[str, _Numbers]) -> Figure:
    """When each seed first leaves the support: as predicted, over as measured.

    Args:
      departures: steps [seeds], or NaN, by the names of `_SCATTERS`, and "training".
      scores: `r2` of each prediction, by the same names.
    """
    figure = Figure(figsize=(10, 4.2))
    figure.suptitle("When each seed first leaves the support")
    panels = figure.subplots(1, len(_SCATTERS), sharex=True, sharey=True)
    measured = departures["training"]
    every = np.concatenate([departures[name] for name in ("training", *_SCATTERS)])
    low, high = np.nanquantile(every, (0.002, 0.998))
    ends = (0.95 * low, 1.05 * high)
    for axes, (name, title) in zip(panels, _SCATTERS.items()):
        axes.plot(ends, ends, color=style.GREY, lw=1)
        axes.plot(measured, departures[name], ".", color=style.BLUE, ms=4, alpha=0.6, mew=0)
        axes.set_title(title)
        axes.text(0.05, 0.93, f"R² {scores[name]['r2']:.3f}", transform=axes.transAxes, va="top")
        axes.set(xlim=ends, ylim=ends, aspect="equal", xlabel="measured step")
        axes.xaxis.set_major_formatter(style.THOUSANDS)
        axes.yaxis.set_major_formatter(style.THOUSANDS)
        axes.locator_params(nbins=4)
    panels[0].set_ylabel("predicted step")
    return figure


@style.styled
def plot_orbit(trained: _Numbers, model: _Numbers, last: int = 90_000) -> Figure:
    """One seed's orbit in the plane of G's output and D's slope, with the four parts of a wave.

    Args:
      trained: `step`, `output` and `slope`, each [records], in training.
      model: the same by the level model.
      last: the last step that is shown.
    """
    figure = Figure(figsize=(9, 5.2))
    axes = figure.subplots()
    axes.set_title("One wave of one seed: G's output, and D's slope there", fontsize=13)
    axes.axvspan(0.8, 1.0, color=style.REAL_RANGE, lw=0, label="real range")
    axes.axhline(0, color=style.GREY, lw=1)
    axes.axvline(0.9, color=style.GREY, lw=1, ls=":", label="its middle")
    seen = model["step"] <= last
    axes.plot(
        model["output"][seen], model["slope"][seen], "--", color="black", lw=1, label="level model"
    )
    seen = trained["step"] <= last
    step, output, slope = (trained[key][seen] for key in ("step", "output", "slope"))
    points = np.stack([output, slope], axis=-1)
    line = LineCollection(
        np.stack([points[:-1], points[1:]], axis=1), array=step[1:], cmap="viridis", lw=2
    )
    axes.add_collection(line)
    marks = step % 5_000 == 0
    axes.scatter(output[marks], slope[marks], c=step[marks], cmap="viridis", s=16, zorder=3)
    bar = figure.colorbar(line, ax=axes, pad=0.02)
    bar.set_label("step (a dot every 5,000)")
    bar.ax.yaxis.set_major_formatter(style.THOUSANDS)
    axes.set(
        xlabel="G's output: how near its coordinates are to their bits, on average",
        ylabel="slope of D's logit towards the bits",
    )
    for x, y, text in _PARTS:
        axes.text(x, y, text, fontsize=9, va="center")
    axes.autoscale_view()
    axes.legend(loc="lower left", fontsize=9)
    return figure


@style.styled
def plot_rates(rates: Mapping[str, _Numbers], rays: _Numbers) -> Figure:
    """The median departure over each learning rate, and who is in support over both.

    Args:
      rates: for `d_lr` and `g_lr`: `rates`, `measured` and `model`, and the exponents of both.
      rays: `rates` of both players, and `measured` and `model`, the fractions [cells] after
        10,000 steps.
    """
    figure = Figure(figsize=(12, 4))
    lines, *maps = figure.subplots(1, 3, width_ratios=(1.15, 1, 1))
    for (name, of), color in zip(rates.items(), (style.BLUE, style.ORANGE)):
        player = name[0].upper()
        exponents = f"{of['measured_exponent']:.2f}, model {of['model_exponent']:.2f}"
        label = f"{player}'s rate: exponent {exponents}"
        lines.plot(of["rates"], of["measured"], "o", color=color, ms=6, label=label)
        lines.plot(of["rates"], of["model"], "-", color=color, lw=1.2)
    lines.set(xscale="log", yscale="log", xlabel="learning rate, the other at 0.01")
    lines.set_title("Median step of the first departure\n(dots; lines: the level model)")
    lines.set_xticks(of["rates"], [f"{rate:g}" for rate in of["rates"]])
    lines.set_yticks(_SHOWN_STEPS, [f"{step:,}" for step in _SHOWN_STEPS])
    lines.minorticks_off()
    lines.legend(fontsize=8, loc="lower left")
    side = np.array(rays["rates"])
    ratio = side[1] / side[0]
    edges = np.append(side, side[-1] * ratio) / np.sqrt(ratio)
    for axes, kind, title in zip(maps, ("measured", "model"), ("training", "the level model")):
        cells = np.reshape(rays[kind], (len(side), len(side))).T
        image = axes.pcolormesh(edges, edges, cells, cmap="cividis", vmin=0, vmax=1)
        axes.set(xscale="log", yscale="log", xlabel="D's learning rate")
        axes.set_title(f"In support at step 10,000:\n{title}")
        for color, width in (("black", 4), ("white", 2)):
            axes.plot(0.01, 0.01, "+", color=color, ms=8 + width, mew=width)
    maps[0].set_ylabel("G's learning rate (cross: the default)")
    bar = figure.colorbar(image, ax=maps, pad=0.02)
    style.show_percent(bar.ax.yaxis)
    return figure


@style.styled
def plot_brake(brake: _Numbers) -> Figure:
    """The least fraction in support after the first success, over the weight of R1.

    Args:
      brake: `weights`, and `measured` and `model`, the fractions.
    """
    figure, axes = style.titled("R1 ends the waves: the fewest in support after the first success")
    look = {"color": style.BLUE, "clip_on": False, "zorder": 3}
    axes.plot(brake["weights"], brake["measured"], "o", label="training", **look)
    axes.plot(brake["weights"], brake["model"], "-", color=style.ORANGE, label="the level model")
    axes.set(xlabel="weight of R1", ylabel="in support", ylim=(0, 1.03), xlim=(0, None))
    style.show_percent(axes.yaxis)
    axes.legend(loc="lower right")
    return figure


@style.styled
def plot_predictions(rows: Sequence[_Numbers], predictions: Mapping[str, str]) -> Figure:
    """How well each setting's departures are predicted: a line a setting, the worst first.

    Args:
      rows: for each setting, its name, `setting`, and for each prediction `r2`, or None.
      predictions: the predictions, by their labels.
    """
    rows = [row for row in rows if row["level"]["left"] > 0]
    figure, axes = style.titled("How well each seed's departure is predicted", (8, 11))
    looks = ((style.GREEN, "s"), (style.BLUE, "o"), (style.GREY, "x"), (style.ORANGE, "D"))
    for (kind, label), (color, marker) in zip(predictions.items(), looks):
        found = [max(row[kind]["r2"] or 0, 0) for row in rows]
        axes.plot(found, range(len(rows)), marker, color=color, ms=5, label=label, clip_on=False)
    axes.set_yticks(range(len(rows)), [row["setting"] for row in rows], fontsize=8)
    axes.set(
        xlim=(0, 1),
        ylim=(len(rows) - 0.5, -0.5),
        xlabel="R² (0: that or less, or nothing foreseen)",
    )
    axes.grid(axis="y", color=style.GREY, alpha=0.2, lw=0.8)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    return figure
