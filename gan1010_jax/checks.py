"""What the package's functions accept: each check refuses with an `InvalidArgument`."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from gan1010_jax.errors import InvalidArgument
from gan1010_jax.games import Distribution, Game
from gan1010_jax.losses import Batch
from gan1010_jax.methods import (
    HYPERPARAMS,
    OPTIONAL,
    PENALTIES,
    PENALTY_NUMBERS,
    Hyperparams,
    Method,
    allowed_values,
    is_allowed,
)
from gan1010_jax.updates import GANState, draw_batch, generate, observe, state_shapes

# Values of some hyperparameters, by name.
Grid = Mapping[str, Sequence[float]]

MAX_STEPS = 2**31 - 1
MAX_RECORDS = 100_000


def check_key(key: chex.PRNGKey) -> None:
    """Refuse what is not one typed key."""
    if not (
        isinstance(key, jax.Array)
        and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        and key.shape == ()
    ):
        raise InvalidArgument("key", key, "one typed key, such as jax.random.key(0)")


def check_samples(
    name: str, samples: jax.Array, distribution: Distribution, steps: int | None = None
) -> jax.Array:
    """Samples in JAX's default float type; refuse what is not one of a distribution for each step.

    Raises:
      InvalidArgument: (a `ValueError`) for another shape, or what is not real numbers.
    """
    (units,) = distribution.center.shape
    allowed = f"an array of numbers, [{'steps' if steps is None else steps}, {units}]"
    array = as_array(name, samples, allowed)
    if array.ndim != 2 or array.shape != (steps or len(array), units) or not is_real(array):
        raise InvalidArgument(name, describe_array(array), allowed)
    return jnp.asarray(array, jnp.result_type(float))


def is_real(array: np.ndarray | jax.Array) -> bool:
    """Whether an array has floating-point numbers, also of JAX's own types, or integers."""
    return any(jnp.issubdtype(array.dtype, kind) for kind in (np.floating, np.integer))


def check_state(state: GANState, game: Game, method: Method) -> None:
    """Refuse a state of other networks, another optimiser or another float type.

    Raises:
      InvalidArgument: (a `ValueError`) that names the first leaf that differs.
    """
    if not isinstance(state, GANState):
        raise InvalidArgument("state", state, "a GANState")

    def describe(tree: GANState) -> dict[str, Any]:
        leaves = jax.tree.leaves_with_path(tree)
        return {jax.tree_util.keystr(path): describe_array(leaf) for path, leaf in leaves}

    given, wanted = describe(state), describe(state_shapes(game, method))
    for path in [*wanted, *given]:
        here, there = given.get(path, "nothing"), wanted.get(path, "nothing")
        if here != there:
            allowed = f"what init gives for this game and method, which has {there} at {path}"
            raise InvalidArgument("state", here, allowed)


