"""Games: networks, distributions of real samples and latents, and the test of success."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import chex
import jax
import jax.numpy as jnp
import numpy as np

from gan1010_jax.errors import InvalidArgument
from gan1010_jax.models import DiracDiscriminator, DiracGenerator, Discriminator, Generator
from gan1010_jax.networks import Network, NetworkFunctions, as_network

# Nodes [nodes, units] and weights [nodes] that sum to 1, to integrate over a distribution.
Quadrature = tuple[np.ndarray, np.ndarray]
MAX_NODES = 2**20


class Distribution(Protocol):
    """A distribution of samples. Hashable, since a `Game` is static under `jit`."""

    @property
    def center(self) -> jax.Array:
        """A typical sample, [units]; networks are initialised and drawn at it."""

    def sample(self, key: chex.PRNGKey, index: chex.Numeric = 0) -> jax.Array:
        """Draw a sample, [units]: a key has a stream of samples, numbered by `index`."""

    def quadrature(self, order: int) -> Quadrature:
        """Nodes and weights to integrate over the distribution; only `stability.py` needs them.

        With `order` nodes a coordinate, exact for its polynomials of degree `2 order - 1` or less.
        """


def product_quadrature(parts: Sequence[Quadrature]) -> Quadrature:
    """The quadrature of independent parts: their units side by side, in every combination.

    Raises:
      InvalidArgument: (a `ValueError`) if there are more than 2²⁰ combinations.
    """
    sizes = [len(weights) for _, weights in parts]
    if math.prod(sizes) > MAX_NODES:
        allowed = f"{MAX_NODES} at most; a lower order gives fewer"
        raise InvalidArgument("the number of quadrature nodes", math.prod(sizes), allowed)
    places = np.indices(sizes).reshape(len(sizes), -1)
    nodes = [nodes[place] for (nodes, _), place in zip(parts, places)]
    weights = [weights[place] for (_, weights), place in zip(parts, places)]
    return np.concatenate(nodes, axis=1), np.prod(weights, axis=0)


def _check_coordinates(**parts: Any) -> None:
    """Raise unless each part has a number for every coordinate, and all have as many."""
    (first, values), *_ = parts.items()
    for name, part in parts.items():
        is_list = isinstance(part, tuple | list) and len(part) > 0
        if not is_list or not all(isinstance(x, jax.core.Tracer) or _is_number(x) for x in part):
            raise InvalidArgument(name, part, "a tuple of numbers, one for each coordinate")
        if len(part) != len(values):
            raise InvalidArgument(name, part, f"as long as {first}, {len(values)} numbers")


@dataclass(frozen=True)
class Constant:
    """The distribution of a single point, [units].

    Raises:
      InvalidArgument: (a `ValueError`) for anything but a tuple of numbers.
    """

    value: tuple[float, ...]

    def __post_init__(self):
        """Reject what is not a point."""
        _check_coordinates(value=self.value)

    @property
    def center(self) -> jax.Array:
        """The point itself."""
        return jnp.asarray(self.value)

    def sample(self, key: chex.PRNGKey, index: chex.Numeric = 0) -> jax.Array:
        """Return the point, whatever the key and index."""
        del key, index
        return self.center

    def quadrature(self, order: int) -> Quadrature:
        """A single node."""
        return np.asarray([self.value]), np.ones(1)


@dataclass(frozen=True)
class Uniform:
    """Independent uniform coordinates in [low, high), each a tuple of `units` numbers.

    A coordinate takes 24 random bits, low + (high - low) k/2²⁴, whatever the float type.

    Raises:
      InvalidArgument: (a `ValueError`) for anything but two tuples of numbers, equally long.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self):
        """Reject what is not a box."""
        _check_coordinates(low=self.low, high=self.high)

    @property
    def center(self) -> jax.Array:
        """The middle of the box."""
        return (jnp.asarray(self.low) + jnp.asarray(self.high)) / 2

    def sample(self, key: chex.PRNGKey, index: chex.Numeric = 0) -> jax.Array:
        """Draw a sample, [units]."""
        low, high = jnp.asarray(self.low), jnp.asarray(self.high)
        k = (_random_words(key, index, low.size) >> 8).astype(jnp.int32)
        return low + k.astype(float) * ((high - low) / 2**24)

    def quadrature(self, order: int) -> Quadrature:
        """Gauss and Legendre's nodes and weights, `order` a coordinate."""
        nodes, weights = np.polynomial.legendre.leggauss(order)
        scaled = [(low + high + (high - low) * nodes) / 2 for low, high in zip(self.low, self.high)]
        return product_quadrature([(nodes[:, None], weights / 2) for nodes in scaled])


