"""The card of methods: how well each objective, penalty and optimiser learns 1010 and keeps it."""

import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import optax
from rich.console import Console

import gan1010_jax as gan
from gan1010_jax import store
from gan1010_jax.command_line import (
    check_number,
    keep_compiled_programs,
    number,
    progress_bar,
    run,
)
from gan1010_jax.convergence import as_json, proportion
from gan1010_jax.diagrams import plot_card
from gan1010_jax.methods import OBJECTIVES
from gan1010_jax.population import seed_range

EARLY, LATE = 10_000, 50_000
COLUMNS = ("matched", "in_support", "settled", "forgot")


@dataclass(frozen=True)
class Card:
    """Train 1010-GANs by every objective, without penalty and with R1, by SGD and by Adam.

    Each is looked at after 10,000 and after 50,000 steps: how many seeds match, are in support,
    have settled (they match at every record from there to the end), and have forgotten (they
    matched before, and do not now). Writes card.json, with intervals, card.md, a table in Markdown,
    and figures/card.png; takes a few minutes on two cores.
    """

    seeds: Annotated[int, number("seeds", int)] = 2048
    """How many GANs to train by each method, each from its own seed."""
    sgd_lr: Annotated[float, number("sgd_lr", float)] = 0.01
    """Both learning rates of SGD."""
    adam_lr: Annotated[float, number("adam_lr", float)] = 0.0003
    """Both learning rates of Adam."""
    penalty_weight: Annotated[float, number("penalty_weight", float)] = 1.0
    """The weight of R1."""
    out: Path | None = None
    """Where to write: a new or empty directory; else runs/card-<the time>."""


def main(options: Card) -> None:
    """Train every method, write the card, and print it."""
    seeds = seed_range(options.seeds)
    rates = {"sgd": (optax.sgd, options.sgd_lr), "adam": (optax.adam, options.adam_lr)}
    weights = {"none": None, "r1": options.penalty_weight}
    for name in ("sgd_lr", "adam_lr", "penalty_weight"):
        check_number(name, getattr(options, name), "d_lr")
    out = options.out or Path("runs") / time.strftime("card-%Y%m%d-%H%M%S")
    keep_compiled_programs()
    with store.claim(out, resume=False):
        card = make_card(options, rates, weights, seeds)
        store.write_json(out / "card.json", card)
        store.write_file(out / "card.md", write_markdown(card).encode())
        store.write_figures(out, {"card": plot_card(early_and_late(card), (EARLY, LATE))})
    console = Console(highlight=False, markup=False)
    console.print(write_markdown(card), soft_wrap=True)
    console.print(f"written to {out}", soft_wrap=True)


def make_card(options: Card, rates: dict, weights: dict, seeds: range) -> dict:
    """Train every method: the card, as JSON."""
    rows = []
    for (penalty, weight), (name, (optimizer, rate)), objective in itertools.product(
        weights.items(), rates.items(), OBJECTIVES
    ):
        method = gan.Method(objective, penalty=penalty, optimizer=optimizer)
        with progress_bar() as progress:
            population = gan.train_population(
                seeds,
                method=method,
                hyperparams=gan.Hyperparams(rate, rate, weight),
                steps=LATE,
                record_every=50,
                progress=progress,
            )
        row = {"objective": objective, "penalty": penalty, "optimizer": name, "lr": rate}
        rows.append(row | {f"{step}": look(population, step) for step in (EARLY, LATE)})
    return {
        "seeds": options.seeds,
        "penalty_weight": options.penalty_weight,
        "engine": population.engine,
        "device": population.device,
        "versions": population.versions,
        "methods": rows,
    }


def early_and_late(card: dict) -> dict[str, dict[str, tuple[float, float]]]:
    """The fractions in support, by objective and optimiser, and by penalty."""
    methods: dict[str, dict[str, tuple[float, float]]] = {}
    for row in card["methods"]:
        ends = tuple(row[str(step)]["in_support"]["fraction"] for step in (EARLY, LATE))
        methods.setdefault(f"{row['objective']}, {row['optimizer']}", {})[row["penalty"]] = ends
    return methods


def look(population: gan.Population, step: int) -> dict[str, dict]:
    """How a population is after some steps, as JSON."""
    record = int(np.searchsorted(population.curves["step"], step))
    curves, seeds = gan.convergence_curves(population), population.tally.seeds
    counts = {
        "matched": curves["matched"].count,
        "in_support": curves["in_support"].count,
        "settled": np.cumsum(population.tally.settled),
        "forgot": curves["forgotten"].count,
    }
    return {name: as_json(proportion(count, seeds), record) for name, count in counts.items()}


def write_markdown(card: dict) -> str:
    """The card as a table in Markdown, in percent of the seeds."""
    titles = [name.replace("_", " ") for name in COLUMNS]
    head = ["objective", "penalty", "optimiser", *titles, *titles]
    lines = [head, ["---"] * 3 + ["--:"] * 8]
    for row in card["methods"]:
        percents = [
            f"{100 * row[str(step)][name]['fraction']:.1f}"
            for step in (EARLY, LATE)
            for name in COLUMNS
        ]
        lines.append(
            [row["objective"], row["penalty"], f"{row['optimizer']} {row['lr']:g}", *percents]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    run(Card, main)
