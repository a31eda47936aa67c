"""A run: what its history holds, and that it is a function of its key alone."""

import dataclasses
import os
import subprocess
import sys
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rejects import rejects

import gan1010_jax as gan
from gan1010_jax.gan import summarize
from gan1010_jax.training import _all_finite

KEY = jax.random.key(17)
DIRAC = gan.dirac_game()  # compiles in a tenth of the time of the reference
MOVING = dataclasses.replace(DIRAC, real=gan.Uniform((0.0,), (1.0,)))  # it draws samples


def train_by_hand(key, setup, steps, record_every):
    """The documented random stream, and one `train_step` call per step."""
    init_key, data_key = jax.random.split(key)
    state = gan.init(init_key, setup)
    records, game = [], setup.game
    for t in range(steps):
        batch = gan.draw_batch(data_key, setup, t)
        state, info = gan.train_step(state, batch, setup)
        if (t + 1) % record_every == 0:
            output = summarize(state, setup)
            success = (np.bool_(True), game.matched(output), game.in_support(output))
            records.append(gan.History(np.int32(t + 1), output, info.losses, *success))
    return state, jax.tree.map(lambda *leaves: np.stack(leaves), *records)


@pytest.mark.parametrize(
    ("game", "steps", "record_every", "key"),
    [
        (gan.pattern_game(), 60, 10, KEY),
        (DIRAC, 60, 1, KEY),
        (DIRAC, 7, 7, KEY),
        (MOVING, 20, 4, jax.random.key(17, impl="rbg")),
        (MOVING, 20, 4, jax.random.key(17, impl="unsafe_rbg")),
    ],
)
def test_a_history_holds_what_a_loop_of_steps_gives(game, steps, record_every, key):
    setup = gan.Setup(game)
    state, history = gan.train(key, setup, steps=steps, record_every=record_every)
    state_by_hand, history_by_hand = train_by_hand(key, setup, steps, record_every)
    chex.assert_trees_all_equal_shapes_and_dtypes(history, history_by_hand)
    chex.assert_trees_all_close(state, state_by_hand, atol=1e-6)
    chex.assert_trees_all_close(history, history_by_hand, atol=1e-6)


@pytest.mark.slow
def test_shapes_and_dtypes():
    setup = gan.Setup(gan.pattern_game("110100"))
    state, history = gan.train(KEY, setup, steps=200, record_every=20)
    chex.assert_shape(history.step, (10,))
    chex.assert_shape(history.output, (10, 6))
    chex.assert_shape(list(history.losses), (10,))
    chex.assert_shape(history.finite, (10,))
    chex.assert_type([history.step, history.output, history.finite], [int, float, bool])
    assert history.step.tolist() == list(range(20, 201, 20))
    chex.assert_trees_all_equal_shapes_and_dtypes(state, gan.init(KEY, setup))


def test_the_same_key_gives_the_same_bits_and_another_key_another_run():
    keys = KEY, KEY, jax.random.key(18)
    once, again, other = (gan.train(key, gan.Setup(DIRAC), steps=200) for key in keys)
    chex.assert_trees_all_equal(once, again)
    assert np.all(once[1].output != other[1].output)


def test_the_reference_learns_1010_and_d_ends_undecided():
    """What the reference shows: D's loss falls below 0.25 while it learns, then returns to it."""
    _, history = gan.train(jax.random.key(0))
    assert np.array_equal(history.output[-1] > 0.5, [True, False, True, False])
    assert np.all(history.finite)
    d_fake = np.asarray(history.losses.d_fake)
    assert d_fake.min() < 0.23
    assert d_fake[-100:].mean() == pytest.approx(0.25, abs=0.02)


def test_a_longer_run_begins_with_the_shorter_one():
    """To rounding: the number of steps is compiled in, so that each length is its own program."""
    run = partial(gan.train, KEY, gan.Setup(DIRAC))
    (_, long), (_, short) = run(steps=200), run(steps=60)
    chex.assert_trees_all_close(jax.tree.map(lambda leaf: leaf[:6], long), short, atol=1e-6)


