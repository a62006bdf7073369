import type { Random } from "./random.ts";

/** JSON's tokens, and single characters where there are none. Bytes are characters: ISO 8859-1. */
const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null|[^]/g;

/** What is valid in some places and invalid in others, at the edges of what a type can hold, or wrong everywhere. */
const REPLACEMENTS = [
  "null",
  "true",
  "false",
  "[]",
  "{}",
  "[[],[]]",
  '{"":0}',
  "0",
  "-0",
  "-0.0",
  "00",
  "01",
  "1.",
  ".5",
  "-",
  "+1",
  "1e",
  "0x10",
  "NaN",
  "Infinity",
  "1.0",
  "1e3",
  "1E-3",
  "0.1e+1",
  "5e-324",
  "2e-324",
  "1.7976931348623157e308",
  "1.7976931348623159e308",
  "1e999",
  "-1e999",
  "0e999",
  "1e-99999999999999999999",
  "0.30000000000000004",
  "9007199254740993",
  "123456789012345678901234567890123456789012345678901234567890",
  "0.000000000000000000000000000000000000000000001234567890123456789012345",
  "-1",
  "255",
  "256",
  "4294967295",
  "4294967296",
  "999999999",
  "1000000000",
  "18446744073",
  "18446744074",
  "709551615",
  "709551616",
  "9223372036854775807",
  "9223372036854775808",
  "-9223372036854775808",
  "-9223372036854775809",
  "18446744073709551615",
  "18446744073709551616",
  "99999999999999999999",
  "100000000000000000000",
  "340282366920938463463374607431768211455",
  "340282366920938463463374607431768211456",
  "999999999999999999999999999999999999999",
  "1000000000000000000000000000000000000000",
  '""',
  '"\\u0000"',
  '"\\ud83e\\udd80"',
  '"\\uD83E\\uDD80"',
  '"\\ud83e"',
  '"\\udd80\\ud83e"',
  '"\\ud83e\\n"',
  '"\\ud83e\\u0041"',
  '"\\u12g4"',
  '"\\u123"',
  '"\\x"',
  '"\\/\\b\\f\\n\\r\\t\\"\\\\"',
  '"\t"',
  '"\x7f"',
  '"\0"',
  '"\xff"',
  '"\xc3\xa9"',
  '"\xc3"',
  '"\xc0\x80"',
  '"\xed\xa0\x80"',
  '"\xf4\x90\x80\x80"',
  '"\xf0\x9f\xa6\x80"',
  '"\xf0\x9f\\u0041\x80"',
  '"Internal"',
  '"Ok"',
  '{"Client":null}',
  '{"Unset": null }',
  '{"Client":1}',
  '{"I64":1}',
  '{"F64":null}',
  '{"F64":1}',
  '{"Array":{"F64":[1,null,2.5]}}',
  '{"Array":{"Array":{"I64":[]}}}',
  '{"Array":{"I64":[1,]}}',
  '{"String":"","String":""}',
  '"I64"',
  " ",
  "\n\t\r ",
  "\x0b",
  "\xa0",
  "\xef\xbb\xbf",
  ",",
  ":",
  "}",
  "]",
  '"resource":null',
  '"name":"twice",',
  '"unknown":{"a":[1,{"b":"\\ud800\xff"}]},',
  '"secs_since_epoch":1,',
  '"\\u006eame":"escaped",',
  '"map":{"a":{"I64":1},"a":{"Bool":true}}',
];

/** A span's JSON with one to three tokens wrong: left out, twice, exchanged, or replaced. It may still be a span. */
export function mutatedJson(payload: Uint8Array, random: Random): Uint8Array {
  const tokens = Buffer.from(payload).toString("latin1").match(TOKENS) ?? [];
  for (let times = random.oneIn(2) ? 1 : 1 + random.below(3); times > 0; times--) {
    const at = random.below(tokens.length);
    switch (random.below(8)) {
      case 0:
        tokens.splice(at, 1 + random.below(3));
        break;
      case 1:
        tokens.splice(at, 0, ...tokens.slice(at, at + 1 + random.below(8)));
        break;
      case 2: {
        const other = random.below(tokens.length);
        [tokens[at], tokens[other]] = [tokens[other] as string, tokens[at] as string];
        break;
      }
      case 3:
        tokens.splice(at, 0, random.pick(REPLACEMENTS));
        break;
      default:
        tokens[at] = random.pick(REPLACEMENTS);
    }
  }
  return new Uint8Array(Buffer.from(tokens.join(""), "latin1"));
}

/** Replaces one of the values that a type can have by one of those that it can only just have, or not. */
export function replacedValue(payload: Uint8Array, random: Random): Uint8Array {
  const tokens = Buffer.from(payload).toString("latin1").match(TOKENS) ?? [];
  const values = tokens.flatMap((token, at) => /^[-\d"tfn]/.test(token) && tokens[at + 1] !== ":" ? [at] : []);
  const at = random.pick(values);
  const kind = (text: string) => /^[-\d.]/.test(text) ? "number" : text[0];
  const alike = REPLACEMENTS.filter((text) => kind(text) === kind(tokens[at] as string));
  tokens[at] = random.pick(alike.length > 0 ? alike : REPLACEMENTS);
  return new Uint8Array(Buffer.from(tokens.join(""), "latin1"));
}
