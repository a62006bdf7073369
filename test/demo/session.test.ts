import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { chunksOf } from "../../src/demo/replay.ts";
import { SESSION_FRAMES, SESSION_SPANS } from "../../src/demo/session.ts";

function fixture(suffix: string): Buffer {
  return readFileSync(new URL(`../fixtures/session-isolated.${suffix}`, import.meta.url));
}

function embedded(base64: string): Buffer {
  return gunzipSync(Buffer.from(base64, "base64"));
}

test("the embedded session is the recorded one (else run scripts/embed-session)", () => {
  assert.ok(embedded(SESSION_FRAMES).equals(fixture("bincode")));
});

test("the embedded spans are the expected ones, every field of them", () => {
  const spans = JSON.parse(embedded(SESSION_SPANS).toString());
  const lines = fixture("expected.jsonl").toString().trim().split("\n");
  assert.equal(spans.length, lines.length);
  for (const [index, line] of lines.entries()) {
    const { traceFlags, isRemote, resource, ...span } = JSON.parse(line);
    assert.equal(isRemote, false);
    assert.deepEqual(spans[index], {
      ...span,
      flags: traceFlags,
      resource: { attributes: resource },
    });
  }
});

test("the replay's pieces are the session, in more pieces than frames", () => {
  const session = new Uint8Array(fixture("bincode"));
  const pieces = [...chunksOf(session)];
  assert.ok(Buffer.concat(pieces).equals(session));
  assert.ok(pieces.length > 36);
  assert.equal(pieces[0]?.length, 1);
  assert.ok(pieces.some((piece) => piece.length > 1000));
});
