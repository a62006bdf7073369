import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { isIP, type Socket } from "node:net";
import type { Logger } from "../base/log.ts";
import type { Metrics } from "../pipeline/metrics.ts";
import { type Capacities, forwarderFamilies } from "./metrics-families.ts";
import { processFamilies } from "./metrics-process.ts";
import { stuckDelivery } from "./metrics-readiness.ts";
import { exposition, EXPOSITION_TYPE } from "./metrics-text.ts";

/** What the endpoint shows. */
export interface MetricsSources {
  readonly metrics: Metrics;
  readonly capacities: Capacities;
  /**
   * For `/readyz`: why the forwarder takes no guests, in one line (it starts, it stops); undefined while it does. That
   * its delivery is stuck is seen here.
   */
  readonly notReady: () => string | undefined;
  readonly log: Logger;
}

/** A running endpoint. */
export interface MetricsServer {
  /** Where it listens, `HOST:PORT`; the port is the real one where 0 was asked for. */
  readonly address: string;
  readonly port: number;
  /** Ends it and its connections at once. */
  close(): Promise<void>;
}

/** An endpoint that cannot listen: the message names the address, the reason and what to do. */
export class MetricsServerError extends Error {
  override readonly name = "MetricsServerError";
}

/** A scraper sends a few hundred bytes of header. */
const MAX_HEADER_BYTES = 8192;
/** From a connection's first byte to its last; Prometheus gives a scrape 10 s itself (`scrape_timeout`). */
const CONNECTION_MS = 10_000;
/** Connections at once; a further one takes the place of the oldest, so that idle ones lock no scraper out. */
const MAX_CONNECTIONS = 32;

/**
 * Serves `/metrics` (Prometheus's text format), `/healthz` and `/readyz` at an address; port 0 lets the system choose.
 * One request a connection, none with a body. Rejects with a {@link MetricsServerError}.
 */
export async function startMetricsServer(
  { host, port }: { readonly host: string; readonly port: number },
  sources: MetricsSources,
): Promise<MetricsServer> {
  // Loaded here, as most forwarders serve no metrics.
  const { createServer } = await import("node:http");
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: CONNECTION_MS,
      requestTimeout: CONNECTION_MS,
      keepAlive: false,
    },
    (request, response) => answer(request, response, sources),
  );
  const connections = limitConnections(server);
  server.on("clientError", (_error, socket) => {
    // Not HTTP, too long or too slow: there is nothing to say to it, and nothing to do about it.
    socket.destroy();
  });
  await listen(server, host, port);
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new Error("the endpoint has no port");
  return {
    address: shownAddress(host, bound.port),
    port: bound.port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const connection of connections) connection.destroy();
      }),
  };
}

function answer(request: IncomingMessage, response: ServerResponse, sources: MetricsSources): void {
  const method = request.method ?? "";
  const path = (request.url ?? "").split("?", 1)[0];
  const reply = (status: number, text: string, type = "text/plain; charset=utf-8"): void => {
    response.writeHead(status, {
      "Content-Type": type,
      "Content-Length": new TextEncoder().encode(text).length,
      "Connection": "close",
      ...(status === 405 && { "Allow": "GET, HEAD" }),
    });
    response.end(method === "HEAD" ? undefined : text);
  };
  if (method !== "GET" && method !== "HEAD") {
    reply(405, "only GET and HEAD\n");
    return;
  }
  try {
    switch (path) {
      case "/metrics":
        reply(200, metricsText(sources), EXPOSITION_TYPE);
        break;
      case "/healthz":
        // The event loop came here, and nothing else can be out of order for good without ending the process.
        reply(200, "ok\n");
        break;
      case "/readyz": {
        const reason = sources.notReady() ??
          stuckDelivery(sources.metrics);
        reply(reason === undefined ? 200 : 503, `${reason ?? "ready"}\n`);
        break;
      }
      default:
        reply(404, "there are /metrics, /healthz and /readyz\n");
    }
  } catch (error) {
    // Being watched must not end what is watched.
    sources.log.error("metrics request failed", { path, error: error as Error });
    reply(500, "internal error, see the forwarder's log\n");
  }
}

function metricsText({ metrics, capacities }: MetricsSources): string {
  return exposition([...forwarderFamilies(metrics, capacities), ...processFamilies()]);
}

/** Keeps connections few and short, whatever the far end does. */
function limitConnections(server: Server): ReadonlySet<Socket> {
  const open = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    const [oldest] = open;
    if (oldest !== undefined && open.size >= MAX_CONNECTIONS) {
      // Forgotten at once: several may come in before it is closed.
      open.delete(oldest);
      oldest.destroy();
    }
    open.add(socket);
    const deadline = setTimeout(() => socket.destroy(), CONNECTION_MS);
    deadline.unref();
    socket.once("close", () => {
      clearTimeout(deadline);
      open.delete(socket);
    });
  });
  return open;
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      reject(
        new MetricsServerError(
          `--metrics ${shownAddress(host, port)}: ${explain(cause, isIP(host) === 0)}`,
          { cause },
        ),
      );
    });
    server.listen(port, host, () => resolve());
  });
}

function explain(error: NodeJS.ErrnoException, isName: boolean): string {
  const advice = "stop what listens there, or choose another";
  switch (error.code) {
    case "EADDRINUSE":
      // Bun says so of a name that does not resolve too.
      return `the port is in use${isName ? ", or there is no such host" : ""}: ${advice}`;
    case "EACCES":
      return "the port needs privileges: choose one from 1024 on";
    case "EADDRNOTAVAIL":
    case "EINVAL":
    case "ENOTFOUND":
    // What Bun says of a name that does not resolve.
    case "EINPROGRESS":
    case "ENXIO":
      return "this machine has no such address";
    default:
      return error.message;
  }
}

function shownAddress(host: string, port: number): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}
