"""Figures of one run and of populations: each function takes results and returns a `Figure`.

The game's real samples are `Uniform`.
"""

from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gan1010_jax.convergence import OUTPUT_EDGES, Proportion, proportion, settling_quantiles
from gan1010_jax.figures import style
from gan1010_jax.figures.architecture import plot_architecture
from gan1010_jax.gan import Setup
from gan1010_jax.methods import Method
from gan1010_jax.population import Population, convergence_curves, first_history
from gan1010_jax.training import History


def plot_population(population: Population) -> dict[str, Figure]:
    """Every figure of a population, by name; its first seed stands for a single run."""
    seed, setup, history = population.first_seed, population.setup, first_history(population)
    figures = {
        "generator": plot_generator(history, seed, setup),
        "losses": plot_losses(history, seed, setup, population.history),
        "convergence": plot_convergence(population),
        "forgetting": plot_forgetting(population),
        "outputs": plot_outputs(population),
        "settling": plot_settling(population),
    }
    if replace(setup.method, optimizer=Method().optimizer) == Method():
        figures["architecture"] = plot_architecture(setup.game)  # with the reference's updates
    return figures


@style.styled
def plot_generator(history: History, seed: int, setup: Setup = Setup()) -> Figure:
    """One run's output over training as a heat map, beside the real range of each coordinate."""
    game = setup.game
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
    style.show_steps(heat, history.step[-1])
    figure.colorbar(image, ax=heat, pad=0.02, label="output")

    final = np.asarray(history.output[-1])
    coordinates = 1 + np.arange(final.size)
    low, high = np.asarray(game.real.low), np.asarray(game.real.high)
    ranges.barh(coordinates, high - low, left=low, height=0.6, color=style.REAL_RANGE, label="real")
    ranges.plot(final, coordinates, "o", color=style.BLUE, label="at the end")
    ranges.set(xlabel="output", xlim=(-0.03, 1.03), ylim=heat.get_ylim(), xticks=(0, 0.5, 1))
    ranges.legend(loc="lower center", bbox_to_anchor=(0.5, 0.98), **style.COMPACT_LEGEND)
    for axes in (heat, ranges):
        axes.set_yticks(coordinates, style.coordinate_labels(game, "  "))
    heat.set_ylabel(style.coordinate_title(game))
    return figure


@style.styled
def plot_losses(
    history: History, seed: int, setup: Setup = Setup(), others: History | None = None
) -> Figure:
    """One run's three losses, over the median and 5–95 % band of other runs' [seeds, ...] if given.

    The dotted line is the loss while D is undecided.
    """
    figure = Figure(figsize=(10, 3.6))
    beside = "" if others is None else f" and of {len(others.step):,} seeds"
    figure.suptitle(f"The losses of seed {seed}{beside}")
    panels = figure.subplots(1, 3, sharey=True)
    panels[0].set_ylabel("loss")
    of_undecided = style.undecided_losses(setup.method.objective)
    for k, (axes, (title, color), undecided) in enumerate(
        zip(panels, style.LOSS_KEYS, of_undecided)
    ):
        if others is not None:
            losses = np.where(np.isfinite(others.losses[k]), others.losses[k], np.inf)
            low, median, high = np.percentile(losses, (5, 50, 95), axis=0, method="nearest")
            axes.fill_between(history.step, low, high, color=color, alpha=0.2, lw=0, label="5–95 %")
        axes.plot(history.step, history.losses[k], color=color, lw=1, label=f"seed {seed}")
        if others is not None:
            axes.plot(history.step, median, color="black", lw=1.2, ls="--", label="median")
        label = f"D undecided: {undecided:.3g}"
        axes.axhline(undecided, color=style.GREY, lw=1, ls=":", label=label)
        axes.set_title(title)
        style.show_steps(axes, history.step[-1])
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.legend(loc="upper right", fontsize=9)
    return figure


@style.styled
def plot_convergence(population: Population) -> Figure:
    """The fraction of seeds that match and that are in support, at every record."""
    seeds, name = population.counts.seeds, population.setup.game.name
    figure, axes = style.titled(f"How many of {seeds:,} seeds have learned {name}")
    steps, curves = population.curves["step"], convergence_curves(population)
    for name, label, color, line in (
        ("matched", "matched: on their bits' sides", style.BLUE, "-"),
        ("in_support", "in support: in the real ranges", style.ORANGE, "--"),
    ):
        _draw_interval(axes, steps, curves[name], color)
        axes.plot(steps, curves[name].fraction, color=color, ls=line, label=label)
    _finish_curves(figure, axes, steps)
    axes.set_ylim(-0.02, 1.02)
    style.show_percent(axes.yaxis)
    return figure


