import assert from "node:assert/strict";
import { test } from "node:test";
import { ProtobufError } from "../../src/otlp/protobuf-reader.ts";
import { ResourceOverlay } from "../../src/otlp/resource.ts";
import { attribute } from "./support/encoded.ts";
import { decode, encode, type PlainMessage } from "./support/otlp-proto.ts";

function overlay(host: [string, string | number][], header: PlainMessage): PlainMessage {
  return decode("ResourceSpans", overlayBytes(host, encode("ResourceSpans", header)));
}

function overlayBytes(host: [string, string | number][], header: Uint8Array): Uint8Array {
  return new ResourceOverlay({ forced: new Map(host), reservedPrefix: "kata." }).apply(header);
}

/** `key=value` of each attribute, in order. */
function pairs(header: PlainMessage): string[] {
  const { resource } = header as {
    resource: { attributes?: { key: string; value: Record<string, string> }[] };
  };
  return (resource.attributes ?? []).map(({ key, value }) => `${key}=${Object.values(value)[0]}`);
}

function guest(...attributes: PlainMessage[]): PlainMessage {
  return { resource: { attributes } };
}

test("a guest without a resource gets the host's attributes, in the host's order", () => {
  assert.deepEqual(
    overlay([["service.name", "kata-agent"], ["a", "ä"], ["kata.vsock.cid", 3]], {}),
    {
      resource: {
        attributes: [
          { key: "service.name", value: { stringValue: "kata-agent" } },
          { key: "a", value: { stringValue: "ä" } },
          { key: "kata.vsock.cid", value: { intValue: "3" } },
        ],
      },
    },
  );
});

test("the host's word replaces the guest's", () => {
  assert.deepEqual(
    pairs(overlay(
      [["service.name", "host"]],
      guest(
        attribute("service.name", "guest"),
        attribute("host.name", "h"),
        attribute("service.name", "guest again"),
      ),
    )),
    ["host.name=h", "service.name=host"],
  );
});

test("a guest says nothing under the reserved prefix, whatever the host sets there", () => {
  const claims = guest(
    attribute("kata.sandbox.id", "forged"),
    { key: "kata.vsock.cid", value: { intValue: 7 } },
    attribute("kata.", "forged"),
    attribute("kata", "own"),
    attribute("katana.x", "own"),
    attribute("kata.x", "forged"),
  );
  const own = ["kata=own", "katana.x=own"];
  assert.deepEqual(pairs(overlay([["kata.vsock.cid", 3]], claims)), [...own, "kata.vsock.cid=3"]);
  assert.deepEqual(pairs(overlay([["kata.sandbox.id", "foo"]], claims)), [...own, "kata.sandbox.id=foo"]);
  assert.deepEqual(pairs(overlay([], claims)), own);
});

test("completing attributes are added where there are none, and forced ones replace", () => {
  const laid = new ResourceOverlay({
    forced: new Map([["kata.sandbox.id", "foo"]]),
    completing: new Map([["service.name", "kata-agent"], ["region", "eu"], ["zone", "a"]]),
  });
  const complete = (...attributes: PlainMessage[]): string[] =>
    pairs(decode("ResourceSpans", laid.apply(encode("ResourceSpans", guest(...attributes)))));
  const own = [attribute("service.name", "kata"), attribute("zone", ""), attribute("kata.sandbox.id", "another")];
  assert.deepEqual(complete(...own), ["service.name=kata", "zone=", "region=eu", "kata.sandbox.id=foo"]);
  // One resource after another: what one has, the next may lack.
  assert.deepEqual(complete(), ["service.name=kata-agent", "region=eu", "zone=a", "kata.sandbox.id=foo"]);
  assert.deepEqual(complete(...own), ["service.name=kata", "zone=", "region=eu", "kata.sandbox.id=foo"]);
});

test("a key that comes twice in one attribute counts as its last, as decoders have it", () => {
  const keyValue = [
    ...encode("KeyValue", { key: "harmless" }),
    ...encode("KeyValue", attribute("service.name", "forged")),
  ];
  const header = Uint8Array.from([0x0a, keyValue.length + 2, 0x0a, keyValue.length, ...keyValue]);
  assert.deepEqual(pairs(decode("ResourceSpans", header)), ["service.name=forged"]);
  assert.deepEqual(
    pairs(decode("ResourceSpans", overlayBytes([["service.name", "host"]], header))),
    [
      "service.name=host",
    ],
  );
});

