"""Methods: the objective's formulas, and what is refused."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gan1010_jax as gan
from gan1010_jax.command_line import MethodOptions
from gan1010_jax.diagrams import AXIS_TITLES
from gan1010_jax.methods import HYPERPARAMS
from gan1010_jax.tables import MEANINGS


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
        ({"optimizer": optax.sgd(0.01)}, "a function from a learning rate"),
        ({"optimizer": (optax.sgd,) * 3}, "or two"),
        ({"penalty": "r3"}, "a Penalty or one of none, r1, r2, wgan_gp, consensus"),
        ({"first": "both"}, "one of discriminator, generator"),
        ({"d_steps": 0}, "a whole number from 1 to 100"),
        ({"d_steps": 1.0}, "a whole number from 1 to 100"),
        (
            {"penalty": "wgan_gp", "schedule": "alternating"},
            "objective must be one of wasserstein, minimax, nonsaturating, hinge with the penalty",
        ),
        (
            {"objective": "wasserstein", "penalty": "wgan_gp"},
            "schedule must be alternating or simultaneous with the penalty wgan_gp",
        ),
        ({"penalty": "consensus"}, "schedule must be alternating or simultaneous"),
        ({"schedule": "simultaneous", "d_steps": 2}, "d_steps must be 1"),
        ({"schedule": "simultaneous", "first": "generator"}, "first must be discriminator"),
    ],
)
def test_a_bad_method_is_refused_at_construction_with_what_is_allowed(setting, allowed):
    with pytest.raises(ValueError, match=allowed):
        gan.Method(**setting)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("penalty_weight", -1, "a finite number, zero or more, or None; got -1"),
        ("penalty_weight", np.float32(-1), "a finite number, zero or more, or None"),
        ("clip", 0, "a finite number, above zero, or None; got 0"),
        ("clip", np.inf, "a finite number, above zero, or None"),
        ("noise_std", np.nan, "a finite number, zero or more, or None"),
        ("target_norm", "one", "a finite number, zero or more, or None"),
        ("d_lr", True, "a finite number, zero or more; got True"),
        ("g_lr", -1e-9, "a finite number, zero or more"),
    ],
)
def test_bad_numbers_are_refused_at_construction_with_what_is_allowed(name, value, allowed):
    with pytest.raises(gan.InvalidArgument, match=f"{name} must be {allowed}"):
        gan.Hyperparams(**{name: value})


@pytest.mark.parametrize(
    ("method", "name"),
    [
        (gan.Method(), "penalty_weight"),
        (gan.Method(), "target_norm"),
        (gan.Method(penalty="r1"), "target_norm"),
    ],
)
def test_a_number_that_the_penalty_does_not_use_is_refused(method, name):
    with pytest.raises(gan.InvalidArgument, match=f"{name} must be None, since the penalty"):
        gan.train(jax.random.key(0), method=method, hyperparams=gan.Hyperparams(**{name: 2.0}))


def test_hyperparams_are_a_pytree_of_the_numbers_that_are_there():
    numbers = gan.Hyperparams(0.1, 0.2, clip=0.3)
    assert jax.tree.leaves(numbers) == [0.1, 0.2, 0.3]
    assert jax.tree.map(lambda _: 0, numbers).clip == 0  # what is not a number is not checked
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(numbers)]
    assert paths == [".d_lr", ".g_lr", ".clip"]
    assert dataclasses.replace(numbers, clip=None) == gan.Hyperparams(0.1, 0.2)


def test_every_hyperparameter_has_an_option_a_title_and_a_meaning():
    options = [field.name for field in dataclasses.fields(MethodOptions)]
    assert set(HYPERPARAMS) <= set(options) & set(MEANINGS) & set(AXIS_TITLES)


def test_each_player_may_have_its_own_optimizer():
    key, steps = jax.random.key(0), 30
    pair = gan.Method(optimizer=(optax.adam, optax.sgd))
    state, _ = gan.train(key, method=pair, steps=steps)
    counts = [jax.tree.leaves(player.opt_state) for player in state]
    assert counts[0] and int(counts[0][0]) == 2 * steps and not counts[1]


def test_an_objective_or_a_penalty_of_ones_own_is_one_object():
    slope = gan.Penalty("slope", lambda round: jnp.abs(jax.grad(round.logit)(round.real)).sum())
    method = gan.Method("hinge", "alternating", slope)
    _, history = gan.train(jax.random.key(0), method=method, steps=200)
    _, without = gan.train(jax.random.key(0), method=gan.Method("hinge", "alternating"), steps=200)
    assert np.abs(history.output - without.output).max() > 1e-3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"on": "all"}, "on must be one of real, fake, both"),
        ({"numbers": ("clip",)}, "numbers must be a tuple of some of penalty_weight, target_norm"),
        ({"numbers": "penalty_weight"}, "numbers must be a tuple of some of"),
        ({"name": jnp.abs}, "name must be a string"),
    ],
)
def test_a_bad_penalty_is_refused_at_construction(settings, message):
    with pytest.raises(gan.InvalidArgument, match=message):
        gan.Penalty(**{"name": "own", "d": lambda round: 0.0} | settings)
