import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { brotliDecompressSync } from "node:zlib";
import { chunksOf } from "../../src/demo/replay.ts";
import { SESSION_FRAMES, SESSION_SPANS } from "../../src/demo/session.ts";
import { splitFrames } from "../decode/support/fixtures.ts";
import { readJson } from "../decode/support/json-reference.ts";
import { REAL_STREAMS, type RecordedStream, streamBytes } from "../decode/support/recorded-streams.ts";

const SESSION = REAL_STREAMS.find(({ file }) => file.endsWith("real-4.1.0-session.json-frames")) as RecordedStream;

function embedded(base64: string): Buffer {
  return brotliDecompressSync(Buffer.from(base64, "base64"));
}

test("the embedded session is what the real agent wrote (if not, run scripts/embed-session)", () => {
  assert.ok(embedded(SESSION_FRAMES).equals(streamBytes(SESSION)));
});

test("the embedded spans are what an independent reader finds in the session", () => {
  const spans = JSON.parse(embedded(SESSION_SPANS).toString());
  const payloads = splitFrames(streamBytes(SESSION));
  assert.equal(spans.length, SESSION.spans);
  for (const [index, payload] of payloads.entries()) {
    const { traceFlags, isRemote, resource, ...span } = readJson(payload);
    assert.equal(isRemote, false);
    assert.deepEqual(spans[index], { ...span, flags: traceFlags, resource: { attributes: resource } });
  }
});

test("the embedded data is small", () => {
  assert.ok(SESSION_FRAMES.length + SESSION_SPANS.length < 60_000);
});

test("the replay's pieces make up the session, and are more than its frames", () => {
  const session = streamBytes(SESSION);
  const pieces = [...chunksOf(session)];
  assert.ok(Buffer.concat(pieces).equals(session));
  assert.ok(pieces.length > SESSION.spans);
  assert.equal(pieces[0]?.length, 1);
  assert.ok(pieces.some((piece) => piece.length > 1000));
});
