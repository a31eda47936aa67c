"""Functions as JavaScript: in Node, each primitive and each method gives JAX's numbers."""

import dataclasses
import json
import math
import re
import shutil
import subprocess
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from test_engines import METHODS, SORTING, slow
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
from gan1010_jax.gan import seed_key
from gan1010_jax.names import PLAYERS, UPDATE_ORDERS

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


def test_what_is_unknown_in_a_setup_is_named():
    with pytest.raises(UnsupportedPrimitive, match="'sort'"):
        browser_program(SORTING)
    with enable_x64(True), pytest.raises(UnsupportedPrimitive, match="init uses the type uint64"):
        browser_program()


@needs_node
def test_a_product_that_one_sum_reads_is_not_rounded(tmp_path):
    """But one that others read is: 1 + 2⁻²⁴, the half of a rounding, has an even neighbour in 1."""

    def products(x):
        read_twice = x * x
        return [x * x - (1 + 2 * np.float32(2**-12)), read_twice - x, read_twice]

    x = jnp.full((1, LANES), 1 + 2**-12, np.float32)
    contracted, rounded, _ = on_lanes(
        lambda x: products(x)[:1] + products(x + 0)[1:], (x,), tmp_path
    )
    np.testing.assert_array_equal(contracted, 2.0**-24)
    np.testing.assert_array_equal(rounded, 2.0**-12)


@needs_node
def test_a_zero_keeps_its_sign(tmp_path):
    x = jnp.linspace(-0.5, 0.5, LANES)[None] * np.float32(0.9)

    def zeros(x):
        return [lax.round(x, way) for way in lax.RoundingMethod] + [jnp.minimum(0.0, -x * 0)]

    for actual, expected in zip(on_lanes(zeros, (x,), tmp_path), jax.jit(zeros)(x)):
        np.testing.assert_array_equal(np.signbit(actual), np.signbit(expected))


@needs_node
def test_a_block_may_be_an_argument_and_a_result(tmp_path):
    text = to_javascript({"swap": (lambda x: x[::-1] * 2, (np.float32([0, 0]),))})
    script = """
    const x = program.block(2);
    x.f.set([3, 5]);
    program.swap(x, x);
    console.log(JSON.stringify([...x.f]));
    """
    assert in_node(f"const program = {text};{script}", tmp_path) == [10, 6]


# A setup's program

RUN = """
const { block, layouts } = program;
const made = (name) => layouts[name].results.map(({ length }) => block(length));
const words = (blocks) => blocks.map(({ u }) => [...u]);
const [settings] = made("settings");
program.settings(settings);
settings.u.set(change);
const runs = seeds.map((seed) => {
  const [state, key] = made("init");
  program.init(seed, state, key);
  const [, losses, trace] = made("step"), [record] = made("record");
  const begun = words([state, key]);
  for (let t = 0; t < steps; t++) program.step(state, key, settings, t, state, losses, null);
  program.record(state, settings, record);
  const ended = words([state, losses, record]);
  program.step(state, key, settings, steps, null, null, trace);
  return [...begun, ...ended, ...words([trace])];
});
const { init, step, record } = layouts;
const blocks = { begun: init.results[0], key: init.results[1], state: init.results[0] };
Object.assign(blocks, { losses: step.results[1], record: record.results[0] });
Object.assign(blocks, { trace: step.results[2] });
console.log(JSON.stringify({ runs, blocks }));
"""


def run(setup, seeds, steps, tmp_path, change=()):
    """What a setup's program makes of seeds: by each block's name, its leaves [seeds, ...].

    `begun` and `key` are before the steps, `state`, `losses` and `record` after them, and `trace`
    is of the step that would be next. The first of the settings are changed to other words.
    """
    given = {"seeds": [*seeds], "steps": steps, "change": [*change]}
    constants = [f"const {name} = {json.dumps(value)};" for name, value in given.items()]
    program = f"const program = {browser_program(setup)};"
    printed = in_node("\n".join([program, *constants, RUN]), tmp_path)
    found = {}
    for (name, layout), rows in zip(printed["blocks"].items(), zip(*printed["runs"])):
        rows, found[name] = np.array(rows, np.uint32), {}
        for leaf in layout["leaves"]:
            column = rows[:, leaf["offset"] :][:, : math.prod(leaf["shape"])]
            kind = np.dtype(leaf["type"])
            column = column != 0 if kind == np.bool_ else column.view(kind)
            found[name][leaf["name"]] = column.reshape(-1, *leaf["shape"])
    return found


