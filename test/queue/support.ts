import { Buffer } from "node:buffer";
import { CollectorDestination, type CollectorOptions } from "../../src/queue/collector-destination.ts";
import { Delivery, type DeliveryOptions } from "../../src/queue/delivery.ts";
import type { DeadLetters } from "../../src/pipeline/dead-letters.ts";
import type { BatchSettings } from "../../src/pipeline/settings.ts";
import type { HostResource } from "../../src/pipeline/source-overlay.ts";
import type { SourceSink } from "../../src/pipeline/sink.ts";
import type { Source } from "../../src/pipeline/source.ts";
import { type DestinationMetrics, Metrics, type ReceiverMetrics } from "../../src/pipeline/metrics.ts";
import { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import type { Exporter, ExportResult } from "../../src/pipeline/exporter.ts";
import { decodeRequest } from "../support/collector-stub.ts";
import { spanId } from "../support/numbers.ts";
import { RecordingLogger } from "../support/recording-logger.ts";

/** What a fake exporter is to answer to a request with these spans, its n-th from 0. */
export type Behaviour = (
  spanIds: readonly string[],
  request: number,
) => ExportResult | Promise<ExportResult>;

export const SUCCESS: ExportResult = { kind: "success" };
export const AWAY: ExportResult = { kind: "retryable", error: new Error("connection refused") };
export const BAD_SPAN: ExportResult = {
  kind: "rejected",
  error: new Error("400 bad span"),
  splitHelps: true,
};
export const REFUSED: ExportResult = { kind: "rejected", error: new Error("401 who are you") };

/** An exporter that answers as told, and counts what a collector would have taken. */
export class FakeExporter implements Exporter {
  readonly concurrency: number;
  behaviour: Behaviour;
  /** The ids of the spans of each request. */
  readonly requests: string[][] = [];
  /** How often each span was in a request that was answered with success. */
  readonly taken = new Map<string, number>();
  underWay = 0;
  mostUnderWay = 0;
  closed = false;

  constructor(behaviour: Behaviour = () => SUCCESS, concurrency = 3) {
    this.behaviour = behaviour;
    this.concurrency = concurrency;
  }

  async send(request: readonly Uint8Array[]): Promise<ExportResult> {
    const ids = decodeRequest(joined(...request)).map((span) => span.spanId);
    const index = this.requests.push(ids) - 1;
    this.underWay++;
    this.mostUnderWay = Math.max(this.mostUnderWay, this.underWay);
    // An answer never comes in the turn of the request.
    await new Promise((resolve) => setImmediate(resolve));
    let result: ExportResult;
    try {
      result = await this.behaviour(ids, index);
    } finally {
      this.underWay--;
    }
    if (result.kind === "success") {
      for (const id of ids) this.taken.set(id, (this.taken.get(id) ?? 0) + 1);
    }
    return result;
  }

  close(): void {
    this.closed = true;
  }
}

const UTF8 = new TextEncoder();

function field(tag: number, content: Uint8Array): Uint8Array {
  const length: number[] = [];
  let rest = content.length;
  for (; rest > 0x7f; rest >>>= 7) length.push((rest & 0x7f) | 0x80);
  return joined(Uint8Array.from([tag, ...length, rest]), content);
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/**
 * The fields of a `ResourceSpans` with one string attribute: `Resource.attributes` (1), `KeyValue` (key 1, value 2).
 */
export function resourceOf(key: string, value: string): Uint8Array {
  const any = field(0x0a, UTF8.encode(value));
  const keyValue = Uint8Array.from([
    ...field(0x0a, UTF8.encode(key)),
    ...field(0x12, any),
  ]);
  return field(0x0a, field(0x0a, keyValue));
}

/**
 * A payload of spans whose ids are given numbers: `ScopeSpans.spans` (2) with a span id (2) and a name (5) of so many
 * bytes, each with its own or with no resource.
 */
export function payload(
  numbers: readonly number[],
  { nameBytes = 10, resource = new Uint8Array(0) }: {
    nameBytes?: number;
    resource?: Uint8Array;
  } = {},
): EncodedSpans {
  const spans = new EncodedSpans();
  const { writer } = spans;
  const resourceStart = writer.position;
  writer.bytes(resource);
  const resourceEnd = writer.position;
  for (const number of numbers) {
    const id = Uint8Array.from(
      spanId(number).match(/../g) as string[],
      (byte) => parseInt(byte, 16),
    );
    const name = new Uint8Array(nameBytes).fill(0x61);
    const start = writer.position;
    writer.bytes(field(0x12, joined(field(0x12, id), field(0x2a, name))));
    spans.setResource(resourceStart, resourceEnd);
    spans.add(start, writer.position);
  }
  return spans;
}

/** The counters of a delivery to one collector, whose spans come from one receiver. */
export class TestMetrics extends Metrics {
  readonly sources: ReceiverMetrics = this.receiver("test");
  readonly collector: DestinationMetrics = this.destination("collector");

  get heldNow(): number {
    return this.held(this.collector);
  }
}

/** Dead letters that are read at once. */
export function deadLetters(read: (request: Uint8Array) => void): DeadLetters {
  return {
    write: (request) => {
      read(request);
      return Promise.resolve();
    },
  };
}

/** A guest with an account of its own. */
export function guestSource(name: string, attributes: Source["attributes"] = new Map()): Source {
  return { kind: "guest", name, account: name, attributes };
}

/** A source whose spans are counted as received, as a receiver does. */
export function send(metrics: TestMetrics, source: SourceSink, spans: EncodedSpans): void {
  metrics.sources.received += spans.count;
  source.accept(spans);
}

/** Whether at this moment every span received is accounted for, and those held are there one by one. */
export function balance(metrics: TestMetrics, delivery: TestDelivery): Record<string, number> {
  return {
    unaccounted: metrics.received + metrics.collector.recovered -
      (metrics.collector.forwarded + metrics.collector.droppedTotal + metrics.invalidTotal + metrics.heldNow),
    uncounted: metrics.heldNow - delivery.countHeld(),
  };
}
export const BALANCED: Record<string, number> = { unaccounted: 0, uncounted: 0 };

/** What a test may want otherwise than {@link setUp} has it. */
export type SetUpOptions = Partial<CollectorOptions> & { readonly batch?: BatchSettings } & Partial<HostResource>;

/** A delivery to one collector. */
export class TestDelivery extends Delivery {
  readonly collector: CollectorDestination;

  constructor(options: DeliveryOptions, collector: CollectorDestination) {
    super(options);
    this.collector = collector;
  }

  countHeld(): number {
    return this.countOpen() + this.collector.countSpans();
  }
}

/** A delivery with a fake exporter and quick retries. */
export function setUp(
  options: SetUpOptions = {},
  exporter: Exporter = new FakeExporter(),
): { delivery: TestDelivery; exporter: FakeExporter; metrics: TestMetrics; log: RecordingLogger } {
  const metrics = new TestMetrics();
  const log = new RecordingLogger();
  const { batch = { maxSpans: 10, maxBytes: 1024 * 1024, maxDelayMs: 5 }, ...others } = options;
  const collector = new CollectorDestination({
    exporter,
    limits: batch,
    queue: { maxBytes: 1024 * 1024, whenFull: "pause" },
    metrics: metrics.collector,
    log,
    retry: { initialMs: 4, maxMs: 8 },
    ...others,
  });
  const { traceName = "trace", resourceAttributes = new Map() } = options;
  const delivery = new TestDelivery(
    { batch, traceName, resourceAttributes, metrics, destinations: [collector] },
    collector,
  );
  return { delivery, exporter: exporter as FakeExporter, metrics, log };
}

/** The request that the child process puts in under a number: large and small ones, told apart by every byte. */
export function childRequest(sequence: number): Uint8Array {
  return new Uint8Array(10 + (sequence * 7919) % 60_000).fill(sequence % 251);
}
