"""How tests run a program of `experiments/` in their own process."""

import runpy
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
OTHERS = {"minimal", "operations", "peers", "study", "verdicts"}  # which take no options
PROGRAMS = sorted({path.stem for path in EXPERIMENTS.glob("*.py")} - OTHERS)


def run_program(name, options, monkeypatch):
    """Run a program in this process, which has the compiled programs; its exit code."""
    program = str(EXPERIMENTS / f"{name}.py")
    words = options.split() if isinstance(options, str) else options
    monkeypatch.setattr(sys, "argv", [program, *words])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(program, run_name="__main__")
    return end.value.code


def assert_rejected(name, options, begins, cwd, monkeypatch, capsys):
    """Run a program that rejects its options: exit code 2, one sentence, and nothing written."""
    monkeypatch.chdir(cwd)
    assert run_program(name, options, monkeypatch) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {begins}") and printed.count("\n") == 1
    assert list(cwd.iterdir()) == []


def start_program(name, words, **options):
    """Start a program in a process of its own, which can be interrupted."""
    # A background job of a shell ignores the signal, and hands that down.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, str(EXPERIMENTS / f"{name}.py"), *words]
    try:
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options)
    finally:
        signal.signal(signal.SIGINT, before)


def free_port():
    """A port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_until_handled(process):
    """Wait until a program handles signals, in which Python's own start has no part."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():  # no Linux
        time.sleep(0.2)
        return
    caught = 0
    while not caught >> signal.SIGTERM - 1 & 1:
        assert process.poll() is None
        (caught,) = (int(x.split()[1], 16) for x in status.open() if x.startswith("SigCgt"))
