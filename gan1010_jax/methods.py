"""How a game is trained: objectives, penalties, the update order, optimisers, hyperparameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache, partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.nn import relu, sigmoid, softplus

from gan1010_jax.errors import InvalidArgument, check_choice
from gan1010_jax.names import (
    HYPERPARAMS,
    OBJECTIVE_NAMES,
    OPTIMIZER_NAMES,
    PENALTY_HYPERPARAMS,
    PENALTY_NAMES,
    PLAYERS,
    SAMPLES,
    UPDATE_ORDERS,
    by_name,
)

_Loss = Callable[[jax.Array], jax.Array]
# Maps a learning rate to a transformation, as `optax.sgd` and `optax.adam` do.
_Optimizer = Callable[[Any], optax.GradientTransformation]

# The optimisers that command lines know; a `Method` takes any of optax.
OPTIMIZERS = {name: getattr(optax, name) for name in OPTIMIZER_NAMES}
MAX_D_STEPS = 100  # each is compiled
MAX_SYNC_PERIOD = 10**6


def show_changes(value: Any) -> str:
    """The repr of a dataclass, with only the fields that differ from their defaults.

    They are compared as they are shown, since arrays and tracers are not comparable: a part of a
    method by its name.
    """
    shown = []
    for one in fields(value):
        part = getattr(value, one.name)
        part = getattr(part, "name", part) if isinstance(one.default, str) else part
        if repr(part) != repr(one.default):
            shown.append(f"{one.name}={part!r}")
    return f"{type(value).__name__}({', '.join(shown)})"


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True, repr=False)
class Hyperparams:
    """The numbers of a method: a pytree of traced scalars, so that a grid of them is a `vmap`.

    `None` disables a term: it is no leaf, and nothing is computed for it.

    Attributes:
      d_lr: D's learning rate, zero or more.
      g_lr: G's learning rate, zero or more.
      penalty_weight: the factor of the penalty, zero or more, or None for 1.
      target_norm: the ‖∇D‖ that the penalty wgan_gp aims at, zero or more, or None for 1.
      noise_std: the standard deviation of instance noise, zero or more, or None: Gaussian noise
        added to every sample, real or fake, that D sees. Sønderby et al., *Amortised MAP Inference
        for Image Super-resolution* (ICLR 2017).
      clip: the bound that D's parameters are clipped to after each of its updates, above zero, or
        None. Arjovsky et al., *Wasserstein GAN* (ICML 2017), algorithm 1.
      slow_step_size: how far the slow weights of `Method(sync_period=)` go, zero or more, or None
        for ½: α of Chavdarova et al., *Taming GANs with Lookahead-Minmax* (ICLR 2021).
      average_decay: β of the exponential average of G's weights, zero or more and below 1, or None.
        After every step, average ← β average + (1 - β) weights, from the first weights on. The
        average makes the output that is recorded and tested; it does not change the training.
        Yazıcı et al., *The Unusual Effectiveness of Averaging in GAN Training* (ICLR 2019).

    Raises:
      InvalidArgument: (a `ValueError`) for a number outside these limits; a tracer is not checked.
    """

    d_lr: chex.Numeric = HYPERPARAMS["d_lr"]["default"]
    g_lr: chex.Numeric = HYPERPARAMS["g_lr"]["default"]
    penalty_weight: chex.Numeric | None = HYPERPARAMS["penalty_weight"]["default"]
    target_norm: chex.Numeric | None = HYPERPARAMS["target_norm"]["default"]
    noise_std: chex.Numeric | None = HYPERPARAMS["noise_std"]["default"]
    clip: chex.Numeric | None = HYPERPARAMS["clip"]["default"]
    slow_step_size: chex.Numeric | None = HYPERPARAMS["slow_step_size"]["default"]
    average_decay: chex.Numeric | None = HYPERPARAMS["average_decay"]["default"]

    def __repr__(self) -> str:
        """Only what differs from the reference."""
        return show_changes(self)

    def __post_init__(self):
        """Reject numbers outside their limits."""
        for name, value in vars(self).items():
            if isinstance(value, list | tuple):
                value = as_numbers(value)
                object.__setattr__(self, name, value)
            is_traced = isinstance(value, jax.core.Tracer)
            is_concrete = isinstance(value, str | int | float | np.generic | np.ndarray | jax.Array)
            if is_concrete and not is_traced and not np.all(is_allowed(name, as_numbers(value))):
                raise InvalidArgument(name, value, HYPERPARAMS[name]["allowed"])

    def tree_flatten_with_keys(self) -> tuple[list, None]:
        """The numbers, by name."""
        return [(jax.tree_util.GetAttrKey(name), value) for name, value in vars(self).items()], None

    @classmethod
    def tree_unflatten(cls, _: None, values: Any) -> Hyperparams:
        """The inverse; values may be placeholders of a transformation, and are not checked."""
        hyperparams = object.__new__(cls)
        hyperparams.__dict__.update(zip(HYPERPARAMS, values))
        return hyperparams


def as_numbers(value: Any) -> np.ndarray:
    """A number or an array in JAX's default float type; NaN for anything but real numbers."""
    dtype = jnp.result_type(float)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        return np.asarray(np.nan, dtype)
    if not is_real(array):
        return np.asarray(np.nan, dtype)
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def is_real(array: np.ndarray | jax.Array) -> bool:
    """Whether an array holds integers or floating-point numbers, JAX's own types included."""
    return any(jnp.issubdtype(array.dtype, kind) for kind in (np.floating, np.integer))


