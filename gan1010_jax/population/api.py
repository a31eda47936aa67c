"""Many seeds under one method: chunk after chunk, in memory or into a directory."""

import dataclasses
import math
import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from gan1010_jax import store
from gan1010_jax.blocks import (
    Block,
    Program,
    compile_engine,
    count_cores,
    join_blocks,
    join_histories,
    share_precision,
    train_block,
)
from gan1010_jax.checks import (
    Grid,
    as_floats,
    as_grid,
    check_run,
    check_types,
    check_whole,
    count_cells,
)
from gan1010_jax.convergence import Tally, convergence_report, count_rows
from gan1010_jax.engines import choose_engine
from gan1010_jax.errors import BadFile, InvalidArgument, UnfinishedRun
from gan1010_jax.games import Game, pattern_game
from gan1010_jax.manifest import check_same, configure, recognize_game, recognize_method
from gan1010_jax.methods import Hyperparams, Method
from gan1010_jax.processes import decided_by_first, is_first, wait_for_all
from gan1010_jax.tables import (
    StoredColumns,
    make_tables,
    no_history,
    read_columns,
    read_counts,
    read_history,
)
from gan1010_jax.training import History, record_steps
from gan1010_jax.version import versions

MAX_SEED = 2**32 - 1
KEPT_HISTORIES = 1024
MAX_WORKERS = 1024
MAX_CHUNK = 2**24
# A second or so of work for two cores: little is lost with it, and little is written more often.
DEFAULT_CHUNK = 8192
# For so long, in seconds, a file system may hide from one host what another has written.
FILE_SYSTEM_DELAY = 60

TIMES = ("wall_seconds", "compile_seconds", "seed_steps_per_second")

# Called with how many seeds are done, and how many there are.
Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Population:
    """Trained seeds: what was run, and how it went.

    Attributes:
      hyperparams: the numbers of the method; what the grid varies has its first value.
      grid: the values of each hyperparameter that is varied, as NumPy arrays, by name. Every seed
        has a row for each combination of them, a *cell*, the last name's values changing fastest.
      columns: one row per seed, or per seed and cell, in the order given, as NumPy arrays [rows]:
        `seed` (uint32); `matched`, `in_support`, `forgot`, `diverged` (bool); `first_match_step`,
        `settled_step` (int32, -1 where there is none); `output_0` … `output_{n-1}`, `d_loss_real`,
        `d_loss_fake`, `g_loss` (float32, or float64 in JAX's x64 mode) at the end; and of a grid,
        what it varies. Those of a directory are read when they are asked for.
      curves: one entry per record, as NumPy arrays [records]: `step`, and how many seeds were
        `matched`, `in_support` and `diverged` there.
      history: the full `History` of the first 1,024 seeds, each leaf [seeds, records, ...]; of a
        grid, that of none.
      tally: what the figures and the report need of the rows, counted.
      first_seed: the seed of the first row.
      device: the processor, in words.
      wall_seconds: how long the whole training took. In a directory, this and the next two are of
        the last session, and None until one has ended well.
      compile_seconds: how much of that passed before the first step.
      seed_steps_per_second: how many steps of one seed were done in a second, compilation left
        out; None if no seed was trained.
    """

    game: Game
    method: Method
    hyperparams: Hyperparams
    steps: int
    record_every: int
    engine: str
    platform: str
    device: str
    versions: dict[str, str]
    columns: Mapping[str, np.ndarray]
    curves: dict[str, np.ndarray]
    history: History
    tally: Tally
    first_seed: int
    grid: Mapping[str, np.ndarray] = field(default_factory=dict)
    wall_seconds: float | None = None
    compile_seconds: float | None = None
    seed_steps_per_second: float | None = None

    def hyperparams_of(self, row: int) -> Hyperparams:
        """The hyperparameters of a row, scalars."""
        place = row // count_cells(self.grid)  # of its seed
        numbers = {
            name: value if np.ndim(value) == 0 else value[place]
            for name, value in vars(self.hyperparams).items()
        }
        return Hyperparams(**numbers | {name: self.columns[name][row] for name in self.grid})

    def replay_row(self, row: int) -> History:
        """The full history of a row, by training its seed again; it leads to that row to the bit.

        Warns if it does not, which means that other versions of the packages, or another kind of
        processor, trained the row.

        Raises:
          InvalidArgument: (a `ValueError`) for a number that is not a row's.
        """
        check_whole("row", row, 0, self.tally.seeds - 1)
        again = train_population(
            self.columns["seed"][[row]],
            self.game,
            self.method,
            self.hyperparams_of(row),
            steps=self.steps,
            record_every=self.record_every,
            engine=self.engine,
        )
        differ = [
            name
            for name, column in again.columns.items()
            if column.tobytes() != self.columns[name][[row]].tobytes()
        ]
        if differ:
            warnings.warn(f"the replay of row {row} has another {', '.join(differ)}", stacklevel=2)
        return first_history(again)


