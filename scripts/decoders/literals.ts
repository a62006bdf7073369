// Writes the AssemblyScript of src/decode/wasm that compares the input with JSON that is always the same, vector by
// vector, against constants in the code. Use: bun scripts/decoders/literals.ts >src/decode/wasm/dist/literals.ts
import { Buffer } from "node:buffer";
import process from "node:process";

/** What stands in a span's JSON, by the names of the functions that skip it. */
const LITERALS: Readonly<Record<string, string>> = {
  Context: '{"span_context":{"trace_id":',
  SpanId: ',"span_id":',
  Flags: ',"trace_flags":',
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
  TimeEnd: "}",
  Attributes: ',"attributes":{"map":{',
  EvictList: ',"evict_list":[',
  UsualLimit: ',"max_len":128,"dropped_count":0}',
  MaxLen: ',"max_len":',
  DroppedCount: ',"dropped_count":',
  Events: ',"events":{"queue":',
  Links: ',"links":{"queue":null',
  Status: ',"status_code":"Unset","status_message":""',
  Unset: ',"status_code":"Unset","status_message":"',
  Ok: ',"status_code":"Ok","status_message":"',
  Error: ',"status_code":"Error","status_message":"',
  Resource: ',"resource":{"attrs":{',
  ResourceEnd: "}}",
  NoResource: ',"resource":null}',
  Null: "null",
  True: "true",
  False: "false",
  EventName: '{"name":"',
  Timestamp: ',"timestamp":{"secs_since_epoch":',
  EventAttributes: ',"attributes":[',
  EventDropped: ',"dropped_attributes_count":',
  Key: '{"key":"',
  Value: ',"value":',
  String: '{"String":"',
  StringArray: '{"String":',
  I64: '{"I64":',
  F64: '{"F64":',
  Bool: '{"Bool":',
  Array: '{"Array":',
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

/** Whether the input has the literal's bytes at one piece. */
function comparison(bytes: Buffer, { offset, width }: { offset: number; width: number }): string {
  const word = (from: number, size: number) => {
    const littleEndian = Buffer.from(bytes.subarray(from, from + size)).reverse();
    return `0x${littleEndian.toString("hex")}`;
  };
  if (width < 16) return `load<u${width * 8}>(at, ${offset}) == ${word(offset, width)}`;
  const vector = `i64x2(${word(offset, 8)}, ${word(offset + 8, 8)})`;
  return `!v128.any_true(v128.xor(v128.load(at, ${offset}), ${vector}))`;
}

const functions = Object.entries(LITERALS).map(([name, text]) => {
  const bytes = Buffer.from(text);
  const condition = pieces(bytes.length).map((piece) => comparison(bytes, piece)).join(" && ");
  return `// ${text}\nexport function skip${name}(): bool {\n  if (!(${condition})) return false;\n` +
    `  moveTo(at + ${bytes.length});\n  return true;\n}\n`;
});
process.stdout.write(`import { at, moveTo } from "../cursor";\n\n${functions.join("\n")}`);
