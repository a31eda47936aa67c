"""An animation of one run, for slides: the generator's output, and the losses so far.

`animate_run` takes results and returns an `Animation`, and `encode` makes a GIF or an MP4 of it, as
bytes. Nothing touches pyplot or any global state, and equal results give equal movies.
"""

import errno
import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.animation import FFMpegWriter
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from PIL import Image

from gan1010_jax.errors import InvalidArgument
from gan1010_jax.games import Game
from gan1010_jax.methods import Method
from gan1010_jax.plotting import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    REAL_RANGE,
    coordinate_labels,
    coordinate_title,
    show_steps,
    styled,
    undecided_losses,
)
from gan1010_jax.training import History

WIDTH, HEIGHT = 8, 4.5  # inches
DPI = {"gif": 120, "mp4": 160}  # which make 960 × 540 and 1280 × 720 pixels
MAX_FRAMES = 120
# Time goes in ticks. A frame lasts one of them, or up to five if there are few; the last stays.
TICK = 80  # milliseconds
MAX_TICKS_PER_FRAME = 5
TICKS_AT_THE_END = 25
COLORS = ("white", "black", GREY, BLUE, ORANGE, GREEN, REAL_RANGE)
BLENDS = 12  # of two colours, themselves among them


@dataclass(frozen=True)
class Animation:
    """A figure with frames.

    Attributes:
      figure: the figure, which shows the last frame at first.
      frames: how many frames there are.
      show: makes the figure show one of them, counted from 0.
      moving: what is drawn anew in every frame, in this order; all else stays as it is.
    """

    figure: Figure
    frames: int
    show: Callable[[int], None]
    moving: tuple[Artist, ...]


@styled
def animate_run(history: History, game: Game, method: Method, seed: int) -> Animation:
    """One run's output before the real ranges, and its three losses so far, frame by frame.

    A frame is a record: each has one, or else 120 do, evenly spaced from the first to the last.
    """
    step, output = np.asarray(history.step), finite_only(history.output)
    losses = [finite_only(loss) for loss in history.losses]
    records = np.linspace(0, len(step) - 1, min(len(step), MAX_FRAMES)).round().astype(int)
    figure = Figure(figsize=(WIDTH, HEIGHT))
    title = figure.suptitle("", x=0.02, ha="left")  # or it would move with its length
    output_axes, loss_axes = figure.subplots(1, 2, width_ratios=(1, 1.3))
    bars, border = draw_output(output_axes, game)
    lines = draw_losses(loss_axes, method)
    show_steps(loss_axes, step[-1])
    loss_axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    for axes in (output_axes, loss_axes):
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1.03),  # above a power of ten
            ncols=2,
            handlelength=1,
            handletextpad=0.4,
            columnspacing=1,
        )

    def show(frame: int) -> None:
        record = records[frame]
        for bar, height in zip(bars, output[record]):
            bar.set_height(height)
        for line, loss in zip(lines, losses):
            line.set_data(step[: record + 1], loss[: record + 1])
        title.set_text(f"Seed {seed}, step {step[record]:,}: {outcome(history, record)}")

    # The layout, and the limits of the axes, are those of the end in every frame.
    show(len(records) - 1)
    loss_axes.relim()
    loss_axes.autoscale_view(scalex=False)
    loss_axes.set_ylim(loss_axes.get_ylim())
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return Animation(figure, len(records), show, (*bars, border, *lines, title))


def draw_output(axes: Axes, game: Game) -> tuple[BarContainer, Line2D]:
    """Draw a bar for each coordinate, before its real range, and the border of a match."""
    coordinates = 1 + np.arange(len(game.real.low))
    low, high = np.asarray(game.real.low), np.asarray(game.real.high)
    axes.bar(coordinates, high - low, 0.9, low, color=REAL_RANGE, label="real range")
    # Green, as G's loss is beside it.
    bars = axes.bar(coordinates, 0, 0.5, color=GREEN, label="output of G")
    border = axes.axhline(0.5, color=GREY, lw=1, ls=":")
    size = 11 if len(coordinates) <= 8 else 8
    axes.set_xticks(coordinates, coordinate_labels(game, "\n"), fontsize=size)
    axes.set(xlabel=coordinate_title(game), ylim=(-0.02, 1.02), yticks=(0, 0.5, 1))
    return bars, border


