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
    # Of the fake sample's logit minus the real one's; D's loss is the second alone.
    "relativistic": (
        np.zeros_like,
        sigmoid,
        variance,
        lambda u: -sigmoid(-u),
        variance,
    ),
}


def d_penalty(objective, penalty, theta, psi, target_norm):
    """By ψ: ½ψ² of either place, for D is linear; (|ψ| - t)²; ½(F'θ)² + ½(G'ψ)²; Aᵀv."""
    u = psi * theta
    _, f, ff, g, gg = (slope(u) for slope in SLOPES[objective])
    return {
        "none": 0 * u,
        "r1": psi,
        "r2": psi,
        "r1_r2": 2 * psi,
        "wgan_gp": 2 * (np.abs(psi) - target_norm) * np.sign(psi),
        "consensus": f * theta * ff * theta**2 + g * psi * (g + gg * u),
        "symplectic": -rotation(objective, u) * g * psi,
    }[penalty]


def g_penalty(objective, penalty, theta, psi):
    """By θ, of the last two of these alone: G descends no other."""
    u = psi * theta
    _, f, ff, g, gg = (slope(u) for slope in SLOPES[objective])
    return {
        "consensus": f * theta * (f + ff * u) + g * psi * gg * psi**2,
        "symplectic": rotation(objective, u) * f * theta,
    }.get(penalty, 0 * u)


def rotation(objective, u):
    """The corner of A = (J - Jᵀ)/2, where J is the Jacobian of (F'θ, G'ψ) by (ψ, θ)."""
    _, f, ff, g, gg = (slope(u) for slope in SLOPES[objective])
    return ((f + ff * u) - (g + gg * u)) / 2


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

    @property
    def bounds(self):
        return -self.clip, self.clip

    def d_gradient(self, theta, psi, real=0.0, noise=0.0, seen="both"):
        at_real, at_fake, *_ = SLOPES[self.objective]
        fake = theta + noise
        gradient = 0 * psi
        if self.objective == "relativistic":
            gradient = gradient + at_fake(psi * (fake - real)) * (fake - real)
        elif seen != "fake":
            gradient = gradient + at_real(psi * real) * real
        if seen != "real" and self.objective != "relativistic":
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
                psi = np.clip(psi, *self.bounds)
        return psi

    def g_step(self, theta, psi, samples):
        _, noise = samples[-1]
        return theta - self.lr * self.g_gradient(theta, psi, noise)

    def step(self, theta, psi, samples):
        """One step with a (real, noise) for each D step."""
        if self.update_order == "simultaneous":
            return self.g_step(theta, psi, samples), self.d_steps_by_hand(theta, psi, samples)
        if self.update_order == "extragradient":
            at_once = dataclasses.replace(self, update_order="simultaneous")
            ((real, noise),) = samples
            ahead = at_once.step(theta, psi, samples)
            psi = psi - self.lr * self.d_gradient(*ahead, real, noise)
            return theta - self.lr * self.g_gradient(*ahead, noise), np.clip(psi, *self.bounds)
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


