"""The compiled program that runs a block of seeds on every local device.

A block is the fixed number of lanes that an engine runs together; each device takes one, so that a
seed goes through the same machine code on one device or on eight.
"""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from gan1010_jax.convergence import Verdict, conclude
from gan1010_jax.engines import (
    Engine,
    Lane,
    Observed,
    build_init,
    build_loop,
    compiler_options,
    fit_block,
    init_block,
    list_engines,
    observe,
    properties,
    use_engine,
)
from gan1010_jax.gan import Setup
from gan1010_jax.population.executables import Source, load_or_compile
from gan1010_jax.population.settings import KEPT_HISTORIES, RunSettings, count_kept
from gan1010_jax.population.tables import Results
from gan1010_jax.training import History, record_columns

_Result = TypeVar("_Result")

# Steps of one seed whose training in a program that keeps no history saves the time that this
# program takes to compile.
_WORTH_COMPILING = 2e9
# Bytes of the histories of a block.
_MUCH_MEMORY = 2**26


class _DeviceResults(NamedTuple):
    """The results of one device.

    Attributes:
      verdict: each leaf [block].
      last: the last record, each leaf [..., block].
      before: what was observed before each record, each leaf [records, ...].
      at_end: what is observed of the last record.
    """

    verdict: Verdict
    last: History
    before: Observed
    at_end: Observed


class Program(NamedTuple):
    """A compiled engine.

    Attributes:
      engine: the engine.
      devices: how many devices it runs on.
      block: how many seeds each of them runs together.
      init: maps seeds and a setup, each leaf [devices, block], to lanes and data keys.
      loops: by how many of the first lanes of a device are kept, a function of lanes, data keys,
        the setup and which lanes are live, each leaf [devices, ..., block], to `_DeviceResults` of
        [devices, ...].
    """

    engine: Engine
    devices: int
    block: int
    init: Callable[..., Any]
    loops: dict[int, Callable[..., _DeviceResults]]

    @property
    def width(self) -> int:
        """How many seeds it runs together."""
        return self.devices * self.block


def run_program(
    settings: RunSettings,
    run: Callable[[Program], _Result],
    can_change: Callable[[], bool] = lambda: True,
) -> _Result:
    """Compile the engine of a run, run the program, and return the result.

    See `list_engines` for what `"auto"` takes, and `use_engine` for what happens on a failure.
    """
    setup, devices = settings.float_setup, tuple(jax.local_devices())
    device = devices[0]
    structure = jax.tree.structure(setup)
    lane, _ = _one_lane(structure, settings.dtype)
    parameters = sum(leaf.size for leaf in jax.tree.leaves([x.params for x in lane.state]))

    def count_bytes(tree: Any) -> int:
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))

    history = count_bytes(lane.record) * len(settings.record_steps)

    def compile_with(engine: Engine) -> Program:
        return _compile_program(
            engine,
            structure=structure,
            steps=settings.steps,
            record_every=settings.record_every,
            kept=_kept_lanes(settings, engine.block(device.platform), history),
            dtype=settings.dtype,
            partitionable=jax.config.jax_threefry_partitionable,
            devices=devices,
        )

    engines, reason = list_engines(
        settings.engine, device, parameters, settings.rows, settings.steps
    )
    histories = history * count_kept(settings, range(settings.rows))
    engines = [fit_block(engine, device, count_bytes(lane), histories) for engine in engines]
    return use_engine(engines, reason, device.platform, compile_with, run, can_change)


def _kept_lanes(settings: RunSettings, block: int, history: int) -> tuple[int, ...]:
    """Of how many of a device's lanes each program of a run keeps the `history`, of so many bytes.

    The first rows need a program that keeps theirs: the same for any number of them, unless that
    takes much memory. The others run faster and in less memory in one that keeps none, if they are
    enough to be worth its compilation.
    """
    kept = count_kept(settings, range(settings.rows))
    if not kept:
        return (0,)
    most = min(block, KEPT_HISTORIES)
    if most * history > _MUCH_MEMORY:
        most = min(most, 2 ** (kept - 1).bit_length())
    others = (settings.rows - kept) * settings.steps
    return (most, 0) if others > _WORTH_COMPILING else (most,)


@functools.lru_cache(maxsize=64)
def _one_lane(structure: jax.tree_util.PyTreeDef, dtype: str) -> Any:
    """The `jax.ShapeDtypeStruct`s of `init_block`'s results for one seed."""
    leaves = [np.zeros(1, dtype)] * structure.num_leaves
    return jax.eval_shape(init_block, np.zeros(1, np.uint32), jax.tree.unflatten(structure, leaves))


