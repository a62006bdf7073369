import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { StoreReader } from "../../src/store/store-reader.ts";
import { MAX_SPANS_PER_SANDBOX, TraceStore } from "../../src/store/trace-store.ts";
import { SandboxIndex } from "../../src/view/sandbox-index.ts";
import { summaryView } from "../../src/view/sandbox-view.ts";
import { REAL_STREAMS } from "../decode/support/recorded-streams.ts";
import { agentRecords, incoming, madeUp, memoryStore, MIB, runtimeRecords } from "./support.ts";

const SANDBOX = "61770081df53a60a0ecbb336f4e3cec061770081df53a60a0ecbb336f4e3cec0";
const LIMITS = { maxBytes: 64 * MIB, keepMs: 3_600_000 };

function inDirectory(run: (file: string) => void): void {
  const directory = mkdtempSync(join(tmpdir(), "ktf-store-"));
  try {
    run(join(directory, "traces"));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function contents(store: TraceStore): Record<string, number> {
  return Object.fromEntries(new StoreReader(store).sandboxes().map(({ sid, spans }) => [sid, spans]));
}

for (const stream of REAL_STREAMS) {
  test(`what ${stream.file} holds is read as it was stored`, () => {
    const store = memoryStore();
    const records = agentRecords(stream, { "service.name": "kata-agent", "kata.sandbox.id": SANDBOX });
    assert.equal(store.add(incoming("guest", records)), stream.spans);
    const reader = new StoreReader(store);
    const sandbox = reader.sandbox(SANDBOX);
    assert.ok(sandbox !== undefined);
    assert.equal(sandbox.spans, stream.spans);
    const stored = new Map(
      [...reader.records(sandbox)].map((one) => [`${one.record.traceId}${one.record.spanId}`, one]),
    );
    for (const record of records) {
      const found = stored.get(`${record.traceId}${record.spanId}`);
      assert.ok(found !== undefined);
      assert.equal(found.side, "agent");
      for (const [index, { key, value }] of record.attributes.entries()) {
        const kept: (typeof record.attributes)[number] | undefined = found.record.attributes[index];
        assert.equal(kept?.key, key);
        const cut = found.cut.get(index);
        if (cut === undefined) assert.deepEqual(kept?.value, value);
        else {
          const whole: string = value.stringValue ?? "";
          const part: string = kept?.value.stringValue ?? "";
          assert.ok(whole.startsWith(part));
          assert.equal([...part].length + cut, [...whole].length);
        }
      }
      assert.deepEqual({ ...found.record, attributes: [] }, { ...record, attributes: [] });
    }
  });
}

test("the Go runtime's spans and their agent's are one sandbox of 42 spans, in whichever order they come", () => {
  const runtime = incoming("runtime", runtimeRecords("go-session"));
  const agent = incoming("file", runtimeRecords("collated-agent"));
  for (const order of [[...runtime, ...agent], [...agent, ...runtime], [...runtime, ...agent].reverse()]) {
    const store = memoryStore();
    store.add([...order, ...incoming("runtime", [madeUp({ id: 999 }, {}, { sandbox_id: SANDBOX })])]);
    const found = contents(store);
    const ids = Object.keys(found).filter((sid) => sid !== SANDBOX);
    assert.equal(ids.length, 1, JSON.stringify(found));
    assert.equal(found[ids[0] ?? ""], 42);
  }
});

test("the Rust runtime's recorded session is a sandbox, which is called like its service until its ID is known", () => {
  const store = memoryStore();
  store.add(incoming("runtime", runtimeRecords("rust-session")));
  assert.deepEqual(contents(store), { "kata-sb-9f3c51aa": 81 });
  const reader = new StoreReader(store);
  const index = new SandboxIndex(reader);
  const [stored] = reader.sandboxes();
  assert.ok(stored !== undefined);
  assert.equal(summaryView(stored, index.summary(stored)).state, "no-root");
  const id = `9f3c51aa${SANDBOX.slice(8)}`;
  store.setRunning({ sandbox: id });
  assert.deepEqual(contents(store), { [id]: 81 });
  assert.equal(reader.sandbox(id)?.isRunning, true);
});

test("the Rust runtime's spans stay by themselves while two sandboxes' IDs begin like their service", () => {
  const store = memoryStore();
  const service = { "service.name": "kata-sb-61770081" };
  const other = `61770081${"f".repeat(56)}`;
  store.add(incoming("guest", [madeUp({ id: 3 }, { "kata.sandbox.id": SANDBOX })]));
  store.add(incoming("guest", [madeUp({ id: 4 }, { "kata.sandbox.id": other })]));
  store.add(incoming("runtime", [madeUp({ id: 1 }, service), madeUp({ id: 2, parent: 1 }, service)]));
  assert.deepEqual(contents(store), { [SANDBOX]: 1, [other]: 1, "kata-sb-61770081": 2 });
});

test("a running guest of which only the CID is known still runs when its sandbox becomes known, until it ends", () => {
  const store = memoryStore();
  store.setRunning({ cid: 3 });
  store.add(incoming("guest", [madeUp({ id: 10 }, { "kata.vsock.cid": 3 })]));
  store.add(incoming("runtime", [madeUp({ id: 1 }, {}, { sandbox_id: SANDBOX })]));
  store.add(incoming("guest", [madeUp({ id: 11, parent: 1 }, { "kata.vsock.cid": 3 })]));
  assert.deepEqual(contents(store), { [SANDBOX]: 3 });
  const reader = new StoreReader(store);
  assert.equal(reader.sandbox(SANDBOX)?.isRunning, true);
  store.setEnded({ cid: 3 });
  assert.equal(reader.sandbox(SANDBOX)?.isRunning, false);
});

test("guests that have the same CID one after the other are two sandboxes, also after a restart", () => {
  inDirectory((file) => {
    const cid = { "kata.vsock.cid": 3 };
    const store = TraceStore.open(file, LIMITS);
    store.setRunning({ cid: 3 });
    store.add(incoming("guest", [madeUp({ id: 1 }, cid)]));
    store.setEnded({ cid: 3 });
    store.add(incoming("guest", [madeUp({ id: 2 }, cid)]));
    assert.deepEqual(contents(store), { "cid-3": 1, "cid-3-2": 1 });
    store.close();
    const again = TraceStore.open(file, LIMITS);
    again.add(incoming("guest", [madeUp({ id: 3 }, cid)]));
    assert.deepEqual(contents(again), { "cid-3": 1, "cid-3-2": 1, "cid-3-3": 1 });
    again.close();
  });
});

test("a guest cannot name another sandbox, nor its side", () => {
  const store = memoryStore();
  const forged = madeUp(
    { id: 5, parent: 1 },
    { "kata.sandbox.id": "b".repeat(64), "service.name": "containerd" },
    { sandbox_id: SANDBOX },
  );
  store.add(incoming("runtime", [madeUp({ id: 1 }, {}, { sandbox_id: SANDBOX })]));
  store.add(incoming("guest", [forged]));
  assert.deepEqual(contents(store), { [SANDBOX]: 1, ["b".repeat(64)]: 1 });
  const reader = new StoreReader(store);
  const other = reader.sandbox("b".repeat(64));
  assert.equal(other && reader.spans(other)[0]?.side, "agent");
});

test("a guest of which only the CID is known joins the sandbox that its spans' parents belong to", () => {
  const store = memoryStore();
  const cid = { "kata.vsock.cid": 3 };
  store.add(incoming("guest", [madeUp({ id: 10 }, cid)]));
  assert.deepEqual(contents(store), { "cid-3": 1 });
  store.add(incoming("runtime", [madeUp({ id: 1 }, {}, { sandbox_id: SANDBOX })]));
  store.add(incoming("guest", [madeUp({ id: 11, parent: 1 }, cid)]));
  assert.deepEqual(contents(store), { [SANDBOX]: 3 });
  store.add(incoming("guest", [madeUp({ id: 12, parent: 1 }, { "kata.vsock.cid": 4 })]));
  assert.deepEqual(contents(store), { [SANDBOX]: 3, "cid-4": 1 });
});

test("Firecracker's short ID is the sandbox's", () => {
  const store = memoryStore();
  store.add(incoming("runtime", [madeUp({ id: 1 }, {}, { sandbox_id: SANDBOX })]));
  store.add(incoming("guest", [madeUp({ id: 2 }, { "kata.sandbox.id": SANDBOX.slice(0, 32) })]));
  assert.deepEqual(contents(store), { [SANDBOX]: 2 });
});

test("a span that comes twice is stored once", () => {
  const store = memoryStore();
  const spans = incoming("guest", agentRecords(REAL_STREAMS[0]!, { "kata.sandbox.id": SANDBOX }));
  assert.equal(store.add(spans), spans.length);
  const bytes = store.database.usedBytes;
  assert.equal(store.add(spans), 0);
  assert.equal(store.database.usedBytes, bytes);
  assert.deepEqual(contents(store), { [SANDBOX]: spans.length });
});

test("spans beyond a sandbox's bound are counted, and no other sandbox's", () => {
  const store = memoryStore();
  const many = Array.from(
    { length: MAX_SPANS_PER_SANDBOX + 5 },
    (_, id) => madeUp({ id: id + 1 }, { "kata.sandbox.id": "a" }),
  );
  store.add(incoming("guest", many));
  store.add(incoming("guest", [madeUp({ id: 1 }, { "kata.sandbox.id": "b" })]));
  const [b, a] = new StoreReader(store).sandboxes().sort((x, y) => x.spans - y.spans);
  assert.deepEqual([a?.spans, a?.notKept, b?.spans, b?.notKept], [MAX_SPANS_PER_SANDBOX, 5, 1, 0]);
});

test("the sandbox that got no span for longest is removed first and whole, running ones last", () => {
  const store = memoryStore({ maxBytes: 2 * MIB, keepMs: 3_600_000 });
  const fill = (sid: string, nowMs: number): void => {
    const text = Array.from({ length: 300 }, (_, i) => `${i}:${Math.random()}`).join();
    store.add(
      incoming(
        "guest",
        Array.from(
          { length: 120 },
          (_, id) => madeUp({ id: id + 1 }, { "kata.sandbox.id": sid }, { note: `${sid}${id}${text}`.slice(0, 4000) }),
        ),
      ),
      nowMs,
    );
  };
  store.setRunning({ sandbox: "sandbox-0" }, 0);
  for (let i = 0; i < 8; i++) {
    fill(`sandbox-${i}`, 1000 + i);
    store.prune(2000);
    assert.ok(store.database.usedBytes <= 2.2 * MIB, `${store.database.usedBytes} bytes`);
  }
  const left = Object.keys(contents(store)).sort();
  assert.ok(left.includes("sandbox-0") && left.includes("sandbox-7") && !left.includes("sandbox-1"), left.join());
  store.setEnded({ sandbox: "sandbox-0" });
  store.prune(3_700_000);
  assert.deepEqual(contents(store), {});
});

test("names of operations that a guest makes up go with its spans", () => {
  const store = memoryStore();
  const names = (): unknown => store.database.all("SELECT count(*) AS count FROM op")[0]?.["count"];
  const spansOf = (sid: string, count: number) =>
    incoming(
      "guest",
      Array.from({ length: count }, (_, id) => ({
        ...madeUp({ id: id + 1 }, { "kata.sandbox.id": sid }),
        name: `${sid} ${id} ${"x".repeat(300)}`,
      })),
    );
  store.add(spansOf("flood", 12_000), 1000);
  store.add(spansOf("good", 3), 3_000_000);
  assert.equal(names(), 12_003);
  store.prune(3_700_000);
  assert.equal(names(), 3);
  assert.deepEqual(contents(store), { good: 3 });
  // What is remembered of names is right afterwards.
  store.add(spansOf("later", 2), 3_700_000);
  store.add(spansOf("good", 4), 3_700_000);
  assert.equal(names(), 6);
  assert.deepEqual(new StoreReader(store).sandboxes().map(({ sid, spans }) => [sid, spans]).sort(), [
    ["good", 4],
    ["later", 2],
  ]);
});

test("a store keeps what it had when it is opened again; nothing runs then", () => {
  inDirectory((file) => {
    const store = TraceStore.open(file, LIMITS, "kata-4.1");
    store.setRunning({ sandbox: "a" });
    store.add(incoming("guest", [madeUp({ id: 1 }, { "kata.sandbox.id": "a" })]));
    store.close();
    const again = TraceStore.open(file, LIMITS, "later");
    const [sandbox] = new StoreReader(again).sandboxes();
    assert.deepEqual([sandbox?.sid, sandbox?.label, sandbox?.isRunning, sandbox?.spans], ["a", "kata-4.1", false, 1]);
    again.close();
  });
});

test("when the file may not grow, nothing is stored, it is said, and what was there stays", () => {
  const store = memoryStore();
  store.add(incoming("guest", [madeUp({ id: 1 }, { "kata.sandbox.id": "a" })]));
  store.database.all("PRAGMA max_page_count = 30");
  const large = Array.from(
    { length: 500 },
    (_, i) => madeUp({ id: i + 2 }, { "kata.sandbox.id": "a" }, { i, note: "x".repeat(900) }),
  );
  assert.throws(() => store.add(incoming("guest", large)), { name: "StoreError", code: "full" });
  assert.match(store.problem ?? "", /free some space/);
  assert.deepEqual(contents(store), { a: 1 });
  store.database.all("PRAGMA max_page_count = 100000");
  assert.equal(store.add(incoming("guest", large)), 500);
  assert.equal(store.problem, undefined);
});

test("bytes that are not a span are left out, the others stored", () => {
  const store = memoryStore();
  const [good] = incoming("guest", [madeUp({ id: 1 }, { "kata.sandbox.id": "a" })]);
  assert.ok(good !== undefined);
  const bad = { kind: "guest", part: { ...good.part, span: Uint8Array.of(0x12, 0x05, 0xff) } } as const;
  assert.equal(store.add([bad, good]), 1);
});
