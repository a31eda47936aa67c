"""Engines: three ways to run a block of seeds, one result."""

import dataclasses
from functools import partial

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from devices import DEVICES
from flax import linen as nn

import gan1010_jax as gan
from gan1010_jax.engines import (
    ENGINES,
    UnsupportedPrimitive,
    build_loop,
    init_block,
)
from gan1010_jax.engines.pallas import SHIFTS_ON_GPU
from gan1010_jax.environment import enable_x64
from gan1010_jax.methods import OBJECTIVES, PENALTIES, UPDATE_ORDERS

REFERENCE, R1 = gan.Setup(), gan.Method(penalty="r1")


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def fused():
    """1,024 seeds of the reference, which is one block of the widest engine."""
    return gan.train_population(range(1024), engine="fused")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["vmap", "pallas"])
def test_engines_agree_after_10_000_steps(fused, engine):
    """Within 1e-5 for every seed: sums are added in another order. 4e-7 is the most seen."""
    other = gan.train_population(range(1024), engine=engine)
    numbers = [name for name in fused.columns if name.startswith(("output", "d_loss", "g_loss"))]
    for name in numbers:
        np.testing.assert_allclose(other.columns[name], fused.columns[name], rtol=0, atol=1e-5)
    outputs = np.stack([fused.columns[f"output_{unit}"] for unit in range(4)])
    for verdict, boundaries in {"matched": [0.5], "in_support": [0, 0.2, 0.8, 1]}.items():
        distance = np.abs(outputs[..., None] - np.array(boundaries)).min(axis=(0, 2))
        clear = distance > 1e-5
        assert clear.sum() > 1000
        np.testing.assert_array_equal(other.columns[verdict][clear], fused.columns[verdict][clear])


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["fused", slow("vmap")])
def test_a_row_is_the_same_to_the_bit_in_any_population_place_and_worker(engine):
    run = partial(gan.train_population, steps=20, engine=engine)
    everyone = run(range(5000), workers=2).columns
    for seeds in (range(1), range(7), range(64), range(1000), range(4321, 4200, -1)):
        for workers in (1, 2):
            for name, column in run(seeds, workers=workers).columns.items():
                np.testing.assert_array_equal(column, everyone[name][list(seeds)], err_msg=name)


class Own(nn.Module):
    """A user's own network, with layers that the reference's lack."""

    features: int

    @nn.compact
    def __call__(self, x):
        x = nn.LayerNorm()(nn.gelu(nn.Dense(3)(x)))
        return nn.sigmoid(nn.Dense(self.features)(x + nn.tanh(nn.Dense(3)(x))))


class OwnLogit(nn.Module):
    """A user's own discriminator."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(nn.relu(nn.Dense(5)(x))).squeeze(-1)


OWN_GAME = gan.Game(
    "own",
    discriminator=OwnLogit(),
    generator=Own(3),
    real=gan.Uniform((0.8, 0.0, 0.5), (1.0, 0.2, 0.6)),
    latent=gan.Uniform((0.0,), (1.0,)),
    matched=gan.Matches((1, 0, 1)),
    in_support=gan.Within((0.8, 0.0, 0.5), (1.0, 0.2, 0.6)),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("game", "optimizer"),
    [(OWN_GAME, optax.adam), (gan.pattern_game("1"), optax.inject_hyperparams(optax.sgd))],
)
def test_a_users_own_networks_and_optimisers_run_on_lanes(game, optimizer):
    setup = gan.Setup(game, gan.Method(optimizer=optimizer))
    run = partial(gan.train_population, range(9), setup, steps=60)
    plain, fused = run(engine="vmap"), run(engine="fused")
    for name, column in plain.columns.items():
        np.testing.assert_allclose(fused.columns[name], column, atol=1e-5, err_msg=name)


OPTIMISTIC = optax.optimistic_gradient_descent
# Every objective, update order, penalty and option; with one optimiser or one for each player.
METHODS = [
    (R1, {}),
    (gan.Method("lsgan", "alternating", "r2"), {"penalty_weight": 0.5}),
    (gan.Method("minimax", "simultaneous", "consensus"), {}),
    (
        gan.Method("nonsaturating", "alternating", "r1", optimizer=(optax.adam, optax.sgd)),
        {"noise_std": 0.1},
    ),
    (gan.Method("wasserstein", "alternating", "wgan_gp", d_steps=3), {"target_norm": 0.5}),
    (gan.Method("wasserstein", first="generator"), {"clip": 0.3}),
    (gan.Method("hinge", "reference", "r1", d_steps=2), {"noise_std": 0.1}),
    (gan.Method("relativistic", "extragradient", "symplectic"), {"average_decay": 0.9}),
    (
        gan.Method("relativistic", "alternating", "r1_r2", sync_period=7, optimizer=OPTIMISTIC),
        {"slow_step_size": 0.3},
    ),
]


# On the Dirac-GAN, which compiles in a tenth of the time, and some on networks.
GAMES = [slow(gan.dirac_game(), *method) for method in METHODS]
GAMES[3] = (gan.dirac_game(), *METHODS[3])
GAMES[7:9] = [(gan.bilinear_game(), *method) for method in METHODS[7:9]]
GAMES += [slow(gan.pattern_game("1"), *METHODS[i]) for i in (0, 4, 7, 8)]


def test_every_named_part_is_in_a_method_here():
    methods = [method for method, _ in METHODS]
    for part, names in {"objective": OBJECTIVES, "penalty": PENALTIES}.items():
        assert {getattr(method, part).name for method in methods} == set(names)
    assert {method.update_order for method in methods} == set(UPDATE_ORDERS)


@pytest.mark.parametrize(("game", "method", "numbers"), GAMES)
def test_every_method_is_the_same_on_every_engine_and_to_the_bit_in_any_population(
    game, method, numbers
):
    """Within 1e-5: sums are added in another order. 4e-7 is the most seen in 60 steps."""
    setup = gan.Setup(game, method, gan.Hyperparams(0.1, 0.05, **numbers))
    run = partial(gan.train_population, setup=setup, steps=60)
    everyone = run(range(300), engine="fused").columns
    for name, column in run(range(290, 280, -1), engine="fused").columns.items():
        np.testing.assert_array_equal(column, everyone[name][290:280:-1], err_msg=name)
    is_new = method.objective.name == "relativistic"
    others = ["vmap", "pallas"] if is_new or method == R1 else ["vmap"]
    for engine in others:
        plain = run(range(9), engine=engine).columns
        for name in ("output_0", "d_loss_real", "d_loss_fake", "g_loss"):
            np.testing.assert_allclose(plain[name], everyone[name][:9], atol=1e-5)
    assert len(np.unique(everyone["output_0"])) > 250


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_the_dirac_gan_runs_on_every_engine(engine):
    method = gan.Method("minimax", penalty="r1")
    setup = gan.Setup(gan.dirac_game(), method, gan.Hyperparams(0.5, 0.5))
    population = gan.train_population(range(20), setup, steps=60, engine=engine)
    assert population.columns["matched"].all() and population.history.output.shape == (20, 6, 2)
    for row in (0, 19):
        _, history = gan.train(jax.random.key(row), setup, steps=60)
        np.testing.assert_allclose(population.history.output[row], history.output, atol=1e-5)


class Sorting(nn.Module):
    """A discriminator with a primitive that has no rule on lanes."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(jnp.sort(x)).squeeze(-1)