def replay(
    seed: int,
    game: Game = pattern_game("1010"),
    method: Method = Method(),
    hyperparams: Hyperparams = Hyperparams(),
    *,
    steps: int = 10_000,
    record_every: int = 10,
    engine: str = "auto",
) -> History:
    """The full history of a seed as it goes in every population, to the bit.

    `train(jax.random.key(seed), ...)` is another program, and gives the same to rounding. The other
    arguments, and what is refused, are those of `train_population` for a single seed.

    Args:
      seed: a whole number from 0 to 2³²-1.
      game: what is played.
      method: how it is trained.
      hyperparams: its numbers, scalars.
      steps: how many steps.
      record_every: how many steps from record to record.
      engine: which engine.

    Returns:
      The `History`, as NumPy arrays.

    Raises:
      InvalidArgument: (a `ValueError`) for an argument outside these limits.
    """
    check_whole("seed", seed, 0, MAX_SEED)
    population = train_population(
        [seed],
        game,
        method,
        hyperparams,
        steps=steps,
        record_every=record_every,
        engine=engine,
    )
    return first_history(population)


def first_history(population: Population) -> History:
    """The history of the first row."""
    return jax.tree.map(lambda leaf: leaf[0], population.history)


def train_population(
    seeds: Sequence[int] | np.ndarray,
    game: Game = pattern_game("1010"),
    method: Method = Method(),
    hyperparams: Hyperparams = Hyperparams(),
    *,
    steps: int = 10_000,
    record_every: int = 10,
    grid: Grid | None = None,
    engine: str = "auto",
    workers: int | None = None,
    chunk: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    repair: bool = False,
    progress: Progress | None = None,
) -> Population | None:
    """Train many GANs; seed i's run is `train(jax.random.key(i), ...)`.

    On one platform, jaxlib and engine, a seed's row is the same to the bit in any population,
    whatever the chunk, the workers, the devices and the processes, and whether it was resumed. All
    local devices are used.

    With `out`, what is trained goes to a directory, chunk after chunk, and memory does not grow
    with the number of seeds. If several processes were joined by `jax.distributed`, they share the
    chunks, and all but the first return None.

    Args:
      seeds: which ones, such as `range(64)`: one or more whole numbers from 0 to 2³²-1.
      game: what is played.
      method: how it is trained.
      hyperparams: its numbers; each a scalar, or an array [seeds] with a value for each seed.
      steps: how many steps each, a positive multiple of `record_every`.
      record_every: how many steps from record to record; 100,000 records at most.
      grid: values of hyperparameters by their names, such as `{"d_lr": [0.01, 0.1]}`: every seed is
        trained with every combination of them, all by one compiled program. They are sorted as
        `Hyperparams` are.
      engine: one of `"vmap"`, `"fused"` and `"pallas"`, or `"auto"` for the fastest that this
        machine has and that the game and the method allow.
      workers: how many blocks of seeds are run at a time; by default, one on each core of a CPU,
        and two on an accelerator.
      chunk: how many rows are written, and resumed, as one unit.
      out: a new or empty directory. The seeds must be a range with no gaps, and the
        hyperparameters scalars or in the grid.
      resume: whether `out` may have been begun already, with the same configuration and as many
        seeds or fewer: then only those are trained that are missing.
      repair: whether bad files are moved to `out/set-aside/`, and their seeds trained again.
      progress: called with how many rows are done, and how many there are: before the program
        is compiled, when it is, and after every block.

    Raises:
      InvalidArgument: (a `ValueError`) for an argument outside these limits.
      BadFile: (a `ValueError`) for a directory of another configuration, a file in it that is not
        what its name says, or another run that is writing to it.
      UnfinishedRun: (a `RuntimeError`) if another process died.
      OSError: if a file cannot be written. What was finished before is kept.
    """
    seeds = check_seeds(seeds)
    check_types(game, method, hyperparams)
    grid = as_grid({} if grid is None else grid)
    # What is varied is there: its structure is the program's.
    hyperparams = dataclasses.replace(
        hyperparams, **{name: values[0] for name, values in grid.items()}
    )
    check_run(game, method, hyperparams, steps, record_every)
    numbers = as_floats(hyperparams, len(seeds))
    choose_engine(engine)
    for name, value in (("resume", resume), ("repair", repair)):
        if value and out is None:
            raise InvalidArgument(name, value, "given with out")
    task = Task(
        seeds=seeds,
        game=game,
        method=method,
        hyperparams=hyperparams,
        numbers=numbers,
        grid=grid,
        steps=int(steps),
        record_every=int(record_every),
        engine=engine,
        workers=check_count("workers", workers, MAX_WORKERS),
        chunk=check_count("chunk", chunk, MAX_CHUNK),
        progress=progress or (lambda done, total: None),
    )
    if out is None:
        return train_in_memory(task)
    return train_into(Path(out), task, resume, repair)


