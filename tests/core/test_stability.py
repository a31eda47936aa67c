"""Stability: the field, the Jacobian and the spectrum of a step, and equilibria."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from rejects import rejects

import gan1010_jax as gan
from gan1010_jax.games import product_quadrature
from gan1010_jax.gan import summarize
from gan1010_jax.stability import _batch_quadrature, _expectation

DIRAC = gan.dirac_game(start=(0.0, 0.0))
H = 0.1  # a learning rate
RATES = {"d_lr": H, "g_lr": H}


def at(theta, psi):
    """The Dirac-GAN in a state."""
    return gan.init(jax.random.key(0), gan.Setup(gan.dirac_game((float(theta), float(psi)))))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def pairs(center, square):
    """The two numbers center ± √square."""
    return np.sort_complex(center + np.array([1, -1]) * np.sqrt(complex(square)))


def assert_eigenvalues(found, expected, rtol=1e-9):
    np.testing.assert_allclose(np.sort_complex(np.asarray(found)), expected, rtol=rtol, atol=1e-12)


# The Dirac-GAN, whose numbers are known. Its parameters come in the order ψ, θ.


def test_the_field_of_the_dirac_gan_is_that_of_the_paper(x64):
    theta, psi = 0.7, -0.4
    d_velocity, g_velocity = gan.vector_field(
        at(theta, psi), gan.Setup(DIRAC, gan.Method("minimax"))
    )
    slope = sigmoid(theta * psi)  # -f'(-θψ) of f(t) = -log(1 + exp(-t))
    np.testing.assert_allclose(jax.tree.leaves(d_velocity), [-slope * theta], rtol=1e-12)
    np.testing.assert_allclose(jax.tree.leaves(g_velocity), [slope * psi], rtol=1e-12)


def test_the_field_of_the_dirac_gan_turns_at_its_equilibrium(x64):
    jacobian = gan.field_jacobian(at(0, 0), gan.Setup(DIRAC, gan.Method("minimax")))
    np.testing.assert_allclose(jacobian, [[0, -0.5], [0.5, 0]], atol=1e-12)
    np.testing.assert_array_equal(gan.symmetric_part(jacobian), 0)
    np.testing.assert_array_equal(gan.antisymmetric_part(jacobian), jacobian)


def test_a_jacobian_is_its_symmetric_and_its_antisymmetric_part():
    jacobians = np.arange(18.0).reshape(2, 3, 3)
    even, odd = gan.symmetric_part(jacobians), gan.antisymmetric_part(jacobians)
    np.testing.assert_array_equal(even + odd, jacobians)
    np.testing.assert_array_equal(even, even.mT)
    np.testing.assert_array_equal(odd, -odd.mT)


@pytest.mark.parametrize("objective", ["minimax", "nonsaturating"])
def test_simultaneous_steps_of_the_dirac_gan_spiral_out(x64, objective):
    method = gan.Method(objective, update_order="simultaneous")
    eigenvalues = gan.step_spectrum(at(0, 0), gan.Setup(DIRAC, method, gan.Hyperparams(**RATES)))
    assert_eigenvalues(eigenvalues, [1 - H / 2 * 1j, 1 + H / 2 * 1j])
    assert gan.spectral_radius(eigenvalues) == pytest.approx(np.hypot(1, H / 2), rel=1e-12)


@pytest.mark.parametrize("update_order", ["reference", "alternating"])
def test_alternating_steps_of_the_dirac_gan_stay_on_their_circle(x64, update_order):
    method = gan.Method("minimax", update_order=update_order)
    eigenvalues = gan.step_spectrum(at(0, 0), gan.Setup(DIRAC, method, gan.Hyperparams(**RATES)))
    np.testing.assert_allclose(np.abs(eigenvalues), 1, rtol=1e-12)
    assert_eigenvalues(eigenvalues, pairs(1 - H**2 / 8, (1 - H**2 / 8) ** 2 - 1))


@pytest.mark.parametrize("std", [0.3, 2.5])
def test_instance_noise_damps_the_field_as_in_the_paper(x64, std):
    # Mescheder et al. (ICML 2018), lemma 3.2: -f''(0) σ² ± √(f''(0)² σ⁴ - f'(0)²), f'' = -1/4,
    # of noise on the real and on the fake sample.
    jacobian = gan.field_jacobian(
        at(0, 0), gan.Setup(DIRAC, gan.Method("minimax"), gan.Hyperparams(noise_std=std))
    )
    assert_eigenvalues(
        jnp.linalg.eigvals(jacobian), pairs(-(std**2) / 4, std**4 / 16 - 1 / 4), rtol=1e-8
    )


@pytest.mark.parametrize("weight", [0.3, 2.5])
def test_a_gradient_penalty_damps_the_field_as_in_the_paper(x64, weight):
    # Lemma 3.3: -γ/2 ± √(γ²/4 - f'(0)²).
    jacobian = gan.field_jacobian(
        at(0, 0),
        gan.Setup(
            DIRAC, gan.Method("minimax", penalty="r1"), gan.Hyperparams(penalty_weight=weight)
        ),
    )
    assert_eigenvalues(jnp.linalg.eigvals(jacobian), pairs(-weight / 2, weight**2 / 4 - 1 / 4))


def test_consensus_damps_the_field_by_the_square_of_its_turning(x64):
    method = gan.Method("minimax", update_order="simultaneous", penalty="consensus")
    jacobian = gan.field_jacobian(
        at(0, 0), gan.Setup(DIRAC, method, gan.Hyperparams(penalty_weight=0.8))
    )
    # J - γ JᵀJ, J being the Jacobian without it, of eigenvalues ± i/2.
    assert_eigenvalues(jnp.linalg.eigvals(jacobian), pairs(-0.8 / 4, -1 / 4))


DAMPED = {
    "r1": (gan.Method("minimax", penalty="r1"), {"penalty_weight": 0.05}),
    "consensus": (
        gan.Method("minimax", update_order="simultaneous", penalty="consensus"),
        {"penalty_weight": 0.5},
    ),
    "noise": (gan.Method("minimax", update_order="simultaneous"), {"noise_std": 0.4}),
}


def lengths_from_near(method, hyperparams):
    """The length of (θ, ψ) after every step of training from near the equilibrium."""
    setup = gan.Setup(gan.dirac_game((1e-3, 1e-3)), method, hyperparams)
    key = jax.random.key(0)
    if hyperparams.noise_std is None:
        _, history = gan.train(key, setup, steps=1000, record_every=1)
        return np.linalg.norm(history.output, axis=1)

    def step(state, _):  # noise moves every run; its expectation comes to rest
        state = gan.expected_step(state, setup)
        return state, summarize(state, setup)

    _, outputs = jax.lax.scan(step, gan.init(key, setup), None, 1000)
    return np.linalg.norm(outputs, axis=1)


@pytest.mark.parametrize("name", DAMPED)
def test_training_contracts_as_the_spectrum_says(x64, name):
    method, numbers = DAMPED[name]
    hyperparams = gan.Hyperparams(**RATES, **numbers)
    radius = gan.spectral_radius(gan.step_spectrum(at(0, 0), gan.Setup(DIRAC, method, hyperparams)))
    # The rate by regression: the length itself goes up and down with every turn.
    logarithms = np.log(lengths_from_near(method, hyperparams))
    rate, _ = np.polyfit(np.arange(1000), logarithms, 1)
    assert radius < 1
    assert rate == pytest.approx(np.log(radius), rel=0.01)


def test_training_without_damping_does_not_contract(x64):
    hyperparams = gan.Hyperparams(**RATES)
    out = lengths_from_near(gan.Method("minimax", update_order="simultaneous"), hyperparams)
    assert out[-1] / out[0] == pytest.approx(np.hypot(1, H / 2) ** 999, rel=1e-3)
    around = lengths_from_near(gan.Method("minimax"), hyperparams)
    assert around[-100:].max() / around[:100].max() == pytest.approx(1, abs=0.05)


# Quadrature.


@pytest.mark.parametrize(
    ("source", "moment"),
    [
        (gan.Uniform((0.8,), (1.0,)), lambda k: (1 - 0.8 ** (k + 1)) / 0.2 / (k + 1)),
        (
            gan.Normal((0.0,), (0.5,)),
            lambda k: 0.5**k * np.prod(np.arange(k - 1, 0, -2.0)) * (k % 2 == 0),
        ),
        (gan.Constant((0.5,)), lambda k: 0.5**k),
    ],
    ids=["Uniform", "Normal", "Constant"],
)
def test_a_quadrature_is_exact_for_polynomials_up_to_its_degree_and_no_further(source, moment):
    nodes, weights = source.quadrature(4)
    for degree in range(8):
        assert weights @ nodes[:, 0] ** degree == pytest.approx(
            moment(degree), rel=1e-12, abs=1e-15
        )
    exact = isinstance(source, gan.Constant)
    assert (abs(weights @ nodes[:, 0] ** 8 / moment(8) - 1) < 1e-13) == exact


def test_a_product_quadrature_takes_every_combination_of_independent_parts():
    parts = [gan.Uniform((0.0, 2.0), (1.0, 5.0)), gan.Constant((3.0,)), gan.Normal((1.0,), (2.0,))]
    nodes, weights = product_quadrature([part.quadrature(3) for part in parts])
    assert nodes.shape == (27, 4) and weights.sum() == pytest.approx(1)
    x, y, c, z = nodes.T
    assert weights @ (x**2 * y * c * z**2) == pytest.approx(1 / 3 * 3.5 * 3 * (1 + 4))


@pytest.mark.slow
def test_a_quadrature_of_batches_has_the_means_of_drawn_ones():
    setup = gan.Setup(
        method=gan.Method("minimax", update_order="alternating", penalty="wgan_gp"),
        hyperparams=gan.Hyperparams(noise_std=0.1),
    )

    def moments(batch):
        flat = jnp.concatenate([batch.real, batch.latent, batch.noise, batch.mix[None]])
        return flat, jnp.outer(flat, flat)

    exact = _expectation(moments, *_batch_quadrature(setup, 2, d_steps=1))
    draw = jax.vmap(lambda t: moments(gan.draw_batch(jax.random.key(0), setup, t)))
    for sampled, mean in zip(draw(jnp.arange(100_000)), exact):
        error = np.std(sampled, axis=0) / np.sqrt(len(sampled))
        assert np.all(np.abs(np.mean(sampled, axis=0) - mean) < 4.5 * error + 1e-5)


# The 1010-GAN.


SMALL = gan.pattern_game("1")


def sampled_steps(state, method, samples):
    """The states after a step on each of many batches."""

    def step(index):
        batch = gan.draw_batch(jax.random.key(7), gan.Setup(method=method), step=index)
        return ravel_pytree(gan.train_step(state, batch, gan.Setup(method=method))[0])[0]

    return np.asarray(jax.jit(jax.vmap(step))(jnp.arange(samples)))


@pytest.mark.slow
@pytest.mark.parametrize("d_steps", [1, 2])
def test_an_expected_step_is_the_mean_of_many(x64, d_steps):
    method = gan.Method(d_steps=d_steps)
    state = gan.init(jax.random.key(0), gan.Setup(method=method))
    steps = sampled_steps(state, method, 20_000)
    expect = jax.jit(lambda state: gan.expected_step(state, gan.Setup(method=method), order=2))
    expected, _ = ravel_pytree(expect(state))
    error = steps.std(axis=0) / np.sqrt(len(steps))
    start, _ = ravel_pytree(state)
    assert np.all(np.abs(steps.mean(axis=0) - expected) < 4.5 * error + 1e-12)
    assert np.linalg.norm(expected - start) > 20 * np.linalg.norm(error)


@pytest.mark.slow
def test_a_jacobian_is_what_finite_differences_give(x64):
    state = gan.init(jax.random.key(1), gan.Setup(SMALL))
    vector, unravel = ravel_pytree(state)
    jacobian = jax.jit(lambda state: gan.step_jacobian(state, gan.Setup(SMALL)))(state)
    assert jacobian.shape == (vector.size, vector.size)
    direction = jax.random.normal(jax.random.key(2), vector.shape)

    @jax.jit
    def step(vector):
        return ravel_pytree(gan.expected_step(unravel(vector), gan.Setup(SMALL)))[0]

    difference = (step(vector + 1e-5 * direction) - step(vector - 1e-5 * direction)) / 2e-5
    np.testing.assert_allclose(jacobian @ direction, difference, atol=1e-9)


@pytest.mark.slow
def test_spectra_of_many_states_are_those_of_each():
    method = gan.Method("minimax", penalty="r1")
    states = jax.vmap(lambda key: gan.init(key, gan.Setup(gan.dirac_game())))(
        jax.random.split(jax.random.key(0), 3)
    )

    def spectrum(state):
        return gan.step_spectrum(state, gan.Setup(DIRAC, method))

    many = jax.jit(jax.vmap(spectrum))(states)
    one = spectrum(jax.tree.map(lambda leaf: leaf[1], states))
    assert many.shape == (3, 2) and np.all(np.diff(np.abs(many), axis=1) <= 0)
    np.testing.assert_allclose(np.abs(many[1]), np.abs(one), atol=1e-5)
    np.testing.assert_array_equal(gan.spectral_radius(many), np.abs(many[:, 0]))


def test_an_optimisers_numbers_are_part_of_the_spectrum_and_its_counters_are_not():
    method = gan.Method("minimax", optimizer=optax.adam)
    state = gan.init(jax.random.key(0), gan.Setup(DIRAC, method))
    assert gan.step_spectrum(state, gan.Setup(DIRAC, method)).shape == (6,)
    after = gan.expected_step(state, gan.Setup(DIRAC, method))
    # Two updates of D, and one of G.
    assert [int(player.opt_state[0].count) for player in after] == [2, 1]


def field_length(state, **options):
    field = jax.jit(lambda state: gan.vector_field(state, **options))(state)
    return float(jnp.linalg.norm(ravel_pytree(field)[0]))


@pytest.mark.slow
def test_an_equilibrium_is_found_near_a_trained_state(x64):
    state, _ = gan.train(jax.random.key(1), steps=5000, record_every=1000)
    found = jax.jit(lambda state: gan.find_equilibrium(state, order=3))(state)
    assert field_length(state, order=3) > 1e-3
    assert field_length(found, order=3) < 1e-12
    assert jax.tree.structure(found) == jax.tree.structure(state)
    moved, _ = ravel_pytree(jax.tree.map(jnp.subtract, state, found))
    assert np.linalg.norm(moved) < np.linalg.norm(ravel_pytree(state)[0])
    # D is undecided, for every sample; its last layer is zero.
    last = found.discriminator.params["Linear_1"]["Dense_0"]
    assert all(np.abs(leaf).max() < 1e-10 for leaf in last.values())
    # Equilibria are a manifold of 41 - 7 dimensions: four weights are zero, three means agree.
    jacobian = jax.jit(lambda state: gan.field_jacobian(state, order=3))(found)
    singular = np.linalg.svd(jacobian, compute_uv=False)
    assert singular[6] > 1e-6 and singular[7] < 1e-10


def test_the_equilibrium_of_the_dirac_gan_is_found(x64):
    found = gan.find_equilibrium(at(0.3, -0.2), gan.Setup(DIRAC, gan.Method("minimax")))
    np.testing.assert_allclose(ravel_pytree(found)[0], 0, atol=1e-10)


@pytest.mark.slow
def test_a_search_that_finds_nothing_ends_where_the_field_is_shorter(x64):
    # The score of a critic without bounds: D never stops while the means of the samples differ.
    setup = gan.Setup(method=gan.Method("wasserstein"))
    state = gan.init(jax.random.key(0), setup)
    found = gan.find_equilibrium(state, setup, order=2)
    there, here = (field_length(at, setup=setup, order=2) for at in (found, state))
    assert there <= here


STATE = gan.init(jax.random.key(0))


@pytest.mark.parametrize(
    ("arguments", "options", "name"),
    [
        ((STATE, gan.Setup(DIRAC)), {}, "state"),
        ((np.zeros(3),), {}, "state"),
        ((STATE, DIRAC), {}, "setup"),
        ((STATE,), {"order": 0}, "order"),
        ((STATE,), {"order": 33}, "the number of quadrature nodes"),
    ],
)
@pytest.mark.parametrize("function", [gan.step_spectrum, gan.vector_field, gan.find_equilibrium])
def test_incompatible_arguments_are_rejected(function, arguments, options, name):
    with rejects(name):
        function(*arguments, **options)
