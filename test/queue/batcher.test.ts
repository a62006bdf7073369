import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { Batcher, type Overlay } from "../../src/queue/batcher.ts";
import { Metrics } from "../../src/pipeline/metrics.ts";
import type { BatchSettings } from "../../src/pipeline/settings.ts";
import { decodeRequest } from "../support/collector-stub.ts";
import { payload, resourceOf } from "./support.ts";
import { range, spanId } from "../support/numbers.ts";
import { until } from "../support/until.ts";

const NEVER = 1_000_000;

interface ClosedBatch {
  readonly spans: number;
  readonly bytes: number;
  /** The spans' numbers, by the resource that they came with. */
  readonly byResource: Record<string, number[]>;
}

/** Puts its name before a resource, and counts how often it had to. */
class NamedOverlay implements Overlay {
  readonly name: string;
  applied = 0;

  constructor(name: string) {
    this.name = name;
  }

  apply(header: Uint8Array): Uint8Array {
    this.applied++;
    return Uint8Array.from([...resourceOf("guest", this.name), ...header]);
  }
}

function setUp(settings: Partial<BatchSettings>) {
  const batches: ClosedBatch[] = [];
  const metrics = new Metrics();
  const batcher = new Batcher(
    { maxSpans: 1000, maxBytes: 1024 * 1024, maxDelayMs: NEVER, ...settings },
    metrics,
    (request, spans) => {
      const byResource: Record<string, number[]> = {};
      for (const { resource, spanId } of decodeRequest(request)) {
        const key = Buffer.from(resource).toString("latin1").replace(/[^a-z]/g, "");
        (byResource[key] ??= []).push(parseInt(spanId, 16));
      }
      batches.push({ spans, bytes: request.length, byResource });
    },
  );
  return { batcher, batches, metrics };
}

test("a batch is closed by its number of spans", () => {
  const { batcher, batches, metrics } = setUp({ maxSpans: 3 });
  const guest = batcher.open(new NamedOverlay("a"));
  guest.accept(payload(range(1, 7)));
  assert.deepEqual(batches.map((batch) => batch.byResource["guesta"]), [[1, 2, 3], [4, 5, 6]]);
  assert.equal(metrics.heldOpen, 1);
  batcher.flush();
  assert.deepEqual(batches[2]?.byResource, { guesta: [7] });
  assert.equal(metrics.heldOpen, 0);
  batcher.flush();
  assert.equal(batches.length, 3);
});

test("a batch stays below its bytes, and a span that is larger goes alone", () => {
  const { batcher, batches } = setUp({ maxBytes: 1000 });
  const guest = batcher.open(new NamedOverlay("a"));
  guest.accept(payload(range(1, 20), { nameBytes: 200 }));
  guest.accept(payload([21], { nameBytes: 5000 }));
  guest.accept(payload([22], { nameBytes: 200 }));
  batcher.flush();
  const sent = batches.flatMap((batch) => batch.byResource["guesta"] ?? []);
  assert.deepEqual(sent, range(1, 22));
  for (const { bytes, byResource } of batches) {
    if (byResource["guesta"]?.includes(21)) assert.deepEqual(byResource, { guesta: [21] });
    else assert.ok(bytes <= 1000, `${bytes} bytes`);
  }
  // Four spans of some 220 bytes fit, a fifth does not.
  assert.deepEqual(batches.map(({ spans }) => spans), [4, 4, 4, 4, 4, 1, 1]);
});

test("the bytes of a new resource count too", () => {
  const { batcher, batches } = setUp({ maxBytes: 1000 });
  const [a, b] = [new NamedOverlay("a"), new NamedOverlay("b")];
  batcher.open(a).accept(payload([1], { nameBytes: 400 }));
  batcher.open(b).accept(
    payload([2], { nameBytes: 10, resource: resourceOf("k", "x".repeat(600)) }),
  );
  batcher.flush();
  assert.deepEqual(batches.map(({ spans }) => spans), [1, 1]);
});

test("a batch is closed when its first span has waited long enough, by one timer", async () => {
  const { batcher, batches } = setUp({ maxDelayMs: 10 });
  const guest = batcher.open(new NamedOverlay("a"));
  guest.accept(payload([1]));
  guest.accept(payload([2]));
  assert.equal(batches.length, 0);
  await until(() => batches.length === 1);
  assert.deepEqual(batches[0]?.byResource, { guesta: [1, 2] });
  guest.accept(payload([3]));
  await until(() => batches.length === 2);
  assert.deepEqual(batches[1]?.byResource, { guesta: [3] });
});

