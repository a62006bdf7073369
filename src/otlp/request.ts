import { Buffer } from "node:buffer";
import { copyBytes, putField } from "./put-bytes.ts";
import type { EncodedSpans } from "./encoded-spans.ts";
import { ProtobufReader } from "./protobuf-reader.ts";
import { varintSize } from "./protobuf-writer.ts";
import { REQUEST_RESOURCE_SPANS, RESOURCE_SPANS_SCOPE_SPANS, SCOPE_SPANS_SPANS } from "./trace-fields.ts";

/** A tag of one byte and a length of at most five: what each nested message adds at most. */
const NESTING_BYTES = 6;
/** Small, because there may be a builder for each of thousands of guests. */
const INITIAL_BYTES = 4096;
const INITIAL_RUNS = 4;
/** A buffer larger than this, which only an unusually large batch needs, is given back by `clear`. */
const RETAINED_BYTES = 2 * 1024 * 1024;
/**
 * How many resources, and scopes of a resource, a new one is compared with: those that came last. A source has one or a
 * few. One that has more of them than this may have one of them twice in a request, which means the same. A hash table
 * would find them all, but a guest that knows the hash function can choose its resources so that they all collide.
 */
const COMPARED = 8;
/** So many bytes of them are compared without a call into the runtime. */
const FIRST_BYTES = 16;
/** How many numbers describe one run: its start, its end, and the next run of the same scope. */
const RUN_STRIDE = 3;
const NO_RUN = -1;
const NO_BYTES = new Uint8Array(0);

/** How many bytes a length-delimited field with `length` bytes of content takes; its tag is of one byte. */
function fieldSize(length: number): number {
  return 1 + varintSize(length) + length;
}

/** The spans of one scope of one resource: a chain of runs in the builder's buffer. */
interface ScopeGroup {
  /** The fields of `ScopeSpans` but for `spans`. */
  readonly header: Uint8Array;
  firstRun: number;
  lastRun: number;
  spanBytes: number;
}

interface ResourceGroup {
  /** The fields of `ResourceSpans` but for `scope_spans`. */
  readonly header: Uint8Array;
  readonly scopes: ScopeGroup[];
  /** The scope that the last span belonged to. */
  current: ScopeGroup | undefined;
}

/**
 * Puts encoded spans together to an `ExportTraceServiceRequest` with one `ResourceSpans` for each resource and one
 * `ScopeSpans` for each of its scopes, if there are not too many of them ({@link COMPARED}); spans of one scope stay in
 * the order they came in.
 *
 * Spans are copied once into one buffer, in the order they come, and once more by `finish`: what follows each other
 * in one scope is a single run there. Nothing is allocated per span.
 *
 * Messages: opentelemetry/proto/collector/trace/v1/trace_service.proto and trace/v1/trace.proto.
 */
export class RequestBuilder {
  #buffer = new Uint8Array(INITIAL_BYTES);
  #position = 0;
  #runs = new Int32Array(RUN_STRIDE * INITIAL_RUNS);
  #runCount = 0;
  /** The scope that the last run belongs to. */
  #lastScope: ScopeGroup | undefined;
  /** The span that was appended last: of which payload, which one, and below which resource. */
  #lastSpans: EncodedSpans | undefined;
  #lastSpan = -1;
  #lastResource = -1;
  #resources: ResourceGroup[] = [];
  #bytes = 0;
  #spans = 0;

  /** What `finish` would return takes at most this many bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  get spans(): number {
    return this.#spans;
  }

  /** What its buffers take, bytes. */
  get capacity(): number {
    return this.#buffer.byteLength + this.#runs.byteLength;
  }

  /**
   * The handle of a resource, for {@link append}; mostly the same for equal bytes. Valid until {@link clear}.
   *
   * @param header the fields of `ResourceSpans` but for `scope_spans`, as `ResourceOverlay` makes them. It is kept
   * until `clear`, so it must not change.
   */
  resource(header: Uint8Array): number {
    const resources = this.#resources;
    const known = lastEqual(resources, header, 0, header.length);
    if (known >= 0) return known;
    const handle = resources.length;
    resources.push({ header, scopes: [], current: undefined });
    this.#bytes += NESTING_BYTES + header.length;
    return handle;
  }

