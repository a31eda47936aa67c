"""Figures: each is drawn, labelled, and the same for the same results."""

import dataclasses
import io
from functools import partial

import jax
import matplotlib as mpl
import numpy as np
import pytest

import gan1010_jax as gan
from gan1010_jax.convergence import count_rows
from gan1010_jax.figures import (
    drawing,
    plot_losses,
    plot_phase_diagram,
    plot_population,
    plot_settling,
    plot_spectrum,
    values,
    write_figures,
)

SLOW = pytest.mark.slow
NAMES = [
    "generator",
    "losses",
    "convergence",
    "forgetting",
    "outputs",
    "settling",
    "architecture",
]


@pytest.fixture(scope="module")
def figures(population):
    """Those of the reference's population, drawn once."""
    return plot_population(population)


def png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def test_every_figure_has_a_title_and_its_axes_have_labels(figures):
    assert list(figures) == NAMES
    for name, figure in figures.items():
        assert figure.get_suptitle(), name
        assert figure.texts[1].get_text().startswith("1010"), name
        if name != "architecture":
            drawn = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
            assert all(axes.get_xlabel() for axes in drawn), name
            assert figure.axes[0].get_ylabel(), name
        width, _ = figure.get_size_inches() * figure.dpi
        assert width >= 1200, name


def test_figures_show_the_results(figures, population):
    heat, ranges, _ = figures["generator"].axes
    (image,) = heat.images
    np.testing.assert_array_equal(image.get_array(), population.history.output[0].T)
    assert image.get_cmap().name == "Blues"
    assert image.origin == "upper" and list(image.get_extent()) == [0, 10_000, 4.5, 0.5]
    np.testing.assert_array_equal(ranges.lines[0].get_xdata(), population.history.output[0, -1])
    for line, name in zip(figures["convergence"].axes[0].lines, ("matched", "in_support")):
        np.testing.assert_allclose(line.get_ydata(), population.curves[name] / 64)
    lines = {line.get_label(): line.get_ydata() for line in figures["forgetting"].axes[0].lines}
    for name, label in (("matched", "do not match"), ("in_support", "not in support")):
        missing = 1 - population.curves[name] / 64
        np.testing.assert_allclose(lines[label], np.where(missing, missing, np.nan))
    never = 1 - np.logical_or.accumulate(population.history.matched, axis=1).mean(axis=0)
    np.testing.assert_allclose(lines["have never matched"], np.where(never, never, np.nan))
    for axes, loss in zip(figures["losses"].axes, population.history.losses):
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), loss[0])
        np.testing.assert_array_equal(axes.lines[2].get_ydata(), 0.25)
    for axes in figures["outputs"].axes:
        for bit, histogram in zip("1010", axes.collections, strict=True):
            x, y = histogram.get_paths()[0].vertices.T
            assert (x[np.argmax(y)] > 0.5) == (bit == "1")
    settled = sum(patch.get_height() for patch in figures["settling"].axes[0].patches)
    assert settled == (population.columns["settled_step"] >= 0).sum()


def test_the_losses_of_a_single_run_are_drawn_without_a_population(population):
    history = jax.tree.map(lambda leaf: leaf[17], population.history)
    figure = plot_losses(history, 17)
    for axes, loss in zip(figure.axes, history.losses):
        of_seed, undecided = (line for line in axes.lines if len(line.get_ydata()))
        np.testing.assert_array_equal(of_seed.get_ydata(), loss)
        np.testing.assert_array_equal(undecided.get_ydata(), 0.25)
        assert not axes.collections
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["seed 17", "D undecided: 0.25"]
    png(figure)
    assert_nothing_is_cut_off("losses", figure)


def test_figures_compile_one_small_program(population, caplog):
    mse = gan.Method().objective
    mine = gan.Objective("mine", mse.d_real, mse.d_fake, mse.g)  # which no test has drawn yet
    drawn = dataclasses.replace(population, setup=gan.Setup(method=gan.Method(mine)))
    with jax.log_compiles():
        plot_population(drawn)
    compiled = [text for text in caplog.messages if text.startswith("Finished XLA compilation")]
    assert len(compiled) == 1, compiled


def assert_nothing_is_cut_off(name, figure):
    """Every title, label, tick and legend lies within the picture."""
    drawn = figure.get_tightbbox().transformed(figure.dpi_scale_trans)
    left, bottom, right, top = drawn.extents
    width, height = figure.bbox.size
    assert left >= -1 and bottom >= -1 and right <= width + 1 and top <= height + 1, name


def test_nothing_is_cut_off(figures):
    for name, figure in figures.items():
        png(figure)
        assert_nothing_is_cut_off(name, figure)


@SLOW
def test_identical_results_give_identical_files(population, tmp_path):
    for out in ("a", "b"):
        (tmp_path / out).mkdir()
        for format in ("png", "svg", "pdf"):
            draw = {
                name: partial(drawing.draw, name, of)
                for name, of in values.population_values(population).items()
            }
            write_figures(tmp_path / out, draw, ("paper", "dark"), format)
    files = [{path.name: path.read_bytes() for path in (tmp_path / o).rglob("*.*")} for o in "ab"]
    assert files[0] == files[1]
    names = {f"{name}{style}" for name in NAMES for style in ("", "-dark")}
    assert {*files[0]} == {f"{name}.{format}" for name in names for format in ("png", "svg", "pdf")}