def test_recording_more_often_changes_nothing_else():
    run = partial(gan.train, KEY, gan.Setup(DIRAC), steps=60)
    (state, rare), (same_state, often) = run(record_every=10), run(record_every=1)
    chex.assert_trees_all_close(state, same_state, atol=1e-6)
    chex.assert_trees_all_close(jax.tree.map(lambda leaf: leaf[9::10], often), rare, atol=1e-6)


@pytest.mark.slow
def test_vmap_over_seeds_gives_each_seed_its_own_run():
    """Over 200 steps; `test_a_row_is_the_single_run_of_its_seed` does it over 10,000."""
    seeds = jnp.arange(8, dtype=jnp.uint32)
    runs = jax.vmap(lambda seed: gan.train(jax.random.key(seed), steps=200))(seeds)
    for seed in range(8):
        lane = jax.tree.map(lambda leaf, seed=seed: leaf[seed], runs)
        chex.assert_trees_all_close(gan.train(jax.random.key(seed), steps=200), lane, atol=1e-6)


def test_a_grid_of_hyperparameters_is_a_vmap():
    grid = gan.Hyperparams(d_lr=jnp.array([0.01, 0.1]), g_lr=jnp.array([0.02, 0.0]))
    run = partial(gan.train, KEY, steps=200)
    _, histories = jax.vmap(run)(gan.Setup(DIRAC, hyperparams=grid))
    for cell, (d_lr, g_lr) in enumerate([(0.01, 0.02), (0.1, 0.0)]):
        _, single = run(gan.Setup(DIRAC, hyperparams=gan.Hyperparams(d_lr, g_lr)))
        chex.assert_trees_all_close(histories.output[cell], single.output, atol=1e-6)


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_one_player_that_is_not_finite_is_enough(player):
    state = gan.init(KEY)
    params = jax.tree.map(lambda leaf: leaf * jnp.nan, getattr(state, player).params)
    broken = getattr(state, player)._replace(params=params)
    assert _all_finite(state)
    assert not _all_finite(state._replace(**{player: broken}))


@pytest.mark.parametrize("one", [1, np.uint8(1), np.float64(1), jnp.bfloat16(1), jnp.int32(1)])
def test_a_number_of_any_type_is_the_same_learning_rate(one):
    run = partial(gan.train, KEY, steps=60)
    _, history = run(gan.Setup(DIRAC, hyperparams=gan.Hyperparams(d_lr=one)))
    _, expected = run(gan.Setup(DIRAC, hyperparams=gan.Hyperparams(d_lr=1.0)))
    chex.assert_trees_all_equal(history, expected)


def test_in_the_x64_mode_everything_is_float64(x64):
    state, history = gan.train(KEY, gan.Setup(DIRAC), steps=20)
    floats = [leaf for leaf in jax.tree.leaves((state, history)) if leaf.dtype.kind == "f"]
    chex.assert_type(floats, np.float64)
    assert history.step.dtype == np.int32


STRICT = {
    "rank": lambda: jax.numpy_rank_promotion("raise"),
    "dtype": lambda: jax.numpy_dtype_promotion("strict"),
    "no jit": lambda: jax.disable_jit(),
}


@pytest.mark.parametrize("train", [gan.train, gan.train_traced])
@pytest.mark.parametrize(
    "strict", ["rank", "dtype", pytest.param("no jit", marks=pytest.mark.slow)]
)
def test_it_runs_where_jax_promotes_nothing_and_compiles_nothing(train, strict):
    setup = gan.Setup(MOVING, gan.Method(penalty="r1"))
    expected = train(KEY, setup, steps=6, record_every=3)
    with STRICT[strict]():
        found = train(KEY, setup, steps=6, record_every=3)
    chex.assert_trees_all_close(found, expected, atol=1e-6)


