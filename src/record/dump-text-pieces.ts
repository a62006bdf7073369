import { Buffer } from "node:buffer";
import { printable } from "../base/log.ts";
import { characterStart } from "../base/utf8-cut.ts";
import { readAnyValue, readAttribute } from "../otlp/json-record.ts";
import { ProtobufReader } from "../otlp/protobuf-reader.ts";
import type { SpanPart } from "../otlp/request-builder.ts";
import type { AnyValueRecord, KeyValueRecord } from "../otlp/span-record.ts";
import * as tags from "../otlp/trace-fields.ts";
import { headerOf } from "./dump-json-pieces.ts";
import { MessageFields } from "./message-fields.ts";
import { contentOf, PIECE_CHARACTERS, PIECE_STEPS, STEP_BYTES } from "./pieces.ts";

const NANOS_PER_SECOND = 1_000_000_000n;
/** The low eight bits of a span's flags: the W3C trace flags. */
const TRACE_FLAGS_MASK = 0xff;
/** An attribute or a value with no more bytes is written in one step. */
const SMALL_BYTES = 4096;

const UTF8 = new TextDecoder("utf-8", { fatal: false, ignoreBOM: true });

/**
 * A span for people: indented, a line a field, its guest's strings harmless to a terminal. Ends with an empty line. It
 * comes in pieces, as `otlpJsonPieces` does. Throws `ProtobufError` on bytes that are not a span.
 */
export function* dumpTextPieces(part: SpanPart): Generator<string> {
  const writer = new TextWriter();
  yield* writer.span(contentOf(part.span));
  yield* writer.scope(part.scope);
  yield* writer.resource(part.resource);
  yield `${writer.text}\n`;
}

/** How a part of a string is shown. */
type Shown = (text: string) => string;

class TextWriter {
  /** What is written and not handed out. */
  text = "";
  #steps = 0;

  *span(bytes: Uint8Array): Generator<string> {
    const span = yield* this.#scan(bytes);
    this.text += "span ";
    yield* this.#string(span.bytes(tags.SPAN_NAME), plain);
    const parent = hex(span, tags.SPAN_PARENT_SPAN_ID) || "none";
    this.text += `\n  trace ${hex(span, tags.SPAN_TRACE_ID)}  span ${hex(span, tags.SPAN_SPAN_ID)}  parent ${parent}\n`;
    const status = yield* this.#scan(span.bytes(tags.SPAN_STATUS));
    const code = status.number(tags.STATUS_CODE) | 0;
    const kind = name(tags.KIND_NAMES, span.number(tags.SPAN_KIND) | 0);
    this.text += `  kind ${kind}  status ${name(tags.STATUS_NAMES, code)}`;
    const message = status.bytes(tags.STATUS_MESSAGE);
    if (message.length > 0) {
      this.text += " ";
      yield* this.#quoted(message);
    }
    const [start, end] = [span.uint64(tags.SPAN_START_TIME), span.uint64(tags.SPAN_END_TIME)];
    this.text += `\n  start ${time(start)}\n  end   ${time(end)}  (${duration(start, end)})\n` +
      `  flags ${flags(span.number(tags.SPAN_FLAGS))}  trace state `;
    yield* this.#quoted(span.bytes(tags.SPAN_TRACE_STATE));
    this.text += "\n";
    yield* this.#attributes("  ", bytes, span, tags.SPAN_ATTRIBUTES, tags.SPAN_DROPPED_ATTRIBUTES);
    this.text += `  events ${span.count(tags.SPAN_EVENTS)}${dropped(span.number(tags.SPAN_DROPPED_EVENTS))}\n`;
    if (span.count(tags.SPAN_EVENTS) > 0) {
      for (const each of messages(bytes, tags.SPAN_EVENTS)) yield* this.#event(each);
    }
    this.text += `  links ${span.count(tags.SPAN_LINKS)}${dropped(span.number(tags.SPAN_DROPPED_LINKS))}\n`;
    if (span.count(tags.SPAN_LINKS) > 0) {
      for (const each of messages(bytes, tags.SPAN_LINKS)) yield* this.#link(each);
    }
  }

