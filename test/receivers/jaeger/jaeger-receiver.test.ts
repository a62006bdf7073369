import assert from "node:assert/strict";
import http2 from "node:http2";
import { describe, test } from "node:test";
import { Metrics } from "../../../src/pipeline/metrics.ts";
import { KnownSandboxes } from "../../../src/receivers/accounts/known-sandboxes.ts";
import { JaegerReceiver, type JaegerReceiverOptions } from "../../../src/receivers/jaeger/jaeger-receiver.ts";
import { type JaegerServerSettings, LocalJaegerServer } from "../../../src/receivers/jaeger/jaeger-server.ts";
import { jaegerBodies, jaegerFile, malformedBodies } from "../../decode/support/jaeger-fixtures.ts";
import { thriftSpan } from "../../decode/support/jaeger-decode.ts";
import { encodeThriftBatch, string, type ThriftTag } from "../../decode/support/thrift-encoder.ts";
import { RawClient } from "../../http/support/serving.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";
import { until } from "../../support/until.ts";
import { HttpClient } from "../support/http-post.ts";
import { RecordingSink } from "../support/recording-sink.ts";

const THRIFT = { "content-type": "application/x-thrift" };
/** Longer than any test takes. */
const LONG = { nameMs: 60_000, serviceMs: 60_000 };
const SERVICE = "kata-sb-9f3c51aa";

interface Running {
  readonly receiver: JaegerReceiver;
  readonly server: LocalJaegerServer;
  readonly client: HttpClient;
  readonly port: number;
  readonly sink: RecordingSink;
  readonly metrics: Metrics;
  readonly log: RecordingLogger;
  readonly sandboxes: KnownSandboxes;
}

async function running(
  use: (running: Running) => Promise<void>,
  options: Partial<JaegerReceiverOptions & JaegerServerSettings> = {},
  begins = true,
): Promise<void> {
  const metrics = new Metrics();
  const log = new RecordingLogger();
  const sandboxes = new KnownSandboxes();
  const sink = new RecordingSink();
  const receiver = new JaegerReceiver({
    metrics,
    log,
    sandboxes,
    findPeer: () => Promise.resolve(undefined),
    ...options,
  });
  const server = new LocalJaegerServer(receiver, log, { keepHttp2Noise: false, ...options });
  const { port } = await server.listen({ host: "127.0.0.1", port: 0 });
  if (begins) {
    receiver.begin(sink);
    server.begin();
  }
  const client = new HttpClient(port);
  try {
    await use({ receiver, server, client, port, sink, metrics, log, sandboxes });
  } finally {
    client.close();
    await server.close();
    receiver.close();
  }
}

/** A body with one span for each list of tags. */
function body(service: string, ...spans: ThriftTag[][]): Uint8Array {
  return encodeThriftBatch({
    serviceName: service,
    spans: spans.map((tags, i) => thriftSpan({ operationName: `span ${i}`, tags })),
  });
}

