"""What is played: the networks, the real samples, the latent, and the test of success."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn

from gan1010_jax.errors import InvalidArgument
from gan1010_jax.models import Discriminator, Generator

PATTERN = "[01]{1,16}"


class Distribution(Protocol):
    """Where samples come from. Hashable, since a `Game` is static under `jit`."""

    @property
    def center(self) -> jax.Array:
        """A typical sample, [units]: the one a network is initialised with and drawn at."""

    def sample(self, key: chex.PRNGKey, index: chex.Numeric = 0) -> jax.Array:
        """Draw a sample, [units]: the one of an index, in the stream of samples of a key."""


@dataclass(frozen=True)
class Constant:
    """The distribution of a single point, [units]."""

    value: tuple[float, ...]

    @property
    def center(self) -> jax.Array:
        """The point itself."""
        return jnp.asarray(self.value)

    def sample(self, key: chex.PRNGKey, index: chex.Numeric = 0) -> jax.Array:
        """Return the point, whatever the key and index."""
        del key, index
        return self.center


@dataclass(frozen=True)
class Uniform:
    """Independent uniform coordinates in [low, high), each a tuple of `units` numbers.

    A coordinate takes 24 random bits, low + (high - low) k/2²⁴, whatever the float type.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def center(self) -> jax.Array:
        """The middle of the box."""
        return (jnp.asarray(self.low) + jnp.asarray(self.high)) / 2

    def sample(self, key: chex.PRNGKey, index: chex.Numeric = 0) -> jax.Array:
        """Draw a sample, [units], of every bit that Threefry makes: two coordinates a block."""
        low, high = jnp.asarray(self.low), jnp.asarray(self.high)
        keys = jax.random.split(key, -(-low.size // 2))
        words = jax.random.key_data(jax.vmap(jax.random.fold_in, (0, None))(keys, index))
        k = (words.reshape(-1)[: low.size] >> 8).astype(jnp.int32)
        return low + k * ((high - low) / 2**24)


@dataclass(frozen=True)
class Within:
    """The test that every coordinate lies in its closed range: [..., units] -> bool [...]."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __call__(self, output: jax.Array) -> jax.Array:
        """Test an output."""
        low, high = jnp.asarray(self.low), jnp.asarray(self.high)
        return jnp.all((output >= low) & (output <= high), axis=-1)


@dataclass(frozen=True)
class Matches:
    """The test that every coordinate is on its bit's side of 0.5: [..., units] -> bool [...]."""

    bits: tuple[int, ...]

    def __call__(self, output: jax.Array) -> jax.Array:
        """Test an output."""
        return jnp.all(jnp.where(jnp.asarray(self.bits) == 1, output > 0.5, output < 0.5), axis=-1)


@dataclass(frozen=True)
class Game:
    """A game between two Flax modules. Hashable and static under `jit`: equal games of equal parts.

    Attributes:
      name: what reports and figures call it.
      discriminator: maps a sample [..., units] to a logit [...].
      generator: maps a latent [..., latent units] to a sample [..., units].
      real: the distribution of real samples.
      latent: the distribution of the generator's input.
      matched: the test of success, on the generator's output: [..., units] -> bool [...].
      in_support: the stricter test, that the output could be a real sample.
    """

    name: str
    discriminator: nn.Module
    generator: nn.Module
    real: Distribution
    latent: Distribution
    matched: Callable[[jax.Array], jax.Array]
    in_support: Callable[[jax.Array], jax.Array]


def pattern_game(pattern: str = "1010") -> Game:
    """The game of learning a pattern of bits; `"1010"` is the reference.

    A real sample has a coordinate for each bit, uniform in [0.8, 1.0) for a 1 and in [0.0, 0.2)
    for a 0; the latent is the constant 0.5. An output *matches* if every coordinate is on its
    bit's side of 0.5, and is *in support* if every coordinate lies in its real range.

    Args:
      pattern: 1 to 16 characters, each 0 or 1. D is n-3-1 and G is 1-3-n for n bits.

    Raises:
      InvalidArgument: (a `ValueError`) for any other pattern.
    """
    if not isinstance(pattern, str) or not re.fullmatch(PATTERN, pattern):
        raise InvalidArgument("pattern", pattern, "a string of 1 to 16 characters, each 0 or 1")
    bits = tuple(int(bit) for bit in pattern)
    low = tuple(0.8 if bit else 0.0 for bit in bits)
    high = tuple(1.0 if bit else 0.2 for bit in bits)
    return Game(
        name=pattern,
        discriminator=Discriminator(),
        generator=Generator(units=len(bits)),
        real=Uniform(low, high),
        latent=Constant((0.5,)),
        matched=Matches(bits),
        in_support=Within(low, high),
    )
