"""Every figure: each function takes results and returns a `matplotlib.figure.Figure`.

Nothing here touches pyplot or any global state, and equal results give equal figures. The colours
are Okabe and Ito's, which stay apart for every kind of colour vision. The real samples of the game
are `Uniform`, and its networks fully connected.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from flax import linen as nn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch
from matplotlib.ticker import (
    FuncFormatter,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
    StrMethodFormatter,
)

from gan1010_jax.convergence import (
    OUTPUT_EDGES,
    convergence_curves,
    proportion,
    settling_quantiles,
)
from gan1010_jax.games import Constant, Distribution, Game, Matches
from gan1010_jax.methods import Method, Objective
from gan1010_jax.population import Population, first_history
from gan1010_jax.training import History
from gan1010_jax.updates import Losses

Drawn = TypeVar("Drawn")

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6E6E6E"
REAL_RANGE = "#F3DFA2"
# What each of the `Losses` is called, and its colour.
LOSS_KEYS = (("D on a real sample", BLUE), ("D on a fake sample", ORANGE), ("G", GREEN))
STYLE = {
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 150,
    "figure.titlesize": 13,
    "figure.constrained_layout.use": True,
    "legend.frameon": False,
}


def styled(draw: Callable[..., Drawn]) -> Callable[..., Drawn]:
    """Draw in this project's style, whatever the user's is."""

    @functools.wraps(draw)
    def draw_in_style(*args, **kwargs):
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(STYLE)
            return draw(*args, **kwargs)

    return draw_in_style


def plot_population(population: Population) -> dict[str, Figure]:
    """Every figure of a population, by name; its first seed stands for a single run."""
    seed = population.first_seed
    history = first_history(population)
    game, method = population.game, population.method
    figures = {
        "generator": plot_generator(history, game, seed),
        "losses": plot_losses(history, method, seed, population.history),
        "convergence": plot_convergence(population),
        "forgetting": plot_forgetting(population),
        "outputs": plot_outputs(population),
        "settling": plot_settling(population),
    }
    if dataclasses.replace(method, optimizer=Method().optimizer) == Method():
        figures["architecture"] = plot_architecture(game)  # which shows the reference's updates
    return figures


@styled
def plot_generator(history: History, game: Game, seed: int) -> Figure:
    """One run's output over training as a heat map, beside the real range of each coordinate."""
    figure = Figure(figsize=(9, 0.9 + 0.55 * max(4, history.output.shape[-1])))
    figure.suptitle(f"What the generator of seed {seed} draws while it learns {game.name}")
    heat, ranges = figure.subplots(1, 2, width_ratios=(4, 1.3))

    image = heat.imshow(
        np.asarray(history.output).T,
        cmap="Blues",
        vmin=0,
        vmax=1,
        aspect="auto",
        interpolation="nearest",
        extent=(0, history.step[-1], len(game.real.low) + 0.5, 0.5),
    )
    heat.set_title("output at every record")
    show_steps(heat, history.step[-1])
    figure.colorbar(image, ax=heat, pad=0.02, label="output")

    final = np.asarray(history.output[-1])
    coordinates = 1 + np.arange(final.size)
    low, high = np.asarray(game.real.low), np.asarray(game.real.high)
    ranges.barh(coordinates, high - low, left=low, height=0.6, color=REAL_RANGE, label="real")
    ranges.plot(final, coordinates, "o", color=BLUE, label="at the end")
    ranges.set(xlabel="output", xlim=(-0.03, 1.03), ylim=heat.get_ylim(), xticks=(0, 0.5, 1))
    ranges.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 0.98),
        ncols=2,
        handlelength=1,
        handletextpad=0.4,
        columnspacing=1,
    )
    for axes in (heat, ranges):
        axes.set_yticks(coordinates, coordinate_labels(game, "  "))
    heat.set_ylabel(coordinate_title(game))
    return figure


