import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { afterEach, beforeEach, test } from "node:test";
import type { Exporter, ExportResult } from "../../src/pipeline/exporter.ts";
import { parseRetryAfter } from "../../src/exporters/retry-after.ts";
import { errorOf, inParts, pattern, TAKEN } from "./support/exporting.ts";
import { accept, type HttpAnswer, HttpReceiver } from "./support/http-receiver.ts";
import { OpenedExporters } from "./support/opened-exporters.ts";
import { listen } from "../support/ports.ts";
import { encode } from "../otlp/support/otlp-proto.ts";

/** Where a test waits for the timeout, it does not wait for long. */
const BRIEF = { TIMEOUT: "500" };

let receiver: HttpReceiver;
const exporters = new OpenedExporters();

beforeEach(async () => {
  receiver = new HttpReceiver();
  await receiver.listen();
});

afterEach(async () => {
  exporters.close();
  await receiver.close();
});

function open(
  variables: Record<string, string> = {},
  { url = receiver.url, concurrency = 4, onRetry = () => {} } = {},
): Promise<Exporter> {
  return exporters.open({ protocol: "http/protobuf", url }, variables, { concurrency, onRetry });
}

/** Sends one request that is answered so. */
async function answered(answer: HttpAnswer): Promise<ExportResult> {
  receiver.answer = answer;
  return (await open(BRIEF)).send([pattern(10)]);
}

/** Writes what is no answer, or not a whole one, and ends the connection. */
function breakOff(text: string): HttpAnswer {
  return (_, { socket }) => {
    socket.end(text);
  };
}

test("a request arrives as it was given, in protobuf, with what the environment says", async () => {
  const exporter = await open({ HEADERS: "authorization=Bearer%20x,a=1", TRACES_HEADERS: "a=2" });
  const body = pattern(100_000);
  assert.deepEqual(await exporter.send(inParts(body)), TAKEN);
  const [request] = receiver.requests;
  assert.ok(request !== undefined);
  assert.deepEqual(request.body, body);
  assert.deepEqual([request.method, request.url], ["POST", "/v1/traces"]);
  assert.equal(request.headers["content-type"], "application/x-protobuf");
  assert.equal(request.headers["authorization"], "Bearer x");
  assert.equal(request.headers["a"], "2");
  assert.match(request.headers["user-agent"] ?? "", /^kata-trace-forwarder\/.* OTel-OTLP-Exporter/);
  assert.equal(request.headers["content-encoding"], undefined);
});

test("a request may be empty, or have megabytes", async () => {
  const exporter = await open();
  for (const length of [0, 1, 65_536, 4_000_000]) {
    assert.deepEqual(await exporter.send(inParts(pattern(length))), TAKEN);
    assert.deepEqual(receiver.requests.at(-1)?.body, pattern(length));
  }
});

test("gzip", async () => {
  const exporter = await open({ COMPRESSION: "gzip" });
  const body = pattern(300_000);
  assert.deepEqual(await exporter.send(inParts(body)), TAKEN);
  assert.equal(receiver.requests[0]?.headers["content-encoding"], "gzip");
  assert.deepEqual(receiver.requests[0]?.body, body);
});

test("a request goes out with its length, in one piece", async () => {
  const exporter = await open();
  await exporter.send([pattern(100_000)]);
  assert.equal(receiver.requests[0]?.headers["content-length"], "100000");
  assert.equal(receiver.requests[0]?.headers["transfer-encoding"], undefined);
});

test("a request that is answered before all of it was read is not released", async () => {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => {
      socket.pause();
      socket.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    });
  });
  const port = await listen(server);
  const exporter = await open({}, { url: `http://127.0.0.1:${port}/v1/traces` });
  // More than the kernel holds of a connection that nobody reads.
  const body = new Uint8Array(64 * 1024 * 1024).fill(7);
  assert.deepEqual(await exporter.send([body]), { kind: "success" });
  assert.equal(body.length, 64 * 1024 * 1024);
  server.close();
});

test("connections are kept: one for one request at a time, one more for each at once", async () => {
  const exporter = await open();
  for (let i = 0; i < 5; i++) await exporter.send([pattern(i)]);
  assert.equal(receiver.connections, 1);
  for (let round = 0; round < 3; round++) {
    const results = await Promise.all([1, 2, 3, 4].map((size) => exporter.send([pattern(size)])));
    assert.deepEqual(results.map(({ kind }) => kind), Array(4).fill("success"));
  }
  assert.equal(receiver.connections, 4);
});

test("each answer belongs to its request", async () => {
  const exporter = await open();
  receiver.answer = (response, { body }) => {
    const rejectedSpans = body.length;
    // The last comes first.
    setTimeout(() => {
      response.end(encode("ExportTraceServiceResponse", { partialSuccess: { rejectedSpans } }));
    }, 50 - 10 * body.length);
  };
  const results = await Promise.all([1, 2, 3, 4].map((size) => exporter.send([pattern(size)])));
  assert.deepEqual(
    results,
    [1, 2, 3, 4].map((size) => ({ kind: "partial", rejectedSpans: size, message: "" })),
  );
});

