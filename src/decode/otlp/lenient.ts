import { EncodedSpans } from "../../otlp/encoded-spans.ts";
import { ProtobufError, ProtobufReader } from "../../otlp/protobuf-reader.ts";
import { ProtobufWriter, varintSize } from "../../otlp/protobuf-writer.ts";
import { REQUEST_RESOURCE_SPANS, RESOURCE_SPANS_SCOPE_SPANS, SCOPE_SPANS_SPANS } from "../../otlp/trace-fields.ts";
import { type InvalidReason, WireError } from "../wire-error.ts";
import { OddPlaces, RequestChecker } from "./checker.ts";
import { decodeOtlp } from "./decoder.ts";
import { RequestSplitter } from "./split-request.ts";

/** How many spans of a request were left out, by what is wrong with them. */
export type RejectedSpans = Map<InvalidReason, number>;

/** Adds what was left out of a part. */
export function addRejected(sum: RejectedSpans, part: RejectedSpans): void {
  for (const [reason, count] of part) sum.set(reason, (sum.get(reason) ?? 0) + count);
}

/**
 * Takes `buffer[start … end)`, an `ExportTraceServiceRequest` in protobuf, apart into its spans as {@link decodeOtlp}
 * does, but leaves out invalid spans, and a request without spans is valid. Returns how many were left out.
 *
 * Throws a {@link WireError} if something other than a span is wrong. The contents of `spans` are not valid then.
 */
export function decodeOtlpLeniently(
  buffer: Uint8Array,
  start: number,
  end: number,
  spans: EncodedSpans,
): RejectedSpans {
  const rejected: RejectedSpans = new Map();
  if (start === end) return rejected;
  try {
    decodeOtlp(buffer, start, end, spans);
    return rejected;
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
  }
  spans.clear();
  const valid = new Filter(rejected).filter(buffer, start, end);
  if (valid.position > 0) decodeOtlp(valid.buffer, 0, valid.position, spans);
  return rejected;
}

/**
 * As {@link decodeOtlpLeniently}, but in steps, between which others may be decoded.
 *
 * @param take is given the spans of each step in an object of their own. If this throws, they are of no use.
 */
export function* decodeOtlpInSteps(
  buffer: Uint8Array,
  start: number,
  end: number,
  take: (spans: EncodedSpans) => void,
): Generator<void, RejectedSpans> {
  const rejected: RejectedSpans = new Map();
  const splitter = new RequestSplitter({ buffer, start, end }, (request, requestEnd) => {
    const spans = new EncodedSpans(requestEnd);
    addRejected(rejected, decodeOtlpLeniently(request, 0, requestEnd, spans));
    if (spans.count > 0) take(spans);
    return [];
  }, true);
  yield* splitter.split();
  return rejected;
}

/** Copies a request without its invalid spans, and without scopes and resources that have no span. */
class Filter {
  readonly #rejected: RejectedSpans;
  readonly #written = new ProtobufWriter();
  readonly #wrapped = new ProtobufWriter();
  readonly #checker = new RequestChecker(new OddPlaces());

  constructor(rejected: RejectedSpans) {
    this.#rejected = rejected;
  }

  filter(buffer: Uint8Array, start: number, end: number): ProtobufWriter {
    this.#written.reserve(end - start);
    try {
      this.#message(
        new ProtobufReader(buffer, start, end),
        REQUEST_RESOURCE_SPANS,
        (resourceSpans) =>
          this.#message(resourceSpans, RESOURCE_SPANS_SCOPE_SPANS, (scopeSpans) => this.#scope(scopeSpans)),
      );
    } catch (error) {
      if (!(error instanceof ProtobufError)) throw error;
      throw new WireError("invalid-value", Math.max(0, error.offset - start), error.message, { cause: error });
    }
    return this.#written;
  }

  /**
   * Copies the fields of a message, those with a tag by `copyMessage`, which returns whether there is a span in them.
   * Takes those without one back, and returns whether there is one in any.
   */
  #message(fields: ProtobufReader, tag: number, copyMessage: (message: ProtobufReader) => boolean): boolean {
    const written = this.#written;
    let hasSpan = false;
    while (fields.next()) {
      if (fields.tag !== tag) {
        written.bytes(fields.buffer.subarray(fields.fieldStart, fields.position));
        continue;
      }
      const before = written.position;
      const lengthBytes = varintSize(fields.end - fields.start);
      const content = written.openMessage(tag, lengthBytes);
      if (copyMessage(fields.message())) {
        written.closeMessage(content, lengthBytes);
        hasSpan = true;
      } else written.position = before;
    }
    return hasSpan;
  }

  #scope(fields: ProtobufReader): boolean {
    const written = this.#written;
    let hasSpan = false;
    while (fields.next()) {
      const field = fields.buffer.subarray(fields.fieldStart, fields.position);
      if (fields.tag === SCOPE_SPANS_SPANS) {
        const problem = this.#problemOf(field);
        if (problem !== undefined) {
          this.#rejected.set(problem, (this.#rejected.get(problem) ?? 0) + 1);
          continue;
        }
        hasSpan = true;
      }
      written.bytes(field);
    }
    return hasSpan;
  }

  /** What is wrong with a span, seen as the only one of a request. */
  #problemOf(field: Uint8Array): InvalidReason | undefined {
    const wrapped = this.#wrapped;
    wrapped.clear();
    const lengthBytes = varintSize(field.length);
    const resourceSpans = wrapped.openMessage(REQUEST_RESOURCE_SPANS, lengthBytes + 1);
    const scopeSpans = wrapped.openMessage(RESOURCE_SPANS_SCOPE_SPANS, lengthBytes);
    wrapped.bytes(field);
    wrapped.closeMessage(scopeSpans, lengthBytes);
    wrapped.closeMessage(resourceSpans, lengthBytes + 1);
    try {
      this.#checker.check(wrapped.buffer, 0, wrapped.position);
      return undefined;
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      return error.reason;
    }
  }
}
