"""The choice among engines: what `"auto"` takes, and what is done where an engine fails."""

import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np

from gan1010_jax.engines.registry import ENGINES, Engine
from gan1010_jax.errors import check_choice

_Program, _Result = TypeVar("_Program"), TypeVar("_Result")

# The parameters of the largest built-in game, of 16 bits; and the most that are known to compile on
# lanes. For 773, XLA shares a loop between threads on a CPU, which a kernel cannot.
_BUILT_IN, _MOST = 125, 400
# Seconds to compile, and for each parameter; seconds for a step of a block, and for each parameter;
# measured on two cores of an AMD EPYC (experiments/benchmark.md). Accelerators take them too: their
# blocks are some hundred times as wide, and they about as many times as fast.
_SECONDS = {"fused": (0.0, 0.08, 0.0, 8e-8), "vmap": (4.0, 0.0, 1e-5, 8e-8)}
# A block of this width or less is not halved: it is not what fills the memory, least of all on a
# CPU, whose blocks are narrower.
_LEAST_BLOCK = 4096


def check_engine(name: Any) -> None:
    """Raise `InvalidArgument` (a `ValueError`) unless this is the name of an engine, or "auto"."""
    check_choice("engine", name, ("auto", *ENGINES))


def list_engines(
    name: str, device: jax.Device, parameters: int, rows: int, steps: int
) -> tuple[list[Engine], str]:
    """The engines to try, one after another, and why they are not the fastest of the device.

    `"auto"` stands for `pallas` on a TPU and on an NVIDIA GPU from Hopper on, then `fused`, then
    `vmap`. Since the first two take the longer to compile the larger a network is, only `vmap` is
    taken for a short run of a network larger than any built-in game's: where an estimate of the
    time to compile and to run, from the numbers of parameters, rows and steps, says so. A network
    with hundreds of parameters takes it always.
    """
    if name != "auto":
        return [ENGINES[name]], ""
    engines = [ENGINES[name] for name in ("pallas", "fused", "vmap")]
    engines = [engine for engine in engines if engine.is_for(device)]

    def seconds(name: str) -> float:
        to_compile, for_parameter, step, step_for_parameter = _SECONDS[name]
        blocks = -(-rows // ENGINES[name].block(device.platform))
        step += step_for_parameter * parameters
        return to_compile + for_parameter * parameters + steps * blocks * step

    fused, vmap = seconds("fused"), seconds("vmap")
    if parameters <= _BUILT_IN or (parameters <= _MOST and fused <= vmap):
        return engines, ""
    problem = f"take the {engines[0].name} engine an estimated {fused:.0f} s and vmap {vmap:.0f} s"
    if parameters > _MOST:
        problem = f"are too many to compile for the {engines[0].name} engine"
    return engines[-1:], f"{parameters} parameters {problem}"


def fit_block(engine: Engine, device: jax.Device, lane: int, histories: int) -> Engine:
    """The engine with a block for the memory of the device, if that is an accelerator.

    Two blocks have to fit, since one runs while the results of the other are copied. Each takes the
    bytes of the `histories` that are kept, and for each seed eight times those of its `lane`: of
    arguments, results and a loop's values, XLA for a v5e holds three to seven times as much.
    """
    memory = {} if device.platform == "cpu" else device.memory_stats() or {}
    limit = memory.get("bytes_limit", np.inf)  # which not every allocator has
    while engine.block(device.platform) > _LEAST_BLOCK:
        if 2 * (8 * lane * engine.block(device.platform) + histories) <= limit:
            break
        engine = engine.halved()
    return engine


def of_caller(function: Callable[..., object]) -> Callable[..., None]:
    """A function of the caller's, whose own failures of JAX are no engine's."""

    def call(*args: Any) -> None:
        try:
            function(*args)
        except jax.errors.JaxRuntimeError as error:
            error.__dict__["is_callers"] = True
            raise

    return call


def use_engine(
    engines: Sequence[Engine],
    reason: str,
    platform: str,
    compile_fn: Callable[[Engine], _Program],
    run: Callable[[_Program], _Result],
    can_change: Callable[[], bool] = lambda: True,
) -> _Result:
    """Compile and run the first of some engines that can be, and return the result of `run`.

    The next one is taken where an engine cannot be compiled, for whatever reason, and where JAX
    fails while its program runs. Where its block does not fit the memory of the device, that is
    halved before. Each time, there is a warning with the `reason`. The last error is raised as it
    is: a mistake in a network, which no engine can compile, in the words of the plainest one.

    `run` begins anew when it is called again, and nothing of a program that failed is in its
    result, but for whole chunks that a directory has: after these, the engine may not change, only
    its block be halved. Other widths of a block may be other machine code, with other last bits:
    before a directory goes on, its rows are compared to the bit with those of the new program.
    """
    waiting = list(engines)
    while True:
        engine, compiled = waiting.pop(0), False
        try:
            program = compile_fn(engine)
            compiled = True
            if reason:
                block = f"{engine.block(platform):,} seeds at a time"
                reason += f", so the {engine.name} engine runs this, {block}"
                warnings.warn(reason, stacklevel=2)
            return run(program)
        except Exception as error:
            is_jaxs = isinstance(error, jax.errors.JaxRuntimeError)
            if compiled and (not is_jaxs or "is_callers" in vars(error)):
                raise  # of the files, or of the caller's functions
            is_full = re.search("RESOURCE_EXHAUSTED|out of memory", str(error), re.IGNORECASE)
            is_full = is_full and "vmem" not in str(error)  # a kernel's own, whatever the block
            if is_full and engine.block(platform) > _LEAST_BLOCK:
                waiting.insert(0, engine.halved())
            elif not waiting or not can_change():
                raise
            first_line = next(iter(str(error).splitlines()), "")
            reason = f"the {engine.name} engine failed ({type(error).__name__}: {first_line[:200]})"
