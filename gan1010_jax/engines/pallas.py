"""The Pallas engine: each record of a block is one kernel of an accelerator."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas

from gan1010_jax.engines.arithmetic import ON_GPU, substitute
from gan1010_jax.engines.scalarize import (
    Lanes,
    arrange,
    from_lanes,
    one_lane,
    scalarize,
    to_lanes,
)

SHIFTS_ON_GPU = jax.__version_info__ >= (0, 10)


def has_pallas(device: jax.Device) -> bool:
    """Whether Pallas compiles for a device: a TPU, or an NVIDIA GPU from Hopper (9.0) on.

    A GPU needs JAX 0.10, the first whose Pallas shifts integers there.
    """
    capability = re.fullmatch(r"(\d+)\.\d+", getattr(device, "compute_capability", ""))
    is_hopper = capability is not None and int(capability[1]) >= 9
    return device.platform == "tpu" or (is_hopper and SHIFTS_ON_GPU)


def build_pallas_loop(
    record: Callable, first_steps: jax.Array, platform: str | None = None
) -> Callable:
    """A `lax.scan` of a function of one lane, each call of it on lanes a Pallas kernel.

    The kernel is elementwise: it loads the lanes' states into registers, takes the steps, and
    stores states and records. On a Hopper GPU a warpgroup has 128 lanes, one for each thread; on
    a TPU a tile is 8 sublanes × 128 lanes. On a CPU it runs in Pallas' interpreter, for tests.
    """
    platform = platform or jax.default_backend()
    tile = (128,) if platform == "gpu" else (8, 128)

    def loop(*block):
        record_on_lanes = scalarize(record, *one_lane(block), first_steps[0])
        if platform == "gpu":
            record_on_lanes = substitute(record_on_lanes, ON_GPU)
        lanes = to_lanes(block)
        (width,) = jax.tree.leaves(lanes)[0].shape
        carries, *constants = jax.tree.map(lambda lane: lane.reshape(-1, *tile[1:]), lanes)

        def step(carries, first_step):
            first_steps = lax.full_like(jax.tree.leaves(carries)[0], first_step, jnp.int32)
            inputs = (carries, *constants, Lanes(arrange([first_steps], ())))
            return _call_elementwise(record_on_lanes, inputs, tile, platform)

        results = lax.scan(step, carries, first_steps)
        return from_lanes(jax.tree.map(lambda x: x.reshape(*x.shape[: -len(tile)], width), results))

    return loop


def _call_elementwise(fn: Callable, args: Any, tile: tuple[int, ...], platform: str) -> Any:
    """Call a function of pytrees of lane vectors tile by tile, in a Pallas kernel."""
    inputs, treedef = jax.tree.flatten(args)
    outputs, out_tree = jax.tree.flatten(jax.eval_shape(fn, *args))
    # A kernel stores numbers: booleans are stored as integers.
    stored = [x.update(dtype=jnp.int32) if x.dtype == bool else x for x in outputs]
    grid = (inputs[0].shape[0] // tile[0],)

    def kernel(*refs, place=...):
        values = [ref[place] for ref in refs[: len(inputs)]]
        results = jax.tree.leaves(fn(*jax.tree.unflatten(treedef, values)))
        for ref, result in zip(refs[len(inputs) :], results):
            ref[place] = result.astype(ref.dtype)

    if platform == "gpu":  # each warpgroup takes its tile of whole arrays in device memory
        from jax.experimental.pallas import mosaic_gpu  # not everywhere, and slow to import

        def body(*refs):
            kernel(*refs, place=pallas.ds(lax.axis_index("tiles") * tile[0], tile[0]))

        call = mosaic_gpu.kernel(body, out_type=stored, grid=grid, grid_names=("tiles",))
    else:
        spec = pallas.BlockSpec(tile, lambda i: (i, *[0] * (len(tile) - 1)))
        call = pallas.pallas_call(
            kernel,
            out_shape=stored,
            grid=grid,
            in_specs=[spec] * len(inputs),
            out_specs=[spec] * len(stored),
            interpret=platform == "cpu",
        )
    results = [result.astype(x.dtype) for x, result in zip(outputs, call(*inputs))]
    return jax.tree.unflatten(out_tree, results)