def draw_losses(axes: Axes, method: Method) -> list[Line2D]:
    """Draw the three losses, empty lines with a dot at the end, and those of an undecided D."""
    lines, undecided = [], {}
    for label, color, value in zip(
        ("D's loss, real sample", "D's loss, fake sample", "G's loss"),
        (BLUE, ORANGE, GREEN),
        undecided_losses(method.objective),
    ):
        lines += axes.plot([], [], color=color, lw=1.2, label=label)
        lines[-1].set(marker=".", markersize=9, markevery=[-1], clip_on=False)
        undecided[f"D undecided: {value:.3g}"] = value
    for label, value in undecided.items():
        axes.axhline(value, color=GREY, lw=1, ls=":", label=label)
    return lines


def finite_only(values: np.typing.ArrayLike) -> np.ndarray:
    """Numbers in float64, where NaN, which is not drawn, stands for all that are not finite."""
    return np.where(np.isfinite(values), np.asarray(values, float), np.nan)


def outcome(history: History, record: int) -> str:
    """Whether a run matches, and is in support, at a record, in words."""
    if not history.finite[record]:
        return "diverged"
    matched = "matched" if history.matched[record] else "not matched"
    return f"{matched}, {'in support' if history.in_support[record] else 'not in support'}"


def check_movie(movie: str) -> None:
    """Refuse a kind of movie that is not known, or that needs a program which is not there.

    Raises:
      InvalidArgument: (a `ValueError`) that says so.
    """
    if movie not in DPI:
        raise InvalidArgument("movie", movie, f"one of {', '.join(DPI)}")
    if movie == "mp4" and shutil.which("ffmpeg") is None:
        allowed = "gif, since ffmpeg, which mp4 takes, is not installed"
        raise InvalidArgument("movie", movie, allowed)


@styled
def encode(animation: Animation, movie: str = "gif") -> bytes:
    """An animation as the bytes of a file, equal for equal results.

    Args:
      animation: what it shows.
      movie: `"gif"`, or `"mp4"`, which takes ffmpeg.

    Raises:
      InvalidArgument: (a `ValueError`) for another kind, or if there is no ffmpeg.
      OSError: if ffmpeg fails.
    """
    check_movie(movie)
    ticks = [min(MAX_TICKS_PER_FRAME, MAX_FRAMES // animation.frames)] * animation.frames
    ticks[-1] += TICKS_AT_THE_END
    if movie == "mp4":
        return as_mp4(animation, ticks)
    return as_gif(draw_frames(animation, DPI["gif"]), ticks)


def draw_frames(animation: Animation, dpi: int) -> Iterator[Image.Image]:
    """Draw every frame: what stays once, and what moves on a copy of that."""
    figure = animation.figure
    figure.set_dpi(dpi)
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


def as_gif(frames: Iterator[Image.Image], ticks: list[int]) -> bytes:
    """A GIF that repeats for ever, each frame shown for so many ticks.

    All frames have one palette, so that no colour flickers, and only what has changed is written.
    matplotlib's `PillowWriter`, which draws every frame whole and gives it its own palette, took
    9 s for 120 frames instead of 1 s (2 cores of a Xeon), and made a file three times as large.
    """
    palette = Image.new("P", (1, 1))
    palette.putpalette(blend_colors())
    first, *others = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    buffer = BytesIO()
    first.save(
        buffer,
        format="gif",
        save_all=True,
        append_images=others,
        duration=[TICK * count for count in ticks],
        loop=0,
        optimize=True,
    )
    return buffer.getvalue()


def blend_colors() -> list[int]:
    """A palette: the colours of an animation, and what antialiasing makes of each two of them."""
    pairs = itertools.combinations([np.array(to_rgb(color)) for color in COLORS], 2)
    colors = [a + part * (b - a) for a, b in pairs for part in np.linspace(0, 1, BLENDS)]
    return np.unique(np.rint(255 * np.array(colors)).astype(int), axis=0).ravel().tolist()


def as_mp4(animation: Animation, ticks: list[int]) -> bytes:
    """An MP4, each frame shown for so many ticks.

    Raises:
      OSError: if ffmpeg fails; it has what ffmpeg says.
    """
    # The colours that every player takes a movie of this size to have, and its start at the front.
    options = "-vf scale=out_color_matrix=bt709 -colorspace bt709 -movflags +faststart"
    writer = FFMpegWriter(fps=1000 / TICK, codec="h264", extra_args=options.split())
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "movie.mp4"
        try:
            with writer.saving(animation.figure, path, DPI["mp4"]):
                for frame, count in enumerate(ticks):
                    animation.show(frame)
                    for _ in range(count):
                        writer.grab_frame()
        except subprocess.CalledProcessError as error:
            raise OSError(errno.EIO, error.stderr.strip(), "ffmpeg") from error
        return path.read_bytes()