def by_name(tree):
    """The leaves of a pytree, by their names in layouts."""
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    keystr = partial(jax.tree_util.keystr, simple=True, separator=".")
    return {keystr(path): np.asarray(leaf) for path, leaf in paths}


def momentum(learning_rate):
    return optax.sgd(learning_rate, momentum=0.9)


OPTIMIZERS = [
    (gan.Method(optimizer=optax.adam), {}),
    (gan.Method(optimizer=(optax.rmsprop, momentum)), {}),
]
SETUPS = [
    gan.Setup(game, method, gan.Hyperparams(0.1, 0.05, **numbers))
    for game in (gan.dirac_game(), gan.pattern_game("1"), gan.pattern_game("0110"))
    for method, numbers in METHODS + OPTIMIZERS
]


@needs_node
@pytest.mark.parametrize(
    "setup", [SETUPS[3], SETUPS[7], *map(slow, SETUPS[:3]), *map(slow, SETUPS[4:])]
)
def test_every_method_trains_as_in_jax(setup, tmp_path):
    """From the same bits, with the same draws; within 1e-5 after 60 steps."""
    steps, seeds = 60, (0, 2**31 + 5)
    found = run(setup, seeds, steps, tmp_path)
    for row, seed in enumerate(seeds):
        key = seed_key(seed)
        init_key, data_key = jax.random.split(key)
        np.testing.assert_array_equal(found["key"][""][row], jax.random.key_data(data_key))
        state, history = gan.train(key, setup, steps=steps)
        batch = gan.draw_batch(data_key, setup, steps)
        last = jax.tree.map(lambda leaf: leaf[-1], history._replace(step=None, losses=None))
        expected = {
            "begun": gan.init(init_key, setup),
            "state": state,
            "losses": jax.tree.map(lambda leaf: leaf[-1], history.losses),
            "record": last,
            "trace": {"batch": batch},
        }
        for name, tree in expected.items():
            tolerance = 0 if name == "begun" else 1e-5
            for leaf, value in by_name(tree).items():
                np.testing.assert_allclose(
                    found[name][leaf][row], value, rtol=0, atol=tolerance, err_msg=f"{name} {leaf}"
                )


@needs_node
def test_10_000_steps_end_as_in_the_population(population, tmp_path):
    """To the bit on an AMD EPYC; here within 1e-6, and with the same verdicts."""
    found = run(gan.Setup(), range(8), 10_000, tmp_path)
    outputs = np.stack([population.columns[f"output_{unit}"][:8] for unit in range(4)], axis=1)
    np.testing.assert_allclose(found["record"]["output"], outputs, rtol=0, atol=1e-6)
    for name in ("matched", "in_support"):
        np.testing.assert_array_equal(found["record"][name], population.columns[name][:8])
    for loss, column in {"d_real": "d_loss_real", "d_fake": "d_loss_fake", "g": "g_loss"}.items():
        expected = population.columns[column][:8]
        np.testing.assert_allclose(found["losses"][loss], expected, rtol=0, atol=1e-6)


@needs_node
def test_draws_are_those_of_jax_to_the_bit(tmp_path):
    for game in (gan.pattern_game("1010"), gan.pattern_game("10110")):
        setup = gan.Setup(game)
        for step in (0, 9):
            drawn = run(setup, range(4), step, tmp_path)["trace"]["batch.real"]
            for seed in range(4):
                _, data_key = jax.random.split(jax.random.key(seed))
                expected = gan.draw_batch(data_key, setup, step).real
                np.testing.assert_array_equal(drawn[seed], expected)


