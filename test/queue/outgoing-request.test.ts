import assert from "node:assert/strict";
import { test } from "node:test";
import { joinBytes } from "../../src/base/joined-bytes.ts";
import { Chunk } from "../../src/pipeline/destination.ts";
import { AccountQueue, QueuedChunk } from "../../src/queue/account-queue.ts";
import { OutgoingRequest } from "../../src/queue/outgoing-request.ts";

/** Clearly smaller and larger than what is sent by itself, bytes. */
const SMALL = 5_000;
const LARGE = 100_000;

/** A request of chunks of so many bytes, each filled with its number, which has been sent. */
function sent(...sizes: number[]) {
  const chunks = sizes.map((size, i) => {
    const chunk = new Chunk({ account: "a", kind: "guest" }, new Uint8Array(size).fill(i + 1), 1);
    return new QueuedChunk(new AccountQueue("a", "guest"), 1, size, { chunk });
  });
  const bytes = chunks.map((chunk) => chunk.bytes as Uint8Array);
  const request = OutgoingRequest.of(chunks, 1);
  request.send();
  return { chunks, bytes, request, whole: joinBytes(bytes).slice() };
}

test("a request's large chunks are sent where they are, and small ones that follow each other together", () => {
  const { bytes, request, whole } = sent(SMALL, SMALL, LARGE, LARGE, SMALL, LARGE, SMALL, SMALL);
  assert.deepEqual(request.parts.map(({ length }) => length), [
    2 * SMALL,
    LARGE,
    LARGE,
    SMALL,
    LARGE,
    2 * SMALL,
  ]);
  assert.deepEqual([1, 2, 3, 4].map((i) => bytes.indexOf(request.parts[i] as Uint8Array)), [2, 3, 4, 5]);
  assert.deepEqual(joinBytes(request.parts), whole);
  assert.equal(request.byteLength, whole.length);
});

test("a request that is sent again has the same parts", () => {
  const { request } = sent(SMALL, SMALL, LARGE);
  const { parts } = request;
  request.retry();
  request.send();
  assert.equal(request.parts, parts);
});

for (const isReleased of [true, false]) {
  test(`the memory of a request that is ${isReleased ? "" : "not "}released is given back: ${isReleased}`, () => {
    const { chunks, bytes, request } = sent(SMALL, SMALL, LARGE);
    const { parts } = request;
    request.finish(isReleased);
    for (const chunk of chunks) chunk.unload();
    assert.deepEqual(parts.map(({ length }) => length), isReleased ? [0, 0] : [2 * SMALL, LARGE]);
    assert.deepEqual(bytes.map(({ length }) => length), isReleased ? [0, 0, 0] : [SMALL, SMALL, LARGE]);
  });
}

test("what a request is split into does not give back memory that the request was sent from", () => {
  const { chunks, bytes, request, whole } = sent(LARGE, SMALL, SMALL, LARGE);
  const { parts } = request;
  const halves = request.halve() as [OutgoingRequest, OutgoingRequest];
  for (const half of halves) half.send();
  assert.deepEqual(joinBytes(halves.flatMap((half) => half.parts)), whole);
  for (const half of halves) half.finish(true);
  for (const chunk of chunks) chunk.unload();
  assert.deepEqual(joinBytes(parts), whole);
  assert.deepEqual(bytes.map(({ length }) => length), [LARGE, SMALL, SMALL, LARGE]);
});
