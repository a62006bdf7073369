// Measures the figures of docs/performance.md, those of a whole process with the compiled executable.
// Use: scripts/bench (see there).
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { type DecodeFigures, measureDecode } from "./decode.ts";
import { median } from "./machine.ts";
import { startStub } from "./processes.ts";
import { printReport, type Row } from "./report.ts";
import { type LoadOptions, type LoadRun, WholeProcess } from "./whole-process.ts";

/** If equal work takes this many times as long as in the quietest round, the machine is busy with something else. */
const NOISE_LIMIT = 1.25;
/** It is also busy if other processes take more than this of one core. */
const OTHERS_LIMIT = 0.1;
/** The forwarder may have to wait for a helper that takes more than this of one core. */
const HELPER_LIMIT = 0.9;
/** How often an idle process is started. */
const IDLE_ROUNDS = 7;
/** Fewer spans are enough if each of them costs several times as much. */
const DEAR_SHARE = 1 / 3;
/** While a new process receives this many spans, it is still compiling its hot code. */
const COLD_SPANS = 1_000_000;

const { values } = parseArgs({
  options: {
    guests: { type: "string", default: "100" },
    spans: { type: "string", default: "3000000" },
    "span-bytes": { type: "string", default: "0" },
    rate: { type: "string", default: "1000" },
    rounds: { type: "string", default: "3" },
    fixture: { type: "string", default: "load" },
    json: { type: "string", default: "dist/bench.json" },
  },
});
const options: LoadOptions = {
  fixture: values.fixture,
  spanBytes: Number(values["span-bytes"]),
  guests: Number(values.guests),
  spans: Number(values.spans),
};
const rate = Number(values.rate);
const rounds = Number(values.rounds);
const agent = process.env["KTF_AGENT"] || undefined;

/** Rounds of the same work. The quietest is the one in which the forwarder took the least CPU time. */
async function quietest(measure: () => Promise<LoadRun>): Promise<LoadRun[]> {
  const runs: LoadRun[] = [];
  for (let i = 0; i < rounds; i++) runs.push(await measure());
  return runs.sort((a, b) => a.cpuPerMillion - b.cpuPerMillion);
}

function decodeRow(encoding: string, goal: number, { ours, reference }: DecodeFigures): Row {
  return {
    figure: `${encoding} → OTLP, one core`,
    value: 1000 / ours.best,
    unit: "million spans/s",
    spread: [1000 / ours.median, 1000 / ours.best],
    goal: { kind: "min", value: goal },
    ...(reference && { ratio: reference.best / ours.best }),
  };
}

function loadRow(figure: string, runs: readonly LoadRun[], goal?: number): Row {
  const all = runs.map(({ cpuPerMillion }) => cpuPerMillion);
  return {
    figure,
    value: all[0] as number,
    unit: "CPU s per million spans",
    spread: [all[0] as number, all.at(-1) as number],
    ...(goal !== undefined && { goal: { kind: "max", value: goal } }),
  };
}

function clockRow([quietest]: readonly LoadRun[]): Row {
  const { millionPerSecond } = quietest as LoadRun;
  return { figure: "– by the clock", value: millionPerSecond, unit: "million spans/s" };
}

function peakRow(runs: readonly LoadRun[], goal?: number): Row {
  const peak = Math.max(...runs.map(({ peakMb }) => peakMb));
  return most("– peak resident memory", peak, "MB", goal);
}

function most(figure: string, value: number, unit: string, goal?: number): Row {
  return { figure, value, unit, ...(goal !== undefined && { goal: { kind: "max", value: goal } }) };
}

/** Reasons to doubt the figures. */
function doubts(decoding: readonly DecodeFigures[], runs: readonly LoadRun[]): string[] {
  const unevenness = Math.max(...decoding.map(({ ours }) => ours.median / ours.best));
  const others = Math.max(...runs.map((run) => run.others));
  const helper = Math.max(...runs.flatMap(({ busy }) => [busy.load, busy.stub]));
  const found: string[] = [];
  if (unevenness > NOISE_LIMIT || others > OTHERS_LIMIT) {
    found.push(
      `The machine was too noisy to judge: equal work took ${unevenness.toFixed(2)} times as long as in the quietest ` +
        `round (limit ${NOISE_LIMIT}), other processes took ${others.toFixed(2)} of one core (limit ${OTHERS_LIMIT}).`,
    );
  }
  if (helper > HELPER_LIMIT) {
    found.push(
      `The load or the stub was ${(helper * 100).toFixed(0)} % busy: it may be what was measured.`,
    );
  }
  return found;
}

