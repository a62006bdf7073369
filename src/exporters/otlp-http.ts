import { Buffer } from "node:buffer";
import { Agent, type ClientRequest, type IncomingMessage, request as httpRequest } from "node:http";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import { freeBytes } from "../base/free-bytes.ts";
import { byteLengthOf } from "../base/joined-bytes.ts";
import { ExportError, type ExportResult, type RequestTrace } from "../pipeline/exporter.ts";
import type { Gzip } from "./compression.ts";
import type { Connector, ConnectorOptions } from "./connection/connector.ts";
import { classifyHttpAnswer } from "./http-answer.ts";
import type { ExportSlot } from "./slot-exporter.ts";

/** Where OTLP/HTTP takes traces: what is asked for at a UNIX socket, whose URL has no room for a path. */
const TRACES_PATH = "/v1/traces";

/**
 * How much of an answer is read, bytes: what the OTLP specification recommends at most, and of a refusal its message.
 */
const LONGEST_ANSWER_BYTES = 4 * 1024 * 1024;
const LONGEST_REFUSAL_BYTES = 64 * 1024;

/** How many interim answers (1xx) one request may get. A server has at most a few to send: 100, 102, 103. */
const MOST_INTERIM_ANSWERS = 16;

/** What all slots of an exporter have in common. */
export interface HttpSlotOptions {
  readonly connector: Connector;
  /** What a request names: a path, or a whole URL where it goes to a proxy. */
  readonly requestTarget: string;
  /** Headers of every request. */
  readonly headers: Readonly<Record<string, string>>;
  /** Absent: requests are sent as they are. */
  readonly gzip?: Gzip | undefined;
  /** Called each time that a request is sent again at once. */
  readonly onRetry?: (() => void) | undefined;
}

/**
 * What every request begins with. A proxy that is not asked for a tunnel gets the whole URL and its own credentials
 * (RFC 9112, 3.2.2).
 *
 * @param headers those that the user gave.
 */
export function requestHead(
  url: string,
  { target, proxy }: ConnectorOptions,
  headers: Readonly<Record<string, string>>,
): Pick<HttpSlotOptions, "requestTarget" | "headers"> {
  const { pathname, search } = new URL(url);
  const path = target.socketPath === undefined ? pathname + search : TRACES_PATH;
  const isForwarded = proxy !== undefined && !target.secure;
  return {
    requestTarget: isForwarded ? `http://${target.authority}${path}` : path,
    headers: {
      "host": target.authority,
      ...headers,
      "content-type": "application/x-protobuf",
      ...(isForwarded && proxy.authorization !== undefined && { "proxy-authorization": proxy.authorization }),
    },
  };
}

/**
 * One try of a request: what came of it, and whether its connection had been closed before the request got anywhere.
 */
interface Try {
  readonly result: ExportResult;
  readonly isStale: boolean;
}

/** Carries requests over one connection of HTTP/1.1 that is kept alive. Redirects are refusals and are not followed. */
export class HttpSlot implements ExportSlot {
  readonly #options: HttpSlotOptions;
  readonly #agent: SlotAgent;
  #request: ClientRequest | undefined;

  constructor(options: HttpSlotOptions) {
    this.#options = options;
    this.#agent = new SlotAgent(options.connector);
  }

