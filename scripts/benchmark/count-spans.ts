import { LEAST_NANOSECONDS } from "./frames.ts";

// Reads only what it counts in an ExportTraceServiceRequest. Everything else is skipped by its length.

/** `ExportTraceServiceRequest.resource_spans`, `ResourceSpans.scope_spans` and `ScopeSpans.spans`, by their numbers. */
const RESOURCE_SPANS = 1;
const SCOPE_SPANS = 2;
const SPANS = 2;
/** `Span.end_time_unix_nano`. */
const END_TIME = 8;

const BILLION = 1_000_000_000n;

/** Protobuf's wire types. */
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED32 = 5;

/** What was in the requests. */
export class SpanCount {
  spans = 0;
  /** Bytes of `Span` messages, without their tags and lengths. */
  bytes = 0;
  /** For each span, how long after its end time it was counted, milliseconds; only if `measure` is set. */
  readonly latencies: number[] = [];
  readonly #measure: boolean;
  #view: DataView = new DataView(new ArrayBuffer(0));
  #at = 0;

  constructor(measure = false) {
    this.#measure = measure;
  }

  /**
   * Counts a request. Throws `RangeError` if it is invalid.
   *
   * @param now when the request arrived, milliseconds since the epoch.
   */
  add(request: Uint8Array, now: number): void {
    this.#view = new DataView(request.buffer, request.byteOffset, request.byteLength);
    this.#each(
      0,
      request.length,
      RESOURCE_SPANS,
      (start, end) =>
        this.#each(
          start,
          end,
          SCOPE_SPANS,
          (from, to) =>
            this.#each(from, to, SPANS, (spanStart, spanEnd) => {
              this.spans++;
              this.bytes += spanEnd - spanStart;
              if (this.#measure) this.#addLatency(now, this.#endTime(spanStart, spanEnd));
            }),
        ),
    );
  }

  /** Calls `each` for every length-delimited field of one number. */
  #each(start: number, end: number, field: number, each: (start: number, end: number) => void) {
    this.#at = start;
    while (this.#at < end) {
      const tag = this.#varint();
      const length = this.#length(tag);
      const content = this.#at;
      if (content + length > end) throw new RangeError(`a field ends after its message, at ${end}`);
      if ((tag & 7) === LENGTH_DELIMITED && tag >> 3 === field) each(content, content + length);
      this.#at = content + length;
    }
  }

  #addLatency(now: number, endTime: bigint | undefined): void {
    if (endTime === undefined || endTime % BILLION === BigInt(LEAST_NANOSECONDS)) return;
    this.latencies.push(now - Number(endTime) / 1e6);
  }

  /** Nanoseconds. */
  #endTime(start: number, end: number): bigint | undefined {
    this.#at = start;
    while (this.#at < end) {
      const tag = this.#varint();
      if (tag === ((END_TIME << 3) | FIXED64)) {
        return this.#view.getBigUint64(this.#at, true);
      }
      const length = this.#length(tag);
      this.#at += length;
    }
    return undefined;
  }

  /** The length of the field's content that begins here, after the content's own length if there is one. */
  #length(tag: number): number {
    switch (tag & 7) {
      case LENGTH_DELIMITED:
        return this.#varint();
      case FIXED64:
        return 8;
      case FIXED32:
        return 4;
      default:
        this.#varint();
        return 0;
    }
  }

  #varint(): number {
    let value = 0;
    for (let scale = 1;; scale *= 0x80) {
      const byte = this.#view.getUint8(this.#at++);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  }
}

/** A quantile: the smallest of the sorted numbers that is not less than this share of them. */
export function quantile(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * part) - 1)] ?? Number.NaN;
}
