"""What was published of training methods on the Dirac-GAN and the bilinear game, with formulas.

Near its equilibrium the Dirac-GAN is the bilinear game at a lower rate. With the learning rate h of
both players and the slope s of their losses, 1 of Wasserstein's and f'(0) = ½ of the logistic ones,
both are (θ, ψ) ← (θ + aψ, ψ - aθ) to first order, with a = hs. A formula gives the spectral radius
of a step: the largest modulus of its eigenvalues, in a, and in h where that is not enough.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import optax

import gan1010_jax as gan

# Each game with the slope of its losses, and the objective that it is played with.
GAMES = {"bilinear": (1.0, "wasserstein"), "dirac": (0.5, "minimax")}

OPTIMISTIC = {"optimizer": optax.optimistic_gradient_descent}
MINUS, PLUS = ({"optimizer": partial(optax.sgd, momentum=beta)} for beta in (-0.5, 0.5))
ORDERS = AT_ONCE, IN_TURN = "simultaneous", "alternating"


class Verdict(NamedTuple):
    """Whether a method converges, by a paper.

    Attributes:
      title: the method.
      update_order: that of its `gan.Method`.
      converges: the paper's verdict.
      paper: the paper.
      formula: the spectral radius of a step, of lookahead to the power of its period.
      radius: that as a function of a and h.
      options: the method's others.
      hyperparams: its hyperparameters but for the rates.
      ratio: G's rate, of D's, which is h.
      games: those of `GAMES` that it is about.
    """

    title: str
    update_order: str
    converges: bool
    paper: str
    formula: str
    radius: Callable[[float, float], float]
    options: dict[str, Any] = {}  # noqa: RUF012, not written to
    hyperparams: dict[str, float] = {}  # noqa: RUF012, not written to
    ratio: float = 1.0
    games: tuple[str, ...] = tuple(GAMES)

    def setup(self, game: str, lr: float) -> gan.Setup:
        """The setup, at a learning rate of D."""
        _, objective = GAMES[game]
        method = gan.Method(
            **{"objective": objective, "update_order": self.update_order} | self.options
        )
        hyperparams = gan.Hyperparams(lr, self.ratio * lr, **self.hyperparams)
        return gan.Setup(getattr(gan, f"{game}_game")(), method, hyperparams)

    def predict(self, game: str, lr: float) -> float:
        """The spectral radius of a step by the formula, at a learning rate of D."""
        slope, _ = GAMES[game]
        return float(self.radius(lr * slope, lr))


def largest_root(*coefficients: float) -> float:
    """The largest modulus of a polynomial's roots; its coefficients from the highest power on."""
    return np.abs(np.roots(coefficients)).max()


def of_optimism(a: float, h: float) -> float:
    """The roots of μ² - (1 + 2ia)μ + ia, of which √((1 + √(1 - 4a²))/2) is the larger to a = ½."""
    return largest_root(1, -(1 + 2j * a), 1j * a)


def of_momentum(a: float, h: float, beta: float) -> float:
    """The roots of μ² - (1 + β + ia)μ + β."""
    return largest_root(1, -(1 + beta + 1j * a), beta)


def of_alternating_momentum(a: float, h: float, beta: float) -> float:
    """The roots of (μ - 1)²(μ - β)² + a²μ³: Gidel et al. 2019."""
    one, other = np.poly([1, 1, beta, beta]), np.array([a * a, 0, 0, 0])
    return largest_root(*np.polyadd(one, other))


def of_lookahead(a: float, h: float, period: int) -> float:
    """The k-th root of |1 - α + α(1 + ia)^k|, with α = ½."""
    return abs(0.5 + 0.5 * (1 + 1j * a) ** period) ** (1 / period)


def of_adjustment(a: float, h: float) -> float:
    """The modulus of 1 - λhs² + ia, with λ = 1 and hs² = a²/h: both players are drawn inwards."""
    return np.hypot(1 - a * a / h, a)


def of_penalty(a: float, h: float, weight: float) -> float:
    """The roots of μ² - (2 - hγ)μ + 1 - hγ + a²: D alone is drawn, by hγ a step."""
    return largest_root(1, -(2 - h * weight), 1 - h * weight + a * a)


def of_alternating_penalty(a: float, h: float, weight: float) -> float:
    """The roots of μ² - (2 - hγ - a²)μ + 1 - hγ."""
    return largest_root(1, -(2 - h * weight - a * a), 1 - h * weight)


def one(a: float, h: float) -> float:
    """A circle."""
    return 1.0


_TTUR = "Heusel et al. 2017 assume a stable equilibrium"
_ZHANG = "Zhang and Yu 2019, theorem 3.{}"
_ROOTS = {
    AT_ONCE: ("root of μ² - (1 + β + ia)μ + β", of_momentum),
    IN_TURN: ("root of (μ - 1)²(μ - β)² + a²μ³", of_alternating_momentum),
}


