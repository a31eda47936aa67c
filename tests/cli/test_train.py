"""`experiments/train.py` as its users meet it: a process, its output, its exit code, its files."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest
from programs import EXPERIMENTS, run_program, start_program

import gan1010_jax as gan
from gan1010_jax.cli import prepare_jax, progress_bar
from gan1010_jax.engines import ENGINES
from gan1010_jax.figures import animate_run, encode_animation
from gan1010_jax.methods import HYPERPARAMS, OBJECTIVES, OPTIMIZERS, PENALTIES, UPDATE_ORDERS
from gan1010_jax.population import first_history

PROGRAM = EXPERIMENTS / "train.py"

BAD = {
    "--seeds 0": "--seeds must be",
    "--seeds -3": "--seeds must be",
    "--seeds ten": "--seeds must be",
    "--seeds 1.5": "--seeds must be",
    "--first-seed -1": "--first-seed must be",
    "--first-seed 4294967296": "--first-seed must be",
    "--first-seed 4294967290 --seeds 7": "--seeds must be",
    "--steps 0": "--steps must be",
    "--record-every 0": "--record-every must be",
    "--record-every 20000": "--record-every must be",
    "--steps 105": "--steps must be",
    "--steps 2147483640": "--record-every must be",
    "--pattern 12": "--pattern must be",
    "--pattern=": "--pattern must be",
    "--d-lr nan": "--d-lr must be",
    "--d-lr -1": "--d-lr must be",
    "--g-lr 1e39": "--g-lr must be",
    "--g-lr fast": "--g-lr must be",
    "--engine warp": "--engine must be",
    "--out FILE": "--out must be a directory that can be written to",
    "--out FILE/deeper": "--out must be a directory that can be written to",
    "--out OLD_RUN": "--out must be a directory that can be written to",
    "--out /proc/run": "--out must be a directory that can be written to",
    "--out=~no-such-user/run": "--out must be a path whose ~ is somebody's home directory",
    "--out \udcff": "--out must be a path in UTF-8; got '\\udcff'",
    "--resume \udcff": "--resume must be a path in UTF-8; got '\\udcff'",
    "--workers 0": "--workers must be",
    "--chunk many": "--chunk must be",
    "--resume FILE": "FILE/manifest.json cannot be read",
    "--resume GONE": "GONE/manifest.json cannot be read",
    "--resume OLD_RUN": "OLD_RUN/manifest.json cannot be read",
    "--resume BEGUN --pattern 11": "BEGUN/manifest.json has '10' as its game.name, and this",
    "--resume BEGUN --d-lr 0.5": "BEGUN/manifest.json has 0.01 as its hyperparams.d_lr, and this",
    "--resume BEGUN --seeds 2": "--seeds must be 3 or more, the number begun in BEGUN; got 2",
    "--resume BEGUN --out GONE": "--out must be left out with --resume; got 'GONE'",
    "--resume BEGUN --steps ten": "--steps must be a whole number; got 'ten'",
    "--movie gif": "--movie must be",
    "--animate --movie avi": "--movie must be",
    "--coordinator localhost:1234": "--coordinator must be",
    "--distributed --coordinator alpha": "--coordinator must be",
    "--process-id 0": "--process-id must be",
    "--speed 3": "--speed",
}


@pytest.fixture(scope="module")
def environment(compilation_cache):
    """What a process needs to share this run's compiled programs."""
    return os.environ | {"JAX_COMPILATION_CACHE_DIR": compilation_cache}


