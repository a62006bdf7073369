import assert from "node:assert/strict";
import { test } from "node:test";
import { Metrics } from "../../../src/pipeline/metrics.ts";
import { SpanProcessor } from "../../../src/processors/span-processor.ts";
import { socketSource } from "../../../src/receivers/vsock/identity.ts";
import { MAX_INVALID_AT_ONCE } from "../../../src/receivers/accounts/guest-account.ts";
import { encodeBincode } from "../../decode/support/bincode-encoder.ts";
import { concatenate, fixture, frame } from "../../decode/support/fixtures.ts";
import { bytesField } from "../../decode/support/otlp-message.ts";
import { IDS, repeated } from "../../hostile/payloads.ts";
import { deliveryTo, sendStream } from "../../hostile/requests.ts";
import { until } from "../../support/until.ts";
import { FakeConnection, setUp } from "./support.ts";

const [SPAN = new Uint8Array()] = fixture("session-isolated").expected.map((record) => frame(encodeBincode(record)));

function spans(count: number): Uint8Array {
  return concatenate(Array<Uint8Array>(count).fill(SPAN));
}

test("the spans of a request are handed on in parts, however many it has", async () => {
  for (const kib of [200, 500, 1000]) {
    const tiny = bytesField(2, IDS);
    const request = bytesField(1, bytesField(2, repeated(tiny, kib * 1024)));
    const metrics = new Metrics();
    const counts: number[] = [];
    const sink = new SpanProcessor(deliveryTo(metrics), () => ({ count }) => counts.push(count));
    const { received, invalid } = await sendStream(new Uint8Array(frame(request)), sink, metrics);
    assert.deepEqual([received, invalid], [Math.floor(kib * 1024 / tiny.length), 0]);
    assert.equal(counts.reduce((sum, count) => sum + count), received);
    // 64 KiB each.
    const most = Math.ceil(64 * 1024 / tiny.length);
    assert.ok(counts.every((count) => count <= most), `${counts}`);
  }
});

test("spans are counted and handed on; garbage is counted, logged and skipped", () => {
  const { receiver, sink, metrics, vsock, log } = setUp();
  const guest = receiver.accept(new FakeConnection("vsock:3:1026"));
  guest.data(concatenate([spans(2), frame(new Uint8Array(200).fill(0xee)), spans(1)]));
  assert.deepEqual(sink.accepted, [3]);
  assert.equal(metrics.received, 4);
  assert.deepEqual(vsock.invalid, { "invalid-tag": 1 });
  assert.deepEqual(vsock.payloads, { bincode: 3 });
  const { level, fields } = log.records.find(({ message }) => message.startsWith("invalid")) ??
    assert.fail("nothing is logged");
  assert.equal(level, "warn");
  assert.equal(fields?.["guest"], "vsock:3:1026");
  assert.equal(fields?.["reason"], "invalid-tag");
  assert.equal(typeof fields?.["offset"], "number");
});

test("the end of a stream inside a frame is one invalid payload, but not of one that was skipped", () => {
  for (
    const [bytes, invalid] of [
      [SPAN.subarray(0, 3), { truncated: 1 }],
      [SPAN.subarray(0, 30), { truncated: 1 }],
      [new Uint8Array(100).fill(0xff), { "too-large": 1 }],
      [new Uint8Array(0), {}],
      [SPAN, {}],
    ] as const
  ) {
    const { receiver, sink, metrics, vsock } = setUp();
    const guest = receiver.accept(new FakeConnection());
    guest.data(bytes);
    guest.end();
    guest.end();
    assert.deepEqual(vsock.invalid, invalid);
    assert.deepEqual(sink.closed, [0]);
    assert.equal(metrics.guestsConnected, 0);
  }
});

test("after its end a guest's bytes count for nothing", () => {
  const { receiver, sink, metrics } = setUp();
  const guest = receiver.accept(new FakeConnection());
  guest.end(new Error("reset"));
  guest.data(SPAN);
  assert.deepEqual(sink.accepted, [0]);
  assert.equal(metrics.received, 0);
});

