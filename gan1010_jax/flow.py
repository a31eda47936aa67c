"""Where training goes: a run as the solution of a differential equation, without its randomness.

A step of training changes the parameters by little. So a run stays close to the solution of an
ordinary differential equation, whose time is the number of steps and in which the batch is averaged
over. Its right-hand side is a *velocity*: a function of a state and a setup that returns the rate
of change of every parameter, per step. There are three of them, from exact to simple:

- `step_velocity`: the change in one expected step of `train_step`, for any method and optimiser.
- `gradient_velocity`: simultaneous gradient descent, in which no update sees the one before it.
  What it lacks is of second order in the learning rates: Rosca et al., *Discretization Drift in
  Two-Player Games* (ICML 2021).
- `level_velocity`: why GANs forget, with everything else left out. D is nearly undecided, and what
  it says on real and on fake samples together, its *level*, is held fixed.

`follow` integrates any of them, and `first_departure` says when a run first leaves the support.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gan1010_jax.checks import (
    MAX_STEPS,
    as_array,
    check_setup,
    check_state,
    check_steps,
    check_whole,
    checked,
    describe_array,
)
from gan1010_jax.environment import jit
from gan1010_jax.errors import InvalidArgument
from gan1010_jax.gan import GANState, Setup, generate, summarize
from gan1010_jax.methods import Objective, undecided
from gan1010_jax.stability import as_vector, expected_step, vector_field
from gan1010_jax.training import first_steps, vary_alike

_Velocity = Callable[[GANState, Setup], GANState]


@checked
def step_velocity(state: GANState, setup: Setup = Setup(), *, order: int = 2) -> GANState:
    """What one expected step of training changes.

    The statistics of an optimiser move as the parameters do, and its counters stay as they are: a
    run of Adam can be followed from a state whose bias correction is over.

    Args:
      state: both players.
      setup: what is trained; its hyperparameters are scalars.
      order: the number of quadrature nodes of a random coordinate. One is its mean; with two, the
        default, its variance counts as well.

    Returns:
      The change of each floating-point number per step, as a `GANState`.

    Raises:
      InvalidArgument: (a `ValueError`) for a state of another game or method, or another order.
    """
    return jax.tree.map(jnp.subtract, expected_step(state, setup, order=order), state)


@checked
def gradient_velocity(state: GANState, setup: Setup = Setup(), *, order: int = 2) -> GANState:
    """Simultaneous gradient descent: each player's learning rate times its expected gradient.

    Arguments, result and errors are those of `step_velocity`. The optimisers are taken as SGD.
    """
    setup = check_setup(setup)
    d_rate, g_rate = setup.hyperparams.d_lr * setup.method.d_steps, setup.hyperparams.g_lr
    d_field, g_field = vector_field(state, setup, order=order)
    still = optax.tree.zeros_like(state)
    return GANState(
        still.discriminator._replace(params=optax.tree.scale(d_rate, d_field)),
        still.generator._replace(params=optax.tree.scale(g_rate, g_field)),
    )


@checked
def level_velocity(state: GANState, setup: Setup = Setup()) -> GANState:
    """The level model: why GANs forget.

    Near balance D's logit s is the same on real and fake samples, and the losses there have slopes
    -c and c: to first order, every objective is Wasserstein's times c. With m the mean real sample
    and y what G makes,

        θ_D' = d_lr c P (∂s(m)/∂θ_D - ∂s(y)/∂θ_D),    θ_G' = g_lr c (∂y/∂θ_G)ᵀ ∇s(y),

    and penalties as they are. The losses' curvature κ pulls the level s(m) + s(y) back fast, at the
    rate 2 d_lr κ |Φ|² a step, Φ = ∂(s(m) + s(y))/∂θ_D. What is slow moves on the surface of a
    constant level: P projects Φ out. Without curvature, as with `wasserstein` and `hinge`, nothing
    holds the level, and P is left out.

    Arguments, result and errors are those of `gradient_velocity`, at the mean of every random
    number.
    """
    setup = check_setup(setup)
    check_state(state, setup)
    velocity, is_curved = linear_velocity(state, setup)
    if not is_curved:
        return velocity
    game, fake = setup.game, generate(state, setup)

    def level(d_params):
        logit = partial(game.discriminator.apply, {"params": d_params})
        return logit(game.real.center) + logit(fake)

    normal = jax.grad(level)(state.discriminator.params)
    moved = velocity.discriminator.params
    share = optax.tree.vdot(moved, normal) / optax.tree.norm(normal, squared=True)
    projected = optax.tree.add_scale(moved, -share, normal)
    return velocity._replace(discriminator=velocity.discriminator._replace(params=projected))


def linear_velocity(state: GANState, setup: Setup) -> tuple[GANState, bool]:
    """The level model without P; and whether the losses are curved, so that it needs P."""
    linear, is_curved = _at_balance(setup.method.objective)
    balanced = replace(setup, method=replace(setup.method, objective=linear))
    return gradient_velocity(state, balanced, order=1), is_curved


@lru_cache
def _at_balance(objective: Objective) -> tuple[Objective, bool]:
    """The objective to first order in the logit where D is undecided; and whether it is curved."""
    with jax.ensure_compile_time_eval():
        logit, _ = undecided(objective)
        slope, g_slope, *curvatures = (
            float(derivative(logit))
            for derivative in (
                jax.grad(objective.d_fake),
                jax.grad(objective.g),
                jax.grad(jax.grad(objective.d_real)),
                jax.grad(jax.grad(objective.d_fake)),
            )
        )
    linear = Objective(
        f"{objective.name} at balance",
        d_real=lambda u: -slope * u,
        d_fake=lambda u: slope * u,
        g=lambda u: g_slope * u,
        relative=objective.relative,
    )
    return linear, sum(curvatures) > 0 and not objective.relative  # which has no level


class Path(NamedTuple):
    """A solution; each leaf has a leading axis of records.

    Attributes:
      step: int32 [records], the time, in steps of training.
      state: both players then.
      output: [records, units], the generator's output, or the game's summary.
      matched: bool [records], whether the output matches.
      in_support: bool [records], whether it could be a real sample.
    """

    step: jax.Array
    state: GANState
    output: jax.Array
    matched: jax.Array
    in_support: jax.Array


@checked
def follow(
    state: GANState,
    setup: Setup = Setup(),
    velocity: _Velocity = step_velocity,
    *,
    steps: int = 100_000,
    record_every: int = 500,
    stride: int = 50,
) -> Path:
    """Solve the differential equation of a velocity, from any state on.

    By Runge and Kutta's classical method of order four. Works under `jit` and `vmap`, so that
    `jax.vmap(gan.follow)(states)` follows many.

    Args:
      state: where to start, in JAX's default float type.
      setup: what is trained; its hyperparameters are scalars.
      velocity: maps a state and a setup to the change of each floating-point number per step, as a
        `GANState`: one of this module's, or one of your own. It is compiled once.
      steps: for how many steps of training, a positive multiple of `record_every`.
      record_every: the number of steps from record to record.
      stride: how many steps of training the method takes at once; it divides `record_every`.

    Returns:
      The `Path`; its first record is `record_every` steps after the start.

    Raises:
      InvalidArgument: (a `ValueError`) for a state of another game or method, or an argument
        outside these limits.
    """
    setup = check_setup(setup)
    check_state(state, setup)
    check_steps(steps, record_every)
    check_whole("stride", stride, 1, record_every)
    if record_every % stride:
        raise InvalidArgument("stride", stride, f"a divisor of record_every, {record_every}")
    _check_velocity(velocity, state, setup)
    return _follow(state, setup, velocity, int(steps), int(record_every), int(stride))


def _check_velocity(velocity: _Velocity, state: GANState, setup: Setup) -> None:
    """Raise unless a velocity is a function whose result is like the state."""
    allowed = "a function from a state and a setup to a GANState with the state's shapes"
    if not callable(velocity):
        raise InvalidArgument("velocity", velocity, allowed)
    found = jax.eval_shape(velocity, state, setup)
    if jax.tree.map(jnp.shape, found) != jax.tree.map(jnp.shape, state):
        raise InvalidArgument("velocity", velocity, allowed)


@jit(static_argnames=("velocity", "steps", "record_every", "stride"))
def _follow(
    state: GANState, setup: Setup, velocity: _Velocity, steps: int, record_every: int, stride: int
) -> Path:
    """`follow`; arguments already validated."""
    start, fill = as_vector(state)

    def rate(place):
        return as_vector(velocity(fill(place), setup))[0]

    def advance(_, place):
        first = rate(place)
        second = rate(place + stride / 2 * first)
        third = rate(place + stride / 2 * second)
        fourth = rate(place + stride * third)
        return place + stride / 6 * (first + 2 * second + 2 * third + fourth)

    def to_record(place, first_step):
        place = jax.lax.fori_loop(0, record_every // stride, advance, place)
        there = fill(place)
        output = summarize(there, setup)
        tests = setup.game.matched(output), setup.game.in_support(output)
        return place, Path(first_step + record_every, there, output, *tests)

    start = vary_alike(start, setup)
    _, path = jax.lax.scan(to_record, start, first_steps(steps, record_every))
    return path


def first_departure(
    step: np.typing.ArrayLike, in_support: np.typing.ArrayLike, *, stay: int = 10
) -> jax.Array:
    """When runs first leave the support: the first record out of it after a stay in it.

    Works under `jit` and `vmap`.

    Args:
      step: the steps of the records, [records].
      in_support: whether each record is in support, bool [..., records].
      stay: how many records in a row make a stay, above zero.

    Returns:
      The step of that record, [...]; -1 where there is none.

    Raises:
      InvalidArgument: (a `ValueError`) for arrays of other shapes or kinds, or another stay.
    """
    allowed = "whole numbers, [records], with one record or more"
    step = as_array("step", step, allowed)
    if step.ndim != 1 or not step.size or not jnp.issubdtype(step.dtype, jnp.integer):
        raise InvalidArgument("step", describe_array(step), allowed)
    allowed = f"booleans, [..., {len(step)}], one for each step"
    inside = as_array("in_support", in_support, allowed)
    if inside.shape[-1:] != step.shape or inside.dtype != bool:
        raise InvalidArgument("in_support", describe_array(inside), allowed)
    check_whole("stay", stay, 1, MAX_STEPS)
    place = jnp.arange(inside.shape[-1])
    last_out = jnp.maximum.accumulate(jnp.where(inside, -1, place), axis=-1)
    has_stayed = jnp.logical_or.accumulate(place - last_out >= stay, axis=-1)
    leaves = has_stayed & ~inside
    return jnp.where(leaves.any(-1), jnp.asarray(step)[leaves.argmax(-1)], -1)
