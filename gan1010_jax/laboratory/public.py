"""What this room offers."""

from gan1010_jax.laboratory.page import check_laboratory, make_laboratory

__all__ = ["check_laboratory", "make_laboratory"]
