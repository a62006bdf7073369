import assert from "node:assert/strict";
import { test } from "node:test";
import { FrameReader, TAKEN } from "../../../src/decode/frame-reader.ts";
import { ReadLog, type ReadLogOptions } from "../../../src/host/handover/read-log.ts";
import { HEADER_BYTES, ReadLogError, ReadLogMemory } from "../../../src/host/handover/read-log-format.ts";
import { concatenate, frame } from "../../decode/support/fixtures.ts";
import { frameSink } from "../../decode/support/frame-sink.ts";
import { Random } from "../../decode/support/random.ts";

const MIB = 1024 * 1024;
/** Anything: the log only ever adds to it. */
const ADDRESS = 0x7f00_0000_0000n;
const MOST_FRAME_BYTES = 4 * MIB;

/** Sockets' buffers, and a kernel that reads from them as recvmmsg(2) does. */
class Kernel {
  readonly sockets = new Map<number, Uint8Array>();
  memory: Uint8Array;
  /** Called at each moment in which the process may be killed. */
  moment = (): void => {};

  constructor(bytes: number) {
    this.memory = new Uint8Array(bytes);
  }

  readonly receive = (socket: number, header: bigint): void => {
    const view = new DataView(this.memory.buffer);
    const message = Number(header - ADDRESS);
    const vector = Number(view.getBigUint64(message + 16, true) - ADDRESS);
    const to = Number(view.getBigUint64(vector, true) - ADDRESS);
    assert.equal(view.getBigUint64(message + 24, true), 1n);
    const waiting = this.sockets.get(socket) ?? assert.fail();
    this.moment();
    const read = waiting.subarray(0, Number(view.getBigUint64(vector + 8, true)));
    this.memory.set(read, to);
    // From here on it is no longer in the socket: both at once.
    view.setUint32(message + 56, read.length, true);
    this.sockets.set(socket, waiting.slice(read.length));
    this.moment();
  };

  open(settle: () => void = () => {}): ReadLog {
    const isNew = this.memory.every((byte) => byte === 0);
    const memory = isNew ? ReadLogMemory.create(this.memory) : ReadLogMemory.open(this.memory);
    const discard: ReadLogOptions["discard"] = (at, length) => void this.memory.fill(0, at, at + length);
    return new ReadLog(memory, { settle, discard, address: ADDRESS, receive: this.receive });
  }
}

function sizeFor(halfBytes: number): number {
  return HEADER_BYTES + 2 * halfBytes;
}

/** What there is when a process is killed, and how many payloads were safe then. */
interface Killed {
  readonly memory: Uint8Array;
  readonly sockets: Map<number, Uint8Array>;
  readonly safe: number;
}

/** A stream of frames that all differ. */
function stream(random: Random, first: number, count: number): { bytes: Uint8Array; payloads: string[] } {
  const payloads = Array.from({ length: count }, (_, index) => {
    const text = `payload ${first + index} `;
    return text.padEnd(random.oneIn(8) ? random.below(300_000) : random.below(600), "x");
  });
  return { bytes: concatenate(payloads.map((text) => frame(new TextEncoder().encode(text)))), payloads };
}

