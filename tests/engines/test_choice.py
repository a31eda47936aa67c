"""The choice among engines: what "auto" takes, and what it does where an engine fails.

The engines that fail here have something harmful in their programs: to the compiler, to the memory,
or while they run.
"""

import json
import warnings
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from rejects import rejects

import gan1010_jax as gan
from gan1010_jax.engines import ENGINES, check_engine, fit_block, list_engines, use_engine
from gan1010_jax.engines.pallas import SHIFTS_ON_GPU, has_pallas

DIRAC, CPU = gan.Setup(gan.dirac_game()), jax.devices("cpu")[0]
WIDE = 8192  # a block that is halved where it does not fit the memory


def test_an_unknown_engine_is_rejected():
    for name in ("fast", "", None, 3):
        with rejects("engine", name):
            check_engine(name)


def test_auto_takes_the_fastest_engine_of_the_device():
    devices = {
        ("cpu", None): False,
        ("tpu", None): True,
        ("gpu", "8.9"): False,
        ("gpu", "9.0"): SHIFTS_ON_GPU,
        ("gpu", "10.0"): SHIFTS_ON_GPU,
        ("gpu", "gfx942"): False,
    }
    for (platform, capability), expected in devices.items():
        device = SimpleNamespace(platform=platform)
        if capability is not None:
            device.compute_capability = capability
        assert has_pallas(device) is expected, (platform, capability)
        engines, reason = list_engines("auto", device, parameters=41, rows=64, steps=10_000)
        names = ["pallas", "fused", "vmap"] if expected else ["fused", "vmap"]
        assert [engine.name for engine in engines] == names and not reason


@pytest.mark.parametrize(
    ("parameters", "rows", "steps", "takes"),
    [
        (125, 1, 10, "fused"),  # as of every built-in game, whose rows depend on no number of rows
        (126, 1, 10, "vmap"),
        (197, 16, 500, "vmap"),
        (197, 100_000, 10_000, "fused"),
        (773, 10**9, 10_000, "vmap"),
    ],
)
def test_auto_counts_the_time_to_compile_a_network_that_is_larger_than_a_built_in_one(
    parameters, rows, steps, takes
):
    engines, reason = list_engines("auto", CPU, parameters, rows, steps)
    assert engines[0].name == takes
    assert reason.startswith(f"{parameters} parameters ") == (takes == "vmap")
    assert list_engines("fused", CPU, parameters, rows, steps) == ([ENGINES["fused"]], "")


@pytest.mark.slow
def test_a_large_network_that_is_trained_for_a_short_time_runs_on_vmap_with_a_warning():
    game = gan.pattern_game()
    large = gan.Game(**vars(game) | {"discriminator": gan.Discriminator(hidden=30)})
    with pytest.warns(UserWarning, match=r"203 parameters .* so the vmap engine runs this") as told:
        population = gan.train_population(range(2), gan.Setup(large), steps=10)
    assert population.engine == "vmap" and len(told) == 1


@pytest.mark.parametrize(
    ("memory", "block"),
    [
        (None, 65_536),
        ({"bytes_in_use": 0}, 65_536),
        ({"bytes_limit": 2**34}, 8192),
        ({"bytes_limit": 2**20}, 4096),
    ],
)
def test_two_blocks_and_their_histories_fit_the_memory_of_an_accelerator(memory, block):
    device = SimpleNamespace(platform="gpu", memory_stats=lambda: memory)
    lane, histories = 2**16, 2**31  # 64 kB of each seed, and 2 GB of histories
    assert fit_block(ENGINES["fused"], device, lane, histories).accelerator_block == block
    assert fit_block(ENGINES["fused"], CPU, lane, histories) is ENGINES["fused"]


def does_not_compile(live):
    if jax.__version_info__ < (0, 10):  # jaxlib 0.7.2 crashes after an error of its own compiler
        raise jax.errors.JaxRuntimeError("UNIMPLEMENTED: absent")
    return jax.ffi.ffi_call("absent", jax.ShapeDtypeStruct(live.shape, live.dtype))(live)


def is_too_large_to_compile(live):
    if live.size == WIDE:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Ran out of memory in hbm")
    return live


def fills_the_memory(live):
    if live.size == WIDE // 2:
        return live
    many = live.sum() + lax.broadcasted_iota(jnp.int32, (2**24, 2**24), 0)
    return live & (jnp.sort(many, axis=0)[0] >= 0).all()


