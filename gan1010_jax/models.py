"""The two networks, with the initialisation that PyTorch's `nn.Linear` gives them."""

import math
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from gan1010_jax.errors import InvalidArgument

MAX_UNITS = 2**16


def _symmetric_uniform(fan_in: int) -> nn.initializers.Initializer:
    """Uniform in ±1/√fan_in: the distribution of `torch.nn.Linear`'s weights and biases.

    He et al., *Delving Deep into Rectifiers* (2015), with the negative slope √5 that PyTorch
    passes, reduces to this bound for the weights; PyTorch gives biases the same one.
    """
    bound = 1 / math.sqrt(fan_in)

    def initialize(key: chex.PRNGKey, shape: chex.Shape, dtype: chex.ArrayDType) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return initialize


def _check_units(**counts: Any) -> None:
    """Raise for a number of units that is not one."""
    for name, units in counts.items():
        is_whole = isinstance(units, int | np.integer) and not isinstance(units, bool)
        if not is_whole or not 1 <= units <= MAX_UNITS:
            raise InvalidArgument(name, units, f"a whole number from 1 to {MAX_UNITS}")


class Linear(nn.Module):
    """`flax.linen.Dense`, initialised as `torch.nn.Linear`: [..., inputs] -> [..., features].

    Its parameters are of JAX's default float type: float32, or float64 in the x64 mode.
    """

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # noqa: D102
        initialize = _symmetric_uniform(fan_in=x.shape[-1])
        dense = nn.Dense(
            self.features,
            kernel_init=initialize,
            bias_init=initialize,
            param_dtype=jnp.result_type(float),
            precision=jax.lax.Precision.HIGHEST,  # or TPUs multiply to three digits
        )
        return dense(x)


class Discriminator(nn.Module):
    """D, units-3-1: a sample [..., units] -> the logit [...] of the belief that it is real.

    D's last sigmoid belongs to the objective, which can then be computed stably from the logit.
    """

    hidden: int = 3

    def __post_init__(self) -> None:  # noqa: D105
        _check_units(hidden=self.hidden)
        super().__post_init__()

    @nn.compact
    def __call__(self, sample: jax.Array) -> jax.Array:  # noqa: D102
        hidden = nn.sigmoid(Linear(self.hidden)(sample))
        return Linear(1)(hidden).squeeze(-1)


class Generator(nn.Module):
    """G, 1-3-units: a latent [..., 1] -> a sample [..., units] in (0, 1)."""

    units: int = 4
    hidden: int = 3

    def __post_init__(self) -> None:  # noqa: D105
        _check_units(units=self.units, hidden=self.hidden)
        super().__post_init__()

    @nn.compact
    def __call__(self, latent: jax.Array) -> jax.Array:  # noqa: D102
        hidden = nn.sigmoid(Linear(self.hidden)(latent))
        return nn.sigmoid(Linear(self.units)(hidden))


def _start_at(value: float | None) -> nn.initializers.Initializer:
    """A given value, or uniform in [-1, 1]."""
    return _symmetric_uniform(1) if value is None else nn.initializers.constant(value)


class DiracDiscriminator(nn.Module):
    """The Dirac-GAN's D: a sample [..., 1] -> the logit ψx, [...]."""

    start: float | None = None

    @nn.compact
    def __call__(self, sample: jax.Array) -> jax.Array:  # noqa: D102
        psi = self.param("psi", _start_at(self.start), (), jnp.result_type(float))
        return psi * sample.squeeze(-1)


class DiracGenerator(nn.Module):
    """The Dirac-GAN's G: a latent [..., 1], which it ignores -> the sample θ, [..., 1]."""

    start: float | None = None

    @nn.compact
    def __call__(self, latent: jax.Array) -> jax.Array:  # noqa: D102
        theta = self.param("theta", _start_at(self.start), (), jnp.result_type(float))
        return jnp.broadcast_to(theta, latent.shape)
