// The tour: five stops, each with a question before its answer.

import { BITS, SEEDS } from "./data.js";
import { add, element, show, showSteps } from "./dom.js";
import { DEFAULTS } from "./setting.js";

/** @typedef {import("./setting.js").Setting} Setting */
/** What a stop sees when its run has ended. @typedef {{matched: number, inSupport: number, view: any, lowest: number, hasLast: boolean}} Outcome */
/**
 * @typedef {{
 *   name: string, text: string, question: string, choices: string[], right: number,
 *   setting: Partial<Setting>, before?: Partial<Setting>, steps: number, pace: string, tab?: string, answer: (outcome: Outcome) => string,
 * }} Stop
 */

const logistic = (/** @type {number} */ logit) => show(1 / (1 + Math.exp(-logit)), 2);

/** @type {Stop[]} */
const STOPS = [
  {
    name: "Learn",
    text: `A GAN is two small networks. The generator G makes ${BITS === 4 ? "four" : BITS} numbers; the discriminator D says how real they look. Real samples look like ${DEFAULTS.pattern}: a number is high (0.8 to 1) for a 1, and low (0 to 0.2) for a 0. G never sees one. There are 64 such GANs on this page, each with its own random weights, all trained in the same way.`,
    question: "After 10,000 steps of training, in how many will G's numbers be on the right sides of 0.5?",
    choices: ["hardly any", "about half", "nearly all"],
    right: 2, setting: {}, steps: 10_000, pace: "2000",
    answer: ({ matched, inSupport }) => `${matched} of ${SEEDS} match: every number is on its side of 0.5. ${inSupport} are even in support: every number lies where real samples do. All that G ever got was D's opinion of its own samples.`,
  },
  {
    name: "Beat D",
    text: "Look at one of them, that of seed 17. D learns to answer 1 for real samples and 0 for what G makes; G learns to make D answer 1. The picture shows both, with every weight.",
    question: "Once G makes samples like the real ones, what will D answer, seeing a real one?",
    choices: ["1: it is real", "0.5: it cannot tell", "0: it is fake"],
    right: 1, setting: { seed: 17 }, steps: 20_000, pace: "2000", tab: "one",
    answer: ({ view }) => `D answers ${logistic(view.after.units.real.at(-1))} for the real sample and ${logistic(view.after.units.fake.at(-1))} for G's: it can hardly tell them apart. A D that is undecided has, for the squared error, losses of 0.25: the dotted line in “Losses”. G has won because D has nothing left to say.`,
  },
  {
    name: "Forget",
    text: "After 10,000 steps nearly all of them have learned it. More training should do no harm.",
    question: "What happens to the 64 from step 10,000 to 100,000?",
    choices: ["they stay in support", "many leave it again", "all leave it, for ever"],
    right: 1, setting: {}, steps: 100_000, pace: "0",
    answer: ({ lowest, inSupport }) => `Many leave: at the lowest only ${lowest} were in support, and at the end ${inSupport} are. Why? G follows D's slope, the arrow in “D's belief”, and it overshoots the middle of the real range. There G is hardly wrong, so that D hardly learns: it takes tens of thousands of steps until its slope has faded and points the other way. The new slope then drives G out of the range within a few thousand steps. Outside, G is far wrong, so that D turns round at once, and all begins again. Most of the 64 wait about as long as one another: they leave together, first around step 60,000.`,
  },
  {
    name: "R1",
    text: "What drove G out was D's slope. The penalty R1 makes D pay for its slope at real samples: a brake.",
    question: "The same 64, with R1 of weight 0.1, to step 100,000: what changes?",
    choices: ["nothing", "they learn, and stay", "they learn nothing"],
    right: 1, setting: { penalty: "r1", penalty_weight: 0.1 }, steps: 100_000, pace: "0",
    answer: ({ inSupport, hasLast }) => `They stay: ${inSupport} of ${SEEDS} are in support at the end. Without a slope of D, nothing pushes G away from where it has arrived.${hasLast ? " The grey line is the run before." : ""}`,
  },
  {
    name: "Your own",
    text: "Now it is your laboratory. Change a setting while they train, or before a new run; the last run's curve stays as a grey line, and the same seeds begin with the same weights.",
    question: "Which of these, do you think, learns fastest?",
    choices: ["D ten times as fast (0.1)", "G ten times as fast (0.1)", "both ten times as fast"],
    right: 2, setting: { d_lr: 0.1, g_lr: 0.1 }, before: {}, steps: 10_000, pace: "2000",
    answer: ({ inSupport, lowest }) => `Here are both at 0.1: most are in support by step 1,000, which D alone at 0.1 takes some 1,500 steps for, and G alone some 6,000. But fast ones forget sooner, too: these fell to ${lowest} on the way, and ${inSupport} of ${SEEDS} are in support at the end. Try the others: the map of learning rates sets both with one click. Or ask: is it the ratio that matters? What does Adam do? Which objective forgets?`,
  },
];

/**
 * @param {{
 *   prepare: (setting: Setting) => Promise<void>,
 *   play: (steps: number, pace: string, tab: string) => Promise<Outcome | null>,
 * }} actions `play` gives null if it was left before its end
 */
export function createTour({ prepare, play }) {
  let place = 0;
  const list = element("stops");
  const buttons = STOPS.map(({ name }, k) => {
    const button = add(list, "button", { type: "button" }, `${k + 1} ${name}`);
    button.addEventListener("click", () => go(k));
    return button;
  });
  const card = element("stop");

  /** @param {number} k @param {boolean} [keep] whether the setting stays as it is */
  function go(k, keep = false) {
    place = k;
    const stop = STOPS[k];
    buttons.forEach((button, other) => button.setAttribute("aria-current", other === k ? "step" : "false"));
    card.textContent = "";
    add(card, "p", {}, stop.text);
    add(card, "p", { class: "question", id: "question" }, stop.question);
    const answers = add(card, "div", { class: "answers", role: "group", "aria-labelledby": "question" });
    stop.choices.forEach((text, choice) => {
      const button = add(answers, "button", { type: "button" }, text);
      button.addEventListener("click", () => answer(choice, answers));
    });
    if (!keep) prepare({ ...DEFAULTS, ...(stop.before ?? stop.setting) });
  }

  async function answer(/** @type {number} */ choice, /** @type {HTMLElement} */ answers) {
    const stop = STOPS[place];
    for (const [k, button] of [...answers.querySelectorAll("button")].entries()) {
      button.disabled = true;
      button.setAttribute("aria-pressed", String(k === choice));
    }
    const reply = add(card, "p", { class: "reply", "aria-live": "polite" }, `Let us see: ${showSteps(stop.steps)} steps …`);
    await prepare({ ...DEFAULTS, ...stop.setting });
    const outcome = await play(stop.steps, stop.pace, stop.tab ?? "many");
    if (stop !== STOPS[place] || !reply.isConnected) return;
    if (!outcome) {
      for (const button of answers.querySelectorAll("button")) button.disabled = false;
      return void (reply.textContent = "You left before the end. Choose again to see it.");
    }
    const verdict = choice === stop.right ? "As you thought. " : `Not “${stop.choices[choice]}”. `;
    reply.textContent = `${verdict}${stop.answer(outcome)}`;
    if (place + 1 < STOPS.length) {
      const next = add(card, "button", { type: "button", class: "next" }, `Next: ${STOPS[place + 1].name}`);
      next.scrollIntoView({ block: "nearest" });
      next.addEventListener("click", () => {
        go(place + 1);
        card.querySelector("button")?.focus();
      });
    }
  }

  return { go };
}
