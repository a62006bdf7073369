import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { chmodSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttp2Server } from "node:http2";
import { fail, GrpcReceiver } from "../exporters/support/grpc-receiver.ts";
import { HttpReceiver } from "../exporters/support/http-receiver.ts";
import { TestProxy } from "../exporters/support/proxy.ts";
import { decodeRequest } from "../support/collector-stub.ts";
import { listen } from "../support/ports.ts";
import { until } from "../support/until.ts";
import { Forwarder, fromEnvironment } from "./support/forwarder.ts";
import { Pipeline } from "./support/pipeline.ts";
import { assertOneLine, CLEAN, FAILED } from "./support/process.ts";
import { guestLife, Sandbox } from "./support/sandbox.ts";
import { plainFrames, taken } from "./support/spans.ts";
import { test } from "./support/test.ts";

/** An OTLP/HTTP collector that answers as it is told. */
async function startReceiver() {
  const receiver = new HttpReceiver();
  await receiver.listen();
  const spans = (): number => spansIn(receiver.requests);
  return Object.assign(receiver, { spans, [Symbol.asyncDispose]: () => receiver.close() });
}

/** The same over gRPC. */
async function startGrpcReceiver() {
  const receiver = new GrpcReceiver();
  await receiver.start();
  const spans = (): number => spansIn(receiver.calls);
  return Object.assign(receiver, { spans, [Symbol.asyncDispose]: () => receiver.stop() });
}

function spansIn(requests: readonly { readonly body: Uint8Array }[]): number {
  return requests.flatMap(({ body }) => decodeRequest(body)).length;
}

/** The protocol for an endpoint. */
const over = (endpoint: string, protocol: "grpc" | "http/protobuf"): Record<string, string> => ({
  OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
  OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
});

test("a sign-in page fails the start, and later does not count as a delivery", async () => {
  await using receiver = await startReceiver();
  receiver.answer = (response) =>
    response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end(
      "<!doctype html><title>Sign in</title>",
    );
  using sandbox = new Sandbox();
  const variables = over(new URL(receiver.url).origin, "http/protobuf");
  await using first = new Forwarder(["--socket-path", sandbox.socketPath], { env: variables });
  assert.deepEqual(await first.exited, FAILED);
  assertOneLine(
    first.stderr,
    /there is no OTLP receiver at http:\S+: check .* a web page \(text\/html; charset=utf-8\)/,
  );

  receiver.requests.length = 0;
  await using forwarder = await fromEnvironment(sandbox, {
    ...variables,
    KATA_TRACE_FORWARDER_WAIT_FOR_COLLECTOR: "true",
  });
  await guestLife(sandbox.address, plainFrames(1, 3));
  const { error } = await forwarder.record("collector unreachable: spans are held until it is back");
  assert.match(
    String(error),
    /HTTP 200 with a web page \(text\/html; charset=utf-8\), so this is not an OTLP receiver/,
  );
  receiver.answer = (response) => response.writeHead(200, { "content-type": "application/json" }).end("{}");
  await forwarder.record("collector is back");
  assert.deepEqual(await forwarder.stop(), CLEAN);
  const figures = await forwarder.record("figures");
  assert.deepEqual([figures["spans_received"], figures["spans_forwarded"]], [3, 3]);
});

test("partial success in JSON is counted", async () => {
  await using receiver = await startReceiver();
  receiver.answer = (response, { body }) => {
    const rejectedSpans = body.length > 0 ? "2" : "0";
    response.writeHead(200, { "content-type": "application/json" })
      .end(JSON.stringify({ partialSuccess: { rejectedSpans, errorMessage: body.length > 0 ? "too large" : "" } }));
  };
  using sandbox = new Sandbox();
  await using forwarder = await fromEnvironment(sandbox, over(new URL(receiver.url).origin, "http/protobuf"));
  await guestLife(sandbox.address, plainFrames(1, 5));
  const { message } = await forwarder.record("collector took requests except for some spans, which are lost");
  assert.equal(message, "too large");
  assert.deepEqual(await forwarder.stop(), CLEAN);
  const figures = await forwarder.record("figures");
  assert.deepEqual(
    [figures["spans_received"], figures["spans_forwarded"], figures["spans_dropped.rejected"]],
    [5, 3, 2],
  );
});

test("over gRPC a rate limit without RetryInfo delays requests, without a burst", async () => {
  await using receiver = await startGrpcReceiver();
  using sandbox = new Sandbox();
  await using forwarder = await fromEnvironment(sandbox, over(receiver.url, "grpc"));
  receiver.calls.length = 0;
  receiver.answer = fail(8, "RATE_LIMITED: over the limit of bytes");
  await guestLife(sandbox.address, plainFrames(1, 200));
  await forwarder.record("collector unreachable: spans are held until it is back");
  receiver.answer = (respond) => respond(null, new Uint8Array());
  await forwarder.record("collector is back");
  assert.deepEqual(await forwarder.stop(), CLEAN);
  const figures = await forwarder.record("figures");
  assert.deepEqual([figures["spans_received"], figures["spans_forwarded"]], [200, 200]);
  // Those that were under way when it began, one for each attempt, and the last one.
  assert.ok(receiver.calls.length < 20, `${receiver.calls.length} requests`);
});

