import type { ThriftBatch, ThriftLog, ThriftReference, ThriftSpan, ThriftTag } from "./thrift-encoder.ts";

/** A value as it is on the wire, whatever it means. */
type WireValue = boolean | number | bigint | Uint8Array | WireValue[] | WireStruct;
/** A struct's fields as they come; a number may come again. */
type WireStruct = { id: number; type: number; value: WireValue }[];

/** Only to end: what is too deep has a test of its own. */
const MAX_DEPTH = 500;

/** Reads TBinaryProtocol recursively, into values. Slow, and no relative of the code under test. */
class WireReader {
  readonly #bytes: Buffer;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  struct(depth: number): WireStruct {
    const fields: WireStruct = [];
    for (;;) {
      const type = this.#byte();
      if (type === 0) return fields;
      if (![2, 3, 4, 6, 8, 10, 11, 12, 13, 14, 15].includes(type)) throw new Error(`type ${type}`);
      const id = this.#take(2).readInt16BE();
      fields.push({ id, type, value: this.value(type, depth) });
    }
  }

  /** @param depth how many values of unknown fields may nest from here on. */
  value(type: number, depth: number): WireValue {
    switch (type) {
      case 2:
        return this.#byte() === 1;
      case 3:
        return this.#byte();
      case 4:
        return this.#take(8).readDoubleBE();
      case 6:
        return this.#take(2).readInt16BE();
      case 8:
        return this.#take(4).readInt32BE();
      case 10:
        return this.#take(8).readBigInt64BE();
      case 11:
        return this.#take(this.#size(1));
      case 12:
        if (depth === 0) throw new Error("too deep");
        return this.struct(depth - 1);
      case 14:
      case 15: {
        if (depth === 0) throw new Error("too deep");
        const element = this.#byte();
        return this.#many(this.#size(1), () => this.value(element, depth - 1));
      }
      case 13: {
        if (depth === 0) throw new Error("too deep");
        const key = this.#byte();
        const value = this.#byte();
        return this.#many(this.#size(1), () => [this.value(key, depth - 1), this.value(value, depth - 1)]);
      }
    }
    throw new Error(`type ${type}`);
  }

  #many(count: number, read: () => WireValue): WireValue[] {
    const values: WireValue[] = [];
    for (; count > 0; count--) values.push(read());
    return values;
  }

  #byte(): number {
    return this.#take(1).readUInt8();
  }

  #size(least: number): number {
    const size = this.#take(4).readInt32BE();
    if (size < 0 || size * least > this.#bytes.length - this.at) throw new Error(`size ${size}`);
    return size;
  }

  #take(count: number): Buffer {
    if (this.#bytes.length - this.at < count) throw new Error("cut");
    this.at += count;
    return this.#bytes.subarray(this.at - count, this.at);
  }
}

/** The known fields of a struct, by number. */
function known(
  struct: WireValue,
  required: Record<number, number>,
  optional: Record<number, number> = {},
): Record<number, WireValue> {
  const values: Record<number, WireValue> = {};
  const seen = new Set<number>();
  for (const { id, type, value } of struct as WireStruct) {
    const expected = required[id] ?? optional[id];
    if (expected === undefined) continue;
    if (seen.has(id)) throw new Error(`field ${id} twice`);
    seen.add(id);
    if (type === expected) values[id] = value;
    else if (id in required) throw new Error(`field ${id} has type ${type}`);
    // What is skipped because of its type is not a field.
    else seen.delete(id);
  }
  for (const id of Object.keys(required)) if (!(id in values)) throw new Error(`no field ${id}`);
  return values;
}

/** Reads a body as jaeger.thrift has it. Throws for one that has to be refused. */
export function readThriftBatch(bytes: Uint8Array): ThriftBatch {
  const batch = known(new WireReader(bytes).struct(MAX_DEPTH), { 1: 12, 2: 15 });
  const process = known(batch[1] as WireValue, { 1: 11 }, { 2: 15 });
  return {
    serviceName: process[1] as Uint8Array,
    ...2 in process && { processTags: structs(process[2] as WireValue).map(readTag) },
    spans: structs(batch[2] as WireValue).map(readSpan),
  };
}

function structs(list: WireValue): WireStruct[] {
  for (const element of list as WireValue[]) {
    const isStruct = Array.isArray(element) &&
      element.every((field) => typeof field === "object" && !Array.isArray(field) && "id" in field);
    if (!isStruct) throw new Error("no struct");
  }
  return list as WireStruct[];
}

function readSpan(struct: WireStruct): ThriftSpan {
  const field = known(
    struct,
    { 1: 10, 2: 10, 3: 10, 4: 10, 5: 11, 7: 8, 8: 10, 9: 10 },
    { 6: 15, 10: 15, 11: 15 },
  );
  return {
    traceIdLow: field[1] as bigint,
    traceIdHigh: field[2] as bigint,
    spanId: field[3] as bigint,
    parentSpanId: field[4] as bigint,
    operationName: field[5] as Uint8Array,
    ...6 in field && { references: structs(field[6] as WireValue).map(readReference) },
    flags: field[7] as number,
    startTime: field[8] as bigint,
    duration: field[9] as bigint,
    ...10 in field && { tags: structs(field[10] as WireValue).map(readTag) },
    ...11 in field && { logs: structs(field[11] as WireValue).map(readLog) },
  };
}

function readReference(struct: WireStruct): ThriftReference {
  const field = known(struct, { 1: 8, 2: 10, 3: 10, 4: 10 });
  return {
    refType: field[1] as number,
    traceIdLow: field[2] as bigint,
    traceIdHigh: field[3] as bigint,
    spanId: field[4] as bigint,
  };
}

function readLog(struct: WireStruct): ThriftLog {
  const field = known(struct, { 1: 10, 2: 15 });
  return { timestamp: field[1] as bigint, fields: structs(field[2] as WireValue).map(readTag) };
}

function readTag(struct: WireStruct): ThriftTag {
  const field = known(struct, { 1: 11, 2: 8 }, { 3: 11, 4: 4, 5: 2, 6: 10, 7: 11 });
  return {
    key: field[1] as Uint8Array,
    vType: field[2] as number,
    ...3 in field && { vStr: field[3] as Uint8Array },
    ...4 in field && { vDouble: field[4] as number },
    ...5 in field && { vBool: field[5] as boolean },
    ...6 in field && { vLong: field[6] as bigint },
    ...7 in field && { vBinary: field[7] as Uint8Array },
  };
}
