"""Measure how fast GANs are trained: PyTorch, plain JAX and every engine, side by side."""

if __name__ == "__main__":
    from gan1010_jax.cli import start

    start()  # before anything that is slow to import

import importlib
import multiprocessing
import os
import re
import resource
import signal
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import metadata, util
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

from study import Study, make_table

import gan1010_jax as gan
from gan1010_jax.cli import Flag, number, read, run, unset


@dataclass(frozen=True)
class Benchmark(Study):
    """Measure how fast 1010-GANs are trained: PyTorch, plain JAX and every engine, side by side.

    Writes a directory: report.json and figures/benchmark.png. A seed-step is one seed advanced by
    one step, its random draws and a record every 10 steps included (PyTorch's compile(vmap) keeps
    none), and compilation left out. The report has the median and the range of the repeats, and
    how long each program compiles, and the peak of its memory, in a process of its own with
    nothing cached. The PyTorch rows need PyTorch: pip install torch.
    """

    examples: ClassVar = Study.examples | {
        "--quick": "in about two minutes",
        "--quick --seeds 1024 --programs vmap_scan engine_vmap engine_fused": "three of them",
    }

    quick: Flag = False
    """Fewer sizes, and fewer and shorter repeats, in about two minutes."""
    seeds: tuple[Annotated[int, number("seeds", int)], ...] = (64, 1_024, 16_384, 131_072)
    """How many GANs to train at a time: one or more sizes."""
    repeats: Annotated[int, number("repeats", int)] = 5
    """How often each is measured."""
    seconds: Annotated[float, number("seconds", float)] = 1.0
    """How long each measurement lasts at least."""
    programs: Annotated[tuple[str, ...], unset("all")] = ()
    """The programs to measure: pytorch, torch_compile, vmap_scan or engine_NAME."""


if __name__ == "__main__":
    options = read(Benchmark)  # before JAX is imported

import jax
import numpy as np
from matplotlib.figure import Figure

from gan1010_jax.checks import check_whole
from gan1010_jax.engines import ENGINES
from gan1010_jax.environment import count_cores, describe_device, has_avx512, versions
from gan1010_jax.figures import BLUE, GREEN, GREY, ORANGE, styled, write_figures
from gan1010_jax.gan import seed_key
from gan1010_jax.population import claim, write_json

MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes
RECORD_EVERY, FULL_RUN = 10, 10_000  # steps
# A call of a JAX program lasts about this long for each seed, or it takes a full run: then the
# costs of a run that do not grow with its steps, 8 µs a seed on 2 cores with AVX-512, weigh little.
SECONDS_PER_SEED = 1e-4
RATE = "seed_steps_per_second"
QUICK = {"seeds": (1_024, 16_384), "repeats": 3, "seconds": 0.3}


def main(options: Benchmark) -> None:
    options = check(options)
    with claim(options.out), tempfile.TemporaryDirectory() as empty:
        # For the processes that are measured: nothing compiled earlier, and a GPU that they share.
        os.environ |= {
            "JAX_ENABLE_COMPILATION_CACHE": "false",
            "TORCHINDUCTOR_CACHE_DIR": empty,
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        }
        with start_process() as process:
            machine = process.submit(describe_machine).result()
        rows = measure_all(options, machine["platform"])
        torch = {"torch": metadata.version("torch")} if util.find_spec("torch") else {}
        report = {"machine": machine, "versions": versions() | torch, "rows": rows}
        write_json(options.out / "report.json", report)
        write_figures(options.out, {"benchmark": plot_benchmark(rows)})
    print(f"Millions of seed-steps per second, {describe(machine)}:\n\n{tabulate(rows)}\n")
    for row in rows:
        if row["unavailable"] or row["program"] == ONE_SEED:
            print(f"{row['label']}: {row['unavailable'] or f'{row[RATE]:,.0f} a second'}")
    print(f"written to {options.out}")


