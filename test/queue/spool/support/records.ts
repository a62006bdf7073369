import assert from "node:assert/strict";
import type { Spool } from "../../../../src/queue/spool/spool.ts";
import type { SpoolRecord } from "../../../../src/queue/spool-store.ts";

const KINDS = ["guest", "runtime", "host"] as const;

/** A record made from a number, so that whatever becomes of it can be told. */
export function record(number: number, bytes = 1000): SpoolRecord {
  return {
    account: `account-${number % 5}`,
    kind: KINDS[number % 3] as SpoolRecord["kind"],
    spans: number % 7 + 1,
    bytes: payload(number, bytes),
  };
}

/** Bytes of their own for each number, which it can be read from. */
export function payload(number: number, bytes = 1000): Uint8Array {
  const result = new Uint8Array(bytes);
  const view = new DataView(result.buffer);
  for (let at = 0; at + 4 <= bytes; at += 4) view.setUint32(at, Math.imul(number + 1, at + 0x9e3779b1), true);
  if (bytes >= 4) view.setUint32(0, number, true);
  return result;
}

/** The number that a payload was made from. Fails if it is not that of any number. */
export function numberOf(bytes: Uint8Array): number {
  const number = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  assert.deepEqual(bytes, payload(number, bytes.length));
  return number;
}

/** The numbers of the records that a spool has found and can read, oldest first. */
export function recoveredNumbers(spool: Spool): number[] {
  const numbers: number[] = [];
  for (const { id, account, kind, spans, size } of spool.recovered()) {
    const bytes = spool.read(id);
    if (bytes === undefined) continue;
    const number = numberOf(bytes);
    numbers.push(number);
    const expected = record(number, bytes.length);
    assert.deepEqual(
      { account, kind, spans, size },
      { account: expected.account, kind: expected.kind, spans: expected.spans, size: bytes.length },
    );
  }
  return numbers;
}
