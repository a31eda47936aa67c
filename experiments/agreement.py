"""Is it the same GAN? The differences between JAX's runs and those of the program in PyTorch."""

if __name__ == "__main__":
    from gan1010_jax.cli import start

    start()  # before anything that is slow to import

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from study import Study, make_table

import gan1010_jax as gan
from gan1010_jax.cli import prepare_jax, read, run, say


@dataclass(frozen=True)
class Agreement(Study):
    """Compare this GAN with the reference program in PyTorch, whose results are kept.

    Step by step: from PyTorch's initial parameters and on its samples, the largest difference over
    eight runs of 10,000 steps, of `train_on` and of every engine, in both precisions. In
    distribution: the p-values of ten tests of 4,096 seeds against 400 independent runs. Writes
    agreement.json and figures/agreement.png. Exit code 1 if a difference is larger than the tests
    allow. PyTorch need not be installed.
    """


if __name__ == "__main__":
    options = read(Agreement)  # before JAX is imported

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from gan1010_jax.engines import ENGINES, compiler_options, init_block, observe
from gan1010_jax.environment import enable_x64, versions
from gan1010_jax.figures import note_of, plot_agreement
from gan1010_jax.population import claim
from gan1010_jax.training import Carry, train_record

REFERENCE = Path(__file__).parent.parent / "tests" / "reference"
QUANTITIES = ("outputs", "losses", "parameters")
SEEDS = 4096

# Sums are added in another order and sigmoids rounded otherwise, which the game hardly amplifies.
# The largest differences seen in 10,000 steps: outputs 5e-7, losses 2e-7, parameters 1.5e-6; in
# double precision 3e-16, 3e-16 and 3e-15.
TOLERANCES = {"float32": 1e-5, "float64": 1e-10}

MEASURED = (*(f"output_{unit}" for unit in range(4)), "d_loss_real", "d_loss_fake", "g_loss")
COUNTED = ("matched", "in_support")
# A false alarm once in a thousand populations at most, by Bonferroni. (This one is fixed.)
SIGNIFICANCE = 1e-3 / (len(MEASURED) + 1 + len(COUNTED))


def main(options: Agreement) -> None:
    prepare_jax()
    with claim(options.out):
        rows = compare_runs(load("runs.npz"))
        say(f"training {SEEDS:,} seeds")
        ours = gan.train_population(range(SEEDS)).columns
        p_values = compare_populations(ours, load("population.npz"))
        report = {
            "runs": rows,
            "seeds": SEEDS,
            "p_values": p_values,
            "agrees": agrees(rows, p_values),
            "versions": versions(),
        }
        note = note_of(gan.Setup(), "10,000 steps", "eight runs, on PyTorch's samples")
        figure = partial(plot_agreement, rows, TOLERANCES, note=note)
        options.write("agreement", report, figure)
    print(tabulate(report))
    p, name = min((p, name) for name, p in p_values.items())
    print(f"{SEEDS:,} seeds against 400 runs: least of {len(p_values)} p-values: {p:.2g} ({name})")
    print(f"written to {options.out}")
    if not report["agrees"]:
        print("it does not agree with the reference", file=sys.stderr)
        sys.exit(1)


def compare_runs(runs: dict[str, np.ndarray]) -> list[dict]:
    """The differences of each way to train from PyTorch's runs, in both precisions."""
    rows = []
    for dtype, prefix in ((np.float32, ""), (np.float64, "double/")):
        with enable_x64(dtype is np.float64):
            for program in ("train_on", *ENGINES):
                say(f"training by {program}, {np.dtype(dtype).name}")
                if program == "train_on":
                    results = train_all(runs, dtype)
                else:
                    states, histories = run_on(program, runs, dtype)
                    results = last(states), histories
                apart = differences(runs, *results, prefix).tolist()
                row = {"program": program, "dtype": np.dtype(dtype).name}
                rows.append(row | dict(zip(QUANTITIES, apart)))
    return rows


def agrees(rows: list[dict], p_values: dict[str, float]) -> bool:
    """Whether no difference is larger than rounding and chance allow."""
    near = (row[name] < TOLERANCES[row["dtype"]] for row in rows for name in QUANTITIES)
    return all(near) and all(p > SIGNIFICANCE for p in p_values.values())


def tabulate(report: dict) -> str:
    """The differences as a table in Markdown."""
    rows = [
        [f"`{row['program']}`, {row['dtype']}", *(f"{row[name]:.1e}" for name in QUANTITIES)]
        for row in report["runs"]
    ]
    return make_table(["the largest difference", *QUANTITIES], rows)


# Step by step


def load(name: str) -> dict[str, np.ndarray]:
    with np.load(REFERENCE / name, allow_pickle=False) as arrays:
        return dict(arrays)