  *scope(header: Uint8Array): Generator<string> {
    const { content, schemaUrl } = headerOf(header, tags.SCOPE_SPANS_SCOPE, tags.SCOPE_SPANS_SCHEMA_URL);
    const scope = yield* this.#scan(content);
    this.text += "  scope ";
    yield* this.#quoted(scope.bytes(tags.SCOPE_NAME));
    this.text += "  version ";
    yield* this.#quoted(scope.bytes(tags.SCOPE_VERSION));
    this.text += `  schema ${quoted(schemaUrl)}\n`;
    yield* this.#attributes("    ", content, scope, tags.SCOPE_ATTRIBUTES, tags.SCOPE_DROPPED_ATTRIBUTES);
  }

  *resource(header: Uint8Array): Generator<string> {
    const { content, schemaUrl } = headerOf(header, tags.RESOURCE_SPANS_RESOURCE, tags.RESOURCE_SPANS_SCHEMA_URL);
    const resource = yield* this.#scan(content);
    this.text += `  resource  schema ${quoted(schemaUrl)}\n`;
    yield* this.#attributes("    ", content, resource, tags.RESOURCE_ATTRIBUTES, tags.RESOURCE_DROPPED_ATTRIBUTES);
  }

  *#event(bytes: Uint8Array): Generator<string> {
    if (this.#isFull()) yield this.#take();
    const event = yield* this.#scan(bytes);
    this.text += "    event ";
    yield* this.#string(event.bytes(tags.EVENT_NAME), plain);
    this.text += `  at ${time(event.uint64(tags.EVENT_TIME))}\n`;
    yield* this.#attributes("      ", bytes, event, tags.EVENT_ATTRIBUTES, tags.EVENT_DROPPED_ATTRIBUTES);
  }

  *#link(bytes: Uint8Array): Generator<string> {
    if (this.#isFull()) yield this.#take();
    const link = yield* this.#scan(bytes);
    this.text += `    link trace ${hex(link, tags.LINK_TRACE_ID)}  span ${hex(link, tags.LINK_SPAN_ID)}  flags ${
      flags(link.number(tags.LINK_FLAGS))
    }  trace state `;
    yield* this.#quoted(link.bytes(tags.LINK_TRACE_STATE));
    this.text += "\n";
    yield* this.#attributes("      ", bytes, link, tags.LINK_ATTRIBUTES, tags.LINK_DROPPED_ATTRIBUTES);
  }

  /** @param holder what is in `bytes`. */
  *#attributes(
    indent: string,
    bytes: Uint8Array,
    holder: MessageFields,
    attributesTag: number,
    droppedTag: number,
  ): Generator<string> {
    const count = holder.count(attributesTag);
    this.text += `${indent}attributes ${count}${dropped(holder.number(droppedTag))}\n`;
    if (count === 0) return;
    for (const each of messages(bytes, attributesTag)) {
      this.text += `${indent}  `;
      yield* this.#attribute(each);
      this.text += "\n";
    }
  }

  *#attribute(bytes: Uint8Array): Generator<string> {
    if (this.#isFull()) yield this.#take();
    if (bytes.length <= SMALL_BYTES) {
      this.text += attribute(readAttribute(new ProtobufReader(bytes)));
      return;
    }
    const keyValue = yield* this.#scan(bytes);
    yield* this.#string(keyValue.bytes(tags.KEY_VALUE_KEY), plain);
    this.text += " = ";
    yield* this.#value(keyValue.bytes(tags.KEY_VALUE_VALUE));
  }

  /** Writes an `AnyValue`. Messages nest no deeper than decoders let them. */
  *#value(bytes: Uint8Array): Generator<string> {
    if (this.#isFull()) yield this.#take();
    if (bytes.length <= SMALL_BYTES) {
      this.text += shown(readAnyValue(new ProtobufReader(bytes)));
      return;
    }
    const value = yield* this.#scan(bytes);
    const content = value.bytes(value.lastTag);
    switch (value.lastTag) {
      case tags.ANY_VALUE_STRING:
        yield* this.#quoted(content);
        break;
      case tags.ANY_VALUE_ARRAY:
        yield* this.#list("[", messages(content, tags.ARRAY_VALUE_VALUES), (item) => this.#value(item), "]");
        break;
      case tags.ANY_VALUE_KVLIST:
        yield* this.#list("{", messages(content, tags.KEY_VALUE_LIST_VALUES), (item) => this.#attribute(item), "}");
        break;
      case tags.ANY_VALUE_BYTES:
        this.text += "base64 ";
        yield* this.#base64(content);
        break;
      default:
        this.text += shown(readAnyValue(new ProtobufReader(bytes)));
    }
  }

  *#list(
    open: string,
    items: Iterable<Uint8Array>,
    write: (item: Uint8Array) => Generator<string>,
    close: string,
  ): Generator<string> {
    let separator = open;
    for (const item of items) {
      this.text += separator;
      yield* write(item);
      separator = ", ";
    }
    this.text += separator === open ? open + close : close;
  }

  *#quoted(bytes: Uint8Array): Generator<string> {
    this.text += '"';
    yield* this.#string(bytes, (text) => quoted(text).slice(1, -1));
    this.text += '"';
  }

  *#string(bytes: Uint8Array, show: Shown): Generator<string> {
    for (let at = 0; at < bytes.length;) {
      const end = characterStart(bytes, at + STEP_BYTES);
      this.text += show(UTF8.decode(bytes.subarray(at, end)));
      at = end;
      if (this.#isFull()) yield this.#take();
    }
  }

  *#base64(bytes: Uint8Array): Generator<string> {
    for (let at = 0; at < bytes.length; at += STEP_BYTES) {
      const { buffer, byteOffset, length } = bytes.subarray(at, at + STEP_BYTES);
      this.text += Buffer.from(buffer, byteOffset, length).toString("base64");
      if (this.#isFull()) yield this.#take();
    }
  }

  *#scan(bytes: Uint8Array): Generator<string, MessageFields> {
    const reader = new ProtobufReader(bytes);
    const fields = new MessageFields(bytes);
    while (reader.next()) {
      fields.add(reader);
      if (this.#isFull()) yield this.#take();
    }
    return fields;
  }

  /** Whether a piece is to be handed out; to be called once a step. */
  #isFull(): boolean {
    return this.text.length >= PIECE_CHARACTERS || ++this.#steps >= PIECE_STEPS;
  }

  #take(): string {
    const { text } = this;
    this.text = "";
    this.#steps = 0;
    return text;
  }
}

