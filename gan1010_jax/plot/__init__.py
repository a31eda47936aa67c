"""Figures: `gan.plot.convergence(population)` is a matplotlib `Figure`, to show or to save.

Each takes `style="slides"`, for larger text and lines, or `style="dark"`, for a dark page.
"""

from gan1010_jax.lazy import load_when_used

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gan1010_jax.plot.public import *  # noqa: F403
else:
    __getattr__, __dir__ = load_when_used(__name__)
