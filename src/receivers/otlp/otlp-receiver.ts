import { type Logger, rateLimited, type RateLimitedLogger } from "../../base/log.ts";
import { LARGE_REQUEST_BYTES } from "../../decode/large-payloads.ts";
import { decodeOtlpJson, decodeOtlpJsonInSteps } from "../../decode/otlp-json/decoder.ts";
import { decodeOtlpInSteps, decodeOtlpLeniently } from "../../decode/otlp/lenient.ts";
import { WireError } from "../../decode/wire-error.ts";
import type { Http2Settings, HttpLimits } from "../../http/limits.ts";
import type {
  HttpAnswer,
  HttpConnection,
  HttpHandler,
  HttpHead,
  HttpProblem,
  HttpRequest,
} from "../../http/messages.ts";
import { EncodedSpans } from "../../otlp/encoded-spans.ts";
import type { Metrics, ReceiverMetrics } from "../../pipeline/metrics.ts";
import type { SourceSink, SpanSink } from "../../pipeline/sink.ts";
import { HostSources } from "./host-sources.ts";
import { InflateError, Inflater } from "./inflate.ts";
import { type Encoding, type OtlpProtocol, protocolOf } from "./protocols.ts";
import { type Failure, GRPC, type Rejected } from "./responses.ts";
import { StepQueue } from "./step-queue.ts";

/** The encodings that its payloads may have. */
export const OTLP_ENCODINGS = ["protobuf", "json"] as const satisfies readonly Encoding[];

const MEBIBYTE = 1024 * 1024;
/** The largest request, as it is sent and decompressed, bytes: the Collector's limit over HTTP is about the same. */
const MAX_REQUEST_BYTES = 16 * MEBIBYTE;
/** What requests may have together that are decoded in steps, or wait for it, bytes. */
const MAX_WAITING_BYTES = 64 * MEBIBYTE;
/** Requests that are decompressed at a time. */
const INFLATED_AT_ONCE = 2;

/** What programs on the host may use. */
export const OTLP_LIMITS: HttpLimits = {
  maxConnections: 512,
  maxOpenRequests: 100,
  maxHeaderBytes: 16 * 1024,
  maxBodyBytes: MAX_REQUEST_BYTES,
  maxTotalBodyBytes: 64 * MEBIBYTE,
  headerMs: 10_000,
  // Exporters give up after 10 s by themselves.
  bodyMs: 10_000,
  answerMs: 10_000,
  idleMs: 600_000,
};

export const OTLP_HTTP2: Http2Settings = {
  streamWindowBytes: 4 * MEBIBYTE,
  connectionWindowBytes: 16 * MEBIBYTE,
  maxFrameBytes: MEBIBYTE,
};

/** When a client that is refused for now should come again, seconds. */
const RETRY_SECONDS = 1;

const BAD_REQUEST = 400;
const TOO_MANY_REQUESTS = 429;
const UNAVAILABLE = 503;
const TOO_LARGE = 413;

const PAUSED: Failure = {
  code: GRPC.resourceExhausted,
  message: "the forwarder is full: come again later",
  retrySeconds: RETRY_SECONDS,
};
const STOPPING: Failure = { code: GRPC.unavailable, message: "stopping", retrySeconds: RETRY_SECONDS };

/** What came of a request: how many of its spans are invalid, and where the others went, if there were any. */
interface Taken {
  readonly rejected: Rejected;
  readonly sink: SourceSink | undefined;
}

/** A request that is refused. */
class Refusal extends Error {
  override readonly name = "Refusal";
  readonly failure: Failure;
  readonly status: number;

  constructor(failure: Failure, status: number) {
    super(failure.message);
    this.failure = failure;
    this.status = status;
  }
}

/**
 * Takes in spans that other programs of the host send over OTLP/HTTP and OTLP/gRPC.
 *
 * These clients send again what is refused for now. So a request is answered when its spans are as safe as they get,
 * and while there is no room for them the client is told when to come again.
 */
