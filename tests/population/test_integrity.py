"""A directory is untrusted input: whatever is in it is loaded right, or rejected by its path."""

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rejects import rejects

import gan1010_jax as gan
from gan1010_jax.population import audit_population, store
from gan1010_jax.population.manifest import fingerprint

SETUP = gan.Setup(gan.pattern_game("10"), hyperparams=gan.Hyperparams(d_lr=0.1, g_lr=0.3))
RUN = {"steps": 400, "record_every": 40, "engine": "vmap", "chunk": 60}
ROWS = range(60, 120)  # of the second chunk


def train(out, seeds=150, **options):
    return gan.train_population(range(seeds), SETUP, out=out, **RUN | options)


@pytest.fixture(scope="module")
def finished(compilation_cache, tmp_path_factory):
    """A finished directory of 150 seeds in three chunks, of which some match and some forget."""
    out = tmp_path_factory.mktemp("integrity") / "run"
    assert 0 < train(out).counts.matched < 150
    return out


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def second(out, table):
    """The file of the second chunk in a table."""
    return sorted((out / table).iterdir())[1]


def forge(out, table, change=lambda table: table, **facts):
    """Write another second part of a table, with every digest right; the path that it has then."""
    path = second(out, table)
    found = pq.read_table(path)
    old = json.loads(found.schema.metadata[store._METADATA])
    path.unlink()
    part = store._write_part(out, old.pop("table"), ROWS, change(found), old | facts)
    if table != "population":
        forge(out, "population", **{table: part.digest})
    return out / table / part.name


def forge_manifest(out, change):
    """Write another manifest, with its checksum right."""
    path = out / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["checksum"]
    change(manifest)
    path.write_text(json.dumps(manifest | {"checksum": fingerprint(manifest)}))


def put(name, value, row=7):
    """The change of one value of a column."""

    def change(table):
        column = table[name].to_numpy().copy()
        column[row] = value(column[row]) if callable(value) else value
        place = table.column_names.index(name)
        return table.set_column(place, table.field(name), pa.array(column))

    return change


def opposite(flag):
    return not flag


def cast(name, kind):
    def change(table):
        place = table.column_names.index(name)
        return table.set_column(place, name, table[name].cast(kind))

    return change


def nothing(table):
    """The change of a column to one with a value that is missing."""
    values = table["g_loss"].to_pylist()
    return table.set_column(
        table.column_names.index("g_loss"), "g_loss", pa.array([None, *values[1:]], pa.float32())
    )


FORGED = {
    "a column less": ("population", lambda table: table.drop_columns(["g_loss"])),
    "a column more": ("population", lambda table: table.append_column("x", table["seed"])),
    "another order": ("population", lambda t: t.select([*t.column_names[1:], "seed"])),
    "steps of floats": ("population", cast("settled_step", pa.float64())),
    "a value missing": ("population", nothing),
    "a matched flipped": ("population", put("matched", opposite)),
    "a support flipped": ("population", put("in_support", opposite)),
    "a forgot flipped": ("population", put("forgot", opposite)),
    "a diverged flipped": ("population", put("diverged", opposite)),
    "a step between records": ("population", put("settled_step", 41)),
    "a step beyond": ("population", put("first_match_step", 2**31 - 1)),
    "a negative step": ("population", put("first_match_step", -2)),
    "another output": ("population", put("output_1", 0.25)),
    "another loss": ("population", put("d_loss_fake", np.nan)),
    "fewer rows": ("population", lambda table: table.slice(1)),
    "other seeds": ("population", lambda table: table.take(list(range(59, -1, -1)))),
    "short curves": ("curves", lambda table: table.slice(0, 9)),
    "curves of other steps": ("curves", put("step", 1)),
    "curves of more seeds": ("curves", put("seeds", 61)),
    "a count changed": ("curves", put("matched", lambda count: count + 1)),
    "a count below zero": ("curves", put("diverged", -1)),
    "a count beyond": ("curves", put("in_support", 61)),
    "no histories": ("histories", lambda table: table.slice(0, 0)),
    "histories of other seeds": ("histories", put("seed", 0)),
    "histories of other steps": ("histories", put("step", 0)),
    "a history that ends elsewhere": ("histories", put("output_0", 0.5, row=9)),
    "a history that matched": ("histories", put("matched", opposite)),
}


