import assert from "node:assert/strict";
import { test } from "node:test";
import type { IncomingSpan } from "../../../src/store/span-source.ts";
import { commitsOf } from "../../../src/view/process/commits.ts";

/** Spans of so many bytes each, with a resource of so many. */
function incoming(count: number, spanBytes: number, resourceBytes = 0): IncomingSpan[] {
  const [resource, scope] = [new Uint8Array(resourceBytes), new Uint8Array(0)];
  return Array.from({ length: count }, () => ({
    kind: "guest",
    part: { resource, scope, span: new Uint8Array(spanBytes) },
  }));
}

test("spans are stored in commits of so many spans and so many bytes, in their order", () => {
  const cases: readonly (readonly [IncomingSpan[], readonly number[]])[] = [
    [[], []],
    [incoming(1, 30), [1]],
    [incoming(256, 30), [256]],
    [incoming(600, 30), [256, 256, 88]],
    [incoming(5, 64 * 1024), [2, 2, 1]],
    [incoming(3, 4_000_000), [1, 1, 1]],
    [incoming(5, 30, 60 * 1024), [2, 2, 1]],
    [[...incoming(2, 30), ...incoming(1, 4_000_000), ...incoming(2, 30)], [2, 1, 2]],
  ];
  for (const [spans, counts] of cases) {
    const commits = [...commitsOf(spans)];
    assert.deepEqual(commits.map(({ length }) => length), counts);
    assert.deepEqual(commits.flat(), spans);
  }
});
