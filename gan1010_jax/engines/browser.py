"""A setup's training as JavaScript: what a page needs of it, from the one definition."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from gan1010_jax.engines.javascript import to_javascript
from gan1010_jax.games import Matches, Uniform, Within
from gan1010_jax.gan import (
    Batch,
    GANState,
    Setup,
    d_step_batch,
    discriminator_loss,
    draw_batch,
    generator_loss,
    seed_key,
    state_shapes,
    train_step,
)
from gan1010_jax.methods import Hyperparams
from gan1010_jax.training import carry_from, init_carry, make_record


class _Settings(NamedTuple):
    """What of a setup may change while it trains.

    Attributes:
      hyperparams: those that the setup has.
      pattern: of a game of patterns, the real range and the bit of each coordinate, else None.
    """

    hyperparams: Hyperparams
    pattern: "_Pattern | None"


class _Pattern(NamedTuple):
    """A pattern: float32 `low` and `high`, int32 `bits`, each [units]."""

    low: jax.Array
    high: jax.Array
    bits: jax.Array


class _Update(NamedTuple):
    """The parameters that an update starts from, and the gradient that its player follows."""

    discriminator: chex.ArrayTree
    generator: chex.ArrayTree
    gradient: chex.ArrayTree


class _Trace(NamedTuple):
    """A step in full: its batch, and its updates in the order of `Method.updates`."""

    batch: Batch
    updates: tuple[_Update, ...]


def browser_program(
    setup: Setup = Setup(), functions: Mapping[str, tuple[Callable, Sequence[Any]]] | None = None
) -> str:
    """The training of a setup as JavaScript: an expression, as `to_javascript` prints it.

    Its functions; those of their arguments that are blocks, and all results, begin with a capital:

        settings(Settings)                            the setup's own settings
        init(seed, State, Key)                        the state of a seed's run before its first
                                                      step, and the key of its batches
        step(State, Key, Settings, t, State, Losses, Trace)
                                                      step t, counted from 0: the state after it,
                                                      its losses, its batch and its updates
        record(State, Settings, Record)               a `History`'s record, without step and losses
        judge(State, Sample, Judgement)               D's logit of a sample [units], the sigmoid of
                                                      that, and the slope of the logit there

    Beside them are `game`, the game's name, `method`, by the names of its parts, `at_once`, whether
    all updates start from the state before the step, and `updates`, the player, samples and D step
    of each. Settings are those `hyperparams` that are not None, and the
    `pattern` of a game of `pattern_game`, its real ranges and bits: a program is for all patterns
    of a length. In a trace, each of the `updates` has the players' parameters before it, and the
    gradient by those of the player that moves; of an extragradient step, those of its first half.

    The numbers are those of `train(jax.random.key(seed), setup)`: the keys, the first state and the
    draws to the bit, on processors that multiply and add at once; the rest as the engines' are,
    up to the order of additions. Of the reference, 512 seeds after 10,000 steps on an AMD EPYC were
    those of the engine `fused`, to the bit.

    Args:
      setup: what is trained.
      functions: more functions, as `to_javascript` takes them.

    Raises:
      UnsupportedPrimitive: for a network, a method or a type that cannot be printed; it names what.
    """
    state, key = state_shapes(setup), jax.eval_shape(seed_key, 0)
    own = _settings(setup)
    settings = jax.eval_shape(lambda: own)
    sample = jax.eval_shape(lambda: setup.game.real.center)
    t, seed = (jax.ShapeDtypeStruct((), dtype) for dtype in (np.int32, np.uint32))

    def init(seed):
        carry, data_key = init_carry(seed_key(seed), setup)
        return carry.state, data_key

    def step(state, key, settings, t):
        given = _apply_settings(setup, settings)
        batch = draw_batch(key, given, t)
        state, info = train_step(state, batch, given)
        starts = zip(setup.method.updates, info.updates)
        updates = tuple(_trace_update(start, batch, given, *update) for update, start in starts)
        return state, info.losses, _Trace(batch, updates)

    def record(state, settings):
        made = make_record(carry_from(state), jnp.int32(0), _apply_settings(setup, settings))
        return made._replace(step=None, losses=None)

    def judge(state, sample):
        def logit(sample):
            return setup.game.discriminator.apply({"params": state.discriminator.params}, sample)

        value, slope = jax.value_and_grad(logit)(sample)
        return {"logit": value, "probability": nn.sigmoid(value), "slope": slope}

    own_functions = {
        "settings": (lambda: own, ()),
        "init": (init, (seed,)),
        "step": (step, (state, key, settings, t)),
        "record": (record, (state, settings)),
        "judge": (judge, (state, sample)),
    }
    names = ("player", "samples", "d_step")
    about = {
        "game": setup.game.name,
        "method": setup.method.options,
        "at_once": setup.method.at_once,
        "updates": [dict(zip(names, update)) for update in setup.method.updates],
    }
    text = to_javascript({**own_functions, **(functions or {})})
    escaped = json.dumps(about).replace("<", "\\u003c")  # as it may stand in a page
    return f"Object.assign({text}, {escaped})"


def _settings(setup: Setup) -> _Settings:
    """The settings of a setup."""
    game, pattern = setup.game, None
    hyperparams = jax.tree.map(np.float32, setup.hyperparams)
    if _is_pattern(setup):
        bits = np.array(game.matched.bits, np.int32)
        pattern = _Pattern(np.float32(game.real.low), np.float32(game.real.high), bits)
    return _Settings(hyperparams, pattern)


def _is_pattern(setup: Setup) -> bool:
    """Whether a game's success is decided by the bits and ranges of its real samples."""
    game = setup.game
    kinds = isinstance(game.real, Uniform), isinstance(game.matched, Matches)
    return all(kinds) and game.in_support == Within(game.real.low, game.real.high)


@dataclass(frozen=True, eq=False)
class _TracedUniform:
    """`Uniform`, whose ends are traced, and which a game can have since it equals only itself."""

    low: jax.Array
    high: jax.Array

    @property
    def center(self) -> jax.Array:
        return Uniform((*self.low,), (*self.high,)).center

    def sample(self, key: chex.PRNGKey, index: chex.Numeric = 0) -> jax.Array:
        return Uniform((*self.low,), (*self.high,)).sample(key, index)


def _apply_settings(setup: Setup, settings: _Settings) -> Setup:
    """A setup under other settings."""
    game = setup.game
    if settings.pattern is not None:
        low, high, bits = settings.pattern

        def matched(output):
            on_sides = [jax.vmap(Matches((bit,)))(output[:, None]) for bit in (0, 1)]
            return jnp.where(bits == 1, on_sides[1], on_sides[0]).all()

        def in_support(output):
            return Within((*low,), (*high,))(output)

        real = _TracedUniform(low, high)
        game = replace(game, real=real, matched=matched, in_support=in_support)
    return Setup(game, setup.method, settings.hyperparams)


def _trace_update(
    start: GANState, batch: Batch, setup: Setup, player: str, samples: str, d_step: int
) -> _Update:
    """The update that starts there; the printed step has its gradient already."""
    drawn = d_step_batch(batch, setup, d_step)
    if player == "discriminator":
        loss = jax.grad(discriminator_loss, has_aux=True)
        gradient, _ = loss(start.discriminator.params, start, drawn, setup, samples)
    else:
        loss = jax.grad(generator_loss, has_aux=True)
        gradient, _ = loss(start.generator.params, start, drawn, setup)
    return _Update(start.discriminator.params, start.generator.params, gradient)
