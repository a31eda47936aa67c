"""The laboratory: a page on which 64 GANs train in the browser, from the one definition."""

from gan1010_jax.lazy import load_when_used

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gan1010_jax.laboratory.public import *  # noqa: F403
else:
    __getattr__, __dir__ = load_when_used(__name__)