@pytest.fixture
def put_into_fused(monkeypatch):
    """Let the fused engine, of blocks of that width, pass which lanes are live through a harm.

    For wide blocks, it is built as the one for `vmap` is, since XLA's kernels are narrow on a CPU.
    """

    def put(harm, block):
        sound = ENGINES["vmap" if block >= WIDE // 2 else "fused"]

        def build_loop(*args):
            loop = sound.build_loop(*args)
            return lambda lanes, keys, setup, live: loop(lanes, keys, setup, harm(live))

        engine = sound._replace(name="fused", build_loop=build_loop, cpu_block=block)
        monkeypatch.setitem(ENGINES, "fused", engine)

    return put


def assert_same_rows(one, other):
    for name, column in one.columns.items():
        np.testing.assert_array_equal(other.columns[name], column, err_msg=name)


@pytest.mark.parametrize(
    ("harm", "block", "runs", "tells"),
    [
        (does_not_compile, 256, "vmap", "absent"),
        (is_too_large_to_compile, WIDE, "fused", "memory"),
        (fills_the_memory, 256, "vmap", "memory"),
        (fills_the_memory, WIDE, "fused", "memory"),
    ],
)
def test_auto_survives_an_engine_that_fails_with_one_sentence_and_the_right_rows(
    put_into_fused, tmp_path, harm, block, runs, tells
):
    if runs == "fused":
        put_into_fused(lambda live: live, block // 2)
    expected = gan.train_population(range(5), DIRAC, steps=20, engine=runs)
    put_into_fused(harm, block)
    for out in (None, tmp_path / "run"):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            population = gan.train_population(range(5), DIRAC, steps=20, out=out)
        [sentence] = [str(warning.message) for warning in told]
        width = {"vmap": "128", "fused": "4,096"}[runs]
        assert sentence.startswith("the fused engine failed (") and tells in sentence
        assert sentence.endswith(f"so the {runs} engine runs this, {width} seeds at a time")
        assert population.engine == runs
        assert_same_rows(expected, population)
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest["configuration"]["engine"] == runs


@pytest.mark.parametrize("harm", [does_not_compile, fills_the_memory])
def test_the_error_of_an_engine_that_was_asked_for_is_raised(put_into_fused, harm):
    put_into_fused(harm, 256)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(jax.errors.JaxRuntimeError):
            gan.train_population(range(5), DIRAC, steps=20, engine="fused")


def fail_later(message, blocks, width):
    """A harm to blocks of a width, once some of them have run."""
    ran = []

    def count(live):
        ran.append(live)
        if len(ran) > blocks:
            raise RuntimeError(message)
        return live

    def harm(live):
        if live.size != width:
            return live
        return jax.pure_callback(count, jax.ShapeDtypeStruct(live.shape, live.dtype), live)

    return harm


def test_a_run_that_fails_later_begins_anew_in_memory_and_goes_on_in_its_directory(
    put_into_fused, tmp_path, monkeypatch
):
    options = dict(setup=DIRAC, steps=20, chunk=256, workers=1)
    fused, vmap = (
        gan.train_population(range(1024), engine=e, **options) for e in ("fused", "vmap")
    )
    put_into_fused(fail_later("broken", 2, 256), 256)
    with pytest.warns(UserWarning, match="Callback.* so the vmap engine runs this") as told:
        population = gan.train_population(range(1024), **options)
    assert population.engine == "vmap" and len(told) == 1
    assert_same_rows(vmap, population)

    monkeypatch.undo()
    put_into_fused(fail_later("broken", 2, 256), 256)
    with pytest.raises(jax.errors.JaxRuntimeError, match="broken") as failed:
        gan.train_population(range(1024), **options, out=tmp_path)
    assert failed.value.__notes__ == [f"512 of 1,024 GANs are kept in {tmp_path}"]
    monkeypatch.undo()
    population = gan.train_population(range(1024), **options, out=tmp_path)
    assert population.engine == "fused"
    assert_same_rows(fused, population)


def test_a_run_that_fills_the_memory_later_goes_on_with_half_a_block(put_into_fused, tmp_path):
    options = dict(setup=DIRAC, steps=20, chunk=WIDE, workers=1)
    put_into_fused(lambda live: live, WIDE)
    expected = gan.train_population(range(3 * WIDE), engine="fused", **options)
    put_into_fused(fail_later("RESOURCE_EXHAUSTED", 1, WIDE), WIDE)
    with pytest.warns(UserWarning, match="so the fused engine runs this, 4,096 seeds") as told:
        population = gan.train_population(range(3 * WIDE), **options, out=tmp_path)
    assert population.engine == "fused" and len(told) == 1
    assert_same_rows(expected, population)


def test_a_directory_goes_on_with_the_engine_that_began_it(tmp_path):
    gan.train_population(range(5), DIRAC, steps=20, out=tmp_path, engine="vmap")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gan.train_population(range(6), DIRAC, steps=20, out=tmp_path).engine == "vmap"


def test_a_directory_without_rows_may_take_another_engine(put_into_fused, tmp_path):
    gan.train_population(range(5), DIRAC, steps=20, out=tmp_path, engine="fused")
    for part in tmp_path.rglob("part-*"):
        part.unlink()
    put_into_fused(does_not_compile, 256)
    with pytest.warns(UserWarning, match="so the vmap engine runs this"):
        assert gan.train_population(range(5), DIRAC, steps=20, out=tmp_path).engine == "vmap"
    assert gan.load_population(tmp_path).engine == "vmap"


def test_a_mistake_in_a_network_is_raised_as_it_is():
    def compile_fn(engine):
        raise TypeError(engine.name)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TypeError, match="vmap"):
            use_engine([*map(ENGINES.get, ("fused", "vmap"))], "", "cpu", compile_fn, print)


@pytest.mark.parametrize("error", [ValueError("stop"), jax.errors.JaxRuntimeError("stop")])
@pytest.mark.parametrize("name", ["progress", "log"])
def test_an_error_of_the_caller_is_no_failure_of_an_engine(name, error):
    """Nor is one of JAX, which the caller's function uses."""

    def stop(*args):
        if args[0]:  # rows
            raise error

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(type(error), match="stop") as caught:
            gan.train_population(range(5), DIRAC, steps=20, **{name: stop})
    assert caught.value is error
