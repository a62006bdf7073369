import assert from "node:assert/strict";
import { test } from "node:test";
import { deadLetterLine } from "../../src/exporters/dead-letter-line.ts";
import { encode } from "../otlp/support/otlp-proto.ts";

const ID = { traceId: new Uint8Array(16).fill(1), spanId: new Uint8Array(8).fill(2) };

interface Line {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly { readonly key: string }[] };
    readonly scopeSpans: readonly {
      readonly scope: { readonly name: string };
      readonly spans: readonly { readonly name: string }[];
    }[];
  }[];
}

function lineOf(resourceSpans: readonly object[]): Line {
  return JSON.parse([...deadLetterLine(encode("ExportTraceServiceRequest", { resourceSpans }))].join("")) as Line;
}

function spans(...names: string[]): object[] {
  return names.map((name) => ({ ...ID, name }));
}

test("a resource that a thousand spans have is written once, however large it is", () => {
  const attributes = Array.from({ length: 20_000 }, (_, i) => ({ key: `key ${i}`, value: { stringValue: "value" } }));
  const names = Array.from({ length: 2048 }, (_, i) => `span ${i}`);
  const scope = { name: "s", attributes };
  const { resourceSpans } = lineOf([{ resource: { attributes }, scopeSpans: [{ scope, spans: spans(...names) }] }]);
  assert.equal(resourceSpans.length, 1);
  assert.equal(resourceSpans[0]?.resource.attributes.length, 20_000);
  assert.equal(resourceSpans[0].resource.attributes.at(-1)?.key, "key 19999");
  assert.equal(resourceSpans[0].scopeSpans.length, 1);
  assert.deepEqual(resourceSpans[0].scopeSpans[0]?.spans.map(({ name }) => name), names);
});

test("equal resources and scopes next to each other become one, others stay apart", () => {
  const a = { attributes: [{ key: "a", value: { boolValue: true } }] };
  const b = { attributes: [{ key: "b", value: { boolValue: true } }] };
  const of = (resource: object, name: string, scope = "s") => ({
    resource,
    scopeSpans: [{ scope: { name: scope }, spans: spans(name) }],
  });
  const { resourceSpans } = lineOf([of(a, "1"), of(a, "2"), of(a, "3", "t"), of(b, "4", "t"), of(a, "5", "t")]);
  const shape = resourceSpans.map(({ resource, scopeSpans }) => [
    resource.attributes[0]?.key,
    ...scopeSpans.map(({ scope, spans }) => [scope.name, ...spans.map(({ name }) => name)]),
  ]);
  assert.deepEqual(shape, [["a", ["s", "1", "2"], ["t", "3"]], ["b", ["t", "4"]], ["a", ["t", "5"]]]);
});
