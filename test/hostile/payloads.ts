// What a guest can send to cost as much as possible: each small thing again and again, in every encoding, taken or
// refused. Shared by the benchmark of hostile guests, the fuzzer, and the fault tests.
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { span as spanWith } from "../decode/support/bincode-decode.ts";
import { encodeBincode } from "../decode/support/bincode-encoder.ts";
import { frame, splitFrames } from "../decode/support/fixtures.ts";
import { encodeJson } from "../decode/support/json-encoder.ts";
import {
  bytesField,
  fixed64Field,
  join,
  keyValue,
  tag,
  textField,
  varint,
  varintField,
} from "../decode/support/otlp-message.ts";
import { Random } from "../decode/support/random.ts";
import { REAL_STREAMS, streamBytes } from "../decode/support/recorded-streams.ts";
import type { SpanRecord, ValueRecord } from "../decode/support/span-record.ts";

/** Something that a guest sends without end. */
export interface HostileStream {
  readonly name: string;
  /** Whole frames, or bytes that are none. */
  readonly bytes: Uint8Array;
}

/** How large a payload is in which one thing comes again and again, bytes. */
const PAYLOAD_BYTES = 32 * 1024;
/** A large payload, but small enough to be decoded in one step. */
const LARGE_BYTES = 400 * 1024;
/** How many bytes of small frames there are in a stream. */
const STREAM_BYTES = 256 * 1024;
/** Written before its values, an OTLP array is a field of `AnyValue`, and its values are fields 1. */
const ARRAY = 5;

export const IDS: Uint8Array = join(
  bytesField(1, new Uint8Array(16).fill(1)),
  bytesField(2, new Uint8Array(8).fill(2)),
);

/** The plain JSON spans with which all else is compared. */
export function plainJson(): HostileStream {
  return { name: "plain JSON", bytes: recordedLoad("json-frames") };
}

function recordedLoad(encoding: "json-frames" | "bincode"): Uint8Array {
  return new Uint8Array(readFileSync(new URL(`../fixtures/load.${encoding}`, import.meta.url)));
}

/** As many copies as fill so many bytes. */
export function repeated(bytes: Uint8Array, most: number): Uint8Array {
  const count = Math.max(1, Math.floor(most / bytes.length));
  return new Uint8Array(Buffer.alloc(count * bytes.length, bytes));
}

function frames(...payloads: Uint8Array[]): Uint8Array {
  return repeated(join(...payloads.map((payload) => new Uint8Array(frame(payload)))), STREAM_BYTES);
}

/** A request of one resource with one scope. */
function request(...scopeSpans: Uint8Array[]): Uint8Array {
  return bytesField(1, bytesField(2, ...scopeSpans));
}

function otlpSpan(...fields: Uint8Array[]): Uint8Array {
  return bytesField(2, IDS, ...fields);
}

export const EMPTY_SPAN: SpanRecord = spanWith({
  spanId: "0202020202020202",
  traceId: "01010101010101010101010101010101",
});

/** What an agent's payload has in it again and again, so that it has about so many bytes in bincode. */
function agentSpans(bytes: number): readonly (readonly [string, Partial<SpanRecord>])[] {
  const copies = <T>(size: number, make: (number: number) => T): T[] =>
    Array.from({ length: Math.floor(bytes / size) }, (_, i) => make(i));
  const array = (value: ValueRecord, size: number): Partial<SpanRecord> => ({
    attributes: [{ key: "k", value: { arrayValue: { values: copies(size, () => value) } } }],
  });
  const event = { attributes: [], droppedAttributesCount: 0, name: "", timeUnixNano: "1" };
  const link = {
    attributes: [],
    droppedAttributesCount: 0,
    isRemote: false,
    spanId: "03".repeat(8),
    traceFlags: 0,
    traceId: "04".repeat(16),
    traceState: "",
  };
  return [
    ["nothing", {}],
    ["an array of bools", array({ boolValue: true }, 4)],
    ["an array of small numbers", array({ intValue: "1" }, 4)],
    ["an array of large numbers", array({ intValue: "-4611686018427387904" }, 16)],
    ["an array of doubles", array({ doubleValue: 0.1 }, 8)],
    ["an array of powers of ten", array({ doubleValue: 1e99 }, 8)],
    ["an array of long doubles", array({ doubleValue: 1.7976931348623157e308 }, 20)],
    ["an array of empty strings", array({ stringValue: "" }, 6)],
    ["an array of letters", array({ stringValue: "a" }, 7)],
    ["attributes with bools", { attributes: copies(24, (i) => ({ key: `${i}`, value: { boolValue: true } })) }],
    ["attributes with the same key", { attributes: copies(24, () => ({ key: "k", value: { boolValue: true } })) }],
    ["attributes of the resource", { resource: copies(24, (i) => ({ key: `${i}`, value: { stringValue: "" } })) }],
    ["300 attributes of the resource", {
      resource: Array.from({ length: 300 }, (_, i) => ({ key: `${i}`, value: { stringValue: "" } })),
    }],
    ["empty events", { events: copies(60, () => event) }],
    ["events with an attribute", {
      events: copies(80, () => ({ ...event, attributes: [{ key: "k", value: { intValue: "1" } }] })),
    }],
    ["links", { links: copies(60, () => link) }],
    ["links with a state", { links: copies(60, () => ({ ...link, traceState: "a=b,c=d" })) }],
    ["escaped text", { name: '"\\\n'.repeat(bytes / 6) }],
    ["control characters", { name: "\u0001\u2028".repeat(bytes / 10) }],
    ["text that is not ASCII", { name: "é人🦀".repeat(bytes / 12) }],
    ["mixed text", { name: "aé".repeat(bytes / 4) }],
    ["a trace state", { traceState: copies(6, () => "a=b").join(",") }],
  ];
}

