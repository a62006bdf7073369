import assert from "node:assert/strict";
import { test } from "node:test";
import { FairBudget, Holding } from "../../src/queue/fair-budget.ts";
import { Random } from "../decode/support/random.ts";

test("the share is the limit's part for each account that holds anything", () => {
  const budget = new FairBudget<string>(1200);
  const [a, b] = [new Holding("a"), new Holding("b")];
  assert.deepEqual([budget.total, budget.holders, budget.share()], [0, 0, 1200]);
  budget.hold(a, 100, true);
  budget.hold(a, 100, true);
  assert.deepEqual([budget.total, budget.holders, budget.share()], [200, 1, 1200]);
  budget.hold(b, 50, false);
  assert.deepEqual([budget.total, budget.holders, budget.share(), budget.share(600)], [250, 2, 600, 300]);
  budget.free(b, 50, false);
  assert.deepEqual([budget.total, budget.holders, budget.share()], [200, 1, 1200]);
});

test("the largest is the one with most that can be dropped; what is under way does not count", () => {
  const budget = new FairBudget<string>(1000);
  const [a, b] = [new Holding("a"), new Holding("b")];
  assert.equal(budget.largest(), undefined);
  budget.hold(a, 500, true);
  budget.hold(b, 100, true);
  assert.equal(budget.largest()?.owner, "a");
  budget.pin(a, 450);
  assert.equal(budget.largest()?.owner, "b");
  assert.deepEqual([a.bytes, a.droppable], [500, 50]);
  budget.free(b, 100, true);
  assert.equal(budget.largest()?.owner, "a");
  budget.pin(a, 50);
  assert.equal(budget.largest(), undefined);
  budget.free(a, 500, false);
  assert.deepEqual([budget.total, budget.holders], [0, 0]);
});

test("whatever happens, the largest is within 10 % of the truth, and the sums are right", () => {
  const random = new Random(7);
  const budget = new FairBudget<number>(1);
  const holdings = Array.from({ length: 50 }, (_, i) => new Holding(i));
  for (let step = 0; step < 20_000; step++) {
    const holding = random.pick(holdings);
    const bytes = 1 + random.below(2 ** random.below(40));
    if (random.below(3) > 0) budget.hold(holding, bytes, true);
    else if (holding.droppable > 0) {
      const freed = 1 + random.below(holding.droppable);
      if (random.below(2) === 0) budget.free(holding, freed, true);
      else {
        budget.pin(holding, freed);
        budget.free(holding, freed, false);
      }
    }
    const most = Math.max(...holdings.map(({ droppable }) => droppable));
    const largest = budget.largest()?.droppable ?? 0;
    assert.ok(largest > most / 1.1 || most === 0, `${largest} of ${most}`);
  }
  assert.equal(budget.total, holdings.reduce((sum, { bytes }) => sum + bytes, 0));
  assert.equal(budget.holders, holdings.filter(({ bytes }) => bytes > 0).length);
});
