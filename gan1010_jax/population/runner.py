"""The run of a population: chunk after chunk on threads, in memory or into a directory."""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan1010_jax.convergence import Counts, add_counts, count_rows
from gan1010_jax.environment import count_cores, describe_device, enable_x64, versions
from gan1010_jax.errors import InvalidArgument, UnfinishedRun
from gan1010_jax.gan import Setup
from gan1010_jax.population import manifest, store
from gan1010_jax.population.blocks import Program, compile_run, run_block
from gan1010_jax.population.files import claim, is_empty, write_json
from gan1010_jax.population.processes import (
    check_alike,
    decided_by_first,
    is_first,
    wait_for_all,
)
from gan1010_jax.population.results import Population, convergence_report, make_population
from gan1010_jax.population.settings import RunSettings, select_rows
from gan1010_jax.population.tables import (
    MAIN_TABLE,
    Results,
    StoredColumns,
    join_histories,
    join_results,
    make_tables,
    read_tables,
)
from gan1010_jax.training import History

KEPT_HISTORIES = 1024
# About 1 s of work on 2 cores: an interruption loses little, and there are few files.
DEFAULT_CHUNK = 8192
# Seconds that a shared file system may delay until other hosts' files become visible.
FILE_SYSTEM_DELAY = 60

_TIMES = ("wall_seconds", "compile_seconds", "seed_steps_per_second")

# Called with the population and its report.
Finish = Callable[[Population, dict[str, Any]], object]


def train_in_memory(settings: RunSettings) -> Population:
    """Train a population, and keep it in memory."""
    started = time.perf_counter()
    program, settings, compiled = _compile(settings, 0)
    found: dict[range, Results] = {}
    chunks = store.cut(range(settings.rows), settings.chunk)
    _run_chunks(program, settings, chunks, found.__setitem__)
    times = _times(started, compiled, settings.rows * settings.steps)
    results = join_results([*found.values()])
    return make_population(
        settings,
        results,
        count_rows(results.columns, settings.record_steps),
        platform=jax.default_backend(),
        device=describe_device(),
        versions=versions(),
        **times,
    )


def _compile(settings: RunSettings, done: int) -> tuple[Program, RunSettings, float]:
    """The program of a run; its settings with that engine and a chunk; the time at the end."""
    settings.progress(done, settings.rows)
    program = compile_run(settings)
    chunk = settings.chunk or max(DEFAULT_CHUNK, program.width)
    settings = settings._replace(engine=program.engine.name, chunk=chunk)
    return program, settings, time.perf_counter()


class Stored:
    """The chunks of a directory, added up as they are written or read, in any order.

    Attributes:
      parts: of each chunk, by its first row.
    """

    def __init__(self, out: Path, settings: RunSettings):
        """Start with no chunk."""
        self.parts: dict[int, store.Parts] = {}
        self._out, self._steps = out, settings.record_steps
        self._counts: Counts | None = None
        self._curves: dict[str, np.ndarray] = {}
        self._histories: dict[int, History | None] = {}

    def add(self, parts: store.Parts, results: Results) -> None:
        """Add a chunk, unless it was added before."""
        first = parts[MAIN_TABLE].rows.start
        if first in self.parts:
            return
        counts = count_rows(results.columns, self._steps)
        self._counts = add_counts(self._counts, counts) if self._counts else counts
        self._curves = {name: x + self._curves.get(name, 0) for name, x in results.curves.items()}
        self._histories[first] = results.history
        self.parts[first] = parts

    def write(self, configuration: Mapping[str, Any], rows: range, results: Results) -> None:
        """Write a chunk, and add it."""
        tables = make_tables(results, self._steps)
        self.add(store.write_chunk(self._out, rows, configuration, tables), results)

    def read(self, stated: Mapping[str, Any], repair: bool = False) -> None:
        """Read, check and add the chunks that were not added yet, with the manifest at hand."""
        for parts, tables in store.read_chunks(self._out, stated, self.main_parts, repair):
            self.add(parts, read_tables(tables, len(self._steps)))

    @property
    def main_parts(self) -> list[store.Part]:
        """The parts of the population, in the order of their rows."""
        return [parts[MAIN_TABLE] for _, parts in sorted(self.parts.items())]

    def population(
        self, stated: Mapping[str, Any], settings: RunSettings, **session: Any
    ) -> Population:
        """The population of all chunks; `session` is known of a training that has just ended."""
        columns = StoredColumns([self._out / MAIN_TABLE / part.name for part in self.main_parts])
        histories = join_histories(self._histories[first] for first in sorted(self._histories))
        report = store.read_report(self._out)
        times = {
            name: value
            for name, value in report.items()
            if name in _TIMES and isinstance(value, int | float) and math.isfinite(value)
        }
        return make_population(
            settings,
            Results(columns, self._curves, histories),
            self._counts,
            min(self.parts),
            platform=stated["configuration"]["platform"],
            versions=stated["versions"],
            **{"device": stated["device"], **times, **session},
        )


