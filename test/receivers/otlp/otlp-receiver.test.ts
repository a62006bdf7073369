import assert from "node:assert/strict";
import http2 from "node:http2";
import { describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { ProtobufTraceSerializer } from "@opentelemetry/otlp-transformer";
import { HttpServer } from "../../../src/http/server.ts";
import type { HttpLimits } from "../../../src/http/limits.ts";
import { Metrics } from "../../../src/pipeline/metrics.ts";
import { OTLP_HTTP2, OTLP_LIMITS, OtlpReceiver } from "../../../src/receivers/otlp/otlp-receiver.ts";
import { StepQueue } from "../../../src/receivers/otlp/step-queue.ts";
import { requestToRecords } from "../../../src/otlp/json-record.ts";
import { ProtobufReader } from "../../../src/otlp/protobuf-reader.ts";
import { fixture } from "../../decode/support/fixtures.ts";
import { jsonRequest, jsonSpan, requestOf } from "../../decode/support/otlp-json.ts";
import { bytesField, join, textField } from "../../decode/support/otlp-message.ts";
import { expressible, serializeRecords } from "../../decode/support/readable-span.ts";
import { RawClient } from "../../http/support/serving.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";
import { HttpClient } from "../support/http-post.ts";
import { range } from "../../support/numbers.ts";
import { RecordingSink } from "../support/recording-sink.ts";

const REQUEST = serializeRecords(fixture("session-isolated").expected.filter(expressible));
const RECORDS = requestToRecords(REQUEST);
const PROTOBUF = { "content-type": "application/x-protobuf" };
const JSON_TYPE = { "content-type": "application/json" };
const EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

const SPAN = join(bytesField(1, new Uint8Array(16).fill(7)), bytesField(2, new Uint8Array(8).fill(9)));
/** Spans that are handed on in several steps. */
const MANY = range(1, 1000);
const LARGE = bytesField(
  1,
  bytesField(2, ...MANY.map((number) => bytesField(2, SPAN, textField(5, `${number} ${"x".repeat(500)}`)))),
);
/** A request with one good span and one without an ID. */
const HALF_BAD = bytesField(
  1,
  bytesField(2, bytesField(2, SPAN, textField(5, "good")), bytesField(2, textField(5, "bad"))),
);

interface Running {
  readonly receiver: OtlpReceiver;
  readonly server: HttpServer;
  readonly client: HttpClient;
  readonly port: number;
  readonly sink: RecordingSink;
  readonly metrics: Metrics;
  readonly log: RecordingLogger;
}

async function running(
  use: (running: Running) => Promise<void>,
  { limits = {}, begins = true }: { readonly limits?: Partial<HttpLimits>; readonly begins?: boolean } = {},
): Promise<void> {
  const metrics = new Metrics();
  const log = new RecordingLogger();
  const sink = new RecordingSink();
  const receiver = new OtlpReceiver({ metrics, log }, new StepQueue());
  const server = new HttpServer({
    handler: receiver,
    limits: { ...OTLP_LIMITS, ...limits },
    http2: OTLP_HTTP2,
    onError: (error) => {
      throw error;
    },
  });
  const { port } = await server.listen({ host: "127.0.0.1", port: 0 });
  if (begins) receiver.begin(sink);
  const client = new HttpClient(port);
  try {
    await use({ receiver, server, client, port, sink, metrics, log });
  } finally {
    client.close();
    await server.close();
    receiver.close();
  }
}

/** What a `google.rpc.Status` in protobuf says, and how long to wait, seconds. */
function readStatus(bytes: Uint8Array): { code: number; message: string; retrySeconds: number | undefined } {
  const status = { code: 0, message: "", retrySeconds: undefined as number | undefined };
  const fields = new ProtobufReader(bytes);
  while (fields.next()) {
    if (fields.tag === 0x08) status.code = fields.low;
    else if (fields.tag === 0x12) status.message = fields.text();
    else if (fields.tag === 0x1a) {
      const any = fields.message();
      any.next();
      assert.equal(any.text(), "type.googleapis.com/google.rpc.RetryInfo");
      any.next();
      const info = any.message();
      info.next();
      const delay = info.message();
      delay.next();
      status.retrySeconds = delay.low;
    }
  }
  return status;
}

interface GrpcAnswer {
  readonly http: number;
  readonly status: number;
  readonly message: string;
  readonly details: Uint8Array;
  readonly body: Buffer;
}

/** A unary call. */
async function call(
  port: number,
  body: Uint8Array,
  headers: http2.OutgoingHttpHeaders = {},
): Promise<GrpcAnswer> {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  session.on("error", () => {});
  const stream = session.request({
    ":method": "POST",
    ":path": EXPORT,
    "content-type": "application/grpc",
    te: "trailers",
    ...headers,
  });
  let received: http2.IncomingHttpHeaders = {};
  let trailers: http2.IncomingHttpHeaders = {};
  const chunks: Buffer[] = [];
  stream.on("response", (sent) => received = sent);
  stream.on("trailers", (sent) => trailers = sent);
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  stream.end(body);
  await new Promise((resolve, reject) => {
    stream.once("close", resolve);
    stream.once("error", reject);
  });
  session.destroy();
  const of = (name: string) => String(trailers[name] ?? received[name] ?? "");
  return {
    http: Number(received[":status"]),
    status: Number(of("grpc-status") || NaN),
    message: decodeURIComponent(of("grpc-message")),
    details: Buffer.from(of("grpc-status-details-bin"), "base64"),
    body: Buffer.concat(chunks),
  };
}

function framed(message: Uint8Array, compressed = 0): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(compressed);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

describe("OTLP/HTTP", () => {
  test("protobuf and JSON, compressed or not, are taken and answered in kind", () =>
    running(async ({ client, sink, metrics }) => {
      const json = JSON.stringify(jsonRequest(RECORDS));
      const requests = [
        [REQUEST, PROTOBUF],
        [gzipSync(REQUEST), { ...PROTOBUF, "content-encoding": "gzip" }],
        [json, JSON_TYPE],
        [gzipSync(json), { "content-type": "Application/JSON; charset=utf-8", "content-encoding": "GZIP" }],
      ] as const;
      for (const [body, headers] of requests) {
        const answer = await client.post("/v1/traces", body, headers);
        assert.equal(answer.status, 200);
        const isJson = headers["content-type"] !== PROTOBUF["content-type"];
        assert.equal(answer.headers["content-type"], isJson ? "application/json" : "application/x-protobuf");
        assert.equal(answer.body.toString(), isJson ? "{}" : "");
      }
      assert.equal(sink.spans.length, 4 * RECORDS.length);
      const ids = RECORDS.map(({ spanId }) => spanId);
      assert.deepEqual(sink.spans.map(({ spanId }) => spanId), [...ids, ...ids, ...ids, ...ids]);
      const received = metrics.receiver("otlp");
      assert.equal(received.received, 4 * RECORDS.length);
      assert.deepEqual(received.payloads, { protobuf: 2, json: 2 });
      assert.deepEqual(sink.sources.map(({ source }) => [source.kind, source.account, [...source.attributes]]), [
        ["host", "host", []],
      ]);
    }));

  test("invalid spans are a partial success, which says how many and why", () =>
    running(async ({ client, sink, metrics }) => {
      const answer = await client.post("/v1/traces", HALF_BAD, PROTOBUF);
      assert.equal(answer.status, 200);
      assert.deepEqual(ProtobufTraceSerializer.deserializeResponse(answer.body).partialSuccess, {
        rejectedSpans: 1,
        errorMessage: "invalid spans (missing-field: 1)",
      });
      const json = await client.post(
        "/v1/traces",
        JSON.stringify(requestOf(jsonSpan(), jsonSpan({ name: 1 }))),
        JSON_TYPE,
      );
      assert.deepEqual(JSON.parse(String(json.body)), {
        partialSuccess: { rejectedSpans: "1", errorMessage: "invalid spans (invalid-value: 1)" },
      });
      assert.equal(sink.spans.length, 2);
      const { received, invalid } = metrics.receiver("otlp");
      assert.equal(received, 4);
      assert.deepEqual(invalid, { "missing-field": 1, "invalid-value": 1 });
    }));

  test("a request without spans is a success", () =>
    running(async ({ client }) => {
      assert.equal((await client.post("/v1/traces", "", PROTOBUF)).status, 200);
      assert.equal((await client.post("/v1/traces", "{}", JSON_TYPE)).status, 200);
    }));

  test("what is not a request is refused with a status that says why", () =>
    running(async ({ client, sink, log }) => {
      const bomb = gzipSync(new Uint8Array(17 * 1024 * 1024));
      const refused = [
        [400, /ExportTraceServiceRequest/, await client.post("/v1/traces", "<html>", PROTOBUF)],
        [400, /not gzip/, await client.post("/v1/traces", REQUEST, { ...PROTOBUF, "content-encoding": "gzip" })],
        [400, /16777216 bytes/, await client.post("/v1/traces", bomb, { ...PROTOBUF, "content-encoding": "gzip" })],
        [404, /only traces/, await client.post("/v1/metrics", REQUEST, PROTOBUF)],
        [404, /only traces/, await client.post("/v1/logs", REQUEST, PROTOBUF)],
        [404, /\/v1\/traces/, await client.post("/", REQUEST, PROTOBUF)],
        [405, /POST/, await client.request("GET", "/v1/traces", "", PROTOBUF)],
        [415, /content type/, await client.post("/v1/traces", REQUEST, { "content-type": "text/plain" })],
        [415, /encoding/, await client.post("/v1/traces", REQUEST, { ...PROTOBUF, "content-encoding": "zstd" })],
        [415, /content type/, await client.post("/v1/traces", REQUEST, { "content-type": "application/grpc" })],
      ] as const;
      for (const [status, message, answer] of refused) {
        assert.equal(answer.status, status, String(message));
        assert.match(readStatus(answer.body).message, message);
      }
      assert.equal(refused[6][2].headers["allow"], "POST");
      const json = await client.post("/v1/traces", "[]", JSON_TYPE);
      assert.equal(json.status, 400);
      assert.match((JSON.parse(String(json.body)) as { message: string }).message, /ExportTraceServiceRequest/);
      assert.equal(sink.spans.length, 0);
      assert.ok(log.find("refused").length >= 5);
    }));

  test("a body that is too large is refused for good", () =>
    running(async ({ client }) => {
      const answer = await client.post("/v1/traces", new Uint8Array(2000), PROTOBUF);
      assert.equal(answer.status, 413);
      assert.equal(readStatus(answer.body).code, 8);
      assert.equal(answer.headers["retry-after"], undefined);
    }, { limits: { maxBodyBytes: 1000 } }));

  test("while its account is paused a client is told when to come again, before its body is read", () =>
    running(async ({ client, port, sink, log }) => {
      sink.paused.add("host");
      for (const headers of [PROTOBUF, JSON_TYPE]) {
        const answer = await client.post("/v1/traces", REQUEST, headers);
        assert.equal(answer.status, 429);
        assert.equal(answer.headers["retry-after"], "1");
      }
      const raw = new RawClient(port);
      await raw.send(
        "POST /v1/traces HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
      );
      await raw.until((text) => text.startsWith("HTTP/1.1 429 "));
      raw.end();
      sink.paused.clear();
      assert.equal((await client.post("/v1/traces", REQUEST, PROTOBUF)).status, 200);
      // This is no fault of the client's.
      assert.equal(log.find("refused").length, 0);
    }));

  test("the answer comes when the spans are as safe as they get", () =>
    running(async ({ client, sink }) => {
      const committed = Promise.withResolvers<void>();
      sink.settling = committed.promise;
      let isAnswered = false;
      const answer = client.post("/v1/traces", REQUEST, PROTOBUF).then((sent) => {
        isAnswered = true;
        return sent;
      });
      while (sink.spans.length === 0) await new Promise((resolve) => setTimeout(resolve, 2));
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert.equal(isAnswered, false);
      committed.resolve();
      assert.equal((await answer).status, 200);
    }));

  test("requests before it begins wait, and after its end are sent away for a while", () =>
    running(async ({ client, receiver, sink }) => {
      const early = client.post("/v1/traces", REQUEST, PROTOBUF);
      await new Promise((resolve) => setTimeout(resolve, 30));
      receiver.begin(sink);
      assert.equal((await early).status, 200);
      receiver.close();
      const late = await client.post("/v1/traces", REQUEST, PROTOBUF);
      assert.equal(late.status, 503);
      assert.equal(late.headers["retry-after"], "1");
    }, { begins: false }));

  test("a large request is taken whole, in its order, in protobuf and JSON, compressed or not", () =>
    running(async ({ client, sink, metrics }) => {
      const names = MANY.map((number) => `${number} ${"x".repeat(500)}`);
      const json = JSON.stringify(requestOf(...names.map((name) => jsonSpan({ name })), jsonSpan({ traceId: "" })));
      const bodies: readonly (readonly [Uint8Array, Record<string, string>])[] = [
        [LARGE, PROTOBUF],
        [new TextEncoder().encode(json), JSON_TYPE],
      ];
      for (const [body, type] of bodies) {
        for (const isGzip of [false, true]) {
          const headers = isGzip ? { ...type, "content-encoding": "gzip" } : type;
          const { status } = await client.post("/v1/traces", isGzip ? gzipSync(body) : body, headers);
          assert.equal(status, 200);
          assert.deepEqual(sink.spans.splice(0).map(({ name }) => name), names);
        }
      }
      assert.equal(metrics.receiver("otlp").received, 4 * MANY.length + 2);
      assert.deepEqual(metrics.receiver("otlp").invalid, { "invalid-value": 2 });
    }));

  test("nothing is taken of a large request that is refused", () =>
    running(async ({ client, sink, metrics }) => {
      const { status } = await client.post("/v1/traces", join(LARGE, Uint8Array.of(0x28, 1)), PROTOBUF);
      assert.equal(status, 400);
      assert.equal(sink.spans.length, 0);
      assert.deepEqual(metrics.receiver("otlp").invalid, { "invalid-tag": 1 });
    }));

  test("a large request whose client has gone is taken whole, and its source ends after it", () =>
    running(async ({ client, sink }) => {
      sink.onAccept = () => client.close();
      client.post("/v1/traces", LARGE, PROTOBUF).catch(() => {});
      while (sink.spans.length < MANY.length) await new Promise((resolve) => setTimeout(resolve, 2));
      while (!sink.sources.every(({ isClosed }) => isClosed)) await new Promise((resolve) => setTimeout(resolve, 2));
      assert.equal(sink.spans.length, MANY.length);
    }));

  test("a large request that is being taken when the receiver closes is to be sent again", () =>
    running(async ({ client, receiver, sink, metrics }) => {
      sink.onAccept = () => receiver.close();
      const { status } = await client.post("/v1/traces", LARGE, PROTOBUF);
      assert.equal(status, 503);
      assert.ok(sink.spans.length > 0 && sink.spans.length < MANY.length);
      assert.equal(metrics.receiver("otlp").received, sink.spans.length);
    }));

  test("a source ends with its last connection", () =>
    running(async ({ client, port, sink }) => {
      const other = new HttpClient(port);
      await client.post("/v1/traces", REQUEST, PROTOBUF);
      await other.post("/v1/traces", REQUEST, PROTOBUF);
      other.close();
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert.deepEqual(sink.sources.map(({ isClosed }) => isClosed), [false]);
      client.close();
      while (!sink.sources[0]?.isClosed) await new Promise((resolve) => setTimeout(resolve, 2));
    }));
});

describe("OTLP/gRPC", () => {
  test("a call is taken, compressed or not, and answered with an empty response", () =>
    running(async ({ port, sink, metrics }) => {
      for (
        const [body, headers] of [
          [framed(REQUEST), {}],
          [framed(REQUEST), { "grpc-encoding": "gzip" }],
          [framed(gzipSync(REQUEST), 1), { "grpc-encoding": "gzip", "content-type": "application/grpc+proto" }],
        ] as const
      ) {
        const answer = await call(port, body, headers);
        assert.deepEqual([answer.http, answer.status], [200, 0]);
        assert.equal(answer.body.toString("hex"), "0000000000");
      }
      assert.equal(sink.spans.length, 3 * RECORDS.length);
      assert.deepEqual(metrics.receiver("otlp").payloads, { protobuf: 3 });
    }));

  test("invalid spans are a partial success", () =>
    running(async ({ port }) => {
      const { status, body } = await call(port, framed(HALF_BAD));
      assert.equal(status, 0);
      assert.deepEqual(ProtobufTraceSerializer.deserializeResponse(body.subarray(5)).partialSuccess, {
        rejectedSpans: 1,
        errorMessage: "invalid spans (missing-field: 1)",
      });
    }));

  test("what is not a call is refused with the status that says so", () =>
    running(async ({ port, sink }) => {
      const metrics = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
      const refused = [
        [12, /only traces/, await call(port, framed(REQUEST), { ":path": metrics })],
        [12, /only traces/, await call(port, framed(REQUEST), { ":path": "/grpc.health.v1.Health/Check" })],
        [12, /encoding/, await call(port, framed(REQUEST), { "grpc-encoding": "snappy" })],
        [12, /content type/, await call(port, framed(REQUEST), { "content-type": "application/grpc+json" })],
        [3, /ExportTraceServiceRequest/, await call(port, framed(Buffer.from("<html>")))],
        [3, /not gzip/, await call(port, framed(REQUEST, 1), { "grpc-encoding": "gzip" })],
        [13, /compressed/, await call(port, framed(REQUEST, 1))],
        [13, /without a message/, await call(port, new Uint8Array(0))],
        [13, /cut/, await call(port, framed(REQUEST).subarray(0, 100))],
        [13, /more than one/, await call(port, Buffer.concat([framed(REQUEST), framed(REQUEST)]))],
      ] as const;
      for (const [status, message, answer] of refused) {
        assert.deepEqual([answer.http, answer.status], [200, status], String(message));
        assert.match(answer.message, message);
        assert.equal(readStatus(answer.details).retrySeconds, undefined);
      }
      assert.equal(sink.spans.length, 0);
    }));

  test("while its account is paused a client is told when to come again, in RetryInfo", () =>
    running(async ({ port, sink }) => {
      sink.paused.add("host");
      const answer = await call(port, framed(REQUEST));
      assert.equal(answer.status, 8);
      assert.deepEqual(readStatus(answer.details), {
        code: 8,
        message: "the forwarder is full: come again later",
        retrySeconds: 1,
      });
    }));

  test("a message that is too large is refused for good", () =>
    running(async ({ port }) => {
      const answer = await call(port, framed(new Uint8Array(2000)));
      assert.equal(answer.status, 8);
      assert.equal(readStatus(answer.details).retrySeconds, undefined);
    }, { limits: { maxBodyBytes: 1000 } }));

  test("fifty calls of 2.7 MB at once, compressed, over one connection", () =>
    running(async ({ port, sink }) => {
      const name = bytesField(5, new Uint8Array(2_700_000).fill(0x61));
      const body = framed(gzipSync(bytesField(1, bytesField(2, bytesField(2, SPAN, name)))), 1);
      const session = http2.connect(`http://127.0.0.1:${port}`);
      const statuses = await Promise.all(Array.from({ length: 50 }, () =>
        new Promise((resolve, reject) => {
          const stream = session.request({
            ":method": "POST",
            ":path": EXPORT,
            "content-type": "application/grpc",
            "grpc-encoding": "gzip",
          });
          stream.on("trailers", (trailers) => resolve(trailers["grpc-status"]));
          stream.on("error", reject);
          stream.resume();
          stream.end(body);
        })));
      session.destroy();
      assert.deepEqual(new Set(statuses), new Set(["0"]));
      assert.equal(sink.spans.length, 50);
    }));

  test("OTLP/HTTP may come over HTTP/2 too", () =>
    running(async ({ port, sink }) => {
      const answer = await call(port, REQUEST, { ":path": "/v1/traces", "content-type": "application/x-protobuf" });
      assert.equal(answer.http, 200);
      assert.equal(sink.spans.length, RECORDS.length);
    }));
});
