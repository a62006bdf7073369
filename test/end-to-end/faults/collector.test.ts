import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { createServer, type Server, type TLSSocket } from "node:tls";
import type { Answer } from "../../support/collector-stub.ts";
import { eventually } from "../../collector/daemon.ts";
import { CA, EXPIRED, SERVER } from "../../exporters/support/certificates.ts";
import { until } from "../../support/until.ts";
import { guestLife, Sandbox } from "../../process/support/sandbox.ts";
import { plainFrames, plainIds } from "../../process/support/spans.ts";
import { test } from "../../process/support/test.ts";
import { assertEquation, type Equation } from "./support/equation.ts";
import { FarEnd } from "./support/far-end.ts";
import { fromEnvironment, report } from "./support/report.ts";
import { spooled, Stage } from "./support/stage.ts";

/** How long the collector is out of order, milliseconds: several tries long. */
const FAULT_MS = 3000;
/** How long it is away in the test of a long outage, seconds; `KTF_FAULTS_AWAY=60` for the full minute. */
const AWAY_S = fromEnvironment("KTF_FAULTS_AWAY", 15);
/** Between tries are up to 30 s (src/queue/backoff.ts); and as much again for a busy machine. */
const LONGEST_WAIT_MS = 60_000;
const CLEAN = { code: 0, signal: null };

/** Guests send before, during and after a fault; then all of it arrives, and the forwarder ends cleanly. */
async function assertNothingLost(
  what: string,
  stage: Stage,
  fault: () => Promise<void>,
): Promise<void> {
  const { farEnd } = stage;
  const forwarder = await stage.start();
  const equation = stage.watch();
  stage.load();
  stage.load({ frames: 1, everyMs: 5 });
  await until(() => farEnd.spans > 100, "spans flow");
  const before = stage.sent;
  await fault();
  const during = stage.sent - before;
  const { spans } = farEnd;
  const again = () => Promise.resolve(farEnd.spans > spans || undefined);
  assert.ok(await eventually(LONGEST_WAIT_MS, again), "spans flow again");
  await stage.stopLoad();
  await stage.assertAllArrive();
  await until(async () => (await assertEquation(forwarder)).held === 0, "nothing is held");
  await finish(what, stage, equation, { "written during it": during });
  // Otherwise this has shown nothing.
  assert.ok(during > 100, `${during} spans`);
}

async function finish(
  what: string,
  stage: Stage,
  equation: Equation,
  figures: Readonly<Record<string, number | string>>,
): Promise<void> {
  const { farEnd, forwarder } = stage;
  await equation.stop();
  const { dropped, invalid, forwarded } = await assertEquation(forwarder);
  assert.deepEqual([dropped, invalid], [0, 0]);
  assert.deepEqual(await forwarder.stop(), CLEAN);
  assert.equal(forwarded, stage.sent);
  assert.ok(equation.readings > 10, `${equation.readings} readings`);
  report(what, {
    sent: stage.sent,
    ...figures,
    arrived: farEnd.spans,
    "came once more": farEnd.duplicates,
    "readings of the equation": equation.readings,
  });
}

/** Asserts that the log says of each change of the state, not of each try. */
function assertToldOnce({ forwarder }: Stage): void {
  const begun = forwarder.recordsOf(/^collector unreachable/).length;
  // Twice where the answer to a request that had been taken before came in between.
  assert.ok(begun === 1 || begun === 2, `told ${begun} times`);
  assert.equal(forwarder.recordsOf("collector is back").length, begun);
}

/** What the collector answers in place of what it should, and how that is told. */
const ANSWERS: readonly { what: string; answer: Answer }[] = [
  { what: "accepts and hangs", answer: { kind: "hang" } },
  { what: "answers 429", answer: { kind: "status", status: 429 } },
  { what: "answers 502", answer: { kind: "status", status: 502 } },
  { what: "answers 503", answer: { kind: "status", status: 503 } },
  { what: "answers 504", answer: { kind: "status", status: 504 } },
  { what: "answers garbage", answer: { kind: "garbage" } },
  { what: "answers half a response", answer: { kind: "half" } },
  { what: "resets mid-request, having taken nothing", answer: { kind: "reset" } },
  { what: "resets mid-request, having taken it", answer: { kind: "reset", takes: true } },
];

for (const { what, answer } of ANSWERS) {
  test(`the collector ${what}: not one span is lost`, async () => {
    await using stage = await Stage.open();
    const { farEnd } = stage;
    let faults = 0;
    await assertNothingLost(`collector ${what}`, stage, async () => {
      farEnd.answer = () => {
        faults++;
        return answer;
      };
      await sleep(FAULT_MS);
      farEnd.answer = () => ({ kind: "ok" });
    });
    assert.ok(faults > 0);
    assertToldOnce(stage);
  });
}

test("the collector does all of it in turn, with a spool: not one span is lost", async () => {
  await using stage = await Stage.open({ args: spooled });
  const { farEnd } = stage;
  await assertNothingLost("collector does all in turn, with a spool", stage, async () => {
    let answered = 0;
    farEnd.answer = () => {
      const { answer } = ANSWERS[answered++ % ANSWERS.length] as (typeof ANSWERS)[number];
      return answer;
    };
    await sleep(FAULT_MS);
    farEnd.answer = () => ({ kind: "ok" });
  });
});

