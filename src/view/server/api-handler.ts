import { Buffer } from "node:buffer";
import { VERSION } from "../../base/version.ts";
import { UNASSIGNED } from "../../store/sandbox-join.ts";
import { StoreReader } from "../../store/store-reader.ts";
import type { TraceStore } from "../../store/trace-store.ts";
import type * as api from "../api.ts";
import { compareCohorts } from "../compare.ts";
import { exportHtml } from "../export/html.ts";
import { otlpJsonLines } from "../export/otlp-json.ts";
import { perfettoTrace } from "../export/perfetto.ts";
import { distributionOf, operationList, OperationRanges } from "../operations-view.ts";
import { SandboxIndex, startsOf } from "../sandbox-index.ts";
import { columnsOf, pathOf, spanView, summaryView } from "../sandbox-view.ts";
import { attributeViews } from "../sandbox-view.ts";
import { spansWith } from "./attribute-search.ts";
import { selfTimes } from "../model/self-time.ts";
import { tracingCost } from "../model/tracing-cost.ts";
import { percentile, shareBelow } from "../statistics/percentile.ts";
import { LEAST_VALUES } from "../statistics/mann-whitney.ts";

/** A request to the API, less what only the connection has to know. */
export interface ApiRequest {
  readonly method: string;
  /** Below `/api/v1`, such as `/sandboxes`. */
  readonly path: string;
  readonly query: URLSearchParams;
}

export interface ApiResponse {
  readonly status: number;
  readonly type: string;
  readonly body: string | Uint8Array;
  /** The name to save it under. */
  readonly fileName?: string;
}

const JSON_TYPE = "application/json";

/** Answers that are made of all sandboxes, for which many pages may ask at once. */
const SHARED_PATHS: ReadonlySet<string> = new Set(["/sandboxes", "/operations", "/compare"]);
/** How long such an answer is good at least, milliseconds: pages hear of changes as often. */
const LEAST_SHARED_MS = 250;

/** Answers the API from a trace store. Nothing here knows of sockets, cookies or files. */
export class ApiHandler {
  readonly #store: TraceStore;
  readonly reader: StoreReader;
  readonly index: SandboxIndex;
  readonly #ranges: OperationRanges;
  readonly #now: () => number;
  readonly #shared = new Map<string, { readonly until: number; readonly answer: ApiResponse }>();

  /** @param now monotonic milliseconds. */
  constructor(store: TraceStore, now: () => number) {
    this.#store = store;
    this.#now = now;
    this.reader = new StoreReader(store);
    this.index = new SandboxIndex(this.reader);
    this.#ranges = new OperationRanges(this.reader, this.index, now);
  }

  /** What needs all sandboxes is answered at once after this, which lets the process do other things meanwhile. */
  async prepare(): Promise<void> {
    await this.index.warm();
  }

