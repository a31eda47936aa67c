"""Scalar replacement: a function of small arrays becomes the same function on lanes.

`jax.vmap` turns a small array of shape [4, 3] into one of [lanes, 4, 3], and a 4×3 product into a
batched one that compilers do not fuse. `scalarize` goes the other way about it: the array becomes
twelve *lane vectors*, one for each element, that hold its value for every lane. A product is then
multiplications and additions of lane vectors, a transposition only renames them, and what comes
out is straight-line elementwise code, which any compiler fuses and vectorises. Compilers call this
the scalar replacement of aggregates.

It is an interpreter of jaxprs: it sees what `jit` sees, so that it takes functions made of Flax
modules, `jax.grad`, optax and `jax.random` as they are. What does not depend on a lane, such as
constants and loop counters, is computed once, as it stands.

    step_on_lanes = scalarize(step, state, batch)           # example arguments, of one lane
    new_states = from_lanes(step_on_lanes(*to_lanes((states, batches))))  # leaves [..., lanes]
"""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
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


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True)
class Lanes:
    """A small array in every lane, held element by element; a pytree of its lane vectors.

    Attributes:
      elements: an object array of the small array's shape. Each element is a lane vector: an
        array of one value for each lane (of any shape, the same everywhere), or, for a typed key,
        the tuple of its words as lane vectors.
    """

    elements: np.ndarray

    def tree_flatten(self) -> tuple[tuple, tuple[int, ...]]:
        """The lane vectors, and the shape that they are arranged in."""
        return tuple(self.elements.flat), self.elements.shape

    @classmethod
    def tree_unflatten(cls, shape: tuple[int, ...], elements: Sequence[Any]) -> "Lanes":
        """The inverse of `tree_flatten`."""
        return cls(arrange(elements, shape))


def to_lanes(tree: chex.ArrayTree) -> Any:
    """Each array or typed key array [..., lanes] of a pytree as a `Lanes` of shape [...]."""

    def split(array: jax.Array) -> Lanes:
        shape = array.shape[:-1]
        if is_key(array):
            words = jnp.moveaxis(jax.random.key_data(array), -1, -2)
            rows = words.reshape(-1, *words.shape[-2:])
            return Lanes(arrange([tuple(row) for row in rows], shape))
        return Lanes(arrange(array.reshape(-1, array.shape[-1]), shape))

    return jax.tree.map(split, tree)