SHARDED = """
from functools import partial
import chex, jax, numpy as np
from jax.sharding import Mesh, PartitionSpec as P
import gan1010_jax as gan

keys, rates = jax.random.split(jax.random.key(0), 2), np.float32([0.1, 0.2])
mesh = Mesh(jax.devices(), ("devices",))


def on_each_device(train):
    def one(*args):
        return jax.tree.map(lambda leaf: leaf[None], train(*[arg[0] for arg in args]))

    sharded = jax.jit(jax.shard_map(one, mesh=mesh, in_specs=P("devices"), out_specs=P("devices")))
    found = sharded(keys, rates)
    for place in range(2):
        alone = jax.tree.map(lambda leaf: leaf[place], found)
        chex.assert_trees_all_close(alone, train(keys[place], rates[place]), atol=1e-6)


def at(game, rate):
    return gan.Setup(game, hyperparams=gan.Hyperparams(rate, rate))


dirac, at_point = gan.dirac_game(), gan.dirac_game((0.5, 0.5))
real = np.zeros((6, 1))
on_each_device(lambda key, rate: gan.train(key, at(dirac, rate), steps=20))
on_each_device(lambda key, rate: gan.train(key, at(at_point, rate), steps=20))
on_each_device(lambda key, rate: gan.train_traced(key, at(dirac, rate), steps=20))
on_each_device(lambda key, rate: gan.train_on(gan.init(keys[0], at(dirac, rate)), real,
                                              at(dirac, rate), record_every=3))
on_each_device(lambda key, rate: gan.find_equilibrium(gan.init(key, at(dirac, rate)),
                                                      at(dirac, rate)))
"""


@pytest.mark.slow
def test_it_runs_under_shard_map_which_checks_what_varies():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", SHARDED], env=os.environ | flags, check=True)


def test_it_runs_under_jit():
    run = partial(gan.train, setup=gan.Setup(DIRAC), steps=60)
    chex.assert_trees_all_close(jax.jit(run)(KEY), run(KEY), atol=1e-6)


@pytest.mark.slow
def test_parameters_that_are_not_finite_are_recorded():
    """The reference's loss is bounded and cannot blow up; a square of the logit does."""
    square = gan.Method(gan.Objective("square", *[lambda logit: logit**2] * 3))
    _, history = gan.train(
        KEY, gan.Setup(method=square, hyperparams=gan.Hyperparams(d_lr=10.0)), steps=200
    )
    finite = np.asarray(history.finite)
    assert finite[0] and not finite[-1]
    assert np.all(np.diff(finite.astype(int)) <= 0)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        *[({"steps": steps}, "steps") for steps in (0, -10, 2.5, True, 2**31, 15)],
        ({"record_every": 0}, "record_every"),
        ({"steps": 100, "record_every": 200}, "record_every"),
        ({"steps": 10**6, "record_every": 1}, "record_every"),
        ({"setup": gan.Setup(hyperparams=gan.Hyperparams(g_lr=np.ones(3)))}, "g_lr"),
        ({"setup": gan.Setup(hyperparams=[0.1, 0.1])}, "hyperparams"),
        ({"setup": gan.pattern_game("1010")}, "setup"),
        ({"key": 17}, "key"),
        ({"key": jnp.uint32(17)}, "key"),
        ({"key": np.zeros(2, np.uint32)}, "key"),
        ({"key": jax.random.split(jax.random.key(0))}, "key"),
    ],
)
def test_bad_arguments_are_rejected(arguments, name):
    with rejects(name):
        gan.train(**{"key": KEY} | arguments)


@pytest.mark.slow
def test_train_on_the_samples_that_train_draws_gives_its_history():
    state, history = gan.train(KEY, steps=60)
    init_key, data_key = jax.random.split(KEY)
    batches = jax.vmap(lambda step: gan.draw_batch(data_key, step=step))(jnp.arange(60))
    own_state, own_history = gan.train_on(gan.init(init_key), batches.real)
    chex.assert_trees_all_equal_shapes_and_dtypes(own_history, history)
    chex.assert_trees_all_close((own_state, own_history), (state, history), atol=1e-6)


