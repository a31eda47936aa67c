"""An animation of one run, for slides, and its GIF or MP4: equal bytes for equal results."""

import errno
import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.animation import FFMpegWriter
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from PIL import Image

from gan1010_jax.errors import InvalidArgument, check_choice
from gan1010_jax.figures import style
from gan1010_jax.figures.values import coordinates_of, undecided_losses
from gan1010_jax.games import Game
from gan1010_jax.gan import Setup
from gan1010_jax.methods import Objective
from gan1010_jax.training import History

_SIZE = (8, 4.5)  # inches
_DPI = {"gif": 120, "mp4": 160}  # 960 × 540 and 1280 × 720 pixels
_MAX_FRAMES = 120
# Time goes in ticks. A frame lasts one of them, or up to five if there are few; the last stays.
_TICK = 80  # milliseconds
_MAX_TICKS_PER_FRAME = 5
_TICKS_AT_THE_END = 25
_COLORS = [color for color in style.PAPER if color != style.PAPER.pink]
_BLENDS = 12  # of two colours, themselves among them


@dataclass(frozen=True)
class Animation:
    """A figure with frames.

    Attributes:
      figure: the figure, which shows the last frame at first.
      frames: how many frames there are.
      show: makes the figure show one of them, counted from 0.
      moving: the artists that are drawn anew in every frame, in this order; the others stay.
    """

    figure: Figure
    frames: int
    show: Callable[[int], None]
    moving: tuple[Artist, ...]


@style.styled
def animate_run(history: History, seed: int, setup: Setup = Setup()) -> Animation:
    """One run's output before the real ranges, and its three losses so far, frame by frame.

    A frame shows a record: every one, or else 120, evenly spaced from the first to the last.
    """
    step, output = np.asarray(history.step), _finite_only(history.output)
    losses = [_finite_only(loss) for loss in history.losses]
    records = np.linspace(0, len(step) - 1, min(len(step), _MAX_FRAMES)).round().astype(int)
    figure = Figure(figsize=_SIZE)
    title = figure.suptitle("", x=0.02, ha="left")  # or it would move with its length
    output_axes, loss_axes = figure.subplots(1, 2, width_ratios=(1, 1.3))
    bars, border = _draw_output(output_axes, setup.game)
    lines = _draw_losses(loss_axes, setup.method.objective)
    style.show_steps(loss_axes, step[-1])
    loss_axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    for axes in (output_axes, loss_axes):
        above = (0, 1.03)  # above a power of ten
        axes.legend(loc="lower left", bbox_to_anchor=above, **style.COMPACT_LEGEND)

    def show(frame: int) -> None:
        record = records[frame]
        for bar, height in zip(bars, output[record]):
            bar.set_height(height)
        for line, loss in zip(lines, losses):
            line.set_data(step[: record + 1], loss[: record + 1])
        title.set_text(f"Seed {seed}, step {step[record]:,}: {_outcome(history, record)}")

    # The layout, and the limits of the axes, are those of the end in every frame.
    show(len(records) - 1)
    loss_axes.relim()
    loss_axes.autoscale_view(scalex=False)
    loss_axes.set_ylim(loss_axes.get_ylim())
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return Animation(figure, len(records), show, (*bars, border, *lines, title))


def _draw_output(axes: Axes, game: Game) -> tuple[Sequence[Rectangle], Line2D]:
    """Draw a bar for each coordinate, before its real range, and the border of a match."""
    of = coordinates_of(game)
    coordinates = style.draw_ranges(axes, of)
    # Green, as G's loss is beside it.
    bars = axes.bar(coordinates, 0, 0.5, color=style.PAPER.green, label="output of G")
    border = axes.axhline(0.5, color=style.PAPER.grey, lw=1, ls=":")
    size = 11 if len(coordinates) <= 8 else 8
    axes.set_xticks(coordinates, of.labels("\n"), fontsize=size)
    axes.set(xlabel=of.title, ylim=(-0.02, 1.02), yticks=(0, 0.5, 1))
    return bars, border


def _draw_losses(axes: Axes, objective: Objective) -> list[Line2D]:
    """Draw the three losses, empty lines with a dot at the end, and those of an undecided D."""
    dot = {"marker": ".", "markersize": 9, "markevery": [-1], "clip_on": False}
    lines = []
    for label, color in (
        ("D's loss, real sample", style.PAPER.blue),
        ("D's loss, fake sample", style.PAPER.orange),
        ("G's loss", style.PAPER.green),
    ):
        lines += axes.plot([], [], color=color, lw=1.2, label=label, **dot)
    undecided = {f"D undecided: {x:.3g}": x for x in undecided_losses(objective)}
    for label, value in undecided.items():
        axes.axhline(value, color=style.PAPER.grey, lw=1, ls=":", label=label)
    return lines


