import { Buffer } from "node:buffer";
import type { IncomingHttpHeaders } from "node:http";
import { printable } from "../base/log.ts";
import { ExportError, type ExportResult } from "../pipeline/exporter.ts";
import {
  readExportResponse,
  readJsonExportResponse,
  readJsonStatusMessage,
  readStatusMessage,
} from "./export-response.ts";
import { saysTooMuch } from "./refusal-words.ts";
import { parseRetryAfter } from "./retry-after.ts";

/** An answer that has been read. */
export interface HttpAnswer {
  readonly status: number;
  readonly statusMessage: string;
  readonly headers: IncomingHttpHeaders;
  /** What was read of the body: all of it, or its beginning. */
  readonly body: Uint8Array;
  /** Whether the body goes on beyond what was read. */
  readonly isCut: boolean;
}

/** What kind of thing a body is, by its `Content-Type`. */
type BodyKind = "protobuf" | "json" | "page" | "unknown" | "other";

/** How much of a refusal's text is shown, characters. */
const SHOWN_CHARACTERS = 200;

/**
 * 4xx statuses that are not about the request but about the moment, or about a proxy: proxy authentication (407), a
 * timeout as load balancers answer it on a connection that they close (408), too early (425), too many requests (429).
 * The OTLP specification names only 429, as receivers send none of the others.
 */
const RETRYABLE_CLIENT_ERRORS: ReadonlySet<number> = new Set([407, 408, 425, 429]);

/** 5xx statuses that no later try would change: internal error, not implemented, HTTP version not supported. */
const LASTING_SERVER_ERRORS: ReadonlySet<number> = new Set([500, 501, 505]);

/**
 * Statuses whose reason may be in the request: bad request, too large, unprocessable (RFC 9110), and what a collector
 * answers when one of its components refuses a request for good (500).
 */
const CONTENT_STATUSES: ReadonlySet<number> = new Set([400, 413, 422, 500]);
const TOO_LARGE = 413;

/**
 * The collector says that it took the request, and that its answer is protobuf: sent again, it might be taken again for
 * ever.
 */
const UNREADABLE: ExportResult = {
  kind: "success",
  warning: "the answer is not an ExportTraceServiceResponse, although the collector says that it took the request",
};

/**
 * What an answer over HTTP means (the OTLP specification's "OTLP/HTTP Response",
 * https://opentelemetry.io/docs/specs/otlp/#otlphttp-response). A success is one only if it may come from an OTLP
 * receiver: sign-in pages and defaults of an ingress are answered with 200 too.
 */
export function classifyHttpAnswer(answer: HttpAnswer): ExportResult {
  const { status, headers } = answer;
  if (status >= 200 && status <= 299) return classifySuccess(answer);
  const message = refusalMessage(answer);
  const error = new ExportError(message, status);
  const isRetryable = status >= 500 ? !LASTING_SERVER_ERRORS.has(status) : RETRYABLE_CLIENT_ERRORS.has(status);
  if (isRetryable) {
    const retryAfterMs = parseRetryAfter(headers["retry-after"]);
    return { kind: "retryable", error, ...(retryAfterMs !== undefined && { retryAfterMs }) };
  }
  // A web page is a proxy's, which knows nothing of spans, but may well limit how large a request is.
  const isAboutContent = CONTENT_STATUSES.has(status) && !saysTooMuch(message);
  const splitHelps = isAboutContent && (status === TOO_LARGE || kindOf(headers["content-type"]) !== "page");
  return { kind: "rejected", error, splitHelps, ...(splitHelps && status === TOO_LARGE && { tooLarge: true }) };
}

function classifySuccess({ status, headers, body, isCut }: HttpAnswer): ExportResult {
  const kind = kindOf(headers["content-type"]);
  if (isCut && (kind === "protobuf" || kind === "json")) {
    return { kind: "success", warning: "the answer is longer than an OTLP receiver's, and was not read to its end" };
  }
  // The whole of an OTLP receiver's answer is often an empty message.
  if (body.length === 0 && kind !== "page") return { kind: "success" };
  if (kind === "protobuf") return readExportResponse(body) ?? UNREADABLE;
  const result = kind === "json"
    ? readJsonExportResponse(textOf(body))
    : kind === "unknown" && !isCut
    ? readExportResponse(body)
    : undefined;
  return result ?? { kind: "retryable", error: notOtlp(status, headers["content-type"], body) };
}

/** What answers with success, but not as an OTLP receiver: nothing was delivered. */
export class NotOtlpError extends ExportError {
  /** @param what it answered with: "a web page (text/html)". */
  constructor(what: string, status: number, text = "") {
    const beginning = printable(text.trim(), SHOWN_CHARACTERS);
    super(`HTTP ${status} with ${what}, so this is not an OTLP receiver${beginning && `: ${beginning}`}`, status);
  }
}

function notOtlp(status: number, contentType: string | undefined, body: Uint8Array): NotOtlpError {
  const type = printable(contentType ?? "no Content-Type", SHOWN_CHARACTERS);
  const what = kindOf(contentType) === "page" ? "a web page" : "something else";
  return new NotOtlpError(`${what} (${type})`, status, textOf(body));
}

/** By its media type, without parameters (RFC 9110, 8.3.1). */
function kindOf(contentType: string | undefined): BodyKind {
  const type = contentType?.split(";")[0]?.trim().toLowerCase() ?? "";
  if (type === "" || type === "application/octet-stream") return "unknown";
  if (/^application\/(?:x-|vnd\.google\.)?protobuf$/.test(type)) return "protobuf";
  if (/^application\/(?:.+\+)?json$/.test(type)) return "json";
  return type === "text/html" || type === "application/xhtml+xml" ? "page" : "other";
}

function refusalMessage({ status, statusMessage, headers, body }: HttpAnswer): string {
  const kind = kindOf(headers["content-type"]);
  const text = kind === "protobuf"
    ? readStatusMessage(body)
    : (kind === "json" ? readJsonStatusMessage(textOf(body)) : undefined) ?? textOf(body);
  const location = headers.location === undefined ? "" : ` to ${printable(headers.location, SHOWN_CHARACTERS)}`;
  const detail = printable((text ?? "").trim() || statusMessage, SHOWN_CHARACTERS);
  return `HTTP ${status}${location}${detail === "" ? "" : `: ${detail}`}`;
}

function textOf(body: Uint8Array): string {
  return Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString();
}
