"""Networks: the two pure functions that a `Game` takes of each, and Flax NNX modules as such."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn

from gan1010_jax.errors import InvalidArgument
from gan1010_jax.models import Linear

if TYPE_CHECKING:
    from flax import nnx

# init(key, x) -> params, and apply(params, x) -> output
NetworkFunctions = tuple[
    Callable[[chex.PRNGKey, jax.Array], chex.ArrayTree],
    Callable[[chex.ArrayTree, jax.Array], jax.Array],
]


class Network(Protocol):
    """A network: two pure functions, as every Flax Linen module has them.

    Hashable, since a `Game` is static under `jit`. A discriminator maps a sample [units] to its
    logit, a scalar; a generator maps a latent [latent units] to a sample [units]. A game also takes
    the bare pair `(init, apply)`, with `init(key, x) -> params` and `apply(params, x)`, whose
    parameters are any pytree of floating arrays; `from_nnx` makes a network of a Flax NNX module.
    """

    def init(self, key: chex.PRNGKey, x: jax.Array) -> Mapping[str, chex.ArrayTree]:
        """The variables for inputs like x: `{"params": params}`, and no others."""

    def apply(self, variables: Mapping[str, chex.ArrayTree], x: jax.Array) -> jax.Array:
        """The output for an input, given `{"params": params}`."""


@dataclass(frozen=True)
class _Functions:
    """The network of a bare pair of functions."""

    init_params: Callable[[chex.PRNGKey, jax.Array], chex.ArrayTree]
    apply_params: Callable[[chex.ArrayTree, jax.Array], jax.Array]

    def init(self, key: chex.PRNGKey, x: jax.Array) -> Mapping[str, chex.ArrayTree]:
        return {"params": self.init_params(key, x)}

    def apply(self, variables: Mapping[str, chex.ArrayTree], x: jax.Array) -> jax.Array:
        return self.apply_params(variables["params"], x)


def as_network(name: str, network: Network | NetworkFunctions) -> Network:
    """A network, also of a bare pair of functions.

    Raises:
      InvalidArgument: (a `ValueError`) for anything else.
    """
    if isinstance(network, tuple) and len(network) == 2 and all(map(callable, network)):
        return _Functions(*network)
    if isinstance(network, type) or not all(
        callable(getattr(network, method, None)) for method in ("init", "apply")
    ):
        allowed = "a network: a Flax Linen module, a pair of functions (init, apply), or from_nnx's"
        raise InvalidArgument(name, network, allowed)
    return network


@dataclass(frozen=True)
class _NNXNetwork:
    """The network of the module that `make` returns."""

    make: Callable[[nnx.Rngs], nnx.Module]

    def init(self, key: chex.PRNGKey, x: jax.Array) -> Mapping[str, chex.ArrayTree]:
        from flax import nnx  # which Linen's users need not wait for

        _, params = self._split(self.make(nnx.Rngs(key)))
        return {"params": nnx.to_pure_dict(params)}

    def apply(self, variables: Mapping[str, chex.ArrayTree], x: jax.Array) -> jax.Array:
        from flax import nnx

        # Made without its numbers, of which none is computed.
        structure, params = self._split(nnx.eval_shape(lambda: self.make(nnx.Rngs(0))))
        nnx.replace_by_pure_dict(params, variables["params"])
        return nnx.merge(structure, params)(x)

    def _split(self, module: nnx.Module) -> tuple[Any, Any]:
        """A module's structure and its parameters."""
        from flax import nnx

        is_module = isinstance(module, nnx.Module)
        structure, params, others = nnx.split(module, nnx.Param, ...) if is_module else [None] * 3
        if not is_module or jax.tree.leaves(others):
            allowed = "a function to an nnx.Module whose variables are all nnx.Param"
            raise InvalidArgument("make", self.make, allowed)
        return structure, params


def from_nnx(make: Callable[[nnx.Rngs], nnx.Module]) -> Network:
    """The network of a Flax NNX module.

        gan.from_nnx(lambda rngs: MyGenerator(4, rngs=rngs))

    Its parameters are a nested dict of arrays by the names of the module's attributes. Equal
    functions give equal networks, so that a function of a module is compiled once.

    Args:
      make: makes the module, given `nnx.Rngs(key)`; all its variables are `nnx.Param`, so that it
        keeps no state, as dropout and batch norm do.

    Raises:
      InvalidArgument: (a `ValueError`) for anything but a function; and, when the network is used,
        for a module with other variables.
    """
    if not callable(make):
        raise InvalidArgument("make", make, "a function from nnx.Rngs to an nnx.Module")
    return _NNXNetwork(make)


def layer_sizes(network: nn.Module, inputs: jax.Array) -> list[int]:
    """The number of units of each layer of a fully connected network, inputs first."""
    key = jax.random.key(0, impl="threefry2x32")
    params = jax.eval_shape(network.init, key, inputs)
    kernels = [leaf.shape for leaf in jax.tree.leaves(params) if leaf.ndim == 2]
    return [kernels[0][0], *(units for _, units in kernels)]


def activations(
    network: nn.Module,
    params: chex.ArrayTree,
    inputs: jax.Array,
    last: Callable[[jax.Array], jax.Array] = jnp.asarray,
) -> jax.Array:
    """The activations of a network with logistic layers, layer by layer, inputs first: [units].

    Those of the last layer are a function `last` of the network's output.
    """
    output, kept = network.apply(
        {"params": params},
        inputs,
        capture_intermediates=lambda module, _: isinstance(module, Linear),
        mutable="intermediates",
    )
    *hidden, _ = [layer["__call__"][0] for layer in kept["intermediates"].values()]
    return jnp.concatenate([inputs, *map(nn.sigmoid, hidden), jnp.atleast_1d(last(output))])
