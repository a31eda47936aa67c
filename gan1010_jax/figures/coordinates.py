"""The coordinates of a game's samples, as figures name them; neither JAX nor matplotlib."""

from typing import NamedTuple

import numpy as np


class Coordinates(NamedTuple):
    """What figures show of the samples of a game.

    Attributes:
      low: the lower end of each coordinate's real range, [units].
      high: the upper end.
      bits: the bit of each, or None where the game has no bits.
    """

    low: np.ndarray
    high: np.ndarray
    bits: tuple[int, ...] | None

    def labels(self, separator: str) -> list[str]:
        """Name each coordinate by its number, from 1 on, and its bit if it has one."""
        if self.bits is None:
            return [str(1 + unit) for unit in range(len(self.low))]
        return [f"{1 + unit}{separator}({bit})" for unit, bit in enumerate(self.bits)]

    @property
    def title(self) -> str:
        """The title of an axis with the labels."""
        return "coordinate" if self.bits is None else "coordinate (its bit)"
