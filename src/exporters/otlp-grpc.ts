import { Buffer } from "node:buffer";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  sensitiveHeaders,
} from "node:http2";
import { TLSSocket } from "node:tls";
import { freeBytes } from "../base/free-bytes.ts";
import { byteLengthOf } from "../base/joined-bytes.ts";
import type { ExportError, ExportResult, RequestTrace } from "../pipeline/exporter.ts";
import type { Gzip } from "./compression.ts";
import type { Connector } from "./connection/connector.ts";
import { classifyGrpcAnswer, type GrpcAnswer, hasStatus, LONGEST_ANSWER_BYTES, PREFIX_BYTES } from "./grpc-answer.ts";
import { grpcError, grpcTimeout, resetError } from "./grpc-status.ts";
import type { ExportSlot } from "./slot-exporter.ts";

/** The method of OTLP's service for traces (opentelemetry/proto/collector/trace/v1/trace_service.proto). */
const METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/** How many interim answers (1xx) one request may get. gRPC servers send none, proxies a few. */
const MOST_INTERIM_ANSWERS = 16;

const { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM } = constants;

/**
 * How much of a request is handed to HTTP/2 at once, bytes: what a server takes at first where it says nothing else
 * (RFC 9113, 6.9.2). Of a longer piece the runtime copies what the server does not take yet: Deno held 430 MB where it
 * holds 116 now, and Bun took twice as much of the processor's time.
 */
const PIECE_BYTES = 65_536;

/**
 * After how long a server that has answered is taken for one that does not want the rest of the request, milliseconds:
 * a turn of the event loop or two.
 */
const EARLY_ANSWER_MS = 20;

/** What all slots of an exporter have in common. */
export interface GrpcSlotOptions {
  readonly connector: Connector;
  /** Metadata of every request, in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** Absent: requests are sent as they are. */
  readonly gzip?: Gzip | undefined;
  /** Called each time that a request is sent again at once. */
  readonly onRetry?: (() => void) | undefined;
}

/** One try of a request: what came of it, and whether the server cannot have looked at it. */
interface Try {
  readonly result: ExportResult;
  readonly isUntouched: boolean;
}

/** A connection, as far as more is known of it than its session says. */
interface Connection {
  readonly session: ClientHttp2Session;
  /** How many requests it has carried. */
  requests: number;
  /** The last stream that the server will still look at, once it has said so (GOAWAY). */
  lastStream: number | undefined;
  /** What broke it. */
  error: Error | undefined;
}

/**
 * Carries requests over one connection of HTTP/2, one at a time. A connection that the server leaves (GOAWAY) is used
 * no more, and one that fails is opened anew by the next request.
 *
 * Specification: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */
export class GrpcSlot implements ExportSlot {
  readonly #options: GrpcSlotOptions;
  readonly #headers: OutgoingHttpHeaders;
  readonly #closing = new AbortController();
  #connection: Connection | undefined;

