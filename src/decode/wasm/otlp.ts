import { at, begin, end, giveUp, isUsual, moveTo } from "./cursor";
import { FIELDS, INPUT, KNOWN, MOST_SPANS, OUTPUT, RANGES, RANGES_STRIDE, REQUIRED } from "./memory";
import { isTooLong, moveDown, moveUp, varint, varintSize } from "./output";
import { tell } from "./result";
import { copyText } from "./text";

// What `RequestChecker` and `writeCanonical` do in TypeScript, in one pass: each field is checked and written as it may
// leave. The messages that spans are in are not written, because delivery makes its own; only what they have beside
// spans is.

// The messages whose fields are described at FIELDS, in the order of `otlp/field-table.ts`.
const SPAN: u32 = 0;
const RESOURCE: u32 = 1;
const SCOPE: u32 = 2;
const SCOPE_SPANS: u32 = 3;
const RESOURCE_SPANS: u32 = 4;
const KEY_VALUE: u32 = 5;

// How a field is described; see there.
const SUB_SHIFT: u32 = 4;
const SIZE_SHIFT: u32 = 8;
const BIT_SHIFT: u32 = 16;
const ONCE: u32 = 1 << 21;
const NON_ZERO: u32 = 1 << 22;
const MUST_BE: u32 = 1 << 23;

// The kinds of fields, as in `otlp/messages.ts`.
const MESSAGE: u32 = 0;
const TEXT: u32 = 1;
const BYTES: u32 = 2;
const ID: u32 = 3;
const BOOL: u32 = 4;
const ENUM: u32 = 5;
const UINT32: u32 = 6;
const INT64: u32 = 7;
const TIME: u32 = 8;
const DOUBLE: u32 = 9;
const FLAGS: u32 = 10;

// Wire types.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH_DELIMITED: u32 = 2;
const FIXED32: u32 = 5;

/** Tags of what spans are in: each has a message of its own, what is repeated, and a schema URL. */
const OWN: u32 = 0x0a;
const REPEATED: u32 = 0x12;
const SCHEMA_URL: u32 = 0x1a;
/** `Span.flags`, the only field whose tag takes two bytes. */
const FLAGS_TAG: u32 = 0x0185;
const FLAGS_NUMBER: u32 = 16;
const FLAGS_FIELD: u32 = FLAGS | (FLAGS_NUMBER << BIT_SHIFT) | ONCE;

// Where the checker in TypeScript has a limit, what is above it is left to that one. So none of these may be higher
// than there.
const MOST_DEPTH: u32 = 60;
const MOST_RESOURCES: u32 = 1024;
const MOST_SCOPES: u32 = 4096;
/** Of unknown fields and padded lengths: a few, and one for so many bytes. */
const FEW: u32 = 32;
const BYTES_PER_UNKNOWN: u32 = 32;
const BYTES_PER_PADDED: u32 = 8;
const DEPRECATED_SPANS: u32 = 1000;
const MOST_LENGTH_BYTES: usize = 5;
const MOST_VARINT_BYTES: usize = 10;
const MOST_SHARED_BYTES: usize = 64 * 1024;
const MOST_REPEATED_BYTES: usize = 16 * 1024 * 1024;

/** The exponent of a double: all bits are set in NaN and the infinities. */
const EXPONENT: u64 = 0x7ff0000000000000;
const FRACTION: u64 = 0x000fffffffffffff;
/** `Infinity` */
const INFINITY: u64 = 0x7974696e69666e49;

let bytes: u32 = 0;
let unknownFields: u32 = 0;
let paddedLengths: u32 = 0;
let resources: u32 = 0;
let scopes: u32 = 0;
let spans: usize = 0;
let repeatedBytes: usize = 0;

/**
 * Decodes an `ExportTraceServiceRequest` of `length` bytes. Returns how many spans it has, which are described at
 * RANGES; 0 if it is not valid or not usual.
 */
export function decodeOtlp(length: usize): usize {
  begin(INPUT, length);
  bytes = <u32> length;
  unknownFields =
    paddedLengths =
    resources =
    scopes =
      0;
  spans = repeatedBytes = 0;
  let from = INPUT;
  let to = OUTPUT;
  while (from < end) {
    if (load<u8>(from) != OWN || ++resources > MOST_RESOURCES) return 0;
    const size = lengthAt(from + 1, end);
    from = at + size;
    to = group(RESOURCE_SPANS, at, from, to);
    if (!isUsual) return 0;
  }
  tell(OUTPUT, to, 0, 0);
  return spans;
}

