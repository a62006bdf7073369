import process from "node:process";
import { COLLECTOR, RUST_FORWARDER, type System } from "./contenders.ts";
import type { LoadEncoding } from "./frames.ts";
import { InstructionCounter, missingForCounting } from "./instruction-counter.ts";
import { median } from "./machine.ts";
import type { Context, Measured } from "./parts.ts";
import { atMost, type Comparison, type Row } from "./report.ts";
import type { InstructionRun } from "./whole-process.ts";

type Protocol = "grpc" | "http";

/** A unit of instructions: 10^9, Ginstr. */
const BILLION = 1e9;
/**
 * So many times fewer spans are sent to the Rust forwarder and to the Collector, which execute several times as many
 * instructions and take as long in QEMU. The Rust forwarder has nothing to warm up.
 */
const FEWER: Readonly<Partial<Record<System, number>>> = { rust: 10, collector: 3 };
const UNIT = "Ginstr per million spans";
const NOTE =
  "Instructions are those of a process's own code (user mode, all threads, not the kernel's), from its start until a " +
  "million spans have been received, counted under QEMU in the round with the least. With fewer spans (--spans) the " +
  "figure for a million is higher, because what is compiled is the same.";

/** One of the paths whose instructions are counted, and its goals. */
interface Path {
  readonly encoding: LoadEncoding;
  readonly protocol: Protocol;
  /** 10⁹ instructions for a million spans. */
  readonly goal: number;
  /** As a share of the other systems' instructions. */
  readonly rustGoal?: number;
  readonly collectorGoal?: number;
}

const PATHS: readonly Path[] = [
  { encoding: "json", protocol: "grpc", goal: 7, rustGoal: 0.15, collectorGoal: 0.25 },
  { encoding: "json", protocol: "http", goal: 7 },
  { encoding: "bincode", protocol: "grpc", goal: 5.5 },
  { encoding: "bincode", protocol: "http", goal: 5.5 },
];

/** How many instructions a million small spans take, beside other systems. */
export async function measureInstructions(context: Context): Promise<Measured> {
  const missing = missingForCounting();
  if (missing !== undefined) {
    process.stderr.write(`scripts/bench: instructions are not counted, because ${missing}\n`);
    return { rows: [], notes: [], raw: { instructions: {} } };
  }
  const found: Record<string, readonly InstructionRun[]> = {};
  const counter = new InstructionCounter(context.directory);
  const count = async (system: System, encoding: LoadEncoding, protocol: Protocol) => {
    const name = `${system}: ${system === "collector" ? "OTLP" : nameOf(encoding)} → OTLP/${nameOf(protocol)}`;
    return found[name] ??= await runs(context, counter, name, system, encoding, protocol);
  };
  const rows: Row[] = [];
  const starts: number[] = [];
  for (const { encoding, protocol, goal, rustGoal, collectorGoal } of PATHS) {
    const ours = await count("forwarder", encoding, protocol);
    const comparisons: Comparison[] = [];
    const against = (other: string, others: readonly InstructionRun[], goal?: number): void => {
      const ratio = least(ours).total / least(others).total;
      comparisons.push({ with: other, ratio, ...(goal !== undefined && { goal: atMost(goal) }) });
    };
    if (RUST_FORWARDER !== undefined) {
      against("the Rust forwarder's", await count("rust", encoding, protocol), rustGoal);
    }
    // What it is fed with is the same in JSON and bincode.
    if (COLLECTOR !== undefined) against("the Collector's", await count("collector", "json", protocol), collectorGoal);
    against("the floor's over HTTP", await count("floor", encoding, "http"));
    const { total, mainThread, start } = least(ours);
    rows.push(
      { ...row(`${nameOf(encoding)} → OTLP/${nameOf(protocol)}`, ours), goal: atMost(goal), comparisons },
      {
        figure: "– of threads that compile, collect garbage and so on",
        value: (total - mainThread) / BILLION,
        unit: UNIT,
      },
    );
    starts.push(start);
  }
  rows.push({ figure: "– before the first connection", value: median(starts) / BILLION, unit: "Ginstr" });
  for (const [name, runs] of Object.entries(found)) {
    if (!name.startsWith("forwarder")) rows.push(row(name, runs));
  }
  return { rows, notes: [NOTE], raw: { instructions: found } };
}

/** Runs of the same work, the one with the least instructions first. */
async function runs(
  { whole, spans, guests, rounds }: Context,
  counter: InstructionCounter,
  name: string,
  system: System,
  encoding: LoadEncoding,
  protocol: Protocol,
): Promise<readonly InstructionRun[]> {
  const load = { fixture: "load", spanBytes: 0, guests, spans: Math.ceil(spans / (FEWER[system] ?? 1)) };
  const way = { system, ...(protocol === "grpc" && { protocol }) };
  const found: InstructionRun[] = [];
  for (let i = 0; i < rounds; i++) {
    const run = await whole.instructions(encoding, load, way, counter);
    process.stderr.write(`${name}, ${load.spans} spans: ${(run.total / BILLION).toFixed(2)} ${UNIT}\n`);
    found.push(run);
  }
  return found.sort((a, b) => a.total - b.total);
}

function row(figure: string, found: readonly InstructionRun[]): Row {
  const [value = NaN, ...more] = found.map(({ total }) => total / BILLION);
  return { figure: `instructions in user mode, ${figure}`, value, unit: UNIT, spread: [value, more.at(-1) ?? value] };
}

function least([first]: readonly InstructionRun[]): InstructionRun {
  return first as InstructionRun;
}

function nameOf(way: LoadEncoding | Protocol): string {
  return { json: "JSON", bincode: "bincode", grpc: "gRPC", http: "HTTP" }[way];
}
