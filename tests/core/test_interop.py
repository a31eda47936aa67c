"""PyTorch's parameters, in and out."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from rejects import rejects

import gan1010_jax as gan

NAMES = ("model.0.weight", "model.0.bias", "model.2.weight", "model.2.bias")
SHAPES = [((3, 4), (3,), (1, 3), (1,)), ((3, 1), (3,), (4, 3), (4,))]  # D's and G's


@pytest.fixture
def state_dicts():
    """D's and G's, of numbers that are all different."""
    rng = np.random.default_rng(0)
    return [
        {name: rng.normal(size=shape).astype(np.float32) for name, shape in zip(NAMES, shapes)}
        for shapes in SHAPES
    ]


def test_from_pytorch_and_back_every_bit_is_the_same(state_dicts):
    there_and_back = gan.params_to_torch(gan.params_from_torch(*state_dicts))
    for before, after in zip(state_dicts, there_and_back):
        assert set(before) == set(after)
        for name, value in before.items():
            assert after[name].dtype == value.dtype and after[name].flags.writeable
            assert after[name].tobytes() == value.tobytes(), name


@pytest.mark.parametrize("pattern", ["1", "1010"])
def test_to_pytorch_and_back_every_bit_is_the_same(pattern):
    setup = gan.Setup(gan.pattern_game(pattern))
    state = gan.init(jax.random.key(3), setup)
    again = gan.params_from_torch(*gan.params_to_torch(state), setup)
    assert jax.tree.structure(again) == jax.tree.structure(state)
    for before, after in zip(jax.tree.leaves(state), jax.tree.leaves(again)):
        assert before.tobytes() == after.tobytes()


@pytest.mark.slow
def test_many_states_go_to_pytorch_side_by_side():
    keys = jax.random.split(jax.random.key(0), 5)
    many = gan.params_to_torch(jax.vmap(gan.init)(keys))
    for place, key in enumerate(keys):
        for stacked, alone in zip(many, gan.params_to_torch(gan.init(key))):
            for name, value in alone.items():
                np.testing.assert_array_equal(stacked[name][place], value)


def test_another_setup_is_rejected(state_dicts):
    with rejects("setup", "1010"):
        gan.params_from_torch(*state_dicts, "1010")


def test_numbers_that_are_not_finite_come_through(state_dicts):
    state_dicts[0]["model.0.bias"][:] = np.nan, -np.inf, -0.0
    d, _ = gan.params_to_torch(gan.params_from_torch(*state_dicts))
    assert d["model.0.bias"].tobytes() == state_dicts[0]["model.0.bias"].tobytes()


def test_the_networks_compute_what_pytorchs_would(state_dicts):
    """x ↦ σ(W₂ σ(W₁ x + b₁) + b₂), written out; D's last sigmoid is the objective's."""
    state, game = gan.params_from_torch(*state_dicts), gan.pattern_game("1010")
    d, g = state_dicts

    def apply(params, x):
        hidden = sigmoid(params["model.0.weight"] @ x + params["model.0.bias"])
        return sigmoid(params["model.2.weight"] @ hidden + params["model.2.bias"])

    fake = apply(g, np.float32([0.5]))
    np.testing.assert_allclose(gan.generate(state), fake, rtol=1e-6)
    logit = game.discriminator.apply({"params": state.discriminator.params}, fake)
    np.testing.assert_allclose(sigmoid(np.asarray(logit)), apply(d, fake)[0], rtol=1e-6)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_the_optimisers_are_fresh_and_the_methods(state_dicts):
    method = gan.Method(optimizer=optax.adam)
    state = gan.params_from_torch(*state_dicts, gan.Setup(method=method))
    for player in state:
        fresh = optax.adam(0.01).init(player.params)
        jax.tree.map(np.testing.assert_array_equal, player.opt_state, fresh)
    batch = gan.draw_batch(jax.random.key(0))
    moved, _ = gan.train_step(state, batch, gan.Setup(method=method))
    _, g = gan.params_to_torch(moved)
    assert all(np.all(g[name] != value) for name, value in state_dicts[1].items())


def test_an_optimiser_that_keeps_its_learning_rate_is_given_each_players(state_dicts):
    method = gan.Method(optimizer=optax.inject_hyperparams(optax.sgd))
    rates = gan.Hyperparams(d_lr=1, g_lr=0.25)
    state = gan.params_from_torch(*state_dicts, gan.Setup(method=method, hyperparams=rates))
    kept = [player.opt_state.hyperparams["learning_rate"] for player in state]
    assert kept == [1, 0.25] and kept[0].dtype == np.float32
    with rejects("g_lr"):
        per_seed = gan.Setup(hyperparams=gan.Hyperparams(g_lr=np.ones(2)))
        gan.params_from_torch(*state_dicts, per_seed)


def test_it_works_under_jit_and_vmap(state_dicts):
    state = gan.params_from_torch(*state_dicts)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(gan.params_from_torch)(*state_dicts), state)
    many = jax.tree.map(lambda array: np.stack([array, array]), state_dicts)
    both = jax.vmap(gan.params_from_torch)(*many)
    again = jax.tree.map(lambda leaf: leaf[1], both)
    jax.tree.map(np.testing.assert_array_equal, again, state)


def test_the_state_trains(state_dicts):
    _, history = gan.train_on(gan.params_from_torch(*state_dicts), np.full((20, 4), 0.5))
    assert history.finite.all()


def test_in_the_x64_mode_the_parameters_are_float64(x64, state_dicts):
    double = [
        {name: value.astype(np.float64) for name, value in state_dict.items()}
        for state_dict in state_dicts
    ]
    for before, after in zip(double, gan.params_to_torch(gan.params_from_torch(*double))):
        for name, value in before.items():
            assert after[name].dtype == np.float64 and np.array_equal(after[name], value)
    with rejects("d_state_dict['model.2.bias']", "float32[1]"):
        gan.params_from_torch(double[0] | {"model.2.bias": np.float32([1])}, double[1])


class Tensor:
    """What of a tensor this package may use; NumPy has no such type."""

    dtype, shape = "torch.bfloat16", (3, 4)

    def detach(self):
        return self

    def cpu(self):
        return self

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Got unsupported ScalarType BFloat16")


@pytest.mark.parametrize(
    ("value", "given"),
    [
        (np.zeros((3, 1), np.float32), "float32[3, 1]"),
        (np.zeros((4, 3), np.float32), "float32[4, 3]"),
        (np.zeros((3, 4)), "float64[3, 4]"),
        (np.zeros((3, 4), int), "int64[3, 4]"),
        ([[0.0] * 4] * 3, "float64[3, 4]"),
        ([[1], [2, 3]], [[1], [2, 3]]),
        (None, "object[]"),
        (Tensor(), "torch.bfloat16[3, 4]"),
    ],
)
def test_a_parameter_of_another_shape_or_dtype_is_rejected(state_dicts, value, given):
    state_dicts[0]["model.0.weight"] = value
    with rejects("d_state_dict['model.0.weight']", given) as caught:
        gan.params_from_torch(*state_dicts)
    assert caught.value.allowed == "float32[3, 4]"


@pytest.mark.parametrize("name", ["model.4.bias", "layers.0.weight", 7])
def test_an_unknown_name_is_rejected(state_dicts, name):
    state_dicts[1][name] = np.zeros(1, np.float32)
    with rejects("g_state_dict", sorted(map(str, state_dicts[1]))):
        gan.params_from_torch(*state_dicts)


def test_a_missing_name_is_rejected(state_dicts):
    del state_dicts[1]["model.2.weight"]
    with rejects("g_state_dict"):
        gan.params_from_torch(*state_dicts)
    with rejects("g_state_dict"):
        gan.params_from_torch(state_dicts[0], list(state_dicts[1].values()))


def test_the_players_cannot_be_swapped(state_dicts):
    with rejects() as caught:
        gan.params_from_torch(*reversed(state_dicts))
    assert caught.value.name.startswith("d_state_dict['model.")


def test_networks_of_other_layers_are_rejected():
    params = nn.Dense(1).init(jax.random.key(0), jnp.zeros(4))["params"]
    player = gan.Player(params, optax.EmptyState())
    with rejects("networks", "bias"):
        gan.params_to_torch(gan.GANState(player, player))
