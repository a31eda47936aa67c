"""What this room offers."""

from gan1010_jax.laboratory.page import make_laboratory

__all__ = ["make_laboratory"]
