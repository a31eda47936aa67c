"""How a block of seeds is run: the same training, by three engines; and in a browser.

`scalarize`, its rules, `outline` and `javascript` know of no GAN.
"""

from gan1010_jax.engines.block import Lane, Observed, init_block, observe, properties
from gan1010_jax.engines.browser import browser_program
from gan1010_jax.engines.choice import check_engine, fit_block, list_engines, of_caller, use_engine
from gan1010_jax.engines.javascript import to_javascript
from gan1010_jax.engines.registry import ENGINES, Engine, build_init, build_loop, compiler_options
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
