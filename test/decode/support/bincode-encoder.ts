import { doubleOf } from "./span-record.ts";
import type { AttributeRecord, SpanRecord, ValueRecord } from "./span-record.ts";

/** OTLP's kinds as variants of `SpanKind` of opentelemetry 0.14: Client, Server, Producer, Consumer, Internal. */
const KIND_VARIANTS: Readonly<Record<number, number>> = { 3: 0, 2: 1, 4: 2, 5: 3, 1: 4 };

/** How an agent could write what a record does not say. */
export interface BincodeOptions {
  /** Empty queues and an empty trace state as `Some` of nothing instead of `None`. */
  readonly emptyAsSome?: boolean;
  /** Keys of the eviction list; default: the span's attributes' keys. */
  readonly evictList?: readonly string[];
  /** The type of arrays that have no values; 0 Bool, 1 I64, 2 F64, 3 String. */
  readonly emptyArrayType?: number;
}

/** Writes a record as an agent's bincode payload, with attributes in the record's order. */
export function encodeBincode(record: SpanRecord, options: BincodeOptions = {}): Uint8Array {
  return new BincodeEncoder(options).span(record);
}

/** Bincode 1.3 with its defaults: little endian, fixed width. Slow and plain. */
class BincodeEncoder {
  readonly #options: BincodeOptions;
  #bytes = Buffer.alloc(1024);
  #length = 0;

  constructor(options: BincodeOptions) {
    this.#options = options;
  }

  span(record: SpanRecord): Uint8Array {
    this.#context(record);
    this.#int(BigInt(`0x${record.parentSpanId || "0"}`), 8);
    this.#int(KIND_VARIANTS[record.kind] as number, 4);
    this.#text(record.name);
    this.#time(record.startTimeUnixNano);
    this.#time(record.endTimeUnixNano);
    this.#attributes(record.attributes);
    const evictList = this.#options.evictList ?? record.attributes.map(({ key }) => key).reverse();
    this.#int(evictList.length, 8);
    for (const key of evictList) this.#text(key);
    this.#int(128, 4);
    this.#int(record.droppedAttributesCount, 4);
    this.#queue(record.events, (event) => {
      this.#text(event.name);
      this.#time(event.timeUnixNano);
      this.#attributes(event.attributes);
      this.#int(event.droppedAttributesCount, 4);
    });
    this.#int(record.droppedEventsCount, 4);
    this.#queue(record.links, (link) => {
      this.#context(link);
      this.#attributes(link.attributes);
      this.#int(link.droppedAttributesCount, 4);
    });
    this.#int(record.droppedLinksCount, 4);
    this.#int(record.status.code, 4);
    this.#text(record.status.message);
    this.#int(record.resource === null ? 0 : 1, 1);
    if (record.resource !== null) this.#attributes(record.resource);
    return new Uint8Array(this.#bytes.subarray(0, this.#length));
  }

  #context(
    context: Pick<SpanRecord, "traceId" | "spanId" | "traceFlags" | "isRemote" | "traceState">,
  ): void {
    this.#int(BigInt(`0x${context.traceId}`), 16);
    this.#int(BigInt(`0x${context.spanId}`), 8);
    this.#int(context.traceFlags, 1);
    this.#int(context.isRemote ? 1 : 0, 1);
    const pairs = context.traceState === "" ? [] : context.traceState.split(",");
    const none = pairs.length === 0 && !this.#options.emptyAsSome;
    this.#int(none ? 0 : 1, 1);
    if (none) return;
    this.#int(pairs.length, 8);
    for (const pair of pairs) {
      const equals = pair.indexOf("=");
      this.#text(pair.slice(0, equals));
      this.#text(pair.slice(equals + 1));
    }
  }

  #queue<T>(items: readonly T[], write: (item: T) => void): void {
    const none = items.length === 0 && !this.#options.emptyAsSome;
    this.#int(none ? 0 : 1, 1);
    if (!none) {
      this.#int(items.length, 8);
      for (const item of items) write(item);
    }
    this.#int(128, 4);
  }

  #attributes(attributes: readonly AttributeRecord[]): void {
    this.#int(attributes.length, 8);
    for (const { key, value } of attributes) {
      this.#text(key);
      this.#int(variant(value), 4);
      this.#value(value);
    }
  }

  #value(value: ValueRecord): void {
    if ("boolValue" in value) this.#int(value.boolValue ? 1 : 0, 1);
    else if ("intValue" in value) this.#int(BigInt.asUintN(64, BigInt(value.intValue)), 8);
    else if ("doubleValue" in value) this.#double(doubleOf(value.doubleValue));
    else if ("stringValue" in value) this.#text(value.stringValue);
    else {
      const [first] = value.arrayValue.values;
      this.#int(first === undefined ? this.#options.emptyArrayType ?? 0 : variant(first), 4);
      this.#int(value.arrayValue.values.length, 8);
      for (const item of value.arrayValue.values) this.#value(item);
    }
  }

  #time(nanoseconds: string): void {
    this.#int(BigInt(nanoseconds) / 1_000_000_000n, 8);
    this.#int(BigInt(nanoseconds) % 1_000_000_000n, 4);
  }

  #double(value: number): void {
    this.#append(new Uint8Array(Float64Array.of(value).buffer));
  }

  #text(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.#int(bytes.length, 8);
    this.#append(bytes);
  }

  #int(value: number | bigint, size: number): void {
    const bytes = Buffer.alloc(size);
    let rest = BigInt(value);
    for (let i = 0; i < size; i++) {
      bytes[i] = Number(rest & 0xffn);
      rest >>= 8n;
    }
    this.#append(bytes);
  }

  #append(bytes: Uint8Array): void {
    const length = this.#length + bytes.length;
    if (length > this.#bytes.length) {
      this.#bytes = Buffer.concat([this.#bytes], Math.max(length, this.#bytes.length * 2));
    }
    this.#bytes.set(bytes, this.#length);
    this.#length = length;
  }
}

function variant(value: ValueRecord): number {
  if ("boolValue" in value) return 0;
  if ("intValue" in value) return 1;
  if ("doubleValue" in value) return 2;
  return "stringValue" in value ? 3 : 4;
}