class Task(NamedTuple):
    """What is to be trained, and how: the arguments of `train_population`, checked."""

    seeds: range | np.ndarray
    game: Game
    method: Method
    hyperparams: Hyperparams
    numbers: Hyperparams  # the same in JAX's default float type
    grid: dict[str, np.ndarray]
    steps: int
    record_every: int
    engine: str
    workers: int | None
    chunk: int | None
    progress: Progress

    @property
    def record_steps(self) -> np.ndarray:
        """The steps at which there is a record, int32 [records]."""
        return record_steps(self.steps, self.record_every)

    @property
    def rows(self) -> int:
        """How many GANs there are: one for each seed and cell of the grid."""
        return len(self.seeds) * count_cells(self.grid)

    def compile(self) -> Program:
        """Its program."""
        numbers = jax.tree.structure(self.numbers), self.numbers.d_lr.dtype
        setting = (self.game, self.method, self.steps, self.record_every, *numbers)
        return compile_engine(self.engine, *setting)

    def train(self, program: Program, rows: range) -> Block:
        """Train some rows: seed by seed, and of each seed cell by cell."""
        places, cells = np.divmod(np.asarray(rows), count_cells(self.grid))
        first, last = int(places[0]), int(places[-1])
        seeds = np.asarray(self.seeds[first : last + 1], np.uint32)[places - first]
        numbers = jax.tree.map(
            lambda number: np.broadcast_to(number, len(self.seeds))[places], self.numbers
        )
        varied = {}
        for name, values in reversed(self.grid.items()):
            cells, indices = np.divmod(cells, len(values))
            varied[name] = values[indices]
        columns = {name: varied[name] for name in self.grid}
        kept = 0 if self.grid else max(0, min(rows.stop, KEPT_HISTORIES) - rows.start)
        numbers = dataclasses.replace(numbers, **columns)
        block = train_block(program, seeds, numbers, kept)
        return block._replace(columns=block.columns | columns)

    def configuration(self) -> dict[str, Any]:
        """All that its rows depend on, as JSON."""
        return configure(
            self.game,
            self.method,
            self.hyperparams,
            grid=self.grid,
            first_seed=int(self.seeds[0]),
            steps=self.steps,
            record_every=self.record_every,
            engine=self.engine,
        )


