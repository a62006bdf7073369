import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import type { HttpLimits } from "../http/limits.ts";
import { shownAddress } from "../http/listen-error.ts";
import { headerOf, type HttpAnswer, type HttpRequest } from "../http/messages.ts";
import { HttpServer } from "../http/server.ts";
import { requestToRecords, type SpanRecord } from "../otlp/json-record.ts";

/** The path that OTLP/HTTP takes traces at: https://opentelemetry.io/docs/specs/otlp/#otlphttp-request */
const PATH = "/v1/traces";

/** The largest request accepted, bytes, which is many times the session. */
const MAX_REQUEST_BYTES = 4 * 1024 * 1024;

/** The only client is the demo's own forwarder. */
const LIMITS: HttpLimits = {
  maxConnections: 16,
  maxOpenRequests: 1,
  maxHeaderBytes: 16 * 1024,
  maxBodyBytes: MAX_REQUEST_BYTES,
  maxTotalBodyBytes: 4 * MAX_REQUEST_BYTES,
  headerMs: 10_000,
  bodyMs: 10_000,
  answerMs: 10_000,
  idleMs: 60_000,
};

const gunzipped = promisify(gunzip);

/** An OTLP/HTTP receiver on a loopback port, which keeps the spans that it gets. */
export class DemoReceiver {
  readonly spans: SpanRecord[] = [];
  /** Requests that contained spans. */
  requests = 0;
  /** Bytes of those requests, uncompressed. */
  bytes = 0;
  /** Why requests were refused. */
  readonly problems: string[] = [];
  readonly #server = new HttpServer({
    handler: { answer: (request) => this.#answer(request) },
    limits: LIMITS,
    onError: (error) => this.problems.push(`the receiver failed: ${error.message}`),
  });
  #onSpans: () => void = () => {};

  /** Listens on a port that the system chooses. Resolves with the URL. */
  async listen(): Promise<string> {
    return `http://${shownAddress(await this.#server.listen({ host: "127.0.0.1", port: 0 }))}`;
  }

  /** Resolves when `count` spans have arrived, or after `timeoutMs`. */
  async waitFor(spans: number, timeoutMs: number): Promise<void> {
    if (this.spans.length >= spans) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#onSpans = () => {
        if (this.spans.length < spans) return;
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async close(): Promise<void> {
    await this.#server.close();
  }

  async #answer(request: HttpRequest): Promise<HttpAnswer> {
    let status = 200;
    try {
      const { method, path, body: sent } = request;
      if (method !== "POST" || path !== PATH) throw new Error(`${method} ${path} is not POST ${PATH}`);
      const isZipped = headerOf(request, "content-encoding") === "gzip";
      const body: Uint8Array = isZipped ? await gunzipped(sent, { maxOutputLength: MAX_REQUEST_BYTES }) : sent;
      const records = requestToRecords(body);
      if (records.length > 0) {
        this.requests++;
        this.bytes += body.length;
        this.spans.push(...records);
      }
    } catch (error) {
      status = 400;
      this.problems.push(`the receiver refused a request: ${(error as Error).message}`);
    }
    this.#onSpans();
    // An empty ExportTraceServiceResponse means full success.
    return { status, headers: { "content-type": "application/x-protobuf" } };
  }
}
