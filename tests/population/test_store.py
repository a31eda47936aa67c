"""The result directory: what is in it, what resumes it, and what is wrong with a bad one."""

import dataclasses
import errno
import functools
import json
import math
import os
import shutil
import subprocess

import duckdb
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rejects import rejects

import gan1010_jax as gan
from gan1010_jax.environment import enable_x64
from gan1010_jax.games import GAMES, Within
from gan1010_jax.population import read_run, store
from gan1010_jax.population.manifest import FORMAT, _describe, digest, read_manifest
from gan1010_jax.population.tables import TABLES

# Small, and quick to compile.
GAME = gan.pattern_game("10")
SETUP = gan.Setup(GAME)
SETTING = {"steps": 40, "record_every": 20, "engine": "vmap"}


def train(seeds, out=None, **options):
    """Train into a directory, or in memory."""
    return gan.train_population(seeds, SETUP, out=out, **SETTING | options)


def files(out):
    """The parts in a directory, by their names, which have digests of their bytes."""
    return {path.relative_to(out).as_posix() for path in out.glob("*/part-*")}


def read(out):
    """The rows of a directory, as any reader of Parquet sees them."""
    return pyarrow.dataset.dataset(out / "population").to_table()


@pytest.fixture(scope="module")
def whole():
    """2,000 seeds in memory."""
    return train(range(2000))


