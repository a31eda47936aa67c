"""Elementwise functions made of other primitives, and the pass that puts them in their place.

A compiler may lack a primitive, or be less exact than another: `docs/accelerators.md` has the
table. The functions are of float32 lane vectors, and take the operands and parameters of the
primitive that they stand for. They are exact to 2 roundings where a compiler keeps to their order
of operations, as Mosaic does and XLA does not: it simplifies (1 + x) - 1.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import Any

import jax
import jax.extend as jex
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan1010_jax.engines.scalarize import bind, evaluate, input_values, read


def substitute(fn: Callable, functions: Mapping[str, Callable]) -> Callable:
    """A function in which others stand for some primitives, also in its loops.

    Args:
      fn: a function of pytrees of lane vectors to such a pytree, as `scalarize` returns.
      functions: by the name of a primitive, a function of its operands and parameters; it returns
        `NotImplemented` where it leaves the primitive.
    """

    def substituted(*args: Any) -> Any:
        jaxpr, out = jax.make_jaxpr(fn, return_shape=True)(*args)
        results = _run(jaxpr, functions, jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(out), results)

    return substituted


def _run(
    jaxpr: jex.core.ClosedJaxpr, functions: Mapping[str, Callable], inputs: Sequence[Any]
) -> list[Any]:
    """Evaluate a jaxpr with other functions for some primitives."""

    def rewrite(param):
        if isinstance(param, tuple):
            return tuple(map(rewrite, param))
        if isinstance(param, jex.core.ClosedJaxpr):  # from JAX 0.12 on, every jaxpr is
            return jax.make_jaxpr(lambda *inputs: _run(param, functions, inputs))(*param.in_avals)
        if isinstance(param, jex.core.Jaxpr):
            return rewrite(jex.core.ClosedJaxpr(param, ())).jaxpr
        return param

    def apply(equation, operands):
        function = functions.get(equation.primitive.name)
        result = NotImplemented
        if function is not None:
            result = function(*operands, **equation.params)
        if result is not NotImplemented:
            return [result]
        params = {name: rewrite(param) for name, param in equation.params.items()}
        return bind(equation.replace(params=params), operands)

    values = input_values(jaxpr, inputs)
    evaluate(jaxpr.jaxpr.eqns, values, apply)
    return read(jaxpr.jaxpr.outvars, values)


# 2^f for f from -1/2 to 1/2, to 8e-8, by Chebyshev interpolation: highest degree first.
_EXP2 = np.float32([0.0013390863, 0.009676032, 0.05550357, 0.24022107, 0.6931472, 1.0000001])


@jax.jit
def sigmoid(x: jax.Array) -> jax.Array:
    """1/(1+exp(-x)), float32 [lanes], within 1.2e-7; half the instructions of XLA's.

    With t = -x·log₂e, 2^t is 2^f shifted by n binary places, where n is t rounded and f = t - n is
    at most 1/2.
    """

    def fill(value):
        return lax.full(x.shape, value, x.dtype)

    t = lax.clamp(fill(-126), x * fill(-np.log2(np.e)), fill(126))
    n = lax.round(t, lax.RoundingMethod.TO_NEAREST_EVEN)
    f = t - n
    power = fill(_EXP2[0])
    for coefficient in _EXP2[1:]:
        power = power * f + fill(coefficient)
    exponent = n.astype(np.int32) << 23
    power = lax.bitcast_convert_type(power, np.int32) + exponent
    return 1 / (1 + lax.bitcast_convert_type(power, np.float32))


def _sigmoid_of_exp2(x: jax.Array, **_: Any) -> jax.Array:
    """1/(1+2^(-x·log₂e)), which is right for infinite powers too.

    On a GPU whose processors have 2^x, a step of the reference so takes 510 instructions, 664 with
    Mosaic's own sigmoid and 721 with the polynomial above.
    """
    return 1 / (1 + lax.exp2(x * np.float32(-_LOG2_E)))


@jax.jit
def _reciprocal(x: jax.Array) -> jax.Array:
    """1/x of an ordinary number, where Pallas tells them apart: on a TPU, 5 instructions for 13."""
    from jax.experimental import pallas  # slow to import, and the next one too
    from jax.experimental.pallas import tpu

    reciprocal = (tpu if hasattr(tpu, "reciprocal") else pallas).reciprocal  # JAX 0.12 moved it
    ordinary = {"full_range": False} if "full_range" in signature(reciprocal).parameters else {}
    return reciprocal(x, **ordinary)


# 1.5·2²³ + 127: a number t less than 2²² and this, as it is rounded, end in the bits of t's nearest
# whole number and 127, the exponent of 2 to its power.
_TO_EXPONENT = np.float32(1.5 * 2**23 + 127)


def _sigmoid_in_kernel(x: jax.Array, **_: Any) -> jax.Array:
    """The polynomial `sigmoid` in fewer instructions, for a compiler that rounds every sum.

    Without a conversion to integers, since a TPU's makes a finite number of NaN; and its divisor is
    an ordinary number.
    """
    t = lax.clamp(np.float32(-126), x * np.float32(-_LOG2_E), np.float32(126))
    shifted = t + _TO_EXPONENT
    f = t - (shifted - _TO_EXPONENT)
    power = _polynomial(_EXP2, f)
    scale = lax.bitcast_convert_type(lax.bitcast_convert_type(shifted, np.int32) << 23, np.float32)
    return _reciprocal(1 + power * scale)


def _sqrt(x: jax.Array, **_: Any) -> jax.Array:
    """The square root, by its reciprocal and a step of Newton's method.

    A number so small that the step's difference would vanish is taken times 2⁶⁴.
    """
    tiny = x < 2.0**-96
    scaled = x * jnp.where(tiny, 2.0**64, 1.0)
    reciprocal = lax.rsqrt(scaled)
    root = scaled * reciprocal
    root = root + 0.5 * reciprocal * (scaled - root * root)
    root = root * jnp.where(tiny, 2.0**-32, 1.0)
    return jnp.where((x == 0) | (x == np.inf), x, root)


def _exp(x: jax.Array, **_: Any) -> jax.Array:
    """e^x as 2^n·e^r, where n is the nearest whole number to x·log₂e; ln 2 is the sum of two."""
    n = lax.round(lax.clamp(np.float32(-200), x * np.float32(_LOG2_E), np.float32(200)), _EVEN)
    r = (x - n * np.float32(0.693359375)) - n * np.float32(np.log(2) - 0.693359375)
    result = _exp2(n, jnp.clip(r * np.float32(_LOG2_E), -1, 1))
    return jnp.where(jnp.abs(x) == np.inf, jnp.where(x > 0, np.inf, 0.0), result)


def _log(x: jax.Array, **_: Any) -> jax.Array:
    """The natural logarithm."""
    high, low = _log2(x)
    result = high * np.float32(0.693359375) + (
        high * np.float32(np.log(2) - 0.693359375) + low * np.float32(np.log(2))
    )
    result = jnp.where(x == 0, -np.inf, jnp.where(x == np.inf, x, result))
    return jnp.where((x < 0) | (x != x), np.nan, result)


def _log1p(x: jax.Array, log: Callable = lax.log, **_: Any) -> jax.Array:
    """log(1+x), of the sum as it is rounded, and what was rounded off."""
    total = 1 + x
    logarithm = log(total)
    exact = logarithm + (x - (total - 1)) / total
    return jnp.where(total == 1, x, jnp.where((total == 0) | (x == np.inf), logarithm, exact))


# Highest degree first: Giles, *Approximating the erfinv function* (GPU Computing Gems, 2011), as in
# XLA.
_ERF_INV_CENTER = (
    2.81022636e-08,
    3.43273939e-07,
    -3.5233877e-06,
    -4.39150654e-06,
    0.00021858087,
    -0.00125372503,
    -0.00417768164,
    0.246640727,
    1.50140941,
)
_ERF_INV_TAILS = (
    -0.000200214257,
    0.000100950558,
    0.00134934322,
    -0.00367342844,
    0.00573950773,
    -0.0076224613,
    0.00943887047,
    1.00167406,
    2.83297682,
)


def _erf_inv(x: jax.Array, log: Callable = lax.log, **_: Any) -> jax.Array:
    """The inverse of erf, by a polynomial for the center and one for the tails."""
    w = -_log1p(-x * x, log)
    is_center = w < 5
    w = jnp.where(is_center, w - 2.5, _sqrt(w) - 3)
    result = jnp.zeros_like(x)
    for center, tail in zip(_ERF_INV_CENTER, _ERF_INV_TAILS):
        result = result * w + jnp.where(is_center, np.float32(center), np.float32(tail))
    return jnp.where(jnp.abs(x) == 1, x * np.inf, result * x)


def _power(x: jax.Array, y: jax.Array, **_: Any) -> jax.Array:
    """x^y as 2^(y·log₂|x|), whose exponent is the sum of two numbers.

    A number of 24 bits is its first 12 and the rest, so that products of two such halves are exact.
    """
    y = lax.clamp(-(2.0**33), y.astype(x.dtype), 2.0**33)  # beyond that, 0, 1 or infinite anyway
    high, low = _log2(jnp.abs(x))
    y_high = _head(y)
    exponent, rest = y_high * high, (y - y_high) * high + y * low
    n = lax.clamp(-300.0, lax.round(exponent + rest, _EVEN), 300.0)
    result = _exp2(n, jnp.clip((exponent - n) + rest, -0.5, 0.5))
    is_whole = lax.round(y, _EVEN) == y
    is_odd = is_whole & (lax.round(y / 2, _EVEN) != y / 2)
    is_negative = lax.bitcast_convert_type(x, np.int32) < 0
    at_limit = jnp.where((x == 0) == (y > 0), 0.0, np.inf)
    result = jnp.where((x == 0) | (jnp.abs(x) == np.inf), at_limit, result)
    result = jnp.where(is_negative & is_odd, -result, result)
    result = jnp.where((x < 0) & (x != -np.inf) & ~is_whole, np.nan, result)
    result = jnp.where((x != x) | (y != y), np.nan, result)
    return jnp.where((x == 1) | (y == 0), 1.0, result)


_EVEN = lax.RoundingMethod.TO_NEAREST_EVEN
_LOG2_E = np.log2(np.e)
# (2^f - 1)/f for f from -1/2 to 1/2, to 2e-9, by Chebyshev interpolation: highest degree first.
_EXP2_FINE = (
    1.5297324e-05,
    0.00015461445,
    0.0013333502,
    0.009618057,
    0.05550411,
    0.2402265,
    0.6931472,
)


def _log2(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """log₂ x for a positive number, as 12 bits of it and the rest, together to 2e-9 of it.

    With x = m·2ⁿ and s = (m-1)/(m+1), ln m = 2s + s(2s²/3 + 2s⁴/5 + …).
    """
    is_tiny = x < 2.0**-100
    bits = lax.bitcast_convert_type(x * jnp.where(is_tiny, 2.0**64, 1.0), np.int32)
    n = (bits - np.float32(np.sqrt(0.5)).view(np.int32)) >> 23
    m = lax.bitcast_convert_type(bits - (n << 23), np.float32)
    n = n.astype(np.float32) - jnp.where(is_tiny, 64.0, 0.0)
    total, difference = m + 1, m - 1
    s = difference / total
    s_high, total_high = _head(s), _head(total)
    total_low = m - (total_high - 1)
    s_low = ((difference - s_high * total_high) - s_high * total_low) / total
    series = jnp.zeros_like(s)
    for degree in range(13, 1, -2):
        series = series * (s * s) + 2 / degree
    series = series * (s * s)
    rest = 2 * s_low + s * series + 3 * series * ((s_high - s) + s_low)
    scale = np.float32(_LOG2_E).view(np.int32) & -4096
    scale = scale.view(np.float32)
    high = 2 * s_high * scale
    low = 2 * s_high * np.float32(_LOG2_E - scale) + rest * np.float32(_LOG2_E)
    first = _head(n + (high + low))
    return first, ((n - first) + high) + low


def _head(x: jax.Array) -> jax.Array:
    """The first 12 bits of a number."""
    return lax.bitcast_convert_type(lax.bitcast_convert_type(x, np.int32) & -4096, np.float32)


def _exp2(n: jax.Array, f: jax.Array) -> jax.Array:
    """2^(n+f), for whole n from -300 to 300 and f from -1/2 to 1/2."""
    series = _polynomial(_EXP2_FINE, f)
    half = lax.round(n / 2, _EVEN)
    return (1 + series * f) * _power_of_2(half) * _power_of_2(n - half)


def _polynomial(coefficients: Sequence[float], x: jax.Array) -> jax.Array:
    """The value of a polynomial, highest degree first."""
    first, *others = map(np.float32, coefficients)
    result = jnp.full_like(x, first)
    for coefficient in others:
        result = result * x + coefficient
    return result


def _power_of_2(n: jax.Array) -> jax.Array:
    """2^n, for whole n from -126 to 127 or so; infinite and 0 beyond."""
    bits = (lax.clamp(-127.0, n, 128.0).astype(np.int32) + 127) << 23
    return lax.bitcast_convert_type(bits, np.float32)


def _integer_pow(x: jax.Array, y: int, **_: Any) -> jax.Array:
    """The powers that Mosaic's own lacks, below 2."""
    if y > 1:
        return NotImplemented
    power = jnp.ones_like(x) if y == 0 else x if abs(y) == 1 else lax.integer_pow(x, abs(y))
    return 1 / power if y < 0 else power