def is_allowed(name: str, value: np.typing.ArrayLike) -> np.ndarray:
    """Whether numbers are within the limits of a hyperparameter: bool, of their shape."""
    about = HYPERPARAMS[name]
    above_zero = np.greater if about["above_zero"] else np.greater_equal
    return np.isfinite(value) & above_zero(value, 0) & np.less(value, about["below"])


@dataclass(frozen=True)
class Objective:
    """The losses of both players, as functions of D's logit (a scalar to a scalar).

    D's loss is the sum of its losses on a real and on a fake sample.

    Attributes:
      name: its name in `Method(objective=)`.
      d_real: D's loss on a real sample.
      d_fake: D's loss on a fake sample.
      g: G's loss on a fake sample.
      relative: whether each loss is a function of the sample's logit minus that of the other
        sample, the fake one beside a real one and the real one beside a fake one: of a
        relativistic pairing GAN. It needs both samples in one update, so not the update order
        "reference".

    Raises:
      InvalidArgument: (a `ValueError`) for a name that is not a string, a loss that is not a
        function, or a `relative` that is not a bool.
    """

    name: str
    d_real: _Loss = field(repr=False)
    d_fake: _Loss = field(repr=False)
    g: _Loss = field(repr=False)
    relative: bool = field(default=False, repr=False)

    def __post_init__(self):
        """Reject other names than strings, and other losses than functions."""
        _check_functions(self, ("d_real", "d_fake", "g"))
        _check_bool(self, "relative")


def _check_functions(part: Any, names: tuple[str, ...], allowed: str = "a function") -> None:
    """Raise unless a part of a method is named by a string, and these attributes are functions."""
    if not isinstance(part.name, str):
        raise InvalidArgument("name", part.name, "a string, and come before the functions")
    for name in names:
        value = getattr(part, name)
        if not callable(value) and (value is not None or "None" not in allowed):
            raise InvalidArgument(name, value, allowed)


def _check_bool(part: Any, name: str) -> None:
    """Raise unless an attribute of a part of a method is a bool."""
    if not isinstance(getattr(part, name), bool):
        raise InvalidArgument(name, getattr(part, name), "True or False")


