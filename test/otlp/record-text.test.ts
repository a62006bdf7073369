import assert from "node:assert/strict";
import { test } from "node:test";
import { spanToRecord } from "../../src/otlp/json-record.ts";
import { jsonLine, textRecord } from "../../src/otlp/record-text.ts";
import { fixture, FIXTURES } from "../decode/support/fixtures.ts";
import { attribute, spanField } from "./support/encoded.ts";
import { plainSpan } from "./support/expected.ts";
import { encode, type PlainMessage } from "./support/otlp-proto.ts";

/** ESC, CSI in one byte, a bidirectional override, a line separator, DEL, a NUL and a newline. */
const EVIL = "\u001b[2J\u009b31m\u202eevil\u2028\u007f\u0000\n";
// deno-lint-ignore no-control-regex
const STEERING = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/;

function record(span: PlainMessage, resource: PlainMessage = {}, scope: PlainMessage = {}) {
  return spanToRecord(
    encode("ResourceSpans", resource),
    encode("ScopeSpans", scope),
    spanField(span),
  );
}

/** A span that has a hostile string wherever there is room for one. */
function evilRecord() {
  const attributes = [
    attribute(EVIL, EVIL),
    { key: "list", value: { arrayValue: { values: [{ stringValue: EVIL }] } } },
    { key: "map", value: { kvlistValue: { values: [attribute(EVIL, EVIL)] } } },
  ];
  return record(
    {
      name: EVIL,
      traceState: EVIL,
      status: { code: 2, message: EVIL },
      attributes,
      events: [{ name: EVIL, attributes }],
      links: [{ traceState: EVIL, attributes }],
    },
    { resource: { attributes }, schemaUrl: EVIL },
    { scope: { name: EVIL, version: EVIL, attributes }, schemaUrl: EVIL },
  );
}

for (const name of FIXTURES) {
  test(`every span of ${name} is a line of JSON that says the same`, () => {
    for (const expected of fixture(name).expected) {
      const shown = record(plainSpan(expected));
      const line = jsonLine(shown);
      assert.equal(line.indexOf("\n"), line.length - 1);
      assert.deepEqual(JSON.parse(line), shown);
    }
  });
}

test("a line of JSON keeps what doubles would round, and a negative zero", () => {
  const line = jsonLine(record({
    startTimeUnixNano: "18446744073709551615",
    attributes: [
      { key: "a", value: { intValue: "9007199254740993" } },
      { key: "b", value: { doubleValue: -0 } },
      { key: "c", value: { doubleValue: NaN } },
    ],
  }));
  assert.match(line, /"startTimeUnixNano":"18446744073709551615"/);
  assert.match(line, /"value":{"intValue":"9007199254740993"}/);
  assert.match(line, /"value":{"doubleValue":-0\.0}/);
  assert.match(line, /"value":{"doubleValue":"NaN"}/);
  assert.ok(Object.is(JSON.parse(line).attributes[1].value.doubleValue, -0));
});

test("a line of JSON lets nothing through that steers a terminal, and loses nothing", () => {
  const evil = evilRecord();
  const line = jsonLine(evil);
  assert.doesNotMatch(line.slice(0, -1), STEERING);
  assert.ok(!line.slice(0, -1).includes("\n"));
  assert.deepEqual(JSON.parse(line), evil);
});

test("the indented form lets nothing through that steers a terminal", () => {
  const text = textRecord(evilRecord());
  assert.doesNotMatch(text, STEERING);
  // The newlines are those of the form: none of them is the guest's.
  const harmless = textRecord(JSON.parse(jsonLine(evilRecord()).replaceAll("\\n", "n")));
  assert.equal(text.split("\n").length, harmless.split("\n").length);
  assert.match(text, /evil/);
});

test("the indented form", () => {
  const shown = record(
    {
      traceId: Array(16).fill(0xab),
      spanId: Array(8).fill(0xcd),
      parentSpanId: Array(8).fill(0xef),
      name: "create_sandbox",
      kind: 2,
      flags: 1,
      traceState: "k=v",
      startTimeUnixNano: "1767000000636465099",
      endTimeUnixNano: "1767000002000000000",
      attributes: [
        attribute("req", 'CreateSandbox "x"'),
        { key: "busy_ns", value: { intValue: "16867190" } },
        { key: "ratio", value: { doubleValue: -0 } },
        { key: "ok", value: { boolValue: false } },
        { key: "raw", value: { bytesValue: [1, 2] } },
        { key: "none", value: {} },
        {
          key: "list",
          value: {
            arrayValue: {
              values: [{ intValue: "1" }, { kvlistValue: { values: [attribute("k", "v")] } }],
            },
          },
        },
      ],
      droppedAttributesCount: 2,
      events: [{
        name: "in setup",
        timeUnixNano: "1767000000636485109",
        attributes: [attribute("level", "INFO")],
      }],
      links: [{ traceId: Array(16).fill(1), spanId: Array(8).fill(2), flags: 0x300 }],
      droppedLinksCount: 3,
      status: { code: 2, message: "no such file" },
    },
    { resource: { attributes: [attribute("service.name", "kata-agent")] }, schemaUrl: "s" },
    { scope: { name: "lib", version: "1.2" } },
  );
  assert.equal(
    textRecord(shown),
    `span create_sandbox
  trace ${"ab".repeat(16)}  span ${"cd".repeat(8)}  parent ${"ef".repeat(8)}
  kind server  status error "no such file"
  start 2025-12-29T09:20:00.636465099Z
  end   2025-12-29T09:20:02.000000000Z  (1.363534901 s)
  flags 0x01 sampled  trace state "k=v"
  attributes 7  (2 dropped)
    req = "CreateSandbox \\"x\\""
    busy_ns = 16867190
    ratio = -0.0
    ok = false
    raw = base64 AQI=
    none = not set
    list = [1, {k = "v"}]
  events 1
    event in setup  at 2025-12-29T09:20:00.636485109Z
      attributes 1
        level = "INFO"
  links 1  (3 dropped)
    link trace ${"01".repeat(16)}  span ${"02".repeat(8)}  flags 0x300  trace state ""
      attributes 0
  scope "lib"  version "1.2"  schema ""
    attributes 0
  resource  schema "s"
    attributes 1
      service.name = "kata-agent"

`,
  );
});

test("the indented form of a span that says nothing, or nonsense", () => {
  const text = textRecord(record({
    kind: 77,
    status: { code: 9 },
    startTimeUnixNano: "18446744073709551615",
    endTimeUnixNano: "1",
  }));
  assert.match(text, /^span \n/);
  assert.match(text, /parent none/);
  assert.match(text, /kind 77 {2}status 9\n/);
  assert.match(text, /start 2554-07-21T23:34:33\.709551615Z/);
  assert.match(text, /\(-18446744073\.709551614 s\)/);
});

test("a guest's long string is shown whole", () => {
  const long = "x".repeat(100_000);
  assert.ok(
    textRecord(record({ name: long, attributes: [attribute("k", long)] }))
      .includes(`span ${long}\n`),
  );
});
