"""What figures show of results: plain values, from which `drawing` draws without JAX."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from gan1010_jax.convergence import OUTPUT_EDGES, proportion, settling_quantiles
from gan1010_jax.figures.coordinates import Coordinates
from gan1010_jax.games import Constant, Game, Matches
from gan1010_jax.gan import Losses, Setup
from gan1010_jax.methods import HYPERPARAMS, Method, Objective, flags_of, undecided
from gan1010_jax.networks import layer_sizes
from gan1010_jax.population import Population, convergence_curves, first_history
from gan1010_jax.training import History

_Values = dict[str, Any]


def note_of(setup: Setup, *lengths: str, varied: Iterable[str] = ()) -> str:
    """What a figure is of: game, method, learning rates, and its numbers of steps and seeds.

    Args:
      setup: what was trained.
      *lengths: the numbers in words, such as "10,000 steps".
      varied: the hyperparameters that have several values.
    """
    options = setup.method.options
    numbers = {
        name: value if value is None else float(value)
        for name, value in vars(setup.hyperparams).items()
        if name not in varied and np.ndim(value) == 0
    }
    rates = [numbers.pop(name, None) for name in ("d_lr", "g_lr")]
    method = f"{options.pop('objective')}, {options.pop('optimizer')}"
    if None not in rates:
        shown = [f"{rate:g}" for rate in rates]
        same = shown[0] if shown[0] == shown[1] else f"{shown[0]} (D) and {shown[1]} (G)"
        method += f" at {same}"
    others = [flag.removeprefix("--").replace("-", " ") for flag in flags_of(options | numbers)]
    over = [HYPERPARAMS[name]["label"] for name in varied]
    grid = [f"a grid of {' and '.join(over)}"] if over else []
    return " · ".join([setup.game.name, ", ".join([method, *others]), *grid, *lengths])


def _note(population: Population) -> str:
    lengths = f"{population.steps:,} steps", f"{population.counts.seeds:,} seeds"
    return note_of(population.setup, *lengths, varied=population.grid)


def population_values(population: Population) -> dict[str, _Values]:
    """The values of every figure of a population, by name."""
    seed, setup, history = population.first_seed, population.setup, first_history(population)
    values = {
        "generator": generator_values(history, seed, setup),
        "losses": losses_values(history, seed, setup, population.history),
        "convergence": convergence_values(population),
        "forgetting": forgetting_values(population),
        "outputs": outputs_values(population),
        "settling": settling_values(population),
    }
    if replace(setup.method, optimizer=Method().optimizer) == Method():
        values["architecture"] = architecture_values(setup.game)  # with the reference's updates
    return values


def generator_values(history: History, seed: int, setup: Setup) -> _Values:
    """Those of `plot_generator`."""
    return {
        "note": note_of(setup, f"{np.asarray(history.step)[-1]:,} steps"),
        "seed": seed,
        "game": setup.game.name,
        "last": np.asarray(history.step)[-1],
        "output": np.asarray(history.output),
        "coordinates": coordinates_of(setup.game),
    }


def losses_values(history: History, seed: int, setup: Setup, others: History | None) -> _Values:
    """Those of `plot_losses`."""
    return {
        "note": note_of(setup, f"{np.asarray(history.step)[-1]:,} steps"),
        "seed": seed,
        "steps": np.asarray(history.step),
        "losses": [np.asarray(loss) for loss in history.losses],
        "undecided": [*undecided_losses(setup.method.objective)],
        "others": None if others is None else [np.asarray(loss) for loss in others.losses],
    }


def convergence_values(population: Population) -> _Values:
    """Those of `plot_convergence`."""
    curves = convergence_curves(population)
    return {
        "note": _note(population),
        "seeds": population.counts.seeds,
        "game": population.setup.game.name,
        "steps": population.curves["step"],
        "curves": {name: curves[name]._asdict() for name in ("matched", "in_support")},
    }


def forgetting_values(population: Population) -> _Values:
    """Those of `plot_forgetting`."""
    seeds, curves = population.counts.seeds, convergence_curves(population)
    names = ("matched", "in_support", "ever_matched")
    return {
        "note": _note(population),
        "seeds": seeds,
        "game": population.setup.game.name,
        "steps": population.curves["step"],
        "missing": {
            name: proportion(seeds - curves[name].count, seeds)._asdict() for name in names
        },
    }


def outputs_values(population: Population) -> _Values:
    """Those of `plot_outputs`."""
    return {
        "note": _note(population),
        "seeds": population.counts.seeds,
        "counts": population.counts.outputs,
        "edges": OUTPUT_EDGES,
        "inside": population.counts.in_support,
        "coordinates": coordinates_of(population.setup.game),
    }


def settling_values(population: Population) -> _Values:
    """Those of `plot_settling`."""
    counts, steps = population.counts, population.curves["step"]
    return {
        "note": _note(population),
        "seeds": counts.seeds,
        "game": population.setup.game.name,
        "steps": steps,
        "last": population.steps,
        "settled": counts.settled,
        "quantiles": settling_quantiles(counts, steps),
    }


def architecture_values(game: Game) -> _Values:
    """Those of `plot_architecture`."""
    is_number = isinstance(game.latent, Constant) and len(game.latent.value) == 1
    return {
        "note": f"{game.name} · the reference's updates, each by gradient descent",
        "g_sizes": layer_sizes(game.generator, game.latent.center),
        "d_sizes": layer_sizes(game.discriminator, game.real.center),
        "latent": game.latent.value[0] if is_number else None,
    }


def coordinates_of(game: Game) -> Coordinates:
    """What figures show of a game's real samples, which are `Uniform`."""
    bits = game.matched.bits if isinstance(game.matched, Matches) else None
    return Coordinates(np.asarray(game.real.low), np.asarray(game.real.high), bits)


def undecided_losses(objective: Objective) -> Losses:
    """Each loss, a float, while D cannot tell real from fake samples."""
    _, losses = undecided(objective)
    return Losses(*losses)
