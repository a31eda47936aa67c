// A setting: what is trained and how; as text for an address, as numbers for a program, as Python.

import { DATA } from "./data.js";

/**
 * @typedef {{
 *   pattern: string, objective: string, penalty: string, optimizer: string, update_order: string,
 *   d_lr: number, g_lr: number, penalty_weight: number, seed: number,
 * }} Setting
 */

/** @type {Setting} */
export const DEFAULTS = DATA.defaults;
const NAMES = /** @type {(keyof Setting)[]} */ (Object.keys(DEFAULTS));
export const MOST_SEED = 2 ** 32 - 64;

/** The name of a setting's program. @param {Setting} setting */
export const programOf = (setting) =>
  ["objective", "penalty", "optimizer", "update_order"]
    .map((name) => setting[/** @type {keyof Setting} */ (name)])
    .join(" ");

/** A setting that has a program: its own, or that with the first update order that suits it. @param {Setting} setting @returns {Setting} */
export function fit(setting) {
  const orders = [setting.update_order, ...DATA.choices.update_order];
  const fitting = orders.map((update_order) => ({ ...setting, update_order }));
  return fitting.find((one) => programOf(one) in DATA.programs) ?? DEFAULTS;
}

/** The real ranges of a pattern, [low, high] of each coordinate. @param {string} pattern */
export const rangesOf = (pattern) => [...pattern].map((bit) => DATA.ranges[Number(bit)]);

/** A setting's numbers, by the names of a program's settings. @param {Setting} setting */
export function numbersOf(setting) {
  const ranges = rangesOf(setting.pattern);
  return {
    "hyperparams.d_lr": [setting.d_lr],
    "hyperparams.g_lr": [setting.g_lr],
    "hyperparams.penalty_weight": [setting.penalty_weight],
    "pattern.low": ranges.map(([low]) => low),
    "pattern.high": ranges.map(([, high]) => high),
    "pattern.bits": [...setting.pattern].map(Number),
  };
}

/** Whether a value is one that a setting may have. @param {keyof Setting} name @param {any} value */
export function isAllowed(name, value) {
  if (name in DATA.choices) return DATA.choices[name].includes(value);
  if (name === "pattern") return value.length === DEFAULTS.pattern.length && /^[01]+$/.test(value);
  if (name === "seed") return Number.isInteger(value) && value >= 0 && value <= MOST_SEED;
  return Number.isFinite(value) && value >= 0 && value <= 100;
}

/** From a step on, training goes by a setting. @typedef {{step: number, setting: Setting}} Phase */

/** The names by which a setting differs from another. @param {Setting} setting @param {Setting} other */
const differences = (setting, other) => NAMES.filter((name) => setting[name] !== other[name]);

/**
 * A run as the hash of an address: what differs from the defaults, and then from phase to phase.
 * @param {Phase[]} phases the first at step 0
 * @param {Record<string, number>} others
 */
export function toHash([first, ...later], others) {
  const parts = differences(first.setting, DEFAULTS).map((name) => [name, first.setting[name]]);
  let before = first.setting;
  for (const { step, setting } of later) {
    const own = differences(setting, before);
    parts.push([`at${step}`, own.map((name) => `${name}:${setting[name]}`).join()]);
    before = setting;
  }
  const all = /** @type {any} */ ([...parts, ...Object.entries(others)]);
  return new URLSearchParams(all).toString().replace(/%3A/g, ":").replace(/%2C/g, ",");
}

/** A setting with another value, if it may have it. @param {Setting} setting @param {string} name @param {string} text @returns {Setting} */
function withValue(setting, name, text) {
  const key = /** @type {keyof Setting} */ (name);
  if (!NAMES.includes(key)) return setting;
  const value = typeof DEFAULTS[key] === "number" ? Number(text || NaN) : text;
  return isAllowed(key, value) ? { ...setting, [key]: value } : setting;
}

/**
 * The inverse; what is not allowed is left out.
 * @param {string} hash
 * @returns {{phases: Phase[], others: Record<string, number>}}
 */
export function fromHash(hash) {
  const given = [...new URLSearchParams(hash.replace(/^#/, ""))];
  const first = given.reduce((setting, [name, text]) => withValue(setting, name, text), DEFAULTS);
  const phases = [{ step: 0, setting: fit(first) }];
  /** @type {Record<string, number>} */
  const others = {};
  for (const [name, text] of given) {
    const step = Number(/^at(\d+)$/.exec(name)?.[1]);
    if (step > phases[phases.length - 1].step) {
      let { setting } = phases[phases.length - 1];
      for (const part of text.split(",")) {
        const [key, value] = part.split(":");
        if (key !== "seed") setting = withValue(setting, key, value ?? "");
      }
      phases.push({ step, setting: fit(setting) });
    } else if (/^\d+$/.test(text) && !(name in DEFAULTS)) others[name] = Number(text);
  }
  return { phases, others };
}

/** A setting as Python. @param {Setting} setting @param {string} indent */
function setupOf({ pattern, objective, penalty, optimizer, update_order, d_lr, g_lr, penalty_weight }, indent) {
  const weight = penalty === "none" ? "" : `, penalty_weight=${penalty_weight}`;
  const optimizers = optimizer.split(",").map((name) => `optax.${name}`).join(", ");
  const both = optimizers.includes(",") ? `(${optimizers})` : optimizers;
  return `gan.Setup(
${indent}    gan.pattern_game("${pattern}"),
${indent}    gan.Method("${objective}", "${update_order}", "${penalty}", optimizer=${both}${DATA.others.method}),
${indent}    gan.Hyperparams(d_lr=${d_lr}, g_lr=${g_lr}${weight}${DATA.others.hyperparams}),
${indent})`;
}

/** The Python that trains the same. @param {Phase[]} phases @param {number} step to which @param {number} seeds */
export function toPython(phases, step, seeds) {
  const { seed } = phases[0].setting;
  if (phases.length === 1) {
    return `import gan1010_jax as gan
import optax

setup = ${setupOf(phases[0].setting, "")}
seeds = range(${seed}, ${seed + seeds})
population = gan.train_population(seeds, setup, steps=${Math.max(50, step - (step % 50))}, record_every=50)
print(population.counts.matched, "match, and", population.counts.in_support, "are in support")
`;
  }
  const ends = [...phases.slice(1).map((phase) => phase.step), step];
  return `import gan1010_jax as gan
import jax
import numpy as np
import optax

phases = [  # each setup, and the step to which it trains
${phases.map(({ setting }, k) => `    (${setupOf(setting, "    ")}, ${ends[k]}),`).join("\n")}
]


@jax.jit
@jax.vmap
def train(key):
    init_key, data_key = jax.random.split(key)
    start, state = 0, gan.init(init_key, phases[0][0])
    for setup, end in phases:
        fresh = gan.init(init_key, setup)
        if jax.tree.structure(fresh) != jax.tree.structure(state):  # another optimiser begins anew
            state = gan.GANState(*(new._replace(params=old.params) for new, old in zip(fresh, state)))

        def step(t, state, setup=setup):
            return gan.train_step(state, gan.draw_batch(data_key, setup, t), setup)[0]

        start, state = end, jax.lax.fori_loop(start, end, step, state)
    return gan.generate(state, setup)


outputs = train(jax.vmap(jax.random.key)(np.arange(${seed}, ${seed + seeds}, dtype=np.uint32)))
game = phases[-1][0].game
matched, in_support = (jax.vmap(test)(outputs).sum() for test in (game.matched, game.in_support))
print(matched, "match, and", in_support, "are in support")
`;
}
