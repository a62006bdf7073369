// Measures what docs/performance.md promises, with the compiled executable where a process is meant.
// Use: scripts/bench [--guests N] [--spans N] [--rate N] [--fixture NAME] [--json FILE]
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { measureDecode } from "./decode.ts";
import { runLoad, startForwarder, startStub } from "./processes.ts";

/** Above this ratio of slowest to fastest of equal work, the machine is busy with something else. */
const NOISE_LIMIT = 1.25;

interface Row {
  readonly figure: string;
  readonly value: number;
  readonly unit: string;
  /** `min`: at least the goal; `max`: at most. */
  readonly goal: { readonly kind: "min" | "max"; readonly value: number };
  /** How many times as fast as the Rust crates' decoding alone, in the same run. */
  readonly ratio?: number;
}

const { values: options } = parseArgs({
  options: {
    guests: { type: "string", default: "100" },
    spans: { type: "string", default: "1000000" },
    rate: { type: "string", default: "1000" },
    fixture: { type: "string", default: "load" },
    json: { type: "string", default: "dist/bench.json" },
  },
});
const guests = Number(options.guests);
const spans = Number(options.spans);
const rate = Number(options.rate);

/** Equal pieces of work, timed: how unequal they come out is the machine's noise. */
function noise(): number {
  const times: number[] = [];
  for (let i = 0; i < 12; i++) {
    const began = performance.now();
    let x = 1;
    for (let n = 0; n < 2e7; n++) x = (x * 1103515245 + 12345) & 0x7fffffff;
    if (x === -1) throw new Error("unreachable: keeps the loop alive");
    times.push(performance.now() - began);
  }
  const warm = times.slice(4);
  return Math.max(...warm) / Math.min(...warm);
}

/** Nanoseconds a span by the Rust crates, or undefined where there is no reference. */
function reference(encoding: "bincode" | "json"): number | undefined {
  const agent = process.env["KTF_AGENT"];
  if (agent === undefined || agent === "") return undefined;
  const file = `test/fixtures/${options.fixture}.${
    encoding === "json" ? "json-frames" : "bincode"
  }`;
  const output = execFileSync(agent, [
    "bench",
    "--file",
    file,
    "--encoding",
    encoding,
    "--seconds",
    "4",
  ]);
  return (JSON.parse(output.toString()) as { ns_per_span: number }).ns_per_span;
}

function decodeRow(encoding: "bincode" | "json", goal: number): Row {
  const file = `${options.fixture}.${encoding === "json" ? "json-frames" : "bincode"}`;
  const ours = measureDecode(file);
  const rust = reference(encoding);
  return {
    figure: `${encoding} → OTLP, one core`,
    value: 1000 / ours,
    unit: "million spans/s",
    goal: { kind: "min", value: goal },
    ...(rust === undefined ? {} : { ratio: rust / ours }),
  };
}

async function waitForSpans(
  stub: Awaited<ReturnType<typeof startStub>>,
  expected: number,
): Promise<void> {
  let last = -1;
  for (let still = 0; still < 100;) {
    const { spans: got } = await stub.figures();
    if (got >= expected) return;
    still = got === last ? still + 1 : 0;
    last = got;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`only ${last} of ${expected} spans arrived`);
}

