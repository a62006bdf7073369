import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { SandboxFinder } from "../../../src/receivers/vsock/sandbox-finder.ts";
import { FakeProc, qemuArguments } from "./fake-proc.ts";

/** A finder in a fake proc, with a clock that stands still, and what it told. */
function finderIn(proc: FakeProc) {
  const problems: string[] = [];
  const clock = { now: 0 };
  const finder = new SandboxFinder((message) => problems.push(message), {
    proc: proc.path,
    now: () => clock.now,
  });
  return { finder, problems, clock };
}

test("the sandbox is what the CID's process says", async () => {
  using proc = new FakeProc();
  for (let pid = 100; pid < 400; pid++) proc.add(pid, { arguments: ["sleep", "1"] });
  proc.add(50, { arguments: qemuArguments(7, "foo") });
  proc.add(5000, { arguments: qemuArguments(8, "bar") });
  const { finder, problems } = finderIn(proc);
  assert.deepEqual(
    await Promise.all([finder.find(7), finder.find(8), finder.find(9), finder.find(7)]),
    ["foo", "bar", undefined, "foo"],
  );
  assert.deepEqual(problems, []);
});

test("absent rather than wrong", async () => {
  using proc = new FakeProc();
  proc.setUptime(1000);
  // Two that do not agree.
  proc.add(1, { arguments: qemuArguments(11, "one") });
  proc.add(2, { arguments: qemuArguments(11, "two") });
  // Two that do.
  proc.add(3, { arguments: qemuArguments(12, "same") });
  proc.add(4, { arguments: qemuArguments(12, "same") });
  // Not older than the connection: who had the CID then is gone.
  proc.add(5, { arguments: qemuArguments(13, "young"), start: 1000 });
  proc.add(6, { arguments: qemuArguments(14, "older"), start: 999 });
  // Another user's, who may say anything.
  proc.add(7, { arguments: qemuArguments(15, "liar"), uid: 1000 });
  const { finder } = finderIn(proc);
  const found = await Promise.all([11, 12, 13, 14, 15].map((cid) => finder.find(cid)));
  assert.deepEqual(found, [undefined, "same", undefined, "older", undefined]);
});

test("a process that is gone, or that another one has taken the number of, is not believed", async () => {
  using proc = new FakeProc();
  proc.add(20, { arguments: qemuArguments(7, "first") });
  const { finder, clock } = finderIn(proc);
  assert.equal(await finder.find(7), "first");
  proc.remove(20);
  assert.equal(await finder.find(7), undefined);
  // The CID and the number are used again.
  clock.now += 2000;
  proc.add(20, { arguments: qemuArguments(7, "second"), start: 600 });
  assert.equal(await finder.find(7), "second");
  proc.add(20, { arguments: ["sleep"], start: 700 });
  assert.equal(await finder.find(7), undefined);
  clock.now += 2000;
  proc.add(21, { arguments: qemuArguments(7, "third"), start: 800 });
  assert.equal(await finder.find(7), "third");
});

test("what was found is believed without reading all processes again, as long as its process lives", async () => {
  using proc = new FakeProc();
  proc.add(20, { arguments: qemuArguments(7, "foo") });
  const { finder } = finderIn(proc);
  assert.equal(await finder.find(7), "foo");
  // Would make it absent, were all read.
  proc.add(21, { arguments: qemuArguments(7, "bar") });
  assert.equal(await finder.find(7), "foo");
});

test("a CID without a process is looked for once in a second", async () => {
  using proc = new FakeProc();
  const { finder, clock } = finderIn(proc);
  assert.equal(await finder.find(7), undefined);
  proc.add(20, { arguments: qemuArguments(7, "foo") });
  clock.now = 999;
  assert.equal(await finder.find(7), undefined);
  clock.now = 1000;
  assert.equal(await finder.find(7), "foo");
});

test("a scan that had begun before is not enough", async () => {
  using proc = new FakeProc();
  for (let pid = 100; pid < 200; pid++) proc.add(pid, { arguments: ["sleep", "1"] });
  // Each look at the clock is a turn's end: the scan waits in between.
  let now = 0;
  const finder = new SandboxFinder(() => {}, { proc: proc.path, now: () => now += 5 });
  const first = finder.find(1);
  await new Promise((resolve) => setImmediate(resolve));
  proc.add(20, { arguments: qemuArguments(7, "foo") });
  assert.equal(await finder.find(7), "foo");
  assert.equal(await first, undefined);
});

test("nobody waits longer than patience allows, nor after the stop", async () => {
  using proc = new FakeProc();
  for (let pid = 100; pid < 200; pid++) proc.add(pid, { arguments: ["sleep", "1"] });
  proc.add(20, { arguments: qemuArguments(7, "foo") });
  let now = 0;
  // Every process takes a turn of the event loop, and longer than the shortest timer can be late by.
  const slow = {
    proc: proc.path,
    now: () => {
      for (const until = performance.now() + 0.1; performance.now() < until;);
      return now += 5;
    },
  };
  const impatient = new SandboxFinder(() => {}, { ...slow, patienceMs: 0 });
  assert.equal(await impatient.find(7), undefined);
  const stopped = new SandboxFinder(() => {}, slow);
  const waiting = stopped.find(7);
  stopped.stop();
  assert.equal(await waiting, undefined);
  assert.equal(await stopped.find(7), undefined);
});

test("a proc file system that cannot be read costs the attribute, and is told", async () => {
  using proc = new FakeProc();
  proc.add(20, { arguments: qemuArguments(7, "foo") });
  const { finder, problems } = finderIn(proc);
  rmSync(join(proc.path, "uptime"));
  assert.equal(await finder.find(7), undefined);
  assert.deepEqual(problems, ["processes cannot be read to find a sandbox by its CID"]);
  writeFileSync(join(proc.path, "uptime"), "10.00 1.00\n");
  assert.equal(await finder.find(7), "foo");
});
