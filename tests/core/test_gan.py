"""The updates: shapes, purity, who moves, and the arithmetic against one written by hand."""

import ast
import dataclasses
from functools import partial
from pathlib import Path
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from rejects import rejects

import gan1010_jax as gan
from gan1010_jax.gan import d_step_batch, discriminator_loss, seed_key

STATE = gan.init(jax.random.key(0))
BATCH = gan.draw_batch(jax.random.key(1))

MAKES_KEYS = ("jax.random.key", "jax.random.PRNGKey")
CALLS = {
    "init": (gan.init, (jax.random.key(0),)),
    "draw_batch": (gan.draw_batch, (jax.random.key(0),)),
    "generate": (gan.generate, (STATE,)),
    "discriminator_update": (
        lambda state, batch: gan.discriminator_update(state, batch, samples="real"),
        (STATE, BATCH),
    ),
    "generator_update": (gan.generator_update, (STATE, BATCH)),
    "train_step": (gan.train_step, (STATE, BATCH)),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "init")) for name in CALLS]
)
def test_shapes_and_dtypes_are_the_same_plain_under_jit_and_under_vmap(name):
    function, arguments = CALLS[name]
    plain = function(*arguments)
    jitted = jax.jit(function)(*arguments)
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf, leaf]), arguments)
    batched = jax.vmap(function)(*stacked)

    chex.assert_tree_all_finite(plain)
    chex.assert_trees_all_equal_shapes_and_dtypes(plain, jitted)
    chex.assert_trees_all_equal_shapes_and_dtypes(plain, jax.tree.map(lambda x: x[0], batched))
    chex.assert_trees_all_close(plain, jitted, atol=1e-6)
    for lane in range(3):
        chex.assert_trees_all_close(
            plain, jax.tree.map(lambda x, lane=lane: x[lane], batched), atol=1e-6
        )
    assert {leaf.dtype for leaf in jax.tree.leaves(plain)} == {jnp.dtype("float32")}


def test_shapes_are_the_documented_ones():
    chex.assert_shape(BATCH.real, (4,))
    chex.assert_shape(BATCH.latent, (1,))
    chex.assert_shape(gan.generate(STATE), (4,))
    chex.assert_shape(gan.generate(STATE, latent=jnp.zeros((7, 1))), (7, 4))
    state, info = gan.train_step(STATE, BATCH)
    chex.assert_trees_all_equal_shapes_and_dtypes((state, *info.updates), (STATE,) * 4)
    chex.assert_shape(list(info.losses), ())


def test_init_and_draw_batch_are_functions_of_their_key():
    for draw in (gan.init, gan.draw_batch):
        chex.assert_trees_all_equal(draw(jax.random.key(5)), draw(jax.random.key(5)))
    for player, other in zip(gan.init(jax.random.key(5)), gan.init(jax.random.key(6))):
        assert moved(player, other) == {True}
    assert np.all(gan.draw_batch(jax.random.key(5)).real != gan.draw_batch(jax.random.key(6)).real)


def test_the_key_of_a_seed_is_threefrys_whatever_jaxs_default_is():
    with jax.default_prng_impl("rbg"):
        key = seed_key(5)
    np.testing.assert_array_equal(jax.random.key_data(key), [0, 5])
    assert key.dtype == jax.random.key(5, impl="threefry2x32").dtype


def test_nothing_makes_the_key_of_a_seed_in_another_way():
    """A key of JAX's default implementation, which an environment variable changes."""
    package = Path(gan.__file__).parent
    for path in [*package.rglob("*.py"), *(package.parent / "experiments").glob("*.py")]:
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        named = [
            part
            for node in nodes
            if isinstance(node, ast.Call) and any(word.arg == "impl" for word in node.keywords)
            for part in (node.func, *node.args)
        ]
        made = [n for n in nodes if isinstance(n, ast.Attribute) and ast.unparse(n) in MAKES_KEYS]
        assert [node.lineno for node in made if node not in named] == [], path


