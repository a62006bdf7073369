import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { writtenOut } from "../../src/base/unwritten-bytes.ts";
import { ProtobufError } from "../../src/otlp/protobuf-reader.ts";
import { countSpans, halve, splitRequest, splitSpans } from "../../src/otlp/request.ts";
import { RequestBuilder } from "../../src/otlp/request-builder.ts";
import { attribute, encodedSpans, type PlainSpan } from "./support/encoded.ts";
import { decode, encode, type PlainMessage } from "./support/otlp-proto.ts";

const REQUEST = "ExportTraceServiceRequest";

/** A resource header for the builder. */
function header(name: string): Uint8Array {
  return encode("ResourceSpans", { resource: { attributes: [attribute("name", name)] } });
}

function named(name: string, scope?: PlainMessage): PlainSpan {
  const span = { name, traceId: Array(16).fill(7), startTimeUnixNano: "1767000000636465099" };
  return scope === undefined ? { span } : { span, scope };
}

/** What a request holds, short: `resource/scope: span span`. */
function outline(request: Uint8Array): string[] {
  const lines: string[] = [];
  const { resourceSpans } = decode(REQUEST, request, true) as {
    resourceSpans: {
      resource: { attributes: { value: { stringValue: string } }[] } | null;
      scopeSpans: { scope: { name: string } | null; spans: { name: string }[] }[];
    }[];
  };
  for (const { resource, scopeSpans } of resourceSpans) {
    for (const { scope, spans } of scopeSpans) {
      const resourceName = resource?.attributes[0]?.value.stringValue;
      lines.push(`${resourceName}/${scope?.name}: ${spans.map(({ name }) => name).join(" ")}`);
    }
  }
  return lines;
}

test("nothing is an empty request", () => {
  const builder = new RequestBuilder();
  assert.equal(builder.finish().length, 0);
  assert.equal(builder.spans, 0);
  assert.equal(builder.bytes, 0);
});

test("since a position there is what was added later, and all parts together are the whole", () => {
  const builder = new RequestBuilder();
  const parts: Uint8Array[] = [];
  let position = builder.position;
  for (let i = 0; i < 12; i++) {
    const spans = encodedSpans([
      named(`${i}a`, { scope: { name: `s${i % 2}` } }),
      named(`${i}b`, { scope: { name: `s${i % 3}` } }),
    ]);
    const resource = builder.resource(header(`r${i % 2}`));
    for (let span = 0; span < spans.count; span++) builder.append(resource, spans, span);
    if (i % 3 === 0) continue;
    parts.push(writtenOut(builder.since(position)));
    position = builder.position;
  }
  assert.equal(builder.since(position).byteLength, 0);
  assert.deepEqual(writtenOut(builder.since(0)), builder.finish());
  const sorted = (request: Uint8Array): string[] =>
    splitRequest(request).map(({ resource, scope, span }) => Buffer.concat([resource, scope, span]).toString("hex"))
      .toSorted();
  assert.deepEqual(sorted(Buffer.concat(parts)), sorted(builder.finish()));
  assert.equal(countSpans(Buffer.concat(parts)), 24);
  assert.deepEqual(outline(parts[0] as Uint8Array), ["r0/s0: 0a 0b", "r1/s1: 1a 1b"]);
});

test("a span is written as the agent's bytes, below its resource", () => {
  const builder = new RequestBuilder();
  const spans = encodedSpans([named("a")]);
  builder.append(builder.resource(header("r")), spans, 0);
  assert.deepEqual(decode(REQUEST, builder.finish()), {
    resourceSpans: [{
      resource: { attributes: [{ key: "name", value: { stringValue: "r" } }] },
      scopeSpans: [{
        spans: [{ name: "a", traceId: "07".repeat(16), startTimeUnixNano: "1767000000636465099" }],
      }],
    }],
  });
});

