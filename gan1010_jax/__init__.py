"""The smallest GAN, trained once to watch it or a million times to measure it.

    import jax
    import gan1010_jax as gan

    state, history = gan.train(jax.random.key(0))
    gan.convergence_report(gan.train_population(range(64)))

`gan.py` is the GAN; read it first.
"""

from gan1010_jax.lazy import load_when_used

TYPE_CHECKING = False  # `typing` has this, and takes as long to import as all that is here
if TYPE_CHECKING:
    from gan1010_jax.public import *  # noqa: F403, as type checkers and editors see it
    from gan1010_jax.public import __all__ as __all__
else:
    __getattr__, __dir__ = load_when_used(__name__)