RATES_OF_1 = gan.Hyperparams(1.0, 1.0)
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
    "extragradient": {"update_order": "extragradient"},
}
USUAL = ("simultaneous", "alternating", "G first")
ALL_SMOOTH = (*USUAL, "extragradient")
# Objective, penalty, learning rate, hyperparameters, update orders.
TRAJECTORIES = {
    "minimax": ("minimax", "none", 0.1, {}, ALL_SMOOTH),
    "nonsaturating": ("nonsaturating", "none", 0.2, {}, ALL_SMOOTH),
    "bilinear": ("wasserstein", "none", 0.1, {}, ALL_SMOOTH),
    "relativistic": ("relativistic", "none", 0.2, {}, ALL_SMOOTH),
    "R3GAN": ("relativistic", "r1_r2", 0.2, {"penalty_weight": 0.3}, ALL_SMOOTH),
    "clipping": ("wasserstein", "none", 0.1, {"clip": 0.3}, ORDERS),
    "wgan_gp": ("wasserstein", "wgan_gp", 0.1, {"penalty_weight": 0.5, "target_norm": 0.3}, USUAL),
    "noise": (
        *("minimax", "none", 0.1, {"noise_std": 0.5}),
        ("simultaneous", "G, then D five times", "reference", "extragradient"),
    ),
    "r1 on minimax": ("minimax", "r1", 0.1, {"penalty_weight": 0.3}, USUAL[:2]),
    "r1": ("nonsaturating", "r1", 0.2, {"penalty_weight": 0.3}, (*USUAL, "reference")),
    "r2": ("nonsaturating", "r2", 0.2, {"penalty_weight": 0.3}, ("reference",)),
    "consensus": ("minimax", "consensus", 0.2, {"penalty_weight": 0.5}, ALL_SMOOTH),
    "symplectic": ("minimax", "symplectic", 0.2, {"penalty_weight": 0.5}, ALL_SMOOTH),
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


def optimistic(gradient, before):
    """Daskalakis et al., *Training GANs with Optimism* (ICLR 2018): 2g - g of the last step."""
    return (gradient if before is None else 2 * gradient - before), gradient


def momentum(gradient, before, beta=-0.5):
    """Polyak's heavy ball: the velocity is the gradient and β times the last velocity."""
    velocity = gradient if before is None else gradient + beta * before
    return velocity, velocity


OPTIMIZERS = {
    "optimistic": (optax.optimistic_gradient_descent, optimistic),
    "momentum": (functools.partial(optax.sgd, momentum=-0.5), momentum),
}


@pytest.mark.parametrize("update_order", ["simultaneous", "alternating"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_500_steps_of_an_optimizer_are_those_of_its_formula(x64, name, update_order):
    optimizer, move = OPTIMIZERS[name]
    method = gan.Method("minimax", update_order, optimizer=optimizer)
    setup = gan.Setup(GAME, method, gan.Hyperparams(0.1, 0.1))
    _, history = gan.train(jax.random.key(0), setup, steps=500, record_every=1)

    by_hand, expected = ByHand("minimax"), []
    theta = psi = np.float64(1.0)
    d_kept = g_kept = None  # before a first step
    for _ in range(500):
        d_move, d_kept = move(by_hand.d_gradient(theta, psi), d_kept)
        after = psi - 0.1 * d_move
        through = psi if update_order == "simultaneous" else after
        g_move, g_kept = move(by_hand.g_gradient(theta, through), g_kept)
        theta, psi = theta - 0.1 * g_move, after
        expected.append((theta, psi))
    np.testing.assert_allclose(history.output, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("step_size", [None, 0.2])
@pytest.mark.parametrize("update_order", ["simultaneous", "alternating", "extragradient"])
def test_500_steps_of_lookahead_are_those_of_its_formula(x64, update_order, step_size):
    """Every seven steps: slow + α(fast - slow), which 500 steps do not end with."""
    method = gan.Method("minimax", update_order, sync_period=7)
    hyperparams = gan.Hyperparams(0.1, 0.1, slow_step_size=step_size)
    setup = gan.Setup(GAME, method, hyperparams)
    _, history = gan.train(jax.random.key(0), setup, steps=500, record_every=1)

    by_hand, expected = ByHand("minimax", update_order=update_order, lr=0.1), []
    slow = point = np.ones(2)
    for step in range(1, 501):
        point = np.array(by_hand.step(*point, [(0.0, 0.0)]))
        if step % 7 == 0:
            slow = point = slow + (step_size or 0.5) * (point - slow)
        expected.append(point)
    np.testing.assert_allclose(history.output, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("sync_period", [None, 3])
def test_an_average_of_g_follows_its_weights_and_is_what_counts(x64, sync_period):
    method = gan.Method("minimax", "alternating", sync_period=sync_period)
    plain = gan.Setup(GAME, method, gan.Hyperparams(0.1, 0.1))
    averaged = gan.Setup(GAME, method, gan.Hyperparams(0.1, 0.1, average_decay=0.9))
    run = functools.partial(gan.train, jax.random.key(0), steps=500, record_every=1)
    (state, history), (expected_state, expected) = run(averaged), run(plain)
    average, averages = 1.0, []
    for theta in expected.output[:, 0]:
        average = 0.9 * average + 0.1 * float(theta)
        averages.append(average)
    np.testing.assert_allclose(history.output[:, 0], averages, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(history.output[:, 1], expected.output[:, 1])
    assert state.generator.params == expected_state.generator.params
    np.testing.assert_allclose(gan.generate(state, averaged), [average], rtol=0, atol=1e-9)


def test_the_cycle_of_an_average_is_smaller_by_its_formula(x64):
    """(1 - β)/|1 - β exp(-iω)| of an alternating step's turn, cos ω = 1 - h²/2."""
    method, decay = gan.Method("wasserstein", "alternating"), 0.95
    rates = {"d_lr": 0.1, "g_lr": 0.1}
    run = functools.partial(gan.train, jax.random.key(0), steps=6000, record_every=1)
    game = gan.bilinear_game((1.0, 1.0))
    _, plain = run(gan.Setup(game, method, gan.Hyperparams(**rates)))
    _, averaged = run(gan.Setup(game, method, gan.Hyperparams(**rates, average_decay=decay)))
    turn = np.exp(1j * np.arccos(1 - 0.1**2 / 2))

    def wave(history):
        """The amplitude of θ = Re(c turn^t), from two steps in a row."""
        (first, second) = np.asarray(history.output[-2:, 0])
        return np.hypot(first, (second - turn.real * first) / turn.imag)

    expected = (1 - decay) / abs(1 - decay / turn)
    np.testing.assert_allclose(wave(averaged) / wave(plain), expected, rtol=1e-9)
    assert expected < 0.5


@pytest.mark.parametrize(("penalty", "total"), [("r1", 0.3), ("r2", 0.3), ("r1_r2", 0.6)])
def test_the_eigenvalues_of_r3gan_are_those_with_the_square(x64, penalty, total):
    """-γ/2 ± √(γ²/4 - f'(0)²) with f'(0) = ½: Huang et al. 2024, equation 12, as derived again.

    As printed it has no square at f'(0). The paper's γ is `total`: a linear D has one gradient
    everywhere, so that r1 and r2 together count twice.
    """
    method = gan.Method("relativistic", "alternating", penalty)
    setup = gan.Setup(gan.dirac_game((0.0, 0.0)), method, gan.Hyperparams(penalty_weight=0.3))
    jacobian = gan.field_jacobian(gan.init(jax.random.key(0), setup), setup)
    found = np.sort_complex(np.linalg.eigvals(jacobian))
    root, printed = (np.sqrt(complex(total**2 / 4 - slope)) for slope in (0.25, 0.5))
    np.testing.assert_allclose(found, [-total / 2 - root, -total / 2 + root], rtol=1e-9)
    assert abs(root - printed) > 0.1 and (found.real < 0).all()


def test_the_bilinear_game_is_theta_psi(x64):
    """V = θψ by its definition: D descends it, by ψ, and G ascends it, by θ."""
    setup = gan.Setup(
        gan.bilinear_game((0.6, 0.7)),
        gan.Method("wasserstein", "simultaneous"),
        gan.Hyperparams(1.0, 1.0),
    )
    by_theta, by_psi, _ = gradients(POINTS, setup)
    np.testing.assert_allclose([-by_theta, by_psi], POINTS.T[::-1], rtol=0, atol=1e-9)
    assert gan.bilinear_game().name == "bilinear" != gan.dirac_game().name


def test_500_steps_of_the_bilinear_game_are_a_spiral_that_grows_by_a_root(x64):
    """From (0.6, 0.7) at the rate 0.1, each step multiplies the radius by √1.01."""
    setup = gan.Setup(
        gan.bilinear_game((0.6, 0.7)),
        gan.Method("wasserstein", "simultaneous"),
        gan.Hyperparams(0.1, 0.1),
    )
    _, history = gan.train(jax.random.key(0), setup, steps=499, record_every=1)
    radius = np.hypot(*np.asarray(history.output).T)
    expected = np.hypot(0.6, 0.7) * np.sqrt(1.01) ** np.arange(1, 500)
    np.testing.assert_allclose(radius, expected, rtol=1e-12)
    assert np.hypot(0.6, 0.7) == pytest.approx(0.922, abs=5e-4)
    assert radius[-1] == pytest.approx(11.038, abs=5e-4)


def test_consensus_is_the_derivative_of_its_term_and_not_of_half_its_second_part(x64):
    """Against the Dirac-GAN lab of GAN_stability, `notebooks/diracgan/gans.py`, GAN_Consensus.

    It has ½ψ(ψ² + θ²)f'f'' in G's gradient of ½(ψ² + θ²)f'², and ½θ(ψ² + θ²)f'f'' in D's, where
    the derivatives have no ½. There f(t) = -log(1 + exp(-t)), and its ψ is -ψ here.
    """
    setup = gan.Setup(GAME, gan.Method("minimax", "simultaneous", "consensus"), RATES_OF_1)
    plain = gan.Setup(GAME, gan.Method("minimax", "simultaneous"), RATES_OF_1)
    theta, psi = points = POINTS[np.abs(POINTS).max(axis=1) < 2].T
    found = np.subtract(gradients(points.T, setup)[:2], gradients(points.T, plain)[:2])

    def term(theta, psi):
        return (psi**2 + theta**2) * sigmoid(psi * theta) ** 2 / 2

    eps = 1e-5
    by_theta = (term(theta + eps, psi) - term(theta - eps, psi)) / (2 * eps)
    by_psi = (term(theta, psi + eps) - term(theta, psi - eps)) / (2 * eps)
    np.testing.assert_allclose(found, [by_theta, by_psi], rtol=0, atol=1e-9)

    u = -psi * theta  # theirs
    first, second = sigmoid(-u), -variance(u)
    for part, is_derivative in ((1.0, True), (0.5, False)):
        rest = part * (psi**2 + theta**2) * first * second
        formula = [theta * first**2 - psi * rest, psi * first**2 - theta * rest]
        assert np.allclose(found, formula, rtol=0, atol=1e-9) == is_derivative


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
