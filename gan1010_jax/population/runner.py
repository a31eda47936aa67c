"""The run of a population: chunk after chunk on threads, in memory or into a directory."""

import dataclasses
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from gan1010_jax.environment import count_cores, describe_device, versions
from gan1010_jax.errors import BadFile, InvalidArgument, UnfinishedRun
from gan1010_jax.games import Game
from gan1010_jax.gan import Setup
from gan1010_jax.methods import Method
from gan1010_jax.population.blocks import Program, compile_setup, run_block, share_precision
from gan1010_jax.population.columns import Results, join_columns, join_results
from gan1010_jax.population.files import claim, is_empty, write_json
from gan1010_jax.population.grid import cell_columns, count_cells
from gan1010_jax.population.manifest import (
    MANIFEST,
    REPORT,
    RunSettings,
    check_same,
    configure,
    is_begun,
    make_manifest,
    read_manifest,
    settings_of,
    write_manifest,
)
from gan1010_jax.population.processes import decided_by_first, is_first, wait_for_all
from gan1010_jax.population.results import Population, Totals, convergence_report
from gan1010_jax.population.store import (
    Part,
    Parts,
    clean,
    cut,
    find_gaps,
    list_parts,
    read_chunks,
    read_report,
    write_chunk,
)
from gan1010_jax.population.tables import MAIN_TABLE, StoredColumns, make_tables, read_tables

KEPT_HISTORIES = 1024
# About 1 s of work on 2 cores: little is lost in an interruption, and files are not many.
DEFAULT_CHUNK = 8192
# Seconds that a shared file system may delay until other hosts' files become visible.
FILE_SYSTEM_DELAY = 60

TIMES = ("wall_seconds", "compile_seconds", "seed_steps_per_second")

# Called with how many rows are done, and how many there are.
Progress = Callable[[int, int], object]
# Called with the population and its report.
Finish = Callable[[Population, dict[str, Any]], object]


class Task(NamedTuple):
    """What is to be trained, and how: arguments already validated.

    Attributes:
      settings: what a manifest would state.
      seeds: of the population.
      setup: that of the settings in JAX's default float type; each leaf a scalar or [seeds].
      workers: how many blocks run at a time, or None for the default.
      progress: called after every block.
    """

    settings: RunSettings
    seeds: range | np.ndarray
    setup: Setup
    workers: int | None
    progress: Progress

    def with_settings(self, **changes: Any) -> "Task":
        """The same with other settings."""
        return self._replace(settings=self.settings._replace(**changes))

    def compile(self) -> Program:
        """Its program."""
        settings = self.settings
        return compile_setup(self.setup, settings.steps, settings.record_every, settings.engine)

    def run(self, program: Program, rows: range) -> Results:
        """Train some rows: seed by seed, and of each seed cell by cell."""
        grid = self.settings.grid
        places, cells = np.divmod(np.asarray(rows), count_cells(grid))
        first, last = int(places[0]), int(places[-1])
        seeds = np.asarray(self.seeds[first : last + 1], np.uint32)[places - first]
        setup = jax.tree.map(
            lambda leaf: np.broadcast_to(leaf, len(self.seeds))[places], self.setup
        )
        varied = cell_columns(grid, cells)
        setup = dataclasses.replace(
            setup, hyperparams=dataclasses.replace(setup.hyperparams, **varied)
        )
        kept = 0 if grid else max(0, min(rows.stop, KEPT_HISTORIES) - rows.start)
        results = run_block(program, seeds, setup, kept)
        return results._replace(columns=results.columns | varied)


def train_in_memory(task: Task) -> Population:
    """Train a population, and keep it in memory."""
    settings, started = task.settings, time.perf_counter()
    task.progress(0, settings.rows)
    program = task.compile()
    settings = settings._replace(engine=program.engine.name)
    compiled = time.perf_counter()
    chunks = cut(range(settings.rows), settings.chunk or _default_chunk(program))
    totals, columns = Totals(settings), []

    def use(rows: range, results: Results) -> None:
        totals.add(rows, results)
        columns.append(results.columns)

    _run_chunks(program, task, chunks, use, task.progress)
    return totals.population(
        settings,
        join_columns(columns),
        platform=jax.default_backend(),
        device=describe_device(),
        versions=versions(),
        **_times(started, compiled, settings.rows * settings.steps),
    )


