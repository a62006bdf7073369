import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { until } from "../../support/until.ts";
import { guestLife, Sandbox } from "../../process/support/sandbox.ts";
import { plainFrames, plainIds } from "../../process/support/spans.ts";
import { test } from "../../process/support/test.ts";
import { Random } from "../../decode/support/random.ts";
import { assertEquation } from "./support/equation.ts";
import { mountSmall } from "./support/disk.ts";
import { fromEnvironment, report } from "./support/report.ts";
import { spooled, Stage } from "./support/stage.ts";

const CLEAN = { code: 0, signal: null };
const MIB = 1024 * 1024;

test("the disk is full: it is said, nothing is lost, and the spool is used again when there is room", async () => {
  using disk = new Sandbox();
  using _mounted = mountSmall(disk.path("disk"), 64 * MIB);
  await using stage = await Stage.open({
    args: () => ["--spool-dir", join(disk.path("disk"), "spool"), "--queue-bytes", "16MiB"],
  });
  const { farEnd } = stage;
  const forwarder = await stage.start();
  const equation = stage.watch();
  farEnd.answer = () => ({ kind: "status", status: 503 });
  const full = disk.path("disk/filler");
  fs.writeFileSync(full, new Uint8Array(63 * MIB));
  stage.load({ bytes: 2000 });
  const failed = await forwarder.record(/^the spool cannot be used/);
  // What is not on disk is held in memory, and guests wait.
  await forwarder.record("queue full: guests are not read until there is room");
  const { held } = await assertEquation(forwarder);
  assert.ok(held > 0);
  fs.rmSync(full);
  await forwarder.record("the spool can be used again");
  await until(async () => (await forwarder.figures()).held > held + 200, "guests are read again");
  await stage.stopLoad();
  const spooledBatches = await forwarder.metric("spool_batches");
  assert.ok(spooledBatches > 0, "nothing is in the spool");
  farEnd.answer = () => ({ kind: "ok" });
  await stage.assertAllArrive();
  await until(async () => (await assertEquation(forwarder)).held === 0, "nothing is held");
  await equation.stop();
  assert.equal((await forwarder.figures()).forwarded, stage.sent);
  assert.deepEqual(await forwarder.stop(), CLEAN);
  report("disk full", {
    told: JSON.stringify(failed["error"]),
    sent: stage.sent,
    arrived: farEnd.spans,
    "came once more": farEnd.duplicates,
    "readings of the equation": equation.readings,
  });
});

/** Spans in a spool that a killed forwarder leaves, and the file that they are in. */
const SPOOLED_SPANS = 2000;

/** Fills a spool with spans of some dozen batches, and ends its forwarder, cleanly or not. */
async function fillSpool(stage: Stage, end: "SIGTERM" | "SIGKILL"): Promise<string> {
  stage.farEnd.answer = () => ({ kind: "status", status: 503 });
  const forwarder = await stage.start();
  await guestLife(stage.sandbox.address, plainFrames(1, SPOOLED_SPANS, 1000));
  await until(async () => {
    const reading = await forwarder.reading();
    return reading.figures.received === SPOOLED_SPANS && reading.isSpooled &&
      reading.metric("queue_batches") * 64 >= SPOOLED_SPANS;
  }, "all are in the spool");
  const { code, signal } = await forwarder.stop(end);
  assert.deepEqual([code, signal], end === "SIGTERM" ? [0, null] : [null, "SIGKILL"]);
  stage.farEnd.answer = () => ({ kind: "ok" });
  // A killed forwarder leaves its journal as well, which has nothing that is not in the segment by now.
  const names = fs.readdirSync(stage.sandbox.path("spool")).filter((name) => !/^\d+\.journal$/.test(name));
  const [segment = "", ...others] = names;
  assert.match(segment, /^\d+\.segment$/);
  assert.deepEqual(others, []);
  return join(stage.sandbox.path("spool"), segment);
}

/** Starts a forwarder on what is left, has it deliver that and new spans; resolves with what it says of the damage. */
async function deliverRest(stage: Stage): Promise<string[]> {
  const forwarder = await stage.start();
  await guestLife(stage.sandbox.address, plainFrames(1_000_001, 100));
  await until(async () => {
    const { held, received } = await assertEquation(forwarder);
    return held === 0 && received >= 100 + await forwarder.metric("spans_recovered_total");
  }, "all is delivered or given up");
  const { dropped, forwarded } = await assertEquation(forwarder);
  assert.deepEqual(await forwarder.stop(), CLEAN);
  const { farEnd } = stage;
  assert.equal(
    dropped,
    figure(forwarder.recordsOf("figures").at(-1), "spans_dropped.spool-corrupt"),
  );
  assert.equal(forwarded, farEnd.spans + farEnd.duplicates);
  // What is new is not held up by what is damaged, and what arrives is what was sent.
  for (const id of plainIds(1_000_001, 100)) assert.ok(farEnd.arrivals.has(id), id);
  const known = new Set([...plainIds(1, SPOOLED_SPANS), ...plainIds(1_000_001, 100)]);
  for (const id of farEnd.arrivals.keys()) assert.ok(known.has(id), id);
  return forwarder.records.filter(({ msg }) => /damaged|cut short/.test(msg)).map(({ msg }) => msg);
}

/** A figure of a record; those that are 0 are left out there. */
function figure(record: { readonly [key: string]: unknown } | undefined, name: string): number {
  return Number(record?.[name] ?? 0);
}

function filesAside(stage: Stage): string[] {
  return fs.readdirSync(stage.sandbox.path("spool")).filter((name) => name.endsWith(".damaged"));
}

