import type { AnyValueRecord, KeyValueRecord, SpanRecord } from "../otlp/span-record.ts";
import { KIND_NAMES, STATUS_NAMES } from "../otlp/trace-fields.ts";
import { resourceFacts, sideOf } from "../store/span-source.ts";
import { UNASSIGNED } from "../store/sandbox-join.ts";
import type { StoredRecord, StoredSandbox, StoredSpan, StoreReader } from "../store/store-reader.ts";
import type * as api from "./api.ts";
import { alignClock, alignedStarts, offsetIntervals } from "./model/clock.ts";
import { criticalPath } from "./model/critical-path.ts";
import { isBackground, isRoot, PHASE_NAMES, vmmOf } from "./model/kata-operations.ts";
import { findStart, type Start } from "./model/phases.ts";
import { selfTimes } from "./model/self-time.ts";
import { type SpanTable, spanTable } from "./model/span-table.ts";
import { findUntraced } from "./model/untraced.ts";

/** All that is computed of one sandbox. */
export interface ComputedSandbox {
  readonly stored: StoredSandbox;
  readonly spans: readonly StoredSpan[];
  readonly table: SpanTable;
  readonly clock: api.ClockView;
  /** On the host's clock where it is aligned. */
  readonly starts: Float64Array;
  readonly start: Start | undefined;
  readonly summary: Summary;
}

/** What is remembered of a sandbox until another span of it comes: the summary without what compares it to others. */
export type Summary = Omit<api.SandboxSummary, "phases" | "state" | "spans" | "spansNotKept" | "errors"> & {
  readonly phases: readonly Omit<api.PhaseView, "p50">[];
  readonly hasRoot: boolean;
};

export function computeSandbox(reader: StoreReader, stored: StoredSandbox): ComputedSandbox {
  const spans = reader.spans(stored);
  const table = spanTable(spans);
  const clock = alignClock(offsetIntervals(table));
  const starts = alignedStarts(table, clock);
  const start = stored.sid === UNASSIGNED ? undefined : findStart(table, starts);
  return { stored, spans, table, clock, starts, start, summary: summarize(reader, stored, spans, table, clock, start) };
}

function summarize(
  reader: StoreReader,
  stored: StoredSandbox,
  spans: readonly StoredSpan[],
  table: SpanTable,
  clock: api.ClockView,
  start: Start | undefined,
): Summary {
  const resources = reader.resources(stored);
  const text = (key: string): string | undefined => attributeOf(resources, key)?.stringValue;
  const cid = attributeOf(resources, "kata.vsock.cid")?.intValue;
  const error = table.error.indexOf(1);
  return {
    id: stored.sid,
    label: stored.label,
    baseNs: String(table.baseNs),
    traces: new Set(spans.map((span) => span.traceId)).size,
    phases: (start?.phases ?? []).map(({ phase, from, to }) => ({ phase, name: PHASE_NAMES[phase], from, to })),
    clock,
    hasRoot: table.name.some((name, row) => isRoot(table.side[row] ?? "host", name)),
    ...(start !== undefined && { start: start.to - start.from }),
    ...defined({
      vmm: vmmOf(table.name, table.side, cid !== undefined),
      pod: text("k8s.pod.name"),
      namespace: text("k8s.namespace.name"),
      container: text("container.id"),
      cid: cid === undefined ? undefined : Number(cid),
      kataVersion: text("kata.version") ?? versionOfKata(resources),
      firstError: table.name[error],
    }),
  };
}

/**
 * The `service.version` of a runtime or an agent. Neither says it by itself, but operators can, with
 * OTEL_RESOURCE_ATTRIBUTES. A containerd's or another program's version is its own.
 */
function versionOfKata(resources: readonly SpanRecord["resource"][]): string | undefined {
  const ofKata = resources.filter((resource) => ["runtime", "agent"].includes(sideOf("file", resourceFacts(resource))));
  return attributeOf(ofKata, "service.version")?.stringValue;
}

function attributeOf(resources: readonly SpanRecord["resource"][], key: string): AnyValueRecord | undefined {
  for (const { attributes } of resources) {
    const found = attributes.find((one) => one.key === key);
    if (found !== undefined) return found.value;
  }
  return undefined;
}

