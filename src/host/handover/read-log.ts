import { ConnectionReads, type ReadLogOfConnections } from "./connection-reads.ts";
import { type Piece, ReadLogMemory, RECORD, RECORD_BYTES, type RecordType } from "./read-log-format.ts";

/** The records take up to so much memory before what still counts is copied behind each other, bytes. */
const SMALLEST_LIMIT = 2 * 1024 * 1024;
/** How many times what counts the records may take, so that copying it costs little beside writing it. */
const MOST_OVERHEAD = 4;
/** The most that is read at once, bytes: what a socket's buffer usually holds. */
const READ_BYTES = 256 * 1024;
/** The number of a `keepLast` record, bytes. */
const NUMBER_BYTES = 4;

const NO_BYTES = new Uint8Array(0);

/** What the log needs of the process around it. */
export interface ReadLogOptions {
  /**
   * Makes sure that what was made of processed bytes outlives the process: only then do the bytes count no more.
   */
  readonly settle: () => void;
  /** The address of the memory's first byte. */
  readonly address: bigint;
  /** recvmmsg(2) of one message, without waiting. Throws its error. */
  readonly receive: (descriptor: number, header: bigint) => void;
  /** Gives memory back to the system: `[at, at + length)`, which is all zeros from then on. */
  readonly discard?: (at: number, length: number) => void;
}

/**
 * What has been read of connections and is not processed yet, in memory that outlives the process: a process that is
 * killed leaves it to the next one.
 *
 * ```
 *                 read                   processed, and what it made is safe
 * (in the kernel) ────▶ in the log ───────────────────────────────────────▶ (gone)
 * ```
 *
 * Everything that is read is put there by the kernel itself. Usually all of it is processed in the same turn of the
 * event loop, after which the log is empty and begins anew, so that the same few pages are written again and again.
 * What is left of unfinished frames, and what waits for its turn, makes the log grow until it has {@link MOST_OVERHEAD}
 * times as much as counts; then that is copied into the other half of the memory.
 *
 * It holds half of a half at most. If more than that waits, the accounts that have the most are not in it, and a kill
 * loses what was read of them.
 */
export class ReadLog implements ReadLogOfConnections {
  /** The connections of which an earlier process has left something, by their names. */
  readonly inherited: ReadonlySet<string>;
  readonly #memory: ReadLogMemory;
  readonly #options: ReadLogOptions;
  readonly #connections = new Map<string, ConnectionReads>();
  /** Connections that have bytes in the log. */
  readonly #live = new Set<ConnectionReads>();
  #active: number;
  #end: number;
  #limit: number;
  #changed: ConnectionReads[] = [];
  readonly #settleNow = (): void => this.settle();
  #isFrozen = false;