test("partial success and a warning", async () => {
  const respond = (body: Uint8Array | string): HttpAnswer => (response) => response.end(body);
  const partial = (fields: object): HttpAnswer =>
    respond(encode("ExportTraceServiceResponse", { partialSuccess: fields }));
  assert.deepEqual(await answered(partial({ rejectedSpans: 3, errorMessage: "no" })), {
    kind: "partial",
    rejectedSpans: 3,
    message: "no",
  });
  assert.deepEqual(await answered(partial({ errorMessage: "use the new endpoint" })), {
    ...TAKEN,
    warning: "use the new endpoint",
  });
  assert.deepEqual(await answered((response) => response.writeHead(204).end()), TAKEN);
});

for (const status of [429, 502, 503, 504]) {
  test(`HTTP ${status} is retryable`, async () => {
    const result = await answered((response) => response.writeHead(status).end("not now"));
    assert.equal(errorOf(result, "retryable").status, status);
    assert.equal(errorOf(result, "retryable").message, `HTTP ${status}: not now`);
    assert.equal("retryAfterMs" in result, false);
  });
}

test("Retry-After beyond the transport's timeout is handed on", async () => {
  const result = await answered((response) => response.writeHead(429, { "retry-after": "7" }).end());
  assert.equal(errorOf(result, "retryable").status, 429);
  assert.equal((result as { retryAfterMs: number }).retryAfterMs, 7000);
  assert.equal(receiver.requests.length, 1);
});

for (const status of [400, 401, 403, 404, 405, 413, 415, 422, 500, 501]) {
  test(`HTTP ${status} is a refusal`, async () => {
    const result = await answered((response) => response.writeHead(status).end("no"));
    assert.equal(errorOf(result, "rejected").status, status);
    assert.equal(
      (result as { splitHelps?: boolean }).splitHelps,
      [400, 413, 422, 500].includes(status),
    );
    assert.equal(receiver.requests.length, 1);
  });
}

test("a redirect is not followed", async () => {
  for (const status of [301, 302, 307, 308]) {
    const result = await answered((response) =>
      response.writeHead(status, { location: `${receiver.url}/elsewhere` }).end()
    );
    const error = errorOf(result, "rejected");
    assert.equal(error.status, status);
    assert.match(error.message, /to http:\/\/localhost:\d+\/v1\/traces\/elsewhere/);
  }
  assert.deepEqual(receiver.requests.map(({ url }) => url), Array(4).fill("/v1/traces"));
});

test("a refusal shows the message of a Status, or the beginning of a text, printable", async () => {
  const status = await answered((response) =>
    response.writeHead(400, { "content-type": "application/x-protobuf" })
      .end(encode("RpcStatus", { code: 3, message: "no such\u001b[2J tenant" }))
  );
  assert.equal(errorOf(status, "rejected").message, "HTTP 400: no such\\u{1b}[2J tenant");
  const text = await answered((response) => response.writeHead(400).end("y".repeat(10_000)));
  assert.equal(errorOf(text, "rejected").message, `HTTP 400: ${"y".repeat(200)}…`);
  const broken = await answered((response) =>
    response.writeHead(400, { "content-type": "application/x-protobuf" }).end("\xff")
  );
  assert.equal(errorOf(broken, "rejected").message, "HTTP 400: Bad Request");
});

