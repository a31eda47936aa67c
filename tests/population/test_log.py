"""What a tracker sees of a population, and its rows as a table."""

import warnings

import numpy as np
import pytest
from rejects import rejects

import gan1010_jax as gan

SETUP = gan.Setup(gan.pattern_game("10"))
GRID = {"d_lr": [0.01, 0.1]}
FRACTIONS = ["matched", "in_support", "forgot", "diverged"]


def train(seeds, **options):
    options = {"steps": 200, "engine": "vmap", "chunk": 100} | options
    return gan.train_population(range(seeds), SETUP, **options)


@pytest.fixture(scope="module")
def logged():
    rows = []
    return train(250, log=rows.append), rows


def as_reported(population):
    report = gan.convergence_report(population)
    return {name: report[name]["fraction"] for name in FRACTIONS}


def test_a_tracker_sees_every_chunk_as_python_numbers(logged):
    population, rows = logged
    assert [(row["seeds"], row["chunk"]) for row in rows] == [(100, 1), (200, 2), (250, 3)]
    for row in rows:
        assert list(row) == ["seeds", "chunk", *FRACTIONS, "wall_seconds"]
        assert {type(value) for value in row.values()} == {int, float}
        for name in FRACTIONS:
            assert row[name] == population.columns[name][: row["seeds"]].mean(), name
    assert 0 < rows[0]["matched"] < 1
    seconds = [row["wall_seconds"] for row in rows]
    assert 0 < seconds[0] and sorted(seconds) == seconds
    assert seconds[-1] <= population.wall_seconds


def test_what_is_logged_changes_no_bit(logged):
    population, _ = logged
    plain = train(250)
    for name, column in plain.columns.items():
        np.testing.assert_array_equal(population.columns[name], column)
    for logged, found in zip(population.counts, plain.counts):
        np.testing.assert_array_equal(logged, found)


def test_a_directory_that_goes_on_logs_all_rows_that_it_has(tmp_path):
    class Stop(Exception):
        pass

    rows = []

    def stop(row):
        rows.append(row)
        raise Stop

    with pytest.raises(Stop) as caught:
        train(250, out=tmp_path, log=stop)
    assert caught.value.__notes__ == [f"100 of 250 GANs are kept in {tmp_path}"]
    population = train(250, out=tmp_path, log=rows.append)
    assert [(row["seeds"], row["chunk"]) for row in rows] == [(100, 1), (200, 1), (250, 2)]
    assert {name: rows[-1][name] for name in FRACTIONS} == as_reported(population)
    assert train(250, out=tmp_path, log=rows.append).counts.seeds == 250
    assert len(rows) == 3  # there was nothing to train


def test_an_interrupt_in_a_tracker_keeps_what_is_finished_and_logs_it_no_second_time(tmp_path):
    rows = []

    def interrupt(row):
        rows.append(row["seeds"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(250, out=tmp_path, log=interrupt)
    assert rows == [100]
    assert gan.load_population(tmp_path).counts.seeds >= 100


def test_a_share_is_logged_too(tmp_path):
    rows = []
    population = gan.train_share(range(5), SETUP, out=tmp_path, steps=20, log=rows.append)
    assert [row["seeds"] for row in rows] == [5]
    assert {name: rows[0][name] for name in FRACTIONS} == as_reported(population)


def test_the_log_of_a_sweep_names_the_method():
    rows, methods = [], {"mse": SETUP, "hinge": gan.Setup(SETUP.game, gan.Method("hinge"))}
    swept = gan.sweep(range(3), methods, GRID, steps=20, engine="vmap", log=rows.append)
    assert [(row["method"], row["seeds"]) for row in rows] == [("mse", 6), ("hinge", 6)]
    for row in rows:
        found = as_reported(swept.populations[row["method"]])
        assert {name: row[name] for name in FRACTIONS} == found


@pytest.mark.parametrize(
    "run",
    [train, lambda seeds, log: gan.sweep(range(seeds), SETUP, GRID, log=log)],
    ids=["population", "sweep"],
)
def test_a_tracker_of_a_population_is_a_function(run):
    with rejects("log", 3):
        run(3, log=3)


def test_a_population_is_a_table_of_its_rows(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = train(5, grid=GRID, out=tmp_path).to_pandas()
    columns = gan.load_population(tmp_path).columns
    assert list(table.columns) == list(columns)
    for name, column in columns.items():
        assert table[name].dtype == column.dtype
        np.testing.assert_array_equal(table[name], column)
    assert len(table.groupby("d_lr")) == 2 and len(table) == 10
