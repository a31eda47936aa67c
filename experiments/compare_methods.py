"""Comparison of methods: how well each one learns 1010, and whether it keeps it."""

if __name__ == "__main__":
    from gan1010_jax.cli import start

    start()  # before anything that is slow to import

import itertools
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from study import Study, make_table

import gan1010_jax as gan
from gan1010_jax.cli import check_number, number, prepare_jax, progress_bar, read, run, say


@dataclass(frozen=True)
class CompareMethods(Study):
    """Train 1010-GANs by every objective, without penalty and with R1, by SGD and by Adam.

    Each is evaluated after 10,000 and after 50,000 steps: how many seeds match, are in support,
    have settled (they match at every record from there to the end), and have forgotten (they
    matched before, and do not now). Half as many seeds then look for a cure: update orders,
    optimisers, averages and penalties, over three times as many steps. Writes
    compare_methods.json, with intervals, compare_methods.md and cures.md, tables in Markdown, and
    figures/compare_methods.png and figures/cures.png; takes some minutes on two cores.
    """

    seeds: Annotated[int, number("seeds", int)] = 2048
    """How many GANs to train by each method, each from its own seed."""
    sgd_lr: Annotated[float, number("sgd_lr", float)] = 0.01
    """Both learning rates of SGD."""
    adam_lr: Annotated[float, number("adam_lr", float)] = 0.0003
    """Both learning rates of Adam."""
    penalty_weight: Annotated[float, number("penalty_weight", float)] = 1.0
    """The weight of R1."""


if __name__ == "__main__":
    options = read(CompareMethods)  # before JAX is imported

import numpy as np
import optax

from gan1010_jax.convergence import as_json, proportion
from gan1010_jax.figures import plot_cures, plot_methods
from gan1010_jax.gan import seed_key, train_step
from gan1010_jax.methods import OBJECTIVES, OPTIMIZERS
from gan1010_jax.population import claim, seed_range, write_file

EARLY, LATE = 10_000, 50_000
COLUMNS = ("matched", "in_support", "settled", "forgot")
CURE_STEPS = 150_000  # two waves of the reference


def setup(
    d_lr: float = 0.01, g_lr: float = 0.01, of: dict[str, float] | None = None, **method: Any
) -> gan.Setup:
    """A setup from its learning rates, its other hyperparameters, and its method's parts."""
    hyperparams = gan.Hyperparams(d_lr, g_lr, **(of or {}))
    return gan.Setup(method=gan.Method(**method), hyperparams=hyperparams)


def penalized(weight: float, penalty: str, **method: Any) -> gan.Setup:
    """The reference's objective, or another, with a penalty."""
    order = {} if penalty in ("r1", "r2") else {"update_order": "alternating"}
    return setup(of={"penalty_weight": weight}, penalty=penalty, **order, **method)