async function processRows(): Promise<Row[]> {
  const directory = mkdtempSync(join(tmpdir(), "ktf-bench-"));
  const stub = await startStub();
  try {
    const starts: number[] = [];
    const idles: number[] = [];
    for (let i = 0; i < 5; i++) {
      const idle = await startForwarder(join(directory, `idle-${i}.sock`), stub.port);
      starts.push(idle.startMs);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      idles.push(idle.residentMb().now);
      await idle.stop();
    }
    const median = (numbers: number[]): number =>
      numbers.sort((a, b) => a - b)[numbers.length >> 1] as number;

    await stub.reset(false);
    const socket = join(directory, "load.sock");
    const loaded = await startForwarder(socket, stub.port);
    const cpuBefore = loaded.cpuSeconds();
    const began = performance.now();
    await runLoad(socket, `${options.fixture}.bincode`, guests, spans, 0);
    await waitForSpans(stub, spans);
    const seconds = (performance.now() - began) / 1000;
    const cpu = loaded.cpuSeconds() - cpuBefore;
    const { peak } = loaded.residentMb();
    await loaded.stop();

    const paced = join(directory, "paced.sock");
    const latent = await startForwarder(paced, stub.port);
    // The first seconds warm the code up, as a running service is.
    await stub.reset(true);
    await runLoad(paced, `${options.fixture}.bincode`, 10, rate * 3, rate);
    await waitForSpans(stub, rate * 3);
    await stub.reset(true);
    await runLoad(paced, `${options.fixture}.bincode`, 10, rate * 15, rate);
    await waitForSpans(stub, rate * 15);
    const { p99 } = await stub.figures();
    await latent.stop();

    return [
      {
        figure: `whole process, ${guests} guests → OTLP/HTTP, ${spans} spans`,
        value: cpu / (spans / 1e6),
        unit: "CPU s per million spans",
        goal: { kind: "max", value: 1.5 },
      },
      {
        figure: "the same, by the clock (no goal: the load shares the machine)",
        value: spans / seconds / 1e6,
        unit: "million spans/s",
        goal: { kind: "min", value: 0 },
      },
      {
        figure: "peak resident memory at that load",
        value: peak,
        unit: "MB",
        goal: { kind: "max", value: 120 },
      },
      {
        figure: "resident memory, idle",
        value: median(idles),
        unit: "MB",
        goal: { kind: "max", value: 50 },
      },
      {
        figure: "start to listening",
        value: median(starts),
        unit: "ms",
        goal: { kind: "max", value: 100 },
      },
      {
        figure: `guest's write to collector's receipt, ${rate} spans/s, p99`,
        value: p99,
        unit: "ms",
        goal: { kind: "max", value: 100 },
      },
    ];
  } finally {
    stub.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

function printTable(rows: readonly Row[], noiseRatio: number): void {
  const cell = (n: number): string => n.toFixed(n < 10 ? 2 : 0);
  process.stdout.write(
    "| figure | measured | goal | reached | times the Rust crates' speed |\n|---|---|---|---|---|\n",
  );
  for (const row of rows) {
    const goal = row.goal.value === 0
      ? "–"
      : `${row.goal.kind === "min" ? "≥" : "≤"} ${row.goal.value}`;
    const reached = row.goal.value === 0 ? "–" : meets(row) ? "yes" : "no";
    const ratio = row.ratio === undefined ? "–" : row.ratio.toFixed(2);
    process.stdout.write(
      `| ${row.figure} | ${cell(row.value)} ${row.unit} | ${goal} | ${reached} | ${ratio} |\n`,
    );
  }
  if (noiseRatio > NOISE_LIMIT) {
    process.stdout.write(
      `\nThe machine was too noisy to judge: equal work took up to ${
        noiseRatio.toFixed(2)
      } times as long (limit ${NOISE_LIMIT}).\n`,
    );
  }
}

function meets(row: Row): boolean {
  const within = row.goal.kind === "min"
    ? row.value >= row.goal.value
    : row.value <= row.goal.value;
  return within && (row.ratio === undefined || row.ratio >= 1);
}

const before = noise();
const rows = [decodeRow("bincode", 1.5), decodeRow("json", 0.5), ...(await processRows())];
const noiseRatio = Math.max(before, noise());
printTable(rows, noiseRatio);
writeFileSync(
  options.json,
  `${
    JSON.stringify(
      { rows, noise: noiseRatio, guests, spans, rate, fixture: options.fixture },
      null,
      2,
    )
  }\n`,
);
process.exit(0);
