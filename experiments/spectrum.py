"""Is what 1010-GANs have learned stable? The spectra of their steps, and of the equilibria near."""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Column, Table

import gan1010_jax as gan
from gan1010_jax import store
from gan1010_jax.checks import check_whole
from gan1010_jax.command_line import keep_compiled_programs, number, run
from gan1010_jax.diagrams import plot_spectrum
from gan1010_jax.training import begin, scan_records, start
from gan1010_jax.version import enable_x64

GAME, METHOD, HYPERPARAMS = gan.pattern_game("1010"), gan.Method(), gan.Hyperparams()
# Real samples are near each other, so that three nodes a coordinate give spectra to 1e-12.
ORDER = 3
BATCH_KEY = 1010  # of the runs that begin at an equilibrium


@dataclass(frozen=True)
class Spectrum:
    """Say whether the states that 1010-GANs reach, and the equilibria near them, are stable.

    Trains the reference, stops at some steps, and takes the eigenvalues of the expected step there
    and at an equilibrium near by, in float64. Then trains on from the equilibria of one stop.
    Writes a directory: spectrum.json (the numbers of the tables) and figures/spectrum.png.
    """

    seeds: Annotated[int, number("seeds", int)] = 128
    """How many GANs to train, from 1 to 4096; seed 0 is the first."""
    stops: tuple[int, ...] = (10_000, 20_000, 50_000, 70_000, 200_000)
    """After how many steps to look, in increasing order; multiples of 10,000."""
    begin_at: Annotated[int, number("begin_at", int)] = 20_000
    """The stop whose equilibria are trained on from, for as long as the last stop."""
    out: Path = field(
        default_factory=lambda: Path("runs") / time.strftime("spectrum-%Y%m%d-%H%M%S")
    )
    """Where to write: a new or empty directory."""


class Stop(NamedTuple):
    """What is known of the seeds after some steps: arrays [seeds, ...].

    Attributes:
      matched: whether the output matches.
      in_support: whether it is in support.
      eigenvalues: complex [seeds, n], of the expected step.
      field: the length of the vector field.
      length: of all parameters together.
      distance: from the state to the equilibrium, over all parameters.
      equilibrium: the equilibrium's state.
      field_there: the length of the vector field there: how well it was found.
      in_support_there: whether the output is in support there.
      eigenvalues_there: complex [seeds, n], of the expected step there.
    """

    matched: np.ndarray
    in_support: np.ndarray
    eigenvalues: np.ndarray
    field: np.ndarray
    length: np.ndarray
    distance: np.ndarray
    equilibrium: gan.GANState
    field_there: np.ndarray
    in_support_there: np.ndarray
    eigenvalues_there: np.ndarray


def main(options: Spectrum) -> None:
    """Check every option, train, take the spectra, write the results, print the tables."""
    check(options)
    keep_compiled_programs()
    with store.claim(options.out, resume=False):
        stops = {}
        for step, states in train_to(options.stops, options.seeds):
            print(f"trained {step:,} steps", flush=True, file=sys.stderr)
            stops[step] = look(states)
        chosen = stops[options.begin_at]
        report = {
            "seeds": options.seeds,
            "stops": [row for step, stop in stops.items() for row in summarize(step, stop)],
            "begun_at_equilibria_of": options.begin_at,
            "begun_at_equilibria": begin_at_equilibria(chosen.equilibrium, options.stops[-1]),
        }
        store.write_json(options.out / "spectrum.json", report)
        figure = plot_spectrum(
            {
                f"{options.seeds} seeds after {options.begin_at:,} steps": chosen.eigenvalues,
                "the equilibria near them": chosen.eigenvalues_there,
            }
        )
        store.write_figures(options.out, {"spectrum": figure})
    print_report(report, options.out)


def check(options: Spectrum) -> None:
    """Refuse values outside their limits."""
    check_whole("seeds", options.seeds, 1, 4096)
    stops = options.stops
    if (
        not stops
        or list(stops) != sorted(set(stops))
        or stops[0] <= 0
        or any(s % 10_000 for s in stops)
    ):
        raise gan.InvalidArgument("stops", stops, "increasing multiples of 10000, above zero")
    if options.begin_at not in stops:
        raise gan.InvalidArgument("begin_at", options.begin_at, f"one of the stops, {stops}")


