import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { writtenOut } from "../../src/base/unwritten-bytes.ts";
import { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import { splitRequest } from "../../src/otlp/request.ts";
import { RequestBuilder } from "../../src/otlp/request-builder.ts";
import { spanField } from "./support/encoded.ts";
import { encode } from "./support/otlp-proto.ts";

const MOST_SPANS = 1_000_000;
const MOST_BYTES = 100_000_000;

/** How many spans each scope of a payload's resource has. */
type Scopes = Readonly<Record<string, number>>;

/** A payload with one resource, as a decoder leaves it: spans share the bytes of their scope and their resource. */
function payload(resource: Uint8Array, scopes: Scopes): EncodedSpans {
  const spans = new EncodedSpans();
  const put = (bytes: Uint8Array): [number, number] => {
    const start = spans.writer.position;
    spans.writer.bytes(bytes);
    return [start, spans.writer.position];
  };
  spans.setResource(...put(resource));
  for (const [name, count] of Object.entries(scopes)) {
    spans.setScope(...put(encode("ScopeSpans", { scope: { name } })));
    for (let i = 0; i < count; i++) spans.add(...put(spanField({ name: `${name}.${i}` })));
  }
  return spans;
}

function header(name: string): Uint8Array {
  return encode("ResourceSpans", { resource: { attributes: [{ key: name }] } });
}

/** Appends a payload with one resource as delivery does; returns how many of its spans. */
function append(builder: RequestBuilder, spans: EncodedSpans, mostSpans = MOST_SPANS, mostBytes = MOST_BYTES): number {
  const { buffer } = spans.writer;
  const end = spans.resourceEnd(0);
  if (builder.isCrowded) return builder.appendWhole(buffer, 0, end, spans, 0, mostSpans, mostBytes);
  const resource = builder.resource(buffer, 0, end);
  for (let i = 0; i < spans.count; i++) builder.append(resource, spans, i);
  return spans.count;
}

/** Has as many resources as it takes. */
function crowded(): RequestBuilder {
  const builder = new RequestBuilder();
  for (let i = 0; !builder.isCrowded; i++) append(builder, payload(header(`crowd ${i}`), { "": 1 }));
  return builder;
}

/** The spans of a request with all that they belong to, in an order of their own. */
function sorted(request: Uint8Array): string[] {
  return splitRequest(request).map(({ resource, scope, span }) =>
    [resource, scope, span].map((bytes) => Buffer.from(bytes).toString("latin1")).join("|")
  ).toSorted();
}

/** The same of payloads. */
function sortedSpans(payloads: readonly EncodedSpans[]): string[] {
  return payloads.flatMap((spans) => {
    const text = (start: number, end: number): string =>
      Buffer.from(spans.writer.buffer.subarray(start, end)).toString("latin1");
    return Array.from({ length: spans.count }, (_, i) =>
      [
        text(spans.resourceStart(i), spans.resourceEnd(i)),
        text(spans.scopeStart(i), spans.scopeEnd(i)),
        text(spans.spanStart(i), spans.spanEnd(i)),
      ].join("|"));
  }).toSorted();
}

test("however many resources there are, each span is below its own, and the journal's parts are the whole", () => {
  const builder = new RequestBuilder();
  const payloads: EncodedSpans[] = [];
  const parts: Uint8Array[] = [];
  let position = 0;
  for (let i = 0; i < 300; i++) {
    // Some come again while they are known, others when they are not any more.
    const spans = payload(header(`r${i % 7 === 0 ? i - (i % 3) : i}`), { [`s${i % 2}`]: 1 + (i % 3), t: i % 4, u: 1 });
    payloads.push(spans);
    assert.equal(append(builder, spans), spans.count);
    if (i % 5 > 0) continue;
    parts.push(writtenOut(builder.since(position)));
    position = builder.position;
  }
  assert.equal(builder.isCrowded, true);
  const request = builder.finish();
  assert.deepEqual(sorted(request), sortedSpans(payloads));
  assert.equal(builder.spans, sortedSpans(payloads).length);
  assert.ok(request.length <= builder.bytes, `${request.length} bytes, not over ${builder.bytes}`);
  parts.push(writtenOut(builder.since(position)));
  assert.deepEqual(sorted(Buffer.concat(parts)), sorted(request));
});

test("a run of spans is appended at once, and makes the same request as one by one", () => {
  const spans = payload(header("resource"), { one: 5, other: 3 });
  const [byRun, each] = [new RequestBuilder(), new RequestBuilder()];
  const { buffer } = spans.writer;
  const resource = byRun.resource(buffer, 0, spans.resourceEnd(0));
  for (let i = 0; i < spans.count;) {
    const next = spans.endOfRun(i);
    assert.equal(next, i === 0 ? 5 : 8);
    const most = byRun.bytesWith(spans, i, next);
    byRun.append(resource, spans, i, next);
    assert.ok(byRun.bytes <= most);
    i = next;
  }
  append(each, spans);
  assert.deepEqual([byRun.spans, byRun.bytes], [each.spans, each.bytes]);
  assert.deepEqual(byRun.finish(), each.finish());
});

test("a long resource is there once for all scopes that a payload has below it", () => {
  const builder = crowded();
  const before = builder.finish().length;
  const resource = header("r".repeat(60_000));
  const spans = payload(resource, Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`scope ${i}`, 2])));
  assert.equal(append(builder, spans), 1000);
  const request = builder.finish();
  const own = spans.writer.position - resource.length;
  assert.ok(request.length < before + resource.length + 2 * own, `${request.length} bytes`);
  assert.equal(splitRequest(request).filter((part) => part.resource.length === resource.length).length, 1000);
});

test("of a whole payload as many spans are taken as there is room for, at least one", () => {
  const spans = payload(header("r"), { a: 10, b: 10 });
  const other = crowded();
  const before = other.spans;
  assert.equal(append(other, spans, before + 13), 13);
  assert.equal(other.spans, before + 13);
  const all = crowded();
  append(all, spans);
  const most = all.bytes;
  for (let bytes = 0; bytes < most; bytes += 7) {
    const builder = crowded();
    const empty = builder.bytes;
    const taken = append(builder, spans, MOST_SPANS, bytes);
    assert.ok(taken >= 1 && taken <= 20);
    if (taken > 1) assert.ok(builder.bytes <= bytes, `${builder.bytes} bytes of ${bytes}, ${empty} before`);
    assert.equal(splitRequest(builder.finish()).length, before + taken);
  }
});

test("after clear it knows nothing of whole fields", () => {
  const builder = crowded();
  append(builder, payload(header("r"), { a: 1 }));
  builder.clear();
  assert.equal(builder.isCrowded, false);
  assert.equal(builder.finish().length, 0);
  const spans = payload(header("x"), { b: 1 });
  append(builder, spans);
  assert.deepEqual(sorted(builder.finish()), sortedSpans([spans]));
});
