// Many seeds that train together, in a worker.

import { createRun, RECORD_EVERY } from "./run.js";

/** @typedef {import("./run.js").Change} Change */

/**
 * @param {Record<string, any>} programs by name
 * @param {number[]} seeds
 * @param {Change[]} changes
 * @param {any[]} [saved] the states to begin with
 */
export function createFleet(programs, seeds, changes, saved) {
  const log = [...changes];
  const runs = seeds.map((seed) => createRun(programs, seed, log));
  if (saved) runs.forEach((run, k) => run.restore(saved[k]));

  /** How many of the seeds have each verdict. @param {number[]} verdicts */
  const count = (verdicts) => [
    verdicts.filter((verdict) => verdict === 1 || verdict === 2).length,
    verdicts.filter((verdict) => verdict === 2).length,
  ];

  return {
    /** @param {Change[]} changes */
    change(changes) {
      log.splice(0, log.length, ...changes);
      for (const run of runs) run.applyChanges();
    },
    /**
     * Trains to a step, or until this time has passed at a record.
     * @param {number} to @param {number} milliseconds
     */
    advance(to, milliseconds) {
      const end = performance.now() + milliseconds;
      const curve = [];
      let step = runs[0].step;
      while (step < to && performance.now() < end) {
        const next = Math.min(to, step - (step % RECORD_EVERY) + RECORD_EVERY);
        for (const run of runs) while (run.step < next) run.advance();
        step = next;
        if (step % RECORD_EVERY === 0) {
          curve.push([step, ...count(runs.map((run) => run.record().verdict))]);
        }
      }
      const records = runs.map((run) => run.record());
      return {
        step,
        curve,
        outputs: records.map(({ output }) => [...output]),
        verdicts: records.map(({ verdict }) => verdict),
      };
    },
    save: () => runs.map((run) => run.save()),
  };
}