@needs_node
def test_a_program_is_for_every_pattern_range_and_rate(tmp_path):
    """Without another one: only the settings are others."""
    low, high, rates, bits = (0.0, 0.9, 0.7, 0.1), (0.1, 1.0, 0.9, 0.3), (0.5, 0.25), (0, 1, 1, 0)
    words = [*np.float32([*rates, *low, *high]).view(np.uint32).tolist(), *bits]
    found = run(gan.Setup(), range(4), 150, tmp_path, words)
    game = dataclasses.replace(
        gan.pattern_game("0110"), real=gan.Uniform(low, high), in_support=gan.Within(low, high)
    )
    setup = gan.Setup(game, hyperparams=gan.Hyperparams(*rates))
    _, history = jax.vmap(partial(gan.train, setup=setup, steps=150))(
        jax.vmap(seed_key)(jnp.arange(4))
    )
    np.testing.assert_allclose(found["record"]["output"], history.output[:, -1], rtol=0, atol=1e-5)
    for name in ("matched", "in_support"):
        np.testing.assert_array_equal(found["record"][name], getattr(history, name)[:, -1])
    assert found["record"]["matched"].any()


@needs_node
@pytest.mark.parametrize("update_order", UPDATE_ORDERS)
def test_a_trace_has_each_update_and_its_gradient(update_order, tmp_path):
    setup = gan.Setup(method=gan.Method(update_order=update_order))
    found = run(setup, [3], 0, tmp_path)
    init_key, data_key = jax.random.split(jax.random.key(3))
    state, batch = gan.init(init_key, setup), gan.draw_batch(data_key, setup, 0)
    _, info = gan.train_step(state, batch, setup)
    for k, (start, update) in enumerate(zip(info.updates, setup.method.updates)):
        player, samples, _ = update
        if player == "discriminator":
            moved = gan.discriminator_update(start, batch, setup, samples=samples)[0]
        else:
            moved = gan.generator_update(start, batch, setup)[0]
        before, after = getattr(start, player).params, getattr(moved, player).params
        change = by_name(jax.tree.map(lambda x, y: (x - y) / 0.01, before, after))
        for name in change:
            gradient = found["trace"][f"updates.{k}.gradient.{name}"][0]
            np.testing.assert_allclose(gradient, change[name], rtol=0, atol=1e-5)
        for name, value in by_name({p: getattr(start, p).params for p in PLAYERS}).items():
            np.testing.assert_allclose(found["trace"][f"updates.{k}.{name}"][0], value, atol=1e-7)


@needs_node
def test_what_diverges_is_said_to(tmp_path):
    setup = gan.Setup(method=gan.Method("lsgan"), hyperparams=gan.Hyperparams(1e6, 0.01))
    record = run(setup, range(3), 50, tmp_path)["record"]
    assert not any(record[name].any() for name in ("finite", "matched", "in_support"))


@needs_node
def test_d_judges_a_sample_and_the_slope_is_its_gradient(tmp_path):
    setup, sample = gan.Setup(), jnp.array([0.9, 0.1, 0.3, 0.2])
    script = """
    const [state, key] = program.layouts.init.results.map(({ length }) => program.block(length));
    const [sample, judged] = [program.block(4), program.block(6)];
    program.init(5, state, key);
    sample.f.set([0.9, 0.1, 0.3, 0.2]);
    program.judge(state, sample, judged);
    console.log(JSON.stringify([...judged.f]));
    """
    judged = in_node(f"const program = {browser_program(setup)};{script}", tmp_path)
    params = gan.init(jax.random.split(jax.random.key(5))[0]).discriminator.params
    logit = partial(setup.game.discriminator.apply, {"params": params})
    expected = [logit(sample), jax.nn.sigmoid(logit(sample)), *jax.grad(logit)(sample)]
    np.testing.assert_allclose(judged, expected, atol=1e-6)


@pytest.mark.parametrize("method", [gan.Method(), gan.Method(optimizer=optax.adam)])
def test_a_program_is_small_and_can_stand_in_a_page(method):
    text = browser_program(gan.Setup(method=method))
    assert len(text) < 80_000 and text.isascii()
    assert not re.search(r"</|<!--|\beval\b|\bFunction\b", text)
