import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { jaegerBodies, jaegerExpected } from "../decode/support/jaeger-fixtures.ts";
import { decodeResource } from "../decode/support/decode-span.ts";
import { jsonSpan, requestOf } from "../decode/support/otlp-json.ts";
import { plain } from "../decode/support/jaeger-decode.ts";
import { HttpClient } from "../receivers/support/http-post.ts";
import { freePort } from "../support/ports.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";
import { startForwarder } from "./support/forwarder.ts";
import { JSON_TYPE, portOf, postBodies, THRIFT } from "./support/host.ts";
import { startStub } from "./support/pipeline.ts";
import { CLEAN, Running } from "./support/process.ts";
import { Sandbox } from "./support/sandbox.ts";
import { spansOf, taken } from "./support/spans.ts";
import { test } from "./support/test.ts";

const SANDBOX_ID = "00000000000000000000000000000000000000000000000040507b35c8cfdf40";

test("a runtime's session arrives under its service, with the sandbox that some of its spans name", async () => {
  await using stub = await startStub();
  using sandbox = new Sandbox();
  await using forwarder = await startForwarder([
    ...["--socket-path", sandbox.socketPath, "--otlp-endpoint", stub.url],
    ...["--jaeger-listen", "0"],
  ]);
  assert.deepEqual(await postBodies(await portOf(forwarder, "--jaeger-listen"), jaegerBodies("go-session")), [202]);
  await taken(stub, 34);
  assert.deepEqual(forwarder.recordsOf(/^no thread can be started/), []);
  assert.deepEqual(await forwarder.stop(), CLEAN);
  const expected = jaegerExpected("go-session");
  assert.deepEqual(new Set(spansOf(stub).map(({ spanId }) => spanId)), new Set(expected.map(({ spanId }) => spanId)));
  for (const { resource } of spansOf(stub)) {
    const attributes = plain(decodeResource(resource));
    assert.equal(attributes["service.name"], "kata");
    assert.equal(attributes["exporter"], "jaeger");
    assert.equal(attributes["kata.component"], "runtime");
    // Some of them name it, and all of them are of one trace.
    assert.equal(attributes["kata.sandbox.id"], SANDBOX_ID);
  }
});

