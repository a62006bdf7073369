import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { SavedSandbox } from "../../../src/processors/join-traces/joined-sandbox.ts";
import { SandboxFile } from "../../../src/processors/join-traces/sandbox-file.ts";
import { attribute, encodedSpans } from "../../otlp/support/encoded.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";
import { guest, Joining } from "./support.ts";

/** A sandbox that misses so many parents, each known with a resource of so many bytes. */
function sandbox(key: string, missing = 0, resourceBytes = 0): SavedSandbox {
  const attributes = new Map<string, string | number>([["kata.sandbox.id", key], ["kata.vsock.cid", 3]]);
  const source = { kind: "guest", name: key, account: key, attributes } as const;
  const resource = new Uint8Array(resourceBytes).fill(7);
  return {
    key,
    attributes,
    start: 5n,
    end: 9n,
    hasGuest: true,
    hasRuntime: false,
    missing: new Map(
      Array.from({ length: missing }, (_, id) => [`parent${id}`, { source, resource, start: BigInt(id), end: 100n }]),
    ),
  };
}

/** Writes it to its end, and returns in how many pieces. */
function run(saving: Generator<void>): number {
  let pieces = 1;
  while (saving.next().done !== true) pieces++;
  return pieces;
}

function plain(sandboxes: readonly SavedSandbox[]): unknown {
  return sandboxes.map((each) => ({
    ...each,
    missing: [...each.missing].map(([id, parent]) => [id, { ...parent, resource: [...parent.resource] }]),
  }));
}

test("many sandboxes are written in pieces, and read as they were", () => {
  using directory = temporaryDirectory();
  const file = new SandboxFile(join(directory.path, "file"), new RecordingLogger());
  for (const [count, missing] of [[0, 0], [1, 2], [40, 64], [1000, 1]] as const) {
    const running = Array.from({ length: count }, (_, at) => sandbox(`box ${at}`, missing, 200));
    const pieces = run(file.save(running, ["ended", "before"]));
    const { size } = statSync(join(directory.path, "file"));
    assert.ok(pieces >= size / (2 * 64 * 1024), `${pieces} pieces of ${size} bytes`);
    const loaded = file.load();
    assert.deepEqual(plain(loaded.running), plain(running));
    assert.deepEqual(loaded.ended, ["ended", "before"]);
  }
});

test("until it is whole, the file before stays in its place", () => {
  using directory = temporaryDirectory();
  const file = new SandboxFile(join(directory.path, "file"), new RecordingLogger());
  run(file.save([sandbox("before")], []));
  const running = Array.from({ length: 100 }, (_, at) => sandbox(`box ${at}`, 64));
  const saving = file.save(running, []);
  saving.next();
  assert.deepEqual(file.load().running.map(({ key }) => key), ["before"]);
  saving.return(undefined);
  assert.deepEqual(file.load().running.map(({ key }) => key), ["before"]);
  run(file.save(running, []));
  assert.equal(file.load().running.length, 100);
});

test("a sandbox has 16 KiB of resources of missing parents in the file at most, and 64 parents", () => {
  using directory = temporaryDirectory();
  const file = new SandboxFile(join(directory.path, "file"), new RecordingLogger());
  run(file.save([sandbox("small", 1000, 100), sandbox("large", 1000, 4000)], []));
  assert.deepEqual(file.load().running.map(({ missing }) => missing.size), [64, 4]);
});

test("sandboxes of a running process are written in several turns, and at once when it stops", async () => {
  using directory = temporaryDirectory();
  const path = join(directory.path, "file");
  const joining = new Joining(path);
  const keys = Array.from({ length: 400 }, (_, at) => `sandbox-${at}-${"x".repeat(400)}`);
  for (const key of keys) {
    const span = { traceId: Array(16).fill(1), spanId: Array(8).fill(2), name: "n", attributes: [attribute("k", "v")] };
    joining.join.open(guest(key)).accept(encodedSpans([{ span }]));
  }
  const written = (): string[] =>
    new SandboxFile(path, new RecordingLogger()).load().running.map(({ key }) => key).sort();
  joining.pass(1_000);
  assert.deepEqual(written(), [], "it is not whole after the first piece");
  while (written().length === 0) await nextTurn();
  assert.deepEqual(written(), [...keys].sort());
  joining.join.open(guest("another")).accept(encodedSpans([{ span: { traceId: Array(16).fill(1), name: "n" } }]));
  joining.pass(1_000);
  joining.join.stopping(true);
  assert.deepEqual(written(), [...keys, "another"].sort());
  for (let turn = 0; turn < 20; turn++) await nextTurn();
  assert.deepEqual(written(), [...keys, "another"].sort());
});
