"""The GAN: two players, and one step of the game between them.

Everything here is a pure function of its arguments. Randomness enters only through `init` and
`draw_batch`; `train_step` is a deterministic function of a state and a batch.
"""

from functools import partial
from typing import NamedTuple

import chex
import jax
import optax

from gan1010_jax.errors import InvalidArgument
from gan1010_jax.games import Game, pattern_game
from gan1010_jax.methods import Hyperparams, Method


class Player(NamedTuple):
    """One network's parameters (Flax's `params` collection) and the state of its optimiser."""

    params: chex.ArrayTree
    opt_state: optax.OptState


class GANState(NamedTuple):
    """Both players."""

    discriminator: Player
    generator: Player


class Batch(NamedTuple):
    """All randomness that one step consumes: a real sample [units] and a latent [latent units]."""

    real: jax.Array
    latent: jax.Array


class Losses(NamedTuple):
    """The loss of each update of a step, taken before the update: three scalars."""

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
    return GANState(
        discriminator=Player(d_params, method.optimizer(hyperparams.d_lr).init(d_params)),
        generator=Player(g_params, method.optimizer(hyperparams.g_lr).init(g_params)),
    )


@partial(jax.jit, static_argnames=SETTINGS)
def draw_batch(
    key: chex.PRNGKey,
    game: Game = pattern_game("1010"),
    method: Method = Method(),
    step: chex.Numeric = 0,
) -> Batch:
    """Draw what one step of the method consumes: a key has a batch for every step."""
    real_key, latent_key = jax.random.split(key)
    return Batch(real=game.real.sample(real_key, step), latent=game.latent.sample(latent_key, step))


@partial(jax.jit, static_argnames="game")
def generate(
    state: GANState, game: Game = pattern_game("1010"), latent: jax.Array | None = None
) -> jax.Array:
    """The generator's output [..., units] for a latent [..., latent units].

    Without a latent, the output for the centre of the game's latent distribution.
    """
    latent = game.latent.center if latent is None else latent
    return game.generator.apply({"params": state.generator.params}, latent)


@partial(jax.jit, static_argnames=SETTINGS)
def discriminator_update(
    state: GANState,
    game: Game = pattern_game("1010"),
    method: Method = Method(),
    hyperparams: Hyperparams = Hyperparams(),
    *,
    real: jax.Array | None = None,
    fake: jax.Array | None = None,
) -> tuple[GANState, jax.Array]:
    """One descent step of D on a real sample [units], a fake one, or both.

    Returns:
      The state in which only D has moved, and D's loss (a scalar) before it did.

    Raises:
      InvalidArgument: (a `ValueError`) if there is no sample at all.
    """
    if real is None and fake is None:
        raise InvalidArgument("real", None, "a sample, unless fake is one")

    def loss_fn(params):
        def logit(sample):
            return game.discriminator.apply({"params": params}, sample)

        d_real = 0.0 if real is None else method.objective.d_real(logit(real))
        d_fake = 0.0 if fake is None else method.objective.d_fake(logit(fake))
        return d_real + d_fake

    loss, gradient = jax.value_and_grad(loss_fn)(state.discriminator.params)
    discriminator = descend(state.discriminator, gradient, method.optimizer(hyperparams.d_lr))
    return state._replace(discriminator=discriminator), loss


@partial(jax.jit, static_argnames=SETTINGS)
def generator_update(
    state: GANState,
    latent: jax.Array,
    game: Game = pattern_game("1010"),
    method: Method = Method(),
    hyperparams: Hyperparams = Hyperparams(),
) -> tuple[GANState, jax.Array]:
    """One descent step of G, through D, on the sample that it makes of a latent [latent units].

    Returns:
      The state in which only G has moved, and G's loss (a scalar) before it did.
    """

    def loss_fn(params):
        fake = game.generator.apply({"params": params}, latent)
        logit = game.discriminator.apply({"params": state.discriminator.params}, fake)
        return method.objective.g(logit)

    loss, gradient = jax.value_and_grad(loss_fn)(state.generator.params)
    generator = descend(state.generator, gradient, method.optimizer(hyperparams.g_lr))
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
    """One step of training: D on a real sample, D on a fake sample, then G through the new D."""
    rules = (game, method, hyperparams)

    state, d_real = discriminator_update(state, *rules, real=batch.real)

    fake = jax.lax.stop_gradient(generate(state, game, batch.latent))
    state, d_fake = discriminator_update(state, *rules, fake=fake)

    state, g = generator_update(state, batch.latent, *rules)

    return state, Losses(d_real, d_fake, g)
