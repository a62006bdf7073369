import { resolve } from "node:path";
import { LOG_LEVELS, type LogLevel, printable } from "../base/log.ts";
import type { RedactSettings } from "../pipeline/settings.ts";
import { hasQuotationMarks } from "../base/quotation-marks.ts";
import { LONGEST_TIMER_MS } from "../base/longest-timer.ts";

/** Invalid arguments or environment. The message is one line that says what, where and what to do. Exit code 1. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** A user's text as an error shows it: quoted, on one line, and not too long to read. */
export function quoted(text: string): string {
  return `"${printable(text, 80)}"`;
}

/** Any text that is not empty. */
export function text(value: string): string {
  if (value === "") throw new UsageError("may not be empty");
  return value;
}

/** A path, made absolute because the forwarder changes its directory to `/` once it runs. */
export function path(value: string): string {
  // Environment files keep a blank at a line's end, where nobody sees it.
  if (value !== value.trim()) throw new UsageError(`${quoted(value)} begins or ends with a blank: take it away`);
  return resolve(text(value));
}

/** `true` or `false`, in the spellings that environment files use. */
export function flag(value: string): boolean {
  const lower = value.toLowerCase();
  if (["true", "yes", "on", "1"].includes(lower)) return true;
  if (["false", "no", "off", "0"].includes(lower)) return false;
  throw new UsageError(`${quoted(value)} is neither true nor false`);
}

/** Only `true` or `false`, in any case, for a variable of OpenTelemetry's where a misspelt value would mean false. */
export function trueOrFalse(value: string): boolean {
  const lower = value.trim().toLowerCase();
  if (lower !== "true" && lower !== "false") throw new UsageError(`${quoted(value)} is neither true nor false`);
  return lower === "true";
}

/**
 * A boolean by OpenTelemetry's rule: `true` in any case is true, and everything else is false.
 *
 * Specification: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#boolean
 */
export function otelBoolean(value: string): boolean {
  return value.trim().toLowerCase() === "true";
}

/** One of a few words. */
export function oneOf<const Choice extends string>(
  choices: readonly Choice[],
): (value: string) => Choice {
  return (value) => {
    const choice = choices.find((candidate) => candidate === value);
    if (choice === undefined) {
      throw new UsageError(`${quoted(value)} is not supported: give ${listed(choices)}`);
    }
    return choice;
  };
}

/** A level of the log; `warning`, as syslog and the Rust forwarder's library call it, is `warn`. */
export function logLevel(value: string): LogLevel {
  return oneOf(LOG_LEVELS)(value === "warning" ? "warn" : value);
}

/** `a, b or c`. */
export function listed(words: readonly string[]): string {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}

/** A whole decimal number within bounds, both inclusive. */
export function integer(
  minimum: number,
  maximum = Number.MAX_SAFE_INTEGER,
): (value: string) => number {
  const expected = maximum === Number.MAX_SAFE_INTEGER
    ? `a whole number, at least ${minimum}`
    : `a whole number from ${minimum} to ${maximum}`;
  return (value) => {
    // More than 16 digits are above every bound, and no longer exact.
    const number = /^[0-9]{1,16}$/.test(value) ? Number(value) : NaN;
    if (!(number >= minimum && number <= maximum)) {
      throw new UsageError(`${quoted(value)} is not ${expected}`);
    }
    return number;
  };
}

/** Lets `off` stand for 0. */
export function orOff(parse: (value: string) => number): (value: string) => number {
  return (value) => value === "off" || value === "0" ? 0 : parse(value);
}

const SIZE_UNITS: Readonly<Record<string, number>> = {
  "": 1,
  k: 1024,
  m: 1024 ** 2,
  g: 1024 ** 3,
  t: 1024 ** 4,
};

/**
 * A number of bytes: `4194304`, `4096K`, `4M` or `4MiB`. Units are powers of 1024. `MB` is refused because it is
 * ambiguous.
 */
export function bytes(
  minimum: number,
  maximum = Number.MAX_SAFE_INTEGER,
): (value: string) => number {
  return (value) => {
    const [, digits, unit] = /^([0-9]{1,16}) ?(?:([kmgt])(?:ib)?)?$/i.exec(value) ?? [];
    if (digits === undefined) {
      throw new UsageError(
        `invalid size ${quoted(value)}: give bytes, or a number with KiB, MiB or GiB`,
      );
    }
    const size = Number(digits) * (SIZE_UNITS[(unit ?? "").toLowerCase()] as number);
    if (size < minimum || size > maximum) {
      const most = maximum === Number.MAX_SAFE_INTEGER ? "or more" : `to ${showBytes(maximum)}`;
      throw new UsageError(
        `${quoted(value)} is out of range: give ${showBytes(minimum)} ${most}`,
      );
    }
    return size;
  };
}

/** A size as {@link bytes} reads it, in the largest unit that shows it exactly. */
export function showBytes(size: number): string {
  for (const unit of ["TiB", "GiB", "MiB", "KiB"]) {
    const scale = SIZE_UNITS[unit.charAt(0).toLowerCase()] as number;
    if (size >= scale && size % scale === 0) return `${size / scale} ${unit}`;
  }
  return size === 1 ? "1 byte" : `${size} bytes`;
}

