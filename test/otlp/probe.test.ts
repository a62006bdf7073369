import assert from "node:assert/strict";
import { createServer, type Server } from "node:net";
import { afterEach, beforeEach, test } from "node:test";
import { createExporter } from "../../src/otlp/create-exporter.ts";
import { describeError } from "../../src/log.ts";
import { CollectorError, probe } from "../../src/otlp/probe.ts";
import type { OtlpProtocol } from "../../src/settings.ts";
import { SERVER } from "./support/certificates.ts";
import { withEnvironment } from "./support/environment.ts";
import { type HttpAnswer, HttpReceiver, listen } from "./support/http-receiver.ts";
import { recordingLogger } from "./support/logger.ts";

let receiver: HttpReceiver;

beforeEach(async () => {
  receiver = new HttpReceiver();
  await receiver.listen();
});

afterEach(() => receiver.close());

/** Probes; the levels of what was logged. */
async function probed(url: string, protocol: OtlpProtocol = "http/protobuf"): Promise<string[]> {
  const log = recordingLogger();
  await withEnvironment({ HEADERS: "key=value" }, async () => {
    const exporter = await createExporter({ protocol, url }, log);
    try {
      await probe({ protocol, url }, exporter, 1000, log);
    } finally {
      exporter.close();
    }
  });
  return log.records.filter(({ level }) => level !== "debug").map(({ level }) => level);
}

async function failure(url: string, protocol?: OtlpProtocol): Promise<string> {
  try {
    await probed(url, protocol);
  } catch (error) {
    assert.ok(error instanceof CollectorError, String(error));
    return describeError(error);
  }
  assert.fail("no error");
}

test("a collector gets one empty request, with the configured headers", async () => {
  assert.deepEqual(await probed(receiver.url), []);
  assert.equal(receiver.requests.length, 1);
  assert.equal(receiver.requests[0]?.body.length, 0);
  assert.equal(receiver.requests[0]?.headers["key"], "value");
});

test("for gRPC a connection is enough", async () => {
  const server = createServer((socket) => socket.on("error", () => {}));
  const port = await listen(server);
  assert.deepEqual(await probed(`http://127.0.0.1:${port}`, "grpc"), []);
  server.close();
});

test("nobody there: the error says where, why and what to do", async () => {
  const port = await freePort();
  for (const protocol of ["grpc", "http/protobuf"] as const) {
    const message = await failure(`http://127.0.0.1:${port}/v1/traces`, protocol);
    assert.ok(message.startsWith(`no collector at http://127.0.0.1:${port}/v1/traces: start it`));
    assert.match(message, /ECONNREFUSED/);
  }
  assert.match(
    await failure("http://[::1]:9/v1/traces"),
    /no collector at .*: .*(::1|EADDRNOTAVAIL)/,
  );
  assert.match(await failure("http://collector.invalid:4318/"), /no collector at .*ENOTFOUND/);
});

async function freePort(): Promise<number> {
  const server = createServer();
  const port = await listen(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** What a probe of a receiver says that answers so. */
function against(answer: HttpAnswer): Promise<string> {
  receiver.answer = answer;
  return failure(receiver.url);
}

test("refusals that no request would escape are errors", async () => {
  const status = (code: number): HttpAnswer => (response) => response.writeHead(code).end();
  assert.match(await against(status(404)), /no OTLP receiver at this path.*HTTP 404/);
  assert.match(await against(status(405)), /no OTLP receiver at this path/);
  assert.match(await against(status(401)), /wants credentials.*HTTP 401/);
  assert.match(await against(status(403)), /does not accept the credentials/);
  const redirect: HttpAnswer = (response) =>
    response.writeHead(301, { location: "https://elsewhere/" }).end();
  assert.match(await against(redirect), /redirects.*https:\/\/elsewhere\//);
});

test("plain HTTP where TLS is spoken", async () => {
  const message = await against((response) =>
    response.writeHead(400).end("Client sent an HTTP request to an HTTPS server.\n")
  );
  assert.match(message, /speaks TLS: give an endpoint with https:/);
});

test("other errors are those of a collector that is there", async () => {
  for (const status of [400, 415, 429, 500, 503]) {
    receiver.answer = (response) =>
      response.writeHead(status, status === 503 ? { "retry-after": "60" } : {}).end();
    assert.deepEqual(await probed(receiver.url), ["warn"]);
  }
});

test("what does not answer as HTTP is no collector", async () => {
  const speaking = async (server: Server): Promise<string> => {
    const port = await listen(server);
    const message = await failure(`http://127.0.0.1:${port}/v1/traces`);
    server.close();
    return message;
  };
  const answering = (text: string): Server =>
    createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => socket.end(text));
    });
  assert.match(await speaking(answering("no HTTP\r\n\r\n")), /gives no answer over HTTP/);
  assert.match(
    await speaking(answering("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")),
    /gives no answer over HTTP.*broke off/,
  );
  assert.match(
    await speaking(createServer((socket) => socket.on("error", () => {}))),
    /gives no answer over HTTP.*no answer within \d+ ms/,
  );
});

test("a certificate that is not trusted", async () => {
  const tls = new HttpReceiver(SERVER);
  await tls.listen();
  assert.match(await failure(tls.url), /gives no answer over TLS.*_CERTIFICATE.*certificate/);
  await tls.close();
});
