"""Real processes that are killed, that share the work, that meet in one directory."""

import json
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
from programs import free_port

import gan1010_jax as gan
from gan1010_jax.engines import ENGINES
from gan1010_jax.population import processes

PROGRAM = str(Path(__file__).parents[2] / "experiments" / "train.py")
SETUP = gan.Setup(gan.pattern_game("10"))
SMALL = "--steps 40 --record-every 20 --pattern 10 --no-figures"
pytestmark = pytest.mark.slow
LIMIT = 90  # seconds that a process may take


def run_program(options, cache, log, devices, cwd, limits):
    """Be `experiments/train.py` with some options in some directory, and write to a log."""
    os.chdir(cwd)
    file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    jax.config.update("jax_compilation_cache_dir", cache)
    if devices:
        jax.config.update("jax_num_cpu_devices", devices)
    processes.JOIN_TIMEOUT, processes.HEARTBEAT_TIMEOUT = limits
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

    def start(options, devices=None, cwd=".", join_timeout=LIMIT, heartbeat_timeout=20):
        log = logs / f"{len(started)}.log"
        limits = join_timeout, heartbeat_timeout
        arguments = (options.split(), compilation_cache, log, devices, cwd, limits)
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
    for turn in range(20):
        process = launch(begin)
        if turn % 4 == 0:
            time.sleep(random.uniform(0, 1.5))
        else:
            wait_for_parts(out, len(parts(out)) + random.integers(1, 12), process)
            time.sleep(random.uniform(0, 0.01))
        kill(process)
        if parts(out):
            assert gan.load_population(out).counts.seeds == 10 * len(parts(out))
    assert 20 < len(parts(out)) < 250
    finish(launch(begin))
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


def start_all(launch, *options, port=None, of=None, **place):
    """Start processes with their options, joined over loopback; `of` is how many they expect."""
    joined = f"--distributed --coordinator 127.0.0.1:{port or free_port()}"
    joined += f" --num-processes {of or len(options)}"
    return [
        launch(f"{words} {joined} --process-id {number}", **place)
        for number, words in enumerate(options)
    ]


def start_two(launch, options, **place):
    """Start two processes that are given the same options."""
    return start_all(launch, options, options, **place)


def sockets(port, state):
    """This machine's addresses with sockets at a port, in a state: 01 connected, 0A listening."""
    tables = Path("/proc/net/tcp"), Path("/proc/net/tcp6")
    lines = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    here = [line[1] for line in lines if line[3] == state]
    return [place.split(":")[0][-8:] for place in here if int(place.split(":")[1], 16) == port]


def wait_for_sockets(port, state, count=1):
    """Wait until there are so many sockets at a port, in a state."""
    until = time.monotonic() + LIMIT
    while len(sockets(port, state)) < count and time.monotonic() < until:
        time.sleep(0.01)
    assert len(sockets(port, state)) == count


def ends(process, code, *sentences, within=30):
    """Expect that a process ends soon, with an exit code and an error of one line.

    What takes a second alone may take many where other tests run.
    """
    process.join(within)
    said = process.log.read_text()
    assert process.exitcode == code, said[-3000:]
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and all(part in errors[0] for part in sentences), said[-3000:]
    assert not any(trace in said for trace in ("Traceback", "Check failure", "\nF"))


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
    # Nothing is left to do, and the first process reads what the other one wrote.
    first, *others = start_all(launch, *3 * [f"--resume {out} --no-figures"])
    for process in (first, *others):
        finish(process)
        assert "trained" not in process.log.read_text()
    assert "1,500 GANs" in first.log.read_text()


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
    assert f"to go on: python {PROGRAM} {SMALL}" in said
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
        ends(process, code, "must be a directory that can be written to", within=LIMIT)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_no_process_ends_well_if_the_first_fails_at_the_end(launch, tmp_path):
    out = tmp_path / "run"
    options = f"{SMALL} --engine vmap --seeds 1500 --chunk 10 --workers 1 --out {out}"
    first, second = start_two(launch, options)
    wait_for_parts(out, 2, second)
    (out / "report.json").mkdir()
    ends(first, 2, "report.json cannot be read (it is no regular file)", within=LIMIT)
    ends(second, 1, "the first process did not go on")


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_first_of_three_processes_ends_so_do_the_others(launch, tmp_path, stop):
    out, port = tmp_path / "run", free_port()
    options = f"{SMALL} --engine vmap --seeds 30000 --chunk 10 --workers 1 --out {out}"
    first, *others = start_all(launch, *3 * [options], port=port)
    wait_for_parts(out, 20, first)
    assert sockets(port, "0A") == ["0100007F"]  # loopback alone
    os.kill(first.pid, stop)
    for process in others:
        ends(process, 1, "the first process ended")
    if stop == signal.SIGTERM:
        ends(first, 143, "terminated")
    assert gan.load_population(out).counts.seeds == 10 * len(parts(out)) < 30000


