"""Painters: processes that draw figures, which give the same files, and need not be there."""

import signal
import subprocess
import sys
from functools import partial

import pytest

from gan1010_jax.figures import drawing, files, values, write_figures

FEW = ("outputs", "settling", "convergence")  # which are quick to draw
LOOK = ("paper", "dark"), "svg"


@pytest.fixture
def few(monkeypatch):
    """As if a population had no other figures."""
    of_all = values.population_values
    of_few = lambda population: {k: v for k, v in of_all(population).items() if k in FEW}  # noqa: E731
    monkeypatch.setattr(values, "population_values", of_few)


@pytest.fixture
def started(monkeypatch):
    """The painters that are started."""
    painters, start = [], files._start_painter
    monkeypatch.setattr(files, "_start_painter", lambda: painters.append(start()) or painters[-1])
    return painters


@pytest.fixture(scope="module")
def expected(population, tmp_path_factory):
    out = tmp_path_factory.mktemp("expected")
    of_few = {k: v for k, v in values.population_values(population).items() if k in FEW}
    draw = {name: partial(drawing.draw, name, of_one) for name, of_one in of_few.items()}
    write_figures(out, draw, *LOOK)
    return contents(out)


def contents(out):
    return {path.name: path.read_bytes() for path in (out / "figures").iterdir()}


def test_a_painter_imports_no_jax():
    script = "import sys, gan1010_jax.figures.painter, gan1010_jax.figures.drawing\n"
    script += "sys.exit(not {'jax', 'jaxlib', 'flax', 'optax'}.isdisjoint(sys.modules))"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.usefixtures("few")
def test_painters_draw_the_same_files(population, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "draw_file", None)  # nothing is drawn here
    with files.start_painters(*LOOK) as draw_files:
        draw_files(tmp_path, population)
    assert contents(tmp_path) == expected


@pytest.mark.usefixtures("few")
def test_what_killed_painters_do_not_draw_is_drawn_here(started, population, expected, tmp_path):
    with files.start_painters(*LOOK) as draw_files:
        for painter in started:
            painter.kill()
        draw_files(tmp_path, population)
    assert contents(tmp_path) == expected


@pytest.mark.usefixtures("few")
def test_figures_are_drawn_here_where_no_process_starts(
    population, expected, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "executable", "/nowhere")
    with files.start_painters(*LOOK) as draw_files:
        draw_files(tmp_path, population)
    assert contents(tmp_path) == expected


def test_an_error_in_drawing_is_raised_here_and_no_painter_is_left(started, tmp_path, monkeypatch):
    monkeypatch.setattr(values, "population_values", lambda _: {"settling": {}})
    with pytest.raises(TypeError, match="draw_settling"), files.start_painters() as draw_files:
        draw_files(tmp_path, None)
    assert {painter.returncode for painter in started} <= {1, -signal.SIGKILL}
    assert started and not list(tmp_path.iterdir())
