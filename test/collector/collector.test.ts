import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { type Certificates, type KeyPair, makeCertificates } from "./certificates.ts";
import { type Collector, type CollectorSettings, startCollector } from "./collector.ts";
import { type Jaeger, startJaeger } from "./jaeger.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";

let root: string;
let certificates: Certificates;
const started: (Collector | Jaeger)[] = [];

before(async () => {
  root = await mkdtemp(join(tmpdir(), "collector-test-"));
  certificates = await makeCertificates(root);
});

after(async () => {
  await Promise.all(started.map((server) => server.stop()));
  await rm(root, { recursive: true });
});

function binary(variable: "KTF_OTELCOL" | "KTF_JAEGER"): string {
  const path = process.env[variable];
  assert.ok(path, `${variable} must be a path that test/collector/build prints`);
  return path;
}

async function collector(
  name: string,
  settings: Omit<CollectorSettings, "binary" | "directory"> = {},
): Promise<Collector> {
  const directory = join(root, name);
  await mkdir(directory);
  const running = await startCollector({ binary: binary("KTF_OTELCOL"), directory, ...settings });
  started.push(running);
  return running;
}

async function jaeger(name: string): Promise<Jaeger> {
  const directory = join(root, name);
  await mkdir(directory);
  const running = await startJaeger({ binary: binary("KTF_JAEGER"), directory });
  started.push(running);
  return running;
}

/** An export request with one span of each name; all else is the same. */
function traces(...names: readonly string[]): string {
  const attribute = (key: string, value: unknown) => ({ key, value });
  const spans = names.map((name, index) => ({
    traceId: TRACE,
    spanId: `00f067aa0ba902b${index}`,
    parentSpanId: index === 0 ? "" : "00f067aa0ba902b0",
    traceState: "vendor=value",
    flags: 257,
    name,
    kind: 3,
    // More digits than a JavaScript number holds.
    startTimeUnixNano: "1700000000123456789",
    endTimeUnixNano: "1700000001123456789",
    attributes: [
      attribute("string", { stringValue: "väl\nue" }),
      attribute("bool", { boolValue: false }),
      attribute("int", { intValue: "-9223372036854775808" }),
      attribute("double", { doubleValue: 3 }),
      attribute("bytes", { bytesValue: "AP8=" }),
      attribute("array", { arrayValue: { values: [{ intValue: "1" }, { stringValue: "two" }] } }),
      attribute("map", { kvlistValue: { values: [attribute("__proto__", { boolValue: true })] } }),
      attribute("empty", {}),
    ],
    droppedAttributesCount: 1,
    events: [{
      timeUnixNano: "1700000000500000001",
      name: "event",
      attributes: [attribute("n", { intValue: "7" }), attribute("n", { stringValue: "again" })],
    }],
    droppedEventsCount: 2,
    links: [{
      traceId: "11112222333344445555666677778888",
      spanId: "1111222233334444",
      traceState: "linked=yes",
      flags: 1,
      attributes: [attribute("why", { stringValue: "because" })],
      droppedAttributesCount: 4,
    }],
    droppedLinksCount: 3,
    status: { code: 2, message: "failed" },
  }));
  return JSON.stringify({
    resourceSpans: [{
      resource: { attributes: [attribute("service.name", { stringValue: "kata-agent" })] },
      schemaUrl: "https://opentelemetry.io/schemas/1.21.0",
      scopeSpans: [{ scope: { name: "scope", version: "1.2.3" }, spans }],
    }],
  });
}

