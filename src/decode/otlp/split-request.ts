import { ProtobufError, ProtobufReader } from "../../otlp/protobuf-reader.ts";
import { ProtobufWriter, varintSize } from "../../otlp/protobuf-writer.ts";
import { REQUEST_RESOURCE_SPANS, RESOURCE_SPANS_SCOPE_SPANS, SCOPE_SPANS_SPANS } from "../../otlp/trace-fields.ts";
import { LARGE_PAYLOAD_BYTES, type LargePayload, MOST_SHORT_OTLP_BYTES, STEP_BYTES } from "../large-payloads.ts";
import { MAX_SHARED_BYTES } from "../shared-bytes.ts";
import { WireError } from "../wire-error.ts";
import { shortBytes } from "./short-bytes.ts";

/** Takes a part of a request, `request[0 … end)`, in steps: itself one, with few bytes or with only one span. */
export type TakePart = (request: Uint8Array, end: number) => Iterable<void>;

/** How many fields are looked at in one step; about as much work as decoding `STEP_BYTES`. */
const STEP_FIELDS = 4096;

/** Tags of one byte and lengths of at most five of two messages. */
const MOST_NESTING_BYTES = 12;

/** How many resources and scopes one request may have, as in `RequestChecker`. */
const MOST_RESOURCES = 1024;
const MOST_SCOPES = 4096;

/**
 * Splits a large `ExportTraceServiceRequest` into small ones, step by step: each has spans of one scope.
 *
 * What it reads of the request is the structure down to its spans; everything else is for whoever decodes the parts.
 * Throws a {@link WireError}, also what `take` throws. The parts before that have been taken.
 */
export class RequestSplitter {
  readonly #payload: LargePayload;
  readonly #take: TakePart;
  readonly #part = new ProtobufWriter(2 * STEP_BYTES);
  /** The fields of the resource, and of the scope, but for what is in them. */
  readonly #resource = new ProtobufWriter();
  readonly #scope = new ProtobufWriter();
  /** Whole `spans` fields. */
  readonly #spans = new ProtobufWriter(2 * STEP_BYTES);
  /** The field read last: its tag, where its content begins, if it has a length, and where it ends. */
  readonly #field = { tag: 0, content: 0, end: 0 };
  readonly #reader = new ProtobufReader(new Uint8Array(0));
  readonly #isLenient: boolean;
  #resources = 0;
  #scopes = 0;

  /**
   * @param isLenient resources and scopes may be empty, and spans of any size, because a program of the host sent them.
   */
  constructor(payload: LargePayload, take: TakePart, isLenient = false) {
    this.#payload = payload;
    this.#take = take;
    this.#isLenient = isLenient;
  }

