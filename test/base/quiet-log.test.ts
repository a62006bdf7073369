import assert from "node:assert/strict";
import { test } from "node:test";
import { EventLog, StateLog } from "../../src/base/quiet-log.ts";
import { until } from "../support/until.ts";

/** Longer than any test. */
const NEVER = 1_000_000;

function recorder(): { lines: string[]; begun: () => void; ended: (s: number, n: number) => void } {
  const lines: string[] = [];
  return {
    lines,
    begun: () => lines.push("begun"),
    ended: (seconds, times) => {
      assert.ok(seconds >= 0 && seconds < 60, `${seconds} s`);
      lines.push(`ended after ${times}`);
    },
  };
}

test("the begin and the end of a state are logged once each, at once", () => {
  const lines = recorder();
  const log = new StateLog(lines, NEVER);
  log.set(false);
  log.set(true);
  log.set(true);
  assert.deepEqual(lines.lines, ["begun"]);
  assert.equal(log.active, true);
  log.set(false);
  assert.deepEqual(lines.lines, ["begun", "ended after 1"]);
  log.close();
  assert.equal(lines.lines.length, 2);
});

test("a flapping state is not logged again until it settles, and then as it is", async () => {
  const lines = recorder();
  const log = new StateLog(lines, 30);
  for (let i = 0; i < 50; i++) {
    log.set(true);
    log.set(false);
  }
  log.set(true);
  assert.deepEqual(lines.lines, ["begun", "ended after 1"]);
  await until(() => lines.lines.length === 3);
  assert.equal(lines.lines[2], "begun");
  log.set(false);
  await until(() => lines.lines.length === 4);
  assert.equal(lines.lines[3], "ended after 50");
});

test("a state log writes what it has held back when it is closed", () => {
  const lines = recorder();
  const log = new StateLog(lines, NEVER);
  log.set(true);
  log.set(false);
  log.set(true);
  assert.equal(lines.lines.length, 2);
  log.close();
  assert.deepEqual(lines.lines.slice(2), ["begun"]);
  log.close();
  assert.equal(lines.lines.length, 3);
});

test("an event is logged at once, then summed up", async () => {
  const lines: string[] = [];
  const log = new EventLog((spans, detail) => lines.push(`${spans} ${detail}`), 20);
  log.note(1, "a");
  log.note(2, "b");
  log.note(3, "c");
  assert.deepEqual(lines, ["1 a"]);
  await until(() => lines.length === 2);
  assert.equal(lines[1], "5 c");
  log.note(7, "d");
  log.close();
  assert.equal(lines.at(-1), "7 d");
  log.close();
  assert.equal(lines.length, 3);
});

test("events without a detail are logged too", async () => {
  const lines: string[] = [];
  const log = new EventLog((spans, detail) => lines.push(`${spans} ${detail}`), 20);
  for (const spans of [1, 2, 3]) log.note(spans, "");
  await until(() => lines.length === 2);
  log.note(4, "");
  log.close();
  assert.deepEqual(lines, ["1 ", "5 ", "4 "]);
});