test("over gRPC --shutdown-timeout is used to its end: a collector that is back late gets everything", async () => {
  const TIMEOUT_MS = 8000;
  await using receiver = await startGrpcReceiver();
  using sandbox = new Sandbox();
  await using forwarder = await fromEnvironment(sandbox, {
    ...over(receiver.url, "grpc"),
    KATA_TRACE_FORWARDER_SHUTDOWN_TIMEOUT: `${TIMEOUT_MS}ms`,
  });
  receiver.calls.length = 0;
  const unavailable = fail(14, "come back later");
  receiver.answer = unavailable;
  await guestLife(sandbox.address, plainFrames(1, 200));
  await forwarder.record("collector unreachable: spans are held until it is back");
  const stopped = forwarder.stop();
  await forwarder.record("stopping");
  const began = performance.now();
  let taken = 0;
  receiver.answer = (respond) => {
    if (performance.now() - began < TIMEOUT_MS * 0.6) unavailable(respond);
    else {
      taken++;
      respond(null, new Uint8Array());
    }
  };
  assert.deepEqual(await stopped, CLEAN);
  assert.ok(taken > 0);
  const figures = await forwarder.record("figures");
  assert.deepEqual([figures["spans_received"], figures["spans_forwarded"]], [200, 200]);
});

test("an error page from a proxy in front of a gRPC collector costs no span", async () => {
  let isBroken = true;
  let requests = 0;
  let spans = 0;
  const server = createHttp2Server((request, response) => {
    const chunks: Uint8Array[] = [];
    request.on("data", (chunk: Uint8Array) => chunks.push(chunk));
    request.on("end", () => {
      requests++;
      if (isBroken) {
        response.writeHead(500, { "content-type": "text/html" }).end("<h1>500</h1>");
        return;
      }
      // After the message's prefix.
      spans += decodeRequest(Buffer.concat(chunks).subarray(5)).length;
      response.writeHead(200, { "content-type": "application/grpc", "grpc-status": "0" }).end();
    });
  });
  const port = await listen(server);
  using sandbox = new Sandbox();
  try {
    await using forwarder = await fromEnvironment(sandbox, {
      ...over(`http://127.0.0.1:${port}`, "grpc"),
      KATA_TRACE_FORWARDER_WAIT_FOR_COLLECTOR: "true",
    });
    await guestLife(sandbox.address, plainFrames(1, 100));
    const { error } = await forwarder.record("collector unreachable: spans are held until it is back");
    assert.match(String(error), /not answered by a gRPC server: HTTP 500: <h1>500/);
    isBroken = false;
    await until(() => spans === 100, "the spans arrive");
    assert.ok(requests < 20, `${requests} requests`);
    assert.deepEqual(await forwarder.stop(), CLEAN);
  } finally {
    server.close();
  }
});

test("a flood of interim answers is cut off with a clear error, and costs no span", async () => {
  await using pipeline = await Pipeline.start();
  const { sandbox, stub, forwarder } = pipeline;
  stub.script.push({ kind: "interim" }, { kind: "interim" });
  await guestLife(sandbox.address, plainFrames(1, 10));
  const { error } = await forwarder.record("collector unreachable: spans are held until it is back");
  assert.match(String(error), /interim answers \(1xx\) without end, and no answer/);
  await taken(stub, 10);
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

test("proxies may be in upper case, for HTTP and gRPC, and no_proxy may have ranges and blanks", async () => {
  for (const protocol of ["http/protobuf", "grpc"] as const) {
    await using receiver = protocol === "grpc" ? await startGrpcReceiver() : await startReceiver();
    const { port } = new URL(receiver.url);
    const proxy = new TestProxy(Number(port));
    await proxy.listen();
    try {
      const endpoint = `http://127.0.0.1:${port}`;
      const variables = { HTTP_PROXY: `127.0.0.1:${proxy.port}`, HTTPS_PROXY: `http://127.0.0.1:${proxy.port}` };
      for (
        const [NO_PROXY, isProxied] of [["10.0.0.0/8, example.com", true], ["10.0.0.0/8, 127.0.0.0/8", false]] as const
      ) {
        using sandbox = new Sandbox();
        proxy.requests.length = 0;
        const before = receiver.spans();
        await using forwarder = await fromEnvironment(sandbox, { ...over(endpoint, protocol), ...variables, NO_PROXY });
        await guestLife(sandbox.address, plainFrames(1, 3));
        await until(() => receiver.spans() === before + 3, "the spans arrive");
        assert.equal(proxy.requests.length > 0, isProxied, protocol);
        assert.deepEqual(await forwarder.stop(), CLEAN);
      }
    } finally {
      await proxy.close();
    }
  }
});

test("for an unusable proxy an error names the variable, without its value", async () => {
  using sandbox = new Sandbox();
  const env = { ...over("http://collector.test:4317", "grpc"), ALL_PROXY: "socks5://me:secret@127.0.0.1:1080" };
  await using forwarder = new Forwarder(["--socket-path", sandbox.socketPath], { env });
  assert.deepEqual(await forwarder.exited, FAILED);
  assertOneLine(
    forwarder.stderr,
    /ALL_PROXY: a proxy of the kind socks5:\/\/ is not supported: give http:\/\/HOST:PORT/,
  );
  assert.ok(!forwarder.stderr.includes("secret"));
});

test("spans go to a collector's UNIX socket", async () => {
  using sandbox = new Sandbox();
  let spans = 0;
  const server = createHttpServer((request, response) => {
    const chunks: Uint8Array[] = [];
    request.on("data", (chunk: Uint8Array) => chunks.push(chunk));
    request.on("end", () => {
      spans += decodeRequest(Buffer.concat(chunks)).length;
      response.end();
    });
  });
  const path = sandbox.path("otel.sock");
  await new Promise<void>((resolve) => server.listen(path, resolve));
  // The user that the forwarder becomes must be allowed to connect.
  chmodSync(path, 0o666);
  try {
    await using forwarder = await fromEnvironment(sandbox, over(`unix:${path}`, "http/protobuf"));
    await guestLife(sandbox.address, plainFrames(1, 3));
    await until(() => spans === 3, "the spans arrive");
    assert.deepEqual(await forwarder.stop(), CLEAN);
  } finally {
    server.close();
  }
});
