"""The engines, each a way to run a block of seeds, and the choice among them.

Every engine runs the same pure functions, `init_carry` and `train_record`, on a block of seeds of
its own fixed width. The width is fixed so that a seed runs through the same machine code whatever
the size of its population, and its row is the same to the bit.

On two cores of an Intel Xeon with AVX-512, at 16,384 seeds, `fused` does 119 million seed-steps a
second, 31 times `jit(vmap(scan))` and 33,000 times the reference in PyTorch in the same run of
`experiments/benchmark.py`; `experiments/benchmark.md` reports the alternatives tried.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import chex
import jax
from jax import lax

from gan1010_jax.engines.outline import call_kernel, outline
from gan1010_jax.engines.pallas import build_pallas_loop, has_pallas
from gan1010_jax.engines.scalarize import (
    UnsupportedPrimitive,
    from_lanes,
    one_lane,
    scalarize,
    to_lanes,
)
from gan1010_jax.environment import has_avx512
from gan1010_jax.errors import InvalidArgument
from gan1010_jax.gan import Setup, draw_batch, seed_key, state_shapes
from gan1010_jax.training import Carry, History, first_steps, init_carry, train_record

# (carry, data key, setup, first step) -> the next carry and its record, all of one seed
_Record = Callable[..., tuple[Carry, History]]
_Compiled = TypeVar("_Compiled")


class Engine(NamedTuple):
    """A way to run a block of seeds.

    Attributes:
      name: its name in `engine=`.
      build_loop: from a `_Record` and the first step of every record, int32 [records], builds a
        function of the carries, data keys and setup of a block, each leaf [..., block], that
        returns the final carries and the histories, likewise.
      cpu_block: how many seeds it runs together on a CPU.
      accelerator_block: how many on a GPU or a TPU.
      is_for: whether it is for a device.
      fallback: the name of the engine that `"auto"` takes instead, on another device or for a
        setup that this one does not support.
      fallback_on: the exceptions that say so.
      max_parameters: with more, `"auto"` takes the fallback too, since compiling would take long.
    """

    name: str
    build_loop: Callable[[_Record, jax.Array], Callable]
    cpu_block: int
    accelerator_block: int
    is_for: Callable[[jax.Device], bool] = lambda device: True
    fallback: str = "vmap"
    fallback_on: tuple[type[Exception], ...] = ()
    max_parameters: float = float("inf")

    @property
    def block(self) -> int:
        """How many seeds it runs together on the present platform."""
        return self.cpu_block if jax.default_backend() == "cpu" else self.accelerator_block


def init_block(seeds: jax.Array, setup: Setup) -> tuple[Carry, chex.PRNGKey]:
    """The carries and data keys of seeds uint32 [block], each leaf [..., block].

    The hyperparameters of the setup are [block].
    """

    def init_seed(seed, setup):
        # Engines rely on its generator: with another one, a lane's draws may depend on its place
        # in the block.
        return init_carry(seed_key(seed), setup)

    return jax.vmap(init_seed, out_axes=-1)(seeds, setup)


def build_loop(engine: Engine, steps: int, record_every: int) -> Callable:
    """Build the function that trains a block on an engine.

    It takes carries, data keys and a setup, each leaf [..., block], as `init_block` does, and
    returns the final carries and the histories, each leaf [records, ..., block].
    """

    def record(carry, data_key, setup, first_step):
        batch_at = partial(draw_batch, data_key, setup)
        return train_record(carry, first_step, batch_at=batch_at, setup=setup, steps=record_every)

    return engine.build_loop(record, first_steps(steps, record_every))


def _build_vmap_loop(record: _Record, first_steps: jax.Array) -> Callable:
    """The plain engine: `vmap` of a `lax.scan`."""

    def loop(carry, data_key, setup):
        def step(carry, first_step):
            return record(carry, data_key, setup, first_step)

        return lax.scan(step, carry, first_steps)

    return jax.vmap(loop, in_axes=-1, out_axes=-1)


def _build_fused_loop(record: _Record, first_steps: jax.Array) -> Callable:
    """A `lax.scan` of the record on lanes; on a CPU, all of it is one kernel."""

    def loop(*block):
        record_on_lanes = scalarize(record, *one_lane(block), first_steps[0])

        def scan(carries, data_keys, setup):
            def step(carries, first_step):
                return record_on_lanes(carries, data_keys, setup, first_step)

            return lax.scan(step, carries, first_steps)

        lanes = to_lanes(block)
        if jax.default_backend() == "cpu":
            return from_lanes(call_kernel(outline(scan), *lanes))
        return from_lanes(scan(*lanes))

    return loop


# On a CPU, kernels of 96 to 512 lanes are as fast, and a wider block needs Python less often;
# beyond that, XLA shares loops between threads (see `call_kernel`). The widths for accelerators
# are not measured yet: enough lanes for every core of a large one.
#
# On lanes, each parameter takes about 10 ms to compile, and larger products gain less.
ENGINES = {
    engine.name: engine
    for engine in [
        Engine("vmap", _build_vmap_loop, cpu_block=128, accelerator_block=16_384),
        Engine(
            "fused",
            _build_fused_loop,
            cpu_block=256,
            accelerator_block=65_536,
            fallback="vmap",
            fallback_on=(UnsupportedPrimitive,),
            max_parameters=300,
        ),
        Engine(
            "pallas",
            build_pallas_loop,
            cpu_block=1024,
            accelerator_block=65_536,
            is_for=has_pallas,
            fallback="fused",
            fallback_on=(NotImplementedError,),  # also where Pallas lacks something that XLA has
            max_parameters=300,
        ),
    ]
}


def choose_engine(name: str) -> Engine:
    """The engine of a name; `"auto"` takes the fastest that the device supports.

    That is `pallas` on a TPU and on an NVIDIA GPU from Hopper on, and `fused` elsewhere.

    Raises:
      InvalidArgument: (a `ValueError`) for a name that is none of them.
    """
    choices = ("auto", *ENGINES)
    if not isinstance(name, str) or name not in choices:
        raise InvalidArgument("engine", name, f"one of {', '.join(choices)}")
    if name == "auto":
        engine, device = ENGINES["pallas"], jax.devices()[0]
        while not engine.is_for(device):
            engine = ENGINES[engine.fallback]
        return engine
    return ENGINES[name]


def compile_with_fallback(
    name: str, setup: Setup, compile_fn: Callable[[Engine], _Compiled]
) -> _Compiled:
    """Compile a setup for the engine of a name, and return the result of `compile_fn`.

    With `"auto"`, the engine's fallback is compiled where the engine does not support the setup,
    with a warning.
    """
    engine, reason = choose_engine(name), None
    if name != "auto":
        return compile_fn(engine)
    players = state_shapes(setup)
    size = sum(leaf.size for player in players for leaf in jax.tree.leaves(player.params))
    while True:
        if size <= engine.max_parameters:
            try:
                compiled = compile_fn(engine)
                break
            except engine.fallback_on as error:
                reason = error
        else:
            reason = f"{size} parameters would take long to compile for the {engine.name} engine"
        engine = ENGINES[engine.fallback]
    if reason is not None:
        warnings.warn(f"{reason}, so the {engine.name} engine runs this", stacklevel=2)
    return compiled


def compiler_options() -> dict[str, Any]:
    """The options of XLA's compiler on the present platform.

    On a CPU, LLVM's level 2 compiles the reference in two thirds of the time of the default, 3, and
    the program is as fast. Vectors as wide as the processor's registers, which LLVM prefers not to
    use on its own, make it half as fast again.
    """
    if jax.default_backend() != "cpu":
        return {}
    wide = {"xla_cpu_prefer_vector_width": 512} if has_avx512() else {}
    return {"xla_backend_optimization_level": 2, **wide}
