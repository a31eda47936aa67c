// One GAN in full: both networks in each update of a step, its charts, and a slice of D's surface.

import { createChart } from "./chart.js";
import { BITS, DATA } from "./data.js";
import { add, element, show, showSteps } from "./dom.js";
import { createNetwork, nameOf, PARAMETERS } from "./network.js";
import { rangesOf } from "./setting.js";
import { createSurface } from "./surface.js";
import { VERDICTS } from "./tiles.js";
import { startWorker } from "./workers.js";

/** @typedef {import("./setting.js").Setting} Setting */

const sigmoid = (/** @type {number} */ logit) => 1 / (1 + Math.exp(-logit));
const DASHES = [undefined, [6, 3], [2, 2], [8, 3, 2, 3]];
const HINT = "Point at a line or a circle for its number.";
/** The picture after the last update of a step. */
export const AFTER = 99;
const PATIENCE = 60; // milliseconds of training before it says how far it is

/** @param {{scrub: (step: number) => void}} actions */
export function createOne({ scrub }) {
  /** @type {import("./workers.js").Started | null} */
  let worker = null;
  /** @type {string[]} */
  let programs = [];
  /** @type {any[]} */
  let changes = [];
  /** @type {Setting} */
  let setting = DATA.defaults;
  let seed = 0;
  let generation = 0; // of the run that is shown
  /** @type {number | null} The step that is wanted and not asked for yet. */
  let wanted = null;
  let asked = 0; // the last step that was wanted
  let isBusy = false;
  /** @type {any} */
  let view = null;
  /** @type {number} Which update of the step is shown; their number is the state after them. */
  let update = AFTER;
  /** @type {number[][]} */
  let history = [];
  let end = 0;

  const network = createNetwork((text) => (element("reading").textContent = text || HINT));
  const surface = createSurface(() => want(view?.step ?? 0));
  const objective = () => DATA.objectives[setting.objective];
  const beliefOf = (/** @type {number} */ logit) => (objective().belief ? sigmoid(logit) : logit);
  const choose = (/** @type {number} */ step) => scrub(step);
  const marks = () => (view ? [view.step] : []);
  const outputs = createChart(element("outputs"), {
    title: "What this G makes over training",
    lines: Array.from({ length: BITS }, (_, k) => ({ label: String(k + 1), color: "fake", dash: DASHES[k % 4] })),
    low: 0, high: 1, choose, marks,
    bands: () => [...new Set(setting.pattern)].map((bit) => DATA.ranges[Number(bit)]),
    across: () => [0.5],
  });
  const beliefs = createChart(element("beliefs"), {
    title: "D's beliefs over training",
    lines: [{ label: "a typical real sample", color: "real" }, { label: "what G makes", color: "fake" }],
    low: 0, high: 1, choose, marks, across: () => [0.5],
  });
  const losses = createChart(element("losses"), {
    title: "Losses over training",
    lines: [
      { label: "D on real", color: "real" }, { label: "D on fake", color: "fake" },
      { label: "G", color: "ink", dash: [5, 3] },
    ],
    low: 0, high: null, choose, marks, dotted: "D undecided",
    across: () => [...new Set(objective().losses)],
  });

  async function ask() {
    if (isBusy || wanted === null || !worker) return;
    isBusy = true;
    const [step, mine] = [wanted, generation];
    const since = history.at(-1)?.[0] ?? 0;
    const found = await worker.ask("view", { step, axes: surface.axes(), since, milliseconds: PATIENCE });
    isBusy = false;
    if (mine === generation) {
      history.push(...found.history);
      if (found.reached === undefined) {
        if (wanted === step) wanted = null;
        view = found;
        drawAll();
      } else element("one-step").textContent = `training this GAN again: step ${showSteps(found.reached)} of ${showSteps(step)}`;
    }
    ask();
  }

  function want(/** @type {number} */ step) {
    [asked, wanted] = [step, step];
    ask();
  }

  const titleOf = (/** @type {any} */ { player, samples }) => {
    if (player === "generator") return "G";
    return samples === "both" ? "D on both" : `D on ${samples}`;
  };

  function captionOf(/** @type {any} */ shown) {
    const say = objective().belief ? "belief" : "score";
    const moves = (/** @type {"real" | "fake"} */ sample) => {
      const [before, after] = [shown.before, shown.after].map(({ units }) => beliefOf(units[sample].at(-1)));
      const sign = after < before ? "" : "+";
      return `${show(before, 5)} → ${show(after, 5)} (${sign}${show(after - before, 5)})`;
    };
    const rests = (/** @type {string} */ other) => shown.isAlone ? ` ${other} rests.` : ` ${other} moves at once with it.`;
    if (shown.player === "generator") {
      return `G changes, so that D calls its sample real. D's ${say} in it: ${moves("fake")}.${rests("D")}`;
    }
    if (shown.samples === "real") return `D sees a real sample and is told “real”. Its ${say} in it: ${moves("real")}.${rests("G")}`;
    if (shown.samples === "fake") return `D sees what G makes and is told “fake”. Its ${say} in it: ${moves("fake")}.${rests("G")}`;
    return `D sees both samples. Its ${say} in the real one: ${moves("real")}; in what G makes: ${moves("fake")}.${rests("G")}`;
  }

  function drawUpdates() {
    const host = element("updates");
    const titles = [...view.updates.map((/** @type {any} */ one, /** @type {number} */ k) => `${k + 1} ${titleOf(one)}`), "After"];
    if (host.dataset.titles !== titles.join()) {
      host.dataset.titles = titles.join();
      host.textContent = "";
      titles.forEach((title, k) => {
        const button = add(host, "button", { type: "button" }, title);
        button.addEventListener("click", () => showUpdate(k));
      });
    }
    [...host.children].forEach((button, k) => button.setAttribute("aria-pressed", String(k === shownUpdate())));
  }
  const shownUpdate = () => Math.min(update, view.updates.length);

  function drawNetworks() {
    const k = shownUpdate();
    const shown = view.updates[k];
    const isAfter = !shown;
    const state = isAfter ? view.after : shown.before;
    const sees = isAfter || shown.player === "generator" ? "fake" : shown.samples;
    const change = isAfter ? null : shown.change;
    const largest = change ? Math.max(...change.map(Math.abs)) : 0;
    const factor = largest > 0 ? 10 ** Math.floor(Math.log10(4 / largest)) : 1;
    network.draw({
      parameters: state.parameters,
      units: { generator: state.units.generator, discriminator: sees === "real" ? state.units.real : state.units.fake },
      output: state.output,
      real: (shown ?? view).real,
      ranges: rangesOf(setting.pattern),
      sees: isAfter ? "both" : sees,
      moves: isAfter ? "" : shown.player,
      change,
      gradient: isAfter ? null : shown.gradient,
      factor,
      answer: objective().belief ? "belief" : "score",
      belief: beliefOf,
    });
    const letter = !isAfter && shown.player === "generator" ? "G" : "D";
    const note = isAfter
      ? `After the step: ${VERDICTS[view.verdict]}. Lines are weights; choose an update to see what it moves.`
      : `${captionOf(shown)} Lines of ${letter}: the change of each weight, × ${factor.toLocaleString("en")}.`;
    element("caption").textContent = note;
    drawTable(state, shown);
  }

  function drawTable(/** @type {any} */ state, /** @type {any} */ shown) {
    const details = element("numbers");
    if (!details.open) return;
    const body = element("numbers-body");
    body.textContent = "";
    for (const player of /** @type {("generator" | "discriminator")[]} */ (["generator", "discriminator"])) {
      PARAMETERS[player].forEach((place, k) => {
        const row = add(body, "tr");
        add(row, "th", { scope: "row" }, `${player === "generator" ? "G" : "D"}: ${nameOf(player, place)}`);
        add(row, "td", {}, show(state.parameters[player][k], 5));
        const moves = shown?.player === player;
        add(row, "td", {}, moves ? show(shown.gradient[k], 6) : "–");
        add(row, "td", {}, moves ? show(shown.change[k], 7) : "–");
      });
    }
  }

  function drawCharts() {
    const known = history.filter(([step]) => step <= end);
    const column = (/** @type {number} */ k) => known.map((row) => row[k]);
    const steps = column(0);
    outputs.set([steps, ...Array.from({ length: BITS }, (_, k) => column(1 + k))], Math.max(1, end));
    beliefs.set([steps, ...[1, 2].map((k) => column(BITS + k).map(sigmoid))], Math.max(1, end));
    losses.set([steps, ...[3, 4, 5].map((k) => column(BITS + k))], Math.max(1, end));
    const last = known.at(-1);
    if (last) {
      outputs.describe(`At step ${last[0]}: ${last.slice(1, BITS + 1).map((value) => show(value, 2)).join(", ")}.`);
      beliefs.describe(`At step ${last[0]}: ${show(sigmoid(last[BITS + 1]), 2)} for a real sample, ${show(sigmoid(last[BITS + 2]), 2)} for what G makes.`);
      losses.describe(`At step ${last[0]}: D on real ${show(last[BITS + 3])}, D on fake ${show(last[BITS + 4])}, G ${show(last[BITS + 5])}.`);
    }
  }

  function drawAll() {
    element("surface-title").textContent = objective().belief ? "D's belief" : "D's score";
    element("beliefs-title").textContent = objective().belief ? "D's beliefs" : "D's scores in 0–1";
    const scrubber = element("scrubber");
    scrubber.max = Math.max(1, end);
    scrubber.value = view.step;
    const isNow = view.step === end;
    const text = `step ${showSteps(view.step)}${isNow ? "" : ` of ${showSteps(end)}`}: ${VERDICTS[view.verdict]}`;
    scrubber.setAttribute("aria-valuetext", text);
    element("one-step").textContent = text;
    element("now").hidden = isNow;
    drawUpdates();
    drawNetworks();
    drawCharts();
    surface.draw(view, rangesOf(setting.pattern));
  }

  function showUpdate(/** @type {number} */ k) {
    update = k;
    if (view) [drawUpdates(), drawNetworks()];
  }

  element("numbers").addEventListener("toggle", () => view && drawNetworks());

  return {
    get step() { return asked; },
    get updates() { return view?.updates.length ?? 0; },
    get update() { return view ? shownUpdate() : 0; },
    get view() { return view; },
    showUpdate,
    want,
    /** Waits for what was asked for. */
    async settle() {
      while (isBusy || wanted !== null) await new Promise((resolve) => setTimeout(resolve, 10));
    },
    /** @param {number} step the last step of the run */
    setEnd: (step) => void (end = step),
    /**
     * Shows a run from its beginning: another seed, or other changes than before.
     * @param {number} newSeed @param {any[]} newChanges @param {Setting} newSetting
     */
    async begin(newSeed, newChanges, newSetting) {
      generation += 1;
      [seed, changes, setting] = [newSeed, [...newChanges], newSetting];
      [history, view] = [[], null];
      element("one-title").textContent = `GAN of seed ${seed}`;
      element("reading").textContent = HINT;
      const needed = [...new Set(changes.map(({ program }) => program))];
      const mine = generation;
      if (!worker || needed.some((name) => !programs.includes(name))) {
        const started = await startWorker(needed);
        if (mine !== generation) return started.end();
        worker?.end();
        [worker, programs, isBusy] = [started, needed, false];
      }
      worker.ask("lens", { seed, changes });
      ask();
    },
    /** Goes on under another setting. @param {any[]} newChanges @param {Setting} newSetting */
    async change(newChanges, newSetting) {
      const last = newChanges[newChanges.length - 1];
      if (worker && programs.includes(last.program) && last.step >= (view?.step ?? 0)) {
        [changes, setting] = [[...newChanges], newSetting];
        worker.ask("change", { changes });
      } else await this.begin(seed, newChanges, newSetting);
    },
  };
}
