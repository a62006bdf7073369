import type { ProtobufWriter } from "../../otlp/protobuf-writer.ts";
import * as otlp from "../../otlp/trace-fields.ts";
import type { InvalidReason } from "../wire-error.ts";
import { Events } from "./events.ts";
import { Int64, SpanAddress, writeSpanId } from "./ids.ts";
import { SpanMeaning } from "./meaning.ts";
import { Nanoseconds } from "./nanoseconds.ts";
import { References } from "./references.ts";
import * as tags from "./tags.ts";
import { Text } from "./text.ts";
import * as thrift from "./thrift-input.ts";

const TRACE_ID_LOW = 1;
const TRACE_ID_HIGH = 2;
const SPAN_ID = 3;
const PARENT_SPAN_ID = 4;
const OPERATION_NAME = 5;
const REFERENCES = 6;
const FLAGS = 7;
const START_TIME = 8;
const DURATION = 9;
const TAGS = 10;
const LOGS = 11;
const SPAN = new thrift.Struct("Span", {
  [TRACE_ID_LOW]: thrift.I64,
  [TRACE_ID_HIGH]: thrift.I64,
  [SPAN_ID]: thrift.I64,
  [PARENT_SPAN_ID]: thrift.I64,
  [OPERATION_NAME]: thrift.STRING,
  [FLAGS]: thrift.I32,
  [START_TIME]: thrift.I64,
  [DURATION]: thrift.I64,
}, { [REFERENCES]: thrift.LIST, [TAGS]: thrift.LIST, [LOGS]: thrift.LIST });

/** The low bits of a span's `flags` are the W3C trace flags. */
const TRACE_FLAGS = 0xff;

/** How `code.namespace` begins in spans of the HTTP/2 client that sends the batch. */
const HTTP2_NOISE = ["h2::", "hyper::"] as const;

/** In place of an offset: the span has no such list. */
const NOWHERE = -1;

/** Decodes spans one after the other. For each: `read()`, then look at `tags`, then `write(…)`. */
export class SpanDecoder {
  /** The span's tags; after `write` only those that have become attributes. */
  readonly tags: tags.TagList;
  readonly #input: thrift.ThriftInput;
  readonly #meaning = new SpanMeaning();
  readonly #events: Events;
  readonly #references: References;
  readonly #address = new SpanAddress();
  readonly #parent = new Int64();
  readonly #start = new Int64();
  readonly #duration = new Int64();
  readonly #time = new Nanoseconds();
  readonly #text = new Text();
  #nameStart = 0;
  #nameLength = 0;
  #flags = 0;
  /** Where the lists begin that are read when they are written. */
  #referencesAt = NOWHERE;
  #logsAt = NOWHERE;

  constructor(input: thrift.ThriftInput) {
    this.#input = input;
    this.tags = new tags.TagList(input);
    this.#events = new Events(input);
    this.#references = new References(input);
  }

  /** Lets go of the body. */
  release(): void {
    this.tags.release();
    this.#events.release();
    this.#text.release();
  }

  /** Reads a `Span`, but for its logs and references. */
  read(): void {
    const input = this.#input;
    this.#referencesAt = this.#logsAt = NOWHERE;
    this.tags.clear();
    for (let seen = 0; (seen = input.next(SPAN, seen)) !== thrift.END;) {
      switch (input.id) {
        case TRACE_ID_LOW:
          this.#readInt64(this.#address.traceLow);
          break;
        case TRACE_ID_HIGH:
          this.#readInt64(this.#address.traceHigh);
          break;
        case SPAN_ID:
          this.#readInt64(this.#address.span);
          break;
        case PARENT_SPAN_ID:
          this.#readInt64(this.#parent);
          break;
        case START_TIME:
          this.#readInt64(this.#start);
          break;
        case DURATION:
          this.#readInt64(this.#duration);
          break;
        case OPERATION_NAME:
          this.#nameLength = input.string();
          this.#nameStart = input.at - this.#nameLength;
          break;
        case FLAGS:
          this.#flags = input.i32();
          break;
        case TAGS:
          this.tags.read();
          break;
        case REFERENCES:
          this.#referencesAt = input.at;
          input.skip(thrift.LIST);
          break;
        case LOGS:
          this.#logsAt = input.at;
          input.skip(thrift.LIST);
      }
    }
  }

  /** Whether this is a span of the HTTP/2 client's own. */
  isHttp2Noise(): boolean {
    const namespace = this.tags.last(tags.CODE_NAMESPACE, tags.TYPE_STRING);
    return namespace >= 0 && HTTP2_NOISE.some((prefix) => this.tags.startsWith(namespace, prefix));
  }

