"""How a block of seeds is run.

An engine takes a block of seeds, always of its own fixed width, and their hyperparameters, and
gives their final states and records. The width is fixed so that a seed goes through the same
machine code whatever the size of its population, and its row is the same to the bit.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax

from gan1010_jax.errors import InvalidArgument
from gan1010_jax.games import Game
from gan1010_jax.methods import Hyperparams, Method
from gan1010_jax.training import History, train
from gan1010_jax.updates import GANState

# seeds uint32 [block], hyperparameters of [block] -> states and histories, each leaf [block, ...]
BlockRunner = Callable[[jax.Array, Hyperparams], tuple[GANState, History]]


class Engine(NamedTuple):
    """A way to run a block of seeds.

    Attributes:
      name: what `engine=` calls it.
      block: how many seeds it runs together.
      build: `(game, method, steps, record_every)` to an uncompiled `BlockRunner`.
    """

    name: str
    block: int
    build: Callable[[Game, Method, int, int], BlockRunner]


def vmap_block(game: Game, method: Method, steps: int, record_every: int) -> BlockRunner:
    """The plain engine: `train`, under `vmap` over the seeds."""

    def run(seed, hyperparams):
        # Named, since under `vmap` another generator may draw a lane by its place in the block.
        key = jax.random.key(seed, impl="threefry2x32")
        return train(key, game, method, hyperparams, steps=steps, record_every=record_every)

    return jax.vmap(run)


# 128 lanes: on two AVX2 cores 64, 128, 256 and 1,024 gave 1.6, 2.6, 2.3 and 2.7 million
# seed-steps a second, and a small population pays for the lanes that it leaves empty.
ENGINES = {engine.name: engine for engine in [Engine("vmap", block=128, build=vmap_block)]}


def choose_engine(name: str) -> Engine:
    """The engine of a name; `"auto"` takes the fastest that this machine has.

    Raises:
      InvalidArgument: (a `ValueError`) for a name that is none of them.
    """
    choices = {"auto": ENGINES["vmap"], **ENGINES}
    if not isinstance(name, str) or name not in choices:
        raise InvalidArgument("engine", name, f"one of {', '.join(choices)}")
    return choices[name]


def compiler_options() -> dict[str, int]:
    """What to ask of XLA beyond its defaults, on the platform at hand.

    On CPU, LLVM's level 2 compiles the reference in 2.5 s where the default, 3, takes 4.5 s, and
    the program is as fast (two AVX2 cores, jaxlib 0.10.2).
    """
    return {"xla_backend_optimization_level": 2} if jax.default_backend() == "cpu" else {}