async function post(httpPort: number, body: string): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${httpPort}/v1/traces`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body,
  });
  assert.equal(response.status, 200, await response.text());
}

/** As `post`, over TLS; resolves with the status. */
function postSecurely(httpPort: number, body: string, client?: KeyPair): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        ...{ host: "localhost", port: httpPort, path: "/v1/traces", method: "POST", agent: false },
        ...{ headers: { "Content-Type": "application/json" } },
        ca: readFileSync(certificates.ca.certificate),
        ...(client && { cert: readFileSync(client.certificate), key: readFileSync(client.key) }),
      },
      (response) => {
        response.resume();
        response.once("end", () => resolve(response.statusCode ?? 0));
      },
    );
    sent.once("error", reject);
    sent.end(body);
  });
}

const names = (spans: readonly { readonly name: string }[]) => spans.map((span) => span.name);

test("a collector shows every field of the spans that it receives", async () => {
  const target = await collector("fields");
  assert.deepEqual(await target.spans(), []);

  await post(target.httpPort, traces("root", "child"));

  // Without a wait: what has been acknowledged is in the file.
  const spans = await target.spans();
  assert.deepEqual(names(spans), ["root", "child"]);
  assert.equal(spans[0]?.parentSpanId, "");
  assert.deepEqual(spans[1], {
    traceId: TRACE,
    spanId: "00f067aa0ba902b1",
    parentSpanId: "00f067aa0ba902b0",
    traceState: "vendor=value",
    flags: 257,
    name: "child",
    kind: 3,
    startTimeUnixNano: 1700000000123456789n,
    endTimeUnixNano: 1700000001123456789n,
    attributes: {
      string: "väl\nue",
      bool: false,
      int: -9223372036854775808n,
      double: 3,
      bytes: new Uint8Array([0, 255]),
      array: [1n, "two"],
      map: Object.fromEntries([["__proto__", true]]),
      empty: null,
    },
    droppedAttributesCount: 1,
    events: [{
      timeUnixNano: 1700000000500000001n,
      name: "event",
      attributes: [["n", 7n], ["n", "again"]],
      droppedAttributesCount: 0,
    }],
    droppedEventsCount: 2,
    links: [{
      traceId: "11112222333344445555666677778888",
      spanId: "1111222233334444",
      traceState: "linked=yes",
      flags: 1,
      attributes: [["why", "because"]],
      droppedAttributesCount: 4,
    }],
    droppedLinksCount: 3,
    status: { code: 2, message: "failed" },
    resource: {
      attributes: { "service.name": "kata-agent" },
      droppedAttributesCount: 0,
      schemaUrl: "https://opentelemetry.io/schemas/1.21.0",
    },
    scope: {
      name: "scope",
      version: "1.2.3",
      attributes: {},
      droppedAttributesCount: 0,
      schemaUrl: "",
    },
  });
});

test("a collector shows doubles that JSON has no numbers for", async () => {
  const target = await collector("doubles");
  const values = { nan: NaN, positive: Infinity, negative: -Infinity };
  const attributes = Object.entries(values).map(([key, value]) => ({
    key,
    value: { doubleValue: String(value) },
  }));
  const spans = [{ traceId: TRACE, spanId: "00f067aa0ba902b7", attributes }];
  await post(target.httpPort, JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans }] }] }));
  assert.deepEqual((await target.spans())[0]?.attributes, values);
});

test("a collector keeps its ports and its spans when it is killed or stopped", async () => {
  const target = await collector("restart");
  await post(target.httpPort, traces("first"));

  await target.kill();
  await assert.rejects(post(target.httpPort, traces("lost")));
  assert.deepEqual(names(await target.spans()), ["first"]);

  await target.restart();
  await post(target.httpPort, traces("second"));
  await target.restart();
  await post(target.httpPort, traces("third"));
  assert.deepEqual(names(await target.waitForSpans(3)), ["first", "second", "third"]);
});

test("waiting for spans that do not come says how many there are", async () => {
  const target = await collector("wait");
  await post(target.httpPort, traces("only"));
  await assert.rejects(
    target.waitForSpans(2, 50),
    /after 50 ms the collector has 1 spans and not 2/,
  );
});

test("a collector that cannot start says why", async () => {
  const directory = join(root, "failure");
  await mkdir(directory);
  const settings = { binary: binary("KTF_OTELCOL"), directory };
  await assert.rejects(
    startCollector({ ...settings, exporters: { nonsense: {} } }),
    /exited with 1; its output ended with:\n[^]*unknown type: "nonsense"/,
  );
  await assert.rejects(
    startCollector({ ...settings, binary: join(root, "missing") }),
    /missing could not be run: .*ENOENT/,
  );
});

test("a collector with TLS can demand a client certificate", async () => {
  const { ca, server, client } = certificates;
  const target = await collector("tls", { tls: { ...server, clientCa: ca.certificate } });

  await assert.rejects(postSecurely(target.httpPort, traces("stranger")));
  assert.equal(await postSecurely(target.httpPort, traces("known"), client), 200);
  assert.deepEqual(names(await target.spans()), ["known"]);
});

test("a client refuses the expired certificate", async () => {
  const target = await collector("expired", { tls: certificates.expired });
  await assert.rejects(postSecurely(target.httpPort, traces("unsent")), /expired/i);
  assert.deepEqual(await target.spans(), []);
});

test("Jaeger stores spans and answers queries", async () => {
  const target = await jaeger("jaeger");
  assert.deepEqual(await target.services(), []);
  assert.equal(await target.trace(TRACE), undefined);

  await post(target.httpPort, traces("root", "child"));

  const trace = await target.waitForTrace(TRACE, 2);
  assert.equal(trace.traceID, TRACE);
  const child = trace.spans.find((span) => span.operationName === "child");
  assert.ok(child);
  assert.equal(child.spanID, "00f067aa0ba902b1");
  assert.deepEqual(child.references[0], {
    refType: "CHILD_OF",
    traceID: TRACE,
    spanID: "00f067aa0ba902b0",
  });
  assert.equal(child.startTime, 1700000000123456);
  assert.equal(child.duration, 1000000);
  const tags = Object.fromEntries(child.tags.map((tag) => [tag.key, tag]));
  assert.deepEqual(tags["string"], { key: "string", type: "string", value: "väl\nue" });
  assert.deepEqual(tags["int"], { key: "int", type: "int64", value: "-9223372036854775808" });
  assert.equal(tags["span.kind"]?.value, "client");
  assert.equal(child.logs[0]?.timestamp, 1700000000500000);
  assert.equal(trace.processes[child.processID]?.serviceName, "kata-agent");

  assert.deepEqual(await target.services(), ["kata-agent"]);
  assert.deepEqual((await target.traces("kata-agent")).map((found) => found.traceID), [TRACE]);
  await assert.rejects(target.waitForTrace(TRACE, 3, 50), /Jaeger has 2 spans of .* and not 3/);
});

test("a collector sends spans on to Jaeger over gRPC and HTTP", async () => {
  const overGrpc = await jaeger("over-grpc");
  const overHttp = await jaeger("over-http");
  const target = await collector("forward", {
    exporters: {
      otlp_grpc: { endpoint: `127.0.0.1:${overGrpc.grpcPort}`, tls: { insecure: true } },
      otlp_http: { endpoint: `http://127.0.0.1:${overHttp.httpPort}` },
    },
  });
  await post(target.httpPort, traces("sent on"));
  for (const { waitForTrace } of [overGrpc, overHttp]) {
    assert.equal((await waitForTrace(TRACE, 1)).spans[0]?.operationName, "sent on");
  }
});

test("the log of a server can be read", async () => {
  const target = await collector("log");
  assert.match(await readFile(target.log, "utf8"), /Everything is ready/);
});
