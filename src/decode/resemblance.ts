// What the beginning of a span's payload looks like in each encoding. This is asked of bytes that may be anything, to
// find where a frame begins. The answer for a span is always yes; a wrong yes costs time, and nothing else.

import { OPEN_BRACE, QUOTE } from "./json/characters.ts";
import { RECOGNISED_BYTES } from "./header-search.ts";

/** The tag of `ExportTraceServiceRequest.resource_spans`, which begins every request. */
const REQUEST_RESOURCE_SPANS = 0x0a;
/** The tags of `ResourceSpans`' fields: `resource`, `scope_spans`, `schema_url`. */
const RESOURCE_SPANS_TAGS: ReadonlySet<number | undefined> = new Set([0x0a, 0x12, 0x1a]);

/** The bincode of a span without any text, attribute, event, link or resource. */
export const SMALLEST_BINCODE = 126;
// Where things are in the bincode of a span.
const SPAN_ID = 16;
const IS_REMOTE = 25;
const TRACE_STATE = 26;
const KINDS = 5;
// W3C Trace Context allows 32 states, of keys of 256 characters of printable ASCII.
const MOST_STATES = 32;
const MOST_STATE_KEY = 256;
const SPACE = 0x20;
const TILDE = 0x7e;
/** The longest name that is looked for, bytes: less than what the maxima of 128 look like at odd places, 0x8000. */
const MOST_NAME = 16 * 1024;
/** In a second. */
const NANOSECONDS = 1_000_000_000;
/** The upper half of the last second of 64 bits of nanoseconds, 18,446,744,073. */
const LAST_SECOND_HIGH = 4;

/** JSON as agents write it: serde_json puts the first member's name right behind the brace. */
export function resemblesJson(buffer: Uint8Array, start: number): boolean {
  return buffer[start] === OPEN_BRACE && buffer[start + 1] === QUOTE;
}

/** An `ExportTraceServiceRequest` of `length` bytes, which begins with `buffer[start … end)`. */
export function resemblesOtlp(buffer: Uint8Array, start: number, end: number, length: number): boolean {
  if (buffer[start] !== REQUEST_RESOURCE_SPANS) return false;
  let at = start + 1;
  let size = 0;
  // Lengths are below 2^32, which takes five bytes.
  for (let unit = 1; at < end && at <= start + 5; unit *= 0x80) {
    const byte = buffer[at++] as number;
    size += (byte & 0x7f) * unit;
    if (byte < 0x80) return at - start + size <= length && RESOURCE_SPANS_TAGS.has(buffer[at]);
  }
  return false;
}

/** The bincode of a `SpanData` of `length` bytes, which begins with `buffer[start … end)`. */
export function resemblesBincode(buffer: Uint8Array, start: number, end: number, length: number): boolean {
  if (length < SMALLEST_BINCODE || end - start < RECOGNISED_BYTES) return false;
  if ((buffer[start + IS_REMOTE] as number) > 1) return false;
  if (isZero(buffer, start, start + SPAN_ID) || isZero(buffer, start + SPAN_ID, start + SPAN_ID + 8)) return false;
  let parent = start + TRACE_STATE + 1;
  switch (buffer[start + TRACE_STATE]) {
    case 0:
      break;
    case 1:
      if (!isLength(buffer, parent, MOST_STATES)) return false;
      if (buffer[parent] !== 0) return isState(buffer, parent + 8);
      parent += 8;
      break;
    default:
      return false;
  }
  const kind = parent + 8;
  if ((buffer[kind] as number) >= KINDS || !isZero(buffer, kind + 1, kind + 4)) return false;
  const nameLength = kind + 4;
  if (!isLength(buffer, nameLength, Math.min(length, MOST_NAME))) return false;
  const startTime = nameLength + 8 + uint32(buffer, nameLength);
  const endTime = startTime + 12;
  const attributes = endTime + 12;
  return isTime(buffer, startTime, end) && isTime(buffer, endTime, end) &&
    (attributes + 8 > end || isLength(buffer, attributes, length));
}

/** Whether seconds, u64, and nanoseconds, u32, may be at `at`; where they do not end before `end`, they may. */
function isTime(buffer: Uint8Array, at: number, end: number): boolean {
  if (at + 12 > end) return true;
  return (buffer[at + 4] as number) <= LAST_SECOND_HIGH && isZero(buffer, at + 5, at + 8) &&
    uint32(buffer, at + 8) < NANOSECONDS;
}

/** Whether the key of a trace state may be at `at`: its length and its first bytes. */
function isState(buffer: Uint8Array, at: number): boolean {
  if (!isLength(buffer, at, MOST_STATE_KEY)) return false;
  const end = Math.min(at + 8 + (buffer[at] as number), at + 16);
  for (let key = at + 8; key < end; key++) {
    const byte = buffer[key] as number;
    if (byte <= SPACE || byte > TILDE) return false;
  }
  return true;
}

/** Whether 64 bits, little endian, are the length of something in a payload of `most` bytes. */
function isLength(buffer: Uint8Array, at: number, most: number): boolean {
  return isZero(buffer, at + 4, at + 8) && uint32(buffer, at) <= most;
}

function uint32(buffer: Uint8Array, at: number): number {
  return ((buffer[at] as number) | ((buffer[at + 1] as number) << 8) | ((buffer[at + 2] as number) << 16) |
    ((buffer[at + 3] as number) << 24)) >>> 0;
}

function isZero(buffer: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (buffer[at] !== 0) return false;
  return true;
}
