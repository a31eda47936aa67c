"""What a batch costs each player, as a function of both players' parameters."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from gan1010_jax.games import Distribution, Game, Normal, Uniform
from gan1010_jax.methods import Hyperparams, Method, Round


class Batch(NamedTuple):
    """All randomness that one step consumes; with several `d_steps`, each leaf has them in front.

    Attributes:
      real: a real sample [units], with its instance noise.
      latent: the generator's input [latent units].
      noise: the instance noise of the fake sample [units], or None if there is none.
      mix: where to look between the two samples, a scalar from 0 (fake) to 1 (real), or None if
        the method's penalty does not ask.
    """

    real: jax.Array
    latent: jax.Array
    noise: jax.Array | None = None
    mix: jax.Array | None = None


def batch_sources(game: Game, method: Method, hyperparams: Hyperparams) -> dict[str, Distribution]:
    """What a batch is drawn from, by name: samples, and what the method asks for beside."""
    units = game.real.center.size
    sources = {"real": game.real, "latent": game.latent}
    if hyperparams.noise_std is not None:  # on the real sample, and on the fake one
        sources["noise"] = Normal((0.0,) * (2 * units), (1.0,) * (2 * units))
    if method.penalty.mixes:
        sources["mix"] = Uniform((0.0,), (1.0,))
    return sources


def make_batch(drawn: dict[str, jax.Array], hyperparams: Hyperparams) -> Batch:
    """The batch of a sample [..., units] from each of its sources."""
    batch = Batch(drawn["real"], drawn["latent"])
    if "noise" in drawn:
        on_real, on_fake = jnp.split(hyperparams.noise_std * drawn["noise"], 2, axis=-1)
        batch = batch._replace(real=batch.real + on_real, noise=on_fake)
    if "mix" in drawn:
        batch = batch._replace(mix=drawn["mix"].squeeze(-1))
    return batch


def discriminator_loss(
    d_params: chex.ArrayTree,
    g_params: chex.ArrayTree,
    batch: Batch,
    game: Game,
    method: Method,
    hyperparams: Hyperparams,
    on: str = "both",
) -> tuple[jax.Array, tuple[jax.Array | None, jax.Array | None]]:
    """D's loss on the real sample of a batch, the fake one, or both, with its penalty.

    Returns:
      The loss that D descends, a scalar; and, without the penalty, that on the real and that on
      the fake sample, each a scalar, or None if D does not see it.
    """
    round = play(d_params, g_params, batch, game, method, hyperparams)
    losses = d_losses(round, method, on)
    loss = sum(loss for loss in losses if loss is not None)
    return add_penalty(loss, method.penalty.of("discriminator", on), round, hyperparams), losses


def d_losses(round: Round, method: Method, on: str) -> tuple[jax.Array | None, jax.Array | None]:
    """D's loss on the real and on the fake sample, without penalty, each if it is `on` that."""
    return (
        method.objective.d_real(round.logit(round.real)) if on != "fake" else None,
        method.objective.d_fake(round.logit(round.fake)) if on != "real" else None,
    )


def generator_loss(
    g_params: chex.ArrayTree,
    d_params: chex.ArrayTree,
    batch: Batch,
    game: Game,
    method: Method,
    hyperparams: Hyperparams,
) -> tuple[jax.Array, jax.Array]:
    """G's loss on a batch: the one that G descends, and without the penalty; two scalars."""
    round = play(d_params, g_params, batch, game, method, hyperparams)
    g = method.objective.g(round.logit(round.fake))
    return add_penalty(g, method.penalty.of("generator", "fake"), round, hyperparams), g


def add_penalty(
    loss: jax.Array,
    penalty: Callable[[Round], jax.Array] | None,
    round: Round,
    hyperparams: Hyperparams,
) -> jax.Array:
    """A loss with its penalty, if there is one."""
    if penalty is None:
        return loss
    weight = hyperparams.penalty_weight
    return loss + (penalty(round) if weight is None else weight * penalty(round))


def play(
    d_params: chex.ArrayTree,
    g_params: chex.ArrayTree,
    batch: Batch,
    game: Game,
    method: Method,
    hyperparams: Hyperparams,
) -> Round:
    """What the players make of a batch."""

    def logit(sample):
        return game.discriminator.apply({"params": d_params}, sample)

    rest = (batch, game, method, hyperparams)

    def gradients():
        def d_loss(d_params):
            return sum(d_losses(play(d_params, g_params, *rest), method, "both"))

        def g_loss(g_params):
            round = play(d_params, g_params, *rest)
            return method.objective.g(round.logit(round.fake))

        return jax.grad(d_loss)(d_params), jax.grad(g_loss)(g_params)

    fake = game.generator.apply({"params": g_params}, batch.latent)
    if batch.noise is not None:
        fake = fake + batch.noise
    target_norm = 1.0 if hyperparams.target_norm is None else hyperparams.target_norm
    return Round(logit, batch.real, fake, batch.mix, target_norm, gradients)
