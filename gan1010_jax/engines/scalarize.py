"""Scalar replacement: a function of small arrays becomes the same function on lanes.

    >>> x = jnp.ones((2, 1024))  # an array of shape [2] in each of 1,024 lanes
    >>> lanes = to_lanes(x)      # its two elements, each a vector of 1,024 lanes
    >>> dot = scalarize(lax.dot, x[:, 0], x[:, 0])  # examples of the arguments, in one lane
    >>> print(jax.make_jaxpr(dot)(lanes, lanes))
    { lambda ; a:f32[1024] b:f32[1024] c:f32[1024] d:f32[1024]. let
        e:f32[1024] = mul a c
        f:f32[1024] = mul b d
        g:f32[1024] = add e f
      in (g,) }
    >>> from_lanes(dot(lanes, lanes)).shape
    (1024,)

`jax.vmap` turns a small array of shape [4, 3] into one of [lanes, 4, 3], and a 4×3 product into a
batched one that compilers do not fuse. `scalarize` takes the opposite approach: the array becomes
twelve *lane vectors*, one for each element, that hold its value in every lane. A product becomes
multiplications and additions of lane vectors, a transposition only renames them, and the result
is straight-line elementwise code, which any compiler fuses and vectorises. Compilers call this the
scalar replacement of aggregates.

It is an interpreter of jaxprs, with a rule for each primitive (`rules.py`). It sees what `jit`
sees, so functions made of Flax modules, `jax.grad`, optax and `jax.random` work unchanged. Values
that do not depend on a lane, such as constants and loop counters, are *shared* by all lanes and
computed once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import chex
import jax
import jax.extend as jex
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan1010_jax.errors import InvalidArgument


class UnsupportedPrimitive(NotImplementedError):
    """A function uses a JAX primitive that `scalarize` has no rule for."""


@dataclass(frozen=True)
class Lanes:
    """A small array in every lane, stored element by element: a pytree of its lane vectors.

    Attributes:
      elements: an object array of the small array's shape. Each element is a lane vector: an
        array with one value for each lane (of any shape, the same for all elements), or, for a
        typed key, the tuple of its words as lane vectors.
    """

    elements: np.ndarray


jax.tree_util.register_pytree_node(
    Lanes,
    lambda lanes: (tuple(lanes.elements.flat), lanes.elements.shape),
    lambda shape, elements: Lanes(arrange(elements, shape)),
)


def to_lanes(tree: chex.ArrayTree) -> Any:
    """Each array or typed key array [..., lanes] of a pytree as a `Lanes` of shape [...].

    Raises:
      InvalidArgument: (a `ValueError`) for a leaf that is not such an array.
    """

    def split(array: jax.Array) -> Lanes:
        if not getattr(array, "shape", ()):
            raise InvalidArgument("tree", array, "a pytree of arrays [..., lanes]")
        shape = array.shape[:-1]
        if is_key(array):
            words = jnp.moveaxis(jax.random.key_data(array), -1, -2)
            return Lanes(arrange(map(tuple, words.reshape(-1, *words.shape[-2:])), shape))
        return Lanes(arrange(array.reshape(-1, array.shape[-1]), shape))

    return jax.tree.map(split, tree)


def from_lanes(tree: Any) -> chex.ArrayTree:
    """The inverse of `to_lanes`, except that keys become their words, [..., words, lanes].

    Lane vectors with axes before the lanes, such as a `scan` stacks, become [axes, ..., lanes].

    Raises:
      InvalidArgument: (a `ValueError`) for a leaf that is not a `Lanes`.
    """

    def join(lanes: Lanes) -> jax.Array:
        if not is_lanes(lanes):
            raise InvalidArgument("tree", lanes, "a pytree of Lanes")
        vectors = jax.tree.leaves(lanes)
        shape = lanes.elements.shape
        if any(isinstance(element, tuple) for element in lanes.elements.flat):
            shape = (*shape, len(vectors) // lanes.elements.size)
        stacked = jnp.stack(vectors, axis=-2)
        return stacked.reshape(*stacked.shape[:-2], *shape, stacked.shape[-1])

    return jax.tree.map(join, tree, is_leaf=is_lanes)


def one_lane(tree: chex.ArrayTree) -> Any:
    """The shapes and dtypes in one lane of a pytree [..., lanes]."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[:-1], leaf.dtype), tree)


