"""The options of `gan1010`'s programs, each of which is the function of its name in its module.

Read before JAX is imported: see `options`. The first line of a docstring and the `examples`, each
with what it does, are at the head of a program's help.
"""

import time
from dataclasses import dataclass, field
from itertools import starmap
from pathlib import Path
from typing import Annotated, Any, ClassVar, Union

from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, arg, subcommand

from gan1010_jax.cli.options import (
    FigureOptions,
    Flag,
    MethodOptions,
    SeedOptions,
    choice,
    number,
    path,
    text,
    unset,
)
from gan1010_jax.names import OBJECTIVE_NAMES, TRACED_UPDATE_ORDERS

# What does not go on one line: tyro keeps the line breaks of a field's docstring.
_RESUME = (
    "A directory to continue, in place of --out and of the options that it knows. --seeds may be "
    "larger than before, here and there."
)
_METHODS = (
    "The methods to compare: objectives with commas between, each with a penalty if it needs one. "
    "A hyperparameter that a penalty does not use is left out for it."
)
_SWEEP_OUT = (
    "Where to write: a directory that is new, empty, or begun by the same command, which continues "
    "it, with the same --seeds and --methods or more."
)


@dataclass(frozen=True)
class _FigureOptions(FigureOptions):
    """Which figures to draw."""

    figures: Flag = True
    """Draw no figures."""
    animate: Flag = False
    """Animate the first seed's output and losses over training: figures/training.gif."""
    movie: Annotated[str | None, choice("gif", "mp4"), unset("gif")] = None
    """With --animate: the format; mp4 takes ffmpeg and makes figures/training.mp4."""


@dataclass(frozen=True)
class _ClusterOptions:
    """Many processes that share the work. All must see the same directory."""

    distributed: Flag = False
    """Share the work with the other processes of a SLURM, MPI or Kubernetes job or a TPU pod."""
    coordinator: Annotated[str | None, text("HOST:PORT"), unset("the launcher's")] = None
    """With --distributed, without such a launcher: the address of process 0, and a free port."""
    num_processes: Annotated[int | None, number("num_processes", int), unset("the launcher's")] = (
        None
    )
    """Likewise: the number of processes."""
    process_id: Annotated[int | None, number("process_id", int), unset("the launcher's")] = None
    """Likewise: which of them this is, from 0."""


@dataclass(frozen=True)
class Train:
    """Train many 1010-GANs and say how often the generator converges to 1010.

    Output:
      A directory of manifest.json (what is run), population/ (Parquet, a row for each seed),
      curves/ and histories/ (how it went over training), report.json (the numbers of the table
      printed at the end) and figures/. Rows are on disk as soon as they are trained. The
      same command with the same --out continues a run that was interrupted or killed at any
      moment, and shows a finished one again, with --animate if wanted. --resume DIR is short for
      it.

    Cache:
      Compiled programs are kept in the user's cache directory (on Linux, ~/.cache/gan1010_jax), so
      that a second run of the same setting starts sooner, with any seeds. Nobody else may write
      there. Set JAX_COMPILATION_CACHE_DIR for another place, or
      JAX_ENABLE_COMPILATION_CACHE=false for none.
    """

    examples: ClassVar = {
        "": "64 GANs, 10,000 steps each",
        "--seeds 1000000 --out runs/million": "a million; the same command continues it",
        "--resume runs/million --animate": "continue it, and animate the first seed",
        "--objective hinge --update-order alternating --penalty r1": "another method",
        "--pattern 110100 --optimizer adam --d-lr 0.001 --g-lr 0.001": "another pattern, by Adam",
    }

    pattern: str = "1010"
    """The pattern to learn: 1 to 16 characters, each 0 or 1."""
    out: Annotated[Path | None, path("out"), unset("runs/<time>")] = None
    """Where to write: a directory that is new, empty, or begun by the same command."""
    resume: Annotated[Path | None, path("resume"), unset(), arg(help=_RESUME)] = None
    repair: Flag = False
    """Move damaged files to set-aside/, and train their seeds again."""
    run: OmitArgPrefixes[SeedOptions] = field(default_factory=SeedOptions)
    method: OmitArgPrefixes[MethodOptions] = field(default_factory=MethodOptions)
    figure: OmitArgPrefixes[_FigureOptions] = field(default_factory=_FigureOptions)
    cluster: OmitArgPrefixes[_ClusterOptions] = field(default_factory=_ClusterOptions)


@dataclass(frozen=True)
class Watch:
    """Watch one GAN learn: make the laboratory of one method, on one of its GANs.

    Output:
      A page, in one file that needs no network. It trains the GAN live, and shows both networks
      with their weights and activations, the output of G beside the real ranges, the belief of D,
      the losses, and the updates of a step one after the other. Its rates and its pattern can be
      changed while it trains.
    """

    examples: ClassVar = {
        "--out gan.html": "seed 17, 10,000 steps",
        "--seed 3 --objective wasserstein --clip 0.1 --out wgan.html": "another one, by WGAN",
        "--steps 100000 --penalty r1": "longer, with the penalty R1",
    }

    seed: Annotated[int, number("seed", int)] = 17
    """Which GAN to watch."""
    steps: Annotated[int, number("steps", int)] = 10_000
    """The number of steps that the page trains it, 250,000 at most."""
    pattern: str = "1010"
    """The pattern to learn: 1 to 16 characters, each 0 or 1."""
    out: Annotated[Path, path("out"), unset("runs/watch-<time>.html")] = field(
        default_factory=lambda: Path("runs") / time.strftime("watch-%Y%m%d-%H%M%S.html")
    )
    """The page to write, a name that ends in .html. An old one is replaced."""
    method: OmitArgPrefixes[MethodOptions] = field(default_factory=MethodOptions)


