// Payloads as large as they may be by default, in which what takes the longest comes again and again.
import { encodeBincode } from "../decode/support/bincode-encoder.ts";
import { frame } from "../decode/support/fixtures.ts";
import { encodeJson } from "../decode/support/json-encoder.ts";
import { bytesField, join, keyValue, textField, varintField } from "../decode/support/otlp-message.ts";
import { EMPTY_SPAN, type HostileStream, IDS, repeated } from "./payloads.ts";

/** A bit less than the limit of 8 MiB, for what is around. */
const LARGE_BYTES = 8_000_000;

/** A JSON span whose attribute `req` is `text` as it stands in JSON, escapes and all. */
function jsonWith(text: string): Uint8Array {
  const span = encodeJson({ ...EMPTY_SPAN, attributes: [{ key: "req", value: { stringValue: "PLACE" } }] });
  return new TextEncoder().encode(new TextDecoder().decode(span).replace("PLACE", () => text));
}

function bincodeWith(text: string): Uint8Array {
  return encodeBincode({ ...EMPTY_SPAN, attributes: [{ key: "req", value: { stringValue: text } }] });
}

function otlpWith(...fields: Uint8Array[]): Uint8Array {
  return bytesField(1, bytesField(2, bytesField(2, IDS, ...fields)));
}

/** One frame each. */
export function largeStreams(): readonly HostileStream[] {
  const text = (piece: string): string =>
    piece.repeat(Math.floor(LARGE_BYTES / new TextEncoder().encode(piece).length));
  const attribute = keyValue(9, "k", varintField(2, 1));
  const tinySpan = bytesField(2, IDS);
  const half = (bytes: Uint8Array): Uint8Array => bytes.subarray(0, bytes.length - 1);
  const payloads: readonly (readonly [string, Uint8Array])[] = [
    ["JSON: one long text", jsonWith(text("x"))],
    ["JSON: one long text of escaped quotes", jsonWith(text('\\"'))],
    ["JSON: one long text of escaped backslashes and quotes", jsonWith(text('\\\\\\"'))],
    ["JSON: one long text of escaped characters", jsonWith(text("\\u00e9"))],
    ["JSON: one long text that is not ASCII", jsonWith(text("é"))],
    ["JSON: one long text of secrets", jsonWith(text('env: [\\"A=b\\"], '))],
    ["JSON: one long text of names of secrets", jsonWith(text("data: "))],
    ["JSON: one secret that does not end", jsonWith(`data: [${text("1, ")}`)],
    ["JSON: one secret of nested quotes", jsonWith(`env: [${text('\\\\\\"a')}`)],
    ["JSON: white space", jsonWith('x"' + " ".repeat(LARGE_BYTES - 20) + ',"y')],
    ["JSON: many texts of middle length", jsonWith(text(`${"x".repeat(4000)}"}},"r":{"String":"`))],
    ["JSON: open brackets", new TextEncoder().encode(`{"a":${"[".repeat(LARGE_BYTES)}`)],
    ["JSON: numbers", jsonWith(`"},"a":{"Array":{"I64":[${"1,".repeat(LARGE_BYTES / 2)}1]`)],
    ["JSON: a text that does not end", half(jsonWith(text("x"))).subarray(0, LARGE_BYTES)],
    ["bincode: one long text", bincodeWith(text("x"))],
    ["bincode: one long text that is not ASCII", bincodeWith(text("é"))],
    ["bincode: one long text of secrets", bincodeWith(text('env: ["A=b"], '))],
    ["bincode: one long text of names of secrets", bincodeWith(text("data: "))],
    ["bincode: one long text that ends wrong", join(bincodeWith(text("é")), Uint8Array.of(1))],
    ["bincode: zeros", new Uint8Array(LARGE_BYTES)],
    ["OTLP: one long text", otlpWith(keyValue(9, "req", textField(1, text("x"))))],
    ["OTLP: one long text that is not ASCII", otlpWith(keyValue(9, "req", textField(1, text("é"))))],
    ["OTLP: tiny spans", bytesField(1, bytesField(2, repeated(tinySpan, LARGE_BYTES)))],
    ["OTLP: tiny resources", repeated(bytesField(1, bytesField(2, tinySpan)), LARGE_BYTES)],
    ["OTLP: attributes of a span", otlpWith(repeated(attribute, LARGE_BYTES))],
    ["OTLP: unknown fields", otlpWith(repeated(varintField(17, 1), LARGE_BYTES))],
    ["OTLP: empty scopes", bytesField(1, repeated(bytesField(2), LARGE_BYTES), bytesField(2, tinySpan))],
    ["OTLP: attributes of a resource", bytesField(1, bytesField(1, repeated(keyValue(1, "k"), LARGE_BYTES)))],
    [
      "OTLP: spans of 400 KB of attributes",
      bytesField(
        1,
        bytesField(2, repeated(bytesField(2, IDS, repeated(attribute, 400_000)), LARGE_BYTES)),
      ),
    ],
    ["garbage behind a header", new Uint8Array(LARGE_BYTES).map((_, i) => (i * 2654435761) >>> 24)],
  ];
  return payloads.map(([name, payload]) => ({ name: `large: ${name}`, bytes: frame(payload) }));
}