/** The same of a request in OTLP: the name, and what its only payload is. */
function otlpPayloads(bytes: number): readonly (readonly [string, Uint8Array])[] {
  const many = (field: Uint8Array): Uint8Array => repeated(field, bytes);
  const attribute = keyValue(9, "k", varintField(2, 1));
  const values: readonly (readonly [string, Uint8Array])[] = [
    ["bools", varintField(2, 1)],
    ["small numbers", varintField(3, 1)],
    ["large numbers", varintField(3, -1n)],
    ["doubles", fixed64Field(4, 0x3ff0n << 48n)],
    ["NaN", fixed64Field(4, 0x7ff8n << 48n)],
    ["empty strings", textField(1, "")],
    ["nothing", new Uint8Array(0)],
    ["lists", bytesField(6, bytesField(1, bytesField(2)))],
  ];
  return [
    ["spans of nothing but IDs", request(many(otlpSpan()))],
    ["spans with an attribute", request(many(otlpSpan(attribute)))],
    ["one resource a span", repeated(bytesField(1, bytesField(1, keyValue(1, "k")), bytesField(2, otlpSpan())), bytes)],
    ["one ResourceSpans a span", repeated(request(otlpSpan()), bytes)],
    ["one scope a span", bytesField(1, many(bytesField(2, bytesField(1, textField(1, "s")), otlpSpan())))],
    ["empty ScopeSpans", bytesField(1, many(bytesField(2)), bytesField(2, otlpSpan()))],
    ["empty ResourceSpans", join(many(bytesField(1)), request(otlpSpan()))],
    ["empty resource attributes", bytesField(1, bytesField(1, many(bytesField(1))), bytesField(2, otlpSpan()))],
    ["resource attributes", bytesField(1, bytesField(1, many(keyValue(1, "k"))), bytesField(2, otlpSpan()))],
    [
      "300 resource attributes",
      bytesField(
        1,
        bytesField(1, ...Array.from({ length: 300 }, (_, i) => keyValue(1, `${i}`, textField(1, "")))),
        bytesField(2, otlpSpan()),
      ),
    ],
    [
      "resource attributes without a key",
      bytesField(1, bytesField(1, many(bytesField(1, bytesField(2)))), bytesField(2, otlpSpan())),
    ],
    ["scope attributes", request(bytesField(1, many(keyValue(3, "k"))), otlpSpan())],
    ["empty attributes", request(otlpSpan(many(bytesField(9))))],
    ["attributes", request(otlpSpan(many(attribute)))],
    ["empty events", request(otlpSpan(many(bytesField(11))))],
    ["events with an attribute", request(otlpSpan(many(bytesField(11, keyValue(3, "k", varintField(2, 1))))))],
    ["links", request(otlpSpan(many(bytesField(13, IDS))))],
    ["unknown fields", request(otlpSpan(many(varintField(17, 1))))],
    ["unknown fields between attributes", request(otlpSpan(many(join(attribute, varintField(17, 1)))))],
    ["unknown fields in attributes", request(otlpSpan(many(bytesField(9, textField(1, "k"), varintField(17, 1)))))],
    ["tags with more bytes than needed", request(otlpSpan(many(join(tag(17, 0), varint(1, 8)))))],
    ["padded bools", request(otlpSpan(many(bytesField(9, textField(1, "k"), bytesField(2, tag(2, 0), varint(1, 8))))))],
    ["padded lengths", request(otlpSpan(many(paddedAttribute())))],
    [
      "a padded length in each attribute",
      request(otlpSpan(many(join(tag(9, 2), varint(7, 1), textField(1, "k"), bytesField(2, varintField(2, 1)))))),
    ],
    ["padded lengths of spans", request(many(join(tag(2, 2), varint(IDS.length, 1), IDS)))],
    ["spans with unknown fields", request(many(otlpSpan(varintField(17, 1))))],
    ["nested lists", request(otlpSpan(many(bytesField(9, textField(1, "k"), nestedLists(12)))))],
    ["text that is not ASCII", request(otlpSpan(many(keyValue(9, "k", textField(1, "é人🦀")))))],
    ["text of its own length", request(otlpSpan(textField(5, "é".repeat(bytes / 2))))],
    ...values.map(([name, value]) =>
      [
        `an array of ${name}`,
        request(
          otlpSpan(bytesField(9, textField(1, "k"), bytesField(2, bytesField(ARRAY, many(bytesField(1, value)))))),
        ),
      ] as const
    ),
  ];
}

