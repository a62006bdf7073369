import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { StoreReader } from "../../src/store/store-reader.ts";
import { TraceStore } from "../../src/store/trace-store.ts";
import { startChild } from "../support/child.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";

const CHILD = new URL("./store-writer.child.ts", import.meta.url);
const LIMITS = { maxBytes: 2 ** 30, keepMs: 3_600_000 };

function spansIn(store: TraceStore): number {
  return new StoreReader(store).sandboxes().reduce((sum, { spans }) => sum + spans, 0);
}

/** A process that writes to a store, and how many spans it has said are stored. */
function startWriter(file: string) {
  const child = startChild(CHILD, file);
  let output = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => output += text);
  const closed = new Promise((resolve) => child.once("close", resolve));
  return { child, closed, stored: () => Number(output.trimEnd().split("\n").at(-1) ?? 0) };
}

test("a store that is killed at any moment has everything that was stored", async () => {
  using directory = temporaryDirectory();
  for (const spans of [10, 40, 130, 400, 900]) {
    const file = join(directory.path, `store-${spans}`);
    const writer = startWriter(file);
    await until(() => writer.stored() >= spans, `${spans} spans are stored`);
    writer.child.kill("SIGKILL");
    await writer.closed;
    const store = TraceStore.open(file, LIMITS);
    assert.ok(spansIn(store) >= writer.stored(), `${spansIn(store)} of ${writer.stored()}`);
    assert.equal(store.database.all("PRAGMA integrity_check")[0]?.["integrity_check"], "ok");
    store.close();
  }
});

test("a store is read while another process writes to it", async () => {
  using directory = temporaryDirectory();
  const file = join(directory.path, "store");
  const writer = startWriter(file);
  await until(() => writer.stored() > 0, "there is a store");
  const store = TraceStore.openForReading(file);
  let last = 0;
  for (let reads = 0; reads < 50; reads++) {
    const spans = spansIn(store);
    assert.ok(spans >= last && spans % 10 === 0, "each commit is seen as a whole");
    last = spans;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await until(() => spansIn(store) > last, "what comes later is seen");
  store.close();
  writer.child.kill("SIGKILL");
  await writer.closed;
});

test("a damaged store is refused with its name, or read as far as it can be, and never hangs", async () => {
  using directory = temporaryDirectory();
  const file = join(directory.path, "store");
  const writer = startWriter(file);
  await until(() => writer.stored() >= 300, "there is something in it");
  writer.child.kill("SIGKILL");
  await writer.closed;
  // Everything is in the file itself.
  TraceStore.open(file, LIMITS).close();
  const whole = readFileSync(file);
  for (let at = 100; at < whole.length; at += Math.ceil(whole.length / 40)) {
    const damaged = Uint8Array.from(whole);
    damaged.fill(0xa5, at, at + 300);
    writeFileSync(file, damaged);
    try {
      const store = TraceStore.open(file, LIMITS);
      try {
        const reader = new StoreReader(store);
        for (const sandbox of reader.sandboxes()) reader.spans(sandbox);
      } finally {
        store.close();
      }
    } catch (error) {
      assert.match(String(error), /store|malformed|corrupt|not a database|disk image|database/i);
    }
  }
});