def train_into(
    out: Path, settings: RunSettings, resume: bool, repair: bool, finish: Finish | None
) -> Population | None:
    """Train the rows that a directory lacks, and report on all of them.

    In a job of several processes, the first one decides which rows are missing, holds the lock and
    reports; the others train their shares and return None.
    """
    seeds, started, session = settings.seed_list, time.perf_counter(), {}
    if not isinstance(seeds, range) or (len(seeds) > 1 and seeds.step != 1):
        allowed = "a range with no gaps, such as range(64), for seeds that go to a directory"
        raise InvalidArgument("seeds", seeds, allowed)
    call = {"seeds": len(seeds), "chunk": settings.chunk, "out": str(out.absolute())}
    check_alike(manifest.configure(settings) | call | {"resume": resume, "repair": repair})
    stored = Stored(out, settings)
    with ExitStack() as lock:
        plan = decided_by_first(lambda: _open(out, settings, resume, repair, stored, lock))
        settings = settings._replace(engine=plan["engine"], chunk=plan["chunk"])
        missing = [range(*rows) for rows in plan["missing"]]
        rows = sum(map(len, missing))
        if missing:
            program, settings, compiled = _compile(settings, settings.rows - rows)
            settings = settings._replace(chunk=decided_by_first(lambda: _begin(out, settings)))
            _train_share(out, settings, program, missing, stored)
        dead = wait_for_all()
        if missing:
            session = _times(started, compiled, rows * settings.steps)
            session["device"] = describe_device()
        if not is_first():
            return None
        _check_complete(out, settings.rows, dead)
        stated = manifest.read_manifest(out)
        stored.read(stated)  # the chunks that other processes wrote
        settings = manifest.settings_of(stated, settings.setup)
        population = stored.population(stated, settings, **session)
        report = convergence_report(population)
        store.clean(out, stored.parts.values())
        write_json(out / manifest.REPORT, report)
        if finish is not None:
            finish(population, report)
        return population


def _open(
    out: Path, settings: RunSettings, resume: bool, repair: bool, stored: Stored, lock: ExitStack
) -> dict[str, Any]:
    """Lock a directory, read the chunks in it, and plan the rest.

    Returns:
      The `missing` rows, the `engine` and the `chunk` to train them with, as JSON.
    """
    configuration = manifest.configure(settings)  # raises before anything is made
    lock.enter_context(claim(out, resume))
    if is_empty(out):
        return {"missing": [[0, settings.rows]], "engine": settings.engine, "chunk": settings.chunk}
    stated = manifest.read_manifest(out)
    begun = stated["configuration"]
    engine = begun["engine"] if settings.engine == "auto" else settings.engine
    manifest.check_same(out / manifest.MANIFEST, begun, configuration | {"engine": engine})
    if settings.seeds < stated["seeds"]:
        allowed = f"{stated['seeds']} or more, the number begun in {out}"
        raise InvalidArgument("seeds", settings.seeds, allowed)
    stored.read(stated, repair)
    if settings.seeds > stated["seeds"]:  # even if this is interrupted, the run has these seeds
        manifest.write_manifest(out, stated | {"seeds": settings.seeds})
    gaps = store.find_gaps(stored.main_parts, settings.rows)
    chunk = settings.chunk or stated["chunk"]
    return {"missing": [[x.start, x.stop] for x in gaps], "engine": engine, "chunk": chunk}