@pytest.fixture(scope="module")
def train(environment):
    """Run the program with some options in some directory."""

    def run(options, cwd, **variables):
        return subprocess.run(
            [sys.executable, PROGRAM, *options],
            cwd=cwd,
            env=environment | variables,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture(scope="module")
def good(train, tmp_path_factory):
    """One good run, of 40 seeds and 500 steps."""
    cwd = tmp_path_factory.mktemp("good")
    options = "--seeds 40 --first-seed 7 --steps 500 --record-every 50 --pattern 10".split()
    options += "--d-lr 0.02 --g-lr 0.03 --animate --out run".split()
    return cwd / "run", train(options, cwd)


def test_a_good_run_prints_its_table_and_exits_with_0(good):
    _, process = good
    assert process.returncode == 0, process.stderr
    for text in ("matched", "in support", "forgot", "diverged", "95 %", "settling step"):
        assert text in process.stdout
    for text in ("seed-steps per second", "device", "fused", "written to", "run"):
        assert text in process.stdout
    assert "--d-lr 0.02 --g-lr 0.03" in process.stdout  # what differs from the reference
    assert "trained 40 of 40 GANs" in process.stderr
    assert "Warning" not in process.stderr


def test_a_good_run_leaves_its_report_its_table_and_its_figures(good):
    out, _ = good
    report = json.loads((out / "report.json").read_text())
    keys = {"seeds", "steps", "engine", "platform", "matched", "in_support", "forgot", "diverged"}
    keys |= {"settled_step", "wall_seconds", "seed_steps_per_second", "versions"}
    assert keys <= set(report)
    assert (report["seeds"], report["steps"], report["game"]) == (40, 500, "10")

    expected = gan.train_population(
        range(7, 47),
        gan.Setup(gan.pattern_game("10"), hyperparams=gan.Hyperparams(d_lr=0.02, g_lr=0.03)),
        steps=500,
        record_every=50,
    )
    table = pq.read_table(out / "population")
    assert table.column_names == list(expected.columns)
    for name, column in expected.columns.items():
        np.testing.assert_array_equal(table[name].to_numpy(), column, err_msg=name)
    assert report["matched"]["count"] == expected.columns["matched"].sum()

    figures = {path.stem for path in (out / "figures").glob("*.png")}
    assert figures == {
        "generator",
        "losses",
        "convergence",
        "forgetting",
        "outputs",
        "settling",
        "architecture",
    }
    assert (out / "figures" / "training.gif").read_bytes() == animate(expected)


def animate(population):
    """The GIF of a population's first seed."""
    run = animate_run(first_history(population), population.first_seed, population.setup)
    return encode_animation(run)


def test_the_printed_table_is_the_report(good):
    out, process = good
    report = json.loads((out / "report.json").read_text())
    for name in ("matched", "in_support", "forgot", "diverged"):
        row, label = report[name], name.replace("_", " ")
        lines = [line.strip("│┃ ") for line in process.stdout.splitlines()]
        (line,) = [line for line in lines if line.startswith(label)]
        shown = [f"{row[key]:.2%}" for key in ("fraction", "ci_low", "ci_high")]
        assert f" {row['count']} " in line and all(text in line for text in shown), line
    for record in report["over_training"]:
        (line,) = [line for line in lines if line.startswith(f"{record['step']} ")]
        numbers = [
            f"{record[name][key]:.2%}"
            for name in ("matched", "in_support")
            for key in ("fraction", "ci_low", "ci_high")
        ]
        assert [text for text in line.split() if text.endswith("%")] == numbers


@pytest.mark.slow
def test_the_directory_has_a_default_and_figures_can_be_left_out(train, tmp_path):
    options = "--seeds 2 --steps 20 --pattern 10 --engine vmap --no-figures"
    process = train(options.split(), tmp_path)
    assert process.returncode == 0, process.stderr
    (out,) = (tmp_path / "runs").iterdir()
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    tables = {"population", "curves", "histories"}
    assert names == {"manifest.json", "report.json", *tables}


@pytest.fixture(scope="module")
def begun(compilation_cache, tmp_path_factory):
    """A directory with three seeds, not to be changed."""
    out = tmp_path_factory.mktemp("begun") / "run"
    setup = gan.Setup(gan.pattern_game("10"))
    gan.train_population(range(3), setup, steps=10, engine="vmap", out=out)
    return out


@pytest.fixture
def workplace(tmp_path, begun, monkeypatch):
    """A directory with a file, an old program's run and a run in it, the current one."""
    (tmp_path / "FILE").write_text("mine")
    (tmp_path / "OLD_RUN").mkdir()
    (tmp_path / "OLD_RUN" / "report.json").write_text("{}")
    shutil.copytree(begun, tmp_path / "BEGUN")
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    yield tmp_path
    assert contents(tmp_path) == before


def contents(directory):
    """What every file in a directory contains."""
    return {path: path.is_file() and path.read_bytes() for path in directory.rglob("*")}


@pytest.mark.parametrize("options", BAD)
def test_bad_input_is_one_sentence_and_exit_code_2(options, workplace, monkeypatch, capsys):
    assert run_program("train", options, monkeypatch) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert BAD[options] in printed.err
    if options != "--speed 3":  # the parser's own message, in a box
        assert len(printed.err.strip().splitlines()) == 1


DISTRIBUTED = "--distributed must be used under SLURM, MPI, Kubernetes or on a TPU pod"


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", ["--out FILE", pytest.param("--distributed", marks=pytest.mark.slow)]
)
def test_bad_input_is_no_traceback_in_a_process_of_its_own(train, workplace, options):
    process = train(options.split(), workplace)
    assert process.returncode == 2
    assert process.stdout == ""
    assert (BAD | {"--distributed": DISTRIBUTED})[options] in process.stderr
    assert "Traceback" not in process.stderr


