// The laboratory: what the parts of the page tell one another, and time.

import { createChart } from "./chart.js";
import { createControls } from "./controls.js";
import { DATA, SEEDS } from "./data.js";
import { announce, element, showSteps } from "./dom.js";
import { createMap } from "./map.js";
import { AFTER, createOne } from "./one.js";
import { DEFAULTS, fromHash, toHash, toPython } from "./setting.js";
import { createTiles } from "./tiles.js";
import { createTour } from "./tour.js";
import { createTraining } from "./training.js";

/** @typedef {import("./setting.js").Setting} Setting */

const LONGEST_TURN = 40; // milliseconds of training between two pictures
const LOOK_EVERY = 80; // milliseconds between two pictures of the GAN that is shown in full
const UPDATE_SECONDS = 1.4; // in slow motion
const NORMAL = "500";
const STILL = 500; // milliseconds between two pictures for those who want little motion
const isStill = matchMedia("(prefers-reduced-motion: reduce)");

const training = createTraining();
/** @type {import("./setting.js").Phase[]} */
let phases = [];
let firstSeed = 0; // of the run
let runs = 0; // that have begun
let chosen = 0; // the place of the GAN that is shown in full
/** @type {symbol | null} The play that goes on. */
let playing = null;
/** @type {number[][]} */
let lastCurve = [[], [], []];
let goal = DATA.steps;
let isFramed = false;

const tiles = createTiles(choose);
const controls = createControls(change);
const map = DATA.map && createMap(DATA.map, (rates) => controls.change(rates));
const one = createOne({ scrub });
const curve = createChart(element("curve"), {
  title: "How many of the 64 have learned, over training",
  lines: [
    { label: "in support", color: "good", width: 2.5 },
    { label: "match", color: "good", dash: [5, 3] },
    { label: "last run, in support", color: "grey" },
  ],
  low: 0, high: SEEDS, choose: scrub,
  marks: () => training.changes.slice(1).map(({ step }) => step),
  marked: "setting changed",
});
const tour = createTour({ prepare, play: playTo });

// Pictures

/** Draws the present frame with the next picture of the browser, or twice a second. */
function refresh() {
  if (isFramed) return;
  isFramed = true;
  const wait = playing && isStill.matches ? STILL : 0;
  setTimeout(requestAnimationFrame, wait, () => {
    isFramed = false;
    const { frame } = training;
    tiles.draw(frame, firstSeed);
    drawCurve();
    drawCounts();
  });
}

function drawCurve() {
  const [steps, matched, inSupport] = training.curve;
  const last = lastCurve[0];
  const end = Math.max(goal, training.step);
  if (last.length > steps.length) {
    const pad = (/** @type {number[]} */ values) => [...values, ...Array(last.length - steps.length).fill(null)];
    curve.set([last, pad(inSupport), pad(matched), lastCurve[2]], end);
  } else {
    const pad = [...lastCurve[2], ...Array(steps.length - last.length).fill(null)];
    curve.set([steps, inSupport, matched, pad], end);
  }
}

const count = (/** @type {(verdict: number) => boolean} */ test) => training.frame.verdicts.filter(test).length;
const matchedNow = () => count((verdict) => verdict === 1 || verdict === 2);
const inSupportNow = () => count((verdict) => verdict === 2);

function drawCounts() {
  element("step").textContent = showSteps(training.step);
  element("matched").textContent = matchedNow();
  element("in-support").textContent = inSupportNow();
}

/** Says what stands still. */
function describe() {
  const text = `Step ${showSteps(training.step)}: of ${SEEDS}, ${matchedNow()} match and ${inSupportNow()} are in support.`;
  tiles.describe(training.frame, firstSeed);
  curve.describe(text);
  announce(text);
  showPython();
  writeHash();
}

// What is trained

/** @param {Setting} setting */
function showSetting(setting) {
  tiles.setPattern(setting.pattern);
  element("goal-of-all").textContent = setting.pattern;
  map?.mark(setting);
}

/** Begins a run at step 0; the last one's curve stays. @param {Setting} setting */
async function begin(setting) {
  pause();
  const mine = ++runs;
  if (training.curve[0].length > 1) lastCurve = training.curve;
  controls.set(setting);
  firstSeed = setting.seed;
  phases = [{ step: 0, setting }];
  one.showUpdate(AFTER);
  showSetting(setting);
  await training.begin(setting);
  if (mine !== runs) return;
  await showChosen();
  refresh();
  describe();
}

/** The controls have changed. @param {Setting} setting */
async function change(setting) {
  if (setting.seed !== firstSeed) return begin(setting);
  showSetting(setting);
  const mine = runs;
  await training.change(setting);
  if (mine !== runs) return; // another run has begun since
  const { step } = training.changes[training.changes.length - 1];
  phases = [...phases.filter((phase) => phase.step < step), { step, setting }];
  await one.change(training.changes, setting);
  one.setEnd(training.step);
  one.want(Math.min(one.step, training.step));
  refresh();
  if (!playing) describe();
}

