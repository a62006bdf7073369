// Decodes payloads with the decoders in TypeScript and those in WebAssembly, and says whether they do the same.
// Use: bun test/fuzz/differential.ts [--cases N] [--seed S] [--seconds T]. The same seed gives the same cases.
import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";
import {
  changedByte,
  checkFrames,
  Differential,
  DifferentialCases,
  type Taken,
  type VectorEncoding,
} from "../decode/support/differential.ts";
import { Random } from "../decode/support/random.ts";

const { values } = parseArgs({
  options: {
    cases: { type: "string", default: "100000" },
    seed: { type: "string", default: String(Date.now() % 1_000_000_007) },
    seconds: { type: "string", default: "3600" },
  },
});
const count = Number(values.cases);
const seed = Number(values.seed);
/** So many cases are one payload, whole and with a byte changed, because making one takes longer than decoding it. */
const VARIANTS = 10;
const ENCODINGS: readonly VectorEncoding[] = ["json", "bincode", "otlp"];
const differential = new Differential();
const random = new Random(seed);
const cases = new DifferentialCases(random);
let whole: Uint8Array = new Uint8Array(0);
const counts: { [what: string]: number } = {};
const began = performance.now();
const deadline = began + Number(values.seconds) * 1000;
let number = 0;
for (; number < count && performance.now() < deadline; number++) {
  const encoding = ENCODINGS[Math.floor(number / VARIANTS) % ENCODINGS.length] as VectorEncoding;
  if (number % VARIANTS === 0) whole = cases.next(encoding);
  const payload = number % VARIANTS === 0 || whole.length === 0 ? whole : changedByte(whole, random);
  let taken: Taken;
  try {
    taken = differential.check(encoding, payload);
    if (encoding !== "otlp" && number % VARIANTS === 1) checkFrames(encoding, [whole, whole, payload, whole]);
  } catch (error) {
    const file = join(tmpdir(), `ktf-differential-${seed}-${number}.bin`);
    writeFileSync(file, payload);
    process.stderr.write(`differential: seed ${seed}, case ${number}, ${encoding} in ${file}: ${String(error)}\n`);
    process.exit(1);
  }
  const key = `${encoding} ${taken}`;
  counts[key] = (counts[key] ?? 0) + 1;
}
const seconds = ((performance.now() - began) / 1000).toFixed(0);
process.stdout.write(`differential: ${number} cases in ${seconds} s, seed ${seed}: ${JSON.stringify(counts)}\n`);
