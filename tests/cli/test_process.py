"""How a program begins and ends: signals at any moment, streams that are closed or full, errors."""

import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from programs import EXPERIMENTS, PROGRAMS, assert_rejected, start_program, wait_until_handled

SHORT = "--seeds 4 --steps 100 --pattern 10 --engine vmap --no-figures --out run".split()
CODES = {"interrupted": 130, "terminated": 143}


@pytest.fixture
def environment(compilation_cache):
    return os.environ | {"JAX_COMPILATION_CACHE_DIR": compilation_cache}


def assert_ends(process, word):
    """A program has ended by a signal, with one sentence, or was done before."""
    _, errors = process.communicate(timeout=60)
    if process.returncode == 0:
        assert "error" not in errors
    else:
        assert process.returncode == CODES[word], errors
        assert errors.count("error: ") == errors.count(f"error: {word}\n") == 1
    assert "Traceback" not in errors and "ignored" not in errors, errors


# What a program meets when it imports JAX, or `tyro`: a signal, while that takes long.
SLOW = "import os, time; os.kill(os.getpid(), int(os.environ['NUMBER'])); time.sleep(30)"


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_signal_while_a_program_imports_ends_it_with_one_sentence(program, tmp_path):
    words = ["--x", "d_lr=1"] if program == "sweep" else []
    for module, (word, code) in zip(("jax", "tyro"), CODES.items()):
        (tmp_path / f"{module}.py").write_text(SLOW)
        path = os.pathsep.join([str(tmp_path), str(EXPERIMENTS.parent)])
        environment = os.environ | {"PYTHONPATH": path, "NUMBER": str(code - 128)}
        process = start_program(program, words, cwd=tmp_path, env=environment)
        assert_ends(process, word)
        assert process.returncode == code


@pytest.mark.slow
def test_an_interrupt_at_any_moment_ends_a_program_with_one_sentence(environment, tmp_path):
    for moment in np.linspace(0, 2, 20):
        cwd = tmp_path / f"{moment:.3f}"
        cwd.mkdir()
        process = start_program("train", SHORT, cwd=cwd, env=environment)
        wait_until_handled(process)
        time.sleep(moment)
        process.send_signal(signal.SIGINT)
        assert_ends(process, "interrupted")


BEGINNING = """
import dataclasses, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from gan1010_jax.cli import progress_bar, run

@dataclasses.dataclass
class Options:
    pass

def main(options):
"""
DROPPED = """
    import gc
    sent = []
    def callback(phase, info):
        if not sent:
            sent.append(phase)
            signal.raise_signal(NUMBER)  # Python drops its exception
    gc.callbacks.append(callback)
    gc.collect()
    print("went on")
    time.sleep(30)
    print("slept")

run(main, Options())
"""
CAUGHT = """
    try:
        signal.raise_signal(NUMBER)
    except BaseException:  # as a library may do
        print("went on")
    with progress_bar() as progress:
        progress(0, 1)
    print("slept")

run(main, Options())
"""


@pytest.mark.slow
@pytest.mark.parametrize("lost", [DROPPED, CAUGHT])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_not_lost_where_its_exception_is(number, lost):
    script = (BEGINNING + lost).replace("NUMBER", str(int(number)))
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 128 + number
    assert process.stdout == "went on\n" and "Traceback" not in process.stderr


AT_THE_END = """
    global last
    class Last:
        def __del__(self, send=signal.raise_signal):
            send(NUMBER)
    last = Last()
    print("went on")

run(main, Options())
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_python_itself_ends_changes_nothing(number):
    script = (BEGINNING + AT_THE_END).replace("NUMBER", str(int(number)))
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (process.returncode, process.stdout, process.stderr) == (0, "went on\n", "")


@pytest.mark.slow
def test_an_unexpected_error_is_one_sentence_that_says_how_to_see_more():
    script = BEGINNING + "    raise RuntimeError('one\\ntwo')\nrun(main, Options())"
    command = [sys.executable, "-c", script]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 1
    assert process.stderr == "error: RuntimeError: one two (PYTHONDEVMODE=1 shows where)\n"
    more = os.environ | {"PYTHONDEVMODE": "1"}
    process = subprocess.run(command, capture_output=True, text=True, env=more)
    assert process.returncode == 1 and "Traceback" in process.stderr


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("streams", "code"), [("2>&-", 0), ("2>/dev/full", 0), (">&- 2>&-", 0), (">/dev/full", 1)]
)
def test_a_closed_or_full_stream_leaves_the_results(streams, code, environment, tmp_path):
    command = f'"$0" "$@" {streams}'
    words = ["sh", "-c", command, sys.executable, EXPERIMENTS / "train.py", *SHORT]
    process = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert process.returncode == code, process.stderr
    assert (tmp_path / "run" / "report.json").is_file()
    assert ("4 GANs" in process.stdout) == (streams in ("2>&-", "2>/dev/full"))
    if code == 1:
        last = process.stderr.splitlines()[-1]
        assert last == "error: standard output: No space left on device"


@pytest.mark.slow
@pytest.mark.parametrize("streams", ["2>&-", "2>/dev/full"])
def test_an_error_that_cannot_be_printed_is_an_exit_code_too(streams, tmp_path):
    words = ["sh", "-c", f'"$0" "$@" {streams}', sys.executable, EXPERIMENTS / "train.py"]
    process = subprocess.run([*words, "--seeds", "0"], cwd=tmp_path, capture_output=True)
    assert (process.returncode, process.stdout) == (2, b"")


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["nonsense", "cuda"])
def test_a_platform_that_is_not_there_is_rejected_by_name(platform, tmp_path):
    if platform == "cuda" and jax.default_backend() == "gpu":
        pytest.skip("this machine has the platform")
    environment = os.environ | {"JAX_PLATFORMS": platform}
    process = start_program("train", SHORT, cwd=tmp_path, env=environment)
    _, errors = process.communicate()
    allowed = "platforms that JAX finds on this machine, such as cpu"
    assert errors == f"error: JAX_PLATFORMS must be {allowed}; got '{platform}'\n"
    assert process.returncode == 2 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("program", ["train", "watch", "sweep --x d_lr=1", "dirac"])
def test_no_program_runs_without_compilation(program, tmp_path, monkeypatch, capsys):
    name, *options = program.split(maxsplit=1)
    with jax.disable_jit():
        says = "JAX_DISABLE_JIT must be false"
        assert_rejected(name, *(options or [""]), says, tmp_path, monkeypatch, capsys)
