import { freeBytes } from "../base/free-bytes.ts";
import type { UnwrittenBytes } from "../base/unwritten-bytes.ts";
import { equalBytes } from "./equal-bytes.ts";
import { copyBytes, putField } from "./put-bytes.ts";
import type { EncodedSpans } from "./encoded-spans.ts";
import { varintSize } from "./protobuf-writer.ts";
import { REQUEST_RESOURCE_SPANS, RESOURCE_SPANS_SCOPE_SPANS } from "./trace-fields.ts";

/** A tag of one byte and a length of at most five: what each nested message adds at most. */
const NESTING_BYTES = 6;
/** Small, because there may be a builder for each of thousands of guests. */
const INITIAL_BYTES = 4096;
const INITIAL_RECORDS = 4;
/** A buffer larger than this, which only an unusually large batch needs, is given back by `clear`. */
const RETAINED_BYTES = 2 * 1024 * 1024;
/**
 * How many resources, and scopes of a resource, a new one is compared with: those that came last. A source has one or a
 * few. One that has more of them than this may have one of them twice in a request, which means the same. A hash table
 * would find them all, but a guest that knows the hash function can choose its resources so that they all collide.
 */
const COMPARED = 8;
/**
 * A request with records of so many resources is crowded: from then on spans of a resource are written as a whole
 * `resource_spans` field at once, because a guest may have another resource in each of its frames.
 */
const CROWDED = 32;
/** The eight bytes of a header from here on go into its {@link DIGEST}: mostly the first attribute's key. */
const DIGESTED_FROM = 6;

// Resources, scopes and runs are records of a few numbers each, so that a guest that has a resource for each span does
// not have objects made for them. One is called by the place of its first number in its table.

/** No record. */
const NONE = -1;
/** A resource and a scope begin with where their header lies in the buffer. */
const HEADER_START = 0;
const HEADER_END = 1;

/** Of a resource: what some of its header's bytes come to, which mostly differ where headers do. */
const DIGEST = 2;
const FIRST_SCOPE = 3;
const LAST_SCOPE = 4;
/** The scope that its last span belonged to. */
const CURRENT_SCOPE = 5;
/** How long its content is in the request that is being put together; 0 where it has no span there. */
const CONTENT_BYTES = 6;
const RESOURCE_STRIDE = 7;

/** Of a scope: its spans lie in a chain of runs. */
const FIRST_RUN = 2;
const LAST_RUN = 3;
const SPAN_BYTES = 4;
/** Scopes of the same resource. */
const NEXT_SCOPE = 5;
const PREVIOUS_SCOPE = 6;
const SCOPE_STRIDE = 7;

/** Of a run of spans: where it lies in the buffer, and the next one of the same scope. */
const RUN_START = 0;
const RUN_END = 1;
const NEXT_RUN = 2;
const RUN_STRIDE = 3;

/** How many bytes a length-delimited field with `length` bytes of content takes; its tag is of one byte. */
function fieldSize(length: number): number {
  return 1 + varintSize(length) + length;
}

/** One span of a request; the ranges are views of the request where they can be. */
export interface SpanPart {
  /** The fields of `ResourceSpans` but for `scope_spans`. */
  readonly resource: Uint8Array;
  /** The fields of `ScopeSpans` but for `spans`. */
  readonly scope: Uint8Array;
  /** The whole `spans` field: tag, length, `Span`. */
  readonly span: Uint8Array;
}

/**
 * Puts encoded spans together to an `ExportTraceServiceRequest` with one `ResourceSpans` for each resource and one
 * `ScopeSpans` for each of its scopes, if there are not too many of them ({@link COMPARED}, {@link CROWDED}); spans of
 * one scope stay in the order they came in.
 *
 * Spans are copied once into one buffer, in the order they come, and once more by `finish`: what follows each other
 * in one scope is a single run there. Headers of resources and scopes lie between them, and so do whole
 * `resource_spans` fields. Nothing is allocated per span.
 *
 * Its members are `private`, not `#private`, because JavaScriptCore checks for the latter at each use.
 *
 * Messages: opentelemetry/proto/collector/trace/v1/trace_service.proto and trace/v1/trace.proto.
 */