test("a defect that a guest's bytes find costs that guest alone, and is told", () => {
  const { receiver, sink, log } = setUp();
  const [bad, good] = [new FakeConnection("bad"), new FakeConnection("good")];
  const guest = receiver.accept(bad);
  sink.onAccept = () => {
    throw new RangeError("of the test");
  };
  guest.data(spans(2));
  sink.onAccept = () => {};
  receiver.accept(good).data(spans(1));
  assert.deepEqual([bad.isDestroyed, good.isDestroyed], [true, false]);
  assert.deepEqual(sink.closed, [0]);
  const record = log.records.find(({ level }) => level === "error") ?? assert.fail("not told");
  assert.equal(record.fields?.["guest"], "bad");
  assert.match(String(record.fields?.["error"]), /RangeError: of the test\n +at /);
});

test("guests are not read while delivery is paused, nor those that come then", () => {
  const { receiver, sink } = setUp();
  const [first, second] = [new FakeConnection(), new FakeConnection()];
  receiver.accept(first);
  sink.setPaused(true);
  receiver.accept(second);
  assert.deepEqual([first.isPaused, second.isPaused], [true, true]);
  sink.setPaused(true);
  sink.setPaused(false);
  assert.deepEqual([first.isPaused, second.isPaused], [false, false]);
});

test("a chunk is read to its end although delivery fills up within it: nothing is lost", () => {
  const { receiver, sink } = setUp();
  const connection = new FakeConnection();
  const guest = receiver.accept(connection);
  sink.onAccept = () => sink.setPaused(true);
  guest.data(spans(5));
  assert.equal(connection.isPaused, true);
  assert.deepEqual(sink.accepted, [5]);
});

test("a guest that is paused for two reasons is read when both have gone", async () => {
  const { receiver, sink, metrics } = setUp({ maxSpansPerSecond: 100 });
  const connection = new FakeConnection();
  const guest = receiver.accept(connection);
  // Two spans more than the bucket holds: 20 ms.
  guest.data(spans(102));
  sink.setPaused(true);
  receiver.time += 20;
  await new Promise((resolve) => setTimeout(resolve, 60));
  assert.equal(connection.isPaused, true);
  sink.setPaused(false);
  assert.equal(connection.isPaused, false);
  // Each pause is counted, the log tells once.
  guest.data(spans(1));
  assert.equal(metrics.rateLimitPauses, 2);
  guest.end();
});

const RUBBISH = frame(new Uint8Array(1));

function rubbish(count: number): Uint8Array {
  return concatenate(Array<Uint8Array>(count).fill(RUBBISH));
}

