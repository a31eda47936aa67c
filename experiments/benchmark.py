"""Measure how fast GANs are trained: PyTorch, JAX as it is used elsewhere, and every engine."""

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
    """Measure how fast 1010-GANs are trained: PyTorch, JAX's usual patterns and every engine.

    Writes a directory: report.json and figures/benchmark.png. A seed-step is one seed advanced by
    one step, its random draws and a record every 10 steps included (minimal.py and PyTorch's
    compile(vmap) keep none), and compilation left out. A training is 10,000 of them. Each program
    first shows that it trains the same GAN: its outputs after 2,000 steps are compared with those
    of `gan.train`. The report has the median and the range of the repeats, and how long each
    program compiles, and the peak of its memory, in a process of its own with nothing cached.
    PyTorch's programs need PyTorch: pip install torch.
    """

    examples: ClassVar = Study.examples | {
        "--quick": "in about three minutes",
        "--quick --seeds 1024 --programs vmap_scan engine_vmap engine_fused": "three of them",
    }

    quick: Flag = False
    """Fewer sizes, and fewer and shorter repeats, in about three minutes."""
    seeds: tuple[Annotated[int, number("seeds", int)], ...] = (64, 1_024, 16_384, 131_072)
    """How many GANs to train at a time: one or more sizes."""
    repeats: Annotated[int, number("repeats", int)] = 5
    """How often each is measured."""
    seconds: Annotated[float, number("seconds", float)] = 1.0
    """How long each measurement lasts at least."""
    programs: Annotated[tuple[str, ...], unset("all")] = ()
    """Which to measure, such as minimal engine_fused."""


if __name__ == "__main__":
    options = read(Benchmark)  # before JAX is imported

import jax
import numpy as np
from matplotlib.figure import Figure
from operations import count_step
from scipy import stats

from gan1010_jax.checks import check_whole
from gan1010_jax.engines import ENGINES
from gan1010_jax.environment import count_cores, describe_device, has_avx512, versions
from gan1010_jax.figures import headed, legend_below, palette, styled, write_figures
from gan1010_jax.gan import fresh_state, seed_key
from gan1010_jax.population import claim, write_json

MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes
RECORD_EVERY, FULL_RUN = 10, 10_000  # steps
CHECKED_SEEDS, CHECKED_STEPS = 1_024, 2_000
# Sums are added in another order and sigmoids rounded otherwise: the outputs of a run differ by
# 1e-6 at most.
TOLERANCE, SIGNIFICANCE = 1e-5, 1e-3
# A call of an engine lasts about this long for each seed, or it takes a full run: then the costs
# of a run that do not grow with its steps, 8 µs a seed on 2 cores with AVX-512, weigh little. Those
# of the other programs are less than 1 µs.
SECONDS_PER_SEED = 1e-4
RATE = "seed_steps_per_second"
QUICK = {"seeds": (1_024, 16_384), "repeats": 3, "seconds": 0.3}


def main(options: Benchmark) -> None:
    options = check(options)
    names = [name for name in PROGRAMS if name in (options.programs or PROGRAMS)]
    with claim(options.out), tempfile.TemporaryDirectory() as empty:
        # For the processes that are measured: nothing compiled earlier, and a GPU that they share.
        os.environ |= {
            "JAX_ENABLE_COMPILATION_CACHE": "false",
            # An interrupt leaves semaphores, which Python removes, and warns of.
            "PYTHONWARNINGS": f"{os.environ.get('PYTHONWARNINGS', '')},ignore:resource_tracker",
            "TORCHINDUCTOR_CACHE_DIR": empty,
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        }
        machine, operations, ours = call_alone(describe_run)
        programs = {name: check_program(name, ours) for name in names}
        names = [name for name in names if not programs[name]["unavailable"]]
        rows = measure_all(names, options, machine["platform"])
        failures = [
            f"{row['label']}: {row['unavailable']}"
            for row in (*programs.values(), *rows)
            if row["unavailable"]
        ]
        if all(row["unavailable"] for row in rows):
            raise gan.UnfinishedRun(f"nothing was measured: {'; '.join(failures)}")
        torch = {"torch": metadata.version("torch")} if util.find_spec("torch") else {}
        report = {
            "machine": machine,
            "versions": versions() | torch,
            "operations": operations,
            "programs": programs,
            "rows": rows,
        }
        write_json(options.out / "report.json", report)
        draw = partial(plot_benchmark, rows, describe(machine))
        write_figures(options.out, {"benchmark": draw}, *options.look.arguments())
    print(f"Millions of seed-steps per second, {describe(machine)}:\n\n{tabulate(report)}\n")
    print(f"{describe_step(report)}\n")
    print(*failures, f"written to {options.out}", sep="\n")


