/** What jaeger.thrift has, as plain values. Written independently of the code under test. */
export interface ThriftBatch {
  serviceName: string | Uint8Array;
  processTags?: ThriftTag[];
  spans: ThriftSpan[];
}

export interface ThriftSpan {
  traceIdLow: bigint;
  traceIdHigh: bigint;
  spanId: bigint;
  parentSpanId: bigint;
  operationName: string | Uint8Array;
  references?: ThriftReference[];
  flags: number;
  startTime: bigint;
  duration: bigint;
  tags?: ThriftTag[];
  logs?: ThriftLog[];
}

export interface ThriftReference {
  refType: number;
  traceIdLow: bigint;
  traceIdHigh: bigint;
  spanId: bigint;
}

export interface ThriftLog {
  timestamp: bigint;
  fields: ThriftTag[];
}

/** A tag; the value that it has, if any, need not be of the type that it names. */
export interface ThriftTag {
  key: string | Uint8Array;
  vType: number;
  vStr?: string | Uint8Array;
  vDouble?: number;
  vBool?: boolean;
  vLong?: bigint;
  vBinary?: Uint8Array;
}

/** Tags by the type of their value. */
export const string = (key: string, vStr: string): ThriftTag => ({ key, vType: 0, vStr });
export const double = (key: string, vDouble: number): ThriftTag => ({ key, vType: 1, vDouble });
export const bool = (key: string, vBool: boolean): ThriftTag => ({ key, vType: 2, vBool });
export const long = (key: string, vLong: bigint): ThriftTag => ({ key, vType: 3, vLong });
export const binary = (key: string, vBinary: Uint8Array): ThriftTag => ({ key, vType: 4, vBinary });

/** A field: type, number, value. */
export function thriftField(type: number, id: number, value: Uint8Array): Uint8Array {
  const head = Buffer.alloc(3);
  head.writeUInt8(type, 0);
  head.writeInt16BE(id, 1);
  return Buffer.concat([head, value]);
}

export function thriftI32(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

export function thriftI64(value: bigint): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(value);
  return bytes;
}

export function thriftString(value: string | Uint8Array): Uint8Array {
  const bytes = typeof value === "string" ? Buffer.from(value) : value;
  return Buffer.concat([thriftI32(bytes.length), bytes]);
}

export function thriftList(type: number, elements: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat([Uint8Array.of(type), thriftI32(elements.length), ...elements]);
}

export function thriftStruct(...fields: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat([...fields, Uint8Array.of(0)]);
}

export function encodeTag(tag: ThriftTag): Uint8Array {
  const fields = [thriftField(11, 1, thriftString(tag.key)), thriftField(8, 2, thriftI32(tag.vType))];
  if (tag.vStr !== undefined) fields.push(thriftField(11, 3, thriftString(tag.vStr)));
  if (tag.vDouble !== undefined) {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleBE(tag.vDouble);
    fields.push(thriftField(4, 4, bytes));
  }
  if (tag.vBool !== undefined) fields.push(thriftField(2, 5, Uint8Array.of(tag.vBool ? 1 : 0)));
  if (tag.vLong !== undefined) fields.push(thriftField(10, 6, thriftI64(tag.vLong)));
  if (tag.vBinary !== undefined) fields.push(thriftField(11, 7, thriftString(tag.vBinary)));
  return thriftStruct(...fields);
}

function encodeTags(id: number, tags: readonly ThriftTag[] | undefined): Uint8Array[] {
  return tags === undefined ? [] : [thriftField(15, id, thriftList(12, tags.map(encodeTag)))];
}

function encodeReference(reference: ThriftReference): Uint8Array {
  return thriftStruct(
    thriftField(8, 1, thriftI32(reference.refType)),
    thriftField(10, 2, thriftI64(reference.traceIdLow)),
    thriftField(10, 3, thriftI64(reference.traceIdHigh)),
    thriftField(10, 4, thriftI64(reference.spanId)),
  );
}

export function encodeThriftSpan(span: ThriftSpan): Uint8Array {
  const { references, logs } = span;
  return thriftStruct(
    thriftField(10, 1, thriftI64(span.traceIdLow)),
    thriftField(10, 2, thriftI64(span.traceIdHigh)),
    thriftField(10, 3, thriftI64(span.spanId)),
    thriftField(10, 4, thriftI64(span.parentSpanId)),
    thriftField(11, 5, thriftString(span.operationName)),
    ...references === undefined ? [] : [thriftField(15, 6, thriftList(12, references.map(encodeReference)))],
    thriftField(8, 7, thriftI32(span.flags)),
    thriftField(10, 8, thriftI64(span.startTime)),
    thriftField(10, 9, thriftI64(span.duration)),
    ...encodeTags(10, span.tags),
    ...logs === undefined ? [] : [thriftField(15, 11, thriftList(12, logs.map(encodeLog)))],
  );
}

function encodeLog({ timestamp, fields }: ThriftLog): Uint8Array {
  return thriftStruct(thriftField(10, 1, thriftI64(timestamp)), ...encodeTags(2, fields));
}

export function encodeProcess({ serviceName, processTags }: ThriftBatch): Uint8Array {
  return thriftStruct(thriftField(11, 1, thriftString(serviceName)), ...encodeTags(2, processTags));
}

/** A body as both exporters write one. */
export function encodeThriftBatch(batch: ThriftBatch): Uint8Array<ArrayBuffer> {
  const bytes = thriftStruct(
    thriftField(12, 1, encodeProcess(batch)),
    thriftField(15, 2, thriftList(12, batch.spans.map(encodeThriftSpan))),
  );
  return new Uint8Array(bytes);
}
