import assert from "node:assert/strict";
import { decodeRequest } from "../support/collector-stub.ts";
import { until } from "../support/until.ts";
import { decodeSpan } from "../decode/support/decode-span.ts";
import { GrpcReceiver } from "../exporters/support/grpc-receiver.ts";
import { REAL_STREAMS, streamBytes, TORN_STREAMS } from "../decode/support/recorded-streams.ts";
import { startForwarder } from "./support/forwarder.ts";
import { Pipeline } from "./support/pipeline.ts";
import { CLEAN } from "./support/process.ts";
import { guestLife, Sandbox } from "./support/sandbox.ts";
import { spansOf, taken } from "./support/spans.ts";
import { test } from "./support/test.ts";

for (const stream of TORN_STREAMS) {
  test(`${stream.file}: every whole frame arrives, the torn one is not valid, and the guest stays`, async () => {
    await using pipeline = await Pipeline.start(["--metrics", "0"]);
    const { sandbox, stub, forwarder } = pipeline;
    await guestLife(sandbox.address, streamBytes(stream));
    await taken(stub, stream.spans);
    await until(async () => await forwarder.metric("guests") === 0, "it has gone by itself");
    assert.equal(await forwarder.metric("spans_invalid_total"), 1);
    assert.equal(await forwarder.metric("spans_received_total"), stream.spans + 1);
    assert.equal(await forwarder.metric("guests_disconnected_total"), 0);
    assert.deepEqual(await forwarder.stop(), CLEAN);
    assert.equal(spansOf(stub).length, stream.spans);
  });
}

for (const compression of ["none", "gzip"]) {
  test(`a copied file of 1 MiB arrives over gRPC, in less than 4 MiB (compression: ${compression})`, async () => {
    const receiver = new GrpcReceiver();
    await receiver.start();
    using sandbox = new Sandbox();
    const stream = REAL_STREAMS.find(({ file }) => file.includes("copyfile"));
    assert.ok(stream !== undefined);
    try {
      await using forwarder = await startForwarder([
        ...["--socket-path", sandbox.socketPath, "--otlp-endpoint", receiver.url, "--otlp-protocol", "grpc"],
        ...["--metrics", "0"],
      ], { env: { OTEL_EXPORTER_OTLP_COMPRESSION: compression } });
      await guestLife(sandbox.address, streamBytes(stream));
      const received = () => receiver.calls.flatMap(({ body }) => decodeRequest(body));
      await until(() => received().length === stream.spans, "all its spans arrive");
      const largest = Math.max(...receiver.calls.map(({ body }) => body.length));
      assert.ok(largest > 3_500_000 && largest < 4 * 1024 * 1024, `${largest} bytes`);
      assert.equal(await forwarder.metric("truncated_attributes_total"), 1);
      assert.equal(await forwarder.metric("spans_invalid_total"), 0);
      assert.deepEqual(await forwarder.stop(), CLEAN);
    } finally {
      await receiver.stop();
    }
  });
}

test("--max-attribute-bytes cuts every longer value", async () => {
  await using pipeline = await Pipeline.start([], { env: { OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT: "100" } });
  const { sandbox, stub, forwarder } = pipeline;
  const stream = REAL_STREAMS.find(({ file }) => file.includes("4.1.0-session.json"));
  assert.ok(stream !== undefined);
  await guestLife(sandbox.address, streamBytes(stream));
  await taken(stub, stream.spans);
  assert.deepEqual(await forwarder.stop(), CLEAN);
  const values = spansOf(stub).flatMap(({ span }) => decodeSpan(span, "lenient").attributes).map(({ value }) => value);
  assert.ok(values.some((value) => "stringValue" in value && value.stringValue.length === 100));
  for (const value of values) assert.ok(!("stringValue" in value) || value.stringValue.length <= 100);
});

test("where the runtime has no WebAssembly, the same spans arrive", async () => {
  const arrived = async (env: Readonly<Record<string, string>>) => {
    await using pipeline = await Pipeline.start([], { env });
    const { sandbox, stub, forwarder } = pipeline;
    const streams = REAL_STREAMS.filter(({ file }) => /\d-session\./.test(file));
    for (const stream of streams) await guestLife(sandbox.address, streamBytes(stream));
    await taken(stub, streams.reduce((sum, { spans }) => sum + spans, 0));
    assert.deepEqual(await forwarder.stop(), CLEAN);
    return spansOf(stub).map(({ span }) => Buffer.from(span).toString("latin1")).sort();
  };
  // An option of JavaScriptCore.
  const [without, usual] = [await arrived({ BUN_JSC_useWasm: "0" }), await arrived({})];
  assert.ok(usual.length > 150);
  assert.deepEqual(without, usual);
});
