"""Validation at the public boundary: each check raises an `InvalidArgument`."""

import inspect
import os
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial, wraps
from pathlib import Path
from typing import Any, TypeVar, cast

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
from gan1010_jax.methods import (
    HYPERPARAMS,
    Hyperparams,
    as_numbers,
    check_samples_name,
    is_allowed,
    is_real,
)

MAX_STEPS = 2**31 - 1
MAX_RECORDS = 100_000
MAX_ORDER = 64  # of a quadrature

_Function = TypeVar("_Function", bound=Callable[..., Any])


def checked(function: _Function, if_logged: Callable[..., Any] | None = None) -> _Function:
    """A public function whose failure for a wrong argument is an `InvalidArgument`.

    Arguments are looked at when a call has failed, by their names: no call that works is rejected
    or slowed down, also under `jit`, which itself fails for what is not an array. A call with a
    `log` goes to `if_logged`, if given, which need not be one compiled program.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        is_logged = if_logged is not None and kwargs.get("log") is not None
        try:
            return (if_logged if is_logged else function)(*args, **kwargs)
        except InvalidArgument:
            raise
        except Exception:
            wrong = find_wrong(args, kwargs)
            if wrong is None:
                raise
        raise wrong from None

    def find_wrong(args: Any, kwargs: Any) -> InvalidArgument | None:
        try:
            arguments = signature.bind(*args, **kwargs)
            arguments.apply_defaults()
            _check_arguments(**arguments.arguments)
        except InvalidArgument as wrong:
            return wrong
        except Exception:  # then the error of the call says more
            return None
        return None

    return cast(_Function, call)


def _check_arguments(setup: Any, **others: Any) -> None:
    """Raise for the first argument that is not of the kind that its name says."""
    setup = check_setup(setup)
    for name, value in others.items():
        match name:
            case "key":
                check_key(value)
            case "state":
                check_state(value, setup)
            case "at" if value is not None:
                check_state(value, setup, name)
            case "batch":
                _check_batch(value, setup)
            case "step" if np.shape(as_array(name, value, "a whole number")) != ():
                raise InvalidArgument(name, describe_array(value), "a whole number")
            case "step" if not is_real(as_array(name, value, "a whole number")):
                raise InvalidArgument(name, value, "a whole number")
            case "samples":
                check_samples_name(value)
            case "steps":
                check_steps(value, others["record_every"])
            case "latent" if value is not None:
                _check_latent(value, setup)
            case "order" if value is not None:
                check_whole("order", value, 1, MAX_ORDER, ", or None")


def check_kind(name: str, value: Any, kind: type) -> None:
    """Raise unless a value is of a kind."""
    if not isinstance(value, kind):
        raise InvalidArgument(name, value, f"a {kind.__name__}")


def check_path(name: str, value: Any) -> Path:
    """A path; raise for what cannot be the name of a file."""
    if not isinstance(value, str | os.PathLike) or "\0" in str(os.fspath(value)):
        raise InvalidArgument(name, value, "a path")
    return Path(value)


def check_callable(name: str, value: Any) -> None:
    """Raise unless a value is a function or None."""
    if value is not None and not callable(value):
        raise InvalidArgument(name, value, "a function, or None")


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
    check_kind("setup", setup, Setup)
    check_kind("hyperparams", setup.hyperparams, Hyperparams)
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
    jax.eval_shape(partial(_check_traced_parts, game))  # so that nothing is computed


def _check_traced_parts(game: Game) -> None:
    """`_check_parts`, under a trace."""
    setup, real, latent = Setup(game), game.real.center, game.latent.center
    key, state = seed_key(0), state_shapes(setup)

    def logit(state):
        return game.discriminator.apply({"params": state.discriminator.params}, real)

    summary = jax.eval_shape(partial(summarize, setup=setup), state)
    units = getattr(summary, "size", None)
    for part, function, argument, shape in (
        ("real samples have", game.real.sample, key, real.shape),
        ("latent samples have", game.latent.sample, key, latent.shape),
        ("discriminator gives", logit, state, ()),
        ("generator gives", partial(generate, setup=setup), state, real.shape),
        ("summary_fn gives", partial(summarize, setup=setup), state, (units,)),
        ("matched gives", game.matched, summary, ()),
        ("in_support gives", game.in_support, summary, ()),
    ):
        # A partial, since `eval_shape` keeps a weak reference to the function.
        result = jax.eval_shape(partial(function), argument)
        found = getattr(result, "shape", None)
        if found != shape:
            other = result if found is None else [*found]
            allowed = f"one whose {part} the shape {[*shape]}, and not {other}"
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


def check_state(state: GANState, setup: Setup, name: str = "state") -> None:
    """Raise unless a state has the tree, shapes and dtypes of `init`'s, naming the first leaf."""
    check_kind(name, state, GANState)
    _check_tree(name, state, state_shapes(setup), "init")


def _check_batch(batch: Batch, setup: Setup) -> None:
    """Raise unless a batch has the tree, shapes and dtypes of `draw_batch`'s."""
    check_kind("batch", batch, Batch)
    _check_tree("batch", batch, _batch_shapes(setup), "draw_batch")


def _check_tree(name: str, tree: Any, shapes: Any, function: str) -> None:
    """Raise for the first leaf of a pytree that is not as in what a function returns."""

    def describe(tree: Any) -> dict[str, Any]:
        leaves = jax.tree.leaves_with_path(tree)
        return {jax.tree_util.keystr(path): describe_array(leaf) for path, leaf in leaves}

    given, wanted = describe(tree), describe(shapes)
    for path in [*wanted, *given]:
        here, there = given.get(path, "nothing"), wanted.get(path, "nothing")
        if not isinstance(here, str) or here != there:
            allowed = f"what {function} gives for this game and method, which has {there} at {path}"
            raise InvalidArgument(name, here, allowed)


def _batch_shapes(setup: Setup) -> Batch:
    """The `jax.ShapeDtypeStruct`s of a batch."""
    return jax.eval_shape(partial(draw_batch, setup=setup), seed_key(0))


def _check_latent(latent: Any, setup: Setup) -> None:
    """Raise unless these are latents [..., latent units]."""
    (units,) = setup.game.latent.center.shape
    allowed = f"an array of numbers, [..., {units}]"
    array = as_array("latent", latent, allowed)
    if array.shape[-1:] != (units,) or not is_real(array):
        raise InvalidArgument("latent", describe_array(array), allowed)


def check_square(name: str, matrix: Any) -> Any:
    """A matrix [..., n, n]; raise for anything else."""
    allowed = "an array of numbers, [..., n, n]"
    array = as_array(name, matrix, allowed)
    is_square = array.ndim >= 2 and array.shape[-1] == array.shape[-2]
    if not is_square or not jnp.issubdtype(array.dtype, jnp.number):
        raise InvalidArgument(name, describe_array(matrix), allowed)
    return array


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
    batch = _batch_shapes(setup)
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
