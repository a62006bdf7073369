import { decodeOtlpJson, decodeOtlpJsonInSteps } from "../../../src/decode/otlp-json/decoder.ts";
import { decodeOtlpInSteps, decodeOtlpLeniently } from "../../../src/decode/otlp/lenient.ts";
import type { SpanRecord } from "../../../src/otlp/json-record.ts";
import { EncodedSpans } from "../../../src/otlp/encoded-spans.ts";
import { recordsOf } from "../../otlp/support/encoded.ts";

const spans = new EncodedSpans();

/** What came of a request: its spans, and how many were left out for each reason. */
export interface Decoded {
  readonly records: SpanRecord[];
  readonly rejected: Record<string, number>;
}

/** Decodes a request in JSON, given as text or as values. */
export function decodeJsonRequest(request: unknown): Decoded {
  const text = typeof request === "string" ? request : JSON.stringify(request);
  const bytes = new TextEncoder().encode(text);
  spans.clear();
  const rejected = decodeOtlpJson(bytes, 0, bytes.length, spans);
  return { records: recordsOf(spans), rejected: Object.fromEntries(rejected) };
}

/** Decodes a request in protobuf. */
export function decodeLeniently(bytes: Uint8Array): Decoded {
  spans.clear();
  const rejected = decodeOtlpLeniently(bytes, 0, bytes.length, spans);
  return { records: recordsOf(spans), rejected: Object.fromEntries(rejected) };
}

/** As {@link decodeLeniently}, in steps. */
export function decodeInSteps(bytes: Uint8Array): Decoded & { readonly steps: number } {
  return collected((take) => decodeOtlpInSteps(bytes, 0, bytes.length, take));
}

/** As {@link decodeJsonRequest}, in steps. */
export function decodeJsonInSteps(text: string): Decoded & { readonly steps: number } {
  const bytes = new TextEncoder().encode(text);
  return collected((take) => decodeOtlpJsonInSteps(bytes, 0, bytes.length, take));
}

function collected(
  decode: (take: (spans: EncodedSpans) => void) => Generator<void, ReadonlyMap<string, number>>,
): Decoded & { readonly steps: number } {
  const parts: EncodedSpans[] = [];
  const decoding = decode((part) => parts.push(part));
  let steps = 1;
  for (let step = decoding.next();; step = decoding.next(), steps++) {
    if (step.done !== true) continue;
    return { records: parts.flatMap((part) => recordsOf(part)), rejected: Object.fromEntries(step.value), steps };
  }
}

/** Records as a request in OTLP/JSON, each with a resource and a scope of its own. */
export function jsonRequest(all: readonly SpanRecord[]): unknown {
  return {
    resourceSpans: all.map(({ resource, scope, ...span }) => {
      const { schemaUrl, ...resourceFields } = resource;
      const { schemaUrl: scopeSchemaUrl, ...scopeFields } = scope;
      return {
        resource: resourceFields,
        schemaUrl,
        scopeSpans: [{ scope: scopeFields, schemaUrl: scopeSchemaUrl, spans: [span] }],
      };
    }),
  };
}

/** A span with what it has to have, and what is given. */
export function jsonSpan(fields: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    traceId: "0102030405060708090a0b0c0d0e0f10",
    spanId: "1112131415161718",
    name: "op",
    startTimeUnixNano: "1",
    endTimeUnixNano: "2",
    ...fields,
  };
}

/** A request with these spans in one scope. */
export function requestOf(...all: unknown[]): { resourceSpans: { scopeSpans: { spans: unknown[] }[] }[] } {
  return { resourceSpans: [{ scopeSpans: [{ spans: all }] }] };
}
