import type * as http from "node:http";
import { Buffer } from "node:buffer";
import { convertLegacyHttpOptions, createOtlpHttpExportDelegate } from "@opentelemetry/otlp-exporter-base/node-http";
import { printable } from "../base/log.ts";
import { VERSION } from "../base/version.ts";
import { readExportResponse, readStatusMessage } from "./export-response.ts";
import {
  type Exporter,
  type ExporterOptions,
  ExportError,
  ExporterSettingsError,
  type ExportResult,
  type RequestTrace,
} from "../pipeline/exporter.ts";
import { type ExportSlot, PlainSerializer, SlotExporter } from "./slot-exporter.ts";

/** The statuses that the OTLP specification calls retryable ("Retryable Response Codes"). */
const RETRYABLE_STATUSES: ReadonlySet<number> = new Set([429, 502, 503, 504]);
/**
 * Statuses whose reason may be the request's content: bad request, too large, unprocessable (RFC 9110), and what a
 * collector answers when one of its components refuses a request for good (500).
 */
const CONTENT_STATUSES: ReadonlySet<number> = new Set([400, 413, 422, 500]);
/** How much of a refusal is kept, bytes, and shown, characters. */
const REFUSAL_BYTES = 4096;
const REFUSAL_CHARACTERS = 200;

type HttpOptions = ReturnType<typeof convertLegacyHttpOptions>;
type HttpAgent = Awaited<ReturnType<HttpOptions["agentFactory"]>>;
/** What `http.Agent` calls for each request (Node's documentation leaves it out; Bun and Deno have it too). */
interface RequestTaker {
  addRequest(request: http.ClientRequest, ...rest: unknown[]): void;
}

/**
 * Makes an exporter for OTLP/HTTP in protobuf, on OpenTelemetry's transport: compression, headers, timeout and
 * certificates are read here and now from `OTEL_EXPORTER_OTLP_*`. A request is retried by the transport within its
 * timeout. Rejects with {@link ExporterSettingsError}.
 */
export async function createHttpExporter(
  url: string,
  { concurrency, onRetry }: ExporterOptions,
): Promise<Exporter> {
  const options = convertLegacyHttpOptions(
    { url, userAgent: `kata-trace-forwarder/${VERSION}` },
    "TRACES",
    "v1/traces",
    { "Content-Type": "application/x-protobuf" },
  );
  await checkHeaders(options);
  const openSlot = (): HttpSlot => new HttpSlot(options, onRetry);
  return new SlotExporter(openSlot, concurrency, options.timeoutMillis);
}

/** A header that cannot be sent would fail each request, and look like a collector that is away. */
async function checkHeaders(options: HttpOptions): Promise<void> {
  const { validateHeaderName, validateHeaderValue } = await import("node:http");
  for (const [name, value] of Object.entries(await options.headers())) {
    try {
      validateHeaderName(name);
      validateHeaderValue(name, value);
    } catch (cause) {
      throw new ExporterSettingsError(
        `OTEL_EXPORTER_OTLP_HEADERS: ${printable(JSON.stringify(name))} is no HTTP header`,
        { cause },
      );
    }
  }
}

class HttpSlot implements ExportSlot {
  usable = true;
  readonly #delegate: ReturnType<typeof createOtlpHttpExportDelegate<Uint8Array, unknown>>;
  readonly #onRetry: (() => void) | undefined;
  /** How long the request under way is, bytes. */
  #length = 0;
  #agent: HttpAgent | undefined;
  /** How often the request under way has been tried. */
  #tries = 0;
  #trace: RequestTrace | undefined;
  #request: http.ClientRequest | undefined;
  #response: http.IncomingMessage | undefined;
  /** The beginning of a refusal's body. */
  #refusal: Buffer[] = [];
  readonly #serializer = new PlainSerializer();
  /** What broke the connection of the last try. */
  #error: Error | undefined;
  /** What the try before came to. */
  #before: ExportResult | undefined;

  constructor(options: HttpOptions, onRetry?: () => void) {
    this.#onRetry = onRetry;
    const agentFactory = async (protocol: string): Promise<http.Agent> => {
      this.#agent = await options.agentFactory(protocol);
      this.#watch(this.#agent as unknown as RequestTaker);
      return this.#agent;
    };
    const isPlain = options.compression === "none";
    const headers = async (): Promise<Record<string, string>> => {
      const settled = await options.headers();
      // One request at a time goes through a slot, so there is no doubt whose trace and length this is.
      const { traceparent } = this.#trace ?? {};
      return {
        ...settled,
        ...(traceparent !== undefined && { traceparent }),
        // Without its length a request goes out as a chunk, put together with its framing in memory of its own.
        ...(isPlain && { "Content-Length": String(this.#length) }),
      };
    };
    this.#delegate = createOtlpHttpExportDelegate<Uint8Array, unknown>(
      { ...options, agentFactory, headers },
      this.#serializer,
      "otlp_http_span_exporter",
      { name: "span", countItems: () => 0 },
      undefined,
    );
  }

  send(request: Uint8Array, trace?: RequestTrace): Promise<ExportResult> {
    this.#trace = trace;
    this.#response =
      this.#serializer.answer =
      this.#error =
      this.#before =
        undefined;
    this.#tries = 0;
    this.#length = request.length;
    return new Promise((resolve) => {
      this.#delegate.export(request, ({ error }) => {
        const result = this.#classify(error);
        const isReleased = result.kind === "success" && this.#request?.writableFinished === true;
        this.#request = undefined;
        resolve(isReleased ? { ...result, released: true } : result);
      });
    });
  }

