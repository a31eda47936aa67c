"""The manifest: everything that the rows of a directory depend on, as JSON."""

import contextlib
import dataclasses
import functools
import hashlib
import inspect
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict

from gan1010_jax.checks import check_setup
from gan1010_jax.environment import in_dtype, versions
from gan1010_jax.errors import BadFile, InvalidArgument
from gan1010_jax.games import GAMES, Game
from gan1010_jax.gan import Setup
from gan1010_jax.methods import OBJECTIVES, OPTIMIZERS, PENALTIES, Hyperparams, Method
from gan1010_jax.population.files import is_number, read_json, write_json
from gan1010_jax.population.settings import RunSettings, check_settings, shortest

MANIFEST, REPORT = "manifest.json", "report.json"
FORMAT = 5
# The other `versions()` do not change a row.
_VERSIONS = ("gan1010_jax", "jax", "jaxlib", "flax", "optax")
# Described by their names alone, since a lambda's code depends on Python's version.
_BUILT_IN = (*OBJECTIVES.values(), *PENALTIES.values())


def configure(settings: RunSettings) -> dict[str, Any]:
    """Everything that a row depends on beside its number; equal values give the same bits."""
    setup, grid, found = check_setup(settings.setup), settings.grid, versions()
    plain = ("first_seed", "steps", "record_every", "engine", "dtype")
    try:
        described = {"game": _describe(setup.game), "method": _describe(setup.method)}
    except RecursionError as error:
        allowed = "a Game none of whose functions holds itself, nor the method's"
        raise InvalidArgument("game", setup.game.name, allowed) from error
    return {
        **described,
        "hyperparams": {
            name: shortest(number)
            for name, number in vars(setup.hyperparams).items()
            if number is not None and name not in grid
        },
        "grid": {name: list(map(shortest, values)) for name, values in grid.items()},
        **{name: getattr(settings, name) for name in plain},
        "platform": jax.default_backend(),
        "threefry_partitionable": jax.config.jax_threefry_partitionable,
        "versions": {name: found[name] for name in _VERSIONS},
    }


def _describe(value: Any) -> Any:
    """A game, a method, or a part of one as JSON.

    A dataclass, as a Flax module is, becomes its type and its fields, or its name if it is a
    built-in objective or penalty, an array its digest, and a function its name and the values that
    it holds; a lambda also its code. Two functions that differ in none of these count as the same.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, tuple | list):
        return [_describe(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _describe(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | jax.Array):
        array = np.asarray(value)
        bits = hashlib.sha256(array.tobytes()).hexdigest()
        return {"shape": list(array.shape), "dtype": array.dtype.name, "sha256": bits}
    if isinstance(value, functools.partial):
        function = {"function": _describe(value.func), "args": _describe(value.args)}
        return {**function, **_describe(value.keywords)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        unnamed = {"parent", "name"} if isinstance(value, nn.Module) else set()
        names = [field.name for field in dataclasses.fields(value) if field.name not in unnamed]
        if value in _BUILT_IN:
            names = ["name"]
        parts = _describe({name: getattr(value, name) for name in names})
        return {"type": _full_name(type(value)), **parts}
    if callable(value) and hasattr(value, "__qualname__"):
        return {"function": _full_name(value), **_describe(_held_by(value))}
    text = repr(value)
    return _full_name(type(value)) if " at 0x" in text else text


def _held_by(value: Any) -> dict[str, Any]:
    """The values that a function holds, and a lambda's code."""
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
    return {name: item for name, item in held.items() if item is not None}