def moved(before, after):
    """The set of answers to: did this leaf of the player's parameters change?"""
    changed = jax.tree.map(lambda a, b: bool(np.any(a != b)), before.params, after.params)
    return set(jax.tree.leaves(changed))


@pytest.mark.parametrize("samples", ["real", "fake"])
def test_a_discriminator_update_moves_d_alone_and_lowers_its_loss(samples):
    after, before = gan.discriminator_update(STATE, BATCH, samples=samples)
    assert moved(STATE.discriminator, after.discriminator) == {True}
    assert moved(STATE.generator, after.generator) == {False}
    _, later = gan.discriminator_update(after, BATCH, samples=samples)
    name = f"d_{samples}"
    assert list(before) == list(later) == [name] and later[name] < before[name]


def test_a_generator_update_moves_g_alone_and_lowers_its_loss():
    after, before = gan.generator_update(STATE, BATCH)
    assert moved(STATE.discriminator, after.discriminator) == {False}
    assert moved(STATE.generator, after.generator) == {True}
    _, later = gan.generator_update(after, BATCH)
    assert list(before) == ["g"] and later["g"] < before["g"]


def test_a_joint_discriminator_update_descends_the_sum_of_both_losses():
    slow = gan.Setup(hyperparams=gan.Hyperparams(d_lr=1e-3))
    update = partial(gan.discriminator_update, STATE, BATCH, slow)
    joint, losses = update()
    real, real_loss = update(samples="real")
    fake, fake_loss = update(samples="fake")
    chex.assert_trees_all_close(losses, real_loss | fake_loss, atol=1e-7)
    start, joint, real, fake = (s.discriminator.params for s in (STATE, joint, real, fake))
    separate = jax.tree.map(lambda a, b, s: a + b - s, real, fake, start)
    chex.assert_trees_all_close(joint, separate, atol=1e-7)


def test_a_discriminator_update_rejects_other_samples():
    with rejects("samples", "all"):
        gan.discriminator_update(STATE, BATCH, samples="all")


def test_learning_rates_of_zero_hold_each_player_still():
    frozen_d, _ = gan.train_step(STATE, BATCH, gan.Setup(hyperparams=gan.Hyperparams(d_lr=0.0)))
    assert moved(STATE.discriminator, frozen_d.discriminator) == {False}
    assert moved(STATE.generator, frozen_d.generator) == {True}
    frozen_g, _ = gan.train_step(STATE, BATCH, gan.Setup(hyperparams=gan.Hyperparams(g_lr=0.0)))
    assert moved(STATE.discriminator, frozen_g.discriminator) == {True}
    assert moved(STATE.generator, frozen_g.generator) == {False}


def test_a_step_is_its_three_updates_in_order():
    starts = [STATE]
    state, d_real = gan.discriminator_update(STATE, BATCH, samples="real")
    starts.append(state)
    state, d_fake = gan.discriminator_update(state, BATCH, samples="fake")
    starts.append(state)
    state, g = gan.generator_update(state, BATCH)
    stepped, info = gan.train_step(STATE, BATCH)
    chex.assert_trees_all_close(stepped, state, atol=1e-7)
    chex.assert_trees_all_close(info.losses, gan.Losses(**d_real, **d_fake, **g), atol=1e-7)
    chex.assert_trees_all_close(info.updates, tuple(starts), atol=1e-7)


