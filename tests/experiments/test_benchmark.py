"""`experiments/benchmark.py` and the PyTorch program that it compares with."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gan1010_jax.errors import InvalidArgument

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(EXPERIMENTS)
    import benchmark

    return benchmark


def test_a_step_is_counted_operation_by_operation(benchmark):
    counts = benchmark.count_operations()
    # D has 4 sigmoids and answers three times; G has 7, and its sample serves twice.
    assert counts["sigmoids"]["count"] == 3 * 4 + 7
    # Four coordinates, two words a block.
    assert counts["threefry_blocks"]["count"] == 2
    # 20 rounds of an addition, two shifts, an or and an exclusive or; 1 + 2·5 additions of keys and
    # 5 - 1 of their numbers, some shared; the third key's two.
    assert 20 * 5 <= counts["threefry_blocks"]["each"]["integer"] <= 20 * 5 + 24
    assert counts["sigmoids"]["each"] == {"floating": 17, "integer": 3}
    # Multiply-adds of the products alone: D is 15, thrice forward; G is 15, once.
    assert counts["floating"] > 19 * 17 + 4 * 15 * 2
    assert counts["integer"] > 2 * 100


def make_row(program, seeds, rate, **changes):
    return {
        "program": program,
        "label": program,
        "seeds": seeds,
        "unavailable": None,
        "steps": 10,
        "compile_seconds": 2.0,
        "seed_steps_per_second": rate,
        "slowest": rate / 2,
        "fastest": rate * 2,
        "memory_bytes": 10**8,
        "device_memory_bytes": None,
        **changes,
    }


@pytest.fixture
def rows():
    return [
        make_row("pytorch", None, 2e3, compile_seconds=0.0),
        {"program": "torch_compile", "label": "c", "seeds": 64, "unavailable": "not installed"},
        make_row("vmap_scan", 64, 5e6),
        make_row("engine_fused", 64, 2e7),
        make_row("vmap_scan", 1_024, 4e6),
        make_row("engine_fused", 1_024, 6e7),
    ]


def test_rows_are_compared_with_their_own_size(benchmark, rows):
    machine = {
        "operations_per_step": {"floating": 600, "integer": 400},
        "peak_operations_per_second": 1.2e11,
    }
    benchmark.compare(rows, machine)
    assert [row.get("times_vmap_scan") for row in rows] == [None, None, 1, 4, 1, 15]
    assert [row.get("times_pytorch") for row in rows] == [1, None, 2_500, 10_000, 2_000, 30_000]
    assert not any(row.get("times_torch_compile") for row in rows)
    assert rows[-1]["fraction_of_peak"] == pytest.approx(0.5)
    table = benchmark.make_table(rows)
    assert table.row_count == len(rows)


def test_the_figure_draws_every_program_and_names_it(benchmark, rows):
    throughput, duration = benchmark.plot_benchmark(rows).axes
    drawn = {tuple(line.get_ydata()) for line in throughput.lines}
    assert drawn == {(2e3, 2e3), (5e6, 4e6), (2e7, 6e7)}
    for axes in (throughput, duration):
        assert {text.get_text() for text in axes.texts} == {"pytorch", "vmap_scan", "engine_fused"}
        assert axes.get_xscale() == axes.get_yscale() == "log"
    (seconds,) = [
        line.get_ydata() for line in duration.lines if line.get_color() == benchmark.ORANGE
    ]
    np.testing.assert_allclose(seconds, [2 + 64e4 / 5e6, 2 + 1_024e4 / 4e6])


@pytest.mark.parametrize(
    "options",
    [
        {"seeds": (0,)},
        {"seeds": (64, 2**20 + 1)},
        {"repeats": 0},
        {"seconds": float("nan")},
        {"seconds": -1.0},
        {"programs": ("warp",)},
    ],
)
def test_options_outside_their_limits_are_refused(benchmark, options):
    with pytest.raises(InvalidArgument, match=next(iter(options))):
        benchmark.check(benchmark.Benchmark(**options))


def test_a_failing_process_says_why(benchmark, monkeypatch):
    # Its own process, started afresh, has no such engine.
    program = benchmark.Program("warp", "warp", lambda *_: None, 1e6)
    measured = benchmark.Measured(program, 2, "cpu")
    benchmark.measure_group([measured], benchmark.Plan((2,), 1, 0.01, (program,), 60.0))
    assert measured.result()["unavailable"] == "KeyError: 'warp'"


def test_a_tiny_run_writes_its_report_and_its_figure(tmp_path):
    command = [sys.executable, EXPERIMENTS / "benchmark.py", "--out", tmp_path / "run"]
    options = "--seeds 2 --repeats 1 --seconds 0.001 --programs vmap_scan".split()
    result = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "vmap(scan)" in result.stdout and "of peak" in result.stdout
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    (row,) = report["rows"]
    assert (row["program"], row["seeds"], row["times_vmap_scan"]) == ("vmap_scan", 2, 1)
    assert row["slowest"] == row["seed_steps_per_second"] == row["fastest"] > 0
    assert row["compile_seconds"] > 0 and row["memory_bytes"] > 10**7
    assert row["fraction_of_peak"] > 0 and report["machine"]["cores"] >= 1
    assert (tmp_path / "run" / "figures" / "benchmark.png").stat().st_size > 10_000


def test_a_directory_that_holds_files_is_refused(benchmark, tmp_path):
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(InvalidArgument, match="out must be a new or empty directory"):
        benchmark.main(benchmark.Benchmark(out=tmp_path))
