/** The compiled forwarder as a child process of the tests. */

import { Buffer } from "node:buffer";
import { once } from "node:events";
import { mkdirSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { Daemon, eventually } from "../../collector/daemon.ts";
import { program } from "./programs.ts";

/** How to start a forwarder. */
export interface ForwarderSettings {
  /** An existing folder for its log, and for the sandbox's folder with the socket. */
  readonly directory: string;
  /** The sandbox whose VMM's socket it is. */
  readonly sandbox: string;
  /** Beside those that say where to listen; they win over {@link SHUTDOWN_TIMEOUT}. */
  readonly arguments: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

/** One record of the log. */
export interface LogRecord {
  readonly msg: string;
  readonly level: string;
  readonly [key: string]: unknown;
}

/** How long a record may take to appear in the log, milliseconds. */
const LOG_TIMEOUT_MS = 60_000;
const PORT = 10240;
/** A busy machine may need longer than the forwarder's default to deliver what tests have sent. */
const SHUTDOWN_TIMEOUT = "60s";

/** A forwarder that listens at a hybrid socket. */
export class Forwarder {
  /** Where guests connect to. */
  readonly socket: string;
  readonly #log: string;
  readonly #daemon: Daemon;

  private constructor(socket: string, log: string, daemon: Daemon) {
    this.socket = socket;
    this.#log = log;
    this.#daemon = daemon;
  }

  /** Starts it; resolves once it listens. Rejects with its exit code and what it printed when it does not. */
  static async start(settings: ForwarderSettings): Promise<Forwarder> {
    const folder = join(settings.directory, settings.sandbox);
    mkdirSync(folder, { recursive: true });
    const socketPath = join(folder, "clh.sock");
    const log = join(settings.directory, "forwarder.log");
    const before = recordsOf(log).length;
    const daemon = await Daemon.start({
      command: program("KTF_EXECUTABLE"),
      arguments: [
        ...["--socket-path", socketPath, "--shutdown-timeout", SHUTDOWN_TIMEOUT],
        ...settings.arguments,
      ],
      environment: settings.environment ?? {},
      log,
      ready: () => Promise.resolve(recordsOf(log).slice(before).some(({ msg }) => msg === "listening")),
    });
    return new Forwarder(`${socketPath}_${PORT}`, log, daemon);
  }

  /** What it has logged. */
  records(): LogRecord[] {
    return recordsOf(this.#log);
  }

  /** The first record with this message, once it is there. */
  async waitForRecord(message: string): Promise<LogRecord> {
    const found = await eventually(
      LOG_TIMEOUT_MS,
      () => Promise.resolve(this.records().find(({ msg }) => msg === message)),
    );
    if (found !== undefined) return found;
    throw new Error(
      `${LOG_TIMEOUT_MS} ms without ${message} in ${readFileSync(this.#log, "utf8")}`,
    );
  }

  /** The port that it listens at for an option. */
  portOf(option: string): number {
    const record = this.records().findLast((each) => each.msg === "listening to the host" && each["option"] === option);
    return Number(String(record?.["address"]).split(":").at(-1));
  }

  /** The figures that it logs when it ends; the last ones where it has ended more than once. */
  figures(): LogRecord {
    const found = this.records().findLast(({ msg }) => msg === "figures");
    if (found === undefined) throw new Error("no figures: it has not ended");
    return found;
  }

  /** Writes bytes into its socket as a guest does; resolves once all are written and the connection is closed. */
  async write(bytes: Uint8Array): Promise<void> {
    const guest = connect(this.socket);
    await once(guest, "connect");
    guest.end(Buffer.from(bytes));
    await once(guest, "close");
  }

  /** Connects to its socket as a guest that says nothing. Returns what ends the connection. */
  connect(): () => void {
    const guest = connect(this.socket);
    // That the forwarder ends it is no failure here.
    guest.on("error", () => {});
    return () => guest.destroy();
  }

  /** SIGTERM; resolves with how it ended: `exited with 0`. */
  stop(): Promise<string> {
    return this.#daemon.stop();
  }

  /** SIGKILL. */
  kill(): Promise<void> {
    return this.#daemon.kill();
  }
}

/** Its log's records; what else it prints (a failed start's reason) is none. */
function recordsOf(path: string): LogRecord[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
  // The last line may still be in the writing.
  const lines = text.slice(0, text.lastIndexOf("\n") + 1).split("\n");
  return lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as LogRecord);
}
