"""Do the models of the waves hold elsewhere? Fifty settings more, the failures first."""

if __name__ == "__main__":
    from gan1010_jax.cli import start

    start()  # before anything that is slow to import

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

from study import Study, make_table

import gan1010_jax as gan
from gan1010_jax.cli import number, prepare_jax, read, run, say


@dataclass(frozen=True)
class Predictions(Study):
    """Predict when each GAN leaves the support, in more than fifty settings.

    Patterns, learning rates, objectives, real ranges, penalties, update orders and optimisers, and
    seeds that nothing was fitted to. Writes predictions.json, predictions.md, a table of every
    setting with the worst prediction first, and figures/predictions.png.
    """

    seeds: Annotated[int, number("seeds", int)] = 128
    """How many GANs to train in each setting, from 8 to 1024."""


if __name__ == "__main__":
    options = read(Predictions)  # before JAX is imported

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import optax
from waves import compare_steps, initial_states, train_states
from waves import predict as predict_records

from gan1010_jax.checks import check_whole
from gan1010_jax.figures import plot_predictions
from gan1010_jax.population import claim, write_file

FIRST_SEED = 1000
# Of a setting at pace 1: when the predictions begin, when the runs end, and the records.
WARM_UP, STEPS, EVERY = 10_000, 150_000, 500
REFERENCE = gan.Setup()


@dataclass(frozen=True)
class Case:
    """A setting."""

    name: str
    setup: gan.Setup
    pace: float = 1.0  # how many times faster its waves come than the reference's, about
    stride: int | None = None  # of the solver, where an optimiser's memory is short


def pattern(bits: str) -> Case:
    return Case(f"pattern {bits}", gan.Setup(gan.pattern_game(bits)))


def rates(d_lr: float, g_lr: float) -> Case:
    setup = replace(REFERENCE, hyperparams=gan.Hyperparams(d_lr, g_lr))
    return Case(f"rates {d_lr:g}, {g_lr:g}", setup, (d_lr**3 * g_lr) ** 0.25 / 0.01)


def objective(name: str, lr: float = 0.01, bits: str = "1010", weight: float | None = None) -> Case:
    """An objective, at both rates, on a pattern, with R1 of a weight or without."""
    method = gan.Method(name, penalty="none" if weight is None else "r1")
    hyperparams = gan.Hyperparams(lr, lr, penalty_weight=weight)
    parts = [name] if name != "mse" else []
    parts += [f"rates {lr:g}"] if lr != 0.01 else []
    parts += [f"pattern {bits}"] if bits != "1010" else []
    parts += [f"R1 {weight:g}"] if weight is not None else []
    slope = {"mse": 1, "wasserstein": 4, "hinge": 4}.get(name, 2)  # at balance, in fourths
    setup = gan.Setup(gan.pattern_game(bits), method, hyperparams)
    return Case(", ".join(parts), setup, slope * lr / 0.01)


def real_range(ones: tuple[float, float], zeros: tuple[float, float]) -> Case:
    """1010 with other ranges of the ones and of the zeros."""
    low, high = zip(ones, zeros, ones, zeros)
    name = f"ones {ones[0]:g} – {ones[1]:g}, zeros {zeros[0]:g} – {zeros[1]:g}"
    parts = {"real": gan.Uniform(low, high), "in_support": gan.Within(low, high)}
    return Case(name, gan.Setup(replace(REFERENCE.game, name=name, recipe=None, **parts)))


def method(
    name: str, lr: float = 0.01, pace: float = 1.0, stride: int | None = None, **parts: Any
) -> Case:
    hyperparams = gan.Hyperparams(lr, lr)
    return Case(name, gan.Setup(method=gan.Method(**parts), hyperparams=hyperparams), pace, stride)


CASES = (
    *map(pattern, ("1", "0", "11", "00", "01", "111", "1011", "0000", "1111", "10101", "11101")),
    *map(pattern, ("10101010", "11111111", "0000000000", "1010101010101010", "1111111100000000")),
    rates(0.003, 0.003),
    rates(0.03, 0.03),
    rates(0.05, 0.05),
    rates(0.02, 0.01),
    rates(0.01, 0.02),
    rates(0.005, 0.02),
    rates(0.02, 0.005),
    rates(0.03, 0.01),
    rates(0.01, 0.03),
    objective("hinge"),
    objective("hinge", 0.005),
    objective("wasserstein", 0.004),
    objective("nonsaturating", 0.02),
    objective("lsgan", 0.005),
    objective("lsgan", bits="110100"),
    objective("minimax", bits="10"),
    real_range((0.85, 0.95), (0.05, 0.15)),
    real_range((0.6, 1.0), (0.0, 0.4)),
    real_range((0.9, 1.0), (0.0, 0.1)),
    real_range((0.7, 0.9), (0.1, 0.3)),
    real_range((0.8, 1.0), (0.1, 0.3)),
    real_range((0.88, 0.92), (0.08, 0.12)),
    objective("mse", weight=0.01),
    objective("mse", weight=0.015),
    objective("mse", weight=0.025),
    objective("mse", weight=0.035),
    objective("mse", weight=0.06),
    objective("nonsaturating", weight=0.05),
    objective("lsgan", weight=0.1),
    objective("mse", bits="110100", weight=0.02),
    objective("mse", 0.02, weight=0.02),
    method("simultaneous", update_order="simultaneous"),
    method("alternating", update_order="alternating"),
    method("G first", first="generator"),
    method("two D steps", d_steps=2, pace=2.0),
    method("momentum 0.5", 0.005, stride=2, optimizer=partial(optax.sgd, momentum=0.5)),
    method("adam, rates 0.0003", 3e-4, 2.0, stride=5, optimizer=optax.adam),
    method("adam, rates 0.0001", 1e-4, stride=5, optimizer=optax.adam),
)
PREDICTIONS = {
    "start": "expected step, from the initial weights",
    "step": "expected step",
    "gradient": "gradient descent",
    "level": "level model",
}


