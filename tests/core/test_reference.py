"""The reference's own program in PyTorch: it gives the same runs, and the same population.

Its results are in `reference/*.npz`, which `reference/generate.py` makes, and are compared by
`experiments/agreement.py`; with PyTorch installed it runs here too.
"""

import dataclasses
from types import SimpleNamespace

import agreement
import jax
import numpy as np
import optax
import pytest
from agreement import (
    SIGNIFICANCE,
    TOLERANCES,
    agrees,
    compare_populations,
    differences,
    first_states,
    last,
    load,
    run_on,
    state_dicts,
    train_all,
)
from flax import linen as nn
from rejects import rejects

import gan1010_jax as gan
from gan1010_jax import models, training
from gan1010_jax.engines import ENGINES

FLOAT32_TOLERANCE, FLOAT64_TOLERANCE = TOLERANCES.values()


@pytest.fixture(scope="module")
def runs():
    """Eight runs of 10,000 steps, recorded every 10."""
    return load("runs.npz")


def test_the_same_parameters_and_samples_give_pytorchs_run(runs):
    assert differences(runs, *train_all(runs)).max() < FLOAT32_TOLERANCE


@pytest.mark.slow
def test_in_double_precision_they_give_it_to_1e_10(runs, x64):
    states, histories = train_all(runs, np.float64)
    assert histories.output.dtype == np.float64
    assert differences(runs, states, histories, prefix="double/").max() < FLOAT64_TOLERANCE


@pytest.mark.slow
def test_a_run_of_50_000_steps_agrees_too():
    """Outputs and losses were 3e-7 apart, and parameters 4e-6."""
    run = load("long_run.npz")
    assert run["samples"].shape == (1, 50_000, 4)
    assert differences(run, *train_all(run)).max() < FLOAT32_TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_pytorchs_run(runs, engine):
    """The engines draw their own samples; here they take one step at a time, of those given."""
    states, histories = run_on(engine, runs)
    assert differences(runs, last(states), histories).max() < FLOAT32_TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_it_to_1e_10_in_double_precision(runs, engine, x64):
    states, histories = run_on(engine, runs, np.float64)
    assert differences(runs, last(states), histories, prefix="double/").max() < FLOAT64_TOLERANCE


def test_the_program_says_whether_all_of_it_agrees():
    near = {"dtype": "float32", "outputs": 4e-7, "losses": 2e-7, "parameters": 1e-6}
    assert agrees([near], {"g_loss": 0.06})
    for name, apart in (("outputs", 2e-5), ("parameters", np.nan)):
        assert not agrees([near, near | {name: apart}], {"g_loss": 0.06})
    assert not agrees([near | {"dtype": "float64"}], {"g_loss": 0.06})
    assert not agrees([near], {"g_loss": 0.06, "output_0": 1e-5})


# Errors that these tests must detect


def swapped_updates(state, batch, setup):
    """`train_step` with D's two updates in the wrong order."""
    state, d_fake = gan.discriminator_update(state, batch, setup, samples="fake")
    state, d_real = gan.discriminator_update(state, batch, setup, samples="real")
    state, g = gan.generator_update(state, batch, setup)
    return state, gan.StepInfo(gan.Losses(**d_real, **d_fake, **g), ())


def g_before_d(state, batch, setup):
    """`train_step` with G moving before D sees a fake sample."""
    state, d_real = gan.discriminator_update(state, batch, setup, samples="real")
    state, g = gan.generator_update(state, batch, setup)
    state, d_fake = gan.discriminator_update(state, batch, setup, samples="fake")
    return state, gan.StepInfo(gan.Losses(**d_real, **d_fake, **g), ())


def no_stop_gradient(state, batch, setup):
    """`train_step` in which the gradient of D's loss on a fake sample reaches G, and moves it."""
    game = setup.game
    state, d_real = gan.discriminator_update(state, batch, setup, samples="real")

    def g_loss(g_params):
        fake = game.generator.apply({"params": g_params}, batch.latent)
        logit = game.discriminator.apply({"params": state.discriminator.params}, fake)
        return setup.method.objective.d_fake(logit)

    leaked = jax.grad(g_loss)(state.generator.params)
    state, d_fake = gan.discriminator_update(state, batch, setup, samples="fake")
    moved = optax.tree.add_scale(state.generator.params, -setup.hyperparams.g_lr, leaked)
    state = state._replace(generator=state.generator._replace(params=moved))
    state, g = gan.generator_update(state, batch, setup)
    return state, gan.StepInfo(gan.Losses(**d_real, **d_fake, **g), ())


def renamed(name):
    """The reference game by another name, for which it is compiled anew."""
    return dataclasses.replace(gan.pattern_game("1010"), name=name)


