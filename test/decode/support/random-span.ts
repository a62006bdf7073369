import { Random } from "./random.ts";
import { doubleRecord, sortedByKey } from "./span-record.ts";
import type { AttributeRecord, EventRecord, LinkRecord, SpanRecord, ValueRecord } from "./span-record.ts";

/** Keys that agents use, and keys that a host sets itself. */
const KEYS = [
  "busy_ns",
  "idle_ns",
  "req",
  "sandbox_id",
  "level",
  "target",
  "service.name",
  "kata.vsock.cid",
];
/** What goes wrong where text is escaped, measured or cut. */
const CHARACTERS = [
  ..."aZ0 /\\\"'<{[,=\0\x01\b\t\n\r\x1f\x7fé人\u2028\ufeff\ufffd\u07ff\u0800\ud7ff🦀\u{10ffff}",
];
const INTEGERS = [
  0n,
  -1n,
  1n,
  127n,
  128n,
  -(1n << 63n),
  (1n << 63n) - 1n,
  (1n << 53n) + 1n,
  1n << 35n,
  (1n << 35n) - 1n,
];
const DOUBLES = [0, -0, 5e-324, Number.MAX_VALUE, 1e21, 1e-7, 0.1, 1];
const NON_FINITE = [NaN, Infinity, -Infinity];
const COUNTS = [1, 127, 128, 0xffff_ffff];

/** How to make spans. */
export interface RandomSpanOptions {
  /** Doubles without a JSON number too; default true. */
  readonly nonFinite?: boolean;
}

/** Spans with any of what a span can have, and the extremes of it. */
export class RandomSpans {
  readonly random: Random;
  readonly #doubles: readonly number[];

  constructor(seed: number, options: RandomSpanOptions = {}) {
    this.random = new Random(seed);
    this.#doubles = options.nonFinite === false ? DOUBLES : [...DOUBLES, ...NON_FINITE];
  }

  /** One span; no key comes twice in its attributes or its resource. */
  span(): SpanRecord {
    const { random } = this;
    return {
      attributes: sortedByKey(unique(this.#attributes(14))),
      droppedAttributesCount: this.#dropped(),
      droppedEventsCount: this.#dropped(),
      droppedLinksCount: this.#dropped(),
      endTimeUnixNano: this.#time(),
      events: random.many(this.#count(4), () => this.#event()),
      isRemote: random.oneIn(2),
      kind: 1 + random.below(5),
      links: random.oneIn(3) ? random.many(this.#count(4), () => this.#link()) : [],
      name: this.#text(),
      parentSpanId: random.oneIn(5) ? "" : this.#id(16),
      resource: random.oneIn(3) ? null : sortedByKey(unique(this.#attributes(4))),
      spanId: this.#id(16),
      startTimeUnixNano: this.#time(),
      status: { code: random.below(3), message: random.oneIn(4) ? this.#text() : "" },
      traceFlags: random.oneIn(4) ? random.below(256) : random.below(2),
      traceId: this.#id(32),
      traceState: this.#traceState(),
    };
  }

  #event(): EventRecord {
    return {
      attributes: this.#attributes(5),
      droppedAttributesCount: this.#dropped(),
      name: this.#text(),
      timeUnixNano: this.#time(),
    };
  }

  #link(): LinkRecord {
    return {
      attributes: this.#attributes(5),
      droppedAttributesCount: this.#dropped(),
      isRemote: this.random.oneIn(2),
      spanId: this.#id(16),
      traceFlags: this.random.below(256),
      traceId: this.#id(32),
      traceState: this.#traceState(),
    };
  }

  #attributes(most: number): AttributeRecord[] {
    return this.random.many(this.#count(most), () => ({
      key: this.random.oneIn(2) ? this.random.pick(KEYS) : this.#text(),
      value: this.#value(),
    }));
  }

  #value(): ValueRecord {
    const { random } = this;
    if (!random.oneIn(4)) return this.#scalar(random.below(4));
    const type = random.below(4);
    return { arrayValue: { values: random.many(this.#count(6), () => this.#scalar(type)) } };
  }

  #scalar(type: number): ValueRecord {
    const { random } = this;
    if (type === 0) return { boolValue: random.oneIn(2) };
    if (type === 1) {
      const integer = random.oneIn(2) ? random.pick(INTEGERS) : BigInt.asIntN(64, random.uint64());
      return { intValue: String(integer) };
    }
    if (type === 2) {
      return doubleRecord(random.oneIn(2) ? random.pick(this.#doubles) : random.uint32() / 1e5);
    }
    return { stringValue: this.#text() };
  }

  #text(): string {
    const { random } = this;
    if (random.oneIn(60)) {
      return "x".repeat(random.pick([124, 125, 126, 127, 128, 129, 9_000, 16_380, 16_384]));
    }
    const length = random.oneIn(4) ? random.below(200) : random.below(12);
    return random.many(length, () => random.oneIn(3) ? random.pick(CHARACTERS) : "k").join("");
  }

  #traceState(): string {
    return this.random.pick([
      "",
      "",
      "rojo=00f067aa0ba902b7",
      'kata=a1b2,tenant-1@a-vendor=x:y /"z"',
      "=",
    ]);
  }

  /** Hexadecimal; the span's own ids may be all zeros, as far as the wire goes. */
  #id(digits: number): string {
    if (this.random.oneIn(10)) return "1".padStart(digits, "0");
    let id = "";
    while (id.length < digits) id += this.random.uint32().toString(16).padStart(8, "0");
    return id;
  }

  #time(): string {
    const { random } = this;
    if (random.oneIn(10)) {
      return String(
        random.pick([0n, 1n, 999_999_999n, 1_000_000_000n, (1n << 32n) - 1n, (1n << 64n) - 1n]),
      );
    }
    return String(random.uint64());
  }

  #count(most: number): number {
    return this.random.oneIn(4) ? 0 : this.random.below(most + 1);
  }

  #dropped(): number {
    return this.random.oneIn(4) ? this.random.pick(COUNTS) : 0;
  }
}

function unique(attributes: AttributeRecord[]): AttributeRecord[] {
  const seen = new Map(attributes.map((attribute) => [attribute.key, attribute]));
  return [...seen.values()];
}
