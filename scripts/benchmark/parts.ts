import process from "node:process";
import { type DecodeFigures, measureDecode } from "./decode.ts";
import { COLLECTOR, RUST_FORWARDER, type System } from "./contenders.ts";
import { type LoadEncoding, meanBytes } from "./frames.ts";
import { doubtsAboutDecoding, doubtsAboutRuns } from "./doubts.ts";
import { measureInstructions } from "./instructions.ts";
import { median } from "./machine.ts";
import { measureProcessors } from "./processors.ts";
import { measureRuntimes } from "./runtimes.ts";
import { atLeast, atMost, type Comparison, type Row } from "./report.ts";
import { measureWakeUps } from "./wake-ups.ts";
import type { LoadOptions, LoadRun, Way, WholeProcess } from "./whole-process.ts";

/** What is measured with. */
export interface Context {
  readonly guests: number;
  /** How many each run sends, small ones; of larger ones fewer. */
  readonly spans: number;
  readonly rounds: number;
  /** The program in test/agent; absent: there is no Rust. */
  readonly agent: string | undefined;
  readonly whole: WholeProcess;
  /** Where files may be written for as long as the benchmark runs. */
  readonly directory: string;
}

/** What a part of the benchmark has found. */
export interface Measured {
  readonly rows: readonly Row[];
  /** Reasons to doubt it. */
  readonly notes: readonly string[];
  /** Everything, for the file. */
  readonly raw: unknown;
}

/** How often an idle process is started. */
const IDLE_ROUNDS = 7;
/** Of spans that are so many times as large as the small ones, so many times fewer are sent. */
const SMALL_BYTES = 1200;
const LEAST_SPANS = 200;
/** Spans of a megabyte and more. All connections are one guest's here, which may not hold several of them. */
const FILE_SPANS = 60;

function most(figure: string, value: number, unit: string, goal?: number): Row {
  return { figure, value, unit, ...(goal !== undefined && { goal: atMost(goal) }) };
}

/** Runs of the same work, the quietest first: the one with the least CPU time. */
async function runs(
  { whole, rounds, spans, guests }: Context,
  fixture: string,
  encoding: LoadEncoding,
  way: Way = {},
  some: Partial<LoadOptions> = {},
): Promise<LoadRun[]> {
  const fewer = Math.max(LEAST_SPANS, Math.round(spans * Math.min(1, SMALL_BYTES / meanBytes(fixture, encoding))));
  const options = { fixture, spanBytes: 0, guests, spans: fewer, ...some };
  const found: LoadRun[] = [];
  const what = `${way.system ?? "forwarder"}, ${options.spans} spans in ${encoding} of ${fixture}`;
  for (let i = 0; i < rounds; i++) {
    const run = await whole.load(encoding, options, way);
    process.stderr.write(`${what}, ${JSON.stringify(way)}: ${run.cpuPerMillion.toFixed(2)} CPU s per million\n`);
    found.push(run);
  }
  return found.sort((a, b) => a.cpuPerMillion - b.cpuPerMillion);
}

function loadRow(figure: string, found: readonly LoadRun[], comparisons?: readonly Comparison[]): Row {
  const all = found.map(({ cpuPerMillion }) => cpuPerMillion);
  const [value = NaN] = all;
  return {
    ...{ figure, value, unit: "CPU s per million spans", spread: [value, all.at(-1) as number] },
    ...(comparisons !== undefined && { comparisons }),
  };
}

function peakRow(found: readonly LoadRun[], goal?: number): Row {
  return most("– peak resident memory", Math.max(...found.map(({ peakMb }) => peakMb)), "MB", goal);
}

function clockRow([quietest]: readonly LoadRun[]): Row {
  return { figure: "– by the clock", value: (quietest as LoadRun).millionPerSecond, unit: "million spans/s" };
}

function decodeRow(figure: string, { ours, reference }: DecodeFigures, goal: number): Row {
  return {
    ...{ figure: `${figure} → OTLP, one core`, value: 1000 / ours.best, unit: "million spans/s" },
    spread: [1000 / ours.median, 1000 / ours.best],
    ...(reference && {
      comparisons: [{ with: "the Rust crates' speed", ratio: reference.best / ours.best, goal: atLeast(goal) }],
    }),
  };
}

