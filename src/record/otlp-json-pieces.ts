import { equalBytes } from "../otlp/equal-bytes.ts";
import type { SpanPart } from "../otlp/request-builder.ts";
import { MessageWriter } from "./message-writer.ts";
import { RESOURCE_SPANS, SCOPE_SPANS, SPAN } from "./otlp-json-fields.ts";
import { contentOf } from "./pieces.ts";

/**
 * Spans as one line of OTLP/JSON, the newline included: a `TracesData` message, as `spansToOtlpJson` writes it of
 * records. It comes in pieces, so that a writer to a file can give way to others between them, however large a span is;
 * a piece may be empty. Throws `ProtobufError` on bytes that are not spans, after any piece.
 */
export function* otlpJsonPieces(parts: Iterable<SpanPart>): Generator<string> {
  const writer = new MessageWriter();
  let last: SpanPart | undefined;
  writer.text = '{"resourceSpans":[';
  for (const part of parts) {
    const isSameResource = last !== undefined && areEqual(part.resource, last.resource);
    const isSameScope = last !== undefined && isSameResource && areEqual(part.scope, last.scope);
    if (last !== undefined) writer.text += isSameScope ? "," : isSameResource ? "]}," : "]}]},";
    if (!isSameResource) yield* writer.write(RESOURCE_SPANS, part.resource, ',"scopeSpans":[');
    if (!isSameScope) yield* writer.write(SCOPE_SPANS, part.scope, ',"spans":[');
    yield* writer.write(SPAN, contentOf(part.span), "}");
    last = part;
  }
  yield `${writer.text}${last === undefined ? "" : "]}]}"}]}\n`;
}

function areEqual(left: Uint8Array, right: Uint8Array): boolean {
  return left === right || equalBytes(left, 0, left.length, right, 0, right.length);
}
