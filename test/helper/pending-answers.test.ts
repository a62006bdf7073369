import assert from "node:assert/strict";
import { test } from "node:test";
import { HelperError } from "../../src/helper/helper-error.ts";
import { PendingAnswers } from "../../src/helper/pending-answers.ts";

test("each request gets its own answer, in whatever order they come", async () => {
  const pending = new PendingAnswers<string>();
  const ids: number[] = [];
  const answers = ["a", "b", "c"].map(() => pending.ask((id) => ids.push(id)));
  const [a, b, c] = ids as [number, number, number];
  assert.equal(new Set(ids).size, 3);
  assert.equal(pending.settle(c, "third"), true);
  pending.fail(b, new HelperError("no", { errno: "ENOENT" }));
  assert.equal(pending.settle(a, "first"), true);
  assert.deepEqual(await Promise.allSettled(answers), [
    { status: "fulfilled", value: "first" },
    { status: "rejected", reason: new HelperError("no", { errno: "ENOENT" }) },
    { status: "fulfilled", value: "third" },
  ]);
  assert.equal(pending.settle(a, "again"), false);
});

test("when no more answers come, everybody who waits is told", async () => {
  const pending = new PendingAnswers<string>();
  const answers = [1, 2].map(() => pending.ask(() => {}));
  pending.failAll(new HelperError("gone"));
  for (const answer of answers) await assert.rejects(answer, new HelperError("gone"));
});