def train_to(stops: tuple[int, ...], seeds: int) -> Iterator[tuple[int, gan.GANState]]:
    """Train seeds 0, 1, … and yield each stop, and the states [seeds, ...] there."""

    def start_seed(seed):
        run, data_key = start(jax.random.key(seed), GAME, METHOD, HYPERPARAMS)
        return run.state, data_key

    states, keys = jax.vmap(start_seed)(jnp.arange(seeds, dtype=jnp.uint32))
    before = 0
    for stop in stops:
        states, _ = advance(states, keys, before, stop - before)
        before = stop
        yield stop, states


@partial(jax.jit, static_argnames="steps")
def advance(
    states: gan.GANState, keys: chex.PRNGKey, first: chex.Numeric, steps: int
) -> tuple[gan.GANState, gan.History]:
    """Train states [seeds, ...] on, with the batches of keys [seeds] from some step on."""

    def advance_one(state, key):
        def batch_at(step):
            return gan.draw_batch(key, GAME, METHOD, HYPERPARAMS, first + step)

        return scan_records(begin(state), batch_at, GAME, METHOD, HYPERPARAMS, steps, 1000)

    return jax.vmap(advance_one)(states, keys)


def look(states: gan.GANState) -> Stop:
    """Take the spectra of states [seeds, ...] and of the equilibria near them."""
    output = jax.vmap(gan.generate)(states)
    with enable_x64(True):
        found = look_in_x64(jax.tree.map(partial(jnp.asarray, dtype=jnp.float64), states))
    return Stop(GAME.matched(output), GAME.in_support(output), **jax.device_get(found))


@jax.jit
def look_in_x64(states: gan.GANState) -> dict[str, chex.ArrayTree]:
    """What `look` takes in float64, one state after the other."""

    def look_at(state):
        there = gan.find_equilibrium(state, order=ORDER)
        moved = jax.tree.map(jnp.subtract, state, there)
        return {
            "eigenvalues": gan.step_spectrum(state, order=ORDER),
            "field": length(gan.vector_field(state, order=ORDER)),
            "length": length(state),
            "distance": length(moved),
            "equilibrium": there,
            "field_there": length(gan.vector_field(there, order=ORDER)),
            "in_support_there": GAME.in_support(gan.generate(there)),
            "eigenvalues_there": gan.step_spectrum(there, order=ORDER),
        }

    return jax.lax.map(look_at, states)


def length(tree: chex.ArrayTree) -> jax.Array:
    """The Euclidean norm of all numbers in a tree."""
    return optax.tree.norm(tree)