def check(options: Benchmark) -> Benchmark:
    """Validate the options; those with the values of `quick` where no others are given."""
    if options.quick:
        unset = [name for name in QUICK if getattr(options, name) == getattr(Benchmark, name)]
        options = replace(options, **{name: QUICK[name] for name in unset})
    if not options.seeds:
        raise gan.InvalidArgument("seeds", options.seeds, "one or more sizes")
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
# function that trains them from scratch for some steps.


class Outcome(NamedTuple):
    """What a call of a program gives: G's last output [seeds, 4], and its seconds."""

    output: Any
    seconds: float
    compile_seconds: float


Call = Callable[[int], Outcome]


def timed(function: Callable, *args: Any) -> tuple[Any, float]:
    """The result of a call, and its seconds."""
    started = time.perf_counter()
    result = function(*args)
    return result, time.perf_counter() - started


def import_torch() -> tuple[Any, Any]:
    """PyTorch, and the reference GAN in it, which belongs to the tests."""
    if not util.find_spec("torch"):
        raise RuntimeError("needs PyTorch: pip install torch")
    sys.path.append(str(Path(__file__).parent.parent / "tests" / "reference"))
    return importlib.import_module("torch"), importlib.import_module("pytorch_gan")


def prepare_pytorch(seeds: int) -> Call:
    """The reference in PyTorch, as it is written in textbooks: one seed, on one core."""
    torch, reference = import_torch()
    torch.set_num_threads(1)

    def train(steps):
        players = reference.Discriminator(), reference.Generator()
        return reference.train(*players, reference.draw_real(steps), RECORD_EVERY)

    def call(steps):
        record, seconds = timed(train, steps)
        return Outcome(record.output[-1:].numpy(), seconds, 0.0)

    return call


def draw_params(torch: Any, reference: Any, seeds: int) -> tuple[dict, dict]:
    """The first parameters of D and of G, always the same, on the GPU if there is one."""
    torch.manual_seed(0)
    return reference.init_seeds(seeds, "cuda" if torch.cuda.is_available() else "cpu")


def prepare_torch_compile(seeds: int) -> Call:
    """The reference's step under `torch.func.vmap` and `torch.compile`, on all cores or the GPU."""
    torch, reference = import_torch()
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp(
        dir=os.environ["TORCHINDUCTOR_CACHE_DIR"]
    )
    params = draw_params(torch, reference, seeds)
    # The first compilation of all also sets the C++ compiler up; this is left out, like imports.
    torch.compile(torch.sin)(params[0]["model.0.bias"])
    compiled = cache(lambda: reference.compile_step(*params))

    def train(step, steps):
        for _ in range(steps):
            step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    def call(steps):
        step, compile_seconds = timed(compiled)
        for player, fresh in zip(params, draw_params(torch, reference, seeds)):
            for name, value in player.items():
                value.copy_(fresh[name])
        _, seconds = timed(train, step, steps)
        return Outcome(reference.generate(params[1]).cpu().numpy(), seconds, compile_seconds)

    return call


def prepare_vmap(build_train: Callable[[int], Callable], seeds: int) -> Call:
    """A JAX program under `jit` and `vmap`, for all seeds at once.

    Given the number of steps, `build_train` returns the function of a key that trains one seed:
    G's last output, and all else that the training gives.
    """
    keys = jax.vmap(seed_key)(np.arange(seeds))

    @cache
    def compile_train(steps):
        return jax.jit(jax.vmap(build_train(steps))).lower(keys).compile()

    def call(steps):
        program, compile_seconds = timed(compile_train, steps)
        (output, _), seconds = timed(lambda: jax.block_until_ready(program(keys)))
        return Outcome(output, seconds, compile_seconds)

    return call


def build_scan(steps: int) -> Callable:
    """`gan.train`, a `lax.scan`."""

    def train(key):
        state, history = gan.train(key, steps=steps, record_every=RECORD_EVERY)
        return history.output[-1], (state, history)

    return train


def build_minimal(steps: int) -> Callable:
    """`minimal.py`, whose number of steps is a constant at its head."""
    import minimal  # the peers too: they start JAX, which on a TPU one process alone may do

    def train(key):
        whole, minimal.STEPS = minimal.STEPS, steps  # while it is traced
        try:
            d, g = minimal.train(key, minimal.LEARNING_RATE)
        finally:
            minimal.STEPS = whole
        return minimal.G(g, minimal.LATENT), (d, g)

    return train


