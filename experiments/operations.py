"""Count the operations of a training step: the work that every program has to do."""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import jax
import jax.extend as jex
import jax.numpy as jnp

import gan1010_jax as gan
from gan1010_jax.gan import seed_key

# They move numbers, or name them otherwise.
FREE = {"broadcast_in_dim", "convert_element_type", "copy", "reshape", "squeeze"}


class Value(NamedTuple):
    """A value of straight-line code: the operation that gives it, and the numbers of its operands.

    Equal values are one. An input is an operation of its own name.
    """

    operation: str
    kind: str
    params: Hashable = ()
    operands: Sequence[int] = ()


def count_step() -> dict[str, int]:
    """The operations of one seed's step, random draws included, by kind.

    Those of the elementwise code that `scalarize` makes of it. Each value counts once, and what
    depends on the seed alone counts not at all, since it can be computed before the first step.
    The kinds are `float32`, `uint32` and `int32` by the type of the result, and `sigmoid`.
    """
    key, setup = seed_key(0), gan.Setup()
    state, t = gan.init(key, setup), jnp.int32(0)

    def step(key, state, t):
        return gan.train_step(state, gan.draw_batch(key, setup, t), setup)[0]

    lanes = gan.to_lanes(jax.tree.map(lambda leaf: jnp.expand_dims(leaf, -1), (key, state)))
    jaxpr = jax.make_jaxpr(gan.scalarize(step, key, state, t))(*lanes, t)
    fixed = len(jax.tree.leaves(lanes[0]))
    return dict(count(jaxpr.jaxpr, fixed))


def count(jaxpr: jex.core.Jaxpr, fixed: int) -> Counter[str]:
    """The operations of straight-line code that its outputs need, by kind.

    Those whose operands depend on the first `fixed` inputs alone are left out.
    """
    numbers: dict[Value, int] = {}

    def add(*value):
        return numbers.setdefault(Value(*value), len(numbers))

    def evaluate(jaxpr, inputs):
        values = dict(zip(jaxpr.invars, inputs))

        def read(x):
            return add(str(x), "literal") if isinstance(x, jex.core.Literal) else values[x]

        for equation in jaxpr.eqns:
            operands = tuple(map(read, equation.invars))
            if "jaxpr" in equation.params:
                results = evaluate(equation.params["jaxpr"].jaxpr, operands)
            else:
                results = [add(*describe(equation), operands)]
            values.update(zip(equation.outvars, results))
        return list(map(read, jaxpr.outvars))

    inputs = [add(f"input {place}", "input") for place in range(len(jaxpr.invars))]
    needed = set(evaluate(jaxpr, inputs))
    values = list(numbers)
    for number, value in reversed(list(enumerate(values))):
        if number in needed:
            needed.update(value.operands)
    varying = set(inputs[fixed:])
    for number, value in enumerate(values):
        if varying.intersection(value.operands):
            varying.add(number)
    kinds = (values[number].kind for number in sorted(needed & varying))
    return Counter(kind for kind in kinds if kind not in ("input", "free"))


def describe(equation: jex.core.JaxprEqn) -> tuple[str, str, Hashable]:
    """The operation of an equation on lanes, its kind, and its parameters."""
    name, (result,) = equation.primitive.name, equation.outvars
    kind = "sigmoid" if name == "logistic" else str(result.aval.dtype)
    if name in FREE or result.aval.shape == ():  # for all lanes at once
        kind = "free"
    return name, kind, str(equation.params)