  /**
   * Appends the content of a `Span`. Returns why the span cannot be told in OTLP: what it has appended is then of no
   * use, and has to be taken back.
   *
   * Logs and references are read here in any case, since what is wrong with them is wrong with the body.
   */
  write(writer: ProtobufWriter): InvalidReason | undefined {
    const meaning = this.#meaning;
    const spanEnd = this.#input.at;
    meaning.take(this.tags);
    if (this.#referencesAt >= 0 && !meaning.isOld && this.#parent.isZero) {
      this.#references.findParent(this.#referencesAt, this.#address, this.#parent);
    }
    this.#address.write(writer, otlp.SPAN_TRACE_ID, otlp.SPAN_SPAN_ID);
    if (!this.#parent.isZero) writeSpanId(writer, otlp.SPAN_PARENT_SPAN_ID, this.#parent);
    this.#text.take(this.#input.bytes, this.#nameStart, this.#nameLength);
    this.#text.writeUnlessEmpty(writer, otlp.SPAN_NAME);
    writer.byte(otlp.SPAN_KIND);
    writer.byte(meaning.kind);
    let inRange = this.#writeTimes(writer);
    this.tags.writeMap(writer, otlp.SPAN_ATTRIBUTES);
    if (this.#logsAt >= 0 && !this.#events.write(writer, this.#logsAt, meaning.isOld)) inRange = false;
    this.#writeLinks(writer);
    this.#writeStatus(writer);
    const flags = this.#flags & TRACE_FLAGS;
    if (flags !== 0) {
      writer.varint(otlp.SPAN_FLAGS);
      writer.fixed32(flags);
    }
    this.#input.at = spanEnd;
    if (!this.#address.isValid) return "invalid-value";
    return inRange ? undefined : "time-out-of-range";
  }

  /** Appends the fields of `ScopeSpans` that name the span's scope: none if it has no scope. */
  writeScope(writer: ProtobufWriter): void {
    const { scopeName, scopeVersion } = this.#meaning;
    if (scopeName < 0) return;
    const start = writer.position;
    const scope = writer.openMessage(otlp.SCOPE_SPANS_SCOPE);
    this.#writeTag(writer, otlp.SCOPE_NAME, scopeName);
    this.#writeTag(writer, otlp.SCOPE_VERSION, scopeVersion);
    if (writer.position === scope) writer.position = start;
    else writer.closeMessage(scope);
  }

  /** Returns false if a time is too late for OTLP. */
  #writeTimes(writer: ProtobufWriter): boolean {
    const start = this.#start;
    const duration = this.#duration;
    const time = this.#time;
    let inRange = time.take(start.low, start.high);
    time.write(writer, otlp.SPAN_START_TIME);
    if (!time.take(start.low, start.high, duration.low, duration.high)) inRange = false;
    time.write(writer, otlp.SPAN_END_TIME);
    return inRange;
  }

  #writeLinks(writer: ProtobufWriter): void {
    if (this.#referencesAt < 0) return;
    const parent = this.#meaning.isOld || this.#parent.isZero ? undefined : this.#parent;
    const dropped = this.#references.write(writer, this.#referencesAt, this.#address, parent);
    if (dropped === 0) return;
    writer.byte(otlp.SPAN_DROPPED_LINKS);
    writer.varint(dropped);
  }

  #writeStatus(writer: ProtobufWriter): void {
    const { statusCode, statusMessage } = this.#meaning;
    const start = writer.position;
    const status = writer.openMessage(otlp.SPAN_STATUS);
    this.#writeTag(writer, otlp.STATUS_MESSAGE, statusMessage);
    if (statusCode !== otlp.STATUS_UNSET) {
      writer.byte(otlp.STATUS_CODE);
      writer.byte(statusCode);
    }
    if (writer.position === status) writer.position = start;
    else writer.closeMessage(status);
  }

  /** Appends the text of a tag, if there is such a tag and it is not empty. */
  #writeTag(writer: ProtobufWriter, field: number, tag: number): void {
    if (tag < 0) return;
    this.#text.take(this.#input.bytes, this.tags.valueStart(tag), this.tags.valueLength(tag));
    this.#text.writeUnlessEmpty(writer, field);
  }

  #readInt64(to: Int64): void {
    this.#input.i64();
    to.set(this.#input.low, this.#input.high);
  }
}
