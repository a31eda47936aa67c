"""The names of a method's parts, of the engines and of figures' looks; every hyperparameter.

Options and help know them before JAX is imported; `methods` and `engines` make what they name.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

_Part = TypeVar("_Part")

SAMPLES = ("real", "fake", "both")
PLAYERS = ("discriminator", "generator")
# The samples that D is updated on in a step, one update after the other.
UPDATE_ORDERS = {
    "reference": ("real", "fake"),
    "alternating": ("both",),
    "simultaneous": ("both",),
    "extragradient": ("both",),
}
# Those of the laboratory: a trace of a step tells what each of their updates moves.
TRACED_UPDATE_ORDERS = tuple(order for order in UPDATE_ORDERS if order != "extragradient")
OBJECTIVE_NAMES = (
    *("mse", "lsgan", "minimax", "nonsaturating", "wasserstein", "hinge"),
    "relativistic",
)
PENALTY_NAMES = ("none", "r1", "r2", "r1_r2", "wgan_gp", "consensus", "symplectic")
OPTIMIZER_NAMES = ("sgd", "adam", "rmsprop", "optimistic_gradient_descent")  # those of optax
ENGINE_NAMES = ("vmap", "fused", "pallas")
FIGURE_STYLES = ("paper", "slides", "dark")
FIGURE_FORMATS = ("png", "svg", "pdf")


def by_name(names: Sequence[str], parts: Iterable[_Part]) -> dict[str, _Part]:
    """The parts by their `name`, exactly one for each of these names, in their order."""
    parts = list(parts)
    found = [part.name for part in parts]
    if found != [*names]:
        raise ValueError(f"{', '.join(found)} are made, and {', '.join(names)} are declared")
    return dict(zip(names, parts))


def _number(
    default: float | None,
    label: str,
    meaning: str,
    *,
    above_zero: bool = False,
    below: float = math.inf,
    if_none: str = "",
    of_penalty: bool = False,
) -> Mapping[str, Any]:
    """A hyperparameter, as options, figures, tables and checks know it.

    Args:
      default: its default value.
      label: its name on an axis.
      meaning: what it is, for help and tables.
      above_zero: whether 0 is excluded.
      below: the bound that it is below.
      if_none: what None stands for.
      of_penalty: whether it belongs to a penalty.
    """
    limit = "above zero" if above_zero else "zero or more"
    limit += "" if below == math.inf else f" and below {below:g}"
    return {
        "default": default,
        "label": label,
        "meaning": meaning,
        "unit": "",
        "above_zero": above_zero,
        "below": below,
        "limit": limit,
        "allowed": f"a finite number, {limit}{', or None' if default is None else ''}",
        "none": if_none,
        "of_penalty": of_penalty,
    }


# What is known of each field of `methods.Hyperparams`.
HYPERPARAMS = {
    "d_lr": _number(0.01, "D's learning rate", "the discriminator's learning rate"),
    "g_lr": _number(0.01, "G's learning rate", "the generator's learning rate"),
    "penalty_weight": _number(
        None, "penalty weight", "the factor of the penalty", if_none="1", of_penalty=True
    ),
    "target_norm": _number(
        None,
        "target norm",
        "the norm of D's gradient that the penalty wgan_gp aims at",
        if_none="1",
        of_penalty=True,
    ),
    "noise_std": _number(
        None,
        "standard deviation of the noise",
        "the standard deviation of the noise on every sample that D sees",
        if_none="no noise",
    ),
    "clip": _number(
        None,
        "bound of D's parameters",
        "the bound that D's parameters are clipped to",
        above_zero=True,
        if_none="no clipping",
    ),
    "slow_step_size": _number(
        None,
        "slow step size",
        "how far lookahead's slow weights go towards the present ones every --sync-period steps",
        if_none="0.5",
    ),
    "average_decay": _number(
        None,
        "decay of G's average",
        "the decay of the exponential average of G's weights, which makes the output that counts",
        below=1.0,
        if_none="no average",
    ),
}
PENALTY_HYPERPARAMS = tuple(name for name, about in HYPERPARAMS.items() if about["of_penalty"])
