import type { EncodedSpans } from "../../../src/otlp/encoded-spans.ts";
import { decodeResource, decodeScope, decodeSpan } from "./decode-span.ts";
import { readFields } from "./protobuf-reader.ts";
import {
  asOtlp,
  type AttributeRecord,
  doubleRecord,
  type OtlpRecord,
  sortedByKey,
  type SpanRecord,
  type ValueRecord,
} from "./span-record.ts";
import type { ThriftBatch, ThriftLog, ThriftSpan, ThriftTag } from "./thrift-encoder.ts";

/** A span as NAME.expected.jsonl of the Jaeger sets describes one: a link has no flags, and there is a scope. */
export type JaegerRecord = Omit<OtlpRecord, "links"> & {
  links: Omit<OtlpRecord["links"][number], "isRemote">[];
  scope: { name: string; version: string };
};

/** Decodes and checks the spans that a body became. Throws where they are not valid OTLP, or not in canonical form. */
export function decodeJaegerSpans(spans: EncodedSpans): JaegerRecord[] {
  const { buffer } = spans.writer;
  return Array.from({ length: spans.count }, (_, i) => {
    const [span, ...others] = readFields(buffer.subarray(spans.spanStart(i), spans.spanEnd(i)));
    if (span?.number !== 2 || span.wireType !== 2 || others.length > 0) {
      throw new Error("the range of a span is no `spans` field");
    }
    const { links, ...record } = decodeSpan(span.bytes, "canonical", "absent");
    return {
      ...record,
      links: links.map(({ isRemote: _, ...link }) => link),
      resource: decodeResource(buffer.subarray(spans.resourceStart(i), spans.resourceEnd(i))),
      scope: decodeScope(buffer.subarray(spans.scopeStart(i), spans.scopeEnd(i))),
    };
  });
}

const LENIENT = new TextDecoder("utf-8", { ignoreBOM: true });
const text = (value: string | Uint8Array | undefined): string =>
  typeof value === "object" ? LENIENT.decode(value) : value ?? "";

/** Why a span cannot be told in OTLP. */
export type Unmapped = "invalid-value" | "time-out-of-range" | "noise";

/** What a batch means: a second, slow implementation of the mapping, for what the recorded sets do not hold. */
export function mapThriftBatch(batch: ThriftBatch, keepHttp2Noise = false): (JaegerRecord | Unmapped)[] {
  const service = text(batch.serviceName);
  const process = (batch.processTags ?? []).map(attribute);
  const resource = sortedByKey(distinct(
    service === "" ? process : [
      { key: "service.name", value: { stringValue: service } },
      ...process.filter(({ key }) => key !== "service.name"),
    ],
  ));
  return batch.spans.map((span) => {
    const record = mapSpan(span, resource, keepHttp2Noise);
    if (typeof record === "string") return record;
    return asOtlp(record as unknown as SpanRecord) as unknown as JaegerRecord;
  });
}

function mapSpan(span: ThriftSpan, resource: AttributeRecord[], keepHttp2Noise: boolean): JaegerRecord | Unmapped {
  const tags = (span.tags ?? []).map(attribute);
  const namespace = tags.findLast(({ key, value }) => key === "code.namespace" && "stringValue" in value)?.value;
  if (!keepHttp2Noise && namespace !== undefined && /^(h2|hyper)::/.test(stringOf(namespace) ?? "")) return "noise";
  const traceId = hex(span.traceIdHigh) + hex(span.traceIdLow);
  const spanId = hex(span.spanId);
  const eaten = new Set<AttributeRecord>();
  const eat = (tag: AttributeRecord | undefined): AttributeRecord | undefined => (tag && eaten.add(tag), tag);

  const isOld = oldStatus(tags);
  const status = isOld ?? newStatus(tags);
  for (const tag of status.eaten) eat(tag);
  const kinds = ["internal", "server", "client", "producer", "consumer"];
  const kind = eat(tags.findLast(({ key, value }) => key === "span.kind" && kinds.includes(stringOf(value) ?? "")));
  const library = isOld === undefined ? "otel.library" : "otel.instrumentation_library";
  const name = eat(tags.findLast(({ key, value }) => key === `${library}.name` && "stringValue" in value));
  const behind = name === undefined ? [] : tags.slice(tags.indexOf(name));
  const version = eat(behind.findLast(({ key, value }) => key === `${library}.version` && "stringValue" in value));

  const references = span.references ?? [];
  const sameTrace = references.filter((ref) => hex(ref.traceIdHigh) + hex(ref.traceIdLow) === traceId);
  let parent = span.parentSpanId;
  let links = references;
  if (isOld === undefined) {
    if (parent === 0n) parent = sameTrace.find(({ refType, spanId }) => refType === 0 && spanId !== 0n)?.spanId ?? 0n;
    const own = sameTrace.filter((ref) => ref.refType === 0 && ref.spanId === parent && parent !== 0n);
    links = references.filter((ref) => !own.includes(ref));
  }
  const valid = links.filter((ref) => ref.spanId !== 0n && (ref.traceIdHigh !== 0n || ref.traceIdLow !== 0n));

  if (span.spanId === 0n || (span.traceIdHigh === 0n && span.traceIdLow === 0n)) return "invalid-value";
  const start = nanoseconds(span.startTime);
  const end = nanoseconds(span.startTime + span.duration);
  const events = (span.logs ?? []).map((log) => mapLog(log, isOld !== undefined));
  if ([start, end, ...events.map(({ timeUnixNano }) => timeUnixNano)].includes(undefined)) return "time-out-of-range";
  return {
    attributes: sortedByKey(distinct(tags.filter((tag) => !eaten.has(tag)))),
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: links.length - valid.length,
    endTimeUnixNano: end as string,
    events: events as JaegerRecord["events"],
    kind: kind === undefined ? 1 : kinds.indexOf(stringOf(kind.value) as string) + 1,
    links: valid.map((ref) => ({
      attributes: [],
      droppedAttributesCount: 0,
      spanId: hex(ref.spanId),
      traceFlags: 0,
      traceId: hex(ref.traceIdHigh) + hex(ref.traceIdLow),
      traceState: "",
    })),
    name: text(span.operationName),
    parentSpanId: parent === 0n ? "" : hex(parent),
    resource,
    scope: { name: stringOf(name?.value) ?? "", version: stringOf(version?.value) ?? "" },
    spanId,
    startTimeUnixNano: start as string,
    status: { code: status.code, message: status.message },
    traceFlags: span.flags & 0xff,
    traceId,
    traceState: "",
  };
}

