"""The GAN: its setup, both players, and one step of training.

Everything here is a pure function. Randomness enters only through `init` and `draw_batch`;
`train_step` is a deterministic function of a state, a batch and a setup.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from gan1010_jax.environment import jit
from gan1010_jax.errors import InvalidArgument
from gan1010_jax.games import Distribution, Game, Normal, Uniform, pattern_game
from gan1010_jax.methods import (
    PENALTY_HYPERPARAMS,
    Hyperparams,
    Method,
    PenaltyContext,
    check_samples_name,
    penalties_with,
    show_changes,
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class Setup:
    """A game, a method and its hyperparameters; the default is the reference.

    A pytree: the game and the method are static, and the hyperparameters are leaves. So a setup
    goes through `jit` as it is, and a grid of hyperparameters is a `vmap`.

    Raises:
      InvalidArgument: (a `ValueError`) for a game or method of another type, or a hyperparameter
        that the method's penalty, or the method, does not use.
    """

    game: Game = field(default=pattern_game("1010"), metadata={"static": True})
    method: Method = field(default=Method(), metadata={"static": True})
    hyperparams: Hyperparams = field(default=Hyperparams())

    def __post_init__(self):
        """Reject incompatible parts. Hyperparameters may be a transformation's placeholder."""
        for name, kind in (("game", Game), ("method", Method)):
            if not isinstance(getattr(self, name), kind):
                raise InvalidArgument(name, getattr(self, name), f"a {kind.__name__}")
        if isinstance(self.hyperparams, dict):
            raise InvalidArgument("hyperparams", self.hyperparams, "a Hyperparams")
        for name in PENALTY_HYPERPARAMS:
            value, penalty = getattr(self.hyperparams, name, None), self.method.penalty
            if value is not None and name not in penalty.hyperparams:
                others = ", ".join(penalties_with(name))
                allowed = f"None, since the penalty {penalty.name} does not use it, but {others}"
                raise InvalidArgument(name, value, allowed)
        step_size = getattr(self.hyperparams, "slow_step_size", None)
        if step_size is not None and self.method.sync_period is None:
            allowed = "None, since the method has no sync_period"
            raise InvalidArgument("slow_step_size", step_size, allowed)

    def __repr__(self) -> str:
        """Only what differs from the reference."""
        return show_changes(self)

    @property
    def optimizers(self) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
        """D's and G's, at their learning rates."""
        makers, hyperparams = self.method.optimizers, self.hyperparams
        made = tuple(make(lr) for make, lr in zip(makers, (hyperparams.d_lr, hyperparams.g_lr)))
        for optimizer in made:
            if not isinstance(optimizer, optax.GradientTransformation):
                allowed = "a function that returns an optax.GradientTransformation"
                raise InvalidArgument("optimizer", self.method.optimizer, allowed)
        return made


class Player(NamedTuple):
    """One network and what its training keeps.

    Attributes:
      params: its parameters (Flax's `params` collection).
      opt_state: its optimiser's state.
      slow: its slow weights under `Method(sync_period=)`, else None.
      slow_steps: the steps since they last moved, an int32 scalar, else None.
      average: G's average weights under `Hyperparams(average_decay=)`, else None.
    """

    params: chex.ArrayTree
    opt_state: optax.OptState
    slow: chex.ArrayTree | None = None
    slow_steps: jax.Array | None = None
    average: chex.ArrayTree | None = None


class GANState(NamedTuple):
    """Both players."""

    discriminator: Player
    generator: Player


class Batch(NamedTuple):
    """All randomness that one step consumes; with `d_steps > 1`, with a leading axis `d_steps`.

    Attributes:
      real: a real sample [units], its instance noise included.
      latent: the generator's input [latent units].
      noise: the instance noise of the fake sample [units], or None.
      mix: a position between the two samples, a scalar from 0 (fake) to 1 (real), or None unless
        the penalty `needs_mix`.
    """

    real: jax.Array
    latent: jax.Array
    noise: jax.Array | None = None
    mix: jax.Array | None = None