def check(options: Benchmark) -> Benchmark:
    """Validate the options; those with the values of `quick` where no others are given."""
    if options.quick:
        unset = [name for name in QUICK if getattr(options, name) == getattr(Benchmark, name)]
        options = replace(options, **{name: QUICK[name] for name in unset})
    for size in options.seeds:
        check_whole("seeds", size, 1, 2**20)
    check_whole("repeats", options.repeats, 1, 1_000)
    if not 0 < options.seconds <= 3_600:
        raise gan.InvalidArgument("seconds", options.seconds, "a number above 0, 3600 at most")
    for name in options.programs:
        if name not in PROGRAMS:
            raise gan.InvalidArgument("programs", name, f"some of {', '.join(PROGRAMS)}")
    return options


# The programs. Each is prepared for a number of seeds, in a process of its own, and returns a
# function that trains them for some steps and returns its own and its compilation's seconds.

Call = Callable[[int], tuple[float, float]]


def timed(function: Callable, *args: Any) -> tuple[Any, float]:
    """The result of a call, and its seconds."""
    started = time.perf_counter()
    result = function(*args)
    return result, time.perf_counter() - started


def import_torch() -> tuple[Any, Any]:
    """PyTorch, and the reference GAN in it, which belongs to the tests."""
    sys.path.append(str(Path(__file__).parent.parent / "tests" / "reference"))
    return importlib.import_module("torch"), importlib.import_module("pytorch_gan")


def prepare_pytorch(seeds: int) -> Call:
    """The reference in PyTorch, as it is written in textbooks: one seed, on one core."""
    torch, reference = import_torch()
    torch.set_num_threads(1)

    def train(steps):
        players = reference.Discriminator(), reference.Generator()
        reference.train(*players, reference.draw_real(steps), RECORD_EVERY)

    return lambda steps: (timed(train, steps)[1], 0.0)


def prepare_torch_compile(seeds: int) -> Call:
    """The reference's step under `torch.func.vmap` and `torch.compile`, on all cores or the GPU."""
    torch, reference = import_torch()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # The first compilation of all also sets the C++ compiler up; this is left out, like imports.
    torch.compile(torch.sin)(torch.zeros(8, device=device))
    step = reference.compile_step()

    def advance(params, steps):
        for _ in range(steps):
            params = step(*params)
        if device == "cuda":
            torch.cuda.synchronize()
        return params

    compiled = cache(lambda: advance(reference.init_seeds(seeds, device), 1))

    def call(steps):
        params, compile_seconds = timed(compiled)
        return timed(advance, params, steps)[1], compile_seconds

    return call


def prepare_vmap_scan(seeds: int) -> Call:
    """Plain JAX: `jit` of `vmap` of `train`, a `lax.scan`, for all seeds at once."""
    keys = jax.vmap(seed_key)(np.arange(seeds))

    @cache
    def compile_train(steps):
        train = jax.vmap(partial(gan.train, steps=steps, record_every=RECORD_EVERY))
        return jax.jit(train).lower(keys).compile()

    def call(steps):
        program, compile_seconds = timed(compile_train, steps)
        return timed(lambda: jax.block_until_ready(program(keys)))[1], compile_seconds

    return call


def prepare_engine(engine: str, seeds: int) -> Call:
    """An engine, as `train_population` runs it."""
    if engine == "pallas" and jax.default_backend() == "cpu":
        raise RuntimeError("needs a GPU or TPU")

    def call(steps):
        options = {"steps": steps, "record_every": RECORD_EVERY, "engine": engine}
        population = gan.train_population(range(seeds), **options)
        return population.wall_seconds - population.compile_seconds, population.compile_seconds

    return call


class Program(NamedTuple):
    """A way to train many GANs: its name in the table, its colour in the figure, how to prepare it.

    The rate, in seed-steps per second and rather too high, decides how many steps a call takes.
    """

    label: str
    color: str
    rate: float
    prepare: Callable[[int], Call]


