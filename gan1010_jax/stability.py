"""Is a state stable? The Jacobian of one expected step, and its eigenvalues.

A step of training is random only by its batch. Its expectation over the batches, by Gaussian
quadrature instead of sampling, maps states to states. Near a fixed point of this map, training
contracts along the eigenvectors of its Jacobian whose eigenvalues lie inside the unit circle, by
their modulus each step, and expands along the others. Mescheder et al., *The Numerics of GANs*
(NeurIPS 2017). What a method keeps beside the parameters is part of the state, and has eigenvalues
of its own. Of lookahead, take the product of the Jacobians of its k steps: one alone says little.

Everything here is in the float type of the state. In float32, eigenvalues near 1 are right to
about 1e-6; in JAX's x64 mode, to about 1e-14.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from gan1010_jax.checks import (
    MAX_ORDER,
    as_array,
    check_setup,
    check_square,
    check_state,
    check_whole,
    checked,
)
from gan1010_jax.environment import jit
from gan1010_jax.errors import InvalidArgument
from gan1010_jax.games import Distribution, Quadrature, product_quadrature
from gan1010_jax.gan import (
    Batch,
    GANState,
    Setup,
    batch_sources,
    discriminator_loss,
    generator_loss,
    make_batch,
    train_step,
)
from gan1010_jax.training import vary_alike

# By default, the highest order up to this one with at most this many nodes in a distribution.
DEFAULT_ORDER, DEFAULT_NODES = 16, 1024
NODES_AT_ONCE = 1024  # evaluated by one `vmap`
# The first damping of `find_equilibrium`, and the most steps that it tries.
FIRST_DAMPING, MAX_TRIALS = 1e-4, 300


@checked
@jit(static_argnames="order")
def step_spectrum(
    state: GANState,
    setup: Setup = Setup(),
    *,
    order: int | None = None,
) -> jax.Array:
    """The eigenvalues of one expected step's Jacobian, those of the largest modulus first.

    Works under `jit` and `vmap`, on the devices that `jax.numpy.linalg.eigvals` supports: not on a
    TPU, where NumPy can take the eigenvalues of `step_jacobian`.

    Args:
      state: a state such as from `init`, in JAX's default float type.
      setup: what is trained; its hyperparameters are scalars.
      order: the number of quadrature nodes of a random coordinate, from 1 to 64. By default, from 2
        to 16, so that a distribution has about a thousand nodes.

    Returns:
      Complex [n], where n is the number of floating-point numbers in the state: the parameters of
      both players and their optimisers' statistics.

    Raises:
      InvalidArgument: (a `ValueError`) for a state of another game or method, or if the batches
        of a step have so many random coordinates that there would be more than 2²⁰ nodes.
    """
    eigenvalues = jnp.linalg.eigvals(step_jacobian(state, setup, order=order))
    return eigenvalues[jnp.argsort(-jnp.abs(eigenvalues))]


def spectral_radius(eigenvalues: jax.Array) -> jax.Array:
    """The largest modulus of eigenvalues [..., n], [...].

    Raises:
      InvalidArgument: (a `ValueError`) for anything but an array of numbers.
    """
    allowed = "an array of numbers, [..., n], with n above zero"
    array = as_array("eigenvalues", eigenvalues, allowed)
    if not array.shape[-1:] > (0,) or not jnp.issubdtype(array.dtype, jnp.number):
        raise InvalidArgument("eigenvalues", eigenvalues, allowed)
    return jnp.abs(array).max(axis=-1)


@checked
@jit(static_argnames="order")
def step_jacobian(
    state: GANState,
    setup: Setup = Setup(),
    *,
    order: int | None = None,
) -> jax.Array:
    """The Jacobian [n, n] of `expected_step` by the state's floating-point numbers.

    Their order is that of the leaves of the state: D's first. Arguments and errors are those of
    `step_spectrum`.
    """
    setup = _check_arguments(state, setup)
    vector, fill = as_vector(state)

    def step(vector):
        after, _ = as_vector(expected_step(fill(vector), setup, order=order))
        return after

    return jax.jacfwd(step)(vector)


@checked
@jit(static_argnames="order")
def expected_step(
    state: GANState,
    setup: Setup = Setup(),
    *,
    order: int | None = None,
) -> GANState:
    """The state after one step, in expectation over the step's batch.

    An optimiser's counters are as after any step. Arguments and errors are those of
    `step_spectrum`.
    """
    setup = _check_arguments(state, setup)
    nodes = _batch_quadrature(setup, order, setup.method.d_steps)
    return _expectation(lambda batch: train_step(state, batch, setup)[0], *nodes)


@checked
@jit(static_argnames="order")
def vector_field(
    state: GANState,
    setup: Setup = Setup(),
    *,
    order: int | None = None,
) -> tuple[chex.ArrayTree, chex.ArrayTree]:
    """The gradient vector field (-∇L_D, -∇L_G) of both players' expected losses.

    Simultaneous gradient descent is its Euler scheme. Penalties and noise are included; learning
    rates, clipping and optimisers are not.

    Returns:
      The velocities of D's parameters and of G's, pytrees as these are. Arguments and errors are
      those of `step_spectrum`.
    """
    setup = _check_arguments(state, setup)
    d_params, g_params = state.discriminator.params, state.generator.params

    def velocity(batch):
        d_gradient, _ = jax.grad(discriminator_loss, has_aux=True)(d_params, state, batch, setup)
        g_gradient, _ = jax.grad(generator_loss, has_aux=True)(g_params, state, batch, setup)
        return jax.tree.map(jnp.negative, (d_gradient, g_gradient))

    return _expectation(velocity, *_batch_quadrature(setup, order, d_steps=1))


@checked
@jit(static_argnames="order")
def field_jacobian(
    state: GANState,
    setup: Setup = Setup(),
    *,
    order: int | None = None,
) -> jax.Array:
    """The Jacobian [n, n] of `vector_field` by the n parameters, D's first.

    A fixed point attracts in continuous time if all eigenvalues have negative real parts. The
    symmetric part is the curvature of the players' losses, and the antisymmetric part is their
    rotation around each other (`symmetric_part`, `antisymmetric_part`): Balduzzi et al., *The
    Mechanics of n-Player Differentiable Games* (ICML 2018). Arguments and errors are those of
    `step_spectrum`.
    """
    setup = _check_arguments(state, setup)
    params, _, field = _field_of_params(state, setup, order)
    return jax.jacfwd(field)(params)


@checked
@jit(static_argnames="order")
def find_equilibrium(
    state: GANState,
    setup: Setup = Setup(),
    *,
    order: int | None = None,
) -> GANState:
    """The state near a given one at which the vector field vanishes, so that no player moves.

    By the Levenberg–Marquardt method, whose damped steps end close to the nearest equilibrium of a
    manifold of them, and not at a distant one or at infinity. Optimisers' states are kept. Works
    under `jit` and `vmap`, and cannot raise there: without an equilibrium it returns the state with
    the shortest field that it has found, so check `vector_field` there.

    In float32 it stops where the field is about 1e-6 long, which is too far for a spectrum. In
    JAX's x64 mode, from a state in float64, it reaches 1e-13:

        with jax.enable_x64(True):  # jax.experimental.enable_x64 in JAX 0.7
            state = jax.tree.map(jnp.float64, state)  # if its optimisers have no counters
            equilibrium = gan.find_equilibrium(state)

    Arguments and errors are those of `step_spectrum`.
    """
    setup = _check_arguments(state, setup)
    start, put, field = _field_of_params(state, setup, order)

    def is_searching(search):
        _, length, _, trials = search
        return (length > tolerance) & (trials < MAX_TRIALS)

    def try_step(search):
        params, length, damping, trials = search
        jacobian = jax.jacfwd(field)(params)
        normal = jacobian.T @ jacobian + damping * jnp.eye(params.size)
        there = params - jnp.linalg.solve(normal, jacobian.T @ field(params))
        length_there = jnp.linalg.norm(field(there))
        taken = (there, length_there, damping / 5, trials + 1)
        rejected = (params, length, damping * 4, trials + 1)
        is_shorter = length_there < length
        return jax.tree.map(lambda a, b: jnp.where(is_shorter, a, b), taken, rejected)

    tolerance = 400 * jnp.finfo(start.dtype).eps
    damping = jnp.asarray(FIRST_DAMPING, start.dtype)
    search = vary_alike((start, jnp.linalg.norm(field(start)), damping, jnp.int32(0)), setup)
    params, *_ = jax.lax.while_loop(is_searching, try_step, search)
    return put(params)


def symmetric_part(jacobian: jax.Array) -> jax.Array:
    """(J + Jᵀ)/2 of a Jacobian [..., n, n].

    Raises:
      InvalidArgument: (a `ValueError`) for another shape.
    """
    jacobian = check_square("jacobian", jacobian)
    return (jacobian + jacobian.mT) / 2


def antisymmetric_part(jacobian: jax.Array) -> jax.Array:
    """(J - Jᵀ)/2 of a Jacobian [..., n, n].

    Raises:
      InvalidArgument: (a `ValueError`) for another shape.
    """
    jacobian = check_square("jacobian", jacobian)
    return (jacobian - jacobian.mT) / 2


def _check_arguments(state: GANState, setup: Setup) -> Setup:
    """The setup as `check_setup` returns it; raise unless the state is one of it."""
    setup = check_setup(setup)
    check_state(state, setup)
    return setup


def _field_of_params(
    state: GANState, setup: Setup, order: int | None
) -> tuple[jax.Array, Callable[[jax.Array], GANState], Callable[[jax.Array], jax.Array]]:
    """The parameters of both players as a vector [n], D's first, and two functions of a vector.

    The first returns the state with these parameters, and the second the vector field there, [n].
    """
    params, unravel = ravel_pytree((state.discriminator.params, state.generator.params))

    def put(params):
        players = zip(state, unravel(params))
        return GANState(*(player._replace(params=its) for player, its in players))

    def field(params):
        return ravel_pytree(vector_field(put(params), setup, order=order))[0]

    return params, put, field


def as_vector(state: GANState) -> tuple[jax.Array, Callable[[jax.Array], GANState]]:
    """The floating-point numbers of a state, [n]; and the function that replaces them."""
    leaves, structure = jax.tree.flatten(state)
    places = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    vector, unravel = ravel_pytree([leaves[place] for place in places])

    def fill(vector):
        filled = dict(zip(places, unravel(vector)))
        return jax.tree.unflatten(structure, [filled.get(i, x) for i, x in enumerate(leaves)])

    return vector, fill


def _expectation(function: Callable[[Batch], Any], batches: Batch, weights: np.ndarray) -> Any:
    """The mean of a function over batches [nodes, ...] with weights [nodes].

    Results other than floating-point numbers must be the same for every batch.
    """
    size = min(len(weights), NODES_AT_ONCE)
    empty = -len(weights) % size

    def in_blocks(leaf):
        leaf = jnp.concatenate([leaf, leaf[:empty]])
        return leaf.reshape(-1, size, *leaf.shape[1:])

    def add(total, block):
        batches, weights = block

        def add_leaf(total, values):
            if jnp.issubdtype(values.dtype, jnp.inexact):
                return total + jnp.tensordot(weights, values, 1)
            return values[0]

        return jax.tree.map(add_leaf, total, jax.vmap(function)(batches)), None

    weights = np.append(weights, np.zeros(empty)).reshape(-1, size)
    blocks = (jax.tree.map(in_blocks, batches), jnp.asarray(weights, jnp.result_type(float)))
    shapes = jax.eval_shape(function, jax.tree.map(lambda leaf: leaf[0], batches))
    total, _ = jax.lax.scan(add, optax.tree.zeros_like(shapes), blocks)
    return total


def _batch_quadrature(setup: Setup, order: int | None, d_steps: int) -> tuple[Batch, np.ndarray]:
    """Batches [nodes, ...] of `d_steps` D steps, and weights [nodes], to take expectations with."""
    if order is not None:
        check_whole("order", order, 1, MAX_ORDER, ", or None")
    sources = batch_sources(setup)
    parts = [_source_quadrature(source, order) for source in sources.values()]
    nodes, weights = product_quadrature([product_quadrature(parts)] * d_steps)
    if d_steps > 1:
        nodes = nodes.reshape(len(weights), d_steps, -1)
    cuts = np.cumsum([source.center.size for source in sources.values()])[:-1]
    columns = jnp.split(jnp.asarray(nodes, jnp.result_type(float)), cuts, axis=-1)
    return make_batch(dict(zip(sources, columns)), setup), weights


def _source_quadrature(source: Distribution, order: int | None) -> Quadrature:
    """A distribution's nodes and weights."""
    if order is None:
        orders, units = range(DEFAULT_ORDER, 2, -1), source.center.size
        order = next((order for order in orders if order**units <= DEFAULT_NODES), 2)
    return source.quadrature(order)
