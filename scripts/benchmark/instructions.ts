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
/** Programs that compile nothing while they run take long in QEMU, so they get so many times fewer spans. */
const FEWER = 3;
const FIGURE = "instructions in user mode";
const UNIT = "Ginstr per million spans";
const NOTE =
  "Instructions are those of a process's own code (user mode, all threads, not the kernel's), from its start " +
  "until a million spans have been received, counted under QEMU in one run. With fewer spans (--spans) their figure " +
  "for a million is higher, because what is compiled is the same.";

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
  const found: Record<string, InstructionRun> = {};
  const counter = new InstructionCounter(context.directory);
  const count = async (system: System, encoding: LoadEncoding, protocol: Protocol): Promise<InstructionRun> => {
    const name = `${system}: ${system === "collector" ? "OTLP" : nameOf(encoding)} → OTLP/${nameOf(protocol)}`;
    return found[name] ??= await run(context, counter, name, system, encoding, protocol);
  };
  const rows: Row[] = [];
  const starts: number[] = [];
  for (const { encoding, protocol, goal, rustGoal, collectorGoal } of PATHS) {
    const ours = await count("forwarder", encoding, protocol);
    const comparisons: Comparison[] = [];
    const against = (other: string, { total }: InstructionRun, goal?: number): void => {
      comparisons.push({ with: other, ratio: ours.total / total, ...(goal !== undefined && { goal: atMost(goal) }) });
    };
    if (RUST_FORWARDER !== undefined) {
      against("the Rust forwarder's", await count("rust", encoding, protocol), rustGoal);
    }
    // What it is fed with is the same in JSON and bincode.
    if (COLLECTOR !== undefined) against("the Collector's", await count("collector", "json", protocol), collectorGoal);
    against("the floor's over HTTP", await count("floor", encoding, "http"));
    rows.push(
      { ...row(`${FIGURE}, ${nameOf(encoding)} → OTLP/${nameOf(protocol)}`, ours.total, goal), comparisons },
      row("– of threads that compile, collect garbage and so on", ours.total - ours.mainThread),
    );
    starts.push(ours.start);
  }
  rows.push({ figure: "– before the first connection", value: median(starts) / BILLION, unit: "Ginstr" });
  for (const [name, { total }] of Object.entries(found)) {
    if (!name.startsWith("forwarder")) rows.push(row(`${FIGURE}, ${name}`, total));
  }
  return { rows, notes: [NOTE], raw: { instructions: found } };
}

async function run(
  { whole, spans, guests }: Context,
  counter: InstructionCounter,
  name: string,
  system: System,
  encoding: LoadEncoding,
  protocol: Protocol,
): Promise<InstructionRun> {
  const isCompiledBefore = system === "rust" || system === "collector";
  const load = { fixture: "load", spanBytes: 0, guests, spans: isCompiledBefore ? Math.ceil(spans / FEWER) : spans };
  const way = { system, ...(protocol === "grpc" && { protocol }) };
  const counted = await whole.instructions(encoding, load, way, counter);
  process.stderr.write(`${name}, ${load.spans} spans: ${(counted.total / BILLION).toFixed(2)} ${UNIT}\n`);
  return counted;
}

function row(figure: string, instructions: number, goal?: number): Row {
  return {
    ...{ figure, value: instructions / BILLION, unit: UNIT },
    ...(goal !== undefined && { goal: atMost(goal) }),
  };
}

function nameOf(way: LoadEncoding | Protocol): string {
  return { json: "JSON", bincode: "bincode", grpc: "gRPC", http: "HTTP" }[way];
}
