"""Programs for a TPU, held to its own compiler, which runs on any machine. Nothing here is a time.

It needs `jax[tpu]`, in an environment of its own; CONTRIBUTING.md has the commands.
"""

import json
import re
import types
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from compilers import around_kernels, compile_for, tpu_devices, tpu_kernels
from setups import setups

import gan1010_jax as gan
from gan1010_jax.engines import ENGINES, build_loop, init_block
from gan1010_jax.population import blocks

reason = "libtpu, the TPU's compiler, is not installed: CONTRIBUTING.md has the command"
pytest.importorskip("libtpu", reason=reason)
pytestmark = pytest.mark.slow
SETUPS = list(setups())
MEMORY = {"v5e": 16e9, "v6e": 32e9}
PALLAS, REFERENCE = ENGINES["pallas"], gan.Setup()
LANES = 8192  # two tiles: a kernel is the same for more, and the rest compiles sooner


@pytest.fixture(params=["v5e", "v6e"])
def kind(request):
    """A kind of TPU."""
    return request.param


def compile_population(kind, chips, engine, steps, record_every, kept, setup=REFERENCE):
    """The program of a population as a user gets it, and its loop's memory."""
    program = blocks._compile_program(
        engine,
        structure=jax.tree.structure(setup),
        steps=steps,
        record_every=record_every,
        kept=(kept,),
        dtype="float32",
        partitionable=jax.config.jax_threefry_partitionable,
        devices=tuple(tpu_devices(kind, chips)),
    )
    return program, program.loops[kept].memory_analysis()


def compile_kernel(kind, setup=REFERENCE, record_every=10):
    """The loop of the pallas engine over 100 records of a few lanes."""

    def lanes(dtype):
        return jax.ShapeDtypeStruct((LANES,), dtype)

    setup = jax.tree.map(lambda _: lanes(np.float32), setup)
    start = jax.eval_shape(init_block, lanes(np.uint32), setup)
    (device,) = tpu_devices(kind, 1)
    loop = build_loop(PALLAS, 100 * record_every, record_every, kept=0, device=device)
    return compile_for(device, loop, *start, setup, lanes(np.bool_))


NOTEBOOK = Path(__file__).parents[2] / "experiments" / "colab.ipynb"
SHORT = "SEED, SEEDS, STEPS, LONG, DEEPEST = 17, 64, 200, 500, 500"
COMPILED = ("train", "init", "draw_batch", "generate", "train_step", "follow")


def is_solution(cell):
    return "".join(cell["source"]).startswith("<details><summary>Solution")


def test_the_cells_of_the_notebook_compile_for_a_v5e(dump, monkeypatch):
    """The cells run here with few seeds and steps; each program of theirs is compiled for a TPU.

    The code of the folded solutions is run where it stands.
    """
    (device,) = tpu_devices("v5e", 1)
    compiled = []

    def compile_call(name, fn, *args, **options):
        """Compile a call whose arrays are arguments, and everything else is as given."""
        leaves, treedef = jax.tree.flatten((args, options))
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array | np.ndarray)]

        def call(*arrays):
            filled = dict(enumerate(leaves)) | dict(zip(places, arrays))
            args, options = jax.tree.unflatten(treedef, filled.values())
            return fn(*args, **options)

        arrays = [leaves[i] for i in places]
        shapes = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in arrays]
        compile_for(device, call, *shapes)
        compiled.append(name)
        return fn(*args, **options)

    compile_here = blocks._compile_program

    def _compile_program(engine, **options):
        few = PALLAS._replace(accelerator_block=LANES)
        compile_here(few, **options | {"devices": (device,)})
        compiled.append("population")
        return compile_here(ENGINES["vmap"], **options)  # which compiles soonest

    monkeypatch.setattr(blocks, "_compile_program", _compile_program)
    watched = {name: partial(compile_call, name, getattr(gan, name)) for name in COMPILED}
    names = {
        "gan": types.SimpleNamespace(**{name: getattr(gan, name) for name in dir(gan)} | watched)
    }
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    _, *cells = (cell for cell in cells if cell["cell_type"] == "code" or is_solution(cell))
    for cell in cells:
        source = "".join(cell["source"])
        if is_solution(cell):
            source = re.search(r"```python\n(.*?)```", source, flags=re.DOTALL)[1]
        is_parameters = "parameters" in cell["metadata"].get("tags", [])
        lines = [SHORT] if is_parameters else source.splitlines()
        exec("\n".join(line for line in lines if not line.startswith("%")), names)
    assert {*compiled} == {"population", *COMPILED} and compiled.count("population") > 6


@pytest.mark.parametrize(("chips", "kept"), [(1, 0), (4, 1024)])
@pytest.mark.parametrize("engine", ENGINES.values(), ids=list(ENGINES))
def test_every_engines_whole_program_compiles_in_200_MB_a_block(dump, kind, chips, kept, engine):
    program, memory = compile_population(kind, chips, engine, 10_000, 10, kept)
    assert program.width == chips * ENGINES[engine.name].block("tpu")
    histories = 1000 * kept * 36  # bytes: nine numbers of 4 a record
    assert 0 < memory.peak_memory_in_bytes < 200e6 + histories


def test_a_million_steps_with_every_tenth_kept_fit_with_two_blocks_in_flight(dump, kind):
    _, memory = compile_population(kind, 1, PALLAS, 1_000_000, 10, kept=1024)
    assert memory.output_size_in_bytes > 100_000 * 1024 * 32
    assert 2 * memory.peak_memory_in_bytes < MEMORY[kind]


# Bundles of a step of 1,024 lanes; 317 and 212 with libtpu 0.0.42.
MOST_BUNDLES = {"v5e": 335, "v6e": 225}
STEPS_IN_A_ROW, LANES_OF_A_TILE = 5, 4096


def test_a_step_takes_few_bundles_and_xla_copies_nothing_around_a_kernel(dump, kind):
    compiled = compile_kernel(kind)
    (kernel,) = tpu_kernels(compiled, dump)
    per_step = kernel.step / STEPS_IN_A_ROW / (LANES_OF_A_TILE / 1024)
    assert MOST_BUNDLES[kind] / 2 < per_step < MOST_BUNDLES[kind]
    assert kernel.bundles - kernel.step < 1800  # once a record and tile
    assert kernel.valu > 0.8  # of the vector units' slots
    around = around_kernels(compiled)
    assert around["custom-call"] == 1 and around["copy"] == around["copy-start"] == 0


@pytest.mark.parametrize("record_every", [1, 2, 7])
def test_records_need_not_be_a_multiple_of_the_steps_in_a_row(dump, kind, record_every):
    assert tpu_kernels(compile_kernel(kind, record_every=record_every), dump)


@pytest.mark.parametrize(("name", "setup"), SETUPS, ids=[name for name, _ in SETUPS])
def test_every_method_and_game_is_a_kernel(dump, kind, name, setup):
    (kernel,) = tpu_kernels(compile_kernel(kind, setup), dump)
    assert kernel.step > 20