export class RequestBuilder {
  private buffer = new Uint8Array(INITIAL_BYTES);
  private end = 0;
  private resources = new Int32Array(RESOURCE_STRIDE * INITIAL_RECORDS);
  private resourcesEnd = 0;
  private scopes = new Int32Array(SCOPE_STRIDE * INITIAL_RECORDS);
  private scopesEnd = 0;
  private runs = new Int32Array(RUN_STRIDE * INITIAL_RECORDS);
  private runsEnd = 0;
  /** The span that was appended last: of which payload, which one, and below which resource. */
  private lastSpans: EncodedSpans | undefined;
  private lastSpan = -1;
  private lastResource = NONE;
  /** The run that is not in the table yet, because it grows: its scope, and where it begins. It ends at `end`. */
  private openScope = NONE;
  private openStart = 0;
  /** The chain of the runs of whole `resource_spans` fields. */
  private firstWhole = NONE;
  private lastWhole = NONE;
  /** What the nesting of resources and scopes takes at most. */
  private nestingBytes = 0;
  private spanCount = 0;

  /** What `finish` would return takes at most this many bytes. */
  get bytes(): number {
    return this.end + this.nestingBytes;
  }

  get spans(): number {
    return this.spanCount;
  }

  /** Whether it has so many resources that spans of further ones are for {@link appendWhole}. */
  get isCrowded(): boolean {
    return this.resourcesEnd >= CROWDED * RESOURCE_STRIDE;
  }

  /** What its buffers take, bytes. */
  get capacity(): number {
    return this.buffer.byteLength + this.resources.byteLength + this.scopes.byteLength + this.runs.byteLength;
  }

  /**
   * The handle of a resource, for {@link append}; mostly the same for equal bytes. Valid until {@link clear}.
   *
   * @param header from `start` to `end` it has the fields of `ResourceSpans` but for `scope_spans`, as
   * `ResourceOverlay` makes them. They are copied.
   */
  resource(header: Uint8Array, start = 0, end: number = header.length): number {
    const digest = digestOf(header, start, end);
    const least = Math.max(0, this.resourcesEnd - COMPARED * RESOURCE_STRIDE);
    for (let known = this.resourcesEnd - RESOURCE_STRIDE; known >= least; known -= RESOURCE_STRIDE) {
      if (this.resources[known + DIGEST] !== digest) continue;
      if (this.hasHeader(this.resources, known, header, start, end)) return known;
    }
    const resource = this.resourcesEnd;
    this.resourcesEnd += RESOURCE_STRIDE;
    if (this.resourcesEnd > this.resources.length) this.resources = grown(this.resources);
    this.putHeader(this.resources, resource, header, start, end);
    this.resources[resource + DIGEST] = digest;
    this.resources[resource + FIRST_SCOPE] = NONE;
    this.resources[resource + LAST_SCOPE] = NONE;
    this.resources[resource + CURRENT_SCOPE] = NONE;
    return resource;
  }

  /** What `bytes` would be at most after {@link append} with the same arguments. */
  bytesWith(spans: EncodedSpans, span: number, end: number = span + 1): number {
    return this.bytes + NESTING_BYTES +
      (spans.scopeEnd(span) - spans.scopeStart(span)) +
      (spans.spanEnd(end - 1) - spans.spanStart(span));
  }

  /**
   * Adds one span of a payload, the first of them first; copies what it needs.
   *
   * @param next adds the spans behind it up to this one, too, which must be a run (see `EncodedSpans.endOfRun`).
   */
  append(resource: number, spans: EncodedSpans, span: number, next: number = span + 1): void {
    const buffer = spans.writer.buffer;
    const start = spans.scopeStart(span);
    const end = spans.scopeEnd(span);
    let scope: number;
    if (start === end) scope = this.scope(resource, buffer, start, end);
    else {
      // Spans that share the bytes of their scope need no comparison: a guest could make each a long one.
      const isShared = this.lastSpans === spans && this.lastSpan === span - 1 && this.lastResource === resource &&
        start === spans.scopeStart(span - 1) && end === spans.scopeEnd(span - 1);
      scope = isShared ? this.resources[resource + CURRENT_SCOPE] as number : this.scope(resource, buffer, start, end);
      this.lastSpans = spans;
      this.lastSpan = next - 1;
      this.lastResource = resource;
    }
    this.appendSpans(scope, buffer, spans.spanStart(span), spans.spanEnd(next - 1), next - span);
  }

