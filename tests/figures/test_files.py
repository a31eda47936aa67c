"""Painters: processes that draw figures, which give the same files, and need not be there."""

import signal
import subprocess
import sys

import pytest

from gan1010_jax.figures import drawing, files, plot_population, write_figures
from gan1010_jax.figures.values import population_values

FEW = ("outputs", "settling", "convergence")  # which are quick to draw


@pytest.fixture(scope="module")
def values(population):
    return {name: of_one for name, of_one in population_values(population).items() if name in FEW}


@pytest.fixture(scope="module")
def expected(population, tmp_path_factory):
    out = tmp_path_factory.mktemp("expected")
    write_figures(out, {k: v for k, v in plot_population(population).items() if k in FEW})
    return contents(out)


def contents(out):
    return {path.name: path.read_bytes() for path in (out / "figures").iterdir()}


def test_a_painter_imports_no_jax():
    script = "import sys, gan1010_jax.figures.painter, gan1010_jax.figures.drawing\n"
    script += "sys.exit(not {'jax', 'jaxlib', 'flax', 'optax'}.isdisjoint(sys.modules))"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_painters_draw_the_same_files(values, expected, tmp_path, monkeypatch):
    with files.start_painters() as draw_files:
        monkeypatch.setattr(drawing, "draw_png", None)  # nothing is drawn here
        draw_files(tmp_path, values)
    assert contents(tmp_path) == expected


@pytest.mark.parametrize("painter", ["killed", "not started"])
def test_what_painters_do_not_draw_is_drawn_here(painter, values, expected, tmp_path, monkeypatch):
    started = []
    start = files._start_painter

    def start_and_kill():
        if painter == "not started":
            raise BlockingIOError
        started.append(start())
        started[-1].kill()
        return started[-1]

    monkeypatch.setattr(files, "_start_painter", start_and_kill)
    with files.start_painters() as draw_files:
        draw_files(tmp_path, values)
    assert contents(tmp_path) == expected


def test_an_error_in_drawing_is_raised_here_and_no_painter_is_left(tmp_path, monkeypatch):
    started, start = [], files._start_painter
    monkeypatch.setattr(files, "_start_painter", lambda: started.append(start()) or started[-1])
    with pytest.raises(TypeError, match="draw_settling"), files.start_painters() as draw_files:
        draw_files(tmp_path, {"settling": {}})
    assert started and {painter.returncode for painter in started} <= {1, -signal.SIGKILL}
    assert not list(tmp_path.iterdir())
