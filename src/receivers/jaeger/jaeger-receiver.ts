import { type Logger, rateLimited, type RateLimitedLogger } from "../../base/log.ts";
import type { JaegerBatch } from "../../decode/jaeger-thrift/decoder.ts";
import type { HttpConnection } from "../../http/messages.ts";
import { EncodedSpans, type PackedSpans } from "../../otlp/encoded-spans.ts";
import type { InvalidReason } from "../../pipeline/invalid-reason.ts";
import type { Metrics, ReceiverMetrics } from "../../pipeline/metrics.ts";
import type { SandboxLookup } from "../../pipeline/sandbox-lookup.ts";
import type { SpanSink } from "../../pipeline/sink.ts";
import type { KnownSandboxes } from "../accounts/known-sandboxes.ts";
import type { FindPeer } from "../peers/peer-finder.ts";
import type { DroppedBatches, JaegerBatches } from "./endpoint.ts";
import { PeerSandboxes, type PeerWaits } from "./peer-sandboxes.ts";
import { RuntimeSources } from "./runtime-sources.ts";
import { ShimScans } from "./shim-scans.ts";
import { TraceSandboxes } from "./trace-sandboxes.ts";

/** The one encoding of its payloads. */
export const JAEGER_ENCODING = "jaeger-thrift";

const NO_WAITS: PeerWaits = { nameMs: 0, serviceMs: 0 };
const NONE_RUNS = (): Promise<ReadonlySet<string>> => Promise.resolve(new Set());

/** What the receiver works with. */
export interface JaegerReceiverOptions {
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly sandboxes: KnownSandboxes;
  readonly findPeer: FindPeer;
  /** What the host knows of sandboxes besides their IDs. Default: nothing. */
  readonly lookup?: SandboxLookup | undefined;
  /** How long runtimes' first spans wait at most until it is known whose they are. Default: not. */
  readonly waits?: PeerWaits;
  /** Finds the sandboxes whose shims run. Never rejects. Default: none is known to run. */
  readonly runningSandboxes?: () => Promise<ReadonlySet<string>>;
}

/**
 * Takes in what Kata's runtimes have sent and an endpoint has answered for: finds out whose spans they are, counts them
 * and hands them on.
 */
export class JaegerReceiver implements JaegerBatches {
  readonly #allMetrics: Metrics;
  readonly #metrics: ReceiverMetrics;
  readonly #log: RateLimitedLogger;
  readonly #sandboxes: KnownSandboxes;
  readonly #lookup: SandboxLookup | undefined;
  readonly #scans: ShimScans;
  readonly #peers: PeerSandboxes;
  readonly #traces = new TraceSandboxes();
  /** Of batches that had to wait, which may be released while a new one is being taken. */
  readonly #heldSpans = new EncodedSpans();
  #sources: RuntimeSources | undefined;

  constructor(options: JaegerReceiverOptions) {
    const { metrics, log, sandboxes, findPeer, lookup, waits = NO_WAITS, runningSandboxes = NONE_RUNS } = options;
    this.#allMetrics = metrics;
    this.#metrics = metrics.receiver("jaeger", [JAEGER_ENCODING]);
    this.#log = rateLimited(log);
    this.#sandboxes = sandboxes;
    this.#lookup = lookup;
    this.#scans = new ShimScans(sandboxes, runningSandboxes);
    this.#peers = new PeerSandboxes({
      find: findPeer,
      lookup,
      waits,
      sandboxes,
      scans: this.#scans,
      onBatch: ({ batch, spans }, connection) => this.#takeHeld(batch, spans, connection),
    });
  }

  /** To be called before the endpoint begins to answer. */
  begin(sink: SpanSink): void {
    this.#sources = new RuntimeSources(sink, this.#lookup);
  }

  /** No more batches come: hands on what waits, and closes its sources. */
  close(): void {
    this.#scans.close();
    this.#peers.close();
    this.#sources?.closeAll();
    this.#log.flush();
  }

  connected(connection: HttpConnection): void {
    this.#peers.connected(connection);
  }

  disconnected(connection: HttpConnection): void {
    this.#peers.disconnected(connection);
    this.#sources?.disconnected(connection);
  }

  invalid(reason: InvalidReason, bodyBytes: number): void {
    this.#metrics.receivedBytes += bodyBytes;
    this.#metrics.invalidate(reason);
  }

  take(batch: JaegerBatch, spans: EncodedSpans, bodyBytes: number, connection: HttpConnection): void {
    this.#count({ ...batch, batches: 1, bodyBytes });
    if (spans.count === 0) return;
    const sandbox = this.#sandboxOf(batch, spans, connection);
    const isKnown = sandbox !== undefined && (this.#lookup === undefined || this.#lookup.known(sandbox) !== undefined);
    if (!isKnown && this.#peers.hold(connection, batch, spans, sandbox !== undefined)) return;
    this.#handOn(spans, sandbox, connection);
    if (sandbox !== undefined) this.#peers.named(connection);
  }

  dropped(dropped: DroppedBatches): void {
    this.#count(dropped);
    this.#metrics.received += dropped.spans;
    this.#allMetrics.dropEverywhere("queue-full", dropped.spans);
    this.#log.warn("runtimes' oldest spans were dropped, because the forwarder had no time for them", {
      spans: dropped.spans,
    });
  }

  /** Counts everything but the spans. */
  #count({ batches, bodyBytes, noise, invalid }: Omit<DroppedBatches, "spans">): void {
    const metrics = this.#metrics;
    metrics.receivedBytes += bodyBytes;
    metrics.payloads[JAEGER_ENCODING] = (metrics.payloads[JAEGER_ENCODING] ?? 0) + batches;
    metrics.leaveOut("http2-noise", noise);
    for (const [reason, spans] of invalid) metrics.invalidate(reason, spans);
  }

  #takeHeld(batch: JaegerBatch, packed: PackedSpans, connection: HttpConnection): void {
    const spans = this.#heldSpans;
    spans.unpack(packed);
    this.#handOn(spans, this.#sandboxOf(batch, spans, connection), connection);
    spans.clear();
  }

  /** Whose spans a batch has: its own word comes first, because one connection may be many runtimes'. */
  #sandboxOf(
    { sandboxId, serviceName }: JaegerBatch,
    spans: EncodedSpans,
    connection: HttpConnection,
  ): string | undefined {
    return sandboxId ?? this.#sandboxes.ofService(serviceName) ?? this.#peers.of(connection) ?? this.#traces.of(spans);
  }

  #handOn(spans: EncodedSpans, sandbox: string | undefined, connection: HttpConnection): void {
    if (this.#sources === undefined) throw new Error("spans of a runtime came before the receiver began");
    this.#metrics.received += spans.count;
    if (sandbox !== undefined) this.#traces.learn(spans, sandbox);
    this.#sources.get(sandbox, connection).accept(spans);
    // The client may have gone while its request waited, before there was a source for it.
    if (!connection.isOpen) this.#sources.disconnected(connection);
  }
}
