/**
 * A span as the recorded fixtures describe one in NAME.expected.jsonl: named as OTLP/JSON names things, 64-bit integers
 * as decimal strings, ids as hexadecimal ones. Attributes of spans and resources are sorted by key.
 */
export interface SpanRecord {
  attributes: AttributeRecord[];
  droppedAttributesCount: number;
  droppedEventsCount: number;
  droppedLinksCount: number;
  endTimeUnixNano: string;
  events: EventRecord[];
  /** Of the span's own context. OTLP has no place for it: a span's flags speak of its parent's. */
  isRemote: boolean;
  kind: number;
  links: LinkRecord[];
  name: string;
  /** Empty where there is none. */
  parentSpanId: string;
  /** `null` where the span carried none. */
  resource: AttributeRecord[] | null;
  spanId: string;
  startTimeUnixNano: string;
  status: { code: number; message: string };
  traceFlags: number;
  traceId: string;
  traceState: string;
}

export interface EventRecord {
  attributes: AttributeRecord[];
  droppedAttributesCount: number;
  name: string;
  timeUnixNano: string;
}

export interface LinkRecord {
  attributes: AttributeRecord[];
  droppedAttributesCount: number;
  isRemote: boolean;
  spanId: string;
  traceFlags: number;
  traceId: string;
  traceState: string;
}

export interface AttributeRecord {
  key: string;
  value: ValueRecord;
}

export type ValueRecord =
  | { boolValue: boolean }
  | { intValue: string }
  /** What JSON has no number for is `"NaN"`, `"Infinity"` or `"-Infinity"`. */
  | { doubleValue: number | string }
  | { stringValue: string }
  | { arrayValue: { values: ValueRecord[] } };

/** What of a record OTLP keeps: a span's own `isRemote` has no place there, and no resource is as an empty one. */
export type OtlpRecord = Omit<SpanRecord, "isRemote" | "resource"> & {
  resource: AttributeRecord[];
};

/**
 * The record as it must come out of OTLP, where doubles that JSON has no number for are strings. Of recorded sets,
 * compare with {@link asRecorded} what came out.
 */
export function asOtlp(record: SpanRecord): OtlpRecord {
  const { isRemote: _, resource, ...rest } = record;
  const finite = <T extends { attributes: AttributeRecord[] }>(part: T): T => ({
    ...part,
    attributes: finiteAttributes(part.attributes),
  });
  return {
    ...finite(rest),
    events: record.events.map(finite),
    links: record.links.map(finite),
    resource: finiteAttributes(resource ?? []),
  };
}

function finiteAttributes(attributes: readonly AttributeRecord[]): AttributeRecord[] {
  return attributes.map(({ key, value }) => ({ key, value: finiteValue(value) }));
}

function finiteValue(value: ValueRecord): ValueRecord {
  if ("doubleValue" in value && typeof value.doubleValue === "string") return { stringValue: value.doubleValue };
  if ("arrayValue" in value) return { arrayValue: { values: value.arrayValue.values.map(finiteValue) } };
  return value;
}

/** What came out of OTLP, without what `expected` does not tell: some recorded sets lack a link's `isRemote`. */
export function asRecorded(record: OtlpRecord, expected: SpanRecord): unknown {
  return {
    ...record,
    links: record.links.map((link, i) => {
      const recorded = expected.links[i];
      if (recorded === undefined || "isRemote" in recorded) return link;
      const { isRemote: _, ...rest } = link;
      return rest;
    }),
  };
}

/** Attributes in the order of their keys' UTF-8 bytes. */
export function sortedByKey(attributes: readonly AttributeRecord[]): AttributeRecord[] {
  const keyed = attributes.map((attribute) => ({ attribute, bytes: Buffer.from(attribute.key) }));
  keyed.sort((left, right) => Buffer.compare(left.bytes, right.bytes));
  return keyed.map(({ attribute }) => attribute);
}

/** A double as a record has it. */
export function doubleRecord(value: number): ValueRecord {
  return { doubleValue: Number.isFinite(value) ? value : String(value) };
}

/** The double that a record's `doubleValue` stands for. */
export function doubleOf(value: number | string): number {
  return Number(value);
}
