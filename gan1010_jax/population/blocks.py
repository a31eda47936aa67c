"""The compiled program that runs a block of seeds on every local device, and its results.

A block is as many seeds as an engine runs together; each device takes one, so that a seed goes
through the same machine code on one device or on eight.
"""

import functools
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from gan1010_jax.convergence import Verdict, judge
from gan1010_jax.engines import (
    ENGINES,
    Engine,
    choose_engine,
    compiler_options,
    loop_block,
    start_block,
)
from gan1010_jax.games import Game
from gan1010_jax.methods import Hyperparams, Method
from gan1010_jax.scalarize import UnsupportedPrimitive
from gan1010_jax.training import History
from gan1010_jax.updates import state_shapes
from gan1010_jax.version import enable_x64

# Each takes about 10 ms to compile on lanes, and gains the less the larger the products are.
MAX_PARAMETERS_ON_LANES = 300


class Block(NamedTuple):
    """The results of some seeds, on the host."""

    columns: dict[str, np.ndarray]  # [seeds]
    counts: dict[str, np.ndarray]  # [records]
    history: History | None  # of the seeds whose history is kept, [seeds, records, ...]


def join_blocks(blocks: list[Block]) -> Block:
    """Several blocks as one, in their order."""
    histories = [block.history for block in blocks if block.history is not None]
    return Block(
        columns={
            name: np.concatenate([block.columns[name] for block in blocks])
            for name in blocks[0].columns
        },
        counts={name: sum(block.counts[name] for block in blocks) for name in blocks[0].counts},
        history=join_histories(histories) if histories else None,
    )


