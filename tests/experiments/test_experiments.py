"""The programs that compare methods: what they write, and what they refuse."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import gan1010_jax as gan
from gan1010_jax.diagrams import plot_agreement

ROOT = Path(__file__).parent.parent
PROGRAMS = ROOT / "experiments"
SWEEP = "--x d_lr=0.1,0.5 --y g_lr=log:0.1:10:3 --seeds 5 --steps 100 --game 10".split()


def run(name, options, cwd, monkeypatch):
    """Run a program in this process, which has the compiled programs; its exit code."""
    monkeypatch.chdir(cwd)
    monkeypatch.setattr(sys, "argv", [str(PROGRAMS / name), *options])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(PROGRAMS / name), run_name="__main__")
    return end.value.code


def test_a_sweep_writes_each_cells_statistics_and_goes_on(tmp_path, monkeypatch, capsys):
    methods = "--methods mse,hinge+r1 --penalty-weight 0.5 --out run".split()
    assert run("sweep.py", [*SWEEP, *methods], tmp_path, monkeypatch) == 0
    table = pq.read_table(tmp_path / "run" / "cells.parquet")
    assert table["method"].to_pylist() == ["mse"] * 6 + ["hinge+r1"] * 6
    assert table["g_lr"].to_pylist()[:3] == [0.1, 1.0, 10.0]
    cell = table.slice(10, 1).to_pylist()[0]
    assert (cell["d_lr"], cell["g_lr"]) == (0.5, 1.0)
    alone = gan.train_population(
        range(5),
        gan.pattern_game("10"),
        gan.Method("hinge", penalty="r1"),
        gan.Hyperparams(0.5, 1.0, 0.5),
        steps=100,
    )
    assert cell["matched_count"] == alone.columns["matched"].sum()
    assert cell["settled_p50"] == gan.convergence_report(alone)["settled_step"]["p50"]
    assert (tmp_path / "run" / "figures" / "phase_diagram.png").stat().st_size > 10_000
    assert "hinge+r1" in capsys.readouterr().out

    more = [*SWEEP, *methods, "--seeds", "7", "--resume"]
    assert run("sweep.py", more, tmp_path, monkeypatch) == 0
    table = pq.read_table(tmp_path / "run" / "cells.parquet")
    assert set(table["seeds"].to_pylist()) == {7}
    capsys.readouterr()
    fewer = [*SWEEP, "--methods", "mse", "--out", "run", "--resume"]
    assert run("sweep.py", fewer, tmp_path, monkeypatch) == 2
    assert "--methods must be at least those begun in run" in capsys.readouterr().err


def test_an_interrupted_sweep_says_how_to_go_on(tmp_path, compilation_cache):
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": compilation_cache}
    command = [sys.executable, str(PROGRAMS / "sweep.py"), *SWEEP, "--seeds", "100000"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    while not any(tmp_path.glob("runs/*/mse/population/part-*")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "of 600,000 GANs are kept in runs/sweep-" in said
    assert "to go on: python" in said and said.rstrip().endswith("--resume")


BAD_SWEEPS = {
    "--x speed=1,2": "--x must be NAME=log:LOW:HIGH:COUNT",
    "--x d_lr": "--x must be NAME=log:LOW:HIGH:COUNT",
    "--x d_lr=log:0:1:3": "--x must be NAME=log:LOW:HIGH:COUNT",
    "--x d_lr=log:1e-3:1": "--x must be NAME=log:LOW:HIGH:COUNT",
    "--x d_lr=linear:0:1:0": "--x must be NAME=log:LOW:HIGH:COUNT",
    "--x d_lr=-1,2": "--x must be a list of values for d_lr, each a finite number, zero or more",
    "--x d_lr=log:1:inf:3": "--x must be a list of values for d_lr",
    "--x clip=0,1": "--x must be a list of values for clip, each a finite number, above zero",
    "--x=": "--x must be NAME=log:LOW:HIGH:COUNT",
    "--x d_lr=1 --y d_lr=2": "--y must be another hyperparameter than d_lr",
    "--x d_lr=1 --methods mse,foo": "--methods must be some of mse, lsgan",
    "--x d_lr=1 --methods mse+foo": "--methods must be some of mse, lsgan",
    "--x d_lr=1 --methods mse --penalty r1": "--penalty must be left out with --methods",
    "--x penalty_weight=1,2 --methods mse+r1,mse": "--penalty-weight must be None",
    "--x d_lr=1 --methods mse+wgan_gp --schedule alternating": "--objective must be one of wasser",
    "--x penalty_weight=1,2": "--penalty-weight must be None, since the penalty none",
    "--x d_lr=1 --game 12": "--game must be dirac, or a string of 1 to 16 characters",
    "--x d_lr=1 --resume": "--resume must be given with --out",
    "--x d_lr=1 --resume --out run": "--out must be a directory that a sweep was begun in",
    "--x d_lr=1 --repair": "--repair must be given with --resume",
    "--x d_lr=1 --steps 15": "--steps must be a multiple of the record interval",
    "--x d_lr=1 --optimizer lion": "--optimizer must be one of sgd, adam, rmsprop",
}


@pytest.mark.parametrize("options", BAD_SWEEPS)
def test_a_bad_sweep_is_refused_in_one_sentence(options, tmp_path, monkeypatch, capsys):
    assert run("sweep.py", options.split(), tmp_path, monkeypatch) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {BAD_SWEEPS[options]}") and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_dirac_gan_agrees_with_the_paper(tmp_path, monkeypatch, capsys):
    options = "--steps 900 --starts 8 --out run".split()
    assert run("dirac.py", options, tmp_path, monkeypatch) == 0
    rows = json.loads((tmp_path / "run" / "dirac.json").read_text())
    assert len(rows) == 16 and {row["schedule"] for row in rows} == {"simultaneous", "alternating"}
    for row in rows:
        converges = row["method"].startswith(("R1", "instance", "consensus"))
        assert row["converges"] == row["paper"] == converges, row["method"]
        if row["spectral_radius"] is not None:
            assert (row["spectral_radius"] < 1 - 1e-5) == converges, row["method"]
    assert (tmp_path / "run" / "figures" / "dirac.png").stat().st_size > 50_000
    assert "R1, nonsaturating" in capsys.readouterr().out


def test_a_verdict_that_differs_from_the_papers_is_exit_code_1(tmp_path, monkeypatch, capsys):
    program = runpy.run_path(str(PROGRAMS / "dirac.py"))
    main, cases = program["main"], program["CASES"]
    wrong = next(case for case in cases if case.title == "minimax")._replace(converges=True)
    monkeypatch.setitem(main.__globals__, "CASES", (wrong,))
    with pytest.raises(SystemExit) as end:
        main(program["Dirac"](steps=10, starts=2, out=tmp_path / "run"))
    assert end.value.code == 1
    assert "not as in the paper: minimax, simultaneous" in capsys.readouterr().err


def test_the_card_counts_what_the_curves_say(population):
    program = runpy.run_path(str(PROGRAMS / "card.py"))
    matched = np.asarray(population.history.matched)
    for step in (4000, 10_000):
        record = step // 10 - 1
        card = program["look"](population, step)
        ever, now = matched[:, : record + 1].any(axis=1), matched[:, record]
        settled = matched[:, record:].all(axis=1)
        for name, expected in {"matched": now, "forgot": ever & ~now, "settled": settled}.items():
            assert card[name]["count"] == expected.sum(), name


def test_the_kept_card_is_what_the_program_writes_of_its_numbers():
    program = runpy.run_path(str(PROGRAMS / "card.py"))
    card = json.loads((PROGRAMS / "results" / "card.json").read_text())
    assert program["write_markdown"](card) == (PROGRAMS / "results" / "card.md").read_text()


def test_the_card_is_drawn_from_its_numbers():
    program = runpy.run_path(str(PROGRAMS / "card.py"))
    card = json.loads((PROGRAMS / "results" / "card.json").read_text())
    methods = program["early_and_late"](card)
    rows = iter(card["methods"])
    assert len(methods) == 12 and all(list(one) == ["none", "r1"] for one in methods.values())
    figure = program["plot_card"](methods, (10_000, 50_000))
    (axes,) = figure.axes
    drawn = [tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2]
    for row in rows:
        ends = tuple(row[step]["in_support"]["fraction"] for step in ("10000", "50000"))
        assert ends in drawn
    assert [label.get_text() for label in axes.get_yticklabels()] == list(methods)
    figure.draw_without_rendering()


def test_the_differences_from_pytorch_are_drawn():
    rows = [
        {"program": program, "dtype": dtype, "outputs": x, "losses": 2 * x, "parameters": 3 * x}
        for program in ("train_on", "fused")
        for dtype, x in (("float32", 1e-7), ("float64", 1e-16))
    ]
    (axes,) = plot_agreement(rows, {"float32": 1e-5, "float64": 1e-10}).axes
    for line, times in zip(axes.lines, (1, 2, 3)):
        assert list(line.get_xdata()) == [times * x for x in (1e-7, 1e-16)] * 2
        assert list(line.get_ydata()) == [0, 0, 1, 1]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["train_on", "fused"]
