"""What the programs in `experiments/` share: options, errors, progress, the compilation cache."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

import jax
import platformdirs
import tyro
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from gan1010_jax.errors import InvalidArgument

Options = TypeVar("Options")


def run(options: type[Options], main: Callable[[Options], None]) -> NoReturn:
    """Read the command line into a dataclass, hand it to `main`, and end the process.

    The exit code is 0; or 2 after a bad value, with one sentence that names the option, the value
    and what is allowed; or 130 after an interrupt.
    """
    sys.stdout.reconfigure(errors="replace")  # a terminal without – is no reason to fail
    try:
        main(tyro.cli(options))
    except InvalidArgument as error:
        refuse(error)
    except KeyboardInterrupt:
        print("error: interrupted; nothing was kept", file=sys.stderr, flush=True)
        os._exit(130)  # at once: an orderly exit would wait for what XLA is still doing, or crash
    sys.exit(0)


def refuse(error: InvalidArgument) -> NoReturn:
    """Say what is wrong with an option, in one sentence, and end the process with 2."""
    option = "--" + error.name.replace("_", "-")
    print(f"error: {option} must be {error.allowed}; got {error.value!r}", file=sys.stderr)
    sys.exit(2)


def number(name: str, kind: type[int] | type[float]) -> tyro.constructors.PrimitiveConstructorSpec:
    """How an option of this name is read as an `int` or a `float`, with this module's errors."""

    def read(texts: list[str]) -> int | float:
        try:
            return kind(texts[0])
        except ValueError:
            allowed = "a whole number" if kind is int else "a number"
            refuse(InvalidArgument(name, texts[0], allowed))

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT" if kind is int else "FLOAT",
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, kind),
        str_from_instance=lambda value: [str(value)],
    )


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


@contextmanager
def progress_bar(seeds: int) -> Iterator[Callable[[int], None]]:
    """Show how many of the seeds are trained, on standard error.

    A bar on a terminal; elsewhere a plain line at every tenth.

    Yields:
      What to call with the number of seeds done so far, 0 when the program is compiled.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        print("compiling", file=sys.stderr)
        yield print_tenths(seeds)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("seeds"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("compiling", total=seeds)
        yield lambda done: bar.update(task, description="training", completed=done)


def print_tenths(seeds: int) -> Callable[[int], None]:
    """Make what prints a line whenever another tenth of the seeds is done."""
    printed = -1

    def update(done: int) -> None:
        nonlocal printed
        tenth = 10 * done // seeds
        if tenth > printed:
            printed = tenth
            print(f"trained {done:,} of {seeds:,} seeds", file=sys.stderr)

    return update
