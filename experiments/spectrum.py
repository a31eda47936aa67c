"""Is what 1010-GANs have learned stable? The spectra of their steps, and of the equilibria near."""

if __name__ == "__main__":
    from gan1010_jax.cli import start

    start()  # before anything that is slow to import

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from study import Study, make_table

import gan1010_jax as gan
from gan1010_jax.cli import number, prepare_jax, read, run, say


@dataclass(frozen=True)
class Spectrum(Study):
    """Say whether the states that 1010-GANs reach, and the equilibria near them, are stable.

    Trains the reference, stops at some steps, and takes the eigenvalues of the expected step there
    and at an equilibrium near by, in float64; and beside the largest how fast D alone would grow.
    Then trains on from the equilibria of one stop.
    Writes a directory: spectrum.json and figures/spectrum.png.
    """

    seeds: Annotated[int, number("seeds", int)] = 128
    """How many GANs to train, from 1 to 4096; seed 0 is the first."""
    stops: tuple[Annotated[int, number("stops", int)], ...] = (
        10_000,
        20_000,
        50_000,
        70_000,
        200_000,
    )
    """After how many steps to look, in increasing order; multiples of 10,000."""
    begin_at: Annotated[int, number("begin_at", int)] = 20_000
    """The stop whose equilibria are trained on from, for as long as the last stop."""


if __name__ == "__main__":
    options = read(Spectrum)  # before JAX is imported

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from gan1010_jax.checks import MAX_STEPS, check_whole
from gan1010_jax.environment import enable_x64
from gan1010_jax.figures import note_of, plot_spectrum
from gan1010_jax.gan import seed_key
from gan1010_jax.population import claim
from gan1010_jax.training import carry_from, first_steps, init_carry, train_record

SETUP = gan.Setup()
# Real samples are near each other, so that three nodes a coordinate give spectra to 1e-12.
ORDER = 3
BATCH_KEY = 1010  # of the runs that begin at an equilibrium


def main(options: Spectrum) -> None:
    check(options)
    prepare_jax()
    with claim(options.out):
        stops = {}
        say("training")
        for step, states in train_to(options.stops, options.seeds):
            say(f"trained {step:,} steps; spectra there, and at the equilibria near")
            stops[step] = analyze(states)
        chosen = stops[options.begin_at]
        say("training on from the equilibria")
        report = {
            "seeds": options.seeds,
            "stops": [row for step, stop in stops.items() for row in summarize(step, stop)],
            "begun_at_equilibria_of": options.begin_at,
            "begun_at_equilibria": begin_at_equilibria(chosen["equilibrium"], options.stops[-1]),
        }
        spectra = {
            "the states": chosen["eigenvalues"],
            "the equilibria near them": chosen["eigenvalues_there"],
        }
        note = note_of(SETUP, f"{options.begin_at:,} steps", f"{options.seeds} seeds")
        options.write("spectrum", report, partial(plot_spectrum, spectra, note=note))
    print(f"{tabulate(report)}\n\nMedians, and 5 – 95 % of the seeds.")
    print(f"written to {options.out}, with the equilibria and the runs from there")


def check(options: Spectrum) -> None:
    """Raise `InvalidArgument` for the first option that is not valid."""
    check_whole("seeds", options.seeds, 1, 4096)
    stops = options.stops
    is_increasing = stops and sorted({0, *stops}) == [0, *stops]
    if not is_increasing or any(stop % 10_000 for stop in stops) or stops[-1] > MAX_STEPS:
        allowed = f"increasing multiples of 10000, above zero and up to {MAX_STEPS}"
        raise gan.InvalidArgument("stops", stops, allowed)
    if options.begin_at not in stops:
        raise gan.InvalidArgument("begin_at", options.begin_at, f"one of the stops, {stops}")


def train_to(stops: tuple[int, ...], seeds: int) -> Iterator[tuple[int, gan.GANState]]:
    """Train seeds 0, 1, … and yield each stop, and the states [seeds, ...] there."""
    seed_keys = jax.vmap(seed_key)(np.arange(seeds))
    carries, keys = jax.vmap(partial(init_carry, setup=SETUP))(seed_keys)
    states = carries.state
    for before, stop in zip((0, *stops), stops):
        states, _ = advance(states, keys, before, stop - before)
        yield stop, states


@partial(jax.jit, static_argnames="steps")
def advance(
    states: gan.GANState, keys: chex.PRNGKey, first: chex.Numeric, steps: int
) -> tuple[gan.GANState, gan.History]:
    """Train states [seeds, ...] on, with the batches of keys [seeds] from a first step on."""

    def advance_one(state, key):
        def batch_at(step):
            return gan.draw_batch(key, SETUP, first + step)

        to_record = partial(train_record, batch_at=batch_at, setup=SETUP, steps=1000)
        carry, history = jax.lax.scan(to_record, carry_from(state), first_steps(steps, 1000))
        return carry.state, history

    return jax.vmap(advance_one)(states, keys)