  /**
   * Adds spans of one resource as a `resource_spans` field of their own: a span of a payload, and those behind it that
   * share the resource, as many as there is room for. Copies what it needs.
   *
   * @param header `header[headerStart … headerEnd)` is as for {@link resource}. @param first the first of the spans,
   * which is added in any case. @param mostSpans how many spans there may be in all. @param mostBytes what
   * {@link bytes} may be after that.
   * @returns the payload's next span.
   */
  appendWhole(
    header: Uint8Array,
    headerStart: number,
    headerEnd: number,
    spans: EncodedSpans,
    first: number,
    mostSpans: number,
    mostBytes: number,
  ): number {
    const headerBytes = headerEnd - headerStart;
    const room = mostBytes - this.bytes - NESTING_BYTES - headerBytes;
    const next = endOfResource(spans, first, mostSpans - this.spanCount, room);
    let content = headerBytes;
    for (let from = first; from < next;) {
      const end = endOfScope(spans, from, next);
      content += fieldSize(scopeBytes(spans, from, end));
      from = end;
    }
    this.closeRun();
    const start = this.end;
    this.end = start + fieldSize(content);
    if (this.end > this.buffer.length) this.grow(start);
    const { buffer } = this;
    const source = spans.writer.buffer;
    let at = putField(buffer, start, REQUEST_RESOURCE_SPANS, content);
    copyBytes(header, headerStart, headerEnd, buffer, at);
    at += headerBytes;
    for (let from = first; from < next;) {
      const end = endOfScope(spans, from, next);
      at = putField(buffer, at, RESOURCE_SPANS_SCOPE_SPANS, scopeBytes(spans, from, end));
      copyBytes(source, spans.scopeStart(from), spans.scopeEnd(from), buffer, at);
      at += spans.scopeEnd(from) - spans.scopeStart(from);
      for (; from < end; from++) {
        copyBytes(source, spans.spanStart(from), spans.spanEnd(from), buffer, at);
        at += spans.spanEnd(from) - spans.spanStart(from);
      }
    }
    this.spanCount += next - first;
    this.lastWhole = this.addRun(this.lastWhole, start, at);
    if (this.firstWhole === NONE) this.firstWhole = this.lastWhole;
    return next;
  }

  /** Adds one span as `splitRequest` gives it; copies what it needs. */
  appendPart(part: SpanPart): void {
    this.lastSpans = undefined;
    const resource = this.resource(part.resource);
    const scope = this.scope(resource, part.scope, 0, part.scope.length);
    this.appendSpans(scope, part.span, 0, part.span.length, 1);
  }

  /** The request, in an array of its own and of its exact size. Changes nothing here. */
  finish(): Uint8Array<ArrayBuffer> {
    this.closeRun();
    const request = new Uint8Array(this.measure(0));
    this.write(0, request, 0);
    return request;
  }

  /** Where the next span goes in the buffer; for {@link since}. */
  get position(): number {
    return this.end;
  }

  /**
   * What `finish` would return if only the spans counted that were added from a `position` on. To be written before
   * anything else is asked of the builder.
   */
  since(position: number): UnwrittenBytes {
    this.closeRun();
    const byteLength = this.measure(position);
    return { byteLength, writeTo: (target, at) => this.write(position, target, at) };
  }

  /** Forgets everything, and keeps the buffers unless they are unusually large. Handles are void. */
  clear(): void {
    if (this.capacity > RETAINED_BYTES) {
      this.buffer = new Uint8Array(INITIAL_BYTES);
      this.resources = new Int32Array(RESOURCE_STRIDE * INITIAL_RECORDS);
      this.scopes = new Int32Array(SCOPE_STRIDE * INITIAL_RECORDS);
      this.runs = new Int32Array(RUN_STRIDE * INITIAL_RECORDS);
    }
    this.end =
      this.resourcesEnd =
      this.scopesEnd =
      this.runsEnd =
      this.nestingBytes =
      this.spanCount =
        0;
    this.openScope = this.firstWhole = this.lastWhole = NONE;
    this.lastSpans = undefined;
  }

  private scope(resource: number, buffer: Uint8Array, start: number, end: number): number {
    const { resources } = this;
    const current = resources[resource + CURRENT_SCOPE] as number;
    if (current !== NONE && this.hasHeader(this.scopes, current, buffer, start, end)) return current;
    let scope = resources[resource + LAST_SCOPE] as number;
    for (let compared = 0; scope !== NONE; compared++) {
      if (compared === COMPARED) scope = NONE;
      else if (this.hasHeader(this.scopes, scope, buffer, start, end)) break;
      else scope = this.scopes[scope + PREVIOUS_SCOPE] as number;
    }
    if (scope === NONE) scope = this.addScope(resource, buffer, start, end);
    resources[resource + CURRENT_SCOPE] = scope;
    return scope;
  }