def join_histories(histories: list[History]) -> History:
    """Several histories [seeds, ...] as one, in their order."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *histories)


class BlockResults(NamedTuple):
    """What one device gives: each leaf [..., block], but counts [records]."""

    history: History
    last: History
    verdict: Verdict
    counts: dict[str, jax.Array]


class Program(NamedTuple):
    """A compiled engine.

    Attributes:
      engine: which one.
      devices: how many devices it runs on.
      run: seeds, which of them count, and hyperparameters, each [devices, block], to
        `BlockResults` of [devices, ...].
    """

    engine: Engine
    devices: int
    run: Callable[..., BlockResults]

    @property
    def width(self) -> int:
        """How many seeds it runs together."""
        return self.devices * self.engine.block


def compile_engine(engine: str, game: Game, method: Method, *setting: Any) -> Program:
    """An engine by its name, compiled; `"auto"` settles for one that works."""
    chosen = choose_engine(engine)
    if engine != "auto":
        return compile_program(chosen, game, method, *setting)
    other, parameters = "vmap", count_parameters(game, method)
    if parameters > MAX_PARAMETERS_ON_LANES:
        reason = f"{parameters} parameters would take long to compile for the {chosen.name} engine"
    else:
        try:
            return compile_program(chosen, game, method, *setting)
        except UnsupportedPrimitive as error:
            reason = str(error)
        except NotImplementedError as error:  # Pallas lacks something that XLA has
            if chosen.name != "pallas":
                raise
            reason, other = str(error), "fused"
    warnings.warn(f"{reason}, so the {other} engine runs this", stacklevel=5)
    return compile_program(ENGINES[other], game, method, *setting)


def count_parameters(game: Game, method: Method) -> int:
    """How many parameters both players have."""
    players = state_shapes(game, method)
    return sum(leaf.size for player in players for leaf in jax.tree.leaves(player.params))


@functools.lru_cache(maxsize=64)
def compile_program(
    engine: Engine,
    game: Game,
    method: Method,
    steps: int,
    record_every: int,
    numbers: jax.tree_util.PyTreeDef,
    dtype: np.dtype,
) -> Program:
    """Compile what runs and judges a block on every device.

    The hyperparameters are those in the structure `numbers`, of `dtype`.

    It is two programs, what starts a block and the rest, that are compiled at the same time.
    """
    start, loop = start_block(game, method), loop_block(engine, game, method, steps, record_every)

    def run_and_judge(runs, data_keys, live, hyperparams):
        _, history = loop(runs, data_keys, hyperparams)
        successes = {
            "matched": history.matched,
            "in_support": history.in_support,
            "diverged": ~history.finite,
        }
        return BlockResults(
            history=history,
            last=jax.tree.map(lambda leaf: leaf[-1], history),
            verdict=jax.vmap(judge, in_axes=-1)(history),
            counts={name: jnp.sum(these & live, axis=-1) for name, these in successes.items()},
        )

    devices = jax.local_devices()
    mesh, one_each = Mesh(devices, ("devices",)), P("devices")

    def on_each_device(fn):
        """`fn` on every device, whose arguments and results are stacked along a first axis."""

        def one(*args):
            results = fn(*jax.tree.map(lambda leaf: leaf[0], args))
            return jax.tree.map(lambda leaf: leaf[None], results)

        # The kernels do not say over which axes they vary, which is what would be checked.
        every = jax.shard_map(
            one, mesh=mesh, in_specs=one_each, out_specs=one_each, check_vma=False
        )
        sharding = NamedSharding(mesh, one_each)
        options = {"compiler_options": compiler_options()}
        return jax.jit(every, in_shardings=sharding, out_shardings=sharding, **options)

    def lanes(dtype):
        return jax.ShapeDtypeStruct((len(devices), engine.block), dtype)

    seeds, live = lanes(np.uint32), lanes(np.bool_)
    hyperparams = jax.tree.unflatten(numbers, [lanes(dtype)] * numbers.num_leaves)
    start_devices, run_devices = on_each_device(start), on_each_device(run_and_judge)
    runs, data_keys = jax.eval_shape(start_devices, seeds, hyperparams)
    lowered = [
        start_devices.lower(seeds, hyperparams),
        run_devices.lower(runs, data_keys, live, hyperparams),
    ]
    with ThreadPoolExecutor(len(lowered)) as pool:
        start_program, loop_program = pool.map(lambda program: program.compile(), lowered)

    def run(seeds, live, hyperparams):
        runs, data_keys = start_program(seeds, hyperparams)
        return loop_program(runs, data_keys, live, hyperparams)

    return Program(engine, len(devices), run)


def train_block(program: Program, seeds: np.ndarray, hyperparams: Hyperparams, kept: int) -> Block:
    """Run up to `program.width` seeds, and keep the history of the first `kept`.

    Empty lanes repeat the last seed, and what they give is dropped.
    """
    live = np.arange(program.width) < len(seeds)

    def fill(lanes):
        filled = np.pad(lanes, (0, program.width - len(seeds)), mode="edge")
        return filled.reshape(program.devices, -1)

    results = program.run(
        fill(seeds), live.reshape(program.devices, -1), jax.tree.map(fill, hyperparams)
    )

    def first_lanes(results, lanes):
        """The lanes of all devices side by side, [..., seeds], and only the first of them."""
        return jax.tree.map(
            lambda leaf: np.concatenate(leaf, axis=-1)[..., :lanes].copy(), jax.device_get(results)
        )

    verdict, last = first_lanes((results.verdict, results.last), len(seeds))
    history = first_lanes(results.history, kept) if kept else None
    return Block(
        columns={
            "seed": seeds,
            **verdict._asdict(),
            **{f"output_{unit}": output for unit, output in enumerate(last.output)},
            "d_loss_real": last.losses.d_real,
            "d_loss_fake": last.losses.d_fake,
            "g_loss": last.losses.g,
        },
        counts={name: count.sum(axis=0) for name, count in jax.device_get(results.counts).items()},
        history=jax.tree.map(lambda leaf: np.moveaxis(leaf, -1, 0), history),
    )


def share_precision(fn: Callable) -> Callable:
    """The same function for other threads: in this one's x64 mode, which is each thread's own."""
    x64 = jax.config.jax_enable_x64

    @functools.wraps(fn)
    def call(*args):
        with enable_x64(x64):
            return fn(*args)

    return call


def count_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
