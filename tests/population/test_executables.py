"""Executables on the disk: never a bit, a failure or a foreign instruction by them."""

import contextlib
import errno
import itertools
import os
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import gan1010_jax as gan
from gan1010_jax.engines import ENGINES
from gan1010_jax.methods import OBJECTIVES, OPTIMIZERS, PENALTIES
from gan1010_jax.population import blocks, executables

SETUP = gan.Setup(gan.dirac_game())
COMPILED = "/jax/core/compile/backend_compile_duration"
compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda name, seconds, **_: compiled.append(name) if name == COMPILED else None
)


@pytest.fixture
def place(tmp_path, compilation_cache):
    """A compilation cache of a test's own."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "cache"))
    yield tmp_path / "cache" / "gan1010_jax"
    jax.config.update("jax_compilation_cache_dir", compilation_cache)
    blocks._compile_program.cache_clear()


def run(setup=SETUP, engine="vmap", steps=20):
    """The bits of a small population as a new process would train it, and what it compiled."""
    blocks._compile_program.cache_clear()
    compiled.clear()
    columns = gan.train_population(range(5), setup, steps=steps, engine=engine).columns
    for thread in executables.threading.enumerate():
        if thread.name == executables.KEEPING:
            thread.join()
    return b"".join(column.tobytes() for column in columns.values()), len(compiled)


def read_all(place):
    return {path.name: path.read_bytes() for path in place.iterdir()}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_second_process_compiles_nothing_and_computes_the_same_bits(place, engine):
    bits, first = run(engine=engine)
    kept = read_all(place)
    assert run(engine=engine) == (bits, 0) and first >= 2 and len(kept) == 2
    assert read_all(place) == kept
    jax.config.update("jax_compilation_cache_dir", None)
    assert run(engine=engine)[0] == bits


def test_another_setting_is_another_program(place):
    run()
    kept = set(read_all(place))
    others = [
        lambda: run(steps=30),
        lambda: run(gan.Setup(gan.dirac_game(start=(0.5, 0.5)))),
        lambda: run(gan.Setup(gan.dirac_game(), gan.Method("wasserstein"))),
        lambda: run(gan.Setup(gan.dirac_game(), hyperparams=gan.Hyperparams(clip=0.1))),
    ]
    for other in others:
        other()
        now = set(read_all(place))
        assert len(now - kept) in (1, 2)  # those of another setup begin alike at times
        kept = now
    run(gan.Setup(gan.dirac_game(), hyperparams=gan.Hyperparams(d_lr=0.5, g_lr=0.1)))
    with jax.default_matmul_precision("highest"):
        assert set(read_all(place)) == kept  # rates are none of a program's
        run()
    assert len(set(read_all(place)) - kept) == 2


class Bomb:
    """What a pickle of it does is to make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