# In each formula, u is D's logit and σ(u) the probability of "real". By `softplus`, -log σ(u) is
# finite also where σ(u) rounds to 0.
OBJECTIVES = by_name(
    OBJECTIVE_NAMES,
    [
        # The reference, (D - target)² for the probability D: 1/4 for both players if D is 1/2.
        Objective(
            "mse",
            d_real=lambda u: (sigmoid(u) - 1.0) ** 2,
            d_fake=lambda u: (sigmoid(u) - 0.0) ** 2,
            g=lambda u: (sigmoid(u) - 1.0) ** 2,
        ),
        # The same on the logit: Mao et al., *Least Squares Generative Adversarial Networks*
        # (ICCV 2017), with a = 0 and b = c = 1.
        Objective(
            "lsgan",
            d_real=lambda u: (u - 1.0) ** 2 / 2,
            d_fake=lambda u: (u - 0.0) ** 2 / 2,
            g=lambda u: (u - 1.0) ** 2 / 2,
        ),
        # D minimises -log σ(real) - log(1 - σ(fake)), and G maximises the same: Goodfellow et al.,
        # *Generative Adversarial Nets* (NeurIPS 2014), equation 1.
        Objective("minimax", lambda u: softplus(-u), softplus, g=lambda u: -softplus(u)),
        # The same D, and G minimises -log σ(fake): *Generative Adversarial Nets*, section 3.
        Objective("nonsaturating", lambda u: softplus(-u), softplus, g=lambda u: softplus(-u)),
        # D's logit is a critic's score: Arjovsky et al., *Wasserstein GAN* (ICML 2017). It needs
        # weight clipping, `Hyperparams(clip=)`, or the penalty wgan_gp.
        Objective("wasserstein", lambda u: -u, lambda u: u, g=lambda u: -u),
        # Lim and Ye, *Geometric GAN* (arXiv 1705.02894).
        Objective("hinge", lambda u: relu(1 - u), lambda u: relu(1 + u), g=lambda u: -u),
        # D minimises f(D(fake) - D(real)), of which each sample has half, and G minimises
        # f(D(real) - D(fake)), with f = softplus: Jolicoeur-Martineau, *The Relativistic
        # Discriminator* (ICLR 2019); Huang et al., *The GAN is Dead; Long Live the GAN!* (NeurIPS
        # 2024), whose R3GAN adds the penalty r1_r2.
        Objective(
            "relativistic",
            d_real=lambda u: softplus(-u) / 2,
            d_fake=lambda u: softplus(u) / 2,
            g=lambda u: softplus(-u),
            relative=True,
        ),
    ],
)


def undecided(objective: Objective) -> tuple[float, tuple[float, float, float]]:
    """D's logit while it cannot tell real from fake samples, and the three losses there, floats.

    That logit is the one with the smallest loss on both, and of several that nearest to 0.
    """
    logits = np.arange(-200, 201) / 100
    d_real, d_fake, g = jax.device_get(_losses_at(logits, objective))
    both = d_real + d_fake
    place = np.where(both <= both.min() + 1e-6, np.abs(logits), np.inf).argmin()
    real, fake, of_g = (float(loss[place]) + 0.0 for loss in (d_real, d_fake, g))  # and no -0
    return float(logits[place]), (real, fake, of_g)


@partial(jax.jit, static_argnames="objective")  # one program, where JAX else compiles a dozen
def _losses_at(logits: np.ndarray, objective: Objective) -> list[jax.Array]:
    return [jax.vmap(loss)(logits) for loss in (objective.d_real, objective.d_fake, objective.g)]


@cache
def gives_belief(objective: Objective) -> bool:
    """Whether D's sigmoid is its belief that a sample is real; else, its logit is only a score.

    It is if the objective looks at one sample at a time, and the probability p minimises D's loss
    where a share p of the samples is real, for every p: if it is a proper scoring rule. Gneiting
    and Raftery, *Strictly Proper Scoring Rules, Prediction, and Estimation* (JASA 2007).
    """

    def slope(p):
        def loss(logit):
            return p * objective.d_real(logit) + (1 - p) * objective.d_fake(logit)

        return jax.grad(loss)(jnp.log(p) - jnp.log1p(-p))

    return not objective.relative and all(abs(slope(p)) < 1e-6 for p in (0.25, 0.6))


