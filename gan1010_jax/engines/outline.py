"""Straight-line code on lanes as one CPU kernel, in which each shared value is computed once.

XLA's CPU compiler makes a loop over the lanes of every value that leaves a fusion, and copies a
value that several others read into each of their loops: of the reference step, four times the
arithmetic that it needs. Across a call that is not inlined it does not fuse. So each value that
is read more than once becomes a function of its own (compilers call that outlining), and the
whole, loops and all, one LLVM function.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.extend as jex
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata

from gan1010_jax.engines.rules import scan_sizes
from gan1010_jax.engines.scalarize import ELEMENTWISE, as_closed

# What costs no more than to read its operand does.
FREE = frozenset(["bitcast_convert_type", "broadcast_in_dim", "imag", "real"])
EXPRESSIONS = ELEMENTWISE | FREE | {"complex", "jit", "pjit"}


def call_kernel(fn: Callable, *args: Any) -> Any:
    """Call a function as one LLVM function, without dispatch inside; on CPU, under `jit`.

    For lane vectors of a few hundred lanes: XLA shares the loops over much longer ones between
    threads, and then fails to compile, since it cannot do that inside a kernel.
    """
    with set_xla_metadata(xla_cpu_small_call="true", inlineable="false"):
        return jax.jit(fn)(*args)


def outline(fn: Callable) -> Callable:
    """The same function, in which what is read more than once is a function of its own.

    For functions of pytrees of lane vectors, such as `scalarize` returns, and loops of them. Its
    float32 sigmoids are those of `sigmoid`, and exact to a rounding like XLA's own.
    """

    def outlined(*args: Any) -> Any:
        jaxpr, out = jax.make_jaxpr(fn, return_shape=True)(*args)
        return jax.tree.unflatten(jax.tree.structure(out), run(jaxpr, jax.tree.leaves(args)))

    return outlined


class Operation(NamedTuple):
    """An equation of a jaxpr, its operands being variables or literals."""

    equation: jex.core.JaxprEqn
    operands: tuple[Any, ...]
    results: tuple[Any, ...]


def run(jaxpr: jex.core.ClosedJaxpr, inputs: Sequence[jax.Array]) -> list[jax.Array]:
    """Evaluate a jaxpr, its expressions grouped into functions."""
    jaxpr = jax.make_jaxpr(lambda *inputs: substitute(jaxpr, inputs))(*inputs)
    operations, outputs = simplify(jaxpr.jaxpr)
    functions = choose(operations, outputs)

    variables = itertools.chain(jaxpr.jaxpr.constvars, jaxpr.jaxpr.invars)
    values = dict(zip(variables, itertools.chain(jaxpr.consts, inputs)))
    pending = {}
    for operation in operations:
        (*_, result) = operation.results
        if not is_expression(operation):
            values.update(zip(operation.results, evaluate(operation, values)))
        elif result.aval.shape == ():
            values[result] = bind(operation, values)
        else:
            pending[result] = operation
            if result in functions:
                values[result] = call_expression(result, pending, values)
    return [read(output, values) for output in outputs]


def substitute(jaxpr: jex.core.ClosedJaxpr, inputs: Sequence[jax.Array]) -> list[jax.Array]:
    """Evaluate a jaxpr with this module's sigmoid, and with pairs of words in one array."""
    variables = itertools.chain(jaxpr.jaxpr.constvars, jaxpr.jaxpr.invars)
    values = dict(zip(variables, itertools.chain(jaxpr.consts, inputs)))
    for equation in jaxpr.jaxpr.eqns:
        operands = [read(operand, values) for operand in equation.invars]
        dtypes = [result.aval.dtype for result in equation.outvars]
        if equation.primitive.name == "logistic" and dtypes == [np.float32]:
            results = [sigmoid(*operands)]
        elif equation.primitive.name in ("jit", "pjit") and dtypes == [np.uint32] * 2:
            results = unpack(pack(equation, operands))
        else:
            results = equation.primitive.bind(*operands, **equation.params)
            results = results if equation.primitive.multiple_results else [results]
        values.update(zip(equation.outvars, results))
    return [read(output, values) for output in jaxpr.jaxpr.outvars]


def pack(equation: jex.core.JaxprEqn, operands: Sequence[jax.Array]) -> jax.Array:
    """Two uint32 results as one complex64, since a loop over lanes writes only one array.

    Nothing is computed in floating point, so that the bits stay what they are.
    """

    @jax.jit
    def packed(*operands):
        words = jex.core.jaxpr_as_fun(equation.params["jaxpr"])(*operands)
        return lax.complex(*(lax.bitcast_convert_type(word, np.float32) for word in words))

    return packed(*operands)


def unpack(pair: jax.Array) -> list[jax.Array]:
    """The inverse of `pack`."""
    return [lax.bitcast_convert_type(part(pair), np.uint32) for part in (lax.real, lax.imag)]


# 2^f for f from -1/2 to 1/2, to 8e-8: the coefficients, highest degree first.
EXP2 = np.polynomial.Chebyshev.interpolate(np.exp2, deg=5, domain=[-0.5, 0.5]).convert(
    kind=np.polynomial.Polynomial
)
EXP2_COEFFICIENTS = tuple(np.float32(EXP2.coef[::-1]))


