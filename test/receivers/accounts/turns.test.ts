import assert from "node:assert/strict";
import { test } from "node:test";
import {
  AccountTurns,
  SHORT_TURNS,
  type TurnLengths,
  Turns,
  type TurnTaker,
} from "../../../src/receivers/accounts/turns.ts";

/** Turns whose clock and event loop are a test's. */
function setUp(lengths?: TurnLengths) {
  const clock = { now: 1000 };
  const scheduled: (() => void)[] = [];
  const turns = new Turns(() => clock.now, (run) => scheduled.push(run), lengths);
  /** The next turn of the event loop. */
  const run = (): boolean => {
    const step = scheduled.shift();
    step?.();
    return step !== undefined;
  };
  return { clock, turns, run };
}

/** A connection with so many milliseconds of work in what comes of it. */
class Worker implements TurnTaker {
  readonly account: AccountTurns;
  readonly #turns: Turns;
  readonly #clock: { now: number };
  left = 0;
  done = 0;
  isPaused = false;

  constructor(turns: Turns, clock: { now: number }, account = new AccountTurns()) {
    this.#turns = turns;
    this.#clock = clock;
    this.account = account;
    turns.join(account, this);
  }

  comes(ms: number): void {
    assert.equal(this.isPaused, false, "a paused connection is not read");
    this.left += ms;
    if (this.#turns.begin(this.account)) this.#work();
    this.#turns.end(this.account, this, this.left > 0);
  }

  proceed(): boolean {
    this.#work();
    return this.left > 0;
  }

  /** In steps of a tenth of a millisecond. */
  #work(): void {
    while (this.left > 0 && !this.#turns.isOver) {
      this.#clock.now += 0.1;
      this.done += 0.1;
      this.left = Math.max(0, Math.round((this.left - 0.1) * 10) / 10);
    }
  }

  pauseForTurn(): void {
    this.isPaused = true;
  }
  resumeForTurn(): void {
    this.isPaused = false;
  }
}

test("what takes little time is done at once, and nobody is paused", () => {
  const { clock, turns, run } = setUp();
  const worker = new Worker(turns, clock);
  for (let i = 0; i < 3; i++) worker.comes(0.5);
  assert.deepEqual([worker.left, worker.isPaused, run()], [0, false, false]);
});

test("what takes long is done in pieces, between which the event loop goes on; then its guest is read again", () => {
  const { clock, turns, run } = setUp();
  const worker = new Worker(turns, clock);
  worker.comes(30);
  assert.equal(worker.isPaused, true);
  for (let began = clock.now; run(); began = clock.now) {
    assert.ok(clock.now - began <= 8.5, `a turn of ${clock.now - began} ms`);
  }
  assert.deepEqual([worker.left, worker.isPaused], [0, false]);
});

test("two accounts that are busy get the same time, however many connections they have", () => {
  const { clock, turns, run } = setUp();
  const one = new Worker(turns, clock);
  const shared = new AccountTurns();
  const many = Array.from({ length: 10 }, () => new Worker(turns, clock, shared));
  one.comes(500);
  // Whatever is not read is not read because its account is busy.
  for (const worker of many) if (!worker.isPaused) worker.comes(100);
  for (let i = 0; i < 20; i++) {
    run();
    for (const worker of many) if (!worker.isPaused) worker.comes(100);
  }
  const done = many.reduce((sum, worker) => sum + worker.done, 0);
  assert.ok(Math.abs(one.done - done) <= 8, `${one.done} and ${done} ms`);
});

test("an account is done at once although another one is busy", () => {
  const { clock, turns, run } = setUp();
  const busy = new Worker(turns, clock);
  const light = new Worker(turns, clock);
  busy.comes(1000);
  for (let i = 0; i < 10; i++) {
    run();
    clock.now += 1;
    light.comes(0.5);
    assert.equal(light.left, 0);
  }
  assert.equal(light.isPaused, false);
});

test("the connections of a busy account are not read, and are read again a few at a time", () => {
  const { clock, turns, run } = setUp();
  const account = new AccountTurns();
  const workers = Array.from({ length: 100 }, () => new Worker(turns, clock, account));
  workers[0]?.comes(10);
  const paused = () => workers.filter(({ isPaused }) => isPaused).length;
  assert.equal(paused(), 100);
  let before = paused();
  while (run()) {
    assert.ok(before - paused() <= 8);
    before = paused();
  }
  assert.equal(paused(), 0);
});

test("a connection that comes while its account is busy is not read either, until its turn comes", () => {
  const { clock, turns, run } = setUp();
  const busy = new Worker(turns, clock);
  busy.comes(10);
  const later = Array.from({ length: 20 }, () => new Worker(turns, clock, busy.account));
  const other = new Worker(turns, clock);
  assert.deepEqual([later.filter(({ isPaused }) => isPaused).length, other.isPaused], [20, false]);
  while (run());
  assert.ok([busy, ...later].every(({ isPaused }) => !isPaused));
});

