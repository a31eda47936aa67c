// Lines over the steps of training, by uPlot, in the page's colours.

import { add, colorOf, draw } from "./dom.js";

/** @typedef {{label: string, color: string, dash?: number[], width?: number}} Line */

/** @type {Set<() => void>} */
const redraws = new Set();
for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) {
  matchMedia(query).addEventListener("change", () => redraws.forEach((redraw) => redraw()));
}

/**
 * @param {HTMLElement} host what the chart fills; beneath it stands its legend
 * @param {{
 *   lines: Line[], low: number, high: number | null, bands?: () => number[][], across?: () => number[],
 *   marks?: () => number[], choose?: (step: number) => void, title: string, dotted?: string, marked?: string,
 * }} options `bands` and `across`: ranges and values that are drawn across, and `dotted`, what the values
 *   are; `marks`: steps, and `marked`, what happened there
 */
export function createChart(host, options) {
  const { lines, low, high } = options;
  const stage = add(host, "div", { class: "plot", role: "img" });
  const legend = add(host, "ul", { class: "legend" });
  /** @type {Line[]} */
  const dotted = options.dotted ? [{ label: options.dotted, color: "grey", dash: [2, 3], width: 1 }] : [];
  /** @type {Line[]} */
  const marked = options.marked ? [{ label: options.marked, color: "ink", width: 1 }] : [];
  for (const { label, color, dash, width } of [...lines, ...dotted, ...marked]) {
    const item = add(legend, "li");
    const key = draw(item, "svg", { viewBox: "0 0 26 8", class: "key", "aria-hidden": "true" });
    const line = draw(key, "line", { x2: 26, y1: 4, y2: 4, "stroke-width": (width ?? 1.5) + 1 });
    line.style.stroke = `var(--${color})`;
    if (dash) line.setAttribute("stroke-dasharray", dash.join(" "));
    item.append(label);
  }
  /** @type {any} */
  let plot = null;
  /** @type {any[][]} */
  let data = [[0], ...lines.map(() => [null])];
  let end = 1;

  function drawBehind(/** @type {any} */ chart) {
    const { ctx, bbox } = chart;
    const y = (/** @type {number} */ value) => chart.valToPos(value, "y", true);
    ctx.save();
    ctx.fillStyle = colorOf("range");
    for (const [from, to] of options.bands?.() ?? []) {
      ctx.fillRect(bbox.left, y(to), bbox.width, y(from) - y(to));
    }
    ctx.strokeStyle = colorOf("grey");
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
    for (const value of options.across?.() ?? []) {
      ctx.beginPath();
      ctx.moveTo(bbox.left, y(value));
      ctx.lineTo(bbox.left + bbox.width, y(value));
      ctx.stroke();
    }
    ctx.restore();
  }

  function drawBefore(/** @type {any} */ chart) {
    const { ctx, bbox } = chart;
    ctx.save();
    ctx.strokeStyle = colorOf("ink");
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([]);
    let before = -Infinity;
    for (const step of options.marks?.() ?? []) {
      const x = chart.valToPos(step, "x", true);
      if (x - before < 4 * devicePixelRatio) continue; // a slider that was drawn
      before = x;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  function make() {
    plot?.destroy();
    const [ink, grey] = [colorOf("ink"), colorOf("rule")];
    const axis = { stroke: ink, grid: { stroke: grey, width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    plot = new uPlot(
      {
        width: Math.max(50, stage.clientWidth),
        height: Math.max(60, stage.clientHeight),
        padding: [8, 14, 0, 0],
        legend: { show: false },
        cursor: { drag: { x: false, y: false }, points: { show: false }, y: false },
        scales: {
          x: { time: false, range: () => [0, Math.max(1, end)] },
          y: { range: (/** @type {any} */ _, /** @type {number} */ from, /** @type {number} */ to) => [
            Math.min(low, from ?? low), high ?? Math.max(0.5, (to ?? 0) * 1.05)] },
        },
        axes: [
          { ...axis, size: 26, space: 36, values: (/** @type {any} */ _, /** @type {number[]} */ ticks) =>
            ticks.map((value) => (value >= 1000 && value % 100 === 0 ? `${value / 1000}k` : String(value))) },
          { ...axis, size: stage.clientWidth < 200 ? 28 : 38, space: 24 },
        ],
        series: [{}, ...lines.map(({ color, dash, width }) => ({
          stroke: colorOf(color), dash, width: width ?? 1.5, points: { show: false }, spanGaps: false,
        }))],
        hooks: { drawClear: [drawBehind], draw: [drawBefore] },
      },
      data,
      stage,
    );
  }

  make();
  new ResizeObserver(() => {
    if (stage.clientWidth) plot.setSize({ width: stage.clientWidth, height: stage.clientHeight });
  }).observe(stage);
  redraws.add(make);
  stage.addEventListener("click", (/** @type {MouseEvent} */ event) => {
    const left = event.clientX - plot.over.getBoundingClientRect().left;
    options.choose?.(Math.round(Math.min(end, Math.max(0, plot.posToVal(left, "x")))));
  });
  return {
    /** @param {any[][]} rows the steps, and the values of each line @param {number} last the step at the right */
    set(rows, last) {
      [data, end] = [rows, last];
      plot.setData(data);
    },
    redraw: () => plot.redraw(),
    /** @param {string} text what it shows, in words */
    describe: (text) => stage.setAttribute("aria-label", `${options.title}. ${text}`),
  };
}
