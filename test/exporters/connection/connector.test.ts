import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createSecureServer, createServer as createHttp2Server } from "node:http2";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { afterEach, beforeEach, test } from "node:test";
import { createExporter } from "../../../src/exporters/create-exporter.ts";
import { ConnectionError } from "../../../src/exporters/connection/connector.ts";
import type { ExportResult } from "../../../src/pipeline/exporter.ts";
import type { OtlpProtocol } from "../../../src/pipeline/settings.ts";
import { listen } from "../../support/ports.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";
import { CA, SERVER } from "../support/certificates.ts";
import { withEnvironment, withFiles } from "../support/environment.ts";
import { errorOf, pattern } from "../support/exporting.ts";
import { HttpReceiver } from "../support/http-receiver.ts";
import { TestProxy } from "../support/proxy.ts";

const BODY = pattern(200_000);
const closing: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** A collector, over TLS if `secure`, and the port it listens on. */
async function collector(secure: boolean): Promise<HttpReceiver & { port: number }> {
  const receiver = new HttpReceiver(secure ? SERVER : undefined);
  await receiver.listen();
  closing.push(() => receiver.close());
  return Object.assign(receiver, { port: Number(new URL(receiver.url).port) });
}

async function proxyTo(port: number, secure = false): Promise<TestProxy> {
  const proxy = new TestProxy(port, secure ? SERVER : undefined);
  await proxy.listen();
  closing.push(() => proxy.close());
  return proxy;
}

/** Sends requests one after the other, with these variables beside those of OpenTelemetry; the last one's result. */
async function sent(
  protocol: OtlpProtocol,
  url: string,
  variables: Readonly<Record<string, string>> = {},
  { requests = 1, files = { CERTIFICATE: CA } as Readonly<Record<string, string>> } = {},
): Promise<ExportResult> {
  const before = { ...process.env };
  Object.assign(process.env, variables);
  try {
    return await withFiles(files, (paths) =>
      withEnvironment({ ...paths, TIMEOUT: "5000" }, async () => {
        const exporter = await createExporter({ protocol, url }, new RecordingLogger());
        let result = await exporter.send([BODY]);
        for (let i = 1; i < requests; i++) result = await exporter.send([BODY]);
        exporter.close();
        return result;
      }));
  } finally {
    for (const name of Object.keys(variables)) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
  }
}