interface MappedStatus {
  code: number;
  message: string;
  eaten: AttributeRecord[];
}

/** OTLP's number of each of Go's status codes. */
const GO_CODES: Record<string, number> = { 0: 0, 1: 2, 2: 1 };

/** The tags that the Go exporter up to 0.15 ends with. */
function oldStatus(tags: readonly AttributeRecord[]): MappedStatus | undefined {
  const keys = tags.map(({ key, value }) => `${key}:${Object.keys(value)[0]}`).join(" ");
  const match = /(?:^| )status\.code:intValue status\.message:stringValue span\.kind:stringValue( error:boolValue)?$/
    .exec(keys);
  if (match === null) return undefined;
  const [code, message, , error] = tags.slice(match[1] === undefined ? -3 : -4) as AttributeRecord[];
  const mapped = GO_CODES[(code as { value: { intValue: string } }).value.intValue];
  if (mapped === undefined || code === undefined || message === undefined) return undefined;
  const eaten = [code, message];
  if (mapped === 2 && error !== undefined) eaten.push(error);
  return { code: mapped, message: stringOf(message.value) ?? "", eaten };
}

function newStatus(tags: readonly AttributeRecord[]): MappedStatus {
  const eaten: AttributeRecord[] = [];
  const codeOf = ({ key, value }: AttributeRecord): number => {
    if (key !== "otel.status_code") return 0;
    if ("intValue" in value) return GO_CODES[value.intValue] ?? 0;
    return { OK: 1, ERROR: 2 }[stringOf(value) ?? ""] ?? 0;
  };
  let from = tags.findLastIndex((tag) => codeOf(tag) !== 0);
  let code = from < 0 ? 0 : codeOf(tags[from] as AttributeRecord);
  if (from >= 0) eaten.push(tags[from] as AttributeRecord);
  const error = tags.findLastIndex(({ key, value }) => key === "error" && "boolValue" in value && value.boolValue);
  if (code !== 1 && error >= 0) {
    eaten.push(tags[error] as AttributeRecord);
    if (from < 0) from = error;
    code = 2;
  }
  const description = from < 0
    ? undefined
    : tags.slice(from).findLast(({ key, value }) => key === "otel.status_description" && "stringValue" in value);
  if (description !== undefined) eaten.push(description);
  return { code, message: stringOf(description?.value) ?? "", eaten };
}

function mapLog({ timestamp, fields }: ThriftLog, isOld: boolean): {
  attributes: AttributeRecord[];
  droppedAttributesCount: number;
  name: string;
  timeUnixNano: string | undefined;
} {
  const tags = fields.map(attribute);
  const last = tags.at(-1);
  const name = isOld
    ? last?.key === "name" && "stringValue" in last.value ? last : undefined
    : tags.find(({ key, value }) => key === "event" && "stringValue" in value);
  const count = tags.findLast(({ key, value }) => key === "otel.event.dropped_attributes_count" && "intValue" in value);
  const dropped = count === undefined ? -1n : BigInt((count.value as { intValue: string }).intValue);
  const isCount = dropped >= 0n && dropped < 1n << 32n;
  return {
    attributes: tags.filter((tag) => tag !== name && !(isCount && tag === count)),
    droppedAttributesCount: isCount ? Number(dropped) : 0,
    name: stringOf(name?.value) ?? "",
    timeUnixNano: nanoseconds(timestamp),
  };
}

function attribute(tag: ThriftTag): AttributeRecord {
  return { key: text(tag.key), value: valueOf(tag) };
}

function valueOf(tag: ThriftTag): ValueRecord {
  switch (tag.vType) {
    case 0:
      return { stringValue: text(tag.vStr) };
    case 1:
      return doubleRecord(tag.vDouble ?? 0);
    case 2:
      return { boolValue: tag.vBool ?? false };
    case 3:
      return { intValue: String(tag.vLong ?? 0n) };
    case 4:
      return { bytesValue: Buffer.from(tag.vBinary ?? []).toString("base64") } as unknown as ValueRecord;
  }
  const present = tag.vBinary !== undefined
    ? 4
    : tag.vLong !== undefined
    ? 3
    : tag.vBool !== undefined
    ? 2
    : tag.vDouble !== undefined
    ? 1
    : 0;
  return valueOf({ ...tag, vType: present });
}

function stringOf(value: ValueRecord | undefined): string | undefined {
  return value !== undefined && "stringValue" in value ? value.stringValue : undefined;
}

/** Of two with one key the later one, in its place. */
function distinct(attributes: AttributeRecord[]): AttributeRecord[] {
  return attributes.filter(({ key }, i) => !attributes.slice(i + 1).some((later) => later.key === key));
}

function nanoseconds(micros: bigint): string | undefined {
  const nanos = micros < 0n ? 0n : micros * 1000n;
  return nanos < 1n << 64n ? String(nanos) : undefined;
}

function hex(id: bigint): string {
  return BigInt.asUintN(64, id).toString(16).padStart(16, "0");
}