  /** What `bytes` would be at most after {@link append} with the same arguments. */
  bytesWith(spans: EncodedSpans, span: number): number {
    return this.#bytes + NESTING_BYTES +
      (spans.scopeEnd(span) - spans.scopeStart(span)) +
      (spans.spanEnd(span) - spans.spanStart(span));
  }

  /** Adds one span of a payload, the first of them first; copies what it needs. */
  append(resource: number, spans: EncodedSpans, span: number): void {
    const buffer = spans.writer.buffer;
    const start = spans.scopeStart(span);
    const end = spans.scopeEnd(span);
    // Spans that share the bytes of their scope need no comparison: a guest could make each a long one.
    const isShared = this.#lastSpans === spans && this.#lastSpan === span - 1 &&
      this.#lastResource === resource && start === spans.scopeStart(span - 1) &&
      end === spans.scopeEnd(span - 1);
    const scope = isShared
      ? (this.#resources[resource] as ResourceGroup).current as ScopeGroup
      : this.#scope(resource, buffer, start, end);
    this.#lastSpans = spans;
    this.#lastSpan = span;
    this.#lastResource = resource;
    this.#append(scope, buffer, spans.spanStart(span), spans.spanEnd(span));
  }

  /** Adds one span as {@link splitRequest} gives it; copies what it needs. */
  appendPart(part: SpanPart): void {
    this.#lastSpans = undefined;
    const resource = this.resource(part.resource);
    const scope = this.#scope(resource, part.scope, 0, part.scope.length);
    this.#append(scope, part.span, 0, part.span.length);
  }

  /** The request, in an array of its own and of its exact size. Changes nothing here. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.#assemble(0);
  }

  /** Where the next span goes in the buffer; for {@link since}. */
  get position(): number {
    return this.#position;
  }

  /** The same as `finish`, but only with the spans that were added from a `position` on. */
  since(position: number): Uint8Array<ArrayBuffer> {
    return this.#assemble(position);
  }

  /** Forgets everything, and keeps the buffer unless it is unusually large. Handles are void. */
  clear(): void {
    if (this.capacity > RETAINED_BYTES) {
      this.#buffer = new Uint8Array(INITIAL_BYTES);
      this.#runs = new Int32Array(RUN_STRIDE * INITIAL_RUNS);
    }
    this.#position =
      this.#runCount =
      this.#bytes =
      this.#spans =
        0;
    this.#lastScope = undefined;
    this.#lastSpans = undefined;
    this.#resources = [];
  }

  #scope(resource: number, buffer: Uint8Array, start: number, end: number): ScopeGroup {
    const group = this.#resources[resource] as ResourceGroup;
    const current = group.current;
    if (current !== undefined && equalBytes(current.header, buffer, start, end)) return current;
    let scope = group.scopes[lastEqual(group.scopes, buffer, start, end)];
    if (scope === undefined) {
      const header = start === end ? NO_BYTES : buffer.slice(start, end);
      scope = { header, firstRun: NO_RUN, lastRun: NO_RUN, spanBytes: 0 };
      group.scopes.push(scope);
      this.#bytes += NESTING_BYTES + header.length;
    }
    group.current = scope;
    return scope;
  }