@styled
def plot_losses(
    history: History, method: Method, seed: int, others: History | None = None
) -> Figure:
    """One run's three losses, over the median and 5–95 % band of other runs' [seeds, ...] if given.

    The dotted line is what each costs a player while D is undecided.
    """
    figure = Figure(figsize=(10, 3.6))
    beside = "" if others is None else f" and of {len(others.step):,} seeds"
    figure.suptitle(f"The losses of seed {seed}{beside}")
    panels = figure.subplots(1, 3, sharey=True)
    of_undecided = undecided_losses(method.objective)
    for name, axes, (title, color), undecided in zip(
        Losses._fields, panels, LOSS_KEYS, of_undecided
    ):
        if others is not None:
            low, median, high = quantiles(getattr(others.losses, name), (5, 50, 95))
            axes.fill_between(history.step, low, high, color=color, alpha=0.2, lw=0, label="5–95 %")
        of_seed = getattr(history.losses, name)
        axes.plot(history.step, of_seed, color=color, lw=1, label=f"seed {seed}")
        if others is not None:
            axes.plot(history.step, median, color="black", lw=1.2, ls="--", label="median")
        axes.axhline(undecided, color=GREY, lw=1, ls=":", label=f"D undecided: {undecided:.3g}")
        axes.set_title(title)
        show_steps(axes, history.step[-1])
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.legend(loc="upper right", fontsize=9)
    figure.axes[0].set_ylabel("loss")
    return figure


@styled
def plot_convergence(population: Population) -> Figure:
    """The fraction of seeds that match and that are in support, at every record."""
    seeds = population.tally.seeds
    figure = Figure(figsize=(8, 4))
    axes = figure.subplots()
    axes.set_title(f"How many of {seeds:,} seeds have learned {population.game.name}", fontsize=13)
    steps = population.curves["step"]
    curves = convergence_curves(population)
    for name, label, color, line in (
        ("matched", "matched: on their bits' sides", BLUE, "-"),
        ("in_support", "in support: in the real ranges", ORANGE, "--"),
    ):
        curve = curves[name]
        axes.fill_between(steps, curve.ci_low, curve.ci_high, color=color, alpha=0.25, lw=0)
        axes.plot(steps, curve.fraction, color=color, ls=line, label=label)
    axes.set(ylabel="fraction of seeds", ylim=(-0.02, 1.02))
    axes.fill_between([], [], color=GREY, alpha=0.25, lw=0, label="95 % interval")
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    show_steps(axes, steps[-1])
    figure.legend(loc="outside lower center", ncols=3, columnspacing=1.5)
    return figure


@styled
def plot_forgetting(population: Population) -> Figure:
    """The fraction of seeds that has not learned the game yet, or forgot it, on a log scale.

    Where that is none there is no line, only the interval's end.
    """
    seeds, steps = population.tally.seeds, population.curves["step"]
    figure = Figure(figsize=(8, 4))
    axes = figure.subplots()
    axes.set_title(
        f"How many of {seeds:,} seeds have not learned {population.game.name} or not kept it",
        fontsize=13,
    )
    curves = convergence_curves(population)
    for name, label, color, line in (
        ("in_support", "not in support", ORANGE, "--"),
        ("matched", "do not match", BLUE, "-"),
        ("ever_matched", "have never matched", GREEN, ":"),
    ):
        missing = proportion(seeds - curves[name].count, seeds)
        some = np.where(missing.count, missing.fraction, np.nan)
        axes.plot(steps, some, color=color, ls=line, lw=2, label=label)
        if name != "ever_matched":  # whose interval would hide the others
            axes.fill_between(steps, missing.ci_low, missing.ci_high, color=color, alpha=0.25, lw=0)
    axes.fill_between([], [], color=GREY, alpha=0.25, lw=0, label="95 % interval")
    axes.set(ylabel="fraction of seeds", yscale="log", ylim=(0.5 / seeds, 1.2))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda fraction, _: f"{100 * fraction:g} %"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    show_steps(axes, steps[-1])
    figure.legend(loc="outside lower center", ncols=4, columnspacing=1.5)
    return figure


@styled
def plot_outputs(population: Population) -> Figure:
    """The final outputs of all seeds, one column of a histogram per coordinate."""
    game, tally = population.game, population.tally
    figure = Figure(figsize=(8, 4))
    axes = figure.subplots()
    axes.set_title(f"What {tally.seeds:,} generators draw in the end", fontsize=13)
    for unit, (low, high) in enumerate(zip(game.real.low, game.real.high)):
        axes.bar(
            unit + 1,
            high - low,
            0.9,
            low,
            color=REAL_RANGE,
            label="real range" if unit == 0 else None,
        )
        counts = tally.outputs[unit]
        width = 0.8 * np.sqrt(counts / max(1, counts.max()))  # so that a single seed is seen
        axes.fill_betweenx(
            OUTPUT_EDGES,
            unit + 1 - np.append(width, 0) / 2,
            unit + 1 + np.append(width, 0) / 2,
            step="post",
            lw=0,
            color=BLUE,
            label="seeds (width: √count)" if unit == 0 else None,
        )
    axes.axhline(0.5, color=GREY, lw=1, ls=":", label="0.5, the border of a match")
    axes.set_xticks(1 + np.arange(len(game.real.low)), coordinate_labels(game, "\n"))
    axes.set(xlabel=coordinate_title(game), ylabel="output", ylim=(-0.02, 1.02))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


