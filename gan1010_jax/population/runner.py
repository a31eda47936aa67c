"""The run of a population: chunk after chunk on threads, in memory or into a directory."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan1010_jax.convergence import OUTCOMES, Counts, add_counts, count_rows
from gan1010_jax.environment import (
    count_cores,
    describe_device,
    describe_machine,
    in_dtype,
    versions,
)
from gan1010_jax.errors import BadFile, InvalidArgument, UnfinishedRun
from gan1010_jax.population import manifest, store
from gan1010_jax.population.blocks import Program, run_block, run_program
from gan1010_jax.population.files import claim, write_json
from gan1010_jax.population.integrity import Expected, expect
from gan1010_jax.population.manifest import digest
from gan1010_jax.population.processes import (
    check_alike,
    decided_by_first,
    gather,
    wait_for_all,
)
from gan1010_jax.population.results import Population, convergence_report, make_population
from gan1010_jax.population.settings import (
    RunSettings,
    count_cells,
    count_kept,
    count_least_chunk,
    select_rows,
)
from gan1010_jax.population.tables import (
    MAIN_TABLE,
    Results,
    join_histories,
    join_results,
    make_tables,
)
from gan1010_jax.training import History

# About 1 s of work on 2 cores: an interruption loses little, and there are few files.
DEFAULT_CHUNK = 8192
# Seconds that a shared file system may delay until other hosts' files become visible.
FILE_SYSTEM_DELAY = 60
# The rows that are trained again before any other, to compare their bits: a block or less.
_SAMPLE = 128


# Called with the population and its report.
Finish = Callable[[Population, dict[str, Any]], object]


def train_in_memory(settings: RunSettings) -> Population:
    """Train a population, and keep it in memory."""
    started = time.perf_counter()
    settings.progress(0, settings.rows)

    def train(program: Program) -> tuple[RunSettings, dict[range, Results], Counts | None, float]:
        compiled, chosen = time.perf_counter(), _with_program(settings, program)
        found: dict[range, Results] = {}
        counts: Counts | None = None

        def use(rows: range, results: Results) -> Counts:
            nonlocal counts
            found[rows] = results
            counts = add_counts(counts, count_rows(results.columns, chosen.record_steps))
            return counts

        chunks = store.cut(range(settings.rows), chosen.chunk)
        _run_chunks(program, chosen, chunks, use, started)
        return chosen, found, counts, compiled

    settings, found, counts, compiled = run_program(settings, train)
    times = _times(started, compiled, settings.rows * settings.steps)
    results = join_results([*found.values()])
    return make_population(
        settings,
        results,
        counts,
        platform=jax.default_backend(),
        device=describe_device(),
        versions=versions(),
        **times,
    )


def _with_program(settings: RunSettings, program: Program) -> RunSettings:
    """The settings of a run with the engine of its program, and a chunk."""
    chunk = settings.chunk or max(DEFAULT_CHUNK, program.width, count_least_chunk(settings.rows))
    return settings._replace(engine=program.engine.name, chunk=chunk)


class Stored:
    """The chunks of a directory, added up as they are written or read, in any order.

    Attributes:
      parts: of each chunk, by its first row.
    """

    def __init__(self, out: Path, settings: RunSettings):
        """Start with no chunk."""
        self.parts: dict[int, store.Parts] = {}
        self._out, self._settings = out, settings
        self._counts: Counts | None = None
        self._curves: dict[str, np.ndarray] = {}
        self._histories: dict[int, History | None] = {}

    @cached_property
    def expected(self) -> Expected:
        """What the files of the directory hold."""
        return expect(self._settings)

    def add(self, parts: store.Parts, results: Results) -> None:
        """Add a chunk, unless it was added before."""
        first = parts[MAIN_TABLE].rows.start
        if first in self.parts:
            return
        counts = count_rows(results.columns, self._settings.record_steps)
        self._counts = add_counts(self._counts, counts)
        self._curves = {name: x + self._curves.get(name, 0) for name, x in results.curves.items()}
        self._histories[first] = results.history
        self.parts[first] = parts

    def write(self, configuration: Mapping[str, Any], rows: range, results: Results) -> Counts:
        """Write a chunk, and add it; the counts of all so far."""
        tables = make_tables(results, self._settings.record_steps)
        self.add(store.write_chunk(self._out, rows, configuration, tables), results)
        return self._counts

    def read(
        self, stated: Mapping[str, Any], on_bad: Callable[[BadFile], object] = store.raise_bad
    ) -> None:
        """Read, check and add the chunks that were not added yet, with the manifest at hand.

        `on_bad` is called with what is wrong with a file.
        """
        for bad in store.find_bad_rest(self._out):
            on_bad(bad)
        rows = stated["seeds"] * count_cells(self._settings.grid)
        configuration, known = stated["configuration"], self.main_parts
        for parts, results in store.read_chunks(
            self._out, rows, self.expected, configuration, known, on_bad
        ):
            self.add(parts, results)

    @property
    def main_parts(self) -> list[store.Part]:
        """The parts of the population, in the order of their rows."""
        return [parts[MAIN_TABLE] for _, parts in sorted(self.parts.items())]

    def columns_of(self, parts: list[store.Part]) -> Mapping[str, np.ndarray]:
        """The columns of parts of the population, each read when it is first asked for."""
        return store.StoredColumns(self._out, parts, self.expected)

    def population(
        self, stated: Mapping[str, Any], settings: RunSettings, **session: Any
    ) -> Population:
        """The population of all chunks; `session` is known of a training that has just ended."""
        histories = join_histories(self._histories[first] for first in sorted(self._histories))
        report = store.read_report(self._out)
        times = {name: report[name] for name in store.TIMES if name in report}
        return make_population(
            settings,
            Results(self.columns_of(self.main_parts), self._curves, histories),
            self._counts,
            min(self.parts),
            platform=stated["configuration"]["platform"],
            versions=stated["versions"],
            **{"device": stated["machine"]["device"], **times, **session},
        )


def train_into(
    out: Path, settings: RunSettings, repair: bool, finish: Finish | None
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
    check_alike(manifest.configure(settings) | call | {"repair": repair})
    stored = Stored(out, settings)
    with ExitStack() as lock:
        plan = decided_by_first(lambda: _open(out, settings, repair, stored, lock))
        settings = settings._replace(engine=plan["engine"], chunk=plan["chunk"])
        rows = plan["rows"]

        def train(program: Program) -> tuple[RunSettings, float]:
            todo = decided_by_first(lambda: _plan(out, settings, stored))  # anew, if one failed
            chosen = _with_program(settings, program)
            check_alike({"engine": chosen.engine})  # it may have failed to compile in one
            _check_bits(out, chosen, program, todo["sample"])
            compiled = time.perf_counter()
            chosen = chosen._replace(chunk=decided_by_first(lambda: _begin(out, chosen)))
            missing = [range(*gap) for gap in todo["missing"]]
            _train_share(out, chosen, program, missing, stored, started)
            return chosen, compiled

        if rows:
            settings.progress(settings.rows - rows, settings.rows)
            if jax.process_count() == 1:
                settings, compiled = run_program(settings, train, lambda: not stored.parts)
            else:  # which go on together, so that none of them begins anew
                settings, compiled = train(run_program(settings, lambda program: program))
        dead = wait_for_all()
        if rows:
            session = _times(started, compiled, rows * settings.steps)
            session["device"] = describe_device()
        reported: list[Population] = []

        def report() -> None:
            _check_complete(out, settings.rows, dead)
            stated = manifest.read_manifest(out)
            if rows:
                stored.read(stated)  # the chunks that other processes wrote
            of_all = manifest.settings_of(out, stated, settings.setup)
            population = stored.population(stated, of_all, **session)
            report = convergence_report(population)
            store.clean(out, stored.parts.values())
            write_json(out / manifest.REPORT, report)
            if finish is not None:
                finish(population, report)
            reported.append(population)

        decided_by_first(report)  # no process ends well unless the first one does
        return reported[0] if reported else None


def _open(
    out: Path, settings: RunSettings, repair: bool, stored: Stored, lock: ExitStack
) -> dict[str, Any]:
    """Lock a directory, and read the chunks in it.

    Returns:
      How many `rows` are missing, and the `engine` and the `chunk` to train them with, as JSON.
    """
    configuration = manifest.configure(settings)  # raises before anything is made
    lock.enter_context(claim(out, lambda: manifest.is_begun(out)))
    engine, chunk = settings.engine, settings.chunk
    if manifest.is_begun(out):
        stated = manifest.read_manifest(out)
        begun = stated["configuration"]
        engine = begun["engine"] if engine == "auto" else engine
        chunk = chunk or max(stated["chunk"], count_least_chunk(settings.rows))
        manifest.check_same(out / manifest.MANIFEST, begun, configuration | {"engine": engine})
        if settings.seeds < stated["seeds"]:
            allowed = f"{stated['seeds']} or more, the number begun in {out}"
            raise InvalidArgument("seeds", settings.seeds, allowed)
        stored.read(stated, partial(store.set_aside, out=out) if repair else store.raise_bad)
    gaps = store.find_gaps(stored.main_parts, settings.rows)
    if not stored.parts:
        engine = settings.engine  # no row is of another
    return {"rows": sum(map(len, gaps)), "engine": engine, "chunk": chunk}


def _plan(out: Path, settings: RunSettings, stored: Stored) -> dict[str, Any]:
    """The rows that are `missing`, and the `sample` that `_check_bits` takes, as JSON."""
    gaps = store.find_gaps(stored.main_parts, settings.rows)
    sample = {"rows": [0, min(settings.rows, _SAMPLE)], "digest": None, "machine": None}
    if stored.parts:
        rows = stored.main_parts[0].rows[:_SAMPLE]
        sample = {
            "rows": [rows.start, rows.stop],
            "digest": _digest_columns(stored.columns_of(stored.main_parts[:1]), len(rows)),
            "machine": manifest.read_manifest(out)["machine"],
        }
    return {"missing": [[rows.start, rows.stop] for rows in gaps], "sample": sample}


def _check_bits(
    out: Path, settings: RunSettings, program: Program, sample: Mapping[str, Any]
) -> None:
    """Raise unless every process computes a sample of rows to the bits that are there already.

    If none are there, those of the first process. This covers whatever decides the bits: the
    processor, compiler flags, versions, and the functions of the game and the method.
    """
    if sample["digest"] is None and jax.process_count() == 1:
        return
    rows = range(*sample["rows"])
    columns = _row_runner(program, settings)(rows).columns
    found = gather({"digest": _digest_columns(columns, len(rows)), "machine": describe_machine()})
    right = sample if sample["digest"] else found[0]
    for process, one in enumerate(found):
        if one["digest"] == right["digest"]:
            continue
        here = "this process" if len(found) == 1 else f"process {process}"
        there = "has rows with other bits than" if sample["digest"] else "would get other bits from"
        machines = ((k, right["machine"].get(k), v) for k, v in one["machine"].items())
        differ = [
            f"{k} {theirs!r} there, {ours!r} here" for k, theirs, ours in machines if theirs != ours
        ]
        reason = "; ".join(differ) or "on machines of the same description"
        raise BadFile(out, f"{there} {here} computes ({reason})")


def _digest_columns(columns: Mapping[str, np.ndarray], rows: int) -> str:
    """A digest of the first rows of all columns."""
    return digest(b"".join(columns[name][:rows].tobytes() for name in columns))


def _begin(out: Path, settings: RunSettings) -> int:
    """Write the manifest, unless it is there as it should be; the chunk of every process."""
    configuration = manifest.configure(settings)
    now = {"configuration": configuration, "seeds": settings.seeds, "chunk": settings.chunk}
    if manifest.is_begun(out):
        stated = manifest.read_manifest(out)
        if stated == stated | now:
            return settings.chunk
    else:
        stated = {"machine": describe_machine(), "versions": versions()}
    manifest.write_manifest(out, stated | now)
    return settings.chunk


def _train_share(
    out: Path,
    settings: RunSettings,
    program: Program,
    missing: list[range],
    stored: Stored,
    started: float,
) -> None:
    """Train this process's share of the missing rows, and write each chunk as it is done."""
    chunks = [chunk for rows in missing for chunk in store.cut(rows, settings.chunk)]
    share = chunks[jax.process_index() :: jax.process_count()]
    before = settings.rows - sum(map(len, chunks))
    write = partial(stored.write, manifest.configure(settings))
    try:
        _run_chunks(program, settings, share, write, started, before)
    except BaseException as error:
        kept = before + sum(len(rows) for rows in share if rows.start in stored.parts)
        total = before + sum(map(len, share))
        error.add_note(f"{kept:,} of {total:,} GANs are kept in {out}")
        raise