test("when many come in one turn of the event loop, the rest waits for the next one", () => {
  const { clock, turns, run } = setUp();
  const workers = Array.from({ length: 20 }, () => new Worker(turns, clock));
  const began = clock.now;
  for (const worker of workers) worker.comes(1.5);
  assert.ok(clock.now - began <= 10, `${clock.now - began} ms`);
  assert.ok(workers.some(({ left }) => left > 0));
  while (run());
  assert.ok(workers.every(({ left, isPaused }) => left === 0 && !isPaused));
});

/** Reads of each worker that is not paused what it has to say, as long as a turn of the event loop lasts. */
function readOnce(workers: readonly Worker[], unread: Map<Worker, number>): void {
  for (const worker of workers) {
    const ms = unread.get(worker);
    if (ms === undefined || worker.isPaused) continue;
    unread.delete(worker);
    worker.comes(ms);
  }
}

const countWaiting = (workers: readonly Worker[]): number =>
  workers.filter(({ account }) => account.waiting.size > 0).length;

test("of hundreds of accounts that burst at once, few wait, and no turn grows with their number", () => {
  const { clock, turns, run } = setUp();
  const workers = Array.from({ length: 500 }, () => new Worker(turns, clock));
  const unread = new Map(workers.map((worker) => [worker, 3]));
  for (let isLeft = true; isLeft;) {
    const began = clock.now;
    readOnce(workers, unread);
    assert.ok(clock.now - began <= 10, `${clock.now - began} ms of reading`);
    assert.ok(countWaiting(workers) <= 32, `${countWaiting(workers)} accounts wait`);
    isLeft = run();
    assert.ok(clock.now - began <= 17, `a turn of ${clock.now - began} ms`);
  }
  assert.equal(unread.size, 0);
  assert.ok(workers.every(({ done, left, isPaused }) => Math.round(done) === 3 && left === 0 && !isPaused));
});

test("with more floods than may wait, each account is read in its order, a silent crowd or not", () => {
  const { clock, turns, run } = setUp();
  const floods = Array.from({ length: 100 }, () => new Worker(turns, clock));
  const silent = Array.from({ length: 1000 }, () => new Worker(turns, clock));
  const light = Array.from({ length: 10 }, () => new Worker(turns, clock));
  // The floods are always the first to be ready.
  const workers = [...floods, ...light];
  const unread = new Map<Worker, number>();
  const reads = new Map(workers.map((worker) => [worker, 0]));
  for (let i = 0; i < 1000; i++) {
    for (const worker of workers) {
      if (unread.has(worker)) continue;
      unread.set(worker, floods.includes(worker) ? 5 : 0.1);
      reads.set(worker, (reads.get(worker) ?? 0) + 1);
    }
    readOnce(workers, unread);
    run();
    clock.now += 1;
  }
  assert.ok(light.every((worker) => (reads.get(worker) ?? 0) > 10), `${light.map((worker) => reads.get(worker))}`);
  const done = floods.map((flood) => flood.done);
  assert.ok(Math.min(...done) > 0.7 * Math.max(...done), `${Math.min(...done)} and ${Math.max(...done)} ms`);
  unread.clear();
  while (run());
  assert.ok([...workers, ...silent].every(({ isPaused, left }) => !isPaused && left === 0));
});

test("an account is held back with all its connections, and so are newcomers; all are read again", () => {
  const { clock, turns, run } = setUp();
  const account = new AccountTurns();
  const held = Array.from({ length: 20 }, () => new Worker(turns, clock, account));
  const busy = Array.from({ length: 32 }, () => new Worker(turns, clock));
  for (const worker of busy) worker.comes(20);
  const [newcomer, sibling] = [new Worker(turns, clock), new Worker(turns, clock, account)];
  assert.ok([...held, newcomer, sibling].every(({ isPaused }) => isPaused));
  const [gone] = held as [Worker, ...Worker[]];
  turns.leave(account, gone);
  while (run());
  assert.ok([...held.slice(1), newcomer, sibling, ...busy].every(({ isPaused, left }) => !isPaused && left === 0));
});

test("a connection that leaves takes no more turns; one that has ended finishes what waits of it", () => {
  const { clock, turns, run } = setUp();
  const [gone, ended] = [new Worker(turns, clock), new Worker(turns, clock)];
  gone.comes(20);
  ended.comes(20);
  turns.leave(gone.account, gone);
  turns.detach(ended.account, ended);
  const { done } = gone;
  while (run());
  assert.equal(gone.done, done);
  assert.deepEqual([ended.left, ended.isPaused], [0, true]);
});

test("with short turns, others go on after a quarter of a millisecond of one account's work", () => {
  const { clock, turns, run } = setUp(SHORT_TURNS);
  const worker = new Worker(turns, clock);
  worker.comes(10);
  // The step that it was in is finished, and a step is a tenth of a millisecond.
  assert.ok(worker.done > 0.2 && worker.done < 0.4, `${worker.done}`);
  const before = worker.done;
  run();
  assert.ok(worker.done - before < 0.65, `${worker.done - before}`);
  assert.ok(worker.left > 8);
});
