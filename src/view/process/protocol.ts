import { Buffer } from "node:buffer";
import type { SourceKind } from "../../pipeline/source.ts";

/**
 * What the forwarder writes to the viewer's process: messages of a header and a body. The header is 21 bytes: a mark,
 * the body's length (32 bits, big endian) and the message's type. The viewer answers with lines of JSON:
 * {@link ViewerReport}.
 *
 * The mark is 16 random bytes, the same for all messages of a forwarder. A viewer that takes the place of one that was
 * killed may begin to read in the middle of a message, and finds the next one by it. Guests cannot know it, so nothing
 * that they send is taken for a message.
 */
export const MARK_BYTES = 16;
const MESSAGE_HEADER_BYTES = MARK_BYTES + 5;

/** A guest's chunk, a runtime's and a host program's: the body is that many `resource_spans` fields. */
const CHUNK_TYPES: Readonly<Record<SourceKind, number>> = { guest: 1, runtime: 2, host: 3 };
/** A source has connected, or gone: the body is a {@link SourceNotice} as JSON. */
const OPENED = 4;
const CLOSED = 5;
/** Nobody is connected but whom the next messages name: a viewer begins. The body is empty. */
const RESET = 6;

/** Who has connected or gone. */
export interface SourceNotice {
  readonly kind: SourceKind;
  readonly account: string;
  readonly sandbox?: string;
  readonly cid?: number;
}

/** What the viewer's process says. */
export type ViewerReport =
  | { readonly event: "serving"; readonly url: string }
  /** It cannot start. */
  | { readonly event: "failed"; readonly error: string }
  | {
    readonly event: "log";
    readonly level: "info" | "warn" | "error";
    readonly message: string;
    readonly error?: string;
  };

/** A message as it is read. */
export type ViewerMessage =
  | { readonly type: "chunk"; readonly kind: SourceKind; readonly bytes: Uint8Array }
  | { readonly type: "opened" | "closed"; readonly source: SourceNotice }
  | { readonly type: "reset" };

/** Writes messages with a mark. */
export class MessageWriter {
  readonly #mark: Uint8Array;

  /** @param mark {@link MARK_BYTES} bytes. */
  constructor(mark: Uint8Array) {
    this.#mark = mark;
  }

  /** The header of a chunk's message; its bytes follow. */
  chunkHeader(kind: SourceKind, length: number): Uint8Array {
    return this.#header(CHUNK_TYPES[kind], length);
  }

  /** A whole message about a source. */
  source(type: "opened" | "closed", notice: SourceNotice): Uint8Array {
    const body = Buffer.from(JSON.stringify(notice));
    return Buffer.concat([this.#header(type === "opened" ? OPENED : CLOSED, body.length), body]);
  }

  /** A whole message that says that a viewer begins. */
  reset(): Uint8Array {
    return this.#header(RESET, 0);
  }

  #header(type: number, length: number): Uint8Array {
    const bytes = Buffer.alloc(MESSAGE_HEADER_BYTES);
    bytes.set(this.#mark, 0);
    bytes.writeUInt32BE(length, MARK_BYTES);
    bytes[MARK_BYTES + 4] = type;
    return bytes;
  }
}

/** Cuts what comes through the pipe into messages. What is before the first mark is left out. */
export class MessageReader {
  readonly #mark: Buffer;
  #waiting: Uint8Array[] = [];
  #length = 0;

  constructor(mark: Uint8Array) {
    this.#mark = Buffer.from(mark);
  }

  *push(bytes: Uint8Array): Generator<ViewerMessage> {
    this.#waiting.push(bytes);
    this.#length += bytes.length;
    for (;;) {
      if (this.#length < MESSAGE_HEADER_BYTES) return;
      const head = this.#peek(MESSAGE_HEADER_BYTES);
      if (!head.subarray(0, MARK_BYTES).equals(this.#mark)) {
        if (!this.#skipToMark()) return;
        continue;
      }
      const length = head.readUInt32BE(MARK_BYTES);
      if (this.#length < MESSAGE_HEADER_BYTES + length) return;
      const message = this.#take(MESSAGE_HEADER_BYTES + length);
      yield parse(message[MARK_BYTES + 4] as number, message.subarray(MESSAGE_HEADER_BYTES));
    }
  }

  /** Leaves out everything before the next mark, or before what may be its beginning. Returns whether there is one. */
  #skipToMark(): boolean {
    const all = this.#peek(this.#length);
    const at = all.indexOf(this.#mark);
    this.#take(at >= 0 ? at : Math.max(0, all.length - MARK_BYTES + 1));
    return at >= 0;
  }

  #peek(length: number): Buffer {
    if ((this.#waiting[0] as Uint8Array).length < length) this.#waiting = [Buffer.concat(this.#waiting)];
    const first = this.#waiting[0] as Uint8Array;
    return Buffer.from(first.buffer, first.byteOffset, length);
  }

  #take(length: number): Buffer {
    if (length === 0) return Buffer.alloc(0);
    if ((this.#waiting[0] as Uint8Array).length < length) this.#waiting = [Buffer.concat(this.#waiting)];
    const first = this.#waiting[0] as Uint8Array;
    if (first.length === length) this.#waiting.shift();
    else this.#waiting[0] = first.subarray(length);
    this.#length -= length;
    return Buffer.from(first.buffer, first.byteOffset, length);
  }
}

function parse(type: number, body: Buffer): ViewerMessage {
  for (const [kind, chunkType] of Object.entries(CHUNK_TYPES)) {
    if (type === chunkType) return { type: "chunk", kind: kind as SourceKind, bytes: body };
  }
  if (type === RESET) return { type: "reset" };
  if (type !== OPENED && type !== CLOSED) throw new Error(`unknown message ${type} from the forwarder`);
  const source = JSON.parse(body.toString("utf8")) as SourceNotice;
  return { type: type === OPENED ? "opened" : "closed", source };
}
