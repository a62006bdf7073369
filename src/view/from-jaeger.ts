import { Buffer } from "node:buffer";
import { printable } from "../base/log.ts";
import { recordToPart } from "../otlp/record-encoder.ts";
import type { SpanRecord } from "../otlp/span-record.ts";
import { parseRecord } from "../record/parse-record.ts";
import { isObject, RecordError } from "../record/span-json.ts";
import { TraceStore } from "../store/trace-store.ts";

/** What to read of a Jaeger. */
export interface JaegerQuery {
  /** The query service, such as `http://localhost:16686`; with a path and with a user's name and password if need be. */
  readonly url: string;
  /** How far back traces are asked for, milliseconds. */
  readonly sinceMs: number;
  /** The services whose spans are read; default: those that are recognised as Kata's. */
  readonly services?: readonly string[] | undefined;
  /** The resource attribute that says which cohort a sandbox belongs to; default: what `--label` becomes. */
  readonly labelBy?: string | undefined;
}

/** Traces that are asked for at once: a trace can have some megabytes, and an answer is one JSON document. */
const TRACES_PER_QUESTION = 400;
/** Of a window of time that is divided no further, milliseconds. */
const SHORTEST_WINDOW_MS = 1;
/** Spans that are shown: some gigabytes of memory. */
const MAX_SPANS = 1_000_000;
/** How long Jaeger may take for an answer, milliseconds. */
const ANSWER_MS = 60_000;
/** Clocks of a fleet's nodes differ, so spans that are a little in the future count as well, milliseconds. */
const CLOCK_DIFFERENCE_MS = 60_000;

/** Services whose spans are of sandboxes, if nobody says which ones are. */
const KATA_SERVICES = /^(kata|kata-agent|kata-sb-.*|containerd.*)$/;

/** A Jaeger query service does not answer as it should. The message names the address. */
export class JaegerError extends Error {
  override readonly name = "JaegerError";
}

/**
 * Reads Kata's traces from a Jaeger query service, by its API v3 (OTLP/JSON), into a store in memory. Rejects with a
 * {@link JaegerError}.
 *
 * Jaeger returns a limited number of traces, so a window of time with more of them is divided until all have come; the
 * newest come first.
 */
export async function jaegerStore(query: JaegerQuery): Promise<{ store: TraceStore; problems: string[] }> {
  const client = new JaegerClient(query.url);
  const services = chosenServices(await client.services(), query.services, client.name);
  const limits = { maxBytes: Number.MAX_SAFE_INTEGER, keepMs: Infinity };
  const store = TraceStore.open(":memory:", limits, "", query.labelBy);
  const problems: string[] = [];
  let spans = 0;
  const now = Date.now();
  for (const service of services) {
    const windows = [{ from: now - query.sinceMs, to: now + CLOCK_DIFFERENCE_MS }];
    for (let window = windows.pop(); window !== undefined; window = windows.pop()) {
      if (spans >= MAX_SPANS) {
        problems.push(`${service}: only the newest ${MAX_SPANS} spans are shown: give a shorter --since`);
        break;
      }
      const { from, to } = window;
      const records = await client.traces(service, from, to);
      const isAll = new Set(records.map(({ traceId }) => traceId)).size < TRACES_PER_QUESTION;
      if (isAll || to - from <= SHORTEST_WINDOW_MS) {
        spans += store.add(records.map((record) => ({ kind: "file", part: recordToPart(record) })));
        if (!isAll) {
          problems.push(`${service}: more than ${TRACES_PER_QUESTION} traces within a millisecond: some are left out`);
        }
        continue;
      }
      const middle = Math.floor((from + to) / 2);
      windows.push({ from, to: middle }, { from: middle, to });
    }
  }
  return { store, problems };
}

