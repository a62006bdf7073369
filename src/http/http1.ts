import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Connection } from "./connections.ts";
import { Exchange, type ExchangeContext, type Transport } from "./exchange.ts";
import type { HttpAnswer, HttpHead } from "./messages.ts";

/** What a client that does not speak HTTP/1 is told before its connection is closed. */
const BAD_REQUEST = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
const HEADERS_TOO_LARGE =
  "HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/** Speaks HTTP/1 on sockets that a listener has accepted. */
export class Http1 {
  readonly #server: Server;
  readonly #context: ExchangeContext;
  readonly #connections = new WeakMap<Socket, Connection>();
  #isStopping = false;

  constructor(context: ExchangeContext) {
    this.#context = context;
    this.#server = createServer({
      maxHeaderSize: context.limits.maxHeaderBytes,
      // The library looks after deadlines only on sockets that it has accepted itself.
      keepAliveTimeout: 0,
      headersTimeout: 0,
      requestTimeout: 0,
    }, (request, response) => this.#begin(request, response));
    this.#server.on("clientError", (error, socket) => refuse(error, socket as Socket));
    // Deno ends each connection after one answer if the server does not listen, and this one never does.
    Object.defineProperty(this.#server, "listening", { get: () => !this.#isStopping });
  }

  /** Takes over a connection. */
  serve(connection: Connection): void {
    this.#connections.set(connection.socket, connection);
    this.#server.emit("connection", connection.socket);
  }

  /** From here on every answer ends its connection. */
  stop(): void {
    this.#isStopping = true;
  }

  #begin(request: IncomingMessage, response: ServerResponse): void {
    const connection = this.#connections.get(request.socket);
    if (connection === undefined) throw new Error("a request on a connection that was not taken over");
    if (connection.openRequests >= this.#context.limits.maxOpenRequests) {
      connection.socket.destroy();
      return;
    }
    connection.requestBegan();
    const transport = new Http1Transport(request, response, connection, () => this.#mustClose());
    const exchange = new Exchange(transport, this.#context);
    request.on("data", (chunk: Uint8Array) => exchange.chunk(chunk));
    request.on("end", () => exchange.end());
    // The client has gone in the middle of its body, which `close` of the answer tells too.
    request.on("error", () => {});
    response.on("error", () => {});
    let isOpen = true;
    const close = (): void => {
      if (!isOpen) return;
      isOpen = false;
      exchange.close();
      connection.requestEnded();
      if (!request.complete) transport.finishReading();
    };
    response.once("finish", close);
    response.once("close", close);
  }

  #mustClose(): boolean {
    return this.#isStopping || this.#context.limits.idleMs === 0;
  }
}

class Http1Transport implements Transport {
  readonly head: HttpHead;
  readonly declaredBytes: number | undefined;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #connection: Connection;
  readonly #mustClose: () => boolean;

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    connection: Connection,
    mustClose: () => boolean,
  ) {
    this.#request = request;
    this.#response = response;
    this.#connection = connection;
    this.#mustClose = mustClose;
    const target = request.url ?? "";
    const mark = target.indexOf("?");
    const length = request.headers["content-length"];
    this.declaredBytes = length === undefined ? undefined : Number(length);
    this.head = {
      protocol: "HTTP/1",
      method: request.method ?? "",
      path: mark < 0 ? target : target.slice(0, mark),
      query: mark < 0 ? "" : target.slice(mark + 1),
      headers: request.headers,
      connection,
    };
  }

  send({ status, headers, body }: HttpAnswer): void {
    const response = this.#response;
    if (response.destroyed || this.#connection.socket.destroyed) return;
    const bytes = typeof body === "string" ? Buffer.from(body) : body;
    response.writeHead(status, {
      ...headers,
      "content-length": bytes?.length ?? 0,
      ...this.#mustClose() && { connection: "close" },
    });
    response.end(this.#request.method === "HEAD" ? undefined : bytes);
  }

  /** Reads on for a moment after an answer that came before the end of the body, so that the client sees the answer. */
  finishReading(): void {
    const { socket } = this.#connection;
    if (socket.destroyed) return;
    this.#request.resume();
    const timer = setTimeout(() => socket.destroy(), LINGER_MS);
    this.#request.once("end", () => clearTimeout(timer));
    socket.once("close", () => clearTimeout(timer));
  }

  destroy(): void {
    this.#connection.socket.destroy();
  }
}

/** How long the rest of a body is read that nobody wants, milliseconds. */
const LINGER_MS = 1_000;

function refuse(error: NodeJS.ErrnoException, socket: Socket): void {
  // Nothing can be said once the far end has gone, or in the middle of an answer.
  if (error.code === "ECONNRESET" || !socket.writable || socket.bytesWritten > 0) {
    socket.destroy();
    return;
  }
  socket.end(error.code === "HPE_HEADER_OVERFLOW" ? HEADERS_TOO_LARGE : BAD_REQUEST, () => socket.destroy());
}
