"""One training run: a `lax.scan` over the steps, with a record every few of them."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from gan1010_jax.errors import InvalidArgument
from gan1010_jax.games import Distribution, Game, pattern_game
from gan1010_jax.methods import Hyperparams, Method
from gan1010_jax.updates import (
    SETTINGS,
    Batch,
    GANState,
    Losses,
    draw_batch,
    generate,
    init,
    state_shapes,
    train_step,
)

MAX_STEPS = 2**31 - 1
MAX_RECORDS = 100_000


class History(NamedTuple):
    """What is kept of a run: one entry per record, oldest first.

    Attributes:
      step: int32 [records], how many steps had been taken.
      output: [records, units], the generator's output after that step.
      losses: `Losses` of [records], the three losses in that step.
      finite: bool [records], whether every parameter is finite after that step.
      matched: bool [records], whether the output matches, and every parameter is finite.
      in_support: bool [records], whether it could be a real sample, likewise.
    """

    step: jax.Array
    output: jax.Array
    losses: Losses
    finite: jax.Array
    matched: jax.Array
    in_support: jax.Array


def train(
    key: chex.PRNGKey,
    game: Game = pattern_game("1010"),
    method: Method = Method(),
    hyperparams: Hyperparams = Hyperparams(),
    *,
    steps: int = 10_000,
    record_every: int = 10,
) -> tuple[GANState, History]:
    """Train one GAN from scratch; `train(jax.random.key(i))` is the reference's run of seed i.

    The random stream: `init_key, data_key = split(key)`; `init` takes the first, and step t,
    counted from 0, takes `draw_batch(data_key, game, method, t)`. It depends on nothing else, so
    a longer run begins with the shorter one.

    Args:
      key: a typed key, `jax.random.key(seed)`.
      game: what is played.
      method: how it is trained.
      hyperparams: its numbers, scalars.
      steps: how many steps, a positive multiple of `record_every`.
      record_every: how many steps from record to record; the last step is always recorded. There
        may be 100,000 records at most, for they are kept in memory.

    Returns:
      The final state and the `History`.

    Raises:
      InvalidArgument: (a `ValueError`) for an argument outside these limits.
    """
    check_key(key)
    check_run(game, method, hyperparams, steps, record_every)
    hyperparams = as_floats(hyperparams)
    return run_key(key, game, method, hyperparams, int(steps), int(record_every))


@partial(jax.jit, static_argnames=(*SETTINGS, "steps", "record_every"))
def run_key(
    key: chex.PRNGKey,
    game: Game,
    method: Method,
    hyperparams: Hyperparams,
    steps: int,
    record_every: int,
) -> tuple[GANState, History]:
    """The whole of `train`, its arguments taken as checked."""
    run, data_key = start(key, game, method, hyperparams)
    batch_at = partial(draw_batch, data_key, game, method)
    return scan_records(run, batch_at, game, method, hyperparams, steps, record_every)


def train_on(
    state: GANState,
    real: jax.Array,
    game: Game = pattern_game("1010"),
    method: Method = Method(),
    hyperparams: Hyperparams = Hyperparams(),
    *,
    latent: jax.Array | None = None,
    record_every: int = 10,
) -> tuple[GANState, History]:
    """Train on real samples of your own, one a step, from a state of your own.

    Nothing is drawn: this replays what another program did, step by step, if given its first
    parameters (`params_from_torch`) and its samples. Works under `jit` and `vmap`.

    Args:
      state: where to start, such as from `init`, in JAX's default float type.
      real: the real samples, [steps, units], as an array or a tensor.
      game: what is played; its own distributions are not used.
      method: how it is trained.
      hyperparams: its numbers, scalars. An optimiser that keeps its learning rate in its state goes
        on with that one.
      latent: the generator's inputs, [steps, latent units]; by default, the centre of the game's
        latent distribution in every step.
      record_every: how many steps from record to record; it divides the number of steps.

    Returns:
      The final state and the `History`, as `train` does; its steps are counted from 0 here.

    Raises:
      InvalidArgument: (a `ValueError`) for a state of another game or method, samples of another
        shape, or an argument outside the limits of `train`.
    """
    check_types(game, method, hyperparams)
    check_state(state, game, method)
    real = check_samples("real", real, game.real)
    steps = len(real)
    if latent is None:
        latent = jnp.broadcast_to(game.latent.center, (steps, *game.latent.center.shape))
    latent = check_samples("latent", latent, game.latent, steps)
    check_steps(steps, record_every)
    batches = Batch(real, latent)
    return run_batches(state, batches, game, method, as_floats(hyperparams), int(record_every))


@partial(jax.jit, static_argnames=(*SETTINGS, "record_every"))
def run_batches(
    state: GANState,
    batches: Batch,
    game: Game,
    method: Method,
    hyperparams: Hyperparams,
    record_every: int,
) -> tuple[GANState, History]:
    """The whole of `train_on`, its batches [steps, ...] and its arguments taken as checked."""

    def batch_at(step):
        return jax.tree.map(lambda leaf: leaf[step], batches)

    steps = len(batches.real)
    return scan_records(begin(state), batch_at, game, method, hyperparams, steps, record_every)


class Run(NamedTuple):
    """A run under way: the state, and the losses in the step that led to it."""

    state: GANState
    losses: Losses


def begin(state: GANState) -> Run:
    """A run that has not taken a step yet."""
    return Run(state, Losses(*[jnp.zeros((), jnp.result_type(float))] * 3))


def start(
    key: chex.PRNGKey, game: Game, method: Method, hyperparams: Hyperparams
) -> tuple[Run, chex.PRNGKey]:
    """A run of a key that has not taken a step yet, and the key of its batches."""
    init_key, data_key = jax.random.split(key)
    return begin(init(init_key, game, method, hyperparams)), data_key


def scan_records(
    run: Run,
    batch_at: Callable[[jax.Array], Batch],
    game: Game,
    method: Method,
    hyperparams: Hyperparams,
    steps: int,
    record_every: int,
) -> tuple[GANState, History]:
    """All the steps of a run, and its history."""

    def record(run, first_step):
        return train_record(run, batch_at, first_step, game, method, hyperparams, record_every)

    run, history = jax.lax.scan(record, run, jnp.arange(0, steps, record_every, dtype=jnp.int32))
    return run.state, history


def train_record(
    run: Run,
    batch_at: Callable[[jax.Array], Batch],
    first_step: jax.Array,
    game: Game,
    method: Method,
    hyperparams: Hyperparams,
    record_every: int,
) -> tuple[Run, History]:
    """The steps from `first_step` on to the next record, and that record: a `History` of one.

    `batch_at` gives the batch of a step, counted from 0.
    """

    def step(t, run):
        batch = batch_at(first_step + t)
        return Run(*train_step(run.state, batch, game, method, hyperparams))

    run = jax.lax.fori_loop(0, record_every, step, run)
    output, finite = generate(run.state, game), all_finite(run.state)
    matched, in_support = success(output, finite, game)
    step = first_step + record_every
    return run, History(step, output, run.losses, finite, matched, in_support)


def success(output: jax.Array, finite: jax.Array, game: Game) -> tuple[jax.Array, jax.Array]:
    """Whether outputs [..., units] match, and are in support, where all is finite: two bool [...].

    Once a parameter is not finite, an output is neither.
    """
    return game.matched(output) & finite, game.in_support(output) & finite


def all_finite(state: GANState) -> jax.Array:
    """Whether every parameter of both players is finite: a bool."""
    params = jax.tree.leaves((state.discriminator.params, state.generator.params))
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in params]).all()


def record_steps(steps: int, record_every: int) -> np.ndarray:
    """How many steps have been taken at each record of a run, int32 [records]."""
    return np.arange(record_every, steps + 1, record_every, dtype=np.int32)


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
    is_real = jnp.issubdtype(array.dtype, np.floating) or jnp.issubdtype(array.dtype, np.integer)
    if array.ndim != 2 or array.shape != (steps or len(array), units) or not is_real:
        raise InvalidArgument(name, describe(array), allowed)
    return jnp.asarray(array, jnp.result_type(float))


def check_state(state: GANState, game: Game, method: Method) -> None:
    """Refuse a state of other networks, another optimiser or another float type.

    Raises:
      InvalidArgument: (a `ValueError`) that names the first leaf that differs.
    """
    if not isinstance(state, GANState):
        raise InvalidArgument("state", state, "a GANState")
    given, wanted = (
        {jax.tree_util.keystr(path): describe(leaf) for path, leaf in jax.tree.leaves_with_path(s)}
        for s in (state, state_shapes(game, method))
    )
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
        raise InvalidArgument(name, describe(value), allowed) from None


def describe(value: Any) -> Any:
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
    check_steps(steps, record_every)


def check_types(game: Game, method: Method, hyperparams: Hyperparams) -> None:
    """Refuse what is not of its type."""
    for name, value, kind in (
        ("game", game, Game),
        ("method", method, Method),
        ("hyperparams", hyperparams, Hyperparams),
    ):
        if not isinstance(value, kind):
            raise InvalidArgument(name, value, f"a {kind.__name__}")


def check_steps(steps: int, record_every: int) -> None:
    """Refuse numbers of steps and of steps between records that do not go together."""
    if not is_whole(steps) or not 1 <= steps <= MAX_STEPS:
        raise InvalidArgument("steps", steps, f"a whole number from 1 to {MAX_STEPS}")
    least = -(-int(steps) // MAX_RECORDS)
    if not is_whole(record_every) or not least <= record_every <= steps:
        allowed = f"a whole number from {least} to the number of steps, {steps}"
        raise InvalidArgument("record_every", record_every, allowed)
    if steps % record_every:
        allowed = f"a multiple of the record interval, {record_every}, to be recorded to the end"
        raise InvalidArgument("steps", steps, allowed)


def as_floats(hyperparams: Hyperparams, seeds: int | None = None) -> Hyperparams:
    """Hyperparameters in JAX's default float type; with many seeds, arrays [seeds] may be given.

    Raises:
      InvalidArgument: (a `ValueError`) for another shape, or a number that is not finite or is
        below zero. The value of a tracer is not seen.
    """
    return Hyperparams(*(as_float(*item, seeds) for item in hyperparams._asdict().items()))


def as_float(name: str, value: object, seeds: int | None) -> jax.Array | np.ndarray:
    """One of `as_floats`."""
    dtype = jnp.result_type(float)
    if isinstance(value, jax.core.Tracer):
        array = value.astype(dtype)
    else:
        try:
            with np.errstate(over="ignore"):
                array = np.asarray(value, dtype)
        except (TypeError, ValueError):
            array = np.asarray(np.nan)
        if not np.all(np.isfinite(array) & (array >= 0)):
            raise InvalidArgument(name, value, "a finite number, zero or more")
    if array.shape not in ((), (seeds,)):
        each = "" if seeds is None else f", or one for each of the {seeds} seeds"
        raise InvalidArgument(name, value, f"a scalar{each}")
    return array


def is_whole(value: object) -> bool:
    """Whether a value is an integer, of Python's or NumPy's, and not a bool."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
