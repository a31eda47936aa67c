"""The public functions: train a population, open one, replay one of its rows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan1010_jax.checks import check_callable, check_kind, check_path, check_whole
from gan1010_jax.environment import in_dtype
from gan1010_jax.errors import BadFile, InvalidArgument
from gan1010_jax.gan import Setup
from gan1010_jax.population.manifest import read_manifest, settings_of
from gan1010_jax.population.results import Population
from gan1010_jax.population.runner import Finish, Stored, train_in_memory, train_into
from gan1010_jax.population.settings import MAX_SEED, Grid, Progress, RunSettings, check_settings
from gan1010_jax.training import History, Log


def train_population(
    seeds: Sequence[int] | np.ndarray,
    setup: Setup = Setup(),
    *,
    steps: int = 10_000,
    record_every: int = 10,
    grid: Grid | None = None,
    engine: str = "auto",
    workers: int | None = None,
    chunk: int | None = None,
    out: str | Path | None = None,
    repair: bool = False,
    progress: Progress | None = None,
    log: Log | None = None,
    finish: Finish | None = None,
) -> Population:
    """Train many GANs; seed i's run is `train(jax.random.key(i), ...)`.

    On one platform, jaxlib and engine, a seed's row is the same to the bit in any population,
    whatever the chunk, the workers, the devices and the processes, and whether it was resumed. All
    local devices are used.

    With `out`, the results go to a directory, chunk after chunk, and memory does not grow with the
    number of seeds. The same call goes on with a directory that it has begun, whatever ended it:
    only the missing rows are trained, and nothing if there are none. Processes joined by
    `jax.distributed` share a directory with `train_share`.

    Args:
      seeds: the seeds, such as `range(64)`: one or more whole numbers from 0 to 2³²-1.
      setup: what is trained; each hyperparameter a scalar, or an array [seeds] with a value for
        each seed.
      steps: how many steps each, a positive multiple of `record_every`.
      record_every: the number of steps from record to record; 100,000 records at most.
      grid: values of hyperparameters by their names, such as `{"d_lr": [0.01, 0.1]}`: every seed is
        trained with every combination of them, all by one compiled program. They are sorted as
        `Hyperparams` are.
      engine: one of `"vmap"`, `"fused"` and `"pallas"`, or `"auto"` for the fastest that this
        machine has and that the game and the method allow: with a warning, another one takes over
        where it does not compile or run, or where networks larger than the built-in games' would
        take longer to compile than to train. A directory keeps the engine that began it.
      workers: how many blocks of seeds run at a time; by default, one on each core of a CPU, and
        two on an accelerator.
      chunk: how many rows are written, and resumed, as one unit.
      out: a directory that is new, empty, or begun with the same configuration and as many seeds or
        fewer. The seeds must be a range with no gaps, and the hyperparameters scalars or in the
        grid.
      repair: whether bad files are moved to `out/set-aside/`, and their seeds trained again.
      progress: called with how many rows are done, and how many there are: before the program
        is compiled, when it is, and after every block; and again from the start, where another
        engine begins anew.
      log: called after each chunk with a dict of Python numbers about all rows so far, those that
        the directory had included: `seeds`, how many; the fractions of them that are `matched`,
        `in_support`, `forgot` and `diverged`; `chunk`, how many chunks this call has trained; and
        `wall_seconds` since it began. It begins again where another engine begins anew. What it
        raises ends the run, and a directory keeps the chunk.
      finish: called with the population and its report when the report is written, while the
        directory is still locked: for files that belong to it, such as figures.

    Raises:
      InvalidArgument: (a `ValueError`) for an argument outside these limits.
      BadFile: (a `ValueError`) for a directory of another configuration or whose rows have other
        bits than this process computes, a file in it that is not what its name says, or another
        run that is writing to it.
      UnfinishedRun: (a `RuntimeError`) if another process died.
      OSError: if a file cannot be written. What was finished before is kept.
    """
    _check_jit()
    check_callable("progress", progress)
    check_callable("log", log)
    settings = check_settings(
        RunSettings(seeds, setup, steps, record_every, grid, engine, workers, chunk, progress, log)
    )
    out = check_files(out, repair, finish)
    if out is None:
        return train_in_memory(settings)
    if jax.process_count() > 1:
        allowed = "None in a job of several processes, which share a directory with train_share"
        raise InvalidArgument("out", str(out), allowed)
    population = train_into(out, settings, repair, finish)
    assert population is not None, "the only process is the first"
    return population


def train_share(
    seeds: Sequence[int] | np.ndarray,
    setup: Setup = Setup(),
    *,
    out: str | Path,
    repair: bool = False,
    finish: Finish | None = None,
    **options: Any,
) -> Population | None:
    """Train a share of a population that processes joined by `jax.distributed` write together.

    The processes call it alike and see the same directory. Arguments and errors are those of
    `train_population`. Each process calls its own `log` with the rows of its share and, in the
    first, those that were there.

    Returns:
      The whole population in the first process, and None in the others.
    """
    _check_jit()
    check_callable("progress", options.get("progress"))
    check_callable("log", options.get("log"))
    for name in options.keys() - set(RunSettings._fields[2:]):
        raise TypeError(f"train_share() got an unexpected keyword argument {name!r}")
    settings = check_settings(RunSettings(seeds, setup, **options))
    place = check_path("out", out)
    check_files(place, repair, finish)
    return train_into(place, settings, repair, finish)


def check_files(out: Any, repair: Any, finish: Any) -> Path | None:
    """The directory of results, if any; raise for arguments of another kind, or without one."""
    check_kind("repair", repair, bool)
    check_callable("finish", finish)
    if out is not None:
        return check_path("out", out)
    for name, value in (("repair", repair), ("finish", finish)):
        if value:
            raise InvalidArgument(name, value, "given with out")
    return None


def _check_jit() -> None:
    """Raise if JAX is told to compile nothing, as in debugging."""
    if jax.config.jax_disable_jit:
        allowed = "False, since a population is trained by a compiled program, unlike gan.train"
        raise InvalidArgument("jax_disable_jit", True, allowed)


def load_population(out: str | Path, setup: Setup | None = None) -> Population:
    """Open a result directory, finished or not, and check every file in it.

    Args:
      out: the directory.
      setup: what was trained, if its game or a part of its method is your own; its hyperparameters
        do not matter, since the directory has them.

    Raises:
      BadFile: (a `ValueError`) for the first file that is not what its name says, or if no seed
        is there yet.
      InvalidArgument: (a `ValueError`) for another game or method than what was used.
    """
    out = check_path("out", out)
    if setup is not None:
        check_kind("setup", setup, Setup)
    manifest = read_manifest(out)
    settings = settings_of(out, manifest, setup)
    stored = Stored(out, settings)
    with in_dtype(manifest["configuration"]["dtype"]):
        stored.read(manifest)
        if not stored.parts:
            raise BadFile(out, "has no trained seeds yet")
        return stored.population(manifest, settings)


def replay(
    seed: int,
    setup: Setup = Setup(),
    *,
    steps: int = 10_000,
    record_every: int = 10,
    engine: str = "auto",
) -> History:
    """The full history of a seed as it runs in every population of the same engine, to the bit.

    `train(jax.random.key(seed), ...)` is another program, and gives the same to rounding. The other
    arguments are those of `train_population` for a single seed.

    Returns:
      The `History`, as NumPy arrays.

    Raises:
      InvalidArgument: (a `ValueError`) for an argument outside these limits.
    """
    check_whole("seed", seed, 0, MAX_SEED)
    options = dict(steps=steps, record_every=record_every, engine=engine)
    return first_history(train_population([seed], setup, **options))


def replay_row(population: Population, row: int) -> History:
    """The full history of a row, by training its seed again; it leads to that row to the bit.

    Warns if it does not: then other versions of the packages, or another kind of processor, trained
    the row.

    Raises:
      InvalidArgument: (a `ValueError`) for anything but a `Population`, or a number that is not a
        row's.
    """
    check_kind("population", population, Population)
    check_whole("row", row, 0, population.counts.seeds - 1)
    again = train_population(
        population.columns["seed"][[row]],
        replace(population.setup, hyperparams=population.hyperparams_of(row)),
        steps=population.steps,
        record_every=population.record_every,
        engine=population.engine,
    )
    differ = [
        name
        for name, column in again.columns.items()
        if column.tobytes() != population.columns[name][[row]].tobytes()
    ]
    if differ:
        warnings.warn(f"the replay of row {row} has another {', '.join(differ)}", stacklevel=2)
    return first_history(again)


def first_history(population: Population) -> History:
    """The history of the first row."""
    return jax.tree.map(lambda leaf: leaf[0], population.history)