test("who sends rubbish faster than it is worth looking at is disconnected; nobody else is", () => {
  const { receiver, sink, metrics, vsock, log } = setUp();
  const connections = ["vsock:3:1", "vsock:3:2", "vsock:4:1"].map((peer) => new FakeConnection(peer));
  const [bad, good, other] = connections.map((connection) => receiver.accept(connection));
  const gone = () => connections.map(({ isDestroyed }) => isDestroyed);
  const most = { truncated: MAX_INVALID_AT_ONCE };

  bad?.data(concatenate([spans(1), rubbish(MAX_INVALID_AT_ONCE)]));
  assert.deepEqual([gone(), vsock.invalid], [[false, false, false], most]);
  // Of what comes in one chunk no more is looked at than that; what came before stays.
  most.truncated++;
  bad?.data(concatenate([spans(2), rubbish(1000), spans(5), frame(new Uint8Array(9_000_000))]));
  assert.deepEqual([gone(), vsock.invalid], [[true, false, false], most]);
  assert.deepEqual(metrics.disconnected, { "invalid-rate": 1 });
  const told = log.records.filter(({ message }) => message === "guest disconnected");
  assert.deepEqual(told.map(({ fields }) => [fields?.["guest"], fields?.["reason"]]), [
    ["vsock:3:1", "its guest sends more than 10000 invalid payloads a second"],
  ]);

  good?.data(spans(3));
  other?.data(concatenate([RUBBISH, spans(1)]));
  assert.deepEqual(gone(), [true, false, false]);
  assert.deepEqual(sink.accepted, [3, 3, 1]);
  assert.equal(metrics.received, 7 + MAX_INVALID_AT_ONCE + 2);
  // It gains nothing by another connection, or a new one, until it has paid.
  good?.data(concatenate([RUBBISH, RUBBISH, spans(1)]));
  assert.deepEqual(gone(), [true, true, false]);
  const again = new FakeConnection("vsock:3:3");
  const guest = receiver.accept(again);
  guest.data(concatenate([spans(1), RUBBISH, spans(1)]));
  assert.equal(again.isDestroyed, true);
  assert.deepEqual(sink.accepted, [3, 3, 1, 1]);
  receiver.time += 1;
  const paid = new FakeConnection("vsock:3:4");
  receiver.accept(paid).data(concatenate([spans(1), rubbish(5), spans(1)]));
  assert.equal(paid.isDestroyed, false);
  assert.deepEqual(sink.accepted, [3, 3, 1, 1, 2]);
  receiver.close();
});

test("a guest that comes and goes leaves no timer each time, whatever it owes", () => {
  const { receiver } = setUp({ maxSpansPerSecond: 1 });
  const timers = new Set<unknown>();
  const { setTimeout: set, clearTimeout: clear } = globalThis;
  globalThis.setTimeout = ((...args: Parameters<typeof set>) => {
    const timer = set(...args);
    timers.add(timer);
    return timer;
  }) as typeof set;
  globalThis.clearTimeout = ((timer: Parameters<typeof clear>[0]) => {
    timers.delete(timer);
    clear(timer);
  }) as typeof clear;
  try {
    const come = () => {
      const guest = receiver.accept(new FakeConnection("vsock:3:1"));
      guest.data(concatenate([spans(2), rubbish(100)]));
      guest.end();
    };
    // The log has a timer for each kind of record.
    for (let i = 0; i < 2000; i++) come();
    const settled = timers.size;
    for (let i = 0; i < 1100; i++) come();
    assert.equal(timers.size, settled);
  } finally {
    Object.assign(globalThis, { setTimeout: set, clearTimeout: clear });
  }
});

test("the log tells once that a guest is over its rate", () => {
  const { receiver, messages } = setUp({ maxSpansPerSecond: 1 });
  const guest = receiver.accept(new FakeConnection());
  for (let i = 0; i < 10; i++) guest.data(spans(2));
  assert.equal(messages().filter((message) => message.includes("it is throttled")).length, 1);
  guest.end();
});

/** Looks at time limits as the receiver's own timer does. */
function checkTimeouts(guest: unknown, now: number): void {
  (guest as { checkTimeouts(now: number): void }).checkTimeouts(now);
}

test("a frame is given up if it is not whole within --frame-timeout; its guest stays, and what follows arrives", () => {
  const { receiver, metrics, vsock, sink } = setUp({ frameTimeoutMs: 1000 });
  const connection = new FakeConnection();
  const guest = receiver.accept(connection);
  guest.data(SPAN.subarray(0, 1));
  for (let i = 1; i <= 10; i++) {
    receiver.time += 100;
    guest.data(SPAN.subarray(i, i + 1));
    checkTimeouts(guest, receiver.time);
  }
  assert.deepEqual(vsock.invalid, {});
  receiver.time += 1;
  checkTimeouts(guest, receiver.time);
  assert.deepEqual(vsock.invalid, { truncated: 1 });
  // Nothing new has begun.
  receiver.time += 10_000;
  checkTimeouts(guest, receiver.time);
  guest.data(SPAN.subarray(11));
  guest.data(spans(2));
  assert.equal(connection.isDestroyed, false);
  assert.deepEqual([sink.accepted, vsock.invalid, metrics.disconnected], [[2], { truncated: 1 }, {}]);
  guest.end();
});

