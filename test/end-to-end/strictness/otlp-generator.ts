import { bytesField, fixed32Field, fixed64Field, join, tag, varint } from "../../decode/support/otlp-message.ts";
import type { Random } from "../../decode/support/random.ts";

/** What a field of OTLP holds, as the `.proto` files have it. */
type Type =
  | "string"
  | "bytes"
  | "trace-id"
  | "span-id"
  | "parent-id"
  | "bool"
  | "int64"
  | "uint32"
  | "enum"
  | "fixed64"
  | "double"
  | "fixed32"
  | MessageName;

interface FieldShape {
  readonly number: number;
  readonly type: Type;
  readonly repeated?: true;
  /** Left out only as a flaw. */
  readonly required?: true;
}

type MessageName =
  | "Request"
  | "ResourceSpans"
  | "Resource"
  | "EntityRef"
  | "ScopeSpans"
  | "Scope"
  | "Span"
  | "Event"
  | "Link"
  | "Status"
  | "KeyValue"
  | "AnyValue"
  | "ArrayValue"
  | "KeyValueList";

const attributes = (number: number): FieldShape => ({ number, type: "KeyValue", repeated: true });

/** opentelemetry-proto 1.x, written down anew so that nothing of the code under test decides what is tried on it. */
const MESSAGES: Readonly<Record<MessageName, readonly FieldShape[]>> = {
  Request: [{ number: 1, type: "ResourceSpans", repeated: true, required: true }],
  ResourceSpans: [
    { number: 1, type: "Resource" },
    { number: 2, type: "ScopeSpans", repeated: true, required: true },
    { number: 3, type: "string" },
  ],
  Resource: [attributes(1), { number: 2, type: "uint32" }, { number: 3, type: "EntityRef", repeated: true }],
  EntityRef: [
    { number: 1, type: "string" },
    { number: 2, type: "string" },
    { number: 3, type: "string", repeated: true },
    { number: 4, type: "string", repeated: true },
  ],
  ScopeSpans: [
    { number: 1, type: "Scope" },
    { number: 2, type: "Span", repeated: true, required: true },
    { number: 3, type: "string" },
  ],
  Scope: [{ number: 1, type: "string" }, { number: 2, type: "string" }, attributes(3), { number: 4, type: "uint32" }],
  Span: [
    { number: 1, type: "trace-id", required: true },
    { number: 2, type: "span-id", required: true },
    { number: 3, type: "string" },
    { number: 4, type: "parent-id" },
    { number: 5, type: "string" },
    { number: 6, type: "enum" },
    { number: 7, type: "fixed64" },
    { number: 8, type: "fixed64" },
    attributes(9),
    { number: 10, type: "uint32" },
    { number: 11, type: "Event", repeated: true },
    { number: 12, type: "uint32" },
    { number: 13, type: "Link", repeated: true },
    { number: 14, type: "uint32" },
    { number: 15, type: "Status" },
    { number: 16, type: "fixed32" },
  ],
  Event: [
    { number: 1, type: "fixed64" },
    { number: 2, type: "string" },
    attributes(3),
    { number: 4, type: "uint32" },
  ],
  Link: [
    { number: 1, type: "trace-id", required: true },
    { number: 2, type: "span-id", required: true },
    { number: 3, type: "string" },
    attributes(4),
    { number: 5, type: "uint32" },
    { number: 6, type: "fixed32" },
  ],
  Status: [{ number: 2, type: "string" }, { number: 3, type: "enum" }],
  KeyValue: [{ number: 1, type: "string" }, { number: 2, type: "AnyValue" }],
  /** All are members of one oneof. */
  AnyValue: [
    { number: 1, type: "string" },
    { number: 2, type: "bool" },
    { number: 3, type: "int64" },
    { number: 4, type: "double" },
    { number: 7, type: "bytes" },
    { number: 5, type: "ArrayValue" },
    { number: 6, type: "KeyValueList" },
  ],
  ArrayValue: [{ number: 1, type: "AnyValue", repeated: true }],
  KeyValueList: [attributes(1)],
};
/** Values that are to nest deeper than this do nothing else. */
const TOWER = 4;
/** How many of `AnyValue`'s members do not nest. */
const SCALARS = 5;