class PenaltyContext(NamedTuple):
    """The argument of a penalty, in an update of either player.

    Attributes:
      logit: D, from a sample [units] to its logit, a scalar.
      real: the real sample with its instance noise, [units].
      fake: the fake sample with its instance noise, [units].
      mix: a position between the two, a scalar from 0 (fake) to 1 (real), for a penalty that
        `needs_mix`; else None.
      hyperparams: the hyperparameters.
      gradients: returns the gradients of both players' losses, without penalty, with respect to
        their own parameters: (D's, G's).
      slopes: returns the derivatives of both losses, without penalty, along these gradients: (of
        D's, of G's), scalars. The direction is a constant to the update.
    """

    logit: Callable[[jax.Array], jax.Array]
    real: jax.Array
    fake: jax.Array
    mix: jax.Array | None
    hyperparams: Hyperparams
    gradients: Callable[[], chex.ArrayTree]
    slopes: Callable[[], tuple[jax.Array, jax.Array]]


@dataclass(frozen=True)
class Penalty:
    """A term that is added to a player's loss, times `Hyperparams.penalty_weight`.

    Attributes:
      name: its name in `Method(penalty=)`.
      d: the term of D's loss, a function of a `PenaltyContext`, or None.
      g: the term of G's loss, likewise.
      samples: the sample that D's term looks at, "real", "fake" or "both": in the reference update
        order it is part of D's update on that sample. "both" needs another update order.
      needs_mix: whether it uses `PenaltyContext.mix`.
      hyperparams: the hyperparameters of penalties that it uses.
      objectives: the only named objectives that it is defined for, or None for any.

    Raises:
      InvalidArgument: (a `ValueError`) for unknown `samples` or `hyperparams`, for a name that is
        not a string, or a term that is not a function.
    """

    name: str
    d: Callable[[PenaltyContext], jax.Array] | None = field(default=None, repr=False)
    g: Callable[[PenaltyContext], jax.Array] | None = field(default=None, repr=False)
    samples: str = field(default="both", repr=False)
    needs_mix: bool = field(default=False, repr=False)
    hyperparams: tuple[str, ...] = field(default=PENALTY_HYPERPARAMS, repr=False)
    objectives: tuple[str, ...] | None = field(default=None, repr=False)

    def __post_init__(self):
        """Reject a function in place of the name, and unknown samples or hyperparameters."""
        _check_functions(self, ("d", "g"), "a function or None")
        check_samples_name(self.samples)
        _check_bool(self, "needs_mix")
        if not _are_strings(self.hyperparams) or not {*self.hyperparams} <= {*PENALTY_HYPERPARAMS}:
            allowed = f"a tuple of some of {', '.join(PENALTY_HYPERPARAMS)}"
            raise InvalidArgument("hyperparams", self.hyperparams, allowed)
        if self.objectives is not None and not _are_strings(self.objectives):
            raise InvalidArgument("objectives", self.objectives, "a tuple of names, or None")

    def term(self, player: str, samples: str) -> Callable[[PenaltyContext], jax.Array] | None:
        """The term of a player's update on these samples, or None."""
        if player == "generator":
            return self.g
        return self.d if samples in (self.samples, "both") else None


def _are_strings(names: Any) -> bool:
    """Whether names are a tuple of strings."""
    return isinstance(names, tuple) and all(isinstance(name, str) for name in names)


def check_samples_name(samples: str) -> None:
    """Raise `InvalidArgument` unless `samples` is one of `SAMPLES`."""
    check_choice("samples", samples, SAMPLES)


def _r1(ctx: PenaltyContext) -> jax.Array:
    """½‖∇D(x)‖² at the real sample.

    Mescheder et al., *Which Training Methods for GANs do actually Converge?* (ICML 2018),
    equation 9; the weight is their γ.
    """
    return optax.tree.norm(jax.grad(ctx.logit)(ctx.real), squared=True) / 2


