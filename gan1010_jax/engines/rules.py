"""The rules of `scalarize`: each computes the results of a primitive's equation on lanes."""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial, reduce
from operator import itemgetter, or_
from typing import Any

import jax
import jax.extend as jex
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan1010_jax.engines.scalarize import (
    OF_SHARED,
    RULES,
    Lanes,
    UnsupportedPrimitive,
    arrange,
    as_closed,
    as_lanes,
    bind,
    elementwise,
    evaluate,
    interpret,
    is_key,
    is_lanes,
    lanes_shape,
    needed_for,
    on_vectors,
    read,
    rule,
    spread,
    variables,
)


def defined(function: Callable) -> Callable:
    """The rule of a primitive that other primitives define.

    Args:
      function: a function of arrays, the primitive's operands, and of the primitive's parameters
        by their names, to its result or results; made of primitives that have rules.
    """

    def evaluate(equation, *operands):
        avals = [variable.aval for variable in equation.invars]
        jaxpr = jax.make_jaxpr(partial(function, **equation.params))(*avals)
        return [as_lanes(result) for result in interpret(jaxpr, operands)]

    return evaluate


# Functions of numbers, which are the same on lane vectors.
ELEMENTWISE = frozenset(
    """abs acos acosh add and asin asinh atan atan2 atanh cbrt ceil
    clamp clz convert_element_type cos cosh digamma div eq erf erf_inv erfc exp exp2
    expm1 floor ge gt integer_pow le lgamma log log1p log2 logistic lt max min mul ne neg
    nextafter not one_minus_square or population_count pow reduce_precision rem round rsqrt
    select_n shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt square sub
    tan tanh xor""".split()
)


@rule(*ELEMENTWISE)
def apply_elementwise(equation, *operands):
    function = on_vectors(partial(equation.primitive.bind, **equation.params))
    if not any(is_key(variable.aval) for variable in equation.invars):
        return elementwise(function, *operands)
    if equation.primitive is not lax.select_n_p:
        raise UnsupportedPrimitive(f"the primitive {equation.primitive.name!r} of keys")

    def select(which, *keys):
        return tuple(function(which, *words) for words in zip(*keys))

    return elementwise(select, *operands)


def _shift(equation: jex.core.JaxprEqn, *values: Any) -> list[Any]:
    """Shift by less than the width of the word, as every compiler defines it.

    XLA also defines a shift by the width or more: 0, or the sign. Below it that is undefined:
    `fold_in` shifts 32 bits by 32, for which Mosaic deletes the whole draw on a GPU.
    """
    name, dtype = equation.primitive.name, equation.invars[0].aval.dtype
    unsigned, most = np.dtype(f"uint{8 * dtype.itemsize}"), 8 * dtype.itemsize - 1

    def within(x, amount):
        is_known = not isinstance(amount, jax.core.Tracer)
        count = (np if is_known else jnp).asarray(amount).astype(unsigned)
        is_beyond = count > most
        if not is_known or is_beyond.any():
            amount = jnp.minimum(count, unsigned.type(most)).astype(dtype)
        shifted = on_vectors(partial(equation.primitive.bind, **equation.params))(x, amount)
        if name == "shift_right_arithmetic" or (is_known and not is_beyond.any()):
            return shifted
        zero = np.zeros((), dtype)
        return zero if is_known and is_beyond.all() else jnp.where(is_beyond, zero, shifted)

    if any(map(is_lanes, values)):
        return [elementwise(within, *map(as_lanes, values))]
    return [jnp.broadcast_to(within(*values), equation.outvars[0].aval.shape)]


# Of values, shared ones too: `rule` would turn these into `Lanes`.
_SHIFTS = ("shift_left", "shift_right_logical", "shift_right_arithmetic")
RULES.update(dict.fromkeys(_SHIFTS, _shift))
OF_SHARED.update(_SHIFTS)


# Pallas lacks these two on a GPU. `add_any` adds gradients.
rule("add_any")(defined(lax.add))
rule("is_finite")(defined(lambda x: lax.abs(x) < np.inf))


@rule("bitcast_convert_type")
def bitcast_convert_type(equation, operand):
    if equation.invars[0].aval.shape != equation.outvars[0].aval.shape:
        raise UnsupportedPrimitive("the primitive 'bitcast_convert_type' between widths")
    return apply_elementwise(equation, operand)


# Elements that only move


def _unchanged(equation, *operands):
    return list(operands)


rule("copy", "stop_gradient", "optimization_barrier", "name")(_unchanged)
rule("sharding_constraint", "device_put", "random_clone")(_unchanged)


