/** One field of a message. */
export interface Field {
  readonly number: number;
  readonly wireType: number;
  /** Of wire types 0, 1 and 5, unsigned. */
  readonly value: bigint;
  /** Of wire type 2. */
  readonly bytes: Uint8Array;
}

const NOTHING = new Uint8Array(0);

/**
 * The fields of a protobuf message, in their order. Slow and strict, and no relative of the code under test: refuses
 * what is no protobuf, groups, and varints longer than they need to be.
 */
export function readFields(message: Uint8Array): Field[] {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const fields: Field[] = [];
  let at = 0;

  function varint(): bigint {
    let value = 0n;
    for (let shift = 0n;; shift += 7n) {
      const byte = message[at++];
      if (byte === undefined) throw new Error("varint is cut short");
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) {
        if (byte === 0 && shift > 0n) {
          throw new Error(`varint at ${at} is longer than it needs to be`);
        }
        if (value >= 1n << 64n) throw new Error(`varint at ${at} is over 64 bits`);
        return value;
      }
    }
  }

  while (at < message.length) {
    const key = Number(varint());
    const number = key >>> 3;
    const wireType = key & 7;
    if (number === 0) throw new Error("field number 0");
    let value = 0n;
    let bytes: Uint8Array = NOTHING;
    if (wireType === 0) value = varint();
    else if (wireType === 1) {
      value = view.getBigUint64(at, true);
      at += 8;
    } else if (wireType === 5) {
      value = BigInt(view.getUint32(at, true));
      at += 4;
    } else if (wireType === 2) {
      const length = Number(varint());
      if (at + length > message.length) throw new Error(`field ${number} is cut short`);
      bytes = message.subarray(at, at + length);
      at += length;
    } else throw new Error(`field ${number} has wire type ${wireType}`);
    fields.push({ number, wireType, value, bytes });
  }
  return fields;
}
