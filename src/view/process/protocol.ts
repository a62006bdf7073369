import { Buffer } from "node:buffer";
import type { SourceKind } from "../../pipeline/source.ts";

/**
 * What the forwarder writes to the viewer's process: messages of a header and a body. The header is 5 bytes: the body's
 * length (32 bits, big endian) and the message's type. The viewer answers with lines of JSON: {@link ViewerReport}.
 */
export const MESSAGE_HEADER_BYTES = 5;

/** A guest's chunk, a runtime's and a host program's: the body is that many `resource_spans` fields. */
const CHUNK_TYPES: Readonly<Record<SourceKind, number>> = { guest: 1, runtime: 2, host: 3 };
/** A source has connected, or gone: the body is a {@link SourceNotice} as JSON. */
const OPENED = 4;
const CLOSED = 5;

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
  | { readonly type: "opened" | "closed"; readonly source: SourceNotice };

/** The header of a chunk's message; its bytes follow. */
export function chunkHeader(kind: SourceKind, length: number): Uint8Array {
  return header(CHUNK_TYPES[kind], length);
}

/** A whole message about a source. */
export function sourceMessage(type: "opened" | "closed", notice: SourceNotice): Uint8Array {
  const body = Buffer.from(JSON.stringify(notice));
  return Buffer.concat([header(type === "opened" ? OPENED : CLOSED, body.length), body]);
}

function header(type: number, length: number): Uint8Array {
  const bytes = Buffer.alloc(MESSAGE_HEADER_BYTES);
  bytes.writeUInt32BE(length, 0);
  bytes[4] = type;
  return bytes;
}

/** Cuts what comes through the pipe into messages. Both ends are this program, so anything else is a defect. */
export class MessageReader {
  #waiting: Uint8Array[] = [];
  #length = 0;

  *push(bytes: Uint8Array): Generator<ViewerMessage> {
    this.#waiting.push(bytes);
    this.#length += bytes.length;
    for (;;) {
      if (this.#length < MESSAGE_HEADER_BYTES) return;
      const head = this.#peek(MESSAGE_HEADER_BYTES);
      const length = head.readUInt32BE(0);
      if (this.#length < MESSAGE_HEADER_BYTES + length) return;
      const message = this.#take(MESSAGE_HEADER_BYTES + length);
      yield parse(message[4] as number, message.subarray(MESSAGE_HEADER_BYTES));
    }
  }

  #peek(length: number): Buffer {
    if ((this.#waiting[0] as Uint8Array).length < length) this.#waiting = [Buffer.concat(this.#waiting)];
    const first = this.#waiting[0] as Uint8Array;
    return Buffer.from(first.buffer, first.byteOffset, length);
  }

  #take(length: number): Buffer {
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
  if (type !== OPENED && type !== CLOSED) throw new Error(`unknown message ${type} from the forwarder`);
  const source = JSON.parse(body.toString("utf8")) as SourceNotice;
  return { type: type === OPENED ? "opened" : "closed", source };
}
