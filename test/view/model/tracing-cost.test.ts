import assert from "node:assert/strict";
import { test } from "node:test";
import { findStart } from "../../../src/view/model/phases.ts";
import { spanTable } from "../../../src/view/model/span-table.ts";
import { tracingCost } from "../../../src/view/model/tracing-cost.ts";
import { collatedSandbox, recordedSpans, type ShortSpan, tableOf } from "./support.ts";

const WHOLE = { from: 0, to: 1e9 };

/** Calls one after the other, with a pause of a length after each; some of them hold work. */
function calls(pauses: readonly number[], side: ShortSpan["side"] = "runtime"): ShortSpan[] {
  let from = 100;
  return pauses.map((pause, i) => {
    const call = { id: `call ${i}`, in: "rootSpan", side, from, to: from + 1000 };
    from += 1000 + pause;
    return call;
  });
}

const ROOT = { id: "rootSpan", from: 0, to: 1e9 };

test("a request takes as long as the median pause between two calls, so pauses with work do not count", () => {
  const pauses = [300, 310, 320, 330, 9_000, 340, 350, 80_000, 0];
  const table = tableOf(ROOT, ...calls(pauses));
  // The last call has none after it; the median of the other eight.
  assert.deepEqual(tracingCost(table, WHOLE), { spans: 10, each: (330 + 340) / 2 });
});

test("only spans that were sent until the start was over count", () => {
  const table = tableOf(ROOT, ...calls(new Array<number>(20).fill(500)));
  // The fourth call ends at 100 + 4 × 1000 + 3 × 500, and the root long after.
  assert.deepEqual(tracingCost(table, { from: 0, to: 5600 }), { spans: 4, each: 500 });
});

test("calls that overlap, and an agent's, do not tell", () => {
  const overlapping = calls(new Array<number>(20).fill(-500));
  assert.equal(tracingCost(tableOf(ROOT, ...overlapping), WHOLE), undefined);
  assert.equal(tracingCost(tableOf(ROOT, ...calls(new Array<number>(20).fill(500), "agent")), WHOLE), undefined);
  // A thread beside the others: the calls that end while it runs do not count, the eight after it do.
  const beside = { id: "beside", in: "rootSpan", from: 90, to: 3000 };
  const table = tableOf(ROOT, beside, ...calls([1, 1, ...new Array<number>(9).fill(700)]));
  assert.equal(tracingCost(table, WHOLE)?.each, 700);
});

test("it is not known of few calls, and the Rust runtime waits for nothing", () => {
  assert.equal(tracingCost(tableOf(ROOT, ...calls(new Array<number>(8).fill(500))), WHOLE), undefined);
  const rust = spanTable(recordedSpans("rust-session", "runtime"));
  assert.equal(tracingCost(rust, WHOLE), undefined);
});

test("the recorded start of the Go runtime waited some 2 ms for its 23 requests", () => {
  const table = spanTable(collatedSandbox());
  const start = findStart(table);
  assert.ok(start !== undefined);
  assert.deepEqual(tracingCost(table, start), { spans: 23, each: 91_000 });
});
