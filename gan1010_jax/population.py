"""Many seeds under one method, block after block."""

import functools
import os
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan1010_jax.convergence import Verdict, judge
from gan1010_jax.engines import (
    ENGINES,
    Engine,
    choose_engine,
    compiler_options,
    loop_block,
    start_block,
)
from gan1010_jax.errors import InvalidArgument
from gan1010_jax.games import Game, pattern_game
from gan1010_jax.methods import Hyperparams, Method
from gan1010_jax.scalarize import UnsupportedPrimitive
from gan1010_jax.training import History, as_floats, check_run, is_whole
from gan1010_jax.updates import init
from gan1010_jax.version import versions

MAX_SEED = 2**32 - 1
KEPT_HISTORIES = 1024
MAX_WORKERS = 1024
# Each takes about 10 ms to compile on lanes, and gains the less the larger the products are.
MAX_PARAMETERS_ON_LANES = 300


@dataclass(frozen=True)
class Population:
    """Trained seeds: what was run, and how it went.

    Attributes:
      columns: one row per seed, in the order given, as NumPy arrays [seeds]: `seed` (uint32);
        `matched`, `in_support`, `forgot`, `diverged` (bool); `first_match_step`, `settled_step`
        (int32, -1 where there is none); `output_0` … `output_{n-1}`, `d_loss_real`,
        `d_loss_fake`, `g_loss` (float32, or float64 in JAX's x64 mode) at the end.
      curves: one entry per record, as NumPy arrays [records]: `step`, and how many seeds were
        `matched`, `in_support` and `diverged` there.
      history: the full `History` of the first 1,024 seeds, each leaf [seeds, records, ...].
      device: the processor, in words.
      wall_seconds: how long the whole training took.
      compile_seconds: how much of that passed before the first step.
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
    columns: dict[str, np.ndarray]
    curves: dict[str, np.ndarray]
    history: History
    wall_seconds: float
    compile_seconds: float

    @property
    def seed_steps_per_second(self) -> float:
        """How many steps of one seed were done in a second, compilation left out."""
        return len(self.columns["seed"]) * self.steps / (self.wall_seconds - self.compile_seconds)


def train_population(
    seeds: Sequence[int] | np.ndarray,
    game: Game = pattern_game("1010"),
    method: Method = Method(),
    hyperparams: Hyperparams = Hyperparams(),
    *,
    steps: int = 10_000,
    record_every: int = 10,
    engine: str = "auto",
    workers: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> Population:
    """Train many GANs; seed i's run is `train(jax.random.key(i), ...)`.

    On one platform, jaxlib and engine, a seed's row is the same to the bit in any population.

    Args:
      seeds: which ones, such as `range(64)`: one or more whole numbers from 0 to 2³²-1.
      game: what is played.
      method: how it is trained.
      hyperparams: its numbers; each a scalar, or an array [seeds] with a value for each seed.
      steps: how many steps each, a positive multiple of `record_every`.
      record_every: how many steps from record to record; 100,000 records at most.
      engine: one of `"vmap"`, `"fused"` and `"pallas"`, or `"auto"` for the fastest that this
        machine has and that the game and the method allow.
      workers: how many blocks of seeds are run at a time; by default, one on each core of a CPU.
      progress: called with how many seeds are done: 0 when the program is compiled, then after
        every block.

    Raises:
      InvalidArgument: (a `ValueError`) for an argument outside these limits.
    """
    seeds = check_seeds(seeds)
    check_run(game, method, hyperparams, steps, record_every)
    steps, record_every = int(steps), int(record_every)
    numbers = as_floats(hyperparams, len(seeds))
    lanes = jax.tree.map(lambda number: np.broadcast_to(number, (len(seeds),)), numbers)
    choose_engine(engine)
    workers = check_workers(workers)
    report_progress = progress or (lambda done: None)

    started = time.perf_counter()
    setting = (game, method, steps, record_every, lanes.d_lr.dtype)
    chosen, run_block = compile_engine(engine, *setting)
    compiled = time.perf_counter()
    report_progress(0)

    def run(first):
        rows = slice(first, first + chosen.block)
        lanes_here = jax.tree.map(lambda lane: lane[rows], lanes)
        seeds_here = np.asarray(seeds[rows], dtype=np.uint32)
        kept = max(0, min(len(seeds_here), KEPT_HISTORIES - first))
        return train_block(run_block, chosen.block, seeds_here, lanes_here, kept)

    blocks, done = [], 0
    pool = ThreadPoolExecutor(workers, initializer=share_precision(jax.config.jax_enable_x64))
    try:
        for block in pool.map(run, range(0, len(seeds), chosen.block)):
            blocks.append(block)
            done += len(block.columns["seed"])
            report_progress(done)
    finally:
        # An interrupt is not kept waiting for the blocks that are running.
        pool.shutdown(wait=False, cancel_futures=True)
    finished = time.perf_counter()

    return Population(
        game=game,
        method=method,
        hyperparams=hyperparams,
        steps=steps,
        record_every=record_every,
        engine=chosen.name,
        platform=jax.default_backend(),
        device=describe_device(),
        versions=versions(),
        columns={
            name: np.concatenate([block.columns[name] for block in blocks])
            for name in blocks[0].columns
        },
        curves={
            "step": np.arange(record_every, steps + 1, record_every, dtype=np.int32),
            **{name: sum(block.counts[name] for block in blocks) for name in blocks[0].counts},
        },
        history=jax.tree.map(
            lambda *leaves: np.concatenate(leaves),
            *(block.history for block in blocks if block.history is not None),
        ),
        wall_seconds=finished - started,
        compile_seconds=compiled - started,
    )


class Block(NamedTuple):
    """The results of one block of seeds, on the host, padding dropped."""

    columns: dict[str, np.ndarray]  # [seeds]
    counts: dict[str, np.ndarray]  # [records]
    history: History | None  # of the seeds whose history is kept, [seeds, records, ...]


class BlockResults(NamedTuple):
    """What a compiled block gives, lanes last: each leaf [..., block], but counts [records]."""

    history: History
    last: History
    verdict: Verdict
    counts: dict[str, jax.Array]


def compile_engine(
    engine: str, game: Game, method: Method, *setting: Any
) -> tuple[Engine, Callable]:
    """An engine by its name, and its compiled program; `"auto"` settles for one that works."""
    chosen, plain = choose_engine(engine), ENGINES["vmap"]
    if engine != "auto":
        return chosen, compile_block(chosen, game, method, *setting)
    parameters = count_parameters(game, method)
    if parameters > MAX_PARAMETERS_ON_LANES:
        reason = f"{parameters} parameters would take long to compile for the {chosen.name} engine"
    else:
        try:
            return chosen, compile_block(chosen, game, method, *setting)
        except UnsupportedPrimitive as error:
            reason = str(error)
    warnings.warn(f"{reason}, so the vmap engine runs this", stacklevel=3)
    return plain, compile_block(plain, game, method, *setting)


def count_parameters(game: Game, method: Method) -> int:
    """How many parameters both players have."""
    state = jax.eval_shape(lambda: init(jax.random.key(0), game, method))
    return sum(leaf.size for player in state for leaf in jax.tree.leaves(player.params))


@functools.lru_cache(maxsize=64)
def compile_block(
    engine: Engine, game: Game, method: Method, steps: int, record_every: int, dtype: np.dtype
) -> Callable:
    """Compile what runs and judges a block of an engine, its hyperparameters being of `dtype`.

    It is two programs, what starts a block and the rest, that are compiled at the same time.
    """
    start, loop = start_block(game, method), loop_block(engine, game, method, steps, record_every)

    def run_and_judge(runs, data_keys, live, hyperparams):
        _, history = loop(runs, data_keys, hyperparams)
        successes = {
            "matched": history.matched,
            "in_support": history.in_support,
            "diverged": ~history.finite,
        }
        return BlockResults(
            history=history,
            last=jax.tree.map(lambda leaf: leaf[-1], history),
            verdict=jax.vmap(judge, in_axes=-1)(history),
            counts={name: jnp.sum(these & live, axis=-1) for name, these in successes.items()},
        )

    def lane(dtype):
        return jax.ShapeDtypeStruct((engine.block,), dtype)

    seeds, live = lane(np.uint32), lane(np.bool_)
    hyperparams = jax.tree.map(lambda _: lane(dtype), Hyperparams())
    runs, data_keys = jax.eval_shape(start, seeds, hyperparams)
    options = {"compiler_options": compiler_options()}
    lowered = [
        jax.jit(start, **options).lower(seeds, hyperparams),
        jax.jit(run_and_judge, **options).lower(runs, data_keys, live, hyperparams),
    ]
    with ThreadPoolExecutor(len(lowered)) as pool:
        start_program, loop_program = pool.map(lambda program: program.compile(), lowered)

    def run_block(seeds, live, hyperparams):
        runs, data_keys = start_program(seeds, hyperparams)
        return loop_program(runs, data_keys, live, hyperparams)

    return run_block


def train_block(
    run_block: Callable, width: int, seeds: np.ndarray, hyperparams: Hyperparams, kept: int
) -> Block:
    """Run up to `width` seeds, and keep the history of the first `kept`.

    Empty lanes repeat the last seed, and what they give is dropped.
    """
    live = np.arange(width) < len(seeds)
    filled_seeds, filled = jax.tree.map(
        lambda lane: np.pad(lane, (0, width - len(seeds)), mode="edge"), (seeds, hyperparams)
    )
    results = run_block(filled_seeds, live, filled)
    verdict, last = jax.tree.map(
        lambda leaf: np.array(leaf[..., : len(seeds)]),
        jax.device_get((results.verdict, results.last)),
    )
    return Block(
        columns={
            "seed": seeds,
            **verdict._asdict(),
            **{f"output_{unit}": output for unit, output in enumerate(last.output)},
            "d_loss_real": last.losses.d_real,
            "d_loss_fake": last.losses.d_fake,
            "g_loss": last.losses.g,
        },
        counts=jax.device_get(results.counts),
        history=None
        if not kept
        else jax.tree.map(
            lambda leaf: np.moveaxis(np.asarray(leaf)[..., :kept], -1, 0), results.history
        ),
    )


def share_precision(x64: bool) -> Callable[[], None]:
    """What a new thread must do to be in the x64 mode or not, which is each thread's own."""
    return lambda: jax.enable_x64(x64).__enter__()