test("frames that an agent wrote behind one that it gave up arrive when that is given up here", () => {
  const { receiver, vsock, sink } = setUp({ frameTimeoutMs: 1000 });
  const guest = receiver.accept(new FakeConnection());
  const large = frame(new Uint8Array(100_000));
  guest.data(concatenate([spans(1), large.subarray(0, 1000), spans(5)]));
  assert.deepEqual(sink.accepted, [1]);
  receiver.time += 1001;
  checkTimeouts(guest, receiver.time);
  assert.deepEqual([sink.accepted, vsock.invalid], [[6], { truncated: 1 }]);
  guest.data(spans(3));
  assert.deepEqual(sink.accepted, [9]);
  guest.end();
  assert.deepEqual(vsock.invalid, { truncated: 1 });
});

test("frames that are whole in time keep a guest, though it is always inside of one", () => {
  const { receiver } = setUp({ frameTimeoutMs: 1000 });
  const connection = new FakeConnection();
  const guest = receiver.accept(connection);
  const piece = concatenate([SPAN.subarray(20), SPAN.subarray(0, 20)]);
  guest.data(SPAN.subarray(0, 20));
  for (let i = 0; i < 10; i++) {
    receiver.time += 900;
    checkTimeouts(guest, receiver.time);
    guest.data(piece);
  }
  assert.equal(connection.isDestroyed, false);
});

test("time in which a guest is not read is not its own, but pauses do not set the clock back either", () => {
  const { receiver, sink, vsock } = setUp({ frameTimeoutMs: 1000, idleTimeoutMs: 5000 });
  const connection = new FakeConnection();
  const guest = receiver.accept(connection);
  guest.data(SPAN.subarray(0, 20));
  for (let i = 0; i < 5; i++) {
    receiver.time += 200;
    sink.setPaused(true);
    receiver.time += 60_000;
    checkTimeouts(guest, receiver.time);
    sink.setPaused(false);
    checkTimeouts(guest, receiver.time);
  }
  assert.deepEqual(vsock.invalid, {}, "1000 ms of its own time have passed");
  receiver.time += 1;
  checkTimeouts(guest, receiver.time);
  assert.deepEqual(vsock.invalid, { truncated: 1 });
  assert.equal(connection.isDestroyed, false);
});

test("--idle-timeout counts from the last byte, and is off at 0", () => {
  for (const [idleTimeoutMs, isDestroyed] of [[1000, true], [0, false]] as const) {
    const { receiver, metrics } = setUp({ idleTimeoutMs });
    const connection = new FakeConnection();
    const guest = receiver.accept(connection);
    receiver.time += 900;
    guest.data(SPAN);
    receiver.time += 1000;
    checkTimeouts(guest, receiver.time);
    assert.equal(connection.isDestroyed, false);
    receiver.time += 1;
    checkTimeouts(guest, receiver.time);
    assert.equal(connection.isDestroyed, isDestroyed);
    assert.equal(metrics.disconnected["idle-timeout"], isDestroyed ? 1 : undefined);
    guest.end();
  }
});

test("a guest that holds more than its budget is disconnected", () => {
  const { receiver, metrics } = setUp({ maxGuestBytes: 10_000 });
  const connection = new FakeConnection();
  const guest = receiver.accept(connection);
  const large = frame(new Uint8Array(100_000));
  guest.data(large.subarray(0, 4000));
  assert.equal(connection.isDestroyed, false);
  guest.data(large.subarray(4000, 20_000));
  assert.equal(connection.isDestroyed, true);
  assert.deepEqual(metrics.disconnected, { "guest-bytes": 1 });
});