describe("requests", () => {
  test("the Go shim's session, one request a span, is taken over one connection", () =>
    running(async ({ client, sink, metrics }) => {
      const bodies = jaegerBodies("go-session");
      for (const each of bodies) {
        const answer = await client.post("/api/traces", each, THRIFT);
        assert.equal(answer.status, 202);
        assert.equal(answer.headers["content-length"], "0");
        assert.equal(answer.body.length, 0);
      }
      assert.equal(sink.spans.length, 34);
      const received = metrics.receiver("jaeger");
      assert.equal(received.received, 34);
      assert.equal(received.invalidTotal, 0);
      assert.deepEqual(received.payloads, { "jaeger-thrift": 34 });
      assert.equal(received.receivedBytes, bodies.reduce((sum, { length }) => sum + length, 0));
    }));

  test("byte for byte as both exporters send them, over HTTP/1 and HTTP/2", () =>
    running(async ({ port, sink }) => {
      for (const file of ["go-session.first-request.http", "rust-http1.first-request.http"]) {
        const client = new RawClient(port);
        await client.send(jaegerFile(file));
        await client.until((text) => text.startsWith("HTTP/1.1 202 ") && text.endsWith("\r\n\r\n"));
        client.end();
      }
      const before = sink.spans.length;
      const client = new RawClient(port);
      await client.send(jaegerFile("rust-h2c.first-connection.bin"));
      while (sink.spans.length === before) await new Promise((resolve) => setTimeout(resolve, 2));
      client.end();
      assert.equal(sink.spans.length, before + 1);
    }, { keepHttp2Noise: true }));

  test("HTTP/2's clients are told of frames and windows that a batch fits in", () =>
    running(async ({ port }) => {
      const session = http2.connect(`http://127.0.0.1:${port}`);
      const settings = await new Promise<http2.Settings>((resolve) => session.once("remoteSettings", resolve));
      assert.equal(settings.maxFrameSize, 16_777_215);
      assert.equal(settings.initialWindowSize, 64 * 1024 * 1024);
      const stream = session.request({ ":method": "POST", ":path": "/x", ...THRIFT });
      stream.end(body("kata", []));
      const headers = await new Promise<http2.IncomingHttpHeaders>((resolve) => stream.once("response", resolve));
      assert.equal(headers[":status"], 202);
      assert.equal(session.state.remoteWindowSize !== undefined && session.state.remoteWindowSize > 60_000_000, true);
      session.destroy();
    }));

  test("any path and either content type", () =>
    running(async ({ client, sink }) => {
      for (const path of ["/api/traces", "/", "/a/b?c=d"]) {
        for (
          const type of ["application/x-thrift", "application/vnd.apache.thrift.binary", "Application/X-Thrift; a=b"]
        ) {
          assert.equal((await client.post(path, body("kata", []), { "content-type": type })).status, 202);
        }
      }
      assert.equal(sink.spans.length, 9);
    }));

  test("what cannot be a batch is refused, said once a while, and counted", () =>
    running(async ({ client, sink, metrics, log }) => {
      const refused = [
        await client.request("GET", "/api/traces"),
        await client.post("/api/traces", body("kata", []), { "content-type": "application/x-protobuf" }),
        await client.post("/api/traces", body("kata", [])),
        await client.post("/api/traces", body("kata", []), { ...THRIFT, "content-encoding": "gzip" }),
        await client.post("/api/traces", "{}", THRIFT),
      ];
      assert.deepEqual(refused.map(({ status }) => status), [405, 415, 415, 415, 400]);
      assert.equal(refused[0]?.headers["allow"], "POST");
      assert.match(String(refused[4]?.body), /^not a batch of jaeger\.thrift: JSON instead of Thrift/);
      assert.equal(sink.spans.length, 0);
      assert.deepEqual(metrics.receiver("jaeger").invalid, { "invalid-tag": 1 });
      assert.equal(log.find("refused").length, 5);
    }));

  test("malformed bodies cost themselves", () =>
    running(async ({ client, sink, metrics }) => {
      const statuses: Record<string, number> = {};
      for (const [name, bytes] of malformedBodies()) {
        statuses[name.slice(0, 2)] = (await client.post("/api/traces", bytes, THRIFT)).status;
      }
      const taken = Object.keys(statuses).filter((name) => statuses[name] === 202);
      assert.deepEqual(taken.sort(), ["00", "08", "13", "16", "17"]);
      assert.deepEqual(new Set(Object.values(statuses)), new Set([202, 400]));
      assert.equal(sink.spans.length, 3);
      const { received, invalidTotal } = metrics.receiver("jaeger");
      assert.equal(received, sink.spans.length + invalidTotal);
      assert.equal(invalidTotal, Object.keys(statuses).length - sink.spans.length);
    }));

  test("the noise of HTTP/2 is left out and counted, but not as received", () =>
    running(async ({ client, sink, metrics }) => {
      for (const each of jaegerBodies("rust-session")) await client.post("/api/traces", each, THRIFT);
      const { received, leftOut } = metrics.receiver("jaeger");
      assert.equal(received, sink.spans.length);
      assert.equal(received + (leftOut["http2-noise"] ?? 0), 81);
      assert.ok(received > 10 && received < 81);
    }));
});

