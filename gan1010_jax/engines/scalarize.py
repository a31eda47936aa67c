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
from functools import partial, reduce
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
    if name == "scan":
        return scan(equation, operands)
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


# Rules. Each takes an equation and its operands as `Lanes`, and gives a `Lanes` or a list of them.

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


def rule(*primitives: str) -> Callable:
    """Register the rule of primitives, by name."""

    def register(function: Callable) -> Callable:
        RULES.update(dict.fromkeys(primitives, function))
        return function

    return register


def as_closed(jaxpr: Any) -> jex.core.ClosedJaxpr:
    """A jaxpr that may lack its constants with them."""
    return jaxpr if hasattr(jaxpr, "consts") else jex.core.ClosedJaxpr(jaxpr, ())


@rule("add_any")
def add_any(equation, left, right):
    """Add: Pallas has no `add_any`, the sum of gradients, on a GPU."""
    return elementwise(add, left, right)


@rule("is_finite")
def is_finite(equation, operand):
    """Compare with infinity: Pallas has no `is_finite` on a GPU."""
    return elementwise(lambda x: lax.lt(lax.abs(x), lax.full_like(x, np.inf)), operand)


@rule(
    "copy",
    "stop_gradient",
    "optimization_barrier",
    "name",
    "sharding_constraint",
    "device_put",
    "random_clone",
)
def unchanged(equation, *operands):
    return list(operands)


@rule("bitcast_convert_type")
def bitcast(equation, operand):
    if equation.invars[0].aval.shape != equation.outvars[0].aval.shape:
        raise UnsupportedPrimitive("the primitive 'bitcast_convert_type' between widths")
    return elementwise(partial(bind, equation.primitive, **equation.params), operand)


@rule("select_n")
def on_each_word(equation, *operands):
    """Elementwise primitives of keys."""

    def each(*elements):
        rows = [e if isinstance(e, tuple) else itertools.repeat(e) for e in elements]
        return tuple(map(partial(bind, equation.primitive), *rows))

    return elementwise(each, *operands)


@rule("reshape", "squeeze")
def reshape(equation, operand):
    return Lanes(operand.elements.reshape(equation.outvars[0].aval.shape))


@rule("broadcast_in_dim")
def broadcast_in_dim(equation, operand):
    shape = equation.params["shape"]
    source = [1] * len(shape)
    for axis, size in zip(equation.params["broadcast_dimensions"], operand.elements.shape):
        source[axis] = size
    return Lanes(np.broadcast_to(operand.elements.reshape(source), shape))


@rule("transpose")
def transpose(equation, operand):
    return Lanes(operand.elements.transpose(equation.params["permutation"]))


@rule("rev")
def reverse(equation, operand):
    return Lanes(np.flip(operand.elements, equation.params["dimensions"]))


@rule("slice")
def slice_(equation, operand):
    params = equation.params
    strides = params["strides"] or itertools.repeat(None)
    ranges = map(slice, params["start_indices"], params["limit_indices"], strides)
    return Lanes(operand.elements[tuple(ranges)])


@rule("split")
def split(equation, operand):
    cuts = np.cumsum(equation.params["sizes"])[:-1]
    return [Lanes(part) for part in np.split(operand.elements, cuts, equation.params["axis"])]


@rule("tile")
def tile(equation, operand):
    return Lanes(np.tile(operand.elements, equation.params["reps"]))


@rule("concatenate")
def concatenate(equation, *operands):
    arrays = [operand.elements for operand in operands]
    return Lanes(np.concatenate(arrays, equation.params["dimension"]))


@rule("stack")
def stack(equation, *operands):
    return Lanes(np.stack([operand.elements for operand in operands], equation.params["axis"]))


@rule("unstack")
def unstack(equation, operand):
    axis = equation.params["axis"]
    parts = np.split(operand.elements, operand.elements.shape[axis], axis)
    return [Lanes(part.squeeze(axis)) for part in parts]


@rule("pad")
def pad(equation, operand, padding):
    shape = equation.outvars[0].aval.shape
    result = arrange(itertools.repeat(padding.elements[()], math.prod(shape)), shape)
    for index in np.ndindex(operand.elements.shape):
        config = equation.params["padding_config"]
        place = [low + i * (1 + interior) for i, (low, _, interior) in zip(index, config)]
        if all(0 <= i < size for i, size in zip(place, shape)):
            result[tuple(place)] = operand.elements[index]
    return Lanes(result)