@style.styled
def plot_forgetting(population: Population) -> Figure:
    """The fraction of seeds that has not learned the game yet, or forgot it, on a log scale.

    Where that is none there is no line, only the interval's end.
    """
    seeds, name = population.counts.seeds, population.setup.game.name
    figure, axes = style.titled(
        f"How many of {seeds:,} seeds have not learned {name} or not kept it"
    )
    steps, curves = population.curves["step"], convergence_curves(population)
    for name, label, color, line in (
        ("in_support", "not in support", style.ORANGE, "--"),
        ("matched", "do not match", style.BLUE, "-"),
        ("ever_matched", "have never matched", style.GREEN, ":"),
    ):
        missing = proportion(seeds - curves[name].count, seeds)
        some = np.where(missing.count, missing.fraction, np.nan)
        axes.plot(steps, some, color=color, ls=line, lw=2, label=label)
        if name != "ever_matched":  # whose interval would hide the others
            _draw_interval(axes, steps, missing, color)
    _finish_curves(figure, axes, steps)
    axes.set(yscale="log", ylim=(0.5 / seeds, 1.2))
    axes.yaxis.set_major_formatter(lambda fraction, _: f"{100 * fraction:g} %")
    axes.yaxis.set_minor_formatter("")
    return figure


def _draw_interval(axes: Axes, steps: np.ndarray, of: Proportion, color: str) -> None:
    axes.fill_between(steps, of.ci_low, of.ci_high, color=color, alpha=0.25, lw=0)


def _finish_curves(figure: Figure, axes: Axes, steps: np.ndarray) -> None:
    axes.fill_between([], [], color=style.GREY, alpha=0.25, lw=0, label="95 % interval")
    axes.set_ylabel("fraction of seeds")
    style.show_steps(axes, steps[-1])
    figure.legend(loc="outside lower center", ncols=4, columnspacing=1.5)


@style.styled
def plot_outputs(population: Population) -> Figure:
    """The final outputs of all seeds, one column of a histogram per coordinate."""
    game, counts = population.setup.game, population.counts
    figure, axes = style.titled(f"What {counts.seeds:,} generators draw in the end")
    coordinates = style.draw_ranges(axes, game)
    for coordinate, count in zip(coordinates, counts.outputs):
        width = 0.8 * np.sqrt(count / max(1, count.max()))  # so that a single seed is seen
        half = np.append(width, 0) / 2
        label = "seeds (width: √count)" if coordinate == 1 else None
        histogram = {"step": "post", "lw": 0, "color": style.BLUE, "label": label}
        axes.fill_betweenx(OUTPUT_EDGES, coordinate - half, coordinate + half, **histogram)
    axes.axhline(0.5, color=style.GREY, lw=1, ls=":", label="0.5, the border of a match")
    axes.set_xticks(coordinates, style.coordinate_labels(game, "\n"))
    axes.set(xlabel=style.coordinate_title(game), ylabel="output", ylim=(-0.02, 1.02))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


@style.styled
def plot_settling(population: Population) -> Figure:
    """The distribution of the step from which a seed matches for good."""
    counts, steps, last = population.counts, population.curves["step"], population.steps
    never = counts.seeds - counts.settled.sum()
    figure, axes = style.titled(
        f"When {counts.seeds:,} seeds settle on {population.setup.game.name} "
        f"({never:,} never did in {last:,} steps)"
    )
    if counts.settled.any():
        axes.hist(steps, np.linspace(0, last, 51), weights=counts.settled, color=style.BLUE)
        for percent, step in settling_quantiles(counts, steps).items():
            line = "-" if percent == 50 else ":"
            axes.axvline(step, color=style.ORANGE, ls=line, label=f"{percent} %: step {step:,}")
        axes.legend(loc="best")
    style.show_steps(axes, last)
    axes.set(xlabel="settling step: it matches at every record from here on", ylabel="seeds")
    axes.yaxis.set_major_formatter(style.THOUSANDS)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, steps=(1, 2, 5, 10)))
    return figure
