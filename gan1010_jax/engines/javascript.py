"""Functions of small arrays as JavaScript: the same numbers, without Python or JAX.

`scalarize` makes straight-line code of a function, which is printed here instead of compiled, for
a single lane: an element is a number of JavaScript's, rounded after every operation as its type
asks. What is read more than once is a `const`, and a larger jitted function, such as the sigmoid,
is a function there too.

JavaScript computes in float64, in which a sum, difference, product, quotient or square root of
float32 numbers, rounded to float32 by `Math.fround`, is that of float32 to the bit. The other
functions of `Math` are each browser's own, with an error of about a rounding of float64: rounded to
float32, they are what is nearest to the exact number, but for about one argument in 10⁸.

A product that only one sum reads is not rounded by itself, as in the fused multiply-add that XLA
makes of both on a CPU. The sum is rounded twice, to float64 first, which matters as rarely.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

import jax
import jax.extend as jex
import jax.numpy as jnp
import numpy as np

from gan1010_jax.engines.arithmetic import IN_JAVASCRIPT, substitute
from gan1010_jax.engines.rules import scan_sizes
from gan1010_jax.engines.scalarize import (
    CALLS,
    Lanes,
    UnsupportedPrimitive,
    arrange,
    as_closed,
    bind,
    evaluate,
    input_values,
    is_key,
    is_lanes,
    read,
    scalarize,
)

# Of each type, the view of a block that it is stored in, and how a number is rounded to it.
_TYPES = {
    "float32": ("f", "F({0})"),
    "int32": ("i", "({0}|0)"),
    "uint32": ("u", "({0}>>>0)"),
    "bool": ("i", "({0}!==0)"),
}
# A jitted function of more equations is a function in JavaScript.
_INLINED = 8

_PRELUDE = """\
"use strict";
const F = Math.fround, I = Math.imul;
const block = (length) => {
  const f = new Float32Array(length);
  return { f, i: new Int32Array(f.buffer), u: new Uint32Array(f.buffer) };
};
const B = block(1);
const asInt = (x) => ((B.f[0] = x), B.i[0]), asWord = (x) => ((B.f[0] = x), B.u[0]);
const asFloat = (x) => ((B.u[0] = x), B.f[0]);
const away = (x) => Math.sign(x) * Math.floor(Math.abs(x) + 0.5);
const power = (x, y) => x === 1 || (x === -1 && 1 / y === 0) ? 1 : F(Math.pow(x, y)); // as in C
const even = (x) => {
  const n = x + 6755399441055744 - 6755399441055744; // 1.5 * 2**52
  return n === 0 ? x * 0 : n; // -0 too
};
"""


def to_javascript(functions: Mapping[str, tuple[Callable, Sequence[Any]]]) -> str:
    """Print functions of pytrees of arrays as JavaScript.

    Args:
      functions: by its name, each function with examples of its arguments, or anything with their
        shapes and dtypes: float32, int32, uint32, bool or Threefry's keys, which are two uint32.

    Returns:
      An expression, whose value is an object with each function by its name, `block` and `layouts`.
      An argument that is a single number is a number there. Any other is a *block*: the elements of
      its pytree, leaf by leaf, 4 bytes each, in one buffer with the views `f` (`Float32Array`), `i`
      (`Int32Array`, for bool too, as 0 or 1) and `u` (`Uint32Array`); `block(length)` makes one of
      zeros. After its arguments, a function takes a block for its result, or for each one of a
      tuple of results, and writes it; for `null` it does not. An argument's block may be a result's
      too. `layouts[name]` is `{arguments, results}`, each a list of `{length, leaves}`, or of null
      for a number; and a leaf is `{name, type, shape, offset}`.

    Raises:
      UnsupportedPrimitive: for a primitive or a type that has no rule here; it names it, and the
        function.
    """
    helpers: dict[str, str] = {}
    texts, layouts, constants = [], {}, {"null": "null"}
    for name, (fn, examples) in functions.items():
        try:
            text, *blocks = _print_function(name, fn, examples, helpers)
        except _NoRule as error:
            message = f"{name} uses {error}, which has no rule in JavaScript"
            raise UnsupportedPrimitive(message) from None
        texts.append(text)
        for kind, trees in zip(("arguments", "results"), blocks):
            printed = [json.dumps(tree, separators=(",", ":")) for tree in trees]
            names = [constants.setdefault(text, f"L{len(constants)}") for text in printed]
            layouts.setdefault(name, []).append(f"{kind}: [{', '.join(names)}]")
    texts += [f"const {name} = {text};\n" for text, name in constants.items() if name != text]
    texts.append("const layouts = {\n")
    texts += [f"  {name}: {{ {', '.join(parts)} }},\n" for name, parts in layouts.items()]
    texts.append("};\n")
    called = [f"function {name}{text}" for text, name in helpers.items()]
    value = ", ".join(["block", "layouts", *functions])
    return f"(() => {{\n{''.join([_PRELUDE, *called, *texts])}return {{ {value} }};\n}})()"


class _NoRule(Exception):
    """A primitive or a type that cannot be printed, in words."""


def _print_function(
    name: str, fn: Callable, examples: Sequence[Any], helpers: dict[str, str]
) -> tuple[str, list[Any], list[Any]]:
    """A function in JavaScript, and the layouts of its arguments and results."""
    shapes = jax.eval_shape(lambda *args: args, *examples)
    functions = IN_JAVASCRIPT | {"integer_pow": _power}
    on_numbers = substitute(scalarize(_without_loops(fn), *shapes), functions)
    numbers = jax.tree.map(_as_numbers, shapes)
    jaxpr, out = jax.make_jaxpr(on_numbers, return_shape=True)(*numbers)
    out = out if type(out) is tuple else (out,)
    results = [_layout(tree) for tree in out]
    arguments = [None if _is_number(tree) else _layout(tree) for tree in numbers]

    graph = _Graph(helpers)
    inputs = [graph.add(text) for place, tree in enumerate(numbers) for text in _read(place, tree)]
    outputs = graph.evaluate(jaxpr, inputs)
    lines, texts = graph.statements(outputs)
    remaining = iter(texts)
    for place, tree in enumerate(out):
        views = [_type(number.dtype)[0] for number in jax.tree.leaves(tree)]
        stores = [f"r{place}.{view}[{k}]={next(remaining)};" for k, view in enumerate(views)]
        lines += [f"if(r{place}){{", *stores, "}"]
    names = [f"x{k}" for k in range(len(numbers))] + [f"r{k}" for k in range(len(out))]
    text = "\n".join([f"function {name}({','.join(names)}){{", *lines, "}\n"])
    return text, arguments, results


def _read(place: int, tree: Any) -> list[str]:
    """The expressions of an argument's numbers."""
    dtypes = [number.dtype for number in jax.tree.leaves(tree)]
    views = [_type(dtype) for dtype in dtypes]
    if _is_number(tree):
        return [rounding.format(f"x{place}") for _, rounding in views]
    stored = [f"x{place}.{view}[{offset}]" for offset, (view, _) in enumerate(views)]
    return [f"({x}!==0)" if dtype == np.bool_ else x for x, dtype in zip(stored, dtypes)]


