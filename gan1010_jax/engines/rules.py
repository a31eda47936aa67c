"""The rules of `scalarize`: what each JAX primitive is on lanes."""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.extend as jex
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan1010_jax.engines.scalarize import (
    LOOPS,
    Lanes,
    UnsupportedPrimitive,
    add,
    arrange,
    as_closed,
    as_lanes,
    bind,
    elementwise,
    interpret,
    is_lanes,
    lanes_shape,
    multiply,
    on_lanes,
    rule,
    spread,
)


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


LOOPS["scan"] = scan
