"""Command lines: `gan1010 train | watch | sweep`, and what the programs in `experiments/` share."""

from gan1010_jax.cli.entry import main
from gan1010_jax.cli.options import MethodOptions, check_given_with, check_number, number
from gan1010_jax.cli.program import keep_compiled_programs, progress_bar, run
