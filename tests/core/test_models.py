"""The networks: shapes, and PyTorch's initial distribution."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import gan1010_jax as gan


@pytest.mark.parametrize("units", [1, 16])
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_the_networks_map_batches_of_any_shape(units, batch):
    discriminator, generator = gan.Discriminator(), gan.Generator(units=units)
    sample, latent = jnp.zeros((*batch, units)), jnp.zeros((*batch, 1))
    d_params = discriminator.init(jax.random.key(0), sample)
    g_params = generator.init(jax.random.key(0), latent)
    logit = jax.jit(discriminator.apply)(d_params, sample)
    output = jax.jit(generator.apply)(g_params, latent)
    chex.assert_shape(logit, batch)
    chex.assert_shape(output, (*batch, units))
    chex.assert_type([logit, output], jnp.float32)


def test_the_layers_have_the_reference_sizes():
    state = gan.init(jax.random.key(0))
    shapes = jax.tree.map(jnp.shape, (state.discriminator.params, state.generator.params))
    sizes = [sorted(jax.tree.leaves(p, is_leaf=lambda s: isinstance(s, tuple))) for p in shapes]
    assert sizes == [[(1,), (3,), (3, 1), (4, 3)], [(1, 3), (3,), (3, 4), (4,)]]


def test_d_returns_a_logit_and_g_a_probability_per_coordinate():
    """D's output leaves (0, 1) for large weights, G's never does."""
    state = gan.init(jax.random.key(0))
    d_params, g_params = jax.tree.map(
        lambda leaf: 50 * jnp.ones_like(leaf), (state.discriminator.params, state.generator.params)
    )
    logit = gan.Discriminator().apply({"params": d_params}, jnp.ones(4))
    output = gan.Generator().apply({"params": g_params}, jnp.ones(1))
    assert logit == pytest.approx(200)
    assert np.all((output >= 0) & (output <= 1))


@pytest.mark.slow
def test_initial_weights_and_biases_are_uniform_within_one_over_sqrt_fan_in():
    """`torch.nn.Linear`'s distribution, for every weight and bias of both players."""
    keys = jax.random.split(jax.random.key(0), 4000)
    states = jax.jit(jax.vmap(gan.init))(keys)
    layers = [
        (states.discriminator.params["Linear_0"]["Dense_0"], 4),
        (states.discriminator.params["Linear_1"]["Dense_0"], 3),
        (states.generator.params["Linear_0"]["Dense_0"], 1),
        (states.generator.params["Linear_1"]["Dense_0"], 3),
    ]
    for layer, fan_in in layers:
        bound = 1 / np.sqrt(fan_in)
        for leaf in (layer["kernel"], layer["bias"]):
            columns = np.asarray(leaf).reshape(len(keys), -1)
            assert np.all(np.abs(columns) <= bound)
            for column in columns.T:
                # 41 tests of a fixed draw: a p-value this low would be the code, not chance.
                assert stats.kstest(column, stats.uniform(-bound, 2 * bound).cdf).pvalue > 1e-4


@pytest.mark.slow
def test_initial_weights_are_independent():
    keys = jax.random.split(jax.random.key(1), 4000)
    states = jax.jit(jax.vmap(gan.init))(keys)
    leaves = jax.tree.leaves((states.discriminator.params, states.generator.params))
    flat = np.concatenate([np.asarray(leaf).reshape(len(keys), -1) for leaf in leaves], axis=1)
    correlation = np.corrcoef(flat.T) - np.eye(flat.shape[1])
    assert flat.shape[1] == 41
    assert np.abs(correlation).max() < 5 / np.sqrt(len(keys))


def test_every_product_of_a_step_is_taken_in_full_precision():
    """TPUs and recent GPUs round what they multiply to fewer digits, unless told not to."""
    state = gan.init(jax.random.key(0))
    step = str(jax.make_jaxpr(gan.train_step)(state, gan.draw_batch(jax.random.key(1))))
    products = step.count("dot_general")
    assert products > 10
    assert step.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") == products