def _without_loops(fn: Callable) -> Callable:
    """The function with each `lax.scan` as its steps, one after another."""

    def apply(equation, operands):
        name = equation.primitive.name
        if name in CALLS:
            return run(as_closed(equation.params[CALLS[name]]), operands)
        if name != "scan":
            return bind(equation, operands)
        body, length = as_closed(equation.params["jaxpr"]), equation.params["length"]
        consts, carry, _ = scan_sizes(equation)
        constants, state = operands[:consts], operands[consts:][:carry]
        xs = operands[consts + carry :]
        places, rows = range(length), {}
        for place in reversed(places) if equation.params["reverse"] else places:
            results = run(body, [*constants, *state, *(x[place] for x in xs)])
            state, rows[place] = results[:carry], results[carry:]
        return [*state, *map(jnp.stack, zip(*(rows[place] for place in places)))]

    def run(jaxpr, inputs):
        values = input_values(jaxpr, inputs)
        evaluate(jaxpr.jaxpr.eqns, values, apply)
        return read(jaxpr.jaxpr.outvars, values)

    @wraps(fn)
    def unrolled(*args):
        jaxpr, out = jax.make_jaxpr(fn, return_shape=True)(*args)
        return jax.tree.unflatten(jax.tree.structure(out), run(jaxpr, jax.tree.leaves(args)))

    return unrolled


