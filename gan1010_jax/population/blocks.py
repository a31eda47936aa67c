"""The compiled program that runs a block of seeds on every local device.

A block is the fixed number of lanes that an engine runs together; each device takes one, so that a
seed goes through the same machine code on one device or on eight.
"""

import functools
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
    Engine,
    build_loop,
    compile_with_fallback,
    compiler_options,
    init_block,
)
from gan1010_jax.gan import Setup, seed_key
from gan1010_jax.population.settings import RunSettings
from gan1010_jax.population.tables import Results, record_columns
from gan1010_jax.training import History, init_carry, make_record


class _DeviceResults(NamedTuple):
    """The results of one device: each leaf [..., block], but curves [records]."""

    history: History
    last: History
    verdict: Verdict
    curves: dict[str, jax.Array]


class Program(NamedTuple):
    """A compiled engine.

    Attributes:
      engine: the engine.
      devices: how many devices it runs on.
      run: maps seeds, which of the lanes count, and a setup, each leaf [devices, block], to
        `_DeviceResults` of [devices, ...].
    """

    engine: Engine
    devices: int
    run: Callable[..., _DeviceResults]

    @property
    def width(self) -> int:
        """How many seeds it runs together."""
        return self.devices * self.engine.block


def compile_run(settings: RunSettings) -> Program:
    """Compile the engine of a run; `"auto"` falls back to a supported engine."""
    setup = settings.float_setup
    compile_with = functools.partial(
        _compile_program,
        structure=jax.tree.structure(setup),
        steps=settings.steps,
        record_every=settings.record_every,
        dtype=settings.dtype,
        partitionable=jax.config.jax_threefry_partitionable,
    )
    return compile_with_fallback(settings.engine, setup, compile_with)


@functools.lru_cache(maxsize=64)
def _compile_program(
    engine: Engine,
    structure: jax.tree_util.PyTreeDef,
    steps: int,
    record_every: int,
    dtype: str,
    partitionable: bool,
) -> Program:
    """Compile the program that runs and judges a block of a `Setup`'s structure on every device.

    It is two programs, the initialiser and the loop, which are compiled at the same time. Whether
    Threefry is `partitionable` is JAX's own setting, which tells kept programs apart.
    """
    loop = build_loop(engine, steps, record_every)

    def run_and_judge(carries, data_keys, live, setup):
        _, history = loop(carries, data_keys, setup)
        return _judge_block(history, live)

    devices = jax.local_devices()
    mesh, one_each = Mesh(devices, ("devices",)), P("devices")

    def on_each_device(fn):
        """`fn` on every device, with arguments and results stacked along a first axis."""

        def one(*args):
            results = fn(*jax.tree.map(lambda leaf: leaf[0], args))
            return jax.tree.map(lambda leaf: leaf[None], results)

        # `check_vma` needs the axes over which values vary, and the kernels do not declare them.
        every = jax.shard_map(
            one, mesh=mesh, in_specs=one_each, out_specs=one_each, check_vma=False
        )
        sharding = NamedSharding(mesh, one_each)
        options = {"compiler_options": compiler_options()}
        return jax.jit(every, in_shardings=sharding, out_shardings=sharding, **options)

    def lanes(dtype):
        return jax.ShapeDtypeStruct((len(devices), engine.block), dtype)

    seeds, live = lanes(np.uint32), lanes(np.bool_)
    setup = jax.tree.unflatten(structure, [lanes(dtype)] * structure.num_leaves)
    init_devices, run_devices = on_each_device(init_block), on_each_device(run_and_judge)
    carries, data_keys = jax.eval_shape(init_devices, seeds, setup)
    lowered = (
        init_devices.lower(seeds, setup),
        run_devices.lower(carries, data_keys, live, setup),
    )
    with ThreadPoolExecutor(2) as pool:
        init_program, loop_program = pool.map(lambda program: program.compile(), lowered)

    def run(seeds, live, setup):
        carries, data_keys = init_program(seeds, setup)
        return loop_program(carries, data_keys, live, setup)

    return Program(engine, len(devices), run)


def _judge_block(history: History, live: jax.Array) -> _DeviceResults:
    """The results of a block [..., block], in which these lanes [block] count."""
    return _DeviceResults(
        history=history,
        last=jax.tree.map(lambda leaf: leaf[-1], history),
        verdict=jax.vmap(judge, in_axes=-1)(history),
        curves={
            name: jnp.sum(flags & live[None], axis=-1)
            for name, flags in properties(history).items()
        },
    )


def properties(history: History) -> dict[str, jax.Array]:
    """The properties of a record that curves count: every test of the history, and divergence."""
    leaves = history._asdict().items()
    flags = {name: leaf for name, leaf in leaves if getattr(leaf, "dtype", None) == np.bool_}
    diverged = ~flags.pop("finite")
    return {**flags, "diverged": diverged}


def run_block(program: Program, seeds: np.ndarray, setup: Setup, kept: int) -> Results:
    """Run up to `program.width` rows, and keep the history of the first `kept`.

    The seeds, and each leaf of the setup, are [rows]. Padding lanes repeat the last row; their
    results are discarded.
    """
    live = np.arange(program.width) < len(seeds)

    def fill(lanes: Any) -> np.ndarray:
        filled = np.pad(lanes, (0, program.width - len(seeds)), mode="edge")
        return filled.reshape(program.devices, -1)

    results = program.run(fill(seeds), live.reshape(program.devices, -1), jax.tree.map(fill, setup))
    return _to_host(results, seeds, kept)


def _to_host(results: _DeviceResults, seeds: np.ndarray, kept: int) -> Results:
    """The results of every device for its first lanes, side by side."""

    def first_lanes(results: Any, lanes: int) -> Any:
        """The first lanes of all devices, on the first axis: [lanes, ...]."""
        return jax.tree.map(
            lambda leaf: np.moveaxis(np.concatenate(leaf, axis=-1)[..., :lanes].copy(), -1, 0),
            jax.device_get(results),
        )

    verdict, last = first_lanes((results.verdict, results.last), len(seeds))
    measured = {
        name: column for name, column in record_columns(last).items() if name not in History._fields
    }
    return Results(
        columns={"seed": seeds, **verdict._asdict(), **measured},
        curves={name: curve.sum(axis=0) for name, curve in jax.device_get(results.curves).items()},
        history=first_lanes(results.history, kept) if kept else None,
    )


def no_results(settings: RunSettings) -> Results:
    """The results of no rows, the history included: every name, dtype and unit, and no number."""

    records = len(settings.record_steps)

    def run_one_lane(key):
        def repeat(leaf):
            return jnp.broadcast_to(leaf[..., None], (records, *leaf.shape, 1))

        carry, _ = init_carry(key, settings.float_setup)
        record = make_record(carry, np.int32(0), settings.setup)
        return _judge_block(jax.tree.map(repeat, record), jnp.ones(1, bool))

    shapes = jax.eval_shape(run_one_lane, seed_key(0))
    results = jax.tree.map(lambda leaf: np.zeros((1, *leaf.shape), leaf.dtype), shapes)
    one = _to_host(results, np.zeros(1, np.uint32), kept=1)
    columns = {name: column[:0] for name, column in one.columns.items()}
    return one._replace(columns=columns, history=jax.tree.map(lambda leaf: leaf[:0], one.history))
