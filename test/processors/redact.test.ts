import assert from "node:assert/strict";
import { test } from "node:test";
import { PayloadDecoder } from "../../src/decode/payload-decoder.ts";
import { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import type { SpanRecord } from "../../src/otlp/json-record.ts";
import type { RedactSettings } from "../../src/pipeline/settings.ts";
import type { SourceKind } from "../../src/pipeline/source.ts";
import { redacting } from "../../src/processors/redact.ts";
import { span } from "../decode/support/bincode-decode.ts";
import { fixture, splitFrames } from "../decode/support/fixtures.ts";
import { encodeJson } from "../decode/support/json-encoder.ts";
import { REAL_STREAMS, type RecordedStream, streamBytes, TRACED_STREAMS } from "../decode/support/recorded-streams.ts";
import { RecordingSink } from "../receivers/support/recording-sink.ts";

const DEFAULT: RedactSettings = { debugText: true, names: new Set() };

/** The spans of payloads after redaction. */
function redacted(payloads: readonly Uint8Array[], settings: RedactSettings, kind: SourceKind = "guest"): SpanRecord[] {
  const sink = new RecordingSink();
  const source = redacting(sink, settings).open({ kind, name: "box", account: "box", attributes: new Map() });
  const spans = new EncodedSpans();
  const decoder = new PayloadDecoder();
  for (const payload of payloads) {
    decoder.decode(payload, 0, payload.length, spans);
    source.accept(spans);
  }
  return sink.spans;
}

/** Secrets of the recorded containers, from their environment, their arguments, and a copied token. */
const SECRETS = ["hunter2", "not-a-real-secret", "echo hello", "id; ls /", "101, 121, 74, 104", "DB_PASSWORD"];

function payloadsOf(stream: RecordedStream): Uint8Array[] {
  return splitFrames(streamBytes(stream));
}

for (const stream of REAL_STREAMS) {
  test(`no secret of ${stream.file} gets through, and nothing else is lost`, () => {
    const payloads = payloadsOf(stream);
    const before = redacted(payloads, { debugText: false, names: new Set() });
    const after = redacted(payloads, DEFAULT);
    const text = JSON.stringify(after);
    for (const secret of SECRETS) assert.ok(!text.includes(secret), secret);
    for (const [index, record] of after.entries()) {
      const was = before[index] as SpanRecord;
      const dropped = was.attributes.filter(({ key }) => key === "self" || key === "c").length;
      assert.equal(record.attributes.length, was.attributes.length - dropped);
      assert.equal(record.droppedAttributesCount, was.droppedAttributesCount + dropped);
      const { attributes: _, droppedAttributesCount: _count, ...rest } = record;
      const { attributes: _was, droppedAttributesCount: _wasCount, ...wasRest } = was;
      assert.deepEqual(rest, wasRest);
      for (const { key, value } of record.attributes) {
        const original = was.attributes.find((one) => one.key === key)?.value;
        if (value.stringValue?.includes("[redacted]")) continue;
        assert.deepEqual(value, original);
      }
    }
  });
}

test("the recorded session contains the secrets", () => {
  const session = REAL_STREAMS.find(({ file }) => file.includes("4.1.0-session.json"));
  assert.ok(session !== undefined);
  const text = JSON.stringify(redacted(payloadsOf(session), { debugText: false, names: new Set() }));
  for (const secret of SECRETS) assert.ok(text.includes(secret), secret);
});

test("attributes are dropped by name, and counted", () => {
  const [stream] = TRACED_STREAMS;
  assert.ok(stream !== undefined);
  const names = new Set(["req", "busy_ns"]);
  for (const record of redacted(payloadsOf(stream), { debugText: false, names })) {
    assert.ok(record.attributes.every(({ key }) => !names.has(key)));
  }
  const counts = redacted(payloadsOf(stream), { debugText: false, names }).map((one) => one.droppedAttributesCount);
  assert.ok(counts.some((count) => count === 2));
});

test("spans of the host's own programs are left as they are", () => {
  const [stream] = REAL_STREAMS;
  assert.ok(stream !== undefined);
  const payloads = payloadsOf(stream);
  assert.deepEqual(redacted(payloads, DEFAULT, "runtime"), redacted(payloads, { debugText: false, names: new Set() }));
});

test("attributes are dropped by names in any script", () => {
  const { bincode } = fixture("random");
  const names = new Set(
    redacted(bincode, { debugText: false, names: new Set() }).flatMap(({ attributes }) =>
      attributes.map(({ key }) => key).filter((key) => /[^\u0000-\u007f]/u.test(key))
    ),
  );
  assert.ok(names.size > 0);
  const after = redacted(bincode, { debugText: false, names });
  assert.ok(after.every(({ attributes }) => attributes.every(({ key }) => !names.has(key))));
  assert.ok(after.some(({ droppedAttributesCount }) => droppedAttributesCount > 0));
});

test("secrets are looked for in so much text of a span, and what is behind it is cut out at a character", () => {
  const MOST = 256 * 1024;
  const secret = ' env: ["TOKEN=hunter2"]';
  const values = ["a", "é", "人", "🦀"].flatMap((character) => {
    const payload = encodeJson(span({
      attributes: [
        { key: "first", value: { stringValue: `x${secret}` } },
        { key: "long", value: { stringValue: character.repeat(MOST) + secret } },
        { key: "last", value: { stringValue: `short${secret}` } },
        { key: "number", value: { intValue: "1" } },
      ],
    }));
    const [record] = redacted([payload], DEFAULT);
    return [Object.fromEntries(record?.attributes.map(({ key, value }) => [key, value]) ?? [])];
  });
  for (const value of values) {
    assert.deepEqual(value["first"], { stringValue: "x env: [redacted]" });
    // As many bytes are left as a character does not fill.
    assert.match(value["last"]?.stringValue ?? "", /^s?h?o?\[redacted\]$/);
    assert.deepEqual(value["number"], { intValue: "1" });
    const long = value["long"]?.stringValue ?? "";
    assert.match(long, /^(.)\1*\[redacted\]$/u);
    const bytes = new TextEncoder().encode(long).length;
    assert.ok(bytes > MOST - 100 && bytes <= MOST + 10, `${bytes}`);
  }
});
