"""Options that programs share, how they are read, and checks of them.

They are read before JAX is imported, so that help and mistakes are answered at once.
"""

import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg
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


def _choice(name: str, choices: tuple[str, ...]) -> PrimitiveConstructorSpec:
    """How an option of this name is read as one of some names."""

    def read(texts: list[str]) -> str:
        try:
            check_choice(name, texts[0], choices)
        except InvalidArgument as error:
            sys.exit(report(error))
        return texts[0]

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{{{','.join(choices)}}}",
        instance_from_str=read,
        is_instance=lambda value: value in choices,
        str_from_instance=lambda value: [value],
    )


def _choices(meaning: str, names: Iterable[str]) -> Any:
    """The help of an option that is one of these names."""
    *others, last = names
    return arg(help=f"{meaning}: {', '.join(others)} or {last}.")


def _name_updates(order: str) -> str:
    """An update order with the updates of its step."""
    return f"{order} ({', '.join(f'D on {samples}' for samples in UPDATE_ORDERS[order])}, G)"


def _with_hyperparams(options: type) -> Any:
    """A dataclass with an option for every hyperparameter beside its own."""
    added = []
    for name, about in HYPERPARAMS.items():
        default, text = about["default"], f"{about['help']}."
        kind = float if default is not None else float | None
        text = arg(help=text[0].upper() + text[1:])
        added.append((name, Annotated[kind, number(name, float), text], default))
    about = {"__doc__": options.__doc__}
    return make_dataclass(options.__name__, added, bases=(options,), namespace=about, frozen=True)


@_with_hyperparams
@dataclass(frozen=True)
class MethodOptions:
    """How to train: the options of a `Method` and its `Hyperparams`."""

    objective: Annotated[str, _choices("The losses of both players", OBJECTIVE_NAMES)] = "mse"
    update_order: Annotated[
        str, _choices("The updates of a step", map(_name_updates, UPDATE_ORDERS))
    ] = "reference"
    penalty: Annotated[str, _choices("The term that is added to the losses", PENALTY_NAMES)] = (
        "none"
    )
    d_steps: Annotated[int, number("d_steps", int)] = 1
    """How many times the discriminator is updated in a step."""
    first: Annotated[str, _choices("The player that is updated first", PLAYERS)] = "discriminator"
    optimizer: Annotated[
        str, _choices("The optimiser, or D's and G's as in adam,sgd", OPTIMIZER_NAMES)
    ] = "sgd"
    sync_period: Annotated[int | None, number("sync_period", int)] = None
    """How many steps lookahead takes between moves of its slow weights; no lookahead by default."""

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
    """How many GANs to train, or to train in each cell of a grid, each from its own seed."""
    first_seed: Annotated[int, number("first_seed", int)] = 0
    """The first seed; the others follow it, up to 4294967295."""
    steps: Annotated[int, number("steps", int)] = 10_000
    """How many steps to train each; a multiple of --record-every."""
    record_every: Annotated[int, number("record_every", int)] = 10
    """How many steps from one record of output and losses to the next."""
    engine: Annotated[
        str,
        _choices(
            "How the seeds are run", [*ENGINE_NAMES, "auto, the fastest that this machine has"]
        ),
    ] = "auto"
    workers: Annotated[int | None, number("workers", int)] = None
    """How many blocks of seeds run at a time; else one on each core, or two on an accelerator."""
    chunk: Annotated[int | None, number("chunk", int)] = None
    """How many GANs are written, and resumed, as one unit; else 8192 (more on accelerators)."""

    def arguments(self) -> dict[str, Any]:
        """The arguments of `train_population` that they give, but for the seeds."""
        names = ("steps", "record_every", "engine", "workers", "chunk")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class FigureOptions:
    """How figures are drawn."""

    style: tuple[Annotated[str, _choice("style", FIGURE_STYLES)], ...] = ("paper",)
    """How figures look; slides have larger text and lines, as NAME-slides, and NAME-dark suits a
    dark page. One or more."""
    format: Annotated[str, _choice("format", FIGURE_FORMATS)] = "png"
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
