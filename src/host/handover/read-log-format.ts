/**
 * The layout of a read log's memory, all numbers little endian:
 *
 * - header: `ktfread1`, the bytes of a half (u32), which half is in use (u32), where the records of the first and of
 *   the second half end (u32 each, from the half's beginning), and one more than where the record begins whose bytes
 *   are arriving (u32, 0 for none); at 64 what the kernel is told about where they go, and where it writes how many
 *   have come;
 * - two halves, with records one behind the other: their length (u32), their type (u32), the length of the connection's
 *   name (u32); the name; the bytes.
 *
 * A record counts once the end of its half lies behind it, and a half counts once the header says that it is in use.
 * Each of these is one store of 32 bits after everything else, so a process can be killed anywhere in between: what the
 * next one reads is either the state before or the state after. The kernel puts what it takes out of a socket's buffer
 * straight into a record, and then writes how much that is, in one system call: there is no moment in which it would be
 * neither in the socket nor in the log. Bytes of guests are never taken for records, because
 * only lengths that this process has written lead from one to the next.
 */
const MAGIC = new TextEncoder().encode("ktfread1");
/** The largest page that Linux has, so that a half's pages can be given back. */
export const HEADER_BYTES = 64 * 1024;
const HALF_BYTES_AT = 8;
const ACTIVE_AT = 12;
const ENDS_AT = 16;
const ARRIVING_AT = 24;
/** `struct mmsghdr` (recvmmsg(2)), the same on all 64-bit machines, and its one `struct iovec`. */
const MESSAGE_AT = 64;
const MESSAGE_VECTOR_OFFSET = 16;
const MESSAGE_VECTORS_OFFSET = 24;
const MESSAGE_LENGTH_OFFSET = 56;
const VECTOR_AT = 128;
export const RECORD_BYTES = 12;

/** What a record says about its connection's bytes: there are more, only so many of the last, or only these. */
export const RECORD = { add: 1, keepLast: 2, set: 3 } as const;
export type RecordType = (typeof RECORD)[keyof typeof RECORD];

/** Bytes that were read of a connection: `[at, at + length)` of the memory. */
export interface Piece {
  readonly at: number;
  readonly length: number;
}

/** The memory cannot be what an earlier process has written. */
export class ReadLogError extends Error {
  override readonly name = "ReadLogError";
}