  /** Throws a `ReadLogError` if the memory has something else. */
  constructor(memory: ReadLogMemory, options: ReadLogOptions) {
    this.#memory = memory;
    this.#options = options;
    memory.takeArrived();
    this.#active = memory.active;
    this.#end = memory.end;
    this.#limit = Math.min(SMALLEST_LIMIT, memory.halfBytes);
    for (const { type, name, piece } of memory.records()) {
      const connection = this.of(name, name);
      if (type === RECORD.keepLast) connection.dropAllBut(memory.number(piece));
      else {
        if (type === RECORD.set) connection.dropAllBut(0);
        connection.hold(piece);
      }
      this.#note(connection);
    }
    this.inherited = new Set([...this.#live].map(({ name }) => name));
  }

  /**
   * What was read of a connection, by its descriptor's name.
   *
   * @param account whose it is, for when there is not room for all.
   */
  of(name: string, account: string): ConnectionReads {
    let connection = this.#connections.get(name);
    if (connection === undefined) this.#connections.set(name, connection = new ConnectionReads(this, name));
    connection.account = account;
    return connection;
  }

  /** Whether something of a connection is in the log. */
  has(name: string): boolean {
    return (this.#connections.get(name)?.bytes ?? 0) > 0;
  }

  /** What is in the log of a connection. */
  pending(name: string): Uint8Array | undefined {
    const connection = this.#connections.get(name);
    return connection === undefined || connection.bytes === 0 ? undefined : this.#memory.read(connection.pieces);
  }

  /** From now on it belongs to the next process. */
  freeze(): void {
    this.settle();
    this.#isFrozen = true;
  }

  /** What was made of processed bytes is made safe, and the bytes count no more. */
  settle(): void {
    const changed = this.#changed;
    if (changed.length === 0) return;
    this.#changed = [];
    if (this.#isFrozen) return;
    this.#options.settle();
    for (const connection of changed) connection.settle();
  }

  /** See {@link ReadLogOfConnections}. */
  change(connection: ConnectionReads): void {
    this.#changed.push(connection);
    // After what the spans came to has been noted, and before anything else is read.
    if (this.#changed.length === 1) queueMicrotask(this.#settleNow);
  }

  /** See {@link ReadLogOfConnections}. */
  remove({ name }: ConnectionReads): void {
    this.#connections.delete(name);
  }

  /** See {@link ReadLogOfConnections}. */
  add(connection: ConnectionReads, bytes: Uint8Array): void {
    if (!this.#isFrozen) this.#append(connection, RECORD.add, bytes);
  }

  /** See {@link ReadLogOfConnections}. Throws the system call's error. */
  receive(connection: ConnectionReads, descriptor: number): Uint8Array | undefined {
    if (this.#isFrozen || !this.#makeRoom(connection, READ_BYTES)) return undefined;
    const memory = this.#memory;
    const { address, receive } = this.#options;
    const record = this.#end;
    const at = memory.write(this.#active, record, RECORD.add, connection.key, 0);
    try {
      receive(descriptor, memory.arriving(record, at, READ_BYTES, address));
      const length = memory.arrived;
      if (length > 0) {
        memory.extend(record, length);
        this.#end += RECORD_BYTES + connection.key.length + length;
        this.#publish();
        connection.hold({ at, length });
        this.#note(connection);
      }
      return memory.view(at, length);
    } finally {
      memory.haveArrived();
    }
  }

  /** See {@link ReadLogOfConnections}. */
  keepLast(connection: ConnectionReads, length: number): void {
    connection.dropAllBut(length);
    this.#note(connection);
    if (this.#live.size === 0) this.#restart();
    else if (length === 0) this.#append(connection, RECORD.set, NO_BYTES);
    else {
      const at = this.#begin(connection, RECORD.keepLast, NUMBER_BYTES);
      if (at === undefined) return;
      this.#memory.putNumber(at, length);
      this.#publish();
    }
  }

  /** See {@link ReadLogOfConnections}. */
  set(connection: ConnectionReads, bytes: Uint8Array): void {
    connection.dropAllBut(0);
    this.#append(connection, RECORD.set, bytes);
  }

  #append(connection: ConnectionReads, type: RecordType, bytes: Uint8Array): void {
    const at = this.#begin(connection, type, bytes.length);
    if (at === undefined) return;
    this.#memory.put(at, bytes);
    this.#publish();
    if (bytes.length === 0) return;
    connection.hold({ at, length: bytes.length });
    this.#note(connection);
  }

  /** Makes room for a record. False if there is none: then its connection is not in the log any more. */
  #makeRoom(connection: ConnectionReads, length: number): boolean {
    const size = RECORD_BYTES + connection.key.length + length;
    if (this.#end + size > this.#limit) this.#compact(size);
    if (this.#end + size <= this.#limit && !connection.isLost) return true;
    if (connection.isLost) return false;
    connection.lose();
    this.#note(connection);
    // After copying there is room for this much.
    this.#memory.write(this.#active, this.#end, RECORD.set, connection.key, 0);
    this.#end += RECORD_BYTES + connection.key.length;
    this.#publish();
    return false;
  }

  /** Begins a record; returns where its bytes go, or undefined if there is no room. */
  #begin(connection: ConnectionReads, type: RecordType, length: number): number | undefined {
    if (!this.#makeRoom(connection, length)) return undefined;
    const size = RECORD_BYTES + connection.key.length + length;
    const at = this.#memory.write(this.#active, this.#end, type, connection.key, length);
    this.#end += size;
    return at;
  }

  /** Nothing of any connection counts: the log begins anew. */
  #restart(): void {
    const end = this.#end;
    this.#end = 0;
    this.#publish();
    this.#limit = Math.min(SMALLEST_LIMIT, this.#memory.halfBytes);
    this.#giveBack(this.#active, end);
  }

  #giveBack(half: number, end: number): void {
    if (end > SMALLEST_LIMIT) this.#options.discard?.(this.#memory.startOf(half), end);
  }

  #publish(): void {
    this.#memory.setEnd(this.#active, this.#end);
  }

  #note(connection: ConnectionReads): void {
    if (connection.bytes > 0) this.#live.add(connection);
    else this.#live.delete(connection);
  }

  /** Copies what counts into the other half, so that there is room for `needed` bytes. */
  #compact(needed: number): void {
    const memory = this.#memory;
    const other = 1 - this.#active;
    let end = 0;
    const copies: { readonly connection: ConnectionReads; readonly piece: Piece }[] = [];
    for (const each of this.#smallestFirst()) {
      const size = RECORD_BYTES + each.key.length + each.bytes;
      if (end + size > memory.halfBytes / 2) {
        each.lose();
        this.#live.delete(each);
        continue;
      }
      const at = memory.write(other, end, RECORD.set, each.key, each.bytes);
      let to = at;
      for (const { at: from, length } of each.pieces) {
        memory.copy(from, to, length);
        to += length;
      }
      copies.push({ connection: each, piece: { at, length: each.bytes } });
      end += size;
    }
    memory.setEnd(other, end);
    memory.active = other;
    for (const { connection: each, piece } of copies) each.moved(piece);
    this.#giveBack(this.#active, this.#end);
    this.#active = other;
    this.#end = end;
    const wanted = Math.max(SMALLEST_LIMIT, MOST_OVERHEAD * end, end + needed);
    this.#limit = Math.min(memory.halfBytes, wanted);
  }

  /** The connections that have something, of the accounts with the least first: those are the last to be left out. */
  #smallestFirst(): ConnectionReads[] {
    const accounts = new Map<string, number>();
    for (const { account, bytes } of this.#live) accounts.set(account, (accounts.get(account) ?? 0) + bytes);
    const of = ({ account }: ConnectionReads): number => accounts.get(account) ?? 0;
    return [...this.#live].sort((a, b) => of(a) - of(b));
  }
}
