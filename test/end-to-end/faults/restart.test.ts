import assert from "node:assert/strict";
import { after } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startCollector } from "../../collector/collector.ts";
import { until } from "../../support/until.ts";
import { test } from "../../process/support/test.ts";
import { program, Workshop } from "../support/programs.ts";
import { assertEquation } from "./support/equation.ts";
import { FarEnd } from "./support/far-end.ts";
import { report } from "./support/report.ts";
import { spooled, Stage } from "./support/stage.ts";

const workshop = new Workshop();
after(() => workshop.close());

/** How often the collector dies, how long it is up before, and how long it is then away, milliseconds. */
const CRASHES = 4;
const UP_MS = 700;
const AWAY_MS = 300;

for (
  const [protocol, isSpooled] of [["grpc", false], ["http/protobuf", false], [
    "grpc",
    true,
  ]] as const
) {
  const how = `${protocol}, ${isSpooled ? "with" : "without"} a spool`;
  test(`a real collector is killed and restarted under load, ${how}: not one span is lost`, async () => {
    const collector = workshop.add(
      await startCollector({
        binary: program("KTF_OTELCOL"),
        directory: await workshop.folder(),
      }),
    );
    const port = protocol === "grpc" ? collector.grpcPort : collector.httpPort;
    await using stage = await Stage.open({
      // Not used: the real collector is the far end.
      farEnd: await FarEnd.start(),
      endpoint: `http://127.0.0.1:${port}`,
      args: (sandbox) => ["--otlp-protocol", protocol, ...isSpooled ? spooled(sandbox) : []],
    });
    const forwarder = await stage.start();
    const equation = stage.watch();
    stage.load();
    stage.load({ frames: 1, everyMs: 5 });
    for (let crash = 0; crash < CRASHES; crash++) {
      const spans = (await collector.spans()).length;
      // It gets some before each crash.
      await collector.waitForSpans(spans + 1, 60_000);
      await sleep(UP_MS);
      await collector.kill();
      await sleep(AWAY_MS);
      await collector.restart();
    }
    await stage.stopLoad();
    await until(async () => (await assertEquation(forwarder)).held === 0, "nothing is held");
    const { forwarded, dropped, invalid } = await assertEquation(forwarder);
    await equation.stop();
    assert.deepEqual(await forwarder.stop(), { code: 0, signal: null });
    const received = (await collector.spans()).map(({ spanId }) => spanId);
    const arrived = new Set(received);
    report(`real collector killed ${CRASHES} times, ${how}`, {
      sent: stage.sent,
      arrived: arrived.size,
      "came once more": received.length - arrived.size,
      "readings of the equation": equation.readings,
    });
    const sent = stage.guests.flatMap((guest) => guest.ids());
    assert.deepEqual(sent.filter((id) => !arrived.has(id)), []);
    assert.equal(arrived.size, sent.length);
    assert.deepEqual([forwarded, dropped, invalid], [sent.length, 0, 0]);
    assert.ok(forwarderRetried(forwarder.recordsOf("figures")), "no request has failed");
    assert.ok(equation.readings > 10, `${equation.readings} readings`);
  });
}

/** Otherwise the crashes have shown nothing. */
function forwarderRetried(figures: readonly { readonly [key: string]: unknown }[]): boolean {
  return Number(figures.at(-1)?.["export_retries"]) > 0;
}
