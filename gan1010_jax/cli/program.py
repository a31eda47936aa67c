"""How a program runs: its options, errors, signals, compilation cache and progress.

Its options are read before JAX is imported, and what needs JAX here imports it when called.
"""

import atexit
import gc
import inspect
import itertools
import os
import re
import shlex
import shutil
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import tyro

from gan1010_jax.cli.process import SIGNALS, end_at_once, handle_signals, start
from gan1010_jax.errors import BadFile, InvalidArgument, UnfinishedRun

if TYPE_CHECKING:
    from gan1010_jax.population import Progress

_Options = TypeVar("_Options")

_COMMAND = "gan1010"
_WIDEST = 100  # columns of text


# What only Python's callers can give, in what an argument may be.
_NOT_TYPED = re.compile("^an? [A-Z][a-z]+ or (?=one of)|, or None$")
_received: list[int] = []  # signals


def read(kind: type[_Options], name: str | None = None) -> _Options:
    """Read the command line into a dataclass, or exit after help or an error.

    Until JAX is imported and `run` is called, a signal ends the program at once.

    Args:
      kind: the dataclass; its docstring and its `examples`, if it has any, begin the help.
      name: the subcommand that the first word is, if it is one.
    """
    start()
    program, *words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    if name is not None:
        program, words = f"{_COMMAND} {name}", words[1:]
    try:
        try:
            return tyro.cli(kind, prog=program, args=words, description=_describe(kind, name))
        finally:
            sys.stdout.flush()
    except OSError as error:
        sys.exit(report(error))


def _describe(kind: type, name: str | None) -> str:
    """What a program does, its examples, and the other paragraphs, each below a title of its own.

    Lines are filled here, and indented, since tyro fills none and joins those that are not.
    """
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    wrap = partial(textwrap.wrap, break_long_words=False, break_on_hyphens=False)
    summary, *others = inspect.cleandoc(kind.__doc__ or "").split("\n\n")
    is_script = Path(sys.argv[0]).stem != _COMMAND
    command = f"python {sys.argv[0]}" if is_script else f"{_COMMAND} {name or ''}".rstrip()
    lines = wrap(summary, width, subsequent_indent="  ")
    examples = getattr(kind, "examples", {})
    lines += ["", "Examples:"] if examples else []
    for words, meaning in examples.items():
        *begun, last = wrap(f"  {command} {words}", width - 2, subsequent_indent="      ")
        lines += [f"  # {meaning}", *(f"{line} \\" for line in begun), last]
    for paragraph in others:
        title, has_title, text = paragraph.partition(":\n")
        title, text = (title, inspect.cleandoc(text)) if has_title else ("Description", paragraph)
        lines += ["", f"{title}:", *wrap(text, width, initial_indent="  ", subsequent_indent="  ")]
    return "\n".join(lines)


def run(main: Callable[[_Options], object], options: _Options) -> NoReturn:
    """Call `main` with the options of a program, and exit.

    The exit code is 0; or 2 after a bad value or a bad file, with one sentence that names it and
    says what is wrong; or 1 if the run could not go on; or 130 after an interrupt and 143 after
    SIGTERM. The notes of an error are printed after it.
    """
    from gan1010_jax.population import leave

    start()
    atexit.register(gc.freeze)  # else Python's end searches all that JAX has made: 0.4 s
    _received.clear()
    sys.unraisablehook = _send_again
    code = 0
    try:
        handle_signals(_interrupt)
        try:
            try:
                main(options)
            finally:
                sys.stdout.flush()
        except (InvalidArgument, BadFile, OSError, UnfinishedRun) as error:
            code = report(error)
        leave(code, wait=True)
        handle_signals(end_at_once)  # Python's own end is no place for an exception
    except KeyboardInterrupt as error:
        handle_signals(signal.SIG_IGN)  # once is enough
        code = report(error)
        leave(code, wait=False)
        # At once: an orderly exit would wait for XLA's threads, or crash.
        os._exit(code)
    sys.exit(code)


