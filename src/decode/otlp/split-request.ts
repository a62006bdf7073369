import { ProtobufError, ProtobufReader } from "../../otlp/protobuf-reader.ts";
import { ProtobufWriter } from "../../otlp/protobuf-writer.ts";
import { REQUEST_RESOURCE_SPANS, RESOURCE_SPANS_SCOPE_SPANS, SCOPE_SPANS_SPANS } from "../../otlp/trace-fields.ts";
import { LARGE_PAYLOAD_BYTES, type LargePayload, MOST_SHORT_BYTES, STEP_BYTES } from "../large-payloads.ts";
import { MAX_SHARED_BYTES } from "../shared-bytes.ts";
import { WireError } from "../wire-error.ts";
import { shortBytes } from "./short-bytes.ts";

/** Takes a part of a request: itself one, of at most so many bytes or with only one span. */
export type TakePart = (request: Uint8Array, end: number) => void;

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
  #resources = 0;
  #scopes = 0;

  constructor(payload: LargePayload, take: TakePart) {
    this.#payload = payload;
    this.#take = take;
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
      const field = this.#field(at, length);
      if (field.tag !== REQUEST_RESOURCE_SPANS) throw new WireError("invalid-tag", at, "no trace export request");
      if (++this.#resources > MOST_RESOURCES) throw this.#tooMany("resources", MOST_RESOURCES, at);
      yield* this.#splitResource(field.content, field.end);
      at = field.end;
    }
  }

  *#splitResource(content: number, end: number): Generator<void, void> {
    this.#copyShared(this.#resource, content, end, RESOURCE_SPANS_SCOPE_SPANS);
    let hasScope = false;
    for (let at = content; at < end;) {
      const field = this.#field(at, end);
      if (field.tag === RESOURCE_SPANS_SCOPE_SPANS) {
        if (++this.#scopes > MOST_SCOPES) throw this.#tooMany("scopes", MOST_SCOPES, at);
        hasScope = true;
        yield* this.#splitScope(field.content, field.end);
      }
      at = field.end;
    }
    if (!hasScope) throw new WireError("missing-field", content, "a resource without a scope");
  }

  *#splitScope(content: number, end: number): Generator<void, void> {
    this.#copyShared(this.#scope, content, end, SCOPE_SPANS_SPANS);
    this.#spans.clear();
    let hasSpan = false;
    for (let at = content; at < end;) {
      const field = this.#field(at, end);
      if (field.tag === SCOPE_SPANS_SPANS) {
        hasSpan = true;
        if (field.end - at > LARGE_PAYLOAD_BYTES) this.#checkSpan(field.content, field.end);
        if (this.#spans.position > 0 && this.#spans.position + field.end - at > STEP_BYTES) {
          this.#takePart();
          yield;
        }
        this.#copy(this.#spans, at, field.end);
      }
      at = field.end;
    }
    if (!hasSpan) throw new WireError("missing-field", content, "a scope without a span");
    this.#takePart();
    yield;
  }

  /** Refuses a large span that takes long to decode. */
  #checkSpan(content: number, end: number): void {
    const { buffer, start } = this.#payload;
    if (shortBytes(buffer, start + content, start + end, MOST_SHORT_BYTES) <= MOST_SHORT_BYTES) return;
    const detail = `a span with more than ${MOST_SHORT_BYTES} bytes beside its long texts`;
    throw new WireError("too-large", content, detail);
  }

  /** A field's tag, and where its content, if it has a length, and the field end; all offsets from the payload's start. */
  #field(at: number, end: number): { tag: number; content: number; end: number } {
    const { buffer, start } = this.#payload;
    const reader = new ProtobufReader(buffer, start + at, start + end);
    reader.next();
    return { tag: reader.tag, content: reader.start - start, end: reader.position - start };
  }

  /** Copies the fields of a message but those of one tag. */
  #copyShared(writer: ProtobufWriter, content: number, end: number, tag: number): void {
    writer.clear();
    for (let at = content; at < end;) {
      const field = this.#field(at, end);
      if (field.tag !== tag) {
        if (writer.position + field.end - at > MAX_SHARED_BYTES) {
          throw new WireError("too-large", at, `a resource or scope of more than ${MAX_SHARED_BYTES} bytes`);
        }
        this.#copy(writer, at, field.end);
      }
      at = field.end;
    }
  }

  #copy(writer: ProtobufWriter, at: number, end: number): void {
    const { buffer, start } = this.#payload;
    writer.bytes(buffer.subarray(start + at, start + end));
  }

  #takePart(): void {
    const part = this.#part;
    part.clear();
    const resource = part.openMessage(REQUEST_RESOURCE_SPANS);
    part.bytes(this.#resource.buffer.subarray(0, this.#resource.position));
    const scope = part.openMessage(RESOURCE_SPANS_SCOPE_SPANS);
    part.bytes(this.#scope.buffer.subarray(0, this.#scope.position));
    part.bytes(this.#spans.buffer.subarray(0, this.#spans.position));
    part.closeMessage(scope);
    part.closeMessage(resource);
    this.#spans.clear();
    this.#take(part.buffer, part.position);
  }

  #tooMany(what: string, most: number, at: number): WireError {
    return new WireError("too-large", at, `more than ${most} ${what}`);
  }
}