  get interim(): ExportResult | undefined {
    const isOver = this.#error !== undefined || this.#response?.complete === true;
    return isOver ? this.#classify(this.#error) : this.#before;
  }

  close(): void {
    this.usable = false;
    this.#request?.destroy();
    this.#agent?.destroy();
  }

  /**
   * Looks over the transport's shoulder: it keeps `Retry-After` to itself, and takes an answer that breaks off for a
   * whole one.
   */
  #watch(agent: RequestTaker): void {
    const addRequest = agent.addRequest;
    agent.addRequest = (request, ...rest) => {
      if (this.usable) this.#trace?.tried();
      if (this.usable && this.#tries++ > 0) this.#onRetry?.();
      this.#before = this.interim;
      this.#request = request;
      this.#response = this.#error = undefined;
      this.#refusal = [];
      request.once("socket", writeInPieces);
      request.once("response", (response: http.IncomingMessage) => this.#observe(response));
      request.once("error", (error: Error) => this.#error = error);
      addRequest.call(agent, request, ...rest);
      // Closed while the transport waited to try again.
      if (!this.usable) request.destroy();
    };
  }

  #observe(response: http.IncomingMessage): void {
    this.#response = response;
    if (isSuccess(response)) return;
    let size = 0;
    response.on("data", (chunk: Buffer) => {
      if (size < REFUSAL_BYTES) this.#refusal.push(chunk);
      size += chunk.length;
    });
  }

  #classify(error: Error | undefined): ExportResult {
    const response = this.#response;
    if (response === undefined) {
      const cause = error ?? new Error("no answer");
      return { kind: "retryable", error: new ExportError(cause.message, undefined, { cause }) };
    }
    const status = response.statusCode ?? 0;
    if (isSuccess(response)) {
      if (error === undefined && response.complete) {
        return readExportResponse(this.#serializer.answer ?? new Uint8Array());
      }
      // The transport reads 4 MiB of an answer. What says more is no OTLP receiver, but says that it took the request.
      if (error?.message.includes("size limit") === true) {
        return { kind: "success", warning: error.message };
      }
      // Whether it was taken is unknown: it is sent again rather than lost.
      return {
        kind: "retryable",
        error: new ExportError("the answer broke off", status, { cause: error }),
      };
    }
    const refusal = new ExportError(this.#refusalMessage(status, response), status);
    if (RETRYABLE_STATUSES.has(status)) {
      const retryAfterMs = parseRetryAfter(response.headers["retry-after"]);
      return retryAfterMs === undefined
        ? { kind: "retryable", error: refusal }
        : { kind: "retryable", error: refusal, retryAfterMs };
    }
    return { kind: "rejected", error: refusal, splitHelps: CONTENT_STATUSES.has(status) };
  }

  #refusalMessage(status: number, { headers, statusMessage }: http.IncomingMessage): string {
    const body = Buffer.concat(this.#refusal);
    const text = headers["content-type"]?.includes("protobuf") === true ? readStatusMessage(body) : body.toString();
    const location = headers.location === undefined ? "" : ` to ${printable(headers.location)}`;
    const detail = printable((text ?? "").trim() || (statusMessage ?? ""), REFUSAL_CHARACTERS);
    return `HTTP ${status}${location}${detail === "" ? "" : `: ${detail}`}`;
  }
}

/**
 * Has a connection written to piece by piece: else Bun puts a request's header and body together in new memory first.
 * Without `_writev` a stream writes so (https://nodejs.org/api/stream.html#writable_writevchunks-callback).
 */
function writeInPieces(socket: { _writev?: unknown }): void {
  socket._writev = undefined;
}

function isSuccess({ statusCode }: http.IncomingMessage): boolean {
  return statusCode !== undefined && statusCode <= 299;
}

/** `Retry-After` (RFC 9110, 10.2.3), seconds or a date, in milliseconds; undefined where it is neither. */
export function parseRetryAfter(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  if (/^\s*\d+\s*$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}
