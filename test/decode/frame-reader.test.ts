import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FRAME_HEADER_BYTES, FrameReader, type FrameSink, TAKEN, UNFINISHED } from "../../src/decode/frame-reader.ts";
import { frameSink } from "./support/frame-sink.ts";
import { concatenate, fixture, FIXTURES, frame, splitFrames } from "./support/fixtures.ts";
import { Random } from "./support/random.ts";

const MIB = 1024 * 1024;

/** A reader, and what came out of it: payloads, and for each that was skipped its length. */
function reading(maxFrameBytes = 4 * MIB) {
  const out: (Uint8Array | bigint)[] = [];
  const reader = new FrameReader(
    maxFrameBytes,
    frameSink((buffer, start, end) => out.push(new Uint8Array(buffer.subarray(start, end))), {
      oversized: (length) => out.push(length),
    }),
  );
  return { reader, out };
}

function pushInPieces(reader: FrameReader, stream: Uint8Array, size: () => number): void {
  for (let at = 0; at < stream.length;) {
    const end = Math.min(at + size(), stream.length);
    // A copy that is spoiled afterwards: a chunk is the reader's only until `push` returns.
    const chunk = stream.slice(at, end);
    reader.push(chunk);
    chunk.fill(0xee);
    at = end;
  }
}

function header(length: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, length);
  return bytes;
}

describe("any chunking gives the same payloads", () => {
  for (const name of FIXTURES) {
    test(name, () => {
      const { bincodeStream, bincode } = fixture(name);
      const random = new Random(7);
      const sizes = [
        () => bincodeStream.length,
        () => 1,
        () => 7,
        () => 8,
        () => 9,
        () => 4096,
        () => 65_536,
        () => 1 + random.below(20),
        () => 1 + random.below(5_000),
        () => random.oneIn(2) ? 1 : 1 + random.below(100_000),
      ];
      for (const size of sizes) {
        const { reader, out } = reading();
        pushInPieces(reader, bincodeStream, size);
        assert.deepEqual(out, bincode);
        assert.equal(reader.framesBegun, bincode.length);
        assert.equal(reader.inFrame, false);
        assert.equal(reader.heldBytes, 0);
        assert.equal(reader.unfinished, undefined);
      }
    });
  }

  test("every way to cut a short stream in two and in three", () => {
    const payloads = [Uint8Array.of(1, 2, 3), new Uint8Array(0), Uint8Array.of(4)];
    const stream = concatenate(payloads.map(frame));
    for (let first = 0; first <= stream.length; first++) {
      for (let second = first; second <= stream.length; second++) {
        const { reader, out } = reading();
        for (
          const chunk of [stream.slice(0, first), stream.slice(first, second), stream.slice(second)]
        ) {
          reader.push(chunk);
        }
        assert.deepEqual(out, payloads);
      }
    }
  });
});

test("a payload that lies whole in the chunk is handed out where it is", () => {
  const chunk = concatenate([frame(Uint8Array.of(1, 2)), frame(Uint8Array.of(3)), header(9n)]);
  const seen: unknown[] = [];
  const reader = new FrameReader(
    100,
    frameSink((buffer, start, end) => seen.push([buffer === chunk, start, end])),
  );
  reader.push(chunk);
  assert.deepEqual(seen, [[true, 8, 10], [true, 18, 19]]);
});

