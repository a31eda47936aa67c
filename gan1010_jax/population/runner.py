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
from gan1010_jax.environment import count_cores, describe_device, versions
from gan1010_jax.errors import InvalidArgument, UnfinishedRun
from gan1010_jax.gan import Setup
from gan1010_jax.population.blocks import Program, compile_setup, run_block, share_precision
from gan1010_jax.population.columns import Results, join_histories, join_results, no_history
from gan1010_jax.population.files import claim, is_empty, write_json
from gan1010_jax.population.manifest import (
    MANIFEST,
    REPORT,
    check_same,
    configure,
    is_begun,
    read_manifest,
    settings_of,
    write_manifest,
)
from gan1010_jax.population.processes import decided_by_first, is_first, wait_for_all
from gan1010_jax.population.results import Population, convergence_report
from gan1010_jax.population.settings import (
    RunSettings,
    cell_columns,
    count_cells,
    with_hyperparams,
)
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
from gan1010_jax.training import History, record_steps

KEPT_HISTORIES = 1024
# About 1 s of work on 2 cores: an interruption loses little, and there are few files.
DEFAULT_CHUNK = 8192
# Seconds that a shared file system may delay until other hosts' files become visible.
FILE_SYSTEM_DELAY = 60

TIMES = ("wall_seconds", "compile_seconds", "seed_steps_per_second")

# Called with the population and its report.
Finish = Callable[[Population, dict[str, Any]], object]


class Totals:
    """What a population keeps of its chunks, which are added in any order.

    Attributes:
      steps: those of the records, int32 [records].
      counts: of all rows, or None before the first chunk.
      curves: how many rows have each property at every record, [records].
      parts: of each chunk in a directory, by its first row.
    """

    def __init__(self, settings: RunSettings):
        """Start with no chunk."""
        self.steps = record_steps(settings.steps, settings.record_every)
        self.counts: Counts | None = None
        self.curves: dict[str, np.ndarray] = {}
        self.parts: dict[int, Parts] = {}
        self._histories: dict[int, History | None] = {}

    def add(self, rows: range, results: Results, parts: Parts | None = None) -> None:
        """Add a chunk and, in a directory, its parts; one that was added before is left out."""
        if rows.start in self._histories:
            return
        counts = count_rows(results.columns, self.steps)
        self.counts = add_counts(self.counts, counts) if self.counts else counts
        self.curves = {
            name: curve + self.curves.get(name, 0) for name, curve in results.curves.items()
        }
        self._histories[rows.start] = results.history
        if parts is not None:
            self.parts[rows.start] = parts

    def read(self, out: Path, manifest: Mapping[str, Any], repair: bool = False) -> None:
        """Add, read and check the chunks of a directory that were not added yet."""
        for parts, tables in read_chunks(out, manifest, self.main_parts, repair):
            self.add(parts[MAIN_TABLE].rows, read_tables(tables, len(self.steps)), parts)

    @property
    def main_parts(self) -> list[Part]:
        """The parts of the population, in the order of their rows."""
        return [parts[MAIN_TABLE] for _, parts in sorted(self.parts.items())]

    def stored_population(
        self, out: Path, settings: RunSettings, manifest: Mapping[str, Any], **session: Any
    ) -> Population:
        """The population in a directory; `session` is known of a training that has just ended."""
        report = read_report(out)
        times = {name: report[name] for name in TIMES if _is_number(report.get(name))}
        facts = {"device": manifest["device"], **times, **session}
        return self.population(
            settings,
            StoredColumns([out / MAIN_TABLE / part.name for part in self.main_parts]),
            platform=manifest["configuration"]["platform"],
            versions=manifest["versions"],
            **facts,
        )

    def population(
        self, settings: RunSettings, columns: Mapping[str, np.ndarray], **facts: Any
    ) -> Population:
        """The population of all chunks; `facts` are its other fields."""
        place = min(self._histories) // count_cells(settings.grid)  # of the first seed
        kept = [h for _, h in sorted(self._histories.items()) if h is not None]
        return Population(
            setup=settings.setup,
            steps=settings.steps,
            record_every=settings.record_every,
            engine=settings.engine,
            columns=columns,
            curves={"step": self.steps, **self.curves},
            history=join_histories(kept) if kept else no_history(settings.setup, len(self.steps)),
            counts=self.counts,
            first_seed=settings.first_seed + place,
            grid=settings.grid,
            **facts,
        )