describe("credentials", () => {
  const credentials = { user: "kata", password: "pass:wörd" };
  const basic = (text: string) => ({ ...THRIFT, authorization: `Basic ${Buffer.from(text).toString("base64")}` });

  test("are checked if they are given", () =>
    running(async ({ client, sink }) => {
      const status = async (headers: Record<string, string>) =>
        (await client.post("/api/traces", body("kata", []), headers)).status;
      assert.equal(await status(basic("kata:pass:wörd")), 202);
      assert.equal(await status({ ...basic("kata:pass:wörd"), authorization: "bAsIc a2F0YTpwYXNzOnfDtnJk" }), 202);
      const wrong = [THRIFT, basic(""), basic("kata:"), basic("kata:pass"), basic("kata:pass:wörd "), {
        ...THRIFT,
        authorization: "Bearer x",
      }, { ...THRIFT, authorization: "Basic ***" }];
      for (const headers of wrong) assert.equal(await status(headers), 401, JSON.stringify(headers));
      const answer = await client.post("/", body("kata", []), THRIFT);
      assert.match(answer.headers["www-authenticate"] ?? "", /^Basic realm=/);
      assert.equal(sink.spans.length, 2);
    }, { credentials }));

  test("are taken as they come otherwise, as the Rust runtime always sends some", () =>
    running(async ({ client }) => {
      assert.equal((await client.post("/", body("kata", []), basic(":"))).status, 202);
    }));
});

describe("whose spans they are", () => {
  const attributes = ({ sink }: Running) =>
    sink.sources.map(({ source: { kind, account, attributes } }) => [kind, account, Object.fromEntries(attributes)]);
  const KNOWN = { "kata.component": "runtime", "kata.sandbox.id": "9f3c51aa0000" };

  test("nobody's that is known", () =>
    running(async (at) => {
      await at.client.post("/", body("kata", []), THRIFT);
      assert.deepEqual(attributes(at), [["runtime", "runtime", { "kata.component": "runtime" }]]);
      assert.deepEqual(at.sink.spans.map(({ resource }) => resource.attributes), [
        [{ key: "service.name", value: { stringValue: "kata" } }],
      ]);
    }));

  test("by their attribute", () =>
    running(async (at) => {
      await at.client.post("/", body("kata", [], [string("sandbox_id", "9f3c51aa0000")]), THRIFT);
      assert.deepEqual(attributes(at), [["runtime", "runtime:9f3c51aa0000", KNOWN]]);
      assert.equal(at.sink.spans.length, 2);
    }));

  test("by their service, if one known sandbox fits", () =>
    running(async (at) => {
      await at.client.post("/", body(SERVICE, []), THRIFT);
      const guest = {
        kind: "guest",
        name: "g",
        account: "g",
        attributes: new Map([["kata.sandbox.id", "9f3c51aa0000"]]),
      };
      at.sandboxes.watch(new RecordingSink()).open(guest as never);
      await at.client.post("/", body(SERVICE, []), THRIFT);
      assert.deepEqual(attributes(at), [
        ["runtime", "runtime", { "kata.component": "runtime" }],
        ["runtime", "runtime:9f3c51aa0000", KNOWN],
      ]);
    }));

  test("by the process at the other end; what comes before it is found is answered, and waits", async () => {
    const found = Promise.withResolvers<string | undefined>();
    await running(async (at) => {
      for (let i = 0; i < 3; i++) assert.equal((await at.client.post("/", body("kata", []), THRIFT)).status, 202);
      // What tells its sandbox itself need not wait.
      await at.client.post("/", body("kata", [string("sandbox_id", "other")]), THRIFT);
      assert.deepEqual(at.sink.namesByAccount(), { "runtime:other": ["span 0"] });
      assert.equal(at.metrics.receiver("jaeger").received, 1);
      found.resolve("9f3c51aa0000");
      await found.promise;
      await new Promise((resolve) => setTimeout(resolve, 5));
      assert.deepEqual(at.sink.namesByAccount(), {
        "runtime:other": ["span 0"],
        "runtime:9f3c51aa0000": ["span 0", "span 0", "span 0"],
      });
      assert.equal(at.metrics.receiver("jaeger").received, 4);
      await at.client.post("/", body("kata", []), THRIFT);
      assert.equal(at.sink.spans.length, 5);
    }, { findPeer: () => found.promise });
  });

  test("more than may wait goes on without", () =>
    running(async (at) => {
      const large = body("kata", [string("x", "y".repeat(600_000))]);
      await at.client.post("/", large, THRIFT);
      assert.equal(at.sink.spans.length, 0);
      await at.client.post("/", large, THRIFT);
      assert.equal(at.sink.spans.length, 2);
      await at.client.post("/", large, THRIFT);
      assert.deepEqual(Object.keys(at.sink.namesByAccount()), ["runtime"]);
    }, { findPeer: () => new Promise(() => {}) }));

  test("what waits when the connection or the receiver ends is not lost", () =>
    running(async (at) => {
      await at.client.post("/", body("kata", []), THRIFT);
      const other = new HttpClient(at.port);
      await other.post("/", body("kata", []), THRIFT);
      at.client.close();
      while (at.sink.spans.length < 1) await new Promise((resolve) => setTimeout(resolve, 2));
      await at.server.stop(100);
      at.receiver.close();
      assert.equal(at.sink.spans.length, 2);
      other.close();
    }, { findPeer: () => new Promise(() => {}) }));

  test("a source ends with its last connection", () =>
    running(async (at) => {
      const other = new HttpClient(at.port);
      const mine = body("kata", [string("sandbox_id", "one")]);
      await at.client.post("/", mine, THRIFT);
      await other.post("/", mine, THRIFT);
      await other.post("/", body("kata", [string("sandbox_id", "two")]), THRIFT);
      other.close();
      while (at.sink.sources[1]?.isClosed !== true) await new Promise((resolve) => setTimeout(resolve, 2));
      assert.deepEqual(at.sink.sources.map(({ source, isClosed }) => [source.name, isClosed]), [
        ["one", false],
        ["two", true],
      ]);
    }));

  test("a connection that names very many sandboxes is one account after some", () =>
    running(async (at) => {
      for (let i = 0; i < 300; i++) await at.client.post("/", body("kata", [string("sandbox_id", `s${i}`)]), THRIFT);
      assert.equal(at.sink.sources.length, 257);
      assert.equal(at.sink.spans.length, 300);
    }));
});