def _sign(x: jax.Array, **_: Any) -> jax.Array:
    """The sign of a number, and NaN of NaN."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return NotImplemented
    return jnp.where(jnp.abs(x) > 0, lax.sign(x), x)


def _of_float32(function: Callable) -> Callable:
    """The function, for float32 alone."""

    def apply(x, *others, **params):
        return function(x, *others, **params) if x.dtype == np.float32 else NotImplemented

    return apply


def substitutes(device: jax.Device) -> dict[str, Callable]:
    """The functions that stand for primitives in Pallas' kernels for a device, by their names.

    On a GPU, what Mosaic lacks there, and a shorter sigmoid. TPUs before v6 approximate 2^x, log₂
    and reciprocals to 16, 12 and 16 bits; from v6 on they are exact to a rounding or two.
    """
    if device.platform != "tpu":
        return _ON_GPU if device.platform == "gpu" else {}
    generation = re.match(r"TPU ?v?(\d+)", device.device_kind)
    return {} if generation is not None and int(generation[1]) >= 6 else _ON_EARLY_TPU


_ON_GPU: dict[str, Callable] = {
    "logistic": _of_float32(_sigmoid_of_exp2),
    "sqrt": _of_float32(_sqrt),
    "log1p": _of_float32(_log1p),
    "erf_inv": _of_float32(_erf_inv),
    "pow": _of_float32(_power),
    "integer_pow": _integer_pow,
    "sign": _sign,
}
_ON_EARLY_TPU: dict[str, Callable] = {
    "logistic": _of_float32(_sigmoid_in_kernel),
    "exp": _of_float32(_exp),
    "log": _of_float32(_log),
    "log1p": _of_float32(partial(_log1p, log=_log)),
    "erf_inv": _of_float32(partial(_erf_inv, log=_log)),
    "pow": _of_float32(_power),
}

# In JavaScript, whose `Math` has no inverse of erf.
IN_JAVASCRIPT: dict[str, Callable] = {
    "logistic": _of_float32(lambda x, **_: sigmoid(x)),
    "erf_inv": _of_float32(jax.jit(_erf_inv)),
}