def _on_elements(function: Callable) -> Callable:
    """The rule that rearranges elements by a function of NumPy arrays and parameters."""

    def rearrange(equation, *operands):
        results = function(*(operand.elements for operand in operands), **equation.params)
        return [*map(Lanes, results)] if isinstance(results, list) else Lanes(results)

    return rearrange


def _broadcast(x, shape, broadcast_dimensions, **_):
    added = [axis for axis in range(len(shape)) if axis not in broadcast_dimensions]
    return np.broadcast_to(np.expand_dims(x, added), shape)


def _unstack(x, axis, **_):
    return [part.squeeze(axis) for part in np.split(x, x.shape[axis], axis)]


def _slice(x, start_indices, limit_indices, strides, **_):
    return x[tuple(map(slice, start_indices, limit_indices, strides or itertools.repeat(None)))]


# Other parameters, of which versions of JAX have different ones, do not matter.
rule("reshape")(_on_elements(lambda x, new_sizes, **_: x.reshape(new_sizes)))
rule("squeeze")(_on_elements(lambda x, dimensions, **_: x.squeeze(dimensions)))
rule("transpose")(_on_elements(lambda x, permutation, **_: x.transpose(permutation)))
rule("rev")(_on_elements(lambda x, dimensions, **_: np.flip(x, dimensions)))
rule("tile")(_on_elements(lambda x, reps, **_: np.tile(x, reps)))
rule("split")(_on_elements(lambda x, sizes, axis, **_: np.split(x, np.cumsum(sizes)[:-1], axis)))
rule("stack")(_on_elements(lambda *xs, axis, **_: np.stack(xs, axis)))
rule("unstack")(_on_elements(_unstack))
rule("concatenate")(_on_elements(lambda *xs, dimension, **_: np.concatenate(xs, dimension)))
rule("broadcast_in_dim")(_on_elements(_broadcast))
rule("slice")(_on_elements(_slice))


# Operands that hold the elements; the others, if any, hold the places that they move to.
_MOVED = {"dynamic_slice": [0], "dynamic_update_slice": [0, 1], "gather": [0], "scatter": [0, 2]}


@rule("pad", *_MOVED)
def move(equation, *operands):
    """Apply the primitive to the elements' numbers, to see where they move."""
    primitive = equation.primitive
    moved = _MOVED.get(primitive.name, range(len(operands)))
    elements = [element for i in moved for element in operands[i].elements.flat]
    numbers = itertools.count()
    inputs = [
        np.array([next(numbers) for _ in operand.elements.flat], np.int32)
        if i in moved
        else _known_places(equation, operand)
        for i, operand in enumerate(operands)
    ]
    inputs = [x.reshape(operand.elements.shape) for x, operand in zip(inputs, operands)]
    fill = {"fill_value": -1} if primitive.name == "gather" else {}
    with jax.ensure_compile_time_eval():
        places = np.asarray(primitive.bind(*inputs, **equation.params | fill))
    if (places < 0).any():
        raise UnsupportedPrimitive(f"the primitive {primitive.name!r} at places out of bounds")
    return Lanes(arrange((elements[place] for place in places.flat), places.shape))


def _known_places(equation: jex.core.JaxprEqn, operand: Lanes) -> np.ndarray:
    """The places in an operand, which neither a lane nor a loop may change."""
    if not all(isinstance(element, np.generic) for element in operand.elements.flat):
        name = equation.primitive.name
        raise UnsupportedPrimitive(f"the primitive {name!r} at places not known beforehand")
    return np.array([*operand.elements.flat], np.int32).reshape(operand.elements.shape)


@rule("scatter-add")
def scatter_add(equation, operand, places, updates):
    """Add at known places: the primitive itself, applied to one update at a time, shows where."""
    zeros = np.zeros(operand.elements.shape, equation.outvars[0].aval.dtype)
    known, elements = _known_places(equation, places), operand.elements.flatten()
    for number, update in enumerate(updates.elements.flat):
        alone = np.zeros(updates.elements.shape, zeros.dtype)
        alone.flat[number] = 1
        with jax.ensure_compile_time_eval():
            added = equation.primitive.bind(zeros, known, alone, **equation.params)
        for place in np.flatnonzero(added):
            elements[place] = on_vectors(lax.add)(elements[place], update)
    return Lanes(elements.reshape(operand.elements.shape))


# Elements that are combined


def _reduction(function: Callable) -> Callable:
    """The rule that folds axes by a function of two elements."""

    def fold(equation, operand):
        axes, shape = equation.params["axes"], equation.outvars[0].aval.shape
        array = np.moveaxis(operand.elements, axes, range(-len(axes), 0))
        rows = array.reshape(math.prod(shape), -1)
        return Lanes(arrange((reduce(on_vectors(function), row) for row in rows), shape))

    return fold


