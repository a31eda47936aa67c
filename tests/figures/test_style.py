"""Styles: colours that every kind of colour vision tells apart, and text that fits."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from rejects import rejects
from test_plotting import assert_nothing_is_cut_off, png

import gan1010_jax as gan
from gan1010_jax.figures import palette, plot_settling, style, styled
from gan1010_jax.names import FIGURE_FORMATS, FIGURE_STYLES

# What a dichromat sees of linear RGB: Machado, Oliveira and Fernandes, "A Physiologically-based
# Model for Simulation of Color Vision Deficiency" (2009), of severity 1.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
]
WHITE = np.sum(TO_XYZ, axis=1)
APART = 20  # in CIELAB; a difference of 2.3 is just seen


def linear(color):
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(color, vision):
    x, y, z = np.cbrt(TO_XYZ @ np.clip(vision @ linear(color), 0, 1) / WHITE)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(color, ground):
    """The ratio of the Web Content Accessibility Guidelines."""
    lesser, greater = sorted(np.dot(TO_XYZ[1], linear(one)) + 0.05 for one in (color, ground))
    return greater / lesser


@styled
def colors_of(*, style):
    return palette()


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("name", FIGURE_STYLES)
def test_colours_stay_apart_for_every_colour_vision(name, vision):
    *colors, _, _, _ = colors_of(style=name)
    places = {color: lab(color, np.array(VISIONS[vision])) for color in colors}
    assert len(places) == 5
    for a, b in itertools.combinations(colors, 2):
        assert np.linalg.norm(places[a] - places[b]) > APART, (a, b)


@pytest.mark.parametrize("name", FIGURE_STYLES)
def test_lines_and_text_are_seen_on_their_ground(name):
    colors = colors_of(style=name)
    for color in colors[:4]:
        assert contrast(color, colors.paper) >= 3, color
    assert contrast(colors.grey, colors.paper) >= 4.5  # as small text needs
    assert contrast(colors.ink, colors.paper) >= 12


@pytest.mark.parametrize("name", FIGURE_STYLES)
def test_every_figure_fits_in_every_style(population, name):
    for figure_name, figure in gan.plot.population(population, style=name).items():
        png(figure)
        assert_nothing_is_cut_off(figure_name, figure)
        assert figure.bbox.width == 1200
        title, note = figure._suptitle.get_window_extent(), figure.texts[1].get_window_extent()
        tops = [axes.get_tightbbox().y1 for axes in figure.axes if axes.axison]
        assert title.y0 >= note.y1 - 1 and note.y0 >= max(tops, default=0) - 1, figure_name
        assert_numbers_are_apart(figure_name, figure)


def assert_numbers_are_apart(name, figure):
    """The numbers below neighbouring panels do not meet."""
    shown = [
        label
        for axes in figure.axes
        for label in axes.get_xticklabels()
        if axes.axison and axes.get_xlim()[0] <= label.get_position()[0] <= axes.get_xlim()[1]
    ]
    for a, b in itertools.combinations(shown, 2):
        assert not a.get_window_extent().overlaps(b.get_window_extent()), (name, a, b)


def test_a_style_is_of_one_figure(population):
    plain = png(plot_settling(population))
    dark = plot_settling(population, style="dark")
    assert dark.get_facecolor()[:3] == to_rgb("#0D1117") and png(dark) != plain
    assert png(plot_settling(population)) == plain


@pytest.mark.parametrize("format", FIGURE_FORMATS)
def test_a_format_is_what_its_file_is(population, format):
    begins = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[format]
    assert style.encode(plot_settling(population), format).startswith(begins)


def test_another_style_or_format_is_rejected(population):
    with rejects("style", "poster"):
        gan.plot.settling(population, style="poster")
    with rejects("format", "bmp"):
        style.encode(plot_settling(population), "bmp")


@pytest.mark.parametrize(
    "fraction, text",
    [(0, "0 %"), (1, "100 %"), (0.334, "33 %"), (0.9997, "99.97 %"), (1e-5, "0.001 %")],
)
def test_a_percentage_is_neither_none_nor_all_by_rounding(fraction, text):
    assert style.percent(fraction).replace("\N{NO-BREAK SPACE}", " ") == text
