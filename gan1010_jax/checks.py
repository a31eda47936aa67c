"""Validation at the public boundary: each check raises an `InvalidArgument`."""

from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from gan1010_jax.errors import InvalidArgument
from gan1010_jax.games import Distribution, Game
from gan1010_jax.gan import (
    Batch,
    GANState,
    Setup,
    draw_batch,
    generate,
    seed_key,
    state_shapes,
    summarize,
)
from gan1010_jax.methods import HYPERPARAMS, Hyperparams, as_numbers, is_allowed, is_real

MAX_STEPS = 2**31 - 1
MAX_RECORDS = 100_000


def check_key(key: chex.PRNGKey) -> None:
    """Raise unless `key` is a scalar typed PRNG key."""
    is_array = isinstance(key, jax.Array)
    if not is_array or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.shape != ():
        raise InvalidArgument(
            "key", describe_array(key), "one typed key, such as jax.random.key(0)"
        )


def check_run(setup: Setup, steps: int, record_every: int) -> Setup:
    """Raise unless this many steps of a setup can be run; the setup as `check_setup` returns it."""
    setup = check_setup(setup)
    check_steps(steps, record_every, MAX_STEPS // setup.method.d_steps)
    return setup


def check_setup(setup: Setup, seeds: int | None = None) -> Setup:
    """Raise unless a setup is complete and consistent.

    Args:
      setup: the setup.
      seeds: if given, each hyperparameter may also be an array [seeds].

    Returns:
      The setup with its hyperparameters in JAX's default float type.
    """
    if not isinstance(setup, Setup):
        raise InvalidArgument("setup", setup, "a Setup")
    if not isinstance(setup.hyperparams, Hyperparams):
        raise InvalidArgument("hyperparams", setup.hyperparams, "a Hyperparams")
    _check_parts(setup.game)
    floats = {name: _as_float(name, x, seeds) for name, x in vars(setup.hyperparams).items()}
    return replace(setup, hyperparams=Hyperparams(**floats))


def _as_float(name: str, value: Any, seeds: int | None) -> jax.Array | np.ndarray | None:
    """A hyperparameter in JAX's default float type; raise for a value or a shape not allowed."""
    if value is None:
        return None
    if isinstance(value, jax.core.Tracer):
        array = value.astype(jnp.result_type(float))
    else:
        array = as_hyperparam(name, value)
    if array.shape not in ((), (seeds,)):
        each = "" if seeds is None else f", or one for each of the {seeds} seeds"
        raise InvalidArgument(name, describe_array(value), f"a scalar{each}")
    return array


def as_hyperparam(name: str, value: Any) -> np.ndarray:
    """Values of a hyperparameter in JAX's default float type; raise for one not allowed."""
    array = as_numbers(value)
    if not np.all(is_allowed(name, array)):
        raise InvalidArgument(name, value, HYPERPARAMS[name]["allowed"])
    return array


@lru_cache(maxsize=64)
def _check_parts(game: Game) -> None:
    """Raise for the first part of a game that does not return the shape that it should."""
    setup, real, latent = Setup(game), game.real.center, game.latent.center
    key, state = seed_key(0), state_shapes(setup)

    def logit(state):
        return game.discriminator.apply({"params": state.discriminator.params}, real)

    summary = jax.eval_shape(partial(summarize, setup=setup), state)
    for part, function, argument, shape in (
        ("real samples have", game.real.sample, key, real.shape),
        ("latent samples have", game.latent.sample, key, latent.shape),
        ("discriminator gives", logit, state, ()),
        ("generator gives", partial(generate, setup=setup), state, real.shape),
        ("summary_fn gives", partial(summarize, setup=setup), state, (summary.size,)),
        ("matched gives", game.matched, summary, ()),
        ("in_support gives", game.in_support, summary, ()),
    ):
        # A partial, since `eval_shape` keeps a weak reference to the function.
        found = jax.eval_shape(partial(function), argument).shape
        if found != shape:
            allowed = f"one whose {part} the shape {[*shape]}, and not {[*found]}"
            raise InvalidArgument("game", game.name, allowed)


def check_steps(steps: int, record_every: int, most: int = MAX_STEPS) -> None:
    """Raise unless `steps` is a multiple of `record_every`, both within their limits."""
    check_whole("steps", steps, 1, most)
    least = -(-int(steps) // MAX_RECORDS)
    if not _is_whole(record_every) or not least <= record_every <= steps:
        allowed = f"a whole number from {least} to the number of steps, {steps}"
        raise InvalidArgument("record_every", record_every, allowed)
    if steps % record_every:
        allowed = f"a multiple of the record interval, {record_every}, to be recorded to the end"
        raise InvalidArgument("steps", steps, allowed)


def check_state(state: GANState, setup: Setup) -> None:
    """Raise unless a state has the tree, shapes and dtypes of `init`'s, naming the first leaf."""
    if not isinstance(state, GANState):
        raise InvalidArgument("state", state, "a GANState")

    def describe(tree: GANState) -> dict[str, Any]:
        leaves = jax.tree.leaves_with_path(tree)
        return {jax.tree_util.keystr(path): describe_array(leaf) for path, leaf in leaves}

    given, wanted = describe(state), describe(state_shapes(setup))
    for path in [*wanted, *given]:
        here, there = given.get(path, "nothing"), wanted.get(path, "nothing")
        if here != there:
            allowed = f"what init gives for this game and method, which has {there} at {path}"
            raise InvalidArgument("state", here, allowed)


def check_samples(
    name: str, samples: Any, distribution: Distribution, steps: int | None = None
) -> jax.Array:
    """Samples [steps, units] in JAX's default float type; raise for another shape or dtype."""
    (units,) = distribution.center.shape
    allowed = f"an array of numbers, [{'steps' if steps is None else steps}, {units}]"
    array = as_array(name, samples, allowed)
    if array.ndim != 2 or array.shape != (steps or len(array), units) or not is_real(array):
        raise InvalidArgument(name, describe_array(array), allowed)
    return jnp.asarray(array, jnp.result_type(float))


def check_no_extra_draws(setup: Setup) -> None:
    """Raise unless a step consumes one real sample and one latent, and nothing else."""
    batch = jax.eval_shape(partial(draw_batch, setup=setup), seed_key(0))
    is_plain = jax.tree.structure(batch) == jax.tree.structure(Batch(0, 0))
    if setup.method.d_steps > 1 or not is_plain:
        allowed = "one whose step takes a real sample and a latent, and draws nothing else"
        raise InvalidArgument("method", setup.method, allowed)


def as_array(name: str, value: Any, allowed: str) -> np.ndarray | jax.Array:
    """An array of JAX's, or of anything that NumPy converts, PyTorch's tensors included."""
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


def check_whole(name: str, value: object, least: int, most: int, remark: str = "") -> None:
    """Raise unless a value is a whole number in a closed range; a remark may explain its ends."""
    if not _is_whole(value) or not least <= value <= most:
        raise InvalidArgument(name, value, f"a whole number from {least} to {most}{remark}")


def _is_whole(value: object) -> bool:
    """Whether a value is an integer, of Python's or NumPy's, and not a bool."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