def train_in_memory(settings: RunSettings) -> Population:
    """Train a population, and keep it in memory."""
    started = time.perf_counter()
    settings.progress(0, settings.rows)
    program = _compile(settings)
    settings = settings._replace(engine=program.engine.name)
    compiled = time.perf_counter()
    chunks = cut(range(settings.rows), settings.chunk or _default_chunk(program))
    found: dict[range, Results] = {}
    _run_chunks(program, settings, chunks, found.__setitem__, settings.progress)
    times = _times(started, compiled, settings.rows * settings.steps)
    results, totals = join_results([*found.values()]), Totals(settings)
    totals.add(range(settings.rows), results)
    facts = {"device": describe_device(), "versions": versions(), **times}
    return totals.population(settings, results.columns, platform=jax.default_backend(), **facts)


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
    totals = Totals(settings)
    with ExitStack() as lock:
        plan = decided_by_first(lambda: _open(out, settings, resume, repair, totals, lock))
        settings = settings._replace(engine=plan["engine"], chunk=plan["chunk"])
        missing = [range(*rows) for rows in plan["missing"]]
        if missing:
            rows = sum(map(len, missing))
            settings.progress(settings.rows - rows, settings.rows)
            program = _compile(settings)
            compiled = time.perf_counter()
            chunk = settings.chunk or _default_chunk(program)
            settings = settings._replace(engine=program.engine.name, chunk=chunk)
            decided_by_first(lambda: _begin(out, settings))
            chunks = [part for gap in missing for part in cut(gap, chunk)]
            _train_share(out, settings, program, chunks, totals)
        dead = wait_for_all()
        if missing:
            times = _times(started, compiled, rows * settings.steps)
            session = {"device": describe_device(), **times}
        if not is_first():
            return None
        _check_complete(out, settings.rows, dead)
        manifest = read_manifest(out)
        totals.read(out, manifest)  # the chunks that other processes wrote
        settings = settings_of(manifest, settings.setup.game, settings.setup.method)
        population = totals.stored_population(out, settings, manifest, **session)
        report = convergence_report(population)
        clean(out, totals.parts.values())
        write_json(out / REPORT, report)
        if finish is not None:
            finish(population, report)
        return population


def _open(
    out: Path, settings: RunSettings, resume: bool, repair: bool, totals: Totals, lock: ExitStack
) -> dict[str, Any]:
    """Lock a directory, read the chunks in it, and plan the rest.

    Returns:
      The `missing` rows, the `engine` and the `chunk` to train them with, as JSON.
    """
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
    totals.read(out, manifest, repair)
    if settings.seeds > manifest["seeds"]:  # even if this is interrupted, the run has these seeds
        write_manifest(out, manifest | {"seeds": settings.seeds})
    gaps = find_gaps(totals.main_parts, settings.rows)
    return {
        "missing": [[gap.start, gap.stop] for gap in gaps],
        "engine": engine,
        "chunk": settings.chunk or manifest["chunk"],
    }


def _begin(out: Path, settings: RunSettings) -> None:
    """Write the manifest, unless the run was begun before."""
    if not is_begun(out):
        manifest = {
            "seeds": settings.seeds,
            "chunk": settings.chunk,
            "configuration": configure(settings),
            "device": describe_device(),
            "versions": versions(),
        }
        write_manifest(out, manifest)


def _train_share(
    out: Path, settings: RunSettings, program: Program, chunks: list[range], totals: Totals
) -> None:
    """Train this process's share of the chunks, and write each as it is done."""
    configuration, written = configure(settings), set()
    share = chunks[jax.process_index() :: jax.process_count()]
    before = settings.rows - sum(map(len, chunks))
    total = before + sum(map(len, share))

    def use(rows: range, results: Results) -> None:
        parts = write_chunk(out, rows, configuration, make_tables(results, totals.steps))
        written.add(rows)
        totals.add(rows, results, parts)

    def progress(done: int, _: int) -> None:
        settings.progress(before + done, total)

    try:
        _run_chunks(program, settings, share, use, progress)
    except BaseException as error:
        kept = before + sum(map(len, written))
        error.add_note(f"{kept:,} of {total:,} GANs are kept in {out}")
        raise


def _run_chunks(
    program: Program,
    settings: RunSettings,
    chunks: list[range],
    use: Callable[[range, Results], object],
    progress: Callable[[int, int], object],
) -> None:
    """Run chunks of rows, and use the results of each, in their order, while the next are run.

    On an interrupt, the chunks that are complete are used before it is raised again.
    """
    total, done = sum(map(len, chunks)), 0
    workers = settings.workers or _default_workers(program)
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
    run = share_precision(partial(_run_rows, program, settings, settings.float_setup))
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


def _run_rows(program: Program, settings: RunSettings, setup: Setup, rows: range) -> Results:
    """Train some rows: seed by seed, and of each seed cell by cell."""
    places, cells = np.divmod(np.asarray(rows), count_cells(settings.grid))
    first, last = int(places[0]), int(places[-1])
    seeds = np.asarray(settings.seed_list[first : last + 1], np.uint32)[places - first]
    setup = jax.tree.map(lambda leaf: np.broadcast_to(leaf, settings.seeds)[places], setup)
    varied = cell_columns(settings.grid, cells)
    kept = 0 if settings.grid else max(0, min(rows.stop, KEPT_HISTORIES) - rows.start)
    results = run_block(program, seeds, with_hyperparams(setup, **varied), kept)
    return results._replace(columns=results.columns | varied)


def _compile(settings: RunSettings) -> Program:
    """The program of a run."""
    steps, record_every = settings.steps, settings.record_every
    return compile_setup(settings.float_setup, steps, record_every, settings.engine)


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