# One block, which takes minutes and sees no Python.
LONG_BLOCK = "--seeds 1 --steps 100000000 --record-every 1000000"


@pytest.mark.slow
@pytest.mark.parametrize("after", ["compiling", "trained"])
def test_an_interrupt_ends_a_long_block_at_once(environment, tmp_path, after):
    words = [*LONG_BLOCK.split(), "--out", "run"]
    process = start_program("train", words, cwd=tmp_path, env=environment)
    try:
        for line in process.stderr:
            if after in line:
                break
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "error: interrupted" in errors and "Traceback" not in errors
    if after == "compiling":
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    else:
        assert "0 of 1 GANs are kept in run" in errors
    assert errors.endswith(f"to go on: python {PROGRAM} {' '.join(words)}\n")


def children(process):
    """The states in /proc of the processes that a process has started."""
    numbers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [Path(f"/proc/{number}/stat") for number in numbers]


def is_running(stat):
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("after", "number"),
    [("compiling", signal.SIGTERM), ("drawing", signal.SIGINT), ("drawing", signal.SIGKILL)],
)
def test_a_signal_leaves_no_process_behind(environment, tmp_path, after, number):
    words = "--seeds 4 --steps 100 --pattern 10 --engine vmap --out run".split()
    process = start_program("train", words, cwd=tmp_path, env=environment)
    next(line for line in process.stderr if after in line)
    painters = children(process)
    assert painters
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == {2: 130, 15: 143, 9: -9}[number]
    assert "Traceback" not in errors and errors.count("error") == (number != signal.SIGKILL)
    deadline = time.monotonic() + 30
    while any(map(is_running, painters)):
        assert time.monotonic() < deadline


def kept(out):
    """The bytes of the files of a run, but for the times in its report and the lock."""
    paths = sorted(path for path in out.rglob("*") if path.is_file() and path.name != ".lock")
    found = {str(path.relative_to(out)): path.read_bytes() for path in paths}
    report = json.loads(found.pop("report.json"))
    for name in ("wall_seconds", "compile_seconds", "seed_steps_per_second"):
        del report[name]
    return found | {"report.json": report}


@pytest.mark.slow
def test_a_job_that_is_killed_20_times_is_started_again_by_the_same_words(environment, tmp_path):
    words = "--seeds 500000 --steps 1000 --pattern 10 --chunk 1000 --no-figures --out".split()

    def start(out):
        return start_program("train", [*words, out], cwd=tmp_path, env=environment)

    whole = start("whole")
    assert "error" not in whole.communicate()[1] and whole.returncode == 0
    moments, states = np.random.default_rng(16).uniform(0, 2, 20), set()
    for number, moment in enumerate(moments):
        process = start("killed")
        if number % 2:  # at a random moment from when it trains, else from its very beginning
            next(line for line in process.stderr if "trained" in line)
            moment /= 10
        time.sleep(moment)
        process.kill()
        process.communicate()
        out = tmp_path / "killed"
        parts = len(list(out.glob("population/part-*")))
        states.add((out.exists(), (out / "manifest.json").exists(), parts))
    assert len(states) > 5, states  # it was killed before and after it began, and as it went on
    last = start("killed")
    assert "error" not in last.communicate()[1] and last.returncode == 0
    again = start("killed")
    assert "error" not in again.communicate()[1] and again.returncode == 0
    assert kept(tmp_path / "killed") == kept(tmp_path / "whole")


