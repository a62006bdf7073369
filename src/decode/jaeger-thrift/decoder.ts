import type { EncodedSpans } from "../../otlp/encoded-spans.ts";
import { equalBytes } from "../../otlp/equal-bytes.ts";
import * as otlp from "../../otlp/trace-fields.ts";
import { checkGrowth } from "../canonical.ts";
import { MAX_REPEATED_BYTES, MAX_SHARED_BYTES } from "../shared-bytes.ts";
import type { InvalidReason } from "../wire-error.ts";
import { SpanDecoder } from "./span-decoder.ts";
import * as tags from "./tags.ts";
import { Text } from "./text.ts";
import * as thrift from "./thrift-input.ts";

/** How much of a service's name or a sandbox's ID is of interest, bytes. Kata's IDs have 64. */
const MAX_IDENTITY_BYTES = 256;

const BATCH_PROCESS = 1;
const BATCH_SPANS = 2;
const BATCH = new thrift.Struct("Batch", { [BATCH_PROCESS]: thrift.STRUCT, [BATCH_SPANS]: thrift.LIST });
const PROCESS_SERVICE_NAME = 1;
const PROCESS_TAGS = 2;
const PROCESS = new thrift.Struct(
  "Process",
  { [PROCESS_SERVICE_NAME]: thrift.STRING },
  { [PROCESS_TAGS]: thrift.LIST },
);

const SERVICE_NAME = new TextEncoder().encode("service.name");
const UTF8 = new TextDecoder("utf-8", { fatal: false, ignoreBOM: true });

/** What a batch says besides its spans. */
export interface JaegerBatch {
  /** `Process.serviceName`. */
  readonly serviceName: string;
  /** The attribute `sandbox_id` of its spans, as Kata's Go runtime sets it; undefined if none has it or two differ. */
  readonly sandboxId: string | undefined;
  /** How many spans were left out because they are an HTTP/2 library's own. */
  readonly noise: number;
  /**
   * How many spans were left out because no OTLP decoder would take them, by what is wrong with them: an ID of zeros
   * (`invalid-value`), a time that nanoseconds in 64 bits cannot tell (`time-out-of-range`).
   */
  readonly invalid: ReadonlyMap<InvalidReason, number>;
}

/** How to decode. */
export interface JaegerThriftOptions {
  /** Keep the spans of the HTTP/2 client that sends the batch. */
  readonly keepHttp2Noise: boolean;
}

/** Decodes bodies. One for all connections: a body is decoded whole, and what it needs in memory is reused. */
class JaegerThriftDecoder {
  readonly #input = new thrift.ThriftInput();
  readonly #process = new tags.TagList(this.#input);
  readonly #span = new SpanDecoder(this.#input);
  readonly #text = new Text();
  #resourceStart = 0;
  #resourceEnd = 0;
  #serviceName = "";
  #sandboxId: string | undefined;
  #hasTwoSandboxes = false;
  #noise = 0;
  #invalid = new Map<InvalidReason, number>();

  decode(
    buffer: Uint8Array,
    start: number,
    end: number,
    spans: EncodedSpans,
    { keepHttp2Noise }: JaegerThriftOptions,
  ): JaegerBatch {
    const input = this.#input;
    this.#serviceName = "";
    this.#sandboxId = undefined;
    this.#hasTwoSandboxes = false;
    this.#noise = 0;
    this.#invalid = new Map();
    input.begin(buffer, start, end);
    try {
      const before = spans.writer.position;
      this.#batch(spans, keepHttp2Noise);
      checkGrowth(spans.writer.position - before, end - start);
    } finally {
      // Bodies are large, and the next one may come hours later.
      input.release();
      this.#process.release();
      this.#span.release();
      this.#text.release();
    }
    return {
      serviceName: this.#serviceName,
      sandboxId: this.#hasTwoSandboxes ? undefined : this.#sandboxId,
      noise: this.#noise,
      invalid: this.#invalid,
    };
  }