@pytest.fixture(scope="module")
def finished(compilation_cache, tmp_path_factory):
    """A finished directory of 300 seeds in chunks of 100, not to be changed."""
    out = tmp_path_factory.mktemp("finished") / "run"
    train(range(300), out, chunk=100)
    return out


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of it."""
    return shutil.copytree(finished, tmp_path / "run")


def assert_same_rows(table, population):
    """A table has the rows of a population, to the bit."""
    assert table.column_names == list(population.columns)
    for name, column in population.columns.items():
        np.testing.assert_array_equal(table[name].to_numpy(), column[: len(table)], err_msg=name)
        assert table[name].to_numpy().dtype == column.dtype, name


def assert_same_population(population, expected):
    """Two populations have the same numbers, to the bit."""
    assert list(population.columns) == list(expected.columns)
    for name, column in expected.columns.items():
        np.testing.assert_array_equal(population.columns[name], column, err_msg=name)
    jax.tree.map(np.testing.assert_array_equal, population.curves, expected.curves)
    jax.tree.map(np.testing.assert_array_equal, population.history, expected.history)
    jax.tree.map(np.testing.assert_array_equal, population.counts, expected.counts)


# What is in it


def test_a_directory_holds_what_memory_would(tmp_path, whole):
    assert_same_population(train(range(2000), tmp_path / "run", chunk=300), whole)
    assert_same_population(gan.load_population(tmp_path / "run"), whole)


def test_a_directory_says_what_was_run(finished):
    population, manifest = gan.load_population(finished), read_manifest(finished)
    assert population.setup == SETUP
    assert (population.steps, population.record_every, population.engine) == (40, 20, "vmap")
    assert (manifest["seeds"], manifest["chunk"]) == (300, 100)
    assert {"gan1010_jax", "jax", "jaxlib", "numpy", "python"} <= set(manifest["versions"])
    configuration = manifest["configuration"]
    assert configuration["first_seed"] == 0 and configuration["platform"] == "cpu"
    assert population.wall_seconds > population.compile_seconds > 0


def test_the_report_is_that_of_the_population(finished):
    report = json.loads((finished / "report.json").read_text())
    assert report == gan.convergence_report(gan.load_population(finished))


def test_the_manifest_is_written_first_and_the_report_last(tmp_path, monkeypatch):
    written, replace = [], os.replace

    def note(source, target):
        replace(source, target)
        written.append(target.relative_to(tmp_path).parts[0])

    monkeypatch.setattr(os, "replace", note)
    train(range(1300), tmp_path, chunk=1000)
    chunk = ["curves", "histories", "population"]
    assert written == ["manifest.json", *chunk, *chunk, "report.json"]


def test_every_column_says_its_unit_and_its_meaning(finished):
    for name in ("population", "curves", "histories"):
        for field in pyarrow.dataset.dataset(finished / name).schema:
            assert set(field.metadata) == {b"unit", b"meaning"} and field.metadata[b"meaning"]


@pytest.mark.slow
def test_duckdb_counts_what_the_report_says(tmp_path):
    """An independent count; among these seeds some match, some forget, and some do neither."""
    train(range(500), tmp_path, chunk=100, steps=2000)
    report = json.loads((tmp_path / "report.json").read_text())
    rows = f"'{tmp_path}/population/*.parquet'"
    names = ("matched", "in_support", "forgot", "diverged")
    sums = ", ".join(f"sum({name}::int)" for name in names)
    query = f"select count(distinct seed), {sums} from {rows}"
    ((seeds, *counts),) = duckdb.sql(query).fetchall()
    assert seeds == report["seeds"] == 500
    assert counts == [report[name]["count"] for name in names]
    assert 0 < report["matched"]["count"] < 500
    quantiles = ", ".join(f"quantile_disc(settled_step, {q})" for q in (0.05, 0.5, 0.95))
    query = f"select {quantiles} from {rows} where settled_step >= 0"
    (settled,) = duckdb.sql(query).fetchall()
    assert list(settled) == list(report["settled_step"].values())

    curves = gan.load_population(tmp_path).curves
    columns = "step, sum(seeds), sum(matched), sum(in_support), sum(diverged)"
    merged = duckdb.sql(
        f"select {columns} from '{tmp_path}/curves/*.parquet' group by step order by step"
    ).fetchall()
    expected = zip(
        curves["step"], [500] * 100, curves["matched"], curves["in_support"], curves["diverged"]
    )
    assert merged == [tuple(map(int, row)) for row in expected]


def test_histories_are_of_the_first_1024_seeds(tmp_path, whole):
    population = train(range(1100), tmp_path, chunk=500)
    assert population.history.output.shape == (1024, 2, 2)
    table = pyarrow.dataset.dataset(tmp_path / "histories").to_table()
    assert len(table) == 1024 * 2 and table["seed"][-1].as_py() == 1023
    assert table["step"][:2].to_pylist() == [20, 40]
    np.testing.assert_array_equal(
        table["output_1"].to_numpy(), whole.history.output[:, :, 1].ravel()
    )


def test_every_row_of_a_directory_can_be_replayed(finished, whole):
    population = gan.load_population(finished)
    for row in (0, len(population.columns["seed"]) - 1):
        history = gan.replay_row(population, row)
        kept = jax.tree.map(lambda leaf, row=row: leaf[row], whole.history)
        jax.tree.map(np.testing.assert_array_equal, history, kept)


@pytest.mark.slow
def test_a_game_of_a_users_own_is_asked_for(tmp_path):
    game = dataclasses.replace(GAME, matched=lambda output: output[..., 0] > 0.5)
    gan.train_population(range(3), gan.Setup(game), out=tmp_path, **SETTING)
    with rejects("game"):
        gan.load_population(tmp_path)
    with rejects("game", GAME):
        gan.load_population(tmp_path, gan.Setup(GAME))
    assert gan.load_population(tmp_path, gan.Setup(game)).setup.game is game


@pytest.mark.slow
def test_a_method_of_a_users_own_is_asked_for_by_what_it_is_made_of(tmp_path):
    method = gan.Method(penalty=gan.Penalty("slope", abs_slope, samples="real"))
    gan.train_population(range(3), gan.Setup(GAME, method), out=tmp_path, **SETTING)
    with rejects("method", None) as caught:
        gan.load_population(tmp_path)
    assert "'mse'" in caught.value.allowed and "'slope'" in caught.value.allowed
    assert gan.load_population(tmp_path, gan.Setup(GAME, method)).setup.method is method


def abs_slope(ctx):
    return jnp.abs(jax.grad(ctx.logit)(ctx.real)).sum()


@pytest.mark.slow
def test_doubles_are_kept_as_doubles(tmp_path):
    with enable_x64(True):
        train(range(3), tmp_path)
        assert gan.load_population(tmp_path).columns["output_0"].dtype == np.float64
    with pytest.raises(gan.BadFile, match=r"'float64' as its dtype, and this run 'float32'"):
        train(range(3), tmp_path)


# What does not change the rows


@pytest.mark.parametrize("chunk", [256, 1000])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_rows_do_not_depend_on_chunks_and_workers(tmp_path, whole, chunk, workers):
    train(range(1500), tmp_path, chunk=chunk, workers=workers)
    assert_same_rows(read(tmp_path), whole)
    assert len(list((tmp_path / "population").iterdir())) == len(range(0, 1500, chunk))


def test_more_seeds_in_other_chunks_keep_what_is_there(tmp_path, whole):
    train(range(70), tmp_path, chunk=100)
    train(range(300), tmp_path, workers=1)
    before = files(tmp_path)
    population = train(range(2000), tmp_path, chunk=256)
    assert before < files(tmp_path)
    assert_same_population(population, whole)
    spans = [name.split("-")[1:3] for name in sorted(files(tmp_path)) if "population" in name]
    assert spans[:4] == [
        ["0000000000", "0000000070"],
        ["0000000070", "0000000100"],
        ["0000000100", "0000000200"],
        ["0000000200", "0000000300"],
    ]
    assert json.loads((tmp_path / "report.json").read_text())["seeds"] == 2000


def test_what_is_finished_is_not_run_again(copy):
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("part-*")}
    report = json.loads((copy / "report.json").read_text())
    (copy / "report.json").unlink()
    calls = []
    train(range(300), copy, progress=lambda *call: calls.append(call))
    assert calls == []
    assert before == {path: path.stat().st_mtime_ns for path in copy.rglob("part-*")}
    assert json.loads((copy / "report.json").read_text())["matched"] == report["matched"]


@pytest.mark.parametrize("lost", ["population", "curves", "histories"])
def test_lost_parts_are_run_again(copy, finished, lost):
    """Losing a part of the population alone is an interruption; its tables are found again."""
    second = sorted((copy / lost).iterdir())[1]
    second.unlink()
    if lost != "population":
        with pytest.raises(gan.BadFile, match=rf"{second.name} cannot be read"):
            train(range(300), copy)
    calls = []
    train(range(300), copy, repair=True, progress=lambda *call: calls.append(call))
    assert calls == [(200, 300), (200, 300), (300, 300)]
    assert files(copy) == files(finished)


@pytest.mark.parametrize(("when", "least"), [(0, 0), (100, 1), (300, 3)])
def test_an_interrupt_keeps_what_is_complete(tmp_path, finished, when, least):
    calls = []

    def interrupt(done, total):
        calls.append(done)
        if len(calls) > 1 and done >= when:  # the first call comes before anything is written
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        train(range(300), tmp_path, chunk=100, workers=1, progress=interrupt)
    kept = len(list(tmp_path.glob("population/*")))
    assert least <= kept <= 3
    assert caught.value.__notes__ == [f"{100 * kept} of 300 GANs are kept in {tmp_path}"]
    assert not (tmp_path / "report.json").exists()
    train(range(300), tmp_path)
    assert files(tmp_path) == files(finished)


def test_more_seeds_that_were_begun_are_not_forgotten(copy):
    def interrupt(done, total):
        assert (done, total) == (300, 400)
        if calls:
            raise KeyboardInterrupt
        calls.append(done)

    calls = []
    with pytest.raises(KeyboardInterrupt):
        train(range(400), copy, progress=interrupt)
    assert read_manifest(copy)["seeds"] == 400 and not (copy / "report.json").exists()
    with rejects("seeds", 300):
        train(range(300), copy)
    assert train(range(400), copy).counts.seeds == 400


def test_what_stops_before_anything_is_trained_changes_nothing(copy):
    def interrupt(done, total):
        raise KeyboardInterrupt  # before the program is compiled

    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(KeyboardInterrupt):
        train(range(400), copy, progress=interrupt)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_an_unfinished_directory_opens(copy):
    first, second, third = sorted((copy / "population").iterdir())
    first.unlink()
    (copy / "report.json").unlink()
    population = gan.load_population(copy)
    assert population.columns["seed"].tolist() == list(range(100, 300))
    assert population.first_seed == 100 and population.counts.seeds == 200
    assert population.history.output.shape == (200, 2, 2)
    assert population.wall_seconds is None
    assert gan.convergence_report(population)["seeds"] == 200
    second.unlink()
    third.unlink()
    with pytest.raises(gan.BadFile, match="has no trained seeds yet"):
        gan.load_population(copy)


def test_a_directory_without_the_first_seeds_opens(tmp_path, whole):
    train(range(2000), tmp_path, chunk=1100)
    first, _ = sorted((tmp_path / "population").iterdir())
    first.unlink()
    population = gan.load_population(tmp_path)
    assert population.first_seed == 1100 and population.history.output.shape == (0, 2, 2)
    np.testing.assert_array_equal(population.columns["g_loss"], whole.columns["g_loss"][1100:])


BAD_REPORTS = {
    "empty": "",
    "a list": "[]",
    "one time": '{"wall_seconds": 5}',
    "a negative time": '{"wall_seconds": -1, "compile_seconds": 1, "seed_steps_per_second": 1}',
    "lists": '{"wall_seconds": [], "compile_seconds": "", "seed_steps_per_second": 5}',
    "words": '{"wall_seconds": "long", "compile_seconds": 1, "seed_steps_per_second": 1}',
    "not a number": '{"wall_seconds": NaN}',
    "400 digits": f'{{"wall_seconds": 1{"0" * 400}}}',
    "deep": "[" * 500 + "]" * 500,
    "deep objects": '{"a":' * 500 + "1" + "}" * 500,
}


@pytest.mark.parametrize("report", BAD_REPORTS)
def test_a_bad_report_is_named_and_repair_writes_it_anew(copy, report):
    (copy / "report.json").write_text(BAD_REPORTS[report])
    for attempt in (lambda: gan.load_population(copy), lambda: train(range(300), copy)):
        with pytest.raises(gan.BadFile, match=r"report\.json is ") as caught:
            attempt()
        assert caught.value.path == copy / "report.json"
    train(range(300), copy, repair=True)
    assert json.loads((copy / "report.json").read_text())["wall_seconds"] is None


def test_what_killed_runs_leave_is_not_read_and_is_cleaned_in_the_end(copy, finished):
    part = sorted((copy / "population").iterdir())[1]
    part.unlink()
    (copy / "population" / f".{part.name}.77.tmp").write_bytes(b"half a part")
    orphan = copy / "curves" / "part-0000000050-0000000100-0123456789abcdef.parquet"
    orphan.write_bytes(b"of a part that was never written")
    (copy / ".manifest.json.77.tmp").write_bytes(b"{")
    assert gan.load_population(copy).counts.seeds == 200
    assert len(read(copy)) == 200
    train(range(300), copy)
    names = {path.relative_to(copy).as_posix() for path in copy.rglob("*")}
    assert names == {path.relative_to(finished).as_posix() for path in finished.rglob("*")}


# What is refused


def test_a_directory_that_holds_anything_else_is_refused(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    for out in (tmp_path / "full", tmp_path / "full" / "thesis.txt"):
        with rejects("out", str(out)):
            train(range(3), out)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_cannot_be_written_to_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with rejects("out", str(tmp_path)):
        train(range(3), tmp_path)


SOFTER = gan.Objective("mse", *[lambda logit: (jax.nn.sigmoid(logit) - 0.9) ** 2] * 3)
OTHERS = {
    "hyperparams.d_lr": {"setup": gan.Setup(GAME, hyperparams=gan.Hyperparams(d_lr=0.02))},
    "steps": {"steps": 60},
    "record_every": {"record_every": 40},
    "engine": {"engine": "fused"},
    "game.name": {"setup": gan.Setup(gan.pattern_game("01"))},
    "game.matched.type": {"setup": gan.Setup(dataclasses.replace(GAME, matched=np.all))},
    "first_seed": {"seeds": range(1, 301)},
    "method.objective.d_real.function": {"setup": gan.Setup(GAME, gan.Method(SOFTER))},
    "method.update_order": {"setup": gan.Setup(GAME, gan.Method(update_order="alternating"))},
}


@pytest.mark.parametrize("field", OTHERS)
def test_another_configuration_is_refused_by_its_field(copy, finished, field):
    arguments = {"seeds": range(300), "setup": SETUP, "out": copy} | SETTING
    with pytest.raises(gan.BadFile, match=rf"manifest\.json has .* as its {field}, and this run"):
        gan.train_population(**arguments | OTHERS[field])
    assert files(copy) == files(finished) and (copy / "report.json").exists()


HALF, THIRD = 0.5, np.array([0.1, 0.3])


def above(output, border=HALF):
    """A test of success with a number of its own."""
    return output[..., 0] > border


def above_low(output, border=0.1):
    """Another, which is given the first one's name."""
    return output[..., 0] > border