/** @param {number} place */
async function choose(place) {
  chosen = place;
  await showChosen();
  showTab("one");
  writeHash();
}

async function showChosen() {
  tiles.mark(chosen);
  one.setEnd(training.step);
  await one.begin(firstSeed + chosen, training.changes, controls.setting);
  one.want(training.step);
}

/** @param {number} step of the GAN that is shown in full */
function scrub(step) {
  pause();
  one.want(Math.min(step, training.step));
}

// Time

/** @param {string} [pace] */
function setPace(pace) {
  if (pace !== undefined) element("pace").value = pace;
}

/**
 * Trains on until the goal; true if it was reached.
 * @returns {Promise<boolean>}
 */
async function play() {
  if (training.step >= goal) setGoal(nextGoal(training.step));
  const mine = Symbol("play");
  playing = mine;
  element("play").textContent = "Pause";
  document.body.classList.add("playing");
  one.showUpdate(AFTER);
  let [before, owed, shownUpdate] = [performance.now(), 1, 0];
  let looked = 0;
  while (playing === mine && training.step < goal) {
    const isSlow = element("pace").value === "slow";
    const pace = isSlow ? 1 / UPDATE_SECONDS : Number(element("pace").value);
    const now = performance.now();
    owed = Math.min(owed + ((now - before) / 1000) * pace, Math.max(1, pace));
    before = now;
    if (isSlow) {
      if (owed >= 1) {
        owed -= 1;
        // The updates of a step one after the other, and then where they have led.
        if (shownUpdate === 0 || shownUpdate > one.updates) {
          await training.advance(training.step + 1, Infinity);
          shownUpdate = 0;
          one.showUpdate(0);
          one.setEnd(training.step);
          one.want(training.step);
          refresh();
        } else one.showUpdate(shownUpdate);
        shownUpdate += 1;
      }
      await nextFrame();
      continue;
    }
    const steps = pace === 0 ? Infinity : Math.floor(owed);
    if (steps >= 1) {
      await training.advance(Math.min(goal, training.step + steps), LONGEST_TURN);
      if (pace) owed -= steps;
      if (playing !== mine) break;
      one.setEnd(training.step);
      if (now - looked > (isStill.matches ? STILL : LOOK_EVERY)) {
        one.want(training.step);
        looked = now;
      }
      refresh();
    }
    if (pace) await nextFrame();
  }
  const isReached = playing === mine;
  if (isReached) pause();
  return isReached;
}

/** The next picture, or a moment if the page is out of sight. */
const nextFrame = () =>
  new Promise((resolve) => {
    if (document.hidden) setTimeout(resolve, 100);
    else requestAnimationFrame(resolve);
  });

function pause() {
  if (!playing) return;
  playing = null;
  element("play").textContent = "Play";
  document.body.classList.remove("playing");
  one.want(training.step);
  describe();
}

/**
 * Plays to a step at a pace, with a tab in sight; the outcome, or null if it was stopped.
 * @param {number} steps @param {string} pace @param {string} tab
 */
async function playTo(steps, pace, tab) {
  setGoal(steps);
  setPace(pace);
  showTab(tab);
  if (!(await play())) return null;
  await one.settle();
  if (document.body.dataset.tab === tab) setTimeout(() => showTab("guide"), 1500);
  const [, , inSupport] = training.curve;
  const after = inSupport.slice(inSupport.indexOf(Math.max(...inSupport))); // once most were
  return { matched: matchedNow(), inSupport: inSupportNow(), view: one.view, lowest: Math.min(...after), hasLast: lastCurve[0].length > 1 };
}

/** @param {Setting} setting */
async function prepare(setting) {
  chosen = 0;
  await begin(setting);
  setPace(NORMAL);
}

/** The first goal beyond a step. @param {number} step */
const nextGoal = (step) =>
  [...element("goal").options].map(({ value }) => Number(value)).find((value) => value > step) ?? DATA.longest;

/** @param {number} steps */
function setGoal(steps) {
  goal = steps;
  element("goal").value = String(steps);
  refresh();
}

async function stepOnce() {
  pause();
  if (one.step < training.step) return one.want(one.step + 1);
  if (training.step >= DATA.longest) return;
  await training.advance(training.step + 1, Infinity);
  one.setEnd(training.step);
  one.want(training.step);
  one.showUpdate(AFTER);
  refresh();
  describe();
}

/** The next update of the step that is shown, and after the last one the next step's first. */
async function nextUpdate() {
  pause();
  if (one.step === 0 || one.update >= one.updates) {
    if (one.step >= training.step) await training.advance(training.step + 1, Infinity);
    one.setEnd(training.step);
    one.showUpdate(0);
    one.want(one.step + 1);
    refresh();
    return;
  }
  one.showUpdate(one.update + 1);
}

