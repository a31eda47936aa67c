"""Methods: the objective's formulas, and what is rejected."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rejects import rejects

import gan1010_jax as gan
from gan1010_jax.methods import OBJECTIVES, flags_of, gives_belief
from gan1010_jax.names import HYPERPARAMS, by_name

DIRAC = gan.dirac_game()  # compiles in a tenth of the time of the reference


@pytest.mark.parametrize("logit", [-30.0, -2.0, 0.0, 0.5, 30.0])
def test_mse_is_the_squared_error_of_the_probability(logit):
    objective = gan.Method().objective
    probability = 1 / (1 + np.exp(-logit))
    assert objective.d_real(jnp.float32(logit)) == pytest.approx((probability - 1) ** 2, abs=1e-6)
    assert objective.d_fake(jnp.float32(logit)) == pytest.approx(probability**2, abs=1e-6)
    assert objective.g(jnp.float32(logit)) == pytest.approx((probability - 1) ** 2, abs=1e-6)


@pytest.mark.parametrize("names", ["a", "abc", "ba"])
def test_a_registry_has_a_part_for_each_declared_name_and_no_other(names):
    parts = [gan.Objective(name, abs, abs, abs) for name in names]
    with pytest.raises(ValueError, match="are declared"):
        by_name("ab", parts)
    assert [*by_name(names, parts).values()] == parts


def test_every_declared_hyperparameter_is_a_field():
    assert [field.name for field in dataclasses.fields(gan.Hyperparams)] == [*HYPERPARAMS]


def test_an_undecided_d_costs_a_quarter():
    objective = gan.Method().objective
    assert objective.d_real(0.0) == objective.d_fake(0.0) == objective.g(0.0) == 0.25


def test_a_method_is_hashable_and_equal_to_its_like():
    assert gan.Method() == gan.Method("mse")
    assert hash(gan.Method()) == hash(gan.Method("mse"))


def test_an_objective_of_ones_own_is_taken():
    linear = gan.Objective("linear", lambda x: -x, lambda x: x, lambda x: -x)
    _, info = gan.train_step(
        gan.init(jax.random.key(0)),
        gan.draw_batch(jax.random.key(1)),
        gan.Setup(method=gan.Method(linear)),
    )
    assert float(info.losses.d_fake) == pytest.approx(-float(info.losses.g), rel=0.1)


def test_any_optax_optimizer_is_taken():
    method = gan.Method(optimizer=functools.partial(optax.sgd, momentum=0.9))
    state = gan.init(jax.random.key(0), gan.Setup(method=method))
    after, _ = gan.train_step(state, gan.draw_batch(jax.random.key(1)), gan.Setup(method=method))
    traces = [jax.tree.leaves(player.opt_state) for player in after]
    assert all(any(np.any(np.asarray(leaf)) for leaf in leaves) for leaves in traces)


def test_an_optimizer_that_keeps_its_learning_rate_in_its_state_trains_with_the_one_given():
    hyperparams = gan.Hyperparams(d_lr=0.3, g_lr=0.2)
    key = jax.random.key(0)
    kept = gan.Method(optimizer=optax.inject_hyperparams(optax.sgd))
    _, history = gan.train(key, gan.Setup(DIRAC, kept, hyperparams), steps=60)
    _, expected = gan.train(key, gan.Setup(DIRAC, hyperparams=hyperparams), steps=60)
    np.testing.assert_allclose(history.output, expected.output, atol=1e-6)


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ({"objective": "foo"}, "objective"),
        ({"objective": None}, "objective"),
        ({"update_order": "foo"}, "update_order"),
        ({"optimizer": 0.01}, "optimizer"),
        ({"optimizer": optax.sgd(0.01)}, "optimizer"),
        ({"optimizer": (optax.sgd,) * 3}, "optimizer"),
        ({"penalty": "r3"}, "penalty"),
        ({"first": "both"}, "first"),
        ({"d_steps": 0}, "d_steps"),
        ({"d_steps": 1.0}, "d_steps"),
        ({"penalty": "wgan_gp", "update_order": "alternating"}, "objective"),
        ({"objective": "wasserstein", "penalty": "wgan_gp"}, "update_order"),
        ({"penalty": "consensus"}, "update_order"),
        ({"update_order": "simultaneous", "d_steps": 2}, "d_steps"),
        ({"update_order": "simultaneous", "first": "generator"}, "first"),
        ({"update_order": "extragradient", "d_steps": 2}, "d_steps"),
        ({"update_order": "extragradient", "first": "generator"}, "first"),
        ({"penalty": "symplectic"}, "update_order"),
        ({"penalty": "r1_r2"}, "update_order"),
        ({"objective": "relativistic"}, "update_order"),
        ({"sync_period": 0}, "sync_period"),
        ({"sync_period": 5.0}, "sync_period"),
        ({"sync_period": True}, "sync_period"),
    ],
)
def test_an_unknown_or_incompatible_method_is_rejected_at_construction(setting, name):
    with rejects(name):
        gan.Method(**setting)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("penalty_weight", -1),
        ("penalty_weight", np.float32(-1)),
        ("clip", 0),
        ("clip", np.inf),
        ("noise_std", np.nan),
        ("target_norm", "one"),
        ("d_lr", True),
        ("d_lr", np.array([0.1, -1.0])),
        ("d_lr", jnp.array(np.nan)),
        ("g_lr", -1e-9),
        ("g_lr", 1e39),
        ("slow_step_size", -0.5),
        ("average_decay", 1.0),
        ("average_decay", -0.1),
    ],
)
def test_bad_hyperparameters_are_rejected_at_construction(name, value):
    with rejects(name, value):
        gan.Hyperparams(**{name: value})


@pytest.mark.parametrize("value", [["fast"], [[1], [2, 3]], [-1.0]])
def test_a_list_that_is_not_of_allowed_numbers_is_rejected(value):
    with rejects("g_lr"):
        gan.Hyperparams(g_lr=value)


@pytest.mark.parametrize(
    ("method", "name"),
    [
        (gan.Method(), "penalty_weight"),
        (gan.Method(), "target_norm"),
        (gan.Method(penalty="r1"), "target_norm"),
        (gan.Method(), "slow_step_size"),
    ],
)
def test_a_hyperparameter_that_the_method_does_not_use_is_rejected(method, name):
    with rejects(name, 2.0):
        gan.Setup(method=method, hyperparams=gan.Hyperparams(**{name: 2.0}))


def test_a_repr_says_what_differs_from_the_reference():
    assert repr(gan.Method()) == "Method()"
    own = gan.Method("hinge", "alternating", "r1", optimizer=optax.adam)
    assert repr(own).startswith(
        "Method(objective='hinge', update_order='alternating', penalty='r1'"
    )
    assert len(repr(own)) < 200 and repr(gan.pattern_game("01")) == "Game('01')"
    assert repr(gan.Setup()) == "Setup()" and repr(gan.Hyperparams()) == "Hyperparams()"
    setup = gan.Setup(gan.pattern_game("01"), hyperparams=gan.Hyperparams(d_lr=0.1, g_lr=0.01))
    assert repr(setup) == "Setup(game=Game('01'), hyperparams=Hyperparams(d_lr=0.1))"
    assert repr(gan.Hyperparams(np.ones(2))) == "Hyperparams(d_lr=array([1., 1.]))"


def test_hyperparams_are_a_pytree_of_the_numbers_that_are_there():
    numbers = gan.Hyperparams(0.1, 0.2, clip=0.3)
    assert jax.tree.leaves(numbers) == [0.1, 0.2, 0.3]
    assert jax.tree.map(lambda _: 0, numbers).clip == 0  # what is not a number is not checked
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(numbers)]
    assert paths == [".d_lr", ".g_lr", ".clip"]
    assert dataclasses.replace(numbers, clip=None) == gan.Hyperparams(0.1, 0.2)


def test_the_flags_of_a_method_are_those_that_differ_from_the_reference():
    pair = (optax.adam, optax.sgd)
    method = gan.Method("hinge", "extragradient", "r1", optimizer=pair, sync_period=5)
    hyperparams = gan.Hyperparams(d_lr=0.5, penalty_weight=2.0, average_decay=0.9)
    flags = flags_of(method.options | vars(hyperparams))
    assert flags == [
        *("--objective hinge", "--update-order extragradient", "--penalty r1"),
        *("--optimizer adam,sgd", "--sync-period 5"),
        *("--d-lr 0.5", "--penalty-weight 2", "--average-decay 0.9"),
    ]
    assert flags_of(gan.Method().options | vars(gan.Hyperparams())) == []


def test_each_player_may_have_its_own_optimizer():
    key, steps = jax.random.key(0), 30
    pair = gan.Method(optimizer=(optax.adam, optax.sgd))
    state, _ = gan.train(key, gan.Setup(DIRAC, pair), steps=steps)
    counts = [jax.tree.leaves(player.opt_state) for player in state]
    assert counts[0] and int(counts[0][0]) == 2 * steps and not counts[1]


def test_an_objective_or_a_penalty_of_ones_own_is_one_object():
    slope = gan.Penalty("slope", lambda ctx: jnp.abs(jax.grad(ctx.logit)(ctx.real)).sum())
    with_slope = gan.Setup(DIRAC, gan.Method("hinge", "alternating", slope))
    without = gan.Setup(DIRAC, gan.Method("hinge", "alternating"))
    _, history = gan.train(jax.random.key(0), with_slope, steps=200)
    _, other = gan.train(jax.random.key(0), without, steps=200)
    assert np.abs(history.output - other.output).max() > 1e-3


@pytest.mark.parametrize(
    "settings",
    [
        {"samples": "all"},
        {"hyperparams": ("clip",)},
        {"hyperparams": "penalty_weight"},
        {"name": jnp.abs},
    ],
)
def test_a_bad_penalty_is_rejected_at_construction(settings):
    ((name, value),) = settings.items()
    with rejects(name, value):
        gan.Penalty(**{"name": "own", "d": lambda ctx: 0.0} | settings)


def test_a_belief_is_a_belief_only_under_a_proper_scoring_rule():
    proper = {name for name, objective in OBJECTIVES.items() if gives_belief(objective)}
    assert proper == {"mse", "minimax", "nonsaturating"}