test("all connections of a guest share its budget, and the one that holds most is disconnected", () => {
  const { receiver, metrics } = setUp({ maxGuestBytes: 100_000 });
  const large = frame(new Uint8Array(90_000));
  const connections = ["vsock:3:1", "vsock:3:2", "vsock:4:1"].map((peer) => new FakeConnection(peer));
  const guests = connections.map((connection) => receiver.accept(connection));
  const destroyed = () => connections.map(({ isDestroyed }) => isDestroyed);
  guests[0]?.data(large.subarray(0, 60_000));
  guests[2]?.data(large.subarray(0, 60_000));
  guests[1]?.data(large.subarray(0, 20_000));
  assert.deepEqual(destroyed(), [false, false, false]);
  guests[1]?.data(large.subarray(20_000, 50_000));
  assert.deepEqual(destroyed(), [true, false, false]);
  assert.deepEqual(metrics.disconnected, { "guest-bytes": 1 });
});

test("sandboxes whose directories differ after a colon are two guests: neither pays for the other's bytes", () => {
  const { receiver, metrics, log } = setUp({ maxGuestBytes: 100_000, maxSpansPerSecond: 2 });
  const connections = ["/run/vc/vm/box:1/clh.sock", "/run/vc/vm/box:2/clh.sock"]
    .map((path) => new FakeConnection(socketSource(path)));
  const [first, second] = connections.map((connection) => receiver.accept(connection));
  const large = frame(new Uint8Array(90_000));
  first?.data(large.subarray(0, 60_000));
  second?.data(large.subarray(0, 60_000));
  assert.deepEqual(connections.map(({ isDestroyed }) => isDestroyed), [false, false]);
  assert.deepEqual(metrics.disconnected, {});
  first?.data(concatenate([large.subarray(60_000), spans(3)]));
  assert.deepEqual(connections.map(({ isPaused }) => isPaused), [true, false], "nor for the other's rate");
  // Each has its own lines, which the other cannot use up.
  for (let i = 0; i < 10; i++) first?.data(RUBBISH);
  second?.data(concatenate([large.subarray(60_000), RUBBISH]));
  const told = log.records.filter(({ message }) => message === "invalid payload skipped");
  assert.deepEqual(new Set(told.map(({ fields }) => fields?.["guest"])), new Set(["box:1", "box:2"]));
  receiver.close();
});

test("a paused account pauses its own connections, those that come meanwhile too, and nobody else's", () => {
  const { receiver, sink } = setUp();
  const connections = ["vsock:3:1", "vsock:3:2", "vsock:4:1"].map((name) => new FakeConnection(name));
  for (const connection of connections) receiver.accept(connection);
  const paused = () => connections.map(({ isPaused }) => isPaused);
  sink.setAccountPaused("vsock:3", true);
  assert.deepEqual(paused(), [true, true, false]);
  for (const name of ["vsock:3:3", "vsock:4:2"]) {
    const connection = new FakeConnection(name);
    connections.push(connection);
    receiver.accept(connection);
  }
  assert.deepEqual(paused(), [true, true, false, true, false]);
  sink.setAccountPaused("vsock:3", false);
  assert.deepEqual(paused(), [false, false, false, false, false]);
  receiver.close();
});

test("a connection that comes while its guest waits for its turn is not read before that has come", async () => {
  const { receiver, sink, vsock } = setUp();
  // Each payload takes longer than a turn.
  sink.onAccept = () => receiver.time += 10;
  const [first, later, other] = ["vsock:3:1", "vsock:3:2", "vsock:4:1"].map((name) => new FakeConnection(name));
  assert.ok(first !== undefined && later !== undefined && other !== undefined);
  const count = Math.ceil(64 * 1024 / SPAN.length);
  receiver.accept(first).data(spans(count));
  assert.ok(vsock.received < count);
  receiver.accept(later);
  receiver.accept(other);
  assert.deepEqual([first.isPaused, later.isPaused, other.isPaused], [true, true, false]);
  await until(() => !first.isPaused && !later.isPaused, "both are read again");
  assert.equal(vsock.received, count);
  receiver.close();
});

