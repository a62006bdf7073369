import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { AT, span } from "./support/bincode-decode.ts";
import { encodeBincode } from "./support/bincode-encoder.ts";
import { concatenate, fixture, frame, splitFrames } from "./support/fixtures.ts";
import { GuestStream } from "./support/guest-stream.ts";
import { Random } from "./support/random.ts";

const MIB = 1024 * 1024;
const ENCODINGS = ["bincode", "json"] as const;
const EXTENSIONS = { bincode: "bincode", json: "json-frames" } as const;
/** For what takes seconds: a busy machine takes many. Milliseconds. */
const SLOW = { timeout: 120_000 };

function recorded(file: string): Uint8Array {
  return new Uint8Array(readFileSync(new URL(`../fixtures/${file}`, import.meta.url)));
}

/** Where the frames from `at` on end that are whole; the stream's end if all are. */
function endOfFrames(stream: Uint8Array, at: number): number {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.byteLength);
  while (at + 8 <= stream.length) {
    const end = at + 8 + Number(view.getBigUint64(at));
    if (end > stream.length) break;
    at = end;
  }
  return at;
}

/**
 * The whole frames of a stream with one tear, found apart from the code under test: the first `before` are whole, and
 * those that follow begin at the first place behind them from which headers lead exactly to the stream's end.
 */
function wholeFrames(stream: Uint8Array, before: number): Uint8Array[] {
  let at = 0;
  const view = new DataView(stream.buffer, stream.byteOffset, stream.byteLength);
  for (let i = 0; i < before; i++) at += 8 + Number(view.getBigUint64(at));
  const first = stream.slice(0, at);
  do at++; while (endOfFrames(stream, at) !== stream.length);
  return [...splitFrames(first), ...splitFrames(stream.slice(at))];
}

describe("recorded streams that an agent has torn: every whole frame arrives, and one is not valid", () => {
  for (
    const [file, before, after] of [
      ["torn/torn-then-34-whole.bincode", 2, 34],
      ["torn/torn-then-34-whole.json-frames", 2, 34],
      ["real-agent/real-3.28.0-torn.bincode", 101, 12],
      ["real-agent/real-4.1.0-torn.json-frames", 253, 447],
    ] as const
  ) {
    test(`${file}: ${before} before the tear, ${after} after it`, SLOW, () => {
      const stream = recorded(file);
      const expected = wholeFrames(stream, before);
      assert.equal(expected.length, before + after);
      const random = new Random(5);
      for (const size of [() => stream.length, () => 65_536, () => 1 + random.below(3000), () => 1 + random.below(9)]) {
        const { taken, refused } = new GuestStream().read(stream, size);
        assert.deepEqual(taken, expected);
        assert.equal(refused.length, 1);
      }
    });
  }
});

/** A stream of frames some of which are torn, and what is whole in it. */
interface Torn {
  readonly stream: Uint8Array;
  readonly whole: readonly Uint8Array[];
  /** The payloads of the others, as they were before. */
  readonly torn: readonly Uint8Array[];
  /** How many times one or more torn frames follow each other. */
  readonly tears: number;
}

/** Tears one frame in `oneIn`, in its header or in its payload. */
function tear(payloads: readonly Uint8Array[], random: Random, oneIn: number): Torn {
  const pieces: Uint8Array[] = [];
  const whole: Uint8Array[] = [];
  const torn: Uint8Array[] = [];
  let tears = 0;
  let isTorn = false;
  for (const payload of payloads) {
    const bytes = frame(payload);
    if (!random.oneIn(oneIn)) {
      pieces.push(bytes);
      whole.push(payload);
      isTorn = false;
      continue;
    }
    // In the header, right behind it, after the first bytes, before the last, or anywhere.
    const at = random.pick([
      1 + random.below(7),
      8 + random.below(3),
      bytes.length - 1 - random.below(20),
      8 + random.below(payload.length),
      8 + random.below(payload.length),
    ]);
    pieces.push(bytes.subarray(0, at));
    torn.push(payload);
    if (!isTorn) tears++;
    isTorn = true;
  }
  return { stream: concatenate(pieces), whole, torn, tears };
}

/** Whether a payload is another one but for its last bytes. */
function isMended(payload: Uint8Array, original: Uint8Array): boolean {
  const end = original.length - 16;
  return payload.length === original.length &&
    Buffer.compare(payload.subarray(0, end), original.subarray(0, end)) === 0;
}

/** @param chance how many things beside torn frames may have looked like frames, a tear. */
function assertWhole({ stream, whole, torn, tears }: Torn, random: Random, chance: number): void {
  const most = random.pick([20, 200, 5000, 100_000, stream.length]);
  const { taken, refused } = new GuestStream(8 * MIB, () => random.oneIn(3)).read(stream, () => 1 + random.below(most));
  // Where so little is missing that the next header can take its place, bincode may be a span again.
  const mended: Uint8Array[] = [];
  let next = 0;
  for (const payload of taken) {
    if (next < whole.length && Buffer.compare(payload, whole[next] as Uint8Array) === 0) next++;
    else mended.push(payload);
  }
  assert.equal(next, whole.length, `${taken.length} payloads, of ${whole.length} whole ones the first ${next}`);
  for (const payload of mended) {
    assert.ok(torn.some((original) => isMended(payload, original)), "a payload that nobody has sent");
  }
  assert.ok(
    refused.length >= tears - mended.length && refused.length <= torn.length + chance * tears,
    `${refused.length} are not valid, of ${torn.length} torn in ${tears} places`,
  );
}

