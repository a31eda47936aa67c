// The phase diagram: how many end in support, at each pair of learning rates; a cell sets both.

import { add, element } from "./dom.js";
import { DEFAULTS, programOf } from "./setting.js";

/**
 * @param {import("./data.js").Map} map
 * @param {(rates: {d_lr: number, g_lr: number}) => void} choose
 */
export function createMap({ rates, shares, seeds, steps }, choose) {
  const table = add(element("map"), "table", { role: "presentation" });
  const addLabel = (/** @type {Element} */ row, /** @type {number} */ k) =>
    add(row, "td", { class: "tick" }, k % 4 === 0 ? String(Number(rates[k].toPrecision(1))) : "");
  element("map-caption").textContent =
    `Share of ${seeds} GANs in support after ${steps.toLocaleString("en")} steps of the reference method. Choose a cell to take its rates.`;
  /** @type {any[][]} */
  const cells = [];
  for (let up = rates.length - 1; up >= 0; up--) {
    const row = add(table, "tr");
    addLabel(row, up);
    cells[up] = rates.map((d_lr, across) => {
      const share = shares[across][up];
      const button = add(add(row, "td"), "button", {
        type: "button", tabindex: -1, title: `D ${Number(d_lr.toPrecision(3))}, G ${Number(rates[up].toPrecision(3))}: ${Math.round(100 * share)} %`,
      });
      button.setAttribute("aria-label", button.title);
      button.style.setProperty("--share", String(share));
      for (const event of ["pointerenter", "focus"]) {
        button.addEventListener(event, () => (element("map-reading").textContent = button.title));
      }
      button.addEventListener("click", () =>
        choose({ d_lr: Number(d_lr.toPrecision(3)), g_lr: Number(rates[up].toPrecision(3)) }));
      return button;
    });
  }
  const last = add(table, "tr");
  add(last, "td");
  rates.forEach((_, k) => addLabel(last, k));
  cells[4][4].tabIndex = 0;
  table.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const moves = /** @type {Record<string, number[]>} */ ({ ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] });
    if (!(event.key in moves)) return;
    event.preventDefault();
    event.stopPropagation();
    const up = cells.findIndex((row) => row.includes(document.activeElement));
    const across = cells[up].indexOf(document.activeElement);
    const next = cells[up + moves[event.key][0]]?.[across + moves[event.key][1]];
    if (!next) return;
    cells[up][across].tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  return {
    /** Marks the cell of a setting, if the map is of its method. @param {import("./setting.js").Setting} setting */
    mark(setting) {
      const isOther = programOf(setting) !== programOf(DEFAULTS);
      element("map").classList.toggle("other", isOther);
      element("map-other").hidden = !isOther;
      const near = (/** @type {number} */ rate) => rates.findIndex((one) => Math.abs(Math.log10(one / rate)) < 0.126);
      cells.forEach((row, up) => row.forEach((button, across) =>
        button.toggleAttribute("data-here", up === near(setting.g_lr) && across === near(setting.d_lr))));
    },
  };
}
