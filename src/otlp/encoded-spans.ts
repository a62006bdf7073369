import { ProtobufReader } from "./protobuf-reader.ts";
import { ProtobufWriter, varintSize } from "./protobuf-writer.ts";
import { SCOPE_SPANS_SPANS } from "./trace-fields.ts";

/** How many numbers of {@link EncodedSpans} describe one span: where it, its scope and its resource begin and end. */
export const RANGES_PER_SPAN = 6;
/** Room for this many spans at first; an agent's payload holds one. */
const FEW_SPANS = 16;
/** Room for more spans than this is given back after the payload that needed it. */
const RETAINED_SPANS = 4096;

/** Used by one call at a time. */
const FIELD = new ProtobufReader(new Uint8Array(0));

/** A copy of what {@link EncodedSpans} hold, in buffers of its own, which can be transferred to another thread. */
export interface PackedSpans {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly ranges: Int32Array<ArrayBuffer>;
}

/** How many spans were packed. */
export function countPacked({ ranges }: PackedSpans): number {
  return ranges.length / RANGES_PER_SPAN;
}

/**
 * What one payload became: OTLP bytes in one reused buffer, and where in it each span lies.
 *
 * For each span there are three byte ranges of `writer.buffer`, each possibly shared with other spans:
 * - the span: one whole `spans` field of a `ScopeSpans` message (tag 0x12, length, `Span`);
 * - its scope: the other fields of that `ScopeSpans` (`scope`, `schema_url`); empty where the agent names none;
 * - its resource: the fields of `ResourceSpans` but for `scope_spans` (`resource`, `schema_url`), as the
 *   guest wrote them, before the host's attributes are laid over; empty where the span carried none.
 *
 * Valid until the next `clear()`. Messages: opentelemetry/proto/trace/v1/trace.proto.
 */
export class EncodedSpans {
  readonly writer: ProtobufWriter;
  /** How many spans the payload held. */
  count = 0;
  #ranges = new Int32Array(RANGES_PER_SPAN * FEW_SPANS);
  #currentScopeStart = 0;
  #currentScopeEnd = 0;
  #currentResourceStart = 0;
  #currentResourceEnd = 0;

  /** @param initialBytes for how many bytes there is room at first. */
  constructor(initialBytes: number = 64 * 1024) {
    this.writer = new ProtobufWriter(initialBytes);
  }

  /** Forgets the payload, keeps the memory unless it is much. */
  clear(): void {
    if (this.#ranges.length > RANGES_PER_SPAN * RETAINED_SPANS) {
      this.#ranges = new Int32Array(RANGES_PER_SPAN * FEW_SPANS);
    }
    this.count = 0;
    this.setResource(0, 0);
    this.setScope(0, 0);
    this.writer.clear();
  }