  #append(scope: ScopeGroup, source: Uint8Array, start: number, end: number): void {
    const length = end - start;
    const from = this.#position;
    if (from + length > this.#buffer.length) this.#grow(length);
    copyBytes(source, start, end, this.#buffer, from);
    this.#position = from + length;
    if (scope === this.#lastScope) this.#runs[scope.lastRun + 1] = this.#position;
    else this.#addRun(scope, from, this.#position);
    scope.spanBytes += length;
    this.#bytes += length;
    this.#spans++;
  }

  #addRun(scope: ScopeGroup, start: number, end: number): void {
    const run = this.#runCount * RUN_STRIDE;
    if (run === this.#runs.length) {
      const grown = new Int32Array(run * 2);
      grown.set(this.#runs);
      this.#runs = grown;
    }
    this.#runs[run] = start;
    this.#runs[run + 1] = end;
    this.#runs[run + 2] = NO_RUN;
    if (scope.firstRun === NO_RUN) scope.firstRun = run;
    else this.#runs[scope.lastRun + 2] = run;
    scope.lastRun = run;
    this.#lastScope = scope;
    this.#runCount++;
  }

  /** @param from the position of the first span that counts. */
  #assemble(from: number): Uint8Array<ArrayBuffer> {
    let size = 0;
    const spanBytes = (scope: ScopeGroup): number => from === 0 ? scope.spanBytes : this.#bytesSince(scope, from);
    const resourceSizes: number[] = [];
    for (const { header, scopes } of this.#resources) {
      let content = 0;
      for (const scope of scopes) {
        const length = spanBytes(scope);
        if (length > 0) content += fieldSize(scope.header.length + length);
      }
      resourceSizes.push(content === 0 ? 0 : header.length + content);
      if (content > 0) size += fieldSize(header.length + content);
    }
    const request = new Uint8Array(size);
    let at = 0;
    let index = 0;
    for (const { header, scopes } of this.#resources) {
      const resourceSize = resourceSizes[index++] as number;
      if (resourceSize === 0) continue;
      at = putField(request, at, REQUEST_RESOURCE_SPANS, resourceSize);
      copyBytes(header, 0, header.length, request, at);
      at += header.length;
      for (const scope of scopes) {
        const length = spanBytes(scope);
        if (length === 0) continue;
        at = putField(request, at, RESOURCE_SPANS_SCOPE_SPANS, scope.header.length + length);
        copyBytes(scope.header, 0, scope.header.length, request, at);
        at = this.#copyRuns(scope, from, request, at + scope.header.length);
      }
    }
    return request;
  }

  #bytesSince(scope: ScopeGroup, from: number): number {
    let bytes = 0;
    for (let run = scope.firstRun; run !== NO_RUN; run = this.#runs[run + 2] as number) {
      bytes += Math.max(0, (this.#runs[run + 1] as number) - Math.max(from, this.#runs[run] as number));
    }
    return bytes;
  }

  #copyRuns(scope: ScopeGroup, from: number, target: Uint8Array, at: number): number {
    for (let run = scope.firstRun; run !== NO_RUN; run = this.#runs[run + 2] as number) {
      const start = Math.max(from, this.#runs[run] as number);
      const end = this.#runs[run + 1] as number;
      if (end <= start) continue;
      copyBytes(this.#buffer, start, end, target, at);
      at += end - start;
    }
    return at;
  }

  #grow(bytes: number): void {
    const grown = new Uint8Array(Math.max(this.#position + bytes, this.#buffer.length * 2));
    copyBytes(this.#buffer, 0, this.#position, grown, 0);
    this.#buffer = grown;
  }
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

/** Takes an encoded `ExportTraceServiceRequest` apart. Throws `ProtobufError` on bytes that are none. */
export function splitRequest(request: Uint8Array): SpanPart[] {
  const parts: SpanPart[] = [];
  const fields = new ProtobufReader(request);
  while (fields.next()) {
    if (fields.tag !== REQUEST_RESOURCE_SPANS) continue;
    const resource = fieldsBut(RESOURCE_SPANS_SCOPE_SPANS, fields.message());
    const scopes = fields.message();
    while (scopes.next()) {
      if (scopes.tag !== RESOURCE_SPANS_SCOPE_SPANS) continue;
      const scope = fieldsBut(SCOPE_SPANS_SPANS, scopes.message());
      const spans = scopes.message();
      while (spans.next()) {
        if (spans.tag !== SCOPE_SPANS_SPANS) continue;
        parts.push({ resource, scope, span: request.subarray(spans.fieldStart, spans.position) });
      }
    }
  }
  return parts;
}

/**
 * Goes through the spans of an encoded `ExportTraceServiceRequest`: the reader that it yields, of which there is one a
 * scope, is at the field of a span. Throws `ProtobufError` when it comes to bytes that are none.
 */
export function* spansOf(request: Uint8Array): Generator<ProtobufReader> {
  const fields = new ProtobufReader(request);
  while (fields.next()) {
    if (fields.tag !== REQUEST_RESOURCE_SPANS) continue;
    const scopes = fields.message();
    while (scopes.next()) {
      if (scopes.tag !== RESOURCE_SPANS_SCOPE_SPANS) continue;
      const spans = scopes.message();
      while (spans.next()) if (spans.tag === SCOPE_SPANS_SPANS) yield spans;
    }
  }
}

/** How many spans an encoded `ExportTraceServiceRequest` holds. Throws `ProtobufError` on bytes that are none. */
export function countSpans(request: Uint8Array): number {
  let count = 0;
  for (const _ of spansOf(request)) count++;
  return count;
}

/**
 * Two requests that hold a request's spans between them, half and half by count and in the same order.
 * Throws `RangeError` where there are fewer than two.
 */
export function halve(request: Uint8Array): [Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>] {
  const parts = splitRequest(request);
  if (parts.length < 2) throw new RangeError(`${parts.length} span(s) cannot be halved`);
  const middle = parts.length >>> 1;
  return [joinParts(parts.slice(0, middle)), joinParts(parts.slice(middle))];
}

/**
 * Requests with at most `maxSpans` of a request's spans each, in the same order, without the first `skipped` spans.
 * Throws `ProtobufError` on bytes that are no request.
 */
export function splitSpans(
  request: Uint8Array,
  skipped: number,
  maxSpans: number,
): { readonly bytes: Uint8Array<ArrayBuffer>; readonly spans: number }[] {
  const parts = splitRequest(request);
  const requests = [];
  for (let at = skipped; at < parts.length; at += maxSpans) {
    const group = parts.slice(at, at + maxSpans);
    requests.push({ bytes: joinParts(group), spans: group.length });
  }
  return requests;
}

function joinParts(parts: readonly SpanPart[]): Uint8Array<ArrayBuffer> {
  const builder = new RequestBuilder();
  for (const part of parts) builder.appendPart(part);
  return builder.finish();
}

/**
 * A message's bytes without its fields of one tag: a view where the rest is in one piece, as it is in what is built
 * here.
 */
function fieldsBut(tag: number, message: ProtobufReader): Uint8Array {
  const pieces: Uint8Array[] = [];
  let start = message.position;
  let end = start;
  while (message.next()) {
    if (message.tag === tag) {
      if (end > start) pieces.push(message.buffer.subarray(start, end));
      start = message.position;
    }
    end = message.position;
  }
  if (end > start) pieces.push(message.buffer.subarray(start, end));
  return pieces.length === 1 ? (pieces[0] as Uint8Array) : Buffer.concat(pieces);
}

function equalBytes(known: Uint8Array, buffer: Uint8Array, start: number, end: number): boolean {
  if (known.length !== end - start) return false;
  for (let i = 0; i < known.length; i++) if (known[i] !== buffer[start + i]) return false;
  return true;
}

/** Which of the groups that came last has the header `buffer[start … end)`; -1 if none of them. */
function lastEqual(
  groups: readonly { readonly header: Uint8Array }[],
  buffer: Uint8Array,
  start: number,
  end: number,
): number {
  for (let at = groups.length - 1; at >= Math.max(0, groups.length - COMPARED); at--) {
    const { header } = groups[at] as { readonly header: Uint8Array };
    if (header.length === end - start && isEqual(header, buffer, start, end)) return at;
  }
  return -1;
}

/** Whether `bytes` are `buffer[start … end)`, with a view of neither. */
function isEqual(bytes: Uint8Array, buffer: Uint8Array, start: number, end: number): boolean {
  // Most that differ do so soon, which takes less time to see than a call into the runtime.
  const few = Math.min(bytes.length, FIRST_BYTES);
  for (let i = 0; i < few; i++) if (bytes[i] !== buffer[start + i]) return false;
  return bytes.length === few || Buffer.prototype.compare.call(bytes as Buffer, buffer, start, end) === 0;
}
