import type { Logger } from "../base/log.ts";
import type { HttpAnswer, HttpHead } from "../http/messages.ts";
import { textAnswer } from "../http/messages.ts";
import type { HttpLimits } from "../http/limits.ts";
import { HttpListenError, type ListenAddress, shownAddress } from "../http/listen-error.ts";
import { HttpServer } from "../http/server.ts";
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
   * For `/readyz`: says in one line why no guests are accepted (starting, stopping), or undefined if they are. Whether
   * delivery is stuck is checked here.
   */
  readonly notReady: () => string | undefined;
  readonly log: Logger;
  /** Monotonic milliseconds; for tests. */
  readonly now?: () => number;
}

/** A running endpoint. */
export interface MetricsServer {
  /** Where it listens, as `HOST:PORT`, with the real port if 0 was given. */
  readonly address: string;
  readonly port: number;
  /** Ends it and its connections at once. */
  close(): Promise<void>;
}

/** The endpoint cannot listen. The message names the address, the reason and what to do. */
export class MetricsServerError extends Error {
  override readonly name = "MetricsServerError";
}

/** Prometheus's own limit for a scrape (`scrape_timeout`), milliseconds. */
const SCRAPE_MS = 10_000;

/** A scraper sends a few hundred bytes of header and no body, and each scrape has a connection of its own. */
const LIMITS: HttpLimits = {
  maxConnections: 32,
  maxOpenRequests: 4,
  maxHeaderBytes: 8192,
  maxBodyBytes: 0,
  maxTotalBodyBytes: 0,
  headerMs: SCRAPE_MS,
  bodyMs: SCRAPE_MS,
  answerMs: SCRAPE_MS,
  idleMs: 0,
};

/** How long the text of `/metrics` is reused, milliseconds, so that frequent scrapes cost no more. */
const TEXT_MS = 1_000;

/**
 * Serves `/metrics` (Prometheus's text format), `/healthz` and `/readyz` at an address; port 0 lets the system choose.
 * One request a connection, none with a body. Rejects with a {@link MetricsServerError}.
 */
export async function startMetricsServer(
  address: ListenAddress,
  sources: MetricsSources,
): Promise<MetricsServer> {
  const endpoint = new Endpoint(sources);
  const server = new HttpServer({
    handler: { admit: admitMethod, answer: (request) => endpoint.answer(request) },
    limits: LIMITS,
    // A failing scrape must not end the forwarder.
    onError: (error, path) => sources.log.error("metrics request failed", { path, error }),
  });
  const bound = await server.listen(address).catch((cause) => {
    if (!(cause instanceof HttpListenError)) throw cause;
    throw new MetricsServerError(`--metrics ${cause.message}`, { cause: cause.cause });
  });
  return { address: shownAddress(bound), port: bound.port, close: () => server.close() };
}

function admitMethod({ method }: HttpHead): HttpAnswer | undefined {
  if (method === "GET" || method === "HEAD") return undefined;
  return textAnswer(405, "only GET and HEAD\n", { allow: "GET, HEAD" });
}

class Endpoint {
  readonly #sources: MetricsSources;
  #text = "";
  /** Monotonic milliseconds. */
  #textAt = -Infinity;

  constructor(sources: MetricsSources) {
    this.#sources = sources;
  }

  answer({ path }: HttpHead): HttpAnswer {
    const { metrics, notReady } = this.#sources;
    switch (path) {
      case "/metrics":
        return textAnswer(200, this.#metricsText(), { "content-type": EXPOSITION_TYPE });
      case "/healthz":
        // The event loop works. Any other lasting fault would have ended the process.
        return textAnswer(200, "ok\n");
      case "/readyz": {
        const reason = notReady() ?? stuckDelivery(metrics);
        return textAnswer(reason === undefined ? 200 : 503, `${reason ?? "ready"}\n`);
      }
    }
    return textAnswer(404, "not found: try /metrics, /healthz or /readyz\n");
  }

  #metricsText(): string {
    const now = this.#sources.now?.() ?? performance.now();
    if (now - this.#textAt >= TEXT_MS) {
      const { metrics, capacities } = this.#sources;
      this.#text = exposition([...forwarderFamilies(metrics, capacities), ...processFamilies()]);
      this.#textAt = now;
    }
    return this.#text;
  }
}
