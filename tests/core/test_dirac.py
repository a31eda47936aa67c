"""The Dirac-GAN, D(x) = ψx against G = θ with real samples at 0: methods against formulas by hand.

The formulas are in float64 and derived on paper; nothing here differentiates. D's logit is for
real, and every player descends: with R, F and G the losses of D on real x and on fake y = θ + noise
and of G, their gradients are R'(ψx)x + F'(ψy)y by ψ, and G'(ψy)ψ by θ.
"""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from scipy import stats

import gan1010_jax as gan
from gan1010_jax.methods import OBJECTIVES, PENALTIES

GAME = gan.dirac_game((1.0, 1.0))


def sigmoid(logit):
    return 1 / (1 + np.exp(-logit))


def variance(logit):
    """Of a coin that shows heads with the probability σ(logit): σ'."""
    return sigmoid(logit) * sigmoid(-logit)


# R', F', F'', G', G''
SLOPES = {
    "mse": (
        lambda u: -2 * sigmoid(u) * sigmoid(-u) ** 2,
        lambda u: 2 * sigmoid(u) ** 2 * sigmoid(-u),
        lambda u: 2 * sigmoid(u) ** 2 * sigmoid(-u) * (2 - 3 * sigmoid(u)),
        lambda u: -2 * sigmoid(u) * sigmoid(-u) ** 2,
        lambda u: 2 * sigmoid(u) * sigmoid(-u) ** 2 * (3 * sigmoid(u) - 1),
    ),
    "lsgan": (lambda u: u - 1, lambda u: u, np.ones_like, lambda u: u - 1, np.ones_like),
    "minimax": (
        lambda u: -sigmoid(-u),
        sigmoid,
        variance,
        lambda u: -sigmoid(u),
        lambda u: -variance(u),
    ),
    "nonsaturating": (
        lambda u: -sigmoid(-u),
        sigmoid,
        variance,
        lambda u: -sigmoid(-u),
        variance,
    ),
    "wasserstein": (
        lambda u: -np.ones_like(u),
        np.ones_like,
        np.zeros_like,
        lambda u: -np.ones_like(u),
        np.zeros_like,
    ),
    "hinge": (
        lambda u: -np.where(u < 1, 1.0, 0.0),
        lambda u: np.where(u > -1, 1.0, 0.0),
        np.zeros_like,
        lambda u: -np.ones_like(u),
        np.zeros_like,
    ),
}


def d_penalty(objective, penalty, theta, psi, target_norm):
    """By ψ: ½ψ² of either place, for D is linear; (|ψ| - t)²; ½(F'θ)² + ½(G'ψ)²."""
    u = psi * theta
    _, f, ff, g, gg = (slope(u) for slope in SLOPES[objective])
    return {
        "none": 0 * u,
        "r1": psi,
        "r2": psi,
        "wgan_gp": 2 * (np.abs(psi) - target_norm) * np.sign(psi),
        "consensus": f * theta * ff * theta**2 + g * psi * (g + gg * u),
    }[penalty]


def g_penalty(objective, penalty, theta, psi):
    """By θ, of the last of these alone: G descends no other."""
    u = psi * theta
    _, f, ff, g, gg = (slope(u) for slope in SLOPES[objective])
    return f * theta * (f + ff * u) + g * psi * gg * psi**2 if penalty == "consensus" else 0 * u


@dataclasses.dataclass(frozen=True)
class ByHand:
    """A method, as formulas for each player's gradient and for its step."""

    objective: str
    penalty: str = "none"
    update_order: str = "simultaneous"
    d_steps: int = 1
    first: str = "discriminator"
    lr: float = 1.0
    weight: float = 1.0
    target_norm: float = 1.0
    clip: float = np.inf

    def d_gradient(self, theta, psi, real=0.0, noise=0.0, seen="both"):
        at_real, at_fake, *_ = SLOPES[self.objective]
        fake = theta + noise
        gradient = 0 * psi
        if seen != "fake":
            gradient = gradient + at_real(psi * real) * real
        if seen != "real":
            gradient = gradient + at_fake(psi * fake) * fake
        if seen in ("both", {"r1": "real", "r2": "fake"}.get(self.penalty)):
            by_psi = d_penalty(self.objective, self.penalty, theta, psi, self.target_norm)
            gradient = gradient + self.weight * by_psi
        return gradient

    def g_gradient(self, theta, psi, noise=0.0):
        slope = SLOPES[self.objective][3](psi * (theta + noise))
        return slope * psi + self.weight * g_penalty(self.objective, self.penalty, theta, psi)

    def d_steps_by_hand(self, theta, psi, samples):
        for real, noise in samples:
            for seen in ("real", "fake") if self.update_order == "reference" else ("both",):
                psi = psi - self.lr * self.d_gradient(theta, psi, real, noise, seen)
                psi = np.clip(psi, -self.clip, self.clip)
        return psi

    def g_step(self, theta, psi, samples):
        _, noise = samples[-1]
        return theta - self.lr * self.g_gradient(theta, psi, noise)

    def step(self, theta, psi, samples):
        """One step with a (real, noise) for each D step."""
        if self.update_order == "simultaneous":
            return self.g_step(theta, psi, samples), self.d_steps_by_hand(theta, psi, samples)
        if self.first == "generator":
            theta = self.g_step(theta, psi, samples)
            return theta, self.d_steps_by_hand(theta, psi, samples)
        psi = self.d_steps_by_hand(theta, psi, samples)
        return self.g_step(theta, psi, samples), psi