test("the collector answers 429 with Retry-After: no request comes earlier", async () => {
  await using stage = await Stage.open();
  const { farEnd, sandbox } = stage;
  const forwarder = await stage.start();
  const retryAfterS = 2;
  farEnd.requests.length = 0;
  farEnd.answer = () =>
    farEnd.requests.length === 1 ? { kind: "status", status: 429, retryAfter: String(retryAfterS) } : { kind: "ok" };
  await guestLife(sandbox.address, plainFrames(1, 1));
  await until(() => farEnd.requests.length === 1, "the first request");
  // What comes meanwhile waits as well.
  for (let i = 2; i <= 10; i++) await guestLife(sandbox.address, plainFrames(i, 1));
  await until(() => farEnd.spans === 10, "all spans arrive");
  const [first = 0, second = 0] = farEnd.requests;
  const gap = second - first;
  report("429 with Retry-After", {
    "asked for": `${retryAfterS} s`,
    kept: `${Math.round(gap)} ms`,
  });
  // Not how fast it is: a lower bound, which holds on every machine. Timers may fire a millisecond early.
  assert.ok(gap >= retryAfterS * 1000 - 1, `${gap} ms`);
  assert.deepEqual([...farEnd.arrivals.keys()].sort(), plainIds(1, 10));
  await until(async () => (await assertEquation(forwarder)).held === 0, "nothing is held");
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

test("the collector answers 500: it may not be asked again, and each span is counted and kept", async () => {
  await using stage = await Stage.open({
    args: (sandbox) => ["--dead-letter", sandbox.path("letters")],
  });
  const { farEnd } = stage;
  const forwarder = await stage.start();
  const equation = stage.watch();
  stage.load();
  await until(() => farEnd.spans > 100, "spans flow");
  farEnd.answer = () => ({ kind: "status", status: 500 });
  await until(async () => (await forwarder.figures()).dropped > 100, "spans are refused");
  farEnd.answer = () => ({ kind: "ok" });
  const { spans } = farEnd;
  await until(() => farEnd.spans > spans, "spans flow again");
  await stage.stopLoad();
  await until(async () => (await assertEquation(forwarder)).held === 0, "nothing is held");
  await equation.stop();
  const { received, forwarded, dropped } = await assertEquation(forwarder);
  assert.deepEqual(await forwarder.stop(), CLEAN);
  const letters = [
    ...readFileSync(stage.sandbox.path("letters"), "utf8").matchAll(/"spanId":"([0-9a-f]{16})"/g),
  ].map(([, id]) => id);
  report("collector answers 500", {
    sent: stage.sent,
    arrived: farEnd.spans,
    dropped,
    "dead letters": letters.length,
    "readings of the equation": equation.readings,
  });
  assert.equal(received, stage.sent);
  assert.equal(forwarded, farEnd.spans);
  assert.equal(letters.length, dropped);
  // Each span is in one of the two places, and in one only.
  assert.deepEqual(stage.missing().sort(), letters.sort());
});

test(`the collector refuses connections, and comes back after ${AWAY_S} s`, async () => {
  await using stage = await Stage.open();
  const { farEnd } = stage;
  await assertNothingLost(`collector away for ${AWAY_S} s`, stage, async () => {
    await farEnd.goAway();
    await sleep(AWAY_S * 1000);
    await farEnd.comeBack();
  });
  assertToldOnce(stage);
});

/** TLS in front of a far end. */
async function startTls(
  farEnd: FarEnd,
  pair: { cert: string; key: string },
  port: number,
): Promise<{ readonly port: number; stop(): Promise<void> }> {
  const sockets = new Set<TLSSocket>();
  const server: Server = createServer({ ...pair }, (socket) => {
    sockets.add(socket);
    const behind = connect(farEnd.port, "127.0.0.1");
    behind.on("error", () => socket.destroy());
    socket.on("error", () => behind.destroy());
    socket.on("close", () => {
      sockets.delete(socket);
      behind.destroy();
    });
    socket.pipe(behind).pipe(socket);
  });
  // A client that does not like the certificate.
  server.on("tlsClientError", () => {});
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => resolve());
  });
  return {
    port: (server.address() as AddressInfo).port,
    stop: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

test("the collector speaks TLS with an expired certificate: spans wait for a good one", async () => {
  await using farEnd = await FarEnd.start();
  let tls = await startTls(farEnd, SERVER, 0);
  using files = new Sandbox();
  const ca = files.path("ca.pem");
  writeFileSync(ca, CA);
  await using stage = await Stage.open({
    farEnd,
    endpoint: `https://127.0.0.1:${tls.port}`,
    run: { env: { OTEL_EXPORTER_OTLP_CERTIFICATE: ca } },
  });
  await assertNothingLost("collector's certificate has expired", stage, async () => {
    await tls.stop();
    tls = await startTls(farEnd, EXPIRED, tls.port);
    const { spans } = farEnd;
    await sleep(FAULT_MS);
    assert.equal(farEnd.spans, spans, "spans went to a collector that shows no good certificate");
    const { error } = await stage.forwarder.record(/^collector unreachable/);
    report("TLS", { told: String(error) });
    await tls.stop();
    tls = await startTls(farEnd, SERVER, tls.port);
  });
  await tls.stop();
});
