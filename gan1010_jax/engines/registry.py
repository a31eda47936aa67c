"""How a block of seeds is run.

Every engine runs the same pure functions, `start` and `train_record`, on a block of seeds of its
own fixed width. The width is fixed so that a seed goes through the same machine code whatever the
size of its population, and its row is the same to the bit.

On two cores of an Intel Xeon with AVX-512, at 16,384 seeds, `fused` does 119 million seed-steps a
second, 31 times `jit(vmap(scan))` and 33,000 times the reference in PyTorch in the same run of
`experiments/benchmark.py`; `experiments/benchmark.md` has what was tried.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas

from gan1010_jax.errors import InvalidArgument
from gan1010_jax.games import Game
from gan1010_jax.methods import Method
from gan1010_jax.outline import call_kernel, outline
from gan1010_jax.scalarize import Lanes, arrange, from_lanes, scalarize, to_lanes
from gan1010_jax.training import History, Run, start, train_record
from gan1010_jax.updates import draw_batch

# (run, data key, hyperparameters, first step) -> run and its next record, all of one seed
Record = Callable[..., tuple[Run, History]]

PALLAS_SHIFTS_ON_GPU = jax.__version_info__ >= (0, 10)


class Engine(NamedTuple):
    """A way to run a block of seeds.

    Attributes:
      name: what `engine=` calls it.
      loop: `(record, first_steps)` to a function of the runs, data keys and hyperparameters of a
        block, each leaf [..., block], to the runs at the end and the histories, likewise.
      cpu_block: how many seeds it runs together on a CPU.
      accelerator_block: how many on a GPU or a TPU.
    """

    name: str
    loop: Callable[[Record, jax.Array], Callable]
    cpu_block: int
    accelerator_block: int

    @property
    def block(self) -> int:
        """How many seeds it runs together on the platform at hand."""
        return self.cpu_block if jax.default_backend() == "cpu" else self.accelerator_block


def start_block(game: Game, method: Method) -> Callable:
    """What starts a block: seeds uint32 [block] and hyperparameters [block] to runs and keys."""

    def start_seed(seed, hyperparams):
        # Named, since the engines count on it: with another generator, a lane's draws may depend
        # on its place in the block.
        return start(jax.random.key(seed, impl="threefry2x32"), game, method, hyperparams)

    return jax.vmap(start_seed, out_axes=-1)


def loop_block(
    engine: Engine, game: Game, method: Method, steps: int, record_every: int
) -> Callable:
    """What runs a block: runs, keys and hyperparameters to runs at the end and histories."""

    def record(run, data_key, hyperparams, first_step):
        batch_at = partial(draw_batch, data_key, game, method, hyperparams)
        return train_record(run, batch_at, first_step, game, method, hyperparams, record_every)

    return engine.loop(record, jnp.arange(0, steps, record_every, dtype=jnp.int32))


def vmap_loop(record: Record, first_steps: jax.Array) -> Callable:
    """The plain engine: `vmap` of a `lax.scan`."""

    def loop(run, data_key, hyperparams):
        def step(run, first_step):
            return record(run, data_key, hyperparams, first_step)

        return lax.scan(step, run, first_steps)

    return jax.vmap(loop, in_axes=-1, out_axes=-1)


def fused_loop(record: Record, first_steps: jax.Array) -> Callable:
    """A `lax.scan` of the record on lanes; on a CPU, all of it one kernel."""

    def loop(*block):
        record_on_lanes = scalarize(record, *one_lane(block), first_steps[0])

        def scan(runs, data_keys, hyperparams):
            def step(runs, first_step):
                return record_on_lanes(runs, data_keys, hyperparams, first_step)

            return lax.scan(step, runs, first_steps)

        lanes = to_lanes(block)
        if jax.default_backend() == "cpu":
            return from_lanes(call_kernel(outline(scan), *lanes))
        return from_lanes(scan(*lanes))

    return loop


def pallas_loop(record: Record, first_steps: jax.Array, platform: str | None = None) -> Callable:
    """A `lax.scan` of the record on lanes, each record a Pallas kernel.

    The kernel is elementwise: it loads the lanes' states into registers, takes the steps, and
    stores states and records. On a Hopper GPU a warpgroup has 128 lanes, one for each thread; on
    a TPU a tile is 8×128 lanes. On a CPU it runs in Pallas' interpreter, for tests.
    """
    platform = platform or jax.default_backend()
    tile = (128,) if platform == "gpu" else (8, 128)

    def loop(*block):
        record_on_lanes = scalarize(record, *one_lane(block), first_steps[0])
        lanes = to_lanes(block)
        (width,) = jax.tree.leaves(lanes)[0].shape
        runs, *constants = jax.tree.map(lambda lane: lane.reshape(-1, *tile[1:]), lanes)

        def step(runs, first_step):
            first_steps = lax.full_like(jax.tree.leaves(runs)[0], first_step, jnp.int32)
            inputs = (runs, *constants, Lanes(arrange([first_steps], ())))
            return call_elementwise(record_on_lanes, inputs, tile, platform)

        results = lax.scan(step, runs, first_steps)
        return from_lanes(jax.tree.map(lambda x: x.reshape(*x.shape[: -len(tile)], width), results))

    return loop


def call_elementwise(fn: Callable, args: Any, tile: tuple[int, ...], platform: str) -> Any:
    """Call a function of pytrees of lane vectors tile by tile, in a Pallas kernel."""
    inputs, treedef = jax.tree.flatten(args)
    outputs = jax.eval_shape(fn, *args)
    # A kernel stores numbers: booleans go as integers.
    stored = [
        jax.ShapeDtypeStruct(x.shape, jnp.int32 if x.dtype == bool else x.dtype)
        for x in jax.tree.leaves(outputs)
    ]
    grid = (inputs[0].shape[0] // tile[0],)

    def kernel(*refs, place=...):
        values = [ref[place] for ref in refs[: len(inputs)]]
        results = jax.tree.leaves(fn(*jax.tree.unflatten(treedef, values)))
        for ref, result in zip(refs[len(inputs) :], results):
            ref[place] = result.astype(ref.dtype)

    if platform == "gpu":
        results = call_on_gpu(kernel, inputs, stored, grid, tile)
    else:
        spec = pallas.BlockSpec(tile, lambda i: (i, *[0] * (len(tile) - 1)))
        results = pallas.pallas_call(
            kernel,
            out_shape=stored,
            grid=grid,
            in_specs=[spec] * len(inputs),
            out_specs=[spec] * len(stored),
            interpret=platform == "cpu",
        )(*inputs)
    return jax.tree.map(
        lambda shape, result: result.astype(shape.dtype),
        outputs,
        jax.tree.unflatten(jax.tree.structure(outputs), results),
    )


def call_on_gpu(
    kernel: Callable,
    inputs: Sequence[jax.Array],
    stored: Sequence[jax.ShapeDtypeStruct],
    grid: tuple[int, ...],
    tile: tuple[int, ...],
) -> Sequence[jax.Array]:
    """Call a kernel of whole arrays in device memory, each warpgroup taking its tile of them."""
    from jax.experimental.pallas import mosaic_gpu  # not everywhere, and slow to import

    def body(*refs):
        place = pallas.ds(lax.axis_index("tiles") * tile[0], tile[0])
        kernel(*refs, place=place)

    call = mosaic_gpu.kernel(body, out_type=stored, grid=grid, grid_names=("tiles",))
    return call(*inputs)


def one_lane(tree: Any) -> Any:
    """The shapes of a pytree [..., lanes] in one lane."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[:-1], leaf.dtype), tree)


