// What Python has put into the page.

/** @typedef {{rates: number[], shares: number[][], seeds: number, steps: number}} Map */
/** @typedef {{belief: boolean, logit: number, losses: number[]}} Objective */
/**
 * @typedef {{
 *   choices: Record<string, string[]>, defaults: any, steps: number, longest: number,
 *   watch: boolean, tour: boolean, others: {flags: string, method: string, hyperparams: string},
 *   ranges: number[][], sizes: {generator: number[], discriminator: number[]},
 *   objectives: Record<string, Objective>, map: Map | null, programs: Record<string, string>,
 * }} Data
 */

/** @type {Data} */
export const DATA = JSON.parse(/** @type {any} */ (document.getElementById("data")).textContent);
export const BITS = DATA.sizes.discriminator[0];
export const SEEDS = 64;