def analyze(states: gan.GANState) -> dict[str, Any]:
    """The spectra of states [seeds, ...] and of the equilibria near them, each [seeds, ...].

    Keys that end in `_there` are of the equilibria; `field` is the length of the vector field,
    `length` that of all parameters, and `distance` the one from the state to the equilibrium.
    """

    def analyze_one(state):
        there = gan.find_equilibrium(state, order=ORDER)
        return {
            "eigenvalues": gan.step_spectrum(state, order=ORDER),
            "d_growth": growth_of_d(state),
            "field": optax.tree.norm(gan.vector_field(state, order=ORDER)),
            "length": optax.tree.norm(state),
            "distance": optax.tree.norm(jax.tree.map(jnp.subtract, state, there)),
            "equilibrium": there,
            "field_there": optax.tree.norm(gan.vector_field(there, order=ORDER)),
            "eigenvalues_there": gan.step_spectrum(there, order=ORDER),
        }

    in_support = SETUP.game.in_support(jax.vmap(gan.generate)(states))
    with enable_x64(True):
        states = jax.tree.map(partial(jnp.asarray, dtype=jnp.float64), states)
        found = jax.device_get(jax.jit(partial(jax.lax.map, analyze_one))(states))
    return found | {"in_support": np.asarray(in_support)}


def growth_of_d(state: gan.GANState) -> jax.Array:
    """The fastest growth of a deviation of D alone, per step, with G as it is: a scalar.

    By the level model: its only force on D is the difference between the real and the fake samples.
    """
    params, unravel = ravel_pytree(state.discriminator.params)

    def velocity(params):
        moved = state.discriminator._replace(params=unravel(params))
        there = gan.level_velocity(state._replace(discriminator=moved))
        return ravel_pytree(there.discriminator.params)[0]

    return jnp.linalg.eigvals(jax.jacfwd(velocity)(params)).real.max()


def begin_at_equilibria(states: gan.GANState, steps: int) -> list[dict]:
    """Train on from equilibria [seeds, ...]; ten rows on how far the runs have gone."""
    states = jax.tree.map(partial(jnp.asarray, dtype=jnp.float32), states)
    keys = jax.random.split(seed_key(BATCH_KEY), len(jax.tree.leaves(states)[0]))
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


def summarize(step: int, stop: dict[str, Any]) -> list[dict]:
    """The numbers of a stop: of all seeds, and of those that are, and are not, in support."""
    in_support = stop["in_support"]
    groups = {
        "all": np.ones_like(in_support),
        "in support": in_support,
        "out of support": ~in_support,
    }
    radius, radius_there = (
        np.abs(stop[name]).max(axis=-1) for name in ("eigenvalues", "eigenvalues_there")
    )
    turn = fastest_rotation(np.log(stop["eigenvalues_there"]))
    with np.errstate(divide="ignore"):
        period = 2 * np.pi / np.where(turn.imag > 1e-9, turn.imag, 0)
    rows = []
    for name, group in groups.items():
        found = group & (stop["field_there"] < 1e-10)
        if group.any():
            row = {
                "step": step,
                "group": name,
                "seeds": int(group.sum()),
                "equilibria_found": int(found.sum()),
                "equilibria_outside": int((found & (radius_there > 1 + 1e-8)).sum()),
                "field": quantiles(stop["field"][group]),
                "radius_minus_1": quantiles(radius[group] - 1),
                "d_growth": quantiles(stop["d_growth"][group]),
                "length": quantiles(stop["length"][group]),
                "distance": quantiles(stop["distance"][found]),
                "radius_there_minus_1": quantiles(radius_there[found] - 1),
                # Of the fastest oscillation; infinite where there is none.
                "period_there": quantiles(period[found]),
                "oscillation_growth_there": quantiles(turn.real[found]),
            }
            rows.append(row)
    return rows


def fastest_rotation(logarithms: np.ndarray) -> np.ndarray:
    """Of logarithms of eigenvalues [..., n], the one of the fastest rotation, [...]."""
    # A pair that only rounding has parted from the real axis does not rotate.
    rotation = np.where(np.abs(logarithms) > 1e-9, logarithms.imag, 0.0)
    place = rotation.argmax(axis=-1)
    return np.take_along_axis(logarithms, place[..., None], -1)[..., 0]


def quantiles(values: np.ndarray) -> dict[str, float | None]:
    """The 5, 50 and 95 % quantiles; None for an infinite one, and where there are no values."""
    percents = (5, 50, 95)
    found = np.percentile(values, percents, method="nearest") if len(values) else [np.inf] * 3
    return {f"p{p}": float(x) if np.isfinite(x) else None for p, x in zip(percents, found)}


def tabulate(report: dict[str, Any]) -> str:
    """The spectra of the states as a table in Markdown; in two groups where most have left."""
    most_left = {
        row["step"]
        for row in report["stops"]
        if row["group"] == "out of support" and 2 * row["seeds"] > report["seeds"]
    }
    rows = []
    for row in report["stops"]:
        groups = ("in support", "out of support") if row["step"] in most_left else ("all",)
        if row["group"] in groups:
            cells = [
                f"{q['p50'] / unit:.{d}f} ({q['p5'] / unit:.{d}f} – {q['p95'] / unit:.{d}f})"
                for q, unit, d in (
                    (row["field"], 1, 3),
                    (row["radius_minus_1"], 1e-5, 1),
                    (row["d_growth"], 1e-5, 1),
                )
            ]
            rows.append([f"{row['step']:,}", f"{row['seeds']} {row['group']}", *cells])
    titles = ["after step", "seeds", "length of the field", "spectral radius - 1, in 10⁻⁵"]
    titles.append("growth of D alone")
    return make_table(titles, rows)


if __name__ == "__main__":
    run(main, options)
