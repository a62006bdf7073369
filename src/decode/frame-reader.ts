import { copyBytes } from "../otlp/put-bytes.ts";
import { freeBytes } from "../base/free-bytes.ts";
import { giveBackCarryBuffer, takeCarryBuffer } from "./carry-buffers.ts";
import { FRAME_HEADER_BYTES, HeaderSearch, RECOGNISED_BYTES } from "./header-search.ts";

export { FRAME_HEADER_BYTES };

/** A carry buffer up to this size is kept for the guest's next frame; about as much as a page of memory. */
const RETAINED_BYTES = 4096;
/** The smallest carry buffer: most payloads fit. */
const SMALLEST_CARRY_BYTES = 1024;

/** After so many bytes the sink is asked whether to go on; about a tenth of a millisecond's work. */
const SLICE_BYTES = 16 * 1024;

/** The fewest frames that are handed to the sink together. */
const FEWEST_TOGETHER = 2;
/**
 * How many frames are handed out one by one after the sink has not taken all of a group. It has then looked at the next
 * frame in vain, and a guest must not be able to make it look at every frame twice. The number doubles each time, up to
 * the second one.
 */
const FRAMES_APART = 16;
const MOST_FRAMES_APART = 1024;
/** The smallest payload that is handed out together with others: every span in JSON or bincode is larger. */
const LEAST_TOGETHER_BYTES = 64;

/**
 * A frame that was found by searching in bincode, and is not valid, was one nevertheless if so many bytes of it looked
 * like a span. With fewer, another frame's bytes may have looked like one by chance.
 */
export const CERTAIN_BYTES = 256;

/** How many bytes of a chunk are searched together with what is held of the one before: more than a search leaves. */
const SEARCH_BYTES = 4 * (FRAME_HEADER_BYTES + RECOGNISED_BYTES);

// What a guest's bytes may cost again after they have been refused, counted in bytes of ordinary payloads. Each byte
// that comes earns one, so bytes in which every place looks like a header cost at most about twice as much as others.
/** A payload that is refused, beside what was examined of it: making an error and telling of it. */
const REFUSAL_COST = 1024;
/** A place that may be a header: a tenth of a microsecond, where every eighth byte is one. */
const CHECK_COST = 32;
/** Decoders copy a payload before they look at it, which is so much faster than decoding: a power of two. */
const COPYING_SHIFT = 4;

/**
 * How much of a payload that was taken is searched too, if the next one is refused, bytes. In bincode a payload that
 * was given up shortly before its end may become whole with the beginning of the next frame: with its header, and with
 * as many of its first bytes as may be text by chance.
 */
const TAIL_BYTES = FRAME_HEADER_BYTES + 16;

/** Frames that are longer, as far as a double can tell, have no end that could be reached. */
const LONGEST_SKIPPED = Number.MAX_SAFE_INTEGER;
const ENDLESS = 2n ** 64n - 1n;

const NO_BYTES = new Uint8Array(0);

/** What {@link FrameSink.payload} says of a payload that is a span. */
export const TAKEN = -1;
/** What {@link FrameSink.payload} says of a payload with which it is not done: it will get it again. */
export const UNFINISHED = -2;

/** What takes a {@link FrameReader}'s frames. Its methods must not throw: the rest of the chunk would be lost. */
export interface FrameSink {
  /**
   * A whole payload, `buffer[start … end)`; the bytes are the sink's only until it returns. Returns {@link TAKEN},
   * {@link UNFINISHED}, or of a payload that is none, how many of its bytes were examined before that was clear.
   *
   * @param isFound the frame was found by searching, and may be none.
   */
  payload(buffer: Uint8Array, start: number, end: number, isFound: boolean): number;
  /** Whether it is worth calling {@link payloads}. Absent: it never is. */
  readonly takesTogether?: boolean;
  /**
   * Whole frames that follow each other, `buffer[start … end)`, headers included, none of which was found by searching;
   * the bytes are the sink's only until it returns. Returns how many of them it has taken, the first ones, each of
   * which is a span. The others come to {@link payload}.
   */
  payloads?(buffer: Uint8Array, start: number, end: number, frames: number): number;
  /** Whether the beginning of a payload of `length` bytes looks like a span's; see `Resembles`. */
  resembles(buffer: Uint8Array, start: number, end: number, length: number): boolean;
  /**
   * The same of a payload that is not whole yet, `buffer[start … end)`, of a frame that was found by searching: returns
   * {@link TAKEN} if it may still be a span, else how many bytes were examined before it was clear that it is none.
   */
  begun(buffer: Uint8Array, start: number, end: number): number;
  /** True where no payload holds a zero byte. Then one that does is not waited for: another frame begins there. */
  readonly isText: boolean;
  /** A frame has begun whose payload of `length` bytes is over the limit, and will be skipped. */
  oversized(length: bigint): void;
  /** A frame is given up that is not whole; `isFound` as above. */
  givenUp(frame: UnfinishedFrame, isFound: boolean): void;
  /** Asked now and then: true to have the rest wait for {@link FrameReader.proceed}. */
  turnIsOver(): boolean;
}

