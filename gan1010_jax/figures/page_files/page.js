"use strict";
// Draws a trace, record by record. All numbers come from Python; nothing is computed here.

const trace = JSON.parse(document.getElementById("trace").textContent);
const records = trace.steps.length;
const after = trace.views.length - 1; // the view of what a step has led to
const element = (id) => document.getElementById(id);

/** Gives the row of a record in an array that came as base64 of little-endian 32-bit floats. */
function rowsOf({ width, data }) {
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  const values = new Float32Array(bytes.buffer);
  return (record) => values.subarray(record * width, (record + 1) * width);
}
const decoded = trace.encoded.map(rowsOf);
const arrays = Object.fromEntries(
  Object.entries(trace.arrays).map(([name, index]) => [name, decoded[index]]),
);
function show(value, digits) {
  if (!Number.isFinite(value)) return "not finite";
  return Math.abs(value) < 1e4 ? value.toFixed(digits) : value.toExponential(1);
}

// Drawing

function draw(parent, tag, attributes = {}, text = "") {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  return parent.appendChild(node);
}

const units = trace.low.length;
const spacing = units > 6 ? 32 : 54;
const radius = 0.36 * spacing;
const size = { width: 340, height: 64 + spacing * Math.max(units, 3) };
const rowY = (unit, count) => size.height / 2 - 12 + spacing * (unit - (count - 1) / 2);

function drawing(id) {
  return draw(element(id), "svg", { viewBox: `0 0 ${size.width} ${size.height}`, role: "img" });
}

/** Colour and width for a number that may have either sign. */
function paint(node, value) {
  node.setAttribute("class", value < 0 ? "negative" : "positive");
  node.setAttribute("stroke-width", Number.isFinite(value) ? Math.min(9, 2 * Math.abs(value)) : 0);
}

/** A fully connected network; gives what shows its weights, and its units' activations. */
function network(id, sizes, ends) {
  const svg = drawing(id);
  const x = (layer) => 36 + (layer * (size.width - 72)) / (sizes.length - 1);
  const edges = draw(svg, "g");
  const layers = sizes.map((count, layer) =>
    Array.from({ length: count }, (_, unit) => {
      const at = { cx: x(layer), cy: rowY(unit, count), r: radius };
      draw(svg, "circle", { ...at, class: "unit" });
      const fill = draw(svg, "circle", { ...at, style: "fill: var(--unit)", opacity: 0 });
      const ring = draw(svg, "circle", { ...at, fill: "none" });
      if (layer === 0) {
        ring.setAttribute("style", "stroke: var(--grey)"); // an input has no bias
        ring.setAttribute("stroke-dasharray", "3 3");
      }
      const text = { x: at.cx, y: at.cy, "text-anchor": "middle", "dominant-baseline": "central" };
      const label = draw(svg, "text", { ...text, "font-size": Math.min(13, radius * 0.8) });
      return { fill, ring, label };
    }),
  );
  ends.forEach((text, end) =>
    draw(svg, "text", {
      x: x(end ? sizes.length - 1 : 0), y: size.height - 8,
      "text-anchor": end ? "end" : "start", dx: end ? 30 : -30, class: "label", "font-size": 13,
    }, text),
  );
  const lines = sizes.slice(1).map((count, layer) =>
    Array.from({ length: sizes[layer] * count }, (_, index) => {
      const [from, to] = [Math.floor(index / count), index % count];
      return draw(edges, "line", {
        x1: x(layer), y1: rowY(from, sizes[layer]), x2: x(layer + 1), y2: rowY(to, count),
      });
    }),
  );
  return (weights, activations) => {
    let next = 0;
    lines.forEach((lines, layer) => {
      for (const line of lines) paint(line, weights[next++]);
      for (const { ring } of layers[layer + 1]) paint(ring, weights[next++]);
    });
    next = 0;
    for (const { fill, label } of layers.flat()) {
      const value = activations[next++]; // none, if nothing goes through the network
      fill.setAttribute("opacity", Number.isFinite(value) ? 0.75 * Math.min(1, Math.max(0, value)) : 0);
      label.textContent = value === undefined ? "" : Number.isFinite(value) ? show(value, 2) : "–";
    }
    const numbers = layers.map((layer) => layer.map(({ label }) => label.textContent).join(" "));
    svg.setAttribute("aria-label", `${sizes.join("-")} units: ${numbers.join(", ")}`);
  };
}

