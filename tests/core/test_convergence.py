"""What "converges" means, on trajectories made for the purpose, and the intervals."""

import dataclasses
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rejects import rejects
from scipy import stats

import gan1010_jax as gan
from gan1010_jax.convergence import add_counts, count_rows, proportion, settling_quantiles

GAME = gan.pattern_game("1")
MISS, MATCH, SUPPORT = 0.3, 0.7, 0.9


def history_of(outputs, finite=None):
    """A history, recorded every 10 steps, of a generator with one output."""
    records = len(outputs)
    zeros = jnp.zeros(records)
    step = 10 * (1 + jnp.arange(records))
    output = jnp.asarray(outputs, jnp.float32)[:, None]
    finite = jnp.ones(records, bool) if finite is None else jnp.asarray(finite)
    losses = gan.Losses(zeros, zeros, zeros)
    success = GAME.matched(output) & finite, GAME.in_support(output) & finite
    return gan.History(step, output, losses, finite, *success)


@pytest.mark.parametrize(
    ("outputs", "matched", "in_support", "forgot", "first", "settled"),
    [
        ([MISS, MISS, MISS], False, False, False, -1, -1),
        ([MISS, MATCH, MATCH], True, False, False, 20, 20),
        ([MATCH, MATCH, SUPPORT], True, True, False, 10, 10),
        ([MATCH, MISS, SUPPORT], True, True, False, 10, 30),
        ([MISS, SUPPORT, MISS], False, False, True, 20, -1),
        ([SUPPORT, MISS, MATCH], True, False, False, 10, 30),
        ([MATCH, MATCH, MISS], False, False, True, 10, -1),
        ([MISS], False, False, False, -1, -1),
        ([SUPPORT], True, True, False, 10, 10),
        ([0.5], False, False, False, -1, -1),
    ],
)
def test_the_definitions(outputs, matched, in_support, forgot, first, settled):
    verdict = gan.judge(history_of(outputs))
    assert verdict == (matched, in_support, forgot, False, first, settled)


def test_a_run_that_diverged_never_counts_as_converged():
    verdict = gan.judge(history_of([SUPPORT] * 3, finite=[True, True, False]))
    assert verdict == (False, False, True, True, 10, -1)
    never = gan.judge(history_of([SUPPORT] * 3, finite=[False] * 3))
    assert never == (False, False, False, True, -1, -1)


def test_outputs_that_are_not_numbers_are_misses():
    verdict = gan.judge(history_of([SUPPORT, float("nan")], finite=[True, False]))
    assert verdict == (False, False, True, True, 10, -1)


@given(st.lists(st.sampled_from([MISS, MATCH, SUPPORT]), min_size=6, max_size=6), st.integers(0, 6))
@settings(max_examples=100, deadline=None)
def test_the_definitions_hold_on_every_trajectory(outputs, diverges_at):
    finite = [record < diverges_at for record in range(6)]
    matches = [output > 0.5 and ok for output, ok in zip(outputs, finite)]
    steps = [10 * (record + 1) for record in range(6)]
    settled = [step for record, step in enumerate(steps) if all(matches[record:])]
    verdict = JUDGE(history_of(outputs, finite))
    assert verdict.matched == matches[-1]
    assert verdict.in_support == (outputs[-1] == SUPPORT and finite[-1])
    assert verdict.forgot == (any(matches) and not matches[-1])
    assert verdict.diverged == (not finite[-1])
    assert verdict.first_match_step == next((s for s, m in zip(steps, matches) if m), -1)
    assert verdict.settled_step == (settled[0] if settled else -1)


JUDGE = jax.jit(gan.judge)


def test_shapes_and_dtypes_also_under_vmap():
    history = history_of([MISS, MATCH])
    verdict, curves = gan.judge(history), (history.matched, history.in_support)
    chex.assert_shape(list(verdict), ())
    chex.assert_type(list(verdict), [bool, bool, bool, bool, int, int])
    chex.assert_shape(list(curves), (2,))
    chex.assert_type(list(curves), bool)
    many = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), history)
    chex.assert_shape(list(jax.vmap(gan.judge)(many)), (3,))


def test_judging_many_runs_one_after_another_compiles_once(caplog):
    """Of any outputs and losses, on which a verdict does not depend."""
    gan.judge(history_of([MISS, MATCH]))
    with jax.log_compiles():
        gan.judge(history_of([MATCH, MISS]))
        before = len(caplog.records)
        verdict = gan.judge(history_of([MATCH, MISS])._replace(output=jnp.zeros(3)))
    assert verdict == (False, False, True, False, 10, -1)
    assert not [record.message for record in caplog.records[before:]]