def scalarize(fn: Callable, *example_args: Any) -> Callable:
    """Turn a function of small arrays into the same function on lanes.

    Args:
      fn: a function of pytrees of arrays to a pytree of arrays, pure, as for `jit`.
      example_args: its arguments in one lane, or anything with their shapes and dtypes.

    Returns:
      A function of pytrees of the same structure whose leaves are `Lanes`, or plain arrays that
      all lanes share, to a pytree of `Lanes`. On lanes it returns what `jax.vmap(fn)` returns, up
      to the order of floating-point additions.

    Raises:
      InvalidArgument: (a `ValueError`) for a function that cannot be called, or an example that is
        not a pytree of arrays; and when the returned function is called with arguments that do not
        have the structure and shapes of the examples.
      UnsupportedPrimitive: when it is called, for a primitive without a rule; it names the
        primitive and `fn`.
    """
    if not callable(fn):
        raise InvalidArgument("fn", fn, "a function")
    for leaf in jax.tree.leaves(example_args):
        try:
            jax.eval_shape(lambda x: x, leaf)
        except (TypeError, ValueError, OverflowError):
            raise InvalidArgument("example_args", leaf, "pytrees of arrays") from None
    jaxpr, out = jax.make_jaxpr(fn, return_shape=True)(*example_args)
    out_tree = jax.tree.structure(out)
    name = getattr(getattr(fn, "func", fn), "__name__", repr(fn))  # of a partial, its function's
    in_tree, shapes = jax.tree.structure(example_args), [aval.shape for aval in jaxpr.in_avals]

    def scalarized(*args: Any) -> Any:
        leaves, tree = jax.tree.flatten(args, is_leaf=is_lanes)
        given = [leaf.elements.shape if is_lanes(leaf) else jnp.shape(leaf) for leaf in leaves]
        if tree != in_tree or given != shapes:
            allowed = f"shaped as the examples were, {jax.tree.unflatten(in_tree, shapes)}"
            raise InvalidArgument(f"{name}'s arguments", jax.tree.unflatten(tree, given), allowed)
        inputs = [
            leaf if isinstance(leaf, Lanes | jax.Array) else np.asarray(leaf, aval.dtype)
            for leaf, aval in zip(leaves, jaxpr.in_avals)
        ]
        try:
            outputs = interpret(jaxpr, inputs)
        except UnsupportedPrimitive as error:
            raise UnsupportedPrimitive(f"{name} uses {error}, which has no rule on lanes") from None
        shape = lanes_shape(inputs)
        return jax.tree.unflatten(out_tree, [spread(as_lanes(out), shape) for out in outputs])

    return scalarized


# The interpreter. A value is a `Lanes`, or an array that all lanes share.

# Functions within the function, and the parameter of the equation that holds each.
CALLS = {
    "jit": "jaxpr",
    "remat2": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}

# (equation, *values) -> list of values
RULES: dict[str, Callable] = {}
# Functions of floats that IEEE 754 rounds in one way.
_EXACT = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}
# Those that take shared values too, if these are traced.
OF_SHARED: set[str] = set()


def rule(*primitives: str) -> Callable:
    """Register the rule of primitives, by name.

    It maps an equation of a jaxpr and its operands, each a `Lanes`, to a `Lanes` or a list of them.
    """

    def register(function: Callable) -> Callable:
        def on_values(equation, *values):
            results = function(equation, *map(as_lanes, values))
            return results if isinstance(results, list) else [results]

        RULES.update(dict.fromkeys(primitives, on_values))
        return function

    return register


def interpret(jaxpr: jex.core.ClosedJaxpr, inputs: Sequence[Any]) -> list[Any]:
    """Evaluate a jaxpr on values."""
    values = input_values(jaxpr, inputs)
    evaluate(jaxpr.jaxpr.eqns, values, _apply)
    return read(jaxpr.jaxpr.outvars, values)


def evaluate(
    equations: Iterable[jex.core.JaxprEqn], values: dict[Any, Any], apply: Callable
) -> None:
    """Add the results of equations to the values of variables: `apply(equation, operands)`."""
    for equation in equations:
        values.update(zip(equation.outvars, apply(equation, read(equation.invars, values))))


def read(operands: Iterable[Any], values: dict[Any, Any]) -> list[Any]:
    """The values of operands of an equation."""
    return [
        np.asarray(operand.val, operand.aval.dtype) if is_literal(operand) else values[operand]
        for operand in operands
    ]


def is_literal(operand: Any) -> bool:
    """Whether an operand is a number in the jaxpr itself."""
    return isinstance(operand, jex.core.Literal)


def variables(operands: Iterable[Any]) -> set[Any]:
    """The variables among operands."""
    return {operand for operand in operands if not is_literal(operand)}


def needed_for(
    outputs: Iterable[Any], equations: Sequence[jex.core.JaxprEqn]
) -> list[jex.core.JaxprEqn]:
    """The equations that outputs depend on."""
    needed, kept = variables(outputs), []
    for equation in reversed(equations):
        if needed.intersection(equation.outvars):
            needed |= variables(equation.invars)
            kept.append(equation)
    return kept[::-1]


def input_values(jaxpr: jex.core.ClosedJaxpr, inputs: Sequence[Any]) -> dict[Any, Any]:
    """The values of the variables of a jaxpr's constants and inputs."""
    variables = itertools.chain(jaxpr.jaxpr.constvars, jaxpr.jaxpr.invars)
    return dict(zip(variables, itertools.chain(jaxpr.consts, inputs)))


