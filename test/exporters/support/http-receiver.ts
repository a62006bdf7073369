import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { Socket } from "node:net";
import { gunzipSync } from "node:zlib";
import { listen } from "../../support/ports.ts";

/** A request as it came in. */
export interface HttpRequest {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: IncomingMessage["headers"];
  /** Uncompressed. */
  readonly body: Uint8Array;
  /** For answers that are no answers. */
  readonly socket: Socket;
}

export type HttpAnswer = (response: ServerResponse, request: HttpRequest) => void;

/** The answer of a collector that took everything. */
export const accept: HttpAnswer = (response) => {
  response.writeHead(200, { "content-type": "application/x-protobuf" }).end();
};

/** A real HTTP server that keeps what it gets and answers as it is told. */
export class HttpReceiver {
  answer: HttpAnswer = accept;
  readonly requests: HttpRequest[] = [];
  /** How many connections there have been. */
  connections = 0;
  readonly sockets = new Set<Socket>();
  readonly #server: Server;
  readonly #scheme: string;
  #port = 0;

  constructor(tls?: { key: string; cert: string; ca?: string; requestCert?: boolean }) {
    const handle = (request: IncomingMessage, response: ServerResponse): void => this.#receive(request, response);
    this.#scheme = tls === undefined ? "http" : "https";
    this.#server = tls === undefined ? createServer(handle) : createTlsServer(tls, handle);
    this.#server.on(tls === undefined ? "connection" : "secureConnection", (socket: Socket) => {
      this.connections++;
      this.sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => this.sockets.delete(socket));
    });
  }

  /** The endpoint for traces. */
  get url(): string {
    return `${this.#scheme}://localhost:${this.#port}/v1/traces`;
  }

  /** Listens on a loopback port, a free one for 0. */
  async listen(port = 0): Promise<void> {
    this.#port = await listen(this.#server, port);
  }

  /** Ends all connections and listens no more. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }

  #receive(request: IncomingMessage, response: ServerResponse): void {
    const chunks: Uint8Array[] = [];
    request.on("data", (chunk: Uint8Array) => chunks.push(chunk));
    request.on("end", () => {
      const { method, url, headers, socket } = request;
      const raw = Buffer.concat(chunks);
      const body = headers["content-encoding"] === "gzip" ? gunzipSync(raw) : raw;
      const received = { method, url, headers, body: Uint8Array.from(body), socket };
      this.requests.push(received);
      this.answer(response, received);
    });
  }
}
