"""What a tracker sees of a run, and its records as a table."""

import csv
import subprocess
import sys
import threading
from functools import partial

import chex
import jax
import numpy as np
import pytest
from rejects import rejects

import gan1010_jax as gan

KEY = jax.random.key(17)
SETUP = gan.Setup(gan.dirac_game())  # compiles in a tenth of the time of the reference
RUN = partial(gan.train, setup=SETUP, steps=40)
COLUMNS = ["step", "output_0", "output_1", "d_loss_real", "d_loss_fake", "g_loss"]
COLUMNS += ["finite", "matched", "in_support"]


def test_a_tracker_sees_every_record_in_its_order_as_python_numbers():
    rows = []
    _, history = RUN(KEY, log=rows.append)
    assert all(list(row) == COLUMNS for row in rows)
    assert {type(value) for row in rows for value in row.values()} == {int, float, bool}
    assert [row["step"] for row in rows] == [10, 20, 30, 40]
    assert [row["output_0"] for row in rows] == history.output[:, 0].tolist()
    for name, loss in history.losses._asdict().items():
        column = {"g": "g_loss"}.get(name, name.replace("d_", "d_loss_"))
        assert [row[column] for row in rows] == loss.tolist()


@pytest.mark.parametrize("setup", [SETUP, pytest.param(gan.Setup(), marks=pytest.mark.slow)])
def test_a_run_that_is_logged_has_the_numbers_of_one_that_is_not(setup):
    run = partial(gan.train, KEY, setup, steps=200)
    logged, plain = run(log=print_nothing), run()
    chex.assert_trees_all_equal_shapes_and_dtypes(logged, plain)
    chex.assert_trees_all_close(logged, plain, atol=1e-6)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(logged))


def print_nothing(row):
    pass


def test_a_tracker_is_called_while_it_trains_by_the_thread_that_trains():
    """So that a tracker may keep what belongs to a thread, and use JAX."""
    seen = []

    def log(row):
        seen.append((threading.get_ident(), float(jax.numpy.square(row["step"]))))

    RUN(KEY, log=log)
    assert seen == [(threading.get_ident(), step**2) for step in (10, 20, 30, 40)]


class Stop(Exception):
    pass


def test_what_a_tracker_raises_ends_the_run_and_reaches_the_caller():
    rows, stop = [], Stop()

    def log(row):
        rows.append(row)
        if row["step"] == 20:
            raise stop

    with pytest.raises(Stop) as caught:
        RUN(KEY, log=log)
    assert caught.value is stop and len(rows) == 2


def test_another_tracker_compiles_nothing(caplog):
    RUN(KEY, log=print_nothing)
    with jax.log_compiles():
        RUN(KEY, log=lambda row: None)
    assert not [text for text in caplog.messages if "Finished XLA compilation" in text]


def test_a_run_inside_jit_and_vmap_is_logged_too():
    alone, rows = [], []
    _, expected = RUN(KEY, log=alone.append)
    run = partial(RUN, log=rows.append)
    _, history = jax.block_until_ready(jax.jit(run)(KEY))
    chex.assert_trees_all_close(history, expected, atol=1e-6)
    jax.effects_barrier()
    assert rows == [pytest.approx(row, abs=1e-6) for row in alone]
    rows.clear()
    jax.block_until_ready(jax.vmap(run)(jax.random.split(KEY, 2)))
    jax.effects_barrier()
    assert [row["step"] for row in rows] == [10, 10, 20, 20, 30, 30, 40, 40]
    assert rows[0]["output_0"] != rows[1]["output_0"]


def test_the_error_of_a_tracker_inside_jit_says_what_it_was():
    def log(row):
        raise Stop("here")

    with pytest.raises(jax.errors.JaxRuntimeError, match="Stop: here"):
        jax.block_until_ready(jax.jit(partial(RUN, log=log))(KEY))


@pytest.mark.parametrize("log", [3, "rows", [print_nothing]])
def test_a_tracker_is_a_function(log):
    with rejects("log", log):
        RUN(KEY, log=log)


def test_arguments_are_checked_before_anything_is_logged():
    rows = []
    with rejects("steps", 15):
        RUN(KEY, steps=15, log=rows.append)
    assert not rows


def test_a_tracker_that_writes_a_file(tmp_path):
    """The README's example."""
    with open(tmp_path / "run.csv", "w", newline="") as file:
        writer = csv.writer(file)
        _, history = RUN(KEY, log=lambda row: writer.writerow(row.values()))
    with open(tmp_path / "run.csv", newline="") as file:
        rows = [*csv.reader(file)]
    assert [float(row[1]) for row in rows] == history.output[:, 0].tolist()


def test_a_history_is_a_table_of_its_records():
    rows = []
    _, history = RUN(KEY, log=rows.append)
    table = history.to_pandas()
    assert table.to_dict("records") == rows
    kinds = {name: dtype.kind for name, dtype in table.dtypes.items()}
    assert kinds == dict(zip(COLUMNS, "ifffffbbb"))
    assert table["step"].dtype == np.int32 and table["g_loss"].dtype == np.float32


def test_histories_of_several_runs_are_no_table():
    _, histories = jax.vmap(RUN)(jax.random.split(KEY, 2))
    with rejects("history", (2, 4)):
        histories.to_pandas()


WITHOUT = """
import sys
sys.modules["pandas"] = None
import jax, numpy as np, gan1010_jax as gan
history = gan.History(*[np.zeros((1, 1))] * 2, gan.Losses(*[np.zeros(1)] * 3), *[np.zeros(1)] * 3)
try:
    history._replace(step=np.zeros(1)).to_pandas()
except ImportError as error:
    print(error)
"""


def test_without_pandas_the_error_says_how_to_install_it():
    said = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True
    ).stdout
    assert "pip install pandas" in said
