import assert from "node:assert/strict";
import { test } from "node:test";
import type { Source } from "../../../src/pipeline/source.ts";
import { KnownSandboxes } from "../../../src/receivers/accounts/known-sandboxes.ts";
import { RecordingSink } from "../support/recording-sink.ts";

const guest = (id?: string): Source => ({
  kind: "guest",
  name: "guest",
  account: id ?? "unknown",
  attributes: id === undefined ? new Map([["kata.vsock.cid", 3]]) : new Map([["kata.sandbox.id", id]]),
});

test("a service of the Rust runtime is of the one sandbox whose ID begins as it says", () => {
  const known = new KnownSandboxes();
  const sink = known.watch(new RecordingSink());
  assert.equal(known.ofService("kata-sb-9f3c51aa"), undefined);
  sink.open(guest("9f3c51aa0000"));
  sink.open(guest("0f3c51aa0000"));
  sink.open(guest());
  assert.equal(known.ofService("kata-sb-9f3c51aa"), "9f3c51aa0000");
  for (const other of ["kata", "kata-sb-", "kata-sb-9f3c51a", "kata-sb-9f3c51aa0", "xkata-sb-9f3c51aa"]) {
    assert.equal(known.ofService(other), undefined, other);
  }
});

test("if two begin so, it is of neither", () => {
  const known = new KnownSandboxes();
  const sink = known.watch(new RecordingSink());
  sink.open(guest("9f3c51aa0000"));
  const second = sink.open(guest("9f3c51aa1111"));
  assert.equal(known.ofService("kata-sb-9f3c51aa"), undefined);
  second.close();
  // It is not forgotten at once.
  assert.equal(known.ofService("kata-sb-9f3c51aa"), undefined);
});

test("a sandbox is known for a while after its last source has gone, and there is a limit to that", () => {
  const known = new KnownSandboxes();
  const sink = known.watch(new RecordingSink());
  const first = sink.open(guest("9f3c51aa0000"));
  const second = sink.open(guest("9f3c51aa0000"));
  first.close();
  first.close();
  second.close();
  assert.equal(known.ofService("kata-sb-9f3c51aa"), "9f3c51aa0000");
  for (let i = 0; i < 1024; i++) sink.open(guest(`other-${i}`)).close();
  assert.equal(known.ofService("kata-sb-9f3c51aa"), undefined);
  sink.open(guest("9f3c51aa0000"));
  assert.equal(known.ofService("kata-sb-9f3c51aa"), "9f3c51aa0000");
});

test("those whose runtimes run are known too, and each new one is told of", () => {
  const known = new KnownSandboxes();
  const sink = known.watch(new RecordingSink());
  let told = 0;
  const unsubscribe = known.subscribe(() => told++);
  known.noteRunning(new Set(["9f3c51aa0000", "0f3c51aa0000"]));
  assert.equal(known.ofService("kata-sb-9f3c51aa"), "9f3c51aa0000");
  assert.equal(told, 1);
  sink.open(guest("9f3c51aa0000"));
  sink.open(guest("9f3c51aa0000"));
  assert.equal(told, 2);
  // The same one twice is one.
  assert.equal(known.ofService("kata-sb-9f3c51aa"), "9f3c51aa0000");
  known.noteRunning(new Set(["9f3c51aa1111"]));
  assert.equal(known.ofService("kata-sb-9f3c51aa"), undefined);
  assert.equal(known.ofService("kata-sb-0f3c51aa"), undefined);
  unsubscribe();
  sink.open(guest("other"));
  assert.equal(told, 3);
});

test("everything else is handed through", async () => {
  const behind = new RecordingSink();
  const sink = new KnownSandboxes().watch(behind);
  const opened = sink.open(guest("id"));
  assert.equal(behind.sources[0]?.source.account, "id");
  await opened.settled();
  opened.close();
  assert.equal(behind.sources[0]?.isClosed, true);
  behind.paused.add("id");
  assert.equal(sink.isPaused("id"), true);
  assert.equal(await sink.drain(1), 0);
});
