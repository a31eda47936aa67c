// Both networks as one picture: the latent, G, what it makes beside a real sample, and D.

import { BITS, DATA } from "./data.js";
import { draw, element, show } from "./dom.js";

const ROW = BITS > 6 ? 30 : 46;
const WIDTH = 460;
const TOP = 26;
const HEIGHT = TOP + ROW * Math.max(3, BITS) + 8;
const RADIUS = Math.min(15, ROW * 0.36);
const TRACK = { left: 222, right: 304 };
const WIDEST = 7;
const COLUMNS = { generator: [24, 112, 196], discriminator: [312, 376, 434] };

/** @typedef {"generator" | "discriminator"} Player */
/** @type {Record<Player, string>} */
const LETTERS = { generator: "G", discriminator: "D" };

/** @param {number} unit @param {number} count */
const rowY = (unit, count) => TOP + (ROW * Math.max(3, BITS)) / 2 + ROW * (unit - (count - 1) / 2);
const trackX = (/** @type {number} */ value) => TRACK.left + (TRACK.right - TRACK.left) * value;

/** The places of a network's parameters: layer by layer weights, input by input, then biases. */
function placesOf(/** @type {Player} */ player) {
  const sizes = DATA.sizes[player];
  return sizes.slice(1).flatMap((count, layer) => [
    ...Array.from({ length: sizes[layer] * count }, (_, k) => ({
      layer, from: Math.floor(k / count), to: k % count,
    })),
    ...Array.from({ length: count }, (_, to) => ({ layer, from: -1, to })),
  ]);
}

/** What a parameter is, in words. @param {Player} player @param {any} place */
export function nameOf(player, { layer, from, to }) {
  const [letter, sizes] = [LETTERS[player], DATA.sizes[player]];
  const unit = (/** @type {number} */ layer, /** @type {number} */ unit) => {
    if (layer === 0) return player === "generator" ? "the latent" : `coordinate ${unit + 1}`;
    if (layer < sizes.length - 1) return `${letter}'s hidden unit ${unit + 1}`;
    return player === "generator" ? `coordinate ${unit + 1}` : "D's answer";
  };
  if (from < 0) return `bias of ${unit(layer + 1, to)}`;
  return `weight from ${unit(layer, from)} to ${unit(layer + 1, to)}`;
}

export const PARAMETERS = { generator: placesOf("generator"), discriminator: placesOf("discriminator") };