def reduction(function: Callable) -> Callable:
    """The rule that folds elements together by a function of two."""

    def fold(equation, operand):
        axes = equation.params["axes"]
        kept = [axis for axis in range(operand.elements.ndim) if axis not in axes]
        array = operand.elements.transpose(*kept, *axes)
        rows = array.reshape(*array.shape[: len(kept)], -1)
        folded = [reduce(on_lanes(function), rows[index]) for index in np.ndindex(rows.shape[:-1])]
        return Lanes(arrange(folded, rows.shape[:-1]))

    return fold


rule("reduce_sum")(reduction(lax.add))
rule("reduce_prod")(reduction(lax.mul))
rule("reduce_max")(reduction(lax.max))
rule("reduce_min")(reduction(lax.min))
rule("reduce_and")(reduction(lax.bitwise_and))
rule("reduce_or")(reduction(lax.bitwise_or))
rule("reduce_xor")(reduction(lax.bitwise_xor))


def defined(function: Callable) -> Callable:
    """The rule that takes a primitive apart, by a function of its operands and parameters."""

    def take_apart(equation, *operands):
        avals = [variable.aval for variable in equation.invars]
        jaxpr = jax.make_jaxpr(partial(function, **equation.params))(*avals)
        return [as_lanes(result) for result in interpret(jaxpr, operands)]

    return take_apart


def cumulative(function: Callable) -> Callable:
    """What folds an axis step by step, by a function of two operands."""
    return lambda operand, axis, reverse: lax.associative_scan(function, operand, reverse, axis)


rule("cumsum")(defined(cumulative(lax.add)))
rule("cumprod")(defined(cumulative(lax.mul)))
rule("cummax")(defined(cumulative(lax.max)))
rule("cummin")(defined(cumulative(lax.min)))
rule("cumlogsumexp")(defined(cumulative(jnp.logaddexp)))


def extremum(function: Callable) -> Callable:
    """What finds the first place on an axis with its extremum, or NaN."""

    def find(operand, axes, index_dtype):
        (axis,) = axes
        found = (operand == function(operand, axis, keepdims=True)) | (operand != operand)
        places = lax.broadcasted_iota(index_dtype, operand.shape, axis)
        return jnp.min(jnp.where(found, places, operand.shape[axis]), axis)

    return find


rule("argmax")(defined(extremum(jnp.max)))
rule("argmin")(defined(extremum(jnp.min)))


def known_places(equation: jex.core.JaxprEqn, operand: Lanes) -> np.ndarray:
    """The places that an operand holds, where neither a lane nor a loop changes them."""
    if not all(isinstance(element, np.generic) for element in operand.elements.flat):
        name = equation.primitive.name
        raise UnsupportedPrimitive(f"the primitive {name!r} at places not known beforehand")
    return np.asarray([*operand.elements.flat], np.int32).reshape(operand.elements.shape)


@rule("dynamic_slice", "dynamic_update_slice", "gather", "scatter")
def move(equation, *operands):
    """What moves to places known beforehand: the primitive tells where, on numbered elements."""
    name = equation.primitive.name
    moved = {"dynamic_update_slice": (0, 1), "scatter": (0, 2)}.get(name, (0,))
    elements = [element for i in moved for element in operands[i].elements.flat]
    numbers, inputs = iter(range(len(elements))), []
    for i, operand in enumerate(operands):
        if i in moved:
            array = [next(numbers) for _ in operand.elements.flat]
            inputs.append(np.asarray(array, np.int32).reshape(operand.elements.shape))
        else:
            inputs.append(known_places(equation, operand))
    fill = {"fill_value": -1} if name == "gather" else {}
    with jax.ensure_compile_time_eval():
        places = np.asarray(equation.primitive.bind(*inputs, **equation.params | fill))
    if (places < 0).any():
        raise UnsupportedPrimitive(f"the primitive {name!r} at places out of bounds")
    return Lanes(arrange([elements[place] for place in places.flat], places.shape))


@rule("scatter-add")
def scatter_add(equation, operand, places, updates):
    """Add at places known beforehand: the primitive tells where, on one update at a time."""
    zeros = np.zeros(operand.elements.shape, equation.outvars[0].aval.dtype)
    known, elements = known_places(equation, places), operand.elements.flatten()
    for number, update in enumerate(updates.elements.flat):
        alone = np.zeros(updates.elements.shape, zeros.dtype)
        alone.flat[number] = 1
        with jax.ensure_compile_time_eval():
            added = equation.primitive.bind(zeros, known, alone, **equation.params)
        for place in np.flatnonzero(added):
            elements[place] = add(elements[place], update)
    return Lanes(elements.reshape(operand.elements.shape))


