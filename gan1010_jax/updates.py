"""The GAN: two players, and one step of the game between them.

Everything here is a pure function of its arguments. Randomness enters only through `init` and
`draw_batch`; `train_step` is a deterministic function of a state and a batch.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from gan1010_jax.games import Game, pattern_game
from gan1010_jax.losses import (
    Batch,
    batch_sources,
    discriminator_loss,
    generator_loss,
    make_batch,
)
from gan1010_jax.methods import Hyperparams, Method, check_on


class Player(NamedTuple):
    """One network's parameters (Flax's `params` collection) and the state of its optimiser."""

    params: chex.ArrayTree
    opt_state: optax.OptState


class GANState(NamedTuple):
    """Both players."""

    discriminator: Player
    generator: Player


class Losses(NamedTuple):
    """Each loss of a step, taken before the update that lowers it, without penalty: three scalars.

    Of several turns of D, those of the last.
    """

    d_real: jax.Array
    d_fake: jax.Array
    g: jax.Array


# A game and a method are settings, not data: each pair of them is a program of its own.
SETTINGS = ("game", "method")


@partial(jax.jit, static_argnames=SETTINGS)
def init(
    key: chex.PRNGKey,
    game: Game = pattern_game("1010"),
    method: Method = Method(),
    hyperparams: Hyperparams = Hyperparams(),
) -> GANState:
    """Initialise both players from one key.

    The hyperparameters matter to an optimiser that keeps its learning rate in its state, such as
    `optax.inject_hyperparams`, and to no other.
    """
    d_key, g_key = jax.random.split(key)
    d_params = game.discriminator.init(d_key, game.real.center)["params"]
    g_params = game.generator.init(g_key, game.latent.center)["params"]
    return fresh_state(d_params, g_params, method, hyperparams)


def state_shapes(game: Game, method: Method) -> GANState:
    """What `init` gives, as `jax.ShapeDtypeStruct`s."""
    return jax.eval_shape(partial(init, game=game, method=method), jax.random.key(0))


def fresh_state(
    d_params: chex.ArrayTree, g_params: chex.ArrayTree, method: Method, hyperparams: Hyperparams
) -> GANState:
    """Both players with these parameters, and optimisers that have not taken a step yet."""
    d_optimizer, g_optimizer = method.optimizers
    return GANState(
        discriminator=Player(d_params, d_optimizer(hyperparams.d_lr).init(d_params)),
        generator=Player(g_params, g_optimizer(hyperparams.g_lr).init(g_params)),
    )


@partial(jax.jit, static_argnames=SETTINGS)
def draw_batch(
    key: chex.PRNGKey,
    game: Game = pattern_game("1010"),
    method: Method = Method(),
    hyperparams: Hyperparams = Hyperparams(),
    step: chex.Numeric = 0,
) -> Batch:
    """Draw what one step of the method consumes: a key has a batch for every step."""
    sources = batch_sources(game, method, hyperparams)
    keys = dict(zip(("real", "latent"), jax.random.split(key)))
    # A split is Threefry on 0 and 1, and to fold in 2 and 3 goes on from there.
    for number, name in enumerate(("noise", "mix"), start=2):
        if name in sources:
            keys[name] = jax.random.fold_in(key, number)

    def draw(index):
        drawn = {name: source.sample(keys[name], index) for name, source in sources.items()}
        return make_batch(drawn, hyperparams)

    if method.d_steps == 1:
        return draw(step)
    return jax.vmap(draw)(method.d_steps * step + jnp.arange(method.d_steps))


@partial(jax.jit, static_argnames="game")
def generate(
    state: GANState, game: Game = pattern_game("1010"), latent: jax.Array | None = None
) -> jax.Array:
    """The generator's output [..., units] for a latent [..., latent units].

    Without a latent, the output for the centre of the game's latent distribution.
    """
    latent = game.latent.center if latent is None else latent
    return game.generator.apply({"params": state.generator.params}, latent)


def observe(state: GANState, game: Game) -> jax.Array:
    """What a history keeps of a state, [units]: the generator's output, unless the game differs."""
    return generate(state, game) if game.observe is None else game.observe(state)