describe("the sandbox of a trace", () => {
  const sandboxesOf = ({ sink }: Running): unknown[] =>
    sink.sources.flatMap(({ source, spans }) => spans.map(() => source.attributes.get("kata.sandbox.id")));
  const id = "00000000000000000000000000000000000000000000000040507b35c8cfdf40";

  test("what one span names holds for the others of its trace, and earlier ones wait for that", () =>
    running(async (stage) => {
      const { client, sink } = stage;
      const bodies = jaegerBodies("go-session");
      for (const each of bodies.slice(0, 2)) await client.post("/", each, THRIFT);
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert.deepEqual(sink.spans, []);
      for (const each of bodies.slice(2)) await client.post("/", each, THRIFT);
      assert.deepEqual(sandboxesOf(stage), bodies.map(() => id));
    }, { waits: LONG }));

  test("if none names it, they wait no longer than they may, or until their connection ends", () =>
    running(async (stage) => {
      const { client, sink } = stage;
      await client.post("/", body("kata", []), THRIFT);
      while (sink.spans.length < 1) await new Promise((resolve) => setTimeout(resolve, 2));
      await client.post("/", body("kata", []), THRIFT);
      assert.deepEqual(sandboxesOf(stage), [undefined, undefined]);
    }, { waits: { nameMs: 5, serviceMs: 60_000 } }).then(() =>
      running(async (stage) => {
        const { client, sink } = stage;
        await client.post("/", body("kata", []), THRIFT);
        client.close();
        while (sink.spans.length < 1) await new Promise((resolve) => setTimeout(resolve, 2));
        assert.deepEqual(sandboxesOf(stage), [undefined]);
      }, { waits: LONG })
    ));

  test("spans of two traces in one batch say nothing of each other", () =>
    running(async (stage) => {
      const { client } = stage;
      const of = (traceIdLow: bigint, ...tags: ThriftTag[]) => thriftSpan({ traceIdLow, tags });
      const named = { key: "sandbox_id", vType: 0, vStr: id } as ThriftTag;
      await client.post("/", encodeThriftBatch({ serviceName: "kata", spans: [of(1n, named), of(2n)] }), THRIFT);
      await client.post("/", encodeThriftBatch({ serviceName: "kata", spans: [of(1n)] }), THRIFT);
      assert.deepEqual(sandboxesOf(stage), [id, id, undefined]);
    }));
});

