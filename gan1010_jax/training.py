"""One training run: a `lax.scan` over the steps, with a record every few of them."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from gan1010_jax.checks import (
    as_floats,
    check_key,
    check_plain,
    check_run,
    check_samples,
    check_state,
    check_steps,
    check_types,
)
from gan1010_jax.games import Game, pattern_game
from gan1010_jax.losses import Batch
from gan1010_jax.methods import Hyperparams, Method
from gan1010_jax.updates import (
    SETTINGS,
    GANState,
    Losses,
    draw_batch,
    init,
    observe,
    train_step,
)


class History(NamedTuple):
    """What is kept of a run: one entry per record, oldest first.

    Attributes:
      step: int32 [records], how many steps had been taken.
      output: [records, units], the generator's output after that step, or what else the game
        observes.
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
    counted from 0, takes `draw_batch(data_key, game, method, hyperparams, t)`. It depends on
    nothing else, so a longer run begins with the shorter one.

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
    batch_at = partial(draw_batch, data_key, game, method, hyperparams)
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
    check_plain(game, method, hyperparams)
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
    run = take_steps(run, batch_at, first_step, game, method, hyperparams, record_every)
    return run, keep(run, first_step + record_every, game)


def take_steps(
    run: Run,
    batch_at: Callable[[jax.Array], Batch],
    first_step: jax.Array,
    game: Game,
    method: Method,
    hyperparams: Hyperparams,
    steps: int,
) -> Run:
    """So many steps from `first_step` on."""

    def step(t, run):
        batch = batch_at(first_step + t)
        return Run(*train_step(run.state, batch, game, method, hyperparams))

    return jax.lax.fori_loop(0, steps, step, run)


def keep(run: Run, step: jax.Array, game: Game) -> History:
    """The record of a run that has taken so many steps: a `History` of one."""
    output, finite = observe(run.state, game), all_finite(run.state)
    matched, in_support = success(output, finite, game)
    return History(step, output, run.losses, finite, matched, in_support)


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