test("a resource in two parts counts as one", () => {
  const header = Uint8Array.from([
    ...encode("ResourceSpans", guest(attribute("b", "1"), attribute("service.name", "x"))),
    ...encode("ResourceSpans", guest(attribute("a", "2"), attribute("kata.sandbox.id", "y"))),
  ]);
  assert.deepEqual(
    pairs(decode("ResourceSpans", overlayBytes([["service.name", "host"]], header))),
    [
      "a=2",
      "b=1",
      "service.name=host",
    ],
  );
});

test("tags that are longer than they need be hide nothing", () => {
  // 0x8a 0x00 is 0x0a in two bytes.
  const keyValue = encode("KeyValue", attribute("service.name", "forged"));
  const header = Uint8Array.from([
    ...[0x8a, 0x00, keyValue.length + 3],
    ...[0x8a, 0x00, keyValue.length],
    ...keyValue,
  ]);
  assert.deepEqual(
    pairs(decode("ResourceSpans", overlayBytes([["service.name", "host"]], header))),
    [
      "service.name=host",
    ],
  );
});

test("one resource in any order has one encoding", () => {
  const attributes = ["", "a", "aa", "ab", "b", "z", "ä", "€", "𝄞"].map((key) => attribute(key, `value of ${key}`));
  const host: [string, string][] = [["service.name", "s"]];
  const forwards = overlayBytes(host, encode("ResourceSpans", guest(...attributes)));
  const backwards = overlayBytes(
    host,
    encode("ResourceSpans", guest(...attributes.toReversed())),
  );
  assert.deepEqual(backwards, forwards);
  assert.deepEqual(
    pairs(decode("ResourceSpans", forwards)).map((pair) => pair.split("=")[0]),
    ["", "a", "aa", "ab", "b", "z", "ä", "€", "𝄞", "service.name"],
  );
});

test("more attributes than are worth sorting are all kept", () => {
  const attributes = Array.from({ length: 5000 }, (_, i) => attribute(`key-${5000 - i}`, "v"));
  const kept = pairs(overlay([["key-77", "host"]], guest(...attributes)));
  assert.equal(kept.length, 5000);
  assert.equal(new Set(kept).size, 5000);
  assert.equal(kept.at(-1), "key-77=host");
});

test("all that is no attribute is kept", () => {
  const header = {
    resource: {
      attributes: [attribute("a", "1")],
      droppedAttributesCount: 4,
      entityRefs: [{ type: "host", idKeys: ["a"] }],
    },
    schemaUrl: "https://opentelemetry.io/schemas/1.38.0",
  };
  assert.deepEqual(overlay([["b", "2"]], header), {
    resource: { ...header.resource, attributes: [attribute("a", "1"), attribute("b", "2")] },
    schemaUrl: header.schemaUrl,
  });
});

test("values of every type pass", () => {
  const values: PlainMessage[] = [
    { stringValue: "" },
    { boolValue: false },
    { intValue: "-9223372036854775808" },
    { doubleValue: -0.5 },
    { arrayValue: { values: [{ stringValue: "x" }] } },
    { kvlistValue: { values: [attribute("k", "v")] } },
    { bytesValue: "00ff" },
    {},
  ];
  const attributes = values.map((value, i) => ({ key: `k${i}`, value }));
  const sent = attributes.map(({ key, value }) => ({
    key,
    value: "bytesValue" in value ? { bytesValue: [0, 255] } : value,
  }));
  assert.deepEqual(overlay([], { resource: { attributes: sent } }), { resource: { attributes } });
});

test("the same bytes come out each time, in an array of their own", () => {
  const laid = new ResourceOverlay({ forced: new Map([["service.name", "s"]]) });
  const header = encode("ResourceSpans", guest(attribute("a", "x".repeat(200))));
  const first = laid.apply(header);
  const copy = first.slice();
  header.fill(0xff);
  assert.deepEqual(first, copy);
  assert.deepEqual(
    laid.apply(encode("ResourceSpans", guest(attribute("a", "x".repeat(200))))),
    first,
  );
});

test("bytes that are no resource are an error", () => {
  assert.throws(() => overlayBytes([], Uint8Array.of(0x0a, 3, 0x0a, 9, 0)), ProtobufError);
});

test("many attributes, among them the host's keys, leave the others in their order", () => {
  const attributes = Array.from(
    { length: 3000 },
    (_, i) => i % 3 === 0 ? attribute("service.name", "forged") : attribute(`k${i}`, "v"),
  );
  assert.deepEqual(pairs(overlay([["service.name", "host"]], guest(...attributes))), [
    ...attributes.flatMap(({ key }) => key === "service.name" ? [] : [`${key}=v`]),
    "service.name=host",
  ]);
});
