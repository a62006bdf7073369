import process from "node:process";
import { VERSION } from "./version.ts";

/** Levels and their names in records, as the Rust forwarder's users know them, most severe last. */
export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "critical"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export const LOG_FORMATS = ["json", "text"] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

const SHORT_NAMES: Readonly<Record<LogLevel, string>> = {
  trace: "TRCE",
  debug: "DEBG",
  info: "INFO",
  warn: "WARN",
  error: "ERRO",
  critical: "CRIT",
};

/** SGR colour of a level: dim, dim, green, yellow, red, bold red (ECMA-48, 8.3.117). */
const COLOURS: Readonly<Record<LogLevel, string>> = {
  trace: "2",
  debug: "2",
  info: "32",
  warn: "33",
  error: "31",
  critical: "1;31",
};

const NAME = "kata-trace-forwarder";

/** A record's own keys. An error is shown with the messages of its causes. */
export type LogFields = Readonly<Record<string, string | number | boolean | Error | undefined>>;

/** Writes records. A logger of a room carries the room's name as `subsystem`. */
export interface Logger {
  log(level: LogLevel, message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** The same log under another subsystem's name. */
  of(subsystem: string): Logger;
}

/** How a log is written. */
export interface LogOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** Colours for text, where the output is a terminal. */
  readonly colour: boolean;
  /** Takes one finished line, its newline included. */
  readonly write: (line: string) => void;
  /** The clock, milliseconds since the epoch; for tests. */
  readonly now?: () => number;
}

/** An error's message, followed by those of its causes. */
export function describeError(error: unknown): string {
  const messages: string[] = [];
  // Eight: a chain longer than that is a loop or no help to a reader.
  for (let cause = error; cause !== undefined && cause !== null && messages.length < 8;) {
    const message = cause instanceof Error ? cause.message || cause.name : String(cause);
    if (!messages.includes(message)) messages.push(message);
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  return messages.join(": ");
}

/** Characters that could steer a terminal or reorder what it shows: C0, DEL, C1, bidirectional controls, line separators. */
const UNPRINTABLE =
  /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** Text from a guest made fit for a terminal or a log: controls as `\u{…}`, and no longer than `limit` UTF-16 units. */
export function printable(text: string, limit = 256): string {
  const shortened = text.length > limit ? `${text.slice(0, limit)}…` : text;
  return shortened.replace(
    UNPRINTABLE,
    (character) => `\\u{${(character.codePointAt(0) as number).toString(16)}}`,
  );
}

/** JSON that is safe on a terminal too: what {@link printable} would escape is escaped the way JSON does it. */
export function jsonText(value: unknown): string {
  return JSON.stringify(value).replace(
    UNPRINTABLE,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Makes the process's log. */
export function createLogger(options: LogOptions, subsystem = "root"): Logger {
  const threshold = LOG_LEVELS.indexOf(options.level);
  const now = options.now ?? Date.now;
  const pid = String(process.pid);
  const format = options.format === "json" ? formatJson : formatText;

  function log(level: LogLevel, message: string, fields: LogFields = {}): void {
    if (LOG_LEVELS.indexOf(level) < threshold) return;
    options.write(
      format({ level, message, subsystem, pid, time: now(), colour: options.colour }, fields),
    );
  }
  return {
    log,
    debug: (message, fields) => log("debug", message, fields),
    info: (message, fields) => log("info", message, fields),
    warn: (message, fields) => log("warn", message, fields),
    error: (message, fields) => log("error", message, fields),
    of: (other) => createLogger(options, other),
  };
}

interface LogRecord {
  readonly level: LogLevel;
  readonly message: string;
  readonly subsystem: string;
  readonly pid: string;
  readonly time: number;
  readonly colour: boolean;
}

function formatJson(record: LogRecord, fields: LogFields): string {
  const line: { [key: string]: string | number | boolean } = {
    msg: record.message,
    level: SHORT_NAMES[record.level],
    ts: new Date(record.time).toISOString(),
    version: VERSION,
    subsystem: record.subsystem,
    pid: record.pid,
    name: NAME,
    source: NAME,
  };
  for (const [key, value] of Object.entries(fields)) {
    if (value !== undefined) line[key] = value instanceof Error ? describeError(value) : value;
  }
  return `${jsonText(line)}\n`;
}

function formatText(record: LogRecord, fields: LogFields): string {
  const level = record.colour
    ? `\x1b[${COLOURS[record.level]}m${SHORT_NAMES[record.level]}\x1b[0m`
    : SHORT_NAMES[record.level];
  let line = `${new Date(record.time).toISOString()} ${level} ${printable(record.message, 4096)}`;
  for (const [key, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    const shown = value instanceof Error ? describeError(value) : String(value);
    line += ` ${key}=${
      /[\s"=]/.test(shown) || shown === ""
        ? printable(JSON.stringify(shown), 4096)
        : printable(shown, 4096)
    }`;
  }
  return `${line}\n`;
}