test("a process that is killed at any moment loses nothing that it has read", async () => {
  const CONNECTIONS = 6;
  let kills = 0;
  for (let seed = 1; seed <= 15; seed++) {
    const random = new Random(seed);
    const kernel = new Kernel(sizeFor(4 * MIB));
    const streams = Array.from({ length: CONNECTIONS }, (_, socket) => stream(random, socket * 1000, 25));
    streams.forEach(({ bytes }, socket) => kernel.sockets.set(socket, bytes));
    /** What was made of payloads and survives, and what is lost with the process. */
    const safe: string[] = [];
    let unsafe: string[] = [];
    for (let lives = 0, isDone = false; !isDone; lives++) {
      unsafe = [];
      const log = kernel.open(() => safe.push(...unsafe.splice(0)));
      const readers = streams.map(() =>
        new FrameReader(
          MOST_FRAME_BYTES,
          frameSink((buffer, start, end) => unsafe.push(new TextDecoder().decode(buffer.slice(start, end))), {
            turnIsOver: () => random.oneIn(3),
          }),
        )
      );
      const connections = streams.map((_, socket) => log.of(`guest|${socket}`, `account ${socket % 2}`));
      const process = (socket: number, step: (reader: FrameReader) => void): void => {
        const reader = readers[socket] as FrameReader;
        step(reader);
        connections[socket]?.processed(reader);
      };
      for (const name of log.inherited) {
        const bytes = log.pending(name) ?? assert.fail(name);
        process(Number(name.split("|")[1]), (reader) => reader.push(bytes));
      }
      let left = lives < 12 ? 1 + random.below(40) : Infinity;
      let killed: Killed | undefined;
      kernel.moment = () => {
        if (--left !== 0) return;
        kills++;
        killed = { memory: kernel.memory.slice(), sockets: new Map(kernel.sockets), safe: safe.length };
      };
      while (killed === undefined && !isDone) {
        const socket = random.below(CONNECTIONS);
        const reader = readers[socket] as FrameReader;
        if (reader.isStopped) process(socket, () => reader.proceed());
        else {
          const waiting = kernel.sockets.get(socket) as Uint8Array;
          const hidden = waiting.slice(random.below(100_000));
          kernel.sockets.set(socket, waiting.subarray(0, waiting.length - hidden.length));
          const chunk = connections[socket]?.receive(socket) ?? assert.fail();
          const atKill = (killed as Killed | undefined)?.sockets;
          for (const sockets of atKill === undefined ? [kernel.sockets] : [kernel.sockets, atKill]) {
            sockets.set(socket, concatenate([sockets.get(socket) ?? new Uint8Array(0), hidden]));
          }
          process(socket, () => random.oneIn(4) ? reader.defer(chunk) : reader.push(chunk));
        }
        kernel.moment();
        if (random.oneIn(2)) await Promise.resolve();
        kernel.moment();
        isDone = [...kernel.sockets.values()].every(({ length }) => length === 0) &&
          readers.every((each) => !each.isStopped);
      }
      await Promise.resolve();
      if (killed === undefined) continue;
      isDone = false;
      safe.length = killed.safe;
      Object.assign(kernel, { memory: killed.memory });
      for (const [socket, bytes] of killed.sockets) kernel.sockets.set(socket, bytes);
    }
    const all = streams.flatMap(({ payloads }) => payloads);
    assert.deepEqual(new Set(safe), new Set(all), `seed ${seed}`);
  }
  // Otherwise this has shown nothing.
  assert.ok(kills > 100, `${kills}`);
});

test("the log has what another reader must be given, also while a frame is searched for", async () => {
  for (let seed = 1; seed <= 25; seed++) {
    const random = new Random(seed);
    const kernel = new Kernel(sizeFor(MIB));
    const log = kernel.open();
    const connection = log.of("guest|1", "a");
    const reader = new FrameReader(
      MOST_FRAME_BYTES,
      frameSink(() => {}, {
        // One in three is refused.
        payload: () => random.oneIn(3) ? random.below(20) : TAKEN,
        resembles: () => random.oneIn(100),
        oversized: () => {},
        givenUp: () => {},
        turnIsOver: () => random.oneIn(4),
      }),
    );
    const { bytes } = stream(random, 0, 20);
    for (let at = 0; at < bytes.length;) {
      if (reader.isStopped) reader.proceed();
      else {
        const end = at + 1 + random.below(random.oneIn(2) ? 20 : 50_000);
        kernel.sockets.set(1, bytes.slice(at, end));
        reader.push(connection.receive(1) ?? assert.fail());
        at = end;
      }
      connection.processed(reader);
      await Promise.resolve();
      assert.deepEqual(log.pending("guest|1") ?? new Uint8Array(0), reader.unread, `seed ${seed} at ${at}`);
      const next = new Kernel(0);
      next.memory = kernel.memory.slice();
      assert.deepEqual(next.open().pending("guest|1") ?? new Uint8Array(0), reader.unread);
    }
  }
});