/** The two halves of the memory, and the records in them. */
export class ReadLogMemory {
  readonly halfBytes: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  private constructor(bytes: Uint8Array, halfBytes: number) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.halfBytes = halfBytes;
  }

  /** Begins an empty log in memory that is all zeros. */
  static create(bytes: Uint8Array): ReadLogMemory {
    const memory = new ReadLogMemory(bytes, Math.floor((bytes.length - HEADER_BYTES) / 2));
    memory.#view.setUint32(HALF_BYTES_AT, memory.halfBytes, true);
    bytes.set(MAGIC);
    return memory;
  }

  /** Goes on with a log. Throws a {@link ReadLogError} if it is not one of this version and size. */
  static open(bytes: Uint8Array): ReadLogMemory {
    const memory = new ReadLogMemory(bytes, Math.floor((bytes.length - HEADER_BYTES) / 2));
    const isOne = MAGIC.every((byte, index) => bytes[index] === byte) &&
      memory.#view.getUint32(HALF_BYTES_AT, true) === memory.halfBytes && memory.active <= 1 &&
      memory.end <= memory.halfBytes;
    if (!isOne) throw new ReadLogError("the memory has no log of what was read, or one of another version");
    return memory;
  }

  /** Which half is in use, 0 or 1. */
  get active(): number {
    return this.#view.getUint32(ACTIVE_AT, true);
  }
  set active(half: number) {
    this.#view.setUint32(ACTIVE_AT, half, true);
  }

  /** Where the records of the half in use end, from its beginning. */
  get end(): number {
    return this.endOf(this.active);
  }

  endOf(half: number): number {
    return this.#view.getUint32(ENDS_AT + 4 * half, true);
  }
  setEnd(half: number, end: number): void {
    this.#view.setUint32(ENDS_AT + 4 * half, end, true);
  }

  /** Where a half begins in the memory. */
  startOf(half: number): number {
    return HEADER_BYTES + half * this.halfBytes;
  }

  /**
   * Writes a record at `at` of a half, which has room for it. It counts once {@link setEnd} says so.
   *
   * @returns where its bytes begin in the memory.
   */
  write(half: number, at: number, type: RecordType, name: Uint8Array, length: number): number {
    const start = this.startOf(half) + at;
    const view = this.#view;
    view.setUint32(start, RECORD_BYTES + name.length + length, true);
    view.setUint32(start + 4, type, true);
    view.setUint32(start + 8, name.length, true);
    this.#bytes.set(name, start + RECORD_BYTES);
    return start + RECORD_BYTES + name.length;
  }

  put(at: number, bytes: Uint8Array): void {
    this.#bytes.set(bytes, at);
  }

  /**
   * Has up to `room` bytes that the kernel writes at `at` count from the moment that they are there, although the
   * record, which begins at `record` of the half in use, is not behind its end yet.
   *
   * @param address of the memory's first byte. Returns the address of the `struct mmsghdr` for recvmmsg(2).
   */
  arriving(record: number, at: number, room: number, address: bigint): bigint {
    const view = this.#view;
    view.setUint32(MESSAGE_AT + MESSAGE_LENGTH_OFFSET, 0, true);
    view.setBigUint64(VECTOR_AT, address + BigInt(at), true);
    view.setBigUint64(VECTOR_AT + 8, BigInt(room), true);
    view.setBigUint64(MESSAGE_AT + MESSAGE_VECTOR_OFFSET, address + BigInt(VECTOR_AT), true);
    view.setBigUint64(MESSAGE_AT + MESSAGE_VECTORS_OFFSET, 1n, true);
    view.setUint32(ARRIVING_AT, record + 1, true);
    return address + BigInt(MESSAGE_AT);
  }

  /** How many bytes have arrived. */
  get arrived(): number {
    return this.#view.getUint32(MESSAGE_AT + MESSAGE_LENGTH_OFFSET, true);
  }

  /** Gives the record at `at` of the half in use its bytes, `length` of them. */
  extend(at: number, length: number): void {
    const start = this.startOf(this.active) + at;
    const nameBytes = this.#view.getUint32(start + 8, true);
    this.#view.setUint32(start, RECORD_BYTES + nameBytes + length, true);
  }

  /** Nothing is arriving any more. */
  haveArrived(): void {
    this.#view.setUint32(ARRIVING_AT, 0, true);
  }

  /** Takes in what had arrived when the process before this one was killed. */
  takeArrived(): void {
    const { end, arrived } = this;
    const isNew = this.#view.getUint32(ARRIVING_AT, true) === end + 1 && arrived > 0;
    const start = this.startOf(this.active) + end;
    const head = RECORD_BYTES + (isNew ? this.#view.getUint32(start + 8, true) : 0);
    if (isNew && end + head + arrived <= this.halfBytes) {
      this.extend(end, arrived);
      this.setEnd(this.active, end + head + arrived);
    }
    this.haveArrived();
  }

  view(at: number, length: number): Uint8Array {
    return this.#bytes.subarray(at, at + length);
  }

  putNumber(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
  }

  copy(from: number, to: number, length: number): void {
    this.#bytes.copyWithin(to, from, from + length);
  }

  /** A copy of bytes, one piece behind the other. */
  read(pieces: readonly Piece[]): Uint8Array {
    const bytes = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
    let to = 0;
    for (const { at, length } of pieces) {
      bytes.set(this.#bytes.subarray(at, at + length), to);
      to += length;
    }
    return bytes;
  }

  /** The records of the half in use. Throws a {@link ReadLogError} at the first that cannot be one. */
  *records(): Generator<{ readonly type: RecordType; readonly name: string; readonly piece: Piece }> {
    const start = this.startOf(this.active);
    const end = start + this.end;
    const view = this.#view;
    for (let at = start; at < end;) {
      const size = at + RECORD_BYTES <= end ? view.getUint32(at, true) : 0;
      const nameBytes = size >= RECORD_BYTES ? view.getUint32(at + 8, true) : 0;
      const bytesAt = at + RECORD_BYTES + nameBytes;
      const type = Object.values(RECORD).find((known) => known === view.getUint32(at + 4, true));
      if (size < RECORD_BYTES || type === undefined || bytesAt > at + size || at + size > end) {
        throw new ReadLogError(`a record at ${at - start} of the log of what was read is not valid`);
      }
      const name = new TextDecoder().decode(this.#bytes.subarray(at + RECORD_BYTES, bytesAt));
      yield { type, name, piece: { at: bytesAt, length: at + size - bytesAt } };
      at += size;
    }
  }

  /** The number in a record of type `keepLast`. */
  number({ at }: Piece): number {
    return this.#view.getUint32(at, true);
  }
}