  /** Copies everything. */
  pack(): PackedSpans {
    const { buffer, position } = this.writer;
    return { bytes: buffer.slice(0, position), ranges: this.#ranges.slice(0, RANGES_PER_SPAN * this.count) };
  }

  /** Copies the spans, and nothing of the buffer that is not theirs any more; takes just the memory that they need. */
  copy(): EncodedSpans {
    let bytes = 0;
    for (let i = 0; i < this.count; i++) {
      bytes += this.spanEnd(i) - this.spanStart(i);
      if (!this.sharesScope(i)) bytes += this.scopeEnd(i) - this.scopeStart(i);
      if (!this.sharesResource(i)) bytes += this.resourceEnd(i) - this.resourceStart(i);
    }
    const copy = new EncodedSpans(bytes);
    copy.#ranges = new Int32Array(RANGES_PER_SPAN * this.count);
    const { buffer } = this.writer;
    const { writer } = copy;
    for (let i = 0; i < this.count; i++) {
      if (!this.sharesScope(i)) {
        const start = writer.position;
        writer.bytes(buffer.subarray(this.scopeStart(i), this.scopeEnd(i)));
        copy.setScope(start, writer.position);
      }
      if (!this.sharesResource(i)) {
        const start = writer.position;
        writer.bytes(buffer.subarray(this.resourceStart(i), this.resourceEnd(i)));
        copy.setResource(start, writer.position);
      }
      const start = writer.position;
      writer.bytes(buffer.subarray(this.spanStart(i), this.spanEnd(i)));
      copy.add(start, writer.position);
    }
    return copy;
  }

  /** Holds what was packed, in its buffers, until the next `clear()`. */
  unpack(packed: PackedSpans): void {
    const { bytes, ranges } = packed;
    this.clear();
    this.writer.borrow(bytes, new DataView(bytes.buffer, bytes.byteOffset, bytes.length), bytes.length);
    this.count = countPacked(packed);
    if (ranges.length > this.#ranges.length) this.#ranges = ranges;
    else this.#ranges.set(ranges);
  }

  /** The spans that are added from now on have this resource; offsets into `writer.buffer`, the end is exclusive. */
  setResource(start: number, end: number): void {
    this.#currentResourceStart = start;
    this.#currentResourceEnd = end;
  }

  /** The same for their scope. */
  setScope(start: number, end: number): void {
    this.#currentScopeStart = start;
    this.#currentScopeEnd = end;
  }

  /** Adds a span of the resource and scope that were set last, which are empty at first. Offsets as there. */
  add(start: number, end: number): void {
    const at = this.count * RANGES_PER_SPAN;
    if (at + RANGES_PER_SPAN > this.#ranges.length) {
      const grown = new Int32Array(this.#ranges.length * 2);
      grown.set(this.#ranges);
      this.#ranges = grown;
    }
    const ranges = this.#ranges;
    ranges[at] = start;
    ranges[at + 1] = end;
    ranges[at + 2] = this.#currentScopeStart;
    ranges[at + 3] = this.#currentScopeEnd;
    ranges[at + 4] = this.#currentResourceStart;
    ranges[at + 5] = this.#currentResourceEnd;
    this.count++;
  }

  /** Has all spans at once: the first `count` that are described in `ranges`, which is copied. */
  setRanges(ranges: Int32Array, count: number): void {
    const length = count * RANGES_PER_SPAN;
    if (length > this.#ranges.length) this.#ranges = new Int32Array(length);
    // For a few numbers a view costs more than they do.
    if (count > FEW_SPANS) this.#ranges.set(ranges.subarray(0, length));
    else for (let i = 0; i < length; i++) this.#ranges[i] = ranges[i] as number;
    this.count = count;
  }

  /**
   * Adds fields at the end of a span's message, so that they are its last ones. A span that has nothing behind it but
   * what is its own stays where it is, because to copy one of megabytes would take as long as to decode it; others are
   * copied behind everything else.
   */
  appendToSpan(span: number, fields: Uint8Array): void {
    const { writer } = this;
    const { fieldStart: start, start: content, end } = this.#read(span);
    const behind = writer.position - end;
    if (behind > 0 && (this.count > 1 || behind > end - start)) {
      const copy = writer.openField();
      writer.bytes(writer.buffer.subarray(content, end));
      writer.bytes(fields);
      this.moveSpan(span, writer.closeField(SCOPE_SPANS_SPANS, copy), writer.position);
      return;
    }
    const lengthBytes = content - start - 1;
    const growth = fields.length + varintSize(end - content + fields.length) - lengthBytes;
    writer.reserve(growth);
    writer.buffer.copyWithin(end + growth, end, end + behind);
    writer.position = end;
    writer.bytes(fields);
    writer.closeMessage(content, lengthBytes);
    writer.position += behind;
    this.moveSpan(span, start, end + growth);
    if (behind === 0) return;
    const ranges = this.#ranges;
    // The span's scope and its resource, as far as they are behind it.
    for (let at = 2; at < RANGES_PER_SPAN; at++) if ((ranges[at] as number) >= end) (ranges[at] as number) += growth;
  }

  /** Cuts a span's message, which is changed in place otherwise, to its first bytes. */
  shortenSpan(span: number, bytes: number): void {
    const { writer } = this;
    const { start: content } = this.#read(span);
    const { position } = writer;
    writer.position = content + bytes;
    this.moveSpan(span, writer.closeField(SCOPE_SPANS_SPANS, content), writer.position);
    writer.position = position;
  }

  /** Reads a span's field. */
  #read(span: number): ProtobufReader {
    FIELD.load(this.writer.buffer, this.spanStart(span), this.spanEnd(span));
    FIELD.next();
    return FIELD;
  }

  /** The span's bytes are elsewhere in `writer.buffer` now. */
  moveSpan(span: number, start: number, end: number): void {
    this.#ranges[span * RANGES_PER_SPAN] = start;
    this.#ranges[span * RANGES_PER_SPAN + 1] = end;
  }

  /** The span's resource is elsewhere in `writer.buffer` now. */
  moveResource(span: number, start: number, end: number): void {
    this.#ranges[span * RANGES_PER_SPAN + 4] = start;
    this.#ranges[span * RANGES_PER_SPAN + 5] = end;
  }

  /** Whether a span's resource is the very bytes of the span's before it. */
  sharesResource(span: number): boolean {
    return span > 0 && this.resourceStart(span) === this.resourceStart(span - 1) &&
      this.resourceEnd(span) === this.resourceEnd(span - 1);
  }

  /** The same of its scope. */
  sharesScope(span: number): boolean {
    return span > 0 && this.scopeStart(span) === this.scopeStart(span - 1) &&
      this.scopeEnd(span) === this.scopeEnd(span - 1);
  }

  /**
   * The first span after `first` that does not follow the one before it in `writer.buffer`, or has another scope or
   * resource.
   */
  endOfRun(first: number): number {
    const ranges = this.#ranges;
    let at = first * RANGES_PER_SPAN;
    const scopeStart = ranges[at + 2];
    const scopeEnd = ranges[at + 3];
    const resourceStart = ranges[at + 4];
    const resourceEnd = ranges[at + 5];
    let end = ranges[at + 1];
    let next = first + 1;
    for (; next < this.count; next++) {
      at += RANGES_PER_SPAN;
      if (ranges[at] !== end || ranges[at + 2] !== scopeStart || ranges[at + 3] !== scopeEnd) break;
      if (ranges[at + 4] !== resourceStart || ranges[at + 5] !== resourceEnd) break;
      end = ranges[at + 1];
    }
    return next;
  }

  spanStart(span: number): number {
    return this.#ranges[span * RANGES_PER_SPAN] as number;
  }
  spanEnd(span: number): number {
    return this.#ranges[span * RANGES_PER_SPAN + 1] as number;
  }
  scopeStart(span: number): number {
    return this.#ranges[span * RANGES_PER_SPAN + 2] as number;
  }
  scopeEnd(span: number): number {
    return this.#ranges[span * RANGES_PER_SPAN + 3] as number;
  }
  resourceStart(span: number): number {
    return this.#ranges[span * RANGES_PER_SPAN + 4] as number;
  }
  resourceEnd(span: number): number {
    return this.#ranges[span * RANGES_PER_SPAN + 5] as number;
  }
}
