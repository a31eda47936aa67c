"""One training run to be watched: its history, and the updates that led to each record."""

from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from gan1010_jax.checks import as_floats, check_key, check_run
from gan1010_jax.games import Game, pattern_game
from gan1010_jax.methods import Hyperparams, Method
from gan1010_jax.training import History, Run, keep, start, take_steps
from gan1010_jax.updates import SETTINGS, GANState, Update, draw_batch, losses_of, play_step


class Film(NamedTuple):
    """A run with everything that moved in it; each leaf has the records in front.

    Attributes:
      history: what `train` keeps.
      state: both players after the step that is recorded.
      updates: the updates of that step, in order.
    """

    history: History
    state: GANState
    updates: list[Update]


def watch(
    key: chex.PRNGKey,
    game: Game = pattern_game("1010"),
    method: Method = Method(),
    hyperparams: Hyperparams = Hyperparams(),
    *,
    steps: int = 10_000,
    record_every: int = 10,
) -> Film:
    """Train one GAN as `train` does, and keep the players and every update at each record.

    The arguments, and what is refused, are those of `train`, whose numbers it gives to rounding.
    """
    check_key(key)
    check_run(game, method, hyperparams, steps, record_every)
    return film(key, game, method, as_floats(hyperparams), int(steps), int(record_every))


@partial(jax.jit, static_argnames=(*SETTINGS, "steps", "record_every"))
def film(
    key: chex.PRNGKey,
    game: Game,
    method: Method,
    hyperparams: Hyperparams,
    steps: int,
    record_every: int,
) -> Film:
    """The whole of `watch`, its arguments taken as checked."""
    rules = (game, method, hyperparams)
    run, data_key = start(key, *rules)
    batch_at = partial(draw_batch, data_key, *rules)

    def record(run, first_step):
        run = take_steps(run, batch_at, first_step, *rules, record_every - 1)
        state, updates = play_step(run.state, batch_at(first_step + record_every - 1), *rules)
        run = Run(state, losses_of(updates))
        return run, Film(keep(run, first_step + record_every, game), state, updates)

    _, kept = jax.lax.scan(record, run, jnp.arange(0, steps, record_every, dtype=jnp.int32))
    return kept