def report(error: BaseException) -> int:
    """Print an error and its notes on standard error; the exit code."""
    match error:
        case InvalidArgument():
            code, message = 2, _explain(error)
        case BadFile():
            code, message = 2, str(error)
        case OSError():
            code, message = 1, f"{error.filename or 'a file'}: {error.strerror or error}"
        case KeyboardInterrupt():
            number = error.args[0] if error.args else signal.SIGINT
            code, message = 128 + number, SIGNALS[number]
        case _:
            code, message = 1, str(error)
    print(f"error: {message}", *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
    sys.stderr.flush()
    return code


def _explain(error: InvalidArgument) -> str:
    """The message of a bad option or environment variable, in words that can be typed there."""
    allowed = _NOT_TYPED.sub("", error.allowed)
    if allowed.startswith("None,"):
        allowed = f"left out{allowed.removeprefix('None')}"
    is_number = getattr(error.value, "ndim", None) == 0  # of NumPy
    value = error.value.item() if is_number else error.value
    typed = InvalidArgument(error.name, value, allowed, error.choices)
    is_variable = error.name.isupper()
    message = typed.explain(error.name if is_variable else "--" + error.name.replace("_", "-"))
    return message.removesuffix("; got True")  # an option without a value


def split_command() -> tuple[list[str], list[str]]:
    """The words of the command line that start the program, as typed, and its arguments."""
    program, *arguments = sys.argv
    if Path(program).stem != _COMMAND:
        return ["python", program], arguments
    typed = _COMMAND if shutil.which(_COMMAND) == program else program
    return [typed, *arguments[:1]], arguments[1:]


@contextmanager
def says_how_to_go_on(out: Path) -> Iterator[None]:
    """Add the command that goes on with a directory to an error that ends its run."""
    from gan1010_jax.population import MANIFEST, is_first

    start, arguments = split_command()
    if not any(argument.split("=")[0] in ("--out", "--resume") for argument in arguments):
        arguments = [*arguments, "--out", str(out)]
    again = shlex.join([*start, *arguments])
    try:
        yield
    except BadFile as error:
        if out in error.path.parents and error.path.name != MANIFEST:
            error.add_note(f"{again} --repair moves it aside, and makes it again")
        raise
    except (KeyboardInterrupt, OSError, UnfinishedRun) as error:
        if is_first() or isinstance(error, KeyboardInterrupt):
            error.add_note(f"to go on: {again}")
        raise


def _interrupt(number: int, frame: object) -> NoReturn:
    """Remember a signal, and end what is being done by an exception."""
    _received.append(number)
    raise KeyboardInterrupt(number)


def _check_signals() -> None:
    """Raise the exception of a signal again, which a library has caught or dropped."""
    if _received:
        raise KeyboardInterrupt(_received[0])


def _send_again(unraisable: Any) -> None:
    """Send a signal again whose exception Python has dropped, and report any other exception.

    It drops exceptions raised in a callback of its garbage collector, and JAX has one. The signal
    comes once that has returned, or else it might be dropped again.
    """
    if issubclass(unraisable.exc_type, KeyboardInterrupt) and _received:
        threading.Timer(0.01, os.kill, (os.getpid(), _received[0])).start()
    else:
        sys.__unraisablehook__(unraisable)


def prepare_jax() -> None:
    """Reject settings of JAX that no program works with, and keep what is compiled.

    JAX's persistent compilation cache is then in the user's cache directory, of 1 GiB at most, but
    the user's own `JAX_COMPILATION_CACHE_DIR` and `JAX_ENABLE_COMPILATION_CACHE=false` come first.

    Raises:
      InvalidArgument: (a `ValueError`) named like the environment variable.
    """
    import jax
    import platformdirs

    if jax.config.jax_disable_jit:
        raise InvalidArgument("JAX_DISABLE_JIT", "true", "false, since programs are compiled")
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        if platforms := jax.config.jax_platforms:
            allowed = "platforms that JAX finds on this machine, such as cpu"
            raise InvalidArgument("JAX_PLATFORMS", platforms, allowed) from error
        raise
    if jax.config.jax_compilation_cache_dir is None:
        directory = platformdirs.user_cache_path("gan1010_jax") / "compiled"
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            return  # no place to keep them
        if not os.access(directory, os.W_OK):
            return  # JAX would warn of every program
        # And if an entry has no time of its last use, as what a killed process left.
        for entry in directory.glob("*-cache"):
            if not entry.with_name(f"{entry.name.removesuffix('-cache')}-atime").exists():
                entry.unlink(missing_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(directory))
        jax.config.update("jax_compilation_cache_max_size", 2**30)
    # Of what a notebook or a figure computes piece by piece, each takes 20 ms to compile.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@contextmanager
def progress_bar() -> Iterator["Progress"]:
    """Show how many GANs are trained, how fast, and how long it will take, on standard error.

    A bar on a terminal; elsewhere a plain line at every tenth.

    Yields:
      A function of the number of GANs done so far and of all, to call before the program is
      compiled, when it is, and from then on.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _print_tenths()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("GANs"),
        TextColumn("{task.fields[rate]}", style="progress.data.speed"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task, calls = bar.add_task("starting", total=None, rate=""), itertools.count()

        def update(done: int, total: int) -> None:
            _check_signals()
            if (call := next(calls)) < 2:  # the rate is that of training alone
                bar.reset(task, total=total, completed=done)
            phase = "compiling" if call == 0 else "training" if done < total else "finishing"
            bar.update(task, description=phase, completed=done)
            if speed := bar.tasks[0].speed:
                bar.update(task, rate=f"{speed:,.0f} a second")

        yield update


def say(phase: str) -> None:
    """Print what begins now, where it takes more than half a second, on standard error."""
    _check_signals()
    print(phase, file=sys.stderr)


def _print_tenths() -> "Progress":
    """A function that prints a line whenever another tenth of the GANs is done."""
    calls, printed, began, before = itertools.count(), -1, 0.0, 0

    def update(done: int, total: int) -> None:
        nonlocal printed, began, before
        _check_signals()
        call, now = next(calls), time.monotonic()
        if call == 0:
            say("compiling")
            return
        if call == 1:
            began, before = now, done
        tenth = 10 * done // total if total else 10  # of several processes, one may have none
        if tenth <= printed:
            return
        printed, line = tenth, f"trained {done:,} of {total:,} GANs"
        if done > before and now > began:
            rate = (done - before) / (now - began)
            left = timedelta(seconds=round((total - done) / rate))
            line += f", {rate:,.0f} a second, {left} left"
        print(line, file=sys.stderr)

    return update