/** @param {(text: string) => void} read is told what is pointed at, or "" */
export function createNetwork(read) {
  const svg = draw(element("networks"), "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, tabindex: 0, role: "application", "aria-roledescription": "networks" });
  const below = draw(svg, "g");
  /** @type {{node: any, say: () => string}[]} */
  const parts = [];
  /** @type {any} what is shown */
  let shown = null;

  function addPart(/** @type {any} */ node, /** @type {() => string} */ say) {
    const place = parts.push({ node, say }) - 1;
    node.classList.add("part");
    node.addEventListener("pointerenter", () => point(place));
    node.addEventListener("click", () => point(place));
  }
  let pointed = -1;
  function point(/** @type {number} */ place) {
    if (pointed >= 0) parts[pointed].node.classList.remove("pointed");
    pointed = place;
    if (place >= 0) parts[place].node.classList.add("pointed");
    read(place < 0 || !shown ? "" : parts[place].say());
  }
  svg.addEventListener("pointerleave", (/** @type {PointerEvent} */ event) => event.pointerType === "mouse" && point(-1));
  svg.addEventListener("blur", () => point(-1));
  svg.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const step = /** @type {Record<string, number>} */ ({ ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 })[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    point((Math.max(pointed, step > 0 ? -1 : 0) + step + parts.length) % parts.length);
  });

  /** @type {Record<string, any>} */
  const networks = {};
  for (const player of /** @type {Player[]} */ (["generator", "discriminator"])) {
    const [sizes, columns, places] = [DATA.sizes[player], COLUMNS[player], PARAMETERS[player]];
    const group = draw(below, "g", { class: `network ${player}` });
    const lines = draw(group, "g");
    const sayParameter = (/** @type {number} */ k) => () => {
      const value = shown.parameters[player][k];
      const moved = shown.moves === player
        ? `; gradient ${show(shown.gradient[k], 5)}, this update changes it by ${show(shown.change[k], 6)}` : "";
      return `${nameOf(player, places[k])}: ${show(value, 4)}${moved}`;
    };
    const circles = sizes.map((count, layer) =>
      Array.from({ length: count }, (_, unit) => {
        if (player === "discriminator" && layer === 0) return null; // G's output, or a real sample
        const at = { cx: columns[layer], cy: rowY(unit, count), r: RADIUS };
        const node = draw(group, "g");
        draw(node, "circle", { ...at, class: "paper" });
        const fill = draw(node, "circle", { ...at, class: "fill" });
        const ring = draw(node, "circle", { ...at, class: "ring" });
        const label = draw(node, "text", { x: at.cx, y: at.cy, class: "value", "text-anchor": "middle", "dominant-baseline": "central" });
        if (layer === 0) ring.classList.add("input");
        return { node, fill, ring, label };
      }),
    );
    const strokes = places.map(({ layer, from, to }, k) => {
      if (from < 0) {
        const unit = circles[layer + 1][to];
        const first = sizes.slice(0, layer + 1).reduce((sum, count) => sum + count, 0);
        addPart(unit?.node, () => {
          const value = shown.units[player][first + to];
          return `${sayParameter(k)()}. It gives ${value === undefined ? "nothing now" : show(value, 4)}`;
        });
        return unit?.ring;
      }
      const isInput = player === "discriminator" && layer === 0;
      const ends = {
        x1: isInput ? TRACK.right + 6 : columns[layer], y1: rowY(from, sizes[layer]),
        x2: columns[layer + 1], y2: rowY(to, sizes[layer + 1]),
      };
      const node = draw(lines, "g");
      draw(node, "line", { ...ends, class: "hit" });
      const line = draw(node, "line", { ...ends, class: "weight" });
      addPart(node, sayParameter(k));
      return line;
    });
    networks[player] = { group, circles, strokes, places };
  }

  // The sample in the middle
  const middle = draw(svg, "g", { class: "middle" });
  const rows = Array.from({ length: BITS }, (_, k) => {
    const y = rowY(k, BITS);
    const node = draw(middle, "g");
    const range = draw(node, "rect", { y: y - ROW * 0.3, height: ROW * 0.6, rx: 2, class: "real-range" });
    draw(node, "line", { x1: trackX(0), x2: trackX(1), y1: y, y2: y, class: "track" });
    draw(node, "line", { x1: trackX(0.5), x2: trackX(0.5), y1: y - 6, y2: y + 6, class: "half" });
    const real = draw(node, "path", { d: "M0 -6L6 0L0 6L-6 0Z", class: "real" });
    const fake = draw(node, "circle", { r: 5, cy: y, class: "fake" });
    addPart(node, () => `coordinate ${k + 1}: G makes ${show(shown.output[k], 4)}, the real sample has ${show(shown.real[k], 4)}; real samples lie between ${shown.ranges[k][0]} and ${shown.ranges[k][1]}`);
    return { y, range, real, fake };
  });
  const titles = /** @type {[string, number][]} */ ([["z", 24], ["generator G", 112], ["sample", 263], ["discriminator D", 390]]);
  for (const [text, x] of titles) draw(svg, "text", { x, y: 12, class: "title", "text-anchor": "middle" }, text);
  const axis = TOP + ROW * Math.max(3, BITS) - 2;
  for (const value of [0, 1]) draw(svg, "text", { x: trackX(value), y: axis + 6, class: "title", "text-anchor": "middle" }, String(value));
  const answer = draw(svg, "text", { x: 454, y: rowY(0, 1) + RADIUS + 18, class: "title", "text-anchor": "end" });

  return {
    /**
     * @param {{
     *   parameters: any, units: any, output: number[], real: ArrayLike<number>, ranges: number[][],
     *   sees: string, moves: string, change: Float32Array | null, gradient: any, factor: number,
     *   answer: string, belief: (logit: number) => number,
     * }} view `units.discriminator` are those on the sample that D sees
     */
    draw(view) {
      shown = view;
      for (const player of /** @type {Player[]} */ (["generator", "discriminator"])) {
        const { group, circles, strokes } = networks[player];
        const isMoving = view.moves === player;
        group.classList.toggle("moving", isMoving);
        group.classList.toggle("still", Boolean(view.moves) && !isMoving);
        const values = isMoving && view.change ? view.change.map((value) => value * view.factor) : view.parameters[player];
        strokes.forEach((/** @type {any} */ node, /** @type {number} */ k) => {
          const width = Number.isFinite(values[k]) ? Math.min(WIDEST, 1.6 * Math.abs(values[k])) : 0;
          node.setAttribute("stroke-width", width.toFixed(2));
          node.classList.toggle("negative", values[k] < 0);
        });
        const units = view.units[player];
        let next = 0;
        circles.forEach((/** @type {any[]} */ layer, /** @type {number} */ index) => {
          for (const circle of layer) {
            let value = units[next++];
            if (!circle) continue;
            const isAnswer = player === "discriminator" && index === circles.length - 1;
            const amount = isAnswer ? 1 / (1 + Math.exp(-value)) : value;
            if (isAnswer) value = view.belief(value);
            circle.fill.style.opacity = Number.isFinite(amount) ? 0.5 * Math.min(1, Math.max(0, amount)) : 0;
            circle.label.textContent = value === undefined ? "" : show(Math.abs(value) < 0.005 ? 0 : value, 2);
          }
        });
        group.classList.toggle("unused", player === "generator" && view.sees === "real");
      }
      rows.forEach(({ y, range, real, fake }, k) => {
        const [low, high] = view.ranges[k];
        range.setAttribute("x", trackX(low));
        range.setAttribute("width", trackX(high) - trackX(low));
        real.setAttribute("transform", `translate(${trackX(view.real[k])} ${y})`);
        fake.setAttribute("cx", Number.isFinite(view.output[k]) ? trackX(view.output[k]) : -99);
        real.classList.toggle("unseen", view.sees === "fake");
        fake.classList.toggle("unseen", view.sees === "real");
      });
      answer.textContent = view.answer;
      const made = view.output.map((value) => show(value, 2)).join(", ");
      svg.setAttribute("aria-label", `Both networks. G makes ${made}. Arrow keys go through the weights and units.`);
      if (pointed >= 0) read(parts[pointed].say());
    },
  };
}