def test_when_the_first_process_does_not_answer_the_others_end(launch, tmp_path):
    out = tmp_path / "run"
    options = f"{SMALL} --engine vmap --seeds 60000 --chunk 10 --workers 1 --out {out}"
    first, second, third = start_all(launch, *3 * [options], heartbeat_timeout=10)
    wait_for_parts(out, 20, first)
    time.sleep(7)  # at the very beginning, JAX's client may abort first
    os.kill(first.pid, signal.SIGSTOP)
    os.kill(third.pid, signal.SIGTERM)
    ends(second, 1, "the first process ended, or does not answer")
    ends(third, 143, "terminated")


@pytest.mark.parametrize(
    ("given", "others", "field", "here", "there"),
    [
        ("--steps 40", "--steps 60", "steps", "40", "60"),
        ("--seeds 300", "--seeds 100", "seeds", "300", "100"),
        ("--d-lr 0.1", "--d-lr 0.2", "hyperparams.d_lr", "0.1", "0.2"),
        ("--penalty r1", "", "method.penalty.name", '"r1"', '"none"'),
        ("--chunk 10", "", "chunk", "10", "null"),
    ],
)
def test_processes_with_different_options_are_all_rejected_before_training(
    launch, tmp_path, given, others, field, here, there
):
    options = "--record-every 20 --pattern 10 --no-figures --engine vmap"
    started = start_all(launch, *[f"{options} {x}" for x in (given, given, others)], cwd=tmp_path)
    for process in started:
        ends(process, 2, f"{field} = {here} in process 0, and {there} in process 2")
        assert "compiling" not in process.log.read_text()
    assert not list(tmp_path.iterdir())


def test_processes_with_different_directories_are_all_rejected(launch, tmp_path):
    here, there = (f"{tmp_path / name}" for name in ("mine", "yours"))
    options = f"{SMALL} --seeds 10 --out"
    for process in start_all(launch, f"{options} {here}", f"{options} {there}"):
        ends(process, 2, f'out = "{here}" in process 0, and "{there}" in process 1')
    assert not list(tmp_path.iterdir())


def test_a_late_process_ends_those_that_wait_for_it(launch, tmp_path):
    options = f"{SMALL} --seeds 10 --out {tmp_path / 'run'}"
    for process in start_all(launch, options, options, of=3, join_timeout=8):
        ends(process, 1, "process 2 of 3 did not come within 8 s")
    (alone,) = start_all(launch, options, of=2, join_timeout=2)[:1]
    ends(alone, 1, "process 1 of 2 did not come within 2 s")
    assert not (tmp_path / "run").exists()


def test_a_first_process_that_does_not_come_is_given_up(launch, tmp_path):
    place = f"--distributed --coordinator 127.0.0.1:{free_port()} --num-processes 2 --process-id 1"
    alone = launch(f"{SMALL} --seeds 10 --out {tmp_path / 'run'} {place}", join_timeout=2)
    ends(alone, 1, "the first process did not come to 127.0.0.1:", "within 2 s")


def test_when_one_of_those_that_wait_ends_so_do_the_others(launch, tmp_path):
    options, port = f"{SMALL} --seeds 10 --out {tmp_path / 'run'}", free_port()
    first, second = start_all(launch, options, options, of=3, port=port)
    wait_for_sockets(port, "01")
    kill(second)
    ends(first, 1, "process 1 ended before all 3 had come")
    first, second = start_all(launch, options, options, of=3, port=port)
    wait_for_sockets(port, "01")
    kill(first)
    ends(second, 1, "the first process ended before all had come")


def test_processes_that_count_differently_or_are_the_same_one_are_rejected(launch, tmp_path):
    options, port = f"{SMALL} --seeds 10 --out {tmp_path / 'run'}", free_port()
    joined = f"{options} --distributed --coordinator 127.0.0.1:{port}"
    first = launch(f"{joined} --num-processes 2 --process-id 0")
    second = launch(f"{joined} --num-processes 3 --process-id 1")
    for process in (first, second):
        ends(process, 1, "process 1 counts 3 processes, and the first one 2")
    started = [launch(f"{joined} --num-processes 3 --process-id {i}") for i in (0, 1, 1)]
    for process in started:
        ends(process, 1, "process 1 of 3 came twice")


