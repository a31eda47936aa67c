"""Figures of methods: phase diagrams, the Dirac-GAN, spectra, comparisons, and agreement."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import LogLocator, SymmetricalLogLocator

from gan1010_jax.figures import style
from gan1010_jax.methods import HYPERPARAMS, Hyperparams

_Cells = Mapping[str, np.ndarray]  # the rows of `tabulate_cells` by column
# The smallest growth and rotation of a step that a figure distinguishes from none; some periods.
_SPECTRUM_UNIT = 1e-6
_SHOWN_PERIODS = (10, 1_000, 10_000, 100_000, 1_000_000)


@style.styled
def plot_phase_diagram(cells: Mapping[str, _Cells], *names: str) -> Figure:
    """Where methods converge: fractions matched and in support, and the median settling step.

    Args:
      cells: for each method, by its name, the table of `tabulate_cells`.
      *names: the one or two hyperparameters that are varied: the horizontal axis, and the vertical.
    """
    is_map, is_alone = len(names) == 2, len(cells) == 1
    labels = [HYPERPARAMS[name]["label"] for name in names]
    figure = Figure(figsize=(11.5, 3.9) if is_alone else (1.2 + 2.7 * len(cells), 8.2))
    share = is_map or (False if is_alone else "row")
    shape = (1, 3) if is_alone else (3, len(cells))
    grid = figure.subplots(*shape, squeeze=False, sharex=True, sharey=share)
    grid = grid.T if is_alone else grid  # a row for each column of the table
    any_cells = next(iter(cells.values()))
    title = f"{', '.join(cells)}: " if is_alone else ""
    title += f"{any_cells['seeds'][0]:,} seeds a cell, {any_cells['steps'][0]:,} steps"
    title += " (cross: the default)" if is_map and _default_place(any_cells, names) else ""
    figure.suptitle(title)
    for row, (column, title, scale) in enumerate(
        (
            ("matched_fraction", "matched", Normalize(0, 1)),
            ("in_support_fraction", "in support", Normalize(0, 1)),
            ("settled_p50", "median settling step", _settling_scale(cells)),
        )
    ):
        for axes, (method, table) in zip(grid[row], cells.items()):
            if is_map:
                image = _draw_cells(axes, table, column, scale, names)
            else:
                _draw_line(axes, table, column, names[0])
            if is_alone or row == 0:
                axes.set_title(title if is_alone else method)
            if is_alone or row == 2:
                axes.set_xlabel(labels[0])
        if not is_map:
            grid[row, 0].set_ylabel(title)
            continue
        if row == 0 or not is_alone:
            grid[row, 0].set_ylabel(labels[1])
        bar = figure.colorbar(image, ax=list(grid[row]), pad=0.02)
        bar.set_label("" if is_alone else title)
        if row == 2:
            bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            bar.ax.yaxis.set_major_formatter(style.THOUSANDS)
        else:
            style.show_percent(bar.ax.yaxis)
        bar.ax.yaxis.set_minor_formatter("")
    return figure


def _settling_scale(cells: Mapping[str, _Cells]) -> Normalize:
    settled = np.concatenate([_shown(table, "settled_p50") for table in cells.values()])
    settled = settled[np.isfinite(settled)]
    low, high = (settled.min(), settled.max()) if settled.size else (1, 10)
    return LogNorm(low, max(high, low + 1))


def _draw_cells(
    axes: Axes, table: _Cells, column: str, scale: Normalize, names: Sequence[str]
) -> ScalarMappable:
    """Draw a column of a table of cells as a map over two hyperparameters."""
    (x, columns), (y, rows) = (np.unique(table[name], return_inverse=True) for name in names)
    values = np.full((len(y), len(x)), np.nan)
    values[rows, columns] = _shown(table, column)
    axes.set_facecolor("lightgrey")  # where too few have settled
    colors = "cividis_r" if column.startswith("settled") else "cividis"  # the better, the brighter
    image = axes.pcolormesh(_edges(x), _edges(y), values, cmap=colors, norm=scale)
    axes.set(xscale=_scale_of(x), xlim=_edges(x)[[0, -1]])
    axes.set(yscale=_scale_of(y), ylim=_edges(y)[[0, -1]])
    if place := _default_place(table, names):
        axes.plot(*place, "+", color=style.ORANGE, ms=9, mew=2)
    return image


def _draw_line(axes: Axes, table: _Cells, column: str, name: str) -> None:
    """Draw a column of a table of cells over one hyperparameter, with its interval."""
    order = np.argsort(table[name])
    x = table[name][order]
    stem = column.rpartition("_")[0]
    low, high = ("p5", "p95") if stem == "settled" else ("ci_low", "ci_high")
    keys = (f"{stem}_{low}", column, f"{stem}_{high}")
    low, middle, high = (_shown(table, key)[order] for key in keys)
    axes.fill_between(x, low, high, color=style.BLUE, alpha=0.25, lw=0)
    axes.plot(x, middle, "o-", color=style.BLUE, ms=3)
    axes.set_xscale(_scale_of(x))
    if stem == "settled":
        axes.set_ylim(0, table["steps"][0])
        axes.yaxis.set_major_formatter(style.THOUSANDS)
    else:
        axes.set_ylim(-0.02, 1.02)
        style.show_percent(axes.yaxis)
    if place := _default_place(table, [name]):
        axes.axvline(*place, color=style.GREY, lw=1, ls=":")


def _default_place(table: _Cells, names: Sequence[str]) -> list[float] | None:
    """Where the default hyperparameters are, if they are within the table."""
    place = [getattr(Hyperparams(), name) for name in names]
    for name, value in zip(names, place):
        if value is None or not table[name].min() <= value <= table[name].max():
            return None
    return place


def _shown(table: _Cells, column: str) -> np.ndarray:
    """The values of a column; a settling step is NaN where fewer than half of the seeds settled."""
    is_hidden = column.startswith("settled") & (table["matched_fraction"] < 0.5)
    return np.where(is_hidden, np.nan, table[column])


def _scale_of(values: np.ndarray) -> str:
    """The scale of an axis for these values: logarithmic if they are positive and far apart."""
    return "log" if values.min() > 0 and values.max() / values.min() > 20 else "linear"


def _edges(values: np.ndarray) -> np.ndarray:
    """The borders of the cells around increasing values, one more than these."""
    inner = np.asarray(values, np.float64)
    if len(inner) == 1:
        return np.maximum(inner + np.array([-0.5, 0.5]) * (abs(inner[0]) or 1), 0)
    is_logarithmic = _scale_of(values) == "log"
    inner = np.log(inner) if is_logarithmic else inner
    middles = (inner[1:] + inner[:-1]) / 2
    borders = np.concatenate([[2 * inner[0] - middles[0]], middles, [2 * inner[-1] - middles[-1]]])
    return np.maximum(np.exp(borders) if is_logarithmic else borders, 0)


@style.styled
def plot_dirac(panels: Mapping[str, Mapping[str, np.ndarray]], bound: float) -> Figure:
    """The Dirac-GAN under several methods: the vector field, two runs, and the equilibrium.

    Args:
      panels: for each method, by its title: `field`, (θ, ψ, velocity of θ, of ψ), each [rows,
        columns]; the runs, `simultaneous` and `alternating`, (θ, ψ) [steps, 2], from their start
        on; and `clip`, the bound of ψ, or infinity.
      bound: the largest |θ| and |ψ| that is shown.
    """
    figure = Figure(figsize=(12, 6.6))
    grid = figure.subplots(2, -(-len(panels) // 2), sharex=True, sharey=True, squeeze=False)
    for axes, (title, panel) in zip(grid.flat, panels.items()):
        axes.set_title(title)
        axes.set(xlim=(-bound, bound), ylim=(-bound, bound), aspect="equal")
        if np.isfinite(panel["clip"]):
            for side in (-1, 1):
                axes.axhspan(side * panel["clip"], side * bound, color="0.93", lw=0)
        theta, psi, *velocity = panel["field"]
        length = np.hypot(*velocity)
        unit = [part / np.maximum(length, 1e-9) for part in velocity]
        axes.quiver(theta, psi, *unit, color="0.72", pivot="mid", width=0.006, scale=22)
        for update_order, color in (("simultaneous", style.BLUE), ("alternating", style.ORANGE)):
            axes.plot(*panel[update_order].T, color=color, lw=1, label=update_order)
        axes.plot(*panel["simultaneous"][0], "o", color="black", ms=5, label="start")
        axes.plot(0, 0, "*", color=style.GREEN, ms=11, zorder=3, label="equilibrium")
    for axes in grid.flat:
        axes.set(xlabel="θ, the generator", ylabel="ψ, the discriminator")
        axes.label_outer()
    figure.legend(*grid.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


@style.styled
def plot_bilinear(paths: Mapping[str, np.ndarray]) -> Figure:
    """Runs of the bilinear game θψ: the first one's spiral, the others, and every distance.

    Args:
      paths: for each method, by its label, (θ, ψ) [steps + 1, 2], from its start on; four at most.
    """
    spiral, *others = paths.values()
    figure = Figure(figsize=(13, 4.7))
    whole, near, distances = figure.subplots(1, 3)
    bound = 1.05 * np.abs(spiral).max()
    theta, psi = np.meshgrid(*[np.linspace(-bound, bound, 15)] * 2)
    length = np.hypot(theta, psi) + 1e-9
    arrows = {"color": "0.72", "pivot": "mid", "width": 0.005, "scale": 22}
    whole.quiver(theta, psi, psi / length, -theta / length, **arrows)
    whole.plot(*spiral.T, ".-", color=style.BLUE, lw=0.5, ms=2.5)
    whole.set(title="Simultaneous steps lead outwards", xlim=(-bound, bound))
    looks = ((style.BLUE, "-"), (style.ORANGE, "-"), ("black", ":"), (style.GREEN, "-"))
    for path, (color, line) in zip(others, looks[1:]):
        near.plot(*path.T, lw=1.2, color=color, ls=line)
    radius = 1.08 * np.hypot(*spiral[0])
    near.set(title="What cures it", xlim=(-radius, radius))
    near.set(xticks=(-0.5, 0, 0.5), yticks=(-0.5, 0, 0.5))
    for axes in (whole, near):
        axes.plot(*spiral[0], "o", color="black", ms=5)
        axes.plot(0, 0, "*", color=style.GREEN, ms=11, zorder=3)
        axes.set(aspect="equal", ylim=axes.get_xlim(), xlabel="θ, which ascends θψ")
        axes.set_ylabel("ψ, which descends it")
    for (label, path), (color, line) in zip(paths.items(), looks):
        distances.plot(np.hypot(*path.T), lw=1.5, color=color, ls=line, label=label)
    for place, side, offset in ((0, "left", (3, 18)), (len(spiral) - 1, "right", (-20, 0))):
        where = {"xytext": offset, "textcoords": "offset points", "ha": side, "va": "center"}
        length = np.hypot(*spiral[place])
        distances.annotate(f"{length:.3f}", (place, length), **where)
    distances.set(yscale="log", title="Distance from the equilibrium", box_aspect=1)
    style.show_steps(distances, len(spiral) - 1)
    figure.legend(loc="outside lower center", ncols=4)
    return figure


@style.styled
def plot_spectrum(spectra: Mapping[str, np.ndarray]) -> Figure:
    """Eigenvalues of training steps in the complex plane, and close to 1.

    Args:
      spectra: eigenvalues by their label, complex [n] or [states, n]; three at most.
    """
    figure = Figure(figsize=(12, 5))
    figure.suptitle("The eigenvalues of a step: what it multiplies small deviations by")
    plane, near = figure.subplots(1, 2, width_ratios=(1, 1.5))
    plane.add_patch(Circle((0, 0), 1, fc=style.REAL_RANGE, alpha=0.5, ec=style.GREY, lw=1))
    near.axvspan(-1, 0, color=style.REAL_RANGE, alpha=0.5, lw=0)
    near.axvline(0, color=style.GREY, lw=1)
    flat = {label: np.ravel(eigenvalues).astype(complex) for label, eigenvalues in spectra.items()}
    every = np.concatenate([*flat.values()])
    looks = ((style.ORANGE, "o"), (style.BLUE, "x"), (style.GREEN, "s"))
    for (label, values), (color, marker) in zip(flat.items(), looks):
        logarithms = np.log(values[values != 0])
        look = {"color": color, "ls": "", "marker": marker, "ms": 4, "alpha": 0.4, "mew": 0.8}
        plane.plot(values.real, values.imag, **look)
        near.plot(logarithms.real, logarithms.imag, **look, label=label)
    size = 1.1 * max(1, np.abs(every).max(initial=0))
    plane.set(
        xlim=(-size, size),
        ylim=(-size, size),
        aspect="equal",
        xlabel="real part",
        ylabel="imaginary part",
        title="The unit circle; inside, deviations die away",
    )
    logarithms = np.log(every[every != 0])
    periods = near.twinx()
    for set_scale, set_limits, parts in (
        (near.set_xscale, near.set_xlim, logarithms.real),
        (near.set_yscale, near.set_ylim, logarithms.imag),
        (periods.set_yscale, periods.set_ylim, logarithms.imag),
    ):
        set_scale("symlog", linthresh=_SPECTRUM_UNIT)
        end = 2 * max(10 * _SPECTRUM_UNIT, np.abs(parts).max(initial=0))
        set_limits(-end, end)
    near.set(
        xlabel="growth per step",
        ylabel="rotation per step, in radians",
        title="Their logarithms, of which the circle is the line at 0",
    )
    for axis in (near.xaxis, near.yaxis):
        locator = SymmetricalLogLocator(base=10, linthresh=_SPECTRUM_UNIT)
        locator.set_params(numticks=9)
        axis.set_major_locator(locator)
    rotations = {2 * np.pi / period: f"{period:,}" for period in _SHOWN_PERIODS}
    shown = {r: label for r, label in rotations.items() if r < near.get_ylim()[1]}
    periods.set_yticks([*shown, *(-r for r in shown)], 2 * [*shown.values()])
    periods.spines.right.set_visible(True)
    periods.minorticks_off()
    periods.set_ylabel("period in steps")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


@style.styled
def plot_methods(
    methods: Mapping[str, Mapping[str, tuple[float, float]]], steps: tuple[int, int]
) -> Figure:
    """The fraction in support under each method, a line from early to late.

    Args:
      methods: for each objective and optimiser, by name, and for each penalty, by name, two at
        most: the fractions in support early and late.
      steps: after how many steps these are.
    """
    title = "In support after {:,} steps (ring) and {:,} (dot)".format(*steps)
    figure, axes = style.titled(title, size=(8, 0.9 + 0.4 * len(methods)))
    for row, penalties in enumerate(methods.values()):
        looks = ((0.16, style.ORANGE), (-0.16, style.BLUE))
        for (penalty, ends), (shift, color) in zip(penalties.items(), looks):
            line = {"color": color, "clip_on": False, "zorder": 3}
            label = f"penalty {penalty}" if row == 0 else None
            axes.plot(ends, [row - shift] * 2, lw=1.5, label=label, **line)
            axes.plot(ends[0], row - shift, "o", ms=6, mfc="white", **line)
            axes.plot(ends[1], row - shift, "o", ms=6, **line)
    axes.set_yticks(range(len(methods)), methods)
    axes.set(xlim=(0, 1), ylim=(len(methods) - 0.5, -0.5), xlabel="fraction of seeds")
    style.show_percent(axes.xaxis)
    axes.grid(axis="x", color=style.GREY, alpha=0.2, lw=0.8)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@style.styled
def plot_cures(rows: Sequence[Mapping[str, Any]], early: int) -> Figure:
    """How many seeds stay in support under each method: the fewest after the most, and early on.

    Args:
      rows: for each method, its name, `method`, and the fractions in support with their intervals:
        after `early` steps, under that number, and the `least` after the most.
      early: after how many steps the first of them are.
    """
    size = (8, 0.9 + 0.3 * len(rows))
    figure, axes = style.titled("Does it keep 1010? The fewest in support, once most were", size)
    look = {"clip_on": False, "zorder": 3}
    for place, row in enumerate(rows):
        least, soon = row["least"], row[str(early)]["fraction"]
        color = style.BLUE if least["ci_low"] > 0.95 else style.ORANGE
        axes.plot([0, least["fraction"]], [place] * 2, color=color, lw=5, alpha=0.35)
        axes.plot([least["ci_low"], least["ci_high"]], [place] * 2, color=color, lw=2, **look)
        axes.plot(least["fraction"], place, "o", color=color, ms=6, **look)
        axes.plot(soon, place, "o", color=style.GREY, mfc="white", ms=5, **look)
    axes.plot([], [], "o", color=style.BLUE, label="more than 95 % stay")
    axes.plot([], [], "o", color=style.ORANGE, label="fewer stay")
    axes.plot([], [], "o", color=style.GREY, mfc="white", label=f"after {early:,} steps")
    axes.set_yticks(range(len(rows)), [row["method"] for row in rows], fontsize=9)
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5), xlabel="fraction of seeds in support")
    style.show_percent(axes.xaxis)
    figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    return figure


@style.styled
def plot_agreement(rows: Sequence[Mapping[str, Any]], tolerances: Mapping[str, float]) -> Figure:
    """How far programs are from the reference's runs: the largest differences, on a log scale.

    Args:
      rows: of each program and precision, `program`, `dtype`, and the largest differences of the
        `outputs`, `losses` and `parameters`.
      tolerances: the largest difference allowed in a precision, by its name.
    """
    figure, axes = style.titled("The largest difference from PyTorch's runs", size=(8, 3.4))
    programs = list(dict.fromkeys(row["program"] for row in rows))
    places = [programs.index(row["program"]) for row in rows]
    for name, color, marker in (
        ("outputs", style.BLUE, "o"),
        ("losses", style.ORANGE, "s"),
        ("parameters", style.GREEN, "D"),
    ):
        axes.plot([row[name] for row in rows], places, marker, color=color, label=name, alpha=0.8)
    for (dtype, tolerance), line in zip(tolerances.items(), (":", "--")):
        axes.axvline(tolerance, color=style.GREY, ls=line, label=f"allowed in {dtype}")
    axes.set_yticks(range(len(programs)), programs)
    axes.set(xscale="log", ylim=(len(programs) - 0.5, -0.5), xlabel="difference")
    figure.legend(loc="outside right center")
    return figure
