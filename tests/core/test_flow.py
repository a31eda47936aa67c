"""Runs as differential equations: they say when each GAN leaves, and why."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rejects import rejects

import gan1010_jax as gan
from gan1010_jax.flow import linear_velocity
from gan1010_jax.gan import seed_key
from gan1010_jax.methods import OBJECTIVES

SEEDS = range(7000, 7032)
STEPS, WARM_UP = 120_000, 10_000
RECORDS = WARM_UP // 500


@pytest.fixture(scope="module")
def runs():
    """Training as it is: states at the start and after 10,000 steps, and the records."""
    keys = jax.vmap(seed_key)(np.array(SEEDS))
    first = jax.vmap(gan.init)(jax.vmap(jax.random.split)(keys)[:, 0])
    train = partial(gan.train, steps=WARM_UP, record_every=WARM_UP)
    later, _ = jax.jit(jax.vmap(train))(keys)
    return first, later, gan.train_population(SEEDS, steps=STEPS, record_every=500).history


def departures(history):
    found = np.asarray(gan.first_departure(history.step[0], history.in_support))
    assert (found > 0).all()
    return found.astype(float)


def predict_from_later(runs, velocity):
    """Each seed's departure by a velocity from step 10,000 on."""
    _, later, history = runs
    path = jax.vmap(lambda state: gan.follow(state, gan.Setup(), velocity, steps=110_000))(later)
    both = np.concatenate([history.in_support[:, :RECORDS], path.in_support], axis=1)
    return departures(history._replace(in_support=both))


def explained(measured, predicted):
    """R²: the share of the variance among the seeds that a prediction explains."""
    return 1 - np.sum((measured - predicted) ** 2) / np.sum((measured - measured.mean()) ** 2)


def test_the_level_model_says_when_each_gan_leaves_and_needs_its_level(runs):
    measured = departures(runs[2])
    assert explained(measured, predict_from_later(runs, gan.level_velocity)) > 0.95
    assert explained(measured, predict_from_later(runs, without_level)) < 0.3


def without_level(state, setup):
    velocity, _ = linear_velocity(state, setup)
    return velocity


def test_the_expected_step_says_from_the_initial_weights_when_each_gan_leaves(runs):
    first, _, history = runs
    path = jax.vmap(lambda state: gan.follow(state, steps=STEPS))(first)
    predicted = departures(history._replace(in_support=path.in_support))
    assert explained(departures(history), predicted) > 0.98
    assert np.median(np.abs(predicted - departures(history))) <= 500  # a record


def test_the_dirac_gan_circles_as_its_equation_says(x64):
    setup = gan.Setup(gan.dirac_game((1.0, 0.0)), gan.Method("wasserstein", "simultaneous"))
    start = gan.init(jax.random.key(0), setup)
    path = gan.follow(start, setup, gan.gradient_velocity, steps=1000, stride=1)
    angle = 0.01 * np.asarray(path.step)
    np.testing.assert_allclose(path.output.T, [np.cos(angle), -np.sin(angle)], atol=1e-9)


def test_a_step_is_gradient_descent_for_small_rates(x64):
    state = gan.init(jax.random.key(3))
    setup = gan.Setup(hyperparams=gan.Hyperparams(1e-7, 3e-7))
    exact, simple = (jax.tree.leaves(v(state, setup)) for v in VELOCITIES[:2])
    for one, other in zip(exact, simple):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-14)