for (const secureProxy of [false, true]) {
  const scheme = secureProxy ? "https" : "http";
  /** The proxy's certificate is trusted as one of the host's. */
  const proxied = (proxy: TestProxy, user = ""): Record<string, string> => ({
    [user === "" ? "HTTP_PROXY" : "http_proxy"]: `${scheme}://${user}localhost:${proxy.port}`,
    https_proxy: `${scheme}://${user}localhost:${proxy.port}`,
  });

  test(`an ${scheme} proxy gets HTTP without TLS as requests, with its user and without the collector's`, async () => {
    const receiver = await collector(false);
    const proxy = await proxyTo(receiver.port, secureProxy);
    await withStore(async (store) => {
      const variables = { ...store, ...proxied(proxy, "me:se%2Fcret@") };
      const result = await sent("http/protobuf", "http://collector.test:4318/v1/traces?tenant=a", variables, {
        requests: 3,
      });
      assert.equal(result.kind, "success", String((result as { error?: Error }).error));
    });
    const expected = ["POST", "http://collector.test:4318/v1/traces?tenant=a", `Basic ${btoa("me:se/cret")}`];
    assert.deepEqual(proxy.requests, [expected, expected, expected]);
    for (const { body, url, headers } of receiver.requests) {
      assert.deepEqual([body, url, headers.host], [BODY, "/v1/traces?tenant=a", "collector.test:4318"]);
      assert.equal(headers["proxy-authorization"], undefined);
    }
    assert.equal(receiver.requests.length, 3);
  });

  test(`an ${scheme} proxy is asked for one tunnel for HTTP with TLS, which checks the collector's name`, async () => {
    const receiver = await collector(true);
    const proxy = await proxyTo(receiver.port, secureProxy);
    await withStore(async (store) => {
      const variables = { ...store, ...proxied(proxy), no_proxy: "other.test" };
      // Named so that it is not reached without the proxy; the certificate is for this address too.
      const url = `https://127.0.0.1:${receiver.port}/v1/traces`;
      assert.equal((await sent("http/protobuf", url, variables, { requests: 3 })).kind, "success");
      assert.deepEqual(proxy.requests, [["CONNECT", `127.0.0.1:${receiver.port}`]]);
      assert.deepEqual(receiver.requests.map(({ body }) => body), [BODY, BODY, BODY]);
      const other = errorOf(await sent("http/protobuf", "https://collector.test:4318/", variables), "retryable");
      assert.equal((other.cause as ConnectionError).stage, "tls");
      assert.equal(receiver.requests.length, 3);
    });
  });

  test(`an ${scheme} proxy is asked for a tunnel for gRPC without TLS`, async () => {
    const bodies: number[] = [];
    const server = createHttp2Server((request, response) => {
      let length = 0;
      request.on("data", (chunk: Uint8Array) => length += chunk.length);
      request.on("end", () => {
        bodies.push(length);
        response.writeHead(200, { "content-type": "application/grpc", "grpc-status": "0" }).end();
      });
    });
    const port = await listen(server);
    closing.push(() => server.close());
    const proxy = await proxyTo(port, secureProxy);
    await withStore(async (store) => {
      const variables = { ...store, https_proxy: `${scheme}://me:secret@localhost:${proxy.port}` };
      const result = await sent("grpc", "http://collector.test:4317", variables, { requests: 3 });
      assert.equal(result.kind, "success", String((result as { error?: Error }).error));
    });
    assert.deepEqual(proxy.requests, [["CONNECT", "collector.test:4317", `Basic ${btoa("me:secret")}`]]);
    assert.deepEqual(bodies, Array(3).fill(BODY.length + 5));
  });
}

/** Runs `body` with variables that make the tests' authority the host's only one. */
function withStore(body: (variables: Readonly<Record<string, string>>) => Promise<void>): Promise<void> {
  return withFiles({ store: CA }, ({ store }) => body({ SSL_CERT_FILE: store, SSL_CERT_DIR: "" }));
}

/** A collector over TLS, for either protocol; its endpoint. */
async function secureCollector(protocol: OtlpProtocol): Promise<string> {
  if (protocol === "http/protobuf") return (await collector(true)).url;
  const server = createSecureServer(SERVER, (request, response) => {
    request.resume().on("end", () => {
      response.writeHead(200, { "content-type": "application/grpc", "grpc-status": "0" }).end();
    });
  });
  const port = await listen(server);
  closing.push(() => server.close());
  return `https://localhost:${port}`;
}

for (const protocol of ["grpc", "http/protobuf"] as const) {
  test(`${protocol}: the host's authorities are trusted, and no variable turns the check off`, async () => {
    const url = await secureCollector(protocol);
    await withStore(async (store) => {
      const result = await sent(protocol, url, store, { files: {} });
      assert.equal(result.kind, "success", String((result as { error?: Error }).error));
    });
    await withFiles({ extra: CA }, async ({ extra }) => {
      for (const variables of [{}, { NODE_TLS_REJECT_UNAUTHORIZED: "0" }, { NODE_EXTRA_CA_CERTS: extra }]) {
        const error = errorOf(await sent(protocol, url, variables, { files: {} }), "retryable");
        assert.match(error.message, /certificate/);
      }
    });
  });
}

test("gRPC wants HTTP/2 to be agreed on", async () => {
  const receiver = await collector(true);
  const error = errorOf(await sent("grpc", new URL(receiver.url).origin), "retryable");
  assert.match(error.message, /without h2 \(ALPN\), which gRPC needs|no_?application_?protocol/i);
});

