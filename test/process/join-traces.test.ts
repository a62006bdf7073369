import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fixture } from "../decode/support/fixtures.ts";
import { decodeResource, decodeSpan } from "../decode/support/decode-span.ts";
import { jaegerBodies } from "../decode/support/jaeger-fixtures.ts";
import { plain } from "../decode/support/jaeger-decode.ts";
import type { OtlpRecord } from "../decode/support/span-record.ts";
import { expectedIds } from "../processors/join-traces/support.ts";
import type { CollectorStub } from "../support/collector-stub.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";
import { startForwarder } from "./support/forwarder.ts";
import { portOf, postBodies } from "./support/host.ts";
import { startStub } from "./support/pipeline.ts";
import { CLEAN } from "./support/process.ts";
import { Guest, guestLife, Sandbox } from "./support/sandbox.ts";
import { ServiceManagerStandIn } from "./support/service-manager.ts";
import { spansOf, taken } from "./support/spans.ts";
import { test } from "./support/test.ts";

/** What a stub has received, as records; resources have only the host's attributes. */
function records(stub: CollectorStub): OtlpRecord[] {
  return spansOf(stub).map(({ span, resource }) => ({
    ...decodeSpan(span, "lenient"),
    resource: decodeResource(resource),
  }));
}

const named = (stub: CollectorStub, name: string): OtlpRecord[] => records(stub).filter((span) => span.name === name);

/** Asserts that everything is in one trace, in which every span leads to the sandbox's root. */
function assertOneTree(spans: readonly OtlpRecord[], sandbox: string): void {
  const { traceId, rootId } = expectedIds(sandbox);
  const ids = new Set(spans.map(({ spanId }) => spanId));
  for (const span of spans) {
    assert.equal(span.traceId, traceId);
    if (span.spanId === rootId) assert.deepEqual([span.name, span.parentSpanId], ["sandbox", ""]);
    else assert.ok(ids.has(span.parentSpanId), `${span.name} has no parent`);
  }
}

const { expected, bincodeStream, bincode } = fixture("session-isolated");
const FIRST = expected.map(({ startTimeUnixNano }) => BigInt(startTimeUnixNano))
  .reduce((min, time) => time < min ? time : min);

test("the root comes by itself when the guest has gone, and the figures add up", async () => {
  await using stub = await startStub();
  using sandbox = new Sandbox();
  await using forwarder = await startForwarder([
    ...["--socket-path", sandbox.socketPath, "--otlp-endpoint", stub.url],
    ...["--join-traces", "--metrics", "0"],
  ]);
  await guestLife(sandbox.address, bincodeStream);
  await taken(stub, expected.length + 1);
  assertOneTree(records(stub), sandbox.id);
  const [root] = named(stub, "sandbox");
  assert.equal(root?.startTimeUnixNano, String(FIRST));
  assert.deepEqual(plain(root?.resource ?? []), { "service.name": "kata-agent", "kata.sandbox.id": sandbox.id });
  const figures = await forwarder.figures();
  assert.equal(figures.received, expected.length + 1);
  assert.equal(figures.received, figures.forwarded + figures.dropped + figures.invalid + figures.held);
  assert.deepEqual(await forwarder.stop(), CLEAN);
  assert.equal(named(stub, "sandbox").length, 1);
});

test("a stop makes the roots of sandboxes that run, when nothing outlives the process", async () => {
  await using stub = await startStub();
  using sandbox = new Sandbox();
  await using forwarder = await startForwarder([
    ...["--socket-path", sandbox.socketPath, "--otlp-endpoint", stub.url, "--join-traces", "--jaeger-listen", "0"],
  ]);
  using guest = await Guest.connect(sandbox.address);
  await guest.write(bincodeStream);
  const id = "00000000000000000000000000000000000000000000000040507b35c8cfdf40";
  assert.deepEqual(await postBodies(await portOf(forwarder, "--jaeger-listen"), jaegerBodies("go-session")), [202]);
  await taken(stub, expected.length + 34);
  assert.deepEqual(await forwarder.stop(), CLEAN);
  // The runtime's spans are of another sandbox than the guest.
  assert.equal(named(stub, "sandbox").length, 2);
  const traces = new Map([[sandbox.id, expected.length], [id.slice(0, 32), 34]]);
  for (const [key, spans] of traces) {
    const { traceId } = expectedIds(key);
    const joined = records(stub).filter((span) => span.traceId === traceId);
    assert.equal(joined.filter(({ name }) => name !== "sandbox" && name !== "missing span").length, spans);
    assertOneTree(joined, key);
  }
});

test("a killed process costs neither the trace nor its first span's time, with a spool", async () => {
  using directory = temporaryDirectory();
  await using stub = await startStub();
  using sandbox = new Sandbox();
  const args = [
    ...["--socket-path", sandbox.socketPath, "--otlp-endpoint", stub.url],
    ...["--join-traces", "--spool-dir", directory.path],
  ];
  const half = bincodeStream.length - bincode.slice(18).reduce((sum, { length }) => sum + length + 8, 0);
  {
    await using forwarder = await startForwarder(args);
    using guest = await Guest.connect(sandbox.address);
    await guest.write(bincodeStream.subarray(0, half));
    await taken(stub, 18);
    const file = join(directory.path, "sandboxes.json");
    await until(() => existsSync(file) && readFileSync(file, "utf8").includes(sandbox.id), "it is written down");
    await forwarder.stop("SIGKILL");
  }
  await using forwarder = await startForwarder(args);
  await guestLife(sandbox.address, bincodeStream.subarray(half));
  await taken(stub, expected.length + 1);
  assertOneTree(records(stub), sandbox.id);
  assert.deepEqual(named(stub, "sandbox").map(({ startTimeUnixNano }) => startTimeUnixNano), [String(FIRST)]);
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

test("a guest whose connection outlives the process keeps its trace, and gets its root at its end", async () => {
  using manager = new ServiceManagerStandIn();
  using directory = temporaryDirectory();
  using sandbox = new Sandbox();
  await using stub = await startStub();
  const args = [
    ...["--socket-path", sandbox.socketPath, "--otlp-endpoint", stub.url],
    ...["--join-traces", "--spool-dir", directory.path],
  ];
  let forwarder = manager.launch(args);
  try {
    await forwarder.record("listening");
    using guest = await Guest.connect(sandbox.address);
    // In the middle of a frame.
    const middle = Math.floor(bincodeStream.length / 2);
    await guest.write(bincodeStream.subarray(0, middle));
    await until(() => stub.taken.size > 0, "some arrive");
    assert.deepEqual(await forwarder.stop(), CLEAN);
    assert.deepEqual(named(stub, "sandbox"), []);
    forwarder = manager.launch(args);
    await forwarder.record("listening");
    await guest.write(bincodeStream.subarray(middle));
    await guest.end();
    await taken(stub, expected.length + 1);
    assertOneTree(records(stub), sandbox.id);
    assert.deepEqual(named(stub, "sandbox").map(({ startTimeUnixNano }) => startTimeUnixNano), [String(FIRST)]);
  } finally {
    await forwarder[Symbol.asyncDispose]();
  }
});
