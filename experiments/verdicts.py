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
AT_ONCE, IN_TURN = "simultaneous", "alternating"


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


def damped(a: float, h: float, weight: float = 1.0) -> float:
    """Both players are drawn to the equilibrium by λs²h = λa²/h a step, of themselves."""
    return np.hypot(1 - weight * a * a / h, a)


def of_penalty(a: float, h: float, weight: float) -> float:
    """The roots of μ² - (2 - hγ)μ + 1 - hγ + a²: D alone is drawn, by hγ a step."""
    return largest_root(1, -(2 - h * weight), 1 - h * weight + a * a)


def of_alternating_penalty(a: float, h: float, weight: float) -> float:
    """The roots of μ² - (2 - hγ - a²)μ + 1 - hγ."""
    return largest_root(1, -(2 - h * weight - a * a), 1 - h * weight)


def one(a: float, h: float) -> float:
    """A circle."""
    return 1.0


_ZHANG, _GIDEL = "Zhang and Yu 2019, theorem 3.{}", "Gidel et al. 2019"
_LOOKAHEAD, _R3GAN = "Chavdarova et al. 2021", "Huang et al. 2024"
_TTUR = "Heusel et al. 2017 need a stable game"
_AT_ONCE = "μ² - (1 + β + ia)μ + β"
_IN_TURN = "(μ - 1)²(μ - β)² + a²μ³"
_PAIRS = {"objective": "relativistic"}
_DIRAC = ("dirac",)

VERDICTS = (
    Verdict(
        *("descent", AT_ONCE, False, _ZHANG.format(1)),
        *("√(1 + a²)", lambda a, h: np.hypot(1, a)),
    ),
    Verdict("descent", IN_TURN, False, _ZHANG.format(1), "1", one),
    Verdict(
        *("extragradient", "extragradient", True, _ZHANG.format(2)),
        *("√(1 - a² + a⁴)", lambda a, h: np.sqrt(1 - a**2 + a**4)),
    ),
    Verdict(
        *("optimistic", AT_ONCE, True, f"{_ZHANG.format(3)}; Daskalakis et al. 2018"),
        *("√((1 + √(1 - 4a²))/2)", of_optimism, OPTIMISTIC),
    ),
    Verdict(
        *("optimistic", IN_TURN, True, _ZHANG.format(3), "root of μ(μ - 1)² + a²(2μ - 1)²"),
        *(lambda a, h: largest_root(1, 4 * a * a - 2, 1 - 4 * a * a, a * a), OPTIMISTIC),
    ),
    *(
        Verdict(
            *(f"momentum, β = {beta:+.1f}", order, order == IN_TURN and beta < 0),
            *(f"{_ZHANG.format(4)}; {_GIDEL}", formula, partial(radius, beta=beta), options),
        )
        for beta, options in ((-0.5, MINUS), (0.5, PLUS))
        for order, formula, radius in (
            (AT_ONCE, f"root of {_AT_ONCE}", of_momentum),
            (IN_TURN, f"root of {_IN_TURN}", of_alternating_momentum),
        )
    ),
    *(
        Verdict(
            *(f"lookahead, k = {k}, α = ½", AT_ONCE, converges, _LOOKAHEAD),
            *("|½ + ½(1 + ia)ᵏ|^(1/k)", partial(of_lookahead, period=k), {"sync_period": k}),
            games=games,
        )
        for k, converges, games in (
            (5, True, tuple(GAMES)),
            (2, False, tuple(GAMES)),  # |…|⁴ = 1 + a⁴/4: it takes an α below 2/(4 + a²)
            (63, False, ("bilinear",)),  # a whole turn, after which α is of no use
            (126, False, _DIRAC),
        )
    ),
    *(
        Verdict(
            *(f"{penalty}, λ = 1", AT_ONCE, True, paper, "√((1 - λa²/h)² + a²)", damped),
            *({"penalty": penalty}, {"penalty_weight": 1.0}),
        )
        for penalty, paper in (
            ("symplectic", "Balduzzi et al. 2018"),
            ("consensus", "Mescheder et al. 2017"),
        )
    ),
    *(
        Verdict(
            *(f"G's rate {ratio:g} times D's", order, False, _TTUR, formula),
            *(radius, {}, {}, ratio),
        )
        for ratio in (0.1, 10.0)
        for order, formula, radius in (
            (AT_ONCE, f"√(1 + {ratio:g}a²)", lambda a, h, ratio=ratio: np.hypot(1, ratio**0.5 * a)),
            (IN_TURN, "1", one),
        )
    ),
    Verdict(
        *("average of G, β = 0.99", IN_TURN, False, "Yazıcı et al. 2019", "1", one),
        *({}, {"average_decay": 0.99}),
    ),
    *(
        Verdict(
            *(f"relativistic{title}", order, converges, _R3GAN, formula, radius),
            *(_PAIRS | options, hyperparams),
            games=_DIRAC,
        )
        for title, converges, options, hyperparams, weight in (
            ("", False, {}, {}, 0.0),
            (" + r1, γ = 0.3", True, {"penalty": "r1"}, {"penalty_weight": 0.3}, 0.3),
            (" + r1_r2, γ = 0.3", True, {"penalty": "r1_r2"}, {"penalty_weight": 0.3}, 0.6),
        )
        for order, formula, radius in (
            (
                AT_ONCE,
                f"√(1 - {weight:g}h + a²)" if weight else "√(1 + a²)",
                partial(of_penalty, weight=weight),
            ),
            (
                IN_TURN,
                f"√(1 - {weight:g}h)" if weight else "1",
                partial(of_alternating_penalty, weight=weight),
            ),
        )
    ),
)
