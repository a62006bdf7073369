import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { type Collector, startCollector } from "../../collector/collector.ts";
import { type Jaeger, startJaeger } from "../../collector/jaeger.ts";
import type { ReceivedSpan } from "../../collector/spans.ts";
import { concatenate, frame, splitFrames } from "../../decode/support/fixtures.ts";
import { jaegerBodies, jaegerExpected, jaegerFile } from "../../decode/support/jaeger-fixtures.ts";
import { HttpClient } from "../../receivers/support/http-post.ts";
import { type ProgramName, runExporter } from "../../runtime-exporter/programs.ts";
import { runAgent } from "../support/agent.ts";
import { Forwarder } from "../support/forwarder.ts";
import { PATIENCE, program, Workshop } from "../support/programs.ts";
import { outline, shownTree } from "../support/trace-tree.ts";

// The exporters of Kata's runtimes and of other programs on a host, through the forwarder, into a real Collector and a
// real Jaeger.

const workshop = new Workshop();
after(() => workshop.close());

const SANDBOX = "9f3c51aa5b7e4c1d8f2a6b3e0c9d7f10";

interface Stage {
  readonly collector: Collector;
  readonly forwarder: Forwarder;
  readonly jaegerUrl: string;
  readonly otlpPort: number;
}

/** A forwarder with both receivers in front of a collector. */
async function stage(): Promise<Stage> {
  const collector = workshop.add(
    await startCollector({
      binary: program("KTF_OTELCOL"),
      directory: await workshop.folder(),
    }),
  );
  const forwarder = workshop.add(
    await Forwarder.start({
      directory: await workshop.folder(),
      sandbox: SANDBOX,
      arguments: [
        ...["--otlp-protocol", "grpc", "--otlp-endpoint", `http://127.0.0.1:${collector.grpcPort}`],
        ...["--jaeger-listen", "0", "--otlp-listen", "0"],
      ],
    }),
  );
  const jaegerUrl = `http://127.0.0.1:${forwarder.portOf("--jaeger-listen")}/api/traces`;
  return { collector, forwarder, jaegerUrl, otlpPort: forwarder.portOf("--otlp-listen") };
}

/** A span as test/runtime-exporter/go prints it. */
interface Printed {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly kind: number;
  readonly statusCode: number;
  readonly statusMessage: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly events: readonly string[];
  readonly links: readonly string[];
  readonly scope: string;
}

async function run(name: ProgramName, ...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await runExporter(name, args, { OTEL_BSP_SCHEDULE_DELAY: "100" });
  assert.equal(status, 0, stderr);
  return stdout;
}

const lines = (text: string): Printed[] => text.trim().split("\n").map((line) => JSON.parse(line) as Printed);

/** What a received span says, in the form in which the Go program prints one. */
function asPrinted(span: ReceivedSpan): Omit<Printed, "scope"> {
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    parentSpanId: span.parentSpanId,
    name: span.name,
    kind: span.kind,
    statusCode: span.status.code,
    statusMessage: span.status.message,
    attributes: Object.fromEntries(Object.entries(span.attributes).map(([key, value]) => [key, String(value)])),
    events: span.events.map(({ name }) => name),
    links: span.links.map(({ spanId }) => spanId),
  };
}

function assertDelivered(printed: readonly Printed[], received: readonly ReceivedSpan[]): void {
  const byId = new Map(received.map((span) => [span.spanId, span]));
  assert.ok(printed.length > 3);
  for (const { scope: _, ...span } of printed) {
    const found = byId.get(span.spanId);
    assert.ok(found !== undefined, `${span.name} has not arrived`);
    assert.deepEqual(asPrinted(found), span);
  }
}