def build_purejaxrl(steps: int) -> Callable:
    """PureJaxRL's pattern: a `TrainState` of each player, and a tuple in a `lax.scan`."""
    from peers import LEARNING_RATE, make_train

    updates = steps // RECORD_EVERY
    run = make_train({"LR": LEARNING_RATE, "NUM_STEPS": RECORD_EVERY, "NUM_UPDATES": updates})

    def train(key):
        result = run(key)
        return result["metrics"]["output"][-1], result

    return train


def build_rejax(steps: int) -> Callable:
    """rejax's pattern: the algorithm and its state are dataclasses and pytrees."""
    from peers import GAN

    def train(key):
        state, outputs = GAN(total_steps=steps, eval_freq=RECORD_EVERY).train(key)
        return outputs[-1], (state, outputs)

    return train


def prepare_engine(engine: str, seeds: int) -> Call:
    """An engine, as `train_population` runs it."""
    if engine == "pallas" and jax.default_backend() == "cpu":
        raise RuntimeError("needs a GPU or TPU")

    def call(steps):
        options = {"steps": steps, "record_every": RECORD_EVERY, "engine": engine}
        population = gan.train_population(range(seeds), **options)
        output = np.stack([population.columns[f"output_{unit}"] for unit in range(4)], axis=-1)
        seconds = population.wall_seconds - population.compile_seconds
        return Outcome(output, seconds, population.compile_seconds)

    return call


# Whether a program trains the same GAN: its outputs against those of `gan.train`, [seeds, 4].


def compare_runs(call: Call, ours: np.ndarray) -> dict[str, float]:
    """A program that draws as `gan.train` does: how far apart the runs of all seeds are."""
    return apart(call(CHECKED_STEPS).output, ours)


def compare_replays(call: Call, ours: np.ndarray) -> dict[str, float]:
    """The peers in JAX: how far apart the runs are from `gan.train_on` with what they draw."""
    from peers import draw_all

    def replay(key):
        d, g, samples = draw_all(key, CHECKED_STEPS)
        state = fresh_state(d["params"], g["params"], gan.Setup())
        return gan.train_on(state, samples, record_every=RECORD_EVERY)[1].output[-1]

    keys = jax.vmap(seed_key)(np.arange(CHECKED_SEEDS))
    return apart(call(CHECKED_STEPS).output, jax.jit(jax.vmap(replay))(keys))


def compare_samples(call: Call, ours: np.ndarray) -> dict[str, float]:
    """The textbook's program in PyTorch: likewise, for one run."""
    _, reference = import_torch()
    players = reference.Discriminator(), reference.Generator()
    samples = reference.draw_real(CHECKED_STEPS)
    state = gan.params_from_torch(*(network.state_dict() for network in players))
    record = reference.train(*players, samples, RECORD_EVERY)
    _, history = gan.train_on(state, samples, record_every=RECORD_EVERY)
    return apart(record.output, history.output)


def compare_means(call: Call, ours: np.ndarray) -> dict[str, float]:
    """A compiled program in PyTorch, which draws for itself: whether it leads elsewhere on average.

    `gan.train_on` starts from the same parameters, on other samples of the same distribution. The
    p-value is that of the t-test of the differences, with Bonferroni's correction for the four
    coordinates: a learning rate 0.5 % higher is noticed.
    """
    output = call(CHECKED_STEPS).output
    params = draw_params(*import_torch(), CHECKED_SEEDS)
    params = jax.tree.map(lambda tensor: tensor.cpu().numpy(), params)

    def train(key, params):
        state = gan.params_from_torch(*params)
        samples = jax.vmap(partial(gan.draw_batch, key, gan.Setup()))(np.arange(CHECKED_STEPS)).real
        return gan.train_on(state, samples, record_every=RECORD_EVERY)[1].output[-1]

    keys = jax.vmap(seed_key)(np.arange(CHECKED_SEEDS))
    tests = stats.ttest_1samp(output - jax.jit(jax.vmap(train))(keys, params), 0)
    return {"p_value": float(np.minimum(1, 4 * tests.pvalue.min()))}


def apart(output: Any, expected: Any) -> dict[str, float]:
    return {"apart": float(np.abs(np.asarray(output) - np.asarray(expected)).max())}


class Program(NamedTuple):
    """A way to train many GANs: its name, its colour by its name in a `Palette`, how to prepare it.

    The rate, in seed-steps per second and rather too high, decides how many steps a call takes.
    """

    label: str
    color: str
    rate: float
    prepare: Callable[[int], Call]
    compare: Callable[[Call, np.ndarray], dict[str, float]] = compare_runs