def main(options: Predictions) -> None:
    check_whole("seeds", options.seeds, 8, 1024)
    prepare_jax()
    with claim(options.out):
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            rows = list(pool.map(partial(predict, seeds=options.seeds), CASES))
        rows.sort(key=rank)
        note = f"{len(rows)} settings of {options.seeds} seeds · {STEPS:,} steps at rates of 0.01"
        figure = partial(plot_predictions, rows, PREDICTIONS, note=note)
        options.write("predictions", rows, figure)
        write_file(options.out / "predictions.md", f"{tabulate(rows)}\n".encode())
    print(tabulate(rows))
    print(f"written to {options.out}")


def rank(row: dict[str, Any]) -> float:
    """The worst first: R² of the level model, and where it foresees nothing, whether some leave."""
    of = row["level"]
    return of["r2"] if of["r2"] is not None else 2.0 if of["left"] == 0 else -np.inf


def predict(case: Case, seeds: int) -> dict[str, Any]:
    """Train a setting, and predict when each of its seeds leaves: a row of the table."""
    say(f"predicting {case.name}")
    setup, every = case.setup, 10 * max(1, round(EVERY / 10 / case.pace))
    warm_up, steps = every * WARM_UP // EVERY, every * STEPS // EVERY
    names = range(FIRST_SEED, FIRST_SEED + seeds)
    population = gan.train_population(names, setup, steps=steps, record_every=every, workers=1)
    trained = population.history.in_support
    first, later = initial_states(names, setup), train_states(names, warm_up, setup)
    options = {"record_every": every, "stride": case.stride or every // 10}
    order = 2 if setup.game.real.center.size <= 5 else 1

    def foresee(states, velocity, steps):
        after = predict_records(states, velocity, setup, steps=steps, **options)
        begun = trained[:, : trained.shape[1] - after.shape[1]]
        both = np.concatenate([begun, after], axis=1)
        return score(trained, both, begun.shape[1], every)

    expected, gradient = (
        partial(velocity, order=order) for velocity in (gan.step_velocity, gan.gradient_velocity)
    )
    rest = steps - warm_up
    return {
        "setting": case.name,
        "from": warm_up,
        "steps": steps,
        "order": order,
        "start": foresee(first, expected, steps),
        "step": foresee(later, expected, rest),
        "gradient": foresee(later, gradient, rest),
        "level": foresee(later, gan.level_velocity, rest),
    }


def score(
    trained: np.ndarray, predicted: np.ndarray, begin: int, every: int
) -> dict[str, float | None]:
    """How well records [seeds, records] predict who leaves after the first ones, and when."""
    step = every * (1 + np.arange(trained.shape[1]))
    measured, found = (
        np.asarray(gan.first_departure(step, inside), float) for inside in (trained, predicted)
    )
    is_late = (measured < 0) | (measured > every * begin)
    measured, found = measured[is_late], found[is_late]
    left, foreseen = measured > 0, found > 0
    both = left & foreseen
    some = both.sum() >= 8
    fit = compare_steps(measured[both], found[both]) if some else {}
    return {
        "left": float(left.mean()),
        "foreseen": float(foreseen.mean()),
        "agree": float((left == foreseen).mean()),
        "measured": float(np.median(measured[left])) if some else None,
        "median": float(np.median(found[foreseen])) if some else None,
        "r2": fit.get("r2"),
        "median_error": fit.get("median_error"),
    }


def tabulate(rows: list[dict]) -> str:
    """Every setting as a table in Markdown."""
    titles = ["setting", "leave", "median step"]
    for title in PREDICTIONS.values():
        titles += [f"{title}: R²", "median"]
    lines = []
    for row in rows:
        medians = [row[kind]["measured"] for kind in PREDICTIONS]
        median = next((f"{step:,.0f}" for step in medians if step is not None), "–")
        line = [row["setting"], f"{100 * row['level']['left']:.0f} %", median]
        for kind in PREDICTIONS:
            of = row[kind]
            if of["r2"] is None:
                line += ["–", f"{100 * of['foreseen']:.0f} % leave"]
            else:
                line += [f"{of['r2']:.3f}", f"{100 * (of['median'] / of['measured'] - 1):+.1f} %"]
        lines.append(line)
    return make_table(titles, lines)


if __name__ == "__main__":
    run(main, options)