export class OtlpReceiver implements HttpHandler {
  readonly #metrics: ReceiverMetrics;
  readonly #log: RateLimitedLogger;
  readonly #spans = new EncodedSpans();
  readonly #inflater = new Inflater(MAX_REQUEST_BYTES, INFLATED_AT_ONCE);
  readonly #steps: StepQueue;
  /** What large requests have that are not taken over yet, bytes. */
  #waitingBytes = 0;
  readonly #begun = Promise.withResolvers<void>();
  #sources: HostSources | undefined;
  #isClosed = false;

  /** @param steps of the large requests of all receivers. */
  constructor({ metrics, log }: { readonly metrics: Metrics; readonly log: Logger }, steps: StepQueue) {
    this.#steps = steps;
    this.#metrics = metrics.receiver("otlp", OTLP_ENCODINGS);
    this.#log = rateLimited(log);
  }

  /** Begins to answer requests; earlier ones have waited. */
  begin(sink: SpanSink): void {
    this.#sources = new HostSources(sink);
    this.#begun.resolve();
  }

  /** No more requests come: closes its sources. */
  close(): void {
    this.#isClosed = true;
    this.#sources?.closeAll();
    this.#log.flush();
  }

  disconnected(connection: HttpConnection): void {
    this.#sources?.disconnected(connection);
  }