/**
 * Gives a chunk's memory back. Whoever gets it together with the chunk owns the chunk until then, and calls it at most
 * once.
 */
export type ReleaseChunk = (chunk: Uint8Array) => void;

/** A chunk that waits for {@link FrameReader.proceed}, from `at` on. */
interface WaitingChunk {
  readonly chunk: Uint8Array;
  readonly at: number;
  readonly release: ReleaseChunk | undefined;
}

/** A frame that is not whole yet. */
export interface UnfinishedFrame {
  /** How much of the length is there: 0 to {@link FRAME_HEADER_BYTES}. */
  readonly headerBytes: number;
  /** How much of the payload has come. */
  readonly payloadBytes: number;
  /** The payload's length; absent while the header is not whole. */
  readonly expectedBytes: number | undefined;
}

/**
 * Cuts one guest's stream into payloads, whatever chunks it comes in.
 *
 * A payload that lies whole in a chunk is handed out where it is, together with others if it is small. Any other is
 * gathered in a carry buffer, which grows as the bytes arrive: nothing is allocated because a length says so. A chunk
 * that has to wait for a turn is not copied if the reader may own it.
 *
 * Places and lengths within a buffer are integers for the engine too. Where one is computed from a number that may be
 * larger, it is made an integer with `| 0`: a single double would be seen by every decoder that is given the place, and
 * engines then compile all of them several times as slow, for as long as the process runs.
 *
 * After a payload that is refused, one over the limit, and one that is given up because it did not come, the next frame
 * is searched for in what was taken for that payload (see {@link HeaderSearch}): its agent may have given it up. The
 * work of searching is bounded whatever the bytes are.
 */
export class FrameReader {
  readonly #maxFrameBytes: number;
  readonly #sink: FrameSink;
  readonly #search: HeaderSearch;
  #framesBegun = 0;
  /**
   * What is not done with: `#carry[#start … #start + #held)`. The `#tail` bytes before it ended a payload that was
   * taken.
   */
  #carry: Uint8Array = NO_BYTES;
  #start = 0;
  #held = 0;
  #tail = 0;
  /** A small carry buffer, which waits while a larger one is in use: to allocate one for each frame takes longer. */
  #spare: Uint8Array = NO_BYTES;
  /** How many bytes have to be held before it is worth to look at them again. */
  #wanted = FRAME_HEADER_BYTES;
  /** What is held begins inside a frame, which has so many bytes if its header is whole. */
  #inFrame = false;
  #frameBytes = 0;
  /** That frame was found by searching. */
  #isFound = false;
  /** Searching has to begin in the tail, which is held elsewhere than what is taken. */
  #wantsTail = false;
  /** What refused payloads may still cost, bytes. */
  #credit: number;
  /** How many more frames are handed out one by one, and how many will be the next time. */
  #apart = 0;
  #nextApart = FRAMES_APART;
  /** Bytes of work since the sink was asked whether to go on. */
  #sliceBytes = 0;
  #isStopped = false;
  /** What follows the held bytes and has not been looked at; only while the reader is stopped. */
  #waiting: WaitingChunk | undefined;
  #isClosed = false;
  /** The sink may be reading what has come. It stays so if the sink throws. */
  #isReading = false;