/** Decoding alone. */
async function decode({ agent }: Context): Promise<Measured> {
  const measured: DecodeFigures[] = [];
  const row = async (figure: string, fixture: string, encoding: LoadEncoding, goal: number): Promise<Row> => {
    const figures = await measureDecode(fixture, encoding, agent);
    measured.push(figures);
    return decodeRow(figure, figures, goal);
  };
  const rows = [
    await row("JSON, small spans", "load", "json", 6),
    await row("bincode, small spans", "load", "bincode", 3),
    await row("JSON, a real session", "session", "json", 5),
    await row("bincode, a real session", "session", "bincode", 2.5),
    await row("JSON, a busy sandbox", "busy", "json", 5),
    await row("bincode, a busy sandbox", "busy", "bincode", 2.5),
    await row("JSON, 72 % escaped text", "traced", "json", 5),
  ];
  return { rows, notes: doubtsAboutDecoding(measured), raw: { decode: measured } };
}

/** The whole way of small spans, and of a real session, beside other systems. */
async function compare(context: Context): Promise<Measured> {
  const others: Record<string, LoadRun[]> = {};
  const other = async (system: System, fixture: string, encoding: LoadEncoding, way: Way): Promise<LoadRun[]> =>
    others[`${system} ${fixture} ${encoding} ${way.protocol ?? "http"}`] ??= await runs(context, fixture, encoding, {
      ...way,
      system,
    });
  const all: LoadRun[][] = [];
  const rows: Row[] = [];
  const add = async (fixture: string, encoding: LoadEncoding, way: Way, goals: readonly number[], peak?: number) => {
    const ours = await runs(context, fixture, encoding, way);
    all.push(ours);
    const comparisons: Comparison[] = [];
    const against = async (system: System, name: string, goal?: number): Promise<void> => {
      // What they are fed with is the same in JSON and bincode.
      const found = await other(system, fixture, system === "collector" ? "json" : encoding, way);
      comparisons.push({
        with: `${name} CPU time`,
        ratio: (ours[0] as LoadRun).cpuPerMillion / (found[0] as LoadRun).cpuPerMillion,
        ...(goal !== undefined && { goal: atMost(goal) }),
      });
    };
    if (RUST_FORWARDER !== undefined) await against("rust", "the Rust forwarder's", goals[0]);
    if (COLLECTOR !== undefined) await against("collector", "the Collector's", goals[1]);
    if (way.protocol === undefined) await against("floor", "the floor's");
    const name = `${fixture === "load" ? "" : "a real session, "}${encoding === "json" ? "JSON" : "bincode"}`;
    rows.push(loadRow(`${name} → OTLP/${way.protocol === "grpc" ? "gRPC" : "HTTP"}`, ours, comparisons));
    rows.push(clockRow(ours), peakRow(ours, peak));
  };
  await add("load", "json", { protocol: "grpc" }, [0.15, 0.25], 100);
  await add("load", "json", {}, []);
  await add("load", "bincode", { protocol: "grpc" }, [], 90);
  await add("load", "bincode", {}, []);
  await add("session", "json", { protocol: "grpc" }, []);
  await add("session", "bincode", { protocol: "grpc" }, []);
  for (const [name, found] of Object.entries(others)) {
    const [system, fixture, encoding, protocol] = name.split(" ");
    const from = system === "collector" ? "OTLP" : encoding;
    rows.push(loadRow(`${system}: ${fixture}, ${from} → OTLP/${protocol}`, found), peakRow(found));
  }
  return { rows, notes: doubtsAboutRuns(all.map(([run]) => run as LoadRun)), raw: { compare: { all, others } } };
}

