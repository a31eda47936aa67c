"""The animation of a run: each frame shows a record, and the file has every frame."""

import io
import itertools
import shutil
import subprocess

import jax
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image, ImageSequence
from rejects import rejects
from test_plotting import assert_nothing_is_cut_off

import gan1010_jax as gan
from gan1010_jax.figures import PAPER, animate_run, encode_animation, styled

HOLD = 25 * 80  # milliseconds that the last frame stays


@pytest.fixture(scope="module")
def history(compilation_cache):
    """300 records of seed 3, one a step."""
    _, history = gan.train(jax.random.key(3), steps=300, record_every=1)
    return jax.tree.map(np.asarray, history)


def first(history, records):
    """The first records of a history."""
    return jax.tree.map(lambda leaf: leaf[:records], history)


def floats(history, change):
    """A history with other numbers: its outputs and losses."""
    return jax.tree.map(lambda leaf: change(leaf) if leaf.dtype == np.float32 else leaf, history)


def artists(animation):
    """The bars of the outputs, the lines of the losses, the title."""
    output_axes, loss_axes = animation.figure.axes
    _, bars = output_axes.containers
    return bars, loss_axes.lines[:3], animation.figure


def read_gif(data):
    """Its frames, [frames, height, width, 3], and the milliseconds that each is shown for."""
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "GIF" and image.info["loop"] == 0
        frames = [
            (np.asarray(frame.convert("RGB")), frame.info["duration"])
            for frame in ImageSequence.Iterator(image)
        ]
    return np.array([pixels for pixels, _ in frames]), [time for _, time in frames]


@styled
def draw_whole(animation, dpi):
    """The figure as it is now, drawn from nothing, [height, width, 3]."""
    buffer = io.BytesIO()
    animation.figure.savefig(buffer, format="png", dpi=dpi)
    return np.asarray(Image.open(buffer).convert("RGB"))


def changed(a, b):
    """How many pixels of two pictures are clearly not the same, beyond what a palette changes."""
    return (np.abs(a.astype(int) - b).max(axis=-1) > 60).sum()


def assert_colors_are_right(picture, whole, atol):
    """The bars and the ranges have their colours, up to so many of 255 on average."""
    for color in (PAPER.green, PAPER.real_range):
        there = (whole == np.rint(255 * np.array(to_rgb(color)))).all(axis=-1)
        assert there.sum() > 10_000
        np.testing.assert_allclose(picture[there].mean(axis=0), whole[there][0], atol=atol)


@pytest.mark.slow
def test_frames_are_spaced_evenly_from_the_first_record_to_the_last(history):
    for records, frames, gaps in ((300, 120, {2, 3}), (120, 120, {1}), (7, 7, {1}), (1, 1, set())):
        animation = animate_run(first(history, records), 3)
        _, (line, *_), _ = artists(animation)
        steps = []
        for frame in range(animation.frames):
            animation.show(frame)
            steps.append(line.get_xdata()[-1])
        assert (len(steps), steps[0], steps[-1]) == (frames, 1, records)
        assert set(np.diff(steps)) == gaps


def test_a_frame_shows_the_output_at_its_record_and_the_losses_until_then(history):
    animation = animate_run(first(history, 20), 3)
    bars, lines, figure = artists(animation)
    for record in (12, 0, 19, 5):
        animation.show(record)
        heights = [bar.get_height() for bar in bars]
        np.testing.assert_array_equal(heights, history.output[record])
        for line, loss in zip(lines, history.losses):
            np.testing.assert_array_equal(line.get_xdata(), history.step[: record + 1])
            np.testing.assert_array_equal(line.get_ydata(), loss[: record + 1])
        assert figure.get_suptitle().startswith(f"Seed 3, step {record + 1}: ")
    ranges, _ = figure.axes[0].containers
    for bar, place, low in zip(bars, ranges, (0.8, 0.0, 0.8, 0.0)):
        box, bar = place.get_bbox(), bar.get_bbox()
        np.testing.assert_allclose((box.y0, box.y1, bar.y0), (low, low + 0.2, 0))
        assert box.x0 < bar.x0 < bar.x1 < box.x1


@pytest.mark.parametrize(
    ("finite", "matched", "in_support", "said"),
    [
        (True, False, False, "not matched, not in support"),
        (True, True, False, "matched, not in support"),
        (True, True, True, "matched, in support"),
        (False, False, False, "diverged"),
    ],
)
def test_the_title_says_how_far_it_is(history, finite, matched, in_support, said):
    then = first(history, 1)._replace(
        finite=np.array([finite]), matched=np.array([matched]), in_support=np.array([in_support])
    )
    assert animate_run(then, 7).figure.get_suptitle() == f"Seed 7, step 1: {said}"


@pytest.mark.slow
def test_a_gif_has_its_frames_its_size_and_its_time(history):
    data = encode_animation(animate_run(history, 3))
    frames, times = read_gif(data)
    assert frames.shape == (120, 540, 960, 3)
    assert times == [80] * 119 + [80 + HOLD]
    assert all((a != b).any() for a, b in itertools.pairwise(frames))
    assert len(data) < 1_000_000


@pytest.mark.slow
def test_few_frames_are_shown_for_longer(history):
    for records, time in ((40, 240), (3, 400), (1, 400)):
        _, times = read_gif(encode_animation(animate_run(first(history, records), 3)))
        assert times == [time] * (records - 1) + [time + HOLD]


