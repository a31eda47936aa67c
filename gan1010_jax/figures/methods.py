"""Figures of methods: phase diagrams, the Dirac-GAN, spectra, comparisons, and agreement."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, SymmetricalLogLocator

from gan1010_jax.figures.style import (
    THOUSANDS,
    headed,
    legend_below,
    mark_reference,
    palette,
    percent,
    show_few_steps,
    show_percent,
    styled,
)
from gan1010_jax.methods import HYPERPARAMS, Hyperparams

_Cells = Mapping[str, np.ndarray]  # the rows of `tabulate_cells` by column
# The smallest growth and rotation of a step that a figure distinguishes from none; some periods.
_SPECTRUM_UNIT = 1e-6
_SHOWN_PERIODS = (10, 1_000, 10_000, 100_000, 1_000_000)
_NEARLY_ALL, _STAY = 0.99, 0.95
_ROUNDING = 1e-9  # of the modulus of an eigenvalue


@styled
def plot_phase_diagram(cells: Mapping[str, _Cells], *names: str, style: str = "paper") -> Figure:
    """Where methods converge: fractions matched and in support, and the median settling step.

    Args:
      cells: for each method, by its name, the table of `tabulate_cells`.
      *names: the one or two hyperparameters that are varied: the horizontal axis, and the vertical.
      style: `"paper"`, `"slides"`, with larger text and lines, or `"dark"`, for a dark page.

    Raises:
      InvalidArgument: (a `ValueError`) for another style.
    """
    is_map, is_alone = len(names) == 2, len(cells) == 1
    labels = [HYPERPARAMS[name]["label"] for name in names]
    any_cells = next(iter(cells.values()))
    note = (
        f"{', '.join(cells)} · {len(any_cells['seeds']):,} cells of {any_cells['seeds'][0]:,} seeds"
    )
    note += f", {any_cells['steps'][0]:,} steps"
    note += " · grey: fewer than half of the seeds match" if is_map else ""
    figure = headed(_find_title(cells), note, (8, 3.5 if is_alone else 6.6))
    share = is_map or (False if is_alone else "row")
    shape = (1, 3) if is_alone else (3, len(cells))
    grid = figure.subplots(*shape, squeeze=False, sharex=True, sharey=share)
    grid = grid.T if is_alone else grid  # a row for each column of the table
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
            if not is_alone and row == 0:
                axes.set_title(method)
            elif is_alone and is_map:
                axes.set_title(title)
            if is_alone:
                axes.set_xlabel(labels[0])
        if not is_map:
            grid[row, 0].set_ylabel(title)
            continue
        if row == 0 and is_alone:
            grid[row, 0].set_ylabel(labels[1])
        side = {"location": "bottom", "aspect": 12} if is_alone else {"pad": 0.02}
        bar = figure.colorbar(image, ax=list(grid[row]), **side)
        bar.set_label("" if is_alone else title)
        axis = bar.ax.xaxis if is_alone else bar.ax.yaxis
        if row == 2:
            is_wide = scale.vmax > 50 * scale.vmin
            axis.set_major_locator(LogLocator(subs=(1,) if is_wide else (1, 2, 5)))
            axis.set_major_formatter(THOUSANDS)
        else:
            bar.set_ticks((0, 0.5, 1))
            show_percent(axis)
        axis.set_minor_formatter("")
        bar.minorticks_off()
    if not is_alone:
        figure.supxlabel(labels[0], fontsize=11)
        figure.supylabel(labels[1] if is_map else "", fontsize=11)
    legend_below(figure, "center" if is_alone else "left")  # of the axes' label
    return figure


def _find_title(cells: Mapping[str, _Cells]) -> str:
    """How often nearly all seeds of a cell are in support; of several methods, how many forget."""
    if len(cells) == 1:
        ((_, table),) = cells.items()
        share = percent(np.mean(table["in_support_fraction"] >= _NEARLY_ALL))
        return f"In {share} of the cells, {percent(_NEARLY_ALL)} of the seeds are in support"
    forget = [f"{name} {percent(of['forgot_fraction'].max())}" for name, of in cells.items()]
    return f"Seeds that forget, in the worst cell: {', '.join(forget)}"


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
    axes.set_facecolor("0.6")  # where too few have settled
    colors = "cividis_r" if column.startswith("settled") else "cividis"  # the better, the brighter
    image = axes.pcolormesh(_edges(x), _edges(y), values, cmap=colors, norm=scale)
    axes.set(xscale=_scale_of(x), xlim=_edges(x)[[0, -1]])
    axes.set(yscale=_scale_of(y), ylim=_edges(y)[[0, -1]])
    if place := _default_place(table, names):
        mark_reference(axes, place)
    return image


def _draw_line(axes: Axes, table: _Cells, column: str, name: str) -> None:
    """Draw a column of a table of cells over one hyperparameter, with its interval."""
    order = np.argsort(table[name])
    x = table[name][order]
    stem = column.rpartition("_")[0]
    low, high = ("p5", "p95") if stem == "settled" else ("ci_low", "ci_high")
    keys = (f"{stem}_{low}", column, f"{stem}_{high}")
    low, middle, high = (_shown(table, key)[order] for key in keys)
    colors = palette()
    axes.fill_between(x, low, high, color=colors.blue, alpha=0.25, lw=0)
    axes.plot(x, middle, "o-", color=colors.blue, ms=3)
    axes.set_xscale(_scale_of(x))
    if stem == "settled":
        axes.set_ylim(0, table["steps"][0])
        axes.yaxis.set_major_formatter(THOUSANDS)
    else:
        axes.set_ylim(-0.02, 1.02)
        show_percent(axes.yaxis)
    if place := _default_place(table, [name]):
        axes.axvline(*place, color=colors.grey, lw=1.2, ls=":", label="reference")


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


@styled
def plot_dirac(
    panels: Mapping[str, Mapping[str, np.ndarray]],
    bound: float,
    title: str,
    note: str,
    *,
    style: str = "paper",
) -> Figure:
    """The Dirac-GAN under several methods: the vector field, two runs, and the equilibrium.

    Args:
      panels: for each method, by its title: `field`, (θ, ψ, velocity of θ, of ψ), each [rows,
        columns]; the runs, `simultaneous` and `alternating`, (θ, ψ) [steps, 2], from their start
        on; and `clip`, the bound of ψ, or infinity.
      bound: the largest |θ| and |ψ| that is shown.
      title: the finding.
      note: the line below the title.
      style: a name of `FIGURE_STYLES`.
    """
    figure, colors = headed(title, note, (8, 4.9)), palette()
    grid = figure.subplots(2, -(-len(panels) // 2), sharex=True, sharey=True, squeeze=False)
    for axes, (title, panel) in zip(grid.flat, panels.items()):
        axes.set_title(title, fontsize=9.5)
        axes.set(xlim=(-bound, bound), ylim=(-bound, bound), aspect="equal")
        if np.isfinite(panel["clip"]):
            for side in (-1, 1):
                outside = {"color": colors.grey, "alpha": 0.15, "lw": 0}
                axes.axhspan(side * panel["clip"], side * bound, **outside)
        theta, psi, *velocity = (part[::2, ::2] for part in panel["field"])
        length = np.hypot(*velocity)
        unit = [part / np.maximum(length, 1e-9) for part in velocity]
        arrows = {"color": colors.grey, "alpha": 0.6, "pivot": "mid", "width": 0.013, "scale": 12}
        axes.quiver(theta, psi, *unit, **arrows)
        for update_order, color in (("simultaneous", colors.blue), ("alternating", colors.orange)):
            axes.plot(*panel[update_order].T, color=color, lw=1.2, label=update_order)
            end = {"color": color, "ms": 5, "mec": colors.paper, "mew": 0.7, "zorder": 2.5}
            axes.plot(*panel[update_order][-1], "s", **end)
        axes.plot([], [], "s", color=colors.grey, ms=5, label="end of each")
        axes.plot(*panel["simultaneous"][0], "o", color=colors.ink, ms=5, label="start")
        axes.plot(0, 0, "*", color=colors.green, ms=10, zorder=2.4, label="equilibrium")
    for axes in grid.flat:
        axes.set(xlabel="θ, generator", ylabel="ψ, discriminator")
        axes.label_outer()
    legend_below(figure)
    return figure


@styled
def plot_bilinear(
    paths: Mapping[str, np.ndarray], note: str = "", *, style: str = "paper"
) -> Figure:
    """Runs of the bilinear game θψ: the first one's spiral, the others, and every distance.

    Args:
      paths: for each method, by its label, (θ, ψ) [steps + 1, 2], from its start on; four at most.
      note: the line below the title.
      style: a name of `FIGURE_STYLES`.
    """
    spiral, *others = paths.values()
    colors = palette()
    moved = {label: np.hypot(*path[-1]) / np.hypot(*path[0]) for label, path in paths.items()}
    away = [label.partition(":")[0] for label, times in moved.items() if times > 1]
    title = f"On θψ, {' and '.join(away) or 'none'} leads away from the equilibrium"
    title += f", {len(paths) - len(away)} others lead to it"
    figure = headed(title, note, (8, 3.4))
    whole, near, distances = figure.subplots(1, 3)
    bound = 1.05 * np.abs(spiral).max()
    theta, psi = np.meshgrid(*[np.linspace(-bound, bound, 11)] * 2)
    length = np.hypot(theta, psi) + 1e-9
    arrows = {"color": colors.grey, "alpha": 0.6, "pivot": "mid", "width": 0.011, "scale": 13}
    whole.quiver(theta, psi, psi / length, -theta / length, **arrows)
    whole.plot(*spiral.T, ".-", color=colors.blue, lw=0.5, ms=2.5)
    whole.set(title=next(iter(paths)).partition(":")[0], xlim=(-bound, bound))
    looks = ((colors.blue, "-"), (colors.orange, "-"), (colors.ink, ":"), (colors.green, "-"))
    for path, (color, line) in zip(others, looks[1:]):
        near.plot(*path.T, lw=1.2, color=color, ls=line)
    radius = 1.08 * np.hypot(*spiral[0])
    near.set(title="the others", xlim=(-radius, radius))
    near.set(xticks=(-0.5, 0, 0.5), yticks=(-0.5, 0, 0.5))
    for axes in (whole, near):
        axes.plot(*spiral[0], "o", color=colors.ink, ms=5)
        axes.plot(0, 0, "*", color=colors.green, ms=11, zorder=3)
        axes.set(aspect="equal", ylim=axes.get_xlim(), xlabel="θ, ascends θψ")
    whole.set_ylabel("ψ, descends it")
    for (label, path), (color, line) in zip(paths.items(), looks):
        distances.plot(np.hypot(*path.T), lw=1.8, color=color, ls=line, label=label)
    for place, side, offset in ((0, "left", (3, 18)), (len(spiral) - 1, "right", (-20, 0))):
        where = {"xytext": offset, "textcoords": "offset points", "ha": side, "va": "center"}
        length = np.hypot(*spiral[place])
        distances.annotate(f"{length:.3f}", (place, length), **where)
    distances.set(yscale="log", title="distance", box_aspect=1)
    show_few_steps(distances, len(spiral) - 1)
    legend_below(figure)
    return figure


@styled
def plot_spectrum(
    spectra: Mapping[str, np.ndarray], note: str = "", *, style: str = "paper"
) -> Figure:
    """Growth and rotation of deviations by training steps: the logarithms of eigenvalues.

    Args:
      spectra: eigenvalues by their label, complex [n] or [states, n]; three at most.
      note: the line below the title: what was trained, and for how long.
      style: `"paper"`, `"slides"`, with larger text and lines, or `"dark"`, for a dark page.

    Raises:
      InvalidArgument: (a `ValueError`) for another style.
    """
    colors = palette()
    sets = {label: np.atleast_2d(np.asarray(values, complex)) for label, values in spectra.items()}
    grow = [int((np.abs(values) > 1 + _ROUNDING).any(axis=1).sum()) for values in sets.values()]
    title = (
        f"Some small deviation grows in {sum(grow):,} of {sum(map(len, sets.values())):,} states"
    )
    figure = headed(title, note, (8, 4.2))
    near = figure.subplots()
    near.axvspan(-1, 0, color=colors.real_range, alpha=0.5, lw=0)
    near.axvline(0, color=colors.grey, lw=1)
    every = []
    looks = ((colors.orange, "o"), (colors.blue, "x"), (colors.green, "s"))
    for (label, values), (color, marker), count in zip(sets.items(), looks, grow):
        logarithms = np.log(values[values != 0])
        every.append(logarithms)
        look = {"color": color, "ls": "", "marker": marker, "ms": 4, "alpha": 0.5, "mew": 0.8}
        near.plot(logarithms.real, logarithms.imag, **look)
        near.plot([], [], **look | {"alpha": 1}, label=f"{label} (grows in {count:,})")
    every = np.concatenate(every)
    periods = near.twinx()
    for set_scale, set_limits, parts in (
        (near.set_xscale, near.set_xlim, every.real),
        (near.set_yscale, near.set_ylim, every.imag),
        (periods.set_yscale, periods.set_ylim, every.imag),
    ):
        set_scale("symlog", linthresh=_SPECTRUM_UNIT)
        end = 2 * max(10 * _SPECTRUM_UNIT, np.abs(parts).max(initial=0))
        set_limits(-end, end)
    near.set(xlabel="growth per step", ylabel="rotation per step, in radians")
    for x, side in ((0.01, "dies away"), (0.99, "grows")):
        place = {"ha": "left" if x < 0.5 else "right", "va": "top"}
        near.text(x, 0.98, side, transform=near.transAxes, color=colors.grey, **place)
    for axis in (near.xaxis, near.yaxis):
        locator = SymmetricalLogLocator(base=10, linthresh=_SPECTRUM_UNIT)
        locator.set_params(numticks=7)
        axis.set_major_locator(locator)
    rotations = {2 * np.pi / period: f"{period:,}" for period in _SHOWN_PERIODS}
    shown = {r: label for r, label in rotations.items() if r < near.get_ylim()[1]}
    periods.set_yticks([*shown, *(-r for r in shown)], 2 * [*shown.values()])
    periods.spines.right.set_visible(True)
    periods.minorticks_off()
    periods.set_ylabel("period in steps")
    legend_below(figure)
    return figure


@styled
def plot_methods(
    methods: Mapping[str, Mapping[str, tuple[float, float]]],
    steps: tuple[int, int],
    note: str,
    *,
    style: str = "paper",
) -> Figure:
    """The fraction in support under each method, a line from early to late.

    Args:
      methods: for each objective and optimiser, by name, and for each penalty, by name, two at
        most: the fractions in support early and late.
      steps: after how many steps these are.
      note: the line below the title.
      style: a name of `FIGURE_STYLES`.
    """
    late: dict[str, list[float]] = {}
    for penalties in methods.values():
        for penalty, (_, end) in penalties.items():
            late.setdefault(penalty, []).append(end)
    ends = [f"{percent(min(of))} to {percent(max(of))} with {name}" for name, of in late.items()]
    title = f"In support after {steps[1]:,} steps: {', '.join(ends)}"
    figure, colors = (
        headed(title.replace("with none", "without"), note, (8, 1.2 + 0.38 * len(methods))),
        palette(),
    )
    axes = figure.subplots()
    for row, penalties in enumerate(methods.values()):
        looks = ((0.16, colors.orange), (-0.16, colors.blue))
        for (penalty, ends), (shift, color) in zip(penalties.items(), looks):
            line = {"color": color, "clip_on": False, "zorder": 3}
            label = f"penalty {penalty}" if row == 0 else None
            axes.plot(ends, [row - shift] * 2, lw=2, label=label, **line)
            axes.plot(ends[0], row - shift, "o", ms=6, mfc=colors.paper, **line)
            axes.plot(ends[1], row - shift, "o", ms=6, **line)
    for step, fill in zip(steps, (colors.paper, colors.grey)):
        label = f"after {step:,} steps"
        axes.plot([], [], "o", color=colors.grey, mfc=fill, ms=6, label=label)
    axes.set_yticks(range(len(methods)), methods)
    axes.set(xlim=(0, 1), ylim=(len(methods) - 0.5, -0.5), xlabel="fraction of seeds in support")
    show_percent(axes.xaxis)
    axes.grid(axis="x", color=colors.grey, alpha=0.2, lw=0.8)
    legend_below(figure)
    return figure


@styled
def plot_cures(
    rows: Sequence[Mapping[str, Any]], early: int, note: str, *, style: str = "paper"
) -> Figure:
    """How many seeds stay in support under each method: the fewest after the most, and early on.

    Args:
      rows: for each method, its name, `method`, and the fractions in support with their intervals:
        after `early` steps, under that number, and the `least` after the most.
      early: after how many steps the first of them are.
      note: the line below the title.
      style: a name of `FIGURE_STYLES`.
    """
    keep = sum(row["least"]["ci_low"] > _STAY for row in rows)
    title = f"{keep} of {len(rows)} methods keep more than {percent(_STAY)} of the seeds in support"
    figure, colors = headed(title, note, (8, 1.2 + 0.29 * len(rows))), palette()
    axes = figure.subplots()
    look = {"clip_on": False, "zorder": 3}
    for place, row in enumerate(rows):
        least, soon = row["least"], row[str(early)]["fraction"]
        color = colors.blue if least["ci_low"] > _STAY else colors.orange
        axes.plot([0, least["fraction"]], [place] * 2, color=color, lw=5, alpha=0.35)
        axes.plot([least["ci_low"], least["ci_high"]], [place] * 2, color=color, lw=2, **look)
        axes.plot(least["fraction"], place, "o", color=color, ms=6, **look)
        axes.plot(soon, place, "o", color=colors.grey, mfc=colors.paper, ms=5, **look)
    axes.plot([], [], "o", color=colors.blue, label=f"more than {percent(_STAY)} stay")
    axes.plot([], [], "o", color=colors.orange, label="fewer stay")
    ring = {"color": colors.grey, "mfc": colors.paper}
    axes.plot([], [], "o", **ring, label=f"after {early:,} steps")
    axes.set_yticks(range(len(rows)), [row["method"] for row in rows], fontsize=10)
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5))
    axes.set_xlabel("fewest seeds in support, once most were")
    show_percent(axes.xaxis)
    legend_below(figure)
    return figure


@styled
def plot_agreement(
    rows: Sequence[Mapping[str, Any]],
    tolerances: Mapping[str, float],
    note: str = "",
    *,
    style: str = "paper",
) -> Figure:
    """How far programs are from the reference's runs: the largest differences, on a log scale.

    Args:
      rows: of each program and precision, `program`, `dtype`, and the largest differences of the
        `outputs`, `losses` and `parameters`.
      tolerances: the largest difference allowed in a precision, by its name.
      note: the line below the title.
      style: a name of `FIGURE_STYLES`.
    """
    names = ("outputs", "losses", "parameters")
    largest = []
    for dtype in tolerances:
        apart = max(row[name] for row in rows for name in names if row["dtype"] == dtype)
        largest.append(f"{apart:.2g} in {dtype}")
    title = f"The largest difference from PyTorch's runs is {', '.join(largest)}"
    figure, colors = headed(title, note, (8, 2.9)), palette()
    axes = figure.subplots()
    programs = list(dict.fromkeys(row["program"] for row in rows))
    places = [programs.index(row["program"]) for row in rows]
    looks = ((colors.blue, "o"), (colors.orange, "s"), (colors.green, "D"))
    for name, (color, marker) in zip(names, looks):
        axes.plot([row[name] for row in rows], places, marker, color=color, label=name, alpha=0.8)
    for (dtype, tolerance), line in zip(tolerances.items(), (":", "--")):
        axes.axvline(tolerance, color=colors.grey, ls=line, label=f"allowed in {dtype}")
    axes.set_yticks(range(len(programs)), programs)
    axes.set(xscale="log", ylim=(len(programs) - 0.5, -0.5), xlabel="largest difference")
    legend_below(figure)
    return figure
