import assert from "node:assert/strict";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import type { Answer } from "../../support/collector-stub.ts";
import { until } from "../../support/until.ts";
import { plainIds } from "../../process/support/spans.ts";
import { test } from "../../process/support/test.ts";
import { Random } from "../../decode/support/random.ts";
import { assertEquation } from "./support/equation.ts";
import { fromEnvironment, report } from "./support/report.ts";
import { spooled, Stage } from "./support/stage.ts";

/** Forwarders killed in all, and how many are at work at the same time, each with a spool of its own. */
const KILLS = 100;
const LANES = 4;
/**
 * The longest life from its start, milliseconds; a start takes some 100 ms, and what is younger than a second may be
 * lost.
 */
const LONGEST_LIFE_MS = 2500;
/** What was written whole so long before a kill must be delivered, milliseconds. */
const SAFE_MS = 1000;

/** What the collector does during a life. */
const MOODS: readonly Answer[] = [
  { kind: "ok" },
  { kind: "status", status: 503 },
  { kind: "hang" },
  { kind: "reset" },
  { kind: "reset", takes: true },
];

/** One forwarder after the other with the same spool, and guests that keep sending. */
class Lane {
  readonly stage: Stage;
  readonly random: Random;
  /** How often the equation of spans was read and held. */
  readings = 0;
  /** Spans written whole more than a second before the kill of the forwarder that they were written to. */
  readonly safe: string[] = [];
  /** Those written later: they may have been in a socket, or in a batch. */
  readonly recent: string[] = [];
  readonly #seen: number[];

  constructor(stage: Stage, random: Random) {
    this.stage = stage;
    this.random = random;
    stage.load({ everyMs: 25 });
    stage.load({ everyMs: 40, bytes: 2000 });
    this.#seen = stage.guests.map(() => 0);
  }

  /** One forwarder's life: until a random moment, also while it starts and while it reads its spool. */
  async live(): Promise<void> {
    const { stage, random } = this;
    const mood = random.pick(MOODS);
    stage.farEnd.answer = () => mood;
    const forwarder = stage.launch();
    const equation = stage.watch();
    await sleep(random.below(LONGEST_LIFE_MS));
    const killedAt = performance.now();
    forwarder.kill("SIGKILL");
    const { signal } = await forwarder.exited;
    assert.equal(signal, "SIGKILL", forwarder.stdout + forwarder.stderr);
    await equation.stop();
    this.readings += equation.readings;
    for (const [i, { written }] of stage.guests.entries()) {
      for (const { first, count, at } of written.slice(this.#seen[i])) {
        const ids = plainIds(first, count);
        (at < killedAt - SAFE_MS ? this.safe : this.recent).push(...ids);
      }
      this.#seen[i] = written.length;
    }
  }

  /** A last forwarder delivers what there is, and ends by itself. */
  async end(): Promise<void> {
    const { stage } = this;
    stage.farEnd.answer = () => ({ kind: "ok" });
    const forwarder = await stage.start();
    // While guests send, it would be chance whether a reading falls where nothing is held.
    await stage.stopLoad();
    await until(async () => (await assertEquation(forwarder)).held === 0, "the spool is empty");
    assert.deepEqual(await forwarder.stop(), { code: 0, signal: null });
  }
}

test("SIGKILL at 100 random moments under load: what was written a second before is delivered", async () => {
  const seed = fromEnvironment("KTF_FAULTS_SEED", Date.now() % 1_000_000_007);
  report("SIGKILL", { seed });
  await using stages = new AsyncDisposableStack();
  const lanes: Lane[] = [];
  for (let i = 0; i < LANES; i++) {
    const stage = stages.use(await Stage.open({ args: spooled }));
    lanes.push(new Lane(stage, new Random(seed + i)));
  }
  await Promise.all(lanes.map(async (lane) => {
    for (let kill = 0; kill < KILLS / LANES; kill++) await lane.live();
    await lane.end();
  }));
  const sum = (of: (lane: Lane) => number) => lanes.reduce((total, lane) => total + of(lane), 0);
  const missing = (ids: readonly string[], { stage }: Lane) => ids.filter((id) => !stage.farEnd.arrivals.has(id));
  report("SIGKILL", {
    kills: KILLS,
    sent: sum(({ stage }) => stage.sent),
    "written a second before a kill": sum(({ safe }) => safe.length),
    "of those lost": sum((lane) => missing(lane.safe, lane).length),
    "written later": sum(({ recent }) => recent.length),
    "of these lost": sum((lane) => missing(lane.recent, lane).length),
    "came once more": sum(({ stage }) => stage.farEnd.duplicates),
    "readings of the equation": sum(({ readings }) => readings),
  });
  for (const lane of lanes) {
    assert.deepEqual(missing(lane.safe, lane), []);
    lane.stage.assertNothingElse();
    // Otherwise this has shown nothing.
    assert.ok(lane.safe.length > 1000, `${lane.safe.length} spans`);
    assert.ok(lane.readings > 0);
  }
});
