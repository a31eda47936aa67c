"""What a population's rows depend on, as JSON: to write it down, to compare it, to read it back."""

import dataclasses
import functools
import hashlib
import inspect
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from gan1010_jax.checks import as_floats, shortest
from gan1010_jax.errors import BadFile, InvalidArgument
from gan1010_jax.games import PATTERN, Game, dirac_game, pattern_game
from gan1010_jax.methods import OBJECTIVES, OPTIMIZERS, PENALTIES, Hyperparams, Method
from gan1010_jax.version import versions

# The rest of `versions()` computes nothing of a row.
VERSIONS = ("gan1010_jax", "jax", "jaxlib", "flax", "optax")


def configure(
    game: Game,
    method: Method,
    hyperparams: Hyperparams,
    *,
    grid: Mapping[str, np.ndarray],
    first_seed: int,
    steps: int,
    record_every: int,
    engine: str,
) -> dict[str, Any]:
    """All that a row depends on beside its number; what is equal gives the same bits.

    Raises:
      InvalidArgument: (a `ValueError`) for hyperparameters that are not scalars, and for a game or
        a method that cannot be described.
    """
    numbers, found = as_floats(hyperparams), versions()
    try:
        described = {"game": describe(game), "method": describe(method)}
    except RecursionError as error:
        allowed = "a Game none of whose functions holds itself, nor the method's"
        raise InvalidArgument("game", game.name, allowed) from error
    return {
        **described,
        "hyperparams": {
            name: shortest(number)
            for name, number in vars(numbers).items()
            if number is not None and name not in grid
        },
        "grid": {name: list(map(shortest, values)) for name, values in grid.items()},
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

    A dataclass, as a Flax module is, becomes its type and its fields, an array its digest, and a
    function its name and the values that it holds; a lambda also its code. Two functions that
    differ in none of these are taken for the same.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, tuple | list):
        return [describe(item) for item in value]
    if isinstance(value, np.ndarray | jax.Array):
        array = np.asarray(value)
        bits = hashlib.sha256(array.tobytes()).hexdigest()
        return {"shape": list(array.shape), "dtype": array.dtype.name, "sha256": bits}
    if isinstance(value, functools.partial):
        return {
            "function": describe(value.func),
            "args": describe(value.args),
            **describe_items(value.keywords),
        }
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        unnamed = {"parent", "name"} if isinstance(value, nn.Module) else set()
        names = [field.name for field in dataclasses.fields(value) if field.name not in unnamed]
        fields = describe_items({name: getattr(value, name) for name in names})
        return {"type": full_name(type(value)), **fields}
    if callable(value) and hasattr(value, "__qualname__"):
        function = inspect.unwrap(value)
        code = function.__code__ if function.__name__ == "<lambda>" else None
        cells = getattr(function, "__closure__", None) or ()
        held = {
            "self": getattr(value, "__self__", None),
            "defaults": getattr(function, "__defaults__", None),
            "keyword_defaults": getattr(function, "__kwdefaults__", None) or None,
            "closure": tuple(cell.cell_contents for cell in cells) or None,
            "code": code and (code.co_code.hex(), code.co_names),
            "constants": code and tuple(x for x in code.co_consts if not inspect.iscode(x)),
        }
        held = {name: item for name, item in held.items() if item is not None}
        return {"function": full_name(value), **describe_items(held)}
    if isinstance(value, Mapping):
        return describe_items(value)
    text = repr(value)
    return full_name(type(value)) if " at 0x" in text else text


def describe_items(values: Mapping[str, Any]) -> dict[str, Any]:
    """Named values, each described."""
    return {str(name): describe(value) for name, value in values.items()}


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
    elif game is None and name == "dirac":
        there = configuration["game"]
        start = there["generator"]["start"], there["discriminator"]["start"]
        game = dirac_game(None if None in start else start, there["matched"]["high"][0])
    if describe(game) != configuration["game"]:
        raise InvalidArgument("game", given, f"the Game that was played, of the name {name!r}")
    return game


def recognize_method(configuration: Mapping[str, Any], given: Method | None) -> Method:
    """The method of a configuration: the one given, or what this package makes by its names.

    Raises:
      InvalidArgument: (a `ValueError`) if that is another.
    """
    described, method = configuration["method"], given
    if method is None:
        method = make_method(described)
    if method is None or describe(method) != described:
        names = (f"the {part} {described[part]['name']!r}" for part in ("objective", "penalty"))
        allowed = f"the Method that was used, of {' and '.join(names)}"
        raise InvalidArgument("method", given, allowed)
    return method


def make_method(described: Mapping[str, Any]) -> Method | None:
    """The method of a description, if all its parts are of this package or optax."""
    objective, penalty = described["objective"]["name"], described["penalty"]["name"]
    known, of = {str(describe(one)): one for one in OPTIMIZERS.values()}, described["optimizer"]
    optimizers = tuple(known.get(str(one)) for one in (of if isinstance(of, list) else [of]))
    if objective not in OBJECTIVES or penalty not in PENALTIES or None in optimizers:
        return None
    return Method(
        objective,
        penalty=penalty,
        optimizer=optimizers if isinstance(of, list) else optimizers[0],
        **{name: described[name] for name in ("schedule", "d_steps", "first")},
    )
