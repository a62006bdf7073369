import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { requestToRecords, type SpanRecord } from "../otlp/json-record.ts";

/** Where OTLP/HTTP takes traces: https://opentelemetry.io/docs/specs/otlp/#otlphttp-request */
const PATH = "/v1/traces";

/** The largest request taken, bytes: many times the session. */
const MAX_REQUEST_BYTES = 4 * 1024 * 1024;

const gunzipped = promisify(gunzip);

/** An OTLP/HTTP receiver on a loopback port: keeps the spans it gets. */
export class DemoReceiver {
  readonly spans: SpanRecord[] = [];
  /** Requests that held spans. */
  requests = 0;
  /** Bytes of those requests, uncompressed. */
  bytes = 0;
  /** Why requests were refused. */
  readonly problems: string[] = [];
  readonly #server = createServer((request, response) => void this.#answer(request, response));
  #onSpans: () => void = () => {};

  /** Listens on a port that the system chooses; resolves with its URL. */
  async listen(): Promise<string> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(0, "127.0.0.1", resolve);
    });
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Resolves when so many spans have arrived, or after `timeoutMs`. */
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
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let status = 200;
    try {
      if (request.method !== "POST" || request.url !== PATH) {
        throw new Error(`${request.method} ${request.url} is not POST ${PATH}`);
      }
      const body = await readBody(request);
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
    // An empty ExportTraceServiceResponse: full success.
    response.writeHead(status, { "content-type": "application/x-protobuf", "content-length": 0 });
    response.end();
    this.#onSpans();
  }
}

async function readBody(request: IncomingMessage): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > MAX_REQUEST_BYTES) throw new Error(`over ${MAX_REQUEST_BYTES} bytes`);
    chunks.push(chunk);
  }
  const body = new Uint8Array(length);
  let position = 0;
  for (const chunk of chunks) {
    body.set(chunk, position);
    position += chunk.length;
  }
  if (request.headers["content-encoding"] !== "gzip") return body;
  return await gunzipped(body, { maxOutputLength: MAX_REQUEST_BYTES });
}
