import type { Buffer } from "node:buffer";
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import { listen } from "../../support/ports.ts";

/** A request as a proxy got it: its method, its target and what it says of its user. */
export type ProxiedRequest = readonly [method: string | undefined, target: string | undefined, authorization?: string];

/**
 * A real HTTP proxy that serves both ways to ask one, and leads everything to one port of this host, so that names need
 * not resolve.
 */
export class TestProxy {
  readonly requests: ProxiedRequest[] = [];
  /** What it answers instead of passing a request on. */
  refusal: number | undefined;
  port = 0;
  readonly #server: Server;
  readonly #target: number;

  /** @param target the port that everything leads to. */
  constructor(target: number, tls?: { readonly key: string; readonly cert: string }) {
    this.#target = target;
    this.#server = tls === undefined ? createServer() : createTlsServer(tls);
    this.#server.on("request", (incoming, answer) => this.#forward(incoming, answer));
    this.#server.on("connect", (incoming, socket, head) => this.#tunnel(incoming, socket, head));
  }

  async listen(): Promise<void> {
    this.port = await listen(this.#server);
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  #note({ method, url, headers }: IncomingMessage): void {
    const authorization = headers["proxy-authorization"];
    this.requests.push(authorization === undefined ? [method, url] : [method, url, authorization]);
  }

  #forward(incoming: IncomingMessage, answer: ServerResponse): void {
    this.#note(incoming);
    if (this.refusal !== undefined) {
      incoming.resume();
      answer.writeHead(this.refusal).end();
      return;
    }
    const { pathname, search } = new URL(incoming.url ?? "");
    const { "proxy-authorization": _, ...headers } = incoming.headers;
    const onward = request({
      host: "127.0.0.1",
      port: this.#target,
      method: incoming.method ?? "POST",
      path: pathname + search,
      headers,
    }, (reply) => {
      answer.writeHead(reply.statusCode ?? 500, reply.headers);
      reply.pipe(answer);
    });
    onward.on("error", () => answer.destroy());
    incoming.pipe(onward);
  }

  #tunnel(incoming: IncomingMessage, socket: Duplex, head: Buffer): void {
    this.#note(incoming);
    if (this.refusal !== undefined) {
      socket.end(`HTTP/1.1 ${this.refusal} Refused by test\r\nContent-Length: 0\r\n\r\n`);
      return;
    }
    const backend = connect(this.#target, "127.0.0.1");
    for (const [one, other] of [[socket, backend], [backend, socket]] as const) {
      one.on("error", () => {});
      one.on("close", () => other.destroy());
    }
    socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
    backend.write(head);
    socket.pipe(backend).pipe(socket);
  }
}