ONE_SEED = "pytorch"  # trains one seed at a time, in a process on every core
PROGRAMS = {
    "pytorch": Program("PyTorch, one seed a core", GREY, 2e3, prepare_pytorch),
    "torch_compile": Program("PyTorch, compile(vmap)", "black", 5e6, prepare_torch_compile),
    "vmap_scan": Program("JAX, jit(vmap(scan))", ORANGE, 1e7, prepare_vmap_scan),
}
ENGINE_STYLES = {"vmap": (BLUE, 2e7), "pallas": ("#CC79A7", 1e10)}
for name in ENGINES:
    style = ENGINE_STYLES.get(name, (GREEN, 2e8))
    PROGRAMS[f"engine_{name}"] = Program(f"engine {name}", *style, partial(prepare_engine, name))


# In the processes


@cache
def prepare(name: str, seeds: int) -> Call:
    """Prepare a program, once in each process."""
    return PROGRAMS[name].prepare(seeds)


def start_program(name: str, seeds: int) -> None:
    """Prepare a program, and return nothing, which can be sent to the other process."""
    prepare(name, seeds)


def repeat(name: str, seeds: int, steps: int, seconds: float) -> dict[str, Any]:
    """Call a program once, and again until its calls have taken this many seconds."""
    calls = [prepare(name, seeds)(steps)]
    while sum(own for own, _ in calls) < seconds:
        calls.append(prepare(name, seeds)(steps))
    own, compiling = zip(*calls)
    return {
        "rate": seeds * steps * len(calls) / sum(own),
        "compile_seconds": compiling[0],
        # Of the process that started this one if that held more, which held the same libraries.
        "memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT,
    }


def describe_machine() -> dict[str, Any]:
    cpuinfo = Path("/proc/cpuinfo")  # on Linux
    model = re.search("model name\\s*: (.*)", cpuinfo.read_text() if cpuinfo.exists() else "")
    return {
        "platform": jax.default_backend(),
        "device": describe_device(),
        "cpu": model[1] if model else "unknown",
        "avx512": has_avx512(),
        "cores": count_cores(),
    }


# Measuring


def start_process() -> ProcessPoolExecutor:
    """An executor of one new process, which leaves Ctrl-C to this one."""
    ignore = (signal.SIGINT, signal.SIG_IGN)
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, context, initializer=signal.signal, initargs=ignore)


def take_turns(name: str, size: int, options: Benchmark) -> Iterator[dict[str, Any]]:
    """Measure a program at one size: yields its row as it starts, is compiled, and repeats."""
    one_seed, label = name == ONE_SEED, PROGRAMS[name].label
    seeds = 1 if one_seed else size
    processes = [start_process() for _ in range(count_cores() if one_seed else 1)]
    row: dict[str, Any] = {
        "program": name,
        "label": label,
        "seeds": None if one_seed else size,  # None where their number does not matter
        "unavailable": None,
    }

    def submit(function, *args):
        return [process.submit(function, name, seeds, *args) for process in processes]

    def say(text):
        print(f"{label}, {seeds:,} seeds: {text}", file=sys.stderr, flush=True)

    started = submit(start_program)
    yield row
    try:
        for future in started:
            future.result()
        steps = choose_steps(name, seeds, options.seconds)
        first, *_ = [future.result() for future in submit(repeat, steps, 0.0)]
        row["compile_seconds"] = first["compile_seconds"]
        say("ready")
        yield row
        rates = []
        for _ in range(options.repeats):
            answers = [future.result() for future in submit(repeat, steps, options.seconds)]
            rates.append(sum(answer["rate"] for answer in answers))
            say(f"{rates[-1]:.2e} seed-steps/s")
            row |= {
                RATE: statistics.median(rates),
                "slowest": min(rates),
                "fastest": max(rates),
                "memory_bytes": sum(answer["memory_bytes"] for answer in answers),
            }
            yield row
    except Exception as error:
        row["unavailable"] = traceback.format_exception_only(error)[-1].strip()[:300]
        say(row["unavailable"])


