import type { ProtobufReader } from "../otlp/protobuf-reader.ts";

/** What is known of the fields of one tag. */
interface Known {
  count: number;
  /** Of the last of them: see `ProtobufReader`. */
  low: number;
  high: number;
  start: number;
  end: number;
}

const NO_BYTES = new Uint8Array(0);

/** The fields of one message by their tags: how many there are, and what the last of them says. */
export class MessageFields {
  readonly #bytes: Uint8Array;
  readonly #known = new Map<number, Known>();
  /** The tag of the last field; 0 if there is none. */
  lastTag = 0;

  /** @param bytes the message. */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Adds the field that a reader of the message is at. */
  add({ tag, low, high, start, end }: ProtobufReader): void {
    this.lastTag = tag;
    const known = this.#known.get(tag);
    if (known === undefined) this.#known.set(tag, { count: 1, low, high, start, end });
    else Object.assign(known, { count: known.count + 1, low, high, start, end });
  }

  count(tag: number): number {
    return this.#known.get(tag)?.count ?? 0;
  }

  /** The low 32 bits of a number, unsigned; 0 if it is not there. */
  number(tag: number): number {
    return this.#known.get(tag)?.low ?? 0;
  }

  uint64(tag: number): bigint {
    const known = this.#known.get(tag);
    return known === undefined ? 0n : (BigInt(known.high) << 32n) | BigInt(known.low);
  }

  /** What a field of text, bytes or a message has; nothing if it is not there. Not a copy. */
  bytes(tag: number): Uint8Array {
    const known = this.#known.get(tag);
    return known === undefined ? NO_BYTES : this.#bytes.subarray(known.start, known.end);
  }
}