class Stored(NamedTuple):
    """What is known of a directory's chunks.

    Attributes:
      parts: the parts of each chunk, by its first row.
      totals: what the population keeps of them.
    """

    parts: dict[int, Parts]
    totals: Totals

    def add(self, parts: Parts, results: Results) -> None:
        """Add a chunk."""
        rows = parts[MAIN_TABLE].rows
        self.totals.add(rows, results)
        self.parts[rows.start] = parts

    def read(self, out: Path, manifest: dict[str, Any], repair: bool = False) -> None:
        """Add, read and check the chunks of a directory that are not known yet."""
        known = [parts[MAIN_TABLE] for parts in self.parts.values()]
        for parts, tables in read_chunks(out, manifest, known, repair):
            self.add(parts, read_tables(tables, len(self.totals.steps)))

    def population(
        self, out: Path, settings: RunSettings, manifest: dict[str, Any], session: dict[str, Any]
    ) -> Population:
        """The population of the directory; `session` is known of a training that just ended."""
        files = [out / MAIN_TABLE / part.name for part in self.main_parts]
        report = read_report(out)
        reported = {name: report.get(name) for name in TIMES}
        times = {name: value for name, value in reported.items() if _is_number(value)}
        facts = {"device": manifest["device"], **times, **session}
        return self.totals.population(
            settings,
            StoredColumns(files),
            platform=manifest["configuration"]["platform"],
            versions=manifest["versions"],
            **facts,
        )

    @property
    def main_parts(self) -> list[Part]:
        """The parts of the population, in the order of their rows."""
        return [self.parts[first][MAIN_TABLE] for first in sorted(self.parts)]


def train_into(
    out: Path, task: Task, resume: bool, repair: bool, finish: Finish | None
) -> Population | None:
    """Train the rows that a directory lacks, and report on all of them.

    In a job of several processes, the first one decides which rows are missing, holds the lock and
    reports; the others train their shares and return None.
    """
    started, session = time.perf_counter(), {}
    stored = Stored({}, Totals(task.settings))
    with ExitStack() as lock:
        plan = decided_by_first(lambda: _open(out, task, resume, repair, stored, lock))
        task = task.with_settings(engine=plan["engine"], chunk=plan["chunk"])
        missing, total = [range(*rows) for rows in plan["missing"]], task.settings.rows
        rows = sum(map(len, missing))
        if missing:
            task.progress(total - rows, total)
            program = task.compile()
            compiled = time.perf_counter()
            chunk = task.settings.chunk or _default_chunk(program)
            task = task.with_settings(engine=program.engine.name, chunk=chunk)
            decided_by_first(lambda: _begin(out, task.settings))
            chunks = [part for gap in missing for part in cut(gap, chunk)]
            _train_share(out, task, program, chunks, stored)
        dead = wait_for_all()
        if missing:
            times = _times(started, compiled, rows * task.settings.steps)
            session = {"device": describe_device(), **times}
        if not is_first():
            return None
        _check_complete(out, total, dead)
        manifest = read_manifest(out)
        stored.read(out, manifest)  # the chunks that other processes wrote
        settings = settings_of(manifest, task.settings.setup.game, task.settings.setup.method)
        population = stored.population(out, settings, manifest, session)
        report = convergence_report(population)
        clean(out, stored.parts.values())
        write_json(out / REPORT, report)
        if finish is not None:
            finish(population, report)
        return population


def load_from(out: Path, game: Game | None, method: Method | None) -> Population:
    """Open a result directory, finished or not, and check every file in it."""
    manifest = read_manifest(out)
    settings = settings_of(manifest, game, method)
    stored = Stored({}, Totals(settings))
    stored.read(out, manifest)
    if not stored.parts:
        raise BadFile(out, "has no trained seeds yet")
    return stored.population(out, settings, manifest, {})


