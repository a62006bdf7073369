import { Buffer } from "node:buffer";
import process from "node:process";
import { VERSION } from "./version.ts";

/** The Rust forwarder's levels, most severe last. */
export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "critical"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export const LOG_FORMATS = ["json", "text"] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/** The levels' names in records, which are the Rust forwarder's too. */
const SHORT_NAMES: Readonly<Record<LogLevel, string>> = {
  trace: "TRCE",
  debug: "DEBG",
  info: "INFO",
  warn: "WARN",
  error: "ERRO",
  critical: "CRIT",
};

/** SGR colours: dim, dim, green, yellow, red, bold red (ECMA-48, 8.3.117). */
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

/** Writes records. Each part of the program has a logger of its own, whose name is in its records as `subsystem`. */
export interface Logger {
  log(level: LogLevel, message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** The same log under another subsystem's name. */
  of(subsystem: string): Logger;
}

/** A logger's methods for each level, which write through `log`. */
export function levelsOf(log: Logger["log"]): Omit<Logger, "of"> {
  return {
    log,
    debug: (message, fields) => log("debug", message, fields),
    info: (message, fields) => log("info", message, fields),
    warn: (message, fields) => log("warn", message, fields),
    error: (message, fields) => log("error", message, fields),
  };
}

/** How a log is written. */
export interface LogOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** Whether text has colours, which only terminals show. */
  readonly colour: boolean;
  /** Takes one complete line, including its newline. */
  readonly write: (line: string) => void;
  /** The clock, milliseconds since the epoch; for tests. */
  readonly now?: () => number;
}

