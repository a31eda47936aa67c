"""The parameters of the two networks under PyTorch's names, in and out; bit for bit.

PyTorch keeps a layer's weights as [outputs, inputs] and Flax as [inputs, outputs]. Nothing here
imports PyTorch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from gan1010_jax.checks import as_array, check_kind, check_setup, describe_array
from gan1010_jax.errors import InvalidArgument
from gan1010_jax.gan import GANState, Player, Setup, fresh_state, state_shapes


def params_from_torch(
    d_state_dict: Mapping[str, Any],
    g_state_dict: Mapping[str, Any],
    setup: Setup = Setup(),
) -> GANState:
    """A state from the parameters of PyTorch's networks; its optimisers have taken no step yet.

    For modules whose layers are `self.model = nn.Sequential(nn.Linear(…), nn.Sigmoid(), …)`:

        state = gan.params_from_torch(d.state_dict(), g.state_dict())

    Args:
      d_state_dict: D's parameters: `model.0.weight` [3, units], `model.0.bias` [3],
        `model.2.weight` [1, 3] and `model.2.bias` [1], as tensors or NumPy arrays of JAX's default
        float type: float32, or float64 in the x64 mode.
      g_state_dict: G's: `model.0.weight` [3, 1], `model.0.bias` [3], `model.2.weight` [units, 3]
        and `model.2.bias` [units].
      setup: what will be trained, for the optimisers' states; its networks must be the package's
        own.

    Raises:
      InvalidArgument: (a `ValueError`) for a name, a shape or a dtype that is not expected, or a
        hyperparameter that is not a finite scalar; it says which, and what is.
    """
    setup = check_setup(setup)
    expected = state_shapes(setup)
    d_params = _from_torch("d_state_dict", d_state_dict, expected.discriminator.params)
    g_params = _from_torch("g_state_dict", g_state_dict, expected.generator.params)
    return fresh_state(d_params, g_params, setup)


def params_to_torch(state: GANState) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The parameters of D and of G under PyTorch's names: the inverse of `params_from_torch`.

    Of a state of many seeds, each leaf [seeds, ...], likewise. PyTorch loads them as tensors:

        d.load_state_dict({name: torch.tensor(value) for name, value in d_params.items()})

    Raises:
      InvalidArgument: (a `ValueError`) if it is no state, or a network is not the package's own.
    """
    check_kind("state", state, GANState)
    for player in state:
        check_kind("state", player, Player)
    d_params, g_params = (_to_torch(player.params) for player in state)
    return d_params, g_params


def _from_torch(
    argument: str, state_dict: Mapping[str, Any], expected: chex.ArrayTree
) -> chex.ArrayTree:
    """One network's parameters in Flax's tree; raise for names, shapes or dtypes not expected."""
    names = sorted(_torch_name(path) for path, _ in jax.tree.leaves_with_path(expected))
    if not isinstance(state_dict, Mapping) or set(state_dict) != set(names):
        given = sorted(map(str, state_dict)) if isinstance(state_dict, Mapping) else state_dict
        raise InvalidArgument(argument, given, f"a mapping of exactly {', '.join(names)}")

    def convert(path: jax.tree_util.KeyPath, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        name = _torch_name(path)
        entry, allowed = f"{argument}[{name!r}]", f"{leaf.dtype}{[*leaf.shape[::-1]]}"
        array = as_array(entry, state_dict[name], allowed)
        if describe_array(array) != allowed:
            raise InvalidArgument(entry, describe_array(array), allowed)
        return jnp.asarray(array.T)

    return jax.tree.map_with_path(convert, expected)


def _to_torch(params: chex.ArrayTree) -> dict[str, np.ndarray]:
    """One network's parameters under PyTorch's names, as arrays of their own."""
    arrays = {_torch_name(path): leaf for path, leaf in jax.tree.leaves_with_path(params)}
    return {
        name: np.array(leaf.mT if name.endswith("weight") else leaf, order="C")
        for name, leaf in arrays.items()
    }


def _torch_name(path: jax.tree_util.KeyPath) -> str:
    """PyTorch's name of a parameter; in its `nn.Sequential`, a sigmoid follows every layer."""
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    parts = re.fullmatch(r"Linear_(\d+)/Dense_0/(kernel|bias)", name)
    if not parts:
        raise InvalidArgument("networks", name, "made of gan1010_jax.models.Linear alone")
    return f"model.{2 * int(parts[1])}.{'weight' if parts[2] == 'kernel' else 'bias'}"
