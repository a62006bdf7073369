import assert from "node:assert/strict";
import { test } from "node:test";
import type { ExportResult } from "../../src/pipeline/exporter.ts";
import { type ExportSlot, SlotExporter } from "../../src/exporters/slot-exporter.ts";

/** A slot that answers when it is told. */
class ManualSlot implements ExportSlot {
  isConnected = true;
  timeoutMs: number | undefined;
  closed = 0;
  requests = 0;
  answer: (result: ExportResult) => void = () => {};

  send(_: readonly Uint8Array[], timeoutMs: number): Promise<ExportResult> {
    this.timeoutMs = timeoutMs;
    this.requests++;
    return new Promise((resolve) => this.answer = resolve);
  }

  close(): void {
    this.closed++;
  }
}

const REQUEST = [new Uint8Array()];
const SUCCESS: ExportResult = { kind: "success" };

function setUp(concurrency: number, timeoutMs = 60_000) {
  const slots: ManualSlot[] = [];
  const exporter = new SlotExporter(
    () => {
      const slot = new ManualSlot();
      slots.push(slot);
      return slot;
    },
    concurrency,
    timeoutMs,
  );
  return { slots, exporter };
}

test("slots are opened when they are needed, and used again", async () => {
  const { slots, exporter } = setUp(3);
  assert.equal(slots.length, 0);
  for (let i = 0; i < 3; i++) {
    const sent = exporter.send(REQUEST);
    slots[0]?.answer(SUCCESS);
    assert.deepEqual(await sent, SUCCESS);
  }
  assert.deepEqual(slots.map(({ requests }) => requests), [3]);
  const both = [exporter.send(REQUEST), exporter.send(REQUEST)];
  for (const slot of slots) slot.answer(SUCCESS);
  await Promise.all(both);
  assert.deepEqual(slots.map(({ requests }) => requests), [4, 1]);
  exporter.close();
});

test("an answer goes to the request of its slot", async () => {
  const { slots, exporter } = setUp(2);
  const first = exporter.send(REQUEST);
  const second = exporter.send(REQUEST);
  slots[1]?.answer({ kind: "partial", rejectedSpans: 2, message: "" });
  slots[0]?.answer({ kind: "partial", rejectedSpans: 1, message: "" });
  assert.equal((await first as { rejectedSpans: number }).rejectedSpans, 1);
  assert.equal((await second as { rejectedSpans: number }).rejectedSpans, 2);
  exporter.close();
});

test("more requests than slots is a mistake of the caller", () => {
  const { exporter } = setUp(1);
  void exporter.send(REQUEST);
  assert.throws(() => exporter.send(REQUEST), RangeError);
  exporter.close();
});

test("a slot that never answers is given up at the deadline, and its late answer is not heard", async () => {
  const { slots, exporter } = setUp(1);
  const result = await exporter.send(REQUEST, 20);
  assert.equal(result.kind, "retryable");
  assert.match((result as { error: Error }).error.message, /no answer within 20 ms/);
  const [slot] = slots;
  assert.ok(slot !== undefined && slot.closed > 0);
  const sent = exporter.send(REQUEST);
  slot.answer({ kind: "rejected", error: new Error("late") });
  slots[1]?.answer(SUCCESS);
  assert.deepEqual(await sent, SUCCESS);
  exporter.close();
});

test("the shorter of the caller's time and the configured one counts, and the slot is told", async () => {
  for (const [given, configured, counts] of [[20, 60_000, 20], [60_000, 20, 20], [undefined, 20, 20]] as const) {
    const { slots, exporter } = setUp(1, configured);
    const result = await exporter.send(REQUEST, given);
    assert.match((result as { error: Error }).error.message, /^timed out: no answer within 20 ms$/);
    assert.equal(slots[0]?.timeoutMs, counts);
    exporter.close();
  }
});

test("closing settles what is under way as retryable and closes all slots", async () => {
  const { slots, exporter } = setUp(2);
  const idle = exporter.send(REQUEST);
  slots[0]?.answer(SUCCESS);
  await idle;
  const pending = exporter.send(REQUEST);
  const other = exporter.send(REQUEST);
  slots[1]?.answer(SUCCESS);
  await other;
  exporter.close();
  assert.equal((await pending).kind, "retryable");
  assert.deepEqual(slots.map(({ closed }) => closed), [1, 1]);
  assert.equal((await exporter.send(REQUEST)).kind, "retryable");
});