@pytest.mark.slow
@pytest.mark.parametrize("wrong_step", [swapped_updates, g_before_d, no_stop_gradient])
def test_a_wrong_step_is_noticed(runs, monkeypatch, wrong_step):
    """The outputs are then 5e-4, 6e-4 and 0.3 apart."""
    monkeypatch.setattr(training, "train_step", wrong_step)
    # By another name it is compiled anew, apart from the correct programs.
    setup = gan.Setup(renamed(wrong_step.__name__))
    states, histories = train_all(runs, setup=setup)
    assert differences(runs, states, histories).min() > 10 * FLOAT32_TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("rates", [(0.0101, 0.01), (0.01, 0.0101), (0.0101, 0.0101)])
def test_a_learning_rate_of_0_0101_is_noticed(runs, rates):
    """The outputs are then 2e-2, 2e-3 and 2e-2 apart."""
    wrong = train_all(runs, setup=gan.Setup(hyperparams=gan.Hyperparams(*rates)))
    assert differences(runs, *wrong).min() > 10 * FLOAT32_TOLERANCE


@pytest.mark.parametrize("part", ["output", "losses", "params"])
def test_a_nan_is_noticed(runs, part):
    states, histories = train_all(runs)
    if part == "output":
        histories = histories._replace(output=histories.output.at[3, 5, 1].set(np.nan))
    elif part == "losses":
        g = histories.losses.g.at[3, 5].set(np.nan)
        histories = histories._replace(losses=histories.losses._replace(g=g))
    else:
        params = jax.tree.map(lambda leaf: leaf.at[3, 0].set(np.nan), states.discriminator.params)
        discriminator = states.discriminator._replace(params=params)
        states = states._replace(discriminator=discriminator)
    assert not differences(runs, states, histories).max() < FLOAT32_TOLERANCE


# The same population


@pytest.fixture(scope="module")
def pytorchs():
    """400 rows of independent runs in PyTorch."""
    columns = load("population.npz")
    assert len(set(columns["seed"])) == 400
    return columns


def test_the_population_is_pytorchs(pytorchs):
    """4,096 seeds against 400, which distinguish distributions that are 0.12 apart."""
    p_values = compare_populations(gan.train_population(range(4096)).columns, pytorchs)
    assert min(p_values.values()) > SIGNIFICANCE, p_values


def test_a_loss_that_is_not_a_number_is_noticed_in_a_population(pytorchs):
    broken = pytorchs | {"g_loss": np.where(pytorchs["seed"] == 7, np.nan, pytorchs["g_loss"])}
    with pytest.raises(ValueError, match="nan"):
        compare_populations(broken, pytorchs)


@pytest.mark.slow
def test_another_initialiser_is_noticed(pytorchs, monkeypatch):
    """Flax's default one, `lecun_normal` and biases of zero."""
    monkeypatch.setattr(models, "Linear", nn.Dense)
    setup = gan.Setup(renamed("flax's default initialiser"))
    p_values = compare_populations(gan.train_population(range(4096), setup).columns, pytorchs)
    assert p_values["settled_step"] < SIGNIFICANCE, p_values


# The program itself, live


@pytest.fixture(scope="module")
def pytorch():
    """PyTorch, the program and the script that ran it."""
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(agreement.REFERENCE)
        import generate
        import pytorch_gan
    return SimpleNamespace(torch=torch, gan=pytorch_gan, generate=generate)


@pytest.mark.slow
def test_pytorch_repeats_what_it_gave(runs, pytorch):
    """A tenth of a run; to a rounding, should another release of PyTorch add in another order."""
    players, samples = pytorch.generate.start(1010), pytorch.gan.draw_real(10_000)
    np.testing.assert_array_equal(samples, runs["samples"][0])
    for network, expected in zip(players, state_dicts(runs, "initial")):
        for name, value in network.state_dict().items():
            np.testing.assert_array_equal(value, expected[name][0])
    record = pytorch.gan.train(*players, samples[:1_000])
    np.testing.assert_allclose(record.output, runs["output"][0, :100], rtol=0, atol=1e-6)
    np.testing.assert_allclose(record.losses, runs["losses"][0, :100], rtol=0, atol=1e-6)


