import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { type UnwrittenBytes, writtenOut } from "../../src/base/unwritten-bytes.ts";
import { Batcher, type SourceBatcher } from "../../src/queue/batcher.ts";
import type { ProtobufWriter } from "../../src/otlp/protobuf-writer.ts";
import { Metrics } from "../../src/pipeline/metrics.ts";
import type { BatchSettings } from "../../src/pipeline/settings.ts";
import { decodeRequest } from "../support/collector-stub.ts";
import { guestSource, payload, resourceOf } from "./support.ts";
import { range, spanId } from "../support/numbers.ts";
import { until } from "../support/until.ts";

const NEVER = 1_000_000;

interface ClosedBatch {
  readonly account: string;
  readonly spans: number;
  readonly bytes: number;
  /** The spans' numbers, by the resource that they came with. */
  readonly byResource: Record<string, number[]>;
}

/** Puts its name before a resource, and counts how often it had to. */
class NamedOverlay {
  readonly name: string;
  applied = 0;

  constructor(name: string) {
    this.name = name;
  }

  layOver(buffer: Uint8Array, start: number, end: number, written: ProtobufWriter): number {
    this.applied++;
    written.clear();
    written.bytes(resourceOf("guest", this.name));
    written.bytes(buffer.subarray(start, end));
    return 0;
  }
}

function setUp(settings: Partial<BatchSettings>, chunkBytes?: () => number) {
  const batches: ClosedBatch[] = [];
  const metrics = new Metrics();
  const batcher = new Batcher(
    { maxSpans: 1000, maxBytes: 1024 * 1024, maxDelayMs: NEVER, ...settings },
    metrics,
    ({ account }, request, spans) => {
      const byResource: Record<string, number[]> = {};
      for (const { resource, spanId } of decodeRequest(request)) {
        const key = Buffer.from(resource).toString("latin1").replace(/[^a-z]/g, "");
        (byResource[key] ??= []).push(parseInt(spanId, 16));
      }
      batches.push({ account, spans, bytes: request.length, byResource });
    },
    undefined,
    chunkBytes,
  );
  /** A way in for a source of an account, whose resources get a name. */
  const open = (account: string, overlay = new NamedOverlay(account)): SourceBatcher =>
    batcher.open(guestSource(account), overlay);
  return { batcher, batches, metrics, open };
}

test("a batch is closed by as many bytes as an account may add at the moment", () => {
  let most = Infinity;
  const { batches, open } = setUp({}, () => most);
  const guest = open("a");
  guest.accept(payload(range(1, 4), { nameBytes: 300 }));
  assert.equal(batches.length, 0);
  most = 1500;
  guest.accept(payload([5], { nameBytes: 300 }));
  assert.deepEqual(batches.map((batch) => batch.spans), [5]);
  for (let span = 6; span <= 13; span++) guest.accept(payload([span], { nameBytes: 300 }));
  assert.deepEqual(batches.map((batch) => batch.spans), [5, 5]);
});

test("a batch is closed by its number of spans", () => {
  const { batcher, batches, metrics, open } = setUp({ maxSpans: 3 });
  const guest = open("a");
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
  const { batcher, batches, open } = setUp({ maxBytes: 1000 });
  const guest = open("a");
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
  const { batcher, batches, open } = setUp({ maxBytes: 1000 });
  open("a").accept(payload([1], { nameBytes: 400 }));
  open("a").accept(
    payload([2], { nameBytes: 10, resource: resourceOf("k", "x".repeat(600)) }),
  );
  batcher.flush();
  assert.deepEqual(batches.map(({ spans }) => spans), [1, 1]);
});

test("a batch is closed when its first span has waited long enough, by one timer", async () => {
  const { batches, open } = setUp({ maxDelayMs: 10 });
  const guest = open("a");
  guest.accept(payload([1]));
  guest.accept(payload([2]));
  assert.equal(batches.length, 0);
  await until(() => batches.length === 1);
  assert.deepEqual(batches[0]?.byResource, { guesta: [1, 2] });
  guest.accept(payload([3]));
  await until(() => batches.length === 2);
  assert.deepEqual(batches[1]?.byResource, { guesta: [3] });
});

