import { at, begin, end, giveUp, isUsual, moveTo } from "./cursor";
import { attributeList, attributeMap, CLOSE_BRACE, CLOSE_BRACKET, COMMA, OPEN_BRACKET, QUOTE } from "./json-attributes";
import { nanoseconds, readU128, readU64, readUint, usualTime } from "./json-number";
import { keyLength, readLongText, readText } from "./json-text";
import * as literal from "./dist/literals";
import { INPUT, OUTPUT } from "./memory";
import { closeField, closeMessage, closeOptional, FIELD_PREFIX, flagsField, storeBigEndian64, varint } from "./output";
import { tell } from "./result";

// As in bincode.ts, functions take `from`, where something begins in the payload, and `to`, where it goes, and return
// the place after what they wrote; the cursor is then behind what they read. After something that is not usual they go
// on as if it were, up to the next loop.

/** Digits of the seconds since 1970 from 2001 to 2286, and of the nanoseconds of nine seconds in ten. */
const USUAL_SECONDS: usize = 10;
const USUAL_NANOSECONDS: usize = 9;
const MAX_U8: u64 = 0xff;
const MAX_U32: u64 = 0xffffffff;

/**
 * Decodes the span in JSON of `length` bytes at `from`, written as serde_json writes what agents have: members in the
 * order of their declaration, no white space. Returns false if anything is not so, or not valid.
 *
 * @param content where the fields of the span go; its tag and length go before that.
 */
export function decodeJsonSpan(from: usize, length: usize, content: usize): bool {
  begin(from, length);
  if (!literal.isContext(from)) return false;
  store<u16>(content, 0x100a);
  readU128(from + literal.CONTEXT, content + 2);
  from = at;
  if (!literal.isSpanId(from)) giveUp();
  store<u16>(content, 0x0812, 18);
  const spanId = readU64(from + literal.SPAN_ID);
  if (spanId == 0) giveUp();
  storeBigEndian64(content + 20, spanId);
  from = at;
  let flags: u64 = 1;
  if (literal.isUsualContextEnd(from)) from += literal.USUAL_CONTEXT_END;
  else {
    if (!literal.isFlags(from)) giveUp();
    flags = readUint(from + literal.FLAGS, MAX_U8);
    from = at;
    if (literal.isContextEnd(from)) from += literal.CONTEXT_END;
    else {
      if (!literal.isRemoteContextEnd(from)) giveUp();
      from += literal.REMOTE_CONTEXT_END;
    }
  }
  let to = content + 28;
  const parent = readU64(from);
  if (parent != 0) {
    store<u16>(to, 0x0822);
    storeBigEndian64(to + 2, parent);
    to += 10;
  }
  const kind = readKind(at);
  if (!isUsual) return false;
  to = textField(0x2a, at, to);
  from = at;
  store<u8>(to, 0x30);
  store<u8>(to, kind, 1);
  if (!literal.isStart(from)) giveUp();
  to = timeField(0x39, from + literal.START, to + 2);
  from = at;
  if (!literal.isEnd(from)) giveUp();
  to = timeField(0x41, from + literal.END, to);
  from = at;
  if (!literal.isAttributes(from)) giveUp();
  if (!isUsual) return false;
  to = attributeMap(0x4a, from + literal.ATTRIBUTES, to);
  if (!isUsual) return false;
  from = evictionList(at, to);
  to = limit(0x50, from, to);
  from = at;
  if (literal.isUsualEnd(from)) moveTo(from + literal.USUAL_END);
  else {
    if (!literal.isEvents(from)) giveUp();
    from += literal.EVENTS;
    if (!isUsual) return false;
    if (literal.isNull(from)) from += literal.NULL;
    else {
      to = events(from, to);
      from = at;
    }
    if (literal.isUsualLinks(from)) moveTo(from + literal.USUAL_LINKS);
    else {
      to = limit(0x60, from, to);
      from = at;
      // Links are rare.
      if (!literal.isLinks(from)) giveUp();
      to = limit(0x70, from + literal.LINKS, to);
      to = status(at, to);
    }
  }
  if (!isUsual) return false;
  from = at;
  to = flagsField(<u32> flags, to);
  const start = closeField(0x12, content, to);
  let resource = to;
  let resourceEnd = to;
  if (literal.isUsualResource(from)) {
    literal.storeUsualResource(to);
    resourceEnd = to + literal.STORED_USUAL_RESOURCE;
    from += literal.USUAL_RESOURCE;
  } else if (literal.isResource(from)) {
    const first = to + FIELD_PREFIX;
    resourceEnd = attributeMap(0x0a, from + literal.RESOURCE, first);
    from = at;
    if (resourceEnd == first) resourceEnd = to;
    else resource = closeField(0x0a, first, resourceEnd);
    if (!literal.isResourceEnd(from)) giveUp();
    from += literal.RESOURCE_END;
  } else {
    if (!literal.isNoResource(from)) giveUp();
    from += literal.NO_RESOURCE;
  }
  tell(start, to, resource, resourceEnd);
  return isUsual && from == end;
}

/** Decodes the rest of a string, which the payload is up to its quote. Returns how many bytes it has, -1 if wrong. */
export function decodeJsonText(length: usize): i32 {
  begin(INPUT, length);
  store<u8>(end, QUOTE);
  const to = readText(at, OUTPUT);
  return isUsual && at == end + 1 ? <i32> (to - OUTPUT) : -1;
}