  constructor(options: GrpcSlotOptions) {
    this.#options = options;
    const { connector: { options: { target } }, headers: { host, ...headers }, gzip } = options;
    this.#headers = {
      ":method": "POST",
      ":scheme": target.secure ? "https" : "http",
      ":authority": host ?? target.authority,
      ":path": METHOD,
      "te": "trailers",
      "content-type": "application/grpc",
      // grpc-go compresses its answer as the request was, whatever it says here.
      "grpc-accept-encoding": "identity,gzip",
      ...(gzip !== undefined && { "grpc-encoding": "gzip" }),
      ...headers,
      // They may be tokens: no proxy is to keep them in a table (RFC 7541, 7.1.3).
      [sensitiveHeaders]: Object.keys(headers).filter((name) => name !== "user-agent"),
    };
  }

  async send(request: readonly Uint8Array[], timeoutMs: number, trace?: RequestTrace): Promise<ExportResult> {
    const { gzip, onRetry } = this.#options;
    const body = gzip === undefined ? request : [await gzip(request)];
    let { result, isUntouched } = await this.#try(body, timeoutMs, trace);
    if (isUntouched && !this.#closing.signal.aborted) {
      onRetry?.();
      ({ result } = await this.#try(body, timeoutMs, trace));
    }
    if (gzip === undefined || result.kind !== "success") return result;
    if (result.released === true) body.forEach(freeBytes);
    return { ...result, released: true };
  }

  get isConnected(): boolean {
    return this.#connection !== undefined;
  }

  close(): void {
    this.#closing.abort();
    this.#connection?.session.destroy();
    this.#connection = undefined;
  }

  async #try(body: readonly Uint8Array[], timeoutMs: number, trace: RequestTrace | undefined): Promise<Try> {
    let connection: Connection;
    try {
      connection = this.#connection ??= await this.#connect();
    } catch (cause) {
      const { message } = cause as Error;
      const error = grpcError("UNAVAILABLE", message, cause as Error);
      return { result: { kind: "retryable", error }, isUntouched: false };
    }
    const isReused = connection.requests++ > 0;
    trace?.tried();
    let stream: ClientHttp2Stream;
    try {
      stream = connection.session.request({
        ...this.#headers,
        "grpc-timeout": grpcTimeout(timeoutMs),
        ...(trace !== undefined && { traceparent: trace.traceparent }),
      });
    } catch (cause) {
      // The connection ended between two requests.
      this.#drop(connection);
      const error = grpcError("UNAVAILABLE", (cause as Error).message, cause as Error);
      return { result: { kind: "retryable", error }, isUntouched: isReused };
    }
    const prefix = Buffer.alloc(PREFIX_BYTES);
    prefix[0] = this.#options.gzip === undefined ? 0 : 1;
    prefix.writeUInt32BE(byteLengthOf(body), 1);
    stream.write(prefix);
    writeInPieces(stream, body);
    const answer = await readAnswer(stream);
    if ("headers" in answer) {
      const result = classifyGrpcAnswer(answer);
      await sentToItsEnd(stream);
      if (stream.writableFinished) {
        return { result: result.kind === "success" ? { ...result, released: true } : result, isUntouched: false };
      }
      // The server has answered without having read everything, and wants no more of it.
      stream.close(NGHTTP2_CANCEL);
      return { result, isUntouched: false };
    }
    return this.#failed(connection, stream, answer, isReused);
  }

  /** The call ended without a status. */
  #failed(connection: Connection, stream: ClientHttp2Stream, answer: BrokenAnswer, isReused: boolean): Try {
    const { session, lastStream } = connection;
    const { rstCode = NGHTTP2_NO_ERROR, id = 0 } = stream;
    const isConnectionGone = session.closed || session.destroyed || connection.error !== undefined;
    const isUntouched = (lastStream !== undefined && id > lastStream) || rstCode === NGHTTP2_REFUSED_STREAM ||
      (isReused && isConnectionGone && !answer.isBegun);
    this.#drop(connection);
    // No other request is on it, and its state is not known.
    session.destroy();
    const error = brokenError(connection, rstCode, isConnectionGone, answer);
    return { result: { kind: "retryable", error }, isUntouched };
  }

  async #connect(): Promise<Connection> {
    const { connector } = this.#options;
    const { secure, authority } = connector.options.target;
    const socket = await connector.connect(this.#closing.signal);
    if (this.#closing.signal.aborted) {
      socket.destroy();
      throw new Error("closed");
    }
    if (!secure && socket instanceof TLSSocket) pretendAlpn(socket);
    const session = connect(`${secure ? "https" : "http"}://${authority}`, {
      createConnection: () => socket,
      // gRPC has no use for pushed streams, and an answer is small: the windows stay as they are.
      settings: { enablePush: false },
    });
    const connection: Connection = { session, requests: 0, lastStream: undefined, error: undefined };
    session.on("error", (error) => {
      connection.error ??= error;
      this.#drop(connection);
    });
    session.on("close", () => this.#drop(connection));
    session.on("goaway", (_, lastStream) => {
      connection.lastStream = lastStream;
      this.#drop(connection);
    });
    return connection;
  }

  /** Uses a connection no more. A request that is under way on it may still be answered. */
  #drop(connection: Connection): void {
    if (this.#connection !== connection) return;
    this.#connection = undefined;
    if (!connection.session.destroyed) connection.session.close();
  }
}

