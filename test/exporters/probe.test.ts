import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createServer as createHttpServer } from "node:http";
import { connect, createServer, type Server } from "node:net";
import process from "node:process";
import { afterEach, beforeEach, test } from "node:test";
import { ServerCredentials } from "@grpc/grpc-js";
import { createExporter } from "../../src/exporters/create-exporter.ts";
import { describeError } from "../../src/base/log.ts";
import { CollectorError, probe } from "../../src/exporters/probe.ts";
import type { OtlpProtocol } from "../../src/pipeline/settings.ts";
import { CA, EXPIRED, SERVER } from "./support/certificates.ts";
import { withEnvironment, withFiles } from "./support/environment.ts";
import { fail, GrpcReceiver } from "./support/grpc-receiver.ts";
import { type HttpAnswer, HttpReceiver } from "./support/http-receiver.ts";
import { freePort, listen } from "../support/ports.ts";
import { RecordingLogger } from "../support/recording-logger.ts";

let receiver: HttpReceiver;

beforeEach(async () => {
  receiver = new HttpReceiver();
  await receiver.listen();
});

afterEach(() => receiver.close());

/** Probes; the levels of what was logged. */
async function probed(
  url: string,
  protocol: OtlpProtocol = "http/protobuf",
  variables: Readonly<Record<string, string>> = {},
): Promise<string[]> {
  const log = new RecordingLogger();
  await withEnvironment({ HEADERS: "key=value", ...variables }, async () => {
    const exporter = await createExporter({ protocol, url }, log);
    try {
      await probe({ protocol, url }, exporter, 1000, log);
    } finally {
      exporter.close();
    }
  });
  return log.records.filter(({ level }) => level !== "debug").map(({ level }) => level);
}

async function failure(...target: Parameters<typeof probed>): Promise<string> {
  try {
    await probed(...target);
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

test("gRPC: a collector gets one empty request, with the configured headers", async () => {
  await withGrpc(async (collector) => {
    assert.deepEqual(await probed(collector.url, "grpc"), []);
    assert.deepEqual(collector.calls.map(({ body }) => body), [new Uint8Array()]);
    assert.equal(collector.calls[0]?.metadata["key"], "value");
  });
});

test("gRPC: refusals that no request would escape are errors, others are of a collector", async () => {
  await withGrpc(async (collector) => {
    const refusing = (code: number): Promise<string> => {
      collector.answer = fail(code, "no");
      return failure(collector.url, "grpc");
    };
    assert.match(await refusing(7), /does not accept the credentials.*PERMISSION_DENIED/);
    assert.match(await refusing(12), /no OTLP receiver.*UNIMPLEMENTED/);
    assert.match(await refusing(16), /wants credentials.*UNAUTHENTICATED/);
    // RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE
    for (const code of [8, 13, 14]) {
      collector.answer = fail(code, "not now");
      assert.deepEqual(await probed(collector.url, "grpc"), ["warn"]);
    }
  });
});

test("gRPC: what does not speak it is no collector", async () => {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
  });
  const url = `http://127.0.0.1:${await listen(server)}`;
  assert.match(await failure(url, "grpc"), /gives no answer over gRPC: .*http\/protobuf/);
  server.close();
});

test("gRPC: a certificate that has expired, and one that is not trusted", async () => {
  const against = [[EXPIRED, { CERTIFICATE: CA }], [SERVER, {}]] as const;
  for (const [pair, files] of against) {
    const keys = [{ private_key: Buffer.from(pair.key), cert_chain: Buffer.from(pair.cert) }];
    await withGrpc(async ({ url }) => {
      const secure = url.replace("http:", "https:");
      await withFiles(files as Record<string, string>, async (paths) => {
        const message = await failure(secure, "grpc", paths);
        assert.ok(message.includes(`${secure} gives no answer over TLS`), message);
        // What is wrong with it each runtime says in its own words.
        assert.match(message, /gRPC UNAVAILABLE: .*certificate/);
      });
    }, ServerCredentials.createSsl(Buffer.from(CA), keys));
  }
});

/** Runs `body` with a variable of the environment that is no `OTEL_*`. */
async function withVariable(name: string, value: string, body: () => Promise<void>) {
  const before = process.env[name];
  process.env[name] = value;
  try {
    await body();
  } finally {
    if (before === undefined) delete process.env[name];
    else process.env[name] = before;
  }
}

test("a collector behind a proxy", async () => {
  await withGrpc(async (collector) => {
    const asked: (string | undefined)[] = [];
    const proxy = createHttpServer().on("connect", ({ url }, socket) => {
      asked.push(url);
      const backend = connect(Number(new URL(collector.url).port), "localhost");
      for (const end of [socket, backend]) end.on("error", () => {});
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      socket.pipe(backend).pipe(socket);
    });
    const port = await listen(proxy);
    await withVariable("grpc_proxy", `http://127.0.0.1:${port}`, async () => {
      assert.deepEqual(await probed("http://collector.invalid:4317", "grpc"), []);
    });
    assert.deepEqual(asked, ["collector.invalid:4317"]);
    assert.equal(collector.calls.length, 1);
    proxy.close();
  });
});

test("a proxy that is not there is named, also where the collector is", async () => {
  const gone = `http://127.0.0.1:${await freePort()}`;
  const variables = [["http_proxy", "http/protobuf"], ["HTTPS_PROXY", "grpc"], ["grpc_proxy", "grpc"]] as const;
  for (const [name, protocol] of variables) {
    await withVariable(name, gone, async () => {
      const url = receiver.url.replace("localhost", "127.0.0.1");
      const message = await failure(url, protocol);
      assert.ok(
        message.startsWith(`${url} cannot be reached through a proxy: check ${name}, or name the host in no_proxy: `),
        message,
      );
      assert.match(message, /ECONNREFUSED/);
      await withVariable("no_proxy", "127.0.0.0/8", async () => {
        if (protocol !== "grpc") assert.deepEqual(await probed(url, protocol), []);
      });
    });
  }
});

async function withGrpc(
  use: (receiver: GrpcReceiver) => Promise<void>,
  credentials?: ServerCredentials,
): Promise<void> {
  const collector = new GrpcReceiver();
  await collector.start(credentials);
  try {
    await use(collector);
  } finally {
    await collector.stop();
  }
}

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
  const redirect: HttpAnswer = (response) => response.writeHead(301, { location: "https://elsewhere/" }).end();
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
    receiver.answer = (response) => response.writeHead(status, status === 503 ? { "retry-after": "60" } : {}).end();
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
