"""Measure how fast 1010-GANs are trained: PyTorch, plain JAX and every engine, side by side."""

import importlib.util
import math
import multiprocessing
import os
import resource
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from jax import lax
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Column, Table

import gan1010_jax as gan
from gan1010_jax import outline, store
from gan1010_jax.blocks import count_cores
from gan1010_jax.checks import check_whole, is_whole
from gan1010_jax.command_line import number, run
from gan1010_jax.engines import ENGINES, compiler_options
from gan1010_jax.errors import InvalidArgument
from gan1010_jax.plotting import BLUE, GREEN, GREY, ORANGE, styled
from gan1010_jax.population import describe_device
from gan1010_jax.scalarize import scalarize, to_lanes
from gan1010_jax.version import versions

SIZES = (64, 1_024, 16_384, 131_072)
QUICK_SIZES = (1_024, 16_384, 64)  # in the order of their worth, should time run out
QUICK_LIMIT = 112.0  # seconds, after this program's own imports and before its figure
LEFT_OUT = "left out, no time"
MAX_SIZE, MAX_REPEATS, MAX_SECONDS = 2**20, 1_000, 3_600.0
STARTED = time.perf_counter()
RECORD_EVERY, FULL_RUN = 10, 10_000  # steps
# A call of a JAX program lasts this long for each seed, or as long as a full run, so that what a
# run does once for each seed, whatever its steps, weighs little: 8 µs on 2 cores with AVX-512.
CALL_SECONDS_PER_SEED = 1e-4
# The plain program keeps every record of every seed: 35 bytes each, twice while it transposes them.
PLAIN_RECORD_BYTES, PLAIN_BYTES = 70, 2e9
NOTES = (
    "seed-steps/s: one seed advanced by one step (three updates), random draws included, "
    "compilation left out; median of the repeats and their range. A record is kept every 10 "
    "steps, except by PyTorch's compile(vmap).",
    "compile: in a process of its own with nothing cached; starting the libraries is left out. "
    "memory: the most that this process, libraries included, ever held.",
)


@dataclass(frozen=True)
class Benchmark:
    """Measure how fast 1010-GANs are trained: PyTorch, plain JAX and every engine, side by side.

    Writes a directory: report.json (the numbers of the table printed at the end) and
    figures/benchmark.png. The PyTorch rows need PyTorch: pip install torch.
    """

    quick: bool = False
    """Fewer sizes, and fewer and shorter repeats, in two minutes; on a machine too slow or too busy
    for that, fewer sizes still."""
    seeds: tuple[Annotated[int, number("seeds", int)], ...] = ()
    """How many GANs to train at a time: one or more sizes; by default 64 1024 16384 131072, the
    last of them not with --quick."""
    repeats: Annotated[int, number("repeats", int)] | None = None
    """How often each is measured; by default 5, and 3 with --quick."""
    seconds: Annotated[float, number("seconds", float)] | None = None
    """How long each measurement lasts at least; by default 1, and 0.3 with --quick."""
    programs: tuple[str, ...] = ()
    """What to measure; by default all: pytorch, torch_compile, vmap_scan and each engine_NAME."""
    out: Path = field(
        default_factory=lambda: Path("runs") / time.strftime("benchmark-%Y%m%d-%H%M%S")
    )
    """Where to write: a new or empty directory."""


class Plan(NamedTuple):
    """What to measure, its limits checked; no size is begun that may end after `limit` seconds."""

    sizes: tuple[int, ...]
    repeats: int
    seconds: float
    programs: tuple["Program", ...]
    limit: float


def main(options: Benchmark) -> None:
    """Check every option, measure, write the results, print the table."""
    plan = check(options)
    with store.claim(options.out, resume=False), environment():
        (machine,) = measure_alone(describe_machine)
        rows = measure(plan, machine)
        compare(rows, machine)
        report = {"machine": machine, "versions": all_versions(), "notes": NOTES, "rows": rows}
        store.write_figures(options.out, {"benchmark": plot_benchmark(rows)})
        store.write_report(options.out, report)
    print_report(report, options.out)