@rule("dot_general")
def dot_general(equation, left, right):
    (contract_left, contract_right), (batch_left, batch_right) = equation.params[
        "dimension_numbers"
    ]
    dtype = equation.outvars[0].aval.dtype

    def rows(operand, contract, batch):
        """The operand as [batch, free, contracted]."""
        array = operand.elements
        free = [axis for axis in range(array.ndim) if axis not in (*contract, *batch)]
        shape = [math.prod(array.shape[axis] for axis in axes) for axes in (batch, free, contract)]
        return array.transpose(*batch, *free, *contract).reshape(shape)

    def dot(row, column):
        products = [multiply(convert(x), convert(y)) for x, y in zip(row, column)]
        return reduce(add, products) if products else np.zeros((), dtype)

    def convert(element):
        return lax.convert_element_type(element, dtype)

    products = [
        dot(row, column)
        for matrix_left, matrix_right in zip(
            rows(left, contract_left, batch_left), rows(right, contract_right, batch_right)
        )
        for row in matrix_left
        for column in matrix_right
    ]
    return Lanes(arrange(products, equation.outvars[0].aval.shape))


@rule("cond")
def cond(equation, index, *operands):
    """Take every branch, as `vmap` does, and select by lane."""
    branches = equation.params["branches"]
    which = lax.clamp(np.int32(0), index.elements[()], np.int32(len(branches) - 1))

    def select(*cases):
        shape = jnp.broadcast_shapes(jnp.shape(which), *map(jnp.shape, cases))
        first, *others = spread(cases, shape)
        for number, other in enumerate(others, start=1):
            first = lax.select_n(spread(lax.eq(which, np.int32(number)), shape), first, other)
        return first

    results = [map(as_lanes, interpret(branch, operands)) for branch in branches]
    return [elementwise(partial(jax.tree.map, select), *cases) for cases in zip(*results)]


def scan(equation: jex.core.JaxprEqn, operands: list[Any]) -> list[Any]:
    """A `lax.scan` over the body on lanes; what all lanes share is still shared inside."""
    params = equation.params
    body, length = as_closed(params["jaxpr"]), params["length"]
    remaining = iter(operands)
    consts, carry, xs = (list(itertools.islice(remaining, size)) for size in scan_sizes(equation))
    shape = lanes_shape(operands)

    # A carry is on lanes if it starts there, or if what the body makes of it is.
    while True:
        varies = [*map(is_lanes, consts), *map(is_lanes, carry), *map(is_lanes, xs)]
        after = [now or later for now, later in zip(map(is_lanes, carry), depends(body, varies))]
        if after == [*map(is_lanes, carry)]:
            break
        carry = [as_lanes(c) if on_lanes else c for c, on_lanes in zip(carry, after)]
    carry = [spread(c, shape) if is_lanes(c) else c for c in carry]

    def unstacked(x):
        if not is_lanes(x):
            return x
        columns = x.elements.reshape(length, -1).T
        vectors = [
            jax.tree.map(lambda *rows: jnp.stack(rows), *spread(tuple(column), shape))
            for column in columns
        ]
        return Lanes(arrange(vectors, x.elements.shape[1:]))

    def step(carry, xs):
        outputs = interpret(body, [*consts, *carry, *xs])
        outputs = [spread(out, shape) if is_lanes(out) else jnp.asarray(out) for out in outputs]
        after = [
            spread(as_lanes(out), shape) if is_lanes(before) else out
            for before, out in zip(carry, outputs)
        ]
        return after, outputs[len(carry) :]

    def stacked(y):
        if not is_lanes(y):
            return y
        rows = [
            jax.tree.map(lambda vector, i=i: vector[i], element)
            for i in range(length)
            for element in y.elements.flat
        ]
        return Lanes(arrange(rows, (length, *y.elements.shape)))

    carry, ys = lax.scan(
        step,
        carry,
        [unstacked(x) for x in xs],
        length=length,
        reverse=params["reverse"],
        unroll=params["unroll"],
    )
    return [*carry, *map(stacked, ys)]


def scan_sizes(equation: jex.core.JaxprEqn) -> tuple[int, int, int]:
    """How many operands of a scan are constants, carry, and scanned over."""
    params = equation.params
    if "num_carry" in params:
        consts, carry = params["num_consts"], params["num_carry"]
    else:  # from JAX 0.12 on
        consts, carry, _ = map(len, params["ft_in"].unpack())
    return consts, carry, len(equation.invars) - consts - carry


def depends(jaxpr: jex.core.ClosedJaxpr, varies: Sequence[bool]) -> list[bool]:
    """Which results of a jaxpr depend on those of its inputs that vary."""
    varying = {variable for variable, does in zip(jaxpr.jaxpr.invars, varies) if does}

    def does(variable):
        return not isinstance(variable, jex.core.Literal) and variable in varying

    for equation in jaxpr.jaxpr.eqns:
        if any(map(does, equation.invars)):
            varying.update(equation.outvars)
    return [does(variable) for variable in jaxpr.jaxpr.outvars]