def _as_numbers(leaf: jax.ShapeDtypeStruct) -> Lanes:
    """An array as a `Lanes` of numbers, the lane vectors of a single lane; a key is two."""
    number: Any = jax.ShapeDtypeStruct((), leaf.dtype)
    if is_key(leaf):
        number = (jax.ShapeDtypeStruct((), np.uint32),) * 2
    return Lanes(arrange([number] * leaf.size, leaf.shape))


def _is_number(tree: Any) -> bool:
    """Whether an argument is a single number."""
    return is_lanes(tree) and not tree.elements.shape and len(jax.tree.leaves(tree)) == 1


def _layout(tree: Any) -> dict[str, Any]:
    """Where a block has the numbers of a pytree of `Lanes`."""
    leaves, offset = [], 0
    for path, lanes in jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_lanes)[0]:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        numbers, shape = jax.tree.leaves(lanes), [*lanes.elements.shape]
        kind = str(numbers[0].dtype) if numbers else "float32"
        words = [] if len(numbers) == lanes.elements.size else [2]  # of a key
        leaves.append({"name": name, "type": kind, "shape": shape + words, "offset": offset})
        offset += len(numbers)
    return {"length": offset, "leaves": leaves}


def _type(dtype: Any) -> tuple[str, str]:
    """The view of a type, and its rounding."""
    if str(dtype) not in _TYPES:
        raise _NoRule(f"the type {dtype}")
    return _TYPES[str(dtype)]


