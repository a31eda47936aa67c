"""Games: what is real, what counts as success, and which patterns there are."""

import dataclasses
import json
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st
from rejects import rejects
from scipy import stats

import gan1010_jax as gan
from gan1010_jax.games import GAMES, find_game

KEY = jax.random.key(0)

patterns = st.text(alphabet="01", min_size=1, max_size=16)


@given(patterns)
@settings(max_examples=30, deadline=None)
def test_the_networks_grow_with_the_pattern(pattern):
    game = gan.pattern_game(pattern)
    n = len(pattern)
    state = jax.eval_shape(lambda key: gan.init(key, gan.Setup(game)), jax.random.key(0))
    d, g = state.discriminator.params, state.generator.params
    assert d["Linear_0"]["Dense_0"]["kernel"].shape == (n, 3)
    assert d["Linear_1"]["Dense_0"]["kernel"].shape == (3, 1)
    assert g["Linear_0"]["Dense_0"]["kernel"].shape == (1, 3)
    assert g["Linear_1"]["Dense_0"]["kernel"].shape == (3, n)


@given(st.one_of(st.text().filter(lambda t: set(t) - {"0", "1"} or not 1 <= len(t) <= 16)))
@settings(max_examples=200)
def test_any_other_pattern_is_rejected(pattern):
    with rejects("pattern", pattern):
        gan.pattern_game(pattern)


@pytest.mark.parametrize("pattern", ["", "12", "1010\n", "0" * 17, "１０", 1010, None, b"1010"])
def test_these_patterns_are_rejected(pattern):
    with rejects("pattern", pattern):
        gan.pattern_game(pattern)


def test_games_of_equal_patterns_are_equal_so_that_nothing_compiles_twice():
    traced = []

    @jax.jit
    def trace(game):
        traced.append(game.name)

    for game in (gan.pattern_game(), gan.pattern_game("1010"), gan.pattern_game("0101")):
        trace(game)
    assert traced == ["1010", "0101"]
    assert gan.pattern_game() == gan.pattern_game("1010") != gan.pattern_game("0101")


def test_real_samples_lie_in_their_ranges_and_fill_them():
    game = gan.pattern_game("1010")
    keys = jax.random.split(jax.random.key(0), 20_000)
    real = np.asarray(
        jax.jit(jax.vmap(lambda key: gan.draw_batch(key, gan.Setup(game)).real))(keys)
    )
    chex.assert_shape(real, (20_000, 4))
    chex.assert_type(real, np.float32)
    for unit, low in enumerate([0.8, 0.0, 0.8, 0.0]):
        column = real[:, unit]
        assert column.min() >= np.float32(low)
        assert column.max() <= np.float32(low + 0.2)
        assert stats.kstest(column, stats.uniform(low, 0.2).cdf).pvalue > 1e-4
    assert np.abs(np.corrcoef(real.T) - np.eye(4)).max() < 5 / np.sqrt(len(keys))
    assert np.all(game.in_support(real))


@pytest.mark.parametrize(
    "impl",
    [
        "rbg",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("threefry2x32", "unsafe_rbg")),
    ],
)
def test_uniform_samples_are_uniform_and_independent_for_keys_of_any_implementation(impl):
    uniform = gan.Uniform((0.0,) * 5, (1.0,) * 5)
    key, count = jax.random.key(7, impl=impl), 4000
    keys = jax.random.split(key, count)
    # Not `vmap`, under which the draws of rbg are others.
    over_keys = jax.lax.map(uniform.sample, keys)
    over_indices = jax.lax.map(partial(uniform.sample, key), jnp.arange(count))
    for draws in map(np.asarray, (over_keys, over_indices, jax.vmap(uniform.sample)(keys))):
        for column in draws.T:
            assert stats.kstest(column, "uniform").pvalue > 1e-4
        neighbours = np.concatenate([draws[:-1], draws[1:]], axis=1)
        assert np.abs(np.corrcoef(neighbours.T) - np.eye(10)).max() < 5 / np.sqrt(count)


def test_the_latent_is_the_constant_one_half():
    keys = jax.random.split(jax.random.key(0), 10)
    latents = jax.vmap(lambda key: gan.draw_batch(key).latent)(keys)
    np.testing.assert_array_equal(latents, np.full((10, 1), 0.5, np.float32))


@pytest.mark.slow
@given(patterns, st.data())
@settings(max_examples=20, deadline=None)
def test_success_is_what_the_definitions_say(pattern, data):
    game = gan.pattern_game(pattern)
    edges = [0.0, 0.2, 0.5, 0.8, 1.0]
    coordinate = st.one_of(st.sampled_from(edges), st.floats(0, 1, width=32))
    output = data.draw(st.lists(coordinate, min_size=len(pattern), max_size=len(pattern)))
    output = np.asarray(output, np.float32)
    matched = all(x > 0.5 if bit == "1" else x < 0.5 for x, bit in zip(output, pattern))
    in_support = all(
        np.float32(0.8) <= x <= 1 if bit == "1" else 0 <= x <= np.float32(0.2)
        for x, bit in zip(output, pattern)
    )
    assert bool(game.matched(jnp.asarray(output))) == matched
    assert bool(game.in_support(jnp.asarray(output))) == in_support
    assert matched or not in_support