test("a proxy that refuses, is gone or is none is named", async () => {
  const receiver = await collector(true);
  const proxy = await proxyTo(receiver.port);
  const variables = { HTTPS_PROXY: `127.0.0.1:${proxy.port}` };
  for (
    const [status, message] of [[403, /HTTP 403 Refused by test$/], [
      407,
      /HTTP 407 .*\(give user and password/,
    ]] as const
  ) {
    proxy.refusal = status;
    for (const protocol of ["grpc", "http/protobuf"] as const) {
      const error = errorOf(await sent(protocol, "https://collector.test:4317", variables), "retryable");
      assert.match(
        error.message,
        /the proxy in HTTPS_PROXY \(127\.0\.0\.1:\d+\): it refuses to connect to collector\.test:4317/,
      );
      assert.match(error.message, message);
      assert.equal(error.status, undefined);
    }
  }
  const mute = createServer((socket) => socket.on("error", () => {}).destroy());
  const mutePort = await listen(mute);
  closing.push(() => mute.close());
  for (const port of [mutePort, 1]) {
    const gone = await sent("grpc", "https://collector.test:4317", { https_proxy: `http://127.0.0.1:${port}` });
    assert.match(errorOf(gone, "retryable").message, /the proxy in https_proxy \(127\.0\.0\.1:\d+\): ./);
  }
});

test("a proxy that answers a request itself", async () => {
  const receiver = await collector(false);
  const proxy = await proxyTo(receiver.port);
  const variables = { http_proxy: `127.0.0.1:${proxy.port}` };
  for (const [status, kind] of [[407, "retryable"], [502, "retryable"], [403, "rejected"]] as const) {
    proxy.refusal = status;
    const error = errorOf(await sent("http/protobuf", "http://collector.test:4318/v1/traces", variables), kind);
    assert.equal(error.status, status);
  }
});

test("a UNIX socket takes HTTP and gRPC", async () => {
  const directory = mkdtempSync(join(tmpdir(), "ktf-unix-"));
  closing.push(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "a b%.sock");
  const { createServer: createHttpServer } = await import("node:http");
  const asked: unknown[] = [];
  const http = createHttpServer((request, response) => {
    asked.push([request.url, request.headers.host]);
    request.resume().on("end", () => response.end());
  });
  await listenAt(http, path);
  const url = `unix://${directory}/a%20b%25.sock`;
  assert.equal((await sent("http/protobuf", url, { http_proxy: "127.0.0.1:1" }, { requests: 2 })).kind, "success");
  assert.deepEqual(asked, [["/v1/traces", "localhost"], ["/v1/traces", "localhost"]]);
  await new Promise((resolve) => http.close(resolve));
  const error = errorOf(await sent("grpc", url), "retryable");
  assert.match(error.message, /ENOENT|ECONNREFUSED/);
});

function listenAt(server: Server, path: string): Promise<void> {
  return new Promise((resolve) => server.listen(path, resolve));
}

test("closing while a connection is set up leaves nothing open", async () => {
  let connections = 0;
  const mute = createServer((socket) => {
    connections++;
    socket.on("error", () => {}).on("close", () => connections--).resume();
  });
  const port = await listen(mute);
  closing.push(() => mute.close());
  for (const protocol of ["grpc", "http/protobuf"] as const) {
    await withFiles({ CERTIFICATE: CA }, (paths) =>
      withEnvironment(paths, async () => {
        const url = `https://127.0.0.1:${port}`;
        const exporter = await createExporter({ protocol, url }, new RecordingLogger());
        const pending = exporter.send([BODY]);
        while (connections === 0) await new Promise((resolve) => setTimeout(resolve, 5));
        exporter.close();
        assert.match(errorOf(await pending, "retryable").message, /closed/);
        while (connections > 0) await new Promise((resolve) => setTimeout(resolve, 5));
      }));
  }
});

beforeEach(() => {
  // A proxy of the machine that runs the tests is none of theirs.
  for (const name of ["http_proxy", "https_proxy", "all_proxy", "no_proxy", "grpc_proxy"]) {
    delete process.env[name];
    delete process.env[name.toUpperCase()];
  }
});