test("spans are grouped by resource and scope, in the order in which each came", () => {
  const builder = new RequestBuilder();
  const spans = encodedSpans([
    named("a"),
    named("b", { scope: { name: "s" } }),
    named("c", { scope: { name: "t" }, schemaUrl: "u" }),
    named("d", { scope: { name: "s" } }),
    named("e"),
  ]);
  const [one, two] = [builder.resource(header("one")), builder.resource(header("two"))];
  assert.equal(builder.resource(header("one")), one);
  assert.notEqual(one, two);
  for (let round = 0; round < 2; round++) {
    for (let span = 0; span < spans.count; span++) {
      builder.append(span === 4 ? two : one, spans, span);
    }
  }
  assert.equal(builder.spans, 10);
  const request = builder.finish();
  assert.deepEqual(outline(request), [
    "one/undefined: a a",
    "one/s: b d b d",
    "one/t: c c",
    "two/undefined: e e",
  ]);
  assert.match(JSON.stringify(decode(REQUEST, request)), /"schemaUrl":"u"/);
});

test("spans that share the bytes of their scope are one group, also across a cleared builder", () => {
  const spans = encodedSpans([
    named("a", { scope: { name: "s" } }),
    named("b", { scope: { name: "t" } }),
  ]);
  const shared = encodedSpans([named("c", { scope: { name: "s" } })]);
  for (const name of ["d", "e"]) {
    const at = encodedSpans([named(name)]);
    const start = shared.writer.position;
    shared.writer.bytes(at.writer.buffer.subarray(at.spanStart(0), at.spanEnd(0)));
    shared.add(start, shared.writer.position);
  }
  const builder = new RequestBuilder();
  const one = builder.resource(header("one"));
  const two = builder.resource(header("two"));
  builder.append(one, spans, 1);
  builder.append(one, shared, 0);
  builder.append(one, shared, 1);
  builder.append(two, shared, 2);
  builder.append(one, spans, 0);
  assert.deepEqual(outline(builder.finish()), ["one/t: b", "one/s: c d a", "two/s: e"]);
  builder.clear();
  builder.append(builder.resource(header("one")), shared, 0);
  builder.clear();
  builder.append(builder.resource(header("one")), shared, 1);
  assert.deepEqual(outline(builder.finish()), ["one/s: d"]);
});

test("a resource without spans is left out", () => {
  const builder = new RequestBuilder();
  builder.resource(header("unused"));
  builder.append(builder.resource(header("used")), encodedSpans([named("a")]), 0);
  assert.deepEqual(outline(builder.finish()), ["used/undefined: a"]);
});

test("what is appended is copied: the payload's buffer may be reused", () => {
  const builder = new RequestBuilder();
  const spans = encodedSpans([named("first", { scope: { name: "scope-1" } })]);
  const resource = builder.resource(header("r"));
  builder.append(resource, spans, 0);
  spans.clear();
  encodedSpans([named("other", { scope: { name: "scope-2" } })], spans);
  builder.append(resource, spans, 0);
  assert.deepEqual(outline(builder.finish()), ["r/scope-1: first", "r/scope-2: other"]);
});

test("finish gives an array of its own, and clear forgets all", () => {
  const builder = new RequestBuilder();
  const spans = encodedSpans([named("a"), named("b")]);
  builder.append(builder.resource(header("r")), spans, 0);
  const first = builder.finish();
  assert.equal(first.buffer.byteLength, first.length);
  const copy = first.slice();
  builder.clear();
  assert.deepEqual([builder.spans, builder.bytes, builder.finish().length], [0, 0, 0]);
  builder.append(builder.resource(header("q")), spans, 1);
  assert.deepEqual(outline(builder.finish()), ["q/undefined: b"]);
  assert.deepEqual(first, copy);
});

test("the size is never underestimated, and by little overestimated", () => {
  const builder = new RequestBuilder();
  // Lengths around each step of a varint.
  const sizes = [0, 1, 100, 127, 128, 5000, 16_383, 16_384, 300_000, 2_100_000];
  let groups = 0;
  for (const [index, size] of sizes.entries()) {
    for (const scope of [undefined, { scope: { name: "s".repeat(index) } }]) {
      const spans = encodedSpans([named("x".repeat(size), scope)]);
      const handle = builder.resource(header(`r${index}`));
      const announced = builder.bytesWith(spans, 0);
      builder.append(handle, spans, 0);
      assert.ok(builder.bytes <= announced, `${builder.bytes} > ${announced}`);
      groups++;
      const exact = builder.finish().length;
      // A resource and a scope have up to five bytes of slack each: six are counted, two are the least.
      assert.ok(exact <= builder.bytes && builder.bytes - exact <= groups * 8, `${exact}`);
    }
  }
  assert.equal(countSpans(builder.finish()), 20);
});