def test_an_output_that_is_not_a_number_is_no_success():
    game = gan.pattern_game("10")
    output = jnp.array([[jnp.nan, 0.0], [1.0, jnp.nan], [1.0, 0.0]])
    np.testing.assert_array_equal(game.matched(output), [False, False, True])
    np.testing.assert_array_equal(game.in_support(output), [False, False, True])


@pytest.mark.slow
def test_a_latent_may_be_random():
    """Any distribution fits: `generate` draws at its centre unless told otherwise."""
    game = dataclasses.replace(gan.pattern_game("1010"), latent=gan.Uniform((-1.0,), (3.0,)))
    keys = jax.random.split(jax.random.key(0), 4000)
    batch = jax.vmap(lambda key: gan.draw_batch(key, gan.Setup(game)))(keys)
    assert batch.latent.min() < -0.99 and batch.latent.max() > 2.99
    both = np.concatenate([batch.real, batch.latent], axis=1)
    assert np.abs(np.corrcoef(both.T) - np.eye(5)).max() < 5 / np.sqrt(len(keys))
    state = gan.init(jax.random.key(0), gan.Setup(game))
    np.testing.assert_array_equal(
        gan.generate(state, gan.Setup(game)), gan.generate(state, gan.Setup(game), jnp.array([1.0]))
    )


def test_the_dirac_gan_starts_where_it_is_told_and_succeeds_at_the_equilibrium():
    state = gan.init(jax.random.key(0), gan.Setup(gan.dirac_game((0.25, -0.75))))
    assert float(state.generator.params["theta"]) == 0.25
    assert float(state.discriminator.params["psi"]) == -0.75
    batch = gan.draw_batch(jax.random.key(1), gan.Setup(gan.dirac_game()))
    assert batch.real.tolist() == [0.0]
    game = gan.dirac_game(tolerance=0.5)
    near = game.matched(jnp.array([[0.4, -0.4], [0.6, 0.0], [0.0, -0.6]]))
    assert near.tolist() == [True, False, False]


def test_the_dirac_gan_starts_anywhere_in_the_square():
    states = jax.vmap(partial(gan.init, setup=gan.Setup(gan.dirac_game())))(
        jax.random.split(KEY, 2000)
    )
    for starts in (states.generator.params["theta"], states.discriminator.params["psi"]):
        assert stats.kstest(np.asarray(starts), "uniform", (-1, 2)).pvalue > 1e-3
    theta, psi = states.generator.params["theta"], states.discriminator.params["psi"]
    assert abs(np.corrcoef(theta, psi)[0, 1]) < 0.1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("start", 1.0),
        ("start", (1.0, np.nan)),
        ("start", (1.0, 10**400)),
        ("start", ("0", "1")),
        ("tolerance", 0.0),
        ("tolerance", True),
    ],
)
def test_a_bad_dirac_gan_is_rejected(name, value):
    with rejects(name, value):
        gan.dirac_game(**{name: value})


@pytest.mark.parametrize(
    "game", [gan.pattern_game("0110"), gan.dirac_game(), gan.dirac_game((1, 2), 0.5)]
)
def test_a_built_in_game_is_made_again_by_its_recipe(game):
    name, arguments = game.recipe
    assert GAMES[name](*json.loads(json.dumps(arguments))) == game


def test_games_are_found_by_name():
    assert find_game("01") == gan.pattern_game("01") and find_game("dirac") == gan.dirac_game()
    with rejects("game", "12"):
        find_game("12")


class Column(nn.Module):
    """A discriminator whose logit is not a scalar."""

    @nn.compact
    def __call__(self, sample):
        return nn.Dense(1)(sample)


class Number(gan.Constant):
    """A distribution whose samples have no units."""

    def sample(self, key, index=0):
        return jnp.zeros(())


@pytest.mark.parametrize(
    ("parts", "allowed"),
    [
        ({"real": Number((0.5, 0.5))}, "real samples have the shape [2], and not []"),
        ({"latent": Number((0.5,))}, "latent samples have the shape [1], and not []"),
        ({"discriminator": Column()}, "discriminator gives the shape [], and not [1]"),
        ({"generator": gan.Generator(3)}, "generator gives the shape [2], and not [3]"),
        ({"summary_fn": lambda state: jnp.ones(())}, "summary_fn gives the shape [1], and not []"),
        ({"matched": lambda output: output > 0}, "matched gives the shape [], and not [2]"),
        ({"in_support": lambda output: output > 0}, "in_support gives the shape [], and not [2]"),
    ],
)
def test_a_game_whose_parts_do_not_fit_is_rejected(parts, allowed):
    setup = gan.Setup(dataclasses.replace(gan.pattern_game("10"), **parts))
    for train in (partial(gan.train, KEY), partial(gan.train_population, range(3))):
        with rejects("game", "10") as caught:
            train(setup, steps=10)
        assert caught.value.allowed == f"one whose {allowed}"


def test_a_game_of_parts_that_are_not_hashable_is_rejected_at_construction():
    with rejects("game", "10"):
        dataclasses.replace(gan.pattern_game("10"), real=gan.Uniform([0.0] * 2, [1.0] * 2))


def test_normal_samples_are_normal_and_independent():
    normal = gan.Normal((0.0, 3.0), (1.0, 0.5))
    draws = np.asarray(jax.vmap(partial(normal.sample, KEY))(jnp.arange(4000)))
    for column, mean, std in zip(draws.T, normal.mean, normal.std):
        assert stats.kstest(column, stats.norm(mean, std).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.06