/** Keys of attributes that the Collector's translators treat in their own ways. */
const KEYS = [
  "service.name",
  "kata.sandbox.id",
  "http.status_code",
  "http.response.status_code",
  "peer.service",
  "net.peer.port",
  "net.host.ip",
  "server.port",
  "error",
  "span.kind",
  "otel.status_code",
  "cloud.resource_id",
  "faas.id",
  "event",
  "message",
  "opentracing.ref_type",
  "",
];
const TEXTS = ["", "a", "é", "人", "🦀", "\0", '"', "\\u0000", "\u2028", "0", "true", "x".repeat(127), "x".repeat(128)];
/** Bytes that are not UTF-8. */
const NOT_UTF8 = [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x82], [0x61, 0x80]];
const NUMBERS = [0n, 1n, 2n, 5n, 6n, 127n, 128n, 0xffff_ffffn, 1n << 32n, 1n << 53n, 1n << 63n, (1n << 64n) - 1n];
const DOUBLES = [
  0n,
  1n,
  1n << 63n,
  0x3ff0n << 48n,
  0x7fef_ffff_ffff_ffffn,
  0x7ff0n << 48n,
  0xfff0n << 48n,
  0x7ff8n << 48n,
  0x7ff0_0000_0000_0001n,
  0xffff_ffff_ffff_ffffn,
];

/** Messages that are refused if they have no field. */
const NOT_EMPTY: ReadonlySet<MessageName> = new Set(["KeyValue", "Event"]);

/**
 * Makes trace requests that are nearly well-formed: of OTLP's structure, with everything in them that protobuf allows
 * and that is hardly ever seen, and now and then a flaw for which some decoder refuses the whole.
 */
export class OtlpGenerator {
  readonly #random: Random;
  /** Flaws happen once in so many chances; `Infinity` for none. */
  #flawEvery = Infinity;
  /** Varints with bytes too many, unknown fields and the like, likewise. */
  #oddEvery = Infinity;
  /** How deep values still nest. */
  #depth = 0;
  /** How many fields may still be made. */
  #budget = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  /** A request, which may be anything by the time it is made. */
  request(): Uint8Array {
    const random = this.#random;
    this.#flawEvery = random.pick([Infinity, Infinity, 400, 100]);
    this.#oddEvery = random.pick([Infinity, 60, 8]);
    this.#depth = random.oneIn(20) ? random.below(40) : random.below(4);
    this.#budget = random.pick([20, 60, 200]);
    return this.#message("Request");
  }