test("a guest that leaves takes the batch with it, others' spans too, unless it has none there", async () => {
  const { batcher, batches } = setUp({});
  const [a, b, silent] = ["a", "b", "c"].map((name) => batcher.open(new NamedOverlay(name)));
  a?.accept(payload([1]));
  b?.accept(payload([2]));
  silent?.close();
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(batches.length, 0);
  a?.close();
  await until(() => batches.length === 1);
  assert.deepEqual(batches[0]?.byResource, { guesta: [1], guestb: [2] });
  // What it had was sent before: nothing is to be closed for it.
  a?.close();
  b?.accept(payload([3]));
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(batches.length, 1);
});

test("guests that leave together share a batch", async () => {
  const { batcher, batches } = setUp({});
  for (const number of range(1, 5)) {
    const guest = batcher.open(new NamedOverlay("a"));
    guest.accept(payload([number]));
    guest.close();
  }
  await until(() => batches.length > 0);
  assert.deepEqual(batches.map((batch) => batch.byResource), [{ guesta: range(1, 5) }]);
});

test("spans of one resource are together, whatever came between them", () => {
  const { batcher, batches } = setUp({});
  const a = batcher.open(new NamedOverlay("a"));
  const b = batcher.open(new NamedOverlay("b"));
  const x = resourceOf("k", "x");
  const y = resourceOf("k", "y");
  a.accept(payload([1], { resource: x }));
  b.accept(payload([2], { resource: x }));
  a.accept(payload([3], { resource: y }));
  a.accept(payload([4], { resource: x }));
  b.accept(payload([5]));
  b.accept(payload([6], { resource: x }));
  batcher.flush();
  assert.deepEqual(batches.map((batch) => batch.byResource), [{
    guestakx: [1, 4],
    guestbkx: [2, 6],
    guestaky: [3],
    guestb: [5],
  }]);
});

test("a resource is laid over once while it stays the same, and across batches", () => {
  const { batcher, batches } = setUp({ maxSpans: 2 });
  const overlay = new NamedOverlay("a");
  const guest = batcher.open(overlay);
  const x = resourceOf("k", "x");
  for (const number of range(1, 10)) guest.accept(payload([number], { resource: x }));
  assert.equal(overlay.applied, 1);
  guest.accept(payload([11], { resource: resourceOf("k", "y") }));
  assert.equal(overlay.applied, 2);
  guest.accept(payload(range(12, 15), { resource: x }));
  assert.equal(overlay.applied, 3);
  batcher.flush();
  const sent = batches.flatMap((batch) => Object.values(batch.byResource).flat());
  assert.deepEqual(sent.sort((one, other) => one - other), range(1, 15));
  assert.deepEqual(batches[5]?.byResource, { guestaky: [11], guestakx: [12] });
});

test("a resource too large to remember is laid over each time, and is not mixed up", () => {
  const { batcher, batches } = setUp({});
  const overlay = new NamedOverlay("a");
  const guest = batcher.open(overlay);
  const large = (letter: string) => resourceOf("k", letter.repeat(5000));
  guest.accept(payload([1, 2], { resource: large("x") }));
  guest.accept(payload([3], { resource: large("x") }));
  guest.accept(payload([4], { resource: large("y") }));
  guest.accept(payload([5]));
  batcher.flush();
  assert.equal(overlay.applied, 4);
  assert.deepEqual(batches[0]?.byResource, {
    [`guestak${"x".repeat(5000)}`]: [1, 2, 3],
    [`guestak${"y".repeat(5000)}`]: [4],
    guesta: [5],
  });
});

test("spans' bytes arrive as they were", () => {
  const sent: string[] = [];
  const batcher = new Batcher(
    { maxSpans: 2, maxBytes: 10_000, maxDelayMs: NEVER },
    new Metrics(),
    (request) => sent.push(...decodeRequest(request).map(({ span }) => Buffer.from(span).toString("hex"))),
  );
  const spans = payload([1, 2], { nameBytes: 3 });
  batcher.open(new NamedOverlay("a")).accept(spans);
  assert.deepEqual(sent, [1, 2].map((number) => `1208${spanId(number)}2a03616161`));
});
