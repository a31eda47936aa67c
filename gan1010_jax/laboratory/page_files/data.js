// What Python has put into the page.

/** @typedef {{belief: boolean, logit: number, losses: number[]}} Objective */
/**
 * @typedef {{
 *   version: string, choices: Record<string, string[]>, defaults: any, ranges: number[][],
 *   sizes: {generator: number[], discriminator: number[]}, objectives: Record<string, Objective>,
 *   map: {rates: number[], shares: number[][], seeds: number, steps: number},
 *   programs: Record<string, string>,
 * }} Data
 */

/** @type {Data} */
export const DATA = JSON.parse(/** @type {any} */ (document.getElementById("data")).textContent);
export const BITS = DATA.sizes.discriminator[0];
export const SEEDS = 64;
/** The longest run, in steps. */
export const LONGEST = 250_000;