@pytest.mark.parametrize("forgery", FORGED)
def test_a_forged_part_is_named_and_repaired(copy, finished, forgery):
    table, change = FORGED[forgery]
    path = forge(copy, table, change)
    with pytest.raises(gan.BadFile) as caught:
        gan.load_population(copy)
    assert caught.value.path.name[:27] == path.name[:27]
    assert audit_population(copy).bad[0].path == caught.value.path
    train(copy, repair=True)
    assert names(copy) == names(finished)


def names(out):
    """The files of a run, but for what was set aside."""
    paths = (path.relative_to(out) for path in out.rglob("*") if path.is_file())
    return sorted(str(path) for path in paths if path.parts[0] != "set-aside")


@pytest.fixture(scope="module")
def grid(compilation_cache, tmp_path_factory):
    """A finished directory of a grid, of whose rows no history is kept."""
    out = tmp_path_factory.mktemp("grid") / "run"
    train(out, seeds=60, grid={"d_lr": [0.1, 0.2]})
    return out


NEED_HISTORIES = ("another output", "another loss", "a count changed")
WITHOUT = [
    name
    for name, (table, _) in FORGED.items()
    if table != "histories" and name not in NEED_HISTORIES
]
CONTRADICTIONS = {
    "settled before it matched": {"first_match_step": 400, "settled_step": 40, "matched": True},
    "settled and no match": {"first_match_step": -1, "settled_step": 40, "matched": True},
    "matched and diverged": {"matched": True, "diverged": True},
    "matched and not settled": {"matched": True, "settled_step": -1},
}


@pytest.mark.parametrize(
    "forgery", [*CONTRADICTIONS, *(pytest.param(name, marks=pytest.mark.slow) for name in WITHOUT)]
)
def test_a_forged_part_is_named_where_no_history_is_kept(grid, tmp_path, forgery):
    def put_all(table):
        for name, value in CONTRADICTIONS[forgery].items():
            table = put(name, value)(table)
        return table

    copy = shutil.copytree(grid, tmp_path / "run")
    path = forge(copy, *FORGED.get(forgery, ("population", put_all)))
    with pytest.raises(gan.BadFile) as caught:
        gan.load_population(copy)
    assert caught.value.path.name[:27] == path.name[:27]


@pytest.mark.parametrize("by", [1, -1])
def test_curves_agree_with_rows_that_have_no_history(tmp_path, by):
    """A grid keeps none; of its rows, the first matches and those that settled bound the curves."""
    grid = {"d_lr": [0.1, 0.2]}
    train(tmp_path, seeds=60, grid=grid)
    rows = gan.load_population(tmp_path).columns
    first = rows["first_match_step"][ROWS.start : ROWS.stop]
    settled = rows["settled_step"][ROWS.start : ROWS.stop]
    bound = (
        ((first >= 0) & (first <= 200)).sum()
        if by > 0
        else ((0 <= settled) & (settled <= 200)).sum()
    )
    forge(tmp_path, "curves", put("matched", bound + by, row=4))  # at step 200
    with pytest.raises(gan.BadFile, match="counts matched as the rows rule out"):
        gan.load_population(tmp_path)


FORGED_FACTS = {
    "no curves": {"curves": None},
    "curves elsewhere": {"curves": "x/../../../victim/precious"},
    "histories elsewhere": {"histories": "../../victim/precious"},
    "deep": {"rows": json.loads("[" * 500 + "]" * 500)},
    "another run's": {"configuration": "0" * 16},
}


@pytest.mark.parametrize("facts", FORGED_FACTS)
def test_a_part_with_forged_facts_moves_nothing_outside(copy, finished, facts, tmp_path):
    victim = tmp_path / "victim" / "precious.parquet"
    victim.parent.mkdir()
    victim.write_bytes(b"precious")
    path = forge(copy, "population", **FORGED_FACTS[facts])
    with pytest.raises(gan.BadFile) as caught:
        gan.load_population(copy)
    assert caught.value.path == path
    train(copy, repair=True)
    assert names(copy) == names(finished) and victim.read_bytes() == b"precious"


