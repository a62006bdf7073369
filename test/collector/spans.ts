/** Spans as the collector received them, read from the OTLP/JSON that it writes. */

import { Buffer } from "node:buffer";

/**
 * The value of an attribute. An integer is a `bigint` and a double a `number`,
 * so that a test can tell them apart and no digit is lost; `null` is OTLP's
 * empty value.
 */
export type Value = string | boolean | bigint | number | Uint8Array | null | Value[] | Attributes;

/** Attributes by key. */
export interface Attributes {
  [key: string]: Value;
}

/** The attributes of an event or a link as they came: an agent keeps a list of them, in which a key may come again. */
export type AttributeList = readonly (readonly [key: string, value: Value])[];

/** An event of a span. */
export interface ReceivedEvent {
  readonly timeUnixNano: bigint;
  readonly name: string;
  readonly attributes: AttributeList;
  readonly droppedAttributesCount: number;
}

/** A link of a span. */
export interface ReceivedLink {
  readonly traceId: string;
  readonly spanId: string;
  readonly traceState: string;
  readonly flags: number;
  readonly attributes: AttributeList;
  readonly droppedAttributesCount: number;
}

/** What a resource and a scope have in common. */
interface Described {
  readonly attributes: Attributes;
  readonly droppedAttributesCount: number;
  readonly schemaUrl: string;
}

/** The scope of a span. */
export interface ReceivedScope extends Described {
  readonly name: string;
  readonly version: string;
}

/** One span with its resource and scope. What a sender left out has OTLP's default value. */
export interface ReceivedSpan {
  /** 32 lower-case hexadecimal digits. */
  readonly traceId: string;
  /** 16 lower-case hexadecimal digits. */
  readonly spanId: string;
  /** As `spanId`; empty for a root span. */
  readonly parentSpanId: string;
  readonly traceState: string;
  readonly flags: number;
  readonly name: string;
  /** OTLP's number of the kind: 0 unspecified, 1 internal, 2 server, 3 client, ... */
  readonly kind: number;
  readonly startTimeUnixNano: bigint;
  readonly endTimeUnixNano: bigint;
  readonly attributes: Attributes;
  readonly droppedAttributesCount: number;
  readonly events: readonly ReceivedEvent[];
  readonly droppedEventsCount: number;
  readonly links: readonly ReceivedLink[];
  readonly droppedLinksCount: number;
  /** `code`: 0 unset, 1 ok, 2 error. */
  readonly status: { readonly code: number; readonly message: string };
  readonly resource: Described;
  readonly scope: ReceivedScope;
}

// The parts of OTLP/JSON that are read here. 64-bit integers are strings in it,
// bytes are base64, and any field may be missing when it has its default value.

export interface RawValue {
  readonly stringValue?: string;
  readonly boolValue?: boolean;
  readonly intValue?: string;
  /** A string only for "NaN", "Infinity" and "-Infinity". */
  readonly doubleValue?: number | string;
  readonly bytesValue?: string;
  readonly arrayValue?: { readonly values?: readonly RawValue[] };
  readonly kvlistValue?: { readonly values?: readonly RawKeyValue[] };
}

export interface RawKeyValue {
  readonly key?: string;
  readonly value?: RawValue;
}

interface RawAttributed {
  readonly attributes?: readonly RawKeyValue[];
  readonly droppedAttributesCount?: number;
}

interface RawScope extends RawAttributed {
  readonly name?: string;
  readonly version?: string;
}

interface RawEvent extends RawAttributed {
  readonly timeUnixNano?: string;
  readonly name?: string;
}

interface RawLink extends RawAttributed {
  readonly traceId?: string;
  readonly spanId?: string;
  readonly traceState?: string;
  readonly flags?: number;
}

interface RawSpan extends RawLink {
  readonly parentSpanId?: string;
  readonly name?: string;
  readonly kind?: number;
  readonly startTimeUnixNano?: string;
  readonly endTimeUnixNano?: string;
  readonly events?: readonly RawEvent[];
  readonly droppedEventsCount?: number;
  readonly links?: readonly RawLink[];
  readonly droppedLinksCount?: number;
  readonly status?: { readonly code?: number; readonly message?: string };
}