@pytest.mark.slow
def test_a_finished_run_given_again_prints_its_table_again(good):
    out, first = good
    before, command = kept(out), first.args
    process = subprocess.run(command, cwd=out.parent, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout == first.stdout and kept(out) == before
    process = subprocess.run([*command, "--steps", "550"], cwd=out.parent, capture_output=True)
    said = (
        "error: run/manifest.json has 500 as its steps, and this run 550, which gives other rows\n"
    )
    assert process.returncode == 2 and process.stderr.decode() == said
    assert kept(out) == before


@pytest.mark.slow
def test_a_finished_run_is_resumed_with_more_seeds(train, workplace):
    shutil.copytree("BEGUN", "MORE")
    try:
        process = train("--resume MORE --seeds 5 --no-figures".split(), workplace)
        assert process.returncode == 0, process.stderr
        assert "trained 3 of 5 GANs" in process.stderr and "5 GANs" in process.stdout
        assert gan.load_population("MORE").columns["seed"].tolist() == [0, 1, 2, 3, 4]
    finally:
        shutil.rmtree("MORE")


@pytest.mark.slow
def test_a_finished_run_is_animated_without_the_figures(train, workplace):
    shutil.copytree("BEGUN", "LATER")
    try:
        process = train("--resume LATER --no-figures --animate".split(), workplace)
        assert process.returncode == 0, process.stderr
        (path,) = Path("LATER/figures").iterdir()
        assert path.name == "training.gif"
        assert path.read_bytes() == animate(gan.load_population("BEGUN"))
    finally:
        shutil.rmtree("LATER")


def test_an_mp4_without_ffmpeg_is_rejected_before_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run_program("train", "--animate --movie mp4 --out run", monkeypatch) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and not list(tmp_path.iterdir())
    assert printed.err == (
        "error: --movie must be gif, since ffmpeg, which mp4 takes, is not installed; got 'mp4'\n"
    )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="MP4 takes ffmpeg, not installed here")
def test_an_mp4_is_written_with_ffmpeg(train, workplace):
    shutil.copytree("BEGUN", "MOVIE")
    try:
        process = train("--resume MOVIE --no-figures --animate --movie mp4".split(), workplace)
        assert process.returncode == 0, process.stderr
        assert Path("MOVIE/figures/training.mp4").read_bytes()[4:8] == b"ftyp"
        assert [path.name for path in Path("MOVIE/figures").iterdir()] == ["training.mp4"]
    finally:
        shutil.rmtree("MOVIE")


@pytest.mark.slow
def test_a_damaged_run_is_rejected_and_repaired(train, workplace):
    shutil.copytree("BEGUN", "DAMAGED")
    (part,) = Path("DAMAGED/population").glob("part-*")
    part.write_bytes(b"")
    try:
        process = train("--resume DAMAGED".split(), workplace)
        assert process.returncode == 2
        assert f"error: {part} is damaged" in process.stderr
        assert "--repair" in process.stderr and "Traceback" not in process.stderr
        process = train("--resume DAMAGED --repair --no-figures".split(), workplace)
        assert process.returncode == 0, process.stderr
        assert "3 GANs" in process.stdout
    finally:
        shutil.rmtree("DAMAGED")


@pytest.mark.slow
def test_a_figure_that_cannot_be_written_is_an_error_after_the_table(environment, tmp_path):
    options = "--seeds 4 --steps 100 --pattern 10 --engine vmap --out run"
    process = run_limited(options, tmp_path, environment)
    assert process.returncode == 1, process.stderr
    assert "in support" in process.stdout and "written to" not in process.stdout
    said = f"""drawing the figures
error: run/figures/generator.png: File too large
to go on: python {PROGRAM} {options}
"""
    assert process.stderr.endswith(said)


