"""How a game is trained: the objective, the schedule, the optimiser, and their numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import optax

from gan1010_jax.errors import InvalidArgument


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
    d_real: Callable[[jax.Array], jax.Array]
    d_fake: Callable[[jax.Array], jax.Array]
    g: Callable[[jax.Array], jax.Array]


def squared_error(target: float) -> Callable[[jax.Array], jax.Array]:
    """(σ(logit) - target)²: the mean squared error of D's one output."""

    def loss(logit: jax.Array) -> jax.Array:
        return (jax.nn.sigmoid(logit) - target) ** 2

    return loss


# The reference: D's output is a probability, and 0.5 for every sample costs every player 0.25.
MSE = Objective("mse", d_real=squared_error(1.0), d_fake=squared_error(0.0), g=squared_error(1.0))

OBJECTIVES = {objective.name: objective for objective in [MSE]}
SCHEDULES = ("reference",)


@dataclass(frozen=True)
class Method:
    """A training method. Hashable and static under `jit`; the default is the reference.

    Attributes:
      objective: the name of one of `OBJECTIVES`, or an `Objective` of your own.
      schedule: `"reference"`: D on a real sample, D on a fake sample, then G.
      optimizer: maps a learning rate to an `optax.GradientTransformation`, one for each player.

    Raises:
      InvalidArgument: (a `ValueError`) for an objective, schedule or optimiser it does not know.
    """

    objective: str | Objective = "mse"
    schedule: str = "reference"
    optimizer: Callable[[Any], optax.GradientTransformation] = optax.sgd

    def __post_init__(self):
        """Look names up, and refuse what is not known."""
        if isinstance(self.objective, str) and self.objective in OBJECTIVES:
            object.__setattr__(self, "objective", OBJECTIVES[self.objective])
        if not isinstance(self.objective, Objective):
            allowed = f"an Objective or one of {', '.join(OBJECTIVES)}"
            raise InvalidArgument("objective", self.objective, allowed)
        if self.schedule not in SCHEDULES:
            raise InvalidArgument("schedule", self.schedule, f"one of {', '.join(SCHEDULES)}")
        if not callable(self.optimizer):
            allowed = "a function from a learning rate to an optax.GradientTransformation"
            raise InvalidArgument("optimizer", self.optimizer, allowed)


class Hyperparams(NamedTuple):
    """The numbers of a method: a pytree of scalars, traced, so that a grid of them is a `vmap`.

    Attributes:
      d_lr: D's learning rate.
      g_lr: G's learning rate.
    """

    d_lr: float | jax.Array = 0.01
    g_lr: float | jax.Array = 0.01