# Random draws, by JAX's own definitions on a key's two words


@rule("random_wrap")
def random_wrap(equation, words):
    shape = words.elements.shape[:-1]
    return Lanes(arrange([tuple(words.elements[index]) for index in np.ndindex(shape)], shape))


@rule("random_unwrap")
def random_unwrap(equation, keys):
    words = [word for key in keys.elements.flat for word in key]
    return Lanes(arrange(words, equation.outvars[0].aval.shape))


def check_threefry(variable: Any) -> None:
    """Refuse a key of another generator: under `vmap` its draws depend on more than the key."""
    if str(variable.aval.dtype) != "key<fry>":
        raise UnsupportedPrimitive(f"a {variable.aval.dtype}, a generator other than Threefry")


def on_words(function: Callable, equation: jex.core.JaxprEqn, *operands: Lanes) -> list[np.ndarray]:
    """A function of a key's words and numbers, at each key: object arrays of what it gives."""
    check_threefry(equation.invars[0])
    numbers = [jax.ShapeDtypeStruct((), variable.aval.dtype) for variable in equation.invars[1:]]
    jaxpr = jax.make_jaxpr(function)(jax.ShapeDtypeStruct((2,), np.uint32), *numbers)
    results = []
    for key, *rest in zip(*(array.flat for array in broadcast(operands))):
        inputs = [Lanes(arrange(key, (len(key),))), *(Lanes(arrange([x], ())) for x in rest)]
        results.append(as_lanes(*interpret(jaxpr, inputs)).elements)
    return results


def broadcast(operands: Sequence[Lanes]) -> list[np.ndarray]:
    """The elements of operands, broadcast against one another."""
    return np.broadcast_arrays(*(operand.elements for operand in operands))


@rule("random_bits")
def random_bits(equation, keys):
    shape = {name: equation.params[name] for name in ("bit_width", "shape")}
    draw = partial(jex.random.threefry_prng_impl.random_bits, **shape)
    bits = on_words(draw, equation, keys)
    return Lanes(np.stack(bits).reshape(equation.outvars[0].aval.shape))


@rule("random_seed")
def random_seed(equation, seeds):
    check_threefry(equation.outvars[0])

    def words(seeds, impl):
        return jax.vmap(jex.random.threefry_prng_impl.seed)(seeds.reshape(-1)).reshape(
            *seeds.shape, 2
        )

    return random_wrap(equation, *defined(words)(equation, seeds))


@rule("random_split")
def random_split(equation, keys):
    draw = partial(jex.random.threefry_prng_impl.split, shape=equation.params["shape"])
    words = np.stack(on_words(draw, equation, keys))
    shape = (*equation.outvars[0].aval.shape, words.shape[-1])
    return random_wrap(equation, Lanes(words.reshape(shape)))


@rule("random_fold_in")
def random_fold_in(equation, keys, data):
    words = np.stack(on_words(jex.random.threefry_prng_impl.fold_in, equation, keys, data))
    shape = (*equation.outvars[0].aval.shape, words.shape[-1])
    return random_wrap(equation, Lanes(words.reshape(shape)))


@rule("threefry2x32")
def threefry_rule(equation, *operands):
    shape = lanes_shape(operands)
    arrays = broadcast(operands)
    blocks = [threefry2x32(*spread(words, shape)) for words in zip(*(a.flat for a in arrays))]
    return [Lanes(arrange([block[i] for block in blocks], arrays[0].shape)) for i in range(2)]


@jax.jit
def threefry2x32(
    key_0: jax.Array, key_1: jax.Array, count_0: jax.Array, count_1: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """One block of Threefry-2x32 with its 20 rounds: two random words, uint32 like all four words.

    Salmon et al., *Parallel Random Numbers: As Easy as 1, 2, 3* (SC 2011). The same bits as JAX's
    own, which on CPU is a loop that calls a small kernel for every few operations.
    """
    keys = (key_0, key_1, key_0 ^ key_1 ^ np.uint32(0x1BD11BDA))
    rotations = ((13, 15, 26, 6), (17, 29, 16, 24))
    x, y = count_0 + keys[0], count_1 + keys[1]
    for group in range(5):
        for bits in rotations[group % 2]:
            x = x + y
            y = (y << np.uint32(bits)) | (y >> np.uint32(32 - bits))
            y = x ^ y
        x = x + keys[(group + 1) % 3]
        y = y + keys[(group + 2) % 3] + np.uint32(group + 1)
    return x, y