above_low.__qualname__ = above_low.__name__ = "above"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (above, above_low),
        (lambda output: output[..., 0] > 0.5, lambda output: output[..., 0] > 0.6),
        (functools.partial(above, border=0.5), functools.partial(above, border=0.6)),
        (Within((0.0,), (1.0,)).__call__, Within((0.0,), (0.9,)).__call__),
        (functools.partial(above, border=THIRD), functools.partial(above, border=THIRD + 1)),
        (functools.partial(above, border=math.inf), functools.partial(above, border=-math.inf)),
    ],
    ids=["default", "code", "partial", "method", "array", "infinite"],
)
def test_functions_that_differ_are_told_apart(one, other):
    here, there = (_describe(dataclasses.replace(GAME, matched=fn)) for fn in (one, other))
    assert here != there
    assert json.loads(json.dumps(here, allow_nan=False)) == here


def test_a_function_that_holds_itself_is_refused(tmp_path):
    def matched(output):
        return matched is not None and output[..., 0] > 0.5

    setup = gan.Setup(dataclasses.replace(GAME, matched=matched))
    with rejects("game", GAME.name):
        gan.train_population(range(3), setup, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_fewer_seeds_are_refused(copy):
    with rejects("seeds", 299):
        train(range(299), copy)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("seeds", {"seeds": [0, 1]}),
        ("seeds", {"seeds": range(0, 6, 2)}),
        ("d_lr", {"setup": gan.Setup(GAME, hyperparams=gan.Hyperparams(d_lr=[0.1, 0.2, 0.3]))}),
        ("chunk", {"chunk": 0}),
        ("chunk", {"chunk": 1.5}),
        ("chunk", {"chunk": 1, "seeds": range(2**32)}),
        ("seeds", {"seeds": range(2**32), "grid": {"d_lr": [0.1, 0.2, 0.3]}}),
        ("d_lr", {"grid": {"d_lr": [[1], [2, 3]]}}),
        ("repair", {"out": None, "repair": True}),
        ("finish", {"out": None, "finish": print}),
    ],
)
def test_bad_arguments_are_rejected_and_nothing_is_made(tmp_path, name, arguments):
    given = {"seeds": range(3), "setup": SETUP, "out": tmp_path / "run", **SETTING} | arguments
    with rejects(name):
        gan.train_population(**given)
    assert not (tmp_path / "run").exists()


