"""The studies that the README reports: their numbers, tables and verdicts."""

import json

import compare_methods
import dirac
import finding
import numpy as np
import predictions
import pytest
from programs import EXPERIMENTS, assert_rejected, run_program
from verdicts import VERDICTS

from gan1010_jax.convergence import as_json, proportion
from gan1010_jax.figures import plot_agreement, plot_bilinear, plot_methods


@pytest.mark.slow
def test_the_dirac_gan_agrees_with_the_paper(tmp_path, monkeypatch, capsys):
    options = f"--starts 8 --out {tmp_path}/run"
    assert run_program("dirac", options, monkeypatch) == 0
    report = json.loads((tmp_path / "run" / "dirac.json").read_text())
    rows = report["methods"]
    assert len(rows) == 16
    assert {row["update_order"] for row in rows} == {"simultaneous", "alternating"}
    for row in rows:
        converges = row["method"].startswith(("R1", "instance", "consensus"))
        assert row["converges"] == row["paper"] == converges, row["method"]
        if row["spectral_radius"] is not None:
            assert (row["spectral_radius"] < 1 - 1e-5) == converges, row["method"]
    for row in report["verdicts"]:
        what = row["method"], row["update_order"], row["game"]
        assert row["converges"] == row["paper"], what
        assert row["spectral_radius"] == pytest.approx(row["by_formula"], rel=1e-9), what
        assert row["growth"] == pytest.approx(row["by_formula"], rel=1e-6), what
        assert (row["by_formula"] < 1 - 1e-9) == row["converges"], what
    assert len(report["verdicts"]) == sum(len(verdict.games) for verdict in VERDICTS)
    for name in ("dirac", "bilinear"):
        assert (tmp_path / "run" / "figures" / f"{name}.png").stat().st_size > 50_000
    printed = capsys.readouterr().out
    assert "| R1, nonsaturating |" in printed and "| extragradient | extragradient |" in printed


@pytest.mark.slow
def test_a_verdict_that_differs_from_the_papers_is_exit_code_1(tmp_path, monkeypatch, capsys):
    wrong = next(case for case in dirac.CASES if case.title == "minimax")._replace(converges=True)
    monkeypatch.setattr(dirac, "CASES", (wrong,))
    first = VERDICTS[0]._replace(converges=True)
    other = VERDICTS[1]._replace(radius=lambda a, h: 1 + 1e-5)
    monkeypatch.setattr(dirac, "VERDICTS", (first, other))
    monkeypatch.setattr(dirac, "follow_cures", lambda: dict.fromkeys("ab", np.ones((3, 2))))
    with pytest.raises(SystemExit) as end:
        dirac.main(dirac.Dirac(steps=10, starts=2, out=tmp_path / "run"))
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert "not as in the paper: minimax, simultaneous" in said
    assert "not as in the paper: descent, simultaneous" in said  # by its verdict
    assert "not as in the paper: descent, alternating" in said  # by its formula


@pytest.mark.slow
def test_a_run_that_leaves_float64_has_no_distance(monkeypatch, x64):
    options = dirac.Dirac(lr=1.0, steps=200, starts=2)
    row = dirac.hold(VERDICTS[0], "bilinear", options)  # √2 a step, 4000 times
    assert row["distance_from_start"] is row["largest_theta_at_the_end"] is None
    assert not row["converges"] and row["growth"] == pytest.approx(np.sqrt(2))


def test_the_formulas_are_the_numbers_that_are_quoted_of_them():
    """At h = 0.1 in the game θψ; of lookahead, over its five steps."""
    quoted = {
        ("descent", "simultaneous"): 1.00499,
        ("descent", "alternating"): 1.0,
        ("extragradient", "extragradient"): 0.99504,
        ("optimistic", "simultaneous"): 0.99494,
        ("momentum, β = -0.5", "simultaneous"): 1.00074,
        ("momentum, β = -0.5", "alternating"): 0.99852,
        ("momentum, β = +0.5", "simultaneous"): 1.04569,
        ("momentum, β = +0.5", "alternating"): 1.03230,
        ("lookahead, k = 2, α = ½", "simultaneous"): 1.00001,
        ("lookahead, k = 5, α = ½", "simultaneous"): 0.98133 ** (1 / 5),
        ("symplectic, λ = 1", "simultaneous"): np.hypot(0.9, 0.1),
    }
    found = {(v.title, v.update_order): v.predict("bilinear", 0.1) for v in VERDICTS}
    assert {name: found[name] for name in quoted} == pytest.approx(quoted, abs=6e-6)


