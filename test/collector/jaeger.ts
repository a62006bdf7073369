/** A real Jaeger for the tests, with its storage in memory. */

import { join } from "node:path";
import { accepts, Daemon, eventually, onFreePorts } from "./daemon.ts";

/** How to start Jaeger. */
export interface JaegerSettings {
  /** Path of Jaeger, as `build` prints it. */
  readonly binary: string;
  /** An existing folder for its log. */
  readonly directory: string;
}

/** A tag, a field of a log, or another typed value, as Jaeger's query API shows it. */
export interface JaegerTag {
  readonly key: string;
  /** `string`, `bool`, `int64`, `float64` or `binary`. */
  readonly type: string;
  /** Jaeger shows an `int64` that a JavaScript number cannot hold as a string. */
  readonly value: string | boolean | number;
}

/** A span as Jaeger's query API shows it. */
export interface JaegerSpan {
  readonly traceID: string;
  readonly spanID: string;
  readonly operationName: string;
  readonly references: readonly {
    /** `CHILD_OF` or `FOLLOWS_FROM`. */
    readonly refType: string;
    readonly traceID: string;
    readonly spanID: string;
  }[];
  /** In microseconds since 1970. */
  readonly startTime: number;
  /** In microseconds. */
  readonly duration: number;
  readonly tags: readonly JaegerTag[];
  readonly logs: readonly { readonly timestamp: number; readonly fields: readonly JaegerTag[] }[];
  /** Key of its process in the trace's `processes`. */
  readonly processID: string;
  readonly warnings: readonly string[] | null;
}

/** A trace as Jaeger's query API shows it. */
export interface JaegerTrace {
  readonly traceID: string;
  readonly spans: readonly JaegerSpan[];
  readonly processes: Readonly<
    Record<string, { readonly serviceName: string; readonly tags: readonly JaegerTag[] }>
  >;
}

/** A Jaeger that listens on 127.0.0.1. */
export interface Jaeger {
  /** Port of OTLP over gRPC. */
  readonly grpcPort: number;
  /** Port of OTLP over HTTP; the path for spans is `/v1/traces`. */
  readonly httpPort: number;
  /** Port of the query API. */
  readonly queryPort: number;
  /** File to which it prints. */
  readonly log: string;
  /**
   * The trace with this hexadecimal identifier, if Jaeger has any of its spans.
   * Rejects if one has an attribute that is infinite or not a number: Jaeger's
   * query API fails for these.
   */
  trace(traceId: string): Promise<JaegerTrace | undefined>;
  /** As `trace`, once it has at least `spans` spans. Rejects after the time, 10 s if not given. */
  waitForTrace(traceId: string, spans: number, timeoutMs?: number): Promise<JaegerTrace>;
  /** The traces in which this service has a span. */
  traces(service: string): Promise<JaegerTrace[]>;
  /** The names of all services. */
  services(): Promise<string[]>;
  /** Ends it. What it has stored is gone. */
  stop(): Promise<void>;
}

/** Starts Jaeger on free ports; resolves once it accepts spans and answers queries. */
export function startJaeger(settings: JaegerSettings): Promise<Jaeger> {
  return onFreePorts(7, async (ports) => {
    const [grpcPort = 0, httpPort = 0, queryPort = 0, ...unused] = ports;
    const log = join(settings.directory, "jaeger.log");
    const query = (path: string) => fetch(`http://127.0.0.1:${queryPort}/api/${path}`);

    const daemon = await Daemon.start({
      command: settings.binary,
      arguments: [
        `--collector.otlp.grpc.host-port=127.0.0.1:${grpcPort}`,
        `--collector.otlp.http.host-port=127.0.0.1:${httpPort}`,
        `--query.http-server.host-port=127.0.0.1:${queryPort}`,
        // Nothing uses these, but Jaeger would open them on its usual ports.
        `--query.grpc-server.host-port=127.0.0.1:${unused[0]}`,
        `--collector.grpc-server.host-port=127.0.0.1:${unused[1]}`,
        `--collector.http-server.host-port=127.0.0.1:${unused[2]}`,
        `--admin.http.host-port=127.0.0.1:${unused[3]}`,
      ],
      // Jaeger would trace every query, export that to port 4317, and when it is
      // stopped try for ten seconds.
      environment: { SPAN_STORAGE_TYPE: "memory", OTEL_TRACES_SAMPLER: "always_off" },
      log,
      ready: async () => await accepts(grpcPort) && await accepts(httpPort) && await accepts(queryPort),
    });

    const trace = async (traceId: string) => {
      const response = await query(`traces/${traceId}`);
      if (response.status !== 404) return (await data<JaegerTrace[]>(response))[0];
      await response.body?.cancel();
      return undefined;
    };
    return {
      grpcPort,
      httpPort,
      queryPort,
      log,
      trace,
      waitForTrace: async (traceId, spans, timeoutMs = 10_000) => {
        const found = await eventually(timeoutMs, async () => {
          const found = await trace(traceId);
          return found !== undefined && found.spans.length >= spans ? found : undefined;
        });
        if (found !== undefined) return found;
        const stored = (await trace(traceId))?.spans.length ?? 0;
        throw new Error(
          `after ${timeoutMs} ms Jaeger has ${stored} spans of ${traceId} and not ${spans}`,
        );
      },
      traces: async (service) => {
        // By default Jaeger returns only some, and only of the last two days.
        const end = String((Date.now() + 86_400_000) * 1000);
        const search = new URLSearchParams({ service, start: "0", end, limit: "1000000" });
        return await data<JaegerTrace[]>(await query(`traces?${search}`));
      },
      // Null, and not an empty list, as long as there are none.
      services: async () => await data<string[] | null>(await query("services")) ?? [],
      stop: async () => void await daemon.stop(),
    };
  });
}

/** What Jaeger wraps as `data` in every answer. */
async function data<T>(response: Response): Promise<T> {
  const text = await response.text();
  if (!response.ok) throw new Error(`Jaeger answered ${response.status}: ${text}`);
  return (JSON.parse(text) as { data: T }).data;
}
