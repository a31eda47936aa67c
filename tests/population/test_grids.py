"""`gan.sweep`: a grid under several methods, in memory; `tests/cli/test_sweep.py` has the files."""

import jax
import numpy as np
import pytest
from rejects import rejects

import gan1010_jax as gan

GAME = gan.dirac_game()
GRID = {"d_lr": [0.1, 0.5], "g_lr": [0.2]}
METHODS = {
    "plain": gan.Setup(GAME, gan.Method("hinge")),
    "r1": gan.Setup(GAME, gan.Method("hinge", penalty="r1")),
}


@pytest.fixture(scope="module")
def swept():
    done = []
    run = gan.sweep(
        range(3), METHODS, GRID, steps=20, engine="vmap", progress=lambda *rows: done.append(rows)
    )
    return run, done


def test_a_sweep_is_a_population_of_every_method(swept):
    run, _ = swept
    assert [*run.populations] == [*run.tables] == ["plain", "r1"]
    alone = gan.train_population(range(3), METHODS["r1"], grid=GRID, steps=20, engine="vmap")
    for name, column in alone.columns.items():
        np.testing.assert_array_equal(run.populations["r1"].columns[name], column)
    table = gan.tabulate_cells(alone)
    assert run.cells.keys() == {"method", *table}
    np.testing.assert_array_equal(run.cells["method"], ["plain"] * 2 + ["r1"] * 2)
    for name, column in table.items():
        np.testing.assert_array_equal(run.cells[name][2:], column)


def test_the_progress_of_a_sweep_counts_the_rows_of_all_methods(swept):
    _, done = swept
    assert done[0] == (0, 12) and done[-1] == (12, 12)
    assert sorted(done) == done and (6, 12) in done


def test_a_setup_alone_has_the_name_of_its_method():
    run = gan.sweep(range(2), METHODS["r1"], GRID, steps=10, engine="vmap")
    assert [*run.populations] == ["hinge+r1"] and repr(run).startswith("Sweep({'hinge+r1': Pop")


def test_a_sweep_that_cannot_end_does_not_begin(tmp_path):
    begun = []
    later = METHODS | {"last": gan.Setup(GAME, hyperparams=gan.Hyperparams(jax.numpy.ones(3)))}
    for wrong, name in (
        ({"grid": {}}, "grid"),
        ({"methods": {}}, "methods"),
        ({"methods": METHODS | {"a/b": gan.Setup()}}, "methods"),
        ({"methods": later}, "d_lr"),
        ({"grid": {"penalty_weight": [1.0]}}, "penalty_weight"),
        ({"finish": print}, "finish"),
        ({"steps": 15}, "steps"),
    ):
        right = {"methods": METHODS, "grid": GRID, "steps": 10}
        with rejects(name):
            gan.sweep(range(2), progress=lambda *rows: begun.append(rows), **right | wrong)
    with pytest.raises(TypeError, match="speed"):
        gan.sweep(range(2), METHODS, GRID, speed=3)
    assert not begun
