import { type Logger, rateLimited } from "../../base/log.ts";
import type { Http2Settings, HttpLimits } from "../../http/limits.ts";
import type { ListenAddress } from "../../http/listen-error.ts";
import { HttpServer } from "../../http/server.ts";
import type { TlsCredentials } from "../../http/tls.ts";
import { type EndpointSettings, type JaegerBatches, JaegerEndpoint } from "./endpoint.ts";

const MEBIBYTE = 1024 * 1024;
/** Everything is answered within this, milliseconds, because a sandbox's start waits for it. */
const ANSWER_MS = 1_000;

/** What runtimes may use. */
export const JAEGER_LIMITS: HttpLimits = {
  // One for each sandbox's shim.
  maxConnections: 2048,
  maxOpenRequests: 100,
  maxHeaderBytes: 16 * 1024,
  maxBodyBytes: 16 * MEBIBYTE,
  maxTotalBodyBytes: 64 * MEBIBYTE,
  headerMs: ANSWER_MS,
  bodyMs: ANSWER_MS,
  answerMs: ANSWER_MS,
  // Both exporters close their own after 90 s. A request on a connection that is being closed here would be lost.
  idleMs: 600_000,
};

/**
 * The tracing of Kata 4's Rust runtime has no filter, so the spans of its HTTP/2 client go into the next batch: about
 * one for each frame, and more than it can send. With frames and windows that a batch fits in, that stays at some 44.
 */
const JAEGER_HTTP2: Http2Settings = {
  streamWindowBytes: 64 * MEBIBYTE,
  connectionWindowBytes: 64 * MEBIBYTE,
  maxFrameBytes: 16_777_215,
};

/** What a server has to know of the settings. */
export interface JaegerServerSettings extends EndpointSettings {
  /** Absent: without TLS. */
  readonly tls?: TlsCredentials;
}

/** Listens to runtimes and answers them, in this thread or in one of its own. */
export interface JaegerServer {
  /** See `HttpServer.listen`. */
  listen(address: ListenAddress): Promise<ListenAddress>;
  /** Begins to answer requests; earlier ones have waited. */
  begin(): void;
  /**
   * Accepts no more connections, answers the requests that have come, and closes. Takes `timeoutMs` at most. Once it
   * resolves, everything that was answered has been handed on.
   */
  stop(timeoutMs: number): Promise<void>;
  /** Closes at once. Once it resolves, everything that was answered has been handed on. */
  close(): Promise<void>;
}

/** Answers in the thread that it is made in. */
export class LocalJaegerServer implements JaegerServer {
  readonly #endpoint: JaegerEndpoint;
  readonly #http: HttpServer;

  constructor(batches: JaegerBatches, log: Logger, settings: JaegerServerSettings) {
    this.#endpoint = new JaegerEndpoint(batches, rateLimited(log), settings);
    this.#http = new HttpServer({
      handler: this.#endpoint,
      limits: JAEGER_LIMITS,
      http2: JAEGER_HTTP2,
      ...settings.tls && { tls: settings.tls },
      onError: (error, path) => log.error("a runtime's request failed", { path, error }),
    });
  }

  listen(address: ListenAddress): Promise<ListenAddress> {
    return this.#http.listen(address);
  }

  begin(): void {
    this.#endpoint.begin();
  }

  async stop(timeoutMs: number): Promise<void> {
    await this.#http.stop(timeoutMs);
    this.#endpoint.close();
  }

  async close(): Promise<void> {
    await this.#http.close();
    this.#endpoint.close();
  }
}