@pytest.mark.slow
def test_a_step_uses_the_latent_of_its_batch():
    game = dataclasses.replace(gan.pattern_game("1010"), latent=gan.Uniform((-1.0,), (3.0,)))
    setup = gan.Setup(game, hyperparams=gan.Hyperparams(3.0, 3.0))
    state, batch = gan.init(jax.random.key(0), setup), gan.draw_batch(jax.random.key(1), setup)
    # The fake sample, handed to D as if it were real, by an objective that calls it fake.
    objective = gan.Method().objective
    called_fake = gan.Method(dataclasses.replace(objective, name="fake", d_real=objective.d_fake))
    fake = gan.Batch(gan.generate(state, setup, batch.latent), game.latent.center)
    by_hand, _ = gan.discriminator_update(state, batch, setup, samples="real")
    by_hand, d_fake = gan.discriminator_update(
        by_hand, fake, dataclasses.replace(setup, method=called_fake), samples="real"
    )
    by_hand, g = gan.generator_update(by_hand, batch, setup)
    stepped, info = gan.train_step(state, batch, setup)
    chex.assert_trees_all_close(stepped, by_hand, atol=1e-6)
    expected = d_fake["d_real"], g["g"]
    chex.assert_trees_all_close((info.losses.d_fake, info.losses.g), expected, atol=1e-6)


def test_a_step_is_deterministic():
    chex.assert_trees_all_equal(gan.train_step(STATE, BATCH), gan.train_step(STATE, BATCH))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def layers(player):
    """Kernels and biases, in float64."""
    return [
        np.asarray(player.params[layer]["Dense_0"][name], np.float64)
        for layer in ("Linear_0", "Linear_1")
        for name in ("kernel", "bias")
    ]


def step_by_hand(d, g, real, latent, d_lr, g_lr):
    """Section by section, the three updates with their gradients derived by hand."""

    def d_forward(x):
        hidden = sigmoid(x @ d[0] + d[1])
        return hidden, sigmoid(hidden @ d[2] + d[3])[0]

    def d_gradients(x, target):
        hidden, p = d_forward(x)
        at_logit = 2 * (p - target) * p * (1 - p)
        at_hidden = at_logit * d[2][:, 0] * hidden * (1 - hidden)
        gradients = [
            np.outer(x, at_hidden),
            at_hidden,
            at_logit * hidden[:, None],
            np.array([at_logit]),
        ]
        return (p - target) ** 2, gradients, d[0] @ at_hidden

    losses = []
    g_hidden = sigmoid(latent @ g[0] + g[1])
    fake = sigmoid(g_hidden @ g[2] + g[3])
    for sample, target in ((real, 1), (fake, 0)):
        loss, gradients, _ = d_gradients(sample, target)
        losses.append(loss)
        d = [weight - d_lr * gradient for weight, gradient in zip(d, gradients)]
    loss, _, at_fake = d_gradients(fake, 1)
    losses.append(loss)
    at_output = at_fake * fake * (1 - fake)
    at_hidden = g[2] @ at_output * g_hidden * (1 - g_hidden)
    gradients = [
        np.outer(latent, at_hidden),
        at_hidden,
        np.outer(g_hidden, at_output),
        at_output,
    ]
    return d, [weight - g_lr * gradient for weight, gradient in zip(g, gradients)], losses


@pytest.mark.parametrize(
    ("pattern", "lr"),
    [
        ("1010", (0.01, 0.01)),
        ("1010", (3.0, 0.5)),
        pytest.param("1", (3.0, 0.5), marks=pytest.mark.slow),
        pytest.param("110100", (3.0, 0.5), marks=pytest.mark.slow),
    ],
)
def test_ten_steps_agree_with_gradients_derived_by_hand(pattern, lr):
    """In float32 against float64: a few units in the last place of weights below about 4."""
    setup = gan.Setup(gan.pattern_game(pattern), hyperparams=gan.Hyperparams(*lr))
    state = gan.init(jax.random.key(3), setup)
    d, g = layers(state.discriminator), layers(state.generator)
    for i in range(10):
        batch = gan.draw_batch(jax.random.key(100 + i), setup)
        state, info = gan.train_step(state, batch, setup)
        real, latent = np.asarray(batch.real, np.float64), np.asarray(batch.latent, np.float64)
        d, g, losses_by_hand = step_by_hand(d, g, real, latent, *lr)
        np.testing.assert_allclose(info.losses, losses_by_hand, atol=2e-6)
    for by_jax, by_hand in zip(layers(state.discriminator) + layers(state.generator), d + g):
        np.testing.assert_allclose(by_jax, by_hand, atol=2e-6)