describe("frames that are torn at random: every whole one arrives", () => {
  for (const encoding of ENCODINGS) {
    const sets = {
      "session-isolated": fixture("session-isolated")[encoding],
      random: fixture("random")[encoding],
      "real agent": splitFrames(
        recorded(
          `real-agent/real-${encoding === "json" ? "4.1.0" : "3.28.0"}-session-traceparent.${EXTENSIONS[encoding]}`,
        ),
      ),
    };
    for (const [name, payloads] of Object.entries(sets)) {
      test(`${encoding}, ${name}`, SLOW, () => {
        const random = new Random(payloads.length);
        // Keys in front of events with attributes, which agents do not write, may look like a frame's beginning.
        const chance = encoding === "bincode" && name !== "real agent" ? 1 : 0;
        for (let round = 0; round < 150; round++) {
          const some = random.many(40, () => random.pick(payloads));
          assertWhole(tear([...payloads.slice(0, 1), ...some], random, random.pick([3, 10, 40])), random, chance);
        }
      });
    }
  }
});

/**
 * A stream of frames within frames: each is a span whose string holds all the others, so that only its end, which it
 * does not have, shows that it is none.
 */
function nestedFrames(bytes: number): Uint8Array {
  const stream = new Uint8Array(bytes).fill(0x20);
  const view = new DataView(stream.buffer);
  // A span with one attribute, up to the length of its string: number of attributes, key, variant.
  const head = encodeBincode(span({ attributes: [{ key: "k", value: { stringValue: "" } }] }))
    .subarray(0, AT.attributes + 8 + 8 + 1 + 4);
  for (let at = 0; at + 8 + head.length + 8 + 200 < bytes; at += 8 + head.length + 8) {
    // Whose bytes are ASCII.
    const left = (bytes - at - 8) & 0x7f7f7f;
    view.setBigUint64(at, BigInt(left));
    stream.set(head, at + 8);
    view.setBigUint64(at + 8 + head.length, BigInt((left - head.length - 8 - 40) & 0x7f7f7f), true);
  }
  return stream;
}

describe("a guest that has each place look like a frame's beginning", () => {
  test("makes no more work than a few times what its bytes are worth", SLOW, () => {
    const good = fixture("session-isolated").bincode.map(frame);
    const stream = concatenate([...good, nestedFrames(8 * MIB - 100), ...good]);
    for (const size of [() => stream.length, () => 65_536]) {
      const guest = new GuestStream(8 * MIB).read(stream, size);
      assert.ok(guest.taken.length >= good.length);
      assert.ok(guest.failures >= 2, `${guest.failures} payloads were refused`);
      assert.ok(guest.examined < 4 * stream.length, `${guest.examined} bytes were examined of ${stream.length}`);
    }
  });

  test("in JSON too", SLOW, () => {
    const good = fixture("session-isolated").json.map(frame);
    const pieces: Uint8Array[] = [];
    for (let left = 4 * MIB; left > 0; left -= 10) pieces.push(concatenate([header(left), Uint8Array.of(0x7b, 0x22)]));
    const stream = concatenate([...good, ...pieces, ...good]);
    const guest = new GuestStream(8 * MIB).read(stream, () => 200_000);
    assert.ok(guest.taken.length >= good.length);
    assert.ok(guest.refused.length < 40_000, `${guest.refused.length} frames were given up`);
  });
});

function header(length: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length));
  return bytes;
}

describe("a frame that is given up because no more of it comes", () => {
  for (const encoding of ENCODINGS) {
    test(`${encoding}: whole frames in what has come of it are handed out then`, () => {
      const [first, second, third, ...others] = fixture("session-isolated")[encoding];
      assert.ok(first !== undefined && second !== undefined && third !== undefined);
      const large = frame(new Uint8Array(100_000).fill(0x7b));
      const guest = new GuestStream();
      const { reader } = guest;
      reader.push(frame(first));
      reader.push(large.subarray(0, 500));
      reader.push(concatenate([second, third].map(frame)));
      // In JSON the next header's first byte tells.
      assert.equal(guest.taken.length, encoding === "json" ? 3 : 1);
      reader.giveUp();
      assert.deepEqual(guest.taken, [first, second, third]);
      assert.equal(guest.refused.length, 1);
      assert.equal(reader.inFrame, false);
      reader.push(concatenate(others.map(frame)));
      assert.deepEqual(guest.taken, [first, second, third, ...others]);
      reader.finish();
      assert.equal(guest.refused.length, 1);
    });
  }

  test("the rest of one that was only slow is skipped, and the next frame arrives", () => {
    for (const encoding of ENCODINGS) {
      const [first, second, third] = fixture("random")[encoding].filter((payload) => payload.length > 1000);
      assert.ok(first !== undefined && second !== undefined && third !== undefined);
      for (const before of [3, 8, 20, 500]) {
        const guest = new GuestStream();
        guest.reader.push(concatenate([frame(first), frame(second).subarray(0, before)]));
        guest.reader.giveUp();
        guest.reader.push(frame(second).subarray(before));
        guest.reader.push(frame(third));
        guest.reader.finish();
        assert.deepEqual(guest.taken, [first, third]);
        assert.equal(guest.refused.length, 1);
      }
    }
  });
});