@pytest.fixture(scope="module", params=[np.float32, np.float64], ids=["float32", "float64"])
def live(pytorch, request):
    """A run that is not among the kept ones, eight times over, with the parameters of every record.

    As many runs as are kept, so that they go through the same compiled programs.
    """
    players, samples = pytorch.generate.start(17), pytorch.gan.draw_real(10_000)
    if request.param is np.float64:
        players, samples = [network.double() for network in players], samples.double()
    arrays = pytorch.generate.name_parameters("initial", players)
    records = []
    for chunk in samples.split(10):
        record = pytorch.gan.train(*players, chunk)
        output, losses = record.output[0].numpy(), record.losses[0].numpy()
        params = pytorch.generate.name_parameters("every", players)
        records.append({"output": output, "losses": losses, **params})
    arrays |= {name: np.stack([record[name] for record in records]) for name in records[0]}
    arrays |= {"samples": samples.numpy()}
    return {name: np.stack([array] * 8) for name, array in arrays.items()}


@pytest.mark.slow
@pytest.mark.parametrize("program", ["train_on", *ENGINES])
def test_side_by_side_every_record_agrees_parameters_too(live, program, request):
    dtype, tolerance = live["samples"].dtype, FLOAT32_TOLERANCE
    if dtype == np.float64:
        request.getfixturevalue("x64")
        tolerance = FLOAT64_TOLERANCE
    if program == "train_on":
        records = train_every_record(live, dtype)
    else:
        records = run_on(program, live, dtype)
    assert 0 < differences(live, *records, at="every").max() < tolerance


def train_every_record(arrays, dtype):
    """The states at every record and the histories by `train_on`, [runs, records, ...]."""

    def to_record(state, reals):
        state, history = gan.train_on(state, reals)
        return state, (state, jax.tree.map(lambda leaf: leaf[0], history))

    def train(state, samples):
        return jax.lax.scan(to_record, state, samples.reshape(-1, 10, 4))[1]

    return jax.vmap(train)(first_states(arrays, dtype), arrays["samples"])


@pytest.mark.slow
def test_parameters_go_to_pytorch_and_back_bit_for_bit(pytorch):
    state = gan.init(jax.random.key(3))
    networks = pytorch.gan.Discriminator(), pytorch.gan.Generator()
    for network, params in zip(networks, gan.params_to_torch(state)):
        network.load_state_dict({k: pytorch.torch.tensor(v) for k, v in params.items()})
    again = gan.params_from_torch(*[network.state_dict() for network in networks])
    jax.tree.map(np.testing.assert_array_equal, again, state)
    # Parameters with gradients are tensors too.
    again = gan.params_from_torch(*[dict(network.named_parameters()) for network in networks])
    jax.tree.map(np.testing.assert_array_equal, again, state)
    half = {k: v.bfloat16() for k, v in networks[0].state_dict().items()}
    with rejects("d_state_dict['model.0.bias']", "torch.bfloat16[3]"):
        gan.params_from_torch(half, networks[1].state_dict())


@pytest.mark.slow
def test_samples_may_be_tensors(pytorch):
    state, samples = gan.init(jax.random.key(3)), pytorch.gan.draw_real(20)
    _, expected = gan.train_on(state, samples.numpy())
    for tensor in (samples, samples.clone().requires_grad_(), samples.T.contiguous().T):
        jax.tree.map(np.testing.assert_array_equal, gan.train_on(state, tensor)[1], expected)
    with rejects("real", "torch.bfloat16[20, 4]"):
        gan.train_on(state, samples.bfloat16())


@pytest.mark.slow
def test_the_benchmarks_pytorch_step_of_many_seeds_is_that_of_one(pytorch):
    players, steps = [pytorch.generate.start(seed) for seed in range(3)], 5
    stacked = [
        {name: pytorch.torch.stack([net.state_dict()[name] for net in nets]) for name in names}
        for nets, names in ((nets, nets[0].state_dict()) for nets in zip(*players))
    ]
    for real in pytorch.gan.draw_real(steps, len(players)):
        for pair, sample in zip(players, real):
            pytorch.gan.train_step(*pair, sample)
        stacked = pytorch.torch.func.vmap(pytorch.gan.step_of_params)(*stacked, real)
    for seed, pair in enumerate(players):
        for network, params in zip(pair, stacked):
            for name, value in network.state_dict().items():
                np.testing.assert_allclose(params[name][seed], value, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_pytorch_draws_samples_and_parameters_from_the_games_ranges(pytorch):
    real = pytorch.gan.draw_real(1_000).numpy()
    np.testing.assert_allclose(real.min(axis=0), [0.8, 0, 0.8, 0], atol=0.01)
    np.testing.assert_allclose(real.max(axis=0), [1, 0.2, 1, 0.2], atol=0.01)
    for params, fans in zip(pytorch.gan.init_seeds(1_000), ((4, 3), (1, 3))):
        for name, values in params.items():
            bound = fans[name.startswith("model.2")] ** -0.5
            np.testing.assert_allclose(values.abs().max(), bound, rtol=0.02)
