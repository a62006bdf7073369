import { characterStart } from "../base/utf8-cut.ts";
import type { EncodedSpans } from "../otlp/encoded-spans.ts";
import { ProtobufReader } from "../otlp/protobuf-reader.ts";
import type { ProtobufWriter } from "../otlp/protobuf-writer.ts";
import {
  ANY_VALUE_ARRAY,
  ANY_VALUE_STRING,
  ARRAY_VALUE_VALUES,
  KEY_VALUE_KEY,
  KEY_VALUE_VALUE,
  RESOURCE_SPANS_RESOURCE,
  SCOPE_SPANS_SPANS,
  SPAN_ATTRIBUTES,
} from "../otlp/trace-fields.ts";
import type { Metrics } from "../pipeline/metrics.ts";
import type { SpanSink } from "../pipeline/sink.ts";
import { AttributeCutter, type Cut, type Holder, measureValues, RESOURCE, SPAN } from "./cut-attributes.ts";
import { LongestValues } from "./longest-values.ts";
import { SpanProcessor } from "./span-processor.ts";

/**
 * How large a span may be, bytes. A request that holds it alone has to stay below 4 MiB, which is what gRPC servers
 * accept by default, the Collector's among them; a quarter of a MiB is left for what is around it.
 */
export const MOST_SPAN_BYTES: number = 4 * 1024 * 1024 - 256 * 1024;
/** How large a resource may be, bytes. It is part of that quarter, together with the host's own attributes. */
export const MOST_RESOURCE_BYTES: number = 64 * 1024;

/**
 * No value is cut to less than this for a span's size, bytes. A span that is too large because it has very many
 * attributes stays as it is, and the collector may refuse it.
 */
const SHORTEST_CUT = 256;

/** The attribute that says what was cut. */
const MARK = "kata.truncated_attributes";
/** How many names it has at most, and how many bytes of each. */
const MOST_NAMES = 16;
const MOST_NAME_BYTES = 128;
/** Room for it, bytes. */
const MARK_BYTES = MOST_NAMES * (MOST_NAME_BYTES + 8) + MARK.length + 64;

const UTF8 = new TextEncoder();
const NO_LIMIT: Cut = { text: Infinity, list: Infinity };

/**
 * Cuts attributes' values that are too long, at the end of a character, and marks the span with their names.
 *
 * A span that is larger than collectors accept keeps everything but its longest values; agents write such spans when
 * they copy files. With a limit, every value of text is cut to it, of events and links too.
 *
 * @param mostBytes the longest value of text or bytes; undefined: any.
 */
export function truncatingAttributes(sink: SpanSink, metrics: Metrics, mostBytes: number | undefined): SpanSink {
  const truncation = new Truncation(mostBytes, (attributes) => metrics.truncatedAttributes += attributes);
  return new SpanProcessor(sink, () => (spans) => truncation.apply(spans));
}

class Truncation {
  readonly #limit: Cut;
  readonly #onCut: (attributes: number) => void;
  readonly #values = new LongestValues();

  constructor(mostBytes: number | undefined, onCut: (attributes: number) => void) {
    this.#limit = mostBytes === undefined ? NO_LIMIT : { text: mostBytes, list: Infinity };
    this.#onCut = onCut;
  }

  apply(spans: EncodedSpans): void {
    const shortest = Math.min(this.#limit.text, MOST_SPAN_BYTES);
    // All of a payload's spans and resources lie there, and are mostly small even together.
    if (spans.writer.position <= Math.min(shortest, MOST_RESOURCE_BYTES)) return;
    for (let span = 0; span < spans.count; span++) {
      const start = spans.spanStart(span);
      const end = spans.spanEnd(span);
      if (end - start > shortest) this.#truncateSpan(spans, span);
      const resourceBytes = spans.resourceEnd(span) - spans.resourceStart(span);
      if (resourceBytes > MOST_RESOURCE_BYTES) this.#truncateResource(spans, span);
    }
  }

  #truncateSpan(spans: EncodedSpans, span: number): void {
    const { writer } = spans;
    const field = new ProtobufReader(writer.buffer, spans.spanStart(span), spans.spanEnd(span));
    field.next();
    const content = this.#cut(writer, field, SPAN, MOST_SPAN_BYTES);
    if (content < 0) return;
    spans.moveSpan(span, writer.closeField(SCOPE_SPANS_SPANS, content), writer.position);
  }

  #truncateResource(spans: EncodedSpans, span: number): void {
    const { writer } = spans;
    const fields = new ProtobufReader(writer.buffer, spans.resourceStart(span), spans.resourceEnd(span));
    // Agents' resources have nothing but attributes, and decoders refuse others that are so large.
    while (fields.next() && fields.tag !== RESOURCE_SPANS_RESOURCE);
    if (fields.tag !== RESOURCE_SPANS_RESOURCE) return;
    const content = this.#cut(writer, fields, RESOURCE, MOST_RESOURCE_BYTES);
    if (content < 0) return;
    spans.moveResource(span, writer.closeField(RESOURCE_SPANS_RESOURCE, content), writer.position);
  }

  /**
   * Writes a message that is a `holder` with its values cut, to the limit and so that it has at most so many bytes, as
   * an open field. Returns where that begins, or -1 if nothing was cut, and then nothing is written.
   */
  #cut(writer: ProtobufWriter, field: ProtobufReader, holder: Holder, mostBytes: number): number {
    const over = field.end - field.start - mostBytes;
    let cut = this.#limit;
    if (over > 0) {
      this.#values.clear();
      measureValues(field.message(), holder, this.#values);
      const most = this.#values.cutFor(over + MARK_BYTES);
      if (most >= SHORTEST_CUT) cut = { text: Math.min(cut.text, most), list: most };
    }
    if (cut === NO_LIMIT) return -1;
    const before = writer.position;
    const content = writer.openField();
    const cutter = new AttributeCutter(writer, cut);
    // If the writer grows, the reader still has the old bytes, which nobody changes.
    cutter.copy(field.message(), holder);
    if (cutter.count === 0) {
      writer.position = before;
      return -1;
    }
    this.#onCut(cutter.count);
    if (holder === SPAN) writeMark(writer, cutter.cutKeys);
    return content;
  }
}

/** Writes the attribute that names others. */
function writeMark(writer: ProtobufWriter, keys: readonly Uint8Array[]): void {
  const attribute = writer.openMessage(SPAN_ATTRIBUTES);
  writer.lengthDelimited(KEY_VALUE_KEY >>> 3, UTF8.encode(MARK));
  const value = writer.openMessage(KEY_VALUE_VALUE);
  const array = writer.openMessage(ANY_VALUE_ARRAY);
  for (const key of keys.slice(0, MOST_NAMES)) {
    const name = key.subarray(0, characterStart(key, MOST_NAME_BYTES));
    const item = writer.openMessage(ARRAY_VALUE_VALUES);
    writer.lengthDelimited(ANY_VALUE_STRING >>> 3, name);
    writer.closeMessage(item);
  }
  writer.closeMessage(array);
  writer.closeMessage(value);
  writer.closeMessage(attribute);
}