test("other programs' spans keep their service, and get the host's attributes where they have none", async () => {
  await using stub = await startStub();
  await using forwarder = await startForwarder(
    ["--otlp-endpoint", stub.url, "--otlp-listen", "0"],
    { env: { OTEL_RESOURCE_ATTRIBUTES: "k8s.node.name=node-1,deployment=host" } },
  );
  const resource = {
    attributes: [["service.name", "containerd"], ["deployment", "own"]].map(([key, stringValue]) => ({
      key,
      value: { stringValue },
    })),
  };
  const named = requestOf(jsonSpan());
  const request = { resourceSpans: [{ ...named.resourceSpans[0], resource }, named.resourceSpans[0]] };
  assert.deepEqual(await postBodies(await portOf(forwarder, "--otlp-listen"), [JSON.stringify(request)], JSON_TYPE), [
    200,
  ]);
  await until(() => spansOf(stub).length === 2, "both spans arrive");
  const resources = spansOf(stub).map(({ resource: bytes }) => plain(decodeResource(bytes)));
  resources.sort((left, right) => String(left["service.name"]).localeCompare(String(right["service.name"])));
  assert.deepEqual(resources, [
    { "service.name": "containerd", "deployment": "own", "k8s.node.name": "node-1" },
    { "service.name": "kata-agent", "deployment": "host", "k8s.node.name": "node-1" },
  ]);
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

test("a runtime is answered though the collector is away and the queue is full", async () => {
  await using forwarder = await startForwarder([
    ...["--otlp-endpoint", `http://127.0.0.1:${await freePort()}`, "--wait-for-collector"],
    ...["--queue-bytes", "64KiB", "--jaeger-listen", "0", "--metrics", "0", "--shutdown-timeout", "100ms"],
  ]);
  const port = await portOf(forwarder, "--jaeger-listen");
  for (let i = 0; i < 40; i++) assert.deepEqual(await postBodies(port, jaegerBodies("go-session")), [202]);
  // The thread that answers is not the one that counts.
  await until(async () => (await forwarder.figures()).received === 40 * 34, "everything is counted");
  const figures = await forwarder.figures();
  assert.ok(figures.dropped > 0, JSON.stringify(figures));
  assert.equal(figures.received, figures.forwarded + figures.dropped + figures.invalid + figures.held);
});

test("with a spool another program's request is answered when it is on disk, and is there after a kill", async () => {
  using directory = temporaryDirectory();
  const collector = await freePort();
  const args = [
    "--otlp-endpoint",
    `http://127.0.0.1:${collector}`,
    "--spool-dir",
    directory.path,
    "--otlp-listen",
    "0",
  ];
  {
    await using forwarder = await startForwarder(args);
    const request = JSON.stringify(requestOf(jsonSpan(), jsonSpan({ spanId: "2122232425262728" })));
    assert.deepEqual(await postBodies(await portOf(forwarder, "--otlp-listen"), [request], JSON_TYPE), [200]);
    forwarder.kill("SIGKILL");
    await forwarder.exited;
  }
  await using stub = await startStub(collector);
  await using forwarder = await startForwarder(args);
  await taken(stub, 2);
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

test("a stop answers what has come, and delivers it", async () => {
  await using stub = await startStub();
  await using forwarder = await startForwarder(["--otlp-endpoint", stub.url, "--jaeger-listen", "0"]);
  const port = await portOf(forwarder, "--jaeger-listen");
  const bodies = jaegerBodies("go-session");
  const client = new HttpClient(port);
  // One at a time, until the connection ends: what was answered must arrive.
  let answered = 0;
  const posting = (async () => {
    for (let i = 0;; i = (i + 1) % bodies.length) {
      const answer = await client.post("/api/traces", bodies[i] as Uint8Array, THRIFT).catch(() => undefined);
      if (answer?.status !== 202) return;
      answered++;
    }
  })();
  await until(() => answered > 20, "some are answered");
  assert.deepEqual(await forwarder.stop(), CLEAN);
  await posting;
  client.close();
  assert.ok(spansOf(stub).length >= answered, `${spansOf(stub).length} of ${answered}`);
});

test("passwords are read before privileges go, and are not to be guessed", async () => {
  using directory = temporaryDirectory();
  const file = join(directory.path, "password");
  writeFileSync(file, "s3cret\n", { mode: 0o600 });
  await using stub = await startStub();
  await using forwarder = await startForwarder([
    ...["--otlp-endpoint", stub.url, "--jaeger-listen", "0"],
    ...["--jaeger-user", "kata", "--jaeger-password-file", file],
  ]);
  const client = new HttpClient(await portOf(forwarder, "--jaeger-listen"));
  const [body] = jaegerBodies("go-session") as [Uint8Array];
  const withPassword = (password: string) => ({
    ...THRIFT,
    authorization: `Basic ${Buffer.from(`kata:${password}`).toString("base64")}`,
  });
  assert.equal((await client.post("/api/traces", body, withPassword("wrong"))).status, 401);
  assert.equal((await client.post("/api/traces", body, withPassword("s3cret"))).status, 202);
  client.close();
  await taken(stub, 1);
  assert.deepEqual(await forwarder.stop(), CLEAN);
  assert.ok(!forwarder.stdout.includes("s3cret"));
});

test("a collector's address that leads back to the forwarder is refused at the start", async () => {
  const port = await freePort();
  await using forwarder = new Running([
    ...["--otlp-listen", String(port), "--otlp-endpoint", `http://localhost:${port}`, "--wait-for-collector"],
  ]);
  assert.equal((await forwarder.exited).code, 1);
  assert.match(
    forwarder.stderr,
    new RegExp(`--otlp-listen 127\\.0\\.0\\.1:${port}: the collector's address, .* leads there`),
  );
});

test("--all-sources leaves its own collector's port alone, and what is taken to whoever has it", async () => {
  await using stub = await startStub();
  await using forwarder = await startForwarder(["--all-sources", "--otlp-endpoint", stub.url]);
  const options = forwarder.recordsOf("listening to the host").map((record) => String(record["option"]));
  const refused = forwarder.records.filter(({ msg }) =>
    /-listen 127\.0\.0\.1:\d+: .*(?:listens there|in use)/.test(msg)
  );
  assert.equal(options.length + refused.length, 3);
  assert.deepEqual(await forwarder.stop(), CLEAN);
});