test("each account has a batch of its own, and all leave together", async () => {
  const { batches, metrics, open } = setUp({ maxDelayMs: 10 });
  const sources = ["a", "b", "a", "c"].map((account) => open(account));
  for (const [index, source] of sources.entries()) source.accept(payload([index + 1]));
  assert.deepEqual([batches.length, metrics.heldOpen], [0, 4]);
  await until(() => batches.length > 0);
  assert.deepEqual(batches.map(({ account, byResource }) => [account, byResource]), [
    ["a", { guesta: [1, 3] }],
    ["b", { guestb: [2] }],
    ["c", { guestc: [4] }],
  ]);
  assert.equal(metrics.heldOpen, 0);
});

test("one account's full batch leaves the others open", () => {
  const { batcher, batches, open } = setUp({ maxSpans: 3 });
  open("a").accept(payload([1, 2]));
  open("b").accept(payload([3, 4, 5, 6]));
  assert.deepEqual(batches.map(({ byResource }) => byResource), [{ guestb: [3, 4, 5] }]);
  assert.equal(batcher.countSpans(), 3);
  batcher.flush();
  assert.equal(batcher.countSpans(), 0);
});

test("however many accounts fill their batches at once, what is open stays bounded", () => {
  const { batches, open } = setUp({});
  for (const number of range(1, 20)) {
    open(String.fromCharCode(0x60 + number)).accept(payload([number], { nameBytes: 900_000 }));
  }
  // Ten of them are more than 8 MiB.
  assert.equal(batches.length, 20);
});

test("a source that leaves takes its account's batch with it, but no other's, unless it has none there", async () => {
  const { batches, open } = setUp({});
  const [a, other, b, silent] = ["a", "a", "b", "c"].map((account) => open(account));
  const closed: string[] = [];
  a?.accept(payload([1]));
  other?.accept(payload([2]));
  b?.accept(payload([3]));
  silent?.close(() => closed.push("silent"));
  assert.deepEqual(closed, ["silent"]);
  a?.close(() => closed.push(`a, ${batches.length} batches`));
  await until(() => closed.length === 2);
  assert.deepEqual(closed, ["silent", "a, 1 batches"]);
  assert.deepEqual(batches.map(({ byResource }) => byResource), [{ guesta: [1, 2] }]);
  // What it had was sent before: nothing is to be closed for it.
  other?.accept(payload([4]));
  a?.close(() => {});
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(batches.length, 1);
});

test("sources of one account that leave together share a batch", async () => {
  const { batches, open } = setUp({});
  for (const number of range(1, 5)) {
    const source = open("a");
    source.accept(payload([number]));
    source.close(() => {});
  }
  await until(() => batches.length > 0);
  assert.deepEqual(batches.map((batch) => batch.byResource), [{ guesta: range(1, 5) }]);
});

test("a flush of one source closes its account's batch alone", () => {
  const { batches, open } = setUp({});
  const [a, b] = [open("a"), open("b")];
  a.accept(payload([1]));
  b.accept(payload([2]));
  a.flush();
  a.flush();
  assert.deepEqual(batches.map(({ byResource }) => byResource), [{ guesta: [1] }]);
});

