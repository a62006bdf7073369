import assert from "node:assert/strict";
import { EncodedSpans } from "../../../src/otlp/encoded-spans.ts";
import { decodeBincode } from "../../../src/decode/bincode/decoder.ts";
import { WireError } from "../../../src/decode/wire-error.ts";
import { decodeEncodedSpans } from "./decode-span.ts";
import type { OtlpRecord, SpanRecord } from "./span-record.ts";

/** What {@link decode} decoded last. */
export const spans = new EncodedSpans();

/** The one span that a payload becomes, checked to be valid OTLP. */
export function decode(payload: Uint8Array): OtlpRecord {
  spans.clear();
  decodeBincode(payload, 0, payload.length, spans);
  const [record, ...more] = decodeEncodedSpans(spans);
  assert.ok(record !== undefined && more.length === 0);
  return record;
}

/** Why a payload is refused. */
export function refusal(payload: Uint8Array, start = 0, end = payload.length): WireError {
  try {
    spans.clear();
    decodeBincode(payload, start, end, spans);
  } catch (error) {
    assert.ok(error instanceof WireError, String(error));
    return error;
  }
  return assert.fail("it was taken");
}

/** A span with nothing in it, and what is to be in it. */
export function span(parts: Partial<SpanRecord> = {}): SpanRecord {
  return {
    attributes: [],
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
    endTimeUnixNano: "2",
    events: [],
    isRemote: false,
    kind: 1,
    links: [],
    name: "",
    parentSpanId: "",
    resource: null,
    spanId: "0102030405060708",
    startTimeUnixNano: "1",
    status: { code: 0, message: "" },
    traceFlags: 0,
    traceId: "000102030405060708090a0b0c0d0e0f",
    traceState: "",
    ...parts,
  };
}

/** Where things are in the bincode payload of `span()`, of 126 bytes. */
export const AT = {
  flags: 24,
  isRemote: 25,
  traceState: 26,
  kind: 35,
  nameLength: 39,
  startTime: 47,
  attributes: 71,
  statusCode: 113,
  resource: 125,
} as const;

/** The payload with other bytes at `at`. */
export function patched(payload: Uint8Array, at: number, ...bytes: number[]): Uint8Array {
  const copy = payload.slice();
  copy.set(bytes, at);
  return copy;
}
