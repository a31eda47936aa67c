"""Options that programs share, how they are read, and checks of them.

They are read before JAX is imported, so that help and mistakes are answered at once.
"""

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import FlagCreatePairsOff, arg
from tyro.constructors import PrimitiveConstructorSpec

from gan1010_jax.cli.program import report
from gan1010_jax.errors import InvalidArgument, check_choice
from gan1010_jax.names import (
    ENGINE_NAMES,
    FIGURE_FORMATS,
    FIGURE_STYLES,
    HYPERPARAMS,
    OBJECTIVE_NAMES,
    OPTIMIZER_NAMES,
    PENALTY_NAMES,
    PLAYERS,
    UPDATE_ORDERS,
)

if TYPE_CHECKING:
    from gan1010_jax.methods import Hyperparams, Method

# An option without a value.
Flag = Annotated[bool, FlagCreatePairsOff, arg(help_behavior_hint="")]


def number(name: str, kind: type[int] | type[float]) -> PrimitiveConstructorSpec:
    """How an option of this name is read as an `int` or a `float`, with this package's errors."""

    def read(texts: list[str]) -> int | float:
        try:
            return kind(texts[0])
        except ValueError:
            allowed = "a whole number" if kind is int else "a number"
            sys.exit(report(InvalidArgument(name, texts[0], allowed)))

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT" if kind is int else "FLOAT",
        instance_from_str=read,
        is_instance=lambda value: value is None or isinstance(value, kind),
        str_from_instance=lambda value: [str(value)],
    )


def path(name: str) -> PrimitiveConstructorSpec:
    """How an option of this name is read as a `Path`: a home directory may be written as ~."""

    def read(texts: list[str]) -> Path:
        try:
            texts[0].encode()
            return Path(texts[0]).expanduser()
        except UnicodeEncodeError:
            allowed = "a path in UTF-8"
        except RuntimeError:
            allowed = "a path whose ~ is somebody's home directory"
        sys.exit(report(InvalidArgument(name, texts[0], allowed)))

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=read,
        is_instance=lambda value: value is None or isinstance(value, Path),
        str_from_instance=lambda value: [str(value)],
    )


def choice(*names: str) -> PrimitiveConstructorSpec:
    """How an option shows its choices; the method that it makes checks them."""
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{{{','.join(names)}}}",
        instance_from_str=lambda texts: texts[0],
        is_instance=lambda value: value is None or isinstance(value, str),
        str_from_instance=lambda value: [str(value)],
    )


def _checked_choice(name: str, choices: tuple[str, ...]) -> PrimitiveConstructorSpec:
    """Likewise, for an option of this name, whose choice is checked as it is read."""

    def read(texts: list[str]) -> str:
        try:
            check_choice(name, texts[0], choices)
        except InvalidArgument as error:
            sys.exit(report(error))
        return texts[0]

    return replace(choice(*choices), instance_from_str=read)


def text(metavar: str) -> PrimitiveConstructorSpec:
    """How an option shows the form of its text."""
    return replace(choice(), metavar=metavar)


def unset(meaning: str = "") -> Any:
    """The help of an option that may be left out: what that stands for, or nothing."""
    return arg(help_behavior_hint=f"(default: {meaning})" if meaning else "")


*_OTHERS, _LAST = (
    f"{order} ({', '.join(f'D on {samples}' for samples in UPDATE_ORDERS[order])}, G)"
    for order in UPDATE_ORDERS
)
_UPDATES = f"The updates of a step: {', '.join(_OTHERS)} or {_LAST}."


def _with_hyperparams(options: type) -> Any:
    """A dataclass with an option for every hyperparameter beside its own."""
    added = []
    for name, about in HYPERPARAMS.items():
        default, meaning = about["default"], f"{about['meaning']}, {about['limit']}."
        kind, hint = (float, arg()) if default is not None else (float | None, unset(about["none"]))
        meaning = arg(help=meaning[0].upper() + meaning[1:])
        added.append((name, Annotated[kind, number(name, float), meaning, hint], default))
    about = {"__doc__": options.__doc__}
    return make_dataclass(options.__name__, added, bases=(options,), namespace=about, frozen=True)


