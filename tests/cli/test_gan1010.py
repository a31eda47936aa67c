"""The command `gan1010`: its subcommands, its help, and that a wheel brings all of it."""

import dataclasses
import itertools
import os
import re
import shlex
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import tyro
from programs import EXPERIMENTS, PROGRAMS, run_program

import gan1010_jax as gan
from gan1010_jax.cli import MethodOptions, main
from gan1010_jax.cli.commands import PROGRAMS as COMMANDS
from gan1010_jax.cli.sweep import Sweep
from gan1010_jax.cli.train import Train
from gan1010_jax.cli.watch import Watch
from gan1010_jax.methods import HYPERPARAMS, Hyperparams

ROOT = Path(__file__).parents[2]


def gan1010(words, monkeypatch):
    """Run the command in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/gan1010", *words.split()])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code


def test_help_names_the_programs_and_each_has_its_own(monkeypatch, capsys):
    assert gan1010("--help", monkeypatch) == 0
    printed = capsys.readouterr().out
    assert all(f"• {name}" in printed for name in ("train", "watch", "lab", "sweep"))
    for name, option in (("train", "--animate"), ("watch", "--seed"), ("sweep", "--methods")):
        assert gan1010(f"{name} --help", monkeypatch) == 0
        printed = capsys.readouterr().out
        assert option in printed and "--penalty" in printed


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("name", ["", *COMMANDS, *(f"{name}.py" for name in PROGRAMS)])
def test_help_begins_with_examples_and_fits_the_terminal(name, columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    if name.endswith(".py"):
        assert run_program(name.removesuffix(".py"), "--help", monkeypatch) == 0
    else:
        assert gan1010(f"{name} --help", monkeypatch) == 0
    printed = capsys.readouterr().out.replace(str(EXPERIMENTS), "experiments")
    assert max(map(len, printed.splitlines()[1:])) <= columns
    assert "(default: None)" not in printed
    head, options = printed.split("-h, --help ")
    assert re.match(r"usage: .*\n\n.*\n(  .*\n)?\nExamples:\n  # ", head) and "\n\n\n" not in head
    for framed, following in itertools.pairwise(options.splitlines()):
        line, following = framed[1:-1].rstrip(), following[1:-1].rstrip()
        begin = len(following) - len(following.lstrip())
        if line[begin - 2 : begin] == "  " and line[begin : begin + 1].strip():  # one text
            word = following.split()[0]
            is_full = len(f"{line} {word}") > len(framed) - 3
            assert is_full or word == "•", f"broken too early: {line}"


@pytest.mark.parametrize("kind", COMMANDS.values())
def test_the_examples_of_help_are_understood(kind):
    assert kind.examples
    for example in kind.examples:
        options = tyro.cli(kind, args=shlex.split(example))
        if method := getattr(options, "method", None):
            gan.Setup(method=method.method(), hyperparams=method.hyperparams())


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("", "Missing subcommand"),
        ("paint", "Unrecognized options"),
        ("train --seeds ten", "error: --seeds must be a whole number; got 'ten'\n"),
        ("watch --seed -1", "error: --seed must be a whole number from 0 to 4294967232; got -1\n"),
        ("sweep --x speed=1", "error: --x must be NAME=log:LOW:HIGH:COUNT"),
    ],
)
def test_bad_input_is_an_error_with_exit_code_2(words, error, monkeypatch, capsys):
    assert gan1010(words, monkeypatch) == 2
    assert error in capsys.readouterr().err


ANSWERED = """
import runpy, sys
from gan1010_jax.cli import main

sys.path.insert(0, EXPERIMENTS)
for program, *words in COMMANDS:
    sys.argv = [program, *words]
    try:
        if program == "gan1010":
            main()
        runpy.run_path(f"{EXPERIMENTS}/{program}.py", run_name="__main__")
    except SystemExit as end:
        assert end.code == (0 if "--help" in words else 2), sys.argv
    slow = SLOW & set(sys.modules)
    assert not slow, f"{sys.argv} imports {slow}"