describe("the Rust runtime's batches before their sandbox is known", () => {
  const connectGuest = ({ sandboxes }: Running, id: string): void => {
    const attributes = new Map([["kata.sandbox.id", id]]);
    sandboxes.watch(new RecordingSink()).open({ kind: "guest", name: id, account: id, attributes });
  };

  test("are answered, and wait for its guest", () =>
    running(async (at) => {
      for (let i = 0; i < 2; i++) assert.equal((await at.client.post("/", body(SERVICE, []), THRIFT)).status, 202);
      connectGuest(at, "000000000000");
      assert.equal(at.sink.spans.length, 0);
      connectGuest(at, "9f3c51aa0000");
      assert.deepEqual(at.sink.namesByAccount(), { "runtime:9f3c51aa0000": ["span 0", "span 0"] });
      assert.equal(at.metrics.receiver("jaeger").received, 2);
      await at.client.post("/", body(SERVICE, []), THRIFT);
      assert.equal(at.sink.spans.length, 3);
    }, { waits: LONG }));

  test("are of the shim that runs with such an ID", () =>
    running(async (at) => {
      await at.client.post("/", body(SERVICE, []), THRIFT);
      await until(() => at.sink.spans.length === 1);
      assert.deepEqual(at.sink.namesByAccount(), { "runtime:9f3c51aa0000": ["span 0"] });
    }, { waits: LONG, runningSandboxes: () => Promise.resolve(new Set(["9f3c51aa0000", "0f3c51aa0000"])) }));

  test("are of a shim that is found only later", () => {
    let scans = 0;
    return running(async (at) => {
      await at.client.post("/", body(SERVICE, []), THRIFT);
      await until(() => scans === 1);
      await at.client.post("/", body(SERVICE, []), THRIFT);
      await until(() => at.sink.spans.length === 2);
      assert.equal(scans, 2);
      assert.deepEqual(at.sink.namesByAccount(), { "runtime:9f3c51aa0000": ["span 0", "span 0"] });
    }, { waits: LONG, runningSandboxes: () => Promise.resolve(new Set(scans++ === 0 ? [] : ["9f3c51aa0000"])) });
  });

  test("are nobody's if two could be meant, or when they have waited long enough", () =>
    running(async (at) => {
      await at.client.post("/", body(SERVICE, []), THRIFT);
      await until(() => at.sink.spans.length === 1);
      assert.deepEqual(Object.keys(at.sink.namesByAccount()), ["runtime"]);
    }, {
      waits: { nameMs: 60_000, serviceMs: 50 },
      runningSandboxes: () => Promise.resolve(new Set(["9f3c51aa0000", "9f3c51aa1111"])),
    }));

  test("take no more memory than others that wait", () =>
    running(async (at) => {
      const large = body(SERVICE, [string("x", "y".repeat(600_000))]);
      await at.client.post("/", large, THRIFT);
      assert.equal(at.sink.spans.length, 0);
      await at.client.post("/", large, THRIFT);
      assert.equal(at.sink.spans.length, 2);
    }, { waits: LONG }));
});

test("a request that comes before the receiver begins waits for it", () =>
  running(
    async (at) => {
      const answer = at.client.post("/", body("kata", []), THRIFT);
      await new Promise((resolve) => setTimeout(resolve, 50));
      at.receiver.begin(at.sink);
      at.server.begin();
      assert.equal((await answer).status, 202);
      assert.equal(at.sink.spans.length, 1);
    },
    {},
    false,
  ));