/** A kind, and what is before the name. */
function readKind(from: usize): u8 {
  let kind: u8 = 5;
  let length = literal.CONSUMER;
  if (literal.isInternal(from)) {
    kind = 1;
    length = literal.INTERNAL;
  } else if (literal.isServer(from)) {
    kind = 2;
    length = literal.SERVER;
  } else if (literal.isClient(from)) {
    kind = 3;
    length = literal.CLIENT;
  } else if (literal.isProducer(from)) {
    kind = 4;
    length = literal.PRODUCER;
  } else if (!literal.isConsumer(from)) giveUp();
  if (isUsual) moveTo(from + length);
  return kind;
}

/** A string field that is left out if it is empty. */
function textField(tag: u8, from: usize, to: usize): usize {
  store<u8>(to, tag);
  return closeOptional(to + 2, readText(from, to + 2));
}

function readTime(from: usize): u64 {
  // Seconds of ten digits, and nanoseconds of nine, as most are: then what follows does not wait for their number.
  const usual = from + USUAL_SECONDS + literal.NANOS;
  if (literal.isNanos(from + USUAL_SECONDS) && load<u8>(usual + USUAL_NANOSECONDS) == CLOSE_BRACE) {
    moveTo(usual + USUAL_NANOSECONDS + 1);
    return usualTime(from, usual);
  }
  const seconds = readU64(from);
  from = at;
  if (!literal.isNanos(from)) giveUp();
  const rest = readU64(from + literal.NANOS);
  from = at;
  if (load<u8>(from) != CLOSE_BRACE) giveUp();
  moveTo(from + 1);
  return nanoseconds(seconds, rest);
}

function timeField(tag: u8, from: usize, to: usize): usize {
  const time = readTime(from);
  if (time == 0) return to;
  store<u8>(to, tag);
  store<u64>(to, time, 1);
  return to + 9;
}

/** `,"max_len":…,"dropped_count":…}` */
function limit(tag: u8, from: usize, to: usize): usize {
  if (literal.isUsualLimit(from)) {
    moveTo(from + literal.USUAL_LIMIT);
    return to;
  }
  if (!literal.isMaxLen(from)) giveUp();
  readUint(from + literal.MAX_LEN, MAX_U32);
  from = at;
  if (!literal.isDroppedCount(from)) giveUp();
  to = countField(tag, from + literal.DROPPED_COUNT, to);
  closeBrace();
  return to;
}

/** Skips a brace. */
function closeBrace(): void {
  if (load<u8>(at) != CLOSE_BRACE) giveUp();
  else moveTo(at + 1);
}

function countField(tag: u8, from: usize, to: usize): usize {
  const count = readUint(from, MAX_U32);
  if (count == 0) return to;
  store<u8>(to, tag);
  return varint(to + 1, count);
}

/** The keys in the order in which they were set, which go nowhere. Returns where the list ends. */
function evictionList(from: usize, scratch: usize): usize {
  if (!literal.isEvictList(from)) giveUp();
  from += literal.EVICT_LIST;
  if (load<u8>(from) == CLOSE_BRACKET) return from + 1;
  if (load<u8>(from) != QUOTE) giveUp();
  while (isUsual) {
    const key = from + 1;
    from = key + keyLength(v128.load(key));
    // From the last quote on: a quote, a comma and a quote, or a quote and a bracket.
    let next = load<u32>(from);
    if ((next & 0xffff) != 0x2c22 && (next & 0xffff) != 0x5d22) {
      readLongText(key, scratch);
      from = at - 1;
      next = load<u32>(from);
    }
    from += 2;
    if ((next & 0xffff) == 0x5d22) return from;
    if ((next & 0xffffff) != 0x222c22) giveUp();
  }
  return from;
}

/** A list of events. */
function events(from: usize, to: usize): usize {
  if (load<u8>(from) != OPEN_BRACKET) giveUp();
  from++;
  if (load<u8>(from) == CLOSE_BRACKET) {
    moveTo(from + 1);
    return to;
  }
  let separator: u8;
  do {
    if (!literal.isEventName(from)) giveUp();
    store<u8>(to, 0x5a);
    const content = to + 2;
    to = textField(0x12, from + literal.EVENT_NAME, content + 9);
    from = at;
    if (!literal.isTimestamp(from)) giveUp();
    const time = readTime(from + literal.TIMESTAMP);
    from = at;
    if (time == 0 || !literal.isEventAttributes(from)) giveUp();
    store<u8>(content, 0x09);
    store<u64>(content, time, 1);
    if (!isUsual) return to;
    to = attributeList(0x1a, from + literal.EVENT_ATTRIBUTES, to);
    from = at;
    if (literal.isUsualEventDropped(from)) {
      from += literal.USUAL_EVENT_DROPPED;
      to = closeMessage(content, to);
    } else {
      if (!literal.isEventDropped(from)) giveUp();
      to = closeMessage(content, countField(0x20, from + literal.EVENT_DROPPED, to));
      closeBrace();
      from = at;
    }
    separator = load<u8>(from++);
  } while (separator == COMMA && isUsual);
  if (separator != CLOSE_BRACKET) giveUp();
  else moveTo(from);
  return to;
}

function status(from: usize, to: usize): usize {
  if (literal.isStatus(from)) {
    moveTo(from + literal.STATUS);
    return to;
  }
  let code: u8 = 0;
  let length = literal.UNSET;
  if (literal.isOk(from)) {
    code = 1;
    length = literal.OK;
  } else if (literal.isError(from)) {
    code = 2;
    length = literal.ERROR;
  } else if (!literal.isUnset(from)) giveUp();
  if (!isUsual) return to;
  store<u8>(to, 0x7a);
  const content = to + 2;
  to = textField(0x12, from + length, content);
  if (code != 0) {
    store<u8>(to, 0x18);
    store<u8>(to, code, 1);
    to += 2;
  }
  return closeOptional(content, to);
}
