import assert from "node:assert/strict";
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttp2Server, type Http2ServerResponse } from "node:http2";
import { createServer, type Server } from "node:net";
import { afterEach, beforeEach, test } from "node:test";
import type { Exporter, ExportResult } from "../../src/pipeline/exporter.ts";
import { errorOf, inParts, pattern, TAKEN } from "./support/exporting.ts";
import { accept, fail, type GrpcAnswer, GrpcReceiver } from "./support/grpc-receiver.ts";
import { OpenedExporters } from "./support/opened-exporters.ts";
import { listen } from "../support/ports.ts";
import { encode } from "../otlp/support/otlp-proto.ts";

let receiver: GrpcReceiver;
const exporters = new OpenedExporters();

beforeEach(async () => {
  receiver = new GrpcReceiver();
  await receiver.start();
});

afterEach(async () => {
  exporters.close();
  await receiver.stop();
});

function open(variables: Record<string, string> = {}, url = receiver.url): Promise<Exporter> {
  return exporters.open({ protocol: "grpc", url }, variables);
}

async function answered(answer: GrpcAnswer): Promise<ExportResult> {
  receiver.answer = answer;
  return (await open({ TIMEOUT: "500" })).send([pattern(10)]);
}

test("a request arrives as it was given, with what the environment says", async () => {
  const exporter = await open({ HEADERS: "authorization=Bearer%20x,a=1", TRACES_HEADERS: "a=2" });
  for (const length of [0, 1, 65_536, 3_000_000]) {
    assert.deepEqual(await exporter.send(inParts(pattern(length))), TAKEN);
    assert.deepEqual(receiver.calls.at(-1)?.body, pattern(length));
  }
  const { metadata } = receiver.calls[0] ?? {};
  assert.equal(metadata?.["authorization"], "Bearer x");
  assert.equal(metadata?.["a"], "2");
  assert.match(String(metadata?.["user-agent"]), /^kata-trace-forwarder\/.* OTel-OTLP-Exporter/);
});