def test_the_users_own_style_changes_nothing(population):
    plain = png(plot_settling(population))
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "figure.dpi": 30}):
        figure = plot_settling(population)
        assert mpl.rcParams["font.size"] == 30
    assert png(figure) == plain


def as_if_of(game, population):
    """The same results with another game's number of coordinates: repeated, or left out."""
    history, counts, units = population.history, population.counts, len(game.real.low)
    history = history._replace(output=np.resize(history.output, (*history.step.shape, units)))
    counts = counts._replace(outputs=np.resize(counts.outputs, (units, 50)))
    return dataclasses.replace(population, setup=gan.Setup(game), history=history, counts=counts)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", [pytest.param("0", marks=SLOW), "1111000011110000"])
def test_the_narrowest_and_widest_patterns_are_drawn(population, pattern):
    drawn = as_if_of(gan.pattern_game(pattern), population)
    for name, figure in plot_population(drawn).items():
        png(figure)
        assert_nothing_is_cut_off(name, figure)


@pytest.mark.filterwarnings("error")
def test_a_population_in_which_nothing_is_finite_is_drawn(population):
    nowhere = jax.tree.map(
        lambda leaf: np.full_like(leaf, np.nan) if leaf.dtype == np.float32 else leaf,
        (population.columns, population.history),
    )
    columns, history = nowhere
    columns["settled_step"] = np.full(64, -1, np.int32)
    counts = count_rows(columns, population.curves["step"])
    broken = dataclasses.replace(population, columns=columns, history=history, counts=counts)
    for figure in plot_population(broken).values():
        png(figure)


def test_a_game_without_bits_is_labelled_by_its_numbers_and_drawn_by_its_sizes(population):
    reference = gan.pattern_game("10")
    game = dataclasses.replace(
        reference,
        name="wide and noisy",
        discriminator=gan.Discriminator(hidden=5),
        generator=gan.Generator(units=2, hidden=8),
        latent=gan.Uniform((-1.0,), (1.0,)),
        matched=reference.in_support,
    )
    figures = plot_population(as_if_of(game, population))
    ticks = [label.get_text() for label in figures["outputs"].axes[0].get_yticklabels()]
    assert ticks == ["1", "2"]
    texts = [text.get_text() for text in figures["architecture"].axes[0].texts]
    assert {"Generator G: 1-8-2", "Discriminator D: 2-5-1", "latent z\n(random)"} <= set(texts)


@pytest.mark.parametrize(
    "size", [*(pytest.param(x, marks=SLOW) for x in (0.0, 1e-9, 1.0)), 1e-4, 3.0]
)
@pytest.mark.filterwarnings(
    "error",
    "ignore:'.*' (argument is )?deprecated:DeprecationWarning",  # matplotlib 3.10 by pyparsing 3.3
)
def test_spectra_are_drawn_near_the_unit_circle_and_far_from_it(size):
    spectra = {
        "one": np.array([1, 1 + 1j * size]),
        "many": np.array([[0, 1], [1 + size, 1 - size]]),
    }
    figure = plot_spectrum(spectra)
    near, _ = figure.axes
    eigenvalues = spectra["many"].ravel().astype(complex)
    *_, line, _ = near.lines
    drawn = line.get_xdata() + 1j * line.get_ydata()
    np.testing.assert_allclose(drawn, np.log(eigenvalues[eigenvalues != 0]))
    grow = (size > 1e-6) + (size > 1e-9)  # a rotation makes the modulus larger by its square
    assert figure.get_suptitle() == f"Some small deviation grows in {grow} of 3 states"
    png(figure)
    assert_nothing_is_cut_off("spectrum", figure)


@pytest.mark.slow
def test_a_phase_diagram_shows_each_cell_where_it_belongs(short):
    grid = {"d_lr": [0.01, 0.1, 1.0], "g_lr": [0.1, 1.0]}
    cells = gan.tabulate_cells(short(range(30), grid=grid, engine="vmap"))
    figure = plot_phase_diagram({"mse": cells}, "g_lr", "d_lr")
    matched = figure.axes[0].collections[0].get_array()
    assert matched.shape == (3, 2)  # g_lr to the right, d_lr upwards
    np.testing.assert_array_equal(matched, cells["matched_fraction"].reshape(3, 2))
    assert len(np.unique(matched)) > 2
    settling = np.ma.filled(figure.axes[2].collections[0].get_array(), np.nan)
    shown = cells["matched_fraction"].reshape(3, 2) >= 0.5
    np.testing.assert_array_equal(np.isfinite(settling), shown)
    assert "6 cells of 30 seeds" in figure.texts[1].get_text() and not figure.axes[0].lines
    both = plot_phase_diagram({"mse": cells, "again": cells}, "g_lr", "d_lr")
    assert [axes.get_title() for axes in both.axes[:2]] == ["mse", "again"]


@pytest.mark.slow
def test_a_phase_diagram_of_one_hyperparameter_is_lines_with_their_intervals(short):
    cells = gan.tabulate_cells(short(range(30), grid={"d_lr": [0.01, 0.1, 1.0]}, engine="vmap"))
    figure = plot_phase_diagram({"mse": cells}, "d_lr")
    (line,) = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    np.testing.assert_array_equal(line.get_ydata(), cells["matched_fraction"])
    assert figure.axes[0].get_ylim() == (-0.02, 1.02) and figure.axes[2].get_ylim() == (0, 200)
