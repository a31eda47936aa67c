"""`experiments/sweep.py`: the cells that it writes, how it goes on, and the input it rejects."""

import os
import signal
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from programs import assert_rejected, run_program, start_program

import gan1010_jax as gan
from gan1010_jax.cli import main
from gan1010_jax.cli.sweep import _print_cells

SWEEP = (
    "--x d_lr=0.1,0.5 --y g_lr=log:0.1:10:3 --seeds 5 --steps 100 --game 10 --engine vmap".split()
)


@pytest.mark.slow
def test_a_sweep_writes_each_cells_statistics(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    methods = "--methods mse,hinge+r1 --penalty-weight 0.5 --out run".split()
    look = "--style slides dark --format svg".split()
    assert run_program("sweep", [*SWEEP, *methods, *look], monkeypatch) == 0
    table = pq.read_table(tmp_path / "run" / "cells.parquet")
    assert table["method"].to_pylist() == ["mse"] * 6 + ["hinge+r1"] * 6
    assert table["g_lr"].to_pylist()[:3] == [0.1, 1.0, 10.0]
    cell = table.slice(10, 1).to_pylist()[0]
    assert (cell["d_lr"], cell["g_lr"]) == (0.5, 1.0)
    setup = gan.Setup(
        gan.pattern_game("10"), gan.Method("hinge", penalty="r1"), gan.Hyperparams(0.5, 1.0, 0.5)
    )
    alone = gan.train_population(range(5), setup, steps=100, engine="vmap")
    assert cell["matched_count"] == alone.columns["matched"].sum()
    assert cell["settled_p50"] == gan.convergence_report(alone)["settled_step"]["p50"]
    drawn = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert drawn == {"phase_diagram-slides.svg", "phase_diagram-dark.svg"}
    assert "hinge+r1" in capsys.readouterr().out


@pytest.mark.slow
def test_a_sweep_goes_on_with_more_seeds_but_not_with_fewer_methods(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    methods = "--methods mse,hinge+r1 --penalty-weight 0.5 --out run".split()
    assert run_program("sweep", [*SWEEP, *methods], monkeypatch) == 0
    more = [*SWEEP, *methods, "--seeds", "7"]
    assert run_program("sweep", more, monkeypatch) == 0
    table = pq.read_table(tmp_path / "run" / "cells.parquet")
    assert set(table["seeds"].to_pylist()) == {7}
    capsys.readouterr()
    fewer = [*SWEEP, "--methods", "mse", "--out", "run"]
    assert run_program("sweep", fewer, monkeypatch) == 2
    assert "--methods must be at least those begun in run" in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupted_sweep_says_how_to_go_on(tmp_path, compilation_cache):
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": compilation_cache}
    words = [*SWEEP, "--seeds", "1000000"]
    process = start_program("sweep", words, cwd=tmp_path, env=environment)
    while not any(tmp_path.glob("runs/*/mse/population/part-*")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "of 6,000,000 GANs are kept in runs/sweep-" in printed
    (out,) = tmp_path.glob("runs/*")
    assert printed.endswith(f" {' '.join(words)} --out runs/{out.name}\n")


OTHER_STATES = [
    pytest.param(state, marks=pytest.mark.slow)
    for state in ("empty", "locked", "begun", "one method")
]


@pytest.mark.parametrize("state", ["compiling", *OTHER_STATES])
def test_the_same_sweep_goes_on_from_every_state(tmp_path, monkeypatch, state):
    monkeypatch.chdir(tmp_path)
    out, words = tmp_path / "run", "--x d_lr=0.1,0.5 --seeds 2 --steps 10 --engine vmap --game 10"
    command = f"{words} --methods mse,hinge --out run"
    if state == "one method":
        assert run_program("sweep", f"{words} --methods mse --out run", monkeypatch) == 0
    elif state == "begun":
        assert run_program("sweep", command, monkeypatch) == 0
        for path in (out / "cells.parquet", *out.glob("*/population/*")):
            path.unlink()
    else:
        out.mkdir()
        if state != "empty":
            (out / ".lock").touch()
        if state == "compiling":
            (out / "mse").mkdir()
            (out / "mse" / ".lock").touch()
    assert run_program("sweep", command, monkeypatch) == 0
    assert run_program("sweep", command, monkeypatch) == 0
    assert pq.read_table(out / "cells.parquet")["method"].to_pylist() == ["mse"] * 2 + ["hinge"] * 2


def test_a_sweep_does_not_go_on_in_a_directory_of_other_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    assert run_program("sweep", [*SWEEP, "--out", "run"], monkeypatch) == 2
    assert "this one holds other files" in capsys.readouterr().err


def test_a_grid_of_one_or_two_cells_prints_each_and_a_larger_one_its_best(tmp_path, capsys):
    def table(cells):
        fractions = np.arange(cells) / cells
        columns = {"d_lr": fractions, "seeds": np.full(cells, 4), "settled_p50": np.full(cells, -1)}
        return columns | {"matched_fraction": fractions, "in_support_fraction": fractions}

    for cells, rows in ((1, 1), (2, 2), (3, 1)):
        _print_cells({"one": table(cells), "other": table(cells)}, ["d_lr"], tmp_path)
        printed = capsys.readouterr().out
        assert printed.count("│ one ") == printed.count("│ other ") == rows
        assert ("The cell with the most seeds in support" in printed) == (cells == 3)


BAD_SWEEPS = {
    "--x speed=1,2": "--x must be",
    "--x d_lr": "--x must be",
    "--x d_lr=log:0:1:3": "--x must be",
    "--x d_lr=log:1e-3:1": "--x must be",
    "--x d_lr=linear:0:1:0": "--x must be",
    "--x d_lr=-1,2": "--x must be",
    "--x d_lr=log:1:inf:3": "--x must be",
    "--x clip=0,1": "--x must be",
    "--x d_lr=linear:0.1:0.10000001:50": "--x must be different values for d_lr",
    "--x d_lr=0.1,0.2,0.1": "--x must be different values for d_lr",
    "--x d_lr=1e-46,2e-46": "--x must be different values for d_lr",  # both 0 in float32
    "--x d_lr=1 --methods mse+": "--methods must be",
    "--x d_lr=1 --methods mse,mse": "--methods must be",
    "--x d_lr=1 --methods mse,mse+none": "--methods must be",
    "--x d_lr=1 --out \udcff": "--out must be a path in UTF-8",
    "--x=": "--x must be",
    "--x d_lr=1 --y d_lr=2": "--y must be",
    "--x d_lr=1 --methods mse,foo": "--methods must be",
    "--x d_lr=1 --methods mse+foo": "--methods must be",
    "--x d_lr=1 --methods mse --penalty r1": "--penalty must be",
    "--x penalty_weight=1,2 --methods mse+r1,mse": "--penalty-weight must be",
    "--x d_lr=1 --methods mse+wgan_gp --update-order alternating": "--objective must be",
    "--x penalty_weight=1,2": "--penalty-weight must be",
    "--x d_lr=1 --game 12": "--game must be",
    "--x d_lr=1 --steps 15": "--steps must be",
    "--x d_lr=1 --optimizer lion": "--optimizer must be",
}


@pytest.mark.parametrize("options", BAD_SWEEPS)
def test_a_bad_sweep_is_rejected_in_one_sentence(options, tmp_path, monkeypatch, capsys):
    assert_rejected("sweep", options, BAD_SWEEPS[options], tmp_path, monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["figures", "mse", "cells.parquet"])
def test_a_sweep_writes_through_no_link_and_is_repaired(tmp_path, monkeypatch, capsys, place):
    monkeypatch.chdir(tmp_path)
    command = [*SWEEP, "--out", "run"]
    assert run_program("sweep", command, monkeypatch) == 0
    outside = tmp_path / "outside"
    (tmp_path / "run" / place).rename(outside)
    (tmp_path / "run" / place).symlink_to(outside)
    if place == "cells.parquet":
        (tmp_path / "run" / place).unlink()
        (tmp_path / "run" / place).mkdir()
    before = {path: path.is_file() and path.read_bytes() for path in outside.rglob("*")}
    capsys.readouterr()
    assert run_program("sweep", command, monkeypatch) == 2
    assert f"error: run/{place} is " in capsys.readouterr().err
    assert run_program("sweep", [*command, "--repair"], monkeypatch) == 0
    assert {path: path.is_file() and path.read_bytes() for path in outside.rglob("*")} == before


@pytest.mark.slow
def test_a_sweep_is_checked_with_its_cells(tmp_path, monkeypatch, capsys):
    def check():
        monkeypatch.setattr(sys, "argv", ["/somewhere/gan1010", "check", "run"])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, capsys.readouterr().err

    monkeypatch.chdir(tmp_path)
    methods = "--methods nonsaturating,mse --out run".split()
    assert run_program("sweep", [*SWEEP, *methods], monkeypatch) == 0
    capsys.readouterr()
    assert check() == (0, "")
    cells = pq.read_table("run/cells.parquet")
    pq.write_table(cells.slice(1), "run/cells.parquet")
    assert check() == (1, "error: run/cells.parquet does not count the rows that are there\n")
    (tmp_path / "run" / "cells.parquet").write_text("junk")
    assert check() == (1, "error: run/cells.parquet is no table of cells\n")
    (tmp_path / "run" / "mse" / "manifest.json").unlink()
    code, said = check()
    assert code == 1 and "error: run/mse/manifest.json cannot be read" in said
