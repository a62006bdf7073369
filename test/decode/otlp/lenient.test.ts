import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { describe, test } from "node:test";
import { requestToRecords } from "../../../src/otlp/json-record.ts";
import { WireError } from "../../../src/decode/wire-error.ts";
import { fixture } from "../support/fixtures.ts";
import { decodeInSteps, decodeLeniently } from "../support/otlp-json.ts";
import { bytesField, fixed64Field, join, keyValue, textField, varintField } from "../support/otlp-message.ts";
import { expressible, serializeRecords } from "../support/readable-span.ts";
import { range } from "../../support/numbers.ts";

const TRACE = bytesField(1, new Uint8Array(16).fill(7));
const SPAN = bytesField(2, new Uint8Array(8).fill(9));
const span = (...fields: Uint8Array[]) => bytesField(2, TRACE, SPAN, ...fields);
const scope = (...fields: Uint8Array[]) => bytesField(2, ...fields);
const resource = (...fields: Uint8Array[]) => bytesField(1, ...fields);
const named = (name: string) => span(textField(5, name));

function refusal(request: Uint8Array): string {
  try {
    decodeLeniently(request);
  } catch (error) {
    if (error instanceof WireError) return error.reason;
    throw error;
  }
  throw new Error("was taken");
}

test("a request without a fault comes out as it is", () => {
  const request = serializeRecords(fixture("session-isolated").expected.filter(expressible));
  const { records, rejected } = decodeLeniently(request);
  assert.equal(records.length, requestToRecords(request).length);
  assert.deepEqual(records.map(({ spanId }) => spanId), requestToRecords(request).map(({ spanId }) => spanId));
  assert.deepEqual(rejected, {});
});

describe("an invalid span costs itself alone", () => {
  const invalid: Record<string, readonly [reason: string, field: Uint8Array]> = {
    "without an ID": ["missing-field", bytesField(2, TRACE)],
    "with an ID of zeros": ["invalid-value", bytesField(2, bytesField(1, new Uint8Array(16)), SPAN)],
    "with a short ID": ["invalid-value", bytesField(2, bytesField(1, new Uint8Array(15).fill(1)), SPAN)],
    "with text that is not UTF-8": ["invalid-utf8", span(bytesField(5, Uint8Array.of(0xff)))],
    "with a field twice": ["duplicate-field", span(textField(5, "a"), textField(5, "b"))],
    "with a field of another type": ["invalid-tag", span(fixed64Field(5, 1n))],
    "cut within": ["truncated", bytesField(2, TRACE, SPAN, Uint8Array.of(0x2a, 5, 0x61))],
  };
  for (const [what, [reason, bad]] of Object.entries(invalid)) {
    test(what, () => {
      const { records, rejected } = decodeLeniently(
        resource(scope(named("a"), bad, named("b")), scope(bad), scope(named("c"))),
      );
      assert.deepEqual(records.map(({ name }) => name), ["a", "b", "c"]);
      assert.deepEqual(Object.values(rejected), [2]);
      // A cut in the last field of all cannot be told from one in the middle.
      if (reason !== "truncated") assert.deepEqual(Object.keys(rejected), [reason]);
    });
  }
  test("also if it is the only one", () => {
    const { records, rejected } = decodeLeniently(resource(scope(bytesField(2, TRACE))));
    assert.deepEqual([records, rejected], [[], { "missing-field": 1 }]);
  });
  test("and its resource and scope stay with the others", () => {
    const { records } = decodeLeniently(join(
      resource(
        bytesField(1, bytesField(1, textField(1, "k"), bytesField(2, textField(1, "v")))),
        scope(bytesField(1, textField(1, "lib")), bytesField(2, TRACE), named("a"), textField(3, "scope-schema")),
        textField(3, "schema"),
      ),
    ));
    assert.equal(records[0]?.resource.schemaUrl, "schema");
    assert.deepEqual(records[0]?.resource.attributes, [{ key: "k", value: { stringValue: "v" } }]);
    assert.deepEqual([records[0]?.scope.name, records[0]?.scope.schemaUrl], ["lib", "scope-schema"]);
  });
});

test("nothing, or scopes and resources without spans, are no error", () => {
  for (const request of [new Uint8Array(0), resource(), resource(scope()), join(resource(scope()), resource())]) {
    assert.deepEqual(decodeLeniently(request), { records: [], rejected: {} });
  }
  assert.equal(decodeLeniently(join(resource(scope()), resource(scope(named("a")), scope()))).records.length, 1);
});

test("what is wrong outside of spans costs the request", () => {
  assert.equal(refusal(Uint8Array.of(0x0a, 0xff)), "invalid-value");
  assert.equal(refusal(Uint8Array.of(0x0a, 5, 1)), "invalid-value");
  assert.equal(
    refusal(resource(bytesField(1, bytesField(1, bytesField(1, Uint8Array.of(0xff)))), scope(named("a")))),
    "invalid-utf8",
  );
  assert.equal(refusal(join(resource(scope(named("a"))), varintField(9, 1))), "invalid-tag");
  assert.equal(refusal(Buffer.from("<html></html>")), "invalid-value");
});

describe("in steps", () => {
  const bad = bytesField(2, TRACE);
  const many = (count: number) => range(1, count).map((number) => named(`${number} ${"x".repeat(1000)}`));

  test("what comes out is the same as at once", () => {
    const requests: Record<string, Uint8Array> = {
      "of a real agent": serializeRecords(fixture("session-isolated").expected.filter(expressible)),
      "without anything": new Uint8Array(0),
      "with a resource and scopes that are empty": join(resource(), resource(scope(), scope(named("a")), scope(bad))),
      "of one large scope": resource(scope(...many(500), bad, ...many(10))),
      "of a large span": resource(scope(named("y".repeat(1_000_000)), bad), scope(named("z"))),
      "of a span of many small fields": resource(
        scope(span(Buffer.concat(range(1, 50_000).map((key) => keyValue(9, `${key}`, varintField(3, key)))))),
      ),
      "of several resources": join(
        ...range(1, 20).map((number) =>
          resource(
            bytesField(1, keyValue(1, "number", varintField(3, number))),
            scope(bytesField(1, textField(1, `lib ${number}`)), ...many(10), bad, textField(3, "scope-schema")),
            textField(3, `schema ${number}`),
          )
        ),
      ),
    };
    for (const [what, request] of Object.entries(requests)) {
      const { records, rejected, steps } = decodeInSteps(request);
      assert.deepEqual({ records, rejected }, decodeLeniently(request), what);
      if (request.length > 500_000 && records.length > 100) assert.ok(steps >= 8, `${what}: ${steps} steps`);
    }
  });

  test("what is refused is refused, wherever it is", () => {
    const large = scope(...many(500));
    const requests: Record<string, Uint8Array> = {
      "a field that requests do not have": join(resource(large), varintField(5, 1)),
      "a resource twice": resource(bytesField(1), bytesField(1), large),
      "a scope's name that is not UTF-8": join(
        resource(large),
        resource(scope(bytesField(1, bytesField(1, Uint8Array.of(0xff))), named("a"))),
      ),
      "a request that is cut": join(resource(large), resource(large)).subarray(0, -3),
    };
    for (const [what, request] of Object.entries(requests)) {
      assert.throws(() => decodeInSteps(request), WireError, what);
      refusal(request);
    }
  });
});