def test_a_directory_without_its_manifest_is_refused(copy):
    (copy / "manifest.json").unlink()
    with rejects("out", str(copy)):
        train(range(300), copy)
    with pytest.raises(gan.BadFile, match=r"manifest\.json cannot be read"):
        gan.load_population(copy)


# Bad files


def change_json(out, change):
    """Change a manifest as a person would."""
    manifest = json.loads((out / "manifest.json").read_text())
    change(manifest)
    (out / "manifest.json").write_text(json.dumps(manifest))


BAD_MANIFESTS = {
    "empty": (lambda path: path.write_bytes(b""), "is not JSON"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-40]), "is not JSON"),
    "binary": (lambda path: path.write_bytes(bytes(range(256))), "is not JSON"),
    "deep": (lambda path: path.write_text("[" * 100_000), "is not JSON"),
    "a list": (lambda path: path.write_text("[1]"), "is not the manifest of a run"),
    "another's": (
        lambda path: path.write_text(f'{{"format": {FORMAT}}}'),
        "is not the manifest of a run",
    ),
    "newer": (
        lambda path: change_json(path.parent, lambda manifest: manifest.update(format=FORMAT + 1)),
        f"is of format {FORMAT + 1}, and this version knows format {FORMAT}",
    ),
    "more seeds": (
        lambda path: change_json(path.parent, lambda manifest: manifest.update(seeds=999)),
        "was changed since it was written",
    ),
    "another rate": (
        lambda path: change_json(
            path.parent, lambda m: m["configuration"]["hyperparams"].update(d_lr=0.5)
        ),
        "was changed since it was written",
    ),
}