test("gzip", async () => {
  const exporter = await open({ COMPRESSION: "gzip" });
  const body = new Uint8Array(1_000_000);
  assert.deepEqual(await exporter.send(inParts(body)), TAKEN);
  assert.deepEqual(receiver.calls[0]?.body, body);
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

test("partial success and a warning", async () => {
  const partial = (fields: object): GrpcAnswer => (respond) =>
    respond(null, encode("ExportTraceServiceResponse", { partialSuccess: fields }));
  assert.deepEqual(await answered(partial({ rejectedSpans: 3, errorMessage: "no" })), {
    kind: "partial",
    rejectedSpans: 3,
    message: "no",
  });
  assert.deepEqual(await answered(partial({ errorMessage: "mind this" })), {
    ...TAKEN,
    warning: "mind this",
  });
});

/** The specification's table ("OTLP/gRPC Response"), and where a smaller request may fare better. */
const CODES: [number, string, "retryable" | "rejected", boolean?][] = [
  [1, "CANCELLED", "retryable"],
  [2, "UNKNOWN", "rejected", true],
  [3, "INVALID_ARGUMENT", "rejected", true],
  [4, "DEADLINE_EXCEEDED", "retryable"],
  [5, "NOT_FOUND", "rejected", false],
  [6, "ALREADY_EXISTS", "rejected", false],
  [7, "PERMISSION_DENIED", "rejected", false],
  [8, "RESOURCE_EXHAUSTED", "rejected", true],
  [9, "FAILED_PRECONDITION", "rejected", true],
  [10, "ABORTED", "retryable"],
  [11, "OUT_OF_RANGE", "retryable"],
  [12, "UNIMPLEMENTED", "rejected", false],
  [13, "INTERNAL", "rejected", true],
  [14, "UNAVAILABLE", "retryable"],
  [15, "DATA_LOSS", "retryable"],
  [16, "UNAUTHENTICATED", "rejected", false],
];
for (const [code, name, kind, splitHelps] of CODES) {
  test(`${name} is ${kind}`, async () => {
    const result = await answered(fail(code, "a\u001b[2Jb"));
    const error = errorOf(result, kind);
    assert.deepEqual([error.status, error.message], [code, `gRPC ${name}: a\\u{1b}[2Jb`]);
    assert.equal((result as { splitHelps?: boolean }).splitHelps, splitHelps);
    assert.equal("retryAfterMs" in result, false);
    assert.equal(receiver.calls.length, 1);
  });
}

/** An encoded `google.rpc.Status` with details. */
function status(...details: object[]): Uint8Array {
  return encode("RpcStatus", { code: 8, message: "wait", details });
}

function retryInfo(seconds: number, nanos = 0): object {
  return {
    typeUrl: "type.googleapis.com/google.rpc.RetryInfo",
    value: encode("RetryInfo", { retryDelay: { seconds, nanos } }),
  };
}

test("RetryInfo is handed on, and makes an exhausted collector retryable", async () => {
  const other = { typeUrl: "type.googleapis.com/google.rpc.DebugInfo", value: [10, 1, 97] };
  for (const code of [8, 14]) {
    const result = await answered(fail(code, "wait", status(other, retryInfo(5, 250_000_000))));
    errorOf(result, "retryable");
    assert.equal((result as { retryAfterMs?: number }).retryAfterMs, 5250);
  }
  assert.equal((await answered(fail(8, "full", status(other)))).kind, "rejected");
  assert.equal((await answered(fail(3, "bad", status(retryInfo(1))))).kind, "rejected");
});

test("a message that is too large for the collector is refused, and splitting helps", async () => {
  const exporter = await open();
  const result = await exporter.send([new Uint8Array(5_000_000)]);
  assert.match(errorOf(result, "rejected").message, /RESOURCE_EXHAUSTED: .*larger than max/);
  assert.equal((result as { splitHelps?: boolean }).splitHelps, true);
});

test("silence ends at the timeout", async () => {
  const error = errorOf(await answered(() => {}), "retryable");
  assert.equal(error.message, "timed out: no answer within 500 ms");
});

test("a deadline ends a request, and the next has a connection of its own", async () => {
  const exporter = await open({ TIMEOUT: "2000" });
  receiver.answer = () => {};
  const result = await exporter.send([pattern(9)], 100);
  assert.equal(errorOf(result, "retryable").message, "timed out: no answer within 100 ms");
  receiver.answer = accept;
  assert.equal((await exporter.send([pattern(8)])).kind, "success");
  assert.equal(receiver.connections, 2);
});

test("a connection that is cut mid-request is retryable, and the next request makes a new one", async () => {
  const exporter = await open();
  receiver.answer = () => receiver.cut();
  assert.match(errorOf(await exporter.send([pattern(1)]), "retryable").message, /UNAVAILABLE/);
  receiver.answer = accept;
  assert.equal((await exporter.send([pattern(2)])).kind, "success");
  assert.deepEqual([receiver.connections, receiver.calls.length], [2, 2]);
});

test("a collector that is away is tried anew each time, and found when it is back", async () => {
  const exporter = await open();
  await exporter.send([pattern(1)]);
  await receiver.shut();
  // Until the client knows: a request on the connection that has just ended fails in another way, and is retryable too.
  await new Promise((resolve) => setTimeout(resolve, 100));
  for (let i = 0; i < 5; i++) {
    const error = errorOf(await exporter.send([pattern(2)]), "retryable");
    assert.match(error.message, /^gRPC UNAVAILABLE: /);
  }
  await receiver.open();
  // grpc-js would now wait before it connects again, and fail requests until then.
  assert.equal((await exporter.send([pattern(3)])).kind, "success");
  assert.deepEqual(receiver.calls.at(-1)?.body, pattern(3));
});

test("closing ends requests under way, and refuses new ones as retryable", async () => {
  const exporter = await open({ TIMEOUT: "1000" });
  receiver.answer = () => {};
  const pending = exporter.send([pattern(9)]);
  while (receiver.calls.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  exporter.close();
  assert.match(errorOf(await pending, "retryable").message, /closed/);
  assert.match(errorOf(await exporter.send([pattern(1)]), "retryable").message, /closed/);
});

/** Sends one request to another server. */
async function sentTo(server: Server): Promise<ExportResult> {
  const port = await listen(server);
  const exporter = await open({ TIMEOUT: "500" }, `http://127.0.0.1:${port}`);
  const result = await exporter.send([pattern(10)]);
  exporter.close();
  server.close();
  return result;
}

test("what is no gRPC is retryable", async () => {
  const text = "hello, this is no HTTP/2 at all, and long enough for its preface\r\n\r\n";
  const raw = (act: "end" | "destroy"): Server =>
    createServer((socket) => {
      socket.on("error", () => {});
      socket[act](text as never);
    });
  errorOf(await sentTo(raw("end")), "retryable");
  errorOf(await sentTo(raw("destroy")), "retryable");
  errorOf(await sentTo(createServer((socket) => socket.on("error", () => {}))), "retryable");
  errorOf(await sentTo(createHttpServer((_, response) => response.end("hi"))), "retryable");
});

test("an answer that breaks off is retryable", async () => {
  const half = await sentTo(h2((response) => {
    response.writeHead(200, { "content-type": "application/grpc" });
    response.end(Uint8Array.of(0, 0, 0, 0, 50, 1, 2));
  }));
  assert.match(errorOf(half, "retryable").message, /^gRPC UNAVAILABLE: the answer broke off before its status/);
});

function h2(answer: (response: Http2ServerResponse) => void): Server {
  return createHttp2Server((request, response) => {
    request.on("data", () => {});
    request.on("end", () => answer(response));
  });
}

/** Statuses of HTTP without one of gRPC's: a proxy or a web server answers. */
const PROXY_ANSWERS: [number, number | undefined, "retryable" | "rejected", boolean?][] = [
  [200, 200, "retryable"],
  [301, 2, "rejected", false],
  [400, 13, "rejected", false],
  [401, 16, "rejected", false],
  [403, 7, "rejected", false],
  [404, 12, "rejected", false],
  [413, 2, "rejected", true],
  [429, 14, "retryable"],
  [500, 14, "retryable"],
  [502, 14, "retryable"],
  [503, 14, "retryable"],
  [504, 14, "retryable"],
  [522, 14, "retryable"],
];
for (const [status, code, kind, splitHelps] of PROXY_ANSWERS) {
  test(`HTTP ${status} without a gRPC status is ${kind}`, async () => {
    const result = await sentTo(h2((response) => {
      response.writeHead(status, { "content-type": "text/html", "retry-after": "7", "location": "https://else/" });
      response.end("<html>page</html>");
    }));
    const error = errorOf(result, kind);
    assert.equal(error.status, code);
    assert.match(error.message, new RegExp(`HTTP ${status}\\b.*<html>page|HTTP ${status} to https://else/`));
    assert.equal((result as { splitHelps?: boolean }).splitHelps, splitHelps);
    const waits = [429, 502, 503, 504, 522].includes(status);
    assert.equal((result as { retryAfterMs?: number }).retryAfterMs, waits ? 7000 : undefined);
  });
}

test("names that do not resolve and ports of a scheme", async () => {
  const unresolved = await open({ TIMEOUT: "500" }, "http://collector.invalid:4317");
  errorOf(await unresolved.send([pattern(1)]), "retryable");
  // Port 80 is left out of a URL by the URL class, and grpc-js takes 443 where there is none.
  const refused = await open({ TIMEOUT: "500" }, "http://127.0.0.1:80");
  assert.match(errorOf(await refused.send([pattern(1)]), "retryable").message, /127\.0\.0\.1:80\b/);
});

test("an IPv6 address", async () => {
  const exporter = await open({ TIMEOUT: "500" }, "http://[::1]:9");
  assert.match(
    errorOf(await exporter.send([pattern(1)]), "retryable").message,
    /::1:9|EADDRNOTAVAIL/,
  );
});

test("a header that cannot be sent is an error at once", async () => {
  await assert.rejects(open({ HEADERS: "a=1%0D%0Aevil: 1" }), { name: "ExporterSettingsError" });
});
