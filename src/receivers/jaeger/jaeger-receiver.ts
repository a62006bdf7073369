import { type Logger, rateLimited, type RateLimitedLogger } from "../../base/log.ts";
import { decodeJaegerThrift, type JaegerBatch } from "../../decode/jaeger-thrift/decoder.ts";
import { WireError } from "../../decode/wire-error.ts";
import type { Http2Settings, HttpLimits } from "../../http/limits.ts";
import {
  type HttpAnswer,
  type HttpConnection,
  type HttpHead,
  type HttpRequest,
  textAnswer,
} from "../../http/messages.ts";
import { EncodedSpans } from "../../otlp/encoded-spans.ts";
import type { Metrics, ReceiverMetrics } from "../../pipeline/metrics.ts";
import type { SandboxLookup } from "../../pipeline/sandbox-lookup.ts";
import type { SpanSink } from "../../pipeline/sink.ts";
import type { KnownSandboxes } from "../accounts/known-sandboxes.ts";
import type { FindPeer } from "../peers/peer-finder.ts";
import type { JaegerCredentials } from "./credentials.ts";
import { PeerSandboxes } from "./peer-sandboxes.ts";
import { RequestCheck } from "./request-check.ts";
import { RuntimeSources } from "./runtime-sources.ts";
import { TraceSandboxes } from "./trace-sandboxes.ts";

/** The one encoding of its payloads. */
export const JAEGER_ENCODING = "jaeger-thrift";

const MEBIBYTE = 1024 * 1024;
/** In which everything is answered, milliseconds: a sandbox's start waits for it. */
const ANSWER_MS = 1_000;

/** What runtimes may use. */
export const JAEGER_LIMITS: HttpLimits = {
  // One for each sandbox's shim.
  maxConnections: 2048,
  maxOpenRequests: 100,
  maxHeaderBytes: 16 * 1024,
  maxBodyBytes: 16 * MEBIBYTE,
  maxTotalBodyBytes: 64 * MEBIBYTE,
  headerMs: ANSWER_MS,
  bodyMs: ANSWER_MS,
  answerMs: ANSWER_MS,
  // Both exporters close their own after 90 s. A request on a connection that is being closed here would be lost.
  idleMs: 600_000,
};

/**
 * The tracing of Kata 4's Rust runtime has no filter, so the spans of its HTTP/2 client go into the next batch: about
 * one for each frame, and more than it can send. With frames and windows that a batch fits in, that stays at some 44.
 */
export const JAEGER_HTTP2: Http2Settings = {
  streamWindowBytes: 64 * MEBIBYTE,
  connectionWindowBytes: 64 * MEBIBYTE,
  maxFrameBytes: 16_777_215,
};

/** Taken over: no body, which is what exporters take for success. */
const ACCEPTED: HttpAnswer = { status: 202 };

const STOPPING = textAnswer(503, "stopping\n");

/** What the receiver works with. */
export interface JaegerReceiverOptions {
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly sandboxes: KnownSandboxes;
  readonly findPeer: FindPeer;
  /** What the host knows of sandboxes besides their IDs. Default: nothing. */
  readonly lookup?: SandboxLookup | undefined;
  /** How long a runtime's first spans wait at most for one that names their sandbox, milliseconds. Default: not. */
  readonly nameWaitMs?: number;
  readonly credentials?: JaegerCredentials;
  readonly keepHttp2Noise: boolean;
}

/**
 * Takes in what Kata's runtimes send: batches of Jaeger Thrift over HTTP.
 *
 * The Go runtime waits for each answer while a sandbox starts, and neither runtime sends anything twice. So a batch is
 * answered as soon as it is decoded and handed on, whatever the collector, the disk or other clients do.
 */
export class JaegerReceiver {
  readonly #metrics: ReceiverMetrics;
  readonly #log: RateLimitedLogger;
  readonly #sandboxes: KnownSandboxes;
  readonly #lookup: SandboxLookup | undefined;
  readonly #peers: PeerSandboxes;
  readonly #traces = new TraceSandboxes();
  readonly #check: RequestCheck;
  readonly #decoding: { readonly keepHttp2Noise: boolean };
  readonly #spans = new EncodedSpans();
  /** Of bodies that had to wait, which may be released while a new one is being taken. */
  readonly #heldSpans = new EncodedSpans();
  readonly #begun = Promise.withResolvers<void>();
  #sources: RuntimeSources | undefined;
  #isClosed = false;