@pytest.mark.parametrize("bad", BAD_MANIFESTS)
def test_a_bad_manifest_is_named(copy, bad):
    damage, message = BAD_MANIFESTS[bad]
    damage(copy / "manifest.json")
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    for attempt in (
        lambda: gan.load_population(copy),
        lambda: train(range(300), copy),
        lambda: train(range(300), copy, repair=True),
    ):
        with pytest.raises(gan.BadFile, match=rf"manifest\.json {message}"):
            attempt()
    assert before == {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}


def put(path, contents):
    """Write other bytes under a part's name."""
    path.write_bytes(contents)


def rename(path, old, new):
    """Give a part another name."""
    path.rename(path.with_name(path.name.replace(old, new, 1)))


def replace(path, contents):
    """Write other bytes in the place of a part, under a name with their digest."""
    path.unlink()
    part = store.Part(range(100, 200), digest(contents))
    path.with_name(part.name).write_bytes(contents)


def rewrite(path, change=lambda table: table, **facts):
    """Write another table or other facts in the place of a part, under a name with its digest."""
    table = pq.read_table(path)
    old = json.loads(table.schema.metadata[store._METADATA])
    path.unlink()
    name = old.pop("table")
    store._write_part(path.parent.parent, name, range(100, 200), change(table), old | facts)


