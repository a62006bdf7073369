import type { RateLimitedLogger } from "../../base/log.ts";
import { decodeJaegerThrift, type JaegerBatch } from "../../decode/jaeger-thrift/decoder.ts";
import { WireError } from "../../decode/wire-error.ts";
import {
  type HttpAnswer,
  type HttpConnection,
  type HttpHandler,
  type HttpHead,
  type HttpRequest,
  textAnswer,
} from "../../http/messages.ts";
import { EncodedSpans } from "../../otlp/encoded-spans.ts";
import type { InvalidReason } from "../../pipeline/invalid-reason.ts";
import type { JaegerCredentials } from "./credentials.ts";
import { RequestCheck } from "./request-check.ts";

/** The batch is accepted: exporters take an answer without a body for success. */
const ACCEPTED: HttpAnswer = { status: 202 };

/** Takes what an endpoint has answered for. */
export interface JaegerBatches {
  connected(connection: HttpConnection): void;
  /** Nothing more comes over a connection. */
  disconnected(connection: HttpConnection): void;
  /**
   * Takes a batch.
   *
   * @param spans what it holds; valid until the call returns.
   * @param bodyBytes how long its body was.
   */
  take(batch: JaegerBatch, spans: EncodedSpans, bodyBytes: number, connection: HttpConnection): void;
  /** A body was not a batch. */
  invalid(reason: InvalidReason, bodyBytes: number): void;
}

/** Contents of batches that were dropped before anybody took them. */
export interface DroppedBatches {
  readonly batches: number;
  readonly spans: number;
  readonly bodyBytes: number;
  /** See {@link JaegerBatch}. */
  readonly noise: number;
  readonly invalid: ReadonlyMap<InvalidReason, number>;
}

/** What an endpoint has to know of the settings. */
export interface EndpointSettings {
  /** Absent: any credentials are accepted. */
  readonly credentials?: JaegerCredentials;
  readonly keepHttp2Noise: boolean;
}

/**
 * Answers runtimes: checks and decodes what they send, and hands it on.
 *
 * The Go runtime waits for each answer while a sandbox starts, and neither runtime sends anything twice. So a batch is
 * answered as soon as it is decoded and handed on, whatever the collector, the disk or other clients do.
 */
export class JaegerEndpoint implements HttpHandler {
  readonly #batches: JaegerBatches;
  readonly #log: RateLimitedLogger;
  readonly #check: RequestCheck;
  readonly #decoding: { readonly keepHttp2Noise: boolean };
  readonly #spans = new EncodedSpans();
  readonly #begun = Promise.withResolvers<void>();
  #hasBegun = false;

  constructor(batches: JaegerBatches, log: RateLimitedLogger, { credentials, keepHttp2Noise }: EndpointSettings) {
    this.#batches = batches;
    this.#log = log;
    this.#check = new RequestCheck(credentials);
    this.#decoding = { keepHttp2Noise };
  }

  /** Begins to answer requests; earlier ones have waited. */
  begin(): void {
    this.#hasBegun = true;
    this.#begun.resolve();
  }

  /** No more requests come. */
  close(): void {
    this.#log.flush();
  }

  connected(connection: HttpConnection): void {
    this.#batches.connected(connection);
  }

  disconnected(connection: HttpConnection): void {
    this.#batches.disconnected(connection);
  }

  admit(head: HttpHead): HttpAnswer | undefined {
    const refusal = this.#check.refusal(head);
    if (refusal !== undefined) this.#logRefusal(head, String(refusal.body).trim());
    return refusal;
  }

  answer(request: HttpRequest): HttpAnswer | Promise<HttpAnswer> {
    if (!this.#hasBegun) return this.#begun.promise.then(() => this.#answer(request));
    return this.#answer(request);
  }

  #answer(request: HttpRequest): HttpAnswer {
    const { body, connection } = request;
    const spans = this.#spans;
    let batch: JaegerBatch;
    try {
      spans.clear();
      batch = decodeJaegerThrift(body, 0, body.length, spans, this.#decoding);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#batches.invalid(error.reason, body.length);
      this.#logRefusal(request, error.message);
      return textAnswer(400, `not a batch of jaeger.thrift: ${error.message}\n`);
    }
    for (const [reason, count] of batch.invalid) {
      this.#log.warn("spans of a runtime are invalid", { peer: peerOf(connection), reason, spans: count });
    }
    this.#batches.take(batch, spans, body.length, connection);
    return ACCEPTED;
  }

  #logRefusal({ method, path, connection }: HttpHead, problem: string): void {
    this.#log.warn("a runtime's request was refused", { peer: peerOf(connection), method, path, problem });
  }
}

function peerOf({ remoteAddress, remotePort }: HttpConnection): string {
  return `${remoteAddress}:${remotePort}`;
}
