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
from test_scalarize import CASES, LANES, assert_same, compiled, floats, integers, one_lane, words

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


def bits(leaf):
    """The words of an array [..., lanes], uint32 [words, lanes]."""
    array = np.asarray(words(leaf))
    array = array.astype(np.int32) if array.dtype == bool else array
    return array.view(np.uint32).reshape(-1, array.shape[-1])


def on_lanes(fn, args, tmp_path):
    """The results of a function, printed and run in Node, for arguments [..., lanes]."""
    text = to_javascript({"f": (fn, one_lane(args))})
    views = [{"f": "f", "u": "u"}.get(arg.dtype.kind, "i") for arg in args]
    calls = [
        [[view, bits(arg)[:, lane].tolist()] for view, arg in zip(views, args)]
        for lane in range(LANES)
    ]
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


NARROW = "convert_element_type"
UNSUPPORTED = set()


@needs_node
@pytest.mark.parametrize("name", CASES)
def test_a_primitive_gives_the_numbers_of_jax(name, tmp_path):
    fn, args = CASES[name]
    try:
        actual = on_lanes(fn, args, tmp_path)
    except UnsupportedPrimitive as error:
        pytest.xfail(str(error))
    assert_same(actual, compiled(partial(expected, fn))(args))
