import assert from "node:assert/strict";
import { performance } from "node:perf_hooks";
import type { StubRequest } from "../../support/collector-stub.ts";
import { spanId } from "../../support/numbers.ts";
import { until } from "../../support/until.ts";
import { type Forwarder, startForwarder } from "../../process/support/forwarder.ts";
import { Guest, Sandbox } from "../../process/support/sandbox.ts";
import { plainFrames } from "../../process/support/spans.ts";
import { test } from "../../process/support/test.ts";
import { assertEquation, Equation } from "./support/equation.ts";
import { FarEnd } from "./support/far-end.ts";
import { HostileGuests } from "./support/hostile-guests.ts";
import { LoadGuest } from "./support/load.ts";
import { percentile, report } from "./support/report.ts";

/*
 * Two sandboxes: all that one of them does must cost itself alone, whatever the collector does meanwhile.
 */

/** What the well-behaved guest sends, a span at a time. */
const GOOD = { frames: 1, everyMs: 10, bytes: 300 };
const GOOD_SPANS = 500;
/** Ids of the other guest's spans begin here, far above its own. */
const OTHERS = 1_000_000_000_000;
/** So many sandboxes send this much each at once: 120 MB in all. */
const MANY = 250;
const EACH = { frames: 120, bytes: 4000 };
const CLEAN = { code: 0, signal: null };

/** A forwarder for two sandboxes, one of which is well-behaved. */
class Scene implements AsyncDisposable {
  readonly good: Sandbox;
  readonly bad: Sandbox;
  readonly farEnd: FarEnd;
  readonly forwarder: Forwarder;
  readonly equation: Equation;

  private constructor(farEnd: FarEnd, good: Sandbox, bad: Sandbox, forwarder: Forwarder) {
    this.farEnd = farEnd;
    this.good = good;
    this.bad = bad;
    this.forwarder = forwarder;
    this.equation = new Equation(forwarder);
  }

  static async open(args: (directory: Sandbox) => readonly string[]): Promise<Scene> {
    const farEnd = await FarEnd.start();
    const [good, bad] = [new Sandbox(), new Sandbox()];
    const forwarder = await startForwarder([
      ...["--socket-path", good.socketPath, "--socket-path", bad.socketPath],
      ...["--otlp-endpoint", farEnd.url, "--metrics", "0", "--shutdown-timeout", "6s"],
      ...args(good),
    ], { env: { OTEL_EXPORTER_OTLP_TIMEOUT: "2000" } });
    return new Scene(farEnd, good, bad, forwarder);
  }

  load(): LoadGuest {
    return new LoadGuest(this.good.address, 1, GOOD);
  }

  /** Resolves with the time from each write of the good guest to its arrival, milliseconds. */
  async arrived(guest: LoadGuest): Promise<number[]> {
    const missing = (): string[] => guest.ids().filter((id) => !this.farEnd.arrivals.has(id));
    await until(() => missing().length === 0, "all spans of the well-behaved guest arrive");
    // It was never cut off, so none of its spans was sent a second time.
    assert.equal(guest.connections, 1);
    return guest.written.map(({ first, at }) => Math.max(0, (this.farEnd.arrivals.get(spanId(first))?.at ?? NaN) - at));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.forwarder[Symbol.asyncDispose]();
    await this.farEnd[Symbol.asyncDispose]();
    this.good[Symbol.dispose]();
    this.bad[Symbol.dispose]();
  }
}

interface Case {
  readonly what: string;
  readonly args: (directory: Sandbox) => readonly string[];
  /** What is full meanwhile. */
  readonly full: string;
}

const spool = (directory: Sandbox): string[] => ["--spool-dir", directory.path("spool"), "--spool-bytes", "32MiB"];

const CASES: readonly Case[] = [
  {
    what: "the queue",
    args: () => ["--queue-bytes", "8MiB"],
    full: "queue full: guests are not read until there is room",
  },
  {
    what: "the queue, with drop-oldest",
    args: () => ["--queue-bytes", "8MiB", "--when-full", "drop-oldest"],
    full: "queue full: the oldest spans are dropped",
  },
  {
    what: "the spool",
    args: (directory) => [...spool(directory), "--queue-bytes", "8MiB"],
    full: "queue full: guests are not read until there is room",
  },
  {
    what: "the spool, with drop-oldest",
    args: (directory) => [...spool(directory), "--queue-bytes", "8MiB", "--when-full", "drop-oldest"],
    full: "queue full: the oldest spans are dropped",
  },
];