const TIME_UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** A time in milliseconds, from `500ms`, `1.5s`, `2m`, `1h`, or a plain number of seconds. */
export function duration(minimumMs: number): (value: string) => number {
  return (value) => {
    const [, digits, unit] = /^([0-9]{1,10}(?:\.[0-9]{1,9})?) ?(ms|s|m|h)?$/.exec(value) ?? [];
    if (digits === undefined) {
      throw new UsageError(
        `invalid time ${quoted(value)}: give seconds, or a number with ms, s, m or h`,
      );
    }
    const milliseconds = Math.round(Number(digits) * (TIME_UNITS_MS[unit ?? "s"] as number));
    if (milliseconds < minimumMs || milliseconds > LONGEST_TIMER_MS) {
      throw new UsageError(`${quoted(value)} is out of range: give ${minimumMs} ms to 24 days`);
    }
    return milliseconds;
  };
}

/** Permission bits in octal: `0660`, `660` or `0o660`. */
export function mode(value: string): number {
  const [, digits] = /^(?:0o?)?([0-7]{3})$/.exec(value) ?? [];
  if (digits === undefined) {
    throw new UsageError(`invalid mode ${quoted(value)}: give three octal digits, such as 0660`);
  }
  return Number.parseInt(digits, 8);
}

/** VMADDR_CID_ANY, which is also -1U (linux/vm_sockets.h). */
const VMADDR_CID_ANY = 2 ** 32 - 1;

/** A context ID of AF_VSOCK, or `any`. */
export function cid(value: string): number | "any" {
  if (value === "any") return "any";
  const number = /^[0-9]{1,10}$/.test(value) ? Number(value) : NaN;
  if (!(number <= VMADDR_CID_ANY)) {
    throw new UsageError(
      `invalid CID ${quoted(value)}: give "any" or a number from 0 to ${VMADDR_CID_ANY}`,
    );
  }
  return number === VMADDR_CID_ANY ? "any" : number;
}

/**
 * An address to serve on: `host:port`, `:port` or `port`. Without a host it is the loopback address. Port 0 lets the
 * system choose.
 */
export function address(value: string): { readonly host: string; readonly port: number } {
  const [, ipv6, host, digits] = /^(?:(?:\[([0-9a-fA-F:.]+(?:%\w+)?)\]|([^\s:/@[\]]*)):)?([0-9]{1,5})$/.exec(value) ??
    [];
  const port = digits === undefined ? NaN : Number(digits);
  if (!(port <= 65535)) {
    throw new UsageError(
      `invalid address ${quoted(value)}: give HOST:PORT, :PORT or PORT, such as 127.0.0.1:9464`,
    );
  }
  return { host: ipv6 ?? (host || "127.0.0.1"), port };
}

/** Whether only this machine can reach a host's address. */
export function isLoopbackHost(host: string): boolean {
  return host.toLowerCase() === "localhost" || /^127\.\d+\.\d+\.\d+$/.test(host) || /^(?:0*:)*:?0*1$/.test(host);
}

/** An {@link address} that only this machine can reach. */
export function loopbackAddress(value: string): { readonly host: string; readonly port: number } {
  const read = address(value);
  if (isLoopbackHost(read.host)) return read;
  throw new UsageError(
    `${quoted(value)} is not a loopback address: give 127.0.0.1:PORT, and reach it with ssh -L or kubectl port-forward`,
  );
}

/**
 * Resource attributes as `OTEL_RESOURCE_ATTRIBUTES` writes them: `key=value,key=value`, both percent-encoded.
 *
 * Specification:
 * https://opentelemetry.io/docs/specs/otel/resource/sdk/#specifying-resource-information-via-an-environment-variable
 */
export function resourceAttributes(value: string): ReadonlyMap<string, string> {
  const attributes = new Map<string, string>();
  for (const member of value.split(",")) {
    if (member.trim() === "") continue;
    const [key, attribute, ...more] = member.split("=").map((part) => part.trim());
    if (!key || attribute === undefined || more.length > 0) {
      throw new UsageError(
        `${quoted(member)} is not key=value (write %2C for a comma and %3D for an equals sign in a value)`,
      );
    }
    // A quotation mark must be percent-encoded (https://www.w3.org/TR/baggage/#definition), and an apostrophe around a
    // key or a value has been left there by a deployment tool.
    if (member.includes('"') || key.startsWith("'") || hasQuotationMarks(attribute)) {
      throw new UsageError(`${quoted(member)} has quotation marks: leave them out, or write %22 where one is meant`);
    }
    try {
      attributes.set(decodeURIComponent(key), decodeURIComponent(attribute));
    } catch (error) {
      throw new UsageError(`${quoted(member)} is not percent-encoded UTF-8`, { cause: error });
    }
  }
  return attributes;
}

/** The word of `--redact` for everything known to be secret. */
const REDACT_DEFAULT = "default";

/** What to redact: `default`, names of attributes, or both, with commas between them. */
export function redaction(value: string): RedactSettings {
  const words = value.split(",").map((word) => word.trim());
  if (words.includes("")) throw new UsageError(`${quoted(value)}: an empty name: give default or NAME,NAME`);
  const names = words.filter((word) => word !== REDACT_DEFAULT);
  return { debugText: names.length < words.length, names: new Set(names) };
}