def flip(path):
    """Change one bit in the middle."""
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    path.write_bytes(contents)


SECOND, REVERSED = "0000000100-0000000200", list(range(99, -1, -1))
BAD_PARTS = {
    "cut": (lambda path: put(path, path.read_bytes()[:-1]), "is damaged"),
    "empty": (lambda path: put(path, b""), "is damaged"),
    "one bit": (flip, "is damaged"),
    "a directory": (lambda path: path.unlink() or path.mkdir(), "cannot be read"),
    "foreign name": (lambda path: rename(path, "part", "rows"), "is no part of a run"),
    "foreign file": (lambda path: replace(path, b"x"), "is no part of a run"),
    "foreign Parquet": (
        lambda path: replace(path, (path.parent.parent / "other.parquet").read_bytes()),
        "is no part of a run",
    ),
    "another run's": (
        lambda path: rewrite(path, configuration="0" * 16),
        "is of another configuration",
    ),
    "no seeds": (
        lambda path: rewrite(path, lambda table: table.select(["matched"])),
        "has the column matched of bool, where the run has seed of uint32",
    ),
    "fewer seeds": (
        lambda path: rewrite(path, lambda table: table.slice(0, 99)),
        "has 99 rows, not 100",
    ),
    "other seeds": (
        lambda path: rewrite(path, lambda table: table.take(REVERSED)),
        "has other seeds than its name says",
    ),
    "other rows": (
        lambda path: rename(path, SECOND, "0000000100-0000000150"),
        r"is of another rows: \[100, 200\], not \[100, 150\]",
    ),
    "no rows": (lambda path: rename(path, SECOND, "0000000200-0000000100"), "has not 1 to"),
    "rows beyond": (lambda path: rename(path, SECOND, "0000000300-0000000400"), "rows beyond"),
    "rows twice": (
        lambda path: shutil.copy(path, path.with_name(f"part-{SECOND}-{'f' * 16}.parquet")),
        "has rows that another part has already",
    ),
}


@pytest.mark.parametrize("bad", BAD_PARTS)
def test_a_bad_part_is_named_and_repaired_only_when_asked(copy, finished, bad):
    damage, message = BAD_PARTS[bad]
    pq.write_table(pa.table({"seed": range(100, 200)}), copy / "other.parquet")
    damage(sorted((copy / "population").iterdir())[1])
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    for attempt in (
        lambda: gan.load_population(copy),
        lambda: train(range(300), copy),
    ):
        with pytest.raises(gan.BadFile, match=message) as caught:
            attempt()
        assert caught.value.path.parent == copy / "population"
    assert before == {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}

    train(range(300), copy, repair=True)
    assert files(copy) - {f"set-aside/{p.name}" for p in copy.glob("set-aside/*")} == files(
        finished
    )
    assert len(list((copy / "set-aside").iterdir())) >= 1


def test_what_was_set_aside_is_never_overwritten(copy, finished):
    for turn in range(3):
        part = sorted((copy / "population").iterdir())[1]
        part.write_bytes(bytes([turn]))
        train(range(300), copy, repair=True)
        if turn == 1:
            next((copy / "set-aside").glob("0-*")).unlink()
    kept = [path.read_bytes() for path in sorted((copy / "set-aside").iterdir())]
    assert kept == [b"\2", b"\1"]
    assert files(copy) == files(finished)


