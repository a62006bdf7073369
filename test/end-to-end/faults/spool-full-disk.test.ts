import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { openOldDatabase } from "../../queue/spool/support/old-database.ts";
import { guestLife, Sandbox } from "../../process/support/sandbox.ts";
import { otlpRequest, plainFrames, plainRecord } from "../../process/support/spans.ts";
import { test } from "../../process/support/test.ts";
import { range } from "../../support/numbers.ts";
import { NOBODY } from "../../support/root.ts";
import { until } from "../../support/until.ts";
import { fillUp, mountSmall } from "./support/disk.ts";
import { assertEquation } from "./support/equation.ts";
import { report } from "./support/report.ts";
import { Stage } from "./support/stage.ts";

const MIB = 1024 * 1024;
const ROUNDS = 20;
/** A round waits some 4 s for metrics alone, milliseconds. */
const TIMEOUT_MS = 400_000;
const SPANS = 400;
/** How large each span is, bytes: together more than one segment holds on so small a disk. */
const SPAN_BYTES = 4000;

/** Spans of their own for each round and step of it. */
function firstId(round: number, step: number): number {
  return 1 + (round * 3 + step) * 10_000;
}

for (const end of ["SIGTERM", "SIGKILL"] as const) {
  test(`a disk without a free byte, after ${end}: it starts, drains and goes on, 20 times of 20`, async () => {
    using disk = new Sandbox();
    using _mounted = mountSmall(disk.path("disk"), 16 * MIB);
    await using stage = await Stage.open({ args: () => ["--spool-dir", join(disk.path("disk"), "spool")] });
    const { farEnd } = stage;
    for (const round of range(1, ROUNDS)) {
      farEnd.answer = () => ({ kind: "status", status: 503 });
      const first = await stage.start();
      await guestLife(stage.sandbox.address, plainFrames(firstId(round, 0), SPANS, SPAN_BYTES));
      await until(async () => {
        const { figures, isSpooled } = await first.reading();
        return figures.received === SPANS && isSpooled;
      }, "all are in the spool");
      await first.stop(end);
      fillUp(disk.path("disk"));

      const second = await stage.start();
      const { held } = await assertEquation(second);
      assert.ok(held >= SPANS, `${held} spans are found in round ${round}`);
      farEnd.answer = () => ({ kind: "ok" });
      await until(async () => (await assertEquation(second)).held === 0, "it drains");
      fillUp(disk.path("disk"));
      // It goes on: what comes now is in the spool, on a disk that is still full, and there after a kill.
      farEnd.answer = () => ({ kind: "status", status: 503 });
      await guestLife(stage.sandbox.address, plainFrames(firstId(round, 1), 50, SPAN_BYTES));
      await until(async () => {
        const { figures: { received, held }, isSpooled } = await second.reading();
        return held === 50 && received === SPANS + 50 && isSpooled;
      }, "new spans are in the spool");
      assert.deepEqual(second.recordsOf(/^the spool cannot be used/), []);
      await second.stop("SIGKILL");

      farEnd.answer = () => ({ kind: "ok" });
      const third = await stage.start();
      await until(async () => (await assertEquation(third)).held === 0, "the rest is delivered");
      assert.equal(farEnd.spans, round * (SPANS + 50));
      await third.stop();
      fs.rmSync(disk.path("disk/filler"));
    }
    const expected = ROUNDS * (SPANS + 50);
    report(`a full disk after ${end}`, {
      rounds: ROUNDS,
      sent: expected,
      arrived: farEnd.spans,
      "came once more": farEnd.duplicates,
    });
  }, { timeoutMs: TIMEOUT_MS });
}

test("the spool of an earlier version, killed, on a disk without a free byte: it is sent and removed", async () => {
  using disk = new Sandbox();
  using _mounted = mountSmall(disk.path("disk"), 4 * MIB);
  const directory = join(disk.path("disk"), "spool");
  fs.mkdirSync(directory, { mode: 0o700 });
  const batches = range(1, 40).map((sequence) => ({
    sequence,
    spans: 10,
    request: otlpRequest(range(sequence * 10, sequence * 10 + 9).map((number) => plainRecord(number, 2000))),
  }));
  const database = openOldDatabase(join(directory, "spool.db"), batches);
  // As a kill leaves it: with most of it in the log.
  const live = disk.path("copy");
  fs.cpSync(directory, live, { recursive: true });
  database.close();
  fs.rmSync(directory, { recursive: true });
  fs.cpSync(live, directory, { recursive: true });
  for (const path of [directory, ...fs.readdirSync(directory).map((name) => join(directory, name))]) {
    fs.chownSync(path, NOBODY, NOBODY);
  }
  await using stage = await Stage.open({ args: () => ["--spool-dir", directory, "--user", "nobody"] });
  fillUp(disk.path("disk"));
  const forwarder = await stage.start();
  await until(async () => (await assertEquation(forwarder)).held === 0, "it is sent");
  assert.equal(stage.farEnd.spans, 400);
  assert.equal(stage.farEnd.duplicates, 0);
  assert.deepEqual(fs.readdirSync(directory), []);
  await forwarder.stop();
});
