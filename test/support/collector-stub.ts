import { Buffer } from "node:buffer";
import { createServer, type Server, type Socket } from "node:net";
import { gunzipSync } from "node:zlib";

/** A span as it was received: its resource and its own bytes. */
export interface ReceivedSpan {
  /** 16 hexadecimal digits. */
  readonly spanId: string;
  /** The fields of `ResourceSpans` except `scope_spans`. */
  readonly resource: Uint8Array;
  /** The `Span` message. */
  readonly span: Uint8Array;
}

/** How the stub answers one request. */
export type Answer =
  | { readonly kind: "ok" }
  | { readonly kind: "partial"; readonly rejectedSpans: number; readonly message: string }
  | {
    readonly kind: "status";
    readonly status: number;
    /** `Retry-After`: seconds or a date. */
    readonly retryAfter?: string;
  }
  /** Bytes that are not HTTP, and then the end. */
  | { readonly kind: "garbage" }
  /** A response that ends before its announced length. */
  | { readonly kind: "half" }
  /** The connection is reset once the request has been read. With `takes` the stub accepts the spans before. */
  | { readonly kind: "reset"; readonly takes?: boolean }
  /** Interim answers (100 Continue) for as long as the client reads them. */
  | { readonly kind: "interim" }
  /** No answer, ever. */
  | { readonly kind: "hang" };

/** A request as the stub saw it. */
export interface StubRequest {
  readonly path: string;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  readonly spans: readonly ReceivedSpan[];
  /** Bytes of the uncompressed body. */
  readonly bytes: number;
  /** Its number, from 0. */
  readonly index: number;
}

const OK: Answer = { kind: "ok" };

/**
 * An OTLP/HTTP collector for tests, which answers as told and counts each span that it accepts. It has its own
 * HTTP/1.1, so that it can also break the protocol, and its own decoder, so that a mistake in the tested code is not
 * made twice.
 */
export class CollectorStub {
  /** Answers to the next requests, one for each. After these `answer` decides. */
  readonly script: Answer[] = [];
  answer: (request: StubRequest) => Answer = () => OK;
  /** How long an answer takes, milliseconds. */
  delayMs = 0;
  readonly requests: StubRequest[] = [];
  /** How often each span, by its ID, was in a request that the stub accepted. */
  readonly taken = new Map<string, number>();
  port = 0;
  readonly #sockets = new Set<Socket>();
  readonly #server: Server = createServer((socket) => {
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    // A client that goes away is not an error here.
    socket.on("error", () => socket.destroy());
    this.#serve(socket);
  });

  private constructor() {}

  /** @param port 0 for a free one. */
  static async start(port = 0): Promise<CollectorStub> {
    const stub = new CollectorStub();
    await new Promise<void>((resolve, reject) => {
      stub.#server.once("error", reject);
      stub.#server.listen(port, "127.0.0.1", () => resolve());
    });
    const address = stub.#server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    stub.port = address.port;
    return stub;
  }

  /** The endpoint for traces. */
  get url(): string {
    return `http://127.0.0.1:${this.port}/v1/traces`;
  }

  /** Refuses connections from now on, and breaks existing ones. */
  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #serve(socket: Socket): void {
    let pending: Buffer = Buffer.alloc(0);
    socket.on("data", (chunk) => {
      pending = Buffer.concat([pending, chunk as Buffer]);
      for (
        let parsed = parseRequest(pending);
        parsed !== undefined;
        parsed = parseRequest(pending)
      ) {
        pending = pending.subarray(parsed.length);
        const { path, headers, body } = parsed;
        const spans = decodeRequest(body);
        const request = { path, headers, spans, bytes: body.length, index: this.requests.length };
        this.requests.push(request);
        const answer = this.script.shift() ?? this.answer(request);
        if (this.delayMs === 0) this.#answer(socket, request, answer);
        else setTimeout(() => this.#answer(socket, request, answer), this.delayMs);
      }
    });
  }

  #answer(socket: Socket, request: StubRequest, answer: Answer): void {
    switch (answer.kind) {
      case "ok":
        this.#take(request);
        respond(socket, 200, Buffer.alloc(0));
        break;
      case "partial": {
        this.#take(request);
        const message = Buffer.from(answer.message);
        // ExportTracePartialSuccess: rejected_spans (1), error_message (2), short enough for lengths of one byte.
        const partial = [0x08, answer.rejectedSpans, 0x12, message.length, ...message];
        respond(socket, 200, Buffer.from([0x0a, partial.length, ...partial]));
        break;
      }
      case "status":
        respond(socket, answer.status, Buffer.alloc(0), answer.retryAfter);
        break;
      case "garbage":
        socket.end("\x00\xff\x17 this is no HTTP\r\n\r\n");
        break;
      case "half":
        socket.end("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n\x0a\x02");
        break;
      case "reset":
        if (answer.takes === true) this.#take(request);
        socket.resetAndDestroy();
        break;
      case "interim":
        flood(socket);
        break;
      case "hang":
        break;
    }
  }

  #take({ spans }: StubRequest): void {
    for (const { spanId } of spans) this.taken.set(spanId, (this.taken.get(spanId) ?? 0) + 1);
  }
}

