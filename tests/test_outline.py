"""`outline` and `call_kernel`: the same function, to a rounding; and the sigmoid that it takes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import gan1010_jax as gan
from gan1010_jax.outline import call_kernel, outline, sigmoid
from gan1010_jax.scalarize import Lanes, from_lanes, scalarize, to_lanes

LANES = 40
# XLA contracts multiply-adds in one program and not in the other, and `outline` has its own
# sigmoid; the numbers below are about 1. Integers, bools and bits are compared exactly.
CLOSE = {"rtol": 1e-6, "atol": 1e-6}

# Kernels are a matter of XLA's CPU compiler, and elsewhere only names.
pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="made for CPU")


def floats(seed=0, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=LANES), dtype)


def integers(seed=0, dtype=np.uint32):
    values = np.random.default_rng(seed).integers(0, 2**32, LANES, np.uint64)
    return jnp.asarray(values.astype(dtype))


def check(fn, *args, **tolerance):
    """Outlined, in a kernel and both, a function gives what it gives."""

    @jax.jit
    def all_ways(*args):
        return (
            fn(*args),
            outline(fn)(*args),
            call_kernel(fn, *args),
            call_kernel(outline(fn), *args),
        )

    expected, *others = all_ways(*args)
    for actual in others:
        assert_same(actual, expected, **tolerance)


def assert_same(actual, expected, **tolerance):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for got, wanted in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
        assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
        if jnp.issubdtype(got.dtype, jnp.floating):
            got, wanted = (np.asarray(x, np.float64) for x in (got, wanted))
            np.testing.assert_allclose(got, wanted, **{**CLOSE, **tolerance})
        else:
            np.testing.assert_array_equal(got, wanted)


# Straight lines


def test_values_that_many_read():
    def shared(x, y):
        a = jnp.sin(x) * y
        b = a * a + a
        c = [b + i * a for i in range(5)]
        return a, sum(c) * b, {"c": c[0], "d": jnp.where(a > 0, b, c[1])}

    check(shared, floats(), floats(1))


def test_each_shared_value_is_computed_once():
    """What it is for: copied into each of its readers, as XLA fuses, it takes a minute a call."""

    def deep(x):
        for i in range(40):
            y = jnp.sin(x)
            x = y + 0.5 * jnp.cos(y * i)
        return x

    def count(text):
        return text.count("sine(") + text.count("cosine(")

    compiled = jax.jit(lambda x: call_kernel(outline(deep), x)).lower(floats()).compile()
    assert count(compiled.as_text()) <= 2 * 80
    x = np.asarray(floats(), np.float64)
    for i in range(40):
        y = np.sin(x)
        x = y + 0.5 * np.cos(y * i)
    np.testing.assert_allclose(compiled(floats()), x, rtol=1e-3, atol=1e-3)


def test_equal_expressions_are_one():
    def repeated(x):
        return jnp.sin(x + 1) * 2, jnp.sin(x + 1) * 3, jnp.sin(x + 2), jnp.sin(x + 1.0)

    check(repeated, floats())
    equations = str(jax.make_jaxpr(outline(repeated))(floats()))
    assert equations.count("= sin ") == 2


def test_expressions_that_differ_in_a_sign_or_a_parameter_stay_two():
    def alike(x):
        zeros = jnp.zeros_like(x)
        return (
            jnp.arctan2(zeros, x * 0.0 - 1.0),
            jnp.arctan2(-zeros, x * 0.0 - 1.0),
            jnp.copysign(x, 0.0),
            jnp.copysign(x, -0.0),
            x**2,
            x**3,
            x.astype(jnp.int32),
            x.astype(jnp.int8),
            lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN),
            lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO),
        )

    check(alike, jnp.round(floats() * 8) / 2)


def test_outputs_may_be_inputs_constants_or_each_other():
    def plumbing(x, y, unused):
        z = x * y
        return x, z, z, x, jnp.full_like(x, 3.0), np.float32(2), jnp.arange(3), {"y": y, "n": None}

    check(plumbing, floats(), floats(1), floats(2))
    check(lambda x: x, floats())
    check(lambda x: (), floats())


def test_what_is_computed_for_nothing_is_left_out():
    def wasteful(x):
        jnp.sin(x)
        lax.scan(lambda c, _: (jnp.cos(c), None), x, None, length=3)
        return x + 1

    text = str(jax.make_jaxpr(outline(wasteful))(floats()))
    assert "sin" not in text
    assert "cos" not in text


def test_every_dtype():
    def mixed(x, h, i, u, s, b):
        y = h.astype(jnp.float32) * x + i.astype(jnp.float32)
        return (
            y,
            y.astype(jnp.bfloat16) + h,
            jnp.where(b, i, i * 3),
            (u >> 3) ^ (u << 7),
            s * 5 + s,
            b & (x > 0),
            lax.bitcast_convert_type(x, jnp.uint32) ^ u,
            jax.nn.sigmoid(h),
            lax.population_count(u),
        )

    check(
        mixed,
        floats(),
        floats(1, jnp.bfloat16),
        integers(2, np.int32) % 1000,
        integers(3),
        integers(4, np.int8),
        floats(5) > 0,
        rtol=2e-2,  # bfloat16's, which XLA computes in float32 within a fusion
    )


def test_float64():
    with jax.enable_x64(True):
        check(
            lambda x: (jnp.sin(x) * x, jax.nn.sigmoid(x), x.astype(jnp.float32)),
            floats(0, np.float64),
            rtol=1e-14,
        )


def test_pairs_of_words_keep_every_bit():
    """Some are signalling NaNs, as floats; they go through as they are."""

    @jax.jit
    def swapped(x, y):
        return y ^ np.uint32(0), x ^ np.uint32(0)

    def fn(x, y):
        a, b = swapped(x, y)
        return a, b, a + b, swapped(b, a)[0] * 3

    edges = np.array([0, 1, 0x7F800001, 0xFF800001, 0x7FC00000, 0x80000000, 0xFFFFFFFF], np.uint32)
    check(fn, jnp.asarray(np.resize(edges, LANES)), jnp.asarray(np.resize(edges[::-1], LANES)))
    check(fn, integers(), integers(1))


def test_random_bits_on_lanes():
    def draw(key, step):
        key = jax.random.fold_in(key, step)
        a, b = jax.random.split(key)
        return jax.random.bits(a, (3,)), jax.random.uniform(b), jax.random.key_data(key)

    keys, steps = jax.random.split(jax.random.key(0), LANES), jnp.arange(LANES)
    on_lanes = scalarize(draw, keys[0], steps[0])

    @jax.jit
    def both(keys, steps):
        lanes = call_kernel(outline(on_lanes), *to_lanes((keys, steps)))
        return from_lanes(lanes), jax.vmap(draw, out_axes=-1)(keys, steps)

    actual, expected = both(keys, steps)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


@pytest.mark.parametrize("seed", range(4))
def test_a_long_random_program(seed):
    """Each value of earlier ones: most are read often, some never, some in a long chain."""
    random = np.random.default_rng(seed)
    unary = [jnp.sin, jnp.tanh, jnp.abs, lambda x: x * 0.5, jax.nn.sigmoid, lambda x: x > 0.1]
    binary = [jnp.add, jnp.multiply, jnp.maximum, lambda x, y: x * 0.3 - y, jnp.less]
    plan = [
        (random.random() < 0.4, random.integers(30), random.integers(30), random.integers(2, 30))
        for _ in range(120)
    ]

    def program(x, y, i):
        values = [x, y, jnp.sin(x)]
        words = [i, i * 3]
        for alone, f, g, back in plan:
            a, b = values[-1 - f % min(back, len(values))], values[-1 - g % min(back, len(values))]
            c = unary[f % len(unary)](a) if alone else binary[g % len(binary)](a, b)
            c = jnp.where(c, a * 0.5, b) if c.dtype == bool else jnp.sin(c)
            values.append(c)
            words.append((words[-1 - f % len(words)] * np.uint32(2 * g + 1)) ^ (words[-1] >> 3))
        return values[-1], sum(values) / len(values), words[-1], words[-2]

    expected = np_64(program, floats(seed), floats(seed + 9), integers(seed))
    actual = jax.jit(lambda *a: call_kernel(outline(program), *a))(
        floats(seed), floats(seed + 9), integers(seed)
    )
    assert_same(actual[2:], expected[2:])
    for got, wanted in zip(actual[:2], expected[:2]):
        close = np.isclose(got, wanted, rtol=1e-4, atol=1e-4)
        # A comparison of numbers that are equal but for a rounding may go the other way.
        assert close.mean() > 0.9


def np_64(program, *args):
    """The program operation by operation, not as one that XLA may fuse."""
    with jax.disable_jit():
        return program(*args)


def test_a_chain_longer_than_pythons_stack():
    def chain(x, y):
        for i in range(1500):
            x = x * 0.5 + y if i % 2 else x - y
        return x

    x = y = np.asarray(floats(), np.float64)
    for i in range(1500):
        x = x * 0.5 + y if i % 2 else x - y
    actual = jax.jit(outline(chain))(floats(), floats())
    np.testing.assert_allclose(actual, x, **CLOSE)


# Loops


def test_a_loop_that_only_carries():
    def loop(x, i):
        def step(t, carry):
            x, i = carry
            y = jnp.sin(x) + t
            return y * y * 0.1 + y, i * np.uint32(5) + t.astype(np.uint32)

        return lax.fori_loop(2, 9, step, (x, i))

    check(loop, floats(), integers())


@pytest.mark.parametrize("reverse", [False, True])
def test_a_loop_over_steps_that_it_stacks(reverse):
    def loop(x, xs, k):
        def step(carry, x):
            y = carry * 0.5 + x * k
            return y, (y * y + y, x, carry > 0)

        return lax.scan(step, x, xs, reverse=reverse)

    check(loop, floats(), jnp.stack([floats(i) for i in range(5)]), floats(7))


def test_loops_of_no_step_and_of_one():
    for length in (0, 1):
        check(
            lambda x, length=length: lax.fori_loop(0, length, lambda t, c: jnp.sin(c) + c, x),
            floats(),
        )
        check(
            lambda x, xs: lax.scan(lambda c, x: (c + x, jnp.sin(c)), x, xs),
            floats(),
            jnp.ones((length, LANES)),
        )


def test_loops_nest():
    def nested(x, k):
        def inner(t, c):
            y = jnp.sin(c) * k
            return y * y + y * t

        def outer(c, t):
            c = lax.fori_loop(0, 3, inner, c)
            return c * 0.5, lax.scan(lambda a, b: (a + b, a), c, jnp.stack([c, k]))[1]

        return lax.scan(outer, x, jnp.arange(4, dtype=np.float32))

    check(nested, floats(), floats(1))


def test_a_loop_of_random_draws():
    def walk(key, x):
        def step(t, x):
            return x * 0.5 + jax.random.uniform(jax.random.fold_in(key, t), (2,))

        return lax.fori_loop(0, 5, step, x)

    keys, x = jax.random.split(jax.random.key(0), LANES), jnp.stack([floats(), floats(1)])
    on_lanes = scalarize(walk, keys[0], x[:, 0])

    @jax.jit
    def both(keys, x):
        lanes = call_kernel(outline(on_lanes), *to_lanes((keys, x)))
        return from_lanes(lanes), jax.vmap(walk, (0, -1), -1)(keys, x)

    assert_same(*both(keys, x))


def test_what_is_no_expression_is_left_as_it_is():
    def others(x, y):
        z = jnp.sin(x) * y
        branch = lax.cond(z[0] > 0, lambda z: z + 1, lambda z: z * 2, z)
        loop = lax.while_loop(lambda c: c.sum() < 100, lambda c: c * 2, jnp.abs(z) + 1)
        return branch, loop, jnp.sort(z), z.reshape(4, -1) @ jnp.ones((10, 2)), z[::2].sum()

    check(others, floats(), floats(1), rtol=1e-5, atol=1e-5)


def test_the_reference_step():
    keys = jax.random.split(jax.random.key(0), LANES)
    states = jax.vmap(gan.init, out_axes=-1)(keys)
    batches = jax.vmap(gan.draw_batch, out_axes=-1)(keys)
    one = jax.tree.map(lambda leaf: leaf[..., 0], (states, batches))

    def step(state, batch):
        return gan.train_step(state, batch)

    on_lanes = scalarize(step, *one)
    actual = jax.jit(lambda *a: from_lanes(call_kernel(outline(on_lanes), *to_lanes(a))))(
        states, batches
    )
    expected = jax.jit(jax.vmap(step, -1, -1))(states, batches)
    assert_same(actual, expected)


def test_pytrees_go_through():
    lanes = to_lanes({"x": jnp.stack([floats(), floats(1)])})
    out = jax.jit(outline(lambda tree: {"y": tree["x"], "z": jax.tree.map(jnp.sin, tree)}))(lanes)
    assert isinstance(out["z"]["x"], Lanes)
    assert_same(from_lanes(out["z"]["x"]), jnp.sin(from_lanes(lanes["x"])))


# The sigmoid


def exact_sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


@pytest.mark.parametrize("call", [sigmoid, partial(call_kernel, sigmoid)], ids=["plain", "kernel"])
def test_the_sigmoid_is_within_its_error(call):
    near = np.linspace(-20, 20, 400_001, dtype=np.float32)
    far = np.linspace(-200, 200, 100_001, dtype=np.float32)
    tiny = np.geomspace(1e-38, 1, 1000, dtype=np.float32)
    x = np.concatenate(
        [near, far, tiny, -tiny, [0, -0.0, 88.7, -88.7, 127, -127]], dtype=np.float32
    )
    y = np.asarray(jax.jit(call)(x))
    assert y.dtype == np.float32
    assert np.abs(y - exact_sigmoid(x)).max() <= 1.2e-7
    assert y.min() >= 0
    assert y.max() <= 1


def test_the_sigmoid_of_what_is_no_number():
    y = np.asarray(sigmoid(jnp.array([np.inf, -np.inf, np.nan, 3.4e38, -3.4e38], np.float32)))
    np.testing.assert_array_equal(y[[0, 3]], 1)
    np.testing.assert_allclose(y[[1, 4]], 0, atol=1.2e-38)  # the least normal number
    assert np.isnan(y[2])


def test_the_outlined_sigmoid_is_within_its_error():
    x = jnp.linspace(-90, 90, 50_001, dtype=np.float32)
    y = jax.jit(lambda x: call_kernel(outline(lax.logistic), x))(x)
    assert np.abs(y - exact_sigmoid(x)).max() <= 1.2e-7
