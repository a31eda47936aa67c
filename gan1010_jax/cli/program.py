"""What the programs in `experiments/` share: options, errors, progress, the compilation cache."""

import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, NoReturn, TypeVar

import jax
import platformdirs
import tyro
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as ProgressBar
from rich.text import Text

from gan1010_jax.convergence import name_parts
from gan1010_jax.errors import BadFile, InvalidArgument, UnfinishedRun
from gan1010_jax.methods import (
    HYPERPARAMS,
    OPTIMIZERS,
    Hyperparams,
    Method,
    allowed_values,
    is_allowed,
)
from gan1010_jax.population import Progress
from gan1010_jax.processes import leave

Options = TypeVar("Options")


def number(name: str, kind: type[int] | type[float]) -> tyro.constructors.PrimitiveConstructorSpec:
    """How an option of this name is read as an `int` or a `float`, with this module's errors."""

    def read(texts: list[str]) -> int | float:
        try:
            return kind(texts[0])
        except ValueError:
            allowed = "a whole number" if kind is int else "a number"
            error = InvalidArgument(name, texts[0], allowed)
            explain(refusal(error), error)
            sys.exit(2)

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT" if kind is int else "FLOAT",
        instance_from_str=read,
        is_instance=lambda value: value is None or isinstance(value, kind),
        str_from_instance=lambda value: [str(value)],
    )


@dataclass(frozen=True)
class MethodOptions:
    """How to train: the options of a `Method` and its `Hyperparams`."""

    objective: str = "mse"
    """What the players minimise: mse, lsgan, minimax, nonsaturating, wasserstein or hinge."""
    schedule: str = "reference"
    """The updates of a step: reference (D on a real sample, D on a fake one, G), alternating (D on
    both, then G) or simultaneous."""
    penalty: str = "none"
    """What is added to the losses: none, r1, r2, wgan_gp or consensus."""
    d_steps: Annotated[int, number("d_steps", int)] = 1
    """How often the discriminator has its turn in a step."""
    first: str = "discriminator"
    """Which player moves first in a step: discriminator or generator."""
    optimizer: str = "sgd"
    """sgd, adam or rmsprop; or two, the discriminator's and the generator's, as in adam,sgd."""
    d_lr: Annotated[float, number("d_lr", float)] = 0.01
    """The discriminator's learning rate, zero or more."""
    g_lr: Annotated[float, number("g_lr", float)] = 0.01
    """The generator's learning rate, zero or more."""
    penalty_weight: Annotated[float | None, number("penalty_weight", float)] = None
    """What the penalty is multiplied by, zero or more; else 1."""
    target_norm: Annotated[float | None, number("target_norm", float)] = None
    """What the penalty wgan_gp wants the norm of D's gradient to be, zero or more; else 1."""
    noise_std: Annotated[float | None, number("noise_std", float)] = None
    """The standard deviation of the noise on every sample that D sees, zero or more; else none."""
    clip: Annotated[float | None, number("clip", float)] = None
    """The bound that D's parameters are clipped to, above zero; else none."""

    def method(self) -> Method:
        """The method."""
        names = self.optimizer.split(",")
        if not set(names) <= set(OPTIMIZERS) or len(names) > 2:
            allowed = f"one of {', '.join(OPTIMIZERS)}, or two with a comma"
            raise InvalidArgument("optimizer", self.optimizer, allowed)
        optimizers = tuple(OPTIMIZERS[name] for name in names)
        return Method(
            objective=self.objective,
            schedule=self.schedule,
            penalty=self.penalty,
            d_steps=self.d_steps,
            first=self.first,
            optimizer=optimizers if len(optimizers) == 2 else optimizers[0],
        )

    def hyperparams(self) -> Hyperparams:
        """The numbers."""
        return Hyperparams(**{name: getattr(self, name) for name in HYPERPARAMS})


def method_options(method: Method, hyperparams: Hyperparams) -> MethodOptions:
    """The options that give a method, one of those that they can name."""
    return MethodOptions(**name_parts(method), **vars(hyperparams))


class Terminated(KeyboardInterrupt):
    """The system asks the process to end: the signal SIGTERM."""


