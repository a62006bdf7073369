import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { readBincode } from "./bincode-reference.ts";
import { readJson } from "./json-reference.ts";
import type { SpanRecord } from "./span-record.ts";

/** A stream in `test/fixtures` as an agent wrote it; the READMEs there say what each one is. */
export interface RecordedStream {
  /** The path below `test/fixtures`. */
  readonly file: string;
  readonly encoding: "bincode" | "json";
  /** How many spans arrive whole. */
  readonly spans: number;
  /** How many of them come before the frame that is cut, in a torn stream. */
  readonly tornAfter?: number;
  /** The file with what each span means, if there is one. */
  readonly expected?: string;
}

function real(name: string, spans: number, tornAfter?: number): RecordedStream {
  const encoding = name.includes("bincode") ? "bincode" : "json";
  const stream = { file: `real-agent/real-${name}`, encoding, spans } as const;
  return tornAfter === undefined ? stream : { ...stream, tornAfter };
}

function traced(folder: string, name: string, spans: number): RecordedStream {
  const encoding = folder === "opentelemetry-0.17" ? "json" : "bincode";
  const extension = encoding === "json" ? "json-frames" : "bincode";
  return { file: `${folder}/${name}.${extension}`, encoding, spans, expected: `${folder}/${name}.expected.jsonl` };
}

/** Streams of the real agent that are whole. */
export const REAL_STREAMS: readonly RecordedStream[] = [
  real("3.28.0-session.bincode", 93),
  real("3.28.0-session-traceparent.bincode", 94),
  real("3.28.0-busy.bincode.gz", 299),
  real("3.28.0-virtio-vsock-pid1.bincode", 44),
  real("4.1.0-session.json-frames", 95),
  real("4.1.0-session-1vcpu.json-frames", 94),
  real("4.1.0-session-traceparent.json-frames", 95),
  real("4.1.0-busy.json-frames.gz", 493),
  real("4.1.0-copyfile-1MiB.json-frames.gz", 36),
  real("4.1.0-virtio-vsock-pid1.json-frames", 43),
];

/** Streams made with the agents' crates through `tracing`, each with what its spans mean. */
export const TRACED_STREAMS: readonly RecordedStream[] = [
  traced("opentelemetry-0.14-traced", "session-isolated", 52),
  traced("opentelemetry-0.14-traced", "session-collated", 52),
  traced("opentelemetry-0.17", "session-isolated", 52),
  traced("opentelemetry-0.17", "session-collated", 52),
  traced("opentelemetry-0.17", "session-collated-empty-tracestate", 52),
  traced("opentelemetry-0.17", "random", 200),
  traced("opentelemetry-0.17", "big60k", 36),
];

/** Streams in which one frame is cut short, because the agent gave up its export in the middle. */
export const TORN_STREAMS: readonly RecordedStream[] = [
  { file: "torn/torn-then-34-whole.bincode", encoding: "bincode", spans: 36, tornAfter: 2 },
  { file: "torn/torn-then-34-whole.json-frames", encoding: "json", spans: 36, tornAfter: 2 },
  real("3.28.0-torn.bincode", 113, 101),
  real("4.1.0-torn.json-frames", 700, 253),
];

/** A stream's bytes. */
export function streamBytes(stream: RecordedStream): Uint8Array {
  const bytes = readFileSync(new URL(`../../fixtures/${stream.file}`, import.meta.url));
  return new Uint8Array(stream.file.endsWith(".gz") ? gunzipSync(bytes) : bytes);
}

/** What each span of a stream means, as it was recorded with it. */
export function expectedRecords(file: string): SpanRecord[] {
  const text = readFileSync(new URL(`../../fixtures/${file}`, import.meta.url), "utf8");
  return text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as SpanRecord);
}

/** What the independent readers make of a payload. */
export function readPayload(encoding: RecordedStream["encoding"], payload: Uint8Array): SpanRecord {
  return encoding === "json" ? readJson(payload) : readBincode(payload).record;
}

/**
 * The payloads of a stream that are whole. Where one is cut short, the next frame is looked for at every byte behind
 * its header: it is the first whose payload is a span. That is slow and obvious, and knows nothing of how the frame
 * reader goes about it.
 */
export function wholePayloads(encoding: RecordedStream["encoding"], stream: Uint8Array): Uint8Array[] {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.byteLength);
  const payloads: Uint8Array[] = [];
  for (let at = 0; at + 8 <= stream.length;) {
    const length = view.getBigUint64(at);
    const payload = stream.subarray(at + 8, at + 8 + Number(length));
    if (BigInt(payload.length) === length && length > 0n && isSpan(encoding, payload)) {
      payloads.push(payload);
      at += 8 + payload.length;
    } else {
      at++;
    }
  }
  return payloads;
}

function isSpan(encoding: RecordedStream["encoding"], payload: Uint8Array): boolean {
  try {
    readPayload(encoding, payload);
    return true;
  } catch {
    return false;
  }
}
