import assert from "node:assert/strict";
import { connect, createServer } from "node:net";
import { GrpcReceiver } from "../exporters/support/grpc-receiver.ts";
import { listen } from "../support/ports.ts";
import { until } from "../support/until.ts";
import { CollectorStub, decodeRequest, type ReceivedSpan } from "../support/collector-stub.ts";
import { encodeBincode } from "../decode/support/bincode-encoder.ts";
import { frame } from "../decode/support/fixtures.ts";
import { Forwarder, fromEnvironment, startForwarder } from "./support/forwarder.ts";
import { Pipeline, startStub } from "./support/pipeline.ts";
import { assertOneLine, CLEAN, FAILED } from "./support/process.ts";
import { test } from "./support/test.ts";
import { guestLife, Sandbox } from "./support/sandbox.ts";
import { assertReceived, hostAttributes, plainFrames, plainRecord, spanSet, spansOf, taken } from "./support/spans.ts";

test("the host's attributes replace what a guest says about itself", async () => {
  await using pipeline = await Pipeline.start([], {
    env: {
      OTEL_SERVICE_NAME: "of the host",
      OTEL_RESOURCE_ATTRIBUTES: "host.name=node%201,deployment=test,service.name=unused",
    },
  });
  const { sandbox, stub } = pipeline;
  const impostor = {
    ...plainRecord(1),
    resource: hostAttributes({
      "own": "kept",
      "service.name": "impostor",
      "host.name": "impostor",
      "kata.sandbox.id": "impostor",
      "kata.vsock.cid": "impostor",
    }),
  };
  await guestLife(sandbox.address, frame(encodeBincode(impostor)));
  await taken(stub, 1);
  const truth = {
    "service.name": "of the host",
    "host.name": "node 1",
    "deployment": "test",
    "kata.sandbox.id": sandbox.id,
    "kata.component": "agent",
  };
  const expected = { ...plainRecord(1), resource: hostAttributes({ "own": "kept" }) };
  assertReceived(spansOf(stub), [expected], truth);
});

test("a flag wins over its variable, for the name and the endpoint", async () => {
  await using wrong = await startStub();
  await using pipeline = await Pipeline.start(["--trace-name", "flag"], {
    env: { OTEL_SERVICE_NAME: "variable", OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: wrong.url },
  });
  const { sandbox, stub } = pipeline;
  await guestLife(sandbox.address, plainFrames(1, 1));
  await taken(stub, 1);
  assertReceived(spansOf(stub), [plainRecord(1)], {
    "service.name": "flag",
    "kata.sandbox.id": sandbox.id,
    "kata.component": "agent",
  });
  assert.equal(wrong.requests.length, 0);
});

test("the sandbox's ID is found in the runtimes' paths", async () => {
  const { mkdirSync } = await import("node:fs");
  await using stub = await startStub();
  using sandbox = new Sandbox();
  for (
    const [directory, id] of [["run/vc/vm/foo", "foo"], [
      "run/vc/firecracker/bar/root",
      "bar",
    ]] as const
  ) {
    stub.requests.length = 0;
    const path = sandbox.path(directory);
    mkdirSync(path, { recursive: true });
    await using forwarder = await startForwarder([
      ...["--socket-path", `${path}/kata.hvsock`],
      ...["--otlp-endpoint", stub.url],
    ]);
    await guestLife(`${path}/kata.hvsock_10240`, plainFrames(1, 1));
    await until(() => spansOf(stub).length > 0, "the span arrives");
    assert.equal((await forwarder.record("guest connected"))["guest"], id);
    assertReceived(spansOf(stub), [plainRecord(1)], {
      "service.name": "kata-agent",
      "kata.sandbox.id": id,
      "kata.component": "agent",
    });
  }
});

function grpcSpans(receiver: GrpcReceiver): ReceivedSpan[] {
  return receiver.calls.flatMap(({ body }) => decodeRequest(body));
}

test("of the environment's endpoints a base gets a path, and one for traces is used as it is", async () => {
  await using stub = await startStub();
  const origin = new URL(stub.url).origin;
  const cases = [
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: `${origin}/base` }, "/base/v1/traces"],
    [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${origin}/as/it/is` }, "/as/it/is"],
    [{
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${origin}/wins`,
      OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1",
    }, "/wins"],
  ] as const;
  for (const [env, path] of cases) {
    using sandbox = new Sandbox();
    stub.requests.length = 0;
    await using forwarder = await fromEnvironment(sandbox, env);
    await guestLife(sandbox.address, plainFrames(1, 1));
    await until(() => spansOf(stub).length === 1, "the span arrives");
    assert.deepEqual([...new Set(stub.requests.map((request) => request.path))], [path]);
    await forwarder.stop();
  }
});

test("the protocol follows from the port, unless it is given", async () => {
  const receiver = new GrpcReceiver();
  await receiver.start();
  using sandbox = new Sandbox();
  try {
    await using forwarder = await fromEnvironment(sandbox, {
      OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
      OTEL_EXPORTER_OTLP_PROTOCOL: "grpc",
    });
    await guestLife(sandbox.address, plainFrames(1, 1));
    await until(() => grpcSpans(receiver).length === 1, "the span arrives");
    assert.deepEqual(await forwarder.stop(), CLEAN);
  } finally {
    await receiver.stop();
  }
  // Nothing listens there, so the error shows the protocol. (Something may well listen at port 4317.)
  await using http = new Forwarder(["--otlp-endpoint", "http://127.0.0.1:2"]);
  assert.deepEqual(await http.exited, FAILED);
  assert.match(http.stderr, /no collector at http:\/\/127\.0\.0\.1:2\/v1\/traces:/);
  await using grpc = new Forwarder(["--otlp-endpoint", "http://[100::1]:4317/path"]);
  assert.deepEqual(await grpc.exited, FAILED);
  assert.match(grpc.stderr, /gRPC takes no path/);
});

