// The 64 GANs as tiles: four bars each, for what G makes; how they are drawn says the verdict.

import { BITS, SEEDS } from "./data.js";
import { add, element, show } from "./dom.js";

export const VERDICTS = ["does not match", "matches", "in support", "diverged"];
const COLUMNS = 8;

/** @param {(place: number) => void} choose called with the place of a tile that is chosen */
export function createTiles(choose) {
  const grid = element("tiles");
  const tiles = Array.from({ length: SEEDS }, (_, place) => {
    const button = add(grid, "button", { type: "button", class: "tile", tabindex: place ? -1 : 0 });
    const bars = Array.from({ length: BITS }, () => add(add(button, "span", { class: "track" }), "i"));
    add(button, "b", { "aria-hidden": "true" });
    button.addEventListener("click", () => choose(place));
    return { button, bars, verdict: -1 };
  });

  grid.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const place = tiles.findIndex(({ button }) => button === document.activeElement);
    const moves = /** @type {Record<string, number>} */ ({
      ArrowLeft: -1, ArrowRight: 1, ArrowUp: -COLUMNS, ArrowDown: COLUMNS, Home: -place, End: SEEDS - 1 - place,
    });
    const next = place + moves[event.key];
    if (place < 0 || !(event.key in moves)) return;
    event.preventDefault();
    event.stopPropagation();
    if (next < 0 || next >= SEEDS) return;
    tiles[place].button.tabIndex = -1;
    tiles[next].button.tabIndex = 0;
    tiles[next].button.focus();
  });

  return {
    /** @param {string} pattern */
    setPattern(pattern) {
      for (const { bars } of tiles) {
        bars.forEach((bar, k) => (bar.parentElement.dataset.bit = pattern[k]));
      }
    },
    /** @param {number} chosen */
    mark(chosen) {
      tiles.forEach(({ button }, place) => button.setAttribute("aria-pressed", String(place === chosen)));
    },
    /**
     * @param {{outputs: number[][], verdicts: number[]}} frame @param {number} firstSeed
     */
    draw({ outputs, verdicts }, firstSeed) {
      tiles.forEach((tile, place) => {
        tile.bars.forEach((bar, k) => {
          bar.style.transform = `scaleY(${Math.min(1, Math.max(0.02, outputs[place][k]) || 0.02)})`;
        });
        const verdict = verdicts[place];
        if (verdict !== tile.verdict) tile.button.dataset.verdict = VERDICTS[verdict];
        tile.verdict = verdict;
        tile.button.title = `seed ${firstSeed + place}`;
      });
    },
    /** Says the numbers; not in every frame. @param {any} frame @param {number} firstSeed */
    describe({ outputs, verdicts }, firstSeed) {
      tiles.forEach(({ button }, place) => {
        const made = outputs[place].map((/** @type {number} */ value) => show(value, 2)).join(" ");
        button.setAttribute("aria-label", `seed ${firstSeed + place}: ${VERDICTS[verdicts[place]]}, ${made}`);
      });
    },
  };
}
