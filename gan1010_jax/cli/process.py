"""The first lines of a program: its signals, streams and errors, before what is slow to import."""

import atexit
import gc
import io
import os
import signal
import sys
from collections.abc import Callable
from types import TracebackType

SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_LONGEST_MESSAGE = 500  # characters
# How many containers more there may be before Python looks for cycles among the new ones. With its
# own 700 or 2000, that takes a tenth of the time of imports and tracing, whose objects stay.
_NEW_OBJECTS = 100_000


def start() -> None:
    """Make this process end with one sentence, whatever happens from here on."""
    gc.set_threshold(_NEW_OBJECTS)
    _open_streams()
    sys.excepthook = _report_unexpected
    handle_signals(end_at_once)
    # Last of all, before Python restores the defaults, by which a signal kills what is done.
    atexit.register(handle_signals, signal.SIG_IGN)


def handle_signals(handler: Callable[[int, object], object]) -> None:
    """Let a function handle the signals that end a program, but for those that are ignored."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def end_at_once(number: int, frame: object) -> None:
    """Say which signal has come, and exit, where nothing has to be kept."""
    try:
        os.write(2, f"error: {SIGNALS[number]}\n".encode())
    finally:
        os._exit(128 + number)


class _Stream(io.FileIO):
    """Standard error, which loses what it cannot write, or output, whose errors say their place."""

    def write(self, data):
        try:
            return super().write(data)
        except OSError as error:
            # What is left to write must not fail again, at the exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if self.fileno() == 2:
                return len(data)
            error.filename = "standard output"
            raise


def _open_streams() -> None:
    """Make standard output and error such as cannot end a run that is well."""
    # The next file that is opened would take the place of one that is closed (by a shell's >&-).
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(descriptor)
    for number, name, errors in ((1, "stdout", "replace"), (2, "stderr", "backslashreplace")):
        stream = getattr(sys, name)
        if stream is None or stream is getattr(sys, f"__{name}__"):  # and no other's replacement
            encoding = "utf-8" if stream is None else stream.encoding
            raw = io.BufferedWriter(_Stream(number, "w", closefd=False))
            is_by_line = number == 2 or raw.isatty()
            stream = io.TextIOWrapper(raw, encoding, errors, line_buffering=is_by_line)
            setattr(sys, name, stream)


def _report_unexpected(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Print an error that no program expects; the exit code is then 1."""
    if sys.flags.dev_mode:
        sys.__excepthook__(kind, error, traceback)
        return
    message = " ".join(f"{kind.__name__}: {error}".split())
    if len(message) > _LONGEST_MESSAGE:
        message = f"{message[:_LONGEST_MESSAGE]}…"
    print(f"error: {message} (PYTHONDEVMODE=1 shows where)", file=sys.stderr)