  /** `maxFrameBytes` is the largest payload that is taken, below 2^31. */
  constructor(maxFrameBytes: number, sink: FrameSink) {
    this.#maxFrameBytes = maxFrameBytes;
    this.#sink = sink;
    this.#credit = this.#mostCredit;
    this.#search = new HeaderSearch(maxFrameBytes, (buffer, start, end, length) => {
      if (this.#credit < CHECK_COST) return false;
      this.#credit -= CHECK_COST;
      return sink.resembles(buffer, start, end, length);
    });
  }

  /** True when the stream is inside a frame: its header has begun, its last byte has not come, and it is not given up. */
  get inFrame(): boolean {
    return this.#inFrame;
  }

  /** How many frames have begun so far: while this stays and {@link inFrame} is true, it is still the same frame. */
  get framesBegun(): number {
    return this.#framesBegun;
  }

  /** Memory that an unfinished payload takes, bytes: at most twice what has come of it, or 4 KiB. */
  get heldBytes(): number {
    return this.#held === 0 ? 0 : this.#carry.length;
  }

  /** True while bytes wait for {@link proceed}, because the sink has said that its turn is over. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** The frame that the stream is inside of; none between frames. */
  get unfinished(): UnfinishedFrame | undefined {
    if (!this.#inFrame) return undefined;
    // A large payload that is not done with may lie in a chunk that waits.
    const come = this.#held > 0 ? this.#held : Math.min(this.#waitingBytes, this.#frameBytes);
    const isWhole = come >= FRAME_HEADER_BYTES;
    return {
      headerBytes: Math.min(come, FRAME_HEADER_BYTES),
      payloadBytes: isWhole ? come - FRAME_HEADER_BYTES : 0,
      expectedBytes: isWhole ? this.#frameBytes - FRAME_HEADER_BYTES : undefined,
    };
  }

  /** How many bytes {@link unread} has. */
  get unreadBytes(): number {
    return this.#held + this.#waitingBytes + (this.#search.active ? FRAME_HEADER_BYTES : 0);
  }

  /** True while the next frame is searched for. Then {@link unread} begins with a length that did not come. */
  get isSearching(): boolean {
    return this.#search.active;
  }

  /**
   * What has been read and is not done with: another reader that is given it first goes on where this one is. If this
   * one searches for the next frame, the other is told how far that has to be searched for, as a frame of that length.
   */
  get unread(): Uint8Array {
    const held = new Uint8Array(this.#held + this.#waitingBytes);
    held.set(this.#carry.subarray(this.#start, this.#start + this.#held));
    if (this.#waiting !== undefined) held.set(this.#waiting.chunk.subarray(this.#waiting.at), this.#held);
    if (!this.#search.active) return held;
    const unread = new Uint8Array(FRAME_HEADER_BYTES + held.length);
    const { left } = this.#search;
    new DataView(unread.buffer).setBigUint64(0, left > LONGEST_SKIPPED ? ENDLESS : BigInt(left));
    unread.set(held, FRAME_HEADER_BYTES);
    return unread;
  }

  /**
   * Takes the next bytes of the stream, all of them: the sink has every payload that ends in them when this returns,
   * unless the reader is stopped.
   *
   * @param release is called once the chunk is done with. Default: the chunk is the reader's only until this returns.
   */
  push(chunk: Uint8Array, release?: ReleaseChunk): void {
    this.#credit = Math.min(this.#credit + chunk.length, this.#mostCredit);
    this.#pushFrom(chunk, 0, release);
  }

  /** Takes the next bytes of the stream as {@link push} does, but all of them wait for {@link proceed}. */
  defer(chunk: Uint8Array, release?: ReleaseChunk): void {
    if (!this.#isClosed && chunk.length > 0) this.#isStopped = true;
    this.push(chunk, release);
  }

  /** Goes on with what waits since the sink's turn was over. */
  proceed(): void {
    this.#isStopped = false;
    this.#isReading = true;
    this.#takeHeld();
    const waiting = this.#waiting;
    if (waiting === undefined) this.#checkText(this.#held);
    else if (!this.#isStopped) {
      this.#waiting = undefined;
      this.#pushFrom(waiting.chunk, waiting.at, waiting.release);
    }
    this.#endReading();
  }

  /** Gives up the frame that the stream is inside of, if any, and looks for others in what has come of it. */
  giveUp(): void {
    this.#gatherWaiting();
    if (!this.#inFrame) return;
    this.#isReading = true;
    this.#abandon();
    this.#checkText(this.#held);
    this.#endReading();
  }

  /**
   * The stream has ended: what is not whole is given up, and what is whole in it is handed out. False if that is not
   * done because the reader is stopped: to be called again after {@link proceed}.
   */
  finish(): boolean {
    this.#isReading = true;
    while (!this.#isStopped && this.#inFrame) {
      if (this.#pay(REFUSAL_COST)) this.#abandon();
      else {
        this.#sink.givenUp(this.unfinished as UnfinishedFrame, this.#isFound);
        this.close();
      }
    }
    this.#endReading();
    return !this.#isStopped;
  }

  /**
   * Takes nothing more, hands out nothing more, and holds nothing. May be called by the sink, which may still read the
   * carry buffer then, so that is given back once the sink is done.
   */
  close(): void {
    this.#isClosed = true;
    this.#isStopped = this.#inFrame = false;
    this.#held = 0;
    this.#waiting?.release?.(this.#waiting.chunk);
    this.#waiting = undefined;
    if (!this.#isReading) this.#endReading();
  }

  /** The sink reads nothing any more of what it was given. */
  #endReading(): void {
    this.#isReading = false;
    if (!this.#isClosed) return;
    const { length } = this.#carry;
    if (length > RETAINED_BYTES) giveBackCarryBuffer(this.#carry);
    this.#carry = this.#spare = NO_BYTES;
  }

  get #mostCredit(): number {
    return 2 * this.#maxFrameBytes + REFUSAL_COST;
  }

  #pay(bytes: number): boolean {
    if (this.#credit < bytes) return false;
    this.#credit -= bytes;
    return true;
  }

  #pushFrom(chunk: Uint8Array, at: number, release: ReleaseChunk | undefined): void {
    this.#isReading = true;
    while (at < chunk.length && !this.#isClosed && !this.#isStopped) {
      at = this.#held > 0 ? this.#pushHeld(chunk, at) : this.#pushAll(chunk, at);
    }
    this.#endReading();
    if (this.#isStopped && at < chunk.length) this.#wait(chunk, at, release);
    else release?.(chunk);
  }

  /** Leaves the chunk from `at` on for {@link proceed}. */
  #wait(chunk: Uint8Array, at: number, release: ReleaseChunk | undefined): void {
    if (this.#waiting === undefined && release !== undefined) {
      this.#waiting = { chunk, at, release };
      return;
    }
    const { chunk: before = NO_BYTES, at: from = 0, release: releaseBefore } = this.#waiting ?? {};
    const waits = before.length - from;
    const both = new Uint8Array(waits + chunk.length - at);
    copyBytes(before, from, before.length, both, 0);
    copyBytes(chunk, at, chunk.length, both, waits);
    releaseBefore?.(before);
    release?.(chunk);
    this.#waiting = { chunk: both, at: 0, release: freeBytes };
  }

  get #waitingBytes(): number {
    return this.#waiting === undefined ? 0 : this.#waiting.chunk.length - this.#waiting.at;
  }

  /** Holds what waits too. */
  #gatherWaiting(): void {
    if (this.#waiting === undefined) return;
    const { chunk, at, release } = this.#waiting;
    this.#waiting = undefined;
    this.#gather(chunk, at, chunk.length);
    release?.(chunk);
  }

  /**
   * Takes the chunk from `at` on, when nothing is held, and holds what is left of it unless the reader is stopped.
   * Returns the first byte that is neither taken nor held.
   */
  #pushAll(chunk: Uint8Array, at: number): number {
    const rest = this.#take(chunk, at, chunk.length);
    if (this.#isClosed) return rest;
    if (this.#wantsTail) {
      this.#wantsTail = false;
      this.#gather(chunk, rest, chunk.length);
      this.#holdTail();
      this.#takeHeld();
    } else {
      if (rest > at) this.#keepTail(chunk, rest);
      if (this.#isStopped) return rest;
      this.#gather(chunk, rest, chunk.length);
    }
    this.#checkText(this.#held);
    return chunk.length;
  }

  /** Completes what is held with bytes of the chunk from `at` on, and takes it; returns the first that is left. */
  #pushHeld(chunk: Uint8Array, at: number): number {
    const before = this.#held;
    // Searching does not stop at a certain place: with a bit more, what is left of it lies in the chunk alone.
    const wanted = this.#search.active ? SEARCH_BYTES : Math.max(this.#wanted - before, 1);
    // An integer for the engine too: from here a double would spread to all places, and be converted again and again.
    const end = Math.min(chunk.length, at + wanted) | 0;
    this.#gather(chunk, at, end);
    if (this.#held < this.#wanted) {
      this.#checkText(end - at);
      return end;
    }
    const taken = this.#takeFromCarry();
    if (this.#isClosed) return end;
    if (taken < before || this.#isStopped) {
      this.#drop(taken);
      return end;
    }
    // What is left of it lies in the chunk too.
    this.#keepTail(this.#carry, this.#start + taken);
    return at + taken - before;
  }

  #takeHeld(): void {
    if (this.#held === 0) return;
    const taken = this.#takeFromCarry();
    if (this.#isClosed) return;
    if (taken === this.#held) this.#keepTail(this.#carry, this.#start + taken);
    else this.#drop(taken);
  }

  /** Takes what can be taken of what is held; returns how many bytes that is. */
  #takeFromCarry(): number {
    return this.#take(this.#carry, this.#start, this.#start + this.#held) - this.#start;
  }

  /** Gives up the current frame, and takes what is found in what has come of it. */
  #abandon(): void {
    const { unfinished } = this;
    if (unfinished === undefined) return;
    const isFound = this.#isFound;
    this.#inFrame = this.#isFound = false;
    this.#sink.givenUp(unfinished, isFound);
    if (this.#isClosed) return;
    if (isFound) this.#search.resume(this.#sink.isText);
    else {
      const isLengthKnown = unfinished.expectedBytes !== undefined;
      this.#search.begin(this.#tail, isLengthKnown ? this.#tail + this.#frameBytes : Infinity);
    }
    this.#holdTail();
    this.#takeHeld();
  }

  /**
   * Takes what can be taken of `buffer[at … end)`, which follows what was taken last. Returns where the rest begins,
   * which has to be held until there are `#wanted` bytes of it, or if the reader is stopped.
   */
  #take(buffer: Uint8Array, at: number, end: number): number {
    while (!this.#isClosed) {
      if (at < end && this.#sliceBytes >= SLICE_BYTES) {
        this.#sliceBytes = 0;
        this.#isStopped = this.#sink.turnIsOver();
        if (this.#isStopped) break;
      }
      if (this.#search.active) {
        const to = Math.min(end, at + SLICE_BYTES);
        const found = this.#search.search(buffer, at, to);
        this.#sliceBytes += found - at;
        at = found;
        this.#isFound = this.#search.isFound;
        if (this.#search.active) {
          if (to < end) continue;
          this.#wanted = this.#search.wanted;
          break;
        }
      }
      if (!this.#inFrame && !this.#isFound) {
        if (this.#apart > 0) this.#apart--;
        else if (this.#sink.takesTogether === true) {
          const next = this.#takeTogether(buffer, at, end);
          if (next > at) {
            at = next;
            continue;
          }
        }
      }
      this.#wanted = FRAME_HEADER_BYTES;
      if (at === end) break;
      if (!this.#inFrame) this.#framesBegun++;
      this.#inFrame = true;
      const start = at + FRAME_HEADER_BYTES;
      if (start > end) break;
      const high = uint32(buffer, at);
      const low = uint32(buffer, at + 4);
      const isOversized = high !== 0 || low > this.#maxFrameBytes;
      this.#frameBytes = FRAME_HEADER_BYTES + high * 0x1_0000_0000 + low;
      // Of no meaning if it is over the limit.
      const length = low | 0;
      let outcome: number;
      if (isOversized) {
        this.#inFrame = false;
        this.#sink.oversized((BigInt(high) << 32n) | BigInt(low));
        outcome = 0;
      } else if (start + length > end) {
        this.#wanted = this.#frameBytes;
        outcome = this.#isFound ? this.#checkBeginning(buffer, at, end) : UNFINISHED;
        if (outcome === UNFINISHED) break;
        this.#inFrame = false;
      } else {
        this.#inFrame = false;
        outcome = this.#sink.payload(buffer, start, start + length, this.#isFound);
        if (outcome === UNFINISHED) {
          this.#isStopped = this.#inFrame = true;
          break;
        }
      }
      const isFound = this.#isFound;
      this.#isFound = false;
      if (outcome === TAKEN) {
        this.#sliceBytes += length;
        at = start + length;
        this.#tail = this.#sink.isText ? 0 : Math.min(length, TAIL_BYTES);
        continue;
      }
      this.#sliceBytes += outcome + REFUSAL_COST;
      const examined = Math.min(length, end - start);
      if (!isOversized && !this.#pay(outcome + (examined >>> COPYING_SHIFT) + REFUSAL_COST)) {
        // Its bytes have cost enough: the next frame is where its header says.
        this.#inFrame = examined < length;
        if (this.#inFrame) break;
        at = start + length;
        this.#tail = 0;
        continue;
      }
      if (isFound) this.#search.resume(this.#sink.isText || outcome >= CERTAIN_BYTES);
      else this.#search.begin(this.#tail, this.#tail + this.#frameBytes);
      this.#wantsTail = at < this.#tail;
      if (this.#wantsTail) break;
      at -= this.#tail;
      this.#tail = 0;
    }
    return at;
  }

  /**
   * Takes as many of the whole frames at the beginning of `buffer[at … end)` as the sink takes together. Returns where
   * the rest begins.
   */
  #takeTogether(buffer: Uint8Array, at: number, end: number): number {
    const most = this.#maxFrameBytes;
    const stop = Math.min(end, at + SLICE_BYTES) | 0;
    let last = at;
    let behind = frameEnd(buffer, at, stop, most);
    let frames = 0;
    while (behind > last) {
      frames++;
      const next = frameEnd(buffer, behind, stop, most);
      if (next === behind) break;
      last = behind;
      behind = next;
    }
    if (frames < FEWEST_TOGETHER) return at;
    const taken = this.#sink.payloads?.(buffer, at, behind, frames) ?? 0;
    if (taken < frames) {
      this.#apart = this.#nextApart;
      this.#nextApart = Math.min(2 * this.#nextApart, MOST_FRAMES_APART);
      if (taken === 0) return at;
      behind = at;
      for (let i = 0; i < taken; i++) {
        last = behind;
        behind = frameEnd(buffer, behind, stop, most);
      }
    } else this.#nextApart = FRAMES_APART;
    this.#framesBegun += taken;
    this.#sliceBytes += behind - at - taken * FRAME_HEADER_BYTES;
    this.#tail = this.#sink.isText ? 0 : Math.min(behind - last - FRAME_HEADER_BYTES, TAIL_BYTES);
    return behind;
  }

  /**
   * Looks whether the current frame, which was found by searching, may be one as far as it has come. Then it is
   * unfinished, and looked at again when twice as much has come, so that what is none is not waited for.
   */
  #checkBeginning(buffer: Uint8Array, at: number, end: number): number {
    const examined = this.#sink.begun(buffer, at + FRAME_HEADER_BYTES, end);
    if (examined !== TAKEN) return examined;
    this.#wanted = Math.min(this.#frameBytes, 2 * (end - at));
    return UNFINISHED;
  }

  /** Gives up a frame of text in which another one begins. The last `added` bytes held have not been looked at yet. */
  #checkText(added: number): void {
    if (!this.#sink.isText) return;
    let from = this.#held - added;
    while (this.#inFrame && !this.#isStopped) {
      const text = Math.max(from, FRAME_HEADER_BYTES);
      if (!this.#carry.subarray(this.#start + text, this.#start + this.#held).includes(0)) return;
      if (!this.#pay(REFUSAL_COST)) return;
      this.#abandon();
      from = 0;
    }
  }

  /** Copies `source[from … to)`, which follows what is held, to its end. */
  #gather(source: Uint8Array, from: number, to: number): void {
    if (from === to) return;
    const held = this.#held + to - from;
    if (this.#start + held > this.#carry.length) this.#makeRoom(held);
    copyBytes(source, from, to, this.#carry, this.#start + this.#held);
    this.#held = held;
  }

  /** Makes room for `bytes` behind the tail, which comes first in the carry buffer then. */
  #makeRoom(bytes: number): void {
    const from = this.#start - this.#tail;
    const to = this.#start + this.#held;
    const needed = this.#tail + bytes;
    const { length } = this.#carry;
    if (needed <= length) this.#carry.copyWithin(0, from, to);
    else {
      const capacity = Math.max(needed, Math.min(2 * length, this.#tail + this.#wanted), SMALLEST_CARRY_BYTES);
      const grown = needed > RETAINED_BYTES ? takeCarryBuffer(needed) : this.#takeSpare(needed);
      this.#replaceCarry(grown ?? new Uint8Array(capacity), from, to);
    }
    this.#start = this.#tail;
  }

  /** Lets go of the first bytes that are held. */
  #drop(bytes: number): void {
    this.#start += bytes;
    this.#held -= bytes;
    const needed = this.#tail + this.#held;
    if (this.#carry.length <= RETAINED_BYTES || 2 * needed > this.#carry.length) return;
    // Much more than a frame was held. A buffer for all of that would count as what the guest holds.
    const smaller = new Uint8Array(Math.max(needed, SMALLEST_CARRY_BYTES));
    this.#replaceCarry(smaller, this.#start - this.#tail, this.#start + this.#held);
    this.#start = this.#tail;
  }

  /** Takes another carry buffer, to whose beginning it copies `#carry[from … to)`. */
  #replaceCarry(buffer: Uint8Array, from: number, to: number): void {
    const before = this.#carry;
    copyBytes(before, from, to, buffer, 0);
    this.#carry = buffer;
    this.#letGo(before);
  }

  /** Keeps an unused carry buffer if it is small, and gives it back if it is large. */
  #letGo(buffer: Uint8Array): void {
    if (buffer.length > RETAINED_BYTES) giveBackCarryBuffer(buffer);
    else if (buffer.length > this.#spare.length) this.#spare = buffer;
  }

  /** The small carry buffer that waits, if it has room for `bytes`. */
  #takeSpare(bytes: number): Uint8Array | undefined {
    const spare = this.#spare;
    if (bytes > spare.length) return undefined;
    this.#spare = NO_BYTES;
    return spare;
  }

  /** Holds nothing but the tail, which ends at `buffer[end]`. */
  #keepTail(buffer: Uint8Array, end: number): void {
    const before = this.#carry;
    const isKept = before.length <= RETAINED_BYTES && before.length >= this.#tail;
    if (!isKept) this.#carry = this.#takeSpare(this.#tail) ?? new Uint8Array(SMALLEST_CARRY_BYTES);
    copyBytes(buffer, end - this.#tail, end, this.#carry, 0);
    if (!isKept) this.#letGo(before);
    this.#start = this.#tail;
    this.#held = 0;
  }

  /** Holds the tail too. */
  #holdTail(): void {
    this.#start -= this.#tail;
    this.#held += this.#tail;
    this.#tail = 0;
  }
}

/**
 * The end of the frame at `at`, if it is whole in `buffer[at … stop)`, and its payload has at most `most` bytes, less
 * than 64 KiB, and at least {@link LEAST_TOGETHER_BYTES}; else `at`.
 */
function frameEnd(buffer: Uint8Array, at: number, stop: number, most: number): number {
  const start = at + FRAME_HEADER_BYTES;
  if (start > stop) return at;
  const high = (buffer[at] as number) | (buffer[at + 1] as number) | (buffer[at + 2] as number) |
    (buffer[at + 3] as number) | (buffer[at + 4] as number) | (buffer[at + 5] as number);
  const length = ((buffer[at + 6] as number) << 8) | (buffer[at + 7] as number);
  const isOther = high !== 0 || length < LEAST_TOGETHER_BYTES || length > most;
  return isOther || start + length > stop ? at : start + length;
}

/** The number of 32 bits, big endian, at `at`. */
function uint32(buffer: Uint8Array, at: number): number {
  return (((buffer[at] as number) << 24) | ((buffer[at + 1] as number) << 16) | ((buffer[at + 2] as number) << 8) |
    (buffer[at + 3] as number)) >>> 0;
}