test("a segment of the spool is cut off: what can be read is delivered, and it is set aside", async () => {
  await using stage = await Stage.open({ args: spooled });
  const file = await fillSpool(stage, "SIGTERM");
  const { size } = fs.statSync(file);
  fs.truncateSync(file, Math.floor(size * 0.7));
  const messages = await deliverRest(stage);
  reportCut("segment cut off", size, stage, messages);
  assert.ok(messages.some((message) => message.includes("set aside")));
  assert.equal(filesAside(stage).length, 1);
});

test("the last segment of a killed forwarder is cut off: the rest is delivered, and that is said", async () => {
  await using stage = await Stage.open({ args: spooled });
  const file = await fillSpool(stage, "SIGKILL");
  const { size } = fs.statSync(file);
  fs.truncateSync(file, Math.floor(size * 0.7));
  const messages = await deliverRest(stage);
  reportCut("last segment cut off", size, stage, messages);
  assert.ok(messages.some((message) => message.includes("cut short")));
});

function reportCut(
  what: string,
  bytes: number,
  { farEnd }: Stage,
  messages: readonly string[],
): void {
  const rest = farEnd.spans - 100;
  report(what, {
    "of bytes": bytes,
    "spans before": SPOOLED_SPANS,
    "of them delivered": rest,
    told: JSON.stringify(messages),
  });
  assert.ok(rest > SPOOLED_SPANS / 4 && rest < SPOOLED_SPANS, `${rest} spans`);
}

test("bits of a segment flip: each time all is delivered but for what was hit", async () => {
  const seed = fromEnvironment("KTF_FAULTS_SEED", Date.now() % 1_000_000_007);
  const random = new Random(seed);
  const rounds = 6;
  let delivered = 0;
  let quiet = 0;
  for (let round = 0; round < rounds; round++) {
    await using stage = await Stage.open({ args: spooled });
    const file = await fillSpool(stage, "SIGTERM");
    const bytes = fs.readFileSync(file);
    const flips = 1 + random.below(3);
    for (let flip = 0; flip < flips; flip++) {
      const at = random.below(bytes.length);
      bytes[at] = (bytes[at] as number) ^ (1 << random.below(8));
    }
    // In place: owner and mode stay.
    fs.writeFileSync(file, bytes);
    const messages = await deliverRest(stage);
    const rest = stage.farEnd.spans - 100;
    delivered += rest;
    if (rest === SPOOLED_SPANS) quiet++;
    // A flipped bit in what nobody reads goes unnoticed; what costs spans is told, and the file is kept.
    else {
      assert.ok(messages.length > 0, `seed ${seed}: ${rest} spans, and not a word`);
      assert.equal(filesAside(stage).length, 1);
    }
  }
  report("bits flipped", {
    seed,
    rounds,
    "spans before": rounds * SPOOLED_SPANS,
    delivered,
    "rounds without a loss": quiet,
  });
  assert.ok(delivered > rounds * SPOOLED_SPANS / 2, `seed ${seed}: ${delivered} delivered`);
});

/** What the wall clock of a forwarder is ahead, seconds, from a file: see clock.c. */
class Clock {
  readonly environment: Readonly<Record<string, string>>;
  readonly #file: string;

  constructor(directory: string) {
    this.#file = join(directory, "clock");
    this.set(0);
    const library = join(directory, "clock.so");
    const source = new URL("support/clock.c", import.meta.url).pathname;
    execFileSync("cc", ["-shared", "-fPIC", "-O1", "-o", library, source]);
    this.environment = { LD_PRELOAD: library, KTF_CLOCK_FILE: this.#file };
  }

  set(seconds: number): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigInt64(0, BigInt(seconds), true);
    const file = fs.openSync(this.#file, fs.constants.O_WRONLY | fs.constants.O_CREAT, 0o644);
    fs.writeSync(file, bytes);
    fs.closeSync(file);
  }
}

test("the clock is set back and forth, also over a restart: nothing waits for it, nothing is lost", async () => {
  using files = new Sandbox();
  const clock = new Clock(files.directory);
  await using stage = await Stage.open({ args: spooled, run: { env: clock.environment } });
  const { farEnd } = stage;
  let forwarder = await stage.start();
  let equation = stage.watch();
  stage.load();
  for (const seconds of [-3600, 86_400, -10 * 365 * 86_400, 0]) {
    // Once while the collector is away, so that something waits, and is in the spool.
    farEnd.answer = () => ({ kind: "status", status: 503 });
    const { held } = await forwarder.figures();
    await until(async () => (await forwarder.figures()).held > held + 100, "spans are held");
    clock.set(seconds);
    await sleep(200);
    if (seconds === -3600) {
      await equation.stop();
      await forwarder.stop("SIGKILL");
      forwarder = await stage.start();
      equation = stage.watch();
    }
    farEnd.answer = () => ({ kind: "ok" });
    const { spans } = farEnd;
    await until(() => farEnd.spans > spans + 100, "spans flow, whatever the clock says");
    assert.ok(
      Math.abs(
        Date.now() / 1000 + seconds - await forwarder.metric("last_success_timestamp_seconds"),
      ) < 60,
      "the forwarder does not see the clock that this test sets",
    );
  }
  await stage.stopLoad();
  await until(async () => (await assertEquation(forwarder)).held === 0, "nothing is held");
  await equation.stop();
  assert.deepEqual(await forwarder.stop(), CLEAN);
  // What was written within the second before the kill may be lost: see sigkill.test.ts.
  const missing = stage.missing().length;
  report("clock set back and forth", {
    sent: stage.sent,
    arrived: farEnd.spans,
    "lost at the kill": missing,
    "came once more": farEnd.duplicates,
    "readings of the equation": equation.readings,
  });
  assert.ok(missing < 600, `${missing} are missing`);
  stage.assertNothingElse();
});