def run(options: type[Options], main: Callable[[Options], None]) -> NoReturn:
    """Read the command line into a dataclass, hand it to `main`, and end the process.

    The exit code is 0; or 2 after a bad value or a bad file, with one sentence that names it and
    says what is wrong; or 1 if the run could not go on; or 130 after an interrupt and 143 after
    SIGTERM. What an error was told in its notes is printed after it.
    """
    if sys.stdout is None:  # closed by a shell's >&-
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    sys.stdout.reconfigure(errors="replace")  # a terminal without – is no reason to fail
    signal.signal(signal.SIGTERM, terminate)
    sys.unraisablehook = send_again
    code = 0
    try:
        main(tyro.cli(options))
    except InvalidArgument as error:
        code = 2
        explain(refusal(error), error)
    except BadFile as error:
        code = 2
        explain(str(error), error)
    except OSError as error:
        code = 1
        explain(f"{error.filename or 'a file'}: {error.strerror or error}", error)
    except UnfinishedRun as error:
        code = 1
        explain(str(error), error)
    except KeyboardInterrupt as error:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # once is enough
        terminated = isinstance(error, Terminated)
        explain("terminated" if terminated else "interrupted", error)
        leave(wait=False)
        # At once: an orderly exit would wait for what XLA is still doing, or crash.
        os._exit(143 if terminated else 130)
    leave(wait=True)
    sys.exit(code)


def terminate(signal_number: int, frame: object) -> NoReturn:
    """Take SIGTERM for an interrupt."""
    raise Terminated


def send_again(unraisable: Any) -> None:
    """Send a signal again whose exception Python has dropped, and report any other exception.

    It drops what is raised in a callback of its garbage collector, and JAX has one. The signal
    comes once that has returned, or else it might be dropped again.
    """
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    terminated = issubclass(unraisable.exc_type, Terminated)
    number = signal.SIGTERM if terminated else signal.SIGINT
    threading.Timer(0.01, os.kill, (os.getpid(), number)).start()


def explain(message: str, error: BaseException) -> None:
    """Say what went wrong, and what the error was told on its way."""
    print(f"error: {message}", *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
    sys.stderr.flush()


def refusal(error: InvalidArgument) -> str:
    """What is wrong with an option, in one sentence."""
    return error.explain("--" + error.name.replace("_", "-"))


def check_given_with(options: object, needed: Mapping[str, str]) -> None:
    """Refuse an option that means nothing without another, by the names of both."""
    for name, other in needed.items():
        value = getattr(options, name)
        if value != getattr(type(options), name) and not getattr(options, other):
            raise InvalidArgument(name, value, f"given with --{other}")


def check_number(name: str, value: float, kind: str) -> None:
    """Refuse an option's number that the hyperparameter `kind` may not be."""
    if not is_allowed(kind, value):
        raise InvalidArgument(name, value, allowed_values(kind))


def keep_compiled_programs() -> None:
    """Turn on JAX's persistent compilation cache, in the user's cache directory.

    What the user has set, `JAX_COMPILATION_CACHE_DIR` or `JAX_ENABLE_COMPILATION_CACHE=false`,
    comes first.
    """
    if jax.config.jax_compilation_cache_dir is None:
        directory = platformdirs.user_cache_path("gan1010_jax") / "compiled"
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError:
            return  # no place to keep them
        jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


class RateColumn(ProgressColumn):
    """How many GANs are done in a second."""

    def render(self, task: Task) -> Text:
        """As text, once it is known."""
        return Text(
            f"{task.speed:,.0f} a second" if task.speed else "", style="progress.data.speed"
        )


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show how many GANs are trained, how fast, and how long it will take, on standard error.

    A bar on a terminal; elsewhere a plain line at every tenth.

    Yields:
      What to call with the number of GANs done so far and of all: before the program is compiled,
      when it is, and from then on.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield print_tenths()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("GANs"),
        RateColumn(),
        TimeRemainingColumn(),
    )
    with ProgressBar(*columns, console=console, transient=True) as bar:
        task, calls = bar.add_task("starting", total=None), itertools.count()

        def update(done: int, total: int) -> None:
            if (call := next(calls)) < 2:
                description = ("compiling", "training")[call]
                bar.reset(task, description=description, total=total, completed=done)
            bar.update(task, completed=done)

        yield update


def print_tenths() -> Progress:
    """Make what prints a line whenever another tenth of the GANs is done."""
    printed, began, before = None, 0.0, 0

    def update(done: int, total: int) -> None:
        nonlocal printed, began, before
        if printed is None:
            printed = -1
            print("compiling", file=sys.stderr)
            return
        now = time.monotonic()
        tenth = 10 * done // total if total else 10  # of several processes, one may have none
        if printed < 0:
            began, before = now, done
        if tenth <= printed:
            return
        printed, line = tenth, f"trained {done:,} of {total:,} GANs"
        if done > before and now > began:
            rate = (done - before) / (now - began)
            left = timedelta(seconds=round((total - done) / rate))
            line += f", {rate:,.0f} a second, {left} left"
        print(line, file=sys.stderr)

    return update
