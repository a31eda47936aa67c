"""Comparison of methods: how well each one learns 1010, and whether it keeps it."""

if __name__ == "__main__":
    from gan1010_jax.cli import start

    start()  # before anything that is slow to import

import itertools
from dataclasses import dataclass
from typing import Annotated, Any

from study import Study, make_table

import gan1010_jax as gan
from gan1010_jax.cli import check_number, number, prepare_jax, progress_bar, read, run, say


@dataclass(frozen=True)
class CompareMethods(Study):
    """Train 1010-GANs by every objective, without penalty and with R1, by SGD and by Adam.

    Each is evaluated after 10,000 and after 50,000 steps: how many seeds match, are in support,
    have settled (they match at every record from there to the end), and have forgotten (they
    matched before, and do not now). Writes compare_methods.json, with intervals,
    compare_methods.md, a table in Markdown, and figures/compare_methods.png; takes a few minutes on
    two cores.
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

from gan1010_jax.convergence import as_json, proportion
from gan1010_jax.figures import plot_methods
from gan1010_jax.methods import OBJECTIVES, OPTIMIZERS
from gan1010_jax.population import claim, seed_range, write_file

EARLY, LATE = 10_000, 50_000
COLUMNS = ("matched", "in_support", "settled", "forgot")


def main(options: CompareMethods) -> None:
    seeds = seed_range(options.seeds)
    for name in ("sgd_lr", "adam_lr", "penalty_weight"):
        check_number(name, getattr(options, name), "d_lr")
    prepare_jax()
    with claim(options.out):
        report = compare(options, seeds)
        table = tabulate(report)
        figure = plot_methods(early_and_late(report), (EARLY, LATE))
        options.write("compare_methods", report, figure)
        write_file(options.out / "compare_methods.md", f"{table}\n".encode())
    print(table)
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


if __name__ == "__main__":
    run(main, options)
