import { Buffer } from "node:buffer";
import { characterStart } from "../base/utf8-cut.ts";
import type { EncodedSpans } from "../otlp/encoded-spans.ts";
import { ProtobufReader } from "../otlp/protobuf-reader.ts";
import type { ProtobufWriter } from "../otlp/protobuf-writer.ts";
import {
  ANY_VALUE_STRING,
  KEY_VALUE_KEY,
  KEY_VALUE_VALUE,
  SCOPE_SPANS_SPANS,
  SPAN_ATTRIBUTES,
  SPAN_DROPPED_ATTRIBUTES,
} from "../otlp/trace-fields.ts";
import type { RedactSettings } from "../pipeline/settings.ts";
import type { SpanSink } from "../pipeline/sink.ts";
import { redactDebugText, REDACTED } from "./debug-text.ts";
import { SpanProcessor } from "./span-processor.ts";

/** Attributes that dump the agent's whole state, with every container of the sandbox. */
const STATE_DUMPS: ReadonlySet<string> = new Set(["self", "c"]);
/** Attributes whose whole value is secret. */
const SECRET_VALUES: ReadonlySet<string> = new Set(["env", "args", "data"]);

/** No debug text with a secret in it is shorter than `env:[`, bytes. */
const SHORTEST_SECRET = 5;
/**
 * How much of a span's text is searched for secrets, bytes. The search takes 20 ns a byte. Spans of agents have a few
 * tens of thousands of bytes unless they copy a file, and the file is secret itself. The rest of the text is cut out
 * unseen.
 */
const MOST_TEXT_BYTES = 256 * 1024;

/** What to do with an attribute. */
type Verdict = "keep" | "drop" | { readonly value: string };

/**
 * Removes from agents' spans what must not leave the node. Dropped attributes are counted in the span's
 * `dropped_attributes_count`. "[redacted]" replaces a value, or a part of it, that was cut out.
 */
export function redacting(sink: SpanSink, { debugText, names }: RedactSettings): SpanSink {
  // As `asText` has them.
  const settings = { debugText, names: new Set([...names].map((name) => Buffer.from(name).toString("latin1"))) };
  return new SpanProcessor(sink, ({ kind }) => kind === "guest" ? (spans) => redactSpans(spans, settings) : undefined);
}

function redactSpans(spans: EncodedSpans, settings: RedactSettings): void {
  for (let span = 0; span < spans.count; span++) redactSpan(spans, span, settings);
}

/** If a span has something to redact, writes it again behind the payload's other spans. */
function redactSpan(spans: EncodedSpans, span: number, settings: RedactSettings): void {
  const { writer } = spans;
  const outer = new ProtobufReader(writer.buffer, spans.spanStart(span), spans.spanEnd(span));
  outer.next();
  const { start, end } = outer;
  const fields = outer.message();
  let content = -1;
  let copied = start;
  let dropped = 0;
  const budget = { bytes: MOST_TEXT_BYTES };
  while (fields.next()) {
    const isCount = fields.tag === SPAN_DROPPED_ATTRIBUTES;
    const verdict = fields.tag === SPAN_ATTRIBUTES ? judge(fields, settings, budget) : "keep";
    if (verdict === "keep" && !isCount) continue;
    if (content < 0) {
      // If the writer grows, the reader still has the old bytes, which nobody changes.
      content = writer.openField();
    }
    writer.bytes(fields.buffer.subarray(copied, fields.fieldStart));
    copied = fields.position;
    if (isCount) dropped += fields.low;
    else if (verdict === "drop") dropped++;
    else if (verdict !== "keep") writeAttribute(writer, fields, verdict.value);
  }
  if (content < 0) return;
  writer.bytes(fields.buffer.subarray(copied, end));
  if (dropped > 0) {
    writer.byte(SPAN_DROPPED_ATTRIBUTES);
    writer.varint(Math.min(dropped, MAX_UINT32));
  }
  spans.moveSpan(span, writer.closeField(SCOPE_SPANS_SPANS, content), writer.position);
}

const MAX_UINT32 = 2 ** 32 - 1;

/**
 * @param settings with names as {@link asText} has them.
 * @param budget how many bytes may still be searched for secrets.
 */
function judge(
  attribute: ProtobufReader,
  { debugText, names }: RedactSettings,
  budget: { bytes: number },
): Verdict {
  const keyValue = attribute.message();
  let key = "";
  let isText = false;
  const any = new ProtobufReader(attribute.buffer);
  while (keyValue.next()) {
    if (keyValue.tag === KEY_VALUE_KEY) key = asText(keyValue);
    if (keyValue.tag !== KEY_VALUE_VALUE) continue;
    any.reset(keyValue.start, keyValue.end);
    isText = false;
    while (any.next()) isText = any.tag === ANY_VALUE_STRING;
  }
  if (names.has(key)) return "drop";
  if (!debugText) return "keep";
  if (STATE_DUMPS.has(key)) return "drop";
  if (SECRET_VALUES.has(key)) return { value: REDACTED };
  // `any` still has the last value.
  if (!isText || any.end - any.start < SHORTEST_SECRET) return "keep";
  const { buffer, start } = any;
  const end = characterStart(buffer, start + budget.bytes, start, any.end);
  budget.bytes -= end - start;
  const text = asText({ buffer, start, end });
  const redacted = redactDebugText(text);
  if (end === any.end) return redacted === undefined ? "keep" : { value: redacted };
  const seen = redacted ?? text;
  return { value: seen.endsWith(REDACTED) ? seen : seen + REDACTED };
}

/** One character for each byte, because only ASCII is searched for, and all other bytes stay as they are. */
function asText({ buffer, start, end }: Pick<ProtobufReader, "buffer" | "start" | "end">): string {
  return Buffer.prototype.toString.call(buffer as Buffer, "latin1", start, end);
}

/** Writes an attribute with another value, each of whose characters is a byte. */
function writeAttribute(writer: ProtobufWriter, attribute: ProtobufReader, value: string): void {
  const keyValue = attribute.message();
  const field = writer.openMessage(SPAN_ATTRIBUTES);
  while (keyValue.next()) {
    if (keyValue.tag === KEY_VALUE_KEY) writer.bytes(keyValue.buffer.subarray(keyValue.fieldStart, keyValue.position));
  }
  const any = writer.openMessage(KEY_VALUE_VALUE);
  const text = writer.openMessage(ANY_VALUE_STRING);
  writer.bytes(Buffer.from(value, "latin1"));
  writer.closeMessage(text);
  writer.closeMessage(any);
  writer.closeMessage(field);
}
