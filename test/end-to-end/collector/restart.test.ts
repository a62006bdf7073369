import assert from "node:assert/strict";
import { after, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { type Collector, startCollector } from "../../collector/collector.ts";
import { type AgentSettings, runAgent, type SentSpan } from "../support/agent.ts";
import { assertDelivered, assertReceived } from "../support/compare.ts";
import { Forwarder } from "../support/forwarder.ts";
import { PATIENCE, program, Workshop } from "../support/programs.ts";

const workshop = new Workshop();
after(() => workshop.close());

const HOST = { "service.name": "kata-agent", "kata.sandbox.id": "sandbox", "kata.component": "agent" };
const PROTOCOLS = ["grpc", "http/protobuf"] as const;

/** How often the collector dies, how many more spans it takes before, and how long it is then away, milliseconds. */
const CRASHES = 3;
const SPANS_BEFORE = 200;
const AWAY_MS = 150;

/** Agents that keep sending: about 40 sessions at a time, each over a few hundred milliseconds. */
const LOAD: readonly AgentSettings[] = [
  { encoding: "bincode", sessions: 20, pace: 15 },
  { encoding: "json", sessions: 20, pace: 15, mode: "collated" },
];

async function startedCollector(): Promise<Collector> {
  const directory = await workshop.folder();
  return workshop.add(await startCollector({ binary: program("KTF_OTELCOL"), directory }));
}

async function startedForwarder(
  directory: string,
  protocol: (typeof PROTOCOLS)[number],
  collector: Collector,
  ...more: readonly string[]
): Promise<Forwarder> {
  const port = protocol === "grpc" ? collector.grpcPort : collector.httpPort;
  const endpoint = ["--otlp-protocol", protocol, "--otlp-endpoint", `http://127.0.0.1:${port}`];
  // Small batches, so that many are under way when the collector dies.
  const environment = { OTEL_BSP_MAX_EXPORT_BATCH_SIZE: "64", OTEL_BSP_SCHEDULE_DELAY: "10" };
  const settings = {
    directory,
    sandbox: "sandbox",
    arguments: [...endpoint, ...more],
    environment,
  };
  return workshop.add(await Forwarder.start(settings));
}

/** Sends until `done` has resolved, and at least once. */
async function sendUntil(done: Promise<void>, socket: string, directory: string) {
  let isDone = false;
  void done.finally(() => {
    isDone = true;
  });
  const sending = LOAD.map(async (settings) => {
    const sent: SentSpan[] = [];
    do sent.push(...await runAgent(socket, directory, settings)); while (!isDone);
    return sent;
  });
  const [sent] = await Promise.all([Promise.all(sending), done]);
  return sent.flat();
}

for (const protocol of PROTOCOLS) {
  for (const spooled of [false, true]) {
    const how = `${protocol}, ${spooled ? "with" : "without"} a spool`;
    test(`nothing is lost when the collector is killed under load: ${how}`, PATIENCE, async () => {
      const collector = await startedCollector();
      const directory = await workshop.folder();
      const spool = spooled ? ["--spool-dir", `${directory}/spool`] : [];
      const forwarder = await startedForwarder(directory, protocol, collector, ...spool);

      const crashing = async () => {
        for (let crash = 0; crash < CRASHES; crash++) {
          const spans = (await collector.spans()).length;
          await collector.waitForSpans(spans + SPANS_BEFORE, PATIENCE.timeout);
          await collector.kill();
          await delay(AWAY_MS);
          await collector.restart();
        }
      };
      const sent = await sendUntil(crashing(), forwarder.socket, directory);
      assert.equal(await forwarder.stop(), "exited with 0");

      assertDelivered(await collector.spans(), sent, HOST);
      const figures = forwarder.figures();
      assert.equal(figures["spans_received"], sent.length);
      assert.equal(figures["spans_forwarded"], sent.length);
      assert.equal(figures["spans_held"], 0);
      // Otherwise this has shown nothing.
      assert.ok(figures["export_retries"] as number > 0, "no request has failed");
    });
  }

  test(
    `what is spooled while the collector is away is sent by the next forwarder: ${protocol}`,
    PATIENCE,
    async () => {
      const collector = await startedCollector();
      const directory = await workshop.folder();
      const spool = ["--spool-dir", `${directory}/spool`];
      await collector.kill();

      // A collector that is away is no error at the start either.
      const first = await startedForwarder(directory, protocol, collector, ...spool);
      const early = await runAgent(first.socket, directory, { sessions: 20 });
      assert.equal(await first.stop(), "exited with 0");
      assert.equal(first.figures()["spans_held"], early.length);
      assert.deepEqual(await collector.spans(), []);

      await collector.restart();
      const second = await startedForwarder(directory, protocol, collector, ...spool);
      const late = await runAgent(second.socket, directory, { encoding: "json", sessions: 20 });
      assert.equal(await second.stop(), "exited with 0");
      assertReceived(await collector.spans(), [...early, ...late], HOST);
      assert.equal(second.figures()["spans_recovered"], early.length);
    },
  );
}

test("a stop while the collector is away says how many spans are lost", PATIENCE, async () => {
  const collector = await startedCollector();
  const directory = await workshop.folder();
  const forwarder = await startedForwarder(
    directory,
    "grpc",
    collector,
    "--shutdown-timeout",
    "2s",
  );
  await collector.kill();
  const sent = await runAgent(forwarder.socket, directory);
  assert.equal(await forwarder.stop(), "exited with 2");
  const lost = await forwarder.waitForRecord(
    "spans are lost: the collector has not taken them in time",
  );
  assert.equal(lost["spans"], sent.length);
});
