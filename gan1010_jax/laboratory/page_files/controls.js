// The controls of a setting.

import { DATA } from "./data.js";
import { add, element, show } from "./dom.js";
import { DEFAULTS, fit, isAllowed, MOST_SEED, programOf } from "./setting.js";

/** @typedef {import("./setting.js").Setting} Setting */

const LABELS = /** @type {Record<string, string>} */ ({
  mse: "squared error", lsgan: "least squares", minimax: "minimax",
  nonsaturating: "non-saturating", wasserstein: "Wasserstein", hinge: "hinge", relativistic: "relativistic",
  sgd: "plain (SGD)", adam: "Adam",
  reference: "D on real, D on fake, G", alternating: "D on both, then G", simultaneous: "D and G at once",
});
const SLIDERS = { d_lr: [-4, 0], g_lr: [-4, 0], penalty_weight: [-3, 1] };
/** A slider's number: a power of ten, in three digits. */
const power = (/** @type {number} */ exponent) => Number((10 ** exponent).toPrecision(3));

/** @param {(setting: Setting) => void} changed */
export function createControls(changed) {
  /** @type {Setting} */
  let setting = { ...DEFAULTS };
  /** @param {Partial<Setting>} part */
  const change = (part) => {
    setting = fit({ ...setting, ...part });
    draw();
    changed(setting);
  };

  const bits = [...DEFAULTS.pattern].map((_, k) => {
    const button = add(element("bits"), "button", { type: "button" });
    button.addEventListener("click", () => {
      const pattern = [...setting.pattern];
      pattern[k] = pattern[k] === "1" ? "0" : "1";
      change({ pattern: pattern.join("") });
    });
    return button;
  });
  for (const name of ["objective", "optimizer", "update_order"]) {
    const select = element(name);
    for (const value of DATA.choices[name]) add(select, "option", { value }, LABELS[value] ?? value);
    select.disabled = select.options.length === 1;
    select.addEventListener("change", () => change({ [name]: select.value }));
  }
  const penalties = DATA.choices.penalty;
  element("penalty-row").hidden = penalties.length === 1;
  element("others").textContent = DATA.others.flags && `And ${DATA.others.flags}, as in the command.`;
  element("penalty").addEventListener("change", () =>
    change({ penalty: element("penalty").checked ? "r1" : "none" }));
  for (const [name, [least, most]] of Object.entries(SLIDERS)) {
    const slider = element(name);
    [slider.min, slider.max, slider.step] = [least, most, 0.05].map(String);
    slider.addEventListener("input", () => change({ [name]: power(Number(slider.value)) }));
  }
  const seed = element("seed");
  [seed.max, seed.required] = [String(MOST_SEED), true];
  seed.addEventListener("change", () => {
    const value = Number(seed.value);
    if (seed.value !== "" && isAllowed("seed", value)) change({ seed: value });
    else seed.reportValidity();
  });

  function draw() {
    bits.forEach((button, k) => {
      button.textContent = setting.pattern[k];
      button.setAttribute("aria-label", `coordinate ${k + 1} is ${setting.pattern[k]}; change it`);
    });
    for (const name of ["objective", "optimizer", "update_order"]) element(name).value = /** @type {any} */ (setting)[name];
    for (const option of element("update_order").options) {
      option.disabled = !(programOf({ ...setting, update_order: option.value }) in DATA.programs);
    }
    element("penalty").checked = setting.penalty === "r1";
    element("weight-label").textContent = penalties.length === 1 ? `weight of the penalty ${setting.penalty}` : "its weight";
    element("weight-row").hidden = setting.penalty === "none";
    for (const name of /** @type {("d_lr" | "g_lr" | "penalty_weight")[]} */ (Object.keys(SLIDERS))) {
      element(name).value = Math.log10(setting[name]);
      element(name).setAttribute("aria-valuetext", String(setting[name]));
      element(`${name}-value`).textContent = setting[name] < 0.001 ? show(setting[name], 5) : String(setting[name]);
    }
    seed.value = String(setting.seed);
  }
  draw();
  return {
    get setting() { return setting; },
    /** Without a call of `changed`. @param {Setting} given */
    set(given) {
      setting = { ...given };
      draw();
    },
    change,
  };
}