def _begin(out: Path, settings: RunSettings) -> int:
    """Write the manifest, unless the run was begun before; the chunk of every process."""
    if not manifest.is_begun(out):
        stated = {
            "seeds": settings.seeds,
            "chunk": settings.chunk,
            "configuration": manifest.configure(settings),
            "device": describe_device(),
            "versions": versions(),
        }
        manifest.write_manifest(out, stated)
    return settings.chunk


def _train_share(
    out: Path, settings: RunSettings, program: Program, missing: list[range], stored: Stored
) -> None:
    """Train this process's share of the missing rows, and write each chunk as it is done."""
    chunks = [chunk for rows in missing for chunk in store.cut(rows, settings.chunk)]
    share = chunks[jax.process_index() :: jax.process_count()]
    before = settings.rows - sum(map(len, chunks))
    write = partial(stored.write, manifest.configure(settings))
    try:
        _run_chunks(program, settings, share, write, before)
    except BaseException as error:
        kept = before + sum(len(rows) for rows in share if rows.start in stored.parts)
        total = before + sum(map(len, share))
        error.add_note(f"{kept:,} of {total:,} GANs are kept in {out}")
        raise


def _run_chunks(
    program: Program,
    settings: RunSettings,
    chunks: list[range],
    use: Callable[[range, Results], object],
    before: int = 0,
) -> None:
    """Run chunks of rows, and use the results of each, in their order, while the next are run.

    Progress counts from `before`. On an interrupt, the chunks that are complete are used before it
    is raised again.
    """
    done, total = before, before + sum(map(len, chunks))
    if jax.default_backend() == "cpu":
        default_workers = max(1, count_cores() // program.devices)
    else:
        default_workers = 2  # one is computed while the other is copied to the host
    workers = settings.workers or default_workers
    waiting: deque[tuple[range, list[Future[Results]]]] = deque()

    def use_first() -> None:
        nonlocal done
        rows, blocks = waiting[0]
        for block in blocks:
            done += len(block.result().columns["seed"])
            settings.progress(done, total)
        use(rows, join_results([block.result() for block in blocks]))
        waiting.popleft()

    settings.progress(done, total)
    x64, setup = jax.config.jax_enable_x64, settings.float_setup
    run = partial(_run_rows, program, settings, setup, x64)
    pool = ThreadPoolExecutor(workers)
    try:
        for rows in chunks:
            blocks = [rows[i : i + program.width] for i in range(0, len(rows), program.width)]
            waiting.append((rows, [pool.submit(run, block) for block in blocks]))
            # Two blocks a worker beyond the first chunk keep all busy while it is used.
            while sum(len(blocks) for _, blocks in waiting) - len(waiting[0][1]) >= 2 * workers:
                use_first()
        while waiting:
            use_first()
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        for rows, blocks in waiting:
            if all(block.done() and not block.cancelled() for block in blocks):
                use(rows, join_results([block.result() for block in blocks]))
        raise
    finally:
        # An interrupt does not wait for the blocks that are running.
        pool.shutdown(wait=False, cancel_futures=True)


def _run_rows(
    program: Program, settings: RunSettings, setup: Setup, x64: bool, rows: range
) -> Results:
    """Train some rows."""
    kept = 0 if settings.grid else max(0, min(rows.stop, KEPT_HISTORIES) - rows.start)
    with enable_x64(x64):  # each thread has its own mode
        seeds, setup, varied = select_rows(settings, setup, rows)
        results = run_block(program, seeds, setup, kept)
    return results._replace(columns=results.columns | varied)


def _check_complete(out: Path, total: int, dead: set[int]) -> None:
    """Raise `UnfinishedRun` if a directory lacks rows that the file system had time to show."""
    is_shared = jax.process_count() > 1 and not dead
    patience = time.monotonic() + (FILE_SYSTEM_DELAY if is_shared else 0)
    while gaps := store.find_gaps(store.list_parts(out, total), total):
        if time.monotonic() > patience:
            died = f"process {', '.join(map(str, sorted(dead)))} ended early, and " if dead else ""
            missing = sum(map(len, gaps))
            raise UnfinishedRun(f"{died}{missing:,} of {total:,} GANs are missing in {out}")
        time.sleep(1)


def _times(started: float, compiled: float, seed_steps: int) -> dict[str, float]:
    """The durations of a training that ends now."""
    ended = time.perf_counter()
    return dict(zip(_TIMES, (ended - started, compiled - started, seed_steps / (ended - compiled))))
