"""How a block of seeds is run: the same training, by three engines.

`scalarize`, its rules and `outline` know of no GAN.
"""

from gan1010_jax.engines.block import Lane, Observed, init_block, observe, properties
from gan1010_jax.engines.registry import (
    ENGINES,
    Engine,
    build_loop,
    choose_engine,
    compile_with_fallback,
    compiler_options,
)
from gan1010_jax.engines.rules import defined
from gan1010_jax.engines.scalarize import (
    RULES,
    Lanes,
    UnsupportedPrimitive,
    from_lanes,
    rule,
    scalarize,
    to_lanes,
)
