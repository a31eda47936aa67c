// The run of one seed: its state at a step, by the settings that held from step to step.

import { copyLeaves, floatsOf } from "./layout.js";

/** @typedef {import("./layout.js").Block} Block */
/**
 * From a step on, training goes by a program with these numbers.
 * @typedef {{step: number, program: string, numbers: Record<string, number[]>}} Change
 */

/** How many steps lie between two records of outputs and verdicts. */
export const RECORD_EVERY = 50;

/**
 * A block for each of the results of a program's function.
 * @param {any} program @param {string} name
 */
export const resultsOf = (program, name) =>
  program.layouts[name].results.map((/** @type {any} */ { length }) => program.block(length));

/**
 * A program's settings with these numbers.
 * @param {any} program @param {Record<string, number[]>} numbers by the names of the leaves
 */
export function makeSettings(program, numbers) {
  const [settings] = resultsOf(program, "settings");
  program.settings(settings);
  for (const leaf of program.layouts.settings.results[0].leaves) {
    const given = numbers[leaf.name];
    if (given) (leaf.type === "int32" ? settings.i : settings.f).set(given, leaf.offset);
  }
  return settings;
}

/**
 * A run at step 0.
 * @param {Record<string, any>} programs by name
 * @param {number} seed
 * @param {Change[]} changes in order, the first at step 0; later ones may be added
 */
export function createRun(programs, seed, changes) {
  let name = changes[0].program;
  let program = programs[name];
  let [state, key] = resultsOf(program, "init");
  program.init(seed, state, key);
  let [, losses] = resultsOf(program, "step");
  let [record] = resultsOf(program, "record");
  let step = 0;
  let applied = 0; // the change that holds
  /** @type {Block} */
  let settings = makeSettings(program, changes[0].numbers);

  /** Takes another program, whose state begins as this one's, as far as it has the same leaves. */
  function use(/** @type {string} */ other) {
    const [fromLayout, from] = [program.layouts.init.results[0], state];
    [name, program] = [other, programs[other]];
    [state] = resultsOf(program, "init");
    program.init(seed, state, null);
    copyLeaves(from, fromLayout, state, program.layouts.init.results[0]);
    [, losses] = resultsOf(program, "step");
    [record] = resultsOf(program, "record");
  }

  /** Applies the last change that holds from a step on, or from before it. */
  function applyChanges() {
    let last = 0;
    while (last + 1 < changes.length && changes[last + 1].step <= step) last += 1;
    if (changes[last].program !== name) use(changes[last].program);
    settings = makeSettings(program, changes[last].numbers);
    applied = last;
  }

  return {
    get step() { return step; },
    get program() { return program; },
    get state() { return state; },
    get settings() { return settings; },
    get key() { return key; },
    get losses() { return losses; },
    applyChanges,
    /** Takes one step. @param {Block | null} trace */
    advance(trace = null) {
      const next = changes[applied + 1];
      if (next && next.step <= step) applyChanges();
      program.step(state, key, settings, step, state, losses, trace);
      step += 1;
    },
    /** The record of the present state: its output, and whether it matches and is in support. */
    record() {
      program.record(state, settings, record);
      const layout = program.layouts.record.results[0];
      const flag = (/** @type {string} */ name) =>
        record.i[layout.leaves.find((/** @type {any} */ leaf) => leaf.name === name).offset] !== 0;
      return {
        output: floatsOf(record, layout, "output"),
        verdict: !flag("finite") ? 3 : flag("in_support") ? 2 : flag("matched") ? 1 : 0,
      };
    },
    /** What `restore` takes. */
    save: () => ({ step, program: name, words: state.u.slice() }),
    /** @param {{step: number, program: string, words: Uint32Array}} saved */
    restore(saved) {
      if (saved.program !== name) use(saved.program);
      state.u.set(saved.words);
      step = saved.step;
      applyChanges();
    },
  };
}
