"""Whatever decides the bits is recorded, or compared before training, so that none are mixed."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

import gan1010_jax as gan
from gan1010_jax.population import store
from gan1010_jax.population.blocks import _compile_program

GAME = gan.pattern_game("10")
RUN = {"steps": 40, "record_every": 20, "engine": "vmap", "chunk": 100}
GRID = {"d_lr": [0.01, 0.1]}


def train(seeds, **options):
    return gan.train_population(range(seeds), gan.Setup(GAME), **RUN | options)


def partitionable(flag):
    """Let JAX's Threefry be partitionable, which is its default, or not."""
    jax.config.update("jax_threefry_partitionable", flag)


@pytest.fixture
def other_threefry():
    partitionable(False)
    yield
    partitionable(True)


@pytest.mark.slow
def test_each_form_of_threefry_has_its_own_program(other_threefry):
    for flag in (True, False, True):
        partitionable(flag)
        row, run = train(3).columns, gan.train(jax.random.key(2), gan.Setup(GAME), steps=40)[1]
        np.testing.assert_allclose(row["output_0"][2], run.output[-1, 0], atol=1e-6)


def test_rows_do_not_depend_on_jaxs_offset_of_seeds():
    expected = train(3).columns
    before = jax.config.jax_random_seed_offset
    _compile_program.cache_clear()
    jax.config.update("jax_random_seed_offset", 5)
    try:
        found = train(3).columns
    finally:
        jax.config.update("jax_random_seed_offset", before)
        _compile_program.cache_clear()
    np.testing.assert_equal(found, expected)


def test_another_form_of_threefry_is_another_configuration(tmp_path, other_threefry):
    train(100, out=tmp_path)
    partitionable(True)
    with pytest.raises(gan.BadFile, match="has False as its threefry_partitionable, and this run"):
        train(200, out=tmp_path)


def test_rows_of_other_bits_are_not_mixed(tmp_path):
    """Whatever made them: here, a loss of one row is changed, and every digest is right."""
    train(50, grid=GRID, out=tmp_path)
    (path,) = (tmp_path / "population").iterdir()
    table = pq.read_table(path)
    losses = table["g_loss"].to_numpy().copy()
    losses[70] = np.nextafter(losses[70], np.float32(1))
    place = table.column_names.index("g_loss")
    changed = table.set_column(place, table.field("g_loss"), [losses])
    facts = json.loads(table.schema.metadata[store._METADATA])
    path.unlink()
    store._write_part(tmp_path, facts.pop("table"), range(100), changed, facts)

    def contents():
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    assert train(50, grid=GRID, out=tmp_path).counts.seeds == 100  # nothing to train
    before = contents()
    with pytest.raises(gan.BadFile, match="has rows with other bits than this process computes"):
        train(60, grid=GRID, out=tmp_path)
    assert contents() == before


@pytest.mark.slow
@pytest.mark.skipif("fma" not in open("/proc/cpuinfo").read(), reason="an x86 processor with FMA")
def test_another_instruction_set_is_named(tmp_path):
    program = (
        "import sys, gan1010_jax as gan\n"
        "try: gan.train_population(range(int(sys.argv[1])), out=sys.argv[2], steps=1000)\n"
        "except gan.BadFile as error: print(error)"
    )

    def run(seeds, **environment):
        return subprocess.run(
            [sys.executable, "-c", program, str(seeds), str(tmp_path)],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert run(64) == ""
    said = run(128, XLA_FLAGS="--xla_cpu_max_isa=SSE4_2")
    assert "has rows with other bits than this process computes (XLA_FLAGS '' there, '--xla" in said
    assert run(128) == "" and gan.load_population(tmp_path).counts.seeds == 128
