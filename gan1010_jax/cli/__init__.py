"""`gan1010 train | watch | lab | sweep`, and what the programs in `experiments/` share."""

from gan1010_jax.cli.entry import main
from gan1010_jax.cli.process import start
from gan1010_jax.lazy import load_when_used

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gan1010_jax.cli.public import *  # noqa: F403
else:
    __getattr__, __dir__ = load_when_used(__name__)
