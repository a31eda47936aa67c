// One seed in full, at any step: it is trained again from the nearest state that was kept.

import { copyLeaves, floatsOf, networkOf } from "./layout.js";
import { createRun, RECORD_EVERY, resultsOf } from "./run.js";

/** @typedef {import("./run.js").Change} Change */
/** @typedef {{player: "generator" | "discriminator", samples: string, d_step: number}} Update */

const KEEP_EVERY = 1000;
/** Numbers of D's surface along each axis. */
const CELLS = 33;

/**
 * @param {Record<string, any>} programs by name
 * @param {number} seed
 * @param {Change[]} changes
 */
export function createLens(programs, seed, changes) {
  const log = [...changes];
  const run = createRun(programs, seed, log);
  /** @type {any[]} States of the steps 0, 1000, 2000, … */
  let kept = [run.save()];
  /** @type {number[][]} Of each record: the step, the output, D's logits and the losses. */
  let history = [];

  /** What a function of the program says of a state and a sample: its floats by name. @param {"judge" | "units"} name @param {any} state @param {ArrayLike<number>} x */
  function ask(name, state, x) {
    const { program } = run;
    const [result] = resultsOf(program, name);
    const sample = program.block(x.length);
    sample.f.set(x);
    program[name](state, sample, result);
    return (/** @type {string} */ part) => floatsOf(result, program.layouts[name].results[0], part);
  }

  /** D's logit, and its slope. @param {any} state @param {ArrayLike<number>} x */
  function judge(state, x) {
    const judgement = ask("judge", state, x);
    return { logit: judgement("logit")[0], slope: [...judgement("slope")] };
  }

  /** Both networks' activations. @param {any} state @param {ArrayLike<number>} x */
  function unitsOf(state, x) {
    const units = ask("units", state, x);
    return { generator: [...units("generator")], discriminator: [...units("discriminator")] };
  }

  const middle = () => {
    const layout = run.program.layouts.settings.results[0];
    const [low, high] = ["pattern.low", "pattern.high"].map((name) =>
      floatsOf(run.settings, layout, name),
    );
    return [...low].map((value, k) => (value + high[k]) / 2);
  };

  function keepRecord() {
    const { output } = run.record();
    const logits = [judge(run.state, middle()).logit, judge(run.state, output).logit];
    history.push([run.step, ...output, ...logits, ...run.losses.f]);
  }

  /** Takes a step, and keeps what is kept. @param {any} trace */
  function advance(trace = null) {
    run.advance(trace);
    if (run.step % RECORD_EVERY !== 0) return;
    if (run.step > (history.at(-1)?.[0] ?? 0)) keepRecord();
    if (run.step === kept.length * KEEP_EVERY) kept.push(run.save());
  }

  /** Goes to a step, or as far as the time allows. @param {number} step @param {number} end */
  function seek(step, end) {
    const nearest = kept[Math.min(kept.length - 1, Math.floor(step / KEEP_EVERY))];
    if (run.step > step || nearest.step > run.step) run.restore(nearest);
    while (run.step < step) {
      advance();
      if (run.step % RECORD_EVERY === 0 && performance.now() > end) return;
    }
  }

  const copy = (/** @type {any} */ state) => {
    const [made] = resultsOf(run.program, "init");
    made.u.set(state.u);
    return made;
  };

  /** The state before an update. @param {any} trace @param {number} k */
  function stateBefore(trace, k) {
    const { layouts } = run.program;
    const state = copy(run.state);
    copyLeaves(trace, layouts.step.results[2], state, layouts.init.results[0], (name) =>
      name
        .replace(`updates.${k}.discriminator.`, "discriminator.params.")
        .replace(`updates.${k}.generator.`, "generator.params."),
    );
    return state;
  }

  /**
   * Both networks in a state, and D on samples as it sees them.
   * @param {any} state @param {{real: number[], noise: number[]}} drawn
   */
  function describe(state, { real, noise }) {
    const [layout] = run.program.layouts.init.results;
    const { generator, discriminator } = unitsOf(state, real);
    const output = generator.slice(-real.length);
    return {
      parameters: {
        generator: networkOf(state, layout, "generator.params"),
        discriminator: networkOf(state, layout, "discriminator.params"),
      },
      output,
      units: {
        generator,
        real: discriminator,
        fake: unitsOf(state, output.map((value, k) => value + noise[k])).discriminator,
      },
    };
  }

  /** A step's real sample, and the noise on its fake one, in one of its D steps. @param {any} trace @param {number} d_step */
  function drawnOf(trace, d_step) {
    const layout = run.program.layouts.step.results[2];
    const units = middle().length;
    const rowOf = (/** @type {string} */ name) => [...floatsOf(trace, layout, name)].slice(d_step * units, (d_step + 1) * units);
    const isNoisy = layout.leaves.some((/** @type {any} */ { name }) => name === "batch.noise");
    return { real: rowOf("batch.real"), noise: isNoisy ? rowOf("batch.noise") : Array(units).fill(0) };
  }

  /** The updates of the step that has just been taken. @param {any} trace */
  function describeUpdates(trace) {
    const { program } = run;
    const [layout] = program.layouts.init.results;
    const traced = program.layouts.step.results[2];
    const starts = program.updates.map((/** @type {any} */ _, /** @type {number} */ k) =>
      stateBefore(trace, k),
    );
    return program.updates.map((/** @type {Update} */ { player, samples, d_step }, /** @type {number} */ k) => {
      const moved = copy(starts[k]);
      const next = program.at_once ? run.state : (starts[k + 1] ?? run.state);
      copyLeaves(next, layout, moved, layout, (name) => (name.startsWith(player) ? name : ""));
      const drawn = drawnOf(trace, d_step);
      const [before, after] = [describe(starts[k], drawn), describe(moved, drawn)];
      const [start, end] = [before.parameters[player], after.parameters[player]];
      return {
        player,
        samples,
        isAlone: !program.at_once,
        real: drawn.real,
        before,
        after,
        change: start.map((/** @type {number} */ value, /** @type {number} */ place) => end[place] - value),
        gradient: networkOf(trace, traced, `updates.${k}.gradient`),
      };
    });
  }

  /** D's logit over two coordinates from 0 to 1, the others as G makes them: rows from the top. */
  function sliceSurface(/** @type {number[]} */ output, /** @type {number[]} */ [across, up]) {
    const x = [...output];
    const cells = new Float32Array(CELLS * CELLS);
    for (let row = 0; row < CELLS; row++) {
      for (let column = 0; column < CELLS; column++) {
        x[across] = (column + 0.5) / CELLS;
        x[up] = 1 - (row + 0.5) / CELLS;
        cells[row * CELLS + column] = judge(run.state, x).logit;
      }
    }
    return cells;
  }

  return {
    /** @param {Change[]} changes all of them; the later ones may be new */
    change(changes) {
      log.splice(0, log.length, ...changes);
      run.applyChanges();
    },
    /**
     * All of a step: its updates, what they have led to, and a slice of D's surface; or, if the
     * time does not suffice, how far it came.
     * @param {{step: number, axes: number[], since: number, milliseconds: number}} asked
     *   `since`: the step of the last record that is known already
     */
    view({ step, axes, since, milliseconds }) {
      seek(Math.max(0, step - 1), performance.now() + milliseconds);
      const records = () => history.filter((record) => record[0] > since);
      if (run.step < step - 1) return { reached: run.step, history: records() };
      let drawn = { real: middle(), noise: middle().map(() => 0) };
      let updates = [];
      if (step > 0) {
        run.applyChanges();
        const [, , trace] = resultsOf(run.program, "step");
        advance(trace);
        drawn = drawnOf(trace, run.program.updates.at(-1).d_step);
        updates = describeUpdates(trace);
      }
      const losses = [...run.losses.f];
      run.applyChanges(); // one at this step says what matches now
      const after = describe(run.state, drawn);
      return {
        step,
        real: drawn.real,
        updates,
        after,
        losses,
        verdict: run.record().verdict,
        slope: judge(run.state, after.output).slope,
        surface: sliceSurface(after.output, axes),
        history: records(),
      };
    },
  };
}