@pytest.mark.slow
def test_train_on_takes_latents_too_and_works_under_vmap():
    real, latent = np.full((2, 30, 4), 0.9), np.full((2, 30, 1), 0.5)
    latent[1] = 3.0
    run = partial(gan.train_on, gan.init(KEY), record_every=3)
    _, histories = jax.vmap(lambda *samples: run(samples[0], latent=samples[1]))(real, latent)
    chex.assert_shape(histories.output, (2, 10, 4))
    for place in range(2):
        _, alone = run(real[place], latent=latent[place])
        chex.assert_trees_all_close(
            jax.tree.map(lambda leaf, place=place: leaf[place], histories), alone, atol=1e-6
        )
    _, default = run(real[0])
    chex.assert_trees_all_equal(default, run(real[0], latent=latent[0])[1])
    assert np.all(histories.output[0, -1] != histories.output[1, -1])


@pytest.mark.slow
def test_large_whole_numbers_are_samples_as_they_are():
    _, whole = gan.train_on(gan.init(KEY), np.full((10, 4), 2**40))
    _, floats = gan.train_on(gan.init(KEY), np.full((10, 4), 2.0**40))
    chex.assert_trees_all_equal(whole, floats)


@pytest.mark.slow
def test_train_on_uses_the_samples_in_their_order():
    real = np.asarray(jax.random.uniform(KEY, (20, 4)))
    _, history = gan.train_on(gan.init(KEY), real, record_every=1)
    _, swapped = gan.train_on(gan.init(KEY), real[[*range(18), 19, 18]], record_every=1)
    np.testing.assert_array_equal(history.losses.d_real[:18], swapped.losses.d_real[:18])
    assert np.all(history.losses.d_real[18:] != swapped.losses.d_real[18:])


DEFAULT_STATE = gan.init(KEY)
ADAM = gan.Setup(method=gan.Method(optimizer=optax.adam))


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        ({"real": np.zeros((20, 3))}, "real", "float64[20, 3]"),
        ({"real": np.zeros(4)}, "real", "float64[4]"),
        ({"real": np.zeros((2, 10, 4))}, "real", "float64[2, 10, 4]"),
        ({"real": 0.5}, "real", "float64[]"),
        ({"real": [[10**30] * 4] * 20}, "real", "object[20, 4]"),
        ({"real": "samples"}, "real", "<U7[]"),
        ({"real": [[1, 2], [3]]}, "real", [[1, 2], [3]]),
        ({"real": np.zeros((20, 4), complex)}, "real", "complex128[20, 4]"),
        ({"real": np.zeros((0, 4))}, "steps", 0),
        ({"state": None}, "state", None),
        ({"state": gan.init(KEY, gan.Setup(gan.pattern_game("11")))}, "state", "float32[2, 3]"),
        ({"state": gan.init(KEY, ADAM)}, "state", "int32[]"),
        ({"setup": ADAM}, "state", "nothing"),
        ({"state": jax.vmap(gan.init)(jax.random.split(KEY, 2))}, "state", "float32[2, 3]"),
        (
            {"state": jax.tree.map(lambda leaf: leaf.astype(np.float16), DEFAULT_STATE)},
            *("state", "float16[3]"),
        ),
        ({"latent": np.zeros((19, 1))}, "latent", "float64[19, 1]"),
        ({"latent": np.zeros(20)}, "latent", "float64[20]"),
        ({"record_every": 3}, "steps", 20),
        ({"setup": gan.Setup(method=gan.Method(d_steps=2))}, "method", gan.Method(d_steps=2)),
        ({"setup": "1010"}, "setup", "1010"),
    ],
)
def test_train_on_rejects_bad_arguments(arguments, name, value):
    with rejects(name, value):
        gan.train_on(**{"state": DEFAULT_STATE, "real": np.zeros((20, 4))} | arguments)


def test_a_long_value_is_cut_in_the_message():
    with rejects("real") as caught:
        gan.train_on(DEFAULT_STATE, [[0.1] * 4] * 9999 + [[0.1]])
    assert len(str(caught.value)) < 600 and str(caught.value).endswith("…")


def test_a_default_setup_and_the_same_one_given_have_the_same_bits():
    chex.assert_trees_all_equal(gan.train(KEY), gan.train(KEY, gan.Setup()))