@pytest.mark.slow
def test_the_updates_can_be_differentiated_with_respect_to_the_hyperparameters():
    """Traced numbers: a hypergradient, checked against a finite difference."""

    def g_loss(d_lr):
        setup = gan.Setup(hyperparams=gan.Hyperparams(d_lr=d_lr))
        state, _ = gan.train_step(STATE, BATCH, setup)
        return gan.train_step(state, BATCH)[1].losses.g

    gradient = jax.grad(g_loss)(0.5)
    difference = (g_loss(0.6) - g_loss(0.4)) / 0.2
    assert float(gradient) == pytest.approx(float(difference), rel=0.02)


def test_a_setup_is_a_pytree_of_its_hyperparameters_alone():
    setup = gan.Setup(method=gan.Method(penalty="r1"), hyperparams=gan.Hyperparams(0.1, 0.2, 3.0))
    assert jax.tree.leaves(setup) == [0.1, 0.2, 3.0]
    doubled = jax.jit(lambda setup: jax.tree.map(lambda x: 2 * x, setup))(setup)
    assert (doubled.game, doubled.method) == (setup.game, setup.method)
    assert float(doubled.hyperparams.penalty_weight) == 6.0
    grid = gan.Setup(hyperparams=gan.Hyperparams(d_lr=jnp.array([0.0, 0.1]), g_lr=jnp.zeros(2)))
    after, _ = jax.vmap(gan.train_step, (None, None, 0))(STATE, BATCH, grid)
    still, moving = (jax.tree.map(lambda x, i=i: x[i], after.discriminator) for i in (0, 1))
    assert moved(STATE.discriminator, still) == {False}
    assert moved(STATE.discriminator, moving) == {True}


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        ({"game": "1010"}, "game"),
        ({"method": "mse"}, "method"),
        ({"method": None}, "method"),
        ({"hyperparams": {"d_lr": 0.1}}, "hyperparams"),
    ],
)
def test_a_setup_of_other_parts_is_rejected(parts, name):
    with rejects(name, parts[name]):
        gan.Setup(**parts)


def test_from_train_to_a_network_are_at_most_six_functions_of_the_package():
    """The reader's way: counted by an error that a network raises."""

    class Reached(Exception):
        pass

    class Raises(gan.Discriminator):
        def __call__(self, sample):
            if not self.is_initializing() and not isinstance(sample, jax.ShapeDtypeStruct):
                raise Reached
            return super().__call__(sample)

    game = dataclasses.replace(gan.pattern_game("1010"), discriminator=Raises())
    package = Path(gan.__file__).parent
    # What checks a game applies its networks, too, and is passed over.
    with mock.patch("gan1010_jax.checks._check_parts"), pytest.raises(Reached) as caught:
        gan.train(jax.random.key(0), gan.Setup(game), steps=10)
    paths = {entry: Path(entry.path) for entry in caught.traceback}
    frames = [e for e, p in paths.items() if package in p.parents and p.stem != "checks"]
    assert frames[0].name == "train"
    assert len(frames) <= 6, frames


# What each option adds


@pytest.mark.slow
def test_instance_noise_is_on_both_samples_with_its_standard_deviation():
    keys = jax.random.split(jax.random.key(3), 2000)
    noisy = gan.Setup(hyperparams=gan.Hyperparams(noise_std=0.5))
    plain = jax.vmap(gan.draw_batch, (0, None))(keys, gan.Setup())
    batch = jax.vmap(gan.draw_batch, (0, None))(keys, noisy)
    assert plain.noise is None
    both = np.concatenate([batch.real - plain.real, batch.noise], axis=1)
    np.testing.assert_allclose(both.std(axis=0), 0.5, rtol=0.1)
    assert np.abs(np.corrcoef(both.T) - np.eye(8)).max() < 5 / np.sqrt(len(keys))


