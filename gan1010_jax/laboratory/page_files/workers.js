// Workers: each is started from a blob, which has its programs and the script of workers.

import { DATA } from "./data.js";
import { element } from "./dom.js";

/** @type {Map<string, Promise<string>>} Texts of programs, by name. */
const texts = new Map();

/** A program's text. @param {string} name */
function textOf(name) {
  if (!texts.has(name)) {
    const bytes = Uint8Array.from(atob(DATA.programs[name]), (character) => character.charCodeAt(0));
    const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    texts.set(name, new Response(inflated).text());
  }
  return /** @type {Promise<string>} */ (texts.get(name));
}

/**
 * Starts a worker that has these programs.
 * @param {string[]} names
 */
export async function startWorker(names) {
  const own = await Promise.all(
    names.map(async (name) => `${JSON.stringify(name)}: ${await textOf(name)}`),
  );
  const parts = [`self.programs = {\n${own.join(",\n")}\n};\n`, element("worker").textContent];
  const address = URL.createObjectURL(new Blob(parts, { type: "text/javascript" }));
  const worker = new Worker(address);
  /** @type {Map<number, (result: any) => void>} */
  const waiting = new Map();
  let id = 0;
  worker.onmessage = ({ data }) => {
    waiting.get(data.id)?.(data.result);
    waiting.delete(data.id);
  };
  return {
    /** Asks for something, and gives the answer. @param {string} ask @param {any} [message] @returns {Promise<any>} */
    ask: (ask, message = {}) =>
      new Promise((resolve) => {
        waiting.set(++id, resolve);
        worker.postMessage({ ...message, ask, id });
      }),
    end() {
      worker.terminate();
      URL.revokeObjectURL(address);
    },
  };
}
/** @typedef {Awaited<ReturnType<typeof startWorker>>} Started */