class Losses(NamedTuple):
    """The losses of a step, each a scalar, before the update that lowers it, without penalty.

    With `d_steps > 1`, those of the last D update. D's loss is the sum of the first two, and of a
    relativistic one, which cannot be divided among the samples, each is a half.
    """

    d_real: jax.Array
    d_fake: jax.Array
    g: jax.Array


class StepInfo(NamedTuple):
    """The second result of `train_step`, beside the new state.

    Attributes:
      losses: the losses of the step.
      updates: the state that each update started from, in the order of `Method.updates`.
    """

    losses: Losses
    updates: tuple[GANState, ...]


def seed_key(seed: chex.Numeric) -> chex.PRNGKey:
    """The key of a seed, 0 … 2³²-1: `jax.random.key(seed)` with JAX's default settings.

    Made from its words, it depends on neither `jax_default_prng_impl` nor `jax_random_seed_offset`.
    """
    words = jnp.stack([jnp.uint32(0), jnp.asarray(seed, jnp.uint32)])
    return jax.random.wrap_key_data(words, impl="threefry2x32")


@jit()
def init(key: chex.PRNGKey, setup: Setup = Setup()) -> GANState:
    """Initialise both players from one key.

    The hyperparameters matter only to an optimiser that keeps its learning rate in its state, such
    as `optax.inject_hyperparams`.
    """
    d_key, g_key = jax.random.split(key)
    game = setup.game
    d_params = _init_params(game, "discriminator", d_key, game.real.center)
    g_params = _init_params(game, "generator", g_key, game.latent.center)
    return fresh_state(d_params, g_params, setup)


def _init_params(game: Game, player: str, key: chex.PRNGKey, x: jax.Array) -> chex.ArrayTree:
    """A player's first parameters; raise for a network that has other variables, too."""
    variables = getattr(game, player).init(key, x)
    found = sorted(variables) if isinstance(variables, Mapping) else type(variables).__name__
    if found != ["params"]:
        allowed = f'one whose {player} has the variables "params" and no others, and not {found}'
        raise InvalidArgument("game", game.name, allowed)
    return variables["params"]


def fresh_state(d_params: chex.ArrayTree, g_params: chex.ArrayTree, setup: Setup) -> GANState:
    """Both players with these parameters, before their first step."""
    d_optimizer, g_optimizer = setup.optimizers
    state = GANState(
        discriminator=Player(d_params, d_optimizer.init(d_params)),
        generator=Player(g_params, g_optimizer.init(g_params)),
    )
    if setup.method.sync_period is not None:
        slow = (player._replace(slow=player.params, slow_steps=jnp.int32(0)) for player in state)
        state = GANState(*slow)
    if setup.hyperparams.average_decay is not None:
        state = state._replace(generator=state.generator._replace(average=g_params))
    return state


def state_shapes(setup: Setup) -> GANState:
    """The `jax.ShapeDtypeStruct`s of `init`'s state."""
    return jax.eval_shape(partial(init, setup=setup), seed_key(0))


@jit()
def draw_batch(key: chex.PRNGKey, setup: Setup = Setup(), step: chex.Numeric = 0) -> Batch:
    """Draw the batch of a step: one key has a batch for every step."""
    sources = batch_sources(setup)
    # Of Threefry, a split into more keys begins with the same ones.
    keys = dict(zip(_SOURCES, jax.random.split(key, 1 + max(map(_SOURCES.index, sources)))))

    def draw(index):
        drawn = {name: source.sample(keys[name], index) for name, source in sources.items()}
        return make_batch(drawn, setup)

    d_steps = setup.method.d_steps
    if d_steps == 1:
        return draw(step)
    return jax.vmap(draw)(d_steps * step + jnp.arange(d_steps, dtype=jnp.int32))


_SOURCES = ("real", "latent", "noise", "mix")