test("spans of one resource are together, whatever came between them", () => {
  const { batcher, batches, open } = setUp({});
  // Two connections of one guest, whose resources differ all the same.
  const a = open("a");
  const b = open("a", new NamedOverlay("b"));
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
  const { batcher, batches, open } = setUp({ maxSpans: 2 });
  const overlay = new NamedOverlay("a");
  const guest = open("a", overlay);
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
  const { batcher, batches, open } = setUp({});
  const overlay = new NamedOverlay("a");
  const guest = open("a", overlay);
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

test("a source with another resource in each payload mixes nothing up, and another's spans stay together", () => {
  const { batcher, batches, metrics, open } = setUp({ maxSpans: 200, maxBytes: 20_000 });
  const overlay = new NamedOverlay("a");
  const [odd, usual] = [open("a", overlay), open("a", new NamedOverlay("b"))];
  const letters = (number: number): string => [...`${number}`].map((digit) => "abcdefghij"[Number(digit)]).join("");
  const expected: Record<string, number[]> = { guestbku: [] };
  for (const number of range(1, 1000)) {
    const name = letters(number);
    const numbers = [number, ...number % 4 === 0 ? [number + 10_000] : []];
    odd.accept(payload(numbers, { resource: resourceOf("k", name), nameBytes: number % 50 }));
    expected[`guestak${name}`] = numbers;
    if (number % 3 > 0) continue;
    usual.accept(payload([number + 20_000], { resource: resourceOf("k", "u") }));
    expected["guestbku"]?.push(number + 20_000);
  }
  assert.equal(metrics.heldOpen, batcher.countSpans());
  batcher.flush();
  const sent: Record<string, number[]> = {};
  for (const { bytes, spans, byResource } of batches) {
    assert.ok(bytes <= 20_000, `${bytes} bytes`);
    assert.ok(spans <= 200, `${spans} spans`);
    for (const [name, numbers] of Object.entries(byResource)) (sent[name] ??= []).push(...numbers);
  }
  assert.deepEqual(sent, expected);
  assert.equal(overlay.applied, 1000);
});

test("spans' bytes arrive as they were", () => {
  const sent: string[] = [];
  const batcher = new Batcher(
    { maxSpans: 2, maxBytes: 10_000, maxDelayMs: NEVER },
    new Metrics(),
    (_, request) => sent.push(...decodeRequest(request).map(({ span }) => Buffer.from(span).toString("hex"))),
  );
  const spans = payload([1, 2], { nameBytes: 3 });
  batcher.open(guestSource("a"), new NamedOverlay("a")).accept(spans);
  assert.deepEqual(sent, [1, 2].map((number) => `1208${spanId(number)}2a03616161`));
});

test("a journal gets every span at the end of the callback that it came in, and each once", async () => {
  const noted: string[] = [];
  const safe: number[] = [];
  let entries = 0;
  const journal = {
    begin: ({ account }: { readonly account: string }) => {
      const entry = entries++;
      return {
        note: (bytes: Uint8Array | UnwrittenBytes, spans: number) => {
          const ids = decodeRequest(writtenOut(bytes)).map(({ spanId }) => parseInt(spanId, 16));
          assert.equal(ids.length, spans);
          noted.push(`${entry} ${account}: ${ids.join(" ")}`);
        },
        safe: () => safe.push(entry),
      };
    },
    flush: () => {},
  };
  const closed: (() => void)[] = [];
  const settings = { maxSpans: 4, maxBytes: 1024 * 1024, maxDelayMs: NEVER };
  const batcher = new Batcher(settings, new Metrics(), (_source, _bytes, _spans, entry) => {
    closed.push(() => entry?.safe());
  }, journal);
  const [a, b] = ["a", "b"].map((name) => batcher.open(guestSource(name), new NamedOverlay(name)));
  a?.accept(payload([1]));
  a?.accept(payload([2]));
  b?.accept(payload([3]));
  assert.deepEqual(noted, []);
  await Promise.resolve();
  assert.deepEqual(noted.splice(0), ["0 a: 1 2", "1 b: 3"]);
  // Two of these fill the open chunk.
  a?.accept(payload([4, 5, 6]));
  await Promise.resolve();
  assert.deepEqual(noted.splice(0), ["0 a: 4 5", "2 a: 6"]);
  batcher.flush();
  await Promise.resolve();
  assert.deepEqual(noted, []);
  for (const each of closed) each();
  assert.deepEqual(safe.toSorted(), [0, 1, 2]);
});

test("a journal gets the bytes of a chunk that is closed in one callback as they are, else the rest", async () => {
  const noted: (Uint8Array | UnwrittenBytes)[] = [];
  const journal = {
    begin: () => ({ note: (bytes: Uint8Array | UnwrittenBytes) => noted.push(bytes), safe: () => {} }),
    flush: () => {},
  };
  const closed: Uint8Array[] = [];
  const settings = { maxSpans: 3, maxBytes: 1024 * 1024, maxDelayMs: NEVER };
  const batcher = new Batcher(settings, new Metrics(), (_source, bytes) => closed.push(bytes), journal);
  const source = batcher.open(guestSource("a"), new NamedOverlay("a"));
  source.accept(payload([1, 2, 3]));
  assert.equal(noted.length, 1);
  assert.equal(noted[0], closed[0]);
  source.accept(payload([4]));
  await Promise.resolve();
  source.accept(payload([5, 6]));
  assert.equal(noted.length, 3);
  assert.notEqual(noted[2], closed[1]);
  await Promise.resolve();
  assert.equal(noted.length, 3);
});