  /** The answer to a GET. All pages that ask the same at about the same time get the same answer. */
  answer(request: ApiRequest): ApiResponse {
    const { method, path, query } = request;
    if (method !== "GET") return failure(405, `${method} is not allowed here`);
    if (!SHARED_PATHS.has(path)) return this.#answer(request);
    const key = `${path}?${query}`;
    const now = this.#now();
    const known = this.#shared.get(key);
    if (known !== undefined && now < known.until) return known.answer;
    for (const [other, { until }] of this.#shared) if (now >= until) this.#shared.delete(other);
    const answer = this.#answer(request);
    // What took long is asked for less often.
    const until = this.#now() + Math.max(LEAST_SHARED_MS, this.#now() - now);
    this.#shared.set(key, { until, answer });
    return answer;
  }

  #answer({ path, query }: ApiRequest): ApiResponse {
    const [first = "", second, third, fourth, ...more] = path.split("/").slice(1).map(decode);
    if (more.length > 0) return NOT_FOUND;
    if (first === "sandboxes" && second === undefined) return json(this.#sandboxes(query));
    if (first === "sandboxes" && third === undefined) return this.#sandboxFile(second ?? "", query);
    if (first === "sandboxes" && third === "spans" && fourth !== undefined) {
      return this.#span(second ?? "", fourth, query.get("trace") ?? undefined);
    }
    if (first === "sandboxes" && third === "spans") return this.#spansWith(second ?? "", query);
    if (first === "operations" && second === undefined) return json(this.#operations(query));
    if (first === "compare" && second === undefined) return this.#compare(query);
    return NOT_FOUND;
  }

  status(): api.StoreStatus {
    const sandboxes = this.reader.sandboxes();
    const { problem } = this.#store;
    return {
      bytes: this.#store.database.usedBytes,
      maxBytes: this.#store.maxBytes,
      running: sandboxes.filter((one) => one.isRunning).length,
      sandboxes: sandboxes.filter((one) => one.sid !== UNASSIGNED).length,
      ...(problem !== undefined && { problem }),
    };
  }

  session(): api.Session {
    return { version: VERSION, live: true };
  }

  detail(sid: string): api.SandboxDetail | undefined {
    const computed = this.index.compute(sid);
    if (computed === undefined) return undefined;
    const { stored, summary, start, table } = computed;
    const cost = start && tracingCost(table, start);
    const columns = columnsOf(computed);
    const path = pathOf(computed);
    const starts = startsOf(this.index.ofLabel(stored.label).map((one) => one.summary));
    return {
      ...summaryView(stored, summary, this.index.phaseMedians(stored.label)),
      columns,
      ...path,
      ...(start !== undefined && { startStretch: { from: start.from, to: start.to } }),
      ranges: this.#ranges.ranges(stored.label, operationsOf(columns, path.untraced)),
      ...(start !== undefined && starts.length >= LEAST_VALUES && {
        startRange: {
          count: starts.length,
          p50: percentile(starts, 0.5),
          p99: percentile(starts, 0.99),
          shareBelow: shareBelow(starts, start.to - start.from),
        },
      }),
      ...(cost !== undefined && { tracingCost: cost }),
      resource: this.reader.resources(stored).flatMap(({ attributes }) => attributeViews(attributes))
        .filter((one, at, all) => all.findIndex((other) => other.key === one.key) === at),
    };
  }

  spanDetail(sid: string, spanId: string, traceId?: string): api.SpanDetail | undefined {
    const computed = this.index.compute(sid);
    const record = /^[0-9a-f]{16}$/.test(spanId) && computed && this.reader.span(computed.stored, spanId, traceId);
    if (!computed || !record) return undefined;
    const { table, starts, spans } = computed;
    const row = table.input.findIndex((input) => {
      const span = spans[input];
      return span?.spanId === spanId && span.traceId === record.traceId;
    });
    const durations = this.#ranges.durations(computed.stored.label).get(`${record.side} ${table.name[row]}`) ?? [];
    return {
      ...spanView(record, selfTimes(table, starts)[row] ?? 0),
      ...(durations.length >= LEAST_VALUES && {
        distribution: { ...distributionOf(durations), shareBelow: shareBelow(durations, table.duration[row] ?? 0) },
      }),
    };
  }

  /** All sandboxes. */
  list(): api.SandboxList {
    return this.index.list({}, this.status(), Infinity);
  }

  /** All spans of a sandbox with all that is stored of them, for exports. */
  *spanDetails(sid: string): Generator<api.SpanDetail> {
    const computed = this.index.compute(sid);
    if (computed === undefined) return;
    const { table, starts, spans, stored } = computed;
    const self = selfTimes(table, starts);
    const selfOf = new Map(
      [...table.input].map((input, row) => [`${spans[input]?.traceId}${spans[input]?.spanId}`, self[row]]),
    );
    for (const record of this.reader.records(stored)) {
      yield spanView(record, selfOf.get(`${record.traceId}${record.record.spanId}`) ?? 0);
    }
  }

  #sandboxes(query: URLSearchParams): api.SandboxList {
    return this.index.list({
      state: text(query, "state"),
      label: text(query, "label"),
      vmm: text(query, "vmm"),
      error: query.has("error") && query.get("error") !== "false",
      q: text(query, "q"),
      sort: text(query, "sort"),
      cursor: text(query, "cursor"),
    }, this.status());
  }

  /** `ID`, or a file made of it: `ID.otlp.json`, `ID.html`, `ID.perfetto.json`. */
  #sandboxFile(name: string, query: URLSearchParams): ApiResponse {
    const file = /^(.+)\.(otlp\.json|html|perfetto\.json)$/.exec(name);
    if (file === null) {
      const detail = this.detail(name);
      return detail === undefined ? failure(404, `no sandbox ${name}: it may have been removed`) : json(detail);
    }
    const [, sid = "", format = ""] = file;
    const stored = this.reader.sandbox(sid);
    if (stored === undefined) return failure(404, `no sandbox ${sid}: it may have been removed`);
    const withSecrets = query.get("all") === "true";
    const fileName = `${sid.replace(/[^\w.-]/g, "_")}.${format}`;
    if (format === "html") {
      return {
        status: 200,
        type: "text/html; charset=utf-8",
        body: exportHtml(this, [sid], { withSecrets }),
        fileName,
      };
    }
    const body = format === "otlp.json"
      ? otlpJsonLines(this.reader, stored, { withSecrets })
      : perfettoTrace(this.reader, stored, { withSecrets });
    return { status: 200, type: JSON_TYPE, body, fileName };
  }

