"""Real processes that are killed, that share the work, that meet in one directory."""

import multiprocessing
import os
import runpy
import signal
import socket
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import gan1010_jax as gan
from gan1010_jax.population import processes

PROGRAM = str(Path(__file__).parents[2] / "experiments" / "train.py")
SETUP = gan.Setup(gan.pattern_game("10"))
SMALL = "--steps 40 --record-every 20 --pattern 10 --no-figures"
pytestmark = pytest.mark.slow
LIMIT = 90  # seconds that a process may take


def run_program(options, cache, log, devices, cwd):
    """Be `experiments/train.py` with some options in some directory, and write to a log."""
    os.chdir(cwd)
    file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    jax.config.update("jax_compilation_cache_dir", cache)
    if devices:
        jax.config.update("jax_num_cpu_devices", devices)
    processes.HEARTBEAT_TIMEOUT = 5
    # A background job of a shell ignores it, and hands that down.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = [PROGRAM, *options]
    runpy.run_path(PROGRAM, run_name="__main__")


@pytest.fixture(scope="module")
def launch(compilation_cache, tmp_path_factory):
    """Start the program; each time a new process, of a server that has imported the package."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gan1010_jax.cli"])
    logs, started = tmp_path_factory.mktemp("logs"), []

    def start(options, devices=None, cwd="."):
        log = logs / f"{len(started)}.log"
        arguments = (options.split(), compilation_cache, log, devices, cwd)
        process = context.Process(target=run_program, args=arguments)
        process.start()
        started.append(process)
        process.log = log
        return process

    yield start
    for process in started:
        process.kill()


def finish(process):
    """Wait for a process, and expect that it went well."""
    process.join(LIMIT)
    assert process.exitcode == 0, process.log.read_text()[-3000:]


def kill(process):
    """End a process at once, as a power failure would."""
    process.kill()
    process.join(LIMIT)


def parts(out):
    """The parts of the population that are there."""
    return {path.name for path in (out / "population").glob("part-*")}


def files(out):
    """All parts, by their names, which have digests of their bytes."""
    return {path.relative_to(out).as_posix() for path in out.glob("*/part-*")}


def wait_for_parts(out, count, process):
    """Wait until there are so many parts, or a process has ended."""
    until = time.monotonic() + LIMIT
    while len(parts(out)) < count and process.is_alive() and time.monotonic() < until:
        time.sleep(0.001)


def train(seeds, out, engine="vmap", **options):
    """What the program does, undisturbed."""
    setting = {"steps": 40, "record_every": 20, "engine": engine}
    gan.train_population(range(seeds), SETUP, out=out, **setting, **options)


def test_a_run_that_is_killed_twenty_times_loses_and_repeats_nothing(launch, tmp_path):
    out, random = tmp_path / "run", np.random.default_rng(1010)
    begin = f"{SMALL} --engine vmap --seeds 2500 --chunk 10 --workers 2 --out {out}"
    go_on = f"--resume {out} --no-figures"
    for turn in range(20):
        process = launch(go_on if (out / "manifest.json").exists() else begin)
        if turn % 4 == 0:
            time.sleep(random.uniform(0, 1.5))
        else:
            wait_for_parts(out, len(parts(out)) + random.integers(1, 12), process)
            time.sleep(random.uniform(0, 0.01))
        kill(process)
        if parts(out):
            assert gan.load_population(out).counts.seeds == 10 * len(parts(out))
    assert 20 < len(parts(out)) < 250
    finish(launch(go_on))
    train(2500, tmp_path / "undisturbed", chunk=10)
    assert files(out) == files(tmp_path / "undisturbed")
    assert not list(out.rglob("*.tmp"))


@pytest.mark.parametrize("devices", [2, 4])
def test_rows_do_not_depend_on_how_many_devices_there_are(launch, tmp_path, devices):
    out = tmp_path / "run"
    options = f"{SMALL} --engine fused --seeds 1500 --chunk 1000 --out {out}"
    finish(launch(options, devices))
    train(1500, tmp_path / "one", engine="fused", chunk=1000)
    assert files(out) == files(tmp_path / "one")


def start_two(launch, options, **place):
    """Start two processes, joined over loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    joined = f"--distributed --coordinator 127.0.0.1:{port} --num-processes 2"
    return [launch(f"{options} {joined} --process-id {number}", **place) for number in (0, 1)]


