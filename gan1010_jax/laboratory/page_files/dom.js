// Small things that every part of the page needs: elements, and numbers as text.

/** @param {string} id @returns {any} */
export const element = (id) => document.getElementById(id);

/**
 * A new HTML element in a parent.
 * @param {Element} parent @param {string} tag @param {Record<string, any>} [attributes]
 * @param {string} [text] @returns {any}
 */
export function add(parent, tag, attributes = {}, text = "") {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text) node.textContent = text;
  return parent.appendChild(node);
}

/**
 * A new SVG element in a parent.
 * @param {Element} parent @param {string} tag @param {Record<string, any>} [attributes]
 * @param {string} [text] @returns {any}
 */
export function draw(parent, tag, attributes = {}, text = "") {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text) node.textContent = text;
  return parent.appendChild(node);
}

/** A number in a few digits. @param {number} value @param {number} [digits] */
export function show(value, digits = 3) {
  if (!Number.isFinite(value)) return "not finite";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.5 * 10 ** -digits || size >= 1e4)) return value.toExponential(1).replace("-", "−").replace("e−", "e-");
  return value.toFixed(digits).replace("-", "−");
}

/** @param {number} value */
export const showSteps = (value) => value.toLocaleString("en");

/** A colour of the page's style. @param {string} name */
export const colorOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Says something to a screen reader. @param {string} text */
export const announce = (text) => void (element("said").textContent = text);
