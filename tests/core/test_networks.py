"""Networks that are not Linen modules: pairs of pure functions, and Flax NNX modules."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from rejects import rejects

import gan1010_jax as gan
from gan1010_jax.population import MANIFEST

REFERENCE = gan.pattern_game("1010")
KEY = jax.random.key(0)


def layers(variables):
    """Weights and biases of a built-in network, inputs first."""
    dense = [layer["Dense_0"] for _, layer in sorted(variables["params"].items())]
    return [(layer["kernel"], layer["bias"]) for layer in dense]


def linear(x, weights, bias):
    return jnp.dot(x, weights, precision="highest") + bias


def init_d(key, x):
    return layers(REFERENCE.discriminator.init(key, x))


def init_g(key, x):
    return layers(REFERENCE.generator.init(key, x))


def apply_d(params, x):
    hidden, last = params
    return linear(jax.nn.sigmoid(linear(x, *hidden)), *last).squeeze(-1)


def apply_g(params, x):
    for layer in params:
        x = jax.nn.sigmoid(linear(x, *layer))
    return x


class Perceptron(nnx.Module):
    """A reference network in NNX, which begins as the Linen one does from the same key."""

    def __init__(self, rngs, init, inputs, is_d):
        (hidden, last), self.is_d = init(rngs.default.key[...], jnp.zeros(inputs)), is_d
        self.hidden = self.layer(*hidden, rngs)
        self.last = self.layer(*last, rngs)

    def layer(self, weights, bias, rngs):
        linear = nnx.Linear(*weights.shape, rngs=rngs, precision="highest")
        linear.kernel, linear.bias = nnx.Param(weights), nnx.Param(bias)
        return linear

    def __call__(self, x):
        x = self.last(nnx.sigmoid(self.hidden(x)))
        return x.squeeze(-1) if self.is_d else nnx.sigmoid(x)


def make_d(rngs):
    return Perceptron(rngs, init_d, 4, is_d=True)


def make_g(rngs):
    return Perceptron(rngs, init_g, 1, is_d=False)


def with_networks(discriminator, generator):
    networks = {"discriminator": discriminator, "generator": generator}
    game = dataclasses.replace(REFERENCE, name="own", recipe=None, **networks)
    return gan.Setup(game, hyperparams=gan.Hyperparams(0.1, 0.1))


LINEN = with_networks(REFERENCE.discriminator, REFERENCE.generator)
OWN = {
    "plain": with_networks((init_d, apply_d), (init_g, apply_g)),
    "nnx": with_networks(gan.from_nnx(make_d), gan.from_nnx(make_g)),
}


def slow(value):
    return pytest.param(value, marks=pytest.mark.slow)


@pytest.mark.parametrize("kind", [slow("plain"), "nnx"])
def test_a_run_with_ones_own_networks_has_the_numbers_of_linens(kind):
    _, expected = gan.train(KEY, LINEN, steps=1000)
    state, history = gan.train(KEY, OWN[kind], steps=1000)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), history, expected)
    assert len(jax.tree.leaves(state.generator.params)) == 4


@pytest.fixture(scope="module")
def linens():
    """A population of the Linen networks."""
    return gan.train_population(range(9), LINEN, steps=1000, engine="fused")


@pytest.mark.parametrize("engine", [slow("vmap"), "fused", slow("pallas")])
@pytest.mark.parametrize("kind", OWN)
def test_ones_own_networks_train_to_linens_numbers_on_every_engine(kind, engine, linens):
    trained = gan.train_population(range(9), OWN[kind], steps=1000, engine=engine)
    assert trained.engine == engine
    for name, column in linens.columns.items():
        np.testing.assert_allclose(trained.columns[name], column, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("kind", OWN)
def test_ones_own_networks_are_stored_resumed_and_known_again(kind, linens, tmp_path):
    def train(seeds, setup):
        return gan.train_population(seeds, setup, steps=1000, engine="vmap", out=tmp_path)

    train(range(5), OWN[kind])
    for name, column in train(range(9), OWN[kind]).columns.items():
        np.testing.assert_allclose(column, linens.columns[name], atol=1e-6, err_msg=name)
    again = gan.load_population(tmp_path, OWN[kind])
    assert again.counts.seeds == 9 and again.setup.game == OWN[kind].game
    with pytest.raises(gan.BadFile, match=f"{MANIFEST} has .* game.discriminator.type"):
        train(range(9), LINEN)
    with rejects("game"):
        gan.load_population(tmp_path)


def test_equal_networks_are_one_program():
    assert with_networks((init_d, apply_d), (init_g, apply_g)) == OWN["plain"]
    assert gan.from_nnx(make_g) == OWN["nnx"].game.generator != gan.from_nnx(make_d)
    assert hash(gan.from_nnx(make_g)) == hash(OWN["nnx"].game.generator)


class Normed(nn.Module):
    """A generator that keeps statistics beside its parameters."""

    @nn.compact
    def __call__(self, x):
        return nn.sigmoid(nn.BatchNorm(use_running_average=False)(nn.Dense(4)(x)))


def make_normed(rngs):
    return nnx.Sequential(nnx.Linear(1, 4, rngs=rngs), nnx.BatchNorm(4, rngs=rngs))


def test_a_network_that_is_not_pure_is_rejected():
    def train(generator):
        gan.train(KEY, with_networks(REFERENCE.discriminator, generator), steps=10)

    with rejects("game", "own") as caught:
        train(Normed())
    assert "no others, and not ['batch_stats', 'params']" in caught.value.allowed
    with rejects("make", make_normed):
        train(gan.from_nnx(make_normed))
    with rejects("make", 7):
        gan.from_nnx(7)


@pytest.mark.parametrize("network", [(init_d,), (init_d, 7), apply_d, nn.Dense, "1010"])
def test_what_is_not_a_network_is_rejected_at_construction(network):
    with rejects("discriminator", network):
        with_networks(network, REFERENCE.generator)