def test_what_is_drawn_in_pieces_is_the_whole_figure(history):
    animation = animate_run(first(history, 6), 3)
    frames, _ = read_gif(encode_animation(animation))
    for record in (5, 0, 3):
        animation.show(record)
        whole = draw_whole(animation, 120)
        assert changed(frames[record], whole) < 10  # where a line's end is on the axis
        assert changed(frames[record - 1], whole) > 50
        assert_colors_are_right(frames[record], whole, atol=0)


def test_equal_results_give_equal_bytes(history):
    a, b = (
        encode_animation(animate_run(jax.tree.map(kind, first(history, 10)), 3))
        for kind in (np.array, jax.numpy.asarray)
    )
    assert a == b
    assert a != encode_animation(animate_run(first(history, 10), 4))


def test_the_users_own_style_changes_nothing(history):
    then = first(history, 4)
    plain = encode_animation(animate_run(then, 3))
    theirs = {
        "font.size": 30,
        "axes.facecolor": "red",
        "figure.dpi": 30,
        "text.antialiased": False,
        "xtick.major.size": 20,
        "axes.unicode_minus": False,
    }
    with mpl.rc_context(theirs):
        animation = animate_run(then, 3)
        assert encode_animation(animation) == plain
        assert all(mpl.rcParams[name] == value for name, value in theirs.items())


def assert_all_frames_fit(animation):
    """Nothing is cut off, and title, legends and axes are apart, in every frame."""
    figure = animation.figure
    for frame in range(animation.frames):
        animation.show(frame)
        assert_nothing_is_cut_off(frame, figure)
        title = figure._suptitle.get_window_extent()
        left, right = (axes.get_legend().get_window_extent() for axes in figure.axes)
        assert title.y0 > max(left.y1, right.y1) and left.x1 < right.x0
        for legend, axes in zip((left, right), figure.axes):
            assert legend.y0 > axes.get_window_extent().y1
        ticks = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
        assert all(a.x1 < b.x0 for a, b in itertools.pairwise(ticks))


@pytest.mark.parametrize("pattern", ["0", "1111000011110000"])
def test_the_narrowest_and_widest_patterns_fit(history, pattern):
    then = first(history, 2)
    then = then._replace(output=np.resize(then.output, (2, len(pattern))))
    last = then._replace(step=np.array([2**30, 2**31 - 1]))  # the longest title there is
    for some in (then, last):
        assert_all_frames_fit(animate_run(some, 2**32 - 1, gan.Setup(gan.pattern_game(pattern))))


@pytest.mark.slow
def test_every_objective_fits_and_has_the_lines_of_an_undecided_discriminator(history):
    for objective, undecided in (
        ("mse", [0.25]),
        ("lsgan", [0.125]),
        ("minimax", [np.log(2), -np.log(2)]),
        ("nonsaturating", [np.log(2)]),
        ("wasserstein", [0]),
        ("hinge", [1, 0]),
    ):
        animation = animate_run(first(history, 2), 3, gan.Setup(method=gan.Method(objective)))
        lines = animation.figure.axes[1].lines[3:]
        values = [line.get_ydata()[0] for line in lines]
        np.testing.assert_allclose(values, undecided, rtol=1e-6, atol=1e-6)
        assert [line.get_label() for line in lines] == [
            f"D undecided: {value:.3g}" for value in undecided
        ]
        assert_all_frames_fit(animation)


@pytest.mark.parametrize(
    "change",
    [
        lambda leaf: np.full_like(leaf, np.nan),
        lambda leaf: np.full_like(leaf, -np.inf),
        lambda leaf: np.where(leaf == leaf[-1], np.float32(np.nan), leaf),
        lambda leaf: -leaf * np.float32(1e37),
    ],
    ids=["nan", "infinite", "nan at last", "huge"],
)
@pytest.mark.filterwarnings("error")
def test_losses_that_are_huge_or_not_finite_are_drawn(history, change):
    animation = animate_run(floats(first(history, 4), change), 3)
    encode_animation(animation)
    assert_all_frames_fit(animation)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="MP4 takes ffmpeg, not installed here")
def test_an_mp4_has_its_frames_its_size_and_its_colours(history, tmp_path):
    animation = animate_run(first(history, 2), 3)
    data = encode_animation(animation, "mp4")
    assert data[4:8] == b"ftyp" and data.index(b"moov") < data.index(b"mdat")
    (tmp_path / "movie.mp4").write_bytes(data)
    decode = "ffmpeg -loglevel error -i movie.mp4 -f rawvideo -pix_fmt rgb24 -".split()
    pixels = subprocess.run(decode, cwd=tmp_path, check=True, capture_output=True).stdout
    frames = np.frombuffer(pixels, np.uint8).reshape(-1, 720, 1280, 3)
    assert len(frames) == 5 + 5 + 25
    for frame, place in ((0, 2), (1, -1)):
        animation.show(frame)
        whole = draw_whole(animation, 160)
        assert np.abs(frames[place].astype(int) - whole).mean() < 0.5
        assert_colors_are_right(frames[place], whole, atol=4)
    assert encode_animation(animation, "mp4") == data


def test_a_failing_ffmpeg_is_an_error_with_its_words(history, tmp_path, monkeypatch):
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho no such encoder >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(OSError, match="no such encoder") as error:
        encode_animation(animate_run(first(history, 2), 3), "mp4")
    assert error.value.filename == "ffmpeg"


def test_a_movie_of_another_kind_or_without_ffmpeg_is_rejected(history, tmp_path, monkeypatch):
    animation = animate_run(first(history, 1), 3)
    with rejects("movie", "avi"):
        encode_animation(animation, "avi")
    monkeypatch.setenv("PATH", str(tmp_path))
    with rejects("movie", "mp4"):
        encode_animation(animation, "mp4")
    assert encode_animation(animation)[:6] == b"GIF89a"
