import assert from "node:assert/strict";
import { test } from "node:test";
import type { SourceKind } from "../../src/pipeline/source.ts";
import { overlayFor } from "../../src/pipeline/source-overlay.ts";
import { attribute } from "../otlp/support/encoded.ts";
import { decode, encode, type PlainMessage } from "../otlp/support/otlp-proto.ts";

const HOST = {
  traceName: "kata-agent",
  resourceAttributes: new Map([
    ["deployment.environment.name", "test"],
    ["service.name", "not this"],
    ["kata.vsock.cid", "not this either"],
    ["region", "eu"],
  ]),
};

/** `key=value` of each attribute of a resource that a source of this kind sent. */
function laidOver(kind: SourceKind, ...attributes: PlainMessage[]): string[] {
  const source = { kind, name: "n", account: "a", attributes: new Map([["kata.vsock.cid", 3]]) };
  const header = overlayFor(source, HOST).apply(encode("ResourceSpans", { resource: { attributes } }));
  const { resource } = decode("ResourceSpans", header) as {
    resource: { attributes: { key: string; value: Record<string, string> }[] };
  };
  return resource.attributes.map(({ key, value }) => `${key}=${Object.values(value)[0]}`);
}

const CLAIMS = [
  attribute("service.name", "own"),
  attribute("region", "own"),
  attribute("kata.vsock.cid", "own"),
  attribute("kata.sandbox.id", "own"),
  attribute("other", "own"),
];

test("a guest's resource gets the trace name, the configured attributes and its identity, over its own words", () => {
  const host = [
    ...["service.name=kata-agent", "deployment.environment.name=test", "region=eu"],
    ...["kata.vsock.cid=3", "kata.component=agent"],
  ];
  assert.deepEqual(laidOver("guest"), host);
  assert.deepEqual(laidOver("guest", ...CLAIMS, attribute("kata.component", "runtime")), ["other=own", ...host]);
});

for (const kind of ["runtime", "host"] as const) {
  test(`a ${kind}'s resource keeps what it says, and is completed; who it is stays the listener's to say`, () => {
    assert.deepEqual(laidOver(kind), [
      "service.name=kata-agent",
      "deployment.environment.name=test",
      "region=eu",
      "kata.vsock.cid=3",
    ]);
    assert.deepEqual(laidOver(kind, ...CLAIMS), [
      "kata.sandbox.id=own",
      "other=own",
      "region=own",
      "service.name=own",
      "deployment.environment.name=test",
      "kata.vsock.cid=3",
    ]);
  });
}