def batch_sources(setup: Setup) -> dict[str, Distribution]:
    """The distributions that a batch is drawn from, by name."""
    game, units = setup.game, setup.game.real.center.size
    sources: dict[str, Distribution] = {"real": game.real, "latent": game.latent}
    if setup.hyperparams.noise_std is not None:  # of the real sample, then of the fake one
        sources["noise"] = Normal((0.0,) * (2 * units), (1.0,) * (2 * units))
    if setup.method.penalty.needs_mix:
        sources["mix"] = Uniform((0.0,), (1.0,))
    return sources


def make_batch(drawn: dict[str, jax.Array], setup: Setup) -> Batch:
    """The batch of one draw [..., units] from each of the `batch_sources`."""
    batch = Batch(drawn["real"], drawn["latent"])
    if "noise" in drawn:
        on_real, on_fake = jnp.split(setup.hyperparams.noise_std * drawn["noise"], 2, axis=-1)
        batch = batch._replace(real=batch.real + on_real, noise=on_fake)
    if "mix" in drawn:
        batch = batch._replace(mix=drawn["mix"].squeeze(-1))
    return batch


@jit()
def generate(state: GANState, setup: Setup = Setup(), latent: jax.Array | None = None) -> jax.Array:
    """The generator's output [..., units] for a latent [..., latent units].

    Without a latent, the output for the center of the game's latent distribution. With
    `Hyperparams.average_decay`, of the generator with its average weights.
    """
    latent = setup.game.latent.center if latent is None else latent
    return setup.game.generator.apply({"params": _judged(state).generator.params}, latent)


def _judged(state: GANState) -> GANState:
    """The state whose output counts: G with its average weights, where there are some."""
    generator = state.generator
    if generator.average is None:
        return state
    return state._replace(generator=generator._replace(params=generator.average))


