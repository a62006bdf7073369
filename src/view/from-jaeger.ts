import { recordToPart } from "../otlp/record-encoder.ts";
import { parseRecord } from "../record/parse-record.ts";
import { isObject } from "../record/span-json.ts";
import { TraceStore } from "../store/trace-store.ts";

/** How far back traces are asked for, milliseconds: a day, as the store keeps them. */
const LOOKBACK_MS = 24 * 3_600_000;
/** Traces of one service that are asked for at once. */
const MAX_TRACES = 1500;
/** How long Jaeger may take for an answer, milliseconds. */
const ANSWER_MS = 30_000;

/** Services whose spans are of sandboxes. */
const KATA_SERVICES = /^(kata|kata-agent|kata-sb-.*|containerd.*)$/;

/** A Jaeger query service does not answer as it should. The message names the address. */
export class JaegerError extends Error {
  override readonly name = "JaegerError";
}

/**
 * Reads the Kata traces of the last day from a Jaeger query service, by its API v3 (OTLP/JSON), into a store in memory.
 * Rejects with a {@link JaegerError}.
 *
 * @param url the query service, such as `http://localhost:16686`.
 */
export async function jaegerStore(url: string): Promise<{ store: TraceStore; problems: string[] }> {
  const services = await ask(url, "/api/v3/services");
  const names = isObject(services) && Array.isArray(services["services"]) ? services["services"] : [];
  const kata = names.filter((name): name is string => typeof name === "string" && KATA_SERVICES.test(name));
  if (kata.length === 0) {
    throw new JaegerError(
      `${url}: no service of Kata's there (kata, kata-agent, kata-sb-…); it has: ${names.join(", ")}`,
    );
  }
  const store = TraceStore.open(":memory:", { maxBytes: Number.MAX_SAFE_INTEGER, keepMs: Infinity });
  const problems: string[] = [];
  for (const service of kata) {
    const query = new URLSearchParams({
      "query.service_name": service,
      "query.start_time_min": new Date(Date.now() - LOOKBACK_MS).toISOString(),
      "query.start_time_max": new Date().toISOString(),
      "query.search_depth": String(MAX_TRACES),
    });
    const records = parseRecord(await ask(url, `/api/v3/traces?${query}`));
    store.add(records.map((record) => ({ kind: "file", part: recordToPart(record) })));
    const traces = new Set(records.map(({ traceId }) => traceId)).size;
    if (traces >= MAX_TRACES) problems.push(`${service}: only the last ${MAX_TRACES} traces are shown`);
  }
  return { store, problems };
}

async function ask(base: string, path: string): Promise<unknown> {
  let answer: Response;
  try {
    answer = await fetch(new URL(path, base), { signal: AbortSignal.timeout(ANSWER_MS), redirect: "error" });
  } catch (cause) {
    throw new JaegerError(`${base}: no answer from Jaeger's query service: give its URL, as http://HOST:16686`, {
      cause,
    });
  }
  if (!answer.ok) throw new JaegerError(`${base}: answers ${answer.status} to ${path.split("?", 1)[0]}`);
  try {
    return await answer.json();
  } catch (cause) {
    throw new JaegerError(`${base}: its answer is not JSON: is it Jaeger 1.57 or later, with its query port?`, {
      cause,
    });
  }
}
