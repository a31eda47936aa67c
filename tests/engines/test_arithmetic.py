"""Functions made of other primitives: as exact as the primitives, and nothing undefined is left."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from devices import DEVICES
from jax import lax
from test_engines import METHODS, slow

import gan1010_jax as gan
from gan1010_jax.engines import ENGINES, arithmetic, build_loop, init_block, scalarize, to_lanes
from gan1010_jax.engines.arithmetic import substitute, substitutes
from gan1010_jax.engines.pallas import SHIFTS_ON_GPU

SMALLEST = np.finfo(np.float32).smallest_normal


@np.errstate(all="ignore")
def numbers(count=1 << 14):
    """Numbers of every size and sign, near 0 and 1, and special ones; no subnormal."""
    random = np.random.default_rng(0)
    sizes = 10.0 ** random.uniform(-7, 0, count)
    near = random.choice([-1, 1], count) * sizes
    bits = random.integers(0, 2**32, count, np.uint32).view(np.float32)
    special = [0, -0.0, 1, -1, 0.5, 2, 3, -3, np.inf, -np.inf, np.nan, SMALLEST, 3e38, -3e38]
    x = np.concatenate([bits, near, 1 + near, 1 - sizes, sizes - 1, 90 * near, special])
    x = x.astype(np.float32)
    return x[(np.abs(x) >= SMALLEST) | (x == 0) | np.isnan(x)]


@np.errstate(all="ignore")
def roundings(result, exact):
    """The largest error, in units of the last place; infinite where a special value is another."""
    result, exact = np.asarray(result, np.float64), np.asarray(exact, np.float64)
    rounded = exact.astype(np.float32)
    unit = np.spacing(np.maximum(np.abs(rounded), SMALLEST)).astype(np.float64)
    same = (result == rounded) | (np.isnan(result) & np.isnan(rounded))
    is_flushed = (np.abs(exact) < 2 * SMALLEST) & (np.abs(result) < 2 * SMALLEST)
    error = np.where(same | is_flushed, 0, np.abs(result - exact) / unit)
    return np.where(np.isfinite(error), error, np.inf).max()


# Evaluated primitive by primitive, as a kernel is compiled: XLA simplifies some of them.
EXACT = {
    "sqrt": (arithmetic._sqrt, np.sqrt, 1),
    "exp": (arithmetic._exp, np.exp, 1.5),
    "log": (arithmetic._log, np.log, 1),
    "log1p": (arithmetic._log1p, np.log1p, 2),
    "log1p of log": (lambda x: arithmetic._log1p(x, arithmetic._log), np.log1p, 2),
    "sign": (arithmetic._sign, lambda x: np.where(x == 0, x, np.sign(x)), 0),
    "integer_pow": (lambda x: arithmetic._integer_pow(x, -1), lambda x: 1 / x, 1),
}


@pytest.mark.parametrize("name", EXACT)
def test_a_function_is_exact_to_two_roundings(name):
    function, exact, most = EXACT[name]
    x = numbers()
    with np.errstate(all="ignore"):
        assert roundings(function(jnp.asarray(x)), exact(x.astype(np.float64))) <= most
        if name != "integer_pow":
            zeros = np.float32([0, -0.0])
            np.testing.assert_array_equal(
                np.signbit(function(jnp.asarray(zeros))), np.signbit(exact(zeros))
            )


@pytest.mark.parametrize("log", [lax.log, arithmetic._log])
def test_the_inverse_of_erf_is_the_primitive(log):
    """Which is 65 roundings from the exact one: their polynomial is the same."""
    x = numbers()
    expected = jax.jit(lax.erf_inv)(x)
    assert roundings(arithmetic._erf_inv(jnp.asarray(x), log), expected) <= 2


@pytest.mark.parametrize("evaluate", [jax.jit, slow(lambda function: function)])
def test_a_power_is_exact_to_three_roundings_and_a_decay_to_two(evaluate):
    """Also where a compiler contracts products with sums."""

    def error(x, y):
        with np.errstate(all="ignore"):
            exact = np.power(x.astype(np.longdouble), y.astype(np.longdouble))
        return roundings(evaluate(arithmetic._power)(jnp.asarray(x), jnp.asarray(y)), exact)

    random = np.random.default_rng(1)
    x = np.abs(numbers())
    y = (random.normal(size=x.shape) * 10.0 ** random.uniform(-3, 6, x.shape)).astype(np.float32)
    special = np.float32([0, -0.0, 1, -1, 2, -2, 3, 0.5, -1.5, 1e9, -1e9, np.inf, -np.inf, np.nan])
    specials = [grid.ravel() for grid in np.meshgrid(special, special)]
    decays = np.repeat(np.float32([0.9, 0.999, 0.9999]), 20_000)
    counts = np.tile(np.arange(20_000, dtype=np.float32), 3)
    assert error(x, y) <= 3
    assert error(*specials) <= 2
    assert error(decays, counts) <= 2


@pytest.mark.parametrize(
    "sigmoid",
    [arithmetic.sigmoid, arithmetic._sigmoid_in_kernel, arithmetic._sigmoid_of_exp2],
    ids=lambda function: getattr(function, "__name__", ""),
)
def test_a_sigmoid_is_exact_to_a_rounding_of_1(sigmoid):
    x = np.linspace(-200, 200, 1 << 18).astype(np.float32)
    error = np.asarray(sigmoid(jnp.asarray(x)), np.float64) - scipy.special.expit(
        x.astype(np.float64)
    )
    assert np.abs(error).max() <= 1.2e-7
    special = np.float32([-np.inf, -1e30, 1e30, np.inf, 0, np.nan])
    np.testing.assert_array_equal(
        sigmoid(jnp.asarray(special)), np.float32([0, 0, 1, 1, 0.5, np.nan])
    )


def test_a_sigmoid_in_a_kernel_makes_no_integer_of_a_number():
    """A TPU makes the largest one of NaN, and its bits then a finite number."""
    equations = jax.make_jaxpr(arithmetic._sigmoid_in_kernel)(jnp.zeros(1)).jaxpr.eqns
    assert not any(equation.primitive.name == "convert_element_type" for equation in equations)


def test_a_substitute_is_found_in_loops_and_branches_and_leaves_other_types():
    def fn(x, y, which):
        def step(i, c):
            return lax.cond(which, lax.sqrt, lax.exp, c) + i

        return lax.fori_loop(0, 3, step, x), lax.sqrt(y)

    x, y = jnp.full(4, 2.0), jnp.full(4, 2, jnp.bfloat16)
    replaced = substitute(fn, substitutes(DEVICES["gpu"]))
    text = str(jax.make_jaxpr(replaced)(x, y, True))
    assert text.count(" sqrt ") == 1  # of bfloat16
    assert " exp " in text
    for result, expected in zip(replaced(x, y, True), fn(x, y, True)):
        np.testing.assert_allclose(result, expected, rtol=1e-6)


# Shifts


def out_of_range(jaxpr, bounds=()):
    """The shifts in a jaxpr that are not known to be by less than the width of the word.

    `bounds` are the largest values that its inputs may have, where they are known.
    """
    known, found = dict(bounds), []

    def bound(operand):
        if isinstance(operand, jax.extend.core.Literal):
            return np.max(operand.val) if np.min(operand.val) >= 0 else np.inf
        return known.get(operand, np.inf)

    for equation in jaxpr.eqns:
        name, limits = equation.primitive.name, [*map(bound, equation.invars)]
        if name in ("broadcast_in_dim", "convert_element_type", "reshape", "squeeze"):
            known[equation.outvars[0]] = limits[0]
        if name == "min" and np.issubdtype(equation.outvars[0].aval.dtype, np.unsignedinteger):
            known[equation.outvars[0]] = min(limits)
        if name.startswith("shift_") and limits[1] >= 8 * equation.invars[0].aval.dtype.itemsize:
            found.append(equation)
        for param in equation.params.values():
            for inner in param if isinstance(param, tuple | list) else [param]:
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    inputs = zip(inner.invars, limits) if name == "jit" else ()
                    found += out_of_range(inner, inputs)
    return found


def shifts(x, count):
    kept = [lax.shift_left, lax.shift_right_logical, lax.shift_right_arithmetic]
    known = [shift(x, jnp.full_like(x, by)) for shift in kept for by in (3, 31, 32, 99)]
    unknown = [shift(x, count) for shift in kept]
    looped = [
        lax.fori_loop(0, 2, lambda i, c, shift=shift: shift(c, jnp.int32(32)) ^ i, count)
        for shift in kept
    ]
    return known, unknown, looped


def test_shifts_that_are_not_in_range_are_seen_and_scalarize_leaves_none():
    x, count = jnp.arange(-64, 64, dtype=jnp.int32) * 0x1234567, jnp.int32(40)
    assert len(out_of_range(jax.make_jaxpr(shifts)(x[0], count).jaxpr)) == 3 * 2 + 3 + 3
    for counts in (count, x):
        on_lanes = scalarize(shifts, x[0], count)
        args = to_lanes(x), counts if counts is count else to_lanes(counts)
        assert not out_of_range(jax.make_jaxpr(on_lanes)(*args).jaxpr)


# Of `vmap`, XLA makes the shifts itself, as it defines them.
KERNELS = [("fused", "cpu"), ("pallas", "tpu"), *[("pallas", "gpu")] * SHIFTS_ON_GPU]
DIRAC = [(gan.dirac_game(), *method) for method in METHODS]
ROWS = [(gan.pattern_game("1"), gan.Method(), {}), DIRAC[3], *(slow(*row) for row in DIRAC)]


@pytest.mark.parametrize(("engine", "platform"), KERNELS)
@pytest.mark.parametrize(("game", "method", "hyperparams"), ROWS)
def test_every_shift_of_every_kernel_is_in_range(engine, platform, game, method, hyperparams):
    setup = gan.Setup(game, method, gan.Hyperparams(**hyperparams))
    loop = build_loop(ENGINES[engine], 20, 10, kept=8, device=DEVICES[platform])

    def leaf(dtype):
        return jax.ShapeDtypeStruct((1024,), dtype)

    setup = jax.tree.map(lambda _: leaf(np.float32), setup)
    start = jax.eval_shape(init_block, leaf(np.uint32), setup)
    assert not out_of_range(jax.make_jaxpr(loop)(*start, setup, leaf(bool)).jaxpr)