  #batch(spans: EncodedSpans, keepHttp2Noise: boolean): void {
    const input = this.#input;
    let spansAt = -1;
    let hasProcess = false;
    for (let seen = 0; (seen = input.next(BATCH, seen)) !== thrift.END;) {
      if (input.id === BATCH_PROCESS) {
        this.#readProcess(spans);
        hasProcess = true;
      } else if (hasProcess) this.#readSpans(spans, keepHttp2Noise);
      else {
        // No exporter writes the spans first, but Thrift allows it, and they need the resource.
        spansAt = input.at;
        input.skip(thrift.LIST);
      }
    }
    if (spansAt < 0) return;
    input.at = spansAt;
    this.#readSpans(spans, keepHttp2Noise);
  }

  /** Reads a `Process` and writes it as the resource of all spans. */
  #readProcess({ writer }: EncodedSpans): void {
    const input = this.#input;
    const process = this.#process;
    const service = this.#text;
    process.clear();
    const start = input.at;
    for (let seen = 0; (seen = input.next(PROCESS, seen)) !== thrift.END;) {
      if (input.id === PROCESS_TAGS) process.read();
      else {
        const length = input.string();
        service.take(input.bytes, input.at - length, length);
        this.#serviceName = this.#identity(input.at - length, length);
      }
    }
    if (service.length > 0) {
      // The Rust exporter sends it as a tag too.
      for (let tag; (tag = process.lastOfAnyType(tags.SERVICE_NAME)) >= 0;) process.consume(tag);
    }
    this.#resourceStart = writer.position;
    const resource = writer.openMessage(otlp.RESOURCE_SPANS_RESOURCE);
    if (service.length > 0) {
      const attribute = writer.openMessage(otlp.RESOURCE_ATTRIBUTES);
      writer.lengthDelimited(otlp.KEY_VALUE_KEY >>> 3, SERVICE_NAME);
      const value = writer.openMessage(otlp.KEY_VALUE_VALUE);
      service.write(writer, otlp.ANY_VALUE_STRING);
      writer.closeMessage(value);
      writer.closeMessage(attribute);
    }
    process.writeMap(writer, otlp.RESOURCE_ATTRIBUTES);
    if (writer.position === resource) writer.position = this.#resourceStart;
    else writer.closeMessage(resource);
    this.#resourceEnd = writer.position;
    this.#checkShared(this.#resourceEnd - this.#resourceStart, start);
  }

  #readSpans(spans: EncodedSpans, keepHttp2Noise: boolean): void {
    const input = this.#input;
    const span = this.#span;
    const { writer } = spans;
    const resourceBytes = this.#resourceEnd - this.#resourceStart;
    let scopeStart = writer.position;
    let scopeEnd = scopeStart;
    let repeatedBytes = 0;
    for (let left = input.structs("spans"); left > 0; left--) {
      const start = input.at;
      span.read();
      if (!keepHttp2Noise && span.isHttp2Noise()) {
        this.#noise++;
        continue;
      }
      this.#noteSandbox();
      const begin = writer.position;
      const content = writer.openField();
      const problem = span.write(writer);
      if (problem !== undefined) {
        writer.position = begin;
        this.#invalid.set(problem, (this.#invalid.get(problem) ?? 0) + 1);
        continue;
      }
      const spanStart = writer.closeField(otlp.SCOPE_SPANS_SPANS, content);
      const spanEnd = writer.position;
      // The scope's bytes are shared with the span before if they are the same.
      span.writeScope(writer);
      const { buffer, position } = writer;
      if (equalBytes(buffer, scopeStart, scopeEnd, buffer, spanEnd, position)) writer.position = spanEnd;
      else {
        scopeStart = spanEnd;
        scopeEnd = writer.position;
        this.#checkShared(scopeEnd - scopeStart, start);
      }
      repeatedBytes += resourceBytes + scopeEnd - scopeStart;
      if (repeatedBytes > MAX_REPEATED_BYTES) throw input.error("too-large", "too many spans share too much", start);
      spans.setResource(this.#resourceStart, this.#resourceEnd);
      spans.setScope(scopeStart, scopeEnd);
      spans.add(spanStart, spanEnd);
    }
  }

  #noteSandbox(): void {
    const { tags: attributes } = this.#span;
    const tag = attributes.last(tags.SANDBOX_ID, tags.TYPE_STRING);
    if (tag < 0 || attributes.valueLength(tag) === 0) return;
    const id = this.#identity(attributes.valueStart(tag), attributes.valueLength(tag));
    if (this.#sandboxId !== undefined && this.#sandboxId !== id) this.#hasTwoSandboxes = true;
    this.#sandboxId = id;
  }

  #identity(start: number, length: number): string {
    return UTF8.decode(this.#input.bytes.subarray(start, start + Math.min(length, MAX_IDENTITY_BYTES)));
  }

  #checkShared(bytes: number, at: number): void {
    if (bytes > MAX_SHARED_BYTES) {
      throw this.#input.error("too-large", `a resource or scope of ${bytes} bytes`, at);
    }
  }
}

const decoder = new JaegerThriftDecoder();

/**
 * Turns `buffer[start … end)`, a `Batch` of jaeger.thrift in TBinaryProtocol, into spans, as Kata's runtimes meant them
 * when they gave them to their exporter. Works in time linear in the body's length, and without recursion.
 *
 * Unknown fields, and bytes after the batch, are ignored, as Thrift's libraries do. A batch without spans is valid.
 *
 * Throws a {@link WireError} if the body is not a batch. The contents of `spans` are not valid then.
 * Specification: https://github.com/jaegertracing/jaeger-idl/blob/main/thrift/jaeger.thrift, and for the meaning of
 * tags the exporters of OpenTelemetry for Go 0.15 and 1.0 and for Rust 0.17
 * (https://opentelemetry.io/docs/specs/otel/trace/sdk_exporters/jaeger/).
 */
export function decodeJaegerThrift(
  buffer: Uint8Array,
  start: number,
  end: number,
  spans: EncodedSpans,
  options: JaegerThriftOptions,
): JaegerBatch {
  return decoder.decode(buffer, start, end, spans, options);
}
