import assert from "node:assert/strict";
import { test } from "node:test";
import { Chunk } from "../../src/pipeline/destination.ts";
import { AccountQueue, QueuedChunk } from "../../src/queue/account-queue.ts";
import { OutgoingRequest } from "../../src/queue/outgoing-request.ts";
import { Quarantine } from "../../src/queue/quarantine.ts";
import { range, spanId } from "../support/numbers.ts";
import { BAD_SPAN, balance, BALANCED, FakeExporter, guestSource, payload, send, setUp, SUCCESS } from "./support.ts";
import { until } from "../support/until.ts";

/** A quarantine whose clock stands still until a test moves it, and whose accounts always have another request. */
class Ward {
  now = 1000;
  readonly changes: string[] = [];
  /** Accounts that have no new requests. */
  readonly empty = new Set<AccountQueue>();
  readonly quarantine = new Quarantine({
    now: () => this.now,
    assemble: (account) => this.empty.has(account) ? undefined : request(account),
    setQuarantined: ({ key }, isQuarantined) => this.changes.push(`${key} ${isQuarantined ? "in" : "out"}`),
  });

  /** Every request of an account is refused from now on: how many are sent in so many milliseconds, in steps of one. */
  refuseFor(ms: number, whileWaiting: () => void = () => {}): number {
    let refused = 0;
    for (const end = this.now + ms; this.now < end; this.now++) {
      whileWaiting();
      const next = this.quarantine.next();
      if (next === undefined) continue;
      refused++;
      this.quarantine.refused(next.account as AccountQueue, next);
    }
    return refused;
  }
}

function request(account: AccountQueue): OutgoingRequest {
  const chunk = new Chunk({ account: account.key, kind: "guest" }, new Uint8Array(8), 1);
  return OutgoingRequest.of([new QueuedChunk(account, 1, 8, { chunk })], 1);
}

test("an account that is refused is in quarantine until nothing of it has been refused for a minute", () => {
  const ward = new Ward();
  const account = new AccountQueue("a", "guest");
  assert.equal(ward.quarantine.isEmpty, true);
  assert.equal(ward.quarantine.refused(account, request(account)), true);
  assert.deepEqual(ward.changes, ["a in"]);
  ward.empty.add(account);
  ward.now += 59_999;
  assert.equal(ward.quarantine.next(), undefined);
  ward.now += 1;
  assert.equal(ward.quarantine.next(), undefined);
  assert.deepEqual(ward.changes, ["a in", "a out"]);
  assert.equal(ward.quarantine.isEmpty, true);
});

test("one request of an account is under way at a time, and what was refused goes before what is new", () => {
  const ward = new Ward();
  const account = new AccountQueue("a", "guest");
  const part = request(account);
  ward.quarantine.refused(account, request(account));
  ward.quarantine.add(account, part);
  assert.equal(ward.quarantine.next(), part);
  assert.equal(ward.quarantine.busy, 1);
  assert.equal(ward.quarantine.next(), undefined);
  // Not one that was sent before the account was here.
  ward.quarantine.accepted(account, request(account));
  assert.equal(ward.quarantine.busy, 1);
  ward.quarantine.unanswered(account, part);
  assert.equal(ward.quarantine.next(), part);
  ward.quarantine.accepted(account, part);
  assert.equal(ward.quarantine.busy, 0);
  assert.notEqual(ward.quarantine.next(), part);
});

test("what is accepted costs nothing, so an account in quarantine is not held up", () => {
  const ward = new Ward();
  const account = new AccountQueue("a", "guest");
  ward.quarantine.refused(account, request(account));
  for (let i = 0; i < 1000; i++) {
    const next = ward.quarantine.next();
    assert.ok(next !== undefined);
    ward.quarantine.accepted(account, next);
  }
});

test("while others send, one request in twenty may be refused, and one in five seconds", () => {
  const ward = new Ward();
  for (let i = 0; i < 50; i++) {
    const account = new AccountQueue(`a${i}`, "guest");
    ward.quarantine.refused(account, request(account));
  }
  // What these cost is paid first.
  ward.refuseFor(60_000, () => ward.quarantine.otherSent());
  let others = 0;
  const refused = ward.refuseFor(100_000, () => {
    if (ward.now % 50 !== 0) return;
    others++;
    ward.quarantine.otherSent();
  });
  assert.equal(others, 2000);
  assert.ok(refused > 100 && refused <= others / 20 + 20 + 4, `${refused} refusals`);
});

test("one account that is always refused is tried every two seconds, and then given up whole each time", () => {
  const ward = new Ward();
  const account = new AccountQueue("a", "guest");
  const splits = range(1, 20).map(() => ward.quarantine.refused(account, request(account)));
  assert.deepEqual(splits, range(1, 20).map((n) => n < 14));
  assert.equal(ward.refuseFor(20_000), 9);
  // Something is accepted: the next refusal is worth halving again.
  ward.now += 2000;
  const next = ward.quarantine.next() as OutgoingRequest;
  ward.quarantine.accepted(account, next);
  assert.equal(ward.quarantine.refused(account, request(account)), true);
});

test("accounts in quarantine have their turns, and at the end nothing is rationed", () => {
  const ward = new Ward();
  const accounts = range(1, 10).map((n) => new AccountQueue(`a${n}`, "guest"));
  for (const account of accounts) ward.quarantine.refused(account, request(account));
  assert.equal(ward.quarantine.next(), undefined);
  ward.quarantine.lift();
  const sent = accounts.map(() => ward.quarantine.next()?.account);
  assert.deepEqual(sent, accounts);
  assert.equal(ward.quarantine.busy, 10);
  for (const account of accounts) ward.quarantine.notAtFault(account, request(account));
  assert.equal(ward.quarantine.busy, 10);
});