  private addScope(resource: number, buffer: Uint8Array, start: number, end: number): number {
    const { resources } = this;
    const scope = this.scopesEnd;
    this.scopesEnd += SCOPE_STRIDE;
    if (this.scopesEnd > this.scopes.length) this.scopes = grown(this.scopes);
    const { scopes } = this;
    this.putHeader(scopes, scope, buffer, start, end);
    const last = resources[resource + LAST_SCOPE] as number;
    scopes[scope + FIRST_RUN] = NONE;
    scopes[scope + LAST_RUN] = NONE;
    scopes[scope + SPAN_BYTES] = 0;
    scopes[scope + NEXT_SCOPE] = NONE;
    scopes[scope + PREVIOUS_SCOPE] = last;
    if (last === NONE) resources[resource + FIRST_SCOPE] = scope;
    else scopes[last + NEXT_SCOPE] = scope;
    resources[resource + LAST_SCOPE] = scope;
    return scope;
  }

  private appendSpans(scope: number, source: Uint8Array, start: number, end: number, count: number): void {
    if (scope !== this.openScope) {
      this.closeRun();
      this.openScope = scope;
      this.openStart = this.end;
    }
    this.put(source, start, end);
    this.spanCount += count;
  }

  /** Takes the open run down. To be called before anything else goes behind it, or the runs are read. */
  private closeRun(): void {
    const { scopes, openScope: scope, openStart: start, end } = this;
    if (scope === NONE) return;
    this.openScope = NONE;
    scopes[scope + SPAN_BYTES] = (scopes[scope + SPAN_BYTES] as number) + end - start;
    const last = scopes[scope + LAST_RUN] as number;
    const run = this.addRun(last, start, end);
    if (last === NONE) scopes[scope + FIRST_RUN] = run;
    scopes[scope + LAST_RUN] = run;
  }

  /** Adds a run behind the last one of its chain, if there is one, or lengthens that; returns the last one. */
  private addRun(last: number, start: number, end: number): number {
    if (last !== NONE && this.runs[last + RUN_END] === start) {
      this.runs[last + RUN_END] = end;
      return last;
    }
    const run = this.runsEnd;
    this.runsEnd += RUN_STRIDE;
    if (this.runsEnd > this.runs.length) this.runs = grown(this.runs);
    const { runs } = this;
    runs[run + RUN_START] = start;
    runs[run + RUN_END] = end;
    runs[run + NEXT_RUN] = NONE;
    if (last !== NONE) runs[last + NEXT_RUN] = run;
    return run;
  }

  /** Copies `source[start … end)` into the buffer. */
  private put(source: Uint8Array, start: number, end: number): void {
    const at = this.end;
    this.end = at + end - start;
    if (this.end > this.buffer.length) this.grow(at);
    copyBytes(source, start, end, this.buffer, at);
  }

  /** Gives a new record its header. */
  private putHeader(records: Int32Array, record: number, header: Uint8Array, start: number, end: number): void {
    this.closeRun();
    records[record + HEADER_START] = this.end;
    this.put(header, start, end);
    records[record + HEADER_END] = this.end;
    this.nestingBytes += NESTING_BYTES;
  }

  /** Whether the header of a record is `header[start … end)`. */
  private hasHeader(records: Int32Array, record: number, header: Uint8Array, start: number, end: number): boolean {
    const knownStart = records[record + HEADER_START] as number;
    const knownEnd = records[record + HEADER_END] as number;
    return equalBytes(this.buffer, knownStart, knownEnd, header, start, end);
  }

  /**
   * Writes to `target[at …]` what has just been measured.
   *
   * @param from the position of the first span that counts.
   */
  private write(from: number, target: Uint8Array, at: number): void {
    const { resources, scopes, buffer } = this;
    for (let resource = 0; resource < this.resourcesEnd; resource += RESOURCE_STRIDE) {
      const contentBytes = resources[resource + CONTENT_BYTES] as number;
      if (contentBytes === 0) continue;
      at = putField(target, at, REQUEST_RESOURCE_SPANS, contentBytes);
      const start = resources[resource + HEADER_START] as number;
      const end = resources[resource + HEADER_END] as number;
      copyBytes(buffer, start, end, target, at);
      at += end - start;
      let scope = resources[resource + FIRST_SCOPE] as number;
      for (; scope !== NONE; scope = scopes[scope + NEXT_SCOPE] as number) {
        const spanBytes = this.spanBytes(scope, from);
        if (spanBytes === 0) continue;
        const scopeStart = scopes[scope + HEADER_START] as number;
        const scopeEnd = scopes[scope + HEADER_END] as number;
        at = putField(target, at, RESOURCE_SPANS_SCOPE_SPANS, scopeEnd - scopeStart + spanBytes);
        copyBytes(buffer, scopeStart, scopeEnd, target, at);
        at = this.copyRuns(scopes[scope + FIRST_RUN] as number, from, target, at + scopeEnd - scopeStart);
      }
    }
    this.copyRuns(this.firstWhole, from, target, at);
  }