test("an answer that breaks off is not taken for one", async () => {
  const length = await answered(breakOff("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"));
  assert.match(errorOf(length, "retryable").message, /broke off/);
  const chunked = await answered(
    breakOff("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
  );
  assert.match(errorOf(chunked, "retryable").message, /broke off/);
  const head = await answered(breakOff("HTTP/1.1 200 OK\r\nContent-Le"));
  errorOf(head, "retryable");
});

test("what is no HTTP, a reset and silence are retryable", async () => {
  errorOf(await answered(breakOff("hello, this is no HTTP at all\r\n\r\n")), "retryable");
  errorOf(await answered((_, { socket }) => void socket.destroy()), "retryable");
  errorOf(await answered((_, { socket }) => void socket.resetAndDestroy()), "retryable");
  const silent = await answered(() => {});
  assert.match(errorOf(silent, "retryable").message, /timed out/);
});

test("an answer without end is cut off, and taken at its status if it may be an OTLP receiver's", async () => {
  const endless = (type: string): HttpAnswer => (response) =>
    response.writeHead(200, { "content-type": type }).end(new Uint8Array(5_000_000));
  const result = await answered(endless("application/x-protobuf"));
  assert.equal(result.kind, "success");
  assert.match((result as { warning: string }).warning, /longer than an OTLP receiver's/);
  assert.match(errorOf(await answered(endless("text/plain")), "retryable").message, /not an OTLP receiver/);
});

test("a collector that is not there is retryable, and one that comes back is found", async () => {
  const exporter = await open(BRIEF);
  assert.equal((await exporter.send([pattern(1)])).kind, "success");
  await receiver.close();
  const refused = errorOf(await exporter.send([pattern(2)]), "retryable");
  assert.equal(refused.status, undefined);
  assert.match(refused.message, /ECONNREFUSED|ECONNRESET|EPIPE|hang up/);
  const { url } = receiver;
  receiver = new HttpReceiver();
  await receiver.listen(Number(new URL(url).port));
  assert.equal((await exporter.send([pattern(3)])).kind, "success");
  assert.deepEqual(receiver.requests.at(-1)?.body, pattern(3));
});

test("a connection that the collector closed while it was idle costs no request", async () => {
  const exporter = await open();
  await exporter.send([pattern(1)]);
  const [socket] = receiver.sockets;
  const closed = once(socket as Socket, "close");
  socket?.end();
  await closed;
  assert.deepEqual(await exporter.send([pattern(2)]), TAKEN);
  assert.equal(receiver.connections, 2);
  assert.equal(receiver.requests.length, 2);
});

test("a connection that the collector closes as it is used again costs one more try, at once", async () => {
  for (const end of ["destroy", "resetAndDestroy"] as const) {
    let retries = 0;
    receiver.requests.length = 0;
    const exporter = await open({}, { onRetry: () => retries++ });
    assert.deepEqual(await exporter.send([pattern(1)]), TAKEN);
    receiver.answer = (response, { socket }) => {
      if (receiver.requests.length === 2) socket[end]();
      else response.end();
    };
    assert.deepEqual(await exporter.send([pattern(9)]), TAKEN);
    assert.equal(retries, 1);
    assert.deepEqual(receiver.requests.slice(1).map(({ body }) => body), [pattern(9), pattern(9)]);
    // On a connection of its own there is no doubt, and the sender decides.
    receiver.answer = (_, { socket }) => void socket[end]();
    errorOf(await exporter.send([pattern(9)]), "retryable");
    receiver.answer = accept;
  }
});

test("a deadline ends a request that the collector does not answer", async () => {
  const exporter = await open({}, { concurrency: 1 });
  receiver.answer = () => {};
  const result = await exporter.send([pattern(9)], 100);
  assert.equal(errorOf(result, "retryable").message, "timed out: no answer within 100 ms");
  receiver.answer = (response) => response.end();
  assert.equal((await exporter.send([pattern(8)])).kind, "success");
});

test("closing ends requests under way, and refuses new ones as retryable", async () => {
  const exporter = await open();
  receiver.answer = () => {};
  const pending = exporter.send([pattern(9)]);
  while (receiver.requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  exporter.close();
  assert.match(errorOf(await pending, "retryable").message, /closed/);
  assert.match(errorOf(await exporter.send([pattern(1)]), "retryable").message, /closed/);
  while (receiver.sockets.size > 0) await new Promise((resolve) => setTimeout(resolve, 5));
});

test("a name that does not resolve is retryable", async () => {
  const exporter = await open(BRIEF, { url: "http://collector.invalid:4318/v1/traces" });
  errorOf(await exporter.send([pattern(1)]), "retryable");
});

test("a port that speaks no HTTP at all is retryable", async () => {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.end("\x00\x00\x12\x04\x00\x00\x00\x00\x00"));
  });
  const port = await listen(server);
  const exporter = await open(BRIEF, { url: `http://127.0.0.1:${port}/v1/traces` });
  errorOf(await exporter.send([pattern(1)]), "retryable");
  server.close();
});

test("a header that cannot be sent is an error at once", async () => {
  await assert.rejects(open({ HEADERS: "a%0Ab=1" }), {
    name: "ExporterSettingsError",
    message: /OTEL_EXPORTER_OTLP_HEADERS/,
  });
  await assert.rejects(open({ HEADERS: "a=1%0D%0Aevil: 1" }), { name: "ExporterSettingsError" });
});

test("Retry-After is seconds or a date", () => {
  assert.equal(parseRetryAfter(undefined), undefined);
  assert.equal(parseRetryAfter("0"), 0);
  assert.equal(parseRetryAfter(" 120 "), 120_000);
  assert.equal(parseRetryAfter("soon"), undefined);
  assert.equal(parseRetryAfter("Wed, 21 Oct 2015 07:28:00 GMT"), 0);
  const inAMinute = parseRetryAfter(new Date(Date.now() + 60_000).toUTCString());
  assert.ok(inAMinute !== undefined && inAMinute > 50_000 && inAMinute <= 60_000);
});