@styled
def plot_settling(population: Population) -> Figure:
    """The distribution of the step from which a seed matches for good."""
    tally, steps = population.tally, population.curves["step"]
    unsettled = tally.seeds - tally.settled.sum()
    figure = Figure(figsize=(8, 4))
    axes = figure.subplots()
    axes.set_title(
        f"When {tally.seeds:,} seeds settle on {population.game.name} "
        f"({unsettled:,} never did in {population.steps:,} steps)",
        fontsize=13,
    )
    if tally.settled.any():
        bins = np.linspace(0, population.steps, 51)
        axes.hist(steps, bins, weights=tally.settled, color=BLUE)
        for percent, step in settling_quantiles(tally, steps).items():
            line = "-" if percent == 50 else ":"
            axes.axvline(step, color=ORANGE, ls=line, label=f"{percent} %: step {step:,}")
        axes.legend(loc="best")
    show_steps(axes, population.steps)
    axes.set(xlabel="settling step: it matches at every record from here on", ylabel="seeds")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, steps=(1, 2, 5, 10)))
    return figure


@styled
def plot_architecture(game: Game) -> Figure:
    """The two networks, and the three updates of a step: what moves, and where gradients stop."""
    figure = Figure(figsize=(10, 6.4), layout="none")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 10), ylim=(0, 6.4))
    axes.set_axis_off()

    draw_network(axes, (1.3, 3.9), layer_sizes(game.generator, game.latent), "Generator G", GREEN)
    draw_network(
        axes, (6.1, 8.7), layer_sizes(game.discriminator, game.real), "Discriminator D", BLUE
    )
    draw_arrow(axes, (4.3, 4.8), (5.7, 4.8), "black")
    constant = isinstance(game.latent, Constant) and len(game.latent.value) == 1
    for x, label in (
        (1.3, f"latent z\n(always {game.latent.value[0]})" if constant else "latent z\n(random)"),
        (3.9, "fake sample\nG(z)"),
        (5.0, "or a real\nsample"),
        (6.1, "sample x,\nreal or fake"),
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
        draw_update(axes, y, target, chain, moves)
    draw_arrow(axes, (0.35, 0.25), (0.95, 0.25), "black")
    axes.text(1.05, 0.25, "values", va="center", fontsize=10)
    draw_arrow(axes, (2.65, 0.25), (2.05, 0.25), ORANGE)
    axes.text(2.75, 0.25, "gradients", va="center", fontsize=10)
    draw_box(axes, 4.35, 0.25, "D", moves=True, height=0.3)
    axes.text(4.75, 0.25, "moves", va="center", fontsize=10)
    draw_box(axes, 6.15, 0.25, "D", moves=False, height=0.3)
    axes.text(6.55, 0.25, "held still", va="center", fontsize=10)
    return figure


def layer_sizes(network: nn.Module, inputs: Distribution) -> list[int]:
    """How many units each layer of a fully connected network has, inputs first."""
    params = jax.eval_shape(network.init, jax.random.key(0), inputs.center)
    kernels = [leaf.shape for leaf in jax.tree.leaves(params) if leaf.ndim == 2]
    return [kernels[0][0], *(units for _, units in kernels)]


def draw_network(
    axes: Axes, ends: tuple[float, float], sizes: list[int], title: str, color: str
) -> None:
    """Draw a fully connected network of layers of these sizes from one end to the other."""
    center, height = 4.8, 1.7
    title = f"{title}: {'-'.join(map(str, sizes))}"
    axes.text(np.mean(ends), 6.05, title, ha="center", va="center", fontsize=13)
    columns = []
    for x, units in zip(np.linspace(*ends, len(sizes)), sizes):
        spacing = min(0.55, height / units)
        columns.append((x, center + spacing * (np.arange(units) - (units - 1) / 2)))
        for y in columns[-1][1]:
            radius = min(0.16, 0.42 * spacing)
            axes.add_patch(
                Circle((x, y), radius, facecolor="white", edgecolor=color, lw=1.8, zorder=2)
            )
    for (left, ys), (right, next_ys) in itertools.pairwise(columns):
        for y, next_y in itertools.product(ys, next_ys):
            axes.plot((left, right), (y, next_y), color=GREY, lw=0.6, zorder=1)


def draw_update(axes: Axes, y: float, target: int, chain: tuple[str, ...], moves: str) -> None:
    """Draw one update as a row: values to the right, gradients back to the player that moves."""
    centers = {"z": 4.0, "G": 5.3, "real x": 5.3, "D": 6.9, "loss": 9.0}
    half = {"z": 0.25, "G": 0.3, "real x": 0.45, "D": 0.3, "loss": 0.75}
    for name in chain:
        draw_box(axes, centers[name], y, name, moves=name == moves, width=2 * half[name])
    label = f"loss, target {target}"
    draw_box(axes, centers["loss"], y, label, moves=False, width=2 * half["loss"])
    nodes = (*chain, "loss")
    for left, right in itertools.pairwise(nodes):
        start, end = centers[left] + half[left], centers[right] - half[right]
        draw_arrow(axes, (start, y + 0.09), (end, y + 0.09), "black")
        if nodes.index(left) >= chain.index(moves):
            draw_arrow(axes, (end, y - 0.12), (start, y - 0.12), ORANGE)
        elif right == moves and left == "G":
            middle = (start + end) / 2
            axes.plot((middle, middle), (y - 0.25, y), color=ORANGE, lw=3)
            axes.plot((middle, end), (y - 0.12, y - 0.12), color=ORANGE, lw=1.8)
            axes.text(
                middle, y - 0.36, "stopped", color=ORANGE, ha="center", va="center", fontsize=9
            )


def draw_box(
    axes: Axes,
    x: float,
    y: float,
    label: str,
    moves: bool,
    width: float = 0.6,
    height: float = 0.46,
) -> None:
    """Draw a labelled box around (x, y), filled if what it stands for moves."""
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=ORANGE if moves else "white",
            edgecolor=ORANGE if moves else GREY,
            lw=1.5,
        )
    )
    color = "white" if moves else "black"
    axes.text(x, y, label, ha="center", va="center", fontsize=10, color=color)


