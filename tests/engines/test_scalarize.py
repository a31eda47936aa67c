"""`scalarize`: on lanes, each primitive and functions built of them return what `vmap` returns."""

import doctest
import sys
from functools import partial

import flax.linen as nn
import hypothesis
import hypothesis.strategies as st
import jax
import jax.extend as jex
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from rejects import rejects

import gan1010_jax as gan
from gan1010_jax.engines import RULES, Lanes, UnsupportedPrimitive, from_lanes, scalarize, to_lanes
from gan1010_jax.engines.scalarize import CALLS, arrange, one_lane
from gan1010_jax.environment import enable_x64

LANES = 32
KEY = jax.random.key(11)
# Sums of a few terms in another order, and multiply-adds that XLA contracts in one program and
# not in the other, differ by some roundings. Everything else is compared to the bit.
ROUNDINGS = 8


# Comparing with vmap


def words(tree):
    """Typed keys [..., lanes] as their words [..., words, lanes], as `from_lanes` returns them."""

    def unwrap(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jnp.moveaxis(jax.random.key_data(leaf), -1, -2)
        return leaf

    return jax.tree.map(unwrap, tree)


# Compiling takes most of the time, so LLVM does not optimise.
compiled = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def on_lanes_and_by_vmap(fn, args, shared=()):
    """The results of the scalarised function and of `vmap`, from one compiled program.

    `args` is a tuple of pytrees [..., lanes], `shared` one of pytrees that all lanes share.
    """
    scalarized = scalarize(fn, *one_lane(args), *shared)
    axes = (-1,) * len(args) + (None,) * len(shared)

    @compiled
    def both(args, shared):
        lanes = from_lanes(scalarized(*to_lanes(args), *shared))
        return lanes, words(jax.vmap(fn, in_axes=axes, out_axes=-1)(*args, *shared))

    return both(args, shared)


def assert_same(actual, expected, roundings=ROUNDINGS, scale=1e-6):
    """Equal structures, shapes, dtypes, integers and bools; floats to some roundings.

    A sum that cancels is as exact as its terms are; `scale` says how large these may be, in
    units of a rounding of numbers about 1.
    """
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for got, wanted in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
        assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
        if jnp.issubdtype(got.dtype, jnp.floating):
            precision = float(jnp.finfo(got.dtype).eps)
            got, wanted = (np.asarray(x, np.float64) for x in (got, wanted))
            tolerance = {"rtol": roundings * precision, "atol": scale * precision / 1e-7}
            np.testing.assert_allclose(got, wanted, **tolerance)
        else:
            np.testing.assert_array_equal(got, wanted)


def check(fn, *args, shared=(), **tolerance):
    assert_same(*on_lanes_and_by_vmap(fn, args, shared), **tolerance)


def primitives(jaxpr):
    """The names of the primitives of a jaxpr, and of those within it."""
    found = set()
    for equation in jaxpr.eqns:
        found.add(equation.primitive.name)
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else [value]:
                inner = getattr(inner, "jaxpr", inner)
                found |= primitives(inner) if hasattr(inner, "eqns") else set()
    return found


# Values: whole lanes of edges, and mixtures of them with ordinary numbers


def floats(*shape, seed=0, edges=True, dtype=np.float32):
    random = np.random.default_rng((seed, *shape))
    values = random.normal(size=(*shape, LANES)) * random.choice([0.3, 1, 5], (*shape, LANES))
    special = np.array([0, -0.0, 1, -1, 0.5, 2, np.inf, -np.inf, np.nan, 1e30, -1e-30, 2.5])
    mixed = random.random(values.shape) < 0.5
    values = np.where(mixed & edges, random.choice(special, values.shape), values)
    return jnp.asarray(values, dtype)


def normals(*shape, seed=0, dtype=np.float32):
    return floats(*shape, seed=seed, edges=False, dtype=dtype)


def integers(*shape, seed=0, dtype=np.int32):
    random = np.random.default_rng((seed, *shape))
    limits = np.iinfo(dtype)
    special = np.array([0, 1, 2, 3, 7, limits.min, limits.max, limits.max // 3], dtype)
    if limits.min:
        special = np.append(special, np.array([-1, -7], dtype))
    return jnp.asarray(random.choice(special, (*shape, LANES)))


def bools(*shape, seed=0):
    return integers(*shape, seed=seed) > 1


def keys(*shape, seed=0):
    return jax.random.split(jax.random.key(seed), (*shape, LANES))


PAIR = (floats(2), floats(2, seed=1))
INTEGER_PAIR = (integers(2), integers(2, seed=1))
WORD_PAIR = (integers(2, dtype=np.uint32), integers(2, seed=1, dtype=np.uint32))
BOOL_PAIR = (bools(2), bools(2, seed=1))
PAIRS = (PAIR, INTEGER_PAIR, WORD_PAIR, BOOL_PAIR)
SEVENS = jnp.full((3, LANES), 7, np.int32)


# One function and its arguments for every primitive that there is a rule for


def each(function, *pairs):
    """Cases of one function: a dict of the results of several kinds of arguments."""

    def apply(*pairs):
        return [function(*pair) for pair in pairs]

    return apply, pairs


def of_lax(name, *pairs):
    return each(getattr(lax, name), *pairs)


def along(name, options, *arguments):
    """A function of `lax`, with each of some options."""

    def apply(*arguments):
        return [getattr(lax, name)(x, **option) for x in arguments for option in options]

    return apply, arguments


def reduction(name, *arguments):
    return along(name, [{"axes": axes} for axes in ((0,), (1,), (0, 2), (0, 1, 2))], *arguments)


def cumulative(name, *arguments):
    options = [{"axis": 0, "reverse": False}, {"axis": 1, "reverse": True}]
    return along(name, options, *arguments)


@jax.custom_vjp
def doubled(x):
    return jnp.sin(x) * 2


doubled.defvjp(lambda x: (doubled(x), x), lambda x, g: (g * x,))

SIGNED = (integers(2, 2, 3), normals(2, 2, 3))
EDGES = (floats(2, 2, 3), integers(2, 2, 3))
BITS = (bools(2, 2, 3), integers(2, 2, 3))
FLOAT_UNARY = """acosh asinh asin acos atan atanh cbrt ceil cos cosh digamma erf erf_inv erfc exp
    exp2 expm1 floor lgamma log log1p logistic rsqrt sin sinh sqrt tan tanh""".split()

SIGNED_UNARY = ("abs", "neg", "sign", "square")
SHIFTS = ("shift_left", "shift_right_logical", "shift_right_arithmetic")

CASES = {
    **{name: of_lax(name, (floats(2),)) for name in FLOAT_UNARY},
    **{name: of_lax(name, *PAIRS) for name in ("eq", "ge", "gt", "le", "lt", "ne")},
    **{name: of_lax(name, PAIR, INTEGER_PAIR, WORD_PAIR) for name in ("add", "sub", "mul")},
    **{name: of_lax(name, PAIR, INTEGER_PAIR) for name in ("max", "min")},
    **{name: of_lax(name, PAIR, (integers(3), SEVENS)) for name in ("div", "rem")},
    "pow": each(lax.pow, (jnp.abs(PAIR[0]), PAIR[1])),
    **{name: of_lax(name, PAIR) for name in ("atan2", "nextafter")},
    **{
        name: each(getattr(lax, f"bitwise_{name}"), INTEGER_PAIR, WORD_PAIR, BOOL_PAIR)
        for name in ("and", "or", "xor")
    },
    "not": each(lax.bitwise_not, (integers(3),), (bools(3),), (integers(3, dtype=np.uint32),)),
    **{name: of_lax(name, (integers(3), abs(integers(3, seed=2)) % 40)) for name in SHIFTS},
    "clz": each(lax.clz, (integers(3),), (integers(3, dtype=np.uint8),)),
    "population_count": each(lax.population_count, (integers(3, dtype=np.uint32),)),
    **{
        name: of_lax(name, (floats(3),), (integers(3),))
        for name in ("abs", "neg", "sign", "square")
    },
    "is_finite": each(lax.is_finite, (floats(3),)),
    "log2": each(jnp.log2, (floats(3),)),
    "one_minus_square": each(jax.grad(jnp.tanh), (floats(),)),
    "round": (
        lambda x: [lax.round(x, way) for way in lax.RoundingMethod],
        (floats(3),),
    ),
    "add_any": each(jax.grad(lambda x: jnp.sin(x) * jnp.cos(x)), (normals(),)),
    "integer_pow": (lambda x: [x**3, x**-2, x**7], (floats(3),)),
    "clamp": (
        lambda x, low, i: [lax.clamp(low, x, 1.0), lax.clamp(-x, x, x), lax.clamp(-3, i, 9)],
        (floats(3), floats(), integers(3)),
    ),
    "select_n": (
        lambda which, x, y, i, k: [
            lax.select(which, x, y),
            lax.select_n(which[0], x, y),
            lax.select_n(jnp.clip(i, 0, 2), x, y, x * 2),
            jnp.where(which, k, k[::-1]),
            jnp.where(which[0], k, k[::-1]),
        ],
        (bools(3), *(floats(3, seed=i) for i in (0, 1)), integers(3), keys(3)),
    ),
    "copy": (lambda *xs: [lax.copy_p.bind(x) for x in xs], (floats(3), bools(3), keys(3))),
    "convert_element_type": (
        lambda x, i, b: [
            value.astype(dtype)
            for value in (x, i, b)
            for dtype in (jnp.bool, jnp.int8, jnp.int32, jnp.uint32, jnp.bfloat16, jnp.float16)
        ],
        (jnp.clip(jnp.nan_to_num(floats(3)), 0, 100), integers(3), bools(3)),
    ),
    "bitcast_convert_type": (
        lambda x, i: [
            lax.bitcast_convert_type(x, np.int32),
            lax.bitcast_convert_type(i, np.float32),
        ],
        (floats(2, 3), integers(3, dtype=np.uint32)),
    ),
    "reduce_precision": (lambda x: lax.reduce_precision(x, 5, 10), (floats(3),)),
    # Calls
    "jit": (lambda x: jax.jit(lambda x: (jnp.sin(x), x))(x), (floats(3),)),
    "remat2": (jax.grad(lambda x: jax.checkpoint(jnp.sin)(x).sum()), (normals(3),)),
    "custom_jvp_call": (jax.nn.relu, (floats(3),)),
    "custom_vjp_call": (lambda x: [doubled(x), jax.vmap(jax.grad(doubled))(x)], (normals(3),)),
    # Elements that only move
    "stop_gradient": (lax.stop_gradient, (floats(3),)),
    "optimization_barrier": (lambda *xs: lax.optimization_barrier(xs), (floats(3), bools(2))),
    "name": (lambda x: checkpoint_name(x, "kept"), (floats(3),)),
    "sharding_constraint": (
        lambda x: lax.with_sharding_constraint(
            x, jax.sharding.SingleDeviceSharding(jax.devices()[0])
        ),
        (floats(3),),
    ),
    "device_put": (jax.device_put, (floats(3),)),
    "reshape": (lambda x: [x.reshape(3, 4), x.reshape(-1), x[:1, :1].reshape(())], (floats(2, 6),)),
    "squeeze": (lambda x: lax.squeeze(x, (0, 2)), (floats(1, 3, 1, 2),)),
    "broadcast_in_dim": (
        lambda x: [lax.broadcast_in_dim(x, (2, 4, 3), (0, 2)), lax.broadcast(x[0, 0], (2,))],
        (floats(2, 3),),
    ),
    "transpose": (lambda x: [x.T, x.transpose(1, 2, 0), x.transpose(0, 2, 1)], (floats(2, 3, 4),)),
    "rev": (lambda x: [lax.rev(x, (0,)), lax.rev(x, (0, 2))], (floats(2, 3, 4),)),
    "slice": (
        lambda x: [lax.slice(x, (1, 0), (4, 3)), lax.slice(x, (0, 1), (5, 3), (2, 1))],
        (floats(5, 3),),
    ),
    "split": (lambda x: lax.split(x, (1, 2, 1), axis=1), (floats(2, 4),)),
    "tile": (lambda x: [jnp.tile(x, (2, 3)), jnp.tile(x, (2, 1, 2))], (floats(2, 3),)),
    "concatenate": (
        lambda x, y: [lax.concatenate([x, y], 0), jnp.concatenate([x, jnp.ones((2, 4))], 1)],
        (floats(2, 3), floats(1, 3)),
    ),
    "stack": (
        lambda x, y: [jnp.stack([x, y]), jnp.stack([x, y], -1)],
        (floats(2, 3), floats(2, 3, seed=1)),
    ),
    "unstack": (lambda x: [jnp.unstack(x), jnp.unstack(x, axis=1)], (floats(2, 3),)),
    "pad": (
        lambda x, y: [
            lax.pad(x, y, [(1, 2, 0), (0, 1, 2)]),
            lax.pad(x, np.float32(7), [(-1, 2, 1), (3, -2, 0)]),
            lax.pad(x, y, [(-1, -1, 0), (0, 0, 0)]),
            lax.pad(x, y, [(-2, 0, 1), (0, -3, 2)]),
        ],
        (floats(3, 4), floats()),
    ),
    "dynamic_slice": (
        lambda x: [
            lax.dynamic_slice(x, (1, 0), (2, 3)),
            lax.dynamic_slice(x, (9, -9), (2, 3)),
            lax.dynamic_index_in_dim(x, -1, 1),
        ],
        (floats(3, 4),),
    ),
    "dynamic_update_slice": (
        lambda x, y: [
            lax.dynamic_update_slice(x, y, (1, 1)),
            lax.dynamic_update_slice(x, y, (9, 0)),
        ],
        (floats(3, 4), floats(2, 2)),
    ),
    "gather": (
        lambda x: [x[jnp.array([2, 0, 2])], x[:, jnp.array([[1, 0]])], x[np.eye(3, 4, dtype=bool)]],
        (floats(3, 4),),
    ),
    "scatter": (
        lambda x, y: [
            x.at[jnp.array([2, 0])].set(y),
            x.at[1, 2].set(y[0, 0]),
            x.at[jnp.array([7, 0])].set(y),
            x.at[0].set(3),
        ],
        (floats(3, 4), floats(2, 4)),
    ),
    "scatter-add": (
        lambda x, y, i: [
            jax.grad(lambda x: jnp.sum(x[:, np.array([2, 0, 2])] ** 2))(x),
            x.at[jnp.array([2, 0, 2])].add(y),
            x.at[1, 2].add(y[0, 0]),
            x.at[jnp.array([7, -1])].add(y[:2]),
            x.at[jnp.array([7, 0])].add(y[:2], mode="clip"),
            i.at[jnp.array([1, 1])].add(i[:2]),
        ],
        (normals(3, 4), normals(3, 4, seed=1), integers(3)),
    ),
    # Elements together
    **{name: reduction(name, *SIGNED) for name in ("reduce_sum", "reduce_prod")},
    **{name: reduction(name, *EDGES) for name in ("reduce_max", "reduce_min")},
    **{name: reduction(name, *BITS) for name in ("reduce_and", "reduce_or", "reduce_xor")},
    **{name: cumulative(name, normals(3, 4), integers(3, 4)) for name in ("cumsum", "cumprod")},
    **{name: cumulative(name, floats(3, 4), integers(3, 4)) for name in ("cummax", "cummin")},
    "cumlogsumexp": cumulative("cumlogsumexp", normals(3, 4)),
    **{
        name: (
            lambda *xs, name=name: [getattr(jnp, name)(x, a) for x in xs for a in (0, 1, None)],
            (floats(3, 4), integers(3, 4), bools(3, 4)),
        )
        for name in ("argmax", "argmin")
    },
    "dot_general": (
        lambda x, y, i, b: [
            x @ y,
            x[0] @ y,
            jnp.einsum("ij,kj->ki", x, x),
            jnp.einsum("ij,ik->ijk", x, x),  # a batch, and nothing to contract
            jnp.einsum("ij,kl->likj", x, y),
            jnp.einsum("ijk,ikl->ijl", jnp.stack([x, x + 1]), jnp.stack([y, -y])),
            jnp.einsum("ij,ij->", x, x),
            x @ np.ones((3, 2), np.float32),
            lax.dot_general(i, i, (((1,), (1,)), ((), ())), preferred_element_type=np.int32),
            lax.dot_general(
                x, i[:, :3], (((1,), (1,)), ((), ())), preferred_element_type=np.float32
            ),
            lax.dot(b, b.T, preferred_element_type=np.float32),
        ],
        (
            normals(2, 3),
            normals(3, 4),
            integers(2, 4, dtype=np.int8),
            normals(2, 3, dtype=jnp.bfloat16),
        ),
    ),
    # Control flow
    "cond": (
        lambda i, b, x, k: [
            lax.cond(b, jnp.sin, jnp.cos, x),
            lax.switch(i, [lambda x: x, lambda x: x[::-1], lambda x: jnp.full(3, 7.0)], x),
            lax.cond(b, lambda k: jax.random.split(k), lambda k: jnp.stack([k, k]), k),
            lax.cond(b, lambda: (1.0, 2), lambda: (3.0, 4)),
            lax.cond(True, jnp.sin, jnp.cos, x),
        ],
        (integers(), bools(), floats(3), keys()),
    ),
    "scan": (
        lambda x: lax.scan(lambda c, y: (c * y, c + y), x[0], x),
        (normals(3, 2),),
    ),
    # Random draws
    "random_wrap": (
        lambda w: jax.random.wrap_key_data(w, impl="threefry2x32"),
        (integers(3, 2, dtype=np.uint32),),
    ),
    "random_unwrap": (jax.random.key_data, (keys(2, 3),)),
    "random_clone": (jax.random.clone, (keys(3),)),
    "random_seed": (
        lambda *seeds: [jax.random.key(seeds[0]), *map(jax.vmap(jax.random.key), seeds[1:])],
        (integers(), integers(3), integers(2, dtype=np.uint32)),
    ),
    "random_bits": (
        lambda k, ks: [
            *(jax.random.bits(k, (3,), dtype) for dtype in (np.uint8, np.uint16, np.uint32)),
            jax.random.bits(k),
            jax.vmap(jax.random.bits)(ks),
        ],
        (keys(), keys(2)),
    ),
    "random_split": (
        lambda k, ks: [
            jax.random.split(k),
            jax.random.split(k, (2, 3)),
            jax.vmap(jax.random.split)(ks),
            jax.random.split(k)[1],
        ],
        (keys(), keys(2)),
    ),
    "random_fold_in": (
        lambda k, ks, i, u: [
            jax.random.fold_in(k, i),
            jax.random.fold_in(k, u),
            jax.random.fold_in(k, 7),
            jax.vmap(jax.random.fold_in, (0, None))(ks, i),
            jax.vmap(jax.random.fold_in, (None, 0))(k, jnp.arange(3)),
        ],
        (keys(), keys(2), integers(), integers(dtype=np.uint32)),
    ),
    "threefry2x32": (
        lambda k, c: jex.random.threefry2x32_p.bind(k[0], k[1], c[0], c[1]),
        (integers(2, dtype=np.uint32), integers(2, 3, dtype=np.uint32)),
    ),
}

# Primitives that only some of the supported versions of JAX have.
OF_SOME_VERSIONS = {"log2", "one_minus_square", "stack", "unstack", "tile", "gather"}


def test_every_rule_has_a_case():
    assert {*CALLS, *RULES} == set(CASES)


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_primitive_on_lanes_is_its_vmap(name):
    function, arguments = CASES[name]
    if name not in OF_SOME_VERSIONS:
        assert name in primitives(jax.make_jaxpr(function)(*one_lane(arguments)).jaxpr)
    check(function, *arguments)


# Into lanes and out of them


def test_the_module_shows_an_array_becoming_lanes():
    assert doctest.testmod(sys.modules[scalarize.__module__]) == (0, 5)


TREE = {
    "array": normals(2, 3),
    "number": normals(),
    "pair": (integers(2), bools(1, 2)),
    "half": normals(2, dtype=jnp.bfloat16),
    "nothing": None,
}


def test_from_lanes_undoes_to_lanes():
    assert_same(from_lanes(to_lanes(TREE)), TREE, roundings=0, scale=0)
    assert_same(jax.jit(lambda tree: from_lanes(to_lanes(tree)))(TREE), TREE, roundings=0, scale=0)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_keys_come_back_from_lanes_as_their_words(shape):
    batch = keys(*shape)
    lanes = to_lanes(batch)
    assert lanes.elements.shape == shape
    assert all(isinstance(key, tuple) and len(key) == 2 for key in lanes.elements.flat)
    assert_same(from_lanes(lanes), words(batch))


def test_lanes_are_pytrees_of_their_lane_vectors_and_cross_jit():
    lanes = to_lanes({"x": normals(2, 3), "key": keys(2)})
    leaves, tree = jax.tree.flatten(lanes)
    assert len(leaves) == 2 * 3 + 2 * 2
    assert {leaf.shape for leaf in leaves} == {(LANES,)}

    again = jax.tree.unflatten(tree, leaves)
    assert isinstance(again["x"], Lanes)
    assert again["x"].elements.shape == (2, 3)
    assert jax.tree.structure(again) == tree
    assert_same(from_lanes(jax.jit(lambda lanes: lanes)(lanes)), from_lanes(lanes))

    plus_one = jax.tree.map(lambda vector: vector + 1, lanes["x"])
    assert_same(from_lanes(plus_one), normals(2, 3) + 1, roundings=0, scale=0)


def test_the_steps_that_a_scan_stacks_come_first():
    lanes = to_lanes(normals(2))
    _, stacked = lax.scan(lambda carry, _: (carry, carry), lanes, None, length=3)
    assert_same(from_lanes(stacked), jnp.stack([normals(2)] * 3))


def test_lane_vectors_may_have_any_shape():
    x = normals(2).reshape(2, 4, LANES // 4)
    (y,) = scalarize(lambda x: (jnp.sin(x) @ x,), normals(2)[:, 0])(Lanes(arrange(x, (2,))))
    assert_same(y.elements[()], jnp.sum(jnp.sin(x) * x, 0))


# Functions of lanes and of shared values


def test_lanes_and_shared_values_mix():
    def mixed(x, table, number, flag, key, count):
        y = jnp.where(flag, x @ table, number) + table[1] * count
        z = jax.random.uniform(jax.random.fold_in(key, count), (2,))
        return y, z * x[0], jnp.stack([number, x[0], 1.0]), table.T, number, count + 1, flag

    table = np.arange(6, dtype=np.float32).reshape(2, 3)
    shared = (table, np.float32(3), np.bool_(True), jax.random.key(3), np.int32(2))
    check(mixed, normals(2), shared=shared)


def test_python_numbers_are_arguments_that_lanes_share():
    def affine(x, slope, count):
        return x * slope + 1, count + 1

    x = normals(2)
    y, count = from_lanes(scalarize(affine, x[:, 0], 1.0, 1)(to_lanes(x), 3.0, 2))
    assert_same(y, x * 3 + 1)
    assert_same(count, jnp.full(LANES, 3))


def test_shared_values_are_computed_once():
    def count_sines(fn, *arguments):
        return str(jax.make_jaxpr(fn)(*arguments)).count(" sin ")

    def draws(x, table):
        return x + jnp.sin(table).sum()

    table = jnp.arange(3.0)
    fn = scalarize(draws, jnp.zeros(()), table)
    assert count_sines(fn, to_lanes(normals()), table) == 1
    assert count_sines(lambda x: fn(x, np.arange(3, dtype=np.float32)), to_lanes(normals())) == 0


def test_arguments_of_another_shape_or_structure_are_rejected():
    def add(x, y):
        return x + y["bias"]

    lanes = to_lanes(normals(2))
    fn = scalarize(add, jnp.zeros(2), {"bias": jnp.zeros(2)})
    for args in [(lanes,), (lanes, lanes), (to_lanes(normals(3)), {"bias": lanes})]:
        with rejects("add's arguments"):
            fn(*args)
    assert_same(from_lanes(fn(lanes, {"bias": jnp.ones(2)})), normals(2) + 1, roundings=0)


@pytest.mark.slow
def test_arrays_without_elements_are_no_special_case():
    def empty(x, k):
        none = x[:0]
        return (
            none.sum(),
            jnp.prod(none),
            jnp.concatenate([x, none, jnp.sin(none)]),
            none @ none,
            jnp.ones((2, 0)) @ x[:0],
            x[:, None] @ jnp.ones((1, 0)) @ jnp.ones((0, 2)),
            jnp.all(none > 0),
            lax.scan(lambda c, y: (c + y, y), x[0], none)[0],
            jnp.pad(none, 1, constant_values=3),
            x + jax.random.uniform(k, (0,)).sum(),
        )

    check(empty, normals(3), keys())


@pytest.mark.slow
def test_constants_in_the_function_are_shared():
    table, key = jnp.arange(6.0).reshape(2, 3), jax.random.key(5)
    check(
        lambda x: (x @ table, x + jax.random.normal(key, (2,)), jax.random.split(key)), normals(2)
    )


# Loops


def test_a_scan_carries():
    check(lambda x: lax.fori_loop(0, 4, lambda i, c: jnp.sin(c) + i, x), normals(3))


def test_a_scan_runs_backwards():
    def backwards(x, y):
        step = lambda c, xs: (c * 0.5 + xs[0], (c, xs[1] * 2))  # noqa: E731
        return lax.scan(step, x, (y, np.arange(4)), reverse=True, unroll=2)

    check(backwards, normals(2), normals(4, 2))


def test_a_scan_over_a_mixture_of_lanes_and_constants():
    def mixed(x):
        xs = jnp.concatenate([x, jnp.array([1.0, 2.0])])
        return lax.scan(lambda c, y: (c + y, c * y), 1.0, xs)

    check(mixed, normals(2))


def test_a_carry_that_starts_shared_may_become_lanes_even_late():
    def late(x):
        def step(carry, _):
            a, b, c, count = carry
            return (b, c, c + x, count + 1), (a, count)

        return lax.scan(step, (0.0, 0.0, 0.0, 0), None, length=5)

    check(late, normals())


def test_the_counter_of_a_loop_stays_shared():
    fn = scalarize(
        lambda x: lax.fori_loop(0, 3, lambda i, c: c + jnp.sin(i * 1.0), x), jnp.zeros(())
    )
    (loop,) = [
        equation
        for equation in jax.make_jaxpr(fn)(to_lanes(normals())).jaxpr.eqns
        if equation.primitive.name == "scan"
    ]
    shapes = sorted(variable.aval.shape for variable in loop.outvars)
    assert shapes == [(), (LANES,)]


def test_draws_that_a_loop_does_not_change_are_made_before_it():
    def walk(key):
        def step(i, total):
            draw_key, _ = jax.random.split(key)
            return total + jax.random.uniform(jax.random.fold_in(draw_key, i))

        return lax.fori_loop(0, 3, step, 0.0)

    check(walk, keys())
    jaxpr = jax.make_jaxpr(scalarize(walk, KEY))(to_lanes(keys())).jaxpr
    (loop,) = [equation for equation in jaxpr.eqns if equation.primitive.name == "scan"]
    bodies = jaxpr, loop.params["jaxpr"].jaxpr
    before, within = ([e.primitive.name for e in body.eqns].count("jit") for body in bodies)
    assert (before, within) == (2, 2)  # both halves of the key; folding in the step, and drawing


def test_a_loop_with_draws_before_it_keeps_its_effects():
    seen = []

    def walk(key):
        def step(i, total):
            jax.debug.callback(lambda i: seen.append(int(i)), i)
            return total + jax.random.uniform(jax.random.fold_in(jax.random.split(key)[0], i))

        return lax.fori_loop(0, 3, step, 0.0)

    jax.block_until_ready(jax.jit(scalarize(walk, KEY))(to_lanes(keys())))
    jax.effects_barrier()
    assert sorted(seen) == [0, 1, 2]


@pytest.mark.slow
def test_a_scan_carries_scans_and_stacks_keys():
    def walk(key, keys, x):
        def step(carry, xs):
            key, x = carry
            key, draw = jax.random.split(key)
            return (key, x + jax.random.uniform(draw)), (draw, jax.random.bits(xs))

        return lax.scan(step, (key, x), keys)

    check(walk, keys(), keys(3), normals())
    check(lambda x, key: walk(key, jax.random.split(key, 3), x), normals(), shared=(KEY,))


def test_loops_nest():
    def nested(x, y):
        def inner(c, y):
            return lax.cond(y > 0, lambda c: c + y, lambda c: c * 0.9, c), c.sum()

        def outer(c, y):
            c, sums = lax.scan(inner, c, jnp.stack([y, -y, 0.5]))
            return c, (sums, lax.fori_loop(0, 2, lambda i, z: z + c, c))

        return lax.scan(outer, x, y)

    check(nested, normals(2), normals(3))


def test_a_branch_of_a_shared_index_is_taken_by_all_lanes():
    def choose(x, index):
        return lax.switch(index, [jnp.sin, jnp.cos, jnp.negative], x)

    for index in (-1, 1, 7):
        check(choose, normals(2), shared=(np.int32(index),))


# Random draws

DRAWS = {
    "uniform": lambda k: jax.random.uniform(k, (3,), minval=-1, maxval=2),
    "normal": lambda k: jax.random.normal(k, (3,)),
    "half normal": lambda k: jax.random.normal(k, (2,), jnp.bfloat16),
    "truncated_normal": lambda k: jax.random.truncated_normal(k, -1, 2, (2,)),
    "bernoulli": lambda k: jax.random.bernoulli(k, 0.3, (3,)),
    "randint": lambda k: jax.random.randint(k, (3,), -5, 17),
    "exponential": lambda k: jax.random.exponential(k, (2,)),
    "gumbel": lambda k: jax.random.gumbel(k, (2,)),
    "rademacher": lambda k: jax.random.rademacher(k, (3,)),
    "categorical": lambda k: jax.random.categorical(k, jnp.arange(4.0)),
    "choice": lambda k: jax.random.choice(k, 7, (2,)),
    "data set": lambda k: jax.random.split(jax.random.key(jax.random.bits(k)), 2),
}


QUICK = {"uniform", "normal", "data set"}  # the others are built of the same primitives


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in DRAWS],
)
def test_a_draw_on_lanes_is_the_draw_of_its_key(name):
    check(DRAWS[name], keys())


def test_keys_of_another_generator_are_rejected_by_name():
    def draw(key, x):
        return jax.random.uniform(key) + x

    def seed(x, impl):
        return jax.random.uniform(jax.random.key(x.astype(int), impl=impl))

    rbg = jax.random.split(jax.random.key(0, impl="rbg"), LANES)
    with pytest.raises(UnsupportedPrimitive, match=r"draw.*rbg"):
        scalarize(draw, rbg[0], 1.0)(to_lanes(rbg), to_lanes(normals()))
    with pytest.raises(UnsupportedPrimitive, match=r"seed.*rbg"):
        fn = partial(seed, impl="rbg")
        fn.__name__ = "seed"
        scalarize(fn, 1.0)(to_lanes(normals()))


# Unsupported primitives


def sorting(x):
    return jnp.sort(x)


def test_an_unsupported_primitive_is_named_with_its_function():
    with pytest.raises(UnsupportedPrimitive, match=r"sorting.*'sort'"):
        scalarize(sorting, jnp.zeros(3))(to_lanes(normals(3)))
    with pytest.raises(NotImplementedError, match=r"<lambda>.*'while'"):
        fn = lambda x: lax.while_loop(lambda c: c < 3, lambda c: c + 1, x)  # noqa: E731
        scalarize(fn, 1.0)(to_lanes(normals()))
    with pytest.raises(UnsupportedPrimitive, match=r"'dynamic_slice'.*not known"):
        scalarize(lambda x, i: x[i], jnp.zeros(3), 1)(to_lanes(normals(3)), to_lanes(integers()))
    with pytest.raises(UnsupportedPrimitive, match="'bitcast_convert_type'"):
        fn = partial(lax.bitcast_convert_type, new_dtype=np.uint16)
        scalarize(fn, jnp.zeros(2))(to_lanes(normals(2)))
    with pytest.raises(UnsupportedPrimitive, match="'eq'"):
        scalarize(lambda k: k == k, KEY)(to_lanes(keys()))


def test_an_unsupported_primitive_within_other_functions_is_named():
    def outer(x):
        return lax.fori_loop(0, 2, lambda i, c: jax.jit(sorting)(c), x)

    with pytest.raises(UnsupportedPrimitive, match=r"outer.*'sort'"):
        scalarize(outer, jnp.zeros(3))(to_lanes(normals(3)))


def test_an_unsupported_primitive_of_shared_values_is_supported():
    check(lambda x, y: x + jnp.sort(y), normals(3), shared=(np.array([3, 1, 2], np.float32),))
    check(lambda x: x + jnp.sort(jnp.array([3.0, 1.0, 2.0])), normals(3))


# Double precision


@pytest.mark.slow
def test_float64_is_carried():
    with enable_x64(True):

        def double(x, i, k):
            return (
                jnp.tanh(x) @ x,
                jax.random.uniform(k, (2,)),
                jax.random.bits(k, (2,), np.uint64),
                jax.random.normal(k),
                jax.random.fold_in(k, i),
                i * 3,
                jax.grad(lambda x: jnp.sum(x**2 + 1 / 3))(x),
                lax.scan(lambda c, y: (c + y, c), 0.0, x),
                jax.random.key(i),
            )

        arguments = (normals(3, dtype=np.float64), integers(dtype=np.int64), keys())
        lanes, expected = on_lanes_and_by_vmap(double, arguments)
        assert lanes[0].dtype == np.float64
        assert_same(lanes, expected)


# Networks, gradients and optimisers


class ResidualMLP(nn.Module):
    """A small network with the usual layers."""

    activations: tuple

    @nn.compact
    def __call__(self, x):
        for activation in self.activations:
            y = activation(nn.Dense(2)(nn.LayerNorm()(x)))
            x = x + nn.Dense(3, use_bias=False)(y)
        return jnp.tanh(nn.softmax(x)), nn.log_softmax(nn.RMSNorm()(x))


@pytest.mark.slow
@pytest.mark.parametrize(
    "activations",
    [(nn.relu, nn.gelu), (nn.softplus, nn.leaky_relu), (nn.silu, nn.elu)],
    ids=lambda activations: "-".join(activation.__name__ for activation in activations),
)
def test_a_small_flax_module_and_its_gradient(activations):
    module = ResidualMLP(activations)
    params = jax.vmap(module.init, in_axes=(0, None), out_axes=-1)(keys(), jnp.zeros(3))

    def loss(params, x):
        y, z = module.apply(params, x)
        return jnp.sum(y**2) + z[0] * y[1]

    # The norm of numbers that are nearly equal makes roundings larger.
    check(jax.value_and_grad(loss), params, normals(3), roundings=64, scale=3e-5)


@pytest.mark.slow
def test_a_batch_within_a_lane():
    module = nn.Dense(3)
    params = jax.vmap(module.init, in_axes=(0, None), out_axes=-1)(keys(), jnp.zeros(2))

    def loss(params, batch):
        outputs = jax.vmap(partial(module.apply, params))(batch)
        return jnp.mean(jax.nn.logsumexp(outputs, axis=-1))

    check(jax.value_and_grad(loss), params, normals(4, 2))


@pytest.mark.slow
def test_a_module_draws_its_parameters_on_lanes():
    check(lambda key: nn.Dense(3).init(key, jnp.zeros(2)), keys())


STATES = jax.vmap(gan.init, out_axes=-1)(keys())
BATCHES = jax.vmap(gan.draw_batch, out_axes=-1)(keys(seed=1))
LEARNING_RATES = jnp.linspace(0.01, 0.5, LANES)


def test_the_reference_step():
    hyperparams = gan.Hyperparams(LEARNING_RATES, LEARNING_RATES[::-1])
    check(gan.train_step, STATES, BATCHES, gan.Setup(hyperparams=hyperparams))


def test_the_reference_draws():
    check(lambda key, step: gan.draw_batch(key, step=step), keys(), shared=(np.int32(7),))


@pytest.mark.slow
def test_the_gradient_of_a_gradient():
    """A penalty on the gradient of D."""
    game = gan.pattern_game()

    def penalty(params, sample):
        def logit(sample):
            return game.discriminator.apply({"params": params}, sample)

        return jnp.sum(jax.grad(logit)(sample) ** 2)

    check(jax.value_and_grad(penalty), STATES.discriminator.params, BATCHES.real)


OPTIMIZERS = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "nesterov": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "adam": optax.adam(0.1),
    "adamw": optax.adamw(0.1),
    "optimistic": optax.optimistic_gradient_descent(0.1),
    "clipped": optax.chain(optax.clip_by_global_norm(0.5), optax.rmsprop(0.1)),
    "scheduled": optax.sgd(optax.exponential_decay(0.1, 2, 0.5)),
    "injected": optax.inject_hyperparams(optax.adam)(learning_rate=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_takes_two_steps(name):
    optimizer = OPTIMIZERS[name]

    def descend(params, target):
        def step(_, carry):
            params, state = carry
            gradient = jax.grad(lambda p: jnp.sum((p["w"] - target) ** 2 + p["b"] ** 3))(params)
            updates, state = optimizer.update(gradient, state, params)
            return optax.apply_updates(params, updates), state

        return lax.fori_loop(0, 2, step, (params, optimizer.init(params)))

    # Adam divides sums that may cancel by their own size, and so makes roundings larger.
    check(descend, {"w": normals(2), "b": normals()}, normals(2, seed=3), roundings=64, scale=1e-5)


# Random programs


UNARY = [jnp.sin, jnp.tanh, jax.nn.relu, jax.nn.sigmoid, jnp.negative, jnp.abs, jnp.square]
BINARY = [jnp.add, jnp.subtract, jnp.multiply, jnp.maximum, jnp.arctan2]
SHAPE = [
    jnp.transpose,
    jnp.ravel,
    jnp.flip,
    jnp.cumsum,
    lambda x: x[None],
    lambda x: x.sum(-1) if x.ndim else x,
    lambda x: x.max(0) if x.ndim else x,
    lambda x: x[..., 1:] if x.ndim else x,
    lambda x: x[-1] if x.ndim and len(x) else x,
    lambda x: jnp.pad(x, 1),
    lambda x: jnp.stack([x, x * 2], -1),
]


@st.composite
def programs(draw):
    """Instructions, each of a function and of the earlier values that it takes."""
    kinds = st.sampled_from([*[(f, 1) for f in UNARY + SHAPE], *[(f, 2) for f in BINARY]])
    instructions = [(draw(kinds), draw(st.tuples(*[st.integers(0, 99)] * 2))) for _ in range(8)]
    return instructions, draw(st.sampled_from(["plain", "gradient", "loop", "branch"]))


def build(program):
    """The function of a program: each value is made of earlier ones, its last is returned."""
    instructions, form = program

    def run(x, y):
        values = [x, y, jnp.float32(0.5)]
        for (function, count), places in instructions:
            operands = [values[place % len(values)] for place in places[:count]]
            try:
                shape = jnp.broadcast_shapes(*map(jnp.shape, operands))
            except ValueError:
                operands = operands[:1] * count
                shape = jnp.shape(operands[0])
            if np.prod(shape) <= 24 and len(shape) <= 3:
                values.append(function(*operands))
        return values[-1], sum(map(jnp.sum, values))

    if form == "gradient":
        return jax.grad(lambda x, y: jnp.sin(run(x, y)[1]))
    if form == "loop":
        return lambda x, y: lax.fori_loop(0, 3, lambda i, c: jnp.tanh(c + run(c, y)[1]), x)
    if form == "branch":
        return lambda x, y: lax.cond(y[0, 0] > 0, run, lambda x, y: run(x * 2, y), x, y)
    return run


@pytest.mark.slow
@hypothesis.settings(max_examples=12, deadline=None, derandomize=True, database=None)
@hypothesis.given(programs())
def test_a_function_on_lanes_is_its_vmap(program):
    # A few maxima and signs turn a rounding into another branch; values far from ties do not.
    check(build(program), normals(3), normals(2, 3, seed=1), roundings=64, scale=3e-5)
