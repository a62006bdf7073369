/** The agent's side: real agents, and sets of spans from the crates that they are made of. */

import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { toAttributes, toValue } from "../../collector/spans.ts";
import type { Attributes, RawKeyValue, ReceivedSpan } from "../../collector/spans.ts";
import { program } from "./programs.ts";

/** What the host says of every span; it wins over the guest's own resource. */
export type HostWord = Readonly<Attributes>;

/** A span as an agent has told that it sent it. */
export interface SentSpan extends Omit<ReceivedSpan, "resource" | "scope"> {
  /** The agent's own resource. */
  readonly resource: Attributes;
}

/** How an agent behaves: see `kata-agent-side --help`. */
export interface AgentSettings {
  readonly encoding?: "bincode" | "json";
  readonly mode?: "isolated" | "collated";
  /** The runtime's span, for collated agents. */
  readonly traceparent?: string;
  readonly connections?: "static" | "dynamic";
  /** Sandboxes at the same time. */
  readonly sessions?: number;
  /** Milliseconds. */
  readonly pace?: number;
  readonly resource?: Readonly<Record<string, string>>;
  readonly sandboxId?: string;
}

/** How many spans one session of an agent has. */
export const SESSION_SPANS = 36;

/** How much of what a failed agent printed is told, characters. */
const LONGEST_COMPLAINT = 1_000;

let agents = 0;

/**
 * Runs an agent against a forwarder's socket; resolves once it has written all spans, with what they mean.
 *
 * @param directory an existing folder for the file in which it tells that.
 */
export async function runAgent(
  socket: string,
  directory: string,
  settings: AgentSettings = {},
): Promise<SentSpan[]> {
  const expected = join(directory, `agent-${agents++}.jsonl`);
  const { sandboxId, resource, ...plain } = settings;
  const options: [string, string | number][] = [
    ["--unix", socket],
    ["--expected", expected],
    ...Object.entries(plain).map(([name, value]): [string, string | number] => [
      `--${name}`,
      value,
    ]),
    ...Object.entries(resource ?? {}).map(([key, value]): [string, string] => [
      "--resource",
      `${key}=${value}`,
    ]),
  ];
  if (sandboxId !== undefined) options.push(["--sandbox-id", sandboxId]);
  await agentSide("agent", ...options.flat().map(String));
  return sentSpans(await readFile(expected, "utf8"));
}

/** A set of spans as frames in each encoding. */
export interface RecordedSet {
  readonly bincode: Uint8Array;
  readonly json: Uint8Array;
  readonly spans: readonly SentSpan[];
}

/** Records `spans` spans with everything that a span can have; the same seed gives the same spans. */
export async function recordRandom(
  directory: string,
  seed: number,
  spans: number,
): Promise<RecordedSet> {
  const options = ["--set", "random", "--out", directory];
  await agentSide("record", ...options, "--seed", String(seed), "--spans", String(spans));
  return await readSet(join(directory, "random"));
}

/** Reads a recorded set: `path` without the endings of its three files. */
export async function readSet(path: string): Promise<RecordedSet> {
  return {
    bincode: await readFile(`${path}.bincode`),
    json: await readFile(`${path}.json-frames`),
    spans: sentSpans(await readFile(`${path}.expected.jsonl`, "utf8")),
  };
}

/** Reads what the agent's side tells of spans, one JSON object a line. */
export function sentSpans(lines: string): SentSpan[] {
  return lines.split("\n").filter((line) => line !== "").map(sentSpan);
}

/** An expected span: see test/agent/README.md. */
interface ExpectedSpan {
  readonly attributes: readonly RawKeyValue[];
  readonly resource: readonly RawKeyValue[] | null;
  readonly traceFlags: number;
  readonly isRemote: boolean;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly events: readonly {
    readonly timeUnixNano: string;
    readonly name: string;
    readonly attributes: readonly RawKeyValue[];
    readonly droppedAttributesCount: number;
  }[];
  readonly links: readonly {
    readonly attributes: readonly RawKeyValue[];
    readonly traceFlags: number;
    readonly traceId: string;
    readonly spanId: string;
    readonly traceState: string;
    readonly droppedAttributesCount: number;
  }[];
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly traceState: string;
  readonly name: string;
  readonly kind: number;
  readonly droppedAttributesCount: number;
  readonly droppedEventsCount: number;
  readonly droppedLinksCount: number;
  readonly status: { readonly code: number; readonly message: string };
}

function sentSpan(line: string): SentSpan {
  // OTLP has no place for a span's own `isRemote`: the flag there is about its parent.
  const { isRemote: _, traceFlags, ...span } = JSON.parse(line) as ExpectedSpan;
  return {
    ...span,
    flags: traceFlags,
    startTimeUnixNano: BigInt(span.startTimeUnixNano),
    endTimeUnixNano: BigInt(span.endTimeUnixNano),
    attributes: toAttributes(span.attributes),
    resource: toAttributes(span.resource ?? []),
    events: span.events.map((event) => ({
      ...event,
      timeUnixNano: BigInt(event.timeUnixNano),
      attributes: event.attributes.map(pair),
    })),
    links: span.links.map(({ traceFlags, ...link }) => ({
      ...link,
      flags: traceFlags,
      attributes: link.attributes.map(pair),
    })),
  };
}

function pair({ key = "", value = {} }: RawKeyValue) {
  return [key, toValue(value)] as const;
}

async function agentSide(...options: readonly string[]): Promise<void> {
  const agent = program("KTF_AGENT");
  await new Promise<void>((resolve, reject) => {
    execFile(agent, options, (error, _, stderr) => {
      if (error === null) return resolve();
      // Many sessions complain a lot.
      const reason = stderr.slice(-LONGEST_COMPLAINT).trim();
      reject(new Error(`kata-agent-side ${options.join(" ")} failed: ${reason}`));
    });
  });
}