def test_lookahead_converges_in_the_bilinear_game_but_for_these_periods():
    """At α = ½ and h = 0.1: not after two steps, nor near a whole turn, of 63."""
    radius = [abs(0.5 + 0.5 * (1 + 0.1j) ** k) for k in range(1, 101)]
    diverges = [k for k in range(1, 101) if radius[k - 1] > 1]
    assert diverges == [1, 2, *range(53, 76)]
    bound = 2 / (4 + 0.1**2)  # of α at k = 2
    for alpha, is_below in ((bound - 1e-6, True), (bound + 1e-6, False)):
        assert (abs(1 - alpha + alpha * (1 + 0.1j) ** 2) < 1) == is_below


# In each a penalty, a state that is kept, or a gradient elsewhere is differentiated once more.
QUICK = ("extragradient", "optimistic", "lookahead, k = 5, α = ½", "symplectic, λ = 1")


@pytest.mark.parametrize(
    ("verdict", "game"),
    [
        pytest.param(
            *(verdict, game),
            id=f"{verdict.title}, {verdict.update_order}, {game}",
            marks=[pytest.mark.slow] * (verdict.title not in QUICK or game == "bilinear"),
        )
        for verdict in VERDICTS
        for game in verdict.games
    ],
)
def test_the_measured_radius_is_that_of_the_formula(x64, verdict, game):
    """To a billionth, at a rate that nothing was tuned to."""
    measured = dirac.measure_radius(verdict.setup(game, 0.13), order=1)
    assert measured == pytest.approx(verdict.predict(game, 0.13), rel=1e-9)


REJECTED = {
    "spectrum --stops 99999999999999990000": "--stops must be increasing multiples of 10000",
    "spectrum --stops 10000 ten": "--stops must be a whole number",
    "dirac --lr 1e30": "--lr must be a number above 0, up to 1",
    "dirac --lr nan": "--lr must be a number above 0, up to 1",
    "dirac --out=~no-such-user/x": "--out must be a path whose ~ is somebody's home directory",
    "compare_methods --out /proc/x": "--out must be a new or empty directory that can be written",
    "agreement --out \udcff": "--out must be a path in UTF-8",
}


@pytest.mark.parametrize("command", REJECTED)
def test_a_study_rejects_its_options_at_once(command, tmp_path, monkeypatch, capsys):
    name, options = command.split(maxsplit=1)
    assert_rejected(name, options, REJECTED[command], tmp_path, monkeypatch, capsys)