/** An attribute all of whose lengths have a byte more than they need. */
function paddedAttribute(): Uint8Array {
  const field = (number: number, content: Uint8Array): Uint8Array =>
    join(tag(number, 2), varint(content.length, 1), content);
  return field(9, join(field(1, Uint8Array.of(0x6b)), field(2, varintField(2, 1))));
}

function nestedLists(depth: number): Uint8Array {
  let value = bytesField(2, varintField(2, 1));
  for (let i = 0; i < depth; i++) value = bytesField(2, bytesField(ARRAY, bytesField(1, value.subarray(2))));
  return value;
}

/** What `"é",` takes in JSON. */
const SHORT_TEXT_BYTES = 5;

/** A span that has an array of strings of one character, of two bytes each, written with about so many bytes. */
function shortTexts(bytes: number): SpanRecord {
  const values = Array.from({ length: Math.floor(bytes / SHORT_TEXT_BYTES) }, () => ({ stringValue: "é" }));
  return { ...EMPTY_SPAN, attributes: [{ key: "k", value: { arrayValue: { values } } }] };
}

/** Payloads whose refusal costs the most: what is wrong with them comes last. */
function refused(): readonly HostileStream[] {
  const json = encodeJson({ ...EMPTY_SPAN, name: "n".repeat(100) });
  const attributes = Array.from({ length: 500 }, (_, i) => ({ key: `k${i}`, value: { boolValue: true } }));
  const [bincode, longJson] = [encodeBincode({ ...EMPTY_SPAN, attributes }), encodeJson({ ...EMPTY_SPAN, attributes })];
  const isBroken = (payload: Uint8Array): Uint8Array => join(payload, Uint8Array.of(1));
  const random = new Random(1);
  const garbage = random.bytes(STREAM_BYTES);
  // Before all zeros there may be a header, and bincode's ids and names may be anything.
  const zeros = new Uint8Array(STREAM_BYTES).fill(0);
  for (let at = 7; at < zeros.length; at += 40) zeros[at] = 0x80;
  const nested = (count: number): Uint8Array => {
    const header = new Uint8Array(frame(new Uint8Array(126)).subarray(0, 8));
    return repeated(header, count * header.length);
  };
  const bincodeHeads = encodeBincode(EMPTY_SPAN).subarray(0, 100);
  return [
    { name: "refused: JSON with a byte too many", bytes: frames(isBroken(json)) },
    { name: "refused: long JSON with a byte too many", bytes: frames(isBroken(longJson)) },
    {
      name: "refused: JSON with an array of short strings that are not ASCII",
      bytes: frames(isBroken(encodeJson(shortTexts(PAYLOAD_BYTES)))),
    },
    { name: "refused: bincode with a byte too many", bytes: frames(isBroken(bincode)) },
    { name: "refused: small bincode with a byte too many", bytes: frames(isBroken(encodeBincode(EMPTY_SPAN))) },
    { name: "refused: empty payloads", bytes: frames(new Uint8Array(0)) },
    { name: "refused: payloads of 8 bytes", bytes: frames(new Uint8Array(8)) },
    { name: "refused: payloads of 40 bytes", bytes: frames(new Uint8Array(40).fill(7)) },
    { name: "refused: OTLP without IDs", bytes: frames(request(bytesField(2))) },
    {
      name: "refused: long OTLP that ends in a wrong tag",
      bytes: frames(
        request(otlpSpan(repeated(keyValue(9, "k", varintField(2, 1)), PAYLOAD_BYTES), Uint8Array.of(0x0b))),
      ),
    },
    { name: "refused: JSON nested deep", bytes: frames(new TextEncoder().encode(`{"a":${"[".repeat(8_000)}`)) },
    { name: "refused: JSON that wants every encoding", bytes: frames(new TextEncoder().encode("{".repeat(200))) },
    { name: "garbage", bytes: garbage },
    { name: "framed garbage", bytes: frames(garbage.subarray(0, 2000), garbage.subarray(5000, 5100)) },
    { name: "headers everywhere", bytes: zeros },
    { name: "headers inside of headers", bytes: nested(STREAM_BYTES / 8) },
    { name: "beginnings of bincode spans", bytes: frames(repeated(new Uint8Array(frame(bincodeHeads)), 4000)) },
    {
      name: "frames over the limit",
      bytes: frames(garbage.subarray(0, 20)).map((byte, at) => at % 28 === 3 ? 1 : byte),
    },
  ];
}

