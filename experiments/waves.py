"""Why 1010-GANs leave and come back: models that say when, beside training itself."""

if __name__ == "__main__":
    from gan1010_jax.cli import start

    start()  # before anything that is slow to import

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

from study import Study, make_table

import gan1010_jax as gan
from gan1010_jax.cli import number, prepare_jax, read, run, say


@dataclass(frozen=True)
class Waves(Study):
    """Explain the waves of forgetting: train 1010-GANs, and predict when each leaves the support.

    The predictions are differential equations without a fitted parameter: the expected step from
    the initial weights on, and the level model, which leaves out all but the cause. Writes
    waves.json and five figures: waves, departures, orbit, rates and brake.
    """

    seeds: Annotated[int, number("seeds", int)] = 256
    """How many GANs to train, from 8 to 1024; seed 0 is the first."""


if __name__ == "__main__":
    options = read(Waves)  # before JAX is imported

import jax
import jax.numpy as jnp
import numpy as np

from gan1010_jax.checks import check_whole
from gan1010_jax.figures import (
    note_of,
    plot_brake,
    plot_departures,
    plot_orbit,
    plot_rates,
    plot_waves,
)
from gan1010_jax.flow import linear_velocity
from gan1010_jax.gan import seed_key
from gan1010_jax.population import claim
from gan1010_jax.training import init_carry

STEPS, WARM_UP, EVERY = 250_000, 10_000, 500
SETUP = gan.Setup()
ORBIT_SEED = 0
RATES = (0.0025, 0.005, 0.01, 0.02, 0.04)
RAYS = np.geomspace(1e-3, 1, 19)
BRAKE_STEPS = 120_000
WEIGHTS = (0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1)


