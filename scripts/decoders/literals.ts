// Writes the AssemblyScript of src/decode/wasm that compares the input with JSON that is always the same, vector by
// vector, against constants in the code. Use: bun scripts/decoders/literals.ts >src/decode/wasm/dist/literals.ts
import { Buffer } from "node:buffer";
import process from "node:process";

/** What stands in a span's JSON, by the names of the functions that look for it. */
const LITERALS: Readonly<Record<string, string>> = {
  Context: '{"span_context":{"trace_id":',
  SpanId: ',"span_id":',
  Flags: ',"trace_flags":',
  UsualContextEnd: ',"trace_flags":1,"is_remote":false,"trace_state":null},"parent_span_id":',
  ContextEnd: ',"is_remote":false,"trace_state":null},"parent_span_id":',
  RemoteContextEnd: ',"is_remote":true,"trace_state":null},"parent_span_id":',
  Internal: ',"span_kind":"Internal","name":"',
  Server: ',"span_kind":"Server","name":"',
  Client: ',"span_kind":"Client","name":"',
  Producer: ',"span_kind":"Producer","name":"',
  Consumer: ',"span_kind":"Consumer","name":"',
  Start: ',"start_time":{"secs_since_epoch":',
  End: ',"end_time":{"secs_since_epoch":',
  Nanos: ',"nanos_since_epoch":',
  Attributes: ',"attributes":{"map":{',
  EvictList: ',"evict_list":[',
  UsualLimit: ',"max_len":128,"dropped_count":0}',
  MaxLen: ',"max_len":',
  DroppedCount: ',"dropped_count":',
  Events: ',"events":{"queue":',
  UsualEnd: ',"events":{"queue":null,"max_len":128,"dropped_count":0},"links":{"queue":null,"max_len":128,' +
    '"dropped_count":0},"status_code":"Unset","status_message":""',
  UsualLinks: ',"max_len":128,"dropped_count":0},"links":{"queue":null,"max_len":128,"dropped_count":0},' +
    '"status_code":"Unset","status_message":""',
  Links: ',"links":{"queue":null',
  Status: ',"status_code":"Unset","status_message":""',
  Unset: ',"status_code":"Unset","status_message":"',
  Ok: ',"status_code":"Ok","status_message":"',
  Error: ',"status_code":"Error","status_message":"',
  UsualResource: ',"resource":{"attrs":{"service.name":{"String":"unknown_service"}}}}',
  Resource: ',"resource":{"attrs":{',
  ResourceEnd: "}}",
  NoResource: ',"resource":null}',
  Null: "null",
  True: "true",
  False: "false",
  EventName: '{"name":"',
  Timestamp: ',"timestamp":{"secs_since_epoch":',
  EventAttributes: ',"attributes":[',
  UsualEventDropped: ',"dropped_attributes_count":0}',
  EventDropped: ',"dropped_attributes_count":',
  Key: '{"key":"',
  Value: ',"value"',
  String: ':{"String":"',
  StringArray: ':{"String":',
  I64: ':{"I64":',
  F64: ':{"F64":',
  Bool: ':{"Bool":',
  Array: ':{"Array"',
};

/** What becomes of some of them in OTLP, likewise. */
const STORED: Readonly<Record<string, string>> = {
  UsualResource: "\n#\n!\n\x0cservice.name\x12\x11\n\x0funknown_service",
};

/** How many bytes are compared at once, the most first. */
const WIDTHS = [16, 8, 4, 2, 1] as const;

/** Where comparisons of one width or another begin that cover so many bytes; the last one may overlap the others. */
function pieces(length: number): { offset: number; width: number }[] {
  const width = WIDTHS.find((bytes) => bytes <= length) as number;
  const whole = Math.floor(length / width);
  const found = Array.from({ length: whole }, (_, i) => ({ offset: i * width, width }));
  const rest = length - whole * width;
  const last = WIDTHS.findLast((bytes) => bytes >= rest) as number;
  return rest === 0 ? found : [...found, { offset: length - last, width: last }];
}

/** A part of a literal as a number, its first byte the lowest. */
function word(bytes: Buffer, from: number, size: number): string {
  const littleEndian = Buffer.from(bytes.subarray(from, from + size)).reverse();
  return `0x${littleEndian.toString("hex")}`;
}

/** Whether the input has a literal's bytes: all vectors in one comparison, and what is shorter by itself. */
function comparison(bytes: Buffer): string {
  const all = pieces(bytes.length);
  const vectors = all.filter(({ width }) => width === 16).map(({ offset }) =>
    `v128.xor(v128.load(from, ${offset}), i64x2(${word(bytes, offset, 8)}, ${word(bytes, offset + 8, 8)}))`
  );
  const others = all.filter(({ width }) => width < 16).map(({ offset, width }) =>
    `load<u${width * 8}>(from, ${offset}) == ${word(bytes, offset, width)}`
  );
  if (vectors.length === 0) return others.join(" && ");
  const different = vectors.reduce((sum, vector) => `v128.or(${sum}, ${vector})`);
  return [`!v128.any_true(${different})`, ...others].join(" && ");
}

/** Writes bytes. */
function storing(bytes: Buffer): string {
  return pieces(bytes.length).map(({ offset, width }) =>
    width === 16
      ? `v128.store(to, i64x2(${word(bytes, offset, 8)}, ${word(bytes, offset + 8, 8)}), ${offset});`
      : `store<u${width * 8}>(to, ${word(bytes, offset, width)}, ${offset});`
  ).join("\n  ");
}

/** `SpanId` as `SPAN_ID`: the literal's length. */
function constant(name: string): string {
  return name.replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase();
}

const functions = Object.entries(LITERALS).map(([name, text]) => {
  const bytes = Buffer.from(text);
  return `// ${text}\nexport const ${constant(name)}: usize = ${bytes.length};\n` +
    `export function is${name}(from: usize): bool {\n  return ${comparison(bytes)};\n}\n`;
});
const stores = Object.entries(STORED).map(([name, text]) => {
  const bytes = Buffer.from(text);
  return `export const STORED_${constant(name)}: usize = ${bytes.length};\n` +
    `export function store${name}(to: usize): void {\n  ${storing(bytes)}\n}\n`;
});
process.stdout.write([...functions, ...stores].join("\n"));