def check(options: Benchmark) -> Plan:
    """Take the options as a plan.

    Raises:
      InvalidArgument: (a `ValueError`) for the first option outside its limits.
    """
    sizes = options.seeds or (QUICK_SIZES if options.quick else SIZES)
    for size in sizes:
        if not is_whole(size) or not 1 <= size <= MAX_SIZE:
            raise InvalidArgument("seeds", size, f"whole numbers from 1 to {MAX_SIZE}")
    repeats = (3 if options.quick else 5) if options.repeats is None else options.repeats
    check_whole("repeats", repeats, 1, MAX_REPEATS)
    seconds = (0.3 if options.quick else 1.0) if options.seconds is None else options.seconds
    if not 0 < seconds <= MAX_SECONDS:
        raise InvalidArgument("seconds", seconds, f"a number above 0, {MAX_SECONDS:g} at most")
    for name in options.programs:
        if name not in PROGRAMS:
            raise InvalidArgument("programs", name, f"some of {', '.join(PROGRAMS)}")
    chosen = [PROGRAMS[name] for name in PROGRAMS if name in (options.programs or PROGRAMS)]
    limit = QUICK_LIMIT if options.quick else math.inf
    return Plan(tuple(dict.fromkeys(sizes)), repeats, seconds, tuple(chosen), limit)


# What is measured. Each program is prepared in a process of its own, for a number of seeds on a
# platform of JAX's, and gives a function that trains them for some steps.


class Call(NamedTuple):
    """One call of a program: how many seed-steps it did, and how long it took."""

    seed_steps: int
    seconds: float
    compile_seconds: float