def begin_at_equilibria(states: gan.GANState, steps: int) -> list[dict]:
    """Train on from equilibria [seeds, ...] and look ten times how far it has gone."""
    states = jax.tree.map(partial(jnp.asarray, dtype=jnp.float32), states)
    keys = jax.random.split(jax.random.key(BATCH_KEY), len(jax.tree.leaves(states)[0]))
    rows = []
    for first in range(0, steps, steps // 10):
        states, history = advance(states, keys, first, steps // 10)
        weights = states.discriminator.params["Linear_1"]["Dense_0"]["kernel"]
        row = {
            "step": first + steps // 10,
            "matched": float(history.matched[:, -1].mean()),
            "in_support": float(history.in_support[:, -1].mean()),
            # Zero at an equilibrium.
            "d_output_weights": quantiles(np.linalg.norm(weights, axis=(1, 2))),
        }
        rows.append(row)
    return rows


def summarize(step: int, stop: Stop) -> list[dict]:
    """The numbers of a stop: of all seeds, and of those that are, and are not, in support."""
    groups = {
        "all": np.ones_like(stop.matched),
        "in support": stop.in_support,
        "out of support": ~stop.in_support,
        "not matched": ~stop.matched,
    }
    there = np.log(stop.eigenvalues_there)
    numbers = {
        "field": stop.field,
        "radius_minus_1": np.abs(stop.eigenvalues).max(axis=-1) - 1,
        "length": stop.length,
        "distance": stop.distance,
        "radius_there_minus_1": np.abs(stop.eigenvalues_there).max(axis=-1) - 1,
        # Of the fastest oscillation; infinite where there is none.
        "period_there": period(there),
        "oscillation_growth_there": fastest(there).real,
    }
    found = stop.field_there < 1e-10
    rows = []
    for name, group in groups.items():
        if group.any():
            counts = {
                "step": step,
                "group": name,
                "seeds": int(group.sum()),
                "outside": int((group & outside(stop.eigenvalues)).sum()),
                "equilibria_found": int((group & found).sum()),
                "equilibria_in_support": int((group & found & stop.in_support_there).sum()),
                "equilibria_outside": int((group & found & outside(stop.eigenvalues_there)).sum()),
            }
            at_states = ("field", "radius_minus_1", "length")
            rows.append(
                counts
                | {
                    key: quantiles(np.asarray(values)[group & (found | (key in at_states))])
                    for key, values in numbers.items()
                }
            )
    return rows


def outside(eigenvalues: np.ndarray) -> np.ndarray:
    """Whether some of the eigenvalues [..., n] are outside the unit circle, by more than 1e-8."""
    return (np.abs(eigenvalues) > 1 + 1e-8).any(axis=-1)


def fastest(logarithms: np.ndarray) -> np.ndarray:
    """Of logarithms of eigenvalues [..., n], the one of the fastest rotation, [...]."""
    # A pair that only rounding has parted from the real axis does not rotate.
    rotation = np.where(np.abs(logarithms) > 1e-9, logarithms.imag, 0.0)
    place = rotation.argmax(axis=-1)
    return np.take_along_axis(logarithms, place[..., None], -1)[..., 0]


def period(logarithms: np.ndarray) -> np.ndarray:
    """The period of that rotation in steps, infinite if there is none."""
    rotation = fastest(logarithms).imag
    return np.where(rotation > 1e-9, 2 * np.pi / np.maximum(rotation, 1e-9), np.inf)


def quantiles(values: np.ndarray) -> dict[str, float | None]:
    """The 5, 50 and 95 % quantiles; None for one that is infinite or of nothing."""
    if not len(values):
        return dict.fromkeys(("p5", "p50", "p95"))
    found = np.percentile(np.asarray(values, float), (5, 50, 95), method="nearest")
    return {
        key: float(x) if np.isfinite(x) else None for key, x in zip(("p5", "p50", "p95"), found)
    }


def print_report(report: dict, out: Path) -> None:
    """Print the report as three tables on standard output."""

    def show(quantiles, unit, form=".1f"):
        values = [quantiles[key] for key in ("p50", "p5", "p95")]
        median, low, high = ("–" if x is None else format(x / unit, form) for x in values)
        return f"{median} ({low}, {high})"

    def right(*names):
        return [Column(name, justify="right") for name in names]

    states = Table(
        *right("step"),
        "seeds",
        *right("number", "field", "radius - 1"),
        title="The seeds' states: median (5 %, 95 %); fields in 10⁻³, radii in 10⁻⁵",
    )
    equilibria = Table(
        *right("step"),
        "seeds",
        *right("distance", "radius - 1", "period"),
        title="The equilibria near them; radii in 10⁻⁵, periods in 1,000 steps",
    )
    for row in report["stops"]:
        if row["group"] == "all" or row["seeds"] < report["seeds"]:
            states.add_row(
                f"{row['step']:,}",
                row["group"],
                str(row["seeds"]),
                show(row["field"], 1e-3, ".0f"),
                show(row["radius_minus_1"], 1e-5),
            )
            equilibria.add_row(
                f"{row['step']:,}",
                row["group"],
                show(row["distance"], 1),
                show(row["radius_there_minus_1"], 1e-5),
                show(row["period_there"], 1e3, ".0f"),
            )
    begun = Table(
        *right("steps", "matched", "in support", "D's output weights"),
        title=f"Begun at the equilibria near the states after {report['begun_at_equilibria_of']:,}",
    )
    for row in report["begun_at_equilibria"]:
        cells = f"{row['matched']:.1%}", f"{row['in_support']:.1%}"
        begun.add_row(f"{row['step']:,}", *cells, show(row["d_output_weights"], 1, ".3f"))
    console = Console(highlight=False, markup=False)
    for table in (states, equilibria, begun):
        console.print(table)
    console.print(f"written to {out}", soft_wrap=True)


if __name__ == "__main__":
    run(Spectrum, main)
