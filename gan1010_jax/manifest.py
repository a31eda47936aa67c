"""What a population's rows depend on, as JSON: to write it down, to compare it, to read it back."""

import dataclasses
import functools
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from flax import linen as nn

from gan1010_jax.errors import BadFile, InvalidArgument
from gan1010_jax.games import PATTERN, Game, pattern_game
from gan1010_jax.methods import OBJECTIVES, Hyperparams, Method
from gan1010_jax.training import as_floats
from gan1010_jax.version import versions

# The rest of `versions()` computes nothing of a row.
VERSIONS = ("gan1010_jax", "jax", "jaxlib", "flax", "optax")


def configure(
    game: Game,
    method: Method,
    hyperparams: Hyperparams,
    *,
    first_seed: int,
    steps: int,
    record_every: int,
    engine: str,
) -> dict[str, Any]:
    """All that a row depends on beside its number; what is equal gives the same bits.

    Raises:
      InvalidArgument: (a `ValueError`) for hyperparameters that are not scalars.
    """
    numbers, found = as_floats(hyperparams), versions()
    return {
        "game": describe(game),
        "method": describe(method),
        "hyperparams": {
            # The shortest decimal number of this float: 0.01, and not 0.009999999776482582.
            name: float(str(number[()]))
            for name, number in numbers._asdict().items()
        },
        "first_seed": first_seed,
        "steps": steps,
        "record_every": record_every,
        "dtype": numbers.d_lr.dtype.name,
        "engine": engine,
        "platform": jax.default_backend(),
        "versions": {name: found[name] for name in VERSIONS},
    }


def describe(value: Any) -> Any:
    """A game, a method, or a part of one as JSON.

    A dataclass, as a Flax module is, becomes its type and its fields, and a function its name and
    the values that it closes over; two functions that differ in neither are taken for the same.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [describe(item) for item in value]
    if isinstance(value, functools.partial):
        keywords = {name: describe(item) for name, item in value.keywords.items()}
        return {"function": describe(value.func), "args": describe(value.args), **keywords}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        unnamed = {"parent", "name"} if isinstance(value, nn.Module) else set()
        fields = [field.name for field in dataclasses.fields(value) if field.name not in unnamed]
        return {
            "type": full_name(type(value)),
            **{name: describe(getattr(value, name)) for name in fields},
        }
    if callable(value) and hasattr(value, "__qualname__"):
        function = inspect.unwrap(value)
        cells = getattr(function, "__closure__", None) or ()
        closure = [describe(cell.cell_contents) for cell in cells]
        return {"function": full_name(value), **({"closure": closure} if closure else {})}
    return repr(value)


def full_name(value: Any) -> str:
    """The name of a class or function with that of its module."""
    return f"{value.__module__}.{value.__qualname__}"


def check_same(path: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Refuse to go on with another configuration than a manifest's.

    Raises:
      BadFile: (a `ValueError`) that names the first field that differs.
    """
    theirs, ours = dict(flatten(there)), dict(flatten(here))
    for field in theirs | ours:
        if theirs.get(field) != ours.get(field):
            problem = f"has {theirs.get(field)!r} as its {field}, and this run {ours.get(field)!r}"
            raise BadFile(path, f"{problem}, which gives other rows")


def flatten(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested JSON objects, each with its dotted name."""
    if not isinstance(value, Mapping):
        yield name, value
        return
    for key, item in value.items():
        yield from flatten(item, f"{name}.{key}" if name else key)


def recognize_game(configuration: Mapping[str, Any], given: Game | None) -> Game:
    """The game of a configuration: the one given, or what this package makes by its name.

    Raises:
      InvalidArgument: (a `ValueError`) if that is another.
    """
    name, game = configuration["game"]["name"], given
    if game is None and re.fullmatch(PATTERN, name):
        game = pattern_game(name)
    if describe(game) != configuration["game"]:
        raise InvalidArgument("game", given, f"the Game that was played, of the name {name!r}")
    return game


def recognize_method(configuration: Mapping[str, Any], given: Method | None) -> Method:
    """The method of a configuration: the one given, or what this package makes by its names.

    Raises:
      InvalidArgument: (a `ValueError`) if that is another.
    """
    described, method = configuration["method"], given
    name = described["objective"]["name"]
    if method is None and name in OBJECTIVES:
        method = Method(objective=name, schedule=described["schedule"])
    if describe(method) != described:
        allowed = f"the Method that was used, of the objective {name!r}"
        raise InvalidArgument("method", given, allowed)
    return method