/** Encodings that alternate, so that what a guest sent last says nothing about what it sends next. */
function alternating(): readonly HostileStream[] {
  const small = { ...EMPTY_SPAN, name: "n" };
  const [json, bincode, otlp] = [encodeJson(small), encodeBincode(small), request(otlpSpan())];
  const [jsonFrames, bincodeFrames] = [splitFrames(recordedLoad("json-frames")), splitFrames(recordedLoad("bincode"))];
  return [
    { name: "small JSON, bincode and OTLP by turns", bytes: frames(json, bincode, otlp) },
    {
      name: "JSON and bincode by turns",
      bytes: join(...jsonFrames.flatMap((payload, i) => [frame(payload), frame(bincodeFrames[i] as Uint8Array)])),
    },
    { name: "bincode and OTLP by turns", bytes: frames(bincode, otlp) },
    { name: "JSON and refused JSON by turns", bytes: frames(json, join(json, Uint8Array.of(1))) },
  ];
}

/** A span in JSON that is as short as serde_json takes it. */
const SPAN_AS_ARRAYS =
  '[[1,1,0,false,null],0,"Internal","",[1,0],[1,0],[{},[],1,0],[null,1,0],[null,1,0],"Unset","",null]';

/** Small frames, whose header and whose span cost more than their bytes. */
function smallFrames(): readonly HostileStream[] {
  const resource = (number: number): Uint8Array =>
    bytesField(1, bytesField(1, keyValue(1, `${number}`, textField(1, ""))), bytesField(2, otlpSpan()));
  const twoResources = (encode: (span: SpanRecord) => Uint8Array): Uint8Array =>
    frames(...["a", "b"].map((key) => encode({ ...EMPTY_SPAN, resource: [{ key, value: { stringValue: "" } }] })));
  return [
    { name: "OTLP: small frames", bytes: frames(request(otlpSpan())) },
    {
      name: "OTLP: small frames with a resource each",
      bytes: frames(...Array.from({ length: 999 }, (_, i) => resource(i))),
    },
    { name: "bincode: small frames with a resource each", bytes: twoResources(encodeBincode) },
    { name: "JSON: small frames with a resource each", bytes: twoResources(encodeJson) },
    { name: "JSON: small frames with structs as arrays", bytes: frames(new TextEncoder().encode(SPAN_AS_ARRAYS)) },
  ];
}

/** All streams, the agents' own first. */
export function hostileStreams(): readonly HostileStream[] {
  const agents = agentSpans(PAYLOAD_BYTES).flatMap(([name, parts]) => {
    const span = { ...EMPTY_SPAN, ...parts };
    return [
      { name: `JSON: ${name}`, bytes: frames(encodeJson(span)) },
      { name: `bincode: ${name}`, bytes: frames(encodeBincode(span)) },
    ];
  });
  const real = REAL_STREAMS.filter(({ file }) => file.includes("session.")).map((stream) => ({
    name: `real: ${stream.file}`,
    bytes: new Uint8Array(streamBytes(stream)),
  }));
  return [
    { name: "plain bincode", bytes: recordedLoad("bincode") },
    ...real,
    ...agents,
    ...otlpPayloads(PAYLOAD_BYTES).map(([name, payload]) => ({ name: `OTLP: ${name}`, bytes: frames(payload) })),
    ...smallFrames(),
    { name: "JSON: a large array of two-byte strings", bytes: frames(encodeJson(shortTexts(LARGE_BYTES))) },
    ...alternating(),
    ...refused(),
  ];
}
