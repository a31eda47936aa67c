"""The finding in one picture: 1010-GANs learn, forget, and with R1 keep what they have learned."""

if __name__ == "__main__":
    from gan1010_jax.cli import start

    start()  # before anything that is slow to import

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from study import Study

import gan1010_jax as gan
from gan1010_jax.cli import check_number, number, prepare_jax, progress_bar, read, run, say

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Finding(Study):
    """Train 1010-GANs for 250,000 steps, without a penalty and with R1: who keeps 1010?

    Writes finding.json, the numbers of seeds in support over training, and figures/finding.png.
    """

    seeds: Annotated[int, number("seeds", int)] = 4096
    """How many GANs to train, each from its own seed."""
    penalty_weight: Annotated[float, number("penalty_weight", float)] = 0.1
    """The weight of R1."""


if __name__ == "__main__":
    options = read(Finding)  # before JAX is imported

from functools import partial

import numpy as np

from gan1010_jax.figures import note_of, plot_finding
from gan1010_jax.population import claim, seed_range

STEPS, EVERY = 250_000, 50
LEARNING, LATER = 10_000, 500  # every record is kept while they learn, and fewer later


def main(options: Finding) -> None:
    seeds, weight = seed_range(options.seeds), options.penalty_weight
    check_number("penalty_weight", weight, "penalty_weight")
    r1 = gan.Setup(method=gan.Method(penalty="r1"), hyperparams=gan.Hyperparams(0.01, 0.01, weight))
    prepare_jax()
    with claim(options.out):
        report = {"seeds": len(seeds)}
        for name, setup in {
            "without penalty": gan.Setup(),
            f"with R1 of weight {weight:g}": r1,
        }.items():
            say(f"training {name}")
            with progress_bar() as progress:
                population = gan.train_population(
                    seeds, setup, steps=STEPS, record_every=EVERY, progress=progress
                )
            step = population.curves["step"]
            kept = (step <= LEARNING) | (step % LATER == 0)
            report |= {"step": step[kept].tolist()}
            report[name] = population.curves["in_support"][kept].tolist()
        options.write("finding", report, partial(draw, report))
    print(f"written to {options.out}")


def draw(report: dict, **style: str) -> "Figure":
    """The figure of a report."""
    steps, seeds = np.array(report["step"]), report["seeds"]
    runs = {name: np.array(report[name]) / seeds for name in [*report][2:]}
    note = note_of(gan.Setup(), f"{steps[-1]:,} steps", f"{seeds:,} seeds")
    return plot_finding(steps, runs, note, **style)


if __name__ == "__main__":
    run(main, options)