@_with_hyperparams
@dataclass(frozen=True)
class MethodOptions:
    """How to train: the options of a `Method` and its `Hyperparams`."""

    objective: Annotated[str, choice(*OBJECTIVE_NAMES)] = "mse"
    """The losses of both players."""
    update_order: Annotated[str, choice(*UPDATE_ORDERS), arg(help=_UPDATES)] = "reference"
    penalty: Annotated[str, choice(*PENALTY_NAMES)] = "none"
    """The term that is added to the losses."""
    d_steps: Annotated[int, number("d_steps", int)] = 1
    """How many times the discriminator is updated in a step."""
    first: Annotated[str, choice(*PLAYERS)] = "discriminator"
    """The player that is updated first."""
    optimizer: Annotated[str, choice(*OPTIMIZER_NAMES)] = "sgd"
    """The optimiser of both players, or D's and G's with a comma between, as in adam,sgd."""
    sync_period: Annotated[int | None, number("sync_period", int), unset("no lookahead")] = None
    """The number of steps from one move of lookahead's slow weights to the next."""

    def method(self) -> "Method":
        """The method."""
        from gan1010_jax.methods import Method

        return Method.from_options(**{name: getattr(self, name) for name in Method().options})

    def hyperparams(self) -> "Hyperparams":
        """The hyperparameters."""
        from gan1010_jax.methods import Hyperparams

        return Hyperparams(**{name: getattr(self, name) for name in HYPERPARAMS})


@dataclass(frozen=True)
class SeedOptions:
    """Which seeds to train, how long, and how they are run."""

    seeds: Annotated[int, number("seeds", int)] = 64
    """The number of GANs to train, or to train in each cell of a grid, each from its own seed."""
    first_seed: Annotated[int, number("first_seed", int)] = 0
    """The first seed; the others follow it, up to 4294967295."""
    steps: Annotated[int, number("steps", int)] = 10_000
    """The number of training steps, a multiple of --record-every."""
    record_every: Annotated[int, number("record_every", int)] = 10
    """The number of steps from one record of output and losses to the next."""
    engine: Annotated[str, choice(*ENGINE_NAMES, "auto")] = "auto"
    """How the seeds are run; auto is the fastest that this machine has."""
    workers: Annotated[
        int | None, number("workers", int), unset("1 on each core, or 2 on an accelerator")
    ] = None
    """The number of blocks of seeds that run at a time."""
    chunk: Annotated[int | None, number("chunk", int), unset("8192, more on accelerators")] = None
    """The number of GANs that are written, and resumed, as one unit."""

    def arguments(self) -> dict[str, Any]:
        """The arguments of `train_population` that they give, but for the seeds."""
        names = ("steps", "record_every", "engine", "workers", "chunk")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class FigureOptions:
    """How figures are drawn."""

    style: tuple[Annotated[str, _checked_choice("style", FIGURE_STYLES)], ...] = ("paper",)
    """One or more: slides have larger text, as NAME-slides; NAME-dark is for dark pages."""
    format: Annotated[str, _checked_choice("format", FIGURE_FORMATS)] = "png"
    """The format of figures; svg and pdf can be enlarged."""

    def arguments(self) -> tuple[tuple[str, ...], str]:
        """The styles and the format, as `write_figures` takes them."""
        return self.style, self.format


def check_given_with(options: object, needed: Mapping[str, str]) -> None:
    """Reject an option that has no meaning without another, by the names of both."""
    for name, other in needed.items():
        value = getattr(options, name)
        if value != getattr(type(options), name) and not getattr(options, other):
            raise InvalidArgument(name, value, f"given with --{other}")


def check_number(name: str, value: float, kind: str) -> None:
    """Reject an option's number outside the limits of the hyperparameter `kind`."""
    from gan1010_jax.methods import is_allowed

    if not is_allowed(kind, value):
        raise InvalidArgument(name, value, HYPERPARAMS[kind]["allowed"])


def check_page_file(out: Path) -> None:
    """Reject the name of a file that cannot be written, or does not end in .html."""
    allowed = "the name of a file that ends in .html"
    try:
        if out.suffix != ".html" or out.is_dir():
            raise InvalidArgument("out", str(out), allowed)
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=out.parent, prefix=f".{out.name}"):
            pass  # the page itself may be there already
    except OSError as error:
        allowed += f" and can be written ({error.strerror})"
        raise InvalidArgument("out", str(out), allowed) from None