ONE_SEED = "pytorch"  # trains one seed at a time, in a process on every core
DEFINITION = "vmap_scan"
PROGRAMS = {
    "pytorch": Program("PyTorch, one seed a core", "grey", 2e3, prepare_pytorch, compare_samples),
    "torch_compile": Program(
        "PyTorch, compile(vmap)", "ink", 5e6, prepare_torch_compile, compare_means
    ),
    "minimal": Program("minimal.py", "#E69F00", 1e7, partial(prepare_vmap, build_minimal)),
    "purejaxrl": Program(
        "PureJaxRL's pattern",
        "#56B4E9",
        1e7,
        partial(prepare_vmap, build_purejaxrl),
        compare_replays,
    ),
    "rejax": Program(
        "rejax's pattern",
        "#8FB339",
        1e7,
        partial(prepare_vmap, build_rejax),
        compare_replays,
    ),
    "vmap_scan": Program("gan.train, jit(vmap)", "orange", 1e7, partial(prepare_vmap, build_scan)),
}
ENGINE_STYLES = {"vmap": ("blue", 2e7), "pallas": ("pink", 1e10)}
for name in ENGINES:
    style = ENGINE_STYLES.get(name, ("green", 2e8))
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
    call = prepare(name, seeds)
    first = call(steps)
    own = [first.seconds]
    while sum(own) < seconds:
        own.append(call(steps).seconds)
    return {
        "rate": seeds * steps * len(own) / sum(own),
        "compile_seconds": first.compile_seconds,
        # Of the process that started this one if that held more, which held the same libraries.
        "memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT,
    }


def compare(name: str, ours: np.ndarray) -> dict[str, float]:
    """Compare a program's runs with those of `gan.train`."""
    return PROGRAMS[name].compare(prepare(name, CHECKED_SEEDS), ours)


def describe_run() -> tuple[dict[str, Any], dict[str, int], np.ndarray]:
    """The machine, the operations of a step, and the outputs that all programs are held to."""
    ours = prepare(DEFINITION, CHECKED_SEEDS)(CHECKED_STEPS).output
    return describe_machine(), count_step(), np.asarray(ours)


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


def end_processes() -> None:
    """End the processes that were started, whatever they are doing."""
    for process in multiprocessing.active_children():
        process.terminate()
        process.join()


def call_alone(function: Callable, *args: Any) -> Any:
    """The result of a function in a process of its own."""
    try:
        return start_process().submit(function, *args).result()
    finally:
        end_processes()


def explain(error: Exception) -> str:
    """Why a program does not run: a sentence of its own, or Python's line."""
    if type(error) is RuntimeError:
        return str(error)
    return traceback.format_exception_only(error)[-1].strip()[:300]


def check_program(name: str, ours: np.ndarray) -> dict[str, Any]:
    """Whether a program runs here, and how its runs compare with those of `gan.train`."""
    row = {"label": PROGRAMS[name].label, "unavailable": None, "compared": None}
    try:
        row["compared"] = call_alone(compare, name, ours)
    except Exception as error:
        row["unavailable"] = explain(error)
    text = row["unavailable"] or describe_comparison(row["compared"])
    print(f"{row['label']}: {text}", file=sys.stderr, flush=True)
    return row


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
        row["unavailable"] = explain(error)
        say(row["unavailable"])


