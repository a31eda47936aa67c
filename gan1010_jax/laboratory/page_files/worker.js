// A worker: trains its seeds, or one seed in full. Its programs stand before it, by their names.

import { createFleet } from "./fleet.js";
import { createLens } from "./lens.js";

/** @type {any} */
const scope = self;
const programs = scope.programs;
/** @type {any} */
let fleet = null;
/** @type {any} */
let lens = null;

/** @type {Record<string, (message: any) => any>} */
const ANSWERS = {
  fleet: ({ seeds, changes, saved }) => void (fleet = createFleet(programs, seeds, changes, saved)),
  change: ({ changes }) => (fleet ?? lens).change(changes),
  advance: ({ to, milliseconds }) => fleet.advance(to, milliseconds),
  save: () => fleet.save(),
  lens: ({ seed, changes }) => void (lens = createLens(programs, seed, changes)),
  view: (message) => lens.view(message),
};

scope.onmessage = (/** @type {MessageEvent} */ { data }) =>
  scope.postMessage({ id: data.id, result: ANSWERS[data.ask](data) });
