import { createHash } from "node:crypto";
import { decodeJaegerThrift } from "../../../src/decode/jaeger-thrift/decoder.ts";
import { PayloadDecoder } from "../../../src/decode/payload-decoder.ts";
import { EncodedSpans } from "../../../src/otlp/encoded-spans.ts";
import type { SpanRecord } from "../../../src/otlp/span-record.ts";
import { Metrics } from "../../../src/pipeline/metrics.ts";
import type { SourceSink } from "../../../src/pipeline/sink.ts";
import type { Source } from "../../../src/pipeline/source.ts";
import { JoinTraces } from "../../../src/processors/join-traces/join-traces.ts";
import { SandboxFile } from "../../../src/processors/join-traces/sandbox-file.ts";
import { RecordingSink } from "../../receivers/support/recording-sink.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";

/** A sandbox's ID as containerd makes them. */
export const SANDBOX = "0123456789abcdef".repeat(4);

/** What the trace ID of a sandbox must be, computed anew. */
export function expectedIds(id: string): { readonly traceId: string; readonly rootId: string } {
  const hash = createHash("sha256").update(`kata-trace-forwarder sandbox ${id}`).digest("hex");
  return { traceId: `6b617461${hash.slice(0, 24)}`, rootId: hash.slice(32, 48) };
}

/** The IDs of {@link SANDBOX}, of which Firecracker's guests know only the first half. */
export const IDS = expectedIds(SANDBOX.slice(0, 32));

export function guest(id: string | undefined = SANDBOX, account = `guest of ${id}`): Source {
  const attributes = new Map<string, string | number>([["kata.vsock.cid", 3]]);
  if (id !== undefined) attributes.set("kata.sandbox.id", id);
  return { kind: "guest", name: account, account, attributes };
}

export function runtime(id: string | undefined = SANDBOX): Source {
  const attributes = new Map([["kata.component", "runtime"]]);
  if (id !== undefined) attributes.set("kata.sandbox.id", id);
  return { kind: "runtime", name: "runtime", account: `runtime:${id}`, attributes };
}

/** Joining, with a clock that a test sets, in front of a sink that records. */
export class Joining {
  readonly sink = new RecordingSink();
  readonly log = new RecordingLogger();
  readonly metrics = new Metrics();
  readonly join: JoinTraces;
  /** Unix milliseconds. */
  now = 1_800_000_000_000;

  /** @param file where sandboxes survive. @param shims the sandboxes whose runtimes run; absent: nobody knows. */
  constructor(file?: string, shims?: ReadonlySet<string>) {
    this.join = new JoinTraces({
      sink: this.sink,
      metrics: this.metrics,
      log: this.log,
      file: file === undefined ? undefined : new SandboxFile(file, this.log),
      runningSandboxes: shims && (() => Promise.resolve(new Set(shims))),
      now: () => this.now,
    });
  }

  /** Lets time pass, and what happens then happen. */
  pass(ms: number): void {
    this.now += ms;
    this.join.sandboxes.tick();
  }

  /** The spans that the forwarder has made itself. */
  get own(): SpanRecord[] {
    return this.sink.spans.filter(({ scope }) => scope.name === "kata-trace-forwarder");
  }

  /** The roots that it has made. */
  get roots(): SpanRecord[] {
    return this.own.filter(({ name }) => name === "sandbox");
  }
}

/** Hands payloads of an agent in, each by itself. */
export function acceptAll(way: SourceSink, payloads: readonly Uint8Array[]): void {
  const decoder = new PayloadDecoder();
  const spans = new EncodedSpans();
  for (const payload of payloads) {
    decoder.decode(payload, 0, payload.length, spans);
    way.accept(spans);
  }
}

/** Hands bodies of a runtime in. */
export function acceptBodies(way: SourceSink, bodies: readonly Uint8Array[]): void {
  const spans = new EncodedSpans();
  for (const body of bodies) {
    spans.clear();
    decodeJaegerThrift(body, 0, body.length, spans, { keepHttp2Noise: false });
    way.accept(spans);
  }
}

/** The value of a span's attribute; undefined if it has none. */
export function attributeOf(span: SpanRecord, key: string): string | boolean | undefined {
  const found = span.attributes.filter((each) => each.key === key);
  if (found.length > 1) throw new Error(`${key} twice`);
  return found[0]?.value.stringValue ?? found[0]?.value.boolValue;
}

/** The names of spans whose parent is not among them, sorted. */
export function rootsOf(spans: readonly SpanRecord[]): string[] {
  const ids = new Set(spans.map(({ spanId }) => spanId));
  return spans.filter(({ parentSpanId }) => !ids.has(parentSpanId)).map(({ name }) => name).sort();
}