def test_a_link_to_nowhere_is_set_aside(copy):
    (copy / "population" / "notes").symlink_to("nowhere")
    with pytest.raises(gan.BadFile, match="notes is no part of a run"):
        train(range(300), copy)
    assert train(range(300), copy, repair=True).counts.seeds == 300


@pytest.mark.parametrize("table", ["curves", "histories"])
def test_a_bad_side_table_is_named_and_its_seeds_are_run_again(copy, finished, table):
    part = sorted((copy / table).iterdir())[1]
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(gan.BadFile, match=rf"{part.name} is damaged"):
        gan.load_population(copy)
    train(range(300), copy, repair=True)
    assert files(copy) == files(finished)
    aside = sorted(path.name for path in (copy / "set-aside").iterdir())
    assert len(aside) == 2 and table in aside[0] and "population" in aside[1]


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_fuzzed_files_are_refused_or_make_no_difference(finished, tmp_path_factory, data):
    out = tmp_path_factory.mktemp("fuzzed") / "run"
    shutil.copytree(finished, out)
    path = data.draw(st.sampled_from([out / "manifest.json", *sorted(out.glob("*/part-*"))]))
    contents = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(contents) - 1))
    change = data.draw(st.sampled_from(["flip", "cut", "insert", "drop", "join"]))
    if change == "flip":
        contents[place] ^= data.draw(st.integers(1, 255))
    elif change == "cut":
        del contents[place:]
    elif change == "insert":
        contents[place:place] = data.draw(st.binary(min_size=1, max_size=8))
    elif change == "drop":
        del contents[place : place + data.draw(st.integers(1, 64))]
    else:
        contents += contents[place:]
    path.write_bytes(contents)
    try:
        population = gan.load_population(out)
    except gan.BadFile as error:
        assert error.path == path
    else:
        assert path.name == "manifest.json"  # such as one more space
        assert_same_population(population, gan.load_population(finished))
    finally:
        shutil.rmtree(out)


