"""The options of `gan1010`'s programs, each of which is the function of its name in its module.

Read before JAX is imported: see `options`.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional

from gan1010_jax.cli.options import FigureOptions, MethodOptions, SeedOptions, number, path
from gan1010_jax.names import OBJECTIVE_NAMES, UPDATE_ORDERS


@dataclass(frozen=True)
class Train:
    """Train many 1010-GANs and say how often the generator converges to 1010.

    Writes a directory: manifest.json (what is run), population/ (Parquet, one row per seed),
    curves/ and histories/ (how it went over training), report.json (the numbers of the table
    printed at the end) and figures/. What is finished is on disk at once. The same command
    with the same --out goes on with a run that was interrupted or killed at any moment, and shows
    again one that is finished, with --animate if wanted. --resume DIR is short for it.

    Compiled programs are kept in the user's cache directory (on Linux, ~/.cache/gan1010_jax), so
    that a second run of the same setting starts sooner, with any seeds. Nobody else may write
    there. Set JAX_COMPILATION_CACHE_DIR for another place, JAX_ENABLE_COMPILATION_CACHE=false for
    none.
    """

    pattern: str = "1010"
    """The pattern to learn: 1 to 16 characters, each 0 or 1."""
    out: Annotated[Path | None, path("out")] = None
    """Where to write: a directory that is new, empty, or begun by the same command; else
    runs/<the time>."""
    resume: Annotated[Path | None, path("resume")] = None
    """A directory to go on with, in place of --out and of the options that it knows. --seeds may be
    larger than before, here and there."""
    repair: bool = False
    """Move damaged files to set-aside/, and train their seeds again."""
    figures: bool = True
    """Whether to draw the figures."""
    animate: bool = False
    """Animate the first seed, its output and its losses over training, for slides:
    figures/training.gif, also with --no-figures."""
    movie: str | None = None
    """With --animate: gif, or mp4, which takes ffmpeg and makes figures/training.mp4; else gif."""
    distributed: bool = False
    """Share the work with other processes, started alike under SLURM, MPI, Kubernetes or on a TPU
    pod; elsewhere, with the next three options. All must see the same directory."""
    coordinator: str | None = None
    """With --distributed: HOST:PORT of process 0, with a free port."""
    num_processes: Annotated[int | None, number("num_processes", int)] = None
    """With --distributed: how many processes there are."""
    process_id: Annotated[int | None, number("process_id", int)] = None
    """With --distributed: which one this is, from 0."""
    run: OmitArgPrefixes[SeedOptions] = field(default_factory=SeedOptions)
    method: OmitArgPrefixes[MethodOptions] = field(default_factory=MethodOptions)
    look: OmitArgPrefixes[FigureOptions] = field(default_factory=FigureOptions)


@dataclass(frozen=True)
class Watch:
    """Watch one GAN learn: make the laboratory of one method, on one of its GANs.

    The page trains it live, and shows both networks with their weights and activations, the output
    of G beside the real ranges, the belief of D, the losses, and the updates of a step one after
    the other. Its rates and its pattern can be changed while it trains. It is one file, and needs
    no network.
    """

    seed: Annotated[int, number("seed", int)] = 17
    """Which GAN to watch."""
    steps: Annotated[int, number("steps", int)] = 10_000
    """How many steps the page trains it, 250,000 at most."""
    pattern: str = "1010"
    """The pattern to learn: 1 to 16 characters, each 0 or 1."""
    out: Annotated[Path, path("out")] = field(
        default_factory=lambda: Path("runs") / time.strftime("watch-%Y%m%d-%H%M%S.html")
    )
    """The page to write, a name that ends in .html. One that is there is replaced."""
    method: OmitArgPrefixes[MethodOptions] = field(default_factory=MethodOptions)


@dataclass(frozen=True)
class Lab:
    """Make the laboratory: a page on which 64 GANs train live in the browser.

    It changes the pattern, the learning rates, the objective, the penalty R1, the optimiser and the
    update order while they train, and shows any of the GANs in full. It is one file, needs neither
    Python nor a network, and has the same numbers as train. It takes a minute on two cores: each
    method, a combination of the next three options without penalty and with R1, is printed as a
    program of its own.
    """

    objectives: str = ",".join(OBJECTIVE_NAMES)
    """The objectives, with commas between."""
    optimizers: str = "sgd,adam"
    """The optimisers, likewise."""
    update_orders: str = ",".join(order for order in UPDATE_ORDERS if order != "extragradient")
    """The update orders, likewise."""
    bits: Annotated[int, number("bits", int)] = 4
    """The length of the patterns, 1 to 16; the page begins with 1010 and so on."""
    out: Annotated[Path, path("out")] = field(
        default_factory=lambda: Path("runs") / time.strftime("lab-%Y%m%d-%H%M%S.html")
    )
    """The page to write, a name that ends in .html. One that is there is replaced."""


@dataclass(frozen=True)
class Sweep:
    """Train every cell of a grid over one or two hyperparameters, each with many seeds.

    All cells of a method are one population of one compiled program. Writes a directory for each
    method, such as train does, with a row for each seed and cell; cells.parquet, a row for each
    method and cell; and figures/phase_diagram.png.
    """

    x: str
    """The horizontal axis: d_lr=log:1e-3:1:31 for 31 values from 0.001 to 1 that grow by the same
    factor, d_lr=linear:0:0.1:11 for the same step, or d_lr=0.01,0.02,0.05 for a list."""
    y: str | None = None
    """The vertical axis, likewise; else there is none."""
    methods: str | None = None
    """The methods to compare: objectives with commas between, each with a penalty if it needs one,
    as in mse,nonsaturating,nonsaturating+r1; else --objective with --penalty. A hyperparameter that
    a penalty does not use is left out for it."""
    game: str = "1010"
    """The game to learn: a pattern of 1 to 16 characters, each 0 or 1; or dirac, the Dirac-GAN."""
    out: Annotated[Path | None, path("out")] = None
    """Where to write: a directory that is new, empty, or begun by the same command, which goes on
    with it, --seeds and --methods being the same or more; else runs/sweep-<the time>."""
    repair: bool = False
    """Move damaged files to set-aside/, and train their seeds again."""
    run: OmitArgPrefixes[SeedOptions] = field(default_factory=lambda: SeedOptions(seeds=256))
    method: OmitArgPrefixes[MethodOptions] = field(default_factory=MethodOptions)
    look: OmitArgPrefixes[FigureOptions] = field(default_factory=FigureOptions)


@dataclass(frozen=True)
class Check:
    """Check every file of a result directory, of train's or of a sweep's.

    Reads everything, writes and trains nothing. Prints how many rows, files and bytes are sound,
    and on standard error what is wrong. The exit code is 0 if nothing is, and 1 otherwise.
    """

    directory: Annotated[Positional[Path], path("directory")]
    """The directory."""