  #flaw(): boolean {
    return this.#flawEvery !== Infinity && this.#random.oneIn(this.#flawEvery);
  }

  #odd(): boolean {
    return this.#oddEvery !== Infinity && this.#random.oneIn(this.#oddEvery);
  }

  #message(name: MessageName): Uint8Array {
    const random = this.#random;
    const fields: Uint8Array[] = [];
    if (name === "AnyValue") {
      const values = this.#depth <= 0
        ? MESSAGES.AnyValue.slice(0, SCALARS)
        : MESSAGES.AnyValue.slice(this.#depth > TOWER ? SCALARS : 0);
      if (!random.oneIn(20)) fields.push(this.#field(random.pick(values)));
      if (this.#flaw()) fields.push(this.#field(random.pick(values)));
    } else {
      for (const shape of MESSAGES[name]) {
        const times = this.#times(shape);
        for (let i = 0; i < times; i++) fields.push(this.#field(shape));
      }
      const isFilled = NOT_EMPTY.has(name) && fields.length === 0 && !this.#flaw();
      if (isFilled) fields.push(this.#field(random.pick(MESSAGES[name])));
    }
    if (this.#odd()) fields.push(this.#unknownField());
    if (random.oneIn(6)) fields.sort(() => random.below(3) - 1);
    return join(...fields);
  }

  /** How often a field comes. */
  #times(shape: FieldShape): number {
    const random = this.#random;
    if (this.#flaw()) return random.pick([0, 2]);
    if (this.#depth > TOWER && shape.type.endsWith("Value")) return 1;
    if (this.#budget-- <= 0) return shape.required ? 1 : 0;
    if (!shape.repeated) return shape.required || random.oneIn(2) ? 1 : 0;
    return shape.required ? random.pick([1, 1, 1, 2, 4]) : random.pick([0, 0, 1, 2, 5]);
  }

  #field({ number, type }: FieldShape): Uint8Array {
    const random = this.#random;
    if (this.#flaw()) return this.#wrongField(number);
    switch (type) {
      case "string":
        return this.#delimited(number, this.#text());
      case "bytes":
        return this.#delimited(number, random.bytes(random.below(8)));
      case "trace-id":
        return this.#delimited(number, this.#id(16));
      case "span-id":
        return this.#delimited(number, this.#id(8));
      case "parent-id":
        return this.#delimited(
          number,
          random.oneIn(3) ? random.pick([new Uint8Array(0), new Uint8Array(8)]) : this.#id(8),
        );
      case "bool":
        return this.#varint(number, this.#flaw() ? random.pick(NUMBERS) : BigInt(random.below(2)));
      case "enum":
        return this.#varint(number, this.#odd() ? random.pick(NUMBERS) : BigInt(random.below(4)));
      case "uint32":
        return this.#varint(number, BigInt.asUintN(this.#flaw() ? 64 : 32, random.pick(NUMBERS)));
      case "int64":
        return this.#varint(number, random.pick(NUMBERS));
      case "fixed64":
        return this.#head(number, fixed64Field(number, random.oneIn(4) ? random.pick(NUMBERS) : random.uint64() >> 3n));
      case "double":
        return this.#head(number, fixed64Field(number, random.pick(DOUBLES)));
      case "fixed32":
        return this.#head(number, fixed32Field(number, random.pick([0, 1, 0x301, 0xffff_ffff])));
      default: {
        const nests = type === "ArrayValue" || type === "KeyValueList";
        if (nests) this.#depth--;
        const message = this.#message(type);
        if (nests) this.#depth++;
        return this.#delimited(number, message);
      }
    }
  }

  #id(size: number): Uint8Array {
    const random = this.#random;
    if (this.#flaw()) return random.pick([new Uint8Array(size), random.bytes(size - 1), new Uint8Array(0)]);
    const id = new Uint8Array(size);
    id[random.below(size)] = 1 + random.below(255);
    return id;
  }

  #text(): Uint8Array {
    const random = this.#random;
    if (this.#flaw()) return Uint8Array.from(random.pick(NOT_UTF8));
    return new TextEncoder().encode(random.oneIn(3) ? random.pick(KEYS) : random.pick(TEXTS));
  }

  /** A tag or a number; with bytes that it does not need, where it has to be wrong. */
  #number(value: bigint | number): Uint8Array {
    return varint(value, this.#flaw() ? 1 + this.#random.below(9) : 0);
  }

  /** A length with bytes that it does not need, where it has to be odd; with too many of them, where it has to be wrong. */
  #length(value: number): Uint8Array {
    return varint(value, this.#odd() ? 1 + this.#random.below(this.#flaw() ? 9 : 3) : 0);
  }

  #varint(number: number, value: bigint): Uint8Array {
    return join(this.#number(number << 3), this.#number(value));
  }

  #delimited(number: number, content: Uint8Array): Uint8Array {
    const length = this.#flaw() ? content.length + this.#random.pick([-1, 1, 2 ** 31]) : content.length;
    return join(this.#number((number << 3) | 2), this.#length(Math.max(length, 0)), content);
  }

  /** A field of fixed size. */
  #head(number: number, field: Uint8Array): Uint8Array {
    const wireType = (field[0] as number) & 7;
    return join(this.#number((number << 3) | wireType), field.subarray(tag(number, wireType).length));
  }

  /** A field whose number is known, but not its wire type. */
  #wrongField(number: number): Uint8Array {
    const random = this.#random;
    return join(tag(number, random.below(8)), random.bytes(random.below(9)));
  }

  /** A field that is in no message, or that only profiles use. */
  #unknownField(): Uint8Array {
    const random = this.#random;
    const number = random.pick([3, 8, 17, 18, 31, 100, 999, 536_870_911]);
    switch (this.#flaw() ? 4 : random.below(4)) {
      case 0:
        return join(tag(number, 0), this.#number(random.pick(NUMBERS)));
      case 1:
        return fixed64Field(number, random.uint64());
      case 2:
        return fixed32Field(number, random.uint32());
      case 3:
        return bytesField(number, random.bytes(random.below(12)));
      default:
        // A group, which nothing of OTLP has.
        return join(tag(number, 3), tag(number, 4));
    }
  }
}