def _momentum(beta: float, options: dict[str, Any], update_order: str) -> Verdict:
    formula, radius = _ROOTS[update_order]
    return Verdict(
        f"momentum, β = {beta:+g}",
        update_order,
        converges=update_order == IN_TURN and beta < 0,
        paper=f"{_ZHANG.format(4)}; Gidel et al. 2019",
        formula=formula,
        radius=partial(radius, beta=beta),
        options=options,
    )


def _lookahead(period: int, converges: bool, games: tuple[str, ...] = tuple(GAMES)) -> Verdict:
    return Verdict(
        f"lookahead, k = {period}, α = ½",
        AT_ONCE,
        converges,
        "Chavdarova et al. 2021",
        "modulus of ½ + ½(1 + ia)ᵏ, to the power 1/k",
        partial(of_lookahead, period=period),
        {"sync_period": period},
        games=games,
    )


def _adjustment(penalty: str, paper: str) -> Verdict:
    return Verdict(
        f"{penalty}, λ = 1",
        AT_ONCE,
        True,
        paper,
        "√((1 - λa²/h)² + a²)",
        of_adjustment,
        {"penalty": penalty},
        {"penalty_weight": 1.0},
    )


def _two_time_scales(ratio: float, update_order: str) -> Verdict:
    is_circle = update_order == IN_TURN
    return Verdict(
        f"G's rate {ratio:g} times D's",
        update_order,
        False,
        _TTUR,
        "1" if is_circle else f"√(1 + {ratio:g}a²)",
        one if is_circle else lambda a, h: np.hypot(1, ratio**0.5 * a),
        ratio=ratio,
    )


def _relativistic(penalty: str, penalties: int, update_order: str) -> Verdict:
    weight = 0.3 * penalties  # a linear D has the same gradient at the real and the fake sample
    at_once = update_order == AT_ONCE
    by_hand = f"1 - {weight:g}h" if penalties else "1"
    return Verdict(
        f"relativistic, {penalty}, γ = 0.3" if penalties else "relativistic",
        update_order,
        penalties > 0,
        "Huang et al. 2024",
        f"√({by_hand}{' + a²' if at_once else ''})" if penalties or at_once else "1",
        partial(of_penalty if at_once else of_alternating_penalty, weight=weight),
        {"objective": "relativistic", "penalty": penalty},
        {"penalty_weight": 0.3} if penalties else {},
        games=("dirac",),
    )


VERDICTS = (
    Verdict(
        *("descent", AT_ONCE, False, _ZHANG.format(1)), "√(1 + a²)", lambda a, h: np.hypot(1, a)
    ),
    Verdict("descent", IN_TURN, False, _ZHANG.format(1), "1", one),
    Verdict(
        *("extragradient", "extragradient", True, _ZHANG.format(2)),
        "√(1 - a² + a⁴)",
        lambda a, h: np.sqrt(1 - a**2 + a**4),
    ),
    Verdict(
        *("optimistic", AT_ONCE, True, f"{_ZHANG.format(3)}; Daskalakis et al. 2018"),
        "√((1 + √(1 - 4a²))/2)",
        of_optimism,
        OPTIMISTIC,
    ),
    Verdict(
        *("optimistic", IN_TURN, True, _ZHANG.format(3)),
        "root of μ(μ - 1)² + a²(2μ - 1)²",
        lambda a, h: largest_root(1, 4 * a * a - 2, 1 - 4 * a * a, a * a),
        OPTIMISTIC,
    ),
    *(_momentum(-0.5, MINUS, order) for order in ORDERS),
    *(_momentum(0.5, PLUS, order) for order in ORDERS),
    _lookahead(5, True),
    _lookahead(2, False),  # its modulus to the fourth is 1 + a⁴/4; any α below 2/(4 + a²) converges
    # About a whole turn, after which the slow weights and the fast ones lie in one direction.
    _lookahead(63, False, ("bilinear",)),
    _lookahead(126, False, ("dirac",)),
    _adjustment("symplectic", "Balduzzi et al. 2018"),
    _adjustment("consensus", "Mescheder et al. 2017"),
    *(_two_time_scales(ratio, order) for ratio in (0.1, 10.0) for order in ORDERS),
    # The weights circle as without it, and their average does on a smaller circle.
    Verdict(
        *("average of G, β = 0.99", IN_TURN, False, "Yazıcı et al. 2019", "1", one),
        hyperparams={"average_decay": 0.99},
    ),
    *(
        _relativistic(penalty, penalties, order)
        for penalty, penalties in (("none", 0), ("r1", 1), ("r1_r2", 2))
        for order in ORDERS
    ),
)
