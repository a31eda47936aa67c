"""`gan.plot`: figures in one call, with nothing to import."""

import subprocess
import sys

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure
from rejects import rejects

import gan1010_jax as gan
from gan1010_jax import figures


@pytest.fixture(scope="module")
def results(population):
    history = jax.tree.map(lambda leaf: leaf[0], population.history)
    cells = gan.tabulate_cells(
        gan.train_population(range(3), grid={"d_lr": [0.01, 0.1]}, steps=20, engine="vmap")
    )
    of_population = dict.fromkeys(("convergence", "forgetting", "outputs", "settling"))
    return {
        **{name: (population,) for name in of_population},
        "architecture": (gan.pattern_game(),),
        "generator": (history, 0),
        "losses": (history, 0),
        "phase_diagram": ({"mse": cells}, "d_lr"),
        "spectrum": ({"one": np.array([1.0, 0.9 + 0.1j])},),
    }


@pytest.mark.parametrize("name", sorted({*gan.plot.__all__} - {"population"}))
def test_a_figure_is_one_call(name, results):
    assert isinstance(getattr(gan.plot, name)(*results[name]), Figure)


def test_every_figure_of_a_population_is_one_call(population):
    drawn = gan.plot.population(population)
    assert {*drawn} < {*gan.plot.__all__} and {*map(type, drawn.values())} == {Figure}


def test_a_short_name_is_that_of_the_figures_room():
    for name in gan.plot.__all__:
        assert getattr(gan.plot, name) is getattr(figures, f"plot_{name}")


LAZY = """
import sys
import gan1010_jax as gan
gan.plot
assert "jax" not in sys.modules, "what is slow was imported"
gan.train
assert {"plot"} <= {*dir(gan)} and gan.plot.__doc__
from gan1010_jax import *
assert plot is gan.plot and "matplotlib" not in sys.modules, "time was lost"
assert {*plot.__all__} <= {*dir(plot)} and not hasattr(plot, "nothing")
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""


def test_it_takes_no_time_before_it_is_used_and_is_completed():
    subprocess.run([sys.executable, "-c", LAZY], check=True)


@pytest.mark.parametrize("wrong", [None, 5, "runs/first", {}])
def test_results_of_another_kind_are_rejected(wrong, results):
    for name in ("population", "convergence", "forgetting", "outputs", "settling"):
        with rejects("population", wrong):
            getattr(gan.plot, name)(wrong)
    with rejects("game", wrong):
        gan.plot.architecture(wrong)
    for name in ("generator", "losses"):
        with rejects("history", wrong):
            getattr(gan.plot, name)(wrong, 0)
        with rejects("setup", wrong):
            getattr(gan.plot, name)(*results[name], setup=wrong)


def test_the_histories_of_several_seeds_are_no_single_run(population):
    for name in ("generator", "losses"):
        with rejects("history", (64, 1000)):
            getattr(gan.plot, name)(population.history, 0)