/** An object without the members that are undefined. */
function defined<T extends object>(members: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

/** A line of the list. @param p50 the median of each phase over the sandboxes of the same label. */
export function summaryView(
  stored: StoredSandbox,
  { hasRoot, ...summary }: Summary,
  p50: ReadonlyMap<api.Phase, number> = new Map(),
): api.SandboxSummary {
  const state = stored.isRunning ? "running" : hasRoot || stored.sid === UNASSIGNED ? "ended" : "no-root";
  return {
    ...summary,
    state,
    phases: summary.phases.map((phase) => {
      const median = p50.get(phase.phase);
      return median === undefined ? phase : { ...phase, p50: median };
    }),
    spans: stored.spans,
    spansNotKept: stored.notKept,
    errors: stored.errors,
  };
}

/** The spans in columns, as the page draws them. */
export function columnsOf({ spans, table, starts }: ComputedSandbox): api.SpanColumns {
  const traceIds = new Map<string, number>();
  const names = new Map<string, number>();
  const index = (map: Map<string, number>, key: string): number => {
    const known = map.get(key) ?? map.size;
    map.set(key, known);
    return known;
  };
  const rows = [...table.input].map((input) => spans[input] as StoredSpan);
  return {
    id: rows.map((span) => span.spanId),
    trace: rows.map((span) => index(traceIds, span.traceId)),
    parent: [...table.parent],
    name: table.name.map((name) => index(names, name)),
    traceIds: [...traceIds.keys()],
    names: [...names.keys()],
    side: table.side,
    start: [...table.start],
    duration: [...table.duration],
    self: [...selfTimes(table, starts)],
    error: [...table.error].map((error) => error === 1 ? 1 : 0),
  };
}

/** The start's critical path and what nobody traced of it. */
export function pathOf({ table, start, starts }: ComputedSandbox): Pick<api.SandboxDetail, "critical" | "untraced"> {
  if (start === undefined) return { critical: [], untraced: [] };
  const background = (row: number): boolean => isBackground(table.side[row] ?? "host", table.name[row] ?? "");
  const path = criticalPath(table, start, background, starts);
  /** The root that lasts as long as the sandbox: what nothing explains is shown below it, -1 without one. */
  const lifetimeOver = (from: number, to: number): number =>
    table.parent.findIndex((parent, row) =>
      parent < 0 && background(row) && (starts[row] as number) <= from &&
      (starts[row] as number) + (table.duration[row] as number) >= to
    );
  const untraced = findUntraced(table, start, path).map(({ row, from, to, isGuestBoot }) => ({
    parent: row ?? lifetimeOver(from, to),
    from,
    to,
    name: isGuestBoot
      ? "guest kernel boot, agent start"
      : row === undefined
      ? "no spans"
      : `untraced in ${table.name[row]}`,
  }));
  return { critical: path.map(({ row, from, to }) => ({ row: row ?? -1, from, to })), untraced };
}

/** Attributes as JSON has them. @param cut how many characters each lost, by its place. */
export function attributeViews(
  attributes: readonly KeyValueRecord[],
  cut: ReadonlyMap<number, number> = new Map(),
): api.AttributeView[] {
  return attributes.map(({ key, value }, place) => {
    const characters = cut.get(place);
    return { key, value: valueView(value), ...(characters !== undefined && { cut: characters }) };
  });
}

function valueView(value: AnyValueRecord): api.AttributeValue {
  if (value.arrayValue !== undefined) return value.arrayValue.values.map(valueView);
  if (value.kvlistValue !== undefined) {
    return value.kvlistValue.values.map((member) => [member.key, valueView(member.value)]);
  }
  if (value.intValue !== undefined) {
    const number = Number(value.intValue);
    return Number.isSafeInteger(number) ? number : value.intValue;
  }
  return value.stringValue ?? value.boolValue ?? value.doubleValue ?? value.bytesValue ?? null;
}

/** One span with all that is stored of it. */
export function spanView({ record, side, traceId, cut }: StoredRecord, self: number): api.SpanDetail {
  return {
    traceId,
    spanId: record.spanId,
    parentSpanId: record.parentSpanId,
    name: record.name,
    side,
    startNs: record.startTimeUnixNano,
    endNs: record.endTimeUnixNano,
    self,
    kind: KIND_NAMES[record.kind] ?? String(record.kind),
    status: { code: STATUS_NAMES[record.status.code] ?? "unset", message: record.status.message },
    scope: [record.scope.name, record.scope.version].filter((part) => part !== "").join(" "),
    attributes: attributeViews(record.attributes, cut),
    resource: attributeViews(record.resource.attributes),
    events: record.events.map(({ name, timeUnixNano, attributes }) => ({
      name,
      timeNs: timeUnixNano,
      attributes: attributeViews(attributes),
    })),
    links: record.links.map(({ traceId, spanId, attributes }) => ({
      traceId,
      spanId,
      attributes: attributeViews(attributes),
    })),
  };
}
