import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { MARK_BYTES, MessageReader, MessageWriter, type ViewerMessage } from "../../../src/view/process/protocol.ts";
import { Random } from "../../decode/support/random.ts";

const MARK = randomBytes(MARK_BYTES);
const NOTICE = { kind: "guest", account: "vsock:3", cid: 3 } as const;

/** Messages as they are written, and what is read of them. */
function messages(): { readonly bytes: Buffer; readonly starts: readonly number[]; readonly read: ViewerMessage[] } {
  const writer = new MessageWriter(MARK);
  const body = Buffer.from("a chunk");
  const pieces = [
    writer.reset(),
    writer.source("opened", NOTICE),
    Buffer.concat([writer.chunkHeader("runtime", body.length), body]),
    // A guest's bytes that look like messages with another mark.
    Buffer.concat([
      writer.chunkHeader("guest", 42),
      new MessageWriter(randomBytes(MARK_BYTES)).reset(),
      randomBytes(21),
    ]),
    writer.chunkHeader("host", 0),
    writer.source("closed", NOTICE),
  ];
  const starts = pieces.map((_, index) => pieces.slice(0, index).reduce((sum, { length }) => sum + length, 0));
  const bytes = Buffer.concat(pieces);
  return { bytes, starts, read: [...new MessageReader(MARK).push(bytes)] };
}

test("what is written is read, in whatever pieces it comes", () => {
  const { bytes, read } = messages();
  assert.deepEqual(read.map(({ type }) => type), ["reset", "opened", "chunk", "chunk", "chunk", "closed"]);
  assert.deepEqual(read[1], { type: "opened", source: NOTICE });
  const [, , chunk] = read;
  assert.ok(chunk?.type === "chunk");
  assert.deepEqual([chunk.kind, Buffer.from(chunk.bytes).toString()], ["runtime", "a chunk"]);
  const random = new Random(3);
  for (let round = 0; round < 200; round++) {
    const reader = new MessageReader(MARK);
    const found: ViewerMessage[] = [];
    for (let at = 0; at < bytes.length;) {
      const next = at + 1 + random.below(40);
      found.push(...reader.push(bytes.subarray(at, next)));
      at = next;
    }
    assert.deepEqual(found, read);
  }
});

test("a reader that begins in the middle of a message reads from the next one on", () => {
  const { bytes, starts, read } = messages();
  for (let from = 0; from < bytes.length; from++) {
    const first = starts.filter((start) => start < from).length;
    for (const piece of [1, 7, bytes.length]) {
      const reader = new MessageReader(MARK);
      const found: ViewerMessage[] = [];
      for (let at = from; at < bytes.length; at += piece) found.push(...reader.push(bytes.subarray(at, at + piece)));
      assert.deepEqual(found, read.slice(first), `from byte ${from} on, ${piece} at a time`);
    }
  }
});
