import { Buffer } from "node:buffer";
import { jsonText } from "../base/log.ts";
import { ProtobufReader } from "../otlp/protobuf-reader.ts";
import type { SpanPart } from "../otlp/request-builder.ts";
import {
  RESOURCE_SPANS_RESOURCE,
  RESOURCE_SPANS_SCHEMA_URL,
  SCOPE_SPANS_SCHEMA_URL,
  SCOPE_SPANS_SCOPE,
} from "../otlp/trace-fields.ts";
import { MessageWriter } from "./message-writer.ts";
import { RESOURCE, SCOPE, SPAN } from "./otlp-json-fields.ts";
import { contentOf } from "./pieces.ts";

/**
 * A span as one line of JSON, the newline included: OTLP/JSON's `Span` with its resource and its scope in it. Integers
 * of 64 bits are strings, so nothing is rounded; a negative zero stays one; characters that could steer a terminal are
 * escaped. It comes in pieces, as `otlpJsonPieces` does. Throws `ProtobufError` on bytes that are not a span.
 */
export function* dumpJsonPieces({ resource, scope, span }: SpanPart): Generator<string> {
  const writer = new MessageWriter("-0.0");
  yield* writer.write(SPAN, contentOf(span), ',"resource":');
  const ofResource = headerOf(resource, RESOURCE_SPANS_RESOURCE, RESOURCE_SPANS_SCHEMA_URL);
  yield* writer.write(RESOURCE, ofResource.content, `,"schemaUrl":${jsonText(ofResource.schemaUrl)}},"scope":`);
  const ofScope = headerOf(scope, SCOPE_SPANS_SCOPE, SCOPE_SPANS_SCHEMA_URL);
  yield* writer.write(SCOPE, ofScope.content, `,"schemaUrl":${jsonText(ofScope.schemaUrl)}}}\n`);
  yield writer.text;
}

/** What spans share. */
export interface SharedHeader {
  /** The `Resource` or the `InstrumentationScope`. */
  readonly content: Uint8Array;
  readonly schemaUrl: string;
}

/** Takes a header apart, as a {@link SpanPart} has it. Throws `ProtobufError`. */
export function headerOf(header: Uint8Array, contentTag: number, schemaUrlTag: number): SharedHeader {
  const contents: Uint8Array[] = [];
  let schemaUrl = "";
  const fields = new ProtobufReader(header);
  while (fields.next()) {
    if (fields.tag === contentTag) contents.push(fields.bytes());
    else if (fields.tag === schemaUrlTag) schemaUrl = fields.text();
  }
  // Messages that come twice are merged.
  return { content: contents.length === 1 ? contents[0] as Uint8Array : Buffer.concat(contents), schemaUrl };
}