  admit(head: HttpHead): HttpAnswer | undefined {
    const protocol = protocolOf(head);
    const refusal = protocol.refusal(head);
    if (refusal !== undefined) {
      this.#logRefusal(head, refusal.failure.message);
      return protocol.failure(head, refusal.failure, refusal.status);
    }
    if (this.#isClosed) return protocol.failure(head, STOPPING, UNAVAILABLE);
    // The client keeps its spans, so they need not even be read.
    if (this.#sources?.isPaused(head.connection)) return protocol.failure(head, PAUSED, TOO_MANY_REQUESTS);
    return undefined;
  }

  async answer(request: HttpRequest): Promise<HttpAnswer> {
    const protocol = protocolOf(request);
    try {
      return protocol.success(request, await this.#take(request, protocol));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (error.failure.retrySeconds === undefined) this.#logRefusal(request, error.message);
      return protocol.failure(request, error.failure, error.status);
    }
  }

  explain(head: HttpHead, { status, text }: HttpProblem): HttpAnswer {
    const code = status === TOO_LARGE ? GRPC.resourceExhausted : status === 500 ? GRPC.internal : GRPC.unavailable;
    const lasts = status === TOO_LARGE || status === 500;
    const failure: Failure = { code, message: text, ...!lasts && { retrySeconds: RETRY_SECONDS } };
    if (status === TOO_LARGE) this.#logRefusal(head, text);
    return protocolOf(head).failure(head, failure, status);
  }

  /** Takes the spans of a request over. Returns how many are invalid; rejects with a {@link Refusal}. */
  async #take(request: HttpRequest, protocol: OtlpProtocol): Promise<Rejected> {
    this.#metrics.receivedBytes += request.body.length;
    const unwrapped = protocol.unwrap(request, request.body);
    if ("code" in unwrapped) {
      this.#metrics.invalidate("invalid-value");
      throw new Refusal(unwrapped, BAD_REQUEST);
    }
    const encoding = protocol.encoding(request);
    const { connection } = request;
    const take = async (message: Uint8Array): Promise<Taken> => {
      if (this.#sources === undefined) await this.#begun.promise;
      // The receiver may have been closed while this one waited.
      if (this.#isClosed) throw new Refusal(STOPPING, UNAVAILABLE);
      return message.length > LARGE_REQUEST_BYTES
        ? await this.#takeInSteps(message, encoding, connection)
        : this.#takeAtOnce(message, encoding, connection);
    };
    const { message, isGzip } = unwrapped;
    const { rejected, sink } = isGzip ? await this.#inflate(message, take) : await take(message);
    if (sink === undefined) return rejected;
    await sink.settled();
    // The client may have gone while its request waited, before there was a source for it.
    if (!connection.isOpen) this.#sources?.disconnected(connection);
    return rejected;
  }

  #takeAtOnce(message: Uint8Array, encoding: Encoding, connection: HttpConnection): Taken {
    const spans = this.#spans;
    spans.clear();
    const decode = encoding === "json" ? decodeOtlpJson : decodeOtlpLeniently;
    let rejected: Rejected;
    try {
      rejected = decode(message, 0, message.length, spans);
    } catch (error) {
      throw this.#refusalOf(error);
    }
    this.#count(encoding, rejected);
    return { rejected, sink: spans.count === 0 ? undefined : this.#accept(spans, connection) };
  }

  /** Nothing is handed on before all of the request has been decoded, because it may still be refused until then. */
  async #takeInSteps(message: Uint8Array, encoding: Encoding, connection: HttpConnection): Promise<Taken> {
    const { length } = message;
    if (this.#waitingBytes + length > MAX_WAITING_BYTES) throw new Refusal(PAUSED, TOO_MANY_REQUESTS);
    this.#waitingBytes += length;
    try {
      const parts: EncodedSpans[] = [];
      const decode = encoding === "json" ? decodeOtlpJsonInSteps : decodeOtlpInSteps;
      let rejected: Rejected;
      try {
        rejected = await this.#steps.run(decode(message, 0, length, (spans) => parts.push(spans)));
      } catch (error) {
        throw this.#refusalOf(error);
      }
      this.#count(encoding, rejected);
      return { rejected, sink: await this.#steps.run(this.#acceptAll(parts, connection)) };
    } finally {
      this.#waitingBytes -= length;
    }
  }

  *#acceptAll(
    parts: readonly EncodedSpans[],
    connection: HttpConnection,
  ): Generator<void, SourceSink | undefined> {
    let sink: SourceSink | undefined;
    for (const spans of parts) {
      sink = this.#accept(spans, connection);
      yield;
    }
    return sink;
  }

  #accept(spans: EncodedSpans, connection: HttpConnection): SourceSink {
    // The receiver may have been closed while the request waited. Its client sends it again, to the next process.
    if (this.#sources === undefined || this.#isClosed) throw new Refusal(STOPPING, UNAVAILABLE);
    this.#metrics.received += spans.count;
    const sink = this.#sources.get(connection);
    sink.accept(spans);
    return sink;
  }

  #count(encoding: Encoding, rejected: Rejected): void {
    const metrics = this.#metrics;
    metrics.payloads[encoding] = (metrics.payloads[encoding] ?? 0) + 1;
    for (const [reason, count] of rejected) metrics.invalidate(reason, count);
  }

  /** How a request is refused that cannot be decoded. */
  #refusalOf(error: unknown): unknown {
    if (!(error instanceof WireError)) return error;
    this.#metrics.invalidate(error.reason);
    return new Refusal(
      { code: GRPC.invalidArgument, message: `not an ExportTraceServiceRequest: ${error.message}` },
      BAD_REQUEST,
    );
  }

  async #inflate(message: Uint8Array, take: (inflated: Uint8Array) => Promise<Taken>): Promise<Taken> {
    try {
      return await this.#inflater.inflate(message, take);
    } catch (error) {
      if (!(error instanceof InflateError)) throw error;
      this.#metrics.invalidate("invalid-value");
      throw new Refusal({ code: GRPC.invalidArgument, message: error.message }, BAD_REQUEST);
    }
  }

  #logRefusal({ method, path, connection }: HttpHead, problem: string): void {
    const peer = `${connection.remoteAddress}:${connection.remotePort}`;
    this.#log.warn("a program's request was refused", { peer, method, path, problem });
  }
}
