"""The Pallas engine: each record of a block is one kernel of an accelerator."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan1010_jax.engines.arithmetic import substitute, substitutes
from gan1010_jax.engines.scalarize import (
    from_lanes,
    one_lane,
    scalarize,
    to_lanes,
)

SHIFTS_ON_GPU = jax.__version_info__ >= (0, 10)

# The lanes that a kernel runs together. On a Hopper GPU a warpgroup has one lane in each of its 128
# threads. On a TPU a register has 8 sublanes × 128 lanes, and four of them for each value keep the
# vector units busy; `experiments/benchmark.md` has what the compilers made of others.
_TILES = {"cpu": (8, 128), "gpu": (128,), "tpu": (32, 128)}
# How many steps a loop takes in a row: on a TPU, its registers are copied once in so many.
_UNROLL = {"cpu": 1, "gpu": 1, "tpu": 5 if jax.__version_info__ >= (0, 10) else 1}


def has_pallas(device: jax.Device) -> bool:
    """Whether Pallas compiles for a device: a TPU, or an NVIDIA GPU from Hopper (9.0) on.

    A GPU needs JAX 0.10, the first whose Pallas shifts integers there.
    """
    capability = re.fullmatch(r"(\d+)\.\d+", getattr(device, "compute_capability", ""))
    is_hopper = capability is not None and int(capability[1]) >= 9
    return device.platform == "tpu" or (is_hopper and SHIFTS_ON_GPU)


def build_pallas_loop(
    advance: Callable, observe: Callable, first_steps: jax.Array, device: jax.Device
) -> Callable:
    """A `lax.scan` of a function of one lane, each call of it on lanes a Pallas kernel.

    The kernel is elementwise: it loads the lanes into registers, takes the steps to the next
    record, and stores the lanes in the place of the old ones. On a CPU it runs in Pallas'
    interpreter, for tests.
    """
    tile, unroll = _TILES[device.platform], _UNROLL[device.platform]

    def loop(lanes, data_keys, setup, live):
        def advance_one(lane, data_key, setup):  # a record's step leads to the next
            return advance(lane, data_key, setup, lane.record.step, unroll=unroll)

        advance_lanes = scalarize(advance_one, *one_lane((lanes, data_keys, setup)))
        advance_lanes = substitute(advance_lanes, substitutes(device))
        lanes, constants = to_lanes(lanes), to_lanes((data_keys, setup))
        lane_packing, constant_packing = _Packing(lanes), _Packing(constants)
        packed_constants = constant_packing.pack(constants, tile)

        def kernel(lane_refs, constant_refs, result_refs, place):
            lanes = lane_packing.read(lane_refs, place)
            constants = constant_packing.read(constant_refs, place)
            lane_packing.write(result_refs, place, advance_lanes(lanes, *constants))

        def unpack(packed):
            return jax.tree.map(lambda vector: vector.reshape(-1), lane_packing.read(packed))

        def step(packed, _):
            observed = observe(unpack(packed).record, live)
            observed = observed._replace(kept=from_lanes(observed.kept))
            return _update(kernel, packed, packed_constants, tile, device.platform), observed

        packed, before = lax.scan(step, lane_packing.pack(lanes, tile), first_steps)
        return from_lanes(unpack(packed)), before

    return loop


class _Packing:
    """The places of a pytree's lane vectors in a few arrays [vectors, ...], one for each dtype.

    A kernel of few arrays has few addresses to keep. Booleans are stored as integers.
    """

    def __init__(self, tree: Any):
        leaves, self._treedef = jax.tree.flatten(tree)
        self._dtypes = [leaf.dtype for leaf in leaves]
        stored = [jnp.dtype(np.int32) if x == np.bool_ else x for x in self._dtypes]
        self._stored = list(dict.fromkeys(stored))
        self._places = [(self._stored.index(x), stored[:i].count(x)) for i, x in enumerate(stored)]

    def pack(self, tree: Any, tile: tuple[int, ...]) -> tuple[jax.Array, ...]:
        """The arrays [vectors, ..., *tile[1:]] of a pytree of vectors [lanes]."""
        rows: list[list[jax.Array]] = [[] for _ in self._stored]
        for (array, _), leaf in zip(self._places, jax.tree.leaves(tree)):
            rows[array].append(leaf.astype(self._stored[array]).reshape(-1, *tile[1:]))
        return tuple(map(jnp.stack, rows))

    def read(self, arrays: Sequence[Any], place: tuple = ()) -> Any:
        """The pytree of the vectors at a place of arrays."""
        stored = [arrays[array][i, *place] for array, i in self._places]
        leaves = [x != 0 if dtype == np.bool_ else x for x, dtype in zip(stored, self._dtypes)]
        return jax.tree.unflatten(self._treedef, leaves)

    def write(self, refs: Sequence[Any], place: tuple, tree: Any) -> None:
        """Put the vectors of a pytree at a place of arrays."""
        for (array, i), leaf in zip(self._places, jax.tree.leaves(tree)):
            refs[array][i, *place] = leaf.astype(self._stored[array])


def _update(
    kernel: Callable,
    lanes: Sequence[jax.Array],
    constants: Sequence[jax.Array],
    tile: tuple[int, ...],
    platform: str,
) -> tuple[jax.Array, ...]:
    """Run a kernel on each tile: the lanes that it puts in the place of these."""
    from jax.experimental import pallas  # slow to import

    grid, count = (lanes[0].shape[1] // tile[0],), len(lanes)
    if platform == "gpu":  # each warpgroup takes its tile of whole arrays in device memory
        from jax.experimental.pallas import mosaic_gpu  # not everywhere, and slow to import

        def on_tile(*refs):
            place = pallas.ds(lax.axis_index("tiles") * tile[0], tile[0])
            kernel(refs[:count], refs[count:], refs[:count], (place,))

        refs = [jax.new_ref(array) for array in lanes]
        mesh = mosaic_gpu.Mesh(grid=grid, grid_names=("tiles",))
        pallas.kernel(on_tile, mesh=mesh)(*refs, *constants)
        return tuple(map(jax.freeze, refs))

    def spec(array):
        return pallas.BlockSpec((len(array), *tile), lambda i: (0, i, *[0] * (len(tile) - 1)))

    return pallas.pallas_call(
        lambda *refs: kernel(refs[:count], refs[count:-count], refs[-count:], (...,)),
        out_shape=tuple(jax.ShapeDtypeStruct(array.shape, array.dtype) for array in lanes),
        grid=grid,
        in_specs=[spec(array) for array in (*lanes, *constants)],
        out_specs=tuple(spec(array) for array in lanes),
        input_output_aliases={i: i for i in range(count)},
        interpret=platform == "cpu",
    )(*lanes, *constants)