  /** How long the request will be; notes what each resource's content takes. */
  private measure(from: number): number {
    const { resources, scopes } = this;
    let size = this.runBytes(this.firstWhole, from);
    for (let resource = 0; resource < this.resourcesEnd; resource += RESOURCE_STRIDE) {
      let content = 0;
      let scope = resources[resource + FIRST_SCOPE] as number;
      for (; scope !== NONE; scope = scopes[scope + NEXT_SCOPE] as number) {
        const spanBytes = this.spanBytes(scope, from);
        if (spanBytes > 0) content += fieldSize(headerBytes(scopes, scope) + spanBytes);
      }
      if (content > 0) content += headerBytes(resources, resource);
      resources[resource + CONTENT_BYTES] = content;
      if (content > 0) size += fieldSize(content);
    }
    return size;
  }

  /** How many bytes of a scope's spans lie at `from` or after it. */
  private spanBytes(scope: number, from: number): number {
    if (from === 0) return this.scopes[scope + SPAN_BYTES] as number;
    return this.runBytes(this.scopes[scope + FIRST_RUN] as number, from);
  }

  /** How many bytes of a chain of runs lie at `from` or after it. @param run the first one. */
  private runBytes(run: number, from: number): number {
    const { runs } = this;
    let bytes = 0;
    for (; run !== NONE; run = runs[run + NEXT_RUN] as number) {
      bytes += Math.max(0, (runs[run + RUN_END] as number) - Math.max(from, runs[run + RUN_START] as number));
    }
    return bytes;
  }

  /** Copies what of a chain of runs lies at `from` or after it; returns where that ends. @param run the first one. */
  private copyRuns(run: number, from: number, target: Uint8Array, at: number): number {
    const { runs } = this;
    for (; run !== NONE; run = runs[run + NEXT_RUN] as number) {
      const start = Math.max(from, runs[run + RUN_START] as number);
      const end = runs[run + RUN_END] as number;
      if (end <= start) continue;
      copyBytes(this.buffer, start, end, target, at);
      at += end - start;
    }
    return at;
  }

  /** Makes room for `end` bytes, of which there are `used`. */
  private grow(used: number): void {
    const larger = new Uint8Array(Math.max(this.end, this.buffer.length * 2));
    copyBytes(this.buffer, 0, used, larger, 0);
    freeBytes(this.buffer);
    this.buffer = larger;
  }
}

/** The next span after `first` in a payload that has another resource or does not fit. */
function endOfResource(spans: EncodedSpans, first: number, mostSpans: number, roomBytes: number): number {
  const stop = Math.min(spans.count, first + mostSpans);
  let next = first;
  let bytes = 0;
  do {
    if (next === first || !spans.sharesScope(next)) {
      bytes += NESTING_BYTES + spans.scopeEnd(next) - spans.scopeStart(next);
    }
    bytes += spans.spanEnd(next) - spans.spanStart(next);
    if (bytes > roomBytes && next > first) break;
    next++;
  } while (next < stop && spans.sharesResource(next));
  return next;
}

/** The first span from a payload's `first` one on to `stop` that does not share its scope. */
function endOfScope(spans: EncodedSpans, first: number, stop: number): number {
  let next = first + 1;
  while (next < stop && spans.sharesScope(next)) next++;
  return next;
}

/** How long the content of a `scope_spans` field is that has a payload's spans from `first` to `end`. */
function scopeBytes(spans: EncodedSpans, first: number, end: number): number {
  let bytes = spans.scopeEnd(first) - spans.scopeStart(first);
  for (let span = first; span < end; span++) bytes += spans.spanEnd(span) - spans.spanStart(span);
  return bytes;
}

/** A table with the same records and room for as many again. */
function grown(records: Int32Array): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(records.length * 2);
  larger.set(records);
  return larger;
}

function headerBytes(records: Int32Array, record: number): number {
  return (records[record + HEADER_END] as number) - (records[record + HEADER_START] as number);
}

/** See {@link DIGEST}. */
function digestOf(header: Uint8Array, start: number, end: number): number {
  const from = start + DIGESTED_FROM;
  if (from + 8 > end) return end - start;
  return (end - start) ^ Math.imul(int32(header, from), 31) ^ int32(header, from + 4);
}

function int32(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16) |
    ((bytes[at + 3] as number) << 24);
}