test("all connections of a guest share its rate, also those that it makes anew", () => {
  const { receiver, metrics } = setUp({ maxSpansPerSecond: 2 });
  const take = (peer: string) => {
    const connection = new FakeConnection(peer);
    const guest = receiver.accept(connection);
    guest.data(SPAN);
    return { guest, isPaused: connection.isPaused };
  };
  const first = take("vsock:3:1");
  assert.deepEqual([first.isPaused, take("vsock:3:2").isPaused], [false, false]);
  first.guest.end();
  const third = take("vsock:3:3");
  assert.equal(third.isPaused, true);
  // Of one that comes meanwhile nothing is read at all.
  const early = new FakeConnection("vsock:3:9");
  receiver.accept(early);
  assert.equal(early.isPaused, true);
  assert.equal(take("vsock:4:1").isPaused, false);
  assert.equal(metrics.rateLimitPauses, 2);
  receiver.close();
  assert.equal(take("vsock:3:4").isPaused, true);
  // A second and a half pay for the two spans of debt and leave one.
  receiver.time += 1500;
  assert.equal(take("vsock:3:5").isPaused, false);
  receiver.close();
});

test("when all together hold too much, the one that holds most is disconnected; what is done holds nothing", () => {
  const { receiver, metrics } = setUp({ maxTotalGuestBytes: 200_000 });
  const large = frame(new Uint8Array(90_000));
  const connections = [1, 2, 3].map(() => new FakeConnection());
  const guests = connections.map((connection) => receiver.accept(connection));
  const destroyed = () => connections.map(({ isDestroyed }) => isDestroyed);
  // Held and let go of again, many times over.
  for (let i = 0; i < 10; i++) {
    guests[0]?.data(large.subarray(0, 80_000));
    guests[0]?.data(large.subarray(80_000));
  }
  assert.deepEqual(destroyed(), [false, false, false]);
  guests[0]?.data(large.subarray(0, 30_000));
  guests[1]?.data(large.subarray(0, 85_000));
  guests[2]?.data(large.subarray(0, 60_000));
  assert.deepEqual(destroyed(), [false, false, false]);
  guests[0]?.data(large.subarray(30_000, 70_000));
  assert.deepEqual(destroyed(), [false, true, false]);
  assert.deepEqual(metrics.disconnected, { "total-guest-bytes": 1 });
});

test("one guest too many is refused, and told of once for as long as it is full", () => {
  const { receiver, metrics, messages } = setUp({ maxGuests: 1 });
  const first = receiver.accept(new FakeConnection());
  const refused = () => messages().filter((message) => message.startsWith("guest refused")).length;
  for (let i = 0; i < 3; i++) {
    const connection = new FakeConnection();
    const guest = receiver.accept(connection);
    guest.data(SPAN);
    guest.end();
    assert.equal(connection.isDestroyed, true);
  }
  assert.deepEqual([metrics.guestsConnected, metrics.guestsAccepted, refused()], [1, 1, 1]);
  first.end();
  receiver.accept(new FakeConnection());
  receiver.accept(new FakeConnection());
  assert.equal(refused(), 2);
  assert.deepEqual(metrics.disconnected, { "max-guests": 4 });
});

test("records of one guest are limited together, whatever port it comes from; the end sums up", () => {
  const { receiver, log } = setUp();
  for (let port = 0; port < 20; port++) {
    const guest = receiver.accept(new FakeConnection(`vsock:3:${port}`));
    guest.data(frame(Uint8Array.of(1, 2, 3)));
    guest.end();
  }
  receiver.accept(new FakeConnection("vsock:4:1")).data(frame(Uint8Array.of(1, 2, 3)));
  const invalid = () => log.records.filter(({ message }) => message.startsWith("invalid"));
  assert.deepEqual(invalid().map(({ fields }) => fields?.["guest"]), [
    ...[0, 1, 2, 3, 4].map((port) => `vsock:3:${port}`),
    "vsock:4:1",
  ]);
  receiver.close();
  assert.equal(invalid().at(-1)?.fields?.["suppressed"], 15);
});