@given(st.integers(1, 10**9), st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
@settings(max_examples=300)
def test_wilson_intervals_are_those_of_scipy(total, fraction, confidence):
    count = round(fraction * total)
    low, high = gan.wilson_interval(count, total, confidence)
    expected = stats.binomtest(count, total).proportion_ci(confidence, method="wilson")
    assert low == pytest.approx(expected.low, abs=1e-12)
    assert high == pytest.approx(expected.high, abs=1e-12)
    assert 0 <= low <= count / total <= high <= 1


def test_wilson_intervals_are_vectorised():
    low, high = gan.wilson_interval(np.arange(11).reshape(11, 1), 10)
    chex.assert_shape([low, high], (11, 1))
    assert low[0] == 0 and high[-1] == 1
    low, high = gan.wilson_interval([1, 1], [1, 4])
    assert (low[1], high[1]) == gan.wilson_interval(1, 4)


@pytest.mark.parametrize(
    "arguments", [(1, 0), (-1, 5), (6, 5), (1, 5, 0), (1, 5, 1), (np.nan, 5), ([0, 0], [1, 0])]
)
def test_intervals_of_nothing_are_rejected(arguments):
    with rejects():
        gan.wilson_interval(*arguments)


def test_the_report_counts_the_columns(population):
    report = gan.convergence_report(population)
    for name in ("matched", "in_support", "forgot", "diverged"):
        count = int(population.columns[name].sum())
        interval = stats.binomtest(count, 64).proportion_ci(0.95, method="wilson")
        assert report[name] == {
            "count": count,
            "fraction": count / 64,
            "ci_low": pytest.approx(interval.low, abs=1e-12),
            "ci_high": pytest.approx(interval.high, abs=1e-12),
        }
    assert report["seeds"] == 64 and report["steps"] == 10_000
    assert report["engine"] == "fused" and report["platform"] == jax.default_backend()
    assert report["hyperparams"] == {"d_lr": 0.01, "g_lr": 0.01} and report["first_seed"] == 0
    assert report["wall_seconds"] > report["compile_seconds"] > 0
    assert {"gan1010_jax", "jax", "jaxlib", "python"} <= set(report["versions"])
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def with_settled_steps(population, settled):
    """A population whose seeds have settled at other steps."""
    columns = population.columns | {"settled_step": settled}
    counts = count_rows(columns, population.curves["step"])
    return dataclasses.replace(population, columns=columns, counts=counts)


def test_the_reports_quantiles_are_of_the_settled(population):
    settled = np.full(64, -1, np.int32)
    settled[:21] = 100 * np.arange(21) + 10
    report = gan.convergence_report(with_settled_steps(population, settled))
    assert report["settled_step"] == {"p5": 110, "p50": 1010, "p95": 1910}


def test_no_settled_seed_is_reported_as_none(population):
    unsettled = with_settled_steps(population, np.full(64, -1, np.int32))
    assert gan.convergence_report(unsettled)["settled_step"] is None


@given(st.lists(st.sampled_from([-1, *range(10, 201, 10)]), min_size=1, max_size=40))
def test_quantiles_are_those_of_the_single_steps(settled):
    settled, steps = np.array(settled), np.arange(10, 201, 10)
    settled_at = np.bincount(settled[settled > 0] // 10, minlength=21)[1:]
    counts = gan.Counts(0, 0, 0, 0, 0, first_matched=0, settled=settled_at, outputs=0)
    quantiles = settling_quantiles(counts, steps)
    assert bool(quantiles) == bool(np.any(settled > 0))
    for percent, step in quantiles.items():
        expected = np.percentile(settled[settled > 0], percent, method="inverted_cdf")
        assert step == expected


def test_counts_of_chunks_add_up_to_those_of_the_whole(population):
    steps = population.curves["step"]
    chunks = [
        {name: column[rows] for name, column in population.columns.items()}
        for rows in (slice(0, 10), slice(10, 64))
    ]
    total = add_counts(*(count_rows(chunk, steps) for chunk in chunks))
    for whole, summed in zip(population.counts, total):
        np.testing.assert_array_equal(whole, summed)
    assert population.counts.outputs.sum(axis=1).tolist() == [64] * 4
    for counts, column in (("settled", "settled_step"), ("first_matched", "first_match_step")):
        assert getattr(population.counts, counts).shape == steps.shape
        assert getattr(population.counts, counts).sum() == np.sum(population.columns[column] > 0)


@pytest.fixture(scope="module")
def forgetful():
    """Runs of which some match, some forget and some never match: G is ten times as fast as D."""
    hyperparams = gan.Hyperparams(d_lr=0.01, g_lr=0.1)
    return gan.train_population(range(200), gan.Setup(hyperparams=hyperparams), steps=2000)


@pytest.mark.slow
def test_the_curve_of_the_first_match_is_kaplan_and_meiers(forgetful):
    """As scipy's estimates it, with the seeds that never matched censored at the end."""
    first = forgetful.columns["first_match_step"]
    never = first < 0
    assert 0 < never.sum() < 200
    times = stats.CensoredData.right_censored(np.where(never, forgetful.steps, first), never)
    expected = stats.ecdf(times).sf.evaluate(forgetful.curves["step"])
    ever_matched = gan.convergence_curves(forgetful)["ever_matched"]
    np.testing.assert_allclose(1 - ever_matched.fraction, expected, atol=1e-12)


def test_a_fraction_of_nobody_is_not_a_number_and_may_be_anything():
    fractions = proportion([0, 1], [0, 4])
    none, one = (jax.tree.map(lambda leaf, i=i: leaf[i], fractions) for i in (0, 1))
    assert np.isnan(none.fraction) and (none.ci_low, none.ci_high) == (0, 1)
    assert one.fraction == 0.25 and (one.ci_low, one.ci_high) == gan.wilson_interval(1, 4)


def test_a_report_of_seeds_that_never_match_is_json():
    setup = gan.Setup(gan.dirac_game(start=(1.0, 1.0)))
    report = gan.convergence_report(gan.train_population(range(2), setup, steps=10))
    assert report["over_training"][0]["forgotten"] == {
        "count": 0,
        "fraction": None,
        "ci_low": 0,
        "ci_high": 1,
    }
    assert json.loads(json.dumps(report, allow_nan=False)) == report


@pytest.mark.slow
def test_the_curves_are_recounted_from_the_histories(forgetful):
    curves, matched = gan.convergence_curves(forgetful), forgetful.history.matched
    ever = np.logical_or.accumulate(matched, axis=1)
    counts = {
        "matched": matched,
        "in_support": forgetful.history.in_support,
        "diverged": ~forgetful.history.finite,
        "ever_matched": ever,
        "forgotten": ever & ~matched,
    }
    assert list(curves) == list(counts)
    for name, successes in counts.items():
        curve, total = curves[name], ever.sum(axis=0) if name == "forgotten" else 200
        np.testing.assert_array_equal(curve.count, successes.sum(axis=0))
        np.testing.assert_array_equal(curve.total, np.broadcast_to(total, 200))
        np.testing.assert_array_equal(curve.fraction, curve.count / curve.total)
        low, high = gan.wilson_interval(curve.count, curve.total)
        np.testing.assert_array_equal(curve.ci_low, low)
        np.testing.assert_array_equal(curve.ci_high, high)
    last = [curves[name].count[-1] for name in ("forgotten", "ever_matched")]
    assert last[0] == forgetful.counts.forgot > 0
    assert last[1] == forgetful.counts.forgot + forgetful.counts.matched


@pytest.mark.slow
def test_the_report_shows_the_curves_after_each_fifth_of_the_steps(forgetful):
    over_training = gan.convergence_report(forgetful)["over_training"]
    assert [record["step"] for record in over_training] == [400, 800, 1200, 1600, 2000]
    for name, curve in gan.convergence_curves(forgetful).items():
        place = forgetful.curves["step"] == 800
        assert over_training[1][name]["count"] == curve.count[place]
        assert over_training[1][name]["ci_high"] == curve.ci_high[place]
        assert over_training[-1][name]["fraction"] == curve.fraction[-1]


@pytest.mark.parametrize(
    ("steps", "shown"), [(10, [10]), (30, [10, 20, 30]), (60, [20, 30, 40, 50, 60])]
)
def test_a_report_of_few_records_shows_each_once(steps, shown):
    population = gan.train_population(range(2), gan.Setup(gan.dirac_game()), steps=steps)
    report = gan.convergence_report(population)
    assert [record["step"] for record in report["over_training"]] == shown
    assert json.loads(json.dumps(report, allow_nan=False)) == report


@pytest.mark.slow
def test_a_cell_is_tabulated_as_the_population_of_its_rates(short):
    rates = {"d_lr": [0.125, 0.5], "g_lr": [0.01, 0.1, 1.0]}
    cells = gan.tabulate_cells(short(range(40), grid=rates))
    assert cells["seeds"].tolist() == [40] * 6 and cells["steps"].tolist() == [200] * 6
    for cell in range(6):
        d_lr, g_lr = cells["d_lr"][cell], cells["g_lr"][cell]
        assert (d_lr, g_lr) == (rates["d_lr"][cell // 3], rates["g_lr"][cell % 3])
        report = gan.convergence_report(
            short(range(40), gan.Setup(hyperparams=gan.Hyperparams(d_lr, g_lr)))
        )
        for name in ("matched", "in_support", "forgot", "diverged"):
            for key, value in report[name].items():
                assert cells[f"{name}_{key}"][cell] == value, (name, key)
        for key, step in (
            report["settled_step"] or dict.fromkeys(("p5", "p50", "p95"), -1)
        ).items():
            assert cells[f"settled_{key}"][cell] == step
    assert len(set(cells["matched_count"].tolist())) > 2


def test_a_population_without_a_grid_is_one_cell(population):
    cells = gan.tabulate_cells(population)
    assert cells["matched_count"].tolist() == [population.columns["matched"].sum()]
