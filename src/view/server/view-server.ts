import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { describeError, type Logger } from "../../base/log.ts";
import { portOwner } from "../../receivers/peers/port-owner.ts";
import type { TraceStore } from "../../store/trace-store.ts";
import type * as api from "../api.ts";
import { CONTENT_SECURITY_POLICY, PAGE_HTML } from "../page-html.ts";
import { openRecords } from "../open-records.ts";
import { ApiHandler, type ApiResponse, failure, json } from "./api-handler.ts";
import { EventStream } from "./event-stream.ts";
import { refuseForeign, Sessions } from "./session.ts";

/** Where the page is if nobody says: the first free port from here on. */
export const DEFAULT_PORT = 8690;
/** How many ports are tried. */
const PORTS_TRIED = 20;

/** A browser's headers have 1 to 2 kB. */
const MAX_HEADER_BYTES = 16 * 1024;
/** Connections at once: some browsers with six each. */
const MAX_CONNECTIONS = 256;
/** From a request's first byte to its last, milliseconds: a large file is opened over loopback or `ssh -L`. */
const REQUEST_MS = 60_000;
/** A file that is opened in the page, bytes. */
const MAX_OPENED_BYTES = 256 * 1024 * 1024;
/** A token in JSON. */
const MAX_SESSION_BYTES = 1024;

const SECURITY_HEADERS = {
  "Content-Security-Policy": CONTENT_SECURITY_POLICY,
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Cache-Control": "no-store",
} as const;

/** The page cannot be served: the message says where, why and what to do. */
export class ViewServerError extends Error {
  override readonly name = "ViewServerError";
}

export interface ViewServerOptions {
  readonly store: TraceStore;
  /** Absent: the default, or the next free port after it. */
  readonly address?: { readonly host: string; readonly port: number } | undefined;
  readonly log: Logger;
  /** The session's token; absent: a new one. */
  readonly token?: string | undefined;
}

/** Serves the page and its API, and tells open pages what has changed. */
export class ViewServer {
  readonly handler: ApiHandler;
  readonly #store: TraceStore;
  readonly #log: Logger;
  readonly #sessions: Sessions;
  readonly #events: EventStream;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #origin = "";

