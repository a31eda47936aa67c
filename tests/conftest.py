"""What the tests share: a compilation cache for the run, and populations trained once."""

import gc
import os
import signal
import sys

import jax
import pytest

import gan1010_jax as gan

LIMIT = 2**33


@pytest.fixture(scope="session")
def shared_path(tmp_path_factory):
    """A directory that all workers of this run share, and no other run."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(shared_path):
    """Keep compiled programs for this run, so that tests and subprocesses compile each once.

    All workers share them. A limit to their size, far above it, makes JAX lock what it reads and
    writes.
    """
    directory = str(shared_path / "compiled")
    os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(LIMIT)  # for subprocesses
    jax.config.update("jax_compilation_cache_max_size", LIMIT)
    jax.config.update("jax_compilation_cache_dir", directory)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    return directory


@pytest.fixture(autouse=True)
def own_process():
    """Take back what a program that runs in this process makes of it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    hooks, threshold = (sys.excepthook, sys.unraisablehook), gc.get_threshold()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    sys.excepthook, sys.unraisablehook = hooks
    gc.set_threshold(*threshold)


@pytest.fixture(scope="session")
def population(compilation_cache):
    """The reference: 64 seeds, 10,000 steps, recorded every 10."""
    return gan.train_population(range(64))


@pytest.fixture(scope="session")
def short(compilation_cache):
    """Train a population of short runs: 200 steps, recorded every 10."""

    def train_short(seeds, *args, **kwargs):
        return gan.train_population(seeds, *args, steps=200, **kwargs)

    return train_short


@pytest.fixture
def x64():
    """JAX's x64 mode, in which its default float type is float64."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)
