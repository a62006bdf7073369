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

test("which pod a guest is, is the host's to say, even if the host does not know; its programs may say it", () => {
  const pod = ["k8s.pod.name", "k8s.namespace.name", "k8s.pod.uid", "container.id", "container.runtime.name"];
  const claims = pod.map((key) => attribute(key, "forged"));
  const others = ["container.idx", "container.name", "k8s.pod"].map((key) => attribute(key, "own"));
  const host = laidOver("guest");
  assert.deepEqual(laidOver("guest", ...claims, ...others), [
    ...["container.idx=own", "container.name=own", "k8s.pod=own"],
    ...host,
  ]);
  const source = { kind: "guest", name: "n", account: "a", attributes: new Map([["k8s.pod.name", "web-0"]]) } as const;
  const header = overlayFor(source, { traceName: "agent", resourceAttributes: new Map() })
    .apply(encode("ResourceSpans", { resource: { attributes: claims } }));
  const { resource } = decode("ResourceSpans", header) as { resource: { attributes: { key: string }[] } };
  assert.deepEqual(resource.attributes, [
    { key: "service.name", value: { stringValue: "agent" } },
    { key: "k8s.pod.name", value: { stringValue: "web-0" } },
    { key: "kata.component", value: { stringValue: "agent" } },
  ]);
  assert.ok(laidOver("host", ...claims).includes("k8s.pod.name=forged"));
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