  #span(sid: string, spanId: string, traceId: string | undefined): ApiResponse {
    const detail = this.spanDetail(sid, spanId, traceId);
    return detail === undefined ? failure(404, `no span ${spanId} in sandbox ${sid}`) : json(detail);
  }

  #spansWith(sid: string, query: URLSearchParams): ApiResponse {
    const stored = this.reader.sandbox(sid);
    if (stored === undefined) return failure(404, `no sandbox ${sid}: it may have been removed`);
    const key = query.get("key");
    if (key === null) return failure(400, "which spans? give ?key=ATTRIBUTE&value=TEXT");
    return json({ spans: spansWith(this.reader, stored, key, query.get("value") ?? "") } satisfies api.FoundSpans);
  }

  #operations(query: URLSearchParams): api.OperationList {
    return operationList(this.reader, this.index, {
      label: query.get("label") ?? undefined,
      phase: text(query, "phase"),
      group: text(query, "group"),
    });
  }

  #compare(query: URLSearchParams): ApiResponse {
    const [a, b] = [query.get("a"), query.get("b")];
    if (a === null || b === null) return failure(400, "a comparison needs two labels: ?a=LABEL&b=LABEL");
    const cohort = (label: string): Parameters<typeof compareCohorts>[0] => {
      return { label, reader: this.reader, index: this.index };
    };
    return json(compareCohorts(cohort(a), cohort(b)));
  }
}

/** The operations of a sandbox, as `side name`. */
function operationsOf({ side, name, names }: api.SpanColumns, untraced: readonly api.UntracedView[]): Set<string> {
  return new Set([
    ...side.map((one, row) => `${one} ${names[name[row] as number]}`),
    ...untraced.map((one) => `nobody ${one.name}`),
  ]);
}

function text(query: URLSearchParams, key: string): string | undefined {
  return query.get(key) || undefined;
}

/** A part of a path, decoded. If it is not valid it stays as it is, and will not be found. */
function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch (error) {
    if (error instanceof URIError) return part;
    throw error;
  }
}

export function json(value: unknown, status = 200): ApiResponse {
  return { status, type: JSON_TYPE, body: Buffer.from(JSON.stringify(value)) };
}

export function failure(status: number, error: string): ApiResponse {
  return json({ error } satisfies api.ApiError, status);
}

const NOT_FOUND = failure(404, "no such resource");