describe("frames that lie whole in a chunk", () => {
  /** A reader whose sink takes so many of the frames that it gets together, and what was handed out together. */
  function together(take: (frames: number) => number, maxFrameBytes = 4 * MIB, others: Partial<FrameSink> = {}) {
    const out: Uint8Array[] = [];
    const handed: number[] = [];
    const reader = new FrameReader(
      maxFrameBytes,
      frameSink((buffer, start, end) => out.push(buffer.slice(start, end)), {
        takesTogether: true,
        payloads: (buffer, start, end, frames) => {
          const payloads = splitFrames(buffer.slice(start, end));
          assert.equal(payloads.length, frames);
          handed.push(frames);
          const taken = take(frames);
          out.push(...payloads.slice(0, taken));
          return taken;
        },
        ...others,
      }),
    );
    return { reader, out, handed };
  }

  for (const name of FIXTURES) {
    test(`${name}: are the same however many of them are taken together`, () => {
      const { bincodeStream, bincode } = fixture(name);
      const random = new Random(11);
      for (const take of [(all: number) => all, () => 0, (all: number) => random.below(all + 1)]) {
        for (const size of [() => bincodeStream.length, () => 1 + random.below(20_000), () => 3000]) {
          const { reader, out, handed } = together(take);
          pushInPieces(reader, bincodeStream, size);
          assert.deepEqual(out, bincode);
          assert.equal(reader.framesBegun, bincode.length);
          assert.deepEqual([reader.inFrame, reader.heldBytes], [false, 0]);
          assert.ok(handed.every((frames) => frames >= 2));
        }
      }
    });
  }

  test("come together up to 16 KiB, and one by one for a while after one that is not taken", () => {
    const frames = (count: number) => concatenate(Array.from({ length: count }, () => frame(new Uint8Array(92))));
    const all = together((count) => count);
    all.reader.push(frames(400));
    assert.deepEqual(all.handed, [163, 163, 74]);
    const none = together(() => 0);
    none.reader.push(frames(160));
    // Each time twice as many: 17 frames, 33, 65, and 45 that are left.
    assert.deepEqual(none.handed, [160, 143, 110, 45]);
    assert.equal(none.out.length, 160);
    const unasked = together((count) => count, MIB, { takesTogether: false });
    unasked.reader.push(frames(160));
    assert.deepEqual([unasked.handed.length, unasked.out.length], [0, 160]);
    let calls = 0;
    const some = together((count) => calls++ === 2 ? count : 0);
    some.reader.push(frames(160));
    assert.deepEqual(some.handed, [160, 143, 110]);
    some.reader.push(frames(40));
    assert.deepEqual(some.handed.slice(3), [40, 23]);
  });

  test("do not come together with one over the limit, of 64 KiB or of less than 64 bytes", () => {
    for (const [length, limit] of [[101, 100], [65_536, MIB], [65_536 + 80, MIB], [63, MIB], [0, MIB]] as const) {
      const small = frame(new Uint8Array(64));
      const skipped: bigint[] = [];
      const { reader, out, handed } = together((count) => count, limit, { oversized: (bytes) => skipped.push(bytes) });
      reader.push(concatenate([small, small, frame(new Uint8Array(length)), small, small, small]));
      assert.deepEqual(handed, [2, 3]);
      assert.deepEqual([out.length, skipped.length], limit === 100 ? [5, 1] : [6, 0]);
    }
  });

  test("wait for another turn after 32 KiB of them", () => {
    let turns = 0;
    const { reader, out } = together((count) => count, MIB, { turnIsOver: () => (turns++, true) });
    reader.push(concatenate(Array.from({ length: 100 }, () => frame(new Uint8Array(992)))));
    assert.ok(reader.isStopped);
    assert.deepEqual([turns, out.length], [1, 32]);
    while (reader.isStopped) reader.proceed();
    assert.deepEqual([turns, out.length], [3, 100]);
  });

  test("are not taken after the sink has closed the reader", () => {
    const frames = together((count) => {
      frames.reader.close();
      return count;
    });
    frames.reader.push(concatenate(Array.from({ length: 500 }, () => frame(new Uint8Array(92)))));
    assert.equal(frames.out.length, 163);
  });
});

test("a payload has been handed out when the push that ends it returns", () => {
  const { reader, out } = reading();
  reader.push(header(0n));
  assert.deepEqual(out, [new Uint8Array(0)]);
  reader.push(header(2n));
  reader.push(Uint8Array.of(1));
  assert.equal(out.length, 1);
  reader.push(Uint8Array.of(2));
  assert.deepEqual(out[1], Uint8Array.of(1, 2));
});