// The address

function writeHash() {
  /** @type {Record<string, number>} */
  const others = {};
  if (chosen) others.gan = chosen;
  if (training.step) others.step = training.step;
  const hash = toHash(phases, others);
  history.replaceState(null, "", `#${hash}`);
}

/** Does the run of the address, as far as its step. */
async function readHash() {
  const { phases: wanted, others } = fromHash(location.hash);
  chosen = Math.min(SEEDS - 1, others.gan ?? 0);
  await begin(wanted[0].setting);
  for (const { step, setting } of wanted.slice(1)) {
    await trainTo(Math.min(DATA.longest, step));
    controls.set(setting);
    await change(setting);
  }
  if (others.step) await trainTo(Math.min(DATA.longest, others.step));
  describe();
}

/** @param {number} step */
async function trainTo(step) {
  if (step > goal) setGoal(nextGoal(step - 1));
  while (training.step < step) {
    element("one-step").textContent = `training to step ${showSteps(step)} …`;
    await training.advance(step, LONGEST_TURN);
    refresh();
  }
  one.setEnd(step);
  one.want(step);
}

// Files

/** @param {string} name @param {string} text */
function download(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

function exportCurve() {
  const [steps, matched, inSupport] = training.curve;
  const rows = steps.map((step, k) => [step, matched[k], inSupport[k], SEEDS].join());
  download("curve.csv", `step,matched,in_support,seeds\n${rows.join("\n")}\n`);
}

function exportOutputs() {
  const { outputs, verdicts, step } = training.frame;
  const names = outputs[0].map((/** @type {any} */ _, /** @type {number} */ k) => `output_${k}`);
  const rows = outputs.map((/** @type {number[]} */ output, /** @type {number} */ place) => {
    const verdict = verdicts[place];
    return [firstSeed + place, step, verdict === 1 || verdict === 2, verdict === 2, verdict === 3, ...output].join();
  });
  download("outputs.csv", `seed,step,matched,in_support,diverged,${names.join()}\n${rows.join("\n")}\n`);
}

function showPython() {
  element("python").textContent = toPython(phases, training.step, SEEDS);
}

// Buttons and keys

/** On a small screen, one part of the page is in sight. @param {string} tab */
function showTab(tab) {
  document.body.dataset.tab = tab;
  for (const button of element("tabs").children) {
    button.setAttribute("aria-pressed", String(button.dataset.tab === document.body.dataset.tab));
  }
}

const toggle = () => (playing ? pause() : play());
const renew = () => begin(controls.setting);
/** @type {Record<string, () => any>} */
const KEYS = { " ": toggle, s: stepOnce, u: nextUpdate, n: renew };

for (const [id, action] of Object.entries({
  play: toggle, "step-once": stepOnce, "next-update": nextUpdate, renew,
  now: () => one.want(training.step), "csv-curve": exportCurve, "csv-outputs": exportOutputs,
})) element(id).addEventListener("click", action);
element("goal").addEventListener("change", () => setGoal(Number(element("goal").value)));
element("scrubber").addEventListener("input", () => scrub(Number(element("scrubber").value)));
element("code").addEventListener("toggle", showPython);
element("copy").addEventListener("click", async () => {
  showPython();
  await navigator.clipboard.writeText(element("python").textContent);
  announce("copied");
  element("copy").textContent = "Copied";
  setTimeout(() => (element("copy").textContent = "Copy the Python"), 1500);
});
element("reset").addEventListener("click", () => begin({ ...DEFAULTS, seed: controls.setting.seed }));
element("to-words").addEventListener("click", () => {
  showTab("guide");
  element("words-title").scrollIntoView();
  element("words-title").focus();
});
for (const button of element("tabs").children) {
  button.addEventListener("click", () => showTab(button.dataset.tab));
}
addEventListener("keydown", (event) => {
  const target = /** @type {Element} */ (event.target);
  const own = target.closest("select, input, summary, button, [role=application]");
  const taken = own && (own.matches("select, input:not([type=range])") || event.key === " ");
  if (!(event.key in KEYS) || taken || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  event.preventDefault();
  KEYS[event.key]();
});
addEventListener("hashchange", readHash);

showTab(DATA.watch ? "one" : DATA.tour ? "guide" : "many");
document.body.classList.toggle("watch", DATA.watch);
element("tour").hidden = !DATA.tour;
element("reset").textContent = DATA.watch ? "Back to the first setting" : "Back to the reference";
element("map-panel").hidden = !DATA.map;
const goals = [...element("goal").options].map(({ value }) => Number(value));
if (!goals.includes(goal)) {
  element("goal").add(new Option(showSteps(goal), String(goal)), goals.findIndex((other) => other > goal));
}
element("goal").value = String(goal);
tour.go(0, true);
readHash();