def _r2(ctx: PenaltyContext) -> jax.Array:
    """½‖∇D(x)‖² at the fake sample: equation 10 of the same paper."""
    return optax.tree.norm(jax.grad(ctx.logit)(ctx.fake), squared=True) / 2


def _r1_r2(ctx: PenaltyContext) -> jax.Array:
    """Both of them: Huang et al., *The GAN is Dead; Long Live the GAN!* (NeurIPS 2024)."""
    return _r1(ctx) + _r2(ctx)


def _wgan_gp(ctx: PenaltyContext) -> jax.Array:
    """(‖∇D(x)‖ - target)² at a random point x between the real and the fake sample.

    Gulrajani et al., *Improved Training of Wasserstein GANs* (NeurIPS 2017), equation 3; the weight
    is their λ, half the γ of Mescheder et al., and their target 1. Where ∇D vanishes, its norm is
    not differentiable, and its derivative is taken as 0.
    """
    target = 1.0 if ctx.hyperparams.target_norm is None else ctx.hyperparams.target_norm
    between = ctx.mix * ctx.real + (1 - ctx.mix) * ctx.fake
    norm = optax.safe_norm(jax.grad(ctx.logit)(between), 0.0)
    return (norm - target) ** 2


def _consensus(ctx: PenaltyContext) -> jax.Array:
    """½‖v‖², where v is both players' gradients of their own losses, side by side.

    Mescheder et al., *The Numerics of GANs* (NeurIPS 2017); the weight is their γ. Theirs is of
    the expected gradient, and this of the gradient on a batch, whose variance it lowers as well.
    """
    return optax.tree.norm(ctx.gradients(), squared=True) / 2


def _symplectic(ctx: PenaltyContext, player: int) -> jax.Array:
    """A term whose gradient is the symplectic adjustment Aᵀv; its value means nothing.

    With v both players' gradients, J their Jacobian and A = (J - Jᵀ)/2, each player descends its
    part of v + λAᵀv. Of Aᵀv = (Jᵀv - Jv)/2, Jᵀv is the gradient of ½‖v‖², and a player's part of
    Jv is the gradient of the slope of its loss along a v that is held constant. Balduzzi et al.,
    *The Mechanics of n-Player Differentiable Games* (ICML 2018); the weight is their λ, whose sign
    is fixed here, without their test of alignment.
    """
    return (optax.tree.norm(ctx.gradients(), squared=True) / 2 - ctx.slopes()[player]) / 2


PENALTIES = by_name(
    PENALTY_NAMES,
    [
        Penalty("none", hyperparams=()),
        Penalty("r1", _r1, samples="real", hyperparams=("penalty_weight",)),
        Penalty("r2", _r2, samples="fake", hyperparams=("penalty_weight",)),
        Penalty("r1_r2", _r1_r2, hyperparams=("penalty_weight",)),
        Penalty(
            "wgan_gp",
            _wgan_gp,
            needs_mix=True,
            hyperparams=("penalty_weight", "target_norm"),
            # For D's whose output is a score. Beyond Wasserstein: Fedus et al., *Many Paths to
            # Equilibrium* (ICLR 2018). Regression to a target contradicts a slope of 1.
            objectives=("wasserstein", "minimax", "nonsaturating", "hinge"),
        ),
        Penalty("consensus", _consensus, _consensus, hyperparams=("penalty_weight",)),
        Penalty(
            "symplectic",
            d=lambda ctx: _symplectic(ctx, player=0),
            g=lambda ctx: _symplectic(ctx, player=1),
            hyperparams=("penalty_weight",),
        ),
    ],
)


def penalties_with(hyperparam: str) -> list[str]:
    """The names of the penalties that use a hyperparameter."""
    return [name for name, penalty in PENALTIES.items() if hyperparam in penalty.hyperparams]


