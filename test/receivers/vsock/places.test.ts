import assert from "node:assert/strict";
import { test } from "node:test";
import { TICK_MS } from "../../../src/receivers/vsock/receiver.ts";
import { FakeConnection, setUp } from "./support.ts";

/** Connections of one guest, from so many ports. */
function connections(cid: number, count: number): FakeConnection[] {
  return Array.from({ length: count }, (_, i) => new FakeConnection(`vsock:${cid}:${1024 + i}`));
}

test("a guest that has taken all places makes room for others, down to its share", () => {
  const { receiver, metrics, log } = setUp({ maxGuests: 10 });
  const greedy = connections(3, 10);
  for (const [i, connection] of greedy.entries()) {
    receiver.time = 1000 + i;
    receiver.accept(connection);
  }
  const others = connections(4, 6);
  for (const connection of others) receiver.accept(connection);
  // Five each: then neither takes from the other.
  assert.deepEqual(others.map(({ isDestroyed }) => isDestroyed), [
    ...Array<boolean>(5).fill(false),
    true,
  ]);
  assert.deepEqual(greedy.map(({ isDestroyed }) => isDestroyed), [
    ...Array<boolean>(5).fill(true),
    ...Array<boolean>(5).fill(false),
  ]);
  assert.equal(metrics.guestsConnected, 10);
  assert.deepEqual(metrics.disconnected, { "max-guests": 6 });
  const told = log.records.find(({ message }) => message === "guest disconnected");
  assert.equal(told?.fields?.["guest"], "vsock:3:1024");
  assert.match(String(told?.fields?.["reason"]), /all 10 places .*--max-guests.*, 10 of them/);
});

test("the connection that has been silent for longest goes", () => {
  const { receiver } = setUp({ maxGuests: 3 });
  const greedy = connections(3, 3);
  const guests = greedy.map((connection) => receiver.accept(connection));
  receiver.time += 1000;
  guests[0]?.data(Uint8Array.of(0));
  guests[2]?.data(Uint8Array.of(0));
  receiver.accept(new FakeConnection("vsock:4:1024"));
  assert.deepEqual(greedy.map(({ isDestroyed }) => isDestroyed), [false, true, false]);
});

test("where no guest has more places than others, one goes that is stuck in a frame, if any is", () => {
  const { receiver, metrics, log } = setUp({ maxGuests: 3, frameTimeoutMs: 1000 });
  const taken = [3, 4, 5].map((cid) => new FakeConnection(`vsock:${cid}:1024`));
  const guests = taken.map((connection) => receiver.accept(connection));
  const refused = new FakeConnection("vsock:6:1024");
  receiver.accept(refused);
  guests[1]?.data(Uint8Array.of(0));
  for (let i = 0; i < 3; i++) {
    receiver.time += TICK_MS;
    receiver.tick();
  }
  receiver.accept(new FakeConnection("vsock:6:1025"));
  assert.equal(refused.isDestroyed, true);
  assert.deepEqual(taken.map(({ isDestroyed }) => isDestroyed), [false, true, false]);
  assert.deepEqual(metrics.disconnected, { "max-guests": 1, "frame-timeout": 1 });
  const told = log.records.find(({ message }) => message === "guest disconnected");
  assert.match(String(told?.fields?.["reason"]), /--max-guests.*--frame-timeout/);
  receiver.close();
});

test("a connection that the other end has closed keeps no place, though it is paused and not read to its end", () => {
  const { receiver, metrics, sink } = setUp({ maxGuests: 3 });
  const taken = connections(3, 3);
  const guests = taken.map((connection) => receiver.accept(connection));
  sink.setPaused(true);
  const [first, second] = taken;
  assert.ok(first !== undefined && second !== undefined);
  first.isClosed = second.isClosed = true;
  const later = connections(4, 2);
  for (const connection of later) receiver.accept(connection);
  assert.deepEqual(metrics.disconnected, {});
  assert.deepEqual([...taken, ...later].map(({ isPaused }) => isPaused), [false, false, true, true, true]);
  assert.equal(metrics.guestsConnected, 3);
  // They are read to their end, whatever is paused meanwhile.
  sink.setPaused(true);
  assert.equal(first.isPaused, false);
  for (const guest of guests) guest.end();
  assert.equal(metrics.guestsConnected, 2);
  receiver.close();
});