test("a request is the same bytes that protobufjs writes", () => {
  const builder = new RequestBuilder();
  const scope = { scope: { name: "s", version: "1" } };
  const [short, long] = [named("a"), named("y".repeat(70_000), scope)];
  const spans = encodedSpans([short, long]);
  const resource = builder.resource(header("r"));
  for (let i = 0; i < 2; i++) builder.append(resource, spans, i);
  const expected = encode(REQUEST, {
    resourceSpans: [{
      resource: { attributes: [attribute("name", "r")] },
      scopeSpans: [{ spans: [short.span] }, { ...scope, spans: [long.span] }],
    }],
  });
  assert.deepEqual(builder.finish(), expected);
});

/** How many resources a guest alternates between, and whether each is then in a request once. */
for (const [groups, once] of [[8, true], [50, false]] as const) {
  test(`${groups} interleaved groups with more spans than the first buffers hold`, () => {
    const builder = new RequestBuilder();
    const names = Array.from({ length: groups }, (_, i) => `g${i}`);
    const expected = new Map(names.map((name) => [name, [] as string[]]));
    let random = 1;
    for (let i = 0; i < 5000; i++) {
      random = (random * 48_271) % 2_147_483_647;
      const group = names[random % names.length] as string;
      const spans = encodedSpans([named(`${i}-${"z".repeat(random % 300)}`)]);
      builder.append(builder.resource(header(group)), spans, 0);
      expected.get(group)?.push(`${i}-${"z".repeat(random % 300)}`);
    }
    const found = new Map(names.map((name) => [name, [] as string[]]));
    const lines = outline(builder.finish());
    for (const line of lines) {
      const [group, spans] = line.split("/undefined: ") as [string, string];
      found.get(group)?.push(...spans.split(" "));
    }
    assert.deepEqual(found, expected);
    assert.equal(lines.length === groups, once);
    assert.ok(builder.finish().length <= builder.bytes);
  });
}

test("resources that differ in one byte are two", () => {
  const builder = new RequestBuilder();
  const spans = encodedSpans([named("a")]);
  for (const name of ["é", "è", "\u0080", "\u0000"]) {
    builder.append(builder.resource(header(name)), spans, 0);
  }
  assert.deepEqual(outline(builder.finish()).map((line) => line.split("/")[0]), [
    "é",
    "è",
    "\u0080",
    "\u0000",
  ]);
});

test("resources that differ only at their end, or only in their length, are two", () => {
  const builder = new RequestBuilder();
  const spans = encodedSpans([named("a")]);
  const names = ["x".repeat(100), `${"x".repeat(99)}y`, "x".repeat(99), "x".repeat(100)];
  const handles = names.map((name) => builder.resource(header(name)));
  assert.equal(handles[3], handles[0]);
  assert.equal(new Set(handles).size, 3);
  for (const handle of handles) builder.append(handle, spans, 0);
  assert.deepEqual(outline(builder.finish()), [
    `${names[0]}/undefined: a a`,
    `${names[1]}/undefined: a`,
    `${names[2]}/undefined: a`,
  ]);
});

test("a header is copied, from the part of an array that it is in", () => {
  const builder = new RequestBuilder();
  const one = header("one");
  const array = Uint8Array.of(1, 2, ...one, 3);
  const handle = builder.resource(array, 2, 2 + one.length);
  array.fill(0);
  assert.equal(builder.resource(one), handle);
  builder.append(handle, encodedSpans([named("a")]), 0);
  assert.deepEqual(outline(builder.finish()), ["one/undefined: a"]);
});

/** Three spans of two resources and two scopes. */
const SAMPLE: PlainMessage = {
  resourceSpans: [
    {
      resource: { attributes: [attribute("name", "one")] },
      schemaUrl: "schema",
      scopeSpans: [
        { scope: { name: "s" }, schemaUrl: "scope-schema", spans: [{ name: "a" }, { name: "b" }] },
      ],
    },
    {
      resource: { attributes: [attribute("name", "two")] },
      scopeSpans: [{ spans: [{ name: "c" }] }],
    },
  ],
};

