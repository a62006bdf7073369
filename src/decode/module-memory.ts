// Where things lie in the memory of the WebAssembly module: the part of wasm/memory.ts that is used from outside it.
// The module is compiled from AssemblyScript, whose constants cannot be imported here.

/** For each of OTLP's messages, the fields that have a tag of one byte, by that byte, u32 each. */
export const FIELDS = 4096;
/** For each of these messages, the numbers of its fields, and of those that have to be there, as bits of an u32. */
export const KNOWN = 12_288;
export const REQUIRED = 12_352;
/** What becomes of the payload. */
export const OUTPUT = 16_384;
/** The largest payload, bytes. */
export const MOST_INPUT: number = 512 * 1024;
const MOST_AHEAD = 2048;
const SLACK = 2048;
/** The payload. */
export const INPUT: number = OUTPUT + 2 * MOST_INPUT + MOST_AHEAD + SLACK;
/** How many spans of one payload are described, and where. */
export const MOST_SPANS: number = Math.floor(MOST_INPUT / 30);
export const RANGES: number = INPUT + MOST_INPUT + SLACK;
