// The 64 GANs: their seeds shared out among workers, and the curve of how many have learned.

import { SEEDS } from "./data.js";
import { numbersOf, programOf } from "./setting.js";
import { startWorker } from "./workers.js";

/** @typedef {import("./setting.js").Setting} Setting */
/** @typedef {import("./run.js").Change} Change */

const WORKERS = Math.max(1, Math.min(8, navigator.hardwareConcurrency || 2));

/** @param {Setting} setting @param {number} step @returns {Change} */
const changeAt = (setting, step) => ({ step, program: programOf(setting), numbers: numbersOf(setting) });

export function createTraining() {
  /** @type {import("./workers.js").Started[]} */
  let workers = [];
  /** @type {Change[]} */
  let changes = [];
  /** @type {string[]} The programs that the workers have. */
  let programs = [];
  const shares = Array.from({ length: WORKERS }, (_, worker) =>
    Array.from({ length: SEEDS }, (_, k) => k).filter((k) => k % WORKERS === worker),
  );
  let firstSeed = 0;
  /** @type {any} */
  let frame = null;
  /** @type {number[][]} steps, how many match, how many are in support */
  let curve = [[], [], []];
  let queue = Promise.resolve();

  /** Nothing overlaps. @template T @param {() => Promise<T>} action @returns {Promise<T>} */
  const inTurn = (action) => {
    const result = queue.then(action);
    queue = /** @type {any} */ (result.catch(() => {}));
    return result;
  };

  /** @param {any[][]} [saved] of each worker */
  async function start(saved) {
    for (const worker of workers) worker.end();
    const before = saved ? programs : [];
    programs = [...new Set([...before, ...changes.map(({ program }) => program)])];
    workers = await Promise.all(shares.map(() => startWorker(programs)));
    await Promise.all(
      workers.map((worker, k) =>
        worker.ask("fleet", {
          seeds: shares[k].map((place) => firstSeed + place),
          changes,
          saved: saved?.[k],
        }),
      ),
    );
  }

  /** @param {number} to @param {number} milliseconds */
  async function advance(to, milliseconds) {
    const parts = await Promise.all(workers.map((worker) => worker.ask("advance", { to, milliseconds })));
    // Each has gone as far as its time allowed; the others catch up with the furthest.
    const furthest = Math.max(...parts.map(({ step }) => step));
    const late = await Promise.all(
      parts.map((part, k) =>
        part.step < furthest ? workers[k].ask("advance", { to: furthest, milliseconds: Infinity }) : null,
      ),
    );
    const curves = parts.map((part, k) => [...part.curve, ...(late[k]?.curve ?? [])]);
    for (const [row, [step]] of curves[0].entries()) {
      curve[0].push(step);
      for (const count of [1, 2]) {
        curve[count].push(curves.reduce((sum, rows) => sum + rows[row][count], 0));
      }
    }
    /** @type {number[][]} */
    const outputs = [];
    /** @type {number[]} */
    const verdicts = [];
    shares.forEach((places, k) => {
      const part = late[k] ?? parts[k];
      places.forEach((place, index) => {
        outputs[place] = part.outputs[index];
        verdicts[place] = part.verdicts[index];
      });
    });
    frame = { step: furthest, outputs, verdicts };
    return frame;
  }

  return {
    get frame() { return frame; },
    get step() { return frame?.step ?? 0; },
    get curve() { return curve; },
    get changes() { return changes; },
    /** Begins a run at step 0. @param {Setting} setting */
    begin: (setting) =>
      inTurn(async () => {
        changes = [changeAt(setting, 0)];
        firstSeed = setting.seed;
        curve = [[], [], []];
        await start();
        return advance(0, 0);
      }),
    /** Goes on under another setting. @param {Setting} setting */
    change: (setting) =>
      inTurn(async () => {
        const { step } = frame;
        changes = [...changes.filter((change) => change.step < step), changeAt(setting, step)];
        if (programs.includes(programOf(setting))) {
          await Promise.all(workers.map((worker) => worker.ask("change", { changes })));
        } else {
          const saved = await Promise.all(workers.map((worker) => worker.ask("save")));
          await start(step > 0 ? saved : undefined);
        }
        return advance(step, 0);
      }),
    /** Trains to a step, or as far as the time allows. @param {number} to @param {number} milliseconds */
    advance: (to, milliseconds) => inTurn(() => advance(to, milliseconds)),
  };
}
