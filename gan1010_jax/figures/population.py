"""Figures of one run and of populations: each function takes results and returns a `Figure`.

The game's real samples are `Uniform`. `style` is `"paper"`, `"slides"`, with larger text and lines,
or `"dark"`, for a dark page. Each raises `InvalidArgument` (a `ValueError`) for another, and for
results of another kind.
"""

from matplotlib.figure import Figure

from gan1010_jax.checks import check_kind
from gan1010_jax.figures import drawing, values
from gan1010_jax.games import Game
from gan1010_jax.gan import Setup
from gan1010_jax.population import Population
from gan1010_jax.training import History, check_one_run


def plot_population(population: Population, *, style: str = "paper") -> dict[str, Figure]:
    """Every figure of a population, by name; its first seed stands for a single run."""
    check_kind("population", population, Population)
    of_all = values.population_values(population)
    return {name: drawing.draw(name, of_one, style=style) for name, of_one in of_all.items()}


def plot_generator(
    history: History, seed: int, setup: Setup = Setup(), *, style: str = "paper"
) -> Figure:
    """One run's output over training as a heat map, beside the real range of each coordinate."""
    _check_run(history, setup)
    return drawing.draw("generator", values.generator_values(history, seed, setup), style=style)


def plot_losses(
    history: History,
    seed: int,
    setup: Setup = Setup(),
    others: History | None = None,
    *,
    style: str = "paper",
) -> Figure:
    """One run's three losses, over the median and 5–95 % band of other runs' [seeds, ...] if given.

    The dotted line is the loss while D is undecided.
    """
    _check_run(history, setup)
    return drawing.draw("losses", values.losses_values(history, seed, setup, others), style=style)


def plot_convergence(population: Population, *, style: str = "paper") -> Figure:
    """The fraction of seeds that match and that are in support, at every record."""
    check_kind("population", population, Population)
    return drawing.draw("convergence", values.convergence_values(population), style=style)


def plot_forgetting(population: Population, *, style: str = "paper") -> Figure:
    """The fraction of seeds that has not learned the game yet, or forgot it, on a log scale.

    Where that is none there is no line.
    """
    check_kind("population", population, Population)
    return drawing.draw("forgetting", values.forgetting_values(population), style=style)


def plot_outputs(population: Population, *, style: str = "paper") -> Figure:
    """The final outputs of all seeds, one column of a histogram per coordinate."""
    check_kind("population", population, Population)
    return drawing.draw("outputs", values.outputs_values(population), style=style)


def plot_settling(population: Population, *, style: str = "paper") -> Figure:
    """The distribution of the step from which a seed matches for good."""
    check_kind("population", population, Population)
    return drawing.draw("settling", values.settling_values(population), style=style)


def plot_architecture(game: Game, *, style: str = "paper") -> Figure:
    """The two networks, and the three updates of a step: what moves, and where gradients stop."""
    check_kind("game", game, Game)
    return drawing.draw("architecture", values.architecture_values(game), style=style)


def _check_run(history: History, setup: Setup) -> None:
    """Raise unless these are the records of one run, and a setup."""
    check_one_run(history)
    check_kind("setup", setup, Setup)