@pytest.mark.slow
def test_the_spectra_of_two_seeds_are_written_with_the_equilibria_near(tmp_path, monkeypatch):
    options = f"--seeds 2 --stops 10000 --begin-at 10000 --out {tmp_path}/run"
    assert run_program("spectrum", options, monkeypatch) == 0
    report = json.loads((tmp_path / "run" / "spectrum.json").read_text())
    everyone = report["stops"][0]
    assert (everyone["step"], everyone["group"], everyone["seeds"]) == (10_000, "all", 2)
    assert everyone["equilibria_found"] == 2 and everyone["field"]["p50"] > 1e-3
    assert 0 < everyone["radius_minus_1"]["p50"] < 1e-3
    assert len(report["begun_at_equilibria"]) == 10
    assert (tmp_path / "run" / "figures" / "spectrum.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_comparison_counts_what_the_curves_say(population):
    matched = np.asarray(population.history.matched)
    for step in (4000, 10_000):
        record = step // 10 - 1
        counts = compare_methods.count_at(population, step)
        ever, now = matched[:, : record + 1].any(axis=1), matched[:, record]
        settled = matched[:, record:].all(axis=1)
        for name, expected in {"matched": now, "forgot": ever & ~now, "settled": settled}.items():
            of_all = as_json(proportion(expected.sum(), len(expected)))
            assert counts[name] == of_all, name


@pytest.mark.slow
def test_the_waves_are_predicted(tmp_path, monkeypatch, capsys):
    assert run_program("waves", f"--seeds 128 --out {tmp_path}/run", monkeypatch) == 0
    report = json.loads((tmp_path / "run" / "waves.json").read_text())
    found = report["predictions"]
    assert found["expected step"]["r2"] > 0.98 and found["level model"]["r2"] > 0.95
    assert found["level model, level free"]["r2"] < 0.3
    assert report["rays"]["correlation"] > 0.9
    for of in report["rates"].values():  # the exponents, which would be -1/2 of a constant gain
        assert abs(of["measured_exponent"] - of["model_exponent"]) < 0.1
    differences = np.subtract(report["brake"]["measured"], report["brake"]["model"])
    assert np.abs(differences).max() < 0.3  # of 32 seeds
    for name in ("waves", "departures", "orbit", "rates", "brake"):
        assert (tmp_path / "run" / "figures" / f"{name}.png").stat().st_size > 10_000
    assert "| level model | " in capsys.readouterr().out


@pytest.mark.slow
def test_a_setting_is_predicted_and_the_worst_comes_first(tmp_path, monkeypatch, capsys):
    few = [case for case in predictions.CASES if case.name in ("hinge", "pattern 1")]
    monkeypatch.setattr(predictions, "CASES", few)
    predictions.main(predictions.Predictions(seeds=16, out=tmp_path / "run"))
    worst, best = json.loads((tmp_path / "run" / "predictions.json").read_text())
    assert (worst["setting"], best["setting"]) == ("hinge", "pattern 1")
    assert worst["step"]["r2"] > 0.95 and best["level"]["r2"] > 0.95
    assert (tmp_path / "run" / "predictions.md").read_text() in capsys.readouterr().out


def test_a_score_is_of_the_seeds_that_leave_later_in_both():
    step = 500 * (1 + np.arange(40))
    ends = {"early": 11, "right": 20, "late": 30, "never": 40}
    rows = np.array([np.arange(40) < end for end in ends.values()] * 8)
    shifted = np.array([np.arange(40) < min(end + 1, 40) for end in ends.values()] * 8)
    found = predictions.score(rows, shifted, 15, 500)
    assert (found["left"], found["agree"]) == (2 / 3, 1.0)
    assert found["measured"] == np.median([step[20], step[30]])
    assert found["median"] == found["measured"] + 500
    assert found["r2"] == 1 - 500**2 / 2500**2


def test_the_bilinear_figure_has_the_books_spiral_and_what_cures_it(x64):
    paths = dirac.follow_cures()
    figure = plot_bilinear(paths)
    whole, near, distances = figure.axes
    spiral = whole.lines[0].get_xydata()
    assert spiral.shape == (500, 2) and spiral[0].tolist() == [0.6, 0.7]
    assert [text.get_text() for text in distances.texts] == ["0.922", "11.038"]
    assert len(near.lines) == 3 + 2 and len(distances.lines) == 4
    assert all(line.get_ydata()[-1] < 0.15 for line in distances.lines[1:])


def test_the_end_of_a_run_is_named():
    turns = np.linspace(0, 40, 401)
    circle = np.stack([np.cos(turns), np.sin(turns)], axis=-1)
    grown, shrunk = (np.exp(rate * turns)[:, None] for rate in (0.1, -0.5))
    assert dirac.describe_end(circle) == "circles"
    assert dirac.describe_end(grown * circle) == "spirals out"
    assert dirac.describe_end(shrunk * circle) == "converges"
    assert dirac.describe_end(shrunk * circle - [0.3, 0]) == "sticks 0.3 away"
    assert dirac.describe_end(np.full((401, 2), np.inf)) == "diverges"


def test_the_finding_is_drawn_and_said_from_its_numbers():
    report = json.loads((EXPERIMENTS / "results" / "finding.json").read_text())
    figure = finding.draw(report)
    seeds, (plain, cured) = report["seeds"], [*report.values()][2:]
    for axes in figure.axes:
        for line, counts in zip(axes.lines, (plain, cured), strict=True):
            np.testing.assert_allclose(line.get_ydata() * seeds, counts)
            assert line.get_xdata().tolist() == report["step"]
    worst = report["step"][plain.index(min(plain[report["step"].index(20_000) :]))]
    assert f"at step {worst:,} only" in figure.get_suptitle()
    assert "4,096 seeds" in figure.texts[1].get_text()


@pytest.fixture
def comparison():
    return json.loads((EXPERIMENTS / "results" / "compare_methods.json").read_text())


def test_the_kept_comparison_is_what_the_program_writes_of_its_numbers(comparison):
    kept = (EXPERIMENTS / "results" / "compare_methods.md").read_text()
    assert compare_methods.tabulate(comparison) + "\n" == kept


def test_the_comparison_is_drawn_from_its_numbers(comparison):
    methods = compare_methods.early_and_late(comparison)
    assert len(methods) == 12 and all(list(one) == ["none", "r1"] for one in methods.values())
    figure = plot_methods(methods, (10_000, 50_000), "2,048 seeds")
    (axes,) = figure.axes
    drawn = [tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2]
    for row in comparison["methods"]:
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