# A disk that is full


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 KiB, and what makes it larger."""
    mount = shutil.which("mount")
    size = ["-o", "size=400k"]
    if (
        not mount
        or subprocess.run(
            [mount, "-t", "tmpfs", *size, "tmpfs", tmp_path], capture_output=True
        ).returncode
    ):
        pytest.skip("no right to mount a small file system")
    yield tmp_path, lambda: subprocess.run([mount, "-o", "remount,size=64m", tmp_path], check=True)
    subprocess.run(["umount", "-l", tmp_path], check=True)


def test_a_full_disk_leaves_no_broken_part_and_the_run_can_be_resumed(small_disk, whole):
    disk, enlarge = small_disk
    out = disk / "run"
    with pytest.raises(OSError) as caught:
        train(range(2000), out, chunk=50)
    assert caught.value.errno == errno.ENOSPC and caught.value.filename
    kept = gan.load_population(out).counts.seeds
    assert 0 < kept < 2000
    assert caught.value.__notes__ == [f"{kept:,} of 2,000 GANs are kept in {out}"]
    assert not list(out.rglob("*.tmp")) and not (out / "report.json").exists()
    enlarge()
    assert_same_population(train(range(2000), out), whole)


GRID = {"d_lr": [0.01, 0.3], "g_lr": [0.02, 0.2, 0.4]}


NEW = (
    gan.Method("relativistic", "extragradient", "symplectic", sync_period=4),
    {"slow_step_size": 0.4, "average_decay": 0.9, "penalty_weight": 0.5},
)


def test_a_directory_knows_every_part_of_its_method(tmp_path):
    """Those that the state keeps more for, too: it is read without them, and it is resumed."""
    method, numbers = NEW
    method = dataclasses.replace(method, optimizer=(optax.optimistic_gradient_descent, optax.adam))
    setup = gan.Setup(gan.bilinear_game(), method, gan.Hyperparams(0.1, 0.05, **numbers))
    run = functools.partial(gan.train_population, steps=20, chunk=5, out=tmp_path)
    begun, whole = run(range(5), setup), gan.train_population(range(10), setup, steps=20)
    assert gan.load_population(tmp_path).setup == begun.setup
    for name, column in run(range(10), setup).columns.items():
        np.testing.assert_array_equal(column, whole.columns[name], err_msg=name)
    other = dataclasses.replace(method, sync_period=5)
    with pytest.raises(gan.BadFile, match=r"has 4 as its method\.sync_period, and this"):
        run(range(10), dataclasses.replace(setup, method=other))


def test_a_grid_goes_to_a_directory_is_resumed_and_grows(tmp_path):
    def interrupt(done, total):
        if done >= 100:
            raise KeyboardInterrupt

    run = functools.partial(train, out=tmp_path, chunk=100, grid=GRID)
    with pytest.raises(KeyboardInterrupt):
        run(range(60), progress=interrupt, workers=1)
    begun = files(tmp_path)
    assert begun and len(read(tmp_path)) < 360
    run(range(60))
    assert begun < files(tmp_path) and len(read(tmp_path)) == 360
    grown = run(range(70))
    in_memory = train(range(70), grid=GRID)
    assert_same_rows(read(tmp_path), in_memory)
    for loaded in (grown, gan.load_population(tmp_path)):
        assert loaded.counts.seeds == 420 and loaded.first_seed == 0
        assert {name: values.tolist() for name, values in loaded.grid.items()} == {
            name: np.float32(values).tolist() for name, values in GRID.items()
        }
        for name, column in gan.tabulate_cells(in_memory).items():
            np.testing.assert_array_equal(gan.tabulate_cells(loaded)[name], column, err_msg=name)
    with pytest.raises(gan.BadFile, match=r"as its grid.g_lr, and this run \[0.02, 0.2\]"):
        run(range(70), grid={**GRID, "g_lr": [0.02, 0.2]})


@pytest.mark.parametrize(
    "setup",
    [
        gan.Setup(
            gan.dirac_game((0.5, -1.0), 0.1),
            gan.Method("hinge", penalty="r2"),
            gan.Hyperparams(0.1, 0.2, clip=2.0),
        ),
        gan.Setup(
            gan.dirac_game(),
            gan.Method("lsgan", "alternating", d_steps=2, optimizer=(optax.adam, optax.sgd)),
            gan.Hyperparams(0.1, 0.2, noise_std=0.5),
        ),
    ],
)
def test_a_directory_knows_its_setup(tmp_path, setup):
    gan.train_population(range(3), setup, steps=20, engine="vmap", out=tmp_path)
    assert gan.load_population(tmp_path).setup == setup
    settings = read_run(tmp_path)
    assert (settings.setup, settings.seeds, settings.first_seed) == (setup, 3, 0)
    assert (settings.steps, settings.record_every, settings.engine) == (20, 10, "vmap")


def test_another_built_in_game_is_recognised_by_its_name_in_games(tmp_path, monkeypatch):
    """So that a new game is written in `games.py` alone."""

    def flipped(pattern):
        game = gan.pattern_game(pattern.translate({48: "1", 49: "0"}))
        return dataclasses.replace(game, name="flipped", recipe=("flipped", (pattern,)))

    setup = gan.Setup(flipped("01"))
    gan.train_population(range(3), setup, out=tmp_path, **SETTING)
    with rejects("game", None):
        gan.load_population(tmp_path)
    monkeypatch.setitem(GAMES, "flipped", flipped)
    assert gan.load_population(tmp_path).setup == setup


def test_every_part_is_read_at_most_once(tmp_path, monkeypatch):
    """By the run that resumes it, when it begins; and none that the run wrote itself."""
    read, open_part = [], store._open_part

    def note(out, name, *args):
        read.append(name)
        return open_part(out, name, *args)

    monkeypatch.setattr(store, "_open_part", note)
    first = train(range(300), tmp_path, chunk=100)
    assert read == [] and first.counts.seeds == 300
    second = train(range(500), tmp_path, chunk=100)
    assert sorted(read) == sorted([*TABLES] * 3)
    assert_same_population(second, gan.load_population(tmp_path))


def test_the_directory_is_locked_until_everything_is_written(tmp_path):
    def finish(population, report):
        assert report == json.loads((tmp_path / "report.json").read_text())
        assert report == gan.convergence_report(population)
        with pytest.raises(gan.BadFile, match="is being written to by another run"):
            train(range(300), tmp_path)
        called.append(population)

    called = []
    assert [train(range(300), tmp_path, finish=finish)] == called
    train(range(300), tmp_path)