def main(options: Waves) -> None:
    check_whole("seeds", options.seeds, 8, 1024)
    prepare_jax()
    with claim(options.out):
        runs, departures = follow_seeds(options.seeds)
        orbit = trace_orbit()
        rates = vary_rates(options.seeds // 4)
        rays = map_rays(options.seeds // 8)
        brake = vary_weight(options.seeds // 4)
        report = {
            "seeds": options.seeds,
            "steps": STEPS,
            "predictions": compare(departures),
            "curves": {name: of.mean(axis=0).tolist() for name, of in runs.items()},
            "rates": rates,
            "rays": rays,
            "brake": brake,
        }
        steps = EVERY * (1 + np.arange(STEPS // EVERY))
        options.write(
            "waves",
            report,
            partial(plot_waves, steps, runs, note=describe(options.seeds)),
            departures=partial(
                plot_departures, departures, report["predictions"], note=describe(options.seeds)
            ),
            orbit=partial(plot_orbit, *orbit, note=f"{describe(1)}, seed {ORBIT_SEED}"),
            rates=partial(
                plot_rates,
                rates,
                rays,
                note=f"{note_of(SETUP)} but where varied · {options.seeds // 4} seeds a rate, "
                f"{options.seeds // 8} a cell",
            ),
            brake=partial(
                plot_brake,
                brake,
                note=note_of(
                    SETUP, f"{BRAKE_STEPS:,} steps", f"{options.seeds // 4} seeds a weight"
                ),
            ),
        )
    print(tabulate(report["predictions"]))
    print(f"written to {options.out}")


def describe(seeds: int) -> str:
    """The line below the title of a figure of these seeds."""
    return note_of(SETUP, f"{STEPS:,} steps", f"{seeds} seeds" if seeds > 1 else "one seed")


# One population, as it was trained and as it is predicted


def follow_seeds(seeds: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Who is in support at each record, bool [seeds, records]; and who leaves when, [seeds].

    Both for training as it is, first, and for each prediction, by name.
    """
    say("training")
    trained = train(SETUP, seeds)
    mean = gan.Constant(tuple(SETUP.game.real.center.tolist()))
    calm = replace(SETUP, game=replace(SETUP.game, real=mean, recipe=None))
    runs = {"training": trained, "without randomness": train(calm, seeds)}
    first = initial_states(range(seeds))
    say("following the expected step, and gradient descent, from the initial weights")
    runs["expected step"] = predict(first, gan.step_velocity, steps=STEPS)
    runs["gradient descent"] = predict(first, gan.gradient_velocity, steps=STEPS)
    say(f"following the level model from step {WARM_UP:,}")
    later = train_states(range(seeds), WARM_UP)
    for name, velocity in {
        "level model": gan.level_velocity,
        "level model, level free": without_level,
    }.items():
        after = predict(later, velocity, steps=STEPS - WARM_UP)
        runs[name] = np.concatenate([trained[:, : WARM_UP // EVERY], after], axis=1)
    return runs, {name: departures_of(inside) for name, inside in runs.items()}


def train(setup: gan.Setup, seeds: int, steps: int = STEPS) -> np.ndarray:
    """Whether each seed is in support at each record: bool [seeds, records]."""
    population = gan.train_population(range(seeds), setup, steps=steps, record_every=EVERY)
    return population.history.in_support


def initial_states(seeds: Sequence[int], setup: gan.Setup = SETUP) -> gan.GANState:
    """The states [seeds, ...] that the runs of seeds start from."""
    carries, _ = jax.vmap(partial(init_carry, setup=setup))(jax.vmap(seed_key)(np.array(seeds)))
    return carries.state


def train_states(seeds: Sequence[int], steps: int, setup: gan.Setup = SETUP) -> gan.GANState:
    """The states [seeds, ...] of the runs after some steps."""
    train_one = partial(gan.train, setup=setup, steps=steps, record_every=steps)
    states, _ = jax.jit(jax.vmap(train_one))(jax.vmap(seed_key)(np.array(seeds)))
    return states


def without_level(state: gan.GANState, setup: gan.Setup) -> gan.GANState:
    """The level model with its level left free."""
    velocity, _ = linear_velocity(state, setup)
    return velocity


def predict(
    states: gan.GANState, velocity: Any, setup: gan.Setup = SETUP, **options: int
) -> jax.Array:
    """Whether each of the states [seeds, ...] is in support at each record from there on."""

    def follow_one(state):
        return gan.follow(state, setup, velocity, **options).in_support

    return jax.jit(jax.vmap(follow_one))(states)


def departures_of(inside: np.ndarray, every: int = EVERY) -> np.ndarray:
    """When each run first leaves the support, [seeds]; NaN where it does not."""
    step = every * (1 + np.arange(inside.shape[-1]))
    found = np.asarray(gan.first_departure(step, inside), float)
    return np.where(found > 0, found, np.nan)


def compare(departures: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """How well each prediction says when each seed leaves."""
    measured, *predictions = departures.items()
    return {name: score(measured[1], predicted) for name, predicted in predictions}


def score(measured: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """R² and the median error of predicted departures [seeds], and the medians of both."""
    both = np.isfinite(measured) & np.isfinite(predicted)
    return {
        **compare_steps(measured[both], predicted[both]),
        "median": float(np.nanmedian(predicted)),
        "measured": float(np.nanmedian(measured)),
        "left": float(np.isfinite(measured).mean()),
        "left_in_both": float(both.mean()),
    }


def compare_steps(measured: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """R², the share of the variance among measured steps that is predicted; the median error."""
    error, spread = predicted - measured, measured - measured.mean()
    return {
        "r2": float(1 - np.sum(error**2) / np.sum(spread**2)),
        "median_error": float(np.median(np.abs(error) / measured)),
    }


# One seed


def trace_orbit() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """One seed's orbit, in training and by the level model from step 10,000."""
    say(f"tracing seed {ORBIT_SEED}")
    trace = gan.train_traced(seed_key(ORBIT_SEED), SETUP, steps=STEPS, record_every=250)
    start = jax.tree.map(lambda leaf: leaf[WARM_UP // 250 - 1], trace.state)
    path = gan.follow(start, SETUP, gan.level_velocity, steps=STEPS - WARM_UP, record_every=250)
    return place(trace.history.step, trace.state), place(WARM_UP + path.step, path.state)


def place(step: jax.Array, states: gan.GANState) -> dict[str, np.ndarray]:
    """Where states [records, ...] are: G's output and D's slope there, towards the pattern.

    The output is the mean over the bits of how near each coordinate is to its bit, from 0 to 1; the
    slope is the derivative of D's logit by it.
    """
    signs = 2.0 * np.array(SETUP.game.matched.bits) - 1

    def place_one(state):
        output = gan.generate(state, SETUP)
        logit = partial(SETUP.game.discriminator.apply, {"params": state.discriminator.params})
        nearness = jnp.mean(jnp.where(signs > 0, output, 1 - output))
        return nearness, jnp.vdot(signs, jax.grad(logit)(output))

    output, slope = jax.jit(jax.vmap(place_one))(states)
    return {"step": np.asarray(step), "output": np.asarray(output), "slope": np.asarray(slope)}


# Many settings


def vary_rates(seeds: int) -> dict[str, dict[str, list[float]]]:
    """The median departure over each learning rate, measured and by the level model."""
    found = {}
    for name in ("d_lr", "g_lr"):
        say(f"varying {name}")
        measured = [train(at(SETUP, **{name: rate}), seeds) for rate in RATES]
        model = predict_cells(seeds, {name: RATES}, STEPS, EVERY)
        found[name] = {"rates": list(RATES)}
        for kind, cells in {"measured": measured, "model": model}.items():
            medians = [float(np.nanmedian(departures_of(inside))) for inside in cells]
            exponent, _ = np.polyfit(np.log(RATES), np.log(medians), 1)
            found[name] |= {kind: medians, f"{kind}_exponent": float(exponent)}
    return found


def at(setup: gan.Setup, **hyperparams: Any) -> gan.Setup:
    """The setup with other hyperparameters."""
    return replace(setup, hyperparams=replace(setup.hyperparams, **hyperparams))


def predict_cells(
    seeds: int, grid: dict[str, Any], steps: int, every: int, setup: gan.Setup = SETUP
) -> np.ndarray:
    """Who is in support by the level model from the start on: bool [cells, seeds, records]."""
    names, axes = list(grid), np.meshgrid(*grid.values(), indexing="ij")
    cells = [axis.ravel().astype(np.float32) for axis in axes]

    def follow_cell(*values):
        cell = at(setup, **dict(zip(names, values)))
        options = {"steps": steps, "record_every": every, "stride": 10}
        return predict(initial_states(range(seeds)), gan.level_velocity, cell, **options)

    return np.asarray(jax.jit(jax.vmap(follow_cell))(*cells))


def map_rays(seeds: int) -> dict[str, Any]:
    """The fraction in support after 10,000 steps over both learning rates."""
    say("mapping both learning rates")
    grid = {"d_lr": RAYS, "g_lr": RAYS}
    population = gan.train_population(range(seeds), SETUP, grid=grid, record_every=WARM_UP)
    measured = gan.tabulate_cells(population)["in_support_fraction"]
    model = predict_cells(seeds, grid, WARM_UP, WARM_UP)[..., -1].mean(axis=1)
    return {
        "rates": RAYS.tolist(),
        "measured": measured.tolist(),
        "model": model.tolist(),
        "correlation": float(np.corrcoef(measured, model)[0, 1]),
    }


def vary_weight(seeds: int) -> dict[str, list[float]]:
    """The least fraction in support, once most have been there, over the weight of R1."""
    say("varying the weight of R1")
    setup = gan.Setup(
        method=gan.Method(penalty="r1"), hyperparams=gan.Hyperparams(penalty_weight=0.0)
    )
    measured = [train(at(setup, penalty_weight=weight), seeds, BRAKE_STEPS) for weight in WEIGHTS]
    model = predict_cells(seeds, {"penalty_weight": WEIGHTS}, BRAKE_STEPS, EVERY, setup)
    return {
        "weights": list(WEIGHTS),
        "measured": [least(inside) for inside in measured],
        "model": [least(inside) for inside in model],
    }


def least(inside: np.ndarray) -> float:
    """The least fraction in support after the record at which it is largest for the first time."""
    curve = inside.mean(axis=0)
    return float(curve[curve.argmax() :].min())


def tabulate(predictions: dict[str, dict[str, float]]) -> str:
    """The predictions as a table in Markdown."""
    rows = [
        [name, f"{of['r2']:.3f}", f"{100 * of['median_error']:.1f} %", f"{of['median']:,.0f}"]
        for name, of in predictions.items()
    ]
    titles = ["prediction", "R² of each seed's departure", "median error", "median departure"]
    return make_table(titles, rows)


if __name__ == "__main__":
    run(main, options)
