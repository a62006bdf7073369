import type { Random } from "./random.ts";

/** What a hostile guest writes where a length is expected. */
export const EXTREME_LENGTHS: readonly bigint[] = [
  0n,
  1n,
  1n << 31n,
  (1n << 32n) - 1n,
  1n << 53n,
  1n << 63n,
  (1n << 64n) - 1n,
];

/** What a decoder makes of a payload. */
export type Outcome = "taken" | "refused";

/** How many of some payloads are taken, and how many refused. */
export function countOutcomes(
  payloads: Iterable<Uint8Array>,
  check: (payload: Uint8Array) => Outcome,
): Record<Outcome, number> {
  const counts = { taken: 0, refused: 0 };
  for (const payload of payloads) counts[check(payload)]++;
  return counts;
}

/** The payload with the byte at `at` replaced by each of the values that `values` makes of it. */
export function* changedBytes(
  payload: Uint8Array,
  step: number,
  values: (byte: number) => readonly number[],
): Generator<Uint8Array> {
  const copy = payload.slice();
  for (let at = 0; at < payload.length; at += step) {
    const byte = payload[at] as number;
    for (const value of values(byte)) {
      if (value === byte) continue;
      copy[at] = value;
      yield copy;
    }
    copy[at] = byte;
  }
}

/** The payload cut at every length. */
export function* cuts(payload: Uint8Array, step: number): Generator<Uint8Array> {
  for (let end = 0; end < payload.length; end += step) yield payload.slice(0, end);
}

/** The payload with each of its 8-byte little-endian lengths, which are at `offsets`, replaced by each extreme. */
export function* extremeLengths(
  payload: Uint8Array,
  offsets: readonly number[],
): Generator<Uint8Array> {
  const copy = payload.slice();
  const view = new DataView(copy.buffer);
  for (const offset of offsets) {
    const length = view.getBigUint64(offset, true);
    for (const extreme of [...EXTREME_LENGTHS, length + 1n, length - 1n]) {
      view.setBigUint64(offset, BigInt.asUintN(64, extreme), true);
      yield copy;
    }
    view.setBigUint64(offset, length, true);
  }
}

/** The payload with a few things wrong at once: bytes changed, cut out, put in, repeated, or taken from elsewhere. */
export function scrambled(payload: Uint8Array, other: Uint8Array, random: Random): Uint8Array {
  let bytes = payload.slice();
  for (let times = 1 + random.below(4); times > 0; times--) {
    const at = random.below(bytes.length + 1);
    const head = bytes.subarray(0, at);
    const tail = bytes.subarray(at);
    const length = random.below(random.pick([2, 9, 40]));
    switch (random.below(5)) {
      case 0:
        bytes = bytes.slice();
        if (at < bytes.length) bytes[at] = random.pick([0, 1, 0x7f, 0x80, 0xff, random.below(256)]);
        break;
      case 1:
        bytes = joined(head, tail.subarray(length));
        break;
      case 2:
        bytes = joined(head, random.bytes(length), tail);
        break;
      case 3:
        bytes = joined(head, tail.subarray(0, length), tail);
        break;
      default: {
        const from = random.below(other.length + 1);
        bytes = joined(head, other.subarray(from, from + length), tail.subarray(length));
        break;
      }
    }
  }
  return bytes;
}

function joined(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.concat(parts));
}