function flood(socket: Socket): void {
  if (socket.destroyed) return;
  const taken = socket.write("HTTP/1.1 100 Continue\r\n\r\n".repeat(1000));
  if (taken) setImmediate(flood, socket);
  else socket.once("drain", () => flood(socket));
}

function respond(socket: Socket, status: number, body: Buffer, retryAfter?: string): void {
  const lines = [
    `HTTP/1.1 ${status} Answer`,
    "Content-Type: application/x-protobuf",
    `Content-Length: ${body.length}`,
  ];
  if (retryAfter !== undefined) lines.push(`Retry-After: ${retryAfter}`);
  socket.write(Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`), body]));
}

interface ParsedRequest {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** Its length, bytes. */
  readonly length: number;
}

/** The first request in the bytes; undefined while it is incomplete. */
function parseRequest(bytes: Buffer): ParsedRequest | undefined {
  const headEnd = bytes.indexOf("\r\n\r\n");
  if (headEnd < 0) return undefined;
  const [requestLine = "", ...lines] = bytes.subarray(0, headEnd).toString("latin1").split("\r\n");
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const colon = line.indexOf(":");
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  const bodyStart = headEnd + 4;
  const content = headers["transfer-encoding"] === "chunked"
    ? dechunk(bytes, bodyStart)
    : sized(bytes, bodyStart, Number(headers["content-length"] ?? 0));
  if (content === undefined) return undefined;
  const body = headers["content-encoding"] === "gzip" ? gunzipSync(content.body) : content.body;
  return { path: requestLine.split(" ")[1] ?? "", headers, body, length: content.end };
}

function sized(
  bytes: Buffer,
  start: number,
  length: number,
): { body: Buffer; end: number } | undefined {
  const end = start + length;
  return end > bytes.length ? undefined : { body: bytes.subarray(start, end), end };
}

/** RFC 9112, 7.1. Trailers are not supported. */
function dechunk(bytes: Buffer, start: number): { body: Buffer; end: number } | undefined {
  const chunks: Buffer[] = [];
  for (let at = start;;) {
    const lineEnd = bytes.indexOf("\r\n", at);
    if (lineEnd < 0) return undefined;
    const length = parseInt(bytes.subarray(at, lineEnd).toString("latin1"), 16);
    at = lineEnd + 2 + length + 2;
    if (at > bytes.length) return undefined;
    if (length === 0) return { body: Buffer.concat(chunks), end: at };
    chunks.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + length));
  }
}

interface Field {
  readonly number: number;
  readonly content: Uint8Array;
  /** The whole field. */
  readonly bytes: Uint8Array;
}

/** The fields of a message, each with its content. The content of a number is its bytes. */
function* fieldsOf(message: Uint8Array): Generator<Field> {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let factor = 1;; factor *= 0x80) {
      const byte = message[at++];
      if (byte === undefined) throw new Error("a message ends inside a number");
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  };
  while (at < message.length) {
    const fieldStart = at;
    const tag = varint();
    const wireType = tag & 7;
    let start = at;
    if (wireType === 0) varint();
    else if (wireType === 1) at += 8;
    else if (wireType === 5) at += 4;
    else if (wireType === 2) {
      const length = varint();
      start = at;
      at += length;
    } else throw new Error(`wire type ${wireType}`);
    if (at > message.length) throw new Error("a field is longer than its message");
    const content = message.subarray(start, at);
    yield { number: tag >>> 3, content, bytes: message.subarray(fieldStart, at) };
  }
}

/** The spans of an encoded `ExportTraceServiceRequest`. Throws on invalid bytes. */
export function decodeRequest(request: Uint8Array): ReceivedSpan[] {
  const spans: ReceivedSpan[] = [];
  for (const { content: resourceSpans } of fieldsOf(request)) {
    const parts = [...fieldsOf(resourceSpans)];
    const resource = Buffer.concat(parts.filter((p) => p.number !== 2).map((p) => p.bytes));
    for (const { content: scopeSpans } of parts.filter((part) => part.number === 2)) {
      for (const { number, content: span } of fieldsOf(scopeSpans)) {
        if (number !== 2) continue;
        const id = [...fieldsOf(span)].find((part) => part.number === 2);
        if (id === undefined) throw new Error("a span without an id");
        spans.push({ spanId: Buffer.from(id.content).toString("hex"), resource, span });
      }
    }
  }
  return spans;
}