test("a request is taken apart into its spans, with what they belong to", () => {
  // protobufjs writes schema_url after scope_spans, so that the header is in two pieces.
  const parts = splitRequest(encode(REQUEST, SAMPLE));
  assert.deepEqual(
    parts.map(({ resource, scope, span }) => ({
      ...decode("ResourceSpans", resource),
      ...{ scope: decode("ScopeSpans", scope), spans: decode("ScopeSpans", span)["spans"] },
    })),
    [
      ...["a", "b"].map((name) => ({
        resource: { attributes: [attribute("name", "one")] },
        schemaUrl: "schema",
        scope: { scope: { name: "s" }, schemaUrl: "scope-schema" },
        spans: [{ name }],
      })),
      {
        resource: { attributes: [attribute("name", "two")] },
        scope: {},
        spans: [{ name: "c" }],
      },
    ],
  );
});

test("parts put together again are the same request", () => {
  const builder = new RequestBuilder();
  for (const part of splitRequest(encode(REQUEST, SAMPLE))) builder.appendPart(part);
  assert.deepEqual(decode(REQUEST, builder.finish()), decode(REQUEST, encode(REQUEST, SAMPLE)));
});

test("spans are counted", () => {
  assert.equal(countSpans(encode(REQUEST, SAMPLE)), 3);
  assert.equal(countSpans(new Uint8Array()), 0);
});

test("a request is halved down to single spans, and none is lost", () => {
  const builder = new RequestBuilder();
  const resources = ["one", "two"].map((name) => builder.resource(header(name)));
  for (let i = 0; i < 7; i++) {
    const scope = i % 3 === 0 ? { scope: { name: "s" } } : undefined;
    builder.append(resources[i % 2] as number, encodedSpans([named(`n${i}`, scope)]), 0);
  }
  const request = builder.finish();
  const single = (bytes: Uint8Array): string[] => {
    if (countSpans(bytes) === 1) return outline(bytes);
    const [first, second] = halve(bytes);
    assert.equal(countSpans(first), countSpans(bytes) >>> 1);
    return [...single(first), ...single(second)];
  };
  assert.deepEqual(single(request), [
    "one/s: n0",
    "one/s: n6",
    "one/undefined: n2",
    "one/undefined: n4",
    "two/undefined: n1",
    "two/undefined: n5",
    "two/s: n3",
  ]);
});

test("a request with fewer than two spans cannot be halved", () => {
  const builder = new RequestBuilder();
  assert.throws(() => halve(builder.finish()), RangeError);
  builder.append(builder.resource(header("r")), encodedSpans([named("a")]), 0);
  assert.throws(() => halve(builder.finish()), RangeError);
});

test("bytes that are no request are an error", () => {
  assert.throws(() => splitRequest(Uint8Array.of(0x0a, 5, 1)), ProtobufError);
  assert.throws(() => countSpans(Uint8Array.of(0x0a, 2, 0x12, 9)), ProtobufError);
});

test("a request is split into parts of so many spans, in order, without the first ones", () => {
  const builder = new RequestBuilder();
  const resources = ["one", "two"].map((name) => builder.resource(header(name)));
  for (let i = 0; i < 7; i++) builder.append(resources[i % 2] as number, encodedSpans([named(`n${i}`)]), 0);
  const request = builder.finish();
  const singly = (bytes: Uint8Array): string[] => splitSpans(bytes, 0, 1).flatMap((part) => outline(part.bytes));
  const all = singly(request);
  assert.deepEqual(all.slice(3, 5), ["one/undefined: n6", "two/undefined: n1"]);
  for (const [skipped, most, counts] of [[0, 3, [3, 3, 1]], [2, 4, [4, 1]], [6, 9, [1]], [7, 1, []]] as const) {
    const parts = splitSpans(request, skipped, most);
    assert.deepEqual(parts.map(({ spans }) => spans), counts);
    assert.deepEqual(parts.flatMap(({ bytes }) => singly(bytes)), all.slice(skipped));
  }
  assert.throws(() => splitSpans(Uint8Array.of(0x0a, 5, 1), 0, 1), ProtobufError);
});