test("drain reads guests until they are silent, each by itself, then reads them no more", async () => {
  const { receiver, sink } = setUp();
  const clock = setInterval(() => receiver.time += 5, 5);
  const [quiet, busy] = [new FakeConnection(), new FakeConnection()];
  receiver.accept(quiet);
  const guest = receiver.accept(busy);
  let pieces = 0;
  const writing = setInterval(() => {
    if (busy.isPaused) return;
    guest.data(SPAN);
    if (++pieces === 30) clearInterval(writing);
  }, 1);
  await receiver.drain(60_000);
  clearInterval(clock);
  clearInterval(writing);
  assert.deepEqual([quiet.isPaused, busy.isPaused], [true, true]);
  assert.deepEqual(sink.accepted, [0, 30]);
  receiver.close();
  assert.deepEqual([quiet.isDestroyed, busy.isDestroyed], [true, true]);
});

test("drain ends at its time although a guest goes on, or delivery keeps it paused", async () => {
  for (const isPaused of [false, true]) {
    const { receiver, sink, metrics } = setUp();
    const connection = new FakeConnection();
    const guest = receiver.accept(connection);
    if (isPaused) sink.setPaused(true);
    const began = receiver.time;
    const clock = setInterval(() => {
      receiver.time += 5;
      if (!isPaused) guest.data(SPAN);
    }, 1);
    await receiver.drain(200);
    clearInterval(clock);
    assert.ok(receiver.time >= began + 200);
    assert.equal(metrics.guestsConnected, 1);
    receiver.close();
    assert.equal(connection.isDestroyed, true);
  }
});

test("drain waits for guests that are still being accepted", async () => {
  const { receiver, sink } = setUp();
  const clock = setInterval(() => receiver.time += 5, 5);
  const draining = receiver.drain(60_000);
  for (let i = 0; i < 5; i++) {
    await new Promise((resolve) => setTimeout(resolve, 2));
    receiver.accept(new FakeConnection()).data(SPAN);
  }
  await draining;
  clearInterval(clock);
  assert.deepEqual(sink.accepted, [1, 1, 1, 1, 1]);
  receiver.close();
});

test("guests whose connections outlive the process are handed over with what was read of a frame", () => {
  const { receiver, sink, log } = setUp();
  const kept = Object.assign(new FakeConnection("kept"), { keptAs: "guest|1" });
  const lost = Object.assign(new FakeConnection("lost"), { keptAs: "guest|2" });
  const other = new FakeConnection("other");
  const guests = [kept, lost, other].map((connection) => receiver.accept(connection));
  for (const guest of guests) guest.data(concatenate([SPAN, SPAN.subarray(0, 100)]));
  const unread = receiver.handOver((name) => name === "guest|1");
  assert.deepEqual([...unread], [["guest|1", SPAN.subarray(0, 100)]]);
  assert.deepEqual([kept, lost, other].map(({ isPaused }) => isPaused), [true, false, false]);
  assert.deepEqual([kept, lost, other].map(({ isDestroyed }) => isDestroyed), [false, false, false]);
  assert.deepEqual(sink.closed, [0]);
  // It has left this process, so that its end is not reported here as that of a torn frame.
  guests[0]?.end();
  assert.equal(receiver.metrics.guestsConnected, 2);
  assert.deepEqual(log.records.filter(({ level }) => level === "warn"), []);
  guests[1]?.data(SPAN.subarray(100));
  assert.deepEqual(sink.accepted, [1, 2, 1]);
});