def choose_steps(name: str, seeds: int, seconds: float) -> int:
    """How many steps a call takes."""
    if name.startswith("engine"):
        seconds = max(seconds, SECONDS_PER_SEED * seeds)
    steps = min(FULL_RUN, round(seconds * PROGRAMS[name].rate / seeds))
    return RECORD_EVERY * max(1, steps // RECORD_EVERY)


def measure_all(names: Sequence[str], options: Benchmark, platform: str) -> list[dict]:
    """Every row; the program of one seed goes with the first size."""
    rows = []
    for place, size in enumerate(options.seeds):
        chosen = [name for name in names if place == 0 or name != ONE_SEED]
        # A TPU serves one process at a time.
        groups = [[name] for name in chosen] if platform == "tpu" else [chosen]
        for group in filter(None, groups):
            rows += measure(group, size, options)
    return sorted(rows, key=lambda row: row["seeds"] or 0)


def measure(names: Sequence[str], size: int, options: Benchmark) -> list[dict]:
    """Measure programs in turns, so that a machine that slows down slows all of them."""
    try:
        rows, *_ = zip_longest(*[take_turns(name, size, options) for name in names])
        return list(rows)
    finally:
        end_processes()


# Results


def tabulate(report: dict) -> str:
    """The throughput in millions of seed-steps per second: a line a program, a column a size.

    Beside it, at each program's best size: how many trainings of 10,000 steps it does in a second,
    and how many times as many the fastest does; and how it compares with `gan.train`.
    """
    measured = [row for row in report["rows"] if not row["unavailable"]]
    rates = {(row["program"], row["seeds"]): row[RATE] for row in measured}
    sizes = sorted({seeds for _, seeds in rates if seeds})
    best: dict[str, float] = {}
    for (name, _), rate in rates.items():
        best[name] = max(rate, best.get(name, 0.0))

    def show(name):
        of_sizes = [rates.get((name, size), rates.get((name, None))) for size in sizes]
        return [
            report["programs"][name]["label"],
            *("–" if rate is None else write(rate / 1e6) for rate in of_sizes),
            write(best[name] / FULL_RUN),
            write(max(best.values()) / best[name], 2),
            describe_comparison(report["programs"][name]["compared"]),
        ]

    of_sizes = [f"{size:,} seeds" for size in sizes]
    titles = ["program", *of_sizes, "trainings a second", "times slower", "the same GAN"]
    return make_table(titles, [show(name) for name in report["programs"] if name in best])


def write(number: float, digits: int = 3) -> str:
    """A number with a few significant digits."""
    return f"{float(f'{number:.{digits}g}'):,.12g}"


def describe_comparison(compared: dict[str, float]) -> str:
    """How the runs of a program compare with those of `gan.train`."""
    ((kind, number),) = compared.items()
    if kind == "apart":
        text = f"to {number:.0e}" if number else "to the bit"
        return text if number < TOLERANCE else f"no: {number:.0e} apart"
    text = f"p = {number:.2g}"
    return text if number > SIGNIFICANCE else f"no: {text}"


def describe_step(report: dict) -> str:
    """What a training is, and how much of the machine's arithmetic it is, in words."""
    operations = dict(report["operations"])
    total, sigmoids = sum(operations.values()), operations.pop("sigmoid")
    kinds = [f"{number} on {kind}" for kind, number in operations.items()]
    fastest = max(row[RATE] for row in report["rows"] if not row["unavailable"])
    return (
        f"A training is {FULL_RUN:,} steps of 41 parameters, and a step at least {total} "
        f"operations: {', '.join(kinds)} and {sigmoids} sigmoids. "
        f"The fastest program does {write(fastest * total / 1e9, 2)} thousand million a second."
    )


def describe(machine: dict) -> str:
    vectors = " with AVX-512" if machine["avx512"] else ""
    return f"{machine['cores']} cores ({machine['cpu']}{vectors})"


@styled
def plot_benchmark(rows: Sequence[dict], machine: str = "", *, style: str = "paper") -> Figure:
    """Throughput against seeds, and from it the time to train that many GANs for 10,000 steps."""
    measured = [row for row in rows if not row["unavailable"]]
    best = max(measured, key=lambda row: row[RATE], default={"label": "Nothing", RATE: 0})
    fastest = f"{best[RATE] / 1e6:,.0f} million seed-steps per second"
    title = f"The fastest, {best['label']}, takes {fastest}"
    figure, colors = headed(title, machine, (8, 3.6)), palette()
    throughput, duration = figure.subplots(1, 2)
    sizes = sorted({row["seeds"] for row in measured if row["seeds"]}) or [1, 1_000]
    for name in dict.fromkeys(row["program"] for row in measured):
        own = [row for row in measured if row["program"] == name]
        if name == ONE_SEED:  # one seed after another, however many
            own = [own[0] | {"seeds": size} for size in sizes]
        keys = ("seeds", "slowest", RATE, "fastest", "compile_seconds")
        seeds, low, rate, high, compiling = np.array([[row[key] for row in own] for key in keys])
        color = getattr(colors, PROGRAMS[name].color, PROGRAMS[name].color)
        throughput.fill_between(seeds, low, high, color=color, alpha=0.2, lw=0)
        throughput.plot(seeds, rate, "o-", color=color, ms=4, lw=1.5, label=own[0]["label"])
        duration.plot(seeds, compiling + seeds * FULL_RUN / rate, "o-", color=color, ms=4, lw=1.5)
    throughput.set(title="seed-steps per second")
    duration.set(title="seconds for 10,000 steps each")
    for axes in (throughput, duration):
        axes.set(xscale="log", yscale="log", xlabel="GANs trained at a time")
        axes.set_xticks(sizes, [f"{size / 1e3:.0f}k" if size >= 1e3 else size for size in sizes])
        axes.minorticks_off()
        axes.grid(axis="y", color=colors.grey, alpha=0.2, lw=0.8)
    legend_below(figure)
    return figure


if __name__ == "__main__":
    run(main, options)