@partial(jax.jit, static_argnames=(*SETTINGS, "on"))
def discriminator_update(
    state: GANState,
    batch: Batch,
    game: Game = pattern_game("1010"),
    method: Method = Method(),
    hyperparams: Hyperparams = Hyperparams(),
    on: str = "both",
) -> tuple[GANState, tuple[jax.Array | None, jax.Array | None]]:
    """One descent step of D, and of nothing else, on the samples of a batch.

    Args:
      state: both players.
      batch: the samples; the fake one is what G makes of the latent.
      game: what is played.
      method: how it is trained.
      hyperparams: its numbers.
      on: which sample D sees, "real", "fake" or "both". A penalty on that sample counts, and one
        on both if it sees both.

    Returns:
      The state in which only D has moved; and D's losses on the real and on the fake sample before
      it did, without penalty, each a scalar, or None if D does not see it.

    Raises:
      InvalidArgument: (a `ValueError`) for another `on`.
    """
    check_on(on)

    def loss_fn(params):
        g_params = state.generator.params
        return discriminator_loss(params, g_params, batch, game, method, hyperparams, on)

    (_, losses), gradient = jax.value_and_grad(loss_fn, has_aux=True)(state.discriminator.params)
    optimizer, _ = method.optimizers
    discriminator = descend(state.discriminator, gradient, optimizer(hyperparams.d_lr))
    if hyperparams.clip is not None:
        clipped = optax.tree.clip(discriminator.params, -hyperparams.clip, hyperparams.clip)
        discriminator = discriminator._replace(params=clipped)
    return state._replace(discriminator=discriminator), losses


@partial(jax.jit, static_argnames=SETTINGS)
def generator_update(
    state: GANState,
    batch: Batch,
    game: Game = pattern_game("1010"),
    method: Method = Method(),
    hyperparams: Hyperparams = Hyperparams(),
) -> tuple[GANState, jax.Array]:
    """One descent step of G, and of nothing else, through D, on what it makes of a batch's latent.

    Returns:
      The state in which only G has moved; and G's loss before it did, without penalty, a scalar.
    """

    def loss_fn(params):
        d_params = state.discriminator.params
        return generator_loss(params, d_params, batch, game, method, hyperparams)

    (_, loss), gradient = jax.value_and_grad(loss_fn, has_aux=True)(state.generator.params)
    _, optimizer = method.optimizers
    generator = descend(state.generator, gradient, optimizer(hyperparams.g_lr))
    return state._replace(generator=generator), loss


def descend(
    player: Player, gradient: optax.Updates, optimizer: optax.GradientTransformation
) -> Player:
    """Move a player's parameters by one step of its optimiser."""
    updates, opt_state = optimizer.update(gradient, player.opt_state, player.params)
    return Player(optax.apply_updates(player.params, updates), opt_state)


@partial(jax.jit, static_argnames=SETTINGS)
def train_step(
    state: GANState,
    batch: Batch,
    game: Game = pattern_game("1010"),
    method: Method = Method(),
    hyperparams: Hyperparams = Hyperparams(),
) -> tuple[GANState, Losses]:
    """One step of training: D's turn and G's, in the order of the method's schedule.

    The reference: D on a real sample, D on a fake sample, then G through the new D.
    """
    state, updates = play_step(state, batch, game, method, hyperparams)
    return state, losses_of(updates)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("state", "batch", "losses"),
    meta_fields=("player", "on"),
)
@dataclass(frozen=True)
class Update:
    """One update of a step.

    Attributes:
      player: who moves, `"discriminator"` or `"generator"`.
      on: which sample it moves on, `"real"`, `"fake"` or `"both"`.
      state: both players, as they were for this update.
      batch: the samples.
      losses: the losses that it takes, by their names in `Losses`.
    """

    player: str
    on: str
    state: GANState
    batch: Batch
    losses: dict[str, jax.Array]


def losses_of(updates: list[Update]) -> Losses:
    """The losses of a step, given its updates."""
    return Losses(**{name: loss for update in updates for name, loss in update.losses.items()})


def play_step(
    state: GANState, batch: Batch, game: Game, method: Method, hyperparams: Hyperparams
) -> tuple[GANState, list[Update]]:
    """One step of training, update by update: the state after it, and the updates in order."""
    rules = (game, method, hyperparams)
    before, updates = state, []
    for player, on, turn in method.moves:
        seen = before if method.schedule == "simultaneous" else state
        samples = batch if method.d_steps == 1 else jax.tree.map(lambda x, i=turn: x[i], batch)
        if player == "discriminator":
            after, (d_real, d_fake) = discriminator_update(seen, samples, *rules, on=on)
            losses = {"d_real": d_real, "d_fake": d_fake}
        else:
            after, g = generator_update(seen, samples, *rules)
            losses = {"g": g}
        taken = {name: loss for name, loss in losses.items() if loss is not None}
        updates.append(Update(player, on, seen, samples, taken))
        state = state._replace(**{player: getattr(after, player)})
    return state, updates