"""
SLOW = {"jax", "numpy", "scipy", "flax", "optax", "pyarrow", "matplotlib", "rich"}


def test_help_and_mistakes_of_every_program_are_answered_before_what_is_slow_is_imported():
    commands = (
        "gan1010",
        *(f"gan1010 {name}" for name in ("train", "watch", "lab", "sweep", "check")),
    )
    commands = [f"{x} {word}" for x in (*commands, *PROGRAMS) for word in ("--help", "--hlep")]
    commands += ["gan1010", "gan1010 paint", "train --seeds ten", "watch --out ~no-one/page.html"]
    names = {"EXPERIMENTS": str(EXPERIMENTS), "COMMANDS": [*map(str.split, commands)], "SLOW": SLOW}
    script = "\n".join([*(f"{name} = {value!r}" for name, value in names.items()), ANSWERED])
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


def test_a_hyperparameter_is_an_option_by_its_field_alone():
    options = {field.name: field for field in dataclasses.fields(MethodOptions)}
    for name in HYPERPARAMS:
        assert options[name].default == getattr(Hyperparams(), name)
    numbers = dict.fromkeys(HYPERPARAMS, 0.5)
    assert MethodOptions(**numbers).hyperparams() == Hyperparams(**numbers)


@pytest.mark.parametrize("options", ["--out=~/x", "--out ~/x", "--resume=~/x"])
def test_a_home_directory_is_expanded_wherever_the_shell_does_not(options, monkeypatch):
    monkeypatch.setenv("HOME", "/home/of/mine")
    for program in (Train,) if "resume" in options else (Train, Sweep, Watch):
        words = [*options.split(), *(["--x", "d_lr=1"] if program is Sweep else [])]
        read = tyro.cli(program, args=words)
        path = read.resume if "resume" in options else read.out
        assert path == Path("/home/of/mine/x")


@pytest.mark.slow
def test_a_wheel_brings_the_command_and_all_that_it_needs(tmp_path, compilation_cache):
    """In an environment of its own, which has this one's packages but for `gan1010_jax`."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT], check=True)
    (wheel,) = tmp_path.glob("gan1010_jax-*.whl")
    home = tmp_path / "environment"
    venv.create(home)
    (site,) = home.glob("lib/python*/site-packages")
    python, pipes = home / "bin" / "python", {"capture_output": True, "text": True}
    subprocess.run([*pip, "--python", python, "install", "--no-deps", wheel], check=True)
    # A directory named by a .pth file has its own .pth files, such as this checkout's, not read.
    (site / "others.pth").write_text("\n".join(p for p in sys.path if p.endswith("-packages")))
    assert (site / "gan1010_jax" / "py.typed").is_file()

    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": compilation_cache}
    environment |= {"PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    def run(command):
        return subprocess.run(command.split(), cwd=tmp_path, env=environment, **pipes)

    script = "import gan1010_jax as gan; print(gan.__file__)"
    found = subprocess.run([python, "-c", script], cwd=tmp_path, **pipes)
    assert found.stdout.startswith(str(site)), found.stderr
    for command, written in (
        ("train --seeds 4 --steps 20 --pattern 10 --engine vmap --out run", "run/report.json"),
        ("watch --steps 20 --pattern 10 --out page.html", "page.html"),
        ("lab --objectives mse --optimizers sgd --bits 2 --out lab.html", "lab.html"),
        ("sweep --x d_lr=0.1,1 --seeds 2 --steps 20 --game 10 --out grid", "grid/cells.parquet"),
    ):
        process = run(f"gan1010 {command}")
        assert process.returncode == 0, process.stderr
        assert "written to" in process.stdout and (tmp_path / written).stat().st_size > 1000
    assert "createNetwork" in (tmp_path / "page.html").read_text()  # the page's own files
    assert len([*(tmp_path / "run" / "figures").glob("*.png")]) == 7

    (part,) = (tmp_path / "run" / "population").glob("part-*")
    part.write_bytes(b"")
    process = run("gan1010 train --resume run")
    assert process.returncode == 2
    assert (
        "\ngan1010 train --resume run --repair moves it aside, and makes it again" in process.stderr
    )
