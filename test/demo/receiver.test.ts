import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { DemoReceiver } from "../../src/demo/receiver.ts";
import { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import { RequestBuilder } from "../../src/otlp/request-builder.ts";

/** A request with one span, which has only a span_id (field 2, 8 bytes). */
function request(id: number): Uint8Array {
  const spans = new EncodedSpans();
  const span = [0x12, 10, 0x12, 8, 0, 0, 0, 0, 0, 0, 0, id];
  spans.writer.bytes(new Uint8Array(span));
  spans.add(0, span.length);
  const builder = new RequestBuilder();
  builder.append(builder.resource(new Uint8Array()), spans, 0);
  return builder.finish();
}

async function withReceiver(
  body: (
    receiver: DemoReceiver,
    post: (path: string, bytes: Uint8Array, headers?: Record<string, string>) => Promise<number>,
  ) => Promise<void>,
): Promise<void> {
  const receiver = new DemoReceiver();
  const url = await receiver.listen();
  assert.match(url, /^http:\/\/127\.0\.0\.1:\d+$/);
  try {
    await body(receiver, async (path, bytes, headers = {}) => {
      const response = await fetch(`${url}${path}`, {
        method: "POST",
        body: new Uint8Array(bytes),
        headers: { "content-type": "application/x-protobuf", ...headers },
      });
      await response.arrayBuffer();
      return response.status;
    });
  } finally {
    await receiver.close();
  }
}

test("spans are kept and counted, compressed or not, and an empty request is a probe", () =>
  withReceiver(async (receiver, post) => {
    assert.equal(await post("/v1/traces", new Uint8Array()), 200);
    assert.equal(receiver.requests, 0);
    const waiting = receiver.waitFor(2, 60_000);
    assert.equal(await post("/v1/traces", request(1)), 200);
    const zipped = gzipSync(request(2));
    assert.equal(await post("/v1/traces", zipped, { "content-encoding": "gzip" }), 200);
    await waiting;
    assert.deepEqual(receiver.spans.map((span) => span.spanId), [
      "0000000000000001",
      "0000000000000002",
    ]);
    assert.equal(receiver.requests, 2);
    assert.equal(receiver.bytes, request(1).length * 2);
    assert.deepEqual(receiver.problems, []);
    await receiver.waitFor(2, 60_000);
  }));

test("waiting ends in time, whatever has arrived", () =>
  withReceiver(async (receiver) => {
    await receiver.waitFor(1, 1);
    assert.deepEqual(receiver.spans, []);
  }));

test("an invalid request is refused and reported", () =>
  withReceiver(async (receiver, post) => {
    assert.equal(await post("/elsewhere", request(1)), 400);
    assert.equal(await post("/v1/traces", new Uint8Array([0x0a, 0xff])), 400);
    const bomb = gzipSync(new Uint8Array(5 * 1024 * 1024));
    assert.equal(await post("/v1/traces", bomb, { "content-encoding": "gzip" }), 400);
    assert.deepEqual(receiver.spans, []);
    assert.equal(receiver.problems.length, 3);
    assert.match(receiver.problems[0] as string, /refused a request: POST \/elsewhere is not POST/);
  }));
