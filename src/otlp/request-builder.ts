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
 * `ScopeSpans` for each of its scopes, if there are not too many of them ({@link COMPARED}); spans of one scope stay in
 * the order they came in.
 *
 * Spans are copied once into one buffer, in the order they come, and once more by `finish`: what follows each other
 * in one scope is a single run there. Headers of resources and scopes lie between them. Nothing is allocated per span.
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
  bytesWith(spans: EncodedSpans, span: number): number {
    return this.bytes + NESTING_BYTES +
      (spans.scopeEnd(span) - spans.scopeStart(span)) +
      (spans.spanEnd(span) - spans.spanStart(span));
  }

  /** Adds one span of a payload, the first of them first; copies what it needs. */
  append(resource: number, spans: EncodedSpans, span: number): void {
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
      this.lastSpan = span;
      this.lastResource = resource;
    }
    this.appendSpan(scope, buffer, spans.spanStart(span), spans.spanEnd(span));
  }

  /** Adds one span as `splitRequest` gives it; copies what it needs. */
  appendPart(part: SpanPart): void {
    this.lastSpans = undefined;
    const resource = this.resource(part.resource);
    const scope = this.scope(resource, part.scope, 0, part.scope.length);
    this.appendSpan(scope, part.span, 0, part.span.length);
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
    this.openScope = NONE;
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

  private appendSpan(scope: number, source: Uint8Array, start: number, end: number): void {
    if (scope !== this.openScope) {
      this.closeRun();
      this.openScope = scope;
      this.openStart = this.end;
    }
    this.put(source, start, end);
    this.spanCount++;
  }

  /** Takes the open run down. To be called before anything else goes behind it, or the runs are read. */
  private closeRun(): void {
    const { scopes, openScope: scope, openStart: start, end } = this;
    if (scope === NONE) return;
    this.openScope = NONE;
    scopes[scope + SPAN_BYTES] = (scopes[scope + SPAN_BYTES] as number) + end - start;
    const last = scopes[scope + LAST_RUN] as number;
    if (last !== NONE && this.runs[last + RUN_END] === start) {
      this.runs[last + RUN_END] = end;
      return;
    }
    const run = this.runsEnd;
    this.runsEnd += RUN_STRIDE;
    if (this.runsEnd > this.runs.length) this.runs = grown(this.runs);
    const { runs } = this;
    runs[run + RUN_START] = start;
    runs[run + RUN_END] = end;
    runs[run + NEXT_RUN] = NONE;
    if (last === NONE) scopes[scope + FIRST_RUN] = run;
    else runs[last + NEXT_RUN] = run;
    scopes[scope + LAST_RUN] = run;
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
        at = this.copyRuns(scope, from, target, at + scopeEnd - scopeStart);
      }
    }
  }

  /** How long the request will be; notes what each resource's content takes. */
  private measure(from: number): number {
    const { resources, scopes } = this;
    let size = 0;
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
    const { runs } = this;
    let bytes = 0;
    for (let run = this.scopes[scope + FIRST_RUN] as number; run !== NONE; run = runs[run + NEXT_RUN] as number) {
      bytes += Math.max(0, (runs[run + RUN_END] as number) - Math.max(from, runs[run + RUN_START] as number));
    }
    return bytes;
  }

  private copyRuns(scope: number, from: number, target: Uint8Array, at: number): number {
    const { runs } = this;
    for (let run = this.scopes[scope + FIRST_RUN] as number; run !== NONE; run = runs[run + NEXT_RUN] as number) {
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