def state_dicts(
    arrays: dict[str, np.ndarray], prefix: str, dtype: type = np.float32
) -> list[dict[str, np.ndarray]]:
    """D's and G's parameters, [runs, ...], whose names begin with a prefix."""
    return [
        {
            name.removeprefix(f"{prefix}/{player}/"): array.astype(dtype)
            for name, array in arrays.items()
            if name.startswith(f"{prefix}/{player}/")
        }
        for player in "dg"
    ]


def first_states(arrays: dict[str, np.ndarray], dtype: type = np.float32) -> gan.GANState:
    """The states that runs start from, each leaf [runs, ...]."""
    players = state_dicts(arrays, "initial", dtype)
    states = [
        gan.params_from_torch(*[{name: array[run] for name, array in p.items()} for p in players])
        for run in range(len(arrays["samples"]))
    ]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def train_all(
    arrays: dict[str, np.ndarray], dtype: type = np.float32, **kwargs: Any
) -> tuple[gan.GANState, gan.History]:
    """Every run on its own samples: final states and histories, each leaf [runs, ...]."""
    train = jax.vmap(partial(gan.train_on, **kwargs))
    return train(first_states(arrays, dtype), arrays["samples"].astype(dtype))


def differences(
    arrays: dict[str, np.ndarray],
    states: gan.GANState,
    histories: gan.History,
    prefix: str = "",
    at: str = "final",
) -> np.ndarray:
    """The largest differences from PyTorch's results, [3]: of outputs, losses and parameters.

    By NumPy's maxima, which, unlike Python's, are NaN where any number is.
    """
    every = histories.output.shape[1] // arrays[f"{prefix}output"].shape[1]
    ours = (np.asarray(histories.output), np.stack(histories.losses, axis=-1))
    output, losses = (
        np.abs(our[:, every - 1 :: every] - arrays[prefix + name]).max()
        for our, name in zip(ours, ("output", "losses"))
    )
    pairs = zip(gan.params_to_torch(states), state_dicts(arrays, prefix + at, np.float64))
    params = [np.abs(our[name] - theirs[name]).max() for our, theirs in pairs for name in our]
    return np.array([output, losses, np.max(params)])


def last(states: gan.GANState) -> gan.GANState:
    """The states at the last record, of those at every record [runs, records, ...]."""
    return jax.tree.map(lambda leaf: leaf[:, -1], states)


def run_on(
    engine: str, arrays: dict[str, np.ndarray], dtype: type = np.float32
) -> tuple[gan.GANState, gan.History]:
    """The states at every record and the histories of runs on an engine, [runs, records, ...].

    The engine takes one step at a time, since it would draw its own samples for several.
    """
    device = jax.devices()[0]
    block = ENGINES[engine].block(device.platform)
    runs, steps, units = arrays["samples"].shape

    def widen(lanes):
        return jnp.concatenate([lanes] * (block // runs), axis=-1)

    def advance(lane, real, setup, first_step, **options):
        carry, record = train_record(
            Carry(lane.state, lane.record.losses),
            first_step,
            batch_at=lambda step: gan.Batch(real, setup.game.latent.center),
            setup=setup,
            steps=1,
            **options,
        )
        return lane._replace(state=carry.state, record=record)

    one_step = ENGINES[engine].build_loop(
        advance, partial(observe, kept=0), jnp.arange(1, dtype=jnp.int32), device
    )
    live = np.ones(block, bool)
    setup = jax.tree.map(lambda x: jnp.full(block, x, dtype), gan.Setup())

    @partial(jax.jit, compiler_options=compiler_options(device.platform))
    def train(states, samples):
        lanes, _ = init_block(np.zeros(block, np.uint32), setup)

        def step(lanes, real):
            return one_step(lanes, widen(real), setup, live)[0], None

        def to_record(lanes, reals):
            lanes, _ = jax.lax.scan(step, lanes, reals)
            return lanes, jax.tree.map(lambda leaf: leaf[..., :runs], (lanes.state, lanes.record))

        _, records = jax.lax.scan(to_record, lanes._replace(state=states), samples)
        return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -1, 0), records)

    states = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1), first_states(arrays, dtype))
    samples = np.moveaxis(arrays["samples"].astype(dtype), 0, -1)
    return train(jax.tree.map(widen, states), samples.reshape(steps // 10, 10, units, runs))


# In distribution


def compare_populations(
    ours: Mapping[str, np.ndarray], pytorchs: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """The p-value of every test that two populations are of one distribution, by name.

    Two-sample Kolmogorov–Smirnov for measured columns, where a seed that never settled did so
    after all others; Fisher's exact test for counts.
    """

    def p_value(name):
        pair = [np.asarray(columns[name]) for columns in (ours, pytorchs)]
        if name in COUNTED:
            return stats.fisher_exact([[x.sum(), (~x).sum()] for x in pair]).pvalue
        if name == "settled_step":
            pair = [np.where(x < 0, np.inf, x) for x in pair]
        return stats.ks_2samp(*pair, nan_policy="raise").pvalue

    return {name: float(p_value(name)) for name in (*MEASURED, "settled_step", *COUNTED)}


if __name__ == "__main__":
    run(main, options)