POISONS = {
    "another's code": lambda data, bomb: b"\n".join([*data.split(b"\n", 2)[:2], bomb]),
    "half a file": lambda data, bomb: data[: len(data) // 2],
    "another processor's": lambda data, bomb: data.replace(b"processor", b"Z80", 1),
    "empty": lambda data, bomb: b"",
    "random bytes": lambda data, bomb: np.random.default_rng(0).bytes(len(data)),
    "a byte less": lambda data, bomb: data[:-1],
    "a bit flipped": lambda data, bomb: data[:-1000] + bytes([data[-1000] ^ 1]) + data[-999:],
    "another version's": lambda data, bomb: data.replace(b'"jaxlib": "', b'"jaxlib": "9.', 1),
}


def some_slow(cases, quick):
    """The parameters of a test, all slow but the first ones."""
    return [
        pytest.param(case, marks=[] if number < quick else pytest.mark.slow, id=name)
        for number, (name, case) in enumerate(cases.items())
    ]


@pytest.mark.parametrize("poison", some_slow(POISONS, quick=3))
def test_a_bad_file_is_not_run_but_replaced(place, tmp_path, poison):
    bits, _ = run()
    sound = read_all(place)
    bomb, mark = pickle.dumps(Bomb(tmp_path / "went off")), tmp_path / "went off"
    for name, data in sound.items():
        poisoned = poison(data, bomb)
        assert poisoned != data
        (place / name).write_bytes(poisoned)
    again, programs = run()
    assert again == bits and programs >= 2 and not mark.exists()
    assert run() == (bits, 0)


def give_away(place, aside):
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(place, 12345, -1)


SPOILERS = {
    "somebody else's": give_away,
    "open to all": lambda place, aside: place.chmod(0o777),
    "open to a group": lambda place, aside: place.chmod(0o750),
    "a link": lambda place, aside: (place.rename(aside), place.symlink_to(aside)),
    "a file": lambda place, aside: (place.rename(aside), place.write_text("a file")),
}


@pytest.mark.parametrize("spoil", some_slow(SPOILERS, quick=2))
def test_a_folder_that_is_not_ones_own_is_neither_read_nor_written(place, tmp_path, spoil):
    bits, _ = run()
    spoil(place, tmp_path / "aside")
    before = read_all(place) if place.is_dir() else place.read_text()
    again, programs = run()
    assert again == bits and programs >= 2
    assert (read_all(place) if place.is_dir() else place.read_text()) == before


def test_a_folder_in_the_place_of_an_executable_ends_no_run(place):
    bits, _ = run()
    for path in [*place.iterdir()]:
        path.unlink()
        path.mkdir()
    assert run()[0] == bits


def test_a_read_only_place_is_read(place, monkeypatch):
    bits, _ = run()

    def fail(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "utime", fail)  # root may write where the mode says no
    monkeypatch.setattr(os, "mkdir", fail)
    assert run() == (bits, 0)


def test_without_a_compilation_cache_nothing_is_kept(tmp_path, place):
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        run()
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
    assert not place.exists()


@pytest.mark.parametrize("module", [__name__, None])  # a function that `exec` makes has none
def test_ones_own_functions_are_not_kept(place, module):
    def mine(logit):
        return (jax.nn.sigmoid(logit) - 1) ** 2

    mine.__module__ = module
    mse = OBJECTIVES["mse"]
    own = gan.Objective("mse", mine, mse.d_fake, mse.g)
    run(gan.Setup(gan.dirac_game(), gan.Method(own)))
    assert not any(place.iterdir())


def test_every_built_in_method_is_kept():
    methods = list(itertools.product(OBJECTIVES, PENALTIES.values(), OPTIMIZERS.values(), ENGINES))
    kept = 0
    for objective, penalty, optimizer, engine in methods:
        hyperparams = gan.Hyperparams(**dict.fromkeys(penalty.hyperparams, 0.1))
        with contextlib.suppress(gan.InvalidArgument):  # of parts that do not go together
            method = gan.Method(
                objective, update_order="alternating", penalty=penalty, optimizer=optimizer
            )
            setup = gan.Setup(gan.pattern_game("110"), method, hyperparams)
            source = executables.Source(len, (), None, {}, ENGINES[engine].build_loop)
            assert executables._is_ours(source, setup)
            kept += 1
    assert kept > len(methods) / 2


def test_the_oldest_are_deleted_where_there_are_too_many(place, monkeypatch):
    run()
    first = read_all(place)
    monkeypatch.setattr(executables, "_MOST", sum(map(len, first.values())) * 3 // 2)
    for path in place.iterdir():
        os.utime(path, (1, 1))
    bits, _ = run(steps=30)
    assert sum(map(len, read_all(place).values())) <= executables._MOST
    assert run(steps=30) == (bits, 0)


SCRIPT = """
import resource, sys, jax
import gan1010_jax as gan
if sys.argv[1] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
population = gan.train_population(range(5), gan.Setup(gan.dirac_game()), steps=20, engine="vmap")
print(b"".join(column.tobytes() for column in population.columns.values()).hex())
"""


def start(place, disk="empty"):
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(place.parent)}
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, disk]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_two_runs_at_once_share_them_and_a_full_disk_ends_none(place):
    full = start(place, "full")
    assert full.communicate()[0] and full.returncode == 0
    assert not any(place.iterdir())
    both = [start(place), start(place)]
    found = {process.communicate()[0] for process in both}
    assert [process.returncode for process in both] == [0, 0] and len(found) == 1
    assert len(read_all(place)) == 2
    bits, programs = run()
    assert bits.hex() == found.pop().strip() and programs == 0