@dataclass(frozen=True)
class Lab:
    """Make the laboratory: a page on which 64 GANs train live in the browser.

    Output:
      A page, in one file that needs neither Python nor a network, and has the same numbers as
      train. Its pattern, learning rates, objective, penalty R1, optimiser and update order can be
      changed while the GANs train, and any of them is shown in full. It takes a minute on two
      cores: each method, a combination of the next three options without penalty and with R1, is
      printed as a program of its own.
    """

    examples: ClassVar = {
        "--out lab.html": "all methods",
        "--objectives mse --optimizers sgd --update-orders reference": "two, in ten seconds",
    }

    objectives: Annotated[str, text("NAME,NAME,…")] = ",".join(OBJECTIVE_NAMES)
    """The objectives, with commas between."""
    optimizers: Annotated[str, text("NAME,NAME,…")] = "sgd,adam"
    """The optimisers, likewise."""
    update_orders: Annotated[str, text("NAME,NAME,…")] = ",".join(TRACED_UPDATE_ORDERS)
    """The update orders, likewise."""
    bits: Annotated[int, number("bits", int)] = 4
    """The length of the patterns, 1 to 16; the page begins with 1010 and so on."""
    out: Annotated[Path, path("out"), unset("runs/lab-<time>.html")] = field(
        default_factory=lambda: Path("runs") / time.strftime("lab-%Y%m%d-%H%M%S.html")
    )
    """The page to write, a name that ends in .html. An old one is replaced."""


@dataclass(frozen=True)
class Sweep:
    """Train a grid of one or two hyperparameters, each cell with many seeds.

    Output:
      A directory for each method, such as train's, with a row for each seed and cell;
      cells.parquet, a row for each method and cell; and figures/phase_diagram.png. All cells of a
      method are one population of one compiled program.
    """

    examples: ClassVar = {
        "--x d_lr=log:1e-3:1:31": "31 values from 0.001 to 1 that grow by the same factor",
        "--x d_lr=0.01,0.02,0.05 --y g_lr=linear:0:0.1:11": "three values by eleven",
        "--x d_lr=log:1e-3:1:31 --methods mse,nonsaturating+r1": "two methods, one with R1",
    }

    x: Annotated[str, text("NAME=VALUES")]
    """The horizontal axis: NAME=log:LOW:HIGH:COUNT, NAME=linear:LOW:HIGH:COUNT or NAME=A,B,C."""
    y: Annotated[str | None, text("NAME=VALUES"), unset()] = None
    """The vertical axis, likewise."""
    methods: Annotated[
        str | None,
        text("NAME,NAME+PENALTY,…"),
        unset("--objective with --penalty"),
        arg(help=_METHODS),
    ] = None
    game: str = "1010"
    """The game to learn: a pattern of 1 to 16 characters, each 0 or 1; or dirac, the Dirac-GAN."""
    out: Annotated[Path | None, path("out"), unset("runs/sweep-<time>"), arg(help=_SWEEP_OUT)] = (
        None
    )
    repair: Flag = False
    """Move damaged files to set-aside/, and train their seeds again."""
    run: OmitArgPrefixes[SeedOptions] = field(default_factory=lambda: SeedOptions(seeds=256))
    method: OmitArgPrefixes[MethodOptions] = field(default_factory=MethodOptions)
    look: OmitArgPrefixes[FigureOptions] = field(default_factory=FigureOptions)


@dataclass(frozen=True)
class Check:
    """Check every file of a result directory, of train's or of a sweep's.

    Output:
      How many rows, files and bytes are sound, and on standard error what is wrong. Nothing is
      written or trained. The exit code is 0 if nothing is wrong, and 1 otherwise.
    """

    examples: ClassVar = {"runs/million": "the directory of a run"}

    directory: Annotated[Positional[Path], path("directory")]
    """The directory."""


def _named(name: str, kind: type) -> Any:
    """A program as a subcommand, described by the first line of its docstring."""
    return Annotated[kind, subcommand(name, description=kind.__doc__.partition("\n")[0])]


PROGRAMS = {"train": Train, "watch": Watch, "lab": Lab, "sweep": Sweep, "check": Check}


@dataclass(frozen=True)
class Gan1010:
    """Train the smallest GAN: one to watch, or a million to measure.

    Programs:
      gan1010 train --help has the options of train, and so on.
    """

    examples: ClassVar = {
        "train": "train 64 GANs, and say how often they converge",
        "watch --out gan.html": "watch one train in a browser",
    }

    program: OmitSubcommandPrefixes[Union[*starmap(_named, PROGRAMS.items())]]
