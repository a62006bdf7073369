import * as form from "../../../src/decode/otlp/messages.ts";
import type { Field, Message } from "../../../src/decode/otlp/messages.ts";
import { join, tag, varint } from "./otlp-message.ts";
import type { Random } from "./random.ts";

/** Deeper values are rare. */
const MOST_NESTING = 7;
const TEXTS = ["", "k", "kata-agent", "é人🦀", "x".repeat(16), "y".repeat(126), "\u0000"] as const;
const WRONG_TEXTS = [[0x80], [0xc3], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80]] as const;
const DOUBLES = [0, -0, 1.5, 1e300, NaN, Infinity, -Infinity] as const;
const NUMBERS = [0n, 1n, 2n, 3n, 5n, 6n, 127n, 128n, (1n << 32n) - 1n, 1n << 32n, (1n << 63n) - 1n, (1n << 64n) - 1n];

/**
 * Random `ExportTraceServiceRequest`s, whose structure is mostly right: here and there a field is not as it should be,
 * which may be refused or written in another way.
 */
export class RandomOtlp {
  readonly #random: Random;
  /** One field in so many is odd in some way. */
  #oddity = 1;

  constructor(random: Random) {
    this.#random = random;
  }

  request(): Uint8Array {
    this.#oddity = this.#random.pick([3, 20, 20, 100, 1000, Infinity]);
    return this.#message(form.REQUEST, 0);
  }

  get #isOdd(): boolean {
    return Number.isFinite(this.#oddity) && this.#random.oneIn(this.#oddity);
  }

  #message(message: Message, depth: number): Uint8Array {
    const random = this.#random;
    const known = message.fields.filter((field) => field !== undefined);
    const fields: Uint8Array[] = [];
    for (const field of known) {
      const isRequired = (message.required & field.bit) !== 0;
      if (isRequired ? this.#isOdd : random.oneIn(2)) continue;
      if (!isRequired && field.message !== undefined && depth > MOST_NESTING && !random.oneIn(8)) continue;
      const count = field.once === 0 ? 1 + random.below(3) : this.#isOdd ? 2 : 1;
      for (let i = 0; i < count; i++) fields.push(this.#field(field, depth));
    }
    if (fields.length === 0 && !message.mayBeEmpty && !this.#isOdd) {
      fields.push(this.#field(random.pick(known), depth));
    }
    // Members of a oneof exclude each other.
    const isOneof = message.fields[1]?.bit === 1;
    if (isOneof && fields.length > 1 && !this.#isOdd) fields.splice(0, Infinity, random.pick(fields));
    if (this.#isOdd) fields.splice(random.below(fields.length + 1), 0, this.#unknownField());
    if (random.oneIn(4)) fields.sort(() => random.pick([-1, 0, 1]));
    return join(...fields);
  }

  #field(field: Field, depth: number): Uint8Array {
    const random = this.#random;
    const wireType = this.#isOdd ? random.below(8) : field.wireType;
    const head = this.#isOdd ? varint(field.number << 3 | wireType, 1 + random.below(2)) : tag(field.number, wireType);
    if (field.message !== undefined) return join(head, this.#sized(this.#message(field.message, depth + 1)));
    switch (field.kind) {
      case form.TEXT: {
        const text = this.#isOdd ? Uint8Array.from(random.pick(WRONG_TEXTS)) : new TextEncoder().encode(this.#text());
        return join(head, this.#sized(text));
      }
      case form.BYTES:
        return join(head, this.#sized(random.bytes(random.below(20))));
      case form.ID: {
        const size = this.#isOdd ? random.below(20) : field.size;
        return join(head, this.#sized(this.#isOdd ? new Uint8Array(size) : random.bytes(size).fill(1, 0, 1)));
      }
      case form.TIME:
      case form.DOUBLE: {
        const bytes = new Uint8Array(8);
        new DataView(bytes.buffer).setFloat64(0, random.pick(DOUBLES), true);
        return join(head, bytes);
      }
      case form.FLAGS:
        return join(head, random.bytes(4));
      default: {
        const most = field.kind === form.BOOL ? 2n : field.kind === form.ENUM ? BigInt(field.size) : 1n << 32n;
        const numbers = NUMBERS.filter((number) => this.#isOdd || field.kind === form.INT64 || number < most);
        return join(head, varint(random.pick(numbers), this.#isOdd ? 1 : 0));
      }
    }
  }

  #text(): string {
    const random = this.#random;
    return random.oneIn(3) ? "t".repeat(random.below(300)) : random.pick(TEXTS);
  }

  /** A length, and what has it. */
  #sized(content: Uint8Array): Uint8Array {
    const random = this.#random;
    const length = content.length + (this.#isOdd && random.oneIn(4) ? random.pick([-1, 1, 200]) : 0);
    return join(varint(Math.max(0, length), this.#isOdd ? 1 + random.below(4) : 0), content);
  }

  #unknownField(): Uint8Array {
    const random = this.#random;
    const number = random.pick([0, 4, 17, 20, 31, 32, 1000, 536_870_911]);
    const wireType = random.pick([0, 1, 2, 2, 5, 3]);
    const content = [varint(random.pick(NUMBERS)), random.bytes(8), this.#sized(random.bytes(5)), , , random.bytes(4)];
    return join(tag(number, wireType), content[wireType] ?? new Uint8Array(0));
  }
}