def _run_chunks(
    program: Program,
    settings: RunSettings,
    chunks: list[range],
    use: Callable[[range, Results], Counts],
    started: float,
    before: int = 0,
) -> None:
    """Run chunks of rows, and use the results of each, in their order, while the next are run.

    What `use` returns, the counts so far, is logged, with the time since `started`. Progress counts
    from `before`. On an interrupt, the chunks that are complete are used before it is raised again.
    """
    done, total, used = before, before + sum(map(len, chunks)), 0
    if jax.default_backend() == "cpu":
        default_workers = max(1, count_cores() // program.devices)
    else:
        default_workers = 2  # one is computed while the other is copied to the host
    workers = settings.workers or default_workers
    waiting: deque[tuple[range, list[Future[Results]]]] = deque()

    def use_first() -> None:
        nonlocal done, used
        rows, blocks = waiting[0]
        for block in blocks:
            done += len(block.result().columns["seed"])
            settings.progress(done, total)
        counts = use(rows, join_results([block.result() for block in blocks]))
        waiting.popleft()  # before it is logged: the log may raise, and what is used stays used
        used += 1
        if settings.log is not None:
            fractions = {name: getattr(counts, name) / counts.seeds for name in OUTCOMES}
            seconds = time.perf_counter() - started
            row = {"seeds": counts.seeds, "chunk": used, **fractions, "wall_seconds": seconds}
            settings.log(row)

    settings.progress(done, total)
    run = _row_runner(program, settings)
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
    except Exception:
        pool.shutdown(cancel_futures=True)  # what runs fills the memory that is needed next
        raise
    finally:
        # An interrupt does not wait for the blocks that are running.
        pool.shutdown(wait=False, cancel_futures=True)


def _row_runner(program: Program, settings: RunSettings) -> Callable[[range], Results]:
    """The function, for any thread, that trains some rows, a block at most."""
    dtype, setup = settings.dtype, settings.float_setup

    def run(rows: range) -> Results:
        with in_dtype(dtype):  # each thread has its own mode
            seeds, setups, varied = select_rows(settings, setup, rows)
            results = run_block(program, seeds, setups, count_kept(settings, rows))
        return results._replace(columns=results.columns | varied)

    return run


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
    times = ended - started, compiled - started, seed_steps / (ended - compiled)
    return dict(zip(store.TIMES, times))
