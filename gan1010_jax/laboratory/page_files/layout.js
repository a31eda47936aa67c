// Blocks and their layouts: where a program keeps the numbers of a state, a record or a trace.

/** @typedef {{f: Float32Array, i: Int32Array, u: Uint32Array}} Block */
/** @typedef {{name: string, type: string, shape: number[], offset: number}} Leaf */
/** @typedef {{length: number, leaves: Leaf[]}} Layout */

/** @param {Leaf} leaf */
export const sizeOf = (leaf) => leaf.shape.reduce((product, length) => product * length, 1);

/**
 * The floats of a leaf, not copied.
 * @param {Block} block @param {Layout} layout @param {string} name
 */
export function floatsOf(block, layout, name) {
  const leaf = layout.leaves.find((leaf) => leaf.name === name);
  if (!leaf) throw new Error(`no ${name}`);
  return block.f.subarray(leaf.offset, leaf.offset + sizeOf(leaf));
}

/**
 * The parameters of a network: of each layer the weights, input by input, and then the biases.
 * @param {Block} block @param {Layout} layout
 * @param {string} prefix what the names of the network's leaves begin with
 */
export function networkOf(block, layout, prefix) {
  const own = layout.leaves.filter(({ name }) => name.startsWith(`${prefix}.Linear`));
  const kernels = own.filter(({ name }) => name.endsWith(".kernel"));
  const ordered = kernels.flatMap((kernel) => [
    kernel.name,
    kernel.name.replace(/kernel$/, "bias"),
  ]);
  return Float32Array.from(ordered.flatMap((name) => [...floatsOf(block, layout, name)]));
}

/**
 * Copies the leaves of one block to those of the same name and size of another.
 * @param {Block} from @param {Layout} fromLayout @param {Block} to @param {Layout} toLayout
 * @param {(name: string) => string} [rename] the name in `to`
 */
export function copyLeaves(from, fromLayout, to, toLayout, rename = (name) => name) {
  for (const leaf of fromLayout.leaves) {
    const other = toLayout.leaves.find(({ name }) => name === rename(leaf.name));
    if (!other || sizeOf(other) !== sizeOf(leaf)) continue;
    to.u.set(from.u.subarray(leaf.offset, leaf.offset + sizeOf(leaf)), other.offset);
  }
}
