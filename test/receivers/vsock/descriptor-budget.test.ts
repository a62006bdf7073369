import assert from "node:assert/strict";
import { test } from "node:test";
import { DescriptorBudget, openFileLimit } from "../../../src/receivers/vsock/descriptor-budget.ts";
import type { StreamServer } from "../../../src/receivers/vsock/stream-server.ts";

/** Counts what it is told. */
class FakeServer implements StreamServer {
  readonly calls: string[] = [];
  resumes = true;
  pause(): void {
    this.calls.push("pause");
  }
  resume(): boolean {
    this.calls.push("resume");
    return this.resumes;
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}

function budget(openFiles: number) {
  const problems: string[] = [];
  const clock = { now: 1000 };
  const it = new DescriptorBudget(openFiles, (message) => problems.push(message), () => clock.now);
  return { it, problems, clock };
}

test("some descriptors are kept from guests: 96, of a small limit half", () => {
  assert.equal(budget(1024).it.limit, 928);
  assert.equal(budget(128).it.limit, 64);
  assert.equal(budget(21).it.limit, 10);
  assert.equal(budget(Infinity).it.limit, Infinity);
});

test("the last one taken pauses every server, the first one back resumes them", () => {
  const { it, problems } = budget(8);
  const [first, second] = [new FakeServer(), new FakeServer()];
  it.attach(first);
  it.attach(second);
  it.take();
  assert.deepEqual([first.calls, second.calls], [[], []]);
  assert.equal(problems.length, 0);
  it.take();
  assert.equal(it.used, 4);
  assert.deepEqual([first.calls, second.calls], [["pause"], ["pause"]]);
  assert.equal(problems.length, 1);
  assert.match(String(problems.at(0)), /^guests have used up the 4 file descriptors/);
  it.take();
  assert.deepEqual(first.calls, ["pause"]);
  it.release();
  assert.deepEqual(first.calls, ["pause"]);
  it.release();
  assert.deepEqual([first.calls, second.calls], [["pause", "resume"], ["pause", "resume"]]);
});

test("a server that comes while all are paused is paused too; one that goes makes room", () => {
  const { it } = budget(6);
  const [first, late] = [new FakeServer(), new FakeServer()];
  it.attach(first);
  it.take();
  it.take();
  it.attach(late);
  assert.deepEqual(late.calls, ["pause"]);
  it.release();
  assert.deepEqual(late.calls, ["pause"]);
  it.detach(first);
  assert.deepEqual([first.calls, late.calls], [["pause"], ["pause", "resume"]]);
});

test("a server that could not resume is asked again", () => {
  const { it } = budget(4);
  const server = new FakeServer();
  it.attach(server);
  it.take();
  it.take();
  server.resumes = false;
  it.release();
  assert.deepEqual(server.calls, ["pause"]);
  it.release();
  assert.deepEqual(server.calls, ["pause", "resume"]);
  server.resumes = true;
  it.take();
  it.release();
  assert.deepEqual(server.calls, ["pause", "resume", "resume"]);
});

test("guests that come and go at the limit are reported once a minute", () => {
  const { it, problems, clock } = budget(4);
  it.attach(new FakeServer());
  for (let round = 0; round < 10; round++) {
    it.take();
    it.release();
  }
  assert.equal(problems.length, 1);
  clock.now += 59_999;
  it.take();
  it.release();
  assert.equal(problems.length, 1);
  clock.now += 1;
  it.take();
  assert.equal(problems.length, 2);
});

test("the limit of open files is the soft one", () => {
  const limits = (soft: string) =>
    `Limit                     Soft Limit           Hard Limit           Units
Max processes             7839                 7839                 processes
Max open files            ${soft.padEnd(20)} 524288               files
Max locked memory         8388608              8388608              bytes
`;
  assert.equal(openFileLimit(limits("1024")), 1024);
  assert.equal(openFileLimit(limits("unlimited")), Infinity);
  assert.throws(() => openFileLimit("Limit\n"), { message: /no limit of open files/ });
  assert(openFileLimit() > 16);
});