def discriminator_loss(
    d_params: chex.ArrayTree,
    state: GANState,
    batch: Batch,
    setup: Setup,
    samples: str = "both",
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """D's loss with these parameters on the real sample of a batch, the fake one, or both.

    It is against G as it is in a state, and the penalty is included.

    Returns:
      The loss, a scalar; and its parts without the penalty, by their names in `Losses`.
    """
    game, method, objective = setup.game, setup.method, setup.method.objective
    g_params = state.generator.params
    logit = partial(game.discriminator.apply, {"params": d_params})
    fake = _with_noise(game.generator.apply({"params": g_params}, batch.latent), batch)
    losses = {}
    if samples != "fake":
        u = logit(batch.real)
        losses["d_real"] = objective.d_real(u - logit(fake) if objective.relative else u)
    if samples != "real":
        u = logit(fake)
        losses["d_fake"] = objective.d_fake(u - logit(batch.real) if objective.relative else u)
    loss = sum(losses.values())
    penalty = method.penalty.term("discriminator", samples)
    return _add_penalty(loss, penalty, d_params, g_params, fake, state, batch, setup), losses


def generator_loss(
    g_params: chex.ArrayTree, state: GANState, batch: Batch, setup: Setup
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """G's loss with these parameters on a batch, through D as it is in a state, penalty included.

    Returns:
      The loss, a scalar; and, without the penalty, `{"g": loss}`.
    """
    game, method, objective = setup.game, setup.method, setup.method.objective
    d_params = state.discriminator.params
    fake = _with_noise(game.generator.apply({"params": g_params}, batch.latent), batch)
    logit = partial(game.discriminator.apply, {"params": d_params})
    u = logit(fake)
    loss = objective.g(u - logit(batch.real) if objective.relative else u)
    penalty = method.penalty.term("generator", "fake")
    return _add_penalty(loss, penalty, d_params, g_params, fake, state, batch, setup), {"g": loss}


def _with_noise(fake: jax.Array, batch: Batch) -> jax.Array:
    """A fake sample with the instance noise of its batch, as D sees it."""
    return fake if batch.noise is None else fake + batch.noise


def _add_penalty(
    loss: jax.Array,
    penalty: Callable[[PenaltyContext], jax.Array] | None,
    d_params: chex.ArrayTree,
    g_params: chex.ArrayTree,
    fake: jax.Array,
    state: GANState,
    batch: Batch,
    setup: Setup,
) -> jax.Array:
    """A loss with the penalty's weighted term."""
    if penalty is None:
        return loss
    none = replace(setup.method, penalty="none")
    bare = Setup(setup.game, none, replace(setup.hyperparams, **_WITHOUT_PENALTY))

    def losses(d_params, g_params):
        there = state._replace(generator=state.generator._replace(params=g_params))
        d_loss, _ = discriminator_loss(d_params, there, batch, bare)
        there = state._replace(discriminator=state.discriminator._replace(params=d_params))
        g_loss, _ = generator_loss(g_params, there, batch, bare)
        return d_loss, g_loss

    def gradients_at(d_params, g_params):
        d_gradient = jax.grad(lambda d_params: losses(d_params, g_params)[0])(d_params)
        g_gradient = jax.grad(lambda g_params: losses(d_params, g_params)[1])(g_params)
        return d_gradient, g_gradient

    def slopes():
        # Not by `stop_gradient`, which would hide it from whoever differentiates a step as well.
        constant = gradients_at(*(player.params for player in state))
        _, slopes = jax.jvp(losses, (d_params, g_params), constant)
        return slopes

    gradients = partial(gradients_at, d_params, g_params)
    logit = partial(setup.game.discriminator.apply, {"params": d_params})
    ctx = PenaltyContext(logit, batch.real, fake, batch.mix, setup.hyperparams, gradients, slopes)
    weight = setup.hyperparams.penalty_weight
    return loss + (penalty(ctx) if weight is None else weight * penalty(ctx))


_WITHOUT_PENALTY = dict.fromkeys(PENALTY_HYPERPARAMS)


@jit(static_argnames="samples")
def discriminator_update(
    state: GANState,
    batch: Batch,
    setup: Setup = Setup(),
    *,
    samples: str = "both",
    at: GANState | None = None,
) -> tuple[GANState, dict[str, jax.Array]]:
    """Update D, and nothing else, on the real sample of a batch, the fake one, or both.

    A penalty on one of the samples is part of the update on it, and one on both of the update on
    both.

    Args:
      state: both players.
      batch: such as from `draw_batch`, and of one D step.
      setup: what is trained.
      samples: "real", "fake" or "both".
      at: the state whose gradient D takes, or None for `state`.

    Returns:
      The state in which only D has moved; and D's losses where the gradient is taken, without
      penalty, by their names in `Losses`.

    Raises:
      InvalidArgument: (a `ValueError`) for other `samples` than "real", "fake" or "both".
    """
    check_samples_name(samples)
    at = state if at is None else at
    gradient, losses = jax.grad(discriminator_loss, has_aux=True)(
        at.discriminator.params, at, batch, setup, samples
    )
    optimizer, _ = setup.optimizers
    discriminator = _apply_gradients(state.discriminator, gradient, optimizer)
    clip = setup.hyperparams.clip
    if clip is not None:
        clipped = optax.tree.clip(discriminator.params, -clip, clip)
        discriminator = discriminator._replace(params=clipped)
    return state._replace(discriminator=discriminator), losses


@jit()
def generator_update(
    state: GANState, batch: Batch, setup: Setup = Setup(), *, at: GANState | None = None
) -> tuple[GANState, dict[str, jax.Array]]:
    """Update G, and nothing else, through D, on the fake sample of a batch.

    Args:
      state: both players.
      batch: such as from `draw_batch`, and of one D step.
      setup: what is trained.
      at: the state whose gradient G takes, or None for `state`.

    Returns:
      The state in which only G has moved; and G's loss where the gradient is taken, without
      penalty, as `{"g": loss}`.
    """
    at = state if at is None else at
    gradient, losses = jax.grad(generator_loss, has_aux=True)(at.generator.params, at, batch, setup)
    _, optimizer = setup.optimizers
    return state._replace(generator=_apply_gradients(state.generator, gradient, optimizer)), losses


def _apply_gradients(
    player: Player, gradient: optax.Updates, optimizer: optax.GradientTransformation
) -> Player:
    """A player after one step of its optimiser."""
    updates, opt_state = optimizer.update(gradient, player.opt_state, player.params)
    params = optax.apply_updates(player.params, updates)
    return player._replace(params=params, opt_state=opt_state)


@jit()
def train_step(state: GANState, batch: Batch, setup: Setup = Setup()) -> tuple[GANState, StepInfo]:
    """Take one step of training.

    The reference takes three updates, where D(x) is the probability σ(logit) that x is real and z
    is the latent 0.5:

        1. D on a real sample x:   θ_D ← θ_D - d_lr ∇_θD (D(x) - 1)²
        2. D on a fake sample:     θ_D ← θ_D - d_lr ∇_θD (D(G(z)) - 0)²
        3. G through the new D:    θ_G ← θ_G - g_lr ∇_θG (D(G(z)) - 1)²

    Each gradient is by the moving player's parameters alone: the other's are constants to
    `jax.grad`, so that no gradient reaches them.

    Other methods take the updates of `Method.updates`, with their objective, penalty and
    optimisers. In a simultaneous step, every update starts from the state before the step, and in
    an extragradient step it does so twice: the second time with the gradients at the state that the
    first has led to, which is then dropped. `info` tells of the first.

    Lookahead's slow weights, and G's average ones, move at the end of the step.
    """
    before, at, infos = state, None, []
    for _ in range(2 if setup.method.update_order == "extragradient" else 1):
        state, losses, starts = before, {}, []
        for player, samples, d_step in setup.method.updates:
            start = before if setup.method.at_once else state
            drawn = d_step_batch(batch, setup, d_step)
            if player == "discriminator":
                after, added = discriminator_update(start, drawn, setup, samples=samples, at=at)
                state = state._replace(discriminator=after.discriminator)
            else:
                after, added = generator_update(start, drawn, setup, at=at)
                state = state._replace(generator=after.generator)
            losses |= added
            starts.append(start)
        infos.append(StepInfo(Losses(**losses), tuple(starts)))
        at = state
    if setup.method.sync_period is not None:
        state = GANState(*(_synchronize(player, setup) for player in state))
    if setup.hyperparams.average_decay is not None:
        state = state._replace(generator=_average(state.generator, setup))
    return state, infos[0]


def _synchronize(player: Player, setup: Setup) -> Player:
    """A player after a step of lookahead: every `sync_period` steps, slow + α (params - slow)."""
    size = setup.hyperparams.slow_step_size
    moved = optax.incremental_update(player.params, player.slow, 0.5 if size is None else size)
    steps = player.slow_steps + 1
    is_due = steps == setup.method.sync_period
    synchronized = player._replace(params=moved, slow=moved, slow_steps=jnp.zeros_like(steps))
    waiting = player._replace(slow_steps=steps)
    return jax.tree.map(partial(jnp.where, is_due), synchronized, waiting)


def _average(generator: Player, setup: Setup) -> Player:
    """G after its average weights have moved: β average + (1 - β) params."""
    step_size = 1 - setup.hyperparams.average_decay
    average = optax.incremental_update(generator.params, generator.average, step_size)
    return generator._replace(average=average)


def d_step_batch(batch: Batch, setup: Setup, d_step: int) -> Batch:
    """The part of a step's batch that belongs to one of its D steps."""
    if setup.method.d_steps == 1:
        return batch
    return jax.tree.map(lambda leaf: leaf[d_step], batch)


def summarize(state: GANState, setup: Setup) -> jax.Array:
    """The generator's output, or the game's summary, [units]; a history keeps it.

    Of the generator with its average weights, where there are some.
    """
    summary_fn: Callable[[Any], jax.Array] | None = setup.game.summary_fn
    return generate(state, setup) if summary_fn is None else summary_fn(_judged(state))
