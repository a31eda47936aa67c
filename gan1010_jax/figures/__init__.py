"""Figures, animations and the page: results in; `Figure`s, bytes and HTML out."""

from gan1010_jax.figures.files import start_painters
from gan1010_jax.lazy import load_when_used

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gan1010_jax.figures.public import *  # noqa: F403
else:
    __getattr__, __dir__ = load_when_used(__name__)