@pytest.mark.slow
def test_the_mix_of_wgan_gp_is_uniform_and_each_d_step_has_its_own_batch():
    setup = gan.Setup(
        method=gan.Method("wasserstein", "alternating", "wgan_gp", d_steps=2),
        hyperparams=gan.Hyperparams(penalty_weight=1.0),
    )
    keys = jax.random.split(jax.random.key(4), 2000)
    batch = jax.vmap(gan.draw_batch, (0, None))(keys, setup)
    assert batch.mix.shape == (2000, 2) and batch.real.shape == (2000, 2, 4)
    assert np.all((batch.mix >= 0) & (batch.mix < 1)) and abs(float(batch.mix.mean()) - 0.5) < 0.02
    one = jax.tree.map(lambda leaf: leaf[0], batch)
    for d_step in range(2):
        drawn = d_step_batch(one, setup, d_step)
        np.testing.assert_array_equal(drawn.real, one.real[d_step])
        assert drawn.mix == one.mix[d_step]
    assert not np.array_equal(one.real[0], one.real[1])


def test_a_penalty_is_added_in_proportion_to_its_weight():
    state, batch = gan.init(jax.random.key(0)), gan.draw_batch(jax.random.key(1))
    players = state.discriminator.params, state

    def loss(weight):
        setup = gan.Setup(
            method=gan.Method(penalty="r1"), hyperparams=gan.Hyperparams(penalty_weight=weight)
        )
        return float(discriminator_loss(*players, batch, setup)[0])

    bare = float(discriminator_loss(*players, batch, gan.Setup())[0])
    assert loss(0.0) == bare and loss(1.0) > bare
    np.testing.assert_allclose(loss(30.0) - bare, 30 * (loss(1.0) - bare), rtol=1e-3)


@pytest.mark.parametrize("objective", ["mse", "relativistic"])
def test_the_symplectic_adjustment_is_its_formula_on_networks(x64, objective):
    """λAᵀv with A = (J - Jᵀ)/2 and the field's Jacobian, entry by entry, as a step takes it."""
    game = gan.pattern_game("10")
    point = dataclasses.replace(game, real=gan.Constant((0.9, 0.1)))  # so that nothing is averaged
    plain = gan.Setup(point, gan.Method(objective, "simultaneous"), gan.Hyperparams(1.0, 1.0))
    weighed = gan.Hyperparams(1.0, 1.0, penalty_weight=0.7)
    adjusted = gan.Setup(point, gan.Method(objective, "simultaneous", "symplectic"), weighed)
    state, batch = gan.init(jax.random.key(3), plain), gan.draw_batch(jax.random.key(0), plain)
    gradient, _ = ravel_pytree(gan.vector_field(state, plain))
    jacobian = -gan.field_jacobian(state, plain)  # the field is -v
    expected = gradient - 0.7 * gan.antisymmetric_part(jacobian).T @ -gradient

    def params(state):
        return ravel_pytree((state.discriminator.params, state.generator.params))[0]

    after, _ = gan.train_step(state, batch, adjusted)
    np.testing.assert_allclose(params(after) - params(state), expected, rtol=0, atol=1e-12)
    assert np.abs(expected - gradient).max() > 1e-4