describe("a frame over the limit", () => {
  const small = frame(Uint8Array.of(1, 2, 3));

  test("is skipped in any chunking, and framing goes on", () => {
    const stream = concatenate([small, header(1001n), new Uint8Array(1001).fill(9), small]);
    const random = new Random(3);
    for (const size of [() => stream.length, () => 1, () => 1 + random.below(300)]) {
      const { reader, out } = reading(1000);
      let held = 0;
      pushInPieces(reader, stream, () => {
        held = Math.max(held, reader.heldBytes);
        return size();
      });
      assert.deepEqual(out, [Uint8Array.of(1, 2, 3), 1001n, Uint8Array.of(1, 2, 3)]);
      assert.ok(held <= 1024, `${held} bytes were held`);
      assert.equal(reader.inFrame, false);
    }
  });

  test("is told by its length alone, at the limit and beyond 32 bits", () => {
    for (
      const length of [1001n, 0x7fff_ffffn, 0x8000_0000n, 0xffff_ffffn, 1n << 32n, (1n << 32n) + 5n]
    ) {
      const { reader, out } = reading(1000);
      reader.push(header(length));
      assert.deepEqual(out, [length]);
    }
    const { reader, out } = reading(1000);
    reader.push(frame(new Uint8Array(1000)));
    assert.deepEqual(out, [new Uint8Array(1000)]);
  });

  test("of any length is told exactly, and nothing of it is held", () => {
    for (
      const length of [
        1n << 31n,
        (1n << 32n) - 1n,
        1n << 53n,
        (1n << 53n) + 1n,
        1n << 63n,
        (1n << 64n) - 1n,
      ]
    ) {
      const { reader, out } = reading();
      reader.push(header(length));
      reader.push(new Uint8Array(3));
      reader.push(new Uint8Array(MIB));
      assert.deepEqual(out, [length]);
      assert.ok(reader.heldBytes <= 1024);
      assert.equal(reader.inFrame, false);
      assert.equal(reader.finish(), true);
      assert.deepEqual(out, [length]);
    }
  });

  test("of many bytes ends where it says", () => {
    const length = BigInt(64 * MIB + 10);
    const { reader, out } = reading();
    reader.push(header(length));
    const chunk = new Uint8Array(16 * MIB).fill(0xff);
    for (let i = 0; i < 4; i++) reader.push(chunk);
    reader.push(concatenate([new Uint8Array(10), small]));
    assert.deepEqual(out, [length, Uint8Array.of(1, 2, 3)]);
    assert.equal(reader.inFrame, false);
  });
});

describe("memory", () => {
  test("is taken as bytes come, not as a length says", () => {
    const { reader } = reading();
    reader.push(header(BigInt(4 * MIB)));
    assert.equal(reader.heldBytes, 1024);
    const chunk = new Uint8Array(1000);
    for (let sent = 1000; sent <= 2 * MIB; sent += 1000) {
      reader.push(chunk);
      assert.ok(reader.heldBytes >= sent);
      assert.ok(reader.heldBytes <= Math.max(2 * sent, 1024), `${reader.heldBytes} for ${sent}`);
    }
  });

  test("never is more than the frame, and is given back with it", () => {
    const { reader, out } = reading();
    const payload = new Random(1).bytes(3_000_001);
    const stream = frame(payload);
    pushInPieces(reader, stream.subarray(0, stream.length - 1), () => 50_000);
    assert.equal(reader.heldBytes, stream.length);
    reader.push(stream.slice(stream.length - 1));
    assert.equal(reader.heldBytes, 0);
    assert.deepEqual(out, [payload]);
    // The next unfinished frame begins with little.
    reader.push(stream.slice(0, 9));
    assert.equal(reader.heldBytes, 1024);
  });

  test("is freed at once when a reader is closed, but not while its sink reads it", () => {
    for (const closes of ["outside", "in the sink"]) {
      let buffer: Uint8Array | undefined;
      let length = 0;
      const payload: FrameSink["payload"] = (carry, start, end) => {
        if (closes === "in the sink") reader.close();
        buffer = carry;
        length = carry.subarray(start, end).length;
        return closes === "in the sink" ? TAKEN : UNFINISHED;
      };
      const sink = frameSink(() => {}, { payload });
      const reader = new FrameReader(MIB, sink);
      const stream = frame(new Uint8Array(200_000));
      reader.push(stream.slice(0, 100_000));
      reader.push(stream.slice(100_000));
      assert.equal(length, 200_000, closes);
      if (closes === "outside") {
        assert.ok((buffer?.length ?? 0) >= 200_000);
        reader.close();
      }
      assert.equal(buffer?.length, 0, closes);
    }
  });
});