  /** Does all of it. Between two steps the payload may be moved. */
  *split(): Generator<void, void> {
    try {
      yield* this.#split();
    } catch (error) {
      if (!(error instanceof ProtobufError)) throw error;
      const offset = Math.max(0, error.offset - this.#payload.start);
      throw new WireError("invalid-value", offset, error.message, { cause: error });
    }
  }

  *#split(): Generator<void, void> {
    const length = this.#payload.end - this.#payload.start;
    for (let at = 0; at < length;) {
      this.#read(at, length);
      const { content, end } = this.#field;
      if (this.#field.tag !== REQUEST_RESOURCE_SPANS) throw new WireError("invalid-tag", at, "no trace export request");
      if (++this.#resources > MOST_RESOURCES) throw this.#tooMany("resources", MOST_RESOURCES, at);
      yield* this.#splitResource(content, end);
      at = end;
    }
  }

  *#splitResource(content: number, end: number): Generator<void, void> {
    const scopes = yield* this.#copyShared(this.#resource, content, end, RESOURCE_SPANS_SCOPE_SPANS);
    if (scopes === 0 && !this.#isLenient) throw new WireError("missing-field", content, "a resource without a scope");
    this.#scopes += scopes;
    if (this.#scopes > MOST_SCOPES) throw this.#tooMany("scopes", MOST_SCOPES, content);
    for (let at = content; at < end;) {
      this.#read(at, end);
      at = this.#field.end;
      if (this.#field.tag === RESOURCE_SPANS_SCOPE_SPANS) yield* this.#splitScope(this.#field.content, at);
    }
  }

  *#splitScope(content: number, end: number): Generator<void, void> {
    const spans = yield* this.#copyShared(this.#scope, content, end, SCOPE_SPANS_SPANS);
    if (spans === 0) {
      if (this.#isLenient) return;
      throw new WireError("missing-field", content, "a scope without a span");
    }
    this.#spans.clear();
    for (let at = content; at < end;) {
      this.#read(at, end);
      const { tag, content: spanContent, end: spanEnd } = this.#field;
      if (tag === SCOPE_SPANS_SPANS) {
        if (spanEnd - at > LARGE_PAYLOAD_BYTES && !this.#isLenient) this.#checkSpan(spanContent, spanEnd);
        if (this.#spans.position > 0 && this.#spans.position + spanEnd - at > STEP_BYTES) yield* this.#takePart();
        this.#copy(this.#spans, at, spanEnd);
        if (this.#spans.position > LARGE_PAYLOAD_BYTES) yield;
      }
      at = spanEnd;
    }
    yield* this.#takePart();
  }

  /** Copies the fields of a message but those of one tag; returns how many of those there are. */
  *#copyShared(writer: ProtobufWriter, content: number, end: number, tag: number): Generator<void, number> {
    writer.clear();
    let count = 0;
    let fields = 0;
    for (let at = content; at < end;) {
      this.#read(at, end);
      const { end: fieldEnd } = this.#field;
      if (this.#field.tag === tag) count++;
      else {
        if (writer.position + fieldEnd - at > MAX_SHARED_BYTES) {
          throw new WireError("too-large", at, `a resource or scope of more than ${MAX_SHARED_BYTES} bytes`);
        }
        this.#copy(writer, at, fieldEnd);
      }
      at = fieldEnd;
      if (++fields % STEP_FIELDS === 0) yield;
    }
    return count;
  }

  /** Reads the field at an offset from the payload's start, in a message that ends at `end`, into `#field`. */
  #read(at: number, end: number): void {
    const { buffer, start } = this.#payload;
    const reader = this.#reader;
    reader.load(buffer, start + at, start + end);
    reader.next();
    this.#field.tag = reader.tag;
    this.#field.content = reader.start - start;
    this.#field.end = reader.position - start;
  }

  /** Refuses a large span that takes long to decode. */
  #checkSpan(content: number, end: number): void {
    const { buffer, start } = this.#payload;
    if (shortBytes(buffer, start + content, start + end, MOST_SHORT_OTLP_BYTES) <= MOST_SHORT_OTLP_BYTES) return;
    const detail = `a span with more than ${MOST_SHORT_OTLP_BYTES} bytes beside its long texts`;
    throw new WireError("too-large", content, detail);
  }

  #copy(writer: ProtobufWriter, at: number, end: number): void {
    const { buffer, start } = this.#payload;
    writer.bytes(buffer.subarray(start + at, start + end));
  }

  *#takePart(): Generator<void, void> {
    const part = this.#part;
    part.clear();
    // With lengths of as many bytes as they need, nothing is moved.
    const scopeBytes = this.#scope.position + this.#spans.position;
    const scopeLengthBytes = varintSize(scopeBytes);
    const resourceLengthBytes = varintSize(this.#resource.position + 1 + scopeLengthBytes + scopeBytes);
    part.reserve(this.#resource.position + scopeBytes + MOST_NESTING_BYTES);
    const resource = part.openMessage(REQUEST_RESOURCE_SPANS, resourceLengthBytes);
    part.bytes(this.#resource.buffer.subarray(0, this.#resource.position));
    const scope = part.openMessage(RESOURCE_SPANS_SCOPE_SPANS, scopeLengthBytes);
    part.bytes(this.#scope.buffer.subarray(0, this.#scope.position));
    part.bytes(this.#spans.buffer.subarray(0, this.#spans.position));
    part.closeMessage(scope, scopeLengthBytes);
    part.closeMessage(resource, resourceLengthBytes);
    this.#spans.clear();
    if (part.position > LARGE_PAYLOAD_BYTES) yield;
    yield* this.#take(part.buffer, part.position);
    yield;
  }

  #tooMany(what: string, most: number, at: number): WireError {
    return new WireError("too-large", at, `more than ${most} ${what}`);
  }
}