def _apply(equation: jex.core.JaxprEqn, operands: list[Any]) -> list[Any]:
    """The results of an equation."""
    name = equation.primitive.name
    operands = [  # an array without elements is the same in every lane
        np.empty(variable.aval.shape, variable.aval.dtype)
        if is_lanes(operand) and not operand.elements.size
        else operand
        for operand, variable in zip(operands, equation.invars)
    ]
    if name in CALLS:
        return interpret(as_closed(equation.params[CALLS[name]]), operands)
    is_traced = any(isinstance(operand, jax.core.Tracer) for operand in operands)
    if not any(map(is_lanes, operands)) and not (is_traced and name in OF_SHARED):
        if is_traced:
            return bind(equation, operands)
        return _fold(equation, operands)
    if name not in RULES:
        raise UnsupportedPrimitive(f"the primitive {name!r}")
    return RULES[name](equation, *operands)


def _fold(equation: jex.core.JaxprEqn, operands: list[Any]) -> list[Any]:
    """The results of an equation of constants.

    JAX would compile a program for each, which takes longer than to trace all else. So those whose
    results leave no choice, by IEEE 754 or since they are whole numbers, are made by NumPy.
    """
    name, params = equation.primitive.name, equation.params
    if name in _EXACT and all(np.issubdtype(x.dtype, np.floating) for x in operands):
        return [_EXACT[name](*map(np.asarray, operands))]
    if name == "eq" and not any(map(is_key, operands)):
        return [np.equal(*map(np.asarray, operands))]
    if name == "convert_element_type" and operands[0].dtype == params["new_dtype"]:
        return operands
    if name == "iota_2x32_shape":  # the words, high and low, of every place's number
        low = np.arange(math.prod(params["shape"]), dtype=np.uint32).reshape(params["shape"])
        return [np.zeros_like(low), low]
    with jax.ensure_compile_time_eval():
        return bind(equation, operands)


def bind(equation: jex.core.JaxprEqn, operands: Sequence[Any]) -> list[Any]:
    """The results of an equation of arrays."""
    results = equation.primitive.bind(*operands, **equation.params)
    return results if equation.primitive.multiple_results else [results]


def as_closed(jaxpr: Any) -> jex.core.ClosedJaxpr:
    """A jaxpr as a closed one, with its constants."""
    return jaxpr if hasattr(jaxpr, "consts") else jex.core.ClosedJaxpr(jaxpr, ())


# Values


def is_lanes(value: Any) -> bool:
    """Whether a value differs from lane to lane."""
    return isinstance(value, Lanes)


def is_key(array: Any) -> bool:
    """Whether an array holds typed keys."""
    return jnp.issubdtype(array.dtype, jax.dtypes.prng_key)


def arrange(elements: Iterable[Any], shape: Sequence[int]) -> np.ndarray:
    """An object array of a shape; NumPy itself would make an array of the elements' elements."""
    array = np.empty(math.prod(shape), object)
    for index, element in enumerate(elements):
        array[index] = element
    return array.reshape(shape)


def as_lanes(value: Any) -> Lanes:
    """A value as a `Lanes`; the elements of a shared one are scalars."""
    if is_lanes(value):
        return value
    places = np.ndindex(value.shape)
    if is_key(value):
        words = jax.random.key_data(value)
        return Lanes(arrange((tuple(words[place]) for place in places), value.shape))
    array = value if isinstance(value, jax.core.Tracer) else np.asarray(value)
    return Lanes(arrange((array[place] for place in places), array.shape))


def lanes_shape(values: Sequence[Any]) -> tuple[int, ...]:
    """The shape of the lane vectors among values."""
    vectors = jax.tree.leaves([value for value in values if is_lanes(value)])
    return jnp.broadcast_shapes(*map(jnp.shape, vectors))


def spread(tree: Any, shape: tuple[int, ...]) -> Any:
    """Each scalar of a pytree as a lane vector of a shape."""

    def fill(vector):
        if jnp.shape(vector) == shape:
            return vector
        if isinstance(vector, jax.core.Tracer):
            return lax.broadcast_in_dim(vector, shape, ())
        return lax.full(shape, vector)

    return jax.tree.map(fill, tree)


def on_vectors(function: Callable) -> Callable:
    """A function of arrays of one shape as one of lane vectors and scalars."""

    def call(*elements):
        return function(*spread(elements, jnp.broadcast_shapes(*map(jnp.shape, elements))))

    return call


def elementwise(function: Callable, *operands: Lanes) -> Lanes:
    """Apply a function to each element of the operands, which broadcast."""
    arrays = np.broadcast_arrays(*(operand.elements for operand in operands))
    rows = zip(*(array.flat for array in arrays))
    return Lanes(arrange(itertools.starmap(function, rows), arrays[0].shape))