  private constructor({ store, log, token }: ViewServerOptions) {
    this.#sessions = new Sessions(token);
    this.#store = store;
    this.#log = log;
    this.handler = new ApiHandler(store, () => performance.now());
    this.#events = new EventStream(this.handler);
    this.#server = createServer(
      { maxHeaderSize: MAX_HEADER_BYTES, headersTimeout: REQUEST_MS, requestTimeout: REQUEST_MS },
      (request, response) => void this.#answer(request, response),
    );
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
    // Not HTTP, or too slow: there is nothing to say to it.
    this.#server.on("clientError", (_error, socket) => socket.destroy());
  }

  /** Listens; rejects with a {@link ViewServerError}. */
  static async start(options: ViewServerOptions): Promise<ViewServer> {
    const server = new ViewServer(options);
    const { host, port } = options.address ?? { host: "127.0.0.1", port: DEFAULT_PORT };
    const tries = options.address === undefined ? PORTS_TRIED : 1;
    for (let next = port;; next++) {
      try {
        await server.#listen(host, next);
        return server;
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === "EADDRINUSE" && next < port + tries - 1) continue;
        throw new ViewServerError(
          `--view ${host}:${next}: ${explain(code, next) ?? describeError(error as Error)}`,
          { cause: error },
        );
      }
    }
  }

  /** The URL to open in a browser; anyone with this URL can see everything. */
  get url(): string {
    return `${this.#origin}/#token=${this.#sessions.token}`;
  }

  /** Something was stored: open pages are told soon. */
  changed(): void {
    this.#events.announce(this.#store.takeChanged());
  }

  async close(): Promise<void> {
    this.#events.close();
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      for (const socket of this.#sockets) socket.destroy();
    });
  }

  #listen(host: string, port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(port, host, () => {
        this.#server.off("error", reject);
        const bound = this.#server.address() as AddressInfo;
        this.#origin = `http://${host.includes(":") ? `[${host}]` : host}:${bound.port}`;
        resolve();
      });
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const answer = await this.#route(request, response);
      if (answer !== undefined) send(request, response, answer);
    } catch (error) {
      // An error while serving a viewer must not end the process whose spans it shows.
      this.#log.error("view request failed", { path: request.url ?? "", error: describeError(error as Error) });
      if (!response.headersSent) send(request, response, failure(500, "internal error, see the forwarder's log"));
      else response.destroy();
    }
  }

  /** The answer, or undefined if the response is a stream that goes on. */
  async #route(request: IncomingMessage, response: ServerResponse): Promise<ApiResponse | undefined> {
    const { method = "", url = "" } = request;
    const { host, origin, cookie } = request.headers;
    const head = { method, host, origin, cookie };
    const { pathname, searchParams } = new URL(url, "http://localhost");
    if (pathname === "/" && (method === "GET" || method === "HEAD")) {
      const refusal = refuseForeign(head);
      if (refusal !== undefined) return failure(refusal.status, refusal.error);
      return { status: 200, type: "text/html; charset=utf-8", body: PAGE_HTML };
    }
    if (!pathname.startsWith("/api/v1/")) return failure(404, "no such resource");
    const path = pathname.slice("/api/v1".length);
    if (path === "/session" && method === "POST") {
      const refusal = refuseForeign(head);
      if (refusal !== undefined) return failure(refusal.status, refusal.error);
      return await this.#openSession(request, response);
    }
    const refusal = this.#sessions.refuse(head);
    if (refusal !== undefined) return failure(refusal.status, refusal.error);
    if (path === "/session" && method === "GET") return json(this.handler.session());
    if (path === "/events" && method === "GET") {
      response.writeHead(200, { ...SECURITY_HEADERS, "Content-Type": "text/event-stream" });
      this.#events.add(response);
      return undefined;
    }
    if (path === "/open" && method === "POST") return await this.#open(request, searchParams.get("label") ?? "");
    await this.handler.prepare();
    return this.handler.answer({ method, path, query: searchParams });
  }

  async #openSession(request: IncomingMessage, response: ServerResponse): Promise<ApiResponse> {
    const body = await readBody(request, MAX_SESSION_BYTES);
    let token: unknown;
    try {
      token = (JSON.parse(new TextDecoder().decode(body)) as { token?: unknown } | null)?.token;
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      return failure(400, "the body has to be JSON with a token");
    }
    const cookie = this.#sessions.exchange(token);
    if (cookie === undefined) return failure(401, "wrong token: open the URL that kata-trace-forwarder has printed");
    response.setHeader("Set-Cookie", cookie);
    return json(this.handler.session());
  }

  async #open(request: IncomingMessage, label: string): Promise<ApiResponse> {
    const body = await readBody(request, MAX_OPENED_BYTES);
    if (body === undefined) return failure(413, `a file of at most ${MAX_OPENED_BYTES} bytes can be opened here`);
    const opened: api.Opened = openRecords(this.#store, body, label);
    this.changed();
    return json(opened);
  }
}

function explain(code: string | undefined, port: number): string | undefined {
  switch (code) {
    case "EADDRINUSE": {
      const owner = portOwner(port);
      if (owner === undefined) return "the port is in use: stop what listens there, or choose another";
      return `${owner.name} (process ${owner.pid}) listens there: stop it, or choose another port`;
    }
    case "EACCES":
      return "the port needs privileges: choose one from 1024 on";
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
      return "this machine has no such address";
    default:
      return undefined;
  }
}

function send(request: IncomingMessage, response: ServerResponse, { status, type, body, fileName }: ApiResponse): void {
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  response.writeHead(status, {
    ...SECURITY_HEADERS,
    "Content-Type": type,
    "Content-Length": bytes.length,
    ...(fileName !== undefined && { "Content-Disposition": `attachment; filename="${fileName}"` }),
  });
  response.end(request.method === "HEAD" ? undefined : bytes);
}

/** A request's body; undefined if it is too long, and then the rest of it is not read. */
async function readBody(request: IncomingMessage, maxBytes: number): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > maxBytes) return undefined;
    chunks.push(chunk);
  }
  const body = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    body.set(chunk, at);
    at += chunk.length;
  }
  return body;
}