  constructor(options: JaegerReceiverOptions) {
    const { metrics, log, sandboxes, findPeer, lookup, nameWaitMs = 0, credentials, keepHttp2Noise } = options;
    this.#metrics = metrics.receiver("jaeger", [JAEGER_ENCODING]);
    this.#log = rateLimited(log);
    this.#sandboxes = sandboxes;
    this.#lookup = lookup;
    this.#peers = new PeerSandboxes(findPeer, lookup, nameWaitMs, (body, connection) => {
      this.#takeHeld(body, connection);
    });
    this.#check = new RequestCheck(credentials);
    this.#decoding = { keepHttp2Noise };
  }

  /** From here on requests are answered; earlier ones have waited. */
  begin(sink: SpanSink): void {
    this.#sources = new RuntimeSources(sink, this.#lookup);
    this.#begun.resolve();
  }

  /** No more requests come: hands on what waits, and closes its sources. */
  close(): void {
    this.#isClosed = true;
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

  admit(head: HttpHead): HttpAnswer | undefined {
    const refusal = this.#isClosed ? STOPPING : this.#check.refusal(head);
    if (refusal !== undefined) this.#logRefusal(head, String(refusal.body).trim());
    return refusal;
  }

  answer(request: HttpRequest): HttpAnswer | Promise<HttpAnswer> {
    if (this.#isClosed) return STOPPING;
    if (this.#sources === undefined) return this.#begun.promise.then(() => this.#answer(request));
    return this.#answer(request);
  }

  #answer(request: HttpRequest): HttpAnswer {
    const { body, connection } = request;
    const metrics = this.#metrics;
    metrics.receivedBytes += body.length;
    let batch: JaegerBatch;
    try {
      batch = this.#decode(body, this.#spans);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      metrics.invalidate(error.reason);
      this.#logRefusal(request, error.message);
      return textAnswer(400, `not a batch of jaeger.thrift: ${error.message}\n`);
    }
    metrics.payloads[JAEGER_ENCODING] = (metrics.payloads[JAEGER_ENCODING] ?? 0) + 1;
    metrics.leaveOut("http2-noise", batch.noise);
    for (const [reason, spans] of batch.invalid) {
      metrics.invalidate(reason, spans);
      this.#log.warn("spans of a runtime are invalid", { peer: peerOf(connection), reason, spans });
    }
    if (this.#spans.count > 0) this.#take(batch, body, connection);
    return ACCEPTED;
  }

  #decode(body: Uint8Array, spans: EncodedSpans): JaegerBatch {
    spans.clear();
    return decodeJaegerThrift(body, 0, body.length, spans, this.#decoding);
  }

  /** Hands on the spans that have been decoded, or keeps their body until it is known whose they are. */
  #take(batch: JaegerBatch, body: Uint8Array, connection: HttpConnection): void {
    const sandbox = this.#sandboxOf(batch, this.#spans, connection);
    const isKnown = sandbox !== undefined && (this.#lookup === undefined || this.#lookup.known(sandbox) !== undefined);
    if (!isKnown && this.#peers.hold(connection, body, sandbox !== undefined)) return;
    this.#handOn(this.#spans, sandbox, connection);
    if (sandbox !== undefined) this.#peers.named(connection);
  }

  /** A body that was kept: it was valid then, and is decoded again. */
  #takeHeld(body: Uint8Array, connection: HttpConnection): void {
    const batch = this.#decode(body, this.#heldSpans);
    this.#handOn(this.#heldSpans, this.#sandboxOf(batch, this.#heldSpans, connection), connection);
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

  #logRefusal({ method, path, connection }: HttpHead, problem: string): void {
    this.#log.warn("a runtime's request was refused", { peer: peerOf(connection), method, path, problem });
  }
}

function peerOf({ remoteAddress, remotePort }: HttpConnection): string {
  return `${remoteAddress}:${remotePort}`;
}