test("no more closed connections than there are places wait without one to be read to their end", () => {
  const { receiver, metrics, sink } = setUp({ maxGuests: 3 });
  sink.setPaused(true);
  const all = connections(3, 10);
  const guests = all.map((connection) => {
    // It leaves at once, and the places are looked at each time.
    connection.isClosed = true;
    receiver.time += 1000;
    return receiver.accept(connection);
  });
  // Three that have left are read to their end, three have places, and the rest is refused.
  assert.deepEqual(all.map(({ isDestroyed }) => isDestroyed), [
    ...Array<boolean>(6).fill(false),
    ...Array<boolean>(4).fill(true),
  ]);
  assert.deepEqual(all.slice(0, 6).map(({ isPaused }) => isPaused), [false, false, false, true, true, true]);
  assert.equal(metrics.guestsConnected, 3);
  // Another guest gets a place nevertheless.
  const other = new FakeConnection("vsock:4:1024");
  receiver.accept(other);
  assert.deepEqual([other.isDestroyed, metrics.disconnected], [false, { "max-guests": 5 }]);
  // Once one of them has been read to its end, there is room for another one.
  guests[0]?.end();
  receiver.time += 1000;
  const later = new FakeConnection("vsock:3:9999");
  receiver.accept(later);
  assert.deepEqual([later.isDestroyed, metrics.guestsConnected], [false, 3]);
  receiver.close();
});

test("who leaves gives its place back: it is not counted any more", () => {
  const { receiver, metrics } = setUp({ maxGuests: 4 });
  const guests = connections(3, 4).map((connection) => receiver.accept(connection));
  for (const guest of guests) {
    guest.end();
    guest.end();
  }
  const later = connections(4, 4);
  for (const connection of later) receiver.accept(connection);
  const mine = new FakeConnection("vsock:3:9999");
  receiver.accept(mine);
  assert.deepEqual([mine.isDestroyed, later.filter(({ isDestroyed }) => isDestroyed).length], [
    false,
    1,
  ]);
  assert.equal(metrics.guestsConnected, 4);
});

/** Counts how often it is looked at when each of the guests came to be silent. */
function countLooks(guests: readonly object[]): () => number {
  let looks = 0;
  for (const [i, guest] of guests.entries()) {
    Object.defineProperty(guest, "lastData", { get: () => (looks++, i) });
  }
  return () => looks;
}

test("a refused connection does not have all others looked at", () => {
  const { receiver, metrics } = setUp({ maxGuests: 1000 });
  const looks = countLooks(connections(3, 1000).map((connection) => receiver.accept(connection)));
  for (const connection of connections(3, 100)) receiver.accept(connection);
  assert.deepEqual(metrics.disconnected, { "max-guests": 100 });
  const before = looks();
  assert.ok(before <= 2000, `looked ${before} times`);
  for (const connection of connections(3, 1000)) receiver.accept(connection);
  assert.equal(looks(), before);
  receiver.close();
});

test("a connection that takes a guest's place has a bounded number of that guest's looked at", () => {
  const { receiver, metrics } = setUp({ maxGuests: 1000 });
  const looks = countLooks(connections(3, 1000).map((connection) => receiver.accept(connection)));
  const newcomers = connections(4, 100);
  for (const connection of newcomers) receiver.accept(connection);
  assert.ok(newcomers.every(({ isDestroyed }) => !isDestroyed));
  assert.deepEqual(metrics.disconnected, { "max-guests": 100 });
  // Two looks compare two connections.
  assert.ok(looks() <= 100 * 2 * 64, `looked ${looks()} times`);
  receiver.close();
});