/** The messages in the fields of one tag. */
function* messages(bytes: Uint8Array, tag: number): Generator<Uint8Array> {
  const reader = new ProtobufReader(bytes);
  while (reader.next()) if (reader.tag === tag) yield reader.bytes();
}

function attribute({ key, value }: KeyValueRecord): string {
  return `${plain(key)} = ${shown(value)}`;
}

function shown(value: AnyValueRecord): string {
  const { stringValue, arrayValue, kvlistValue, bytesValue } = value;
  if (stringValue !== undefined) return quoted(stringValue);
  if (arrayValue !== undefined) return `[${arrayValue.values.map(shown).join(", ")}]`;
  if (kvlistValue !== undefined) return `{${kvlistValue.values.map(attribute).join(", ")}}`;
  if (bytesValue !== undefined) return `base64 ${bytesValue}`;
  const scalar = value.boolValue ?? value.intValue ?? value.doubleValue;
  if (scalar === undefined) return "not set";
  return Object.is(scalar, -0) ? "-0.0" : String(scalar);
}

/** A guest's string without quotes, whole. */
function plain(value: string): string {
  return printable(value, Infinity);
}

function quoted(value: string): string {
  return printable(JSON.stringify(value), Infinity);
}

function dropped(count: number): string {
  return count === 0 ? "" : `  (${count} dropped)`;
}

function flags(value: number): string {
  const sampled = (value & TRACE_FLAGS_MASK & 1) === 1 ? " sampled" : "";
  return `0x${value.toString(16).padStart(2, "0")}${sampled}`;
}

function name(names: readonly string[], code: number): string {
  return names[code] ?? String(code);
}

function hex(fields: MessageFields, tag: number): string {
  const { buffer, byteOffset, length } = fields.bytes(tag);
  return Buffer.from(buffer, byteOffset, length).toString("hex");
}

/** RFC 3339 with all nine digits. Every unsigned 64-bit time is before the year 2555, so `Date` holds its seconds. */
function time(unixNano: bigint): string {
  const seconds = new Date(Number(unixNano / NANOS_PER_SECOND) * 1000).toISOString().slice(0, 19);
  return `${seconds}.${String(unixNano % NANOS_PER_SECOND).padStart(9, "0")}Z`;
}

function duration(start: bigint, end: bigint): string {
  const nanos = end - start;
  const absolute = nanos < 0n ? -nanos : nanos;
  const fraction = String(absolute % NANOS_PER_SECOND).padStart(9, "0");
  return `${nanos < 0n ? "-" : ""}${absolute / NANOS_PER_SECOND}.${fraction} s`;
}