def _full_name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def check_same(path: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise `BadFile` for the first field in which a configuration differs from a manifest's."""
    theirs, ours = flatten_dict(there, sep="."), flatten_dict(here, sep=".")
    for field in theirs | ours:
        if theirs.get(field) != ours.get(field):
            problem = f"has {theirs.get(field)!r} as its {field}, and this run {ours.get(field)!r}"
            raise BadFile(path, f"{problem}, which gives other rows")


def is_begun(out: Path) -> bool:
    """Whether a run was begun in a directory: whether there is a manifest, be it bad."""
    return os.path.lexists(out / MANIFEST)


def write_manifest(out: Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest, with the format's version and a checksum.

    A report on fewer seeds, of an earlier run in the same directory, is deleted.
    """
    (out / REPORT).unlink(missing_ok=True)
    manifest = {"format": FORMAT, **manifest}
    write_json(out / MANIFEST, {**manifest, "checksum": fingerprint(manifest)})


def read_manifest(out: Path) -> dict[str, Any]:
    """Read a manifest; raise `BadFile` if there is none that is whole and of this format."""
    path = out / MANIFEST
    manifest = read_json(path)
    version = manifest.get("format") if isinstance(manifest, dict) else None
    if type(version) is not int or version < 1:
        raise BadFile(path, "is not the manifest of a run")
    if version != FORMAT:
        raise BadFile(path, f"is of format {version}, and this version knows format {FORMAT}")
    if not _fits(manifest, _FORM):
        raise BadFile(path, "is not the manifest of a run")
    checksum = manifest.pop("checksum")
    if checksum != fingerprint(manifest):
        raise BadFile(path, "was changed since it was written: its checksum is not right")
    del manifest["format"]
    return manifest


def _fits(value: Any, form: Any) -> bool:
    """Whether a JSON value has a form: a type, a list of a form, forms by key, or a test."""
    match form:
        case type():
            return type(value) is form
        case [each]:
            return type(value) is list and all(_fits(item, each) for item in value)
        case dict():
            items = form.items()
            return type(value) is dict and all(k in value and _fits(value[k], f) for k, f in items)
    return form(value)


def _values_are(form: Any) -> Callable[[Any], bool]:
    """The test that a JSON value is an object whose values have a form."""
    return lambda value: type(value) is dict and all(_fits(item, form) for item in value.values())


def _is_count(value: Any) -> bool:
    """Whether a JSON value is a number of seeds or steps, or may be one."""
    return type(value) is int and 0 <= value <= 2**32


def _is_text(value: Any) -> bool:
    """Whether a JSON value is a text that does nothing to a terminal."""
    return type(value) is str and value.isprintable()


def _is_recipe(value: Any) -> bool:
    """Whether a JSON value can be a `Game.recipe`."""
    return value is None or (type(value) is list and list(map(type, value)) == [str, list])


_PART_OF_METHOD = {"name": str}
# What is read of a manifest before it is compared with anything.
_FORM = {
    "checksum": str,
    "seeds": _is_count,
    "chunk": _is_count,
    "machine": {name: _is_text for name in ("device", "processor", "XLA_FLAGS")},
    "versions": _values_are(_is_text),
    "configuration": {
        "game": {"name": str, "recipe": _is_recipe},
        "method": {
            **{"objective": _PART_OF_METHOD, "penalty": _PART_OF_METHOD},
            **{"update_order": str, "d_steps": int, "first": str},
            "sync_period": lambda period: period is None or type(period) is int,
            "optimizer": lambda optimizer: True,
        },
        "hyperparams": _values_are(is_number),
        "grid": _values_are([is_number]),
        **{"first_seed": _is_count, "steps": _is_count, "record_every": _is_count, "engine": str},
        **{"dtype": lambda name: name in ("float32", "float64"), "platform": _is_text},
    },
}


def fingerprint(value: Any) -> str:
    """A digest of a JSON value, whatever the order of keys."""
    return digest(json.dumps(value, sort_keys=True).encode())


def digest(data: bytes | memoryview) -> str:
    """The first 64 bits of the SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()[:16]


def read_run(out: Path) -> RunSettings:
    """The settings of the run that was begun in a directory; JAX's devices are not asked for.

    Raises:
      BadFile: (a `ValueError`) for a manifest that cannot be used.
      InvalidArgument: (a `ValueError`) for a game or method that this package does not make.
    """
    return _stated_settings(out, read_manifest(out), None)


def settings_of(out: Path, manifest: Mapping[str, Any], setup: Setup | None = None) -> RunSettings:
    """The settings that a manifest states, validated.

    Raises:
      BadFile: (a `ValueError`) if they are outside their limits.
      InvalidArgument: (a `ValueError`) if a setup of one's own game or method is another than what
        was used, or is not given.
    """
    with in_dtype(manifest["configuration"]["dtype"]):
        settings = _stated_settings(out, manifest, setup)
        try:
            return check_settings(settings)
        except InvalidArgument as error:
            raise _unusable(out, error) from error


def _stated_settings(out: Path, manifest: Mapping[str, Any], setup: Setup | None) -> RunSettings:
    """The settings that a manifest states."""
    configuration = manifest["configuration"]
    grid, first_seed = configuration["grid"], configuration["first_seed"]
    game = _find_game(configuration, setup and setup.game)
    method = _find_method(configuration, setup and setup.method)
    try:
        first_cell = {name: values[0] for name, values in grid.items()}
        hyperparams = Hyperparams(**configuration["hyperparams"], **first_cell)
        return RunSettings(
            seed_list=range(first_seed, first_seed + manifest["seeds"]),
            setup=Setup(game, method, hyperparams),
            grid=grid,
            chunk=manifest["chunk"],
            **{name: configuration[name] for name in ("steps", "record_every", "engine")},
        )
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise _unusable(out, error) from error


def _unusable(out: Path, error: Exception) -> BadFile:
    return BadFile(out / MANIFEST, f"is not the manifest of a run ({error})")


def _find_game(configuration: Mapping[str, Any], game: Game | None) -> Game:
    """The game of a configuration: the one given, or the built-in one of its recipe."""
    described, found = configuration["game"], game
    if game is None and described["recipe"] is not None:
        name, arguments = described["recipe"]
        with contextlib.suppress(KeyError, TypeError, InvalidArgument):  # of another version
            found = GAMES[name](*arguments)
    if found is None or _describe(found) != described:
        allowed = f"the Game that was played, of the name {described['name']!r}"
        raise InvalidArgument("game", game, allowed)
    return found


def _find_method(configuration: Mapping[str, Any], method: Method | None) -> Method:
    """The method of a configuration: the one given, or the one of its parts' names."""
    described, found = configuration["method"], method
    parts = {name: described[name]["name"] for name in ("objective", "penalty")}
    if method is None:
        known = {str(_describe(made)): name for name, made in OPTIMIZERS.items()}
        pair = described["optimizer"]
        pair = pair if isinstance(pair, list) else [pair]
        names = ("update_order", "d_steps", "first", "sync_period")
        options = {name: described[name] for name in names} | parts
        options["optimizer"] = ",".join(known.get(str(one), "another") for one in pair)
        with contextlib.suppress(InvalidArgument):  # for a part that is not built in
            found = Method.from_options(**options)
    if found is None or _describe(found) != described:
        names = " and ".join(f"the {part} {name!r}" for part, name in parts.items())
        raise InvalidArgument("method", method, f"the Method that was used, of {names}")
    return found