/** The output beside the real ranges; gives what shows an output and a real sample. */
function samplePanel() {
  const svg = drawing("sample");
  const x = (value) => 54 + 216 * value;
  const [top, bottom] = [rowY(0, units) - spacing / 2, rowY(units - 1, units) + spacing / 2];
  trace.low.forEach((low, unit) =>
    draw(svg, "rect", {
      x: x(low), width: x(trace.high[unit]) - x(low), y: rowY(unit, units) - spacing * 0.36,
      height: spacing * 0.72, style: "fill: var(--range); stroke: var(--grey)", rx: 3,
    }),
  );
  const axis = draw(svg, "g", { class: "axis", style: "stroke: var(--grey)" });
  draw(axis, "line", { x1: x(0.5), x2: x(0.5), y1: top, y2: bottom, "stroke-dasharray": "2 4" });
  for (const value of [0, 0.5, 1]) {
    const at = { x: x(value), y: bottom + 16, "text-anchor": "middle", stroke: "none" };
    draw(axis, "text", { ...at, "font-size": 13 }, value);
  }
  const rows = trace.low.map((_, unit) => {
    const y = rowY(unit, units);
    draw(axis, "line", { x1: x(0), x2: x(1), y1: y, y2: y, opacity: 0.4 });
    const middle = { y, "dominant-baseline": "central", "font-size": Math.min(14, spacing / 2.2) };
    draw(svg, "text", { ...middle, x: 4, class: "label" }, `${unit + 1} (${trace.pattern[unit]})`);
    const mark = Math.min(7, spacing / 5);
    return {
      y,
      real: draw(svg, "path", {
        d: `M0 ${-mark}L${mark} 0L0 ${mark}L${-mark} 0Z`,
        style: "fill: none; stroke: var(--ink); stroke-width: 2",
      }),
      fake: draw(svg, "circle", { r: mark, cy: y, style: "fill: var(--ink)" }),
      number: draw(svg, "text", { ...middle, x: 336, "text-anchor": "end", id: `output-${unit}` }),
    };
  });
  return (output, real, sees) => {
    const numbers = [output, real].map((values) => [...values].map((value) => show(value, 3)));
    rows.forEach(({ y, real: diamond, fake, number }, unit) => {
      fake.setAttribute("cx", Number.isFinite(output[unit]) ? x(output[unit]) : -99);
      diamond.setAttribute("transform", `translate(${x(real[unit])} ${y})`);
      fake.setAttribute("opacity", sees === "real" ? 0.25 : 1);
      diamond.setAttribute("opacity", sees === "fake" ? 0.25 : 1);
      number.textContent = numbers[0][unit];
    });
    const [made, drawn] = numbers.map((texts) => texts.join(" "));
    svg.setAttribute("aria-label", `G makes ${made}; the real sample is ${drawn}`);
  };
}

const showG = network("generator", trace.sizes.g, ["latent z", "G(z)"]);
const showD = network("discriminator", trace.sizes.d, ["sample", trace.verdict]);
const showSample = samplePanel();
const charts = [...document.querySelectorAll(".chart")].map((chart) => {
  const cursor = chart.appendChild(document.createElement("div"));
  cursor.className = "cursor";
  const { left, right, top, bottom } = chart.dataset;
  cursor.style.top = `${100 * top}%`;
  cursor.style.height = `${100 * (bottom - top)}%`;
  const place = (record) => Number(left) + ((right - left) * trace.steps[record]) / trace.steps.at(-1);
  const scrub = (event) => {
    const bounds = chart.getBoundingClientRect();
    const along = ((event.clientX - bounds.left) / bounds.width - left) / (right - left);
    pause();
    go(Math.round(along * records) - 1);
  };
  // A finger that scrolls the page begins as one that drags; it goes up or down, and does not click.
  let start = null; // where it was put down
  chart.addEventListener("pointerdown", (event) => {
    start = event;
    chart.setPointerCapture(event.pointerId);
  });
  chart.addEventListener("pointermove", (event) => {
    if (!chart.hasPointerCapture(event.pointerId)) return;
    const [x, y] = [event.clientX - start.clientX, event.clientY - start.clientY];
    if (Math.abs(x) > Math.abs(y)) scrub(event);
  });
  chart.addEventListener("click", scrub);
  return (record) => (cursor.style.left = `${100 * place(record)}%`);
});
const readouts = [...document.querySelectorAll(".value")];
const viewButtons = trace.views.map(({ title }, view) => {
  const button = element("views").appendChild(document.createElement("button"));
  button.type = "button";
  button.textContent = view === after ? title : `${view + 1} ${title}`;
  button.addEventListener("click", () => (pause(), go(record, view)));
  return button;
});