test("what was processed counts until what was made of it is safe", async () => {
  const kernel = new Kernel(sizeFor(MIB));
  const before: (Uint8Array | undefined)[] = [];
  const log = kernel.open(() => before.push(log.pending("a"), log.pending("b")));
  const [a, b] = [log.of("a", "a"), log.of("b", "b")];
  a.read(Uint8Array.of(1, 2, 3));
  b.read(Uint8Array.of(4));
  a.processed({ unreadBytes: 2, isSearching: false, unread: Uint8Array.of(2, 3) });
  b.end();
  assert.deepEqual(before, []);
  await Promise.resolve();
  assert.deepEqual(before, [Uint8Array.of(1, 2, 3), Uint8Array.of(4)]);
  assert.deepEqual([log.pending("a"), log.pending("b")], [Uint8Array.of(2, 3), undefined]);
  assert.deepEqual([...kernel.open().inherited], ["a"]);
});

test("what is handed over stays, and what this process keeps to itself does not", () => {
  const kernel = new Kernel(sizeFor(MIB));
  const log = kernel.open();
  const [left, own] = [log.of("left", "a"), log.of("own", "a")];
  for (const each of [left, own]) each.read(Uint8Array.of(1, 2, 3));
  left.processed({ unreadBytes: 1, isSearching: false, unread: Uint8Array.of(3) });
  own.end();
  left.leave();
  log.freeze();
  left.read(Uint8Array.of(9));
  left.end();
  log.settle();
  const next = kernel.open();
  assert.deepEqual([...next.inherited], ["left"]);
  assert.deepEqual(next.pending("left"), Uint8Array.of(3));
});

test("if too much waits, the accounts with the most are not in the log until they have caught up", async () => {
  const kernel = new Kernel(sizeFor(2 * MIB));
  const log = kernel.open();
  const small = log.of("small", "honest");
  small.read(new Uint8Array(1000).fill(1));
  const flood = Array.from({ length: 30 }, (_, index) => log.of(`flood ${index}`, "flood"));
  for (const each of flood) each.read(new Uint8Array(200_000).fill(2));
  // Each new read that finds no room is read elsewhere.
  kernel.sockets.set(1, Uint8Array.of(7));
  assert.deepEqual(log.pending("small"), new Uint8Array(1000).fill(1));
  const kept = flood.filter(({ name }) => log.has(name));
  assert.ok(kept.length > 0 && kept.length <= 10, `${kept.length}`);
  const lost = flood.find(({ isLost }) => isLost) ?? assert.fail();
  assert.equal(lost.receive(1), undefined);
  for (const name of kernel.open().inherited) assert.ok(log.has(name), name);
  // Caught up.
  lost.processed({ unreadBytes: 0, isSearching: false, unread: new Uint8Array(0) });
  await Promise.resolve();
  for (const each of kept) each.end();
  await Promise.resolve();
  assert.deepEqual(lost.receive(1), Uint8Array.of(7));
  assert.deepEqual(log.pending(lost.name), Uint8Array.of(7));
});

test("while everything is processed in its turn, the log stays as small as one read", async () => {
  const kernel = new Kernel(sizeFor(MIB));
  const log = kernel.open();
  const connection = log.of("guest", "a");
  for (let round = 0; round < 100; round++) {
    kernel.sockets.set(1, new Uint8Array(10_000).fill(5));
    connection.receive(1);
    connection.processed({ unreadBytes: 0, isSearching: false, unread: new Uint8Array(0) });
    await Promise.resolve();
  }
  assert.equal(kernel.memory.lastIndexOf(5) < HEADER_BYTES + 10_100, true);
});

test("memory that is not a log, or is damaged, is refused", () => {
  const kernel = new Kernel(sizeFor(MIB));
  const log = kernel.open();
  for (const name of ["one", "two"]) log.of(name, "a").read(new Uint8Array(50).fill(1));
  const open = (bytes: Uint8Array): void => {
    const other = new Kernel(0);
    other.memory = bytes;
    other.open();
  };
  assert.throws(() => open(new Uint8Array(sizeFor(MIB)).fill(1)), ReadLogError);
  // Of another size.
  assert.throws(() => open(kernel.memory.slice(0, sizeFor(MIB) - 2)), ReadLogError);
  const random = new Random(3);
  for (let round = 0; round < 300; round++) {
    const bytes = kernel.memory.slice();
    const at = random.oneIn(2) ? random.below(160) : HEADER_BYTES + random.below(140);
    bytes[at] = random.below(256);
    try {
      open(bytes);
    } catch (error) {
      assert.ok(error instanceof ReadLogError, `${error}`);
    }
  }
});