def train_in_memory(task: Task) -> Population:
    """Train a population, and keep it in memory."""
    started = time.perf_counter()
    task.progress(0, task.rows)
    program = task.compile()
    compiled = time.perf_counter()
    chunks = store.cut(range(task.rows), task.chunk or default_chunk(program))
    blocks: list[Block] = []
    run_chunks(program, task, chunks, lambda rows, block: blocks.append(block), task.progress)
    finished = time.perf_counter()
    block = join_blocks(blocks)
    tally = count_rows(block.columns, task.record_steps)
    return Population(
        game=task.game,
        method=task.method,
        hyperparams=task.hyperparams,
        steps=task.steps,
        record_every=task.record_every,
        engine=program.engine.name,
        platform=jax.default_backend(),
        device=describe_device(),
        versions=versions(),
        columns=block.columns,
        curves={"step": task.record_steps, **block.counts},
        history=block.history or no_history(len(tally.outputs), len(task.record_steps)),
        tally=tally,
        first_seed=int(task.seeds[0]),
        grid=task.grid,
        wall_seconds=finished - started,
        compile_seconds=compiled - started,
        seed_steps_per_second=task.rows * task.steps / (finished - compiled),
    )


def train_into(out: Path, task: Task, resume: bool, repair: bool) -> Population | None:
    """Train what a directory lacks of a population, and report on all of it."""
    total = task.rows
    if not isinstance(task.seeds, range) or (len(task.seeds) > 1 and task.seeds.step != 1):
        allowed = "a range with no gaps, such as range(64), for seeds that go to a directory"
        raise InvalidArgument("seeds", task.seeds, allowed)
    started = time.perf_counter()
    with ExitStack() as held:
        # The first process finds out what is to be done, and writes it down before any starts.
        plan = decided_by_first(lambda: make_plan(out, task, resume, repair, held))
        task = task._replace(engine=plan["engine"], chunk=plan["chunk"])
        gaps = [range(*gap) for gap in plan["gaps"]]
        missing = sum(map(len, gaps))
        if gaps:
            task.progress(total - missing, total)
            program = task.compile()
            compiled = time.perf_counter()
            task = task._replace(engine=program.engine.name)
            chunk = decided_by_first(lambda: begin(out, task, program))
            train_chunks_into(
                out, task, program, [x for gap in gaps for x in store.cut(gap, chunk)]
            )
        dead = wait_for_all()
        finished = time.perf_counter()
        if not is_first():
            return None
        check_finished(out, total, dead)
        population = load_population(out, task.game, task.method)
        if gaps:
            population = dataclasses.replace(
                population,
                device=describe_device(),
                wall_seconds=finished - started,
                compile_seconds=compiled - started,
                seed_steps_per_second=missing * task.steps / (finished - compiled),
            )
        store.clean(out, total)
        store.write_report(out, convergence_report(population))
        return population


def make_plan(out: Path, task: Task, resume: bool, repair: bool, held: ExitStack) -> dict[str, Any]:
    """Claim a directory as long as `held` is; which rows it lacks, its engine and its chunk."""
    task.configuration()  # refuses what cannot be written down
    held.enter_context(store.claim(out, resume))
    seeds, total = len(task.seeds), task.rows
    if store.is_empty(out):
        return {"gaps": [[0, total]], "engine": task.engine, "chunk": task.chunk}
    manifest = store.read_manifest(out)
    begun = manifest["configuration"]
    engine = begun["engine"] if task.engine == "auto" else task.engine
    check_same(out / store.MANIFEST, begun, task._replace(engine=engine).configuration())
    if seeds < manifest["seeds"]:
        allowed = f"{manifest['seeds']} or more, for so many were begun in {out}"
        raise InvalidArgument("seeds", seeds, allowed)
    parts = [part for part, _ in store.read_chunks(out, manifest, repair)]
    if seeds > manifest["seeds"]:  # even if this is interrupted, these are the seeds from now on
        store.write_manifest(out, manifest | {"seeds": seeds})
    gaps = [[gap.start, gap.stop] for gap in store.find_gaps(parts, total)]
    return {"gaps": gaps, "engine": engine, "chunk": task.chunk or manifest["chunk"]}