def _open(
    out: Path, task: Task, resume: bool, repair: bool, stored: Stored, lock: ExitStack
) -> dict[str, Any]:
    """Lock a directory, read the chunks in it, and plan the rest.

    Returns:
      The `missing` rows, the `engine` and the `chunk` to train them with, as JSON.
    """
    settings = task.settings
    configuration = configure(settings)  # raises before anything is made
    lock.enter_context(claim(out, resume))
    if is_empty(out):
        return {"missing": [[0, settings.rows]], "engine": settings.engine, "chunk": settings.chunk}
    manifest = read_manifest(out)
    begun = manifest["configuration"]
    engine = begun["engine"] if settings.engine == "auto" else settings.engine
    check_same(out / MANIFEST, begun, configuration | {"engine": engine})
    if settings.seeds < manifest["seeds"]:
        allowed = f"{manifest['seeds']} or more, the number begun in {out}"
        raise InvalidArgument("seeds", settings.seeds, allowed)
    stored.read(out, manifest, repair)
    if settings.seeds > manifest["seeds"]:  # even if this is interrupted, the run has these seeds
        write_manifest(out, manifest | {"seeds": settings.seeds})
    gaps = find_gaps(stored.main_parts, settings.rows)
    return {
        "missing": [[gap.start, gap.stop] for gap in gaps],
        "engine": engine,
        "chunk": settings.chunk or manifest["chunk"],
    }


def _begin(out: Path, settings: RunSettings) -> None:
    """Write the manifest, unless the run was begun before."""
    if not is_begun(out):
        write_manifest(out, make_manifest(settings))


def _train_share(
    out: Path, task: Task, program: Program, chunks: list[range], stored: Stored
) -> None:
    """Train this process's share of the chunks, and write each as it is done."""
    configuration, written = configure(task.settings), set()
    share = chunks[jax.process_index() :: jax.process_count()]
    before = task.settings.rows - sum(map(len, chunks))
    total = before + sum(map(len, share))

    def use(rows: range, results: Results) -> None:
        tables = make_tables(results, stored.totals.steps)
        parts = write_chunk(out, rows, configuration, tables)
        written.add(rows)
        stored.add(parts, results)

    def progress(done: int, _: int) -> None:
        task.progress(before + done, total)

    try:
        _run_chunks(program, task, share, use, progress)
    except BaseException as error:
        kept = before + sum(map(len, written))
        error.add_note(f"{kept:,} of {total:,} GANs are kept in {out}")
        raise


def _run_chunks(
    program: Program,
    task: Task,
    chunks: list[range],
    use: Callable[[range, Results], None],
    progress: Progress,
) -> None:
    """Run chunks of rows, and use the results of each, in their order, while the next are run.

    On an interrupt, the chunks that are complete are used before it is raised again.
    """
    total, done = sum(map(len, chunks)), 0
    workers = task.workers or _default_workers(program)
    waiting: deque[tuple[range, list[Future[Results]]]] = deque()

    def use_first() -> None:
        nonlocal done
        rows, blocks = waiting[0]
        results = []
        for block in blocks:
            results.append(block.result())
            done += len(results[-1].columns["seed"])
            progress(done, total)
        use(rows, join_results(results))
        waiting.popleft()

    progress(0, total)
    run = share_precision(task.run)
    pool = ThreadPoolExecutor(workers)
    try:
        for rows in chunks:
            blocks = [rows[i : i + program.width] for i in range(0, len(rows), program.width)]
            waiting.append((rows, [pool.submit(run, program, block) for block in blocks]))
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


def _check_complete(out: Path, total: int, dead: set[int]) -> None:
    """Raise if a directory lacks rows, once the file system has had the time to show them.

    Raises:
      UnfinishedRun: (a `RuntimeError`) if it does.
    """
    is_shared = jax.process_count() > 1 and not dead
    patience = time.monotonic() + (FILE_SYSTEM_DELAY if is_shared else 0)
    while gaps := find_gaps(list_parts(out, total), total):
        if time.monotonic() > patience:
            died = f"process {', '.join(map(str, sorted(dead)))} ended early, and " if dead else ""
            missing = sum(map(len, gaps))
            raise UnfinishedRun(f"{died}{missing:,} of {total:,} GANs are missing in {out}")
        time.sleep(1)


def _times(started: float, compiled: float, seed_steps: int) -> dict[str, float]:
    """The durations of a training that ends now."""
    finished = time.perf_counter()
    return {
        "wall_seconds": finished - started,
        "compile_seconds": compiled - started,
        "seed_steps_per_second": seed_steps / (finished - compiled),
    }


def _is_number(value: object) -> bool:
    """Whether a value from a report is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def _default_chunk(program: Program) -> int:
    """The number of rows in a chunk, unless given."""
    return max(DEFAULT_CHUNK, program.width)


def _default_workers(program: Program) -> int:
    """The number of blocks that run at a time, unless given."""
    if jax.default_backend() != "cpu":
        return 2  # one is computed while the other is copied to the host
    return max(1, count_cores() // program.devices)