/**
 * A `ResourceSpans` or `ScopeSpans`, from its content's beginning to `stop`: writes its spans, and what they share in
 * one piece.
 */
function group(type: u32, from: usize, stop: usize, to: usize): usize {
  const first = spans;
  let seen: u32 = 0;
  // What is beside the spans: two fields at most, which may be apart.
  let start = to;
  let startEnd = to;
  let rest = to;
  let restEnd = to;
  while (from < stop && isUsual) {
    const tag: u32 = load<u8>(from);
    if (tag == REPEATED) {
      seen |= 2;
      const length = lengthAt(from + 1, stop);
      from = at + length;
      if (type == RESOURCE_SPANS) {
        if (++scopes > MOST_SCOPES) giveUp();
        else to = group(SCOPE_SPANS, at, from, to);
      } else to = span(at, from, to);
    } else if (tag == OWN || tag == SCHEMA_URL) {
      const bit: u32 = tag == OWN ? 1 : 4;
      if ((seen & bit) != 0) giveUp();
      seen |= bit;
      const length = lengthAt(from + 1, stop);
      from = at + length;
      const field = to;
      if (tag == SCHEMA_URL) to = textField(tag, at, length, to);
      else if (type == RESOURCE_SPANS) to = messageField(tag, RESOURCE, at, from, to, 3);
      else to = messageField(tag, SCOPE, at, from, to, 4);
      if (startEnd == start) {
        start = field;
        startEnd = to;
      } else if (startEnd == field) startEnd = to;
      else {
        rest = field;
        restEnd = to;
      }
    } else from = unknown(type, from, stop);
  }
  if ((seen & 2) == 0) giveUp();
  const shared = startEnd - start + (restEnd - rest);
  if (shared > MOST_SHARED_BYTES || !isUsual) {
    giveUp();
    return to;
  }
  if (restEnd > rest) {
    // Nothing else is written twice, and what is written once is at most a quarter longer than what was read.
    if (isTooLong(to + shared, stop)) {
      giveUp();
      return to;
    }
    memory.copy(to, start, startEnd - start);
    memory.copy(to + (startEnd - start), rest, restEnd - rest);
    start = to;
    startEnd = to = to + shared;
  }
  share(type, first, start, startEnd);
  return to;
}

/** Tells of spans where what they share is. */
function share(type: u32, first: usize, start: usize, stop: usize): void {
  const isResource = type == RESOURCE_SPANS;
  const place: usize = isResource ? 16 : 8;
  for (let range = RANGES + first * RANGES_STRIDE; range < RANGES + spans * RANGES_STRIDE; range += RANGES_STRIDE) {
    store<u32>(range + place, <u32> start);
    store<u32>(range + place, <u32> stop, 4);
  }
  repeatedBytes += (stop - start) * (spans - first);
  if (repeatedBytes > MOST_REPEATED_BYTES) giveUp();
}

function span(from: usize, stop: usize, to: usize): usize {
  if (spans == MOST_SPANS) {
    giveUp();
    return to;
  }
  const next = messageField(REPEATED, SPAN, from, stop, to, 4);
  const range = RANGES + spans++ * RANGES_STRIDE;
  store<u32>(range, <u32> to);
  store<u32>(range, <u32> next, 4);
  return next;
}

/** A message with its tag of one byte; `from` and `stop` are where its content begins and ends. */
function messageField(tag: u32, type: u32, from: usize, stop: usize, to: usize, depth: u32): usize {
  store<u8>(to, <u8> tag);
  // Mostly it becomes as long as it was.
  const expected: usize = stop - from < 0x80 ? 1 : varintSize(stop - from);
  const content = to + 1 + expected;
  const written = message(type, from, stop, content, depth);
  const length = written - content;
  if (expected == 1 && length < 0x80) {
    store<u8>(to, <u8> length, 1);
    return written;
  }
  if (!isUsual) return to;
  const size = varintSize(length);
  if (size > expected) moveUp(content, length, size - expected);
  else if (size < expected) moveDown(content, length, expected - size);
  return varint(to + 1, length) + length;
}

