// Guests that do what they should not, in a process of their own, so that they take nothing from the guest beside them.
// Use: bun hostile.ts WHAT ADDRESS FIRST [CONNECTIONS]; spans get ids from the number FIRST on. Says "at it" once all
// are, and when it is told to stop (SIGTERM) ends what it is writing, and says what it has done, as a line of JSON.
import { once } from "node:events";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { hostileStreams, plainJson, repeated } from "../../../hostile/payloads.ts";
import { Guest } from "../../../process/support/sandbox.ts";
import { plainFrames } from "../../../process/support/spans.ts";
import { Random } from "../../../decode/support/random.ts";

/** What a process of hostile guests says at its end. */
export interface Done {
  /** Connections made. */
  readonly connections: number;
  /** Connections that the forwarder has ended. */
  readonly cut: number;
  /** Whole frames with good spans, whose ids count from the first on. */
  readonly spans: number;
  /** Bytes written. */
  readonly bytes: number;
}

const [what = "", address = "", firstId = "1", connections = "8"] = process.argv.slice(2);
const random = new Random(1);
let stopping = false;
let next = Number(firstId);
let atIt = 0;
const done = { connections: 0, cut: 0, spans: 0, bytes: 0 };
process.once("SIGTERM", () => stopping = true);

/** How many there are, and what one connection does; then it connects again. */
type Kind = readonly [guests: number, live: (guest: Guest) => Promise<void>];

/** Header of a frame. */
function header(length: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, length);
  return bytes;
}

/** Writes; fails when the forwarder ends the connection meanwhile. */
function write(guest: Guest, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const cut = (): void => reject(new Error("the forwarder has ended the connection"));
    guest.socket.once("close", cut);
    guest.socket.write(bytes, (error) => {
      guest.socket.off("close", cut);
      if (error) return reject(error);
      done.bytes += bytes.length;
      resolve();
    });
  });
}

async function writeSpans(guest: Guest, count: number, bytes: number): Promise<void> {
  const first = next;
  next += count;
  await write(guest, plainFrames(first, count, bytes));
  done.spans += count;
}

/** Does something until the end, or until the forwarder has had enough. */
async function again(guest: Guest, ms: number, act: () => Promise<void>): Promise<void> {
  while (!stopping && !guest.closed) {
    await act();
    await sleep(ms);
  }
}

const LENGTHS = [1n << 63n, (1n << 64n) - 1n, (1n << 63n) - 1n, 1n << 53n, 1n << 32n];
const GARBAGE = random.bytes(64 * 1024);
const HALF = plainFrames(1, 1, 20_000).subarray(0, 10_000);

const KINDS: Readonly<Record<string, Kind>> = {
  /** Many well-behaved ones at once. */
  thousand: [1000, (guest) => again(guest, 1000, () => writeSpans(guest, 1, 300))],
  /** Connect, send one span, leave. */
  passing: [20, async (guest) => {
    await writeSpans(guest, 1, 300);
    await sleep(5);
  }],
  /** A byte now and then of a frame that is never whole. */
  slow: [
    300,
    async (guest) => {
      let at = 0;
      await again(guest, 50, () => write(guest, HALF.subarray(at, ++at)));
    },
  ],
  silent: [1000, (guest) => again(guest, 100, () => Promise.resolve())],
  /** Half a frame, and away. */
  half: [20, async (guest) => {
    await write(guest, HALF);
    await sleep(5);
  }],
  /** Whole frames that hold anything, and streams that are no frames at all. */
  garbage: [20, async (guest) => {
    const isFramed = random.oneIn(2);
    for (let i = 0; i < 50 && !stopping && !guest.closed; i++) {
      const bytes = GARBAGE.subarray(random.below(GARBAGE.length));
      if (isFramed) await write(guest, header(BigInt(bytes.length)));
      await write(guest, bytes);
      await sleep(5);
    }
  }],
  /** Frames of 2^63 bytes and the like, of which some come. */
  lengths: [50, async (guest) => {
    await write(guest, header(random.pick(LENGTHS)));
    await again(guest, 20, () => write(guest, GARBAGE.subarray(0, 8192)));
  }],
  /** Good spans, as fast as they are read. */
  flood: [4, (guest) => again(guest, 0, () => writeSpans(guest, 50, 4000))],
  /** Good spans, 5,000 a second: what a busy sandbox may well have. */
  steady: [1, (guest) => again(guest, 10, () => writeSpans(guest, 50, 20))],
  /** Payloads that are none, small and as fast as they are read; who is disconnected comes again at once. */
  rubbish: [4, async (guest) => {
    const frames = new Uint8Array(1000 * 16);
    for (let at = 7; at < frames.length; at += 16) frames[at] = 8;
    await again(guest, 0, () => write(guest, frames));
  }],
};

async function run([, live]: Kind): Promise<void> {
  for (let isFirst = true; !stopping; isFirst = false) {
    using guest = await Guest.connect(address).catch(() => undefined);
    if (guest === undefined) {
      // The system lets only so many wait to be accepted.
      await sleep(10);
      continue;
    }
    done.connections++;
    if (isFirst) atIt++;
    try {
      await live(guest);
      if (guest.closed) done.cut++;
      else await Promise.race([guest.end(), once(guest.socket, "close")]);
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      done.cut++;
    }
  }
}

/** How many bytes of a stream are written at once, at least. */
const STREAM_WRITE_BYTES = 256 * 1024;
const STREAM_PREFIX = "stream:";

/** One stream again and again, as fast as it is read, on each connection. */
function streamKind(name: string): Kind {
  const stream = [plainJson(), ...hostileStreams()].find((each) => each.name === name);
  if (stream === undefined) throw new Error(`no stream is called ${name}`);
  const block = repeated(stream.bytes, Math.max(STREAM_WRITE_BYTES, stream.bytes.length));
  return [Number(connections), async (guest) => {
    while (!stopping && !guest.closed) await write(guest, block);
  }];
}

const kind = what.startsWith(STREAM_PREFIX) ? streamKind(what.slice(STREAM_PREFIX.length)) : KINDS[what];
if (kind === undefined) throw new Error(`no guests are called ${what}`);
const all = Promise.all(Array.from({ length: kind[0] }, () => run(kind)));
while (atIt < kind[0]) await sleep(5);
process.stdout.write("at it\n");
await all;
process.stdout.write(`${JSON.stringify(done satisfies Done)}\n`);
process.exit();