def run_limited(options, cwd, environment):
    """Run the program where no file can have more than 20 kB."""
    script = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    return subprocess.run(
        [sys.executable, "-c", script, PROGRAM, *options.split()],
        cwd=cwd,
        env=environment | {"JAX_ENABLE_COMPILATION_CACHE": "false"},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_a_file_that_cannot_be_written_is_an_error_with_exit_code_1(environment, tmp_path):
    options = "--seeds 1000 --steps 20 --pattern 10 --engine vmap --no-figures --out run"
    options += " --animate --movie gif"
    process = run_limited(options, tmp_path, environment)
    assert process.returncode == 1, process.stderr
    assert "error: run/" in process.stderr and "File too large" in process.stderr
    assert "0 of 1,000 GANs are kept in run" in process.stderr
    assert process.stderr.endswith(f"to go on: python {PROGRAM} {options}\n")
    assert "Traceback" not in process.stderr
    assert not list((tmp_path / "run").rglob("*.tmp"))


@pytest.mark.slow
def test_a_name_like_markup_and_an_ascii_terminal_are_no_trouble(train, tmp_path):
    options = (
        "--seeds 2 --steps 500 --record-every 50 --pattern 10 --engine vmap --no-figures --out"
    )
    process = train([*options.split(), "ü[/red]"], tmp_path, PYTHONIOENCODING="ascii")
    assert process.returncode == 0, process.stderr
    assert "?[/red]" in process.stdout
    assert (tmp_path / "ü[/red]" / "report.json").is_file()


def test_help_names_every_option_and_the_cache(monkeypatch, capsys):
    assert run_program("train", "--help", monkeypatch) == 0
    printed = capsys.readouterr().out
    for option in ("seeds", "first-seed", "steps", "record-every", "pattern", *HYPERPARAMS):
        assert f"--{option.replace('_', '-')}" in printed
    for text in (
        "--engine",
        "--out",
        "--no-figures",
        "--animate",
        "--movie",
        "--resume",
        "--distributed",
        "cache directory",
        *(*OBJECTIVES, *UPDATE_ORDERS, *PENALTIES, *OPTIMIZERS, *ENGINES),
    ):
        assert text in printed


@pytest.mark.slow
def test_compiled_programs_are_kept_in_the_users_cache_directory(tmp_path):
    run_with_a_cache_in(tmp_path)
    assert any(path.is_file() for path in tmp_path.rglob("gan1010_jax/compiled/*"))


@pytest.mark.slow
def test_what_a_killed_process_left_in_the_cache_brings_no_warnings(tmp_path):
    """JAX writes the time of an entry's last use after it, and fails where there is none."""
    directory = tmp_path / "cache" / "gan1010_jax" / "compiled"
    directory.mkdir(parents=True)
    (directory / "jit_half-0123-cache").write_bytes(b"an entry")
    assert "Warning" not in run_with_a_cache_in(tmp_path)
    assert any(directory.glob("*-atime"))


def run_with_a_cache_in(tmp_path):
    """Run the program with the user's cache directory there; what it printed on standard error."""
    environment = {name: v for name, v in os.environ.items() if not name.startswith("JAX_")}
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    options = "--seeds 1 --steps 10 --pattern 1 --engine vmap --no-figures --out run"
    return subprocess.run(
        [sys.executable, PROGRAM, *options.split()],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stderr


def test_a_cache_directory_that_the_user_chose_stays(compilation_cache):
    prepare_jax()
    assert jax.config.jax_compilation_cache_dir == compilation_cache


def test_a_process_without_a_share_of_the_work_has_progress_too(capsys):
    """Of several processes, if there are more than chunks; its standard error is no terminal."""
    with progress_bar() as progress:
        for done in (0, 0, 0):
            progress(done, 0)
    assert "trained 0 of 0 GANs" in capsys.readouterr().err
