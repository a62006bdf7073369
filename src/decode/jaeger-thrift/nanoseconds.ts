import type { ProtobufWriter } from "../../otlp/protobuf-writer.ts";

/** 2^32. */
const WORD = 0x1_0000_0000;
/** Nanoseconds in a microsecond. */
const THOUSAND = 1000;

/**
 * Points in time as Jaeger has them, signed microseconds since 1970 in 64 bits, and as OTLP has them, unsigned
 * nanoseconds in 64 bits. Both are halves here, since neither fits a double.
 */
export class Nanoseconds {
  low = 0;
  high = 0;

  /**
   * Takes the time that is `(high, low) + (durationHigh, durationLow)` microseconds, each a signed integer of 64 bits
   * in two halves. A time before 1970, which OTLP cannot tell, is 0. Returns false if it is too late for OTLP.
   */
  take(low: number, high: number, durationLow = 0, durationHigh = 0): boolean {
    const sum = (low >>> 0) + (durationLow >>> 0);
    const carry = sum >= WORD ? 1 : 0;
    // A sum of two signed numbers of 32 bits, exact in a double, so that it cannot overflow.
    const sumHigh = (high | 0) + (durationHigh | 0) + carry;
    if (sumHigh < 0) {
      this.low = this.high = 0;
      return true;
    }
    const product = (sum - carry * WORD) * THOUSAND;
    const productHigh = sumHigh * THOUSAND + Math.floor(product / WORD);
    if (productHigh >= WORD) return false;
    this.low = product % WORD;
    this.high = productHigh;
    return true;
  }

  /** Appends the time as a fixed64 field, unless it is 0. */
  write(writer: ProtobufWriter, tag: number): void {
    if (this.low === 0 && this.high === 0) return;
    writer.byte(tag);
    writer.fixed64(this.low, this.high);
  }
}
