import type { Piece } from "./read-log-format.ts";

const UTF8 = new TextEncoder();

/** What a connection's reader has read and is not done with; a `FrameReader` is one. */
export interface Unprocessed {
  /** How many bytes that is. */
  readonly unreadBytes: number;
  /** Whether {@link unread} begins with anything other than bytes of the connection. */
  readonly isSearching: boolean;
  /** What another reader is to be given to go on where this one is. */
  readonly unread: Uint8Array;
}

/** What a connection needs of the log that it is in. Only `receive` throws. */
export interface ReadLogOfConnections {
  /** Reads from a descriptor of the connection's. Undefined if there is not room; nothing is read then. */
  receive(connection: ConnectionReads, descriptor: number): Uint8Array | undefined;
  /** There are more bytes. */
  add(connection: ConnectionReads, bytes: Uint8Array): void;
  /** Only the last bytes count. */
  keepLast(connection: ConnectionReads, length: number): void;
  /** Only these bytes count. */
  set(connection: ConnectionReads, bytes: Uint8Array): void;
  /** Something has been processed: has `ConnectionReads.settle` called at the end of the callback. */
  change(connection: ConnectionReads): void;
  /** Forgets a connection that has ended. */
  remove(connection: ConnectionReads): void;
  /** What was made of processed bytes is made safe, and the bytes count no more. */
  settle(): void;
}

/** What was read of one connection and is not processed yet. Only {@link receive} throws. */
export class ConnectionReads {
  readonly name: string;
  /** The name in bytes. */
  readonly key: Uint8Array;
  account = "";
  /** Where its bytes are, in order, and how many there are. */
  pieces: Piece[] = [];
  bytes = 0;
  /** There was not room for it. It is in the log again once everything that was read is processed. */
  isLost = false;
  readonly #log: ReadLogOfConnections;
  #state: Unprocessed | undefined;
  #isChanged = false;
  #isEnded = false;
  /** Its bytes do not begin with the connection's. */
  #isSynthetic = false;

  constructor(log: ReadLogOfConnections, name: string) {
    this.#log = log;
    this.name = name;
    this.key = UTF8.encode(name);
  }

  /** Reads from a descriptor. Undefined if that is not possible here. Throws the system call's error. */
  receive(descriptor: number): Uint8Array | undefined {
    return this.isLost || this.#isEnded ? undefined : this.#log.receive(this, descriptor);
  }

  /** Bytes have come. To be called before anything else is done with them. */
  read(bytes: Uint8Array): void {
    if (!this.isLost && !this.#isEnded && bytes.length > 0) this.#log.add(this, bytes);
  }

  /** Some of it has been processed, and `state` says what is left. Takes effect at the end of the callback. */
  processed(state: Unprocessed): void {
    this.#state = state;
    if (this.#isChanged) return;
    this.#isChanged = true;
    this.#log.change(this);
  }

  /** Nothing is left of it, and nothing more comes. */
  end(): void {
    this.#isEnded = true;
    if (this.#isChanged) return;
    this.#isChanged = true;
    this.#log.change(this);
  }

  /** What is left of it now goes to the next process. */
  leave(): void {
    if (this.#isChanged) this.#log.settle();
    this.#state = undefined;
  }

  /** For the log: brings it to what is left of the connection. */
  settle(): void {
    this.#isChanged = false;
    const state = this.#isEnded ? undefined : this.#state;
    const left = state?.unreadBytes ?? 0;
    if (this.#isEnded) this.#log.remove(this);
    if (this.isLost) {
      this.isLost = left > 0;
      return;
    }
    if (state !== undefined && left > 0 && (state.isSearching || this.#isSynthetic || left > this.bytes)) {
      this.#isSynthetic = state.isSearching;
      this.#log.set(this, state.unread);
    } else if (left !== this.bytes) this.#log.keepLast(this, left);
    if (left === 0) this.#isSynthetic = false;
  }

  /** For the log: these bytes are behind those that it has. */
  hold(piece: Piece): void {
    if (piece.length === 0) return;
    this.pieces.push(piece);
    this.bytes += piece.length;
  }

  dropAllBut(length: number): void {
    const { pieces } = this;
    let excess = this.bytes - length;
    if (excess <= 0) return;
    this.bytes = length;
    let whole = 0;
    for (; whole < pieces.length && excess >= (pieces[whole] as Piece).length; whole++) {
      excess -= (pieces[whole] as Piece).length;
    }
    // At once, because a guest that writes a byte at a time makes many pieces.
    pieces.splice(0, whole);
    const [first] = pieces;
    if (first !== undefined) pieces[0] = { at: first.at + excess, length: first.length - excess };
  }

  moved(piece: Piece): void {
    this.pieces = [piece];
  }

  lose(): void {
    this.dropAllBut(0);
    this.isLost = true;
  }
}