/** Which of the services that there are to read, each once. Throws a {@link JaegerError} if one is not there. */
function chosenServices(
  names: readonly string[],
  wanted: readonly string[] | undefined,
  jaeger: string,
): readonly string[] {
  const listed = (some: readonly string[]): string => some.map((name) => printable(name)).join(", ");
  if (wanted !== undefined) {
    const missing = wanted.filter((name) => !names.includes(name));
    if (missing.length === 0) return [...new Set(wanted)];
    throw new JaegerError(`${jaeger}: has no service ${listed(missing)}; there are: ${listed(names) || "none"}`);
  }
  const services = names.filter((name) => KATA_SERVICES.test(name));
  if (services.length > 0) return services;
  const others = names.length === 0 ? "no service at all" : `${listed(names)}: choose with --service NAME`;
  throw new JaegerError(`${jaeger}: none of its services is Kata's (kata, kata-agent, kata-sb-…): ${others}`);
}

/** What is asked of Jaeger's API v3: https://www.jaegertracing.io/docs/latest/architecture/apis/#query-json-over-http */
class JaegerClient {
  /** For people, without a password. */
  readonly name: string;
  readonly #base: string;
  readonly #headers: Readonly<Record<string, string>>;

  constructor(url: string) {
    let base: URL;
    try {
      base = new URL(url);
    } catch (cause) {
      throw new JaegerError(`--from ${url}: not a URL: give one such as http://HOST:16686`, { cause });
    }
    const { username, password } = base;
    base.username =
      base.password =
      base.hash =
      base.search =
        "";
    this.name = base.href.replace(/\/$/, "");
    this.#base = this.name;
    const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
    this.#headers = username === "" ? {} : { Authorization: `Basic ${Buffer.from(credentials).toString("base64")}` };
  }

  async services(): Promise<string[]> {
    const answer = await this.#ask("/api/v3/services");
    const names = isObject(answer) && Array.isArray(answer["services"]) ? answer["services"] : [];
    return names.filter((name): name is string => typeof name === "string");
  }

  /** The spans of the traces of a service that began between two times, Unix milliseconds. */
  async traces(service: string, from: number, to: number): Promise<SpanRecord[]> {
    const limit = String(TRACES_PER_QUESTION);
    const query = new URLSearchParams({
      "query.service_name": service,
      "query.start_time_min": new Date(from).toISOString(),
      "query.start_time_max": new Date(to).toISOString(),
      // It is called the one up to 1.76, and the other in later ones.
      "query.num_traces": limit,
      "query.search_depth": limit,
      // As they were sent: Jaeger would move spans' times by its own guess of how clocks differ.
      "query.raw_traces": "true",
    });
    const answer = await this.#ask(`/api/v3/traces?${query}`);
    if (answer === undefined) return [];
    try {
      return parseRecord(answer);
    } catch (cause) {
      if (!(cause instanceof RecordError)) throw cause;
      throw new JaegerError(`${this.name}: its answer is not OTLP/JSON: ${cause.message}`, { cause });
    }
  }

  /** An answer's JSON; undefined if there is nothing that was asked for. */
  async #ask(path: string): Promise<unknown> {
    const shown = path.split("?", 1)[0];
    let answer: Response;
    let text: string;
    try {
      const signal = AbortSignal.timeout(ANSWER_MS);
      answer = await fetch(`${this.#base}${path}`, { signal, redirect: "error", headers: this.#headers });
      text = await answer.text();
    } catch (cause) {
      const { message } = cause as Error;
      throw new JaegerError(
        `${this.name}: no answer from a Jaeger query service (${message}): give its URL, such as http://HOST:16686`,
        { cause },
      );
    }
    const json = parse(text);
    // Jaeger says so of an empty result; any other server says it of the path.
    if (answer.status === 404 && isObject(json) && isObject(json["error"])) return undefined;
    if (!answer.ok) throw new JaegerError(`${this.name}: answers ${answer.status} to ${shown}`);
    if (json === undefined) {
      throw new JaegerError(`${this.name}: its answer to ${shown} is not JSON: is it Jaeger 1.57 or later?`);
    }
    return json;
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return undefined;
  }
}
