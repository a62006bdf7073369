import assert from "node:assert/strict";
import { test } from "node:test";
import { MOST_UNREAD_MS, TICK_MS } from "../../../src/receivers/vsock/receiver.ts";
import { encodeBincode } from "../../decode/support/bincode-encoder.ts";
import { concatenate, fixture, frame } from "../../decode/support/fixtures.ts";
import { FakeConnection, setUp } from "./support.ts";

const [SPAN = new Uint8Array()] = fixture("session-isolated").expected.map((record) => frame(encodeBincode(record)));

function spans(count: number): Uint8Array {
  return concatenate(Array<Uint8Array>(count).fill(SPAN));
}

/** Lets time pass as it does while the process runs. */
function pass(receiver: ReturnType<typeof setUp>["receiver"], ms: number): void {
  for (const end = receiver.time + ms; receiver.time < end;) {
    receiver.time += TICK_MS;
    receiver.tick();
  }
}

test("a guest that delivery pauses is read on before its agent gives an export up, and so until the pause ends", () => {
  const { receiver, sink } = setUp();
  const connections = ["vsock:3:1", "vsock:3:2", "vsock:4:1"].map((name) => new FakeConnection(name));
  const guests = connections.map((connection) => receiver.accept(connection));
  const paused = () => connections.map(({ isPaused }) => isPaused);
  sink.setAccountPaused("vsock:3", true);
  pass(receiver, MOST_UNREAD_MS - TICK_MS);
  assert.deepEqual([paused(), sink.readOnAccounts], [[true, true, false], []]);
  pass(receiver, TICK_MS);
  assert.deepEqual([paused(), sink.readOnAccounts], [[false, false, false], ["vsock:3"]]);
  guests[0]?.data(spans(2));
  // A connection that comes now is not paused either, and a notice that it is still paused changes nothing.
  const late = new FakeConnection("vsock:3:3");
  receiver.accept(late);
  sink.setAccountPaused("vsock:3", true);
  pass(receiver, 60_000);
  assert.deepEqual([paused(), late.isPaused, sink.readOnAccounts], [[false, false, false], false, ["vsock:3"]]);
  assert.deepEqual(sink.accepted.slice(0, 1), [2]);
  // The next pause is one of its own.
  sink.setAccountPaused("vsock:3", false);
  sink.setAccountPaused("vsock:3", true);
  assert.deepEqual([paused(), late.isPaused], [[true, true, false], true]);
  pass(receiver, MOST_UNREAD_MS);
  assert.deepEqual(sink.readOnAccounts, ["vsock:3", "vsock:3"]);
  receiver.close();
});

test("pauses of several kinds together last no longer than one", () => {
  const { receiver, sink } = setUp({ maxSpansPerSecond: 1 });
  const connection = new FakeConnection("vsock:3:1");
  const guest = receiver.accept(connection);
  guest.data(spans(15));
  assert.equal(connection.isPaused, true);
  pass(receiver, 10_000);
  sink.setAccountPaused("vsock:3", true);
  pass(receiver, MOST_UNREAD_MS - 10_000);
  assert.equal(connection.isPaused, false);
  assert.deepEqual(sink.readOnAccounts, ["vsock:3"]);
  receiver.close();
});

test("what a guest sends over its rate, and cannot be paused for, is dropped and counted for every destination", () => {
  const { receiver, sink, metrics, vsock, log } = setUp({ maxSpansPerSecond: 10 });
  const destinations = ["collector", "store"].map((name) => metrics.destination(name));
  const connection = new FakeConnection("vsock:3:1");
  const guest = receiver.accept(connection);
  // A second's worth, and fifteen in advance.
  guest.data(spans(170));
  assert.deepEqual(sink.accepted, [160]);
  assert.deepEqual(destinations.map(({ dropped }) => dropped), [{ "paused-too-long": 10 }, { "paused-too-long": 10 }]);
  assert.equal(vsock.received, 170);
  const told = log.records.filter(({ message }) => message.startsWith("guest is over its rate for too long"));
  assert.deepEqual(told[0]?.fields, { guest: "vsock:3:1", limit: 10, seconds: 15 });
  receiver.close();
});
