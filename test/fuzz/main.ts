// Feeds hostile payloads to everything that a guest's bytes pass, and to the decoder of runtimes' bodies, and says what
// it found.
// Use: bun test/fuzz/main.ts [--cases N] [--seed S] [--seconds T]. The same seed gives the same cases.
import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { Random } from "../decode/support/random.ts";
import { Checker, type Outcome } from "./check.ts";
import { CostMeter, repetition } from "./cost.ts";
import { loadSeeds, mutated } from "./seeds.ts";
import { ThriftFuzzer } from "./thrift.ts";

/** No case may take longer, milliseconds; one that does is tried again later, because the machine may be busy. */
const CASE_LIMIT_MS = 100;
const SECOND_TRIES = 5;
const PAUSE_MS = 500;
/**
 * How much the process may grow after its first tenth, bytes, with the garbage collected: buffers grow to the largest
 * case, then no more. Some 16 MB is what is seen; garbage itself comes to 500 MB, because a loop that never gives way
 * leaves the engine few moments to collect it.
 */
const GROWTH_LIMIT = 96 * 1024 * 1024;
/** So many collections, with a pause after each: the growth that was seen fell from 21–111 MB to 8–21 MB by it. */
const COLLECTIONS = 4;
/** One case in so many is a stream of any bytes instead of a payload. */
const STREAM_EVERY = 16;
/** One in so many is a runtime's body instead of a guest's. */
const THRIFT_EVERY = 9;
/** One in so many is about what a payload costs. They begin when the engine has compiled what they run. */
const COST_EVERY = 50;
const COST_FROM = 2_000;

const { values } = parseArgs({
  options: {
    cases: { type: "string", default: "200000" },
    seed: { type: "string", default: String(Date.now() % 1_000_000_007) },
    seconds: { type: "string", default: "3600" },
  },
});
const cases = Number(values.cases);
const seed = Number(values.seed);
const deadline = performance.now() + Number(values.seconds) * 1000;

const seeds = loadSeeds();
const checker = new Checker((seeds.bincode[0] as { payload: Uint8Array }).payload);
const thrift = new ThriftFuzzer();
const meter = new CostMeter();
const outcomes: { [outcome in Outcome | "stream" | "thrift"]?: number } = {};

/** A case is made from the seed and its number alone, so that it can be made again. */
function runCase(number: number): { payload: Uint8Array; milliseconds: number } {
  const random = new Random(seed * 1_000_003 + number);
  const stream = number % STREAM_EVERY === 0;
  const isThrift = !stream && number % THRIFT_EVERY === 0;
  const payload = isThrift ? thrift.body(random) : mutated(seeds, random);
  const began = performance.now();
  try {
    if (stream) checker.checkStream(payload, random);
    const outcome = stream ? "stream" : isThrift ? thrift.check(payload) : checker.check(payload, random);
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  } catch (error) {
    fail(number, payload, error);
  }
  return { payload, milliseconds: performance.now() - began };
}

/** Likewise: what a byte of a payload costs. */
function runCost(number: number): void {
  const repeated = repetition(new Random(seed * 1_000_003 + number));
  try {
    meter.check(repeated);
  } catch (error) {
    fail(number, repeated.payload, error);
  }
}

function fail(number: number, payload: Uint8Array, error: unknown): never {
  const file = join(tmpdir(), `ktf-fuzz-${seed}-${number}.bin`);
  writeFileSync(file, payload);
  process.stderr.write(
    `fuzz: seed ${seed}, case ${number}, payload in ${file}: ${error instanceof Error ? error.stack : String(error)}\n`,
  );
  process.exit(1);
}

/** Bytes that the process has resident, without garbage: the allocator takes a moment to give its memory back. */
function residentBytes(): number {
  for (let times = 0; times < COLLECTIONS; times++) {
    Bun.gc(true);
    Bun.sleepSync(PAUSE_MS);
  }
  return process.memoryUsage().rss;
}

let slowest = 0;
let done = 0;
let settled = 0;
const began = performance.now();
for (; done < cases && performance.now() < deadline; done++) {
  let { payload, milliseconds } = runCase(done);
  for (let tries = 0; milliseconds > CASE_LIMIT_MS && tries < SECOND_TRIES; tries++) {
    Bun.sleepSync(PAUSE_MS);
    ({ payload, milliseconds } = runCase(done));
  }
  if (milliseconds > CASE_LIMIT_MS) fail(done, payload, new Error(`it took ${milliseconds} ms`));
  slowest = Math.max(slowest, milliseconds);
  if (done >= COST_FROM && done % COST_EVERY === 0) runCost(done);
  if (done === Math.floor(cases / 10)) settled = residentBytes();
}
const grown = residentBytes() - settled;
process.stdout.write(
  `fuzz: ${done} cases in ${((performance.now() - began) / 1000).toFixed(0)} s, seed ${seed}: ${
    JSON.stringify(outcomes)
  }; slowest ${slowest.toFixed(1)} ms; memory grew by ${(grown / 1e6).toFixed(0)} MB; ` +
    `costliest byte ${meter.worst.ratio.toFixed(1)} times plain JSON's (${meter.worst.what})\n`,
);
if (settled > 0 && grown > GROWTH_LIMIT) {
  process.stderr.write(`fuzz: memory grew by ${grown} bytes, more than ${GROWTH_LIMIT}\n`);
  process.exit(1);
}
