"""Outlining: the same function, in which a value that is read more than once is computed once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from gan1010_jax.engines import compiler_options
from gan1010_jax.engines.outline import call_kernel, outline
from gan1010_jax.engines.rules import _threefry2x32

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="kernels for CPUs")
LANES = 128


def lanes(count):
    rng = np.random.default_rng(0)
    return [rng.normal(size=LANES).astype(np.float32) for _ in range(count)]


def run(function, *args):
    return compiled(function, *args)(*args)


def compiled(function, *args):
    kernel = jax.jit(lambda *args: call_kernel(outline(function), *args))
    return kernel.lower(*args).compile(compiler_options=compiler_options(jax.default_backend()))


def shared(x, y):
    """Values that are read many times, outputs twice, an input that is one, one that is unused."""
    a = jnp.sin(x) * x + 1
    b = a * a - x
    c = jnp.where(a > b, a / (1 + b * b), b)
    return {"a": a, "b": [b, b, x], "c": c, "one": jnp.ones(LANES), "n": (a * 8).astype(int) ^ 5}


def loops(x, y):
    """A loop with a carry alone, one within it, one with inputs and outputs, one backwards."""

    def inner(i, c):
        return lax.fori_loop(0, 3, lambda j, c: c * 0.5 + y * (i + j), c)

    carried = lax.fori_loop(0, 4, inner, x)
    xs = jnp.stack([x, y, x * y])
    total, ys = lax.scan(lambda c, v: (c + v, c * v), carried, xs)
    return carried, total, ys, lax.scan(lambda c, v: (c - v, c), carried, xs, reverse=True)


@pytest.mark.parametrize("function", [shared, loops])
def test_an_outlined_function_is_the_function(function):
    """To a few roundings: multiply-adds are contracted elsewhere."""
    x, y = lanes(2)
    expected, result = jax.jit(function)(x, y), run(function, x, y)
    assert jax.tree.structure(result) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(result), jax.tree.leaves(expected)):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=2e-6)


def test_two_words_in_one_array_keep_every_bit():
    """Also bit patterns that are NaN as floating-point numbers."""

    def twice(*words):
        return _threefry2x32(*_threefry2x32(*words), *words[2:])

    key = [np.full(LANES, word, np.uint32) for word in (17, 0xDEADBEEF)]
    counts = np.arange(200 * LANES, dtype=np.uint32).reshape(200, LANES)
    kernel, not_numbers = compiled(twice, *key, counts[0], counts[0]), 0
    for count in counts:
        for word, other in zip(kernel(*key, count, count), twice(*key, count, count)):
            np.testing.assert_array_equal(word, other)
            not_numbers += np.isnan(np.asarray(word).view(np.float32)).sum()
    assert not_numbers > 100


def test_a_value_that_is_read_more_than_once_is_a_function():
    def function(x):
        once = x * 3 + 1
        many = jnp.exp(once) * 2
        return many + 1, many + 2, many * many

    (x,) = lanes(1)
    text = jax.jit(outline(function)).lower(x).as_text()
    functions = [part for part in text.split("func.func") if "@expression" in part.split("(")[0]]
    assert len(functions) == 4
    assert sum("exponential" in part for part in functions) == 1


def test_a_sigmoid_of_another_type_is_xlas():
    x = np.linspace(-9, 9, LANES).astype(jnp.bfloat16)
    result = run(lambda x: (jax.nn.sigmoid(x), jax.nn.sigmoid(x) * 2), x)
    assert result[0].dtype == jnp.bfloat16
    np.testing.assert_array_equal(result[0], jax.jit(jax.nn.sigmoid)(x))
