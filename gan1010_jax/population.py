"""Many seeds under one method, block after block."""

import functools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan1010_jax.convergence import judge, success_curves
from gan1010_jax.engines import Engine, choose_engine, compiler_options
from gan1010_jax.errors import InvalidArgument
from gan1010_jax.games import Game, pattern_game
from gan1010_jax.methods import Hyperparams, Method
from gan1010_jax.training import History, as_floats, check_run, is_whole
from gan1010_jax.version import versions

MAX_SEED = 2**32 - 1
KEPT_HISTORIES = 1024


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
      engine: `"vmap"`, or `"auto"` for the fastest that this machine has.
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
    chosen = choose_engine(engine)
    report_progress = progress or (lambda done: None)

    started = time.perf_counter()
    run_block = compile_block(chosen, game, method, steps, record_every, lanes.d_lr.dtype)
    compiled = time.perf_counter()
    report_progress(0)

    blocks = []
    for first in range(0, len(seeds), chosen.block):
        rows = slice(first, first + chosen.block)
        lanes_here = jax.tree.map(lambda lane, rows=rows: lane[rows], lanes)
        seeds_here = np.asarray(seeds[rows], dtype=np.uint32)
        block = train_block(run_block, chosen.block, seeds_here, lanes_here)
        if first >= KEPT_HISTORIES:
            block = block._replace(history=None)
        blocks.append(block)
        report_progress(first + len(seeds_here))
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
            lambda *leaves: np.concatenate(leaves)[:KEPT_HISTORIES],
            *(block.history for block in blocks if block.history is not None),
        ),
        wall_seconds=finished - started,
        compile_seconds=compiled - started,
    )


class Block(NamedTuple):
    """The results of one block of seeds, on the host, padding dropped."""

    columns: dict[str, np.ndarray]  # [seeds]
    counts: dict[str, np.ndarray]  # [records]
    history: History | None  # [seeds, records, ...]


@functools.lru_cache(maxsize=64)
def compile_block(
    engine: Engine, game: Game, method: Method, steps: int, record_every: int, dtype: np.dtype
) -> Callable:
    """Compile what runs and judges a block of an engine, its hyperparameters being of `dtype`."""
    run = engine.build(game, method, steps, record_every)

    def run_and_judge(seeds, hyperparams):
        _, history = run(seeds, hyperparams)
        verdict, curves = jax.vmap(lambda h: (judge(h, game), success_curves(h, game)))(history)
        return history, verdict, curves

    seeds = jax.ShapeDtypeStruct((engine.block,), jnp.uint32)
    number = jax.ShapeDtypeStruct((engine.block,), dtype)
    hyperparams = jax.tree.map(lambda _: number, Hyperparams())
    program = jax.jit(run_and_judge, compiler_options=compiler_options())
    return program.lower(seeds, hyperparams).compile()


def train_block(
    run_block: Callable, width: int, seeds: np.ndarray, hyperparams: Hyperparams
) -> Block:
    """Run up to `width` seeds; empty lanes repeat the last one, and what they give is dropped."""
    filled = jax.tree.map(
        lambda lane: np.pad(lane, (0, width - len(seeds)), mode="edge"), (seeds, hyperparams)
    )
    results = jax.device_get(run_block(*filled))
    history, verdict, curves = jax.tree.map(lambda leaf: leaf[: len(seeds)], results)
    matched, in_support = curves
    # Copies, so that the columns do not hold on to the history.
    last = jax.tree.map(lambda leaf: leaf[:, -1].copy(), history)
    return Block(
        columns={
            "seed": seeds,
            "matched": verdict.matched,
            "in_support": verdict.in_support,
            "forgot": verdict.forgot,
            "diverged": verdict.diverged,
            "first_match_step": verdict.first_match_step,
            "settled_step": verdict.settled_step,
            **{f"output_{unit}": output for unit, output in enumerate(last.output.T)},
            "d_loss_real": last.losses.d_real,
            "d_loss_fake": last.losses.d_fake,
            "g_loss": last.losses.g,
        },
        counts={
            "matched": matched.sum(axis=0),
            "in_support": in_support.sum(axis=0),
            "diverged": (~history.finite).sum(axis=0),
        },
        history=history,
    )


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
