import net from "node:net";
import type { Http2Settings, HttpLimits } from "../../../src/http/limits.ts";
import { type HttpHandler, textAnswer } from "../../../src/http/messages.ts";
import { HttpServer } from "../../../src/http/server.ts";

/** Small, so that tests come to them. */
export const LIMITS: HttpLimits = {
  maxConnections: 8,
  maxOpenRequests: 16,
  maxHeaderBytes: 4096,
  maxBodyBytes: 100_000,
  maxTotalBodyBytes: 250_000,
  headerMs: 500,
  bodyMs: 500,
  answerMs: 500,
  idleMs: 60_000,
};

export const HTTP2: Http2Settings = {
  streamWindowBytes: 1 << 20,
  connectionWindowBytes: 1 << 20,
  maxFrameBytes: 1 << 20,
};

/** Answers with what came. */
export const ECHO: HttpHandler = {
  answer: ({ protocol, method, path, query, body }) =>
    textAnswer(200, `${protocol} ${method} ${path}?${query} ${body.length} ${Buffer.from(body.subarray(0, 20))}`),
};

/** A server at work. */
export interface Serving {
  readonly server: HttpServer;
  readonly port: number;
  /** What the handler threw. */
  readonly errors: string[];
}

/** Runs a server on a loopback port for the time that `use` takes. */
export async function serving(
  use: (serving: Serving) => Promise<void>,
  { limits = {}, handler = ECHO, http2 = HTTP2 }: {
    readonly limits?: Partial<HttpLimits>;
    readonly handler?: HttpHandler;
    readonly http2?: Http2Settings;
  } = {},
): Promise<void> {
  const errors: string[] = [];
  const server = new HttpServer({
    handler,
    limits: { ...LIMITS, ...limits },
    http2,
    onError: (error, path) => errors.push(`${path}: ${error.message}`),
  });
  const { port } = await server.listen({ host: "127.0.0.1", port: 0 });
  try {
    await use({ server, port, errors });
  } finally {
    await server.close();
  }
}

/** A client that speaks bytes. */
export class RawClient {
  readonly socket: net.Socket;
  /** Resolves when the connection has ended, in whatever way. */
  readonly closed: Promise<void>;
  #received = Buffer.alloc(0);
  #onData: () => void = () => {};

  constructor(port: number) {
    this.socket = net.connect(port, "127.0.0.1");
    this.socket.on("error", () => {});
    this.socket.on("data", (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      this.#onData();
    });
    this.closed = new Promise((resolve) =>
      this.socket.once("close", () => {
        this.#onData();
        resolve();
      })
    );
  }

  /** What has come so far. */
  get received(): Buffer {
    return this.#received;
  }

  get text(): string {
    return this.#received.toString("latin1");
  }

  /** Sends bytes; resolves when there is room for more, or the connection has ended. */
  async send(bytes: string | Uint8Array): Promise<void> {
    if (this.socket.destroyed) return;
    if (this.socket.write(bytes)) return;
    await Promise.race([new Promise((resolve) => this.socket.once("drain", resolve)), this.closed]);
  }

  /** Resolves when what has come satisfies `condition`; throws if the connection ends before. */
  async until(condition: (text: string) => boolean): Promise<void> {
    while (!condition(this.text)) {
      if (this.socket.destroyed) throw new Error(`the connection ended after: ${this.text.slice(0, 500)}`);
      await new Promise<void>((resolve) => {
        this.#onData = resolve;
      });
    }
  }

  end(): void {
    this.socket.destroy();
  }
}
