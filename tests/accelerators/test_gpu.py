"""The Pallas kernels of a Hopper GPU, held to its own compilers, which need no GPU.

    python -m pytest -n 0 -m "" tests/accelerators/test_gpu.py

in an environment that has the tests' packages and `jax[cuda13]`; it takes two minutes.
"""

import re
from collections import Counter
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilers import compile_for
from devices import DEVICES
from jax import lax
from setups import setups

import gan1010_jax as gan
from gan1010_jax.engines import ENGINES, Lanes, build_loop, init_block, scalarize
from gan1010_jax.engines.scalarize import arrange

reason = "the compilers in jax[cuda13] are not installed: CONTRIBUTING.md has the command"
pytest.importorskip("jax_cuda13_plugin", reason=reason)
pytestmark = pytest.mark.slow
SETUPS = list(setups())
TARGET = Path(__file__).with_name("h100.txtpb")


@pytest.fixture(scope="module")
def compile_for_gpu():
    """Compile a function of arrays of these shapes for an H100."""
    from jax.experimental import topologies

    topology = topologies.get_topology_desc(
        platform="cuda",
        topology_name="h100",
        topology="1x1x1",
        target_config=TARGET.read_text(),
    )
    jax.config.update("jax_enable_compilation_cache", False)  # a program from there has no PTX
    yield partial(compile_for, topology.devices[0])
    jax.config.update("jax_enable_compilation_cache", True)


@pytest.fixture
def ptx_of(compile_for_gpu, monkeypatch, capfd):
    """Compile a function, and return what the compilers wrote: its kernels' PTX and registers."""

    def compile_fn(fn, *shapes):
        monkeypatch.setenv("MOSAIC_GPU_DUMP_PTX", "1")
        monkeypatch.setenv("MOSAIC_GPU_DUMP_PTXAS", "1")
        capfd.readouterr()
        compile_for_gpu(fn, *shapes)
        written = capfd.readouterr()
        return written.out + written.err

    return compile_fn


def loop_of(setup, lanes=1024):
    """The `pallas` engine's loop over two records, and the shapes of its arguments."""
    loop = build_loop(ENGINES["pallas"], 20, 10, kept=8, device=DEVICES["gpu"])

    def leaf(dtype):
        return jax.ShapeDtypeStruct((lanes,), dtype)

    setup = jax.tree.map(lambda _: leaf(np.float32), setup)
    start = jax.eval_shape(init_block, leaf(np.uint32), setup)
    return loop, *start, setup, leaf(bool)


def instructions(ptx):
    """The operation, the registers read and those written, of each instruction of a kernel."""
    found = []
    for line in ptx.splitlines():
        match = re.match(r"\s+(?:@!?(%\w+) )?\s*([a-z][\w.:]*)\s*(.*);", line)
        if match:
            guard, operation, operands = match.groups()
            first = re.match(r"\{.*?\}|[^,]*", operands)[0]
            stores = operation.startswith(("st.", "bra", "bar", "red", "ret", "mbarrier"))
            writes = [] if stores else re.findall(r"%\w+", first.split("[")[0])
            reads = re.findall(r"%\w+", operands if stores else operands[len(first) :])
            found.append((operation, {*reads, *([guard] if guard else [])}, {*writes}))
    return found


def never_written(ptx):
    """The registers of a kernel that are read and never written."""
    reads, writes = (set().union(*sets) for sets in list(zip(*instructions(ptx)))[1:])
    return {r for r in reads - writes if re.fullmatch(r"%[a-z]+\d+", r)}


def longest_loop(ptx):
    """The operations of the longest loop of a kernel, counted."""
    lines, labels, longest = ptx.splitlines(), {}, []
    for number, line in enumerate(lines):
        if match := re.match(r"(\$\w+):", line):
            labels[match[1]] = number
        match = re.search(r"bra(?:\.uni)?\s+(\$\w+)", line)
        if match and match[1] in labels:
            longest = max(longest, lines[labels[match[1]] : number + 1], key=len)
    return Counter(operation for operation, *_ in instructions("\n".join(longest)))


def test_the_reference_kernel_draws_and_fits_in_registers(ptx_of):
    """A warp issues an instruction a cycle at best, so that these are cycles of a step."""
    text = ptx_of(*loop_of(gan.Setup()))
    assert not never_written(text)
    step = longest_loop(text)
    rounds, blocks, sigmoids = 20, 2, 19
    assert step["shf.l.wrap.b32"] == rounds * blocks
    assert step["ex2.approx.f32"] == step["rcp.approx.f32"] == sigmoids
    assert step.total() <= 520
    spills, registers = re.search(r"(\d+) bytes spill stores[^$]*Used (\d+) reg", text).groups()
    assert int(spills) == 0
    assert int(registers) <= 128  # so that a multiprocessor holds four blocks


@pytest.mark.parametrize("fold", [False, True])
def test_mosaic_deletes_a_kernel_of_a_shift_by_the_width_unless_it_is_folded(ptx_of, fold):
    from jax.experimental.pallas import mosaic_gpu

    def mix(x):
        return x ^ lax.shift_right_logical(x, jnp.full_like(x, 32))

    words = jax.ShapeDtypeStruct((128,), np.uint32)
    mix_lanes = scalarize(mix, jax.ShapeDtypeStruct((), np.uint32))

    def kernel(x, y):
        lanes = Lanes(arrange([x[...]], ()))
        y[...] = mix_lanes(lanes).elements[()] if fold else mix(x[...])

    text = ptx_of(mosaic_gpu.kernel(kernel, out_type=words), words)
    assert any(operation.startswith("st.") for operation, *_ in instructions(text)) is fold


@pytest.mark.parametrize(("name", "setup"), SETUPS, ids=[name for name, _ in SETUPS])
def test_every_method_compiles(name, setup, compile_for_gpu):
    assert compile_for_gpu(*loop_of(setup)).as_text()
