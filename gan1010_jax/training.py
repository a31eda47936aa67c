"""One training run: a `lax.scan` over the steps, with a record every few of them."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan1010_jax.errors import InvalidArgument
from gan1010_jax.games import Game, pattern_game
from gan1010_jax.methods import Hyperparams, Method
from gan1010_jax.updates import GANState, Losses, draw_batch, generate, init, train_step

MAX_STEPS = 2**31 - 1


class History(NamedTuple):
    """What is kept of a run: one entry per record, oldest first.

    Attributes:
      step: int32 [records], how many steps had been taken.
      output: [records, units], the generator's output after that step.
      losses: `Losses` of [records], the three losses in that step.
      finite: bool [records], whether every parameter is finite after that step.
    """

    step: jax.Array
    output: jax.Array
    losses: Losses
    finite: jax.Array


def train(
    key: jax.Array,
    game: Game = pattern_game("1010"),
    method: Method = Method(),
    hyperparams: Hyperparams = Hyperparams(),
    *,
    steps: int = 10_000,
    record_every: int = 10,
) -> tuple[GANState, History]:
    """Train one GAN from scratch; `train(jax.random.key(i))` is the reference's run of seed i.

    The random stream: `init_key, data_key = split(key)`; `init` takes the first, and step t,
    counted from 0, draws its batch from `fold_in(data_key, t)`. It depends on nothing else, so
    a longer run begins with the shorter one.

    Args:
      key: a typed key, `jax.random.key(seed)`.
      game: what is played.
      method: how it is trained.
      hyperparams: its numbers, scalars.
      steps: how many steps, a positive multiple of `record_every`.
      record_every: how many steps from record to record; the last step is always recorded.

    Returns:
      The final state and the `History`.

    Raises:
      InvalidArgument: (a `ValueError`) for an argument outside these limits.
    """
    check_key(key)
    check_run(steps, record_every)
    check_hyperparams(hyperparams)
    return scan_steps(key, game, method, hyperparams, steps, record_every)


@partial(jax.jit, static_argnames=("game", "method", "steps", "record_every"))
def scan_steps(
    key: jax.Array,
    game: Game,
    method: Method,
    hyperparams: Hyperparams,
    steps: int,
    record_every: int,
) -> tuple[GANState, History]:
    """`train`, its arguments taken as checked."""
    init_key, data_key = jax.random.split(key)

    def step(state, t):
        batch = draw_batch(jax.random.fold_in(data_key, t), game, method)
        return train_step(state, batch, game, method, hyperparams)

    def record(state, first_step):
        steps_of_record = first_step + jnp.arange(record_every, dtype=jnp.int32)
        state, losses = jax.lax.scan(step, state, steps_of_record)
        kept = History(
            step=first_step + record_every,
            output=generate(state, game),
            losses=jax.tree.map(lambda loss: loss[-1], losses),
            finite=all_finite(state),
        )
        return state, kept

    state = init(init_key, game, method, hyperparams)
    first_steps = jnp.arange(0, steps, record_every, dtype=jnp.int32)
    return jax.lax.scan(record, state, first_steps)


def all_finite(state: GANState) -> jax.Array:
    """Whether every parameter of both players is finite: a bool."""
    params = jax.tree.leaves((state.discriminator.params, state.generator.params))
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in params]).all()


def check_key(key: jax.Array) -> None:
    """Refuse what is not one typed key."""
    if not (
        isinstance(key, jax.Array)
        and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        and key.shape == ()
    ):
        raise InvalidArgument("key", key, "one typed key, such as jax.random.key(0)")


def check_run(steps: int, record_every: int) -> None:
    """Refuse a length of run, or a distance between records, that has no meaning."""
    if not is_whole(steps) or not 1 <= steps <= MAX_STEPS:
        raise InvalidArgument("steps", steps, f"a whole number from 1 to {MAX_STEPS}")
    if not is_whole(record_every) or not 1 <= record_every <= steps:
        raise InvalidArgument(
            "record_every", record_every, f"a whole number from 1 to the number of steps, {steps}"
        )
    if steps % record_every:
        raise InvalidArgument(
            "steps",
            steps,
            f"a multiple of the record interval, {record_every}, so that the last step is recorded",
        )


def check_hyperparams(hyperparams: Hyperparams, seeds: int | None = None) -> None:
    """Refuse numbers that are below zero or not finite as JAX's floats; tracers' values pass.

    Each must be a scalar or, where there are many seeds, may be an array [seeds].
    """
    for name, value in hyperparams._asdict().items():
        shape = np.shape(value)
        if shape not in ((), (seeds,)):
            each = "" if seeds is None else f", or one for each of the {seeds} seeds"
            raise InvalidArgument(name, value, f"a scalar{each}")
        if not isinstance(value, jax.core.Tracer) and not is_at_least_zero(value):
            raise InvalidArgument(name, value, "a finite number, zero or more")


def is_at_least_zero(value: object) -> bool:
    """Whether all of a value's numbers are finite, as JAX's floats, and zero or more."""
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        return False
    with np.errstate(over="ignore"):
        array = array.astype(jnp.result_type(float))
    return bool(np.all(np.isfinite(array) & (array >= 0)))


def is_whole(value: object) -> bool:
    """Whether a value is an integer, of Python's or NumPy's, and not a bool."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