# What might keep GANs from forgetting, at rates that move both players about as fast as 0.01 does.
CURES = {
    "reference": setup(),
    "simultaneous": setup(update_order="simultaneous"),
    "alternating": setup(update_order="alternating"),
    "extragradient": setup(update_order="extragradient"),
    "optimistic": setup(update_order="simultaneous", optimizer=optax.optimistic_gradient_descent),
    "momentum -0.5": setup(0.015, 0.015, optimizer=partial(optax.sgd, momentum=-0.5)),
    "momentum 0.9": setup(0.001, 0.001, optimizer=partial(optax.sgd, momentum=0.9)),
    "lookahead, k = 5": setup(0.02, 0.02, sync_period=5),
    "average of G, 0.999": setup(of={"average_decay": 0.999}),
    "average of G, 0.9999": setup(of={"average_decay": 0.9999}),
    "two time scales, D 0.04": setup(0.04, 0.01),
    "two time scales, G 0.04": setup(0.01, 0.04),
    "instance noise, 0.1": setup(of={"noise_std": 0.1}),
    "relativistic": setup(objective="relativistic", update_order="alternating"),
    "symplectic, 1": penalized(1.0, "symplectic"),
    "symplectic, 10": penalized(10.0, "symplectic"),
    "consensus, 1": penalized(1.0, "consensus"),
    "consensus, 10": penalized(10.0, "consensus"),
    "WGAN-GP, 0.1": penalized(0.1, "wgan_gp", objective="wasserstein"),
    "R1, 0.1": penalized(0.1, "r1"),
    "R1, 1": penalized(1.0, "r1"),
    "R2, 0.1": penalized(0.1, "r2"),
    "R1 and R2, 0.1": penalized(0.1, "r1_r2"),
    "relativistic, R1 and R2, 0.1": penalized(0.1, "r1_r2", objective="relativistic"),
    "nonsaturating, R1, 0.2": penalized(0.2, "r1", objective="nonsaturating"),
    "wasserstein, R1, 0.4": penalized(0.4, "r1", objective="wasserstein"),
    "Adam 0.0003, R1, 1": setup(
        3e-4, 3e-4, of={"penalty_weight": 1.0}, penalty="r1", optimizer=optax.adam
    ),
}


