/** Protobuf written by hand, right or wrong. */

/** A varint, with bytes more than it needs where `padding` says so. */
export function varint(value: number | bigint, padding = 0): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  for (let i = 0; i < padding; i++) {
    bytes[bytes.length - 1] = (bytes.at(-1) as number) | 0x80;
    bytes.push(0);
  }
  return Uint8Array.from(bytes);
}

export function join(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

export function tag(number: number, wireType: number): Uint8Array {
  return varint((BigInt(number) << 3n) | BigInt(wireType));
}

/** A field of wire type 2 with that content. */
export function bytesField(number: number, ...content: Uint8Array[]): Uint8Array {
  const bytes = join(...content);
  return join(tag(number, 2), varint(bytes.length), bytes);
}

export function textField(number: number, text: string): Uint8Array {
  return bytesField(number, new TextEncoder().encode(text));
}

export function varintField(number: number, value: number | bigint): Uint8Array {
  return join(tag(number, 0), varint(value));
}

export function fixed64Field(number: number, value: bigint): Uint8Array {
  return join(tag(number, 1), new Uint8Array(BigUint64Array.of(value).buffer));
}

export function fixed32Field(number: number, value: number): Uint8Array {
  return join(tag(number, 5), new Uint8Array(Uint32Array.of(value).buffer));
}

/** A `KeyValue` with that `AnyValue`. */
export function keyValue(number: number, key: string, ...value: Uint8Array[]): Uint8Array {
  return bytesField(number, textField(1, key), bytesField(2, ...value));
}