def test_a_process_that_ends_between_coming_and_joining_ends_those_that_wait(launch, tmp_path):
    options, port = f"{SMALL} --seeds 10 --out {tmp_path / 'run'}", free_port()
    (first,) = start_all(launch, options, of=2, port=port, join_timeout=4)
    wait_for_sockets(port, "0A")
    for stray in (b"GET / HTTP/1.1\r\n", b"{}\n", b'["x", 2]\n', b'"ab"\n', b"\xff\n", b""):
        with socket.create_connection(("127.0.0.1", port)) as other:
            other.sendall(stray)
    with socket.create_connection(("127.0.0.1", port)) as second:
        second.sendall(b"[1, 2]\n")
        assert second.recv(100) == b'""\n'
    ends(first, 1, "JAX could not join the processes within 4 s")
    with socket.create_server(("127.0.0.1", port)) as listener:
        place = f"--coordinator 127.0.0.1:{port} --num-processes 2 --process-id 1"
        second = launch(f"{options} --distributed {place}")
        with listener.accept()[0] as accepted:
            assert accepted.recv(100) == b"[1, 2]\n"
            accepted.sendall(b'""\n')
            listener.close()
    ends(second, 1, "the first process ended")


def test_a_used_port_is_rejected(launch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        (first,) = start_all(
            launch, f"{SMALL} --seeds 10 --out {tmp_path / 'run'}", port=port, of=2
        )
        ends(first, 2, "--coordinator must be", "Address already in use", f"127.0.0.1:{port}")


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_process_that_waits(launch, tmp_path, stop, code):
    options, port = f"{SMALL} --seeds 10 --out {tmp_path / 'run'}", free_port()
    (first,) = start_all(launch, options, of=2, port=port)
    wait_for_sockets(port, "0A")
    os.kill(first.pid, stop)
    ends(first, code)
    with socket.create_server(("127.0.0.1", port)):  # which never answers
        place = f"--coordinator 127.0.0.1:{port} --num-processes 2 --process-id 1"
        second = launch(f"{options} --distributed {place}")
        wait_for_sockets(port, "01")
        os.kill(second.pid, stop)
        ends(second, code)


def be_one_of_two(port, index, log):
    """Join a job, call its functions, and write what they give."""
    processes.join_processes(f"127.0.0.1:{port}", 2, index)
    found = {"gathered": processes.gather({"index": index})}
    if index == 1:
        ENGINES["fused"] = ENGINES["fused"]._replace(build_loop=None)  # so that vmap takes over
    calls = {
        "alike": lambda: processes.check_alike({"a": 1, "b": {"c": index}}),
        "engine": lambda: gan.train_share(range(4), SETUP, steps=20, out=log.with_name("run")),
        "population": lambda: gan.train_population(range(4), SETUP, out=log.with_suffix("")),
    }
    for name, call in calls.items():
        try:
            call()
        except gan.InvalidArgument as error:
            found[name] = str(error)
    log.write_text(json.dumps(found))
    processes.leave(0, wait=True)


def test_every_process_knows_the_values_of_all(tmp_path):
    port, context = free_port(), multiprocessing.get_context("spawn")
    logs = [tmp_path / f"{index}.json" for index in (0, 1)]
    started = [
        context.Process(target=be_one_of_two, args=(port, index, log))
        for index, log in enumerate(logs)
    ]
    for process in started:
        process.start()
    for process, log in zip(started, logs):
        process.join(LIMIT)
        assert process.exitcode == 0
        found = json.loads(log.read_text())
        assert found["gathered"] == [{"index": 0}, {"index": 1}]
        assert "b.c = 0 in process 0, and 1 in process 1" in found["alike"]
        assert 'engine = "fused" in process 0, and "vmap" in process 1' in found["engine"]
        assert "share a directory with train_share" in found["population"]


def test_of_two_runs_into_one_directory_the_second_is_rejected(launch, tmp_path):
    out = tmp_path / "run"
    first = launch(f"{SMALL} --engine vmap --seeds 30000 --chunk 10 --workers 1 --out {out}")
    wait_for_parts(out, 2, first)
    with pytest.raises(gan.BadFile, match="is being written to by another run"):
        train(30000, out)
    assert first.is_alive()
    kill(first)
    # The lock has died with it.
    with pytest.raises(gan.BadFile, match="as its engine"):
        train(30000, out, engine="fused")


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
    assert f"to go on: python {PROGRAM} {SMALL}" in said
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
        assert f"--process-id {place} --out runs/{out.name}\n" in said and "Traceback" not in said
    assert "error: process 1 ended early, and" in first.log.read_text()
