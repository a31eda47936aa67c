"""What this room offers."""

from gan1010_jax.laboratory.page import (
    check_laboratory,
    check_watch_page,
    make_laboratory,
    make_watch_page,
)

__all__ = ["check_laboratory", "check_watch_page", "make_laboratory", "make_watch_page"]