class _Graph:
    """The expressions of a function, each once and known by its number.

    An expression is a template, in which `{k}` stands for its operand k, another expression.
    """

    def __init__(self, helpers: dict[str, str]):
        """Functions that it calls are added to `helpers`, which has their names by their texts."""
        self._helpers = helpers
        self._numbers: dict[tuple[str, tuple[int, ...]], int] = {}

    def add(self, template: str, *operands: int) -> int:
        """The number of an expression."""
        return self._numbers.setdefault((template, operands), len(self._numbers))

    def evaluate(self, jaxpr: jex.core.ClosedJaxpr, inputs: Sequence[Any]) -> list[int]:
        """The expressions of a jaxpr's results; an input is an expression, or a known number."""
        return list(map(self._as_expression, self._results(jaxpr, inputs)))

    def _results(self, jaxpr: jex.core.ClosedJaxpr, inputs: Sequence[Any]) -> list[Any]:
        values = input_values(jaxpr, inputs)
        evaluate(jaxpr.jaxpr.eqns, values, self._apply)
        return read(jaxpr.jaxpr.outvars, values)

    def _as_expression(self, value: Any) -> int:
        return value if isinstance(value, int) else self.add(_literal(value))

    def _apply(self, equation: jex.core.JaxprEqn, operands: list[Any]) -> list[Any]:
        """The results of an equation: expressions, or numbers that are known already."""
        if not any(isinstance(operand, int) for operand in operands):
            with jax.ensure_compile_time_eval():
                return list(map(np.asarray, bind(equation, operands)))
        name = equation.primitive.name
        if name not in CALLS:
            template = _template(equation)
            return [self.add(template, *map(self._as_expression, operands))]
        body = as_closed(equation.params[CALLS[name]])
        if len(body.jaxpr.eqns) <= _INLINED:
            return self._results(body, operands)
        arguments = ",".join(f"{{{k}}}" for k in range(len(operands)))
        function = self._helper(equation.params.get("name", name), body)
        call = self.add(f"{function}({arguments})", *map(self._as_expression, operands))
        several = len(equation.outvars) > 1
        return [
            self.add(f"{{0}}[{k}]", call) if several else call for k in range(len(body.out_avals))
        ]

    def _helper(self, name: str, body: jex.core.ClosedJaxpr) -> str:
        """The name of a function with this body."""
        graph = _Graph(self._helpers)
        inputs = [f"x{k}" for k in range(len(body.in_avals))]
        lines, results = graph.statements(graph.evaluate(body, [*map(graph.add, inputs)]))
        result = results[0] if len(results) == 1 else f"[{','.join(results)}]"
        text = "\n".join([f"({','.join(inputs)}){{", *lines, f"return {result};", "}\n"])
        name = re.sub(r"\W|^_+", "", name)
        return self._helpers.setdefault(text, f"{name}_{len(self._helpers)}")

    def statements(self, outputs: Sequence[int]) -> tuple[list[str], list[str]]:
        """Statements, and the texts of these expressions after them."""
        expressions, uses = list(self._numbers), Counter(outputs)
        for number in reversed(range(len(expressions))):
            template, operands = expressions[number]
            if uses[number]:
                uses.update(operands[int(k)] for k in re.findall(r"{(\d+)}", template))
        lines, texts = [], {}
        for number, (template, operands) in enumerate(expressions):
            if not uses[number]:
                continue
            parts = [texts[operand] for operand in operands]
            if template in _SUMS:  # as LLVM contracts them, the first operand rather than both
                for place, operand in enumerate(operands):
                    if expressions[operand][0] == _PRODUCT and uses[operand] == 1:
                        parts[place] = parts[place][2:-1]
                        break
            text = template.format(*parts)
            is_name_or_number = re.fullmatch(r"\w+|[(]?-?[\d.e-]+[)]?", text)
            # What is read from a block, too: the block may be that of a result.
            if not is_name_or_number and (uses[number] > 1 or not operands):
                lines.append(f"const v{number}={text};")
                text = f"v{number}"
            texts[number] = text
        return lines, [texts[number] for number in outputs]