def _random_words(key: chex.PRNGKey, index: chex.Numeric, count: int) -> jax.Array:
    """Random words uint32 [count], from a key of any implementation."""
    if jax.random.key_impl(key) != "threefry2x32":
        return jax.random.bits(jax.random.fold_in(key, index), (count,), jnp.uint32)
    # A key that was folded in is a block of Threefry's output: two words for the price of one key.
    # The words of another implementation's key are not random bits: rbg's come twice.
    keys = jax.random.split(key, -(-count // 2))
    words = jax.random.key_data(jax.vmap(jax.random.fold_in, (0, None))(keys, index))
    return words.reshape(-1)[:count]


@dataclass(frozen=True)
class Normal:
    """Independent Gaussian coordinates with these means and standard deviations.

    Raises:
      InvalidArgument: (a `ValueError`) for anything but two tuples of numbers, equally long.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self):
        """Reject what are not means and deviations."""
        _check_coordinates(mean=self.mean, std=self.std)

    @property
    def center(self) -> jax.Array:
        """The mean."""
        return jnp.asarray(self.mean)

    def sample(self, key: chex.PRNGKey, index: chex.Numeric = 0) -> jax.Array:
        """Draw a sample, [units]."""
        mean, std = self.center, jnp.asarray(self.std)
        return mean + std * jax.random.normal(jax.random.fold_in(key, index), mean.shape)

    def quadrature(self, order: int) -> Quadrature:
        """Gauss and Hermite's nodes and weights, `order` a coordinate."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(order)
        scaled = [(mean + std * nodes) for mean, std in zip(self.mean, self.std)]
        return product_quadrature([(nodes[:, None], weights / weights.sum()) for nodes in scaled])


@dataclass(frozen=True)
class Within:
    """The test that every coordinate lies in its closed range: [..., units] -> bool [...].

    Raises:
      InvalidArgument: (a `ValueError`) for anything but two tuples of numbers, equally long.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self):
        """Reject what are not ranges."""
        _check_coordinates(low=self.low, high=self.high)

    def __call__(self, output: jax.Array) -> jax.Array:
        """Test an output."""
        low, high = jnp.asarray(self.low), jnp.asarray(self.high)
        return jnp.all((output >= low) & (output <= high), axis=-1)


@dataclass(frozen=True)
class Matches:
    """The test that every coordinate is on its bit's side of 0.5: [..., units] -> bool [...].

    Raises:
      InvalidArgument: (a `ValueError`) for anything but a tuple of zeros and ones.
    """

    bits: tuple[int, ...]

    def __post_init__(self):
        """Reject what are not bits."""
        _check_coordinates(bits=self.bits)
        if not set(self.bits) <= {0, 1}:
            raise InvalidArgument("bits", self.bits, "a tuple of zeros and ones")

    def __call__(self, output: jax.Array) -> jax.Array:
        """Test an output."""
        return jnp.all(jnp.where(jnp.asarray(self.bits) == 1, output > 0.5, output < 0.5), axis=-1)


@jax.tree_util.register_static
@dataclass(frozen=True, repr=False)
class Game:
    """A game between two networks. Hashable and static under `jit`; equal if its parts are.

    Attributes:
      name: its name in reports and figures.
      discriminator: maps a sample [units] to a logit, a scalar: a `Network`, such as a Flax Linen
        module or `from_nnx`'s; or a pair of pure functions, `init(key, x) -> params` and
        `apply(params, x)`.
      generator: maps a latent [latent units] to a sample [units], likewise.
      real: the distribution of real samples.
      latent: the distribution of the generator's input.
      matched: the test of success, on the summary: [..., units] -> bool [...].
      in_support: the stricter test, that the output could be a real sample.
      summary_fn: maps a `GANState` to what a history keeps of it and what is tested, [units]; None
        for the generator's output at the center of the latent distribution. With
        `Hyperparams.average_decay`, G's parameters in that state are the average ones.
      recipe: how a built-in game was made, by which result directories recognise it: its name in
        `GAMES` and its arguments. None for a game of your own.

    Raises:
      InvalidArgument: (a `ValueError`) for parts of another kind, or that are not hashable.
    """

    name: str
    discriminator: Network | NetworkFunctions
    generator: Network | NetworkFunctions
    real: Distribution
    latent: Distribution
    matched: Callable[[jax.Array], jax.Array]
    in_support: Callable[[jax.Array], jax.Array]
    summary_fn: Callable[[Any], jax.Array] | None = None
    recipe: tuple[str, tuple[Any, ...]] | None = None

    def __post_init__(self):
        """Reject parts that are not hashable, or lack what a game calls."""
        try:
            hash(self)
        except TypeError as error:
            allowed = f"one of hashable parts, such as tuples and frozen dataclasses ({error})"
            raise InvalidArgument("game", self.name, allowed) from None
        if not isinstance(self.name, str):
            raise InvalidArgument("name", self.name, "a string")
        for name in ("discriminator", "generator"):
            object.__setattr__(self, name, as_network(name, getattr(self, name)))
        for name in ("real", "latent"):
            if not callable(getattr(getattr(self, name), "sample", None)):
                raise InvalidArgument(name, getattr(self, name), "an object with sample")
        for name in ("matched", "in_support", "summary_fn"):
            part = getattr(self, name)
            if not callable(part) and (name != "summary_fn" or part is not None):
                raise InvalidArgument(name, part, "a function")

    def __repr__(self) -> str:
        """Its name, which says enough of a built-in game."""
        return f"Game({self.name!r})"


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
    if not isinstance(pattern, str) or not re.fullmatch("[01]{1,16}", pattern):
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
        recipe=("pattern", (pattern,)),
    )


def dirac_game(start: tuple[float, float] | None = None, tolerance: float = 0.01) -> Game:
    """The Dirac-GAN: D(x) = ψx and G = θ, one parameter each, with every real sample at 0.

    The players are in equilibrium at θ = ψ = 0, and with the objective lsgan all along ψ = 0. A
    history keeps (θ, ψ), as outputs 0 and 1, and a run *matches*, and is *in support*, where both
    are within the tolerance. Mescheder et al., *Which Training Methods for GANs do actually
    Converge?* (ICML 2018), definition 2.1.

    Args:
      start: the (θ, ψ) that every run starts from; None for independent ones, uniform in [-1, 1].
      tolerance: how far from 0 a parameter may be, above zero.

    Raises:
      InvalidArgument: (a `ValueError`) for a start that is not two finite numbers, or a tolerance
        that is not a finite number above zero.
    """
    return _scalar_game("dirac", start, tolerance)


def bilinear_game(start: tuple[float, float] | None = None, tolerance: float = 0.01) -> Game:
    """The bilinear game, in which ψ minimises V = θψ and θ maximises it, under "wasserstein".

    With that objective, the networks of `dirac_game` play it: D, with ψ, has the loss θψ, and G,
    with θ, has -θψ. It is the simplest game in which simultaneous gradient descent diverges: the
    distance from the equilibrium (0, 0) grows by √(1 + h²) in every step at the rate h. Arguments
    and errors are those of `dirac_game`. Zhang and Yu, *Convergence of Gradient Methods on Bilinear
    Zero-Sum Games* (2019).
    """
    return _scalar_game("bilinear", start, tolerance)


def _scalar_game(name: str, start: tuple[float, float] | None, tolerance: float) -> Game:
    """The game of two parameters (θ, ψ) under a name, as `dirac_game` describes it."""
    if start is not None and not (
        isinstance(start, tuple | list) and len(start) == 2 and all(map(_is_finite, start))
    ):
        raise InvalidArgument("start", start, "two finite numbers, (theta, psi), or None")
    if not _is_finite(tolerance) or tolerance <= 0:
        raise InvalidArgument("tolerance", tolerance, "a finite number above zero")
    start = None if start is None else (float(start[0]), float(start[1]))
    tolerance = float(tolerance)
    theta, psi = start or (None, None)
    near = Within((-tolerance,) * 2, (tolerance,) * 2)
    return Game(
        name=name,
        discriminator=DiracDiscriminator(psi),
        generator=DiracGenerator(theta),
        real=Constant((0.0,)),
        latent=Constant((0.0,)),
        matched=near,
        in_support=near,
        summary_fn=_both_players,
        recipe=(name, (start, tolerance)),
    )


def _both_players(state: Any) -> jax.Array:
    """The parameters of G and of D, side by side: (θ, ψ) in the Dirac-GAN."""
    players = state.generator.params, state.discriminator.params
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(players)])


def _is_finite(value: object) -> bool:
    """Whether a value is a number, and finite in single precision too."""
    return _is_number(value) and bool(abs(value) <= float(np.finfo(np.float32).max))


def _is_number(value: object) -> bool:
    """Whether a value is a real number that a float can hold, infinite ones included."""
    is_number = isinstance(value, int | float | np.floating | np.integer)
    if not is_number or isinstance(value, bool):
        return False
    try:
        return not math.isnan(value)
    except OverflowError:
        return False


# Every built-in game, by its name.
GAMES: dict[str, Callable[..., Game]] = {
    "pattern": pattern_game,
    "dirac": dirac_game,
    "bilinear": bilinear_game,
}


def find_game(name: str) -> Game:
    """The built-in game of a name: a pattern of bits, or one of `GAMES` with its defaults.

    Raises:
      InvalidArgument: (a `ValueError`) for any other name.
    """
    if name in GAMES:
        return GAMES[name]()
    try:
        return pattern_game(name)
    except InvalidArgument as error:
        others = ", ".join(other for other in GAMES if other != "pattern")
        raise InvalidArgument("game", name, f"{others}, or {error.allowed}", GAMES) from None
