"""Command lines: `gan1010 train | watch | sweep`, and what the programs in `experiments/` share."""

from typing import TYPE_CHECKING

from gan1010_jax.cli.entry import main
from gan1010_jax.cli.start import start
from gan1010_jax.lazy import load_when_used

if TYPE_CHECKING:
    from gan1010_jax.cli.public import *  # noqa: F403
else:
    __getattr__, __dir__ = load_when_used(__name__)
