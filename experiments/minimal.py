"""The 1010-GAN on one screen: two networks, three updates a step, 10,000 steps, 64 seeds."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

SEEDS, STEPS, LEARNING_RATE = 64, 10_000, 0.01
LOW, HIGH = jnp.array([0.8, 0.0, 0.8, 0.0]), jnp.array([1.0, 0.2, 1.0, 0.2])  # of real samples
LATENT = jnp.array([0.5])  # the generator's input, always the same


class Linear(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x):
        def uniform(key, shape, dtype):  # within ±1/√inputs, as PyTorch's nn.Linear starts
            return jax.random.uniform(key, shape, dtype, -(x.size**-0.5), x.size**-0.5)

        return nn.Dense(self.features, kernel_init=uniform, bias_init=uniform)(x)


class Discriminator(nn.Module):  # 4-3-1: a sample to the probability that it is real
    @nn.compact
    def __call__(self, sample):
        hidden = nn.sigmoid(Linear(3)(sample))
        return nn.sigmoid(Linear(1)(hidden))[0]


class Generator(nn.Module):  # 1-3-4: a latent to a sample
    @nn.compact
    def __call__(self, latent):
        hidden = nn.sigmoid(Linear(3)(latent))
        return nn.sigmoid(Linear(4)(hidden))


D, G = Discriminator().apply, Generator().apply


def draw_real(key, t):  # uniform from LOW to HIGH, from 24 random bits a coordinate
    keys = jax.vmap(jax.random.fold_in, (0, None))(jax.random.split(key), t)
    bits = jax.random.key_data(keys).reshape(4) >> 8
    return LOW + bits.astype(jnp.int32) * ((HIGH - LOW) / 2**24)


def train_step(d, d_opt, g, g_opt, real, sgd):
    def update(params, opt_state, loss):
        updates, opt_state = sgd.update(jax.grad(loss)(params), opt_state)
        return optax.apply_updates(params, updates), opt_state

    d, d_opt = update(d, d_opt, lambda d: (D(d, real) - 1) ** 2)  # 1. D: a real sample is real,
    d, d_opt = update(d, d_opt, lambda d: (D(d, G(g, LATENT)) - 0) ** 2)  # 2. and a fake one is not
    g, g_opt = update(g, g_opt, lambda g: (D(d, G(g, LATENT)) - 1) ** 2)  # 3. G: mine looks real
    return d, d_opt, g, g_opt


def train(key, learning_rate):
    init_key, data_key = jax.random.split(key)
    d_key, g_key = jax.random.split(init_key)
    d, g = Discriminator().init(d_key, LOW), Generator().init(g_key, LATENT)
    sgd = optax.sgd(learning_rate)
    real_key, _ = jax.random.split(data_key)

    def step(players, t):
        return train_step(*players, draw_real(real_key, t), sgd), None

    (d, _, g, _), _ = jax.lax.scan(step, (d, sgd.init(d), g, sgd.init(g)), jnp.arange(STEPS))
    return d, g


if __name__ == "__main__":
    keys = jax.vmap(lambda seed: jax.random.key(seed, impl="threefry2x32"))(jnp.arange(SEEDS))
    _, g = jax.jit(jax.vmap(train, (0, None)))(keys, LEARNING_RATE)
    output = jax.vmap(G, (0, None))(g, LATENT)
    matches = ((output > 0.5) == (LOW > 0.5)).all(axis=1)
    print(f"{matches.sum()} of {SEEDS} generators have learned 1010")
