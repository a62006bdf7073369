import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { spanId } from "../../support/numbers.ts";
import { until } from "../../support/until.ts";
import { Guest } from "../../process/support/sandbox.ts";
import { plainFrames } from "../../process/support/spans.ts";
import { test } from "../../process/support/test.ts";
import { assertEquation } from "./support/equation.ts";
import { report } from "./support/report.ts";
import { spooled, Stage } from "./support/stage.ts";

const CLEAN = { code: 0, signal: null };
/** How often a forwarder is told to stop under load. */
const STOPS = 5;
/** How long a forwarder is held, milliseconds: several times the limits that it sets its guests. */
const HELD_MS = 3000;

/** A figure of the last record that a forwarder writes. */
function lastFigure({ forwarder }: Stage, name: string): number {
  return Number(forwarder.recordsOf("figures").at(-1)?.[name] ?? 0);
}

test("SIGTERM under load: what it has read is delivered, and it ends cleanly", async () => {
  // Guests that never fall silent are read for half of the time that a stop may take.
  await using stage = await Stage.open({ args: () => ["--shutdown-timeout", "6s"] });
  const { farEnd } = stage;
  let received = 0;
  for (let i = 0; i < STOPS; i++) {
    const forwarder = await stage.start();
    if (i === 0) [{}, { frames: 1, everyMs: 1 }, { bytes: 5000 }].map((pace) => stage.load(pace));
    const { spans } = farEnd;
    await until(() => farEnd.spans > spans + 50, "spans flow");
    assert.deepEqual(await forwarder.stop(), CLEAN, forwarder.stdout + forwarder.stderr);
    received += lastFigure(stage, "spans_received");
    assert.equal(lastFigure(stage, "spans_forwarded"), lastFigure(stage, "spans_received"));
  }
  await stage.stopLoad();
  const lost = stage.missing().length;
  report("SIGTERM under load", {
    stops: STOPS,
    sent: stage.sent,
    "read and delivered": received,
    "in a socket after the end": lost,
  });
  assert.equal(farEnd.spans, received);
  stage.assertNothingElse();
});

test("SIGTERM under load, collector away, with a spool: what it has read is there for the next", async () => {
  await using stage = await Stage.open({
    args: (sandbox) => [...spooled(sandbox), "--shutdown-timeout", "6s"],
  });
  const { farEnd } = stage;
  const first = await stage.start();
  farEnd.answer = () => ({ kind: "hang" });
  stage.load();
  await until(async () => (await first.figures()).held > 500, "spans are held");
  assert.deepEqual(await first.stop(), CLEAN);
  const held = lastFigure(stage, "spans_held");
  const forwarded = lastFigure(stage, "spans_forwarded");
  assert.equal(held + forwarded, lastFigure(stage, "spans_received"));
  await stage.stopLoad();
  farEnd.answer = () => ({ kind: "ok" });
  const second = await stage.start();
  await until(async () => (await assertEquation(second)).held === 0, "the spool is empty");
  assert.equal(await second.metric("spans_recovered_total"), held);
  assert.deepEqual(await second.stop(), CLEAN);
  report("SIGTERM, collector away", { "left in the spool": held, arrived: farEnd.spans });
  assert.equal(farEnd.spans, held + forwarded);
  stage.assertNothingElse();
});

test("SIGTERM under load, collector away, no spool: exit code 2, and how many are lost", async () => {
  await using stage = await Stage.open({ args: () => ["--shutdown-timeout", "2s"] });
  const { farEnd } = stage;
  const forwarder = await stage.start();
  farEnd.answer = () => ({ kind: "hang" });
  stage.load();
  await until(async () => (await forwarder.figures()).held > 500, "spans are held");
  assert.deepEqual(await forwarder.stop(), { code: 2, signal: null });
  const received = lastFigure(stage, "spans_received");
  const dropped = lastFigure(stage, "spans_dropped.shutdown");
  assert.ok(dropped > 500, `${dropped} dropped`);
  assert.equal(lastFigure(stage, "spans_forwarded") + dropped, received);
  const lost = await forwarder.record(/^spans are lost/);
  assert.equal(lost["spans"], dropped);
  assert.equal(farEnd.spans, received - dropped);
});

test("SIGSTOP and SIGCONT: guests wait, none is cut off for it, not one span is lost", async () => {
  await using stage = await Stage.open({
    args: (sandbox) => [
      ...spooled(sandbox),
      ...["--frame-timeout", "2s", "--idle-timeout", "2s"],
    ],
  });
  const { farEnd, sandbox } = stage;
  const forwarder = await stage.start();
  const load = stage.load({ frames: 10, everyMs: 5 });
  using half = await Guest.connect(sandbox.address);
  const equation = stage.watch();
  await until(() => farEnd.spans > 100, "spans flow");
  // A frame that was begun before, and is whole before it goes on.
  const number = load.first + 5_000_000;
  const frame = plainFrames(number, 1);
  await half.write(frame.subarray(0, 100));
  await until(async () => await forwarder.metric("guests") === 2, "both are read");
  await equation.stop();

  forwarder.kill("SIGSTOP");
  await half.write(frame.subarray(100));
  await sleep(HELD_MS);
  const { spans } = farEnd;
  const sent = stage.sent;
  forwarder.kill("SIGCONT");
  await until(() => farEnd.spans > spans, "spans flow again");
  await stage.stopLoad();
  await until(
    () => stage.missing().length === 0 && farEnd.arrivals.has(spanId(number)),
    "all arrive",
  );
  await until(async () => (await assertEquation(forwarder)).held === 0, "nothing is held");
  report("SIGSTOP and SIGCONT", {
    sent: stage.sent,
    "written before it went on": sent,
    arrived: farEnd.spans,
    "came once more": farEnd.duplicates,
    "guests cut off": await forwarder.metric("guests_disconnected_total", "frame-timeout") +
      await forwarder.metric("guests_disconnected_total", "idle-timeout"),
  });
  assert.equal(load.connections, 1);
  assert.equal(farEnd.spans, stage.sent + 1);
  assert.deepEqual(await forwarder.stop(), CLEAN);
});
