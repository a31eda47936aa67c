"""The engines, each a way to run a block of seeds, and the choice among them.

Every engine runs the same pure function, `advance`, on a block of seeds of its own fixed width. The
width is fixed so that a seed runs through the same machine code whatever the size of its
population, and its row is the same to the bit.

On two cores of an Intel Xeon with AVX-512, at 16,384 seeds, `fused` does 119 million seed-steps a
second, 31 times `jit(vmap(scan))` and 33,000 times the reference in PyTorch in the same run of
`experiments/benchmark.py`; `experiments/benchmark.md` reports the alternatives tried.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gan1010_jax.engines.block import Lane, Observed, advance, init_block, observe
from gan1010_jax.engines.outline import call_kernel, outline
from gan1010_jax.engines.pallas import build_pallas_loop, has_pallas
from gan1010_jax.engines.scalarize import (
    from_lanes,
    one_lane,
    scalarize,
    to_lanes,
)
from gan1010_jax.environment import has_avx512
from gan1010_jax.gan import Setup
from gan1010_jax.names import ENGINE_NAMES, by_name
from gan1010_jax.training import History, first_steps

# (lane, data key, setup, first step, unroll=1) -> the lane after the next record
_Advance = Callable[..., Lane]
# (record of a block, which lanes are live) -> what leaves the run there
_Observe = Callable[[History, Any], Observed]

# The widest block whose initialiser is known to compile as one kernel, for every built-in game.
_MOST_IN_KERNEL = 256


class Engine(NamedTuple):
    """A way to run a block of seeds.

    Attributes:
      name: its name in `engine=`.
      build_loop: from an `_Advance`, an `_Observe`, the first step of every record, int32
        [records], and a device, builds the function that `build_loop` describes.
      cpu_block: how many seeds it runs together on a CPU.
      accelerator_block: how many on a GPU or a TPU.
      is_for: whether it is for a device.
    """

    name: str
    build_loop: Callable[[_Advance, _Observe, jax.Array, jax.Device], Callable]
    cpu_block: int
    accelerator_block: int
    is_for: Callable[[jax.Device], bool] = lambda device: True

    def block(self, platform: str) -> int:
        """How many seeds it runs together on a device of a platform."""
        return self.cpu_block if platform == "cpu" else self.accelerator_block

    def halved(self) -> "Engine":
        """The same engine, with half as many seeds at a time."""
        return self._replace(
            cpu_block=self.cpu_block // 2, accelerator_block=self.accelerator_block // 2
        )


def build_loop(
    engine: Engine, steps: int, record_every: int, kept: int, device: jax.Device
) -> Callable:
    """Build the function that trains a block on an engine, and keeps the first `kept` histories.

    It takes lanes and data keys, as `init_block` makes them, the setup and which of the lanes are
    live (count), each leaf [..., block]. It returns the final lanes, and what was `Observed` before
    each record, each leaf [records, ...].
    """
    functions = partial(advance, steps=record_every), partial(observe, kept=kept)
    return engine.build_loop(*functions, first_steps(steps, record_every), device)


def _build_vmap_loop(
    advance: _Advance, observe: _Observe, first_steps: jax.Array, device: jax.Device
) -> Callable:
    """The plain engine: a `lax.scan` of `vmap`."""
    first_axis = partial(jax.tree.map, lambda leaf: jnp.moveaxis(leaf, -1, 0))
    last_axis = partial(jax.tree.map, lambda leaf: jnp.moveaxis(leaf, 0, -1))

    def loop(lanes, data_keys, setup, live):
        data_keys, setup = first_axis((data_keys, setup))
        advance_all = jax.vmap(advance, in_axes=(0, 0, 0, None))

        def step(lanes, first_step):
            observed = observe(last_axis(lanes.record), live)
            return advance_all(lanes, data_keys, setup, first_step), observed

        lanes, before = lax.scan(step, first_axis(lanes), first_steps)
        return last_axis(lanes), before

    return loop


def _build_fused_loop(
    advance: _Advance, observe: _Observe, first_steps: jax.Array, device: jax.Device
) -> Callable:
    """A `lax.scan` of the function on lanes; on a CPU, all of it is one kernel."""

    def loop(lanes, data_keys, setup, live):
        block = lanes, data_keys, setup
        advance_lanes = scalarize(advance, *one_lane(block), first_steps[0])

        def scan(lanes, data_keys, setup, live):
            def step(lanes, first_step):
                observed = observe(lanes.record, live)
                observed = observed._replace(kept=from_lanes(observed.kept))
                return advance_lanes(lanes, data_keys, setup, first_step), observed

            return lax.scan(step, lanes, first_steps)

        arguments = *to_lanes(block), live
        if device.platform == "cpu":
            lanes, before = call_kernel(outline(scan), *arguments)
        else:
            lanes, before = scan(*arguments)
        return from_lanes(lanes), before

    return loop


# On a CPU, kernels of 96 to 512 lanes are as fast, and a wider block needs Python less often;
# beyond that, XLA shares loops between threads (see `call_kernel`). The widths for accelerators
# are not measured yet: enough lanes for every core of a large one.
ENGINES = by_name(
    ENGINE_NAMES,
    [
        Engine("vmap", _build_vmap_loop, cpu_block=128, accelerator_block=16_384),
        Engine("fused", _build_fused_loop, cpu_block=256, accelerator_block=65_536),
        Engine(
            "pallas",
            build_pallas_loop,
            cpu_block=1024,
            accelerator_block=65_536,
            is_for=has_pallas,
        ),
    ],
)


def build_init(setup: Setup, block: int, device: jax.Device) -> Callable:
    """Build the function that begins a block: `init_block`, of the same bits.

    It draws from many small programs of Threefry. On a CPU, where it is compiled beside the loop,
    one kernel of them takes a quarter less of the processors' time to compile. XLA cannot make one
    of wider blocks (see `call_kernel`), nor, perhaps, of networks that are not known here.
    """
    if device.platform == "cpu" and setup.game.recipe and block <= _MOST_IN_KERNEL:
        return partial(call_kernel, init_block)
    return init_block


def compiler_options(platform: str) -> dict[str, Any]:
    """The options of XLA's compiler for a platform.

    On a CPU, LLVM's level 2 compiles the reference in two thirds of the time of the default, 3, and
    the program is as fast. Vectors as wide as the processor's registers, which LLVM prefers not to
    use on its own, make it half as fast again.
    """
    if platform != "cpu":
        return {}
    wide = {"xla_cpu_prefer_vector_width": 512} if has_avx512() else {}
    return {"xla_backend_optimization_level": 2, **wide}
