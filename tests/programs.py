"""How tests run a program of `experiments/` in their own process."""

import runpy
import sys
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


def run_program(name, options, monkeypatch):
    """Run a program in this process, which has the compiled programs; its exit code."""
    program = str(EXPERIMENTS / f"{name}.py")
    words = options.split() if isinstance(options, str) else options
    monkeypatch.setattr(sys, "argv", [program, *words])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(program, run_name="__main__")
    return end.value.code