SORTING = gan.Setup(dataclasses.replace(REFERENCE.game, discriminator=Sorting()))


@pytest.mark.slow
def test_auto_runs_a_primitive_without_a_rule_on_the_vmap_engine_and_warns():
    with pytest.warns(UserWarning, match=r"advance uses .*'sort'.*vmap engine") as warned:
        population = gan.train_population(range(3), SORTING, steps=20)
    assert population.engine == "vmap" and len(warned) == 1
    with pytest.raises(UnsupportedPrimitive, match="'sort'"):
        gan.train_population(range(3), SORTING, steps=20, engine="fused")


def lanes(width, dtype=np.float32):
    return jax.ShapeDtypeStruct((width,), dtype)


@pytest.mark.parametrize("method", [gan.Method(), R1])
@pytest.mark.parametrize(("platform", "name"), [("gpu", "cuda"), ("tpu", "tpu")])
def test_pallas_exports_for_a_gpu_and_a_tpu_from_a_machine_with_neither(platform, name, method):
    if platform == "gpu" and not SHIFTS_ON_GPU:
        pytest.skip("this JAX's Pallas cannot shift integers on a GPU")

    loop = build_loop(ENGINES["pallas"], 100, 10, kept=8, device=DEVICES[platform])

    def run(seeds, setup):
        return loop(*init_block(seeds, setup), setup, jnp.ones(4096, bool))[1]

    setup = gan.Setup(method=method, hyperparams=gan.Hyperparams(lanes(4096), lanes(4096)))
    exported = jax.export.export(jax.jit(run), platforms=[name])(lanes(4096, np.uint32), setup)
    assert exported.platforms == (name,)
    kernel = {"gpu": "mosaic_gpu", "tpu": "tpu_custom_call"}[platform]
    assert kernel in exported.mlir_module()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["fused", "vmap"])
def test_memory_does_not_grow_with_the_records_but_by_counts_and_kept_histories(engine):
    def bytes_used(records, kept):
        block = ENGINES[engine].block("cpu")
        loop = build_loop(ENGINES[engine], 10 * records, 10, kept, DEVICES["cpu"])
        setup = gan.Setup(hyperparams=gan.Hyperparams(*[lanes(block)] * 2))
        start = jax.eval_shape(init_block, lanes(block, np.uint32), setup)
        memory = jax.jit(loop).lower(*start, setup, lanes(block, bool)).compile().memory_analysis()
        return memory.temp_size_in_bytes + memory.output_size_in_bytes

    counts, record, some = 3 * 4, 4 * (1 + 4 + 3) + 3, 4096  # bytes
    first_step = 4
    for kept in (0, 8):
        growth = bytes_used(10_010, kept) - bytes_used(10, kept)
        assert growth <= 10_000 * (first_step + counts + kept * record) + some


@pytest.mark.slow
def test_the_double_precision_mode_works_on_lanes():
    with enable_x64(True):
        run = partial(gan.train_population, range(5), steps=50)
        plain, fused = run(engine="vmap"), run(engine="fused")
    assert fused.columns["output_0"].dtype == np.float64
    for name, column in plain.columns.items():
        np.testing.assert_allclose(fused.columns[name], column, atol=1e-13, err_msg=name)