/** The content of a message, which is the `depth`th of those that are in each other. */
function message(type: u32, from: usize, stop: usize, to: usize, depth: u32): usize {
  if (depth > MOST_DEPTH) giveUp();
  const fields = FIELDS + (<usize> type << 9);
  let seen: u32 = 0;
  while (from < stop && isUsual) {
    let tag: u32 = load<u8>(from);
    let field = tag < 0x80 ? load<u32>(fields + (<usize> tag << 2)) : 0;
    let value = from + 1;
    if (field == 0) {
      if (type != SPAN || load<u16>(from) != FLAGS_TAG || from + 2 > stop) {
        from = unknown(type, from, stop);
        continue;
      }
      tag = FLAGS_TAG;
      field = FLAGS_FIELD;
      value = from + 2;
    }
    const bit: u32 = 1 << ((field >> BIT_SHIFT) & 31);
    // Nothing comes twice that is not repeated.
    if ((seen & bit) != 0 && (field & ONCE) != 0) giveUp();
    seen |= bit;
    const kind = field & 15;
    if (kind <= ID) {
      let length: usize = load<u8>(value++);
      if (length >= 0x80) {
        length = longLengthAt(value - 1, stop);
        value = at;
      }
      from = value + length;
      if (from > stop || !isUsual) {
        giveUp();
        return to;
      }
      if (kind == MESSAGE) {
        const sub = (field >> SUB_SHIFT) & 15;
        if (sub == KEY_VALUE && depth < MOST_DEPTH - 1 && isPlainAttribute(value, from)) {
          to = bytesField(tag, value, length, to);
        } else if (length == 0 && depth < MOST_DEPTH && load<u32>(REQUIRED + (<usize> sub << 2)) == 0) {
          to = prefix(tag, 0, to);
        } else to = messageField(tag, sub, value, from, to, depth + 1);
      } else if (kind == TEXT) to = textField(tag, value, length, to);
      else {
        if (kind == ID) checkId(field, value, length);
        to = bytesField(tag, value, length, to);
      }
    } else if (kind < TIME) {
      let number = <u64> load<u8>(value);
      let size: usize = 1;
      if (number >= 0x80) {
        number = varintAt(value, stop);
        if (!isUsual) return to;
        size = at - value;
      }
      from = value + size;
      if (kind == BOOL) {
        if (number > 1) giveUp();
      } else if (kind == ENUM) {
        // What OTLP does not have is left out, which is how decoders with closed enums read it.
        if (number >= ((field >> SIZE_SHIFT) & 0xff) && from <= stop) continue;
      } else if (kind == UINT32 && number > 0xffffffff) giveUp();
      store<u8>(to, <u8> tag);
      // A varint as short as it can be is written as it is.
      store<u64>(to, load<u64>(value), 1);
      store<u16>(to, load<u16>(value, 8), 9);
      to += 1 + size;
    } else if (kind == FLAGS) {
      from = value + 4;
      store<u16>(to, <u16> tag);
      // A link has flags, too, with a tag of one byte.
      to += tag < 0x80 ? 1 : 2;
      store<u32>(to, load<u32>(value));
      to += 4;
    } else {
      from = value + 8;
      const number = load<u64>(value);
      if (kind == DOUBLE && (number & EXPONENT) == EXPONENT) to = nonFinite(number, to);
      else {
        store<u8>(to, <u8> tag);
        store<u64>(to, number, 1);
        to += 9;
      }
    }
    if (from > stop) giveUp();
  }
  const required = load<u32>(REQUIRED + (<usize> type << 2));
  // Bit 31 stands for anything at all.
  if ((required & ~(seen == 0 ? 0 : seen | 0x80000000)) != 0) giveUp();
  return to;
}

/**
 * Whether a `KeyValue` is as nearly all are, which is how it may leave: a key, and a value that is a short text or a
 * number, or none. If false, it may still be valid.
 */
function isPlainAttribute(from: usize, stop: usize): bool {
  const keyBytes: usize = load<u8>(from, 1);
  const key = from + 2;
  const value = key + keyBytes;
  if (load<u8>(from) != 0x0a || value > stop || !isPlainText(key, keyBytes)) return false;
  if (value == stop) return true;
  const any = value + 2;
  // A length of one byte.
  if (load<u8>(value) != 0x12 || any > stop || stop - any >= 0x80 || <usize> load<u8>(value, 1) != stop - any) {
    return false;
  }
  if (any == stop) return true;
  const first = <usize> load<u8>(any, 1);
  switch (load<u8>(any)) {
    case 0x0a:
      return any + 2 + first == stop && isPlainText(any + 2, first);
    case 0x10:
      return any + 2 == stop && first < 2;
    case 0x18:
      return any + 2 == stop && first < 0x80;
    case 0x21:
      return any + 9 == stop && (load<u64>(any, 1) & EXPONENT) != EXPONENT;
    default:
      return false;
  }
}

/** Whether a text has at most sixteen bytes, all of them ASCII. */
function isPlainText(from: usize, length: usize): bool {
  return length <= 16 && (i8x16.bitmask(v128.load(from)) & ((1 << <i32> length) - 1)) == 0;
}