@jax.jit
def sigmoid(x: jax.Array) -> jax.Array:
    """1/(1+exp(-x)), float32 [lanes], within 1.2e-7; half the instructions of XLA's.

    2^t is 2^f shifted by n binary places, n being t rounded and f the rest of it, at most 1/2.
    """

    def fill(value):
        return lax.full(x.shape, value, x.dtype)

    t = lax.clamp(fill(-126), x * fill(-np.log2(np.e)), fill(126))
    n = lax.round(t, lax.RoundingMethod.TO_NEAREST_EVEN)
    f = t - n
    power = fill(EXP2_COEFFICIENTS[0])
    for coefficient in EXP2_COEFFICIENTS[1:]:
        power = power * f + fill(coefficient)
    exponent = n.astype(np.int32) << 23
    power = lax.bitcast_convert_type(power, np.int32) + exponent
    return 1 / (1 + lax.bitcast_convert_type(power, np.float32))


def simplify(jaxpr: jex.core.Jaxpr) -> tuple[list[Operation], list[Any]]:
    """The operations of a jaxpr that matter, each once, and its outputs."""
    same, known, operations = {}, {}, []
    for equation in jaxpr.eqns:
        operands = tuple(
            operand if is_literal(operand) else same.get(operand, operand)
            for operand in equation.invars
        )
        names = tuple(
            (str(operand.val), operand.aval) if is_literal(operand) else operand
            for operand in operands
        )
        params = tuple((name, identity(value)) for name, value in equation.params.items())
        key = (equation.primitive, names, params)
        if key in known and not equation.effects:
            same.update(zip(equation.outvars, known[key]))
        else:
            known[key] = tuple(equation.outvars)
            operations.append(Operation(equation, operands, tuple(equation.outvars)))
    outputs = [out if is_literal(out) else same.get(out, out) for out in jaxpr.outvars]

    needed = {output for output in outputs if not is_literal(output)}
    kept = []
    for operation in reversed(operations):
        if needed.intersection(operation.results):
            needed.update(operand for operand in operation.operands if not is_literal(operand))
            kept.append(operation)
    return kept[::-1], outputs


def identity(value: Any) -> Any:
    """What tells a parameter of an equation from another: its value, or itself if it is mutable."""
    return value if isinstance(value, Hashable) else id(value)


def choose(operations: Sequence[Operation], outputs: Sequence[Any]) -> set[Any]:
    """Which expressions become functions: those that something else needs, or several read."""
    functions = {output for output in outputs if not is_literal(output)}
    readers = Counter()
    for operation in operations:
        operands = {operand for operand in operation.operands if not is_literal(operand)}
        readers.update(operands)
        if not is_expression(operation):
            functions.update(operands)
    for operation in operations:
        if operation.equation.primitive.name not in FREE:
            functions.update(result for result in operation.results if readers[result] > 1)
    return functions


def call_expression(result: Any, pending: dict, values: dict) -> jax.Array:
    """Compute a pending expression by a function of the values that it reads."""
    order, reads = [], []

    def visit(variable):
        if is_literal(variable) or variable in reads or variable in order:
            return
        if variable in values:
            reads.append(variable)
            return
        for operand in pending[variable].operands:
            visit(operand)
        order.append(variable)

    def expression(*inputs):
        local = dict(zip(reads, inputs))
        for variable in order:
            local[variable] = bind(pending[variable], local)
        return local[result]

    visit(result)
    return call_kernel(expression, *(values[variable] for variable in reads))


def evaluate(operation: Operation, values: dict) -> list[jax.Array]:
    """The results of an operation that is no expression; a loop, with its body outlined."""
    equation = operation.equation
    operands = [read(operand, values) for operand in operation.operands]
    if equation.primitive.name != "scan":
        results = equation.primitive.bind(*operands, **equation.params)
        return results if equation.primitive.multiple_results else [results]
    params = equation.params
    body = as_closed(params["jaxpr"])
    consts, carry, scanned = scan_sizes(equation)
    constants, operands = operands[:consts], operands[consts:]

    def step(state, xs):
        results = run(body, [*constants, *state, *xs])
        return results[:carry], results[carry:]

    if scanned or len(operation.results) > carry:
        state, ys = lax.scan(
            step,
            operands[:carry],
            operands[carry:],
            length=params["length"],
            reverse=params["reverse"],
        )
        return [*state, *ys]

    # XLA would unroll a short loop, and then keep each step's state in a place of its own, beyond
    # the processor's nearest cache; so it is not told how short the loop is.
    length = call_kernel(lambda length: length, np.int32(params["length"]))
    _, state = lax.while_loop(
        lambda loop: loop[0] < length,
        lambda loop: (loop[0] + 1, step(loop[1], [])[0]),
        (np.int32(0), operands),
    )
    return state


def is_literal(operand: Any) -> bool:
    """Whether an operand is a number in the jaxpr itself."""
    return isinstance(operand, jex.core.Literal)


def is_expression(operation: Operation) -> bool:
    """Whether an operation is elementwise and has one result."""
    return operation.equation.primitive.name in EXPRESSIONS and len(operation.results) == 1


def read(operand: Any, values: dict) -> Any:
    """The value of an operand."""
    if is_literal(operand):
        return jnp.asarray(operand.val, operand.aval.dtype)
    return values[operand]


def bind(operation: Operation, values: dict) -> jax.Array:
    """The result of an expression."""
    operands = [read(operand, values) for operand in operation.operands]
    equation = operation.equation
    if equation.primitive.name in ("jit", "pjit"):
        return jex.core.jaxpr_as_fun(equation.params["jaxpr"])(*operands)[0]
    return equation.primitive.bind(*operands, **equation.params)
