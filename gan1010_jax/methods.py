"""How a game is trained: the objective, the schedule, the penalty, the optimisers, the numbers."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import chex
import jax
import numpy as np
import optax
from jax.nn import relu, sigmoid, softplus

from gan1010_jax.errors import InvalidArgument

Loss = Callable[[jax.Array], jax.Array]
# Maps a learning rate to a transformation, as `optax.sgd` and `optax.adam` do.
Optimizer = Callable[[Any], optax.GradientTransformation]


@dataclass(frozen=True)
class Objective:
    """What each player minimises, as functions of D's logit (a scalar to a scalar).

    Attributes:
      name: what `Method(objective=)` calls it.
      d_real: D's loss on a real sample.
      d_fake: D's loss on a fake sample.
      g: G's loss on a fake sample.
    """

    name: str
    d_real: Loss = field(repr=False)
    d_fake: Loss = field(repr=False)
    g: Loss = field(repr=False)


@dataclass(frozen=True)
class SquaredError:
    """(σ(logit) - target)²: the squared error of the probability that D gives."""

    target: float

    def __call__(self, logit: jax.Array) -> jax.Array:
        """The loss, a scalar."""
        return (sigmoid(logit) - self.target) ** 2


@dataclass(frozen=True)
class LeastSquares:
    """½(logit - target)²."""

    target: float

    def __call__(self, logit: jax.Array) -> jax.Array:
        """The loss, a scalar."""
        return (logit - self.target) ** 2 / 2


def log_probability_fake(logit: jax.Array) -> jax.Array:
    """Log(1 - σ(logit)), also where σ rounds to 1."""
    return -softplus(logit)


def log_loss_real(logit: jax.Array) -> jax.Array:
    """-log σ(logit), also where σ rounds to 0."""
    return softplus(-logit)


def negative(logit: jax.Array) -> jax.Array:
    """-logit."""
    return -logit


def identity(logit: jax.Array) -> jax.Array:
    """The logit itself."""
    return logit


def hinge_real(logit: jax.Array) -> jax.Array:
    """max(0, 1 - logit)."""
    return relu(1 - logit)


def hinge_fake(logit: jax.Array) -> jax.Array:
    """max(0, 1 + logit)."""
    return relu(1 + logit)


OBJECTIVES = {
    objective.name: objective
    for objective in [
        # The reference: D's output is a probability, and 0.5 for every sample costs every player
        # 0.25.
        Objective("mse", SquaredError(1.0), SquaredError(0.0), g=SquaredError(1.0)),
        # The same on the logit: Mao et al., *Least Squares Generative Adversarial Networks*
        # (ICCV 2017), with a = 0 and b = c = 1.
        Objective("lsgan", LeastSquares(1.0), LeastSquares(0.0), g=LeastSquares(1.0)),
        # D minimises -log σ(real) - log(1 - σ(fake)), and G maximises the same: Goodfellow et al.,
        # *Generative Adversarial Nets* (NeurIPS 2014), equation 1.
        Objective("minimax", log_loss_real, softplus, g=log_probability_fake),
        # The same D, and G minimises -log σ(fake): *Generative Adversarial Nets*, section 3.
        Objective("nonsaturating", log_loss_real, softplus, g=log_loss_real),
        # D's logit is a critic's score: Arjovsky et al., *Wasserstein GAN* (ICML 2017). It needs
        # weight clipping, `Hyperparams(clip=)`, or the penalty wgan_gp.
        Objective("wasserstein", negative, identity, g=negative),
        # Lim and Ye, *Geometric GAN* (arXiv 1705.02894).
        Objective("hinge", hinge_real, hinge_fake, g=negative),
    ]
}


class Round(NamedTuple):
    """What a penalty may look at, in an update of either player.

    Attributes:
      logit: D, from a sample [units] to its logit, a scalar.
      real: the real sample with its instance noise, [units].
      fake: the fake sample, likewise.
      mix: where to look between the two, a scalar from 0 (fake) to 1 (real), if the penalty asks.
      target_norm: the hyperparameter of that name, a scalar.
      gradients: gives the gradient of each player's loss, without penalty, by its own parameters.
    """

    logit: Callable[[jax.Array], jax.Array]
    real: jax.Array
    fake: jax.Array
    mix: jax.Array | None
    target_norm: chex.Numeric
    gradients: Callable[[], chex.ArrayTree]


SAMPLES = ("real", "fake", "both")
# The hyperparameters that are a penalty's alone.
PENALTY_NUMBERS = ("penalty_weight", "target_norm")


@dataclass(frozen=True)
class Penalty:
    """What is added to a player's loss, times `Hyperparams.penalty_weight`.

    Attributes:
      name: what `Method(penalty=)` calls it.
      d: what is added to D's loss, a function of a `Round`, or None.
      g: what is added to G's.
      on: which sample D's part needs, "real", "fake" or "both": in the reference schedule, D's
        update on that sample has it. One that needs both needs another schedule.
      mixes: whether it asks for `Round.mix`.
      numbers: which hyperparameters it uses, of `PENALTY_NUMBERS`.
      objectives: the only named objectives that it goes with, or None for any.

    Raises:
      InvalidArgument: (a `ValueError`) for another `on`, for other `numbers`, or for a name that is
        not a string.
    """

    name: str
    d: Callable[[Round], jax.Array] | None = field(default=None, repr=False)
    g: Callable[[Round], jax.Array] | None = field(default=None, repr=False)
    on: str = field(default="both", repr=False)
    mixes: bool = field(default=False, repr=False)
    numbers: tuple[str, ...] = field(default=PENALTY_NUMBERS, repr=False)
    objectives: tuple[str, ...] | None = field(default=None, repr=False)

    def __post_init__(self):
        """Refuse a function in the place of the name, another sample, and other numbers."""
        if not isinstance(self.name, str):
            raise InvalidArgument("name", self.name, "a string, and come before the functions")
        check_on(self.on)
        if not isinstance(self.numbers, tuple) or not set(self.numbers) <= set(PENALTY_NUMBERS):
            allowed = f"a tuple of some of {', '.join(PENALTY_NUMBERS)}"
            raise InvalidArgument("numbers", self.numbers, allowed)

    def of(self, player: str, on: str) -> Callable[[Round], jax.Array] | None:
        """What is added to the loss of an update of a player on a sample, if anything is."""
        if player == "generator":
            return self.g
        return self.d if on in (self.on, "both") else None


def check_on(on: str) -> None:
    """Refuse what is none of the samples that D may see."""
    if on not in SAMPLES:
        raise InvalidArgument("on", on, f"one of {', '.join(SAMPLES)}")


def r1(round: Round) -> jax.Array:
    """½‖∇D(x)‖² at the real sample.

    Mescheder et al., *Which Training Methods for GANs do actually Converge?* (ICML 2018),
    equation 9; the weight is their γ.
    """
    return optax.tree.norm(jax.grad(round.logit)(round.real), squared=True) / 2


def r2(round: Round) -> jax.Array:
    """½‖∇D(x)‖² at the fake sample: equation 10 of the same paper."""
    return optax.tree.norm(jax.grad(round.logit)(round.fake), squared=True) / 2


def wgan_gp(round: Round) -> jax.Array:
    """(‖∇D(x)‖ - target)² at a random place x between the real and the fake sample.

    Gulrajani et al., *Improved Training of Wasserstein GANs* (NeurIPS 2017), equation 3; the weight
    is their λ, half the γ of Mescheder et al., and their target 1. Where ∇D vanishes, its norm has
    no derivative, and 0 is taken.
    """
    between = round.mix * round.real + (1 - round.mix) * round.fake
    norm = optax.safe_norm(jax.grad(round.logit)(between), 0.0)
    return (norm - round.target_norm) ** 2


def consensus(round: Round) -> jax.Array:
    """½‖v‖², v being the gradient of each player's loss by its own parameters.

    Mescheder et al., *The Numerics of GANs* (NeurIPS 2017); the weight is their γ. Theirs is of
    the expected gradient, and this of the gradient on a batch, whose variance it lowers as well.
    """
    return optax.tree.norm(round.gradients(), squared=True) / 2


PENALTIES = {
    penalty.name: penalty
    for penalty in [
        Penalty("none", numbers=()),
        Penalty("r1", r1, on="real", numbers=("penalty_weight",)),
        Penalty("r2", r2, on="fake", numbers=("penalty_weight",)),
        Penalty(
            "wgan_gp",
            wgan_gp,
            mixes=True,
            # Where D's output is a score. Beyond Wasserstein's: Fedus et al., *Many Paths to
            # Equilibrium* (ICLR 2018). Regression to a target is at odds with a slope of 1.
            objectives=("wasserstein", "minimax", "nonsaturating", "hinge"),
        ),
        Penalty("consensus", consensus, consensus, numbers=("penalty_weight",)),
    ]
}

# What command lines call them; a `Method` takes these functions and any other.
OPTIMIZERS = {"sgd": optax.sgd, "adam": optax.adam, "rmsprop": optax.rmsprop}

SCHEDULES = ("reference", "alternating", "simultaneous")
PLAYERS = ("discriminator", "generator")
MAX_D_STEPS = 100  # each is compiled


class Move(NamedTuple):
    """An update of a step.

    Attributes:
      player: who moves, of `PLAYERS`.
      on: which sample it moves on, of `SAMPLES`.
      turn: which of the step's samples these are, from 0, if D has several turns.
    """

    player: str
    on: str
    turn: int


@dataclass(frozen=True)
class Method:
    """A training method. Hashable and static under `jit`; the default is the reference.

    Attributes:
      objective: the name of one of `OBJECTIVES`, or an `Objective` of your own.
      schedule: the updates of a step. `"reference"`: D on a real sample, D on a fake sample, then
        G through the new D. `"alternating"`: D on both samples at once, then G through the new D.
        `"simultaneous"`: both players, each against the other as it was.
      penalty: the name of one of `PENALTIES`, or a `Penalty` of your own.
      d_steps: how often D has its turn in a step, each time with samples of its own; G has the
        last of them.
      first: which player moves first in a step, `"discriminator"`, as above, or `"generator"`.
      optimizer: maps a learning rate to an `optax.GradientTransformation`, as `optax.sgd` does; or
        a pair of those, D's and G's.

    Raises:
      InvalidArgument: (a `ValueError`) for a value that it does not know, and for values that do
        not go together.
    """

    objective: str | Objective = "mse"
    schedule: str = "reference"
    penalty: str | Penalty = "none"
    d_steps: int = 1
    first: str = "discriminator"
    optimizer: Optimizer | tuple[Optimizer, Optimizer] = optax.sgd

    def __post_init__(self):
        """Look names up, and refuse what is not known or does not go together."""
        look_up(self, "objective", OBJECTIVES, Objective, "an Objective")
        look_up(self, "penalty", PENALTIES, Penalty, "a Penalty")
        for name, choices in (("schedule", SCHEDULES), ("first", PLAYERS)):
            if getattr(self, name) not in choices:
                raise InvalidArgument(name, getattr(self, name), f"one of {', '.join(choices)}")
        if type(self.d_steps) is not int or not 1 <= self.d_steps <= MAX_D_STEPS:
            allowed = f"a whole number from 1 to {MAX_D_STEPS}"
            raise InvalidArgument("d_steps", self.d_steps, allowed)
        is_complete = isinstance(self.optimizer, optax.GradientTransformation)
        if is_complete or len(self.optimizers) != 2 or not all(map(callable, self.optimizers)):
            allowed = "a function from a learning rate to an optax.GradientTransformation, or two"
            raise InvalidArgument("optimizer", self.optimizer, allowed)
        self.check_together()

    def check_together(self) -> None:
        """Refuse what does not go together."""
        if self.schedule == "simultaneous":
            for name, only in (("d_steps", 1), ("first", "discriminator")):
                if getattr(self, name) != only:
                    allowed = f"{only}, since both players move at once in a simultaneous step"
                    raise InvalidArgument(name, getattr(self, name), allowed)
        penalty, objective = self.penalty, self.objective
        if penalty.d is not None and penalty.on == "both" and self.schedule == "reference":
            allowed = f"alternating or simultaneous with the penalty {penalty.name}"
            raise InvalidArgument("schedule", self.schedule, f"{allowed}, which takes both samples")
        is_named = OBJECTIVES.get(objective.name) == objective
        if penalty.objectives is not None and is_named:
            if objective.name not in penalty.objectives:
                allowed = f"one of {', '.join(penalty.objectives)} with the penalty {penalty.name}"
                raise InvalidArgument("objective", objective.name, allowed)

    @property
    def optimizers(self) -> tuple[Optimizer, Optimizer]:
        """D's and G's."""
        pair = isinstance(self.optimizer, tuple)
        return self.optimizer if pair else (self.optimizer, self.optimizer)

    @property
    def moves(self) -> list[Move]:
        """The updates of a step, in order. In a simultaneous one, none sees what another did."""
        samples = ("real", "fake") if self.schedule == "reference" else ("both",)
        d = [Move("discriminator", on, turn) for turn in range(self.d_steps) for on in samples]
        g = [Move("generator", "fake", turn=self.d_steps - 1)]
        return d + g if self.first == "discriminator" else g + d


def look_up(
    method: Method, name: str, choices: dict[str, Any], kind: type, else_allowed: str
) -> None:
    """Replace a name, the value of an attribute, by what is called so; refuse other values."""
    value = getattr(method, name)
    if isinstance(value, str) and value in choices:
        object.__setattr__(method, name, choices[value])
    elif not isinstance(value, kind):
        raise InvalidArgument(name, value, f"{else_allowed} or one of {', '.join(choices)}")


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True)
class Hyperparams:
    """The numbers of a method: a pytree of scalars, traced, so that a grid of them is a `vmap`.

    What is None is not there: it is no leaf, and nothing is computed for it.

    Attributes:
      d_lr: D's learning rate, zero or more.
      g_lr: G's learning rate, zero or more.
      penalty_weight: what the method's penalty is multiplied by, zero or more, or None for 1.
      target_norm: what the penalty wgan_gp wants ‖∇D‖ to be, zero or more, or None for 1.
      noise_std: the standard deviation of instance noise, zero or more, or None: Gaussian noise
        that is added to every sample, real or fake, that D sees. Sønderby et al., *Amortised MAP
        Inference for Image Super-resolution* (ICLR 2017).
      clip: the bound that D's parameters are clipped to after each of its updates, above zero, or
        None. Arjovsky et al., *Wasserstein GAN* (ICML 2017), algorithm 1.

    Raises:
      InvalidArgument: (a `ValueError`) for a number outside these limits. An array's are checked
        where it is used, and a tracer's cannot be.
    """

    d_lr: float | jax.Array = 0.01
    g_lr: float | jax.Array = 0.01
    penalty_weight: float | jax.Array | None = None
    target_norm: float | jax.Array | None = None
    noise_std: float | jax.Array | None = None
    clip: float | jax.Array | None = None

    def __post_init__(self):
        """Refuse numbers outside their limits."""
        for name, value in vars(self).items():
            if isinstance(value, str | bool) or (
                isinstance(value, int | float | np.number) and not is_allowed(name, value)
            ):
                raise InvalidArgument(name, value, allowed_values(name))

    def tree_flatten_with_keys(self) -> tuple[list, None]:
        """The numbers, by name."""
        return [(jax.tree_util.GetAttrKey(name), value) for name, value in vars(self).items()], None

    @classmethod
    def tree_unflatten(cls, _: None, values: Any) -> "Hyperparams":
        """The inverse, of values that need not be numbers, which are not looked at."""
        hyperparams = object.__new__(cls)
        hyperparams.__dict__.update(zip(HYPERPARAMS, values))
        return hyperparams


HYPERPARAMS = tuple(field.name for field in fields(Hyperparams))
OPTIONAL = tuple(field.name for field in fields(Hyperparams) if field.default is None)


def is_allowed(name: str, value: np.typing.ArrayLike) -> np.ndarray:
    """Whether numbers may be the hyperparameter of a name: bool, of their shape."""
    compare = np.greater if name == "clip" else np.greater_equal
    return np.isfinite(value) & compare(value, 0)


def allowed_values(name: str) -> str:
    """What the hyperparameter of a name may be, in words."""
    least = "above zero" if name == "clip" else "zero or more"
    return f"a finite number, {least}{', or None' if name in OPTIONAL else ''}"
