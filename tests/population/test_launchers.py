"""Jobs under real launchers, on one machine: OpenMPI's, and a SLURM of one node."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from programs import EXPERIMENTS, free_port

import gan1010_jax as gan

# Its administrator's programs may not be on a user's path.
PATH = f"{os.environ['PATH']}:/usr/sbin"
SEEDS, CHUNK = 1500, 10
LIMIT = 120  # seconds that anything may take
TRAIN = [sys.executable, str(EXPERIMENTS / "train.py"), "--distributed", "--no-figures"]
TRAIN += f"--pattern 10 --steps 40 --record-every 20 --engine vmap --seeds {SEEDS}".split()
TRAIN += f"--chunk {CHUNK} --workers 1 --out".split()
pytestmark = pytest.mark.slow


def needs(*programs, root=False):
    """Skip a test where programs are not installed, or are another user's to start."""
    missing = [name for name in programs if shutil.which(name, path=PATH) is None]
    if root and os.geteuid() != 0:
        missing.append("root")
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


@pytest.fixture(scope="module")
def environment(compilation_cache):
    """The environment of the processes of a job."""
    # The launchers are told to start more processes than there are cores, and as root.
    return os.environ | {"PATH": PATH, "JAX_COMPILATION_CACHE_DIR": compilation_cache}


@pytest.fixture(scope="module")
def parts_of_one(compilation_cache, tmp_path_factory):
    """The parts that one process writes."""
    out = tmp_path_factory.mktemp("one") / "run"
    setup, setting = gan.Setup(gan.pattern_game("10")), {"steps": 40, "record_every": 20}
    gan.train_population(range(SEEDS), setup, **setting, engine="vmap", chunk=CHUNK, out=out)
    return parts(out)


def parts(out):
    """All parts, by their names, which have digests of their bytes."""
    return {path.relative_to(out).as_posix() for path in out.glob("*/part-*")}


def run(command, environment):
    """Run a command, and expect that it goes well; what it printed."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


def wait_until(condition, what):
    """Wait until a condition holds."""
    until = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < until, what()
        time.sleep(0.05)


@needs("mpirun")
def test_two_processes_of_openmpi_write_the_parts_of_one(environment, parts_of_one, tmp_path):
    launcher = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2"]
    printed = run([*launcher, *TRAIN, str(tmp_path / "run")], environment)
    assert printed.count("How often the generator converges") == 1
    assert parts(tmp_path / "run") == parts_of_one


@pytest.fixture(scope="module")
def slurm(environment):
    """The environment of a user of a SLURM of one node, which is this machine."""
    directory = Path(tempfile.mkdtemp(prefix="slurm"))  # whose name is short enough for a socket
    (directory / "munge.key").write_bytes(os.urandom(1024))
    (directory / "munge.key").chmod(0o400)
    host = run(["hostname", "-s"], environment).strip()
    configuration = f"""
        ClusterName=tests
        # JAX's port depends on it, and two of these may run at a time.
        FirstJobId={os.getpid() % 4096 + 1}
        SlurmctldHost={host}(127.0.0.1)
        SlurmctldPort={free_port()}
        SlurmdPort={free_port()}
        SlurmUser=root
        SlurmdUser=root
        # A requeued job waits as long as its credentials live.
        AuthInfo=socket={directory}/munge.socket,cred_expire=10
        StateSaveLocation={directory}/state
        SlurmdSpoolDir={directory}/spool
        SlurmctldPidFile={directory}/slurmctld.pid
        SlurmdPidFile={directory}/slurmd.pid
        SlurmdParameters=config_overrides
        ProctrackType=proctrack/linuxproc
        TaskPlugin=task/none
        NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 CPUs=2
        PartitionName=all Nodes=ALL Default=YES
    """
    (directory / "slurm.conf").write_text(configuration.replace("        ", ""))
    environment = environment | {"SLURM_CONF": str(directory / "slurm.conf")}
    munge = ["--force", "--foreground", f"--socket={directory}/munge.socket"]
    munge += [f"--{name}-file={directory}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    log = directory / "daemons.log"
    daemons = []
    try:
        for command in (
            ["munged", *munge],
            ["slurmctld", "-D"],
            ["slurmd", "-D", "-N", "localhost"],
        ):
            with open(log, "ab") as file:
                streams = {"stdout": file, "stderr": file}
                daemons.append(subprocess.Popen(command, env=environment, **streams))
        state = ["sinfo", "--noheader", "--format=%t"]
        quiet = {"env": environment, "capture_output": True, "text": True}
        until = time.monotonic() + LIMIT
        while subprocess.run(state, **quiet).stdout.strip() != "idle":
            if time.monotonic() > until:  # such as in a container with other rights
                pytest.skip(f"SLURM does not start here: {log.read_text()[-1000:]}")
            time.sleep(0.1)
        yield environment
    finally:
        subprocess.run(["scancel", "--user=root"], env=environment, check=False)
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(LIMIT)
        shutil.rmtree(directory)


needs_slurm = needs("munged", "slurmctld", "slurmd", "srun", root=True)


@needs_slurm
def test_two_processes_of_slurm_write_the_parts_of_one(slurm, parts_of_one, tmp_path):
    printed = run(["srun", "--ntasks", "2", *TRAIN, str(tmp_path / "run")], slurm)
    assert printed.count("How often the generator converges") == 1
    assert parts(tmp_path / "run") == parts_of_one


@needs_slurm
def test_a_job_that_slurm_requeues_goes_on_with_the_same_command(slurm, parts_of_one, tmp_path):
    out, log = tmp_path / "run", tmp_path / "log"
    command = " ".join(["srun", *TRAIN, str(out)])
    options = ["--requeue", "--ntasks=2", f"--output={log}", "--open-mode=append"]
    job = run(["sbatch", "--parsable", *options, f"--wrap={command}"], slurm).strip()

    def show(field):
        shown = run(["scontrol", "show", "job", job], slurm)
        return re.search(rf"\b{field}=(\S+)", shown)[1]

    main_table = out / "population"
    wait_until(lambda: len([*main_table.glob("part-*")]) >= 10, log.read_text)
    run(["scontrol", "requeue", job], slurm)
    wait_until(lambda: show("Restarts") == "1", log.read_text)
    assert parts(out) < parts_of_one and not (out / "report.json").exists()
    ended = {"COMPLETED", "FAILED", "NODE_FAIL", "CANCELLED"}
    wait_until(lambda: show("JobState") in ended, log.read_text)
    assert (show("JobState"), show("ExitCode")) == ("COMPLETED", "0:0"), log.read_text()[-3000:]
    assert parts(out) == parts_of_one and (out / "report.json").exists()