test("readers that take turns, whose buffers go from one to another, each give their own payloads", () => {
  const random = new Random(11);
  const guests = Array.from({ length: 12 }, (_, guest) => {
    const payloads = Array.from({ length: 60 }, () => new Uint8Array(1 + random.below(70_000)).fill(guest + 1));
    return { ...reading(), payloads, stream: concatenate(payloads.map(frame)), at: 0 };
  });
  while (guests.some(({ stream, at }) => at < stream.length)) {
    const guest = random.pick(guests);
    const end = guest.at + 1 + random.below(60_000);
    guest.reader.push(guest.stream.slice(guest.at, end));
    guest.at = end;
    assert.ok(guest.reader.heldBytes <= Math.max(2 * 70_008, 4096));
  }
  for (const { out, payloads } of guests) assert.deepEqual(out, payloads);
});

test("a frame is begun with the first byte of its header", () => {
  const { reader } = reading();
  assert.deepEqual([reader.inFrame, reader.framesBegun], [false, 0]);
  reader.push(new Uint8Array(0));
  assert.deepEqual([reader.inFrame, reader.framesBegun], [false, 0]);
  reader.push(Uint8Array.of(0));
  assert.deepEqual([reader.inFrame, reader.framesBegun], [true, 1]);
  assert.deepEqual(reader.unfinished, {
    headerBytes: 1,
    payloadBytes: 0,
    expectedBytes: undefined,
  });
  reader.push(Uint8Array.of(0, 0, 0, 0, 0, 0, 5));
  assert.deepEqual(reader.unfinished, { headerBytes: 8, payloadBytes: 0, expectedBytes: 5 });
  reader.push(Uint8Array.of(1, 2));
  assert.deepEqual(reader.unfinished, { headerBytes: 8, payloadBytes: 2, expectedBytes: 5 });
  assert.deepEqual([reader.inFrame, reader.framesBegun], [true, 1]);
  reader.push(Uint8Array.of(3, 4, 5, 0));
  assert.deepEqual([reader.inFrame, reader.framesBegun], [true, 2]);
});

test("random frames, of all sizes around the limit, in random chunks", () => {
  const random = new Random(11);
  for (let round = 0; round < 200; round++) {
    const limit = random.pick([0, 1, 100, 5_000]);
    const payloads = random.many(
      20,
      () => random.bytes(random.oneIn(4) ? random.below(6_000) : random.below(130)),
    );
    const stream = concatenate(payloads.map(frame));
    assert.deepEqual(splitFrames(stream), payloads);
    const { reader, out } = reading(limit);
    pushInPieces(reader, stream, () => 1 + random.below(random.pick([3, 300, 30_000])));
    assert.deepEqual(
      out,
      payloads.map((payload) => payload.length > limit ? BigInt(payload.length) : payload),
    );
  }
});

test("another reader goes on with what was read of a frame, wherever the stream is cut", () => {
  const { bincodeStream, bincode } = fixture("session-isolated");
  const stream = bincodeStream.subarray(0, 3000);
  for (let cut = 0; cut <= stream.length; cut++) {
    const [first, second] = [reading(), reading()];
    first.reader.push(stream.subarray(0, cut));
    second.reader.push(first.reader.unread);
    second.reader.push(stream.subarray(cut));
    const whole = [...first.out, ...second.out];
    assert.deepEqual(whole, bincode.slice(0, whole.length), `cut at ${cut}`);
    assert.deepEqual(second.reader.unfinished, reading1(stream).unfinished);
  }
});

test("another reader goes on skipping a payload that is over the limit", () => {
  const [first, second] = [reading(100), reading(100)];
  const stream = concatenate([header(1000n), new Uint8Array(1000), frame(Uint8Array.of(1, 2, 3))]);
  first.reader.push(stream.subarray(0, 300));
  // Zeros may begin a header, so that the last seven are not done with.
  assert.deepEqual(first.reader.unread, concatenate([header(715n), new Uint8Array(7)]));
  second.reader.push(first.reader.unread);
  second.reader.push(stream.subarray(300));
  assert.deepEqual(second.out, [715n, Uint8Array.of(1, 2, 3)]);
});

function reading1(stream: Uint8Array): FrameReader {
  const { reader } = reading();
  reader.push(stream);
  return reader;
}

