"""Methods: the objective's formulas, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gan1010_jax as gan


@pytest.mark.parametrize("logit", [-30.0, -2.0, 0.0, 0.5, 30.0])
def test_mse_is_the_squared_error_of_the_probability(logit):
    objective = gan.Method().objective
    probability = 1 / (1 + np.exp(-logit))
    assert objective.d_real(jnp.float32(logit)) == pytest.approx((probability - 1) ** 2, abs=1e-6)
    assert objective.d_fake(jnp.float32(logit)) == pytest.approx(probability**2, abs=1e-6)
    assert objective.g(jnp.float32(logit)) == pytest.approx((probability - 1) ** 2, abs=1e-6)


def test_an_undecided_d_costs_a_quarter():
    objective = gan.Method().objective
    assert objective.d_real(0.0) == objective.d_fake(0.0) == objective.g(0.0) == 0.25


def test_a_method_is_hashable_and_equal_to_its_like():
    assert gan.Method() == gan.Method("mse")
    assert hash(gan.Method()) == hash(gan.Method("mse"))


def test_an_objective_of_ones_own_is_taken():
    linear = gan.Objective("linear", lambda x: -x, lambda x: x, lambda x: -x)
    _, losses = gan.train_step(
        gan.init(jax.random.key(0)), gan.draw_batch(jax.random.key(1)), method=gan.Method(linear)
    )
    assert float(losses.d_fake) == pytest.approx(-float(losses.g), rel=0.1)


def test_any_optax_optimizer_is_taken():
    method = gan.Method(optimizer=functools.partial(optax.sgd, momentum=0.9))
    state = gan.init(jax.random.key(0), method=method)
    after, _ = gan.train_step(state, gan.draw_batch(jax.random.key(1)), method=method)
    traces = [jax.tree.leaves(player.opt_state) for player in after]
    assert all(any(np.any(np.asarray(leaf)) for leaf in leaves) for leaves in traces)


def test_an_optimizer_that_keeps_its_learning_rate_in_its_state_trains_with_the_one_given():
    hyperparams = gan.Hyperparams(d_lr=0.3, g_lr=0.2)
    key = jax.random.key(0)
    kept = gan.Method(optimizer=optax.inject_hyperparams(optax.sgd))
    _, history = gan.train(key, method=kept, hyperparams=hyperparams, steps=60)
    _, expected = gan.train(key, hyperparams=hyperparams, steps=60)
    np.testing.assert_allclose(history.output, expected.output, atol=1e-6)


@pytest.mark.parametrize(
    ("setting", "allowed"),
    [
        ({"objective": "foo"}, "an Objective or one of mse, lsgan, minimax, nonsaturating, wass"),
        ({"objective": None}, "one of mse"),
        ({"schedule": "foo"}, "one of reference, alternating, simultaneous"),
        ({"optimizer": 0.01}, "a function from a learning rate"),
    ],
)
def test_a_bad_method_is_refused_at_construction_with_what_is_allowed(setting, allowed):
    with pytest.raises(ValueError, match=allowed):
        gan.Method(**setting)