describe("runtimes", () => {
  test("the Go shim's exporter delivers its spans as they are, with or without credentials", PATIENCE, async () => {
    const { collector, jaegerUrl } = await stage();
    const printed = [
      ...lines(await run("exporter", "-endpoint", jaegerUrl, "-spans", "12")),
      ...lines(await run("exporter", "-endpoint", jaegerUrl, "-user", "kata", "-password", "secret")),
    ];
    const received = await collector.waitForSpans(printed.length, PATIENCE.timeout);
    assertDelivered(printed, received);
    for (const { resource } of received) {
      assert.equal(resource.attributes["service.name"], "kata");
      assert.equal(resource.attributes["kata.component"], "runtime");
    }
  });

  test("the exporter of Kata 2.1 does too", PATIENCE, async () => {
    const { collector, jaegerUrl } = await stage();
    await run("exporter015", jaegerUrl);
    const received = await collector.waitForSpans(4, PATIENCE.timeout);
    const byName = new Map(received.map((span) => [span.name, span]));
    const root = byName.get("rootSpan");
    assert.deepEqual(
      [0, 1, 2].map((i) => byName.get(`operation ${i}`)).map((span) => [
        span?.kind,
        span?.status.code,
        span?.status.message,
        span?.parentSpanId,
        span?.events[0]?.name,
        span?.links[0]?.spanId,
      ]),
      [
        [1, 0, "message 0", root?.spanId, "event", root?.spanId],
        [2, 2, "message 1", root?.spanId, "event", root?.spanId],
        [3, 1, "message 2", root?.spanId, "event", root?.spanId],
      ],
    );
  });

  for (const protocol of ["http1", "http2"] as const) {
    test(
      `the Rust runtime's exporter over ${protocol} delivers its spans, and no flood of its own`,
      PATIENCE,
      async () => {
        const { collector, forwarder, jaegerUrl } = await stage();
        const rounds = 12;
        await run("runtimers", jaegerUrl, protocol, String(rounds));
        // Ten spans a round, and a last one.
        const received = await collector.waitForSpans(10 * rounds + 1, PATIENCE.timeout);
        assert.equal(await forwarder.stop(), "exited with 0");
        assert.deepEqual(new Set(received.map(({ name }) => name)), new Set(["create_container", "inner", "last"]));
        assert.equal(received.length, 10 * rounds + 1);
        const ids = new Set(received.map(({ spanId }) => spanId));
        const inner = received.filter(({ name }) => name === "inner");
        assert.ok(inner.every(({ parentSpanId }) => ids.has(parentSpanId)));
        const figures = forwarder.figures();
        const noise = Number(figures["spans_left_out.http2-noise"] ?? 0);
        const batches = Number(figures["payloads.jaeger-thrift"]);
        // Without the settings that tame it there are hundreds a batch, and soon 512.
        if (protocol === "http2") assert.ok(noise > 0 && noise < 100 * batches, `${noise} in ${batches} batches`);
      },
    );
  }
});

describe("other programs", () => {
  const ways = [
    ["otlp-http", "http", []],
    ["otlp-http", "http", ["-gzip"]],
    ["otlp-grpc", "http", []],
    ["otlp-grpc", "http", ["-gzip"]],
  ] as const;
  for (const [protocol, scheme, options] of ways) {
    test(`OpenTelemetry's Go SDK over ${protocol} ${options.join(" ")}`, PATIENCE, async () => {
      const { collector, otlpPort } = await stage();
      const path = protocol === "otlp-http" ? "/v1/traces" : "";
      const endpoint = `${scheme}://127.0.0.1:${otlpPort}${path}`;
      const printed = lines(await run("exporter", "-protocol", protocol, "-endpoint", endpoint, ...options));
      const received = await collector.waitForSpans(printed.length, PATIENCE.timeout);
      assertDelivered(printed, received);
      for (const { resource } of received) assert.deepEqual(resource.attributes, { "service.name": "containerd" });
    });
  }

  test("telemetrygen over both protocols", PATIENCE, async () => {
    const { collector, otlpPort } = await stage();
    const common = [
      "traces",
      "--otlp-insecure",
      "--otlp-endpoint",
      `127.0.0.1:${otlpPort}`,
      "--traces",
      "50",
      "--rate",
      "0",
    ];
    await run("telemetrygen", ...common);
    await run("telemetrygen", ...common, "--otlp-http");
    // Two spans a trace.
    const received = await collector.waitForSpans(200, PATIENCE.timeout);
    assert.equal(received.length, 200);
    assert.deepEqual(
      new Set(received.map(({ resource }) => resource.attributes["service.name"])),
      new Set(["telemetrygen"]),
    );
  });

  test("the Collector's own exporters over both protocols", PATIENCE, async () => {
    const { collector, otlpPort } = await stage();
    const first = workshop.add(
      await startCollector({
        binary: program("KTF_OTELCOL"),
        directory: await workshop.folder(),
        exporters: {
          otlp: { endpoint: `127.0.0.1:${otlpPort}`, tls: { insecure: true } },
          otlphttp: { endpoint: `http://127.0.0.1:${otlpPort}` },
        },
      }),
    );
    const endpoint = `http://127.0.0.1:${first.grpcPort}`;
    const printed = lines(await run("exporter", "-protocol", "otlp-grpc", "-endpoint", endpoint));
    // Each of its exporters sends each span.
    const received = await collector.waitForSpans(2 * printed.length, PATIENCE.timeout);
    assertDelivered(printed, received);
  });
});