def check_workers(workers: int | None) -> int:
    """How many blocks to run at a time."""
    if workers is None:
        return count_cores() if jax.default_backend() == "cpu" else 1
    if not is_whole(workers) or not 1 <= workers <= MAX_WORKERS:
        raise InvalidArgument(
            "workers", workers, f"a whole number from 1 to {MAX_WORKERS}, or None"
        )
    return int(workers)


def count_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def seed_range(seeds: int, first_seed: int = 0) -> range:
    """The seeds of a run: `seeds` of them, from `first_seed` on.

    Raises:
      InvalidArgument: (a `ValueError`) if there are none or they leave 0 … 2³²-1.
    """
    if not is_whole(first_seed) or not 0 <= first_seed <= MAX_SEED:
        raise InvalidArgument("first_seed", first_seed, f"a whole number from 0 to {MAX_SEED}")
    most = MAX_SEED + 1 - first_seed
    if not is_whole(seeds) or not 1 <= seeds <= most:
        allowed = f"a whole number from 1 to {most}, so that no seed is beyond {MAX_SEED}"
        raise InvalidArgument("seeds", seeds, allowed)
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
    device = jax.devices()[0]
    if device.platform == "cpu":
        return f"CPU with {os.cpu_count()} cores"
    return device.device_kind
