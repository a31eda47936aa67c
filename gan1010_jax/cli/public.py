"""What the programs in `experiments/` share with those of this room."""

from gan1010_jax.cli.options import (
    FigureOptions,
    Flag,
    MethodOptions,
    check_given_with,
    check_number,
    number,
    path,
    unset,
)
from gan1010_jax.cli.program import prepare_jax, progress_bar, read, run, say

__all__ = [
    "FigureOptions",
    "Flag",
    "MethodOptions",
    "check_given_with",
    "check_number",
    "number",
    "path",
    "prepare_jax",
    "progress_bar",
    "read",
    "run",
    "say",
    "unset",
]
