import assert from "node:assert/strict";
import { test } from "node:test";
import { Silence, SILENCE_INTERVAL_MS } from "../../../src/receivers/vsock/silence.ts";

test("lasts once nothing has come for long enough, in enough turns", () => {
  const silence = new Silence();
  const heard: boolean[] = [];
  for (let turn = 0; turn < 6; turn++) {
    heard.push(silence.lasts(7, 1000 + turn * SILENCE_INTERVAL_MS));
  }
  assert.deepEqual(heard, [false, false, false, false, true, true]);
});

test("time alone proves nothing: the sockets have to have been looked at", () => {
  const silence = new Silence();
  const heard = [0, 60_000, 60_001, 60_002, 60_003].map((now) => silence.lasts(7, now));
  assert.deepEqual(heard, [false, false, false, false, true]);
});

test("turns alone prove nothing either", () => {
  const silence = new Silence();
  for (let turn = 0; turn < 100; turn++) assert.equal(silence.lasts(7, turn / 10), false);
});

test("starts again when something comes, and when nothing could come", () => {
  for (const interrupt of ["count", "broken"]) {
    const silence = new Silence();
    let now = 0;
    const turns = (count: number): boolean[] =>
      Array.from({ length: 5 }, () => silence.lasts(count, now += SILENCE_INTERVAL_MS));
    assert.deepEqual(turns(1), [false, false, false, false, true]);
    if (interrupt === "broken") silence.broken();
    assert.deepEqual(
      turns(interrupt === "broken" ? 1 : 2),
      [false, false, false, false, true],
      interrupt,
    );
  }
});