def main(options: CompareMethods) -> None:
    seeds = seed_range(options.seeds)
    for name in ("sgd_lr", "adam_lr", "penalty_weight"):
        check_number(name, getattr(options, name), "d_lr")
    prepare_jax()
    with claim(options.out):
        report = compare(options, seeds)
        few = seeds[: max(1, len(seeds) // 2)]
        report["cures"] = find_cures(few)
        tables = {"compare_methods": tabulate(report), "cures": tabulate_cures(report["cures"])}
        rates = f"SGD at {options.sgd_lr:g}, Adam at {options.adam_lr:g}"
        note = f"1010 · {rates} · R1 of weight {options.penalty_weight:g} · {len(seeds):,} seeds"
        compared = partial(plot_methods, early_and_late(report), (EARLY, LATE), note)
        note = (
            f"1010 · mse, sgd at 0.01 but where named · {CURE_STEPS:,} steps · {len(few):,} seeds"
        )
        cures = partial(plot_cures, report["cures"], EARLY, note)
        options.write("compare_methods", report, compared, cures=cures)
        for name, table in tables.items():
            write_file(options.out / f"{name}.md", f"{table}\n".encode())
    print("\n\n".join(tables.values()))
    print(f"written to {options.out}")


def compare(options: CompareMethods, seeds: range) -> dict[str, Any]:
    rates = {"sgd": options.sgd_lr, "adam": options.adam_lr}
    weights = {"none": None, "r1": options.penalty_weight}
    rows = []
    # Those that the reference's updates can have, one sample at a time.
    objectives = [name for name, objective in OBJECTIVES.items() if not objective.relative]
    for penalty, optimizer, objective in itertools.product(weights, rates, objectives):
        rate = rates[optimizer]
        method = gan.Method(objective, penalty=penalty, optimizer=OPTIMIZERS[optimizer])
        hyperparams = gan.Hyperparams(rate, rate, weights[penalty])
        setup = gan.Setup(method=method, hyperparams=hyperparams)
        say(f"{objective}, {optimizer}, penalty {penalty}")
        with progress_bar() as progress:
            population = gan.train_population(
                seeds, setup, steps=LATE, record_every=50, progress=progress
            )
        row = {"objective": objective, "penalty": penalty, "optimizer": optimizer, "lr": rate}
        rows.append(row | {f"{step}": count_at(population, step) for step in (EARLY, LATE)})
    return {
        "seeds": len(seeds),
        "penalty_weight": options.penalty_weight,
        "engine": population.engine,
        "device": population.device,
        "versions": population.versions,
        "methods": rows,
    }


def find_cures(seeds: range) -> list[dict[str, Any]]:
    """Train by each of `CURES`: who is in support when, how soon they settle, and the cost."""
    rows, reference = [], count_operations(gan.Setup())
    for name, of in CURES.items():
        say(name)
        with progress_bar() as progress:
            population = gan.train_population(
                seeds, of, steps=CURE_STEPS, record_every=100, progress=progress
            )
        inside = gan.convergence_curves(population)["in_support"]
        most = int(inside.fraction.argmax())  # the first such record
        least = most + int(inside.fraction[most:].argmin())
        records = {str(step): step // 100 - 1 for step in (EARLY, LATE, CURE_STEPS)}
        settled = gan.convergence_report(population)["settled_step"]
        row = {
            "method": name,
            **{key: as_json(inside, record) for key, record in records.items()},
            "most": as_json(inside, most),
            "least": as_json(inside, least),
            "settled_p50": settled and settled["p50"],
            "cost": count_operations(of) / reference,
        }
        rows.append(row)
    return rows


def count_operations(of: gan.Setup) -> float:
    """The floating-point operations of one step, as XLA counts them in its compiled program."""
    key = seed_key(0)
    compiled = train_step.lower(gan.init(key, of), gan.draw_batch(key, of), of).compile()
    return compiled.cost_analysis()["flops"]


def count_at(population: gan.Population, step: int) -> dict[str, dict]:
    """The counts of a population after some steps, as JSON."""
    curves, totals = gan.convergence_curves(population), population.counts
    counts = {
        "matched": curves["matched"].count,
        "in_support": curves["in_support"].count,
        "settled": np.cumsum(totals.settled),
        "forgot": curves["forgotten"].count,
    }
    record = int(np.searchsorted(population.curves["step"], step))
    return {
        name: as_json(proportion(count, totals.seeds), record) for name, count in counts.items()
    }


def early_and_late(report: dict[str, Any]) -> dict[str, dict[str, tuple[float, float]]]:
    """The fractions in support, by objective and optimiser, and by penalty."""
    methods: dict[str, dict[str, tuple[float, float]]] = {}
    for row in report["methods"]:
        early, late = (row[str(step)]["in_support"]["fraction"] for step in (EARLY, LATE))
        name = f"{row['objective']}, {row['optimizer']}"
        methods.setdefault(name, {})[row["penalty"]] = (early, late)
    return methods


def tabulate(report: dict[str, Any]) -> str:
    """The comparison as a table in Markdown, in percent of the seeds."""
    titles, rows = [name.replace("_", " ") for name in COLUMNS], []
    for row in report["methods"]:
        cells = (row[str(step)][name] for step in (EARLY, LATE) for name in COLUMNS)
        percents = [f"{100 * cell['fraction']:.1f}" for cell in cells]
        method = [row["objective"], row["penalty"], f"{row['optimizer']} {row['lr']:g}"]
        rows.append(method + percents)
    return make_table(["objective", "penalty", "optimiser", *titles, *titles], rows, left=3)


def tabulate_cures(rows: list[dict[str, Any]]) -> str:
    """The cures as a table in Markdown; percent of the seeds in support."""
    titles = ["method", *(f"{step:,}" for step in (EARLY, LATE, CURE_STEPS))]
    titles += [
        "least after the most",
        "95 % interval",
        "median settling step",
        "operations of a step",
    ]
    lines = []
    for row in rows:
        shown = [row[str(step)] for step in (EARLY, LATE, CURE_STEPS)] + [row["least"]]
        low, high = (100 * row["least"][key] for key in ("ci_low", "ci_high"))
        settled = "–" if row["settled_p50"] is None else f"{row['settled_p50']:,}"
        cells = [f"{100 * cell['fraction']:.1f}" for cell in shown]
        cells += [f"{low:.1f} – {high:.1f}", settled, f"{row['cost']:.1f}"]
        lines.append([row["method"], *cells])
    return make_table(titles, lines)


if __name__ == "__main__":
    run(main, options)