@functools.lru_cache(maxsize=64)
def _compile_program(
    engine: Engine,
    structure: jax.tree_util.PyTreeDef,
    steps: int,
    record_every: int,
    kept: tuple[int, ...],
    dtype: str,
    partitionable: bool,
    devices: tuple[jax.Device, ...],
) -> Program:
    """The programs that train and judge a block of a `Setup`'s structure on every device.

    They are the initialiser and, for each number of lanes whose history is kept, a loop. Each is
    loaded if it was kept on the disk; the others are compiled, all at the same time, and kept.
    Whether Threefry is `partitionable` is JAX's own setting, which tells compiled programs apart.
    """
    device = devices[0]
    block = engine.block(device.platform)

    def run_and_judge(kept, lanes, data_keys, setup, live):
        loop = build_loop(engine, steps, record_every, kept, device)
        lanes, before = loop(lanes, data_keys, setup, live)
        return _conclude(lanes, before, live, kept)

    mesh, one_each = Mesh(devices, ("devices",)), P("devices")

    def on_each_device(fn, name):
        """`fn` on every device, with arguments and results stacked along a first axis."""

        def one(*args):
            results = fn(*jax.tree.map(lambda leaf: leaf[0], args))
            return jax.tree.map(lambda leaf: leaf[None], results)

        one.__name__ = name
        # `check_vma` needs the axes over which values vary, and the kernels do not declare them.
        every = jax.shard_map(
            one, mesh=mesh, in_specs=one_each, out_specs=one_each, check_vma=False
        )
        sharding = NamedSharding(mesh, one_each)
        options = {"compiler_options": compiler_options(device.platform)}
        return jax.jit(every, in_shardings=sharding, out_shardings=sharding, **options)

    def lanes(dtype):
        return jax.ShapeDtypeStruct((len(devices), block), dtype)

    seeds, live = lanes(np.uint32), lanes(np.bool_)
    setup = jax.tree.unflatten(structure, [lanes(dtype)] * structure.num_leaves)
    starts = jax.tree.map(
        lambda one: jax.ShapeDtypeStruct((len(devices), *one.shape[:-1], block), one.dtype),
        _one_lane(structure, dtype),
    )
    before = Observed(counts=0, kept=starts[0].record)
    results = _DeviceResults(Verdict(*Verdict._fields), starts[0].record, before, before)
    facts = {"block": block, "dtype": dtype, "partitionable": partitionable}
    of_loop = {**facts, "engine": engine.name, "steps": steps, "record_every": record_every}
    sources = [
        Source(
            partial(on_each_device, partial(run_and_judge, number)),
            (*starts, setup, live),
            results,
            of_loop | {"kept": number},
            engine.build_loop,
        )
        for number in kept
    ]
    init = partial(on_each_device, build_init(setup, block, device))
    # Last, since it compiles in less time than a loop.
    sources.append(Source(init, (seeds, setup), starts, facts, init_block))
    *loops, init = load_or_compile(sources, setup, devices)
    return Program(engine, len(devices), block, init, dict(zip(kept, loops)))


def _conclude(lanes: Lane, before: Observed, live: jax.Array, kept: int) -> _DeviceResults:
    """The results of a block of lanes after their last record."""
    verdict = conclude(lanes.marks, lanes.record)
    return _DeviceResults(verdict, lanes.record, before, observe(lanes.record, live, kept))


def run_block(program: Program, seeds: np.ndarray, setup: Setup, kept: int) -> Results:
    """Run up to `program.width` rows, and keep the history of the first `kept`.

    The seeds, and each leaf of the setup, are [rows]. Padding lanes repeat the last row; their
    results are discarded.
    """
    live = np.arange(program.width) < len(seeds)

    def fill(lanes: Any) -> np.ndarray:
        filled = np.pad(lanes, (0, program.width - len(seeds)), mode="edge")
        return filled.reshape(program.devices, -1)

    setup = jax.tree.map(fill, setup)
    loop = program.loops[(max if kept else min)(program.loops)]
    lanes, data_keys = program.init(fill(seeds), setup)
    results = loop(lanes, data_keys, setup, live.reshape(program.devices, -1))
    return _to_host(results, seeds, kept)


def _to_host(results: _DeviceResults, seeds: np.ndarray, kept: int) -> Results:
    """The results of every device for its first lanes, side by side; each array is [devices, ...].

    Of histories, those of the lanes that are kept are copied, of every device.
    """
    before, at_end = results.before, results.at_end

    def rows(leaf: np.ndarray) -> np.ndarray:
        return np.concatenate(leaf, axis=-1)[..., : len(seeds)]

    def add_last(before: jax.Array, last: jax.Array) -> np.ndarray:
        """Records [kept, records, ...], from those before each one and the last."""
        before, last = (np.moveaxis(np.asarray(leaf), -1, 1) for leaf in (before, last))
        history = np.empty(before.shape, before.dtype)
        history[:, :, :-1], history[:, :, -1] = before[:, :, 1:], last
        return history.reshape(-1, *history.shape[2:])[:kept]

    copied = results.verdict, results.last, before.counts, at_end.counts
    verdict, last, counts, at_last = jax.device_get(copied)
    verdict, last = jax.tree.map(rows, (verdict, last))
    last = last._replace(output=last.output.T)
    counts = np.concatenate([counts[:, 1:], at_last[:, None]], axis=1)
    measured = {
        name: column for name, column in record_columns(last).items() if name not in History._fields
    }
    return Results(
        columns={"seed": seeds, **verdict._asdict(), **measured},
        curves=dict(zip(properties(last), counts.sum(axis=0).T)),
        history=jax.tree.map(add_last, before.kept, at_end.kept) if kept else None,
    )


def no_results(settings: RunSettings) -> Results:
    """The results of no rows, the history included: every name, dtype and unit, and no number."""
    records = len(settings.record_steps)

    def run_one_lane(seeds, setup):
        lanes, _ = init_block(seeds, setup)
        live = jnp.ones(1, bool)

        def repeat(leaf):
            return jnp.broadcast_to(leaf, (records, *leaf.shape))

        before = jax.tree.map(repeat, observe(lanes.record, live, 1))
        return _conclude(lanes, before, live, 1)

    seeds = np.zeros(1, np.uint32)
    setup = jax.tree.map(lambda leaf: np.zeros(1, leaf.dtype), settings.float_setup)
    shapes = jax.eval_shape(run_one_lane, seeds, setup)
    results = jax.tree.map(lambda leaf: np.zeros((1, *leaf.shape), leaf.dtype), shapes)
    one = _to_host(results, seeds, kept=1)
    columns = {name: column[:0] for name, column in one.columns.items()}
    return one._replace(columns=columns, history=jax.tree.map(lambda leaf: leaf[:0], one.history))