def begin(out: Path, task: Task, program: Program) -> int:
    """Write down what is run, unless that was done before; the chunk to run it with."""
    chunk = task.chunk or default_chunk(program)
    if not store.is_begun(out):
        manifest = {
            "seeds": len(task.seeds),
            "chunk": chunk,
            "configuration": task.configuration(),
            "device": describe_device(),
            "versions": versions(),
        }
        store.write_manifest(out, manifest)
    return chunk


def train_chunks_into(out: Path, task: Task, program: Program, chunks: list[range]) -> None:
    """Train this process' share of the chunks, and write each as it is done."""
    configuration, written = task.configuration(), []
    share = chunks[jax.process_index() :: jax.process_count()]
    before = task.rows - sum(map(len, chunks))
    total = before + sum(map(len, share))

    def write(rows: range, block: Block) -> None:
        store.write_chunk(out, rows, configuration, make_tables(block, task.record_steps))
        written.append(rows)

    def progress(done: int, _: int) -> None:
        task.progress(before + done, total)

    try:
        run_chunks(program, task, share, write, progress)
    except BaseException as error:
        kept = before + sum(map(len, set(written)))
        error.add_note(f"{kept:,} of {total:,} GANs are kept in {out}")
        raise


def run_chunks(
    program: Program,
    task: Task,
    chunks: list[range],
    use: Callable[[range, Block], None],
    progress: Progress,
) -> None:
    """Run chunks of rows, and use the results of each, in their order, while the next are run.

    On an interrupt, the chunks that are complete are used before it goes on its way.
    """
    total, done = sum(map(len, chunks)), 0
    workers = task.workers or default_workers(program)
    waiting: deque[tuple[range, list[Future[Block]]]] = deque()

    def use_first() -> None:
        nonlocal done
        rows, blocks = waiting[0]
        results = []
        for block in blocks:
            results.append(block.result())
            done += len(results[-1].columns["seed"])
            progress(done, total)
        use(rows, join_blocks(results))
        waiting.popleft()

    progress(0, total)
    train = share_precision(task.train)
    pool = ThreadPoolExecutor(workers)
    try:
        for rows in chunks:
            blocks = [rows[i : i + program.width] for i in range(0, len(rows), program.width)]
            waiting.append((rows, [pool.submit(train, program, block) for block in blocks]))
            # Two blocks a worker beyond the first chunk keep all busy while it is used.
            while sum(len(blocks) for _, blocks in waiting) - len(waiting[0][1]) >= 2 * workers:
                use_first()
        while waiting:
            use_first()
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        for rows, blocks in waiting:
            if all(block.done() and not block.cancelled() for block in blocks):
                use(rows, join_blocks([block.result() for block in blocks]))
        raise
    finally:
        # An interrupt is not kept waiting for the blocks that are running.
        pool.shutdown(wait=False, cancel_futures=True)


def check_finished(out: Path, total: int, dead: set[int]) -> None:
    """Refuse a directory that lacks rows, once the file system had the time to show them.

    Raises:
      UnfinishedRun: (a `RuntimeError`) if it does.
    """
    is_shared = jax.process_count() > 1 and not dead
    patience = time.monotonic() + (FILE_SYSTEM_DELAY if is_shared else 0)
    while gaps := store.find_gaps(store.list_parts(out, total), total):
        if time.monotonic() > patience:
            died = f"process {', '.join(map(str, sorted(dead)))} ended early, and " if dead else ""
            missing = sum(map(len, gaps))
            raise UnfinishedRun(f"{died}{missing:,} of {total:,} GANs are missing in {out}")
        time.sleep(1)