test("what has waited for its turn does not count once it is done with, but for what is left of a frame", () => {
  let isOver = true;
  let payloads = 0;
  const reader = new FrameReader(1024 * 1024, frameSink(() => void payloads++, { turnIsOver: () => isOver }));
  const whole = frame(new Uint8Array(8192).fill(1));
  const unfinished = frame(new Uint8Array(4000).fill(2)).subarray(0, 3000);
  const count = 64;
  reader.push(new Uint8Array(Buffer.concat([...Array<Uint8Array>(count).fill(whole), unfinished])));
  assert.ok(reader.isStopped);
  while (reader.isStopped) {
    isOver = !isOver;
    reader.proceed();
  }
  assert.equal(payloads, count);
  assert.ok(reader.heldBytes >= unfinished.length && reader.heldBytes <= 2 * 4096, `${reader.heldBytes} are held`);
  isOver = false;
  reader.push(new Uint8Array(FRAME_HEADER_BYTES + 4000 - unfinished.length));
  assert.equal(payloads, count + 1);
  assert.equal(reader.heldBytes, 0);
});

describe("a chunk that waits for its turn", () => {
  const payloads = Array.from({ length: 9 }, (_, i) => new Uint8Array(20_000 + i).fill(i + 1));
  const stream = concatenate(payloads.map(frame));

  test("is not copied if the reader may own it, and is released once, when it is done with", () => {
    let isOver = true;
    const seen: Uint8Array[] = [];
    const taken: Uint8Array[] = [];
    const released: Uint8Array[] = [];
    const sink = frameSink((buffer, start, end) => {
      assert.ok(!released.includes(buffer));
      seen.push(buffer);
      taken.push(buffer.slice(start, end));
    }, { turnIsOver: () => isOver });
    const reader = new FrameReader(MIB, sink);
    const release = (chunk: Uint8Array): void => void released.push(chunk);
    const [first, second] = [stream.slice(0, 130_000), stream.slice(130_000)];
    reader.defer(first, release);
    assert.deepEqual([taken.length, released.length, reader.isStopped], [0, 0, true]);
    while (reader.isStopped) {
      isOver = !isOver;
      reader.proceed();
    }
    assert.deepEqual([taken.length, released], [6, [first]]);
    assert.ok(seen.every((buffer) => buffer === first));
    isOver = true;
    reader.push(second, release);
    assert.deepEqual(reader.unread, stream.slice(7 * FRAME_HEADER_BYTES + sumOf(payloads.slice(0, 7))));
    while (reader.isStopped) {
      isOver = !isOver;
      reader.proceed();
    }
    assert.deepEqual([taken, released], [payloads, [first, second]]);
  });

  test("gives the same payloads when more chunks come meanwhile, whoever owns them", () => {
    const random = new Random(3);
    for (let round = 0; round < 100; round++) {
      const taken: Uint8Array[] = [];
      const owned: Uint8Array[] = [];
      const released: Uint8Array[] = [];
      const sink = frameSink((buffer, start, end) => void taken.push(buffer.slice(start, end)), {
        turnIsOver: () => random.oneIn(2),
      });
      const reader = new FrameReader(MIB, sink);
      for (let at = 0; at < stream.length;) {
        const chunk = stream.slice(at, at += 1 + random.below(random.pick([100, 10_000, 100_000])));
        const isOwned = random.oneIn(2);
        const step = random.oneIn(3) ? "defer" : "push";
        if (isOwned) owned.push(chunk);
        reader[step](chunk, isOwned ? (each) => void released.push(each.fill(0xee)) : undefined);
        if (!isOwned) chunk.fill(0xee);
        if (reader.isStopped && random.oneIn(2)) reader.proceed();
      }
      while (reader.isStopped) reader.proceed();
      assert.deepEqual(taken, payloads);
      assert.equal(released.length, owned.length);
      assert.deepEqual(new Set(released), new Set(owned));
    }
  });

  test("is given back with a reader that is closed, and counts as come for a frame that is given up", () => {
    const released: Uint8Array[] = [];
    const reader = new FrameReader(MIB, { ...frameSink(() => {}), payload: () => UNFINISHED });
    const chunk = stream.slice(0, 50_000);
    reader.push(chunk, (each) => void released.push(each));
    assert.ok(reader.isStopped);
    assert.deepEqual(reader.unfinished, { headerBytes: 8, payloadBytes: 20_000, expectedBytes: 20_000 });
    reader.close();
    assert.deepEqual(released, [chunk]);
  });
});

function sumOf(arrays: readonly Uint8Array[]): number {
  return arrays.reduce((sum, { length }) => sum + length, 0);
}