/** An error's message, followed by the messages of its causes that add something. */
export function describeError(error: unknown): string {
  const messages: string[] = [];
  let cause = error;
  // A chain of more than eight is a loop, or does not help a reader.
  for (let depth = 0; depth < 8 && cause !== undefined && cause !== null; depth++) {
    const message = cause instanceof Error ? cause.message || cause.name : String(cause);
    if (!messages.some((said) => said.includes(message))) messages.push(message);
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  return messages.join(": ");
}

/**
 * Characters that could steer a terminal, reorder or hide what it shows, or end a line: the general categories control
 * (C0, DEL, C1), format (bidirectional and zero-width characters, tags), surrogate (lone ones), line and paragraph
 * separator (Unicode Standard, 4.5).
 */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** Makes a guest's text fit for a terminal or a log: controls become `\u{…}`, and at most `limit` UTF-16 units stay. */
export function printable(text: string, limit = 256): string {
  return shortened(text, limit).replace(
    UNPRINTABLE,
    (character) => `\\u{${(character.codePointAt(0) as number).toString(16)}}`,
  );
}

function shortened(text: string, limit: number): string {
  if (text.length <= limit) return text;
  // Not between the halves of a surrogate pair.
  return `${text.slice(0, limit).replace(/[\ud800-\udbff]$/, "")}…`;
}

/** JSON that is safe on a terminal too, because everything that {@link printable} escapes is escaped as JSON does. */
export function jsonText(value: unknown): string {
  const json = JSON.stringify(value);
  // Of ASCII, which has as many bytes as characters, it leaves nothing but DEL that would have to be escaped.
  if (Buffer.byteLength(json) === json.length && !json.includes("\x7f")) return json;
  return json.replace(UNPRINTABLE, (character) => {
    let escaped = "";
    for (let unit = 0; unit < character.length; unit++) {
      escaped += `\\u${character.charCodeAt(unit).toString(16).padStart(4, "0")}`;
    }
    return escaped;
  });
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
  return { ...levelsOf(log), of: (other) => createLogger(options, other) };
}

interface LogRecord {
  readonly level: LogLevel;
  readonly message: string;
  readonly subsystem: string;
  readonly pid: string;
  readonly time: number;
  readonly colour: boolean;
}

/** The longest text in a record, UTF-16 units, so that a line stays readable whatever a guest puts in. */
const LONGEST_TEXT = 4096;

/** In text, a record with more fields has one on each line. */
const MOST_FIELDS_OF_A_LINE = 12;

function plain(value: string | number | boolean | Error): string | number | boolean {
  if (typeof value === "number" || typeof value === "boolean") return value;
  return shortened(typeof value === "string" ? value : describeError(value), LONGEST_TEXT);
}

function formatJson(record: LogRecord, fields: LogFields): string {
  const base: readonly [string, string][] = [
    ["msg", shortened(record.message, LONGEST_TEXT)],
    ["level", SHORT_NAMES[record.level]],
    ["ts", new Date(record.time).toISOString()],
    ["version", VERSION],
    ["subsystem", record.subsystem],
    ["pid", record.pid],
    ["name", NAME],
    ["source", NAME],
  ];
  // Not made from an object, because that would move keys such as "1" to the front and lose one such as "__proto__".
  const members = base.map(([key, value]) => `${jsonText(key)}:${jsonText(value)}`);
  const taken = new Set(base.map(([key]) => key));
  for (const [key, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    let own = key;
    while (taken.has(own)) own += "_";
    taken.add(own);
    members.push(`${jsonText(own)}:${jsonText(plain(value))}`);
  }
  return `{${members.join(",")}}\n`;
}

function formatText(record: LogRecord, fields: LogFields): string {
  const level = record.colour
    ? `\x1b[${COLOURS[record.level]}m${SHORT_NAMES[record.level]}\x1b[0m`
    : SHORT_NAMES[record.level];
  const message = printable(record.message, LONGEST_TEXT);
  let line = `${new Date(record.time).toISOString()} ${level} ${message}`;
  const present = Object.entries(fields).filter(([, value]) => value !== undefined);
  // Nobody reads a line of fifty figures.
  const separator = present.length > MOST_FIELDS_OF_A_LINE ? "\n  " : " ";
  for (const [key, value] of present) {
    if (value === undefined) continue;
    const text = String(plain(value));
    // Quoted if a reader could take a part of it for another key, or an escape for the text itself.
    const bare = text !== "" && !/[\s"=\\]/.test(text) && text.search(UNPRINTABLE) < 0;
    line += `${separator}${printable(key)}=${bare ? text : jsonText(text)}`;
  }
  return `${line}\n`;
}

/** How often the same message may be logged. */
export interface RateLimit {
  /** Records of one key in one interval. Further ones are only counted. Default: 5. */
  readonly records?: number;
  /** Milliseconds. Default: 10,000. */
  readonly intervalMs?: number;
  /** What counts as the same. Default: the message and the record's `guest`. */
  readonly key?: (message: string, fields: LogFields) => string;
  /** Calls `summarise` once after `intervalMs`, without keeping the process alive; for tests. */
  readonly schedule?: (summarise: () => void, intervalMs: number) => void;
}

/** A logger that limits how often the same message is logged. */
export interface RateLimitedLogger extends Logger {
  /** A logger whose records are limited together under this key, instead of one made from their fields. */
  keyed(key: string): Logger;
  /** Writes the summaries of all records held back. */
  flush(): void;
}

/** Keys that are told apart at a time. Further ones share one limit, so a guest gains nothing by inventing keys. */
const MOST_KEYS = 1024;

/**
 * Wraps a logger so that a guest cannot fill the log. Each key gets a number of records in an interval. When the
 * interval ends, the last record held back is written as a summary, with their number as `suppressed`.
 */
export function rateLimited(logger: Logger, limit: RateLimit = {}): RateLimitedLogger {
  const { records = 5, intervalMs = 10_000 } = limit;
  const keyOf = limit.key ?? ((message, fields) => `${message}\n${fields["guest"]}`);
  const schedule = limit.schedule ??
    ((summarise, ms) => void setTimeout(summarise, ms).unref());
  const states = new Map<string, { written: number; suppressed: number; last: () => void }>();

  function end(key: string): void {
    const state = states.get(key);
    states.delete(key);
    if (state !== undefined && state.suppressed > 0) state.last();
  }
  function wrap(inner: Logger, subsystem: string, ownKey?: string): RateLimitedLogger {
    function log(level: LogLevel, message: string, fields: LogFields = {}): void {
      const same = ownKey === undefined ? keyOf(message, fields) : `${message}\n${ownKey}`;
      const wanted = `${subsystem}\n${level}\n${same}`;
      const key = states.has(wanted) || states.size < MOST_KEYS ? wanted : "";
      let state = states.get(key);
      if (state === undefined) {
        state = { written: 0, suppressed: 0, last: () => {} };
        states.set(key, state);
        schedule(() => end(key), intervalMs);
      }
      if (state.written < records) {
        state.written++;
        inner.log(level, message, fields);
        return;
      }
      const suppressed = ++state.suppressed;
      state.last = () => inner.log(level, message, { ...fields, suppressed });
    }
    return {
      ...levelsOf(log),
      of: (other) => wrap(inner.of(other), other, ownKey),
      keyed: (key) => wrap(inner, subsystem, key),
      flush: () => [...states.keys()].forEach(end),
    };
  }
  return wrap(logger, "");
}