describe("one tree from one forwarder", () => {
  let started: Promise<Jaeger> | undefined;
  const jaeger = (): Promise<Jaeger> =>
    started ??= workshop.folder().then(async (directory) =>
      workshop.add(await startJaeger({ binary: program("KTF_JAEGER"), directory }))
    );

  async function forwarderTo(port: number): Promise<Forwarder> {
    return workshop.add(
      await Forwarder.start({
        directory: await workshop.folder(),
        sandbox: SANDBOX,
        arguments: ["--otlp-protocol", "grpc", "--otlp-endpoint", `http://127.0.0.1:${port}`, "--jaeger-listen", "0"],
      }),
    );
  }

  for (const encoding of ["bincode", "json-frames"] as const) {
    test(
      `a collated trace of the Go runtime and an agent is one tree with one root: ${encoding}`,
      PATIENCE,
      async () => {
        const { grpcPort, waitForTrace } = await jaeger();
        const forwarder = await forwarderTo(grpcPort);
        const runtime = jaegerExpected("go-session");
        // Each encoding has a trace of its own, so that Jaeger does not get a span twice.
        const traceId = encoding === "bincode" ? runtime[0]?.traceId ?? "" : "5".repeat(32);
        const rename = (bytes: Uint8Array): Uint8Array =>
          encoding === "bincode" ? bytes : renamed(bytes, runtime[0]?.traceId ?? "", traceId);
        const client = new HttpClient(forwarder.portOf("--jaeger-listen"));
        for (const body of jaegerBodies("go-session")) {
          const answer = await client.post("/api/traces", rename(body), { "content-type": "application/x-thrift" });
          assert.equal(answer.status, 202);
        }
        client.close();
        const frames = splitFrames(jaegerFile(`collated-agent.${encoding}`));
        await forwarder.write(concatenate(frames.map(rename).map(frame)));
        assert.equal(await forwarder.stop(), "exited with 0");

        const trace = await waitForTrace(traceId, 42, PATIENCE.timeout);
        assert.equal(trace.spans.length, 42);
        const [root, ...others] = shownTree(trace);
        assert.deepEqual(others, []);
        assert.equal(`${root?.service}: ${root?.name}`, "kata: rootSpan");
        const shown = outline([root as NonNullable<typeof root>]);
        assert.equal(shown.filter((line) => line.includes("kata-agent: ")).length, 8);
        for (const [at, line] of shown.entries()) {
          if (!line.includes("kata-agent: ")) continue;
          const indent = line.search(/\S/);
          const parent = shown.slice(0, at).findLast((above) => above.search(/\S/) === indent - 2);
          assert.match(parent ?? "", /kata: ttrpc\.|kata-agent: /);
        }
      },
    );
  }

  test("an isolated sandbox's two halves are found by its ID", PATIENCE, async () => {
    const { grpcPort, queryPort } = await jaeger();
    const forwarder = await forwarderTo(grpcPort);
    const directory = await workshop.folder();
    const agent = await runAgent(forwarder.socket, directory, {});
    const url = `http://127.0.0.1:${forwarder.portOf("--jaeger-listen")}/api/traces`;
    const runtime = lines(await run("exporter", "-endpoint", url, "-id", SANDBOX, "-spans", "4"));
    assert.equal(await forwarder.stop(), "exited with 0");
    const found = async (service: string): Promise<Set<string>> => {
      const tags = JSON.stringify({ "kata.sandbox.id": SANDBOX });
      const end = String((Date.now() + 86_400_000) * 1000);
      const search = new URLSearchParams({ service, tags, start: "0", end, limit: "1000000" });
      const response = await fetch(`http://127.0.0.1:${queryPort}/api/traces?${search}`);
      const { data } = await response.json() as { data: { spans: { spanID: string }[] }[] };
      return new Set(data.flatMap(({ spans }) => spans.map(({ spanID }) => spanID)));
    };
    const agentSpans = await found("kata-agent");
    assert.ok(agent.every(({ spanId }) => agentSpans.has(spanId)));
    const runtimeSpans = await found("kata");
    assert.ok(runtime.some(({ spanId }) => runtimeSpans.has(spanId)));
  });
});

/** The payload with another trace ID: in Thrift and bincode as bytes, in JSON as a number. */
function renamed(bytes: Uint8Array, from: string, to: string): Uint8Array {
  const buffer = Buffer.from(bytes);
  const number = (id: string): string => BigInt(`0x${id}`).toString();
  const text = buffer.toString("latin1").replaceAll(number(from), number(to));
  const [high, low] = [from.slice(0, 16), from.slice(16)].map((half) => Buffer.from(half, "hex").toString("latin1"));
  const [newHigh, newLow] = [to.slice(0, 16), to.slice(16)].map((half) => Buffer.from(half, "hex").toString("latin1"));
  return Buffer.from(text.replaceAll(high ?? "", newHigh ?? "").replaceAll(low ?? "", newLow ?? ""), "latin1");
}