def draw_arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str
) -> None:
    """Draw an arrow from start to end."""
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=12,
            color=color,
            lw=1.5,
            shrinkA=2,
            shrinkB=2,
        )
    )


def coordinate_labels(game: Game, separator: str) -> list[str]:
    """Name each coordinate by its number, from 1 on, and its bit where the game has bits."""
    if not isinstance(game.matched, Matches):
        return [str(1 + unit) for unit in range(len(game.real.low))]
    return [f"{1 + unit}{separator}({bit})" for unit, bit in enumerate(game.matched.bits)]


def coordinate_title(game: Game) -> str:
    """What `coordinate_labels` shows."""
    return "coordinate (its bit)" if isinstance(game.matched, Matches) else "coordinate"


def show_steps(axes: Axes, steps: int) -> None:
    """Label the horizontal axis as the step of training, from 0 to the last."""
    axes.set(xlabel="step", xlim=(0, steps))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def undecided_losses(objective: Objective) -> Losses:
    """What each loss is while D cannot tell real from fake samples, as floats.

    D's logit is then the one that costs it least on both, and of several that nearest to 0.
    """
    logits = jnp.arange(-200, 201) / 100
    d_real, d_fake, g = (
        jax.vmap(loss)(logits) for loss in (objective.d_real, objective.d_fake, objective.g)
    )
    cost = d_real + d_fake
    place = jnp.where(cost <= cost.min() + 1e-6, jnp.abs(logits), jnp.inf).argmin()
    return Losses(*(float(loss[place]) + 0.0 for loss in (d_real, d_fake, g)))  # and no -0


def quantiles(losses: np.ndarray, percents: tuple[float, ...]) -> np.ndarray:
    """Percentiles over the seeds, the first axis; a loss that is not finite counts as infinite."""
    return np.percentile(
        np.where(np.isfinite(losses), losses, np.inf), percents, axis=0, method="nearest"
    )