/**
 * For HTTP/2 without TLS in a tunnel through a proxy with TLS: Bun wants the proxy to have agreed on HTTP/2, which does
 * not concern the proxy.
 */
function pretendAlpn(tunnel: TLSSocket): void {
  Object.defineProperty(tunnel, "alpnProtocol", { value: "h2" });
}

/** Waits a moment for a request's end to be sent, which Deno may tell later than the answer has come. */
function sentToItsEnd(stream: ClientHttp2Stream): Promise<void> {
  if (stream.writableFinished || stream.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      stream.off("finish", done).off("close", done);
      resolve();
    };
    const timer = setTimeout(done, EARLY_ANSWER_MS);
    stream.once("finish", done).once("close", done);
  });
}

/** Writes a body, each piece once the one before has gone, and ends the stream's half. */
function writeInPieces(stream: ClientHttp2Stream, body: readonly Uint8Array[]): void {
  const pieces = body.flatMap(cutIntoPieces);
  const last = pieces.pop();
  let next = 0;
  const write = (): void => {
    while (next < pieces.length) {
      if (!stream.write(pieces[next++])) {
        stream.once("drain", write);
        return;
      }
    }
    stream.end(last);
  };
  write();
}

function cutIntoPieces(part: Uint8Array): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < part.length; at += PIECE_BYTES) pieces.push(part.subarray(at, at + PIECE_BYTES));
  return pieces;
}

/** A call that ended without a status. */
interface BrokenAnswer {
  /** Whether the server had begun to answer. */
  readonly isBegun: boolean;
  /** Whether it was given up because interim answers came without end. */
  readonly isFlood: boolean;
  readonly error: Error | undefined;
}

function brokenError(
  { error, lastStream }: Connection,
  rstCode: number,
  isConnectionGone: boolean,
  { isFlood, error: cause }: BrokenAnswer,
): ExportError {
  if (isFlood) return grpcError("UNAVAILABLE", "interim answers (1xx) without end, and no answer");
  if (isConnectionGone) {
    const message = error?.message ?? (lastStream === undefined ? cause?.message : undefined) ??
      "the server has closed the connection";
    return grpcError("UNAVAILABLE", message, cause);
  }
  if (rstCode !== NGHTTP2_NO_ERROR) return resetError(rstCode);
  return grpcError("UNAVAILABLE", cause?.message ?? "the answer broke off before its status", cause);
}

function readAnswer(stream: ClientHttp2Stream): Promise<GrpcAnswer | BrokenAnswer> {
  return new Promise((resolve) => {
    let headers: IncomingHttpHeaders | undefined;
    let trailers: IncomingHttpHeaders = {};
    let error: Error | undefined;
    let interim = 0;
    let length = 0;
    const chunks: Buffer[] = [];
    stream.on("headers", () => {
      if (++interim > MOST_INTERIM_ANSWERS) stream.close(NGHTTP2_CANCEL);
    });
    stream.on("response", (fields) => headers = fields);
    stream.on("trailers", (fields) => trailers = fields);
    stream.on("data", (chunk: Buffer) => {
      length += chunk.length;
      if (length <= LONGEST_ANSWER_BYTES) chunks.push(chunk);
    });
    const answered = (): boolean => {
      if (headers === undefined || !hasStatus(headers, trailers)) return false;
      resolve({ headers, trailers, body: Buffer.concat(chunks), isCut: length > LONGEST_ANSWER_BYTES });
      return true;
    };
    // The status comes before the end. A stream that breaks off may end before it has its error, so that without a
    // status its close is waited for.
    stream.on("end", answered);
    stream.on("error", (reason: Error) => error ??= reason);
    stream.on("close", () => {
      if (!answered()) resolve({ isBegun: headers !== undefined, isFlood: interim > MOST_INTERIM_ANSWERS, error });
    });
  });
}