def load_population(
    out: str | Path, game: Game | None = None, method: Method | None = None
) -> Population:
    """Open a result directory, finished or not, and check every file in it.

    Args:
      out: the directory.
      game: what was played, if it is not one that this package makes by a name.
      method: how it was trained, likewise.

    Raises:
      BadFile: (a `ValueError`) for the first file that is not what its name says, or if no seed
        is there yet.
      InvalidArgument: (a `ValueError`) for another game or method than what was used.
    """
    out = Path(out)
    manifest = store.read_manifest(out)
    configuration = manifest["configuration"]
    steps = record_steps(configuration["steps"], configuration["record_every"])
    parts, histories, tally, counts = [], [], None, {}
    for part, tables in store.read_chunks(out, manifest):
        parts.append(part)
        here = count_rows(read_columns(tables["population"]), steps)
        tally = Tally(*map(sum, zip(tally, here))) if tally else here
        for name, count in read_counts(tables["curves"]).items():
            counts[name] = counts.get(name, 0) + count
        if "histories" in tables:
            histories.append(read_history(tables["histories"], len(steps)))
    if tally is None:
        raise BadFile(out, "has no trained seeds yet")
    report = store.read_report(out)
    return Population(
        game=recognize_game(configuration, game),
        method=recognize_method(configuration, method),
        hyperparams=Hyperparams(
            **configuration["hyperparams"],
            **{name: values[0] for name, values in configuration["grid"].items()},
        ),
        steps=configuration["steps"],
        record_every=configuration["record_every"],
        engine=configuration["engine"],
        platform=configuration["platform"],
        device=manifest["device"],
        versions=manifest["versions"],
        columns=StoredColumns([out / store.MAIN_TABLE / part.name for part in parts]),
        curves={"step": steps, **counts},
        history=join_histories(histories or [no_history(len(tally.outputs), len(steps))]),
        tally=tally,
        first_seed=configuration["first_seed"]
        + parts[0].first // count_cells(configuration["grid"]),
        grid={
            name: np.asarray(values, configuration["dtype"])
            for name, values in configuration["grid"].items()
        },
        **{name: report[name] for name in TIMES if is_number(report.get(name))},
    )


def is_number(value: object) -> bool:
    """Whether a value from a report is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def default_chunk(program: Program) -> int:
    """How many seeds are a chunk, if nobody says."""
    return max(DEFAULT_CHUNK, program.width)


def default_workers(program: Program) -> int:
    """How many blocks to run at a time, if nobody says."""
    if jax.default_backend() != "cpu":
        return 2  # one is computed while the other is brought back
    return max(1, count_cores() // program.devices)


def check_count(name: str, count: int | None, most: int) -> int | None:
    """Refuse what is not a whole number from 1 to `most`, or None."""
    if count is None:
        return None
    check_whole(name, count, 1, most, ", or None")
    return int(count)


def seed_range(seeds: int, first_seed: int = 0) -> range:
    """The seeds of a run: `seeds` of them, from `first_seed` on.

    Raises:
      InvalidArgument: (a `ValueError`) if there are none or they leave 0 … 2³²-1.
    """
    check_whole("first_seed", first_seed, 0, MAX_SEED)
    most = MAX_SEED + 1 - first_seed
    check_whole("seeds", seeds, 1, most, f", so that no seed is beyond {MAX_SEED}")
    return range(first_seed, first_seed + seeds)


def check_seeds(seeds: Sequence[int] | np.ndarray) -> range | np.ndarray:
    """Refuse what is not a list of seeds; a range stays one, however long it is."""
    few = [seeds[0], seeds[-1]] if isinstance(seeds, range) and seeds else seeds
    try:
        array = np.asarray(few)
    except (TypeError, ValueError):
        array = np.asarray(None)
    if (
        array.ndim != 1
        or array.size == 0
        or not np.issubdtype(array.dtype, np.integer)
        or array.min() < 0
        or array.max() > MAX_SEED
    ):
        allowed = f"one or more whole numbers from 0 to {MAX_SEED}, such as range(64)"
        raise InvalidArgument("seeds", seeds, allowed)
    return seeds if isinstance(seeds, range) else array


def describe_device() -> str:
    """The processor that trains, in words."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return f"CPU with {os.cpu_count()} cores"
    return device.device_kind