def choose_steps(name: str, seeds: int, seconds: float) -> int:
    """How many steps a call takes."""
    if "torch" not in name:
        seconds = max(seconds, SECONDS_PER_SEED * seeds)
    steps = min(FULL_RUN, round(seconds * PROGRAMS[name].rate / seeds))
    return RECORD_EVERY * max(1, steps // RECORD_EVERY)


def measure_all(options: Benchmark, platform: str) -> list[dict]:
    """Every row; the program of one seed goes with the first size."""
    chosen = [name for name in PROGRAMS if name in (options.programs or PROGRAMS)]
    rows = []
    for place, size in enumerate(options.seeds):
        names = [name for name in chosen if place == 0 or name != ONE_SEED]
        # A TPU serves one process at a time.
        for group in [[name] for name in names] if platform == "tpu" else [names]:
            rows += measure(group, size, options)
    return sorted(rows, key=lambda row: row["seeds"] or 0)


def measure(names: Sequence[str], size: int, options: Benchmark) -> list[dict]:
    """Measure programs in turns, so that a machine that slows down slows all of them."""
    try:
        rows, *_ = zip_longest(*[take_turns(name, size, options) for name in names])
        return list(rows)
    finally:  # whatever they are doing
        for process in multiprocessing.active_children():
            process.terminate()
            process.join()


# Results


def tabulate(rows: Sequence[dict]) -> str:
    """The throughput in millions of seed-steps per second: a line a size, a column a program."""
    many = [row for row in rows if row["seeds"] and not row["unavailable"]]
    rates = {(row["label"], row["seeds"]): row[RATE] / 1e6 for row in many}
    labels = dict.fromkeys(row["label"] for row in many)

    def show(rate):
        return "–" if rate is None else f"{rate:.{2 if rate < 10 else 1 if rate < 100 else 0}f}"

    lines = [
        [f"{seeds:,}", *(show(rates.get((label, seeds))) for label in labels)]
        for seeds in sorted({row["seeds"] for row in many})
    ]
    return make_table(["seeds at a time", *labels], lines)


def describe(machine: dict) -> str:
    vectors = " with AVX-512" if machine["avx512"] else ""
    return f"{machine['cores']} cores ({machine['cpu']}{vectors})"


@styled
def plot_benchmark(rows: Sequence[dict]) -> Figure:
    """Throughput against seeds, and from it the time to train that many GANs for 10,000 steps."""
    figure = Figure(figsize=(11, 4.6))
    figure.suptitle("Training many GANs at a time")
    throughput, duration = figure.subplots(1, 2)
    measured = [row for row in rows if not row["unavailable"]]
    sizes = sorted({row["seeds"] for row in measured if row["seeds"]}) or [1, 1_000]
    for name in dict.fromkeys(row["program"] for row in measured):
        own = [row for row in measured if row["program"] == name]
        if name == ONE_SEED:  # one seed after another, however many
            own = [own[0] | {"seeds": size} for size in sizes]
        keys = ("seeds", "slowest", RATE, "fastest", "compile_seconds")
        seeds, low, rate, high, compiling = np.array([[row[key] for row in own] for key in keys])
        color = PROGRAMS[name].color
        throughput.fill_between(seeds, low, high, color=color, alpha=0.2, lw=0)
        throughput.plot(seeds, rate, "o-", color=color, ms=4, lw=1.5, label=own[0]["label"])
        duration.plot(seeds, compiling + seeds * FULL_RUN / rate, "o-", color=color, ms=4, lw=1.5)
    throughput.set(title="Throughput", ylabel="seed-steps per second")
    duration.set(title="Time for 10,000 steps each", ylabel="seconds, compilation included")
    for axes in (throughput, duration):
        axes.set(xscale="log", yscale="log", xlabel="GANs trained at a time")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=9)
        axes.minorticks_off()
        axes.grid(axis="y", color=GREY, alpha=0.2, lw=0.8)
    figure.legend(loc="outside right center")
    return figure


if __name__ == "__main__":
    run(main, options)