def link(path, target="/dev/zero"):
    path.unlink()
    path.symlink_to(target)


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("make", [link, pipe, folder])
@pytest.mark.parametrize("name", ["manifest.json", "report.json", "population", "curves"])
def test_only_regular_files_are_read(copy, finished, name, make):
    path = copy / name
    path = second(copy, name) if path.is_dir() else path
    make(path)
    for attempt in (lambda: gan.load_population(copy), lambda: train(copy)):
        with pytest.raises(gan.BadFile) as caught:
            attempt()
        assert caught.value.path == path
    assert audit_population(copy).bad[0].path == path
    if name != "manifest.json":
        train(copy, repair=True)
        assert names(copy) == names(finished)


@pytest.mark.parametrize("name", ["population", "curves", "histories", "figures"])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_folder_that_is_none_is_named_and_nothing_is_written_through_it(
    copy, finished, tmp_path, name, kind
):
    outside = tmp_path / "outside"
    if (copy / name).exists():
        shutil.move(copy / name, outside)
    else:
        outside.mkdir()
    (copy / name).symlink_to(outside) if kind == "link" else (copy / name).write_text("x")
    (outside / ".x.1.tmp").write_text("not of this run")
    before = sorted(outside.iterdir())
    for attempt in (lambda: gan.load_population(copy), lambda: train(copy)):
        with pytest.raises(gan.BadFile, match="is no folder of its own") as caught:
            attempt()
        assert caught.value.path == copy / name
    train(copy, repair=True)
    assert names(copy) == names(finished) and sorted(outside.iterdir()) == before


def test_nothing_is_set_aside_through_a_link(copy, tmp_path):
    (copy / "set-aside").symlink_to(tmp_path)
    with pytest.raises(gan.BadFile, match="set-aside is no folder of its own"):
        train(copy, repair=True)


