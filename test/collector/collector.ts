/** A real OpenTelemetry Collector for the tests, which keeps what it receives in a file. */

import { Buffer } from "node:buffer";
import { closeSync, existsSync, fstatSync, openSync, readSync, truncateSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { accepts, Daemon, eventually, onFreePorts } from "./daemon.ts";
import { parseSpans, type ReceivedSpan } from "./spans.ts";

/** Paths of the PEM files with which the collector serves TLS. */
export interface CollectorTls {
  readonly certificate: string;
  readonly key: string;
  /** If given, clients must show a certificate that this authority has signed. */
  readonly clientCa?: string;
}

/** How to start a collector. */
export interface CollectorSettings {
  /** Path of the collector, as `build` prints it. */
  readonly binary: string;
  /** An existing folder for its configuration, its log and what it receives. */
  readonly directory: string;
  readonly tls?: CollectorTls;
  /** Further exporters that get every span too: configurations by component name. */
  readonly exporters?: Readonly<Record<string, unknown>>;
}

/** A collector that listens on 127.0.0.1. */
export interface Collector {
  /** Port of OTLP over gRPC. */
  readonly grpcPort: number;
  /** Port of OTLP over HTTP; the path for spans is `/v1/traces`. */
  readonly httpPort: number;
  /** File to which it prints. */
  readonly log: string;
  /**
   * The spans received until now, since the first start, in the order of their
   * arrival. A span is there as soon as its sender has been told of the success.
   */
  spans(): Promise<ReceivedSpan[]>;
  /** As `spans`, once there are at least `count`. Rejects after the time, 10 s if not given. */
  waitForSpans(count: number, timeoutMs?: number): Promise<ReceivedSpan[]>;
  /** Lets it finish what it has received and end. */
  stop(): Promise<void>;
  /** Ends it at once, as a crash would. */
  kill(): Promise<void>;
  /** Starts it again, after a stop if it runs, with the same ports and the same file. */
  restart(): Promise<void>;
}

/** Starts a collector on free ports; resolves once it accepts connections. */
export function startCollector(settings: CollectorSettings): Promise<Collector> {
  return onFreePorts(2, async ([grpcPort = 0, httpPort = 0]) => {
    const file = new SpanFile(join(settings.directory, "spans.jsonl"));
    const log = join(settings.directory, "otelcol.log");
    const configuration = join(settings.directory, "otelcol.yaml");
    await writeFile(configuration, configure(settings, grpcPort, httpPort, file.path));

    const start = () =>
      Daemon.start({
        command: settings.binary,
        arguments: ["--config", configuration],
        environment: {},
        log,
        ready: async () => await accepts(grpcPort) && await accepts(httpPort),
      });
    let daemon = await start();
    return {
      grpcPort,
      httpPort,
      log,
      spans: () => Promise.resolve(file.read()),
      waitForSpans: (count, timeoutMs) => file.waitFor(count, timeoutMs),
      stop: async () => void await daemon.stop(),
      kill: () => daemon.kill(),
      restart: async () => {
        await daemon.stop();
        file.mend();
        daemon = await start();
      },
    };
  });
}

/** The configuration: JSON, which is YAML as well. */
function configure(
  settings: CollectorSettings,
  grpcPort: number,
  httpPort: number,
  path: string,
): string {
  const tls = settings.tls && {
    cert_file: settings.tls.certificate,
    key_file: settings.tls.key,
    client_ca_file: settings.tls.clientCa,
  };
  const exporters = {
    // With rotation the exporter writes each request before it is answered and
    // appends at a restart. Without it a buffer is written at intervals, and a
    // test would wait, or lose acknowledged spans when it kills the collector.
    // The size is one that is never reached: one file holds everything.
    file: { path, rotation: { max_megabytes: 1_000_000 } },
    ...settings.exporters,
  };
  const configuration = {
    receivers: {
      otlp: {
        protocols: {
          grpc: { endpoint: `127.0.0.1:${grpcPort}`, tls },
          http: { endpoint: `127.0.0.1:${httpPort}`, tls },
        },
      },
    },
    exporters,
    service: {
      pipelines: { traces: { receivers: ["otlp"], exporters: Object.keys(exporters) } },
    },
  };
  // The collector would replace what follows a "$" in a path.
  return JSON.stringify(configuration, null, 2).replaceAll("$", "$$$$");
}

/** The file with the received spans: one export request a line. */
class SpanFile {
  readonly path: string;
  readonly #spans: ReceivedSpan[] = [];
  /** How many bytes of the file are already in `#spans`. */
  #offset = 0;

  constructor(path: string) {
    this.path = path;
  }

  read(): ReceivedSpan[] {
    const added = this.#unread();
    // The last line may still be in the writing.
    const end = added.lastIndexOf("\n") + 1;
    for (const line of added.toString("utf8", 0, end).split("\n")) {
      if (line !== "") this.#spans.push(...parseSpans(line));
    }
    this.#offset += end;
    return [...this.#spans];
  }

  async waitFor(count: number, timeoutMs = 10_000): Promise<ReceivedSpan[]> {
    const enough = () => Promise.resolve(this.read().length >= count || undefined);
    if (await eventually(timeoutMs, enough)) return this.read();
    const received = this.read().length;
    throw new Error(`after ${timeoutMs} ms the collector has ${received} spans and not ${count}`);
  }

  /** Removes the line that a killed collector left unfinished, which the next would continue. */
  mend(): void {
    this.read();
    if (existsSync(this.path)) truncateSync(this.path, this.#offset);
  }

  // Synchronous, so that no two readers take the same lines.
  #unread(): Buffer {
    // The collector creates the file with the first span.
    if (!existsSync(this.path)) return Buffer.alloc(0);
    const file = openSync(this.path, "r");
    try {
      const bytes = Buffer.alloc(fstatSync(file).size - this.#offset);
      return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, this.#offset));
    } finally {
      closeSync(file);
    }
  }
}
