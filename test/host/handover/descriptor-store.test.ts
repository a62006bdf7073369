import assert from "node:assert/strict";
import { test } from "node:test";
import { DescriptorStore, MAX_DESCRIPTORS_OF_ONE } from "../../../src/host/handover/descriptor-store.ts";
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
  assert.deepEqual([store.isStored("a"), store.isStored("b")], [true, false]);
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
  assert.deepEqual([store.persists, store.isStored("a")], [false, false]);
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
  assert.deepEqual([store.unclaimed, store.isStored("a"), told], [["b"], true, []]);
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
  assert.equal(store.isStored("c"), false);
  store.release("c");
  store.release("a");
  store.keep("e", "5", () => 5);
  assert.deepEqual(told, ["+a=1", "+b=2", "-a", "+e=5"]);
  assert.deepEqual(store.entries.map(({ name }) => name), ["b", "d", "e"]);
});

test("nobody takes the places of others", () => {
  const { told, log, store } = setUp(1000);
  for (let i = 0; i < 2 * MAX_DESCRIPTORS_OF_ONE; i++) store.keep(`x${i}`, "greedy", () => i);
  assert.equal(told.length, MAX_DESCRIPTORS_OF_ONE);
  store.keep("y", "modest", () => 7);
  assert.equal(store.isStored("y"), true);
  store.release("x0");
  store.keep("z", "greedy", () => 8);
  assert.equal(store.isStored("z"), true);
  assert.deepEqual(log.records, []);
});

test("all names together fit into one variable of the environment", () => {
  const { log, store } = setUp(10_000);
  for (let i = 0; i < 1000; i++) store.keep(`${i}`.padEnd(200, "x"), `${i}`, () => i);
  const stored = store.entries.filter(({ name }) => store.isStored(name)).map(({ name }) => name);
  const bytes = stored.join(":").length;
  assert.ok(bytes > 110_000 && bytes < 128 * 1024 - "LISTEN_FDNAMES=".length - 1, `${bytes} bytes`);
  assert.equal(log.records.length, 1);
});

test("a name that the manager would not take is a defect", () => {
  const { store } = setUp(1);
  assert.throws(() => store.keep("a:b", "x", () => 1), /a:b/);
});