rule("reduce_sum")(_reduction(lax.add))
rule("reduce_prod")(_reduction(lax.mul))
rule("reduce_max")(_reduction(lax.max))
rule("reduce_min")(_reduction(lax.min))
rule("reduce_and")(_reduction(lax.bitwise_and))
rule("reduce_or")(_reduction(lax.bitwise_or))
rule("reduce_xor")(_reduction(lax.bitwise_xor))


def _cumulative(function: Callable) -> Callable:
    """The rule that accumulates along an axis by a function of two operands."""
    return defined(lambda x, axis, reverse: lax.associative_scan(function, x, reverse, axis))


rule("cumsum")(_cumulative(lax.add))
rule("cumprod")(_cumulative(lax.mul))
rule("cummax")(_cumulative(lax.max))
rule("cummin")(_cumulative(lax.min))
rule("cumlogsumexp")(_cumulative(jnp.logaddexp))


def _extremum(function: Callable) -> Callable:
    """The rule that finds the first place on an axis with its extremum, or NaN."""

    def find(x, axes, index_dtype):
        (axis,) = axes
        is_found = (x == function(x, axis, keepdims=True)) | (x != x)
        places = lax.broadcasted_iota(index_dtype, x.shape, axis)
        return jnp.min(jnp.where(is_found, places, x.shape[axis]), axis)

    return defined(find)


rule("argmax")(_extremum(jnp.max))
rule("argmin")(_extremum(jnp.min))


@rule("dot_general")
def dot_general(equation, left, right):
    contracted, batched = equation.params["dimension_numbers"]
    dtype = equation.outvars[0].aval.dtype

    def as_matrices(operand, contract, batch):
        """The operand as [batch, free, contracted]."""
        array = elementwise(partial(lax.convert_element_type, new_dtype=dtype), operand).elements
        free = [axis for axis in range(array.ndim) if axis not in (*contract, *batch)]
        shape = [math.prod(array.shape[axis] for axis in axes) for axes in (batch, free, contract)]
        return array.transpose(*batch, *free, *contract).reshape(shape)

    def dot(row, column):
        products = list(map(on_vectors(lax.mul), row, column))
        return reduce(on_vectors(lax.add), products) if products else np.zeros((), dtype)

    pairs = zip(*map(as_matrices, (left, right), contracted, batched))
    products = [dot(row, column) for rows, columns in pairs for row in rows for column in columns]
    return Lanes(arrange(products, equation.outvars[0].aval.shape))


# Control flow


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


def _scan(equation: jex.core.JaxprEqn, *operands: Any) -> list[Any]:
    """A `lax.scan` over the body on lanes; shared values are still shared inside."""
    params = equation.params
    body, length = as_closed(params["jaxpr"]), params["length"]
    consts, carry, _ = scan_sizes(equation)
    of_carry, shape = slice(consts, consts + carry), lanes_shape(operands)

    # A carry is on lanes if its first value is, or if its value after the body is.
    varies = list(map(is_lanes, operands))
    while (after := list(map(or_, varies[of_carry], _depends(body, varies)))) != varies[of_carry]:
        varies[of_carry] = after

    def unstack(x):
        if not is_lanes(x):
            return x
        rows = [spread(Lanes(x.elements[i, ...]), shape) for i in range(length)]
        return jax.tree.map(lambda *vectors: jnp.stack(vectors), *rows)

    def stack(y):
        if not is_lanes(y):
            return y
        rows = [jax.tree.map(itemgetter(i), y).elements.flat for i in range(length)]
        return Lanes(arrange(itertools.chain(*rows), (length, *y.elements.shape)))

    # The loops of a TPU's kernels carry no booleans on lanes, and so integers in their place.
    are_flags = [
        on_lanes and aval.dtype == np.bool_
        for on_lanes, aval in zip(varies[of_carry], body.in_avals[of_carry])
    ]

    def as_carry(value, on_lanes, is_flag):
        value = spread(as_lanes(value), shape) if on_lanes else value
        return jax.tree.map(lambda x: x.astype(np.int32), value) if is_flag else value

    def from_carry(value, is_flag):
        return jax.tree.map(lambda x: x != 0, value) if is_flag else value

    def step(state, xs):
        state = map(from_carry, state, are_flags)
        outputs = interpret(body, [*operands[:consts], *state, *xs])
        outputs = [spread(out, shape) if is_lanes(out) else jnp.asarray(out) for out in outputs]
        return list(map(as_carry, outputs, varies[of_carry], are_flags)), outputs[carry:]

    state = list(map(as_carry, operands[of_carry], varies[of_carry], are_flags))
    xs = list(map(unstack, operands[consts + carry :]))
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), xs)
    options = {name: params[name] for name in ("length", "reverse", "unroll")}
    state, ys = lax.scan(_hoist_draws(step, state, one), state, xs, **options)
    return [*map(from_carry, state, are_flags), *map(stack, ys)]


