"""The 1010-GAN in the patterns of PureJaxRL and of rejax, for the benchmark.

Both libraries train many small networks as one pure function, which is compiled whole and mapped
over seeds. Here each pattern has this GAN in place of an agent: the networks and the samples are
those of `minimal.py`, and the state, the random keys, the loops and the records are each library's.

- Lu et al., *Discovered Policy Optimisation*, 2022 (https://github.com/luchris429/purejaxrl)
- Liesen, Lu and Lange, *rejax*, 2024 (https://github.com/keraJLi/rejax)
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import optax
from flax import struct
from flax.training.train_state import TrainState
from minimal import HIGH, LATENT, LEARNING_RATE, LOW, D, Discriminator, G, Generator


def create_players(key: chex.PRNGKey, learning_rate: chex.Numeric) -> tuple[TrainState, TrainState]:
    """D and G before their first step."""
    d_key, g_key = jax.random.split(key)
    d, g = Discriminator().init(d_key, LOW), Generator().init(g_key, LATENT)
    tx = optax.sgd(learning_rate)
    return tuple(
        TrainState.create(apply_fn=apply, params=params, tx=tx)
        for apply, params in ((D, d), (G, g))
    )


def draw_all(key: chex.PRNGKey, steps: int) -> tuple[chex.ArrayTree, chex.ArrayTree, jax.Array]:
    """All that the training of a key draws: D's and G's parameters, and the samples [steps, 4].

    Both patterns split keys alike.
    """

    def draw(rng, unused):
        rng, sample_key = jax.random.split(rng)
        return rng, draw_real(sample_key)

    rng, init_key = jax.random.split(key)
    d, g = create_players(init_key, LEARNING_RATE)
    return d.params, g.params, jax.lax.scan(draw, rng, None, steps)[1]


def draw_real(key: chex.PRNGKey) -> jax.Array:
    """A real sample [4]."""
    return jax.random.uniform(key, LOW.shape, minval=LOW, maxval=HIGH)


def update_players(
    d: TrainState, g: TrainState, real: jax.Array
) -> tuple[TrainState, TrainState, dict[str, jax.Array]]:
    """The three updates of a step: both players after it, and its losses."""

    def update(player, loss):
        value, grads = jax.value_and_grad(loss)(player.params)
        return player.apply_gradients(grads=grads), value

    d, d_real = update(d, lambda params: (D(params, real) - 1) ** 2)
    d, d_fake = update(d, lambda params: D(params, G(g.params, LATENT)) ** 2)
    g, g_loss = update(g, lambda params: (D(d.params, G(params, LATENT)) - 1) ** 2)
    return d, g, {"d_loss_real": d_real, "d_loss_fake": d_fake, "g_loss": g_loss}


# PureJaxRL: a function of a configuration closes over it and returns `train(rng)`. The scan carries
# a tuple, in which the key is split before each draw, and stacks what each of its steps reports.


def make_train(config: dict[str, Any]) -> Callable[[chex.PRNGKey], dict[str, Any]]:
    """The training of one GAN: its last `runner_state`, and `metrics` [NUM_UPDATES, ...]."""

    def train(rng):
        rng, _rng = jax.random.split(rng)
        d_state, g_state = create_players(_rng, config["LR"])

        def _update_step(runner_state, unused):
            def _train_step(runner_state, unused):
                d_state, g_state, rng = runner_state
                rng, _rng = jax.random.split(rng)
                d_state, g_state, losses = update_players(d_state, g_state, draw_real(_rng))
                return (d_state, g_state, rng), losses

            runner_state, losses = jax.lax.scan(
                _train_step, runner_state, None, config["NUM_STEPS"]
            )
            metric = jax.tree.map(lambda loss: loss[-1], losses)
            metric["output"] = G(runner_state[1].params, LATENT)
            return runner_state, metric

        runner_state, metric = jax.lax.scan(
            _update_step, (d_state, g_state, rng), None, config["NUM_UPDATES"]
        )
        return {"runner_state": runner_state, "metrics": metric}

    return train


# rejax: an algorithm is a dataclass and a pytree, static settings and traced hyperparameters apart.
# Its state is another, the key in it; a `fori_loop` of iterations is scanned between evaluations.


class State(struct.PyTreeNode):
    """What `GAN.train` carries."""

    rng: chex.PRNGKey
    global_step: int
    d_ts: TrainState
    g_ts: TrainState


class GAN(struct.PyTreeNode):
    """A GAN as an algorithm."""

    total_steps: int = struct.field(pytree_node=False, default=10_000)
    eval_freq: int = struct.field(pytree_node=False, default=10)
    learning_rate: chex.Scalar = struct.field(pytree_node=True, default=LEARNING_RATE)

    def init_state(self, rng: chex.PRNGKey) -> State:
        """The state before the first step."""
        rng, rng_init = jax.random.split(rng)
        return State(rng, 0, *create_players(rng_init, self.learning_rate))

    def train_iteration(self, ts: State) -> State:
        """One step."""
        rng, rng_sample = jax.random.split(ts.rng)
        d_ts, g_ts, _ = update_players(ts.d_ts, ts.g_ts, draw_real(rng_sample))
        return ts.replace(rng=rng, global_step=ts.global_step + 1, d_ts=d_ts, g_ts=g_ts)

    def evaluate(self, ts: State) -> jax.Array:
        """G's output [4]."""
        return G(ts.g_ts.params, LATENT)

    def train(self, rng: chex.PRNGKey) -> tuple[State, jax.Array]:
        """The training of one GAN: its last state, and G's output [evaluations, 4]."""

        def eval_iteration(ts, unused):
            ts = jax.lax.fori_loop(0, self.eval_freq, lambda _, ts: self.train_iteration(ts), ts)
            return ts, self.evaluate(ts)

        evaluations = self.total_steps // self.eval_freq
        return jax.lax.scan(eval_iteration, self.init_state(rng), None, evaluations)