  async send(request: readonly Uint8Array[], _timeoutMs: number, trace?: RequestTrace): Promise<ExportResult> {
    const { gzip, onRetry } = this.#options;
    const body = gzip === undefined ? request : [await gzip(request)];
    let { result, isStale } = await this.#try(body, trace);
    // The server closed the connection just as it was used again. A span may then arrive twice, as always when an
    // answer is lost, but it does not have to wait for the collector as if that were away.
    if (isStale && !this.#agent.closed) {
      onRetry?.();
      ({ result } = await this.#try(body, trace));
    }
    if (gzip === undefined || result.kind !== "success") return result;
    if (result.released === true) body.forEach(freeBytes);
    return { ...result, released: true };
  }

  get isConnected(): boolean {
    return this.#request?.socket != null;
  }

  close(): void {
    this.#agent.destroy();
    this.#request?.destroy();
  }

  #try(body: readonly Uint8Array[], trace: RequestTrace | undefined): Promise<Try> {
    const { requestTarget, headers, gzip } = this.#options;
    return new Promise((resolve) => {
      trace?.tried();
      const request = this.#request = httpRequest({
        agent: this.#agent,
        method: "POST",
        path: requestTarget,
        headers: {
          ...headers,
          ...(gzip !== undefined && { "content-encoding": "gzip" }),
          ...(trace !== undefined && { traceparent: trace.traceparent }),
          // Without its length a request goes out as a chunk, put together with its framing in memory of its own.
          "content-length": byteLengthOf(body),
        },
      });
      const fail = (error: Error): void => {
        // A second failure, or one after the answer.
        if (this.#request !== request) return;
        this.#request = undefined;
        request.destroy();
        const isStale = this.#agent.reused.has(request) && !isAnswered && isConnectionLost(error);
        resolve({ result: { kind: "retryable", error: failure(error) }, isStale });
      };
      let isAnswered = false;
      let interim = 0;
      request.on("information", () => {
        if (++interim > MOST_INTERIM_ANSWERS) fail(new Error("interim answers (1xx) without end, and no answer"));
      });
      request.once("upgrade", (_, socket: Duplex) => {
        socket.destroy();
        fail(new Error("the server switches to another protocol (HTTP 101)"));
      });
      request.on("error", fail);
      request.once("response", (response) => {
        isAnswered = true;
        readAnswer(response, (result) => {
          if (this.#request !== request) return;
          this.#request = undefined;
          // What is left of the request would be sent first, or the answer goes on.
          const isDone = request.writableFinished && response.complete;
          if (!isDone) request.destroy();
          resolve({
            result: isDone && result.kind === "success" ? { ...result, released: true } : result,
            isStale: false,
          });
        });
      });
      for (const part of body.slice(0, -1)) request.write(part);
      request.end(body.at(-1));
    });
  }
}

/** Keeps the one connection of a slot. */
class SlotAgent extends Agent {
  closed = false;
  /** Requests that got a connection that had been used before. */
  readonly reused = new WeakSet<ClientRequest>();
  readonly #connector: Connector;
  readonly #closing = new AbortController();

  constructor(connector: Connector) {
    // No limit of connections: one that is still being closed must not be waited for.
    super({ keepAlive: true, maxFreeSockets: 1 });
    this.#connector = connector;
  }

  override createConnection(_: unknown, done: (error: Error | null, socket: Duplex) => void): undefined {
    this.#connector.connect(this.#closing.signal).then(
      (socket) => {
        // Closed in the moment between.
        if (this.closed) socket.destroy();
        writeInPieces(socket);
        done(null, socket);
      },
      (error) => done(error, undefined as never),
    );
  }

  override reuseSocket(socket: Duplex, request: ClientRequest): void {
    super.reuseSocket(socket, request);
    this.reused.add(request);
    // Deno sends such a request again by itself when its connection closes, also one that has failed otherwise.
    request.reusedSocket = false;
  }

  override destroy(): void {
    this.closed = true;
    this.#closing.abort();
    super.destroy();
  }
}

/**
 * Has a connection written to piece by piece: else Bun puts a request's header and body together in new memory first.
 * Without `_writev` a stream writes so (https://nodejs.org/api/stream.html#writable_writevchunks-callback), but not one
 * with TLS, which Deno cannot use a second time then.
 */
function writeInPieces(socket: Duplex): void {
  if (!(socket instanceof TLSSocket)) Object.assign(socket, { _writev: undefined });
}

function readAnswer(response: IncomingMessage, done: (result: ExportResult) => void): void {
  const status = response.statusCode ?? 0;
  const isSuccess = status >= 200 && status <= 299;
  const longest = isSuccess ? LONGEST_ANSWER_BYTES : LONGEST_REFUSAL_BYTES;
  const chunks: Buffer[] = [];
  let length = 0;
  const answered = (isCut: boolean): void => {
    const { headers, statusMessage = "" } = response;
    done(classifyHttpAnswer({ status, statusMessage, headers, body: Buffer.concat(chunks), isCut }));
  };
  response.on("data", (chunk: Buffer) => {
    if (length > longest) return;
    length += chunk.length;
    if (length > longest) answered(true);
    else chunks.push(chunk);
  });
  response.on("end", () => {
    if (response.complete) answered(false);
    else brokenOff();
  });
  // Whether the request was taken is unknown: it is sent again rather than lost. But a refusal says all in its status.
  const brokenOff = (cause?: Error): void => {
    if (!isSuccess) answered(true);
    else done({ kind: "retryable", error: new ExportError("the answer broke off", status, { cause }) });
  };
  response.on("error", brokenOff);
  response.on("aborted", () => brokenOff());
}

/** Whether the connection ended. If the answer is not HTTP, the request is not tried again at once. */
function isConnectionLost({ code }: Error & { readonly code?: string }): boolean {
  return code === "ECONNRESET" || code === "EPIPE";
}

function failure(cause: Error): ExportError {
  return new ExportError(cause.message, undefined, { cause });
}