test("requests have headers and gzip over HTTP", async () => {
  await using pipeline = await Pipeline.start([], {
    env: {
      OTEL_EXPORTER_OTLP_HEADERS: "authorization=Bearer%20secret,x-tenant=a",
      OTEL_EXPORTER_OTLP_TRACES_HEADERS: "x-tenant=b",
      OTEL_EXPORTER_OTLP_COMPRESSION: "gzip",
    },
  });
  const { sandbox, stub, host } = pipeline;
  const { stream, expected } = spanSet("random", "bincode");
  await guestLife(sandbox.address, stream);
  await taken(stub, expected.length);
  assertReceived(spansOf(stub), expected, host);
  for (const { headers } of stub.requests) {
    assert.equal(headers["authorization"], "Bearer secret");
    assert.equal(headers["x-tenant"], "b");
    assert.equal(headers["content-encoding"], "gzip");
    assert.equal(headers["content-type"], "application/x-protobuf");
    assert.match(headers["user-agent"] ?? "", /^kata-trace-forwarder\/\d/);
  }
});

test("requests have headers and gzip over gRPC", async () => {
  const receiver = new GrpcReceiver();
  await receiver.start();
  using sandbox = new Sandbox();
  // grpc-js does not tell a server how a message was compressed, so its bytes are counted on their way.
  let bytes = 0;
  const relay = createServer((socket) => {
    socket.on("data", (chunk) => bytes += chunk.length);
    const backend = connect(Number(new URL(receiver.url).port), "127.0.0.1");
    for (const [one, other] of [[socket, backend], [backend, socket]] as const) {
      one.on("error", () => other.destroy()).pipe(other);
    }
  });
  const port = await listen(relay);
  try {
    await using forwarder = await fromEnvironment(sandbox, {
      OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "grpc",
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
      OTEL_EXPORTER_OTLP_HEADERS: "authorization=Bearer%20secret",
      OTEL_EXPORTER_OTLP_COMPRESSION: "gzip",
    });
    await guestLife(sandbox.address, plainFrames(1, 5, 100_000));
    await until(() => grpcSpans(receiver).length === 5, "the spans arrive");
    for (const { metadata } of receiver.calls) {
      assert.equal(metadata["authorization"], "Bearer secret");
    }
    assert.ok(bytes < 10_000, `${bytes} bytes for 5 spans of 100,000 alike characters`);
    assert.deepEqual(await forwarder.stop(), CLEAN);
  } finally {
    relay.close();
    await receiver.stop();
  }
});

test("the OTEL_BSP variables limit a batch's spans and its delay", async () => {
  await using pipeline = await Pipeline.start([], {
    env: { OTEL_BSP_MAX_EXPORT_BATCH_SIZE: "7" },
  });
  const { sandbox, stub } = pipeline;
  await guestLife(sandbox.address, plainFrames(1, 30));
  await taken(stub, 30);
  const sizes = stub.requests.map(({ spans }) => spans.length).filter((size) => size > 0);
  assert.deepEqual(sizes.toSorted((a, b) => b - a), [7, 7, 7, 7, 2]);
});

test("a request that gets no answer within OTEL_EXPORTER_OTLP_TIMEOUT is sent again", async () => {
  await using pipeline = await Pipeline.start([], {
    env: { OTEL_EXPORTER_OTLP_TIMEOUT: "300" },
  });
  const { sandbox, stub, forwarder } = pipeline;
  stub.script.push({ kind: "hang" });
  await guestLife(sandbox.address, plainFrames(1, 3));
  await taken(stub, 3);
  await forwarder.record("collector is back");
  const { error } = await forwarder.record(
    "collector unreachable: spans are held until it is back",
  );
  assert.match(String(error), /time/i);
});

test("a server of another protocol, or a path that does not exist, is not a collector", async () => {
  using sandbox = new Sandbox();
  const chatty = createServer((socket) => socket.resume().end("SSH-2.0-OpenSSH_9.9\r\n"));
  const port = await listen(chatty);
  const stub = await CollectorStub.start();
  stub.answer = () => ({ kind: "status", status: 404 });
  try {
    for (
      const [protocol, endpoint, reason] of [
        ["http/protobuf", `http://127.0.0.1:${port}`, /no answer over HTTP/],
        ["grpc", `http://127.0.0.1:${port}`, /no answer over gRPC/],
        ["http/protobuf", stub.url, /no OTLP receiver at this path/],
      ] as const
    ) {
      await using forwarder = new Forwarder([
        ...["--socket-path", sandbox.socketPath],
        ...["--otlp-endpoint", endpoint, "--otlp-protocol", protocol],
      ]);
      assert.deepEqual(await forwarder.exited, FAILED);
      assertOneLine(forwarder.stderr, reason);
    }
  } finally {
    await stub.stop();
    await new Promise((resolve) => chatty.close(resolve));
  }
});