test("one bad span among those of many guests costs only itself, and the others a few tries", async () => {
  const exporter = new FakeExporter((ids) => (ids.includes(spanId(77)) ? BAD_SPAN : SUCCESS), 1);
  const { delivery, metrics } = setUp({ batch: { maxSpans: 1000, maxBytes: 1_000_000, maxDelayMs: 5 } }, exporter);
  for (const guest of range(0, 15)) {
    send(metrics, delivery.open(guestSource(`guest-${guest}`)), payload(range(guest * 10 + 1, guest * 10 + 10)));
  }
  await until(() => metrics.heldNow === 0);
  assert.deepEqual(metrics.collector.dropped, { rejected: 1 });
  assert.equal(metrics.collector.forwarded, 159);
  const sizes = exporter.requests.map(({ length }) => length);
  // Halves by account until the one at fault is alone; all others have arrived by then.
  assert.equal(sizes[0], 160);
  assert.ok(sizes.filter((size) => size >= 10).length <= 9, `${sizes}`);
  assert.deepEqual(balance(metrics, delivery), BALANCED);
  await delivery.drain(1000);
});

/** What a receiver or a proxy says of a request over its limit. */
const TOO_LARGE = { ...BAD_SPAN, tooLarge: true } as const;

test("a request that is too large is halved, which is nobody's fault: guests still share requests", async () => {
  const exporter = new FakeExporter((ids) => ids.length > 30 ? TOO_LARGE : SUCCESS, 1);
  const { delivery, metrics } = setUp({ batch: { maxSpans: 1000, maxBytes: 1_000_000, maxDelayMs: 5 } }, exporter);
  const guests = range(0, 7).map((guest) => delivery.open(guestSource(`guest-${guest}`)));
  const sendEach = (first: number, count: number, nameBytes: number): void => {
    for (const [index, guest] of guests.entries()) {
      send(metrics, guest, payload(range(first + index * count, first + (index + 1) * count - 1), { nameBytes }));
    }
  };
  sendEach(1, 40, 3000);
  await until(() => metrics.heldNow === 0);
  sendEach(1001, 3, 10);
  await until(() => metrics.collector.forwarded === 344);
  assert.deepEqual(metrics.collector.dropped, {});
  assert.equal(exporter.requests.at(-1)?.length, 24);
  assert.deepEqual(balance(metrics, delivery), BALANCED);
  await delivery.drain(1000);
});

test("what is refused for a size however small it is, is refused for itself, and costs its guest alone", async () => {
  const bad = new Set(range(1, 1000).map(spanId));
  const exporter = new FakeExporter((ids) => ids.some((id) => bad.has(id)) ? TOO_LARGE : SUCCESS, 1);
  const { delivery, metrics } = setUp({ batch: { maxSpans: 1000, maxBytes: 1_000_000, maxDelayMs: 5 } }, exporter);
  send(metrics, delivery.open(guestSource("bad")), payload(range(1, 1000), { nameBytes: 900 }));
  send(metrics, delivery.open(guestSource("good")), payload(range(1001, 1010)));
  await until(() => metrics.collector.forwarded === 10);
  await delivery.drain(10_000);
  assert.deepEqual(metrics.collector.dropped, { rejected: 1000 });
  assert.ok(exporter.requests.length < 60, `${exporter.requests.length} requests`);
});

test("a guest all of whose spans are refused costs the others a few requests, and loses only its own", async () => {
  const bad = new Set<string>();
  const exporter = new FakeExporter(async (ids) => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    return ids.some((id) => bad.has(id)) ? BAD_SPAN : SUCCESS;
  }, 4);
  const { delivery, metrics } = setUp({
    batch: { maxSpans: 200, maxBytes: 1_000_000, maxDelayMs: 5 },
    queue: { maxBytes: 500_000, whenFull: "pause" },
  }, exporter);
  const [hostile, good] = [delivery.open(guestSource("hostile")), delivery.open(guestSource("good"))];
  let next = 1;
  const sendSome = (sink: typeof good, count: number): number[] => {
    const numbers = range(next, next + count - 1);
    next += count;
    if (sink === hostile) { for (const number of numbers) bad.add(spanId(number)); }
    send(metrics, sink, payload(numbers));
    return numbers;
  };
  const sent: number[] = [];
  for (let i = 0; i < 300; i++) {
    if (!delivery.isPaused("hostile")) sendSome(hostile, 50);
    sent.push(...sendSome(good, 2));
    assert.equal(delivery.isPaused("good"), false);
    assert.deepEqual(balance(metrics, delivery), BALANCED);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await until(() => sent.every((number) => exporter.taken.has(spanId(number))));
  const refused = exporter.requests.filter((ids) => ids.some((id) => bad.has(id))).length;
  const mixed = exporter.requests.filter((ids) => ids.some((id) => bad.has(id)) && !ids.every((id) => bad.has(id)));
  assert.ok(refused <= exporter.requests.length / 10 + 5, `${refused} of ${exporter.requests.length} requests`);
  // Those under way when the first was refused.
  assert.ok(mixed.length <= 5, `${mixed.length} mixed`);
  sent.push(...sendSome(good, 10));
  await delivery.drain(10_000);
  assert.ok(sent.every((number) => exporter.taken.has(spanId(number))));
  assert.equal(metrics.collector.forwarded, sent.length);
  assert.deepEqual(balance(metrics, delivery), BALANCED);
});