# On a CPU, kernels of 96 to 512 lanes are as fast, and the wider a block, the less often Python has
# to see to it; beyond that, XLA shares loops between threads (see `call_kernel`). The widths for
# accelerators are not measured yet: enough lanes for every core of a large one.
ENGINES = {
    engine.name: engine
    for engine in [
        Engine("vmap", vmap_loop, cpu_block=128, accelerator_block=16_384),
        Engine("fused", fused_loop, cpu_block=256, accelerator_block=65_536),
        Engine("pallas", pallas_loop, cpu_block=1024, accelerator_block=65_536),
    ]
}


def choose_engine(name: str) -> Engine:
    """The engine of a name; `"auto"` takes the fastest that this machine has.

    That is `pallas` on a TPU and on a GPU from NVIDIA's Hopper on, and `fused` elsewhere.

    Raises:
      InvalidArgument: (a `ValueError`) for a name that is none of them.
    """
    choices = ("auto", *ENGINES)
    if not isinstance(name, str) or name not in choices:
        raise InvalidArgument("engine", name, f"one of {', '.join(choices)}")
    if name == "auto":
        name = "pallas" if has_pallas(jax.devices()[0]) else "fused"
    return ENGINES[name]


def has_pallas(device: jax.Device) -> bool:
    """Whether Pallas compiles for a device: a TPU, or an NVIDIA GPU from Hopper (9.0) on.

    For a GPU it takes JAX 0.10, the first whose Pallas shifts integers there.
    """
    capability = re.fullmatch(r"(\d+)\.\d+", getattr(device, "compute_capability", ""))
    is_hopper = capability is not None and int(capability[1]) >= 9
    return device.platform == "tpu" or (is_hopper and PALLAS_SHIFTS_ON_GPU)


def compiler_options() -> dict[str, int]:
    """What to ask of XLA beyond its defaults, on the platform at hand.

    On CPU, LLVM's level 2 compiles the reference in two thirds of the time of the default, 3, and
    the program is as fast. Vectors as wide as the processor's registers are, which LLVM prefers
    not to use on its own, are half as fast again.
    """
    if jax.default_backend() != "cpu":
        return {}
    found = set(np.show_config(mode="dicts")["SIMD Extensions"]["found"])
    wide = {"xla_cpu_prefer_vector_width": 512} if found & {"AVX512F", "X86_V4"} else {}
    return {"xla_backend_optimization_level": 2, **wide}