// State: which record, and which view of the step that led to it

let record = 0;
let view = after;

function go(toRecord, toView = after) {
  record = Math.min(records - 1, Math.max(0, toRecord));
  view = toView;
  const { caption, sees, moves } = trace.views[view];
  const row = (name) => arrays[name](record);
  showG(row(`${view}.g`), row(`${view}.g_units`));
  showD(row(`${view}.d`), row(`${view}.d_units`));
  showSample(row(`${view}.output`), row(`${view}.real`), sees);
  for (const name of ["generator", "discriminator"]) {
    element(name).classList.toggle("moves", moves === name);
    element(name).classList.toggle("idle", name === "generator" && sees === "real");
    const mark = view === after ? "" : moves === name ? "moves" : trace.other;
    element(name).querySelector(".mark").textContent = mark;
  }
  for (const output of readouts) {
    output.textContent = show(row(output.dataset.array)[output.dataset.index], 4);
  }
  viewButtons.forEach((button, index) => button.setAttribute("aria-pressed", index === view));
  element("caption").textContent = caption;
  for (const move of charts) move(record);
  const state = view === after ? trace.outcomes[record] : `update ${view + 1} of ${after}`;
  const place = `step ${trace.steps[record].toLocaleString("en")}: ${state}`;
  element("step").textContent = place;
  element("scrubber").value = record;
  element("scrubber").setAttribute("aria-valuetext", place);
}

const isAtEnd = () => record === records - 1 && view === after;
/** The update that follows; at the end, the last step's are gone through again. */
const nextUpdate = () => (view < after ? go(record, view + 1) : go(record + 1, 0));

// Time

const SECONDS_PER_UPDATE = 1.2;
const LONGEST_FRAME = 250; // milliseconds; a page out of sight has no frames, and stands still
let playing = null; // the last animation frame that was asked for
let owed = 0; // records, or updates, that time has brought and that were not shown yet
let before = 0;

function tick(now) {
  const speed = Number(element("speed").value);
  const elapsed = Math.min(now - before, LONGEST_FRAME) / 1000;
  owed += elapsed * (speed || 1 / SECONDS_PER_UPDATE);
  before = now;
  const whole = Math.floor(owed);
  owed -= whole;
  if (whole > 0 && speed) go(record + whole);
  else if (whole > 0) nextUpdate();
  if (isAtEnd()) pause();
  else playing = requestAnimationFrame(tick);
}

/** Whether a screen reader is told of what changes: not of every frame. */
function announce(on) {
  for (const id of ["step", "caption"]) element(id).setAttribute("aria-live", on ? "polite" : "off");
}

function play() {
  if (isAtEnd()) go(0, 0);
  announce(false);
  owed = 0;
  before = performance.now();
  playing = requestAnimationFrame(tick);
  element("play").textContent = "Pause";
}

function pause() {
  cancelAnimationFrame(playing);
  playing = null;
  announce(true);
  element("play").textContent = "Play";
}

const toggle = () => (playing === null ? play() : pause());
const moveBy = (count) => (pause(), go(record + count));
// The slider has more of its own, and the page scrolls by the rest.
const KEYS = {
  " ": toggle,
  ArrowLeft: () => moveBy(-1),
  ArrowRight: () => moveBy(1),
  u: () => (pause(), nextUpdate()),
};

element("play").addEventListener("click", toggle);
element("back").addEventListener("click", KEYS.ArrowLeft);
element("forward").addEventListener("click", KEYS.ArrowRight);
element("next").addEventListener("click", KEYS.u);
element("scrubber").max = records - 1;
element("scrubber").addEventListener("input", (event) => (pause(), go(Number(event.target.value))));
addEventListener("keydown", (event) => {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const own = event.target.closest("select, summary, button"); // these have keys of their own
  const taken = own && (own.matches("select") || key === " ");
  if (!(key in KEYS) || taken || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  if (key !== " " || !event.repeat) KEYS[key]();
});
go(0);