def _finite_only(values: np.typing.ArrayLike) -> np.ndarray:
    """In float64, with NaN, which is not drawn, for numbers that are not finite."""
    return np.where(np.isfinite(values), np.asarray(values, float), np.nan)


def _outcome(history: History, record: int) -> str:
    if not history.finite[record]:
        return "diverged"
    matched = "matched" if history.matched[record] else "not matched"
    return f"{matched}, {'in support' if history.in_support[record] else 'not in support'}"


def check_movie(movie: str) -> None:
    """Raise `InvalidArgument` unless `movie` is a known format, and its encoder is installed."""
    check_choice("movie", movie, _DPI)
    if movie == "mp4" and shutil.which("ffmpeg") is None:
        allowed = "gif, since ffmpeg, which mp4 takes, is not installed"
        raise InvalidArgument("movie", movie, allowed)


@style.styled
def encode_animation(animation: Animation, movie: str = "gif") -> bytes:
    """An animation as the bytes of a file, `"gif"`, or `"mp4"`, which takes ffmpeg.

    Raises:
      InvalidArgument: for another format, or if there is no ffmpeg.
      OSError: if ffmpeg fails, with its message.
    """
    check_movie(movie)
    ticks = [min(_MAX_TICKS_PER_FRAME, _MAX_FRAMES // animation.frames)] * animation.frames
    ticks[-1] += _TICKS_AT_THE_END
    return _as_mp4(animation, ticks) if movie == "mp4" else _as_gif(animation, ticks)


def _draw_frames(animation: Animation) -> Iterator[Image.Image]:
    """Draw every frame: the still artists once, and the moving ones on a copy of that."""
    figure = animation.figure
    figure.set_dpi(_DPI["gif"])
    canvas = FigureCanvasAgg(figure)
    for artist in animation.moving:
        artist.set_animated(True)  # so that the next line leaves it out
    canvas.draw()
    for artist in animation.moving:
        artist.set_animated(False)
    still = canvas.copy_from_bbox(figure.bbox)
    for frame in range(animation.frames):
        animation.show(frame)
        canvas.restore_region(still)
        for artist in animation.moving:
            figure.draw_artist(artist)
        yield Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _as_gif(animation: Animation, ticks: list[int]) -> bytes:
    """A GIF that repeats for ever, each frame shown for its number of ticks.

    All frames have one palette, so that no colour flickers, and only changes are written.
    matplotlib's `PillowWriter`, which draws every frame whole and gives it its own palette, took
    9 s for 120 frames instead of 1 s (2 cores of a Xeon), and made a file three times as large.
    """
    palette = Image.new("P", (1, 1))
    palette.putpalette(_blend_colors())
    frames = _draw_frames(animation)
    first, *others = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    buffer = BytesIO()
    first.save(
        buffer,
        format="gif",
        save_all=True,
        append_images=others,
        duration=[_TICK * count for count in ticks],
        loop=0,
        optimize=True,
    )
    return buffer.getvalue()


def _blend_colors() -> list[int]:
    """A palette: the colours of an animation, and the blends of two that antialiasing gives."""
    pairs = itertools.combinations(to_rgba_array(_COLORS)[:, :3], 2)
    colors = [a + part * (b - a) for a, b in pairs for part in np.linspace(0, 1, _BLENDS)]
    return np.unique(np.rint(255 * np.array(colors)).astype(int), axis=0).ravel().tolist()


def _as_mp4(animation: Animation, ticks: list[int]) -> bytes:
    # The colour space that players assume for this size; the index first, so that it can stream.
    options = "-vf scale=out_color_matrix=bt709 -colorspace bt709 -movflags +faststart"
    writer = FFMpegWriter(fps=1000 / _TICK, codec="h264", extra_args=options.split())
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "movie.mp4"
        try:
            with writer.saving(animation.figure, path, _DPI["mp4"]):
                for frame, count in enumerate(ticks):
                    animation.show(frame)
                    for _ in range(count):
                        writer.grab_frame()
        except subprocess.CalledProcessError as error:
            raise OSError(errno.EIO, error.stderr.strip(), "ffmpeg") from error
        return path.read_bytes()