const directory = mkdtempSync(join(os.tmpdir(), "ktf-bench-"));
// The forwarder becomes another user, and its spool is below this directory.
chmodSync(directory, 0o755);
const stub = await startStub();
try {
  const forwarder = new WholeProcess(directory, stub);
  const bincode = await measureDecode(options.fixture, "bincode", agent);
  const json = await measureDecode(options.fixture, "json", agent);
  const loaded = await quietest(() => forwarder.load("bincode", options));
  const fewer = { ...options, spans: Math.round(options.spans * DEAR_SHARE) };
  const loadedJson = await quietest(() => forwarder.load("json", fewer));
  const grpc = await quietest(() => forwarder.load("bincode", fewer, { protocol: "grpc" }));
  const spooled = await quietest(() => forwarder.load("bincode", fewer, { spooled: true }));
  const cold = await quietest(() => forwarder.load("bincode", { ...options, spans: COLD_SPANS }));
  const idle = [];
  for (let i = 0; i < IDLE_ROUNDS; i++) idle.push(await forwarder.idle());
  const latency = await forwarder.latency(options, rate);
  const best = loaded[0] as LoadRun;

  const rows: Row[] = [
    decodeRow("bincode", 1.5, bincode),
    decodeRow("JSON", 0.5, json),
    loadRow(`whole process: ${options.guests} guests, bincode → OTLP/HTTP`, loaded, 1.5),
    clockRow(loaded),
    peakRow(loaded, 120),
    loadRow("– its first million alone, while code is compiled", cold, 1.5),
    loadRow("the same in JSON", loadedJson),
    clockRow(loadedJson),
    loadRow("the same over OTLP/gRPC", grpc),
    clockRow(grpc),
    peakRow(grpc),
    loadRow("the same with --spool-dir, over OTLP/HTTP", spooled),
    clockRow(spooled),
    peakRow(spooled),
    most("guest's write → collector's receipt, p99", latency.p99, "ms", 100),
    most("– median", latency.p50, "ms"),
    most("start → listening, median", median(idle.map(({ startMs }) => startMs)), "ms", 100),
    most("resident memory, idle", median(idle.map((run) => run.residentMb)), "MB", 50),
    most("– with 1,000 silent guests", await forwarder.idleGuests(), "MB"),
    most(
      "– with a full queue (64 MiB), the collector away",
      await forwarder.collectorAway(options),
      "MB",
    ),
  ];
  const { busy } = best;
  const percent = (part: number): string => `${(part * 100).toFixed(0)} %`;
  const notes = [
    `${os.availableParallelism()} × ${os.cpus()[0]?.model.trim() ?? "unknown processor"}, Linux ${os.release()}, ` +
    `${options.spans} spans, ${rounds} rounds, ${rate} spans/s for the latency.`,
    "Of decoding the best of many 20 ms rounds, here and in Rust; of the whole process the round with the least CPU " +
    "time of all threads, from its start on; in parentheses what the other rounds gave.",
    `In that round busy, of one core: the forwarder's main thread ${percent(busy.forwarder)}, ` +
    `the load ${percent(busy.load)}, the stub ${percent(busy.stub)}, other processes ${percent(best.others)}.`,
    ...doubts([bincode, json], [loaded, loadedJson, grpc, spooled].map(([run]) => run as LoadRun)),
  ];
  printReport(rows, notes);
  const all = {
    rows,
    notes,
    options,
    rate,
    decoding: { bincode, json },
    loaded,
    cold,
    loadedJson,
    grpc,
    spooled,
    idle,
    latency,
  };
  writeFileSync(values.json, `${JSON.stringify(all, null, 2)}\n`);
} finally {
  stub.stop();
  rmSync(directory, { recursive: true, force: true });
}
process.exit(0);
