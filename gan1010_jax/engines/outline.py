"""Straight-line code on lanes as one CPU kernel, in which each shared value is computed once.

XLA's CPU compiler makes a loop over the lanes of every value that leaves a fusion, and copies a
value that several others read into each of their loops: for the reference step, that is four times
the necessary arithmetic. It does not fuse across a call that is not inlined. So each value that is
read more than once becomes a function of its own (compilers call that outlining), and the whole,
loops included, one LLVM function.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.extend as jex
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata

from gan1010_jax.engines.arithmetic import sigmoid
from gan1010_jax.engines.rules import ELEMENTWISE, scan_sizes
from gan1010_jax.engines.scalarize import (
    as_closed,
    bind,
    input_values,
    is_literal,
    needed_for,
    variables,
)

# Operations that cost no more than reading their operand.
_FREE = frozenset(["bitcast_convert_type", "broadcast_in_dim", "imag", "real"])
_EXPRESSIONS = ELEMENTWISE | _FREE | {"complex", "jit"}


def call_kernel(fn: Callable, *args: Any) -> Any:
    """Call a function as one LLVM function, without dispatch inside; on CPU, under `jit`.

    For lane vectors of a few hundred lanes: XLA shares the loops over much longer ones between
    threads, and then fails to compile, since it cannot do that inside a kernel.
    """
    with set_xla_metadata(xla_cpu_small_call="true", inlineable="false"):
        return jax.jit(fn)(*args)


def outline(fn: Callable) -> Callable:
    """Make each value of a function that is read more than once a function of its own.

    For functions of pytrees of lane vectors, such as `scalarize` returns, and loops of them. Their
    float32 sigmoids are computed by a polynomial, and exact to a rounding, as XLA's own are.
    """

    def outlined(*args: Any) -> Any:
        jaxpr, out = jax.make_jaxpr(fn, return_shape=True)(*args)
        return jax.tree.unflatten(jax.tree.structure(out), _run(jaxpr, jax.tree.leaves(args)))

    return outlined


def _run(jaxpr: jex.core.ClosedJaxpr, inputs: Sequence[jax.Array]) -> list[jax.Array]:
    """Evaluate a jaxpr, its expressions grouped into functions."""
    jaxpr = jax.make_jaxpr(lambda *inputs: _substitute(jaxpr, inputs))(*inputs)
    outputs = jaxpr.jaxpr.outvars
    equations = needed_for(outputs, jaxpr.jaxpr.eqns)
    functions = _values_to_outline(equations, outputs)
    values, pending = input_values(jaxpr, inputs), {}
    for equation in equations:
        (*_, result) = equation.outvars
        if not _is_expression(equation):
            values.update(zip(equation.outvars, _evaluate(equation, values)))
        elif result.aval.shape == ():
            values[result] = _compute(equation, values)
        else:
            pending[result] = equation
            if result in functions:
                values[result] = _call_expression(result, pending, values)
    return [_read(output, values) for output in outputs]


def _substitute(jaxpr: jex.core.ClosedJaxpr, inputs: Sequence[jax.Array]) -> list[jax.Array]:
    """Evaluate each equation once, with the polynomial sigmoid, and pairs of words in one array."""
    values, known = input_values(jaxpr, inputs), {}
    for equation in jaxpr.jaxpr.eqns:
        name, operands = equation.primitive.name, [_read(x, values) for x in equation.invars]
        dtypes = [result.aval.dtype for result in equation.outvars]
        key = _identify(equation, operands)
        if key in known and not equation.effects:
            results = known[key]
        elif name == "logistic" and dtypes == [np.float32]:
            results = [sigmoid(*operands)]
        elif name == "jit" and dtypes == [np.uint32] * 2:
            pair = _pack(equation, operands)
            results = [lax.bitcast_convert_type(x, np.uint32) for x in (pair.real, pair.imag)]
        else:
            results = bind(equation, operands)
        known[key] = results
        values.update(zip(equation.outvars, results))
    return [_read(output, values) for output in jaxpr.jaxpr.outvars]


def _identify(equation: jex.core.JaxprEqn, operands: Sequence[jax.Array]) -> Hashable:
    """A key that equations share which compute the same."""
    names = [
        (str(variable.val), variable.aval) if is_literal(variable) else id(operand)
        for variable, operand in zip(equation.invars, operands)
    ]
    params = [  # a mutable parameter is known by its identity
        (name, value if isinstance(value, Hashable) else id(value))
        for name, value in equation.params.items()
    ]
    return equation.primitive, *names, *params


def _pack(equation: jex.core.JaxprEqn, operands: Sequence[jax.Array]) -> jax.Array:
    """Two uint32 results as one complex64, since a loop over lanes writes only one array.

    Nothing is computed in floating point, so that the bits are kept.
    """

    @jax.jit
    def packed(*operands):
        words = jex.core.jaxpr_as_fun(equation.params["jaxpr"])(*operands)
        return lax.complex(*(lax.bitcast_convert_type(word, np.float32) for word in words))

    return packed(*operands)


def _values_to_outline(equations: Sequence[jex.core.JaxprEqn], outputs: Sequence[Any]) -> set[Any]:
    """The values to outline: outputs, operands of loops, and values used more than once."""
    functions, readers = variables(outputs), Counter()
    for equation in equations:
        operands = variables(equation.invars)
        readers.update(operands)
        if not _is_expression(equation):
            functions |= operands
    for equation in equations:
        if equation.primitive.name not in _FREE:
            functions.update(result for result in equation.outvars if readers[result] > 1)
    return functions


def _call_expression(result: Any, pending: dict, values: dict) -> jax.Array:
    """Compute a pending expression by a function of the values that it reads."""
    order, reads = [], []

    def visit(variable):
        if is_literal(variable) or variable in reads or variable in order:
            return
        if variable in values:
            reads.append(variable)
            return
        for operand in pending[variable].invars:
            visit(operand)
        order.append(variable)

    def expression(*inputs):
        local = dict(zip(reads, inputs))
        for variable in order:
            local[variable] = _compute(pending[variable], local)
        return local[result]

    visit(result)
    return call_kernel(expression, *(values[variable] for variable in reads))


def _evaluate(equation: jex.core.JaxprEqn, values: dict) -> list[jax.Array]:
    """The results of an equation that is no expression; a loop, with its body outlined."""
    operands = [_read(operand, values) for operand in equation.invars]
    if equation.primitive.name != "scan":
        return bind(equation, operands)
    params = equation.params
    body = as_closed(params["jaxpr"])
    consts, carry, scanned = scan_sizes(equation)
    constants, state, xs = operands[:consts], operands[consts:][:carry], operands[consts + carry :]

    def step(state, xs):
        results = _run(body, [*constants, *state, *xs])
        return results[:carry], results[carry:]

    if scanned or len(equation.outvars) > carry:
        options = {name: params[name] for name in ("length", "reverse")}
        state, ys = lax.scan(step, state, xs, **options)
        return [*state, *ys]

    # XLA would unroll a short loop, and then keep each step's state in a place of its own, beyond
    # the processor's nearest cache; so the length is hidden from it.
    length = call_kernel(lambda length: length, np.int32(params["length"]))
    _, state = lax.while_loop(
        lambda loop: loop[0] < length,
        lambda loop: (loop[0] + 1, step(loop[1], [])[0]),
        (np.int32(0), state),
    )
    return state


def _is_expression(equation: jex.core.JaxprEqn) -> bool:
    """Whether an equation is elementwise and has one result."""
    return equation.primitive.name in _EXPRESSIONS and len(equation.outvars) == 1


def _read(operand: Any, values: dict) -> Any:
    """The value of an operand."""
    if is_literal(operand):
        return jnp.asarray(operand.val, operand.aval.dtype)
    return values[operand]


def _compute(equation: jex.core.JaxprEqn, values: dict) -> jax.Array:
    """The result of an expression."""
    operands = [_read(operand, values) for operand in equation.invars]
    if equation.primitive.name == "jit":
        return jex.core.jaxpr_as_fun(equation.params["jaxpr"])(*operands)[0]
    return bind(equation, operands)[0]
