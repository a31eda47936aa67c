"""The Pallas engine: each record of a block is one kernel of an accelerator."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas

from gan1010_jax.engines.scalarize import (
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
    advance: Callable, observe: Callable, first_steps: jax.Array, platform: str
) -> Callable:
    """A `lax.scan` of a function of one lane, each call of it on lanes a Pallas kernel.

    The kernel is elementwise: it loads the lanes into registers, takes the steps to the next
    record, and stores the lanes in the place of the old ones. On a Hopper GPU a warpgroup has 128
    lanes, one for each thread; on a TPU a tile is 8 sublanes × 128 lanes. On a CPU it runs in
    Pallas' interpreter, for tests.
    """
    tile = (128,) if platform == "gpu" else (8, 128)

    def loop(lanes, data_keys, setup, live):
        def advance_one(lane, data_key, setup):  # a record's step leads to the next
            return advance(lane, data_key, setup, lane.record.step)

        advance_lanes = scalarize(advance_one, *one_lane((lanes, data_keys, setup)))
        lanes, *constants = to_lanes((lanes, data_keys, setup))
        lane_packing, constant_packing = _Packing(lanes), _Packing(constants)
        packed_constants = constant_packing.pack(constants, tile)

        def kernel(lane_refs, constant_refs, result_refs, place):
            lanes = lane_packing.unpack(lambda array, i: lane_refs[array][i, *place])
            constants = constant_packing.unpack(lambda array, i: constant_refs[array][i, *place])
            for (array, i), result in lane_packing.places(advance_lanes(lanes, *constants)):
                result_refs[array][i, *place] = result

        def unpack(packed):
            return lane_packing.unpack(lambda array, i: packed[array][i].reshape(-1))

        def step(packed, _):
            observed = observe(unpack(packed).record, live)
            observed = observed._replace(kept=from_lanes(observed.kept))
            return _call(kernel, packed, packed_constants, tile, platform), observed

        packed, before = lax.scan(step, lane_packing.pack(lanes, tile), first_steps)
        return from_lanes(unpack(packed)), before

    return loop


class _Packing:
    """The places of a pytree's lane vectors in a few arrays, one for each type of memory.

    A kernel of few arrays has few addresses to compute. Booleans are stored as integers.
    """

    def __init__(self, tree: Any):
        """The places of the vectors of a pytree like this one."""
        leaves, self._treedef = jax.tree.flatten(tree)
        self._dtypes = [leaf.dtype for leaf in leaves]
        stored = [jnp.dtype(jnp.int32) if x == np.bool_ else x for x in self._dtypes]
        self._stored = list(dict.fromkeys(stored))
        self._places = [
            (self._stored.index(dtype), stored[:i].count(dtype)) for i, dtype in enumerate(stored)
        ]

    def places(self, tree: Any) -> list[tuple[tuple[int, int], jax.Array]]:
        """Each vector with its place, an array and an index on its first axis; as it is stored."""
        return [
            ((array, i), leaf.astype(self._stored[array]))
            for (array, i), leaf in zip(self._places, jax.tree.leaves(tree))
        ]

    def pack(self, tree: Any, tile: tuple[int, ...]) -> tuple[jax.Array, ...]:
        """The vectors [lanes] of a pytree, in arrays [vectors, ..., *tile[1:]]."""
        rows: list[list[jax.Array]] = [[] for _ in self._stored]
        for (array, _), leaf in self.places(tree):
            rows[array].append(leaf.reshape(-1, *tile[1:]))
        return tuple(map(jnp.stack, rows))

    def unpack(self, read: Callable[[int, int], jax.Array]) -> Any:
        """The pytree of what a function reads at each place."""
        stored = [read(*place) for place in self._places]
        leaves = [x != 0 if dtype == np.bool_ else x for x, dtype in zip(stored, self._dtypes)]
        return jax.tree.unflatten(self._treedef, leaves)


def _call(
    kernel: Callable,
    lanes: Sequence[jax.Array],
    constants: Sequence[jax.Array],
    tile: tuple[int, ...],
    platform: str,
) -> tuple[jax.Array, ...]:
    """Call a kernel tile by tile: the next lanes."""
    shapes = [jax.ShapeDtypeStruct(lane.shape, lane.dtype) for lane in lanes]
    grid, count = (lanes[0].shape[1] // tile[0],), len(lanes)

    def body(*refs, place=(...,)):
        kernel(refs[:count], refs[count:-count], refs[-count:], place)

    if platform == "gpu":  # each warpgroup takes its tile of whole arrays in device memory
        from jax.experimental.pallas import mosaic_gpu  # not everywhere, and slow to import

        def tile_body(*refs):
            body(*refs, place=(pallas.ds(lax.axis_index("tiles") * tile[0], tile[0]),))

        call = mosaic_gpu.kernel(tile_body, out_type=shapes, grid=grid, grid_names=("tiles",))
        return tuple(call(*lanes, *constants))

    def spec(array):
        return pallas.BlockSpec((len(array), *tile), lambda i: (0, i, *[0] * (len(tile) - 1)))

    call = pallas.pallas_call(
        body,
        out_shape=shapes,
        grid=grid,
        in_specs=[spec(array) for array in (*lanes, *constants)],
        out_specs=[spec(array) for array in lanes],
        input_output_aliases={i: i for i in range(count)},
        interpret=platform == "cpu",
    )
    return tuple(call(*lanes, *constants))