function textField(tag: u32, from: usize, length: usize, to: usize): usize {
  to = prefix(tag, length, to);
  copyText(from, length, to);
  return to + length;
}

function bytesField(tag: u32, from: usize, length: usize, to: usize): usize {
  to = prefix(tag, length, to);
  v128.store(to, v128.load(from));
  if (length > 16) memory.copy(to, from, length);
  return to + length;
}

/** A tag of one byte, and a length. */
function prefix(tag: u32, length: usize, to: usize): usize {
  store<u8>(to, <u8> tag);
  if (length >= 0x80) return varint(to + 1, length);
  store<u8>(to, <u8> length, 1);
  return to + 2;
}

/** A string in the place of a double that JSON has no number for. */
function nonFinite(number: u64, to: usize): usize {
  store<u8>(to, 0x0a);
  if ((number & FRACTION) != 0) {
    store<u32>(to, 0x4e614e03, 1);
    return to + 5;
  }
  const isNegative = number >> 63 != 0;
  store<u8>(to, isNegative ? 9 : 8, 1);
  to += 2;
  if (isNegative) store<u8>(to++, 0x2d);
  store<u64>(to, INFINITY);
  return to + 8;
}

/** An ID that may be left out may as well be empty. */
function checkId(field: u32, from: usize, length: usize): void {
  if (length != ((field >> SIZE_SHIFT) & 0xff)) {
    if (length != 0 || (field & MUST_BE) != 0) giveUp();
  } else if ((field & NON_ZERO) != 0) {
    const tail = load<u64>(from + length - 8);
    if ((load<u64>(from) | tail) == 0) giveUp();
  }
}

/** Skips a field that has no place in a message, unless it should not be lost without a word. Returns what is behind. */
function unknown(type: u32, from: usize, stop: usize): usize {
  const tag = varintAt(from, stop);
  const number = <u32> (tag >> 3);
  if (tag < 8 || tag > 0xffffffff) giveUp();
  // It is known, but not with this type.
  if (number < 32 && ((load<u32>(KNOWN + (<usize> type << 2)) >> number) & 1) != 0) giveUp();
  if (type == RESOURCE_SPANS && number == DEPRECATED_SPANS) giveUp();
  if (++unknownFields > FEW && (unknownFields - FEW) * BYTES_PER_UNKNOWN > bytes) giveUp();
  const wireType = <u32> tag & 7;
  let next = at;
  if (wireType == VARINT) {
    varintAt(next, stop);
    next = at;
  } else if (wireType == LENGTH_DELIMITED) {
    const length = lengthAt(next, stop);
    next = at + length;
  } else if (wireType == FIXED64) next += 8;
  else if (wireType == FIXED32) next += 4;
  else giveUp();
  if (next > stop) giveUp();
  return next;
}

/** The length at `from` of something that ends at `stop` at the latest. The cursor is behind the length then. */
function lengthAt(from: usize, stop: usize): usize {
  const first: usize = load<u8>(from);
  if (first >= 0x80) return longLengthAt(from, stop);
  if (from + 1 + first > stop) giveUp();
  else moveTo(from + 1);
  return first;
}

/** The same of a length of more than one byte. */
function longLengthAt(from: usize, stop: usize): usize {
  let length: u64 = 0;
  for (let size: usize = 0; size < MOST_LENGTH_BYTES; size++) {
    const byte = <u64> load<u8>(from + size);
    length |= (byte & 0x7f) << (7 * size);
    if (byte >= 0x80) continue;
    const next = from + size + 1;
    if (<u64> next + length > <u64> stop) break;
    if (byte == 0 && ++paddedLengths > FEW && (paddedLengths - FEW) * BYTES_PER_PADDED > bytes) break;
    moveTo(next);
    return <usize> length;
  }
  giveUp();
  return 0;
}

/** The varint at `from`, which ends at `stop` at the latest and is as short as it can be. The cursor is behind it then. */
function varintAt(from: usize, stop: usize): u64 {
  const first = <u64> load<u8>(from);
  if (first < 0x80 && from < stop) {
    moveTo(from + 1);
    return first;
  }
  let value: u64 = 0;
  for (let size: usize = 0; size < MOST_VARINT_BYTES && from + size < stop; size++) {
    const byte = <u64> load<u8>(from + size);
    // The tenth one has a single bit left.
    if (size == MOST_VARINT_BYTES - 1 && byte > 1) break;
    value |= (byte & 0x7f) << (7 * size);
    if (byte >= 0x80) continue;
    if (byte == 0) break;
    moveTo(from + size + 1);
    return value;
  }
  giveUp();
  return 0;
}