def state_at(theta, psi):
    """Both players there, with optimisers that keep nothing, as the default's, SGD's, do."""
    d, g = {"psi": psi}, {"theta": theta}
    return gan.GANState(*(gan.Player(params, optax.sgd(1.0).init(params)) for params in (d, g)))


@jax.jit
def update_both(theta, psi, setup):
    """(θ, ψ) [points] after an update of G alone, and of D alone; and what was drawn for them."""

    def update(theta, psi):
        state = state_at(theta, psi)
        after_d, _ = gan.discriminator_update(state, batch, setup)
        after_g, _ = gan.generator_update(state, batch, setup)
        return after_g.generator.params["theta"], after_d.discriminator.params["psi"]

    batch = gan.draw_batch(jax.random.key(0), setup)
    return *jax.vmap(update)(theta, psi), batch


def gradients(points, setup):
    """The gradients of points (θ, ψ), as a learning rate of 1 shows them."""
    theta, psi = jnp.asarray(points, float).T
    after_theta, after_psi, batch = update_both(theta, psi, setup)
    return theta - after_theta, psi - after_psi, batch


COORDINATES = [-10.0, -1.5, -0.2, 0.0, 0.7, 3.0, 10.0]
POINTS = np.array(list(itertools.product(COORDINATES, repeat=2)))  # logits from -100 to 100
PENALIZED = [
    (objective, penalty)
    for objective in OBJECTIVES
    for penalty in PENALTIES
    if objective in (PENALTIES[penalty].objectives or OBJECTIVES)
]


def settings_of(objective, penalty, game=GAME):
    """A setup, and its method by hand."""
    all_numbers = {"penalty_weight": 0.7, "target_norm": 0.3}
    numbers = {name: all_numbers[name] for name in PENALTIES[penalty].hyperparams}
    by_hand = ByHand(objective, penalty, weight=0.7, target_norm=0.3)
    method = gan.Method(objective, "simultaneous", penalty)
    return gan.Setup(game, method, gan.Hyperparams(1.0, 1.0, **numbers)), by_hand