def from_lanes(tree: Any) -> chex.ArrayTree:
    """The inverse of `to_lanes`, except that keys come back as their words, [..., words, lanes].

    Lane vectors with axes before the lanes, such as a `scan` stacks, give [those, ..., lanes].
    """

    def join(lanes: Lanes) -> jax.Array:
        vectors = jax.tree.leaves(lanes)
        shape = lanes.elements.shape
        if any(isinstance(element, tuple) for element in lanes.elements.flat):
            shape = (*shape, len(vectors) // lanes.elements.size)
        stacked = jnp.stack(vectors, axis=-2)
        return stacked.reshape(*stacked.shape[:-2], *shape, stacked.shape[-1])

    return jax.tree.map(join, tree, is_leaf=is_lanes)


def scalarize(fn: Callable, *example_args: Any) -> Callable:
    """Turn a function of small arrays into the same function on lanes.

    Args:
      fn: a function of pytrees of arrays to a pytree of arrays, pure, as for `jit`.
      example_args: its arguments for one lane, or anything with their shapes and dtypes.

    Returns:
      A function of pytrees of the same structure whose leaves are `Lanes`, or plain arrays where
      every lane has the same value, to a pytree of `Lanes`. On lanes it gives what `jax.vmap(fn)`
      gives, up to the order of floating-point additions.

    Raises:
      InvalidArgument: (a `ValueError`) when the function that it returns is called with arguments
        that do not have the structure and shapes of the examples.
      UnsupportedPrimitive: when it is called, for a primitive without a rule; it names the
        primitive and `fn`.
    """
    jaxpr, out = jax.make_jaxpr(fn, return_shape=True)(*example_args)
    out_tree = jax.tree.structure(out)
    name = getattr(fn, "__name__", repr(fn))
    in_tree, shapes = jax.tree.structure(example_args), [aval.shape for aval in jaxpr.in_avals]

    def scalarized(*args: Any) -> Any:
        leaves, tree = jax.tree.flatten(args, is_leaf=is_lanes)
        given = [shape_in_a_lane(leaf) for leaf in leaves]
        if tree != in_tree or given != shapes:
            allowed = f"shaped as the examples were, {jax.tree.unflatten(in_tree, shapes)}"
            raise InvalidArgument(f"{name}'s arguments", jax.tree.unflatten(tree, given), allowed)
        inputs = [as_value(leaf, aval.dtype) for leaf, aval in zip(leaves, jaxpr.in_avals)]
        try:
            outputs = interpret(jaxpr, inputs)
        except UnsupportedPrimitive as error:
            raise UnsupportedPrimitive(f"{name} uses {error}, which has no rule on lanes") from None
        shape = lanes_shape(inputs)
        return jax.tree.unflatten(out_tree, [spread(as_lanes(out), shape) for out in outputs])

    return scalarized


def interpret(jaxpr: jex.core.ClosedJaxpr, inputs: Sequence[Any]) -> list[Any]:
    """Evaluate a jaxpr on inputs that are each a `Lanes`, or an array that all lanes share."""
    variables = itertools.chain(jaxpr.jaxpr.constvars, jaxpr.jaxpr.invars)
    values = dict(zip(variables, itertools.chain(jaxpr.consts, inputs)))

    def read(variable):
        if isinstance(variable, jex.core.Literal):
            return np.asarray(variable.val, variable.aval.dtype)
        return values[variable]

    for equation in jaxpr.jaxpr.eqns:
        operands = [read(variable) for variable in equation.invars]
        values.update(zip(equation.outvars, apply(equation, operands)))
    return [read(variable) for variable in jaxpr.jaxpr.outvars]


def apply(equation: jex.core.JaxprEqn, operands: list[Any]) -> list[Any]:
    """The results of an equation."""
    name = equation.primitive.name
    operands = [
        np.empty(variable.aval.shape, variable.aval.dtype) if is_empty(operand) else operand
        for operand, variable in zip(operands, equation.invars)
    ]
    if name in CALLS:
        return interpret(as_closed(equation.params[CALLS[name]]), operands)
    if not any(map(is_lanes, operands)):
        return apply_to_shared(equation, operands)
    if name in LOOPS:
        return LOOPS[name](equation, operands)
    operands = [as_lanes(operand) for operand in operands]
    if name in ELEMENTWISE and not any(is_key(variable.aval) for variable in equation.invars):
        return [elementwise(partial(bind, equation.primitive, **equation.params), *operands)]
    if name not in RULES:
        raise UnsupportedPrimitive(f"the primitive {name!r}")
    results = RULES[name](equation, *operands)
    return results if isinstance(results, list) else [results]


def apply_to_shared(equation: jex.core.JaxprEqn, operands: list[Any]) -> list[Any]:
    """The results of an equation that all lanes share: at once, if its operands are known."""
    known = not any(isinstance(operand, jax.core.Tracer) for operand in operands)
    with jax.ensure_compile_time_eval() if known else contextlib.nullcontext():
        results = equation.primitive.bind(*operands, **equation.params)
    return results if equation.primitive.multiple_results else [results]


# Values


def is_lanes(value: Any) -> bool:
    """Whether a value differs from lane to lane."""
    return isinstance(value, Lanes)


def is_empty(value: Any) -> bool:
    """Whether a value on lanes has no elements, which is to be the same in every lane."""
    return is_lanes(value) and not value.elements.size


def shape_in_a_lane(value: Any) -> tuple[int, ...]:
    """The shape that a value has in one lane."""
    return value.elements.shape if is_lanes(value) else jnp.shape(value)


def as_value(leaf: Any, dtype: Any) -> Any:
    """A leaf of the arguments as what rules take: a number is an array that all lanes share."""
    return leaf if isinstance(leaf, Lanes | jax.Array) else np.asarray(leaf, dtype)


def is_key(array: jax.Array) -> bool:
    """Whether an array is one of typed keys."""
    return jnp.issubdtype(array.dtype, jax.dtypes.prng_key)


def arrange(elements: Iterable[Any], shape: Sequence[int]) -> np.ndarray:
    """An object array of a shape; NumPy would take the elements themselves apart."""
    array = np.empty(math.prod(shape), object)
    for index, element in enumerate(elements):
        array[index] = element
    return array.reshape(shape)


def as_lanes(value: Any) -> Lanes:
    """A value as a `Lanes`; where all lanes share it, its elements are scalars."""
    if is_lanes(value):
        return value
    shape = value.shape
    if is_key(value):
        words = jax.random.key_data(value)
        return Lanes(arrange([tuple(words[index]) for index in np.ndindex(shape)], shape))
    value = value if isinstance(value, jax.core.Tracer) else np.asarray(value)
    return Lanes(arrange([value[index] for index in np.ndindex(shape)], shape))


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


def bind(primitive: jex.core.Primitive, *elements: Any, **params: Any) -> Any:
    """Apply an elementwise primitive to lane vectors, and to scalars among them."""
    return on_lanes(partial(primitive.bind, **params))(*elements)


def on_lanes(function: Callable) -> Callable:
    """A function of arrays of one shape, for lane vectors and scalars among them."""

    def call(*elements):
        return function(*spread(elements, jnp.broadcast_shapes(*map(jnp.shape, elements))))

    return call


add, multiply = on_lanes(lax.add), on_lanes(lax.mul)


def elementwise(function: Callable, *operands: Lanes) -> Lanes:
    """Apply a function of lane vectors to each element of the operands, which broadcast."""
    arrays = np.broadcast_arrays(*(operand.elements for operand in operands))
    rows = zip(*(array.flat for array in arrays))
    return Lanes(arrange(itertools.starmap(function, rows), arrays[0].shape))


def one_lane(tree: Any) -> Any:
    """The shapes of a pytree [..., lanes] in one lane."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[:-1], leaf.dtype), tree)


# Rules

# Functions of numbers, which are the same on lane vectors.
ELEMENTWISE = frozenset(
    """abs acos acosh add and asin asinh atan atan2 atanh cbrt ceil
    clamp clz convert_element_type cos cosh digamma div eq erf erf_inv erfc exp exp2
    expm1 floor ge gt integer_pow le lgamma log log1p log2 logistic lt max min mul ne neg
    nextafter not one_minus_square or population_count pow reduce_precision rem round rsqrt
    select_n shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt square sub
    tan tanh xor""".split()
)

# Functions within the function, and the parameter of the equation that holds each.
CALLS = {
    "jit": "jaxpr",
    "remat2": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}

RULES: dict[str, Callable] = {}
LOOPS: dict[str, Callable] = {}


def rule(*primitives: str) -> Callable:
    """Register the rule of primitives, by name."""

    def register(function: Callable) -> Callable:
        RULES.update(dict.fromkeys(primitives, function))
        return function

    return register


def as_closed(jaxpr: Any) -> jex.core.ClosedJaxpr:
    """A jaxpr that may lack its constants with them."""
    return jaxpr if hasattr(jaxpr, "consts") else jex.core.ClosedJaxpr(jaxpr, ())