def as_array(name: str, value: Any, allowed: str) -> np.ndarray | jax.Array:
    """An array of JAX's, or anything that NumPy takes for one, also a tensor of PyTorch's.

    Raises:
      InvalidArgument: (a `ValueError`) for anything else.
    """
    if isinstance(value, jax.Array):
        return value
    try:
        if hasattr(value, "detach"):  # a tensor, which may be on a GPU and have a gradient
            return np.asarray(value.detach().cpu())
        return np.asarray(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise InvalidArgument(name, describe_array(value), allowed) from None


def describe_array(value: Any) -> Any:
    """The dtype and shape of an array or tensor, in words; another value as it is."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype}{[*value.shape]}"
    return value


def check_run(
    game: Game, method: Method, hyperparams: Hyperparams, steps: int, record_every: int
) -> None:
    """Refuse what cannot be run; the hyperparameters' values are for `as_floats`.

    Raises:
      InvalidArgument: (a `ValueError`) for the first argument outside its limits.
    """
    check_types(game, method, hyperparams)
    check_steps(steps, record_every, MAX_STEPS // method.d_steps)


def check_types(game: Game, method: Method, hyperparams: Hyperparams) -> None:
    """Refuse what is not of its type, and parts of a game or numbers that do not go together."""
    for name, value, kind in (
        ("game", game, Game),
        ("method", method, Method),
        ("hyperparams", hyperparams, Hyperparams),
    ):
        if not isinstance(value, kind):
            raise InvalidArgument(name, value, f"a {kind.__name__}")
    check_game(game)
    for name in PENALTY_NUMBERS:
        value, penalty = getattr(hyperparams, name), method.penalty
        if value is not None and name not in penalty.numbers:
            others = ", ".join(other for other, one in PENALTIES.items() if name in one.numbers)
            allowed = f"None, since the penalty {penalty.name} does not use it, but {others}"
            raise InvalidArgument(name, value, allowed)


def check_game(game: Game) -> None:
    """Refuse a game that is not hashable, or whose parts do not give the shapes that they should.

    Raises:
      InvalidArgument: (a `ValueError`) that names the first such part.
    """
    try:
        hash(game)
    except TypeError as error:
        allowed = f"one of hashable parts, such as tuples and frozen dataclasses ({error})"
        raise InvalidArgument("game", game.name, allowed) from None
    check_parts(game)


@lru_cache(maxsize=64)
def check_parts(game: Game) -> None:
    """`check_game` of a hashable game."""
    real, latent = game.real.center, game.latent.center
    key, state = jax.random.key(0), state_shapes(game, Method())

    def logit(state):
        return game.discriminator.apply({"params": state.discriminator.params}, real)

    observed = jax.eval_shape(partial(observe, game=game), state)
    for part, function, argument, shape in (
        ("real samples have", game.real.sample, key, real.shape),
        ("latent samples have", game.latent.sample, key, latent.shape),
        ("discriminator gives", logit, state, ()),
        ("generator gives", partial(generate, game=game), state, real.shape),
        ("observe gives", partial(observe, game=game), state, (observed.size,)),
        ("matched gives", game.matched, observed, ()),
        ("in_support gives", game.in_support, observed, ()),
    ):
        # A partial, since `eval_shape` refers weakly to what it is given, as NumPy's cannot be.
        given = jax.eval_shape(partial(function), argument).shape
        if given != shape:
            allowed = f"one whose {part} the shape {[*shape]}, and not {[*given]}"
            raise InvalidArgument("game", game.name, allowed)


def check_steps(steps: int, record_every: int, most: int = MAX_STEPS) -> None:
    """Refuse numbers of steps and of steps between records that do not go together."""
    check_whole("steps", steps, 1, most)
    least = -(-int(steps) // MAX_RECORDS)
    if not is_whole(record_every) or not least <= record_every <= steps:
        allowed = f"a whole number from {least} to the number of steps, {steps}"
        raise InvalidArgument("record_every", record_every, allowed)
    if steps % record_every:
        allowed = f"a multiple of the record interval, {record_every}, to be recorded to the end"
        raise InvalidArgument("steps", steps, allowed)


def check_plain(game: Game, method: Method, hyperparams: Hyperparams) -> None:
    """Refuse a method whose step takes more than a real sample and a latent.

    Raises:
      InvalidArgument: (a `ValueError`) if it has `d_steps`, or draws anything else.
    """
    draw = partial(draw_batch, game=game, method=method, hyperparams=hyperparams)
    batch = jax.eval_shape(draw, jax.random.key(0))
    if method.d_steps > 1 or jax.tree.structure(batch) != jax.tree.structure(Batch(0, 0)):
        allowed = "one whose step takes a real sample and a latent, and draws nothing else"
        raise InvalidArgument("method", method, allowed)


def as_floats(hyperparams: Hyperparams, seeds: int | None = None) -> Hyperparams:
    """Hyperparameters in JAX's default float type; with many seeds, arrays [seeds] may be given.

    Raises:
      InvalidArgument: (a `ValueError`) for another shape, or a number that is not allowed. The
        value of a tracer is not seen.
    """
    floats = {name: as_float(name, value, seeds) for name, value in vars(hyperparams).items()}
    return Hyperparams(**floats)


def as_grid(grid: Grid) -> dict[str, np.ndarray]:
    """Values of hyperparameters in JAX's default float type, in the order of their names there.

    Raises:
      InvalidArgument: (a `ValueError`) for another name, or what is not a list of allowed numbers.
    """
    if not isinstance(grid, Mapping) or not set(grid) <= set(HYPERPARAMS):
        allowed = f"lists of values by name, among {', '.join(HYPERPARAMS)}"
        raise InvalidArgument("grid", grid, allowed)
    arrays = {}
    for name in HYPERPARAMS:
        if name in grid:
            values = grid[name]
            is_list = isinstance(values, list | tuple | np.ndarray | jax.Array)
            if not is_list or np.shape(values)[:1] in ((), (0,)):
                raise InvalidArgument(name, values, "a list of one or more values in a grid")
            arrays[name] = as_float(name, values, len(values))
            if len(np.unique(arrays[name])) < len(values):
                raise InvalidArgument(name, values, "a list of different values in a grid")
    return arrays


def count_cells(grid: Grid) -> int:
    """How many combinations of its values a grid has, each a row of every seed."""
    return math.prod(map(len, grid.values()))


def shortest(number: np.ndarray) -> float:
    """The shortest decimal number of a float: 0.01, and not 0.009999999776482582."""
    return float(str(number[()]))


def as_float(name: str, value: object, seeds: int | None) -> jax.Array | np.ndarray | None:
    """One of `as_floats`."""
    if value is None and name in OPTIONAL:
        return None
    dtype = jnp.result_type(float)
    if isinstance(value, jax.core.Tracer):
        array = value.astype(dtype)
    else:
        try:
            with np.errstate(over="ignore"):
                array = np.asarray(value)
                array = array.astype(dtype) if is_real(array) else np.asarray(np.nan)
        except (TypeError, ValueError):
            array = np.asarray(np.nan)
        if not np.all(is_allowed(name, array)):
            raise InvalidArgument(name, value, allowed_values(name))
    if array.shape not in ((), (seeds,)):
        each = "" if seeds is None else f", or one for each of the {seeds} seeds"
        raise InvalidArgument(name, value, f"a scalar{each}")
    return array


def check_whole(name: str, value: object, least: int, most: int, remark: str = "") -> None:
    """Refuse what is not a whole number in a closed range; a remark may explain its ends."""
    if not is_whole(value) or not least <= value <= most:
        raise InvalidArgument(name, value, f"a whole number from {least} to {most}{remark}")


def is_whole(value: object) -> bool:
    """Whether a value is an integer, of Python's or NumPy's, and not a bool."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