@pytest.mark.parametrize(("objective", "penalty"), PENALIZED)
def test_the_gradients_of_both_players_are_those_derived_by_hand(x64, objective, penalty):
    setup, by_hand = settings_of(objective, penalty)
    by_theta, by_psi, _ = gradients(POINTS, setup)
    theta, psi = POINTS.T
    np.testing.assert_allclose(by_theta, by_hand.g_gradient(theta, psi), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(by_psi, by_hand.d_gradient(theta, psi), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_what_a_real_sample_costs_is_derived_by_hand(x64, objective):
    """With real samples at -1.1: at 0, D's logit is 0 whatever ψ is."""
    game = dataclasses.replace(GAME, real=gan.Constant((-1.1,)))
    setup, by_hand = settings_of(objective, "none", game)
    _, by_psi, _ = gradients(POINTS, setup)
    expected = by_hand.d_gradient(*POINTS.T, real=-1.1)
    np.testing.assert_allclose(by_psi, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("objective", "penalty"),
    [
        *itertools.product(SLOPES, ["none"]),
        *itertools.product(["mse", "minimax", "nonsaturating"], ["consensus"]),
        ("wasserstein", "wgan_gp"),
    ],
)
def test_in_float32_no_gradient_overflows_far_from_the_equilibrium(objective, penalty):
    """With logits up to 90,000: a float32's exponential overflows at 89."""
    setup, _ = settings_of(objective, penalty)
    coordinates = [coordinate * 30 for coordinate in COORDINATES]
    points = np.array(list(itertools.product(coordinates, repeat=2)))
    assert np.isfinite(gradients(points, setup)[:2]).all()


@pytest.mark.parametrize("penalty", ["r1", "wgan_gp"])
def test_a_weight_and_a_target_norm_that_are_not_given_are_1(x64, penalty):
    method = gan.Method("minimax", "simultaneous", penalty)
    _, by_psi, _ = gradients(POINTS, gan.Setup(GAME, method, gan.Hyperparams(1.0, 1.0)))
    expected = ByHand("minimax", penalty).d_gradient(*POINTS.T)
    np.testing.assert_allclose(by_psi, expected, rtol=1e-9, atol=1e-9)


class Square(nn.Module):
    """D(x) = ψx², whose slope 2ψx differs from place to place."""

    @nn.compact
    def __call__(self, sample):
        return self.param("psi", nn.initializers.ones, (), float) * sample.squeeze(-1) ** 2


SQUARE = dataclasses.replace(
    GAME, discriminator=Square(), real=gan.Constant((-2.0,)), name="square"
)


@pytest.mark.parametrize("penalty", ["r1", "r2", "wgan_gp"])
def test_a_penalty_looks_at_the_sample_that_it_is_for(x64, penalty):
    """As a linear D cannot show: with D(x) = ψx², Wasserstein's losses, and real samples at -2."""
    setup, _ = settings_of("wasserstein", penalty, SQUARE)
    by_theta, by_psi, batch = gradients(POINTS, setup)
    theta, psi = POINTS.T
    between = 0.0 if batch.mix is None else batch.mix * -2 + (1 - batch.mix) * theta
    by_hand = {  # of ½(2ψx)², and of (|2ψx| - t)²
        "r1": 4 * psi * 2**2,
        "r2": 4 * psi * theta**2,
        "wgan_gp": 4 * (np.abs(2 * psi * between) - 0.3) * np.abs(between) * np.sign(psi),
    }[penalty]
    np.testing.assert_allclose(by_psi, theta**2 - 4 + 0.7 * by_hand, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(by_theta, -2 * psi * theta, rtol=1e-9, atol=1e-9)


def test_wgan_gp_looks_anywhere_between_the_two_alike():
    draw = functools.partial(
        gan.draw_batch, setup=gan.Setup(GAME, gan.Method("wasserstein", "simultaneous", "wgan_gp"))
    )
    mix = jax.vmap(draw)(jax.random.split(jax.random.key(0), 10_000)).mix
    assert stats.kstest(mix, stats.uniform.cdf).pvalue > 1e-4


ORDERS = {
    "simultaneous": {"update_order": "simultaneous"},
    "alternating": {"update_order": "alternating"},
    "G first": {"update_order": "alternating", "first": "generator"},
    "D five times": {"update_order": "alternating", "d_steps": 5},
    "G, then D five times": {"update_order": "alternating", "d_steps": 5, "first": "generator"},
    "reference": {"update_order": "reference"},
}
USUAL = ("simultaneous", "alternating", "G first")
# Objective, penalty, learning rate, hyperparameters, update orders.
TRAJECTORIES = {
    "minimax": ("minimax", "none", 0.1, {}, USUAL),
    "nonsaturating": ("nonsaturating", "none", 0.2, {}, USUAL),
    "clipping": ("wasserstein", "none", 0.1, {"clip": 0.3}, ORDERS),
    "wgan_gp": ("wasserstein", "wgan_gp", 0.1, {"penalty_weight": 0.5, "target_norm": 0.3}, USUAL),
    "noise": (
        *("minimax", "none", 0.1, {"noise_std": 0.5}),
        ("simultaneous", "G, then D five times", "reference"),
    ),
    "r1 on minimax": ("minimax", "r1", 0.1, {"penalty_weight": 0.3}, USUAL[:2]),
    "r1": ("nonsaturating", "r1", 0.2, {"penalty_weight": 0.3}, (*USUAL, "reference")),
    "r2": ("nonsaturating", "r2", 0.2, {"penalty_weight": 0.3}, ("reference",)),
    "consensus": ("minimax", "consensus", 0.2, {"penalty_weight": 0.5}, USUAL),
}


@pytest.mark.parametrize(
    ("name", "order"),
    [
        pytest.param(name, order, marks=[pytest.mark.slow] * (name == "noise"))
        for name, (*_, orders) in TRAJECTORIES.items()
        for order in orders
    ],
)
def test_500_steps_are_those_of_the_formulas(x64, name, order):
    """In x64 mode, to a billionth.

    In float32 they were within 1e-5, and wgan_gp's, whose |ψ| has a kink, within 3e-7; but those of
    minimax, all at once, spiral outwards and make 4e-5 of the rounding.
    """
    objective, penalty, lr, numbers, _ = TRAJECTORIES[name]
    method = gan.Method(objective, penalty=penalty, **ORDERS[order])
    hyperparams = gan.Hyperparams(lr, lr, **numbers)
    by_hand = ByHand(
        objective,
        penalty,
        **ORDERS[order],
        lr=lr,
        weight=numbers.get("penalty_weight", 1.0),
        target_norm=numbers.get("target_norm", 1.0),
        clip=numbers.get("clip", np.inf),
    )
    key = jax.random.key(0)
    _, history = gan.train(key, gan.Setup(GAME, method, hyperparams), steps=500, record_every=1)

    samples = np.zeros((500, method.d_steps, 2))
    if "noise_std" in numbers:
        _, data_key = jax.random.split(key)
        draw = functools.partial(gan.draw_batch, data_key, gan.Setup(GAME, method, hyperparams))
        batches = jax.vmap(draw)(jnp.arange(500))
        samples = np.stack([batches.real, batches.noise], -1, dtype=float).reshape(samples.shape)
        assert len(np.unique(samples)) == samples.size
    theta = psi = np.float64(1.0)
    expected = []
    for draws in samples:
        theta, psi = by_hand.step(theta, psi, draws)
        expected.append((theta, psi))
    np.testing.assert_allclose(history.output, expected, rtol=0, atol=1e-9)


def normal_nodes(std, order=60):
    """Gauss and Hermite's rule for two independent Gaussians: nodes [2, nodes] and weights."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(order)
    both = np.stack(np.meshgrid(std * nodes, std * nodes)).reshape(2, -1)
    return both, np.outer(weights, weights).ravel() / weights.sum() ** 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "update_order"),
    [
        ("minimax", "simultaneous"),
        ("minimax", "alternating"),
        ("nonsaturating", "alternating"),
        ("mse", "reference"),
    ],
)
def test_a_step_under_instance_noise_is_the_expected_one_on_average(objective, update_order):
    """Its first and second moments: noise on each sample, of its own, the same for D as for G."""
    method = gan.Method(objective, update_order)
    hyperparams = gan.Hyperparams(0.5, 0.5, noise_std=0.8)
    keys = jax.random.split(jax.random.key(1), 2**17)

    @jax.jit
    @jax.vmap
    def step(key):
        state = state_at(0.7, -1.3)
        batch = gan.draw_batch(key, gan.Setup(GAME, method, hyperparams))
        (d, g), _ = gan.train_step(state, batch, gan.Setup(GAME, method, hyperparams))
        return g.params["theta"], d.params["psi"]

    def moments(theta, psi):
        return np.stack([theta, psi, theta**2, theta * psi, psi**2])

    samples = moments(*(np.asarray(after, float) for after in step(keys)))
    nodes, weights = normal_nodes(0.8)
    by_hand = ByHand(objective, update_order=update_order, lr=0.5).step(0.7, -1.3, [nodes])
    expected = moments(*np.broadcast_arrays(*by_hand)) @ weights
    errors = (samples.mean(axis=1) - expected) / samples.std(axis=1) * np.sqrt(len(keys))
    assert np.abs(errors).max() < 5


@pytest.mark.slow
def test_a_population_under_instance_noise_follows_the_expected_step_on_average():
    """At a learning rate so small that a step is nearly linear in where the population has spread.

    It has spread by 0.02 in the end, so that its mean step is the step of its mean but for about
    0.1 × 0.02² of it, which 500 steps of 0.004 make a tenth of a standard error.
    """
    hyperparams = gan.Hyperparams(0.004, 0.004, noise_std=0.5)
    population = gan.train_population(
        range(4096), gan.Setup(GAME, gan.Method("minimax", "simultaneous"), hyperparams), steps=500
    )
    by_hand = ByHand("minimax", lr=0.004)
    nodes, weights = normal_nodes(0.5, order=20)
    theta = psi = 1.0
    expected = []
    for _ in range(500):
        step = np.broadcast_arrays(*by_hand.step(theta, psi, [nodes]))
        theta, psi = np.stack(step) @ weights
        expected.append((theta, psi))

    def errors(samples, expected):
        """How many standard errors the mean of samples [seeds, ...] is off."""
        return (samples.mean(axis=0) - expected) / samples.std(axis=0) * np.sqrt(len(samples))

    output = np.asarray(population.history.output, float)
    assert np.abs(errors(output, expected[9::10])).max() < 5
    ends = np.stack([population.columns["output_0"], population.columns["output_1"]], -1)
    assert np.abs(errors(ends.astype(float), expected[-1])).max() < 5
