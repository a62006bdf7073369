import assert from "node:assert/strict";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { type Collector, startCollector } from "../../collector/collector.ts";
import type { Attributes } from "../../collector/spans.ts";
import { type AgentSettings, readSet, recordRandom, runAgent, SESSION_SPANS } from "../support/agent.ts";
import { assertReceived } from "../support/compare.ts";
import { Forwarder } from "../support/forwarder.ts";
import { PATIENCE, program, Workshop } from "../support/programs.ts";

const workshop = new Workshop();
after(() => workshop.close());

const HOST = { "service.name": "kata-agent", "kata.sandbox.id": "sandbox", "kata.component": "agent" };
const ENCODINGS = ["bincode", "json"] as const;
const FIXTURES = fileURLToPath(new URL("../../fixtures/", import.meta.url));

/** A forwarder of the sandbox `sandbox`, its collector, and a folder. */
async function pipeline(protocol: "grpc" | "http/protobuf", environment = {}): Promise<{
  collector: Collector;
  forwarder: Forwarder;
  directory: string;
}> {
  const directory = await workshop.folder();
  const collector = workshop.add(
    await startCollector({ binary: program("KTF_OTELCOL"), directory }),
  );
  const port = protocol === "grpc" ? collector.grpcPort : collector.httpPort;
  const settings = ["--otlp-protocol", protocol, "--otlp-endpoint", `http://127.0.0.1:${port}`];
  const forwarder = await Forwarder.start({
    directory,
    sandbox: "sandbox",
    arguments: settings,
    environment,
  });
  return { collector, forwarder: workshop.add(forwarder), directory };
}

for (const protocol of ["grpc", "http/protobuf"] as const) {
  for (const encoding of ENCODINGS) {
    test(`every kind of field arrives: ${encoding}, ${protocol}`, PATIENCE, async () => {
      const { collector, forwarder, directory } = await pipeline(protocol);
      const recorded = await readSet(`${FIXTURES}random`);
      const more = await recordRandom(directory, protocol === "grpc" ? 20_261 : 20_262, 2_000);
      // Two guests at once.
      await Promise.all([
        forwarder.write(recorded[encoding]),
        forwarder.write(more[encoding]),
      ]);
      assert.equal(await forwarder.stop(), "exited with 0");
      const sent = [...recorded.spans, ...more.spans];
      assert.equal(sent.length, 2_200);
      assertReceived(await collector.spans(), sent, HOST);
    });
  }
}

test(
  "doubles that JSON has no number for arrive as strings",
  PATIENCE,
  async () => {
    const { spans: [span], ...frames } = await readSet(`${FIXTURES}nonfinite`);
    assert.ok(span);
    const attributes = (text: (double: number) => string) =>
      Object.fromEntries(
        Object.entries(span.attributes).map(([key, value]) => [key, typeof value === "number" ? text(value) : value]),
      ) as Attributes;
    const expected = {
      bincode: { ...span, attributes: attributes(String) },
      // JSON has no infinity either: the agent writes null for all three.
      json: { ...span, attributes: attributes(() => "NaN") },
    };
    for (const encoding of ENCODINGS) {
      const { collector, forwarder } = await pipeline("http/protobuf");
      await forwarder.write(frames[encoding]);
      assert.equal(await forwarder.stop(), "exited with 0");
      assertReceived(await collector.spans(), [expected[encoding]], HOST);
    }
  },
);

test("the host's word wins over what a guest says of itself", PATIENCE, async () => {
  const { collector, forwarder, directory } = await pipeline("grpc", {
    OTEL_SERVICE_NAME: "from the host",
    OTEL_RESOURCE_ATTRIBUTES: "region=north",
  });
  const resource = {
    "service.name": "from the guest",
    "kata.sandbox.id": "another sandbox",
    "kata.vsock.cid": "2",
    region: "south",
    "os.type": "linux",
  };
  const sent = await Promise.all(
    ENCODINGS.map((encoding) => runAgent(forwarder.socket, directory, { encoding, resource })),
  );
  assert.equal(await forwarder.stop(), "exited with 0");
  const received = await collector.spans();
  assertReceived(received, sent.flat(), {
    "service.name": "from the host",
    "kata.sandbox.id": "sandbox",
    "kata.component": "agent",
    region: "north",
  });
  assert.deepEqual(received[0]?.resource.attributes, {
    "os.type": "linux",
    "service.name": "from the host",
    "kata.sandbox.id": "sandbox",
    "kata.component": "agent",
    region: "north",
  });
});

test("many agents at once: each span arrives once", PATIENCE, async () => {
  const sessions = 50;
  for (const protocol of ["grpc", "http/protobuf"] as const) {
    const { collector, forwarder, directory } = await pipeline(protocol);
    const agents: AgentSettings[] = ENCODINGS.flatMap((encoding) => [
      { encoding, sessions },
      { encoding, sessions, mode: "collated", connections: "dynamic" },
    ]);
    const sent = await Promise.all(
      agents.map((settings) => runAgent(forwarder.socket, directory, settings)),
    );
    assert.equal(await forwarder.stop(), "exited with 0");
    assert.equal(sent.flat().length, agents.length * sessions * SESSION_SPANS);
    assertReceived(await collector.spans(), sent.flat(), HOST);
  }
});
