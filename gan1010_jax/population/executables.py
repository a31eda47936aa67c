"""Executables on the disk: what was compiled once is neither traced nor compiled again.

They lie in the folder `gan1010_jax` of JAX's compilation cache, and are kept if that is on: JAX's
own entries spare the compiler alone. Only built-in games and methods have one, whose code is known
by the package's source. An executable is code, so it is read from nothing but a folder of the
user's own; one that is damaged, or belongs to another version, processor or setting, is not loaded
but replaced.
"""

import contextlib
import functools
import json
import os
import secrets
import stat
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.experimental.serialize_executable import deserialize_and_load, serialize

from gan1010_jax.environment import describe_machine, describe_processor, versions
from gan1010_jax.errors import InvalidArgument
from gan1010_jax.games import GAMES
from gan1010_jax.gan import Setup
from gan1010_jax.methods import Method
from gan1010_jax.population.files import read_file, write_file
from gan1010_jax.population.manifest import digest

KEEPING = "keeping an executable"  # the name of the threads that write them
_MOST = 2**28  # bytes of all of them
_LARGEST = 2**26
_KNOWN = {"gan1010_jax", "jax", "optax"}  # packages


class Source(NamedTuple):
    """What an executable is made of.

    Attributes:
      jit: the function of its name that returns it, as `jax.jit` does.
      arguments: the shapes and dtypes of its arguments, and `results`, a tree like its results.
      facts: what tells it from other programs of the same setup, by names, as JSON.
      builder: the function whose work it is, beside the setup's.
    """

    jit: Callable[[str], Any]
    arguments: tuple[Any, ...]
    results: Any
    facts: dict[str, Any]
    builder: Callable[..., Any]


def load_or_compile(
    sources: Sequence[Source], setup: Setup, devices: Sequence[jax.Device]
) -> list[jax.stages.Compiled]:
    """The executables of some programs that train a setup on devices.

    Those that are not on the disk are traced one after another, here, where JAX's settings hold,
    and compiled meanwhile.
    """
    folder = _folder() if jax.process_count() == 1 else None
    identities = [
        _identify(source, setup, devices) if folder and _is_ours(source, setup) else None
        for source in sources
    ]
    paths = [x and folder / f"{digest(x.encode())}.executable" for x in identities]
    # Under a name that is used once, JAX's cache has none that it could return in place of a
    # compiled one: what was loaded from there lacks functions once it is serialised again.
    names = ["block" if x is None else f"block_{secrets.token_hex(8)}" for x in identities]
    with ThreadPoolExecutor(len(sources)) as pool:
        found = list(pool.map(partial(_load, devices=devices), sources, identities, paths))
        compiling = {
            place: pool.submit(source.jit(name).lower(*source.arguments).compile)
            for place, (source, name) in enumerate(zip(sources, names))
            if found[place] is None
        }
        for place, future in compiling.items():
            found[place] = future.result()
            if paths[place]:
                arguments = found[place], identities[place], paths[place]
                threading.Thread(target=_keep, name=KEEPING, args=arguments).start()
    return found


def _identify(source: Source, setup: Setup, devices: Sequence[jax.Device]) -> str:
    """All that decides the code of a program, a line of JSON.

    JAX's settings count with all the rest; of the hyperparameters, which there are.
    """
    decisive = {
        **source.facts,
        "game": setup.game.recipe,
        "method": setup.method.options,
        "hyperparams": [name for name, x in vars(setup.hyperparams).items() if x is not None],
        "devices": [f"{device.platform} {device.id}" for device in devices],
        "settings": {  # those that are on, since in JAX 0.7 Pallas brings some of its own, all off
            name: repr(value)
            for name, value in jax.config.values.items()
            if value and "cache" not in name
        },
        **_describe_process(),
    }
    return json.dumps(decisive, sort_keys=True)


def _load(
    source: Source, identity: str | None, path: Path | None, devices: Sequence[jax.Device]
) -> jax.stages.Compiled | None:
    """The executable of an identity, or None if there is none that can be used."""
    if identity is None or path is None:
        return None
    try:
        stated, checksum, payload = read_file(path, _LARGEST).split(b"\n", 2)
        if stated != identity.encode() or checksum != digest(payload).encode():
            return None
        trees = jax.tree.structure((source.arguments, {})), jax.tree.structure(source.results)
        executable = deserialize_and_load(payload, *trees, devices[0].client, devices)
    except Exception:  # whatever is wrong with a file, the program can be compiled
        return None
    with contextlib.suppress(OSError):  # of a place that is read-only
        os.utime(path)  # the one that was used last is deleted last
    return executable


def _keep(executable: jax.stages.Compiled, identity: str, path: Path) -> None:
    """Keep an executable, if it can be."""
    try:
        payload, *_ = serialize(executable)
        write_file(path, b"\n".join([identity.encode(), digest(payload).encode(), payload]))
        _delete_oldest(path.parent)
    except Exception:  # a full disk, or a platform whose executables cannot leave their process
        return


def _folder() -> Path | None:
    """The folder of executables, if there is one that nobody but the user can write to or read."""
    directory = jax.config.jax_compilation_cache_dir
    is_on = directory and jax.config.jax_enable_compilation_cache and "://" not in directory
    if not is_on or not hasattr(os, "geteuid"):
        return None
    folder = Path(directory) / "gan1010_jax"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    is_own = found.st_uid == os.geteuid() and not found.st_mode & 0o077
    return folder if stat.S_ISDIR(found.st_mode) and is_own else None


def _delete_oldest(folder: Path) -> None:
    """Delete what was not used for the longest time, until the rest is small enough."""
    found = sorted(((path.stat(), path) for path in folder.iterdir()), key=lambda x: -x[0].st_mtime)
    total = 0
    for about, path in found:
        total += about.st_size
        if total > _MOST:
            path.unlink(missing_ok=True)


def _is_ours(source: Source, setup: Setup) -> bool:
    """Whether all functions of a program are of packages whose versions are known."""
    name, arguments = setup.game.recipe or ("", ())
    method = setup.method
    functions = [
        source.builder,
        GAMES.get(name),
        *method.optimizers,
        *(part for one in (method.objective, method.penalty) for part in vars(one).values()),
    ]
    modules = [getattr(part, "__module__", None) for part in functions if callable(part)]
    packages = {module and module.split(".")[0] for module in modules}  # none of what `exec` made
    if name not in GAMES or not packages <= _KNOWN:
        return False
    try:
        same = (
            setup.game == GAMES[name](*arguments),
            method == Method.from_options(**method.options),
        )
    except (InvalidArgument, TypeError):  # of a recipe or a method of one's own
        return False
    return all(same)


@functools.cache
def _describe_process() -> dict[str, Any]:
    """What decides the code of all programs of this process alike."""
    package = Path(__file__).parents[1]
    source = [(path.relative_to(package), path.read_bytes()) for path in package.rglob("*.py")]
    return {
        "source": digest(
            b"".join(b"%s\n%s" % (bytes(name), text) for name, text in sorted(source))
        ),
        "versions": versions(),
        "machine": describe_machine() | {"processor": describe_processor()},
        "LIBTPU_INIT_ARGS": os.environ.get("LIBTPU_INIT_ARGS", ""),
    }
