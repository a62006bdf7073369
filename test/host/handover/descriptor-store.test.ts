import assert from "node:assert/strict";
import { test } from "node:test";
import { DescriptorStore } from "../../../src/host/handover/descriptor-store.ts";
import type { ServiceManager } from "../../../src/host/service-manager.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";

/** A manager that says what it is told. */
function setUp(descriptorPlaces: number) {
  const told: string[] = [];
  const manager: ServiceManager = {
    descriptorPlaces,
    ready: () => {},
    status: () => {},
    stopping: () => {},
    storeDescriptor: (name, descriptor) => void told.push(`+${name}=${descriptor}`),
    removeDescriptor: (name) => void told.push(`-${name}`),
    flushed: () => Promise.resolve(true),
    close: () => {},
  };
  const log = new RecordingLogger();
  return { told, log, store: new DescriptorStore(manager, log) };
}

test("what is kept goes to the manager, and leaves it when it is released", () => {
  const { told, store } = setUp(10);
  assert.equal(store.persists, true);
  store.keep("a", "owner", () => 5);
  assert.deepEqual([store.outlives("a"), store.outlives("b")], [true, false]);
  store.keep("b", "owner", () => 6);
  assert.deepEqual(store.entries, [{ name: "a", descriptor: 5 }, { name: "b", descriptor: 6 }]);
  store.release("a");
  store.release("a");
  assert.deepEqual(told, ["+a=5", "+b=6", "-a"]);
  assert.deepEqual(store.entries, [{ name: "b", descriptor: 6 }]);
});

test("without a manager nothing persists, and a process that takes over is still given everything", () => {
  const { told, store } = setUp(0);
  store.keep("a", "owner", () => 5);
  assert.deepEqual([store.persists, store.outlives("a")], [false, false]);
  assert.deepEqual(store.entries, [{ name: "a", descriptor: 5 }]);
  store.release("a");
  assert.deepEqual([store.entries, told], [[], []]);
});

test("what was inherited is claimed once, and the manager is told of it again only when it is released", () => {
  const { told, store } = setUp(10);
  store.inherit([{ name: "a", descriptor: 3 }, { name: "b", descriptor: 4 }], true);
  assert.deepEqual(store.unclaimed, ["a", "b"]);
  assert.deepEqual([store.claim("a"), store.claim("a"), store.claim("c")], [3, undefined, undefined]);
  store.keep("a", "owner", () => 3);
  assert.deepEqual([store.unclaimed, store.outlives("a"), told], [["b"], true, []]);
  store.release("a");
  store.release("b");
  assert.deepEqual(told, ["-a", "-b"]);
});

test("what comes from another process is new to the manager", () => {
  const { told, store } = setUp(10);
  store.inherit([{ name: "a", descriptor: 3 }], false);
  store.keep("a", "owner", () => store.claim("a") ?? -1);
  assert.deepEqual(told, ["+a=3"]);
});

test("places run out, which is logged once, and come back", () => {
  const { told, log, store } = setUp(2);
  store.keep("a", "1", () => 1);
  store.keep("b", "2", () => 2);
  store.keep("c", "3", () => 3);
  store.keep("d", "4", () => 4);
  assert.deepEqual(log.records.map(({ level }) => level), ["warn"]);
  assert.match(log.records[0]?.message ?? "", /FileDescriptorStoreMax=/);
  assert.equal(store.outlives("c"), false);
  store.release("c");
  store.release("a");
  store.keep("e", "5", () => 5);
  assert.deepEqual(told, ["+a=1", "+b=2", "-a", "+e=5"]);
  assert.deepEqual(store.entries.map(({ name }) => name), ["b", "d", "e"]);
});

test("nobody keeps the places from others: a newcomer takes the latest of whoever has the most", () => {
  const { told, log, store } = setUp(4);
  for (let i = 0; i < 5; i++) store.keep(`x${i}`, "greedy", () => i);
  assert.deepEqual(told, ["+x0=0", "+x1=1", "+x2=2", "+x3=3"]);
  told.length = 0;
  store.keep("y0", "modest", () => 7);
  store.keep("y1", "modest", () => 8);
  // Both have two, so that neither takes any more from the other.
  store.keep("y2", "modest", () => 9);
  store.keep("x5", "greedy", () => 5);
  assert.deepEqual(told, ["-x3", "+y0=7", "-x2", "+y1=8"]);
  assert.deepEqual(["x1", "x2", "y1", "y2"].map((name) => store.outlives(name)), [true, false, true, false]);
  assert.equal(log.records.length, 1);
  // Those that lost their places are still given to a process that takes over.
  assert.equal(store.entries.length, 9);
});

test("all names together fit into one variable of the environment", () => {
  const { log, store } = setUp(10_000);
  for (let i = 0; i < 1000; i++) store.keep(`${i}`.padEnd(200, "x"), `${i}`, () => i);
  const stored = store.entries.filter(({ name }) => store.outlives(name)).map(({ name }) => name);
  const bytes = stored.join(":").length;
  assert.ok(bytes > 110_000 && bytes < 128 * 1024 - "LISTEN_FDNAMES=".length - 1, `${bytes} bytes`);
  assert.equal(log.records.length, 1);
});

test("a name that the manager would not take is a defect", () => {
  const { store } = setUp(1);
  assert.throws(() => store.keep("a:b", "x", () => 1), /a:b/);
});

test("once it is frozen, what is kept stays as it is", () => {
  const { told, store } = setUp(10);
  store.keep("a", "owner", () => 5);
  store.freeze();
  store.release("a");
  store.keep("b", "owner", () => 6);
  assert.deepEqual([told, store.outlives("a"), store.outlives("b")], [["+a=5"], true, false]);
});

test("what another process takes over leaves the manager, stays with it as duplicates, and all of it outlives", () => {
  const { told, store } = setUp(1);
  store.keep("a", "1", () => 5);
  store.keep("b", "2", () => 6);
  store.keepForTakeOver("socket", () => 7);
  assert.deepEqual(["a", "b", "socket"].map((name) => store.outlives(name)), [true, false, false]);
  store.beginTakeOver();
  store.keep("c", "3", () => 8);
  assert.deepEqual(["a", "b", "socket", "c"].map((name) => store.outlives(name)), [true, true, true, true]);
  store.detach((descriptor) => descriptor + 100);
  assert.deepEqual(store.entries.map(({ descriptor }) => descriptor), [105, 106, 107, 108]);
  assert.deepEqual(told, ["+a=5", "-a"]);
});
