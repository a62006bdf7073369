import { Random } from "./random.ts";
import type { ThriftBatch, ThriftLog, ThriftReference, ThriftSpan, ThriftTag } from "./thrift-encoder.ts";

/** Keys of tags that mean something to a translator. */
export const MEANINGFUL_KEYS = [
  "span.kind",
  "otel.status_code",
  "otel.status_description",
  "error",
  "otel.library.name",
  "otel.library.version",
  "otel.instrumentation_library.name",
  "otel.instrumentation_library.version",
  "status.code",
  "status.message",
  "event",
  "name",
  "otel.event.dropped_attributes_count",
  "service.name",
] as const;
const KEYS = [...MEANINGFUL_KEYS, "code.namespace", "sandbox_id", "a", "", "clé"];
const TEXTS = [
  "",
  "x",
  "client",
  "server",
  "internal",
  "OK",
  "ERROR",
  "h2::proto",
  "hyper::client",
  "kata",
  "a\u0000b",
  "é🦀",
];
const LONGS = [0n, 1n, 2n, 3n, -1n, 127n, 128n, (1n << 32n) - 1n, 1n << 32n, (1n << 63n) - 1n, -(1n << 63n)];
const TIMES = [0n, 1n, -1n, 1_787_000_000_124_071n, (1n << 63n) - 1n, -(1n << 63n), 18_446_744_073_709_551n];
const IDS = [0n, 1n, -1n, 0x2a697a41bcafd40an, -(1n << 63n)];

/** Random batches, full of the keys and values that have a meaning. */
export class RandomBatches {
  readonly random: Random;

  constructor(seed: number) {
    this.random = new Random(seed);
  }

  batch(): ThriftBatch {
    const { random } = this;
    return {
      serviceName: this.#text(),
      ...random.oneIn(2) && { processTags: random.many(random.below(5), () => this.#tag()) },
      spans: random.many(random.below(4), () => this.span()),
    };
  }

  span(): ThriftSpan {
    const { random } = this;
    const traceIdLow = this.#id();
    const traceIdHigh = this.#id();
    const isOld = random.oneIn(4);
    const tags = random.many(random.below(8), () => this.#tag());
    if (isOld) {
      const code = BigInt(random.below(4));
      tags.push(
        { key: "status.code", vType: 3, vLong: code },
        { key: "status.message", vType: 0, vStr: this.#text() },
        { key: "span.kind", vType: 0, vStr: random.pick(["internal", "client", "unspecified"]) },
      );
      if (code === 1n || random.oneIn(8)) tags.push({ key: "error", vType: 2, vBool: !random.oneIn(8) });
    }
    return {
      traceIdLow,
      traceIdHigh,
      spanId: this.#id(),
      parentSpanId: random.oneIn(2) ? 0n : this.#id(),
      operationName: this.#text(),
      ...random.oneIn(2) &&
        { references: random.many(random.below(4), () => this.#reference(traceIdLow, traceIdHigh)) },
      flags: random.pick([0, 1, 3, 0x1ff, -1]),
      startTime: this.#time(),
      duration: this.#time(),
      ...(tags.length > 0 || random.oneIn(2)) && { tags },
      ...random.oneIn(2) && { logs: random.many(random.below(3), () => this.#log(isOld)) },
    };
  }

  #log(isOld: boolean): ThriftLog {
    const fields = this.random.many(this.random.below(5), () => this.#tag());
    if (isOld) fields.push({ key: "name", vType: 0, vStr: this.#text() });
    return { timestamp: this.#time(), fields };
  }

  #reference(traceIdLow: bigint, traceIdHigh: bigint): ThriftReference {
    const { random } = this;
    const own = random.oneIn(2);
    return {
      refType: random.below(3),
      traceIdLow: own ? traceIdLow : this.#id(),
      traceIdHigh: own ? traceIdHigh : this.#id(),
      spanId: this.#id(),
    };
  }

  #tag(): ThriftTag {
    const { random } = this;
    const key = random.oneIn(12) ? random.bytes(random.below(5)) : random.pick(KEYS);
    const vType = random.oneIn(40) ? random.pick([5, -1, 99]) : random.below(5);
    const value = random.oneIn(20) ? random.below(5) : vType;
    switch (random.oneIn(20) ? -1 : value) {
      case 0:
        return { key, vType, vStr: this.#text() };
      case 1:
        return { key, vType, vDouble: random.pick([0, -0, 1.5, NaN, Infinity, Number.MIN_VALUE]) };
      case 2:
        return { key, vType, vBool: random.oneIn(2) };
      case 3:
        return { key, vType, vLong: random.oneIn(2) ? random.pick(LONGS) : BigInt.asIntN(64, random.uint64()) };
      case 4:
        return { key, vType, vBinary: random.bytes(random.below(200)) };
    }
    return { key, vType };
  }

  #text(): string | Uint8Array {
    const { random } = this;
    if (random.oneIn(12)) return random.bytes(random.below(9));
    return random.oneIn(20) ? "long é ".repeat(random.below(40)) : random.pick(TEXTS);
  }

  #id(): bigint {
    return this.random.oneIn(3) ? this.random.pick(IDS) : BigInt.asIntN(64, this.random.uint64());
  }

  #time(): bigint {
    const { random } = this;
    return random.oneIn(4) ? random.pick(TIMES) : 1_787_000_000_000_000n + BigInt(random.below(1_000_000_000));
  }
}