def test_two_processes_share_the_work_and_give_the_same_rows(launch, tmp_path):
    out = tmp_path / "run"
    first, second = start_two(launch, f"{SMALL} --engine vmap --seeds 1500 --chunk 100 --out {out}")
    finish(first)
    finish(second)
    assert "trained 800 of 800 GANs" in first.log.read_text()
    assert "trained 700 of 700 GANs" in second.log.read_text()
    assert "1,500 GANs" in first.log.read_text() and "1,500" not in second.log.read_text()
    train(1500, tmp_path / "one", chunk=100)
    assert files(out) == files(tmp_path / "one")


def test_when_one_of_two_processes_dies_the_other_finishes_its_share_and_says_so(launch, tmp_path):
    out = tmp_path / "run"
    first, second = start_two(
        launch, f"{SMALL} --engine vmap --seeds 4000 --chunk 10 --workers 1 --out {out}"
    )
    wait_for_parts(out, 20, second)
    kill(second)
    died = time.monotonic()
    first.join(LIMIT)
    assert time.monotonic() - died < 60
    said = first.log.read_text()
    assert first.exitcode == 1, said[-3000:]
    assert "error: process 1 ended early, and" in said and "Traceback" not in said
    assert f"--resume {out}" in said
    whole_share = {f"{first:010d}" for first in range(0, 4000, 20)}
    assert whole_share <= {name.split("-")[1] for name in parts(out)}
    assert len(parts(out)) < 400 and not (out / "report.json").exists()

    for process in start_two(launch, f"--resume {out} --no-figures"):
        finish(process)
    train(4000, tmp_path / "one", chunk=10)
    assert files(out) == files(tmp_path / "one")


def test_an_error_of_the_first_process_ends_all(launch, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    first, second = start_two(launch, f"{SMALL} --engine vmap --seeds 10 --out {tmp_path}")
    for process, code in ((first, 2), (second, 1)):
        process.join(LIMIT)
        said = process.log.read_text()
        assert process.exitcode == code and "Traceback" not in said, said[-3000:]
        assert "must be a new or empty directory" in said
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_of_two_runs_into_one_directory_the_second_is_rejected(launch, tmp_path):
    out = tmp_path / "run"
    first = launch(f"{SMALL} --engine vmap --seeds 30000 --chunk 10 --workers 1 --out {out}")
    wait_for_parts(out, 2, first)
    for arguments in ({}, {"resume": True}):
        with pytest.raises(ValueError, match=r"being written to by another run|a new or empty"):
            train(30000, out, **arguments)
    assert first.is_alive()
    kill(first)
    # The lock has died with it.
    with pytest.raises(gan.BadFile, match="as its engine"):
        train(30000, out, engine="fused", resume=True)


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_how_to_go_on(launch, tmp_path, stop, code):
    out = tmp_path / "run"
    process = launch(f"{SMALL} --engine vmap --seeds 2000 --chunk 10 --out {out}")
    wait_for_parts(out, 3, process)
    os.kill(process.pid, stop)
    process.join(LIMIT)
    said = process.log.read_text()
    assert process.exitcode == code, said[-3000:]
    kept = 10 * len(parts(out))
    assert f"{kept:,} of 2,000 GANs are kept in {out}" in said and "Traceback" not in said
    assert f"to go on: python {PROGRAM} --resume {out}" in said
    assert not list(out.rglob("*.tmp"))
    finish(launch(f"--resume {out} --no-figures"))
    assert gan.load_population(out).counts.seeds == 2000


def test_a_terminated_process_is_missed_at_once_and_nobody_needs_to_say_where(launch, tmp_path):
    """The default directory has the time of day in its name, and is the first process'."""
    options = f"{SMALL} --engine vmap --seeds 6000 --chunk 10 --workers 1"
    first, second = start_two(launch, options, cwd=tmp_path)
    until = time.monotonic() + LIMIT
    while len(list(tmp_path.glob("runs/*/population/part-*"))) < 20 and time.monotonic() < until:
        time.sleep(0.001)
    os.kill(second.pid, signal.SIGTERM)
    second.join(LIMIT)
    first.join(LIMIT)
    (out,) = tmp_path.glob("runs/*")
    assert second.exitcode == 143 and first.exitcode == 1, first.log.read_text()[-3000:]
    for process, place in ((first, 0), (second, 1)):
        said = process.log.read_text()
        assert f"--resume runs/{out.name} --no-figures --distributed --coordinator 127" in said
        assert f"--num-processes 2 --process-id {place}" in said and "Traceback" not in said
    assert "error: process 1 ended early, and" in first.log.read_text()
