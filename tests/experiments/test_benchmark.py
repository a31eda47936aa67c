"""`experiments/benchmark.py`: its measurements, its table and its figure."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import benchmark
import jax
import jax.numpy as jnp
import minimal
import numpy as np
import operations
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
    {"program": "vmap_scan", "label": "c", "seeds": 1_024, "unavailable": "out of memory"},
    make_row("vmap_scan", 64, 5e6),
    make_row("engine_fused", 64, 2e7),
    make_row("engine_fused", 1_024, 1.23456e8),
]
PROGRAMS = {
    "pytorch": {"label": "eager", "unavailable": None, "compared": {"apart": 6e-8}},
    "torch_compile": {"label": "compiled", "unavailable": "not installed", "compared": None},
    "vmap_scan": {"label": "plain", "unavailable": None, "compared": {"apart": 0.0}},
    "engine_fused": {"label": "fused", "unavailable": None, "compared": {"p_value": 0.254}},
}
REPORT = {
    "programs": PROGRAMS,
    "rows": ROWS,
    "operations": {"uint32": 236, "float32": 409, "sigmoid": 19},
}


def test_the_table_has_a_line_for_each_program_and_a_column_for_each_size():
    assert benchmark.tabulate(REPORT).splitlines() == [
        "| program | 64 seeds | 1,024 seeds | trainings a second | times slower | the same GAN |",
        "| --- | --: | --: | --: | --: | --: |",
        "| eager | 0.002 | 0.002 | 0.2 | 62,000 | to 6e-08 |",
        "| plain | 5 | – | 500 | 25 | to the bit |",
        "| fused | 20 | 123 | 12,300 | 1 | p = 0.25 |",
    ]


def test_a_step_is_told_in_operations():
    text = benchmark.describe_step(REPORT)
    assert "at least 664 operations: 236 on uint32, 409 on float32 and 19 sigmoids" in text
    assert "82 thousand million a second" in text


@pytest.mark.parametrize(
    ("compared", "text"),
    [
        ({"apart": 2e-5}, "no: 2e-05 apart"),
        ({"apart": float("nan")}, "no: nan apart"),
        ({"p_value": 1e-6}, "no: p = 1e-06"),
        ({"p_value": float("nan")}, "no: p = nan"),
    ],
)
def test_another_gan_is_told_apart(compared, text):
    assert benchmark.describe_comparison(compared) == text


@pytest.fixture
def few(monkeypatch):
    """Comparisons of few seeds and steps."""
    monkeypatch.setattr(benchmark, "CHECKED_SEEDS", 32)
    monkeypatch.setattr(benchmark, "CHECKED_STEPS", 500)
    return np.asarray(benchmark.prepare_vmap(benchmark.build_scan, 32)(500).output)


@pytest.mark.parametrize("name", ["minimal", "purejaxrl", "rejax"])
def test_a_program_in_jax_trains_the_same_gan_to_a_rounding(name, few):
    program = benchmark.PROGRAMS[name]
    (difference,) = program.compare(program.prepare(32), few).values()
    assert difference < 1e-6


def test_a_program_of_a_rate_1_percent_higher_is_another_gan(few, monkeypatch):
    monkeypatch.setattr(minimal, "LEARNING_RATE", 0.0101)
    program = benchmark.PROGRAMS["minimal"]
    compared = program.compare(program.prepare(32), few)
    assert benchmark.describe_comparison(compared).startswith("no: ")


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "same"), [(0.01, True), (0.0105, False)])
def test_pytorchs_compiled_program_leads_where_ours_does(rate, same, tmp_path, monkeypatch):
    """And not where a rate 5 % higher leads."""
    pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    monkeypatch.setattr(benchmark, "CHECKED_SEEDS", 128)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.syspath_prepend(EXPERIMENTS.parent / "tests" / "reference")
    import pytorch_gan

    monkeypatch.setattr(pytorch_gan, "LEARNING_RATE", rate)
    program = benchmark.PROGRAMS["torch_compile"]
    (p_value,) = program.compare(program.prepare(128), None).values()
    assert (p_value > benchmark.SIGNIFICANCE) == same


def test_each_operation_that_an_output_needs_counts_once():
    def function(seed, x):
        fixed = jnp.sin(seed)  # which the inputs that vary do not change
        doubled = jax.jit(lambda x: x + x)
        unused = jnp.cos(x)
        return doubled(x) * doubled(x) * fixed, jax.nn.sigmoid(x), x.astype(int) + 1, unused

    one = jnp.ones(1)
    jaxpr = jax.make_jaxpr(lambda *args: function(*args)[:3])(one, one).jaxpr
    assert operations.count(jaxpr, fixed=1) == {"float32": 3, "sigmoid": 1, "int32": 1}


def test_a_step_has_19_sigmoids_and_draws_one_sample():
    counted = operations.count_step()
    assert set(counted) == {"float32", "uint32", "sigmoid"}
    assert counted["sigmoid"] == 3 * 4 + 7  # D judges three times, G makes one sample
    # Two blocks of Threefry, of 20 rounds, each an addition, a rotation and an exclusive or.
    assert 2 * 20 * 5 < counted["uint32"] < 2 * 20 * 6


def test_the_figure_draws_every_program_and_names_it():
    figure = benchmark.plot_benchmark(ROWS)
    throughput, duration = figure.axes
    drawn = {tuple(line.get_ydata()) for line in throughput.lines}
    assert drawn == {(2e3, 2e3), (5e6,), (2e7, 1.23456e8)}
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["pytorch", "vmap_scan", "engine_fused"]
    for axes in (throughput, duration):
        assert axes.get_xscale() == axes.get_yscale() == "log"
    (seconds,) = [line.get_ydata() for line in duration.lines if line.get_color() == PAPER.green]
    np.testing.assert_allclose(seconds, [2 + 64e4 / 2e7, 2 + 1_024e4 / 1.23456e8])


@pytest.mark.parametrize(
    ("name", "value", "bad"),
    [
        ("seeds", (), ()),
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
    options = "--seeds 2 --repeats 1 --seconds 0.001 --programs vmap_scan engine_pallas".split()
    result = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "\n| gan.train, jit(vmap) | " in result.stdout
    assert "gan.train, jit(vmap): to the bit\n" in result.stderr
    assert "engine pallas: needs a GPU or TPU\n" in result.stdout
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    (row,) = report["rows"]
    assert (row["program"], row["seeds"]) == ("vmap_scan", 2)
    assert row["slowest"] == row["seed_steps_per_second"] == row["fastest"] > 0
    assert row["compile_seconds"] > 0 and row["memory_bytes"] > 10**7
    assert report["machine"]["cores"] >= 1
    assert (tmp_path / "run" / "figures" / "benchmark.png").stat().st_size > 10_000


WITHOUT_TORCH = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *args: None if name == "torch" else find(name, *args)
"""


@pytest.mark.slow
def test_without_pytorch_its_programs_say_what_they_need(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_TORCH)
    options = "--seeds 2 --programs pytorch torch_compile".split()
    command = [sys.executable, EXPERIMENTS / "benchmark.py", "--out", tmp_path / "run", *options]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert result.returncode == 1 and not (tmp_path / "run" / "report.json").exists()
    assert result.stderr.splitlines()[-1] == (
        "error: nothing was measured: PyTorch, one seed a core: needs PyTorch: pip install torch; "
        "PyTorch, compile(vmap): needs PyTorch: pip install torch"
    )


def test_a_directory_that_holds_files_is_rejected(tmp_path):
    (tmp_path / "report.json").write_text("{}")
    with rejects("out"):
        benchmark.main(benchmark.Benchmark(out=tmp_path))