interface RawTraces {
  readonly resourceSpans?: readonly {
    readonly resource?: RawAttributed;
    readonly schemaUrl?: string;
    readonly scopeSpans?: readonly {
      readonly scope?: RawScope;
      readonly schemaUrl?: string;
      readonly spans?: readonly RawSpan[];
    }[];
  }[];
}

/** The spans of one export request in OTLP/JSON, in its order. */
export function parseSpans(json: string): ReceivedSpan[] {
  const received: ReceivedSpan[] = [];
  for (const ofResource of (JSON.parse(json) as RawTraces).resourceSpans ?? []) {
    const resource = {
      ...attributed(ofResource.resource ?? {}),
      schemaUrl: ofResource.schemaUrl ?? "",
    };
    for (const ofScope of ofResource.scopeSpans ?? []) {
      const scope = {
        name: ofScope.scope?.name ?? "",
        version: ofScope.scope?.version ?? "",
        ...attributed(ofScope.scope ?? {}),
        schemaUrl: ofScope.schemaUrl ?? "",
      };
      for (const span of ofScope.spans ?? []) received.push(toSpan(span, resource, scope));
    }
  }
  return received;
}

function toSpan(raw: RawSpan, resource: Described, scope: ReceivedScope): ReceivedSpan {
  return {
    ...context(raw),
    ...attributed(raw),
    parentSpanId: raw.parentSpanId ?? "",
    name: raw.name ?? "",
    kind: raw.kind ?? 0,
    startTimeUnixNano: BigInt(raw.startTimeUnixNano ?? "0"),
    endTimeUnixNano: BigInt(raw.endTimeUnixNano ?? "0"),
    events: (raw.events ?? []).map((event) => ({
      timeUnixNano: BigInt(event.timeUnixNano ?? "0"),
      name: event.name ?? "",
      ...listed(event),
    })),
    droppedEventsCount: raw.droppedEventsCount ?? 0,
    links: (raw.links ?? []).map(toLink),
    droppedLinksCount: raw.droppedLinksCount ?? 0,
    status: { code: raw.status?.code ?? 0, message: raw.status?.message ?? "" },
    resource,
    scope,
  };
}

function toLink(raw: RawLink): ReceivedLink {
  return { ...context(raw), ...listed(raw) };
}

/** What a span and a link have in common. */
function context(raw: RawLink) {
  return {
    traceId: raw.traceId ?? "",
    spanId: raw.spanId ?? "",
    traceState: raw.traceState ?? "",
    flags: raw.flags ?? 0,
  };
}

function attributed(raw: RawAttributed) {
  return {
    attributes: toAttributes(raw.attributes ?? []),
    droppedAttributesCount: raw.droppedAttributesCount ?? 0,
  };
}

function listed(raw: RawAttributed) {
  return {
    attributes: (raw.attributes ?? []).map(({ key = "", value = {} }) => [key, toValue(value)] as const),
    droppedAttributesCount: raw.droppedAttributesCount ?? 0,
  };
}

/** Attributes by key, from OTLP/JSON. Throws where a key comes twice. */
export function toAttributes(pairs: readonly RawKeyValue[]): Attributes {
  const attributes = new Map<string, Value>();
  for (const { key = "", value = {} } of pairs) {
    // OTLP forbids it, and one of the two values would be lost here unseen.
    if (attributes.has(key)) throw new Error(`the attribute ${JSON.stringify(key)} came twice`);
    attributes.set(key, toValue(value));
  }
  return Object.fromEntries(attributes);
}

/** An attribute's value, from OTLP/JSON. */
export function toValue(raw: RawValue): Value {
  if (raw.stringValue !== undefined) return raw.stringValue;
  if (raw.boolValue !== undefined) return raw.boolValue;
  if (raw.intValue !== undefined) return BigInt(raw.intValue);
  if (raw.doubleValue !== undefined) return Number(raw.doubleValue);
  // Not a Buffer, which would not be strictly equal to a Uint8Array with the same bytes.
  if (raw.bytesValue !== undefined) return new Uint8Array(Buffer.from(raw.bytesValue, "base64"));
  if (raw.arrayValue !== undefined) return (raw.arrayValue.values ?? []).map(toValue);
  if (raw.kvlistValue !== undefined) return toAttributes(raw.kvlistValue.values ?? []);
  return null;
}