@dataclass(frozen=True)
class Program:
    """A way to train many GANs.

    Attributes:
      name: what `--programs` and the report call it.
      label: what the table and the figure call it.
      prepare: `(seeds, platform)` to a function of the steps to a `Call`.
      expected: seed-steps per second, roughly, where a good first guess of the steps of a call
        saves a compilation; else 0.
      one_seed: whether it trains one seed at a time; it then runs in a process on every core.
    """

    name: str
    label: str
    prepare: Callable[[int, str], Callable[[int], Call]]
    expected: float
    one_seed: bool = False

    def unavailable(self, platform: str) -> str | None:
        """Why this machine cannot run it, if it is known beforehand."""
        if self.name in TORCH_PROGRAMS and not importlib.util.find_spec("torch"):
            return "not installed; pip install torch"
        if self.name == "engine_pallas" and platform == "cpu":
            return "needs a GPU or TPU"
        return None

    def least_seconds(self, seeds: int) -> float:
        """How long a call lasts at least, if a full run lasts longer."""
        return 0.0 if self.name in TORCH_PROGRAMS else CALL_SECONDS_PER_SEED * seeds

    def most_steps(self, seeds: int) -> int:
        """The most steps of a call: a full run, unless its records would need too much memory."""
        if self.name != "vmap_scan":
            return FULL_RUN
        records = int(PLAIN_BYTES / (PLAIN_RECORD_BYTES * seeds))
        return RECORD_EVERY * max(1, min(records, FULL_RUN // RECORD_EVERY))


def import_reference() -> ModuleType:
    """The reference GAN in PyTorch, which belongs to the tests."""
    sys.path.append(str(Path(__file__).parent.parent / "tests" / "reference"))
    return importlib.import_module("pytorch_gan")


def prepare_pytorch(seeds: int, platform: str) -> Callable[[int], Call]:
    """The reference in PyTorch, as it is written in textbooks: one seed, on one core."""
    del seeds, platform
    reference = import_reference()
    import torch

    torch.set_num_threads(1)

    def call(steps):
        started = time.perf_counter()
        players = reference.Discriminator(), reference.Generator()
        reference.train(*players, reference.draw_real(steps), RECORD_EVERY)
        return Call(steps, time.perf_counter() - started, 0.0)

    return call


def prepare_torch_compile(seeds: int, platform: str) -> Callable[[int], Call]:
    """The reference's step under `torch.func.vmap` and `torch.compile`, on all cores or the GPU."""
    reference = import_reference()
    import torch

    device = "cuda" if platform == "gpu" and torch.cuda.is_available() else "cpu"
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    # The first compilation of all also sets the C++ compiler up; this is left out, like imports.
    torch.compile(torch.sin)(torch.zeros(8, device=device))
    step, params, compile_seconds = reference.compile_step(), None, 0.0

    def call(steps):
        nonlocal params, compile_seconds
        if params is None:
            started = time.perf_counter()
            params = step(*reference.init_seeds(seeds, device))
            wait()
            compile_seconds = time.perf_counter() - started
        started = time.perf_counter()
        for _ in range(steps):
            params = step(*params)
        wait()
        return Call(seeds * steps, time.perf_counter() - started, compile_seconds)

    return call


def prepare_vmap_scan(seeds: int, platform: str) -> Callable[[int], Call]:
    """Plain JAX: `jit` of `vmap` of `train`, a `lax.scan`, for all seeds at once."""
    del platform
    compiled = {}
    jax.devices()  # starts the platform

    def compile_train(steps):
        started = time.perf_counter()
        train = jax.vmap(partial(gan.train, steps=steps, record_every=RECORD_EVERY))
        keys = jax.vmap(jax.random.key)(np.arange(seeds))
        program = jax.jit(train).lower(keys).compile()
        return program, keys, time.perf_counter() - started

    def call(steps):
        if steps not in compiled:
            compiled[steps] = compile_train(steps)
        program, keys, compile_seconds = compiled[steps]
        started = time.perf_counter()
        jax.block_until_ready(program(keys))
        return Call(seeds * steps, time.perf_counter() - started, compile_seconds)

    return call


def prepare_engine(engine: str, seeds: int, platform: str) -> Callable[[int], Call]:
    """An engine, as `train_population` runs it."""
    del platform
    jax.devices()  # starts the platform

    def call(steps):
        population = gan.train_population(
            range(seeds), steps=steps, record_every=RECORD_EVERY, engine=engine
        )
        seconds = population.wall_seconds - population.compile_seconds
        return Call(seeds * steps, seconds, population.compile_seconds)

    return call


TORCH_PROGRAMS = ("pytorch", "torch_compile")
EXPECTED = {"vmap": 5e6, "fused": 5e7, "pallas": 1e9}
PROGRAMS = {
    program.name: program
    for program in [
        Program("pytorch", "PyTorch, one seed a core", prepare_pytorch, 0.0, one_seed=True),
        Program("torch_compile", "PyTorch, compile(vmap)", prepare_torch_compile, 0.0),
        Program("vmap_scan", "JAX, jit(vmap(scan))", prepare_vmap_scan, 5e6),
        *(
            Program(
                f"engine_{name}",
                f"engine {name}",
                partial(prepare_engine, name),
                EXPECTED.get(name, 5e7),
            )
            for name in ENGINES
        ),
    ]
}


# Processes


@contextmanager
def environment() -> Iterator[None]:
    """Variables of the processes that are measured: no cache of an earlier run's programs."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as directory:
        os.environ |= {
            "JAX_ENABLE_COMPILATION_CACHE": "false",
            "TORCHINDUCTOR_CACHE_DIR": directory,
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # several processes share a GPU
        }
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


class Failure(Exception):
    """A process could not do what it was asked: why, in a line."""


class Worker:
    """A process that answers questions with `answer(question)`, what `prepare(*args)` gives it."""

    def __init__(self, prepare: Callable, *args: Any):
        """Start the process; `receive` then says when it is ready."""
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, prepare, args), daemon=True)
        self.process.start()
        other.close()

    def send(self, question: Any) -> None:
        """Ask."""
        try:
            self.connection.send(question)
        except OSError:
            pass  # the process has ended, as `receive` will say

    def receive(self) -> Any:
        """Wait for an answer.

        Raises:
          Failure: if the process failed, or ended.
        """
        try:
            answer = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            raise Failure(f"its process ended with {self.process.exitcode}") from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """End the process."""
        self.connection.close()
        self.process.terminate()
        self.process.join()


def serve(connection: Connection, prepare: Callable, args: Sequence[Any]) -> None:
    """The other end of a `Worker`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    try:
        answer = prepare(*args)
        connection.send("ready")
        while True:
            connection.send(answer(*connection.recv()))
    except (EOFError, BrokenPipeError):
        pass
    except Exception as error:
        (line, *_) = [*str(error).splitlines(), ""]
        connection.send(Failure(f"{type(error).__name__}: {line}"[:300]))


def measure_alone(prepare: Callable, *questions: Any) -> list[Any]:
    """The answers to a function's questions, from a process of its own; one without any asks."""
    worker = Worker(prepare)
    try:
        worker.receive()
        answers = []
        for question in questions or [()]:
            worker.send(question)
            answers.append(worker.receive())
        return answers
    finally:
        worker.close()


def prepare_program(name: str, seeds: int, platform: str) -> Callable[[int, float], dict]:
    """What a `Worker` does for a program: calls of it, for some time."""
    call = PROGRAMS[name].prepare(seeds, platform)

    def repeat(steps, seconds):
        calls = [call(steps)]
        while sum(call.seconds for call in calls) < seconds:
            calls.append(call(steps))
        return {
            "seed_steps": sum(call.seed_steps for call in calls),
            "seconds": sum(call.seconds for call in calls),
            "call_seconds": min(call.seconds for call in calls),
            "compile_seconds": calls[0].compile_seconds,
            "memory_bytes": peak_memory(),
            "device_memory_bytes": peak_device_memory(platform),
        }

    return repeat


def peak_memory() -> int:
    """The most memory that this process has held, in bytes."""
    try:
        # On Linux, ru_maxrss begins with that of the process that started this one.
        status = Path("/proc/self/status").read_text()
        return next(
            int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")
        )
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def peak_device_memory(platform: str) -> int | None:
    """The most memory that this process has held on its GPU or TPU, in bytes, where known."""
    if platform == "cpu":
        return None
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


# Measuring


class Measured:
    """A program at one size: its processes, and what they have measured."""

    def __init__(self, program: Program, seeds: int | None, platform: str):
        """Nothing is started yet."""
        self.program, self.platform = program, platform
        self.seeds = 1 if program.one_seed else seeds
        self.processes = count_cores() if program.one_seed else 1
        self.row = {
            "program": program.name,
            "label": program.label,
            "seeds": seeds,  # None where their number does not matter
            "unavailable": program.unavailable(platform),
        }
        self.rates, self.answers, self.workers, self.steps = [], [], [], 0

    def attempt(self, action: Callable[[], None]) -> None:
        """Do something, unless the program has failed; and remember why, if it fails now."""
        if not self.row["unavailable"]:
            try:
                action()
            except Failure as failure:
                self.row["unavailable"] = str(failure)
                say(f"{self.title}: {failure}")

    @property
    def title(self) -> str:
        """What progress calls it."""
        return self.program.label + ("" if self.program.one_seed else f", {self.seeds:,} seeds")

    def start(self) -> None:
        """Start the processes."""
        for _ in range(self.processes):
            self.workers.append(
                Worker(prepare_program, self.program.name, self.seeds, self.platform)
            )

    def leave_out(self, reason: str) -> dict:
        """The row of what is not measured, for this reason if there is no other."""
        return self.row | {"unavailable": self.row["unavailable"] or reason}

    def wait(self) -> None:
        """Wait until the processes are ready."""
        for worker in self.workers:
            worker.receive()
        say(f"{self.title}: started")

    def ask(self, seconds: float) -> list[dict]:
        """One measurement by all processes, at the same time."""
        for worker in self.workers:
            worker.send((self.steps, seconds))
        return [worker.receive() for worker in self.workers]

    def calibrate(self, seconds: float) -> None:
        """Compile, and choose how many steps a call takes."""
        duration = max(seconds, self.program.least_seconds(self.seeds))
        self.steps = self.fit(duration * self.program.expected / self.seeds)
        (first, *_) = self.ask(0)
        # The first is the compilation that counts; another number of steps needs another.
        self.row["compile_seconds"] = first["compile_seconds"]
        ratio = duration / first["call_seconds"]
        if not 1 / 4 < ratio < 4:
            before, self.steps = self.steps, self.fit(self.steps * ratio)
            if self.steps != before and self.program.expected:
                self.ask(0)
        say(f"{self.title}: ready, {self.steps:,} steps a call")

    def fit(self, steps: float) -> int:
        """The nearest number of steps that a call can take."""
        most = self.program.most_steps(self.seeds)
        return max(RECORD_EVERY, min(most, RECORD_EVERY * round(steps / RECORD_EVERY)))

    def repeat(self, seconds: float) -> None:
        """Measure once."""
        answers = self.ask(seconds)
        self.answers += answers
        self.rates.append(sum(answer["seed_steps"] / answer["seconds"] for answer in answers))
        say(f"{self.title}: {self.rates[-1]:.2e} seed-steps/s")

    def close(self) -> None:
        """End the processes."""
        for worker in self.workers:
            worker.close()

    def result(self) -> dict:
        """The row."""
        if self.row["unavailable"]:
            return self.row
        device = self.answers[-1]["device_memory_bytes"]
        return self.row | {
            "processes": self.processes,
            "steps": self.steps,
            "seed_steps_per_second": statistics.median(self.rates),
            "slowest": min(self.rates),
            "fastest": max(self.rates),
            "repeats": self.rates,
            "memory_bytes": sum(
                answer["memory_bytes"] for answer in self.answers[-self.processes :]
            ),
            "device_memory_bytes": device,
        }


def measure(plan: Plan, machine: dict) -> list[dict]:
    """Every row: the one-seed programs, which go with the first size, then each size's others."""
    platform = machine["platform"]
    rows, setup = [], 0.0
    for place, size in enumerate(plan.sizes):
        programs = [program for program in plan.programs if place == 0 or not program.one_seed]
        group = [
            Measured(program, None if program.one_seed else size, platform) for program in programs
        ]
        calls = [
            max(plan.seconds, program.least_seconds(size))
            for program in programs
            if not program.unavailable(platform)
        ]
        expected = setup + 1.2 * plan.repeats * sum(calls)
        if time.perf_counter() - STARTED + expected > plan.limit and place > 0:
            say(f"{size:,} seeds: {LEFT_OUT}")
            rows += [measured.leave_out(LEFT_OUT) for measured in group]
            continue
        # A TPU serves one process at a time.
        turns = [[measured] for measured in group] if platform == "tpu" else [group]
        setup = sum(measure_group(members, plan) for members in turns)
        rows += [measured.result() for measured in group]
    return sorted(rows, key=lambda row: row["seeds"] or 0)


def measure_group(group: Sequence[Measured], plan: Plan) -> float:
    """Measure programs in turns, so that a machine that slows down slows all of them.

    Returns:
      How many seconds passed before the first measurement.
    """
    started = time.perf_counter()
    with ExitStack() as stack:
        for measured in group:
            stack.callback(measured.close)
            measured.attempt(measured.start)
        for measured in group:
            measured.attempt(measured.wait)
        for measured in group:
            measured.attempt(partial(measured.calibrate, plan.seconds))
        setup = time.perf_counter() - started
        for _ in range(plan.repeats):
            for measured in group:
                measured.attempt(partial(measured.repeat, plan.seconds))
    return setup


def say(line: str) -> None:
    """Report progress, after the seconds since the program started."""
    print(f"{time.perf_counter() - STARTED:6.1f} s  {line}", file=sys.stderr, flush=True)


# The machine, and how near its limit a program comes


def describe_machine() -> Callable[[], dict]:
    """What a `Worker` does for the description of the machine."""

    def describe():
        cpu = read_cpuinfo()
        operations = count_operations()
        return {
            "platform": jax.default_backend(),
            "device": describe_device(),
            "cpu": cpu.get("model name", "unknown"),
            "vectors": [
                name
                for flag, name in (("avx2", "AVX2"), ("avx512f", "AVX-512"))
                if flag in cpu.get("flags", "").split()
            ],
            "cores": count_cores(),
            "operations_per_step": operations,
            "peak_operations_per_second": measure_peak(),
        }

    return describe


def read_cpuinfo() -> dict[str, str]:
    """What Linux says of the first core; nothing on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {
        name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }


def all_versions() -> dict[str, str]:
    """The versions of what is measured."""
    found = importlib.util.find_spec("torch")
    return versions() | ({"torch": metadata.version("torch")} if found else {})


# Neither computes anything: they name bits otherwise, or copy them.
NOT_COUNTED = frozenset(["bitcast_convert_type", "broadcast_in_dim", "complex", "imag", "real"])
SEVERAL = {"clamp": 2}  # a minimum and a maximum


def count_operations() -> dict[str, Any]:
    """The arithmetic of one step of one seed, with its random draws, as the engines compute it.

    The step is scalarised, common subexpressions are counted once, and what does not depend on the
    step or the state, such as the splitting of keys, is not counted. A sigmoid is what
    `outline.sigmoid` computes; any operation, a division too, is one.

    Returns:
      How many `floating` and `integer` operations, by the type of their result; and, as part of
      these, how many `sigmoids` and `threefry_blocks`, each with its own two numbers.
    """
    game, method = gan.pattern_game("1010"), gan.Method()

    def step(state, step, data_key):
        return gan.train_step(
            state, gan.draw_batch(data_key, game, method, step=step), game, method
        )

    key = jax.random.key(0, impl="threefry2x32")
    state, number = gan.init(key, game, method), jnp.int32(0)
    lanes = to_lanes(jax.tree.map(lambda leaf: leaf[..., None], (state, key)))
    on_lanes = scalarize(step, state, number, key)

    def ordered(state, key, number):
        return on_lanes(state, number, key)

    jaxpr = jax.make_jaxpr(ordered)(*lanes, number)
    # The engine's own sigmoids and random words in place of XLA's.
    engine = jax.make_jaxpr(partial(outline.substitute, jaxpr))([*jax.tree.leaves(lanes), number])
    operations, _ = outline.simplify(engine.jaxpr)

    inputs = engine.jaxpr.invars
    words = len(jax.tree.leaves(lanes[1]))
    varying = {*inputs[: -1 - words], inputs[-1]}
    counts, parts, examples = Counter(), Counter(), {}
    for operation in operations:
        operands = [operand for operand in operation.operands if not outline.is_literal(operand)]
        if not varying.intersection(operands):
            continue
        varying.update(operation.results)
        if operation.results[0].aval.shape == ():
            continue  # once for all lanes
        counts += count_equation(operation.equation)
        part = {"sigmoid": "sigmoids", "packed": "threefry_blocks"}.get(
            operation.equation.params.get("name")
        )
        if part:
            parts[part] += 1
            examples[part] = dict(count_equation(operation.equation))
    return {
        "floating": counts["floating"],
        "integer": counts["integer"],
        **{part: {"count": count, "each": examples[part]} for part, count in parts.items()},
    }


def count_equation(equation: Any) -> Counter:
    """How many floating-point and integer operations an equation makes on one lane."""
    name = equation.primitive.name
    if name in ("jit", "pjit"):
        inner = equation.params["jaxpr"].jaxpr
        return sum(map(count_equation, inner.eqns), Counter())
    if name in NOT_COUNTED:
        return Counter()
    floating = jnp.issubdtype(equation.outvars[0].aval.dtype, jnp.floating)
    return Counter({"floating" if floating else "integer": SEVERAL.get(name, 1)})


def measure_peak(seconds: float = 0.1, repeats: int = 10) -> float:
    """Operations per second of float32 multiply-adds in registers, on all cores or the GPU.

    Two operations each. The most of several measurements, since nothing makes a processor faster
    than it is. It evaluates polynomials by Horner's rule: of a degree so high that memory does not
    matter, and on CPU so low that the processor works on several of them at a time, since in each
    of them every multiply-add waits for the one before.
    """
    on_cpu = jax.default_backend() == "cpu"
    lanes, degree, rounds = (128, 16, 25_000) if on_cpu else (2**22, 1_024, 1)

    def polynomials(x, y):
        def horner(_, y):
            for _ in range(degree):
                y = y * x + 0.5
            return y

        return lax.fori_loop(0, rounds, horner, y)

    def kernel(x, y):
        return outline.call_kernel(polynomials, x, y) if on_cpu else polynomials(x, y)

    x = np.full(lanes, 0.5, np.float32)
    program = jax.jit(kernel, compiler_options=compiler_options()).lower(x, x).compile()
    inputs = jax.device_put((x, x))
    jax.block_until_ready(program(*inputs))

    def work(until):
        calls = 0
        while time.perf_counter() < until:
            jax.block_until_ready(program(*inputs))
            calls += 1
        return calls

    workers, rates = count_cores(), []
    with ThreadPoolExecutor(workers) as pool:
        for _ in range(repeats):
            started = time.perf_counter()
            calls = sum(pool.map(work, [started + seconds] * workers))
            rates.append(calls / (time.perf_counter() - started))
    return 2.0 * lanes * degree * rounds * max(rates)


# Results


def compare(rows: Sequence[dict], machine: dict) -> None:
    """Add to each row its ratios to other rows, and its fraction of the processor's peak."""

    def rate(program, seeds):
        for row in rows:
            if (row["program"], row["seeds"]) == (program, seeds):
                return row.get("seed_steps_per_second")
        return None

    operations = machine["operations_per_step"]
    count = operations["floating"] + operations["integer"]
    for row in rows:
        here = row.get("seed_steps_per_second")
        if here is None:
            continue
        others = {
            "times_vmap_scan": rate("vmap_scan", row["seeds"]),
            "times_pytorch": rate("pytorch", None),
            "times_torch_compile": rate("torch_compile", row["seeds"]),
        }
        row.update({name: other and here / other for name, other in others.items()})
        row["fraction_of_peak"] = here * count / machine["peak_operations_per_second"]


def print_report(report: dict, out: Path) -> None:
    """Print the rows as a table on standard output, and what they mean."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 140
    console.print(make_table(report["rows"]))
    machine = report["machine"]
    operations = machine["operations_per_step"]
    sigmoids, blocks = operations["sigmoids"], operations["threefry_blocks"]
    lines = (
        *report["notes"],
        f"of peak: a step's operations ({operations['floating']} floating-point and "
        f"{operations['integer']} integer ones, {sigmoids['count']} sigmoids and "
        f"{blocks['count']} Threefry blocks among them, as engine fused makes them) times "
        "seed-steps/s, over what this machine does in the same run of nothing but multiply-adds "
        f"in registers, {machine['peak_operations_per_second']:.3g} operations/s, two each.",
        f"machine: {machine['cpu']}, {machine['cores']} cores, "
        f"{' and '.join(machine['vectors']) or 'vectors unknown'}; JAX runs on "
        f"{machine['device']}",
        f"written to: {out}",
    )
    for line in lines:
        console.print(line)


def make_table(rows: Sequence[dict]) -> Table:
    """The rows as a table, a section for each size."""
    right = partial(Column, justify="right", no_wrap=True)
    table = Table(
        right("seeds"),
        Column("program", min_width=24),
        right("seed-steps\nper second"),
        right("slowest –\nfastest"),
        right("× vmap\n(scan)"),
        right("× PyTorch,\none seed"),
        right("× PyTorch,\ncompiled"),
        right("compile"),
        right("peak\nmemory"),
        right("of\npeak"),
        title="Training many GANs",
    )
    before, left_out = rows[0]["seeds"] if rows else None, set()
    for row in rows:
        if row["seeds"] != before:
            table.add_section()
            before = row["seeds"]
        seeds = "any" if row["seeds"] is None else f"{row['seeds']:,}"
        if row["unavailable"] == LEFT_OUT:
            if row["seeds"] not in left_out:
                table.add_row(seeds, LEFT_OUT)
            left_out.add(row["seeds"])
            continue
        if row["unavailable"]:
            table.add_row(seeds, f"{row['label']}: {row['unavailable']}")
            continue
        memory = row["device_memory_bytes"] or row["memory_bytes"]
        table.add_row(
            seeds,
            row["label"],
            f"{row['seed_steps_per_second']:.2e}",
            f"{row['slowest']:.2e} – {row['fastest']:.2e}",
            *(
                "–" if row[name] is None else significant(row[name])
                for name in ("times_vmap_scan", "times_pytorch", "times_torch_compile")
            ),
            f"{row['compile_seconds']:.1f} s" if row["compile_seconds"] else "–",
            f"{memory / 1e6:,.0f} MB",
            f"{significant(100 * row['fraction_of_peak'])} %",
        )
    return table


def significant(value: float) -> str:
    """A number above 0 to two significant digits, or to a whole number."""
    digits = max(0, 1 - math.floor(math.log10(value)))
    return f"{value:,.{digits}f}"


COLORS = {
    "pytorch": GREY,
    "torch_compile": "black",
    "vmap_scan": ORANGE,
    "engine_vmap": BLUE,
    "engine_fused": GREEN,
    "engine_pallas": "#CC79A7",
}


@styled
def plot_benchmark(rows: Sequence[dict]) -> Figure:
    """Throughput against seeds, and from it the time to train that many GANs for 10,000 steps."""
    figure = Figure(figsize=(11, 4.6))
    figure.suptitle("Training many GANs at a time")
    throughput, duration = figure.subplots(1, 2)
    measured = [row for row in rows if not row["unavailable"]]
    sizes = sorted({row["seeds"] for row in measured if row["seeds"]}) or [1, 1_000]
    ends = {throughput: [], duration: []}
    for name in dict.fromkeys(row["program"] for row in measured):
        own = [row for row in measured if row["program"] == name]
        seeds = np.array([row["seeds"] or 0 for row in own])
        low, rate, high, compiling = np.array(
            [
                [row[column] or 0 for row in own]
                for column in ("slowest", "seed_steps_per_second", "fastest", "compile_seconds")
            ]
        )
        if own[0]["seeds"] is None:  # one seed after another, however many
            seeds = np.array(sizes)
            low, rate, high, compiling = (np.repeat(x, len(sizes)) for x in (low, rate, high, 0))
        color, marker = COLORS.get(name, GREY), "o" if own[0]["seeds"] or len(sizes) == 1 else ""
        line = {"color": color, "marker": marker, "ms": 4, "lw": 1.5}
        throughput.fill_between(seeds, low, high, color=color, alpha=0.2, lw=0)
        throughput.plot(seeds, rate, **line)
        seconds = compiling + seeds * FULL_RUN / rate
        duration.plot(seeds, seconds, **line)
        for axes, values in ((throughput, rate), (duration, seconds)):
            ends[axes].append((values[-1], own[0]["label"], seeds[-1], color))

    throughput.set(title="Throughput", ylabel="seed-steps per second")
    duration.set(title="Time for 10,000 steps each", ylabel="seconds, compilation included")
    for axes in (throughput, duration):
        axes.set(xscale="log", yscale="log", xlabel="GANs trained at a time")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=9)
        axes.minorticks_off()
        axes.grid(axis="y", color=GREY, alpha=0.2, lw=0.8)
    label_ends(throughput, ends[throughput])
    label_ends(duration, ends[duration])
    return figure


def label_ends(axes: mpl.axes.Axes, ends: Sequence[tuple[float, str, int, str]]) -> None:
    """Write each line's name beside its right end, lifted where it would lie on another's."""
    low, high = np.log(axes.get_ylim())
    previous = -math.inf
    for value, label, seeds, color in sorted(ends):
        place = max((np.log(value) - low) / (high - low), previous + 0.065)
        previous = place
        axes.annotate(
            label,
            (seeds, value),
            (1.03, place),
            textcoords="axes fraction",
            color=color,
            fontsize=9,
            va="center",
            annotation_clip=False,
        )


if __name__ == "__main__":
    run(Benchmark, main)