test("the collector is away, and 250 sandboxes send more than the queue holds: none loses any", async () => {
  await using farEnd = await FarEnd.start();
  farEnd.answer = () => ({ kind: "status", status: 503 });
  using stack = new DisposableStack();
  const sandboxes = Array.from({ length: MANY }, () => stack.use(new Sandbox()));
  await using forwarder = await startForwarder([
    ...sandboxes.flatMap(({ socketPath }) => ["--socket-path", socketPath]),
    ...["--otlp-endpoint", farEnd.url, "--metrics", "0", "--shutdown-timeout", "6s"],
  ]);
  const guests = await Promise.all(sandboxes.map(async ({ address }) => stack.use(await Guest.connect(address))));
  const written = guests.map(async (guest, i) => {
    await guest.write(plainFrames(1 + i * EACH.frames, EACH.frames, EACH.bytes));
    await guest.end();
  });
  await forwarder.record("queue full: guests are not read until there is room");
  farEnd.answer = () => ({ kind: "ok" });
  await Promise.all(written);
  await until(() => farEnd.spans === MANY * EACH.frames, "all spans arrive");
  const { dropped, received } = await assertEquation(forwarder);
  assert.deepEqual([dropped, received], [0, MANY * EACH.frames]);
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

for (const { what, args, full } of CASES) {
  test(`the collector is away, and one guest fills ${what}: another writes on and loses nothing`, async () => {
    await using scene = await Scene.open(args);
    const { farEnd, forwarder, equation } = scene;
    farEnd.answer = () => ({ kind: "status", status: 503 });
    await using flood = await HostileGuests.start("flood", scene.bad.address, OTHERS);
    await forwarder.record(full);
    const good = scene.load();
    await until(() => good.count() >= GOOD_SPANS, "the well-behaved guest writes");
    await good.stop();
    // Not only written, but read, although the queue is full.
    const isGone = (): boolean =>
      forwarder.recordsOf("guest gone").some((record) =>
        record["guest"] === scene.good.id && record["spans"] === good.count()
      );
    await until(isGone, "all that the well-behaved guest has written is read");
    farEnd.answer = () => ({ kind: "ok" });
    const { spans } = await flood.stop();
    await scene.arrived(good);
    await until(async () => (await assertEquation(forwarder)).held === 0, "nothing is held");
    const { dropped } = await assertEquation(forwarder);
    const others = [...farEnd.arrivals.keys()].filter((id) => parseInt(id, 16) >= OTHERS).length;
    report(`one guest fills ${what}`, {
      "of another's spans": good.count(),
      arrived: good.ids().filter((id) => farEnd.arrivals.has(id)).length,
      "its own": spans,
      dropped,
      "readings of the equation": equation.readings,
    });
    assert.ok(others + dropped >= spans, `${others} arrived, ${dropped} dropped, ${spans} sent`);
    await equation.stop();
    assert.deepEqual(await forwarder.stop(), CLEAN);
  });
}

test("the collector is slow, and one guest sends all it can: another's spans do not wait for it", async () => {
  await using scene = await Scene.open(() => []);
  const { farEnd, forwarder, equation } = scene;
  farEnd.delayMs = 200;
  await using flood = await HostileGuests.start("flood", scene.bad.address, OTHERS);
  await until(async () => await forwarder.metric("pace_pauses_total") > 0, "it is ahead of the collector");
  const good = scene.load();
  await until(() => good.count() >= GOOD_SPANS, "the well-behaved guest writes");
  await good.stop();
  const times = await scene.arrived(good);
  await flood.stop();
  farEnd.delayMs = 0;
  report("a slow collector and one guest that sends all it can", {
    "of another's spans": times.length,
    p50: `${percentile(times, 0.5)} ms`,
    p99: `${percentile(times, 0.99)} ms`,
  });
  await until(async () => (await assertEquation(forwarder)).held === 0, "nothing is held");
  assert.equal((await assertEquation(forwarder)).dropped, 0);
  await equation.stop();
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

for (const stopsMeanwhile of [false, true]) {
  const how = stopsMeanwhile ? ", and the forwarder is stopped meanwhile" : "";
  test(`the collector refuses all of one guest's spans${how}: another's arrive`, async () => {
    await using scene = await Scene.open(() => []);
    const { farEnd, forwarder, equation } = scene;
    const isRefused = ({ spans }: StubRequest): boolean => spans.some(({ spanId }) => parseInt(spanId, 16) >= OTHERS);
    let [requests, refused] = [0, 0];
    farEnd.delayMs = 50;
    farEnd.answer = (request) => {
      requests++;
      if (!isRefused(request)) return { kind: "ok" };
      refused++;
      return { kind: "status", status: 400 };
    };
    const good = scene.load();
    await until(() => farEnd.spans > 0, "its spans flow");
    await using bad = await HostileGuests.start("steady", scene.bad.address, OTHERS);
    await until(() => good.count() >= 2 * GOOD_SPANS, "the well-behaved guest writes");
    if (stopsMeanwhile) {
      const stopped = performance.now();
      forwarder.kill("SIGTERM");
      const { code } = await forwarder.exited;
      await good.stop();
      // What the collector refuses is given up, or lost where the time is up.
      assert.ok(code === 0 || code === 2, `${code}`);
      const [before, missing] = [good.ids(stopped), good.ids(stopped).filter((id) => !farEnd.arrivals.has(id))];
      report("a stop meanwhile", { "of another's spans": before.length, missing: missing.length });
      assert.deepEqual(missing, []);
      return;
    }
    await good.stop();
    const times = await scene.arrived(good);
    const { spans } = await bad.stop();
    report("one guest all of whose spans are refused, answers taking 50 ms", {
      "of another's spans": times.length,
      p50: `${percentile(times, 0.5)} ms`,
      p99: `${percentile(times, 0.99)} ms`,
      slowest: `${percentile(times, 1)} ms`,
      requests,
      refused,
      "its own": spans,
    });
    assert.ok(refused <= requests / 10, `${refused} of ${requests} requests`);
    await equation.stop();
    const { forwarded } = await assertEquation(forwarder);
    assert.equal(forwarded, good.count());
  });
}