def test_an_extragradient_step_takes_the_gradients_ahead_from_the_state_before():
    pair = (optax.adam, optax.sgd)
    method = gan.Method("nonsaturating", "extragradient", optimizer=pair)
    setup = gan.Setup(method=method, hyperparams=gan.Hyperparams(0.1, 0.2))
    state, _ = gan.train(jax.random.key(0), setup, steps=10)
    once = dataclasses.replace(
        setup, method=dataclasses.replace(method, update_order="simultaneous")
    )
    ahead, info = gan.train_step(state, BATCH, once)
    d, _ = gan.discriminator_update(state, BATCH, setup, at=ahead)
    g, g_ahead = gan.generator_update(state, BATCH, setup, at=ahead)
    after, extra = gan.train_step(state, BATCH, setup)
    expected = gan.GANState(d.discriminator, g.generator)
    chex.assert_trees_all_close(after, expected, atol=1e-6)
    chex.assert_trees_all_close(extra, info, atol=1e-6)  # both are of the state before
    assert int(after.discriminator.opt_state[0].count) == 11  # one step, and not two
    assert abs(float(g_ahead["g"] - extra.losses.g)) > 1e-4
    assert moved(expected.generator, ahead.generator) == {True}


def test_a_relativistic_objective_judges_each_sample_beside_the_other():
    """f(D(fake) - D(real)), of which each half is reported, and f(D(real) - D(fake)) for G."""
    setup = gan.Setup(method=gan.Method("relativistic", "alternating"))
    params = {"params": STATE.discriminator.params}
    real = float(setup.game.discriminator.apply(params, BATCH.real))
    fake = float(setup.game.discriminator.apply(params, gan.generate(STATE)))
    after, losses = gan.discriminator_update(STATE, BATCH, setup)
    half = np.log1p(np.exp(fake - real)) / 2
    np.testing.assert_allclose([losses["d_real"], losses["d_fake"]], half, rtol=1e-6)
    _, g_loss = gan.generator_update(STATE, BATCH, setup)
    np.testing.assert_allclose(g_loss["g"], np.log1p(np.exp(real - fake)), rtol=1e-6)
    assert moved(STATE.generator, after.generator) == {False}
    # Of a shift of all logits, such as by the last bias, the losses know nothing.
    before = STATE.discriminator.params["Linear_1"]["Dense_0"]["bias"]
    np.testing.assert_array_equal(after.discriminator.params["Linear_1"]["Dense_0"]["bias"], before)


def test_an_average_makes_the_output_and_the_summary_and_moves_nothing():
    game = gan.pattern_game("1010")
    output = dataclasses.replace(game, summary_fn=last_biases)
    plain, averaged = gan.Hyperparams(1.0, 1.0), gan.Hyperparams(1.0, 1.0, average_decay=0.5)
    run = partial(gan.train, jax.random.key(0), steps=20)
    state, history = run(gan.Setup(output, hyperparams=averaged))
    expected, _ = run(gan.Setup(game, hyperparams=plain))
    assert moved(state.generator, expected.generator) == {False}
    assert moved(state.discriminator, expected.discriminator) == {False}
    judged = state._replace(generator=state.generator._replace(params=state.generator.average))
    setup = gan.Setup(game, hyperparams=averaged)
    np.testing.assert_array_equal(gan.generate(state, setup), gan.generate(judged, setup))
    assert np.abs(gan.generate(state, setup) - gan.generate(expected)).max() > 1e-4
    np.testing.assert_allclose(history.output[-1], last_biases(judged), atol=1e-7)
    assert moved(state.generator, judged.generator) == {True}


def last_biases(state):
    """A summary: the biases of the last layer of G."""
    return state.generator.params["Linear_1"]["Dense_0"]["bias"]


def test_clipping_holds_every_parameter_of_d_within_its_bound():
    setup = gan.Setup(hyperparams=gan.Hyperparams(clip=0.1))
    state, batch = gan.init(jax.random.key(0)), gan.draw_batch(jax.random.key(1))
    after, _ = gan.discriminator_update(state, batch, setup)
    leaves = jax.tree.leaves(after.discriminator.params)
    assert max(float(np.abs(leaf).max()) for leaf in leaves) == np.float32(0.1)
    chex.assert_trees_all_equal(after.generator, state.generator)