@jax.tree_util.register_static
@dataclass(frozen=True, repr=False)
class Method:
    """A training method. Hashable and static under `jit`; the default is the reference.

    Attributes:
      objective: the name of one of `OBJECTIVES`, or an `Objective` of your own.
      update_order: the updates of a step. `"reference"`: D on a real sample, D on a fake sample,
        then G through the updated D. `"alternating"`: D on both samples at once, then G through
        the updated D. `"simultaneous"`: both players, each against the other before the step.
        `"extragradient"`: both players step ahead simultaneously, by their optimisers, and then
        step from the state before with the gradients there, on the same batch; two gradients of
        each a step. Korpelevich, *The extragradient method for finding saddle points and other
        problems* (1976); Gidel et al., *A Variational Inequality Perspective on GANs* (ICLR 2019).
      penalty: the name of one of `PENALTIES`, or a `Penalty` of your own.
      d_steps: how many times D is updated in a step, each time on samples of its own; G's update
        uses the last of them.
      first: which player is updated first in a step, `"discriminator"`, as above, or `"generator"`.
      optimizer: maps a learning rate to an `optax.GradientTransformation`, as `optax.sgd` does; or
        a pair of those, D's and G's.
      sync_period: k of lookahead, or None. Every k steps, both players' slow weights, their first
        weights at the start, go a part α of the way to the present weights, and the players go on
        from there; their optimisers keep their states. α is `Hyperparams.slow_step_size`.
        Chavdarova et al., *Taming GANs with Lookahead-Minmax* (ICLR 2021), algorithm 1.

    Raises:
      InvalidArgument: (a `ValueError`) for an unknown value, and for incompatible values.
    """

    objective: str | Objective = "mse"
    update_order: str = "reference"
    penalty: str | Penalty = "none"
    d_steps: int = 1
    first: str = "discriminator"
    optimizer: _Optimizer | tuple[_Optimizer, _Optimizer] = optax.sgd
    sync_period: int | None = None

    def __post_init__(self):
        """Look names up, and reject unknown and incompatible values."""
        _look_up(self, "objective", OBJECTIVES, Objective, "an Objective")
        _look_up(self, "penalty", PENALTIES, Penalty, "a Penalty")
        for name, choices in (("update_order", UPDATE_ORDERS), ("first", PLAYERS)):
            check_choice(name, getattr(self, name), choices)
        _check_count("d_steps", self.d_steps, MAX_D_STEPS)
        if self.sync_period is not None:
            _check_count("sync_period", self.sync_period, MAX_SYNC_PERIOD, ", or None")
        is_complete = isinstance(self.optimizer, optax.GradientTransformation)
        if is_complete or len(self.optimizers) != 2 or not all(map(callable, self.optimizers)):
            allowed = "a function from a learning rate to an optax.GradientTransformation, or two"
            raise InvalidArgument("optimizer", self.optimizer, allowed)
        self._check_compatible()

    def _check_compatible(self) -> None:
        """Reject incompatible options."""
        if self.at_once:
            for name, only in (("d_steps", 1), ("first", "discriminator")):
                if getattr(self, name) != only:
                    allowed = f"{only}, since both players move at once"
                    allowed += f" in the update order {self.update_order}"
                    raise InvalidArgument(name, getattr(self, name), allowed)
        penalty, objective = self.penalty, self.objective
        suited, is_named = penalty.objectives, OBJECTIVES.get(objective.name) == objective
        suited = suited if suited is not None and is_named else (objective.name,)
        parts = {
            f"penalty {penalty.name}": penalty.d is not None and penalty.samples == "both",
            f"objective {objective.name}": objective.relative,
        }
        pairing = [part for part, needs_both in parts.items() if needs_both]
        if pairing and self.update_order == "reference":
            *orders, last = (order for order in UPDATE_ORDERS if order != "reference")
            allowed = f"{', '.join(orders)} or {last} with the {pairing[0]}"
            allowed += ", which needs both samples in one update"
            if objective.name not in suited:
                allowed += f", and an objective that is one of {', '.join(suited)}"
            raise InvalidArgument("update_order", self.update_order, allowed)
        if objective.name not in suited:
            allowed = f"one of {', '.join(suited)} with the penalty {penalty.name}"
            raise InvalidArgument("objective", objective.name, allowed)

    def __repr__(self) -> str:
        """Only what differs from the reference, a part by its name."""
        return show_changes(self)

    @property
    def at_once(self) -> bool:
        """Whether both players start their updates from the state before the step."""
        return self.update_order in ("simultaneous", "extragradient")

    @property
    def optimizers(self) -> tuple[_Optimizer, _Optimizer]:
        """D's and G's."""
        pair = isinstance(self.optimizer, tuple)
        return self.optimizer if pair else (self.optimizer, self.optimizer)

    @property
    def updates(self) -> tuple[tuple[str, str, int], ...]:
        """The updates of a step, in order, each (player, samples, d_step).

        The player is one of `PLAYERS`, the samples are one of `SAMPLES`, and `d_step`, from 0, says
        which of the step's `d_steps` samples the update uses.
        """
        samples = UPDATE_ORDERS[self.update_order]
        d = tuple(("discriminator", s, d_step) for d_step in range(self.d_steps) for s in samples)
        g = (("generator", "fake", self.d_steps - 1),)
        return d + g if self.first == "discriminator" else g + d

    @classmethod
    def from_options(cls, *, optimizer: str, **others: Any) -> Method:
        """The inverse of `options`, for parts that are built in.

        Raises:
          InvalidArgument: (a `ValueError`) as `Method`, and for another optimiser.
        """
        names = optimizer.split(",") if isinstance(optimizer, str) else [optimizer]
        if not _are_strings(tuple(names)) or not set(names) <= set(OPTIMIZERS) or len(names) > 2:
            allowed = f"one of {', '.join(OPTIMIZERS)}, or two with a comma"
            raise InvalidArgument("optimizer", optimizer, allowed, OPTIMIZERS)
        optimizers = tuple(OPTIMIZERS[name] for name in names)
        return cls(**others, optimizer=optimizers if len(names) == 2 else optimizers[0])

    @property
    def options(self) -> dict[str, Any]:
        """The method by the names of its parts, as JSON and as command-line options."""
        names = [getattr(one, "__name__", repr(one)) for one in self.optimizers]
        return {
            "objective": self.objective.name,
            "update_order": self.update_order,
            "penalty": self.penalty.name,
            "d_steps": self.d_steps,
            "first": self.first,
            "optimizer": ",".join(names) if isinstance(self.optimizer, tuple) else names[0],
            "sync_period": self.sync_period,
        }


def _check_count(name: str, value: Any, most: int, remark: str = "") -> None:
    """Raise unless a value is a Python integer from 1 on; a remark names what else is allowed."""
    if type(value) is not int or not 1 <= value <= most:
        raise InvalidArgument(name, value, f"a whole number from 1 to {most}{remark}")


def _look_up(
    method: Method, name: str, choices: Mapping[str, Any], kind: type, else_allowed: str
) -> None:
    """Replace an attribute that is a name by what has that name; reject other values."""
    value = getattr(method, name)
    if isinstance(value, str) and value in choices:
        object.__setattr__(method, name, choices[value])
    elif not isinstance(value, kind):
        allowed = f"{else_allowed} or one of {', '.join(choices)}"
        raise InvalidArgument(name, value, allowed, choices)


def flags_of(options: Mapping[str, Any]) -> list[str]:
    """The command-line flags of a method and its hyperparameters that differ from the reference.

    Args:
      options: `Method.options` and hyperparameters by name.
    """
    reference = Method().options | vars(Hyperparams())
    others = {name: value for name, value in options.items() if value != reference[name]}
    return [
        f"--{name.replace('_', '-')} {f'{value:g}' if isinstance(value, float) else value}"
        for name, value in others.items()
        if value is not None
    ]
