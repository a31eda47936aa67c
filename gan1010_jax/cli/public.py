"""What the programs in `experiments/` share with those of this room."""

from gan1010_jax.cli.options import (
    MethodOptions,
    check_given_with,
    check_number,
    number,
    path,
)
from gan1010_jax.cli.program import keep_compiled_programs, progress_bar, run

__all__ = [
    "MethodOptions",
    "check_given_with",
    "check_number",
    "keep_compiled_programs",
    "number",
    "path",
    "progress_bar",
    "run",
]
