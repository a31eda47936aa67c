// A slice of D's surface: its belief over two coordinates, the others being as G makes them.

import { BITS } from "./data.js";
import { add, draw, element, show } from "./dom.js";

const SIZE = 100;

/** @param {() => void} ask called when other coordinates are chosen */
export function createSurface(ask) {
  const canvas = element("surface");
  const svg = draw(element("surface-marks"), "svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, "aria-hidden": "true" });
  const range = draw(svg, "rect", { class: "real-outline" });
  const half = draw(svg, "path", { class: "undecided" });
  const arrow = draw(svg, "path", { class: "arrow" });
  const real = draw(svg, "path", { d: "M0 -3.5L3.5 0L0 3.5L-3.5 0Z", class: "real" });
  const fake = draw(svg, "circle", { r: 2.6, class: "fake" });
  const selects = ["across", "up"].map((name, k) => {
    const select = element(name);
    for (let unit = 0; unit < BITS; unit++) add(select, "option", { value: unit }, String(unit + 1));
    select.value = String(Math.min(k, BITS - 1));
    select.addEventListener("change", ask);
    return select;
  });
  const axes = () => selects.map(({ value }) => Number(value));

  return {
    axes,
    /** @param {any} view @param {number[][]} ranges */
    draw({ surface, after, real: sample, slope }, ranges) {
      const style = getComputedStyle(document.documentElement);
      const rgb = (/** @type {string} */ name) =>
        (style.getPropertyValue(name).match(/[0-9a-f]{2}/gi) ?? []).map((text) => parseInt(text, 16));
      const [paper, high, low] = ["--paper", "--real", "--fake"].map(rgb);
      const cells = Math.sqrt(surface.length);
      [canvas.width, canvas.height] = [cells, cells];
      const context = canvas.getContext("2d");
      const image = context.createImageData(cells, cells);
      const beliefs = surface.map((/** @type {number} */ logit) => 1 / (1 + Math.exp(-logit)));
      const [least, most] = [Math.min(...beliefs), Math.max(...beliefs)];
      beliefs.forEach((/** @type {number} */ belief, /** @type {number} */ cell) => {
        const amount = Math.sqrt(2 * Math.abs(belief - 0.5)); // shows a little, too
        const end = belief > 0.5 ? high : low;
        for (let k = 0; k < 3; k++) image.data[4 * cell + k] = paper[k] + (end[k] - paper[k]) * amount;
        image.data[4 * cell + 3] = 255;
      });
      context.putImageData(image, 0, 0);
      const [across, up] = axes();
      const x = (/** @type {number} */ value) => SIZE * value;
      const y = (/** @type {number} */ value) => SIZE * (1 - value);
      const [wide, tall] = [ranges[across], ranges[up]];
      for (const [name, value] of Object.entries({
        x: x(wide[0]), y: y(tall[1]), width: x(wide[1] - wide[0]), height: SIZE * (tall[1] - tall[0]),
      })) range.setAttribute(name, value);
      half.setAttribute("d", contour(surface));
      real.setAttribute("transform", `translate(${x(sample[across])} ${y(sample[up])})`);
      const [left, top] = [x(after.output[across]), y(after.output[up])];
      fake.setAttribute("cx", Number.isFinite(left) ? left : -SIZE);
      fake.setAttribute("cy", Number.isFinite(top) ? top : -SIZE);
      const length = Math.hypot(slope[across], slope[up]);
      const [dx, dy] = length > 0 ? [(16 * slope[across]) / length, (-16 * slope[up]) / length] : [0, 0];
      const [tipX, tipY] = [left + dx, top + dy];
      arrow.setAttribute("d", length > 0
        ? `M${left} ${top}L${tipX} ${tipY}M${tipX - 0.35 * dx + 0.2 * dy} ${tipY - 0.35 * dy - 0.2 * dx}L${tipX} ${tipY}L${tipX - 0.35 * dx - 0.2 * dy} ${tipY - 0.35 * dy + 0.2 * dx}` : "");
      element("surface-low").textContent = `least ${show(least, 3)}`;
      element("surface-high").textContent = `most ${show(most, 3)}`;
      const arrowText = `${dx < 0 ? "left" : "right"} and ${dy < 0 ? "up" : "down"}`;
      element("surface-box").setAttribute(
        "aria-label",
        `D's belief over coordinates ${across + 1} and ${up + 1}: from ${show(least, 3)} to ${show(most, 3)}. ` +
          `From what G makes, it rises fastest to the ${arrowText}, as the arrow says.`,
      );
    },
  };
}

/** Where the logit crosses 0, by marching squares between the cells' middles. @param {Float32Array} cells */
function contour(cells) {
  const count = Math.sqrt(cells.length);
  const at = (/** @type {number[]} */ [column, row]) => cells[row * count + column];
  const place = (/** @type {number} */ cell) => ((cell + 0.5) * SIZE) / count;
  let path = "";
  for (let row = 0; row + 1 < count; row++) {
    for (let column = 0; column + 1 < count; column++) {
      const corners = [[column, row], [column + 1, row], [column + 1, row + 1], [column, row + 1]];
      const crossings = corners.flatMap((from, k) => {
        const to = corners[(k + 1) % 4];
        if (at(from) > 0 === at(to) > 0) return [];
        const share = at(from) / (at(from) - at(to));
        return [from.map((cell, axis) => place(cell + share * (to[axis] - cell)).toFixed(2)).join(" ")];
      });
      for (let k = 0; k + 1 < crossings.length; k += 2) path += `M${crossings[k]}L${crossings[k + 1]}`;
    }
  }
  return path;
}
