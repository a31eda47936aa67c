"""Functions as JavaScript: in Node, each primitive and each method gives JAX's numbers."""

import json
import shutil
import subprocess
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from test_engines import METHODS, slow
from test_scalarize import (
    CASES,
    LANES,
    SHIFTS,
    assert_same,
    bools,
    compiled,
    floats,
    integers,
    keys,
    normals,
    one_lane,
    words,
)

import gan1010_jax as gan
from gan1010_jax.engines import UnsupportedPrimitive, browser_program, to_javascript
from gan1010_jax.environment import enable_x64

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no node is installed")


def in_node(script, tmp_path):
    """What a script prints, from JSON."""
    path = tmp_path / "script.cjs"
    path.write_text(script, encoding="utf-8")
    ran = subprocess.run(["node", path], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return json.loads(ran.stdout)


# A function of pytrees, in each lane

CALLS = """
const { f, block, layouts } = program;
const results = calls.map((blocks) => {
  const given = blocks.map(([view, words], k) => {
    const made = block(words.length);
    made.u.set(words);
    return layouts.f.arguments[k] ? made : made[view][0];
  });
  const made = layouts.f.results.map(({ length }) => block(length));
  f(...given, ...made);
  return made.flatMap(({ u }) => [...u]);
});
console.log(JSON.stringify(results));
"""


VIEWS = {"float32": "f", "int32": "i", "bool": "i"}


def bits(leaf):
    """The words of an array [..., lanes], uint32 [words, lanes]."""
    array = np.asarray(words(leaf))
    array = array.astype(np.int32) if array.dtype == bool else array
    return array.view(np.uint32).reshape(-1, array.shape[-1])


def on_lanes(fn, args, tmp_path):
    """The results of a function, printed and run in Node, for arguments [..., lanes]."""
    text = to_javascript({"f": (fn, one_lane(args))})
    blocks = [
        (VIEWS.get(str(leaves[0].dtype), "u"), np.concatenate(list(map(bits, leaves))))
        for leaves in map(jax.tree.leaves, args)
    ]
    calls = [[[view, rows[:, lane].tolist()] for view, rows in blocks] for lane in range(LANES)]
    script = f"const program = {text};\nconst calls = {json.dumps(calls)};\n{CALLS}"
    rows = np.array(in_node(script, tmp_path), np.uint32).T
    shapes, tree = jax.tree.flatten(jax.eval_shape(lambda *args: expected(fn, args), *args))
    columns = np.split(rows, np.cumsum([shape.size // LANES for shape in shapes])[:-1])
    leaves = []
    for shape, column in zip(shapes, columns):
        column = column != 0 if shape.dtype == bool else column.view(shape.dtype)
        leaves.append(column.reshape(shape.shape))
    return jax.tree.unflatten(tree, leaves)


def expected(fn, args):
    return words(jax.vmap(fn, -1, -1)(*args))


# Without the types that JavaScript has none of.
CASES_IN_32_BITS = CASES | {
    "clz": (lax.clz, (integers(3),)),
    "convert_element_type": (
        lambda x, i, u, b: [
            value.astype(dtype)
            for value in (x, i, u, b)
            for dtype in (jnp.bool, jnp.int32, jnp.uint32, jnp.float32)
        ],
        (3e9 * floats(3, 4), integers(3), integers(3, dtype=np.uint32), bools(3)),
    ),
    "dot_general": (
        lambda x, y: [x @ y, jnp.einsum("ij,ik->ijk", x, x), x @ np.ones((3, 2), np.float32)],
        (normals(2, 3), normals(3, 4)),
    ),
    "random_bits": (lambda k: [jax.random.bits(k, (3,)), jax.random.bits(k)], (keys(),)),
    "scan": (
        lambda x: [
            lax.scan(lambda c, y: (c * y, c + y), x[0], x, reverse=reverse)
            for reverse in (False, True)
        ],
        (normals(3, 2),),
    ),
}
UNSUPPORTED = {"digamma", "erf", "erfc", "lgamma", "nextafter", "population_count"}
UNSUPPORTED |= {"reduce_precision"}
QUICK = {"clz", "convert_element_type", "rem", "round", "scan", "select_n", *SHIFTS}


@needs_node
@pytest.mark.parametrize(
    "name", [name if name in QUICK else slow(name) for name in CASES if name not in UNSUPPORTED]
)
def test_a_primitive_gives_the_numbers_of_jax(name, tmp_path):
    """Among them NaN, infinite and negative zeros, and shifts by more than a word's width."""
    fn, args = CASES_IN_32_BITS[name]
    assert_same(on_lanes(fn, args, tmp_path), compiled(partial(expected, fn))(args))


@pytest.mark.parametrize("name", sorted(UNSUPPORTED))
def test_a_primitive_that_javascript_lacks_is_named(name):
    fn, args = CASES[name]
    with pytest.raises(UnsupportedPrimitive, match=f"f uses the primitive '{name}'"):
        to_javascript({"f": (fn, one_lane(args))})


def test_a_type_that_javascript_lacks_is_named():
    with pytest.raises(UnsupportedPrimitive, match="double uses the type int16"):
        to_javascript({"double": (lambda x: 2 * x, (np.int16([1]),))})