RULES["scan"] = _scan
OF_SHARED.add("scan")


def _hoist_draws(step: Callable, *examples: Any) -> Callable:
    """The body of a loop, in which draws that depend on nothing within it are made before it.

    Such are the splits of a key that the loop does not change: three of the five blocks of Threefry
    in a step, the only functions on lanes. Arithmetic stays, since a product outside its addition
    is rounded by itself.
    """
    jaxpr, out = jax.make_jaxpr(step, return_shape=True)(*examples)
    equations, outside = jaxpr.jaxpr.eqns, dict(zip(jaxpr.jaxpr.constvars, jaxpr.consts))
    invariant, draws = set(outside), []
    for equation in equations:
        if invariant.issuperset(variables(equation.invars)) and not equation.effects:
            invariant.update(equation.outvars)
            draws += [equation] if equation.primitive.name == "jit" else []
    made = [word for draw in draws for word in draw.outvars]
    before = needed_for(made, equations)
    values = dict(outside)
    evaluate(before, values, bind)
    outside |= zip(made, read(made, values))
    within = [equation for equation in equations if equation not in draws]

    def hoisted(*inputs):
        values = outside | dict(zip(jaxpr.jaxpr.invars, jax.tree.leaves(inputs)))
        evaluate(within, values, bind)
        return jax.tree.unflatten(jax.tree.structure(out), read(jaxpr.jaxpr.outvars, values))

    return hoisted if draws else step


def scan_sizes(equation: jex.core.JaxprEqn) -> tuple[int, int, int]:
    """How many operands of a scan are constants, carry, and scanned over."""
    params = equation.params
    if "num_carry" in params:
        consts, carry = params["num_consts"], params["num_carry"]
    else:  # from JAX 0.12 on
        consts, carry, _ = map(len, params["ft_in"].unpack())
    return consts, carry, len(equation.invars) - consts - carry


def _depends(jaxpr: jex.core.ClosedJaxpr, varies: Sequence[bool]) -> list[bool]:
    """Which results of a jaxpr depend on those of its inputs that vary."""
    varying = {variable for variable, does in zip(jaxpr.jaxpr.invars, varies) if does}

    def does(variable):
        return not isinstance(variable, jex.core.Literal) and variable in varying

    for equation in jaxpr.jaxpr.eqns:
        if any(map(does, equation.invars)):
            varying.update(equation.outvars)
    return [does(variable) for variable in jaxpr.jaxpr.outvars]


# Random draws, by JAX's own definitions on a key's two words

_THREEFRY = jex.random.threefry_prng_impl


@rule("random_wrap")
def random_wrap(equation, words):
    *shape, size = words.elements.shape
    return Lanes(arrange(map(tuple, words.elements.reshape(-1, size)), shape))


@rule("random_unwrap")
def random_unwrap(equation, keys):
    return Lanes(arrange(itertools.chain(*keys.elements.flat), equation.outvars[0].aval.shape))


def _of_threefry(function: Callable) -> Callable:
    """The rule of a primitive of keys [...] or numbers [...], by a function of one of each.

    It takes a key as its words, and returns words where the primitive returns keys.
    """

    def evaluate(equation, *operands):
        for variable in (*equation.invars, *equation.outvars):
            # Under `vmap`, the draws of another generator depend on more than the key.
            if is_key(variable.aval) and str(variable.aval.dtype) != "key<fry>":
                name = variable.aval.dtype
                raise UnsupportedPrimitive(f"a {name}, a generator other than Threefry")
        results = defined(at_each)(equation, *operands)
        return random_wrap(equation, *results) if is_key(equation.outvars[0].aval) else results

    def at_each(*arrays, **params):
        def at_one(*operands):
            words = (jax.random.key_data(x) if is_key(x) else x for x in operands)
            return function(*words, **params)

        return jnp.vectorize(at_one)(*arrays)

    return evaluate


def _bits(key, bit_width, shape, **_):
    return _THREEFRY.random_bits(key, bit_width, shape)


rule("random_seed")(_of_threefry(lambda seed, **_: _THREEFRY.seed(seed)))
rule("random_bits")(_of_threefry(_bits))
rule("random_split")(_of_threefry(lambda key, shape, **_: _THREEFRY.split(key, shape)))
rule("random_fold_in")(_of_threefry(lambda key, data, **_: _THREEFRY.fold_in(key, data)))


@rule("threefry2x32")
def threefry_block(equation, *operands):
    blocks = elementwise(on_vectors(_threefry2x32), *operands)
    return [elementwise(itemgetter(i), blocks) for i in range(2)]


@jax.jit
def _threefry2x32(
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
