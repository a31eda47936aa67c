"""`experiments/benchmark.py`: its measurements, its table and its figure."""

import json
import subprocess
import sys
from dataclasses import replace

import benchmark
import numpy as np
import pytest
from programs import EXPERIMENTS
from rejects import rejects

from gan1010_jax.figures import PAPER


def make_row(program, seeds, rate, **changes):
    return {
        "program": program,
        "label": program,
        "seeds": seeds,
        "unavailable": None,
        "compile_seconds": 2.0,
        "seed_steps_per_second": rate,
        "slowest": rate / 2,
        "fastest": rate * 2,
        **changes,
    }


ROWS = [
    make_row("pytorch", None, 2e3, compile_seconds=0.0),
    {"program": "torch_compile", "label": "c", "seeds": 64, "unavailable": "not installed"},
    make_row("vmap_scan", 64, 5e6),
    make_row("engine_fused", 64, 2e7),
    make_row("engine_fused", 1_024, 1.23e8),
]


def test_the_table_has_a_line_for_each_size_and_a_column_for_each_program():
    assert benchmark.tabulate(ROWS).splitlines() == [
        "| seeds at a time | vmap_scan | engine_fused |",
        "| --- | --: | --: |",
        "| 64 | 5.00 | 20.0 |",
        "| 1,024 | – | 123 |",
    ]


def test_the_figure_draws_every_program_and_names_it():
    figure = benchmark.plot_benchmark(ROWS)
    throughput, duration = figure.axes
    drawn = {tuple(line.get_ydata()) for line in throughput.lines}
    assert drawn == {(2e3, 2e3), (5e6,), (2e7, 1.23e8)}
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["pytorch", "vmap_scan", "engine_fused"]
    for axes in (throughput, duration):
        assert axes.get_xscale() == axes.get_yscale() == "log"
    (seconds,) = [line.get_ydata() for line in duration.lines if line.get_color() == PAPER.green]
    np.testing.assert_allclose(seconds, [2 + 64e4 / 2e7, 2 + 1_024e4 / 1.23e8])


@pytest.mark.parametrize(
    ("name", "value", "bad"),
    [
        ("seeds", (0,), 0),
        ("seeds", (64, 2**20 + 1), 2**20 + 1),
        ("repeats", 0, 0),
        ("seconds", float("nan"), float("nan")),
        ("seconds", -1.0, -1.0),
        ("programs", ("warp",), "warp"),
    ],
)
def test_options_outside_their_limits_are_rejected(name, value, bad):
    with rejects(name, bad):
        benchmark.check(replace(benchmark.Benchmark(), **{name: value}))


def test_quick_means_fewer_sizes_and_shorter_repeats_where_no_others_are_given():
    quick = benchmark.check(benchmark.Benchmark(quick=True, repeats=7))
    slow = benchmark.check(benchmark.Benchmark())
    assert len(quick.seeds) < len(slow.seeds) and quick.seconds < slow.seconds
    assert quick.repeats == 7 and quick.programs == slow.programs == ()  # which is all


@pytest.mark.slow
def test_a_failing_process_says_why(monkeypatch):
    # A process of its own, started afresh, has no such engine.
    monkeypatch.setitem(benchmark.PROGRAMS, "warp", benchmark.PROGRAMS["vmap_scan"])
    options = benchmark.Benchmark(repeats=1, seconds=0.01)
    (row,) = benchmark.measure(["warp"], 2, options)
    assert row["unavailable"] == "KeyError: 'warp'"


@pytest.mark.slow
def test_a_tiny_run_writes_its_report_and_its_figure(tmp_path):
    command = [sys.executable, EXPERIMENTS / "benchmark.py", "--out", tmp_path / "run"]
    options = "--seeds 2 --repeats 1 --seconds 0.001 --programs vmap_scan".split()
    result = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "| seeds at a time | JAX, jit(vmap(scan)) |" in result.stdout
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    (row,) = report["rows"]
    assert (row["program"], row["seeds"]) == ("vmap_scan", 2)
    assert row["slowest"] == row["seed_steps_per_second"] == row["fastest"] > 0
    assert row["compile_seconds"] > 0 and row["memory_bytes"] > 10**7
    assert report["machine"]["cores"] >= 1
    assert (tmp_path / "run" / "figures" / "benchmark.png").stat().st_size > 10_000


def test_a_directory_that_holds_files_is_rejected(tmp_path):
    (tmp_path / "report.json").write_text("{}")
    with rejects("out"):
        benchmark.main(benchmark.Benchmark(out=tmp_path))
