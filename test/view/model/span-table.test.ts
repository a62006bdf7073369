import assert from "node:assert/strict";
import { test } from "node:test";
import { childrenOf, NO_PARENT, type SpanTable, spanTable } from "../../../src/view/model/span-table.ts";
import { selfTimes } from "../../../src/view/model/self-time.ts";
import { collatedSandbox, recordedSpans, shortSpans, tableOf } from "./support.ts";

function parentNames(table: SpanTable): (string | undefined)[] {
  return [...table.parent].map((row) => table.name[row]);
}

test("runtime and agent are one tree with one root", () => {
  const table = spanTable(collatedSandbox());
  assert.equal(table.count, 42);
  const roots = childrenOf(table.parent)[table.count];
  assert.deepEqual(roots?.map((row) => table.name[row]), ["rootSpan"]);
});

test("a sandbox without a root has its orphans at the top", () => {
  const table = spanTable(recordedSpans("rust-session", "runtime"));
  const roots = childrenOf(table.parent)[table.count]?.map((row) => table.name[row]);
  assert.equal(roots?.filter((name) => name?.startsWith("handler_task")).length, 7);
});

test("rows are ordered by start, a parent before a child that starts with it", () => {
  const table = tableOf(
    { id: "late", from: 7, to: 9 },
    { id: "child", in: "parent", from: 2, to: 4 },
    { id: "parent", from: 2, to: 6 },
  );
  assert.deepEqual(table.name, ["parent", "child", "late"]);
  assert.deepEqual([...table.start], [0, 0, 5]);
  assert.deepEqual([...table.duration], [4, 2, 2]);
  assert.deepEqual([...table.input], [2, 1, 0]);
  assert.equal(table.baseNs, 1_795_694_948_255_537_003n);
});

test("a parent is found across traces, but one in the span's own trace comes first", () => {
  const table = tableOf(
    { id: "a", trace: "1", from: 0, to: 9 },
    { id: "a", trace: "2", from: 1, to: 9 },
    { id: "b", trace: "2", in: "a", from: 2, to: 3 },
    { id: "c", trace: "3", in: "a", from: 4, to: 5 },
    { id: "d", trace: "3", in: "gone", from: 6, to: 7 },
  );
  assert.deepEqual([...table.parent], [NO_PARENT, NO_PARENT, 1, 0, NO_PARENT]);
});

test("a span that names itself, or a circle of spans, does not hang the tree", () => {
  const table = tableOf(
    { id: "self", in: "self", from: 0, to: 1 },
    { id: "x", in: "z", from: 2, to: 9 },
    { id: "y", in: "x", from: 3, to: 8 },
    { id: "z", in: "y", from: 4, to: 7 },
    { id: "below", in: "z", from: 5, to: 6 },
  );
  assert.deepEqual(parentNames(table), [undefined, undefined, "x", "y", "z"]);
});

test("a deep chain and a wide tree take linear time", () => {
  const chain = Array.from({ length: 100_000 }, (_, i) => ({ id: `s${i}`, in: `s${i - 1}`, from: i, to: 300_000 - i }));
  const deep = spanTable(shortSpans(chain));
  assert.equal(deep.parent[99_999], 99_998);
  assert.equal(selfTimes(deep)[0], 2);
  const wide = chain.map((span) => ({ ...span, in: "s0" }));
  assert.equal(childrenOf(spanTable(shortSpans(wide)).parent)[0]?.length, 99_999);
});

test("a span that ends before it starts has no duration", () => {
  assert.deepEqual([...tableOf({ id: "set_guest_date_time", from: 9, to: 2 }).duration], [0]);
});

test("self time leaves out what children did, once, and only within the span", () => {
  const table = tableOf(
    { id: "parent", from: 0, to: 100 },
    { id: "a", in: "parent", from: 10, to: 40 },
    { id: "b", in: "parent", from: 30, to: 50 },
    { id: "c", in: "parent", from: 90, to: 120 },
    { id: "d", in: "parent", from: 35, to: 36 },
    { id: "other", from: 200, to: 210 },
  );
  assert.deepEqual([...selfTimes(table)], [50, 30, 20, 1, 30, 10]);
});
