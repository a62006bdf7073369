import { doubleRecord, sortedByKey } from "./span-record.ts";
import type { AttributeRecord, LinkRecord, SpanRecord, ValueRecord } from "./span-record.ts";

/** OTLP's kinds by the variants of `SpanKind` of opentelemetry 0.14: Client, Server, Producer, Consumer, Internal. */
const KINDS = [3, 2, 4, 5, 1];

/** What a payload is, read plainly. */
export interface BincodeReading {
  readonly record: SpanRecord;
  /** Where each length or count of 8 bytes is. */
  readonly lengthOffsets: readonly number[];
}

/**
 * Reads a bincode payload as the Rust crates do, one obvious step after the other: a reference that shares nothing with
 * the decoder under test. Throws where the crates refuse the payload, where a byte follows the span, and where a time
 * does not fit 64 bits of nanoseconds.
 */
export function readBincode(payload: Uint8Array): BincodeReading {
  const reader = new BincodeReader(payload);
  return { record: reader.span(), lengthOffsets: reader.lengthOffsets };
}

class BincodeReader {
  readonly lengthOffsets: number[] = [];
  readonly #payload: Uint8Array;
  readonly #view: DataView;
  readonly #utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  #at = 0;

  constructor(payload: Uint8Array) {
    this.#payload = payload;
    this.#view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  }

  span(): SpanRecord {
    const context = this.#context();
    const parent = this.#u64();
    const kind = KINDS[this.#variant(5)] as number;
    const name = this.#text();
    const startTimeUnixNano = this.#time();
    const endTimeUnixNano = this.#time();
    const attributes = this.#map();
    this.#sequence(() => this.#text());
    this.#u32();
    const droppedAttributesCount = this.#u32();
    const events = this.#option(() =>
      this.#sequence(() => {
        const name = this.#text();
        const timeUnixNano = this.#time();
        const attributes = this.#sequence(() => this.#attribute());
        return { attributes, droppedAttributesCount: this.#u32(), name, timeUnixNano };
      })
    ) ?? [];
    this.#u32();
    const droppedEventsCount = this.#u32();
    const links = this.#option(() =>
      this.#sequence((): LinkRecord => {
        const context = this.#context();
        const attributes = this.#sequence(() => this.#attribute());
        return { attributes, droppedAttributesCount: this.#u32(), ...context };
      })
    ) ?? [];
    this.#u32();
    const droppedLinksCount = this.#u32();
    const status = { code: this.#variant(3), message: this.#text() };
    const resource = this.#option(() => this.#map());
    if (this.#at !== this.#payload.length) throw new Error("bytes after the span");
    return {
      attributes,
      droppedAttributesCount,
      droppedEventsCount,
      droppedLinksCount,
      endTimeUnixNano,
      events,
      kind,
      links,
      name,
      parentSpanId: parent === 0n ? "" : hex(parent, 16),
      resource,
      startTimeUnixNano,
      status,
      ...context,
    };
  }

  #context(): Omit<LinkRecord, "attributes" | "droppedAttributesCount"> & { isRemote: boolean } {
    const low = this.#u64();
    const traceId = hex((this.#u64() << 64n) | low, 32);
    const spanId = hex(this.#u64(), 16);
    const traceFlags = this.#u8();
    const isRemote = this.#bool();
    const pairs = this.#option(() => this.#sequence(() => `${this.#text()}=${this.#text()}`)) ?? [];
    return { traceId, spanId, traceFlags, isRemote, traceState: pairs.join(",") };
  }

  #map(): AttributeRecord[] {
    const entries = new Map(
      this.#sequence(() => this.#attribute()).map((entry) => [entry.key, entry]),
    );
    return sortedByKey([...entries.values()]);
  }

  #attribute(): AttributeRecord {
    const key = this.#text();
    return { key, value: this.#value(this.#variant(5)) };
  }

  #value(variant: number): ValueRecord {
    if (variant === 0) return { boolValue: this.#bool() };
    if (variant === 1) return { intValue: String(BigInt.asIntN(64, this.#u64())) };
    if (variant === 2) {
      return doubleRecord(new Float64Array(BigUint64Array.of(this.#u64()).buffer)[0] as number);
    }
    if (variant === 3) return { stringValue: this.#text() };
    const items = this.#variant(4);
    return { arrayValue: { values: this.#sequence(() => this.#value(items)) } };
  }

  #time(): string {
    const seconds = this.#u64();
    const nanoseconds = seconds * 1_000_000_000n + BigInt(this.#u32());
    if (nanoseconds >= 1n << 64n) throw new Error("time is out of range");
    return String(nanoseconds);
  }

  #sequence<T>(read: () => T): T[] {
    const items: T[] = [];
    for (let left = this.#length(); left > 0n; left--) items.push(read());
    return items;
  }

  #option<T>(read: () => T): T | null {
    return this.#bool() ? read() : null;
  }

  #text(): string {
    const length = Number(this.#length());
    const end = this.#at + length;
    if (end > this.#payload.length) throw new Error("cut short");
    const text = this.#utf8.decode(this.#payload.subarray(this.#at, end));
    this.#at = end;
    return text;
  }

  #length(): bigint {
    this.lengthOffsets.push(this.#at);
    return this.#u64();
  }

  #variant(variants: number): number {
    const variant = this.#u32();
    if (variant >= variants) throw new Error("no such variant");
    return variant;
  }

  #bool(): boolean {
    const byte = this.#u8();
    if (byte > 1) throw new Error("no such tag");
    return byte === 1;
  }

  #u8(): number {
    return this.#view.getUint8(this.#advance(1));
  }

  #u32(): number {
    return this.#view.getUint32(this.#advance(4), true);
  }

  #u64(): bigint {
    return this.#view.getBigUint64(this.#advance(8), true);
  }

  /** A DataView throws where the payload ends too early. */
  #advance(bytes: number): number {
    this.#at += bytes;
    return this.#at - bytes;
  }
}

function hex(value: bigint, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}