def test_a_lock_that_is_a_link_is_not_followed(copy, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (copy / ".lock").unlink(missing_ok=True)
    (copy / ".lock").symlink_to(precious)
    with pytest.raises(gan.InvalidArgument):
        train(copy)
    assert precious.read_text() == "precious"


FORGED_MANIFESTS = {
    "a list of seeds": {"seeds": [3]},
    "no seeds": {"seeds": 0},
    "seeds beyond": {"seeds": 2**32 + 1},
    "a chunk of text": {"chunk": "60"},
    "versions of numbers": {"versions": {"jax": 1}},
    "a version that writes to the terminal": {"versions": {"jax": "\x1b]0;x\x07"}},
    "a machine without a device": {"machine": {}},
    "a device that writes to the terminal": {
        "machine": {"device": "\x1b[2J", "processor": "x", "XLA_FLAGS": ""}
    },
    "a machine in a list": {"machine": ["x"]},
    "no configuration": {"configuration": None},
    "nested": {"versions": json.loads('{"a":' * 300 + "1" + "}" * 300)},
}
FORGED_CONFIGURATIONS = {
    "steps of 400 digits": {"steps": 10**400},
    "steps between records": {"steps": 401},
    "a rate of 400 digits": {"hyperparams": {"d_lr": 10**400, "g_lr": 0.1}},
    "a rate below zero": {"hyperparams": {"d_lr": -1.0, "g_lr": 0.1}},
    "an unknown rate": {"hyperparams": {"x": 0.1}},
    "an unknown engine": {"engine": "steam"},
    "an empty grid": {"grid": {"d_lr": []}},
    "a grid of words": {"grid": {"d_lr": ["a"]}},
    "another dtype": {"dtype": "float16"},
    "no method": {"method": {}},
    "a huge grid": {"grid": {"d_lr": [i / 10**6 for i in range(10**5)]}},
    "a recipe of one word": {"game": {"name": "10", "recipe": ["pattern"]}},
    "a recipe of words": {"game": {"name": "10", "recipe": ["pattern", "10"]}},
}


@pytest.mark.parametrize("forgery", [*FORGED_MANIFESTS, *FORGED_CONFIGURATIONS])
def test_a_forged_manifest_is_named(copy, forgery):
    def change(manifest):
        manifest |= FORGED_MANIFESTS.get(forgery, {})
        if forgery in FORGED_CONFIGURATIONS:
            manifest["configuration"] |= FORGED_CONFIGURATIONS[forgery]

    forge_manifest(copy, change)
    with pytest.raises(gan.BadFile) as caught:
        gan.load_population(copy)
    assert caught.value.path == copy / "manifest.json"


def test_columns_are_those_that_were_checked(copy):
    population = gan.load_population(copy)
    path = second(copy, "population")
    pq.write_table(put("matched", opposite)(pq.read_table(path)), path)
    with pytest.raises(gan.BadFile, match="is damaged") as caught:
        population.columns["matched"]
    assert caught.value.path == path


def test_an_audit_counts_what_is_sound_and_changes_nothing(copy):
    def state():
        return {path: path.stat().st_mtime_ns for path in copy.rglob("*")}

    files = [path for path in copy.rglob("*") if path.is_file() and path.name != ".lock"]
    before, audit = state(), audit_population(copy)
    assert audit == (150, 150, len(files), sum(path.stat().st_size for path in files), [])
    second(copy, "curves").write_bytes(b"x")
    before, audit = state(), audit_population(copy)
    assert (audit.rows, len(audit.bad)) == (90, 2) and before == state()


def test_an_audit_is_the_same_in_any_float_type(tmp_path, copy, x64):
    train(tmp_path / "doubles")
    assert audit_population(tmp_path / "doubles").bad == audit_population(copy).bad == []
    jax.config.update("jax_enable_x64", False)
    assert audit_population(tmp_path / "doubles").bad == []


def test_a_part_that_is_larger_than_any_chunk_is_not_read(copy):
    forge_manifest(copy, lambda manifest: manifest.update(seeds=10**8, chunk=8192))
    large = copy / "population" / f"part-0000000150-0100000000-{'0' * 16}.parquet"
    large.write_bytes(b"")
    with pytest.raises(gan.BadFile, match="has not 1 to 1,048,576 rows, by its name"):
        gan.load_population(copy)


def test_a_tree_of_empty_folders_is_no_run(tmp_path):
    """However deep it is: a run's own folders, and a sweep's, are three levels at most."""
    (tmp_path / "a" / "b" / "c" / "d").mkdir(parents=True)
    with rejects("out", str(tmp_path)):
        train(tmp_path)


def test_an_audit_compares_the_report_with_the_rows(copy):
    report = json.loads((copy / "report.json").read_text())
    report["matched"]["count"] += 1
    (copy / "report.json").write_text(json.dumps(report))
    assert [bad.path for bad in audit_population(copy).bad] == [copy / "report.json"]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(copy, monkeypatch, number):
    def fail(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(gan.BadFile, match="is on a file system without locks: write to another"):
        train(copy)


# What a fuzzed value of each kind is changed to, beside random ones.
EDGES = {"i": [-1, 0, 1, 40, 400, 2**31 - 1], "u": [0, 2**32 - 1], "f": [0.0, np.nan, np.inf]}


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_fuzzed_values_with_right_digests_are_found(finished, tmp_path_factory, data):
    """Every value of a chunk all of whose histories are kept, but those within a history."""
    out = tmp_path_factory.mktemp("fuzzed") / "run"
    shutil.copytree(finished, out)
    table = data.draw(st.sampled_from(["population", "curves", "histories"]))
    found = pq.read_table(second(out, table))
    checked = found.column_names if table != "histories" else ["seed", "step", "matched", "finite"]
    name = data.draw(st.sampled_from(checked))
    row = data.draw(st.integers(0, len(found) - 1))
    old = found[name][row].as_py()
    kind = found[name].to_numpy().dtype.kind
    new = not old if kind == "b" else data.draw(st.sampled_from(EDGES[kind]))
    path = forge(out, table, put(name, new, row))
    try:
        if new == old or np.array_equal([new], [old], equal_nan=True):
            assert gan.load_population(out).counts.seeds == 150
        else:
            with pytest.raises(gan.BadFile) as caught:
                gan.load_population(out)
            assert caught.value.path.name[:27] == path.name[:27]
    finally:
        shutil.rmtree(out.parent)


@pytest.mark.slow
def test_a_part_that_unfolds_to_gigabytes_is_rejected_within_a_gigabyte(copy):
    large = pa.table({"seed": pa.array(np.zeros(2 * 10**8, np.uint32))})
    path = forge(copy, "population", lambda table: large)
    assert path.stat().st_size < 10**6
    limited = (
        "import resource, sys, gan1010_jax as gan\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: gan.load_population(sys.argv[1])\n"
        "except gan.BadFile as error: print(error.path)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    command = [sys.executable, "-c", limited, str(copy)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert said[0] == str(path) and int(said[1]) < 2**20  # KiB