VELOCITIES = (gan.step_velocity, gan.gradient_velocity, gan.level_velocity)
SLOPES = {"mse": 0.25, "wasserstein": 1.0, "hinge": 1.0}  # and ½ of the others


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_level_model_is_its_formula(objective, x64):
    """Written out by hand, with the slope at balance."""
    setup = gan.Setup(
        method=gan.Method(objective, "alternating", penalty="r1"),
        hyperparams=gan.Hyperparams(0.02, 0.03, penalty_weight=0.5),
    )
    game, c = setup.game, SLOPES.get(objective, 0.5)
    state = gan.init(jax.random.key(5), setup)
    d_params, g_params = state.discriminator.params, state.generator.params
    m, y = game.real.center, gan.generate(state, setup)

    def logit(d_params, x):
        return game.discriminator.apply({"params": d_params}, x)

    def slope_at_m(d_params):
        return optax.tree.norm(jax.grad(logit, 1)(d_params, m), squared=True)

    def make(g_params):
        return game.generator.apply({"params": g_params}, game.latent.center)

    at_m, at_y = (jax.grad(logit)(d_params, x) for x in (m, y))
    pull = jax.tree.map(
        lambda a, b, r: c * (a - b) - 0.5 * r / 2, at_m, at_y, jax.grad(slope_at_m)(d_params)
    )
    normal = jax.tree.map(jnp.add, at_m, at_y)
    if objective not in ("wasserstein", "hinge", "relativistic"):
        share = optax.tree.vdot(pull, normal) / optax.tree.vdot(normal, normal)
        pull = optax.tree.add_scale(pull, -share, normal)
    (push,) = jax.vjp(make, g_params)[1](c * jax.grad(logit, 1)(d_params, y))

    found = gan.level_velocity(state, setup)
    expected = (optax.tree.scale(0.02, pull), optax.tree.scale(0.03, push))
    for players in zip((found.discriminator.params, found.generator.params), expected):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-16), *players)


@pytest.mark.parametrize("velocity", VELOCITIES)
def test_a_velocity_goes_through_jit_and_vmap(velocity):
    state, rates = gan.init(jax.random.key(0)), np.array([0.01, 0.02], np.float32)

    def at(rate):
        return velocity(state, gan.Setup(hyperparams=gan.Hyperparams(rate, 0.03)))

    many, alone = jax.jit(jax.vmap(at))(rates), [at(rate) for rate in rates]
    assert_near(many, jax.tree.map(lambda *leaves: np.stack(leaves), *alone))


def assert_near(trees, others):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), trees, others)


def test_a_path_is_the_one_of_each_state_alone():
    states = [gan.init(key) for key in jax.random.split(jax.random.key(0), 3)]
    paths = [gan.follow(state, steps=1000) for state in states]
    states, paths = (jax.tree.map(lambda *leaves: np.stack(leaves), *x) for x in (states, paths))
    assert_near(jax.vmap(partial(gan.follow, steps=1000))(states), paths)


def test_momentum_and_adam_are_followed_with_their_statistics():
    """Their memories, of ten and a thousand steps, are part of what moves."""
    for optimizer, rate in ((partial(optax.sgd, momentum=0.9), 1e-3), (optax.adam, 1e-4)):
        method = gan.Method(optimizer=optimizer)
        setup = gan.Setup(method=method, hyperparams=gan.Hyperparams(rate, rate))
        start, _ = gan.train(jax.random.key(1), setup, steps=10_000)
        end, _ = gan.train(jax.random.key(1), setup, steps=14_000)
        path = gan.follow(start, setup, steps=4_000, stride=5)
        there, trained = path.output[-1], gan.generate(end, setup)
        moved = np.abs(trained - gan.generate(start, setup)).max()
        assert np.abs(there - trained).max() < 0.1 * moved


def test_a_departure_is_the_first_record_out_after_a_stay():
    step = np.arange(100, 1300, 100)
    rows = {
        "111111111111": -1,
        "000000000000": -1,
        "001110111000": 600,  # after a stay of three
        "110110110111": -1,
        "111000111000": 400,
        "000000000111": -1,
    }
    inside = np.array([[mark == "1" for mark in row] for row in rows])
    found = gan.first_departure(step, inside, stay=3)
    assert found.tolist() == [*rows.values()]
    assert jax.jit(gan.first_departure)(step, jnp.asarray(inside)).tolist() == [-1] * 6


def test_a_wrong_path_or_departure_is_rejected():
    state = gan.init(jax.random.key(0))
    for wrong in (0, 7, 501, 2.0):
        with rejects("stride", wrong):
            gan.follow(state, stride=wrong)
    with rejects("velocity", None):
        gan.follow(state, velocity=None)
    with rejects("in_support"):
        gan.first_departure(np.arange(3), np.ones((2, 4), bool))
    with rejects("stay", 0):
        gan.first_departure(np.arange(3), np.ones(3, bool), stay=0)