_PRODUCT, _SUMS = "F({0}*{1})", ("F({0}+{1})", "F({0}-{1})")
# Templates of primitives, for operands of any type, of floats, of integers and of bools. `R` stands
# for the rounding to the result's type.
_COMPARISONS = {
    **{"eq": "({0}==={1})", "ne": "({0}!=={1})", "lt": "({0}<{1})", "le": "({0}<={1})"},
    **{"gt": "({0}>{1})", "ge": "({0}>={1})"},
}
_OF_NUMBERS = _COMPARISONS | {
    **{"add": "R({0}+{1})", "sub": "R({0}-{1})", "neg": "R(-{0})", "abs": "R(Math.abs({0}))"},
    **{"sign": "Math.sign({0})", "max": "Math.max({0},{1})", "min": "Math.min({0},{1})"},
    **{"clamp": "Math.min(Math.max({1},{0}),{2})"},
}
_OF_FLOATS = _OF_NUMBERS | {
    **{"mul": "R({0}*{1})", "square": "R({0}*{0})", "div": "R({0}/{1})", "rem": "R({0}%{1})"},
    **{"floor": "Math.floor({0})", "ceil": "Math.ceil({0})", "exp2": "R(Math.pow(2,{0}))"},
    **{"sqrt": "R(Math.sqrt({0}))", "rsqrt": "R(1/Math.sqrt({0}))"},
    **{"atan2": "R(Math.atan2({0},{1}))", "pow": "power({0},{1})"},
    **{
        name: f"R(Math.{name}({{0}}))"
        for name in """acos acosh asin asinh atan atanh cbrt cos cosh exp expm1 log log1p log2 sin
        sinh tan tanh""".split()
    },
}
# Shifts are by less than 32, which `scalarize` sees to: in JavaScript, one by 32 is none.
_OF_INTEGERS = _OF_NUMBERS | {
    **{"mul": "R(I({0},{1}))", "square": "R(I({0},{0}))"},
    **{"div": "R(({1}===0?-1:{0}/{1}))", "rem": "R(({1}===0?{0}:{0}%{1}))"},
    **{"and": "R(({0}&{1}))", "or": "R(({0}|{1}))", "xor": "R(({0}^{1}))", "not": "R(~{0})"},
    "shift_left": "R(({0}<<{1}))",
    "shift_right_logical": "R(({0}>>>{1}))",
    "shift_right_arithmetic": "R(({0}>>{1}))",
    "clz": "Math.clz32({0})",
}
_OF_BOOLS = _COMPARISONS | {
    **{"and": "({0}&&{1})", "or": "({0}||{1})", "xor": "({0}!=={1})", "not": "(!{0})"},
    **{"max": "({0}||{1})", "min": "({0}&&{1})"},
}
_TEMPLATES = {
    "float32": _OF_FLOATS,
    "int32": _OF_INTEGERS,
    "uint32": _OF_INTEGERS,
    "bool": _OF_BOOLS,
}
# Numbers beyond those of an integer type become the nearest of them, and NaN 0.
_FROM_FLOAT = {
    "int32": "(Math.min(Math.max({0},-2147483648),2147483647)|0)",
    "uint32": "(Math.min(Math.max({0},0),4294967295)>>>0)",
}
_BITCASTS = {
    ("float32", "int32"): "asInt({0})",
    ("float32", "uint32"): "asWord({0})",
    ("int32", "float32"): "asFloat({0})",
    ("uint32", "float32"): "asFloat({0})",
}


def _template(equation: jex.core.JaxprEqn) -> str:
    """The template of an equation of numbers."""
    name, params = equation.primitive.name, equation.params
    result, *others = equation.outvars
    _, rounding = _type(result.aval.dtype)
    given, made = (str(variable.aval.dtype) for variable in (equation.invars[0], result))
    template = _TEMPLATES[given].get(name) if given in _TEMPLATES else None
    if name == "convert_element_type":
        from_float = given == "float32" and made in _FROM_FLOAT
        template = _FROM_FLOAT[made] if from_float else "{0}" if given == made else "R({0})"
    elif name == "bitcast_convert_type":
        template = _BITCASTS.get((given, made), "R({0})")
    elif name == "broadcast_in_dim":
        template = "{0}"
    elif name == "round":
        template = "even({0})" if params["rounding_method"] else "away({0})"
    elif name == "select_n":
        template = "({0}?{2}:{1})"
        if given != "bool":
            *first, last = range(1, len(equation.invars))
            template = f"({''.join(f'{{0}}==={k - 1}?{{{k}}}:' for k in first)}{{{last}}})"
    if template is None or others or result.aval.shape:
        raise _NoRule(f"the primitive {name!r}")
    return re.sub(r"R\((.*)\)", lambda match: rounding.format(match[1]), template)


def _power(x: jax.Array, y: int, **_: Any) -> jax.Array:
    """x to a whole power, by JAX's own products."""
    power, exponent = jnp.ones_like(x), abs(y)
    for bit in bin(exponent)[:1:-1]:
        power = power * x if bit == "1" else power
        x = x * x
    return 1 / power if y < 0 else power


def _literal(value: Any) -> str:
    """A known number."""
    (number,) = np.asarray(value).ravel().tolist()
    _type(np.asarray(value).dtype)
    text = str(number).lower().replace("inf", "Infinity").replace("nan", "NaN")
    return f"({text})" if text.startswith("-") else text