/** What the size of frames, a spool and compression cost. */
async function variants(context: Context): Promise<Measured> {
  const rows: Row[] = [];
  const all: LoadRun[][] = [];
  const add = async (
    figure: string,
    fixture: string,
    encoding: LoadEncoding,
    way: Way,
    some = {},
  ): Promise<LoadRun> => {
    const found = await runs(context, fixture, encoding, way, some);
    all.push(found);
    rows.push(loadRow(figure, found), peakRow(found, way.spooled === true ? 120 : undefined));
    return found[0] as LoadRun;
  };
  const plain = await add("bincode → OTLP/HTTP", "load", "bincode", {});
  const spooled = await add("the same with --spool-dir", "load", "bincode", { spooled: true });
  rows.push(most("– what the spool adds", spooled.cpuPerMillion - plain.cpuPerMillion, "CPU s per million spans"));
  await add("JSON → OTLP/HTTP with gzip", "load", "json", { compression: "gzip" });
  await add("JSON → OTLP/gRPC with gzip", "load", "json", { protocol: "grpc", compression: "gzip" });
  const perByte = async (fixture: string, some = {}): Promise<number> => {
    const run = await add(`JSON → OTLP/gRPC, frames of ${fixture}`, fixture, "json", { protocol: "grpc" }, some);
    return run.cpuPerMillion / meanBytes(fixture, "json");
  };
  const small = await perByte("4k");
  for (const [fixture, some, goal] of [["60k", {}, 1], ["file", { spans: FILE_SPANS, guests: 1 }, 1]] as const) {
    const ratio = (await perByte(fixture, some)) / small;
    rows.push({
      figure: `– a byte of frames of ${fixture}`,
      value: ratio,
      unit: "times one of 4k",
      goal: atMost(goal),
    });
  }
  return { rows, notes: doubtsAboutRuns(all.map(([run]) => run as LoadRun)), raw: { variants: all } };
}

/** The same spans from fewer and more guests. */
async function guests(context: Context): Promise<Measured> {
  const rows: Row[] = [];
  const all: LoadRun[][] = [];
  for (const guests of [1, 10, 100, 1000]) {
    const found = await runs(context, "load", "json", { protocol: "grpc" }, { guests });
    all.push(found);
    rows.push(loadRow(`JSON → OTLP/gRPC, ${guests} guests`, found), peakRow(found));
  }
  for (const guests of [100, 300]) {
    const found = await runs(context, "load", "json", { protocol: "grpc" }, { guests, areSandboxes: true });
    all.push(found);
    rows.push(loadRow(`JSON → OTLP/gRPC, ${guests} sandboxes with a guest each`, found), peakRow(found));
  }
  return { rows, notes: doubtsAboutRuns(all.map(([run]) => run as LoadRun)), raw: { guests: all } };
}

/** How long a span takes. */
async function latency({ whole }: Context): Promise<Measured> {
  const rows: Row[] = [];
  const raw: unknown[] = [];
  for (const rate of [1000, 100_000]) {
    for (const encoding of ["bincode", "json"] as const) {
      const { p50, p99, cpuPerMillion } = await whole.latency("load", encoding, rate);
      raw.push({ rate, encoding, p50, p99, cpuPerMillion });
      rows.push(
        most(`guest's write → collector's receipt, p99, ${encoding}, ${rate} spans/s`, p99, "ms", 100),
        most("– median", p50, "ms"),
        most("– CPU time", cpuPerMillion, "CPU s per million spans"),
      );
    }
  }
  return { rows, notes: [], raw: { latency: raw } };
}

/** A process that has nothing to do, or cannot do it. */
async function idle({ whole, guests, spans }: Context): Promise<Measured> {
  const found = [];
  const floor = [];
  for (let i = 0; i < IDLE_ROUNDS; i++) {
    found.push(await whole.idle());
    floor.push(await whole.idle("empty"));
  }
  const beside = (value: number, empty: number): readonly Comparison[] => [
    { with: "an empty program's", ratio: value / empty },
  ];
  const startMs = median(found.map((run) => run.startMs));
  const idleMb = median(found.map((run) => run.residentMb));
  const full = await whole.collectorAway({ fixture: "load", spanBytes: 0, guests, spans });
  const rows = [
    {
      ...most("start → listening, median", startMs, "ms", 100),
      comparisons: beside(startMs, median(floor.map((run) => run.startMs))),
    },
    {
      ...most("resident memory, idle", idleMb, "MB", 48),
      comparisons: beside(idleMb, median(floor.map((run) => run.residentMb))),
    },
    most("– with 1,000 silent guests", await whole.idleGuests(), "MB"),
    most("– with a full queue (64 MiB), the collector away", full, "MB"),
  ];
  return { rows, notes: [], raw: { idle: found, empty: floor } };
}

/** The parts of the benchmark, by the names that `--only` takes. */
export const PARTS: Readonly<Record<string, (context: Context) => Promise<Measured>>> = {
  ...{ decode, compare, variants, guests, latency, idle },
  instructions: measureInstructions,
  runtimes: measureRuntimes,
  processors: measureProcessors,
  "wake-ups": measureWakeUps,
};
