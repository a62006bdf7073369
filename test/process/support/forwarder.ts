import { setTimeout as sleep } from "node:timers/promises";
import { readExposition, type ReadFamily } from "../../telemetry/support/exposition.ts";
import type { Sandbox } from "./sandbox.ts";
import { type Exit, Running, type RunOptions } from "./process.ts";
import { until } from "../../support/until.ts";

/** One record of the log. */
export interface LogRecord {
  readonly msg: string;
  readonly level: string;
  readonly [key: string]: unknown;
}

/** A forwarder's counters, by the names of its metrics without their common part. */
export interface Figures {
  readonly received: number;
  readonly forwarded: number;
  readonly dropped: number;
  readonly invalid: number;
  readonly held: number;
}

/** How long the forwarder reuses the text of its metrics, milliseconds. */
const METRICS_TEXT_MS = 1_000;
const METRICS_POLL_MS = 20;

const PREFIX = "kata_trace_forwarder_";

/** All metrics at one moment. */
export class Reading {
  readonly families: ReadonlyMap<string, ReadFamily>;

  /** @param text the exposition, as /metrics serves it. */
  constructor(text: string) {
    this.families = readExposition(text);
  }

  /** The five that must add up. */
  get figures(): Figures {
    return {
      received: this.metric("spans_received_total"),
      forwarded: this.metric("spans_forwarded_total"),
      dropped: this.metric("spans_dropped_total"),
      invalid: this.metric("spans_invalid_total"),
      held: this.metric("spans_held"),
    };
  }

  /** A metric's value. For a labelled one the sum, or the value of the series with this label value. */
  metric(name: string, label?: string): number {
    const family = this.families.get(PREFIX + name);
    if (family === undefined) throw new Error(`there is no metric ${PREFIX}${name}`);
    let sum = 0;
    for (const [series, value] of family.series) {
      if (label === undefined || series.includes(`"${label}"`)) sum += value;
    }
    return sum;
  }

  /** Whether all that waits for the collector is in the spool. */
  get isSpooled(): boolean {
    return this.metric("spool_batches") === this.metric("queue_batches");
  }
}

/** A forwarder whose log is read as it is written. */
export class Forwarder extends Running {
  /** The stream that the log is on. */
  readonly #logStream: "stdout" | "stderr";
  #parsed = 0;
  readonly #records: LogRecord[] = [];
  /** When the metrics' text was last asked for, monotonic milliseconds. */
  #askedAt = -Infinity;

  constructor(args: readonly string[], options: RunOptions = {}) {
    super(args, options);
    this.#logStream = args.includes("--dump-only") ? "stderr" : "stdout";
  }

  /** The log so far. Throws on a line that is not a record, except the error of a process that fails. */
  get records(): readonly LogRecord[] {
    const text = this[this.#logStream];
    for (let end; (end = text.indexOf("\n", this.#parsed)) >= 0; this.#parsed = end + 1) {
      const line = text.slice(this.#parsed, end);
      if (this.#logStream === "stderr" && line.startsWith("kata-trace-forwarder: ")) continue;
      this.#records.push(JSON.parse(line) as LogRecord);
    }
    return this.#records;
  }

  /** All records of a message, or of those that match. */
  recordsOf(message: string | RegExp): LogRecord[] {
    return this.records.filter(({ msg }) => typeof message === "string" ? msg === message : message.test(msg));
  }

  /** Waits for a record of a message, for which `matches` holds. */
  async record(
    message: string | RegExp,
    matches: (record: LogRecord) => boolean = () => true,
  ): Promise<LogRecord> {
    let found: LogRecord | undefined;
    await until(() => {
      found = this.recordsOf(message).find(matches);
      if (found === undefined && this.exit !== undefined) {
        throw new Error(`ended without "${message}": ${this.stdout}${this.stderr}`);
      }
      return found !== undefined;
    }, `the record "${message}" in ${this[this.#logStream]}`);
    return found as LogRecord;
  }

  /** Sends a signal and waits for the end. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<Exit> {
    this.kill(signal);
    return await this.exited;
  }

  /** Where its metrics are served: for a forwarder that was started with `--metrics`. */
  async metricsUrl(path: string): Promise<string> {
    const { address } = await this.record("serving metrics");
    return `http://${address}${path}`;
  }

  /** Its metrics at a moment after the call. This takes up to a second, because their text is made once a second. */
  async reading(): Promise<Reading> {
    let isNew = performance.now() - this.#askedAt >= METRICS_TEXT_MS;
    const first = await this.#metricsText();
    let text = first;
    while (!isNew) {
      await sleep(METRICS_POLL_MS);
      text = await this.#metricsText();
      // A new text differs at least in its CPU time.
      isNew = text !== first;
    }
    return new Reading(text);
  }

  async #metricsText(): Promise<string> {
    const text = await (await fetch(await this.metricsUrl("/metrics"))).text();
    this.#askedAt = performance.now();
    return text;
  }

  /** A metric's value at a moment after the call; see `Reading.metric`. */
  async metric(name: string, label?: string): Promise<number> {
    return (await this.reading()).metric(name, label);
  }

  /** The five that must add up, read at one moment after the call. */
  async figures(): Promise<Figures> {
    return (await this.reading()).figures;
  }

  /** The same, read at one moment within the last second. */
  async recentFigures(): Promise<Figures> {
    return new Reading(await this.#metricsText()).figures;
  }
}

/** Starts a forwarder and waits until it listens. */
export async function startForwarder(
  args: readonly string[],
  options: RunOptions = {},
): Promise<Forwarder> {
  const forwarder = new Forwarder(args, options);
  try {
    await forwarder.record("listening");
    return forwarder;
  } catch (error) {
    await forwarder[Symbol.asyncDispose]();
    throw error;
  }
}

/** Starts a forwarder that is configured by its environment only. */
export function fromEnvironment(
  sandbox: Sandbox,
  env: Readonly<Record<string, string>>,
): Promise<Forwarder> {
  return startForwarder([], {
    env: { KATA_TRACE_FORWARDER_SOCKET_PATH: sandbox.socketPath, ...env },
  });
}
