import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { spawnSync } from "node:child_process";
import { describe, test } from "node:test";
import { HttpListenError } from "../../../../src/http/listen-error.ts";
import { Metrics } from "../../../../src/pipeline/metrics.ts";
import { KnownSandboxes } from "../../../../src/receivers/accounts/known-sandboxes.ts";
import { JaegerReceiver } from "../../../../src/receivers/jaeger/jaeger-receiver.ts";
import type { JaegerServerSettings } from "../../../../src/receivers/jaeger/jaeger-server.ts";
import { ThreadJaegerServer } from "../../../../src/receivers/jaeger/thread/thread-server.ts";
import type { LocalConnection } from "../../../../src/receivers/peers/socket-table.ts";
import { jaegerBodies } from "../../../decode/support/jaeger-fixtures.ts";
import { childCommand } from "../../../support/child.ts";
import { RecordingLogger } from "../../../support/recording-logger.ts";
import { until } from "../../../support/until.ts";
import { HttpClient } from "../../support/http-post.ts";
import { RecordingSink } from "../../support/recording-sink.ts";

const THRIFT = { "content-type": "application/x-thrift" };

interface Running {
  readonly server: ThreadJaegerServer;
  readonly port: number;
  readonly client: HttpClient;
  readonly receiver: JaegerReceiver;
  readonly sink: RecordingSink;
  readonly metrics: Metrics;
  readonly log: RecordingLogger;
  /** The connections that were looked up. */
  readonly looked: LocalConnection[];
}

async function running(
  use: (running: Running) => Promise<void>,
  settings: Partial<JaegerServerSettings> = {},
): Promise<void> {
  const [metrics, log, sink] = [new Metrics(), new RecordingLogger(), new RecordingSink()];
  const looked: LocalConnection[] = [];
  const receiver = new JaegerReceiver({
    metrics,
    log,
    sandboxes: new KnownSandboxes(),
    findPeer: (connection) => {
      looked.push(connection);
      return Promise.resolve("9f3c51aa0000");
    },
  });
  const server = await ThreadJaegerServer.start(receiver, log, { keepHttp2Noise: false, ...settings });
  const { port } = await server.listen({ host: "127.0.0.1", port: 0 });
  const client = new HttpClient(port);
  try {
    await use({ server, port, client, receiver, sink, metrics, log, looked });
  } finally {
    client.close();
    await server.close();
    receiver.close();
  }
}

function begin({ receiver, server, sink }: Running): void {
  receiver.begin(sink);
  server.begin();
}

describe("a thread that answers runtimes", () => {
  test("hands on every span, and whom it is from", () =>
    running(async (at) => {
      begin(at);
      const bodies = [...jaegerBodies("go-session"), ...jaegerBodies("rust-session")];
      for (const each of bodies) assert.equal((await at.client.post("/", each, THRIFT)).status, 202);
      await at.server.stop(1_000);
      at.receiver.close();
      const { received, receivedBytes, payloads, leftOut } = at.metrics.receiver("jaeger");
      assert.equal(received, at.sink.spans.length);
      assert.equal(received + (leftOut["http2-noise"] ?? 0), 34 + 81);
      assert.equal(receivedBytes, bodies.reduce((sum, { length }) => sum + length, 0));
      assert.deepEqual(payloads, { "jaeger-thrift": bodies.length });
      assert.deepEqual(at.looked.map(({ peerPort }) => peerPort), [at.port]);
      // What the runtime says itself comes before what was looked up.
      assert.ok(at.sink.sources.some(({ source }) => source.account === "runtime:9f3c51aa0000"));
      assert.ok(at.sink.sources.every(({ isClosed }) => isClosed));
    }));

  test("answers while the main thread does something else", () =>
    running((at) => {
      begin(at);
      const [program, ...words] = childCommand(new URL("./post.child.ts", import.meta.url), String(at.port));
      const { stdout, stderr } = spawnSync(program, words, { encoding: "utf8" });
      assert.deepEqual(JSON.parse(stdout), Array.from({ length: 34 }, () => 202), stderr);
      assert.equal(at.sink.spans.length, 0);
      return until(() => at.sink.spans.length === 34);
    }));

  test("refuses, counts and logs what is not a batch", () =>
    running(async (at) => {
      begin(at);
      const [body] = jaegerBodies("go-session") as [Uint8Array];
      const authorization = `Basic ${Buffer.from("kata:s3cret").toString("base64")}`;
      const status = async (bytes: Uint8Array | string, headers: Record<string, string>): Promise<number> =>
        (await at.client.post("/", bytes, headers)).status;
      assert.equal(await status(body, THRIFT), 401);
      assert.equal(await status(body, { authorization, "content-type": "text/plain" }), 415);
      assert.equal(await status("{}", { ...THRIFT, authorization }), 400);
      assert.equal(await status(body, { ...THRIFT, authorization }), 202);
      await until(() => at.sink.spans.length === 1);
      assert.equal(at.log.find("a runtime's request was refused").length, 3);
      const { received, receivedBytes, invalid } = at.metrics.receiver("jaeger");
      assert.deepEqual([received, receivedBytes, invalid], [2, 2 + body.length, { "invalid-tag": 1 }]);
    }, { credentials: { user: "kata", password: "s3cret" } }));

  test("lets requests wait until the start is done", () =>
    running(async (at) => {
      const answer = at.client.post("/", jaegerBodies("go-session")[0] as Uint8Array, THRIFT);
      await until(() => at.looked.length === 1);
      assert.equal(at.sink.spans.length, 0);
      begin(at);
      assert.equal((await answer).status, 202);
      await until(() => at.sink.spans.length === 1);
    }));

  test("says of an address why it cannot be had, as the main thread would", () =>
    running(async ({ port, receiver, log }) => {
      const other = await ThreadJaegerServer.start(receiver, log, { keepHttp2Noise: false });
      try {
        await assert.rejects(other.listen({ host: "127.0.0.1", port }), (error: unknown) => {
          assert.ok(error instanceof HttpListenError, String(error));
          assert.match(error.message, new RegExp(`^127\\.0\\.0\\.1:${port}: the port is in use`));
          return error.isInUse;
        });
        await assert.rejects(other.listen({ host: "198.51.100.7", port: 0 }), /this machine has no such address$/);
      } finally {
        await other.close();
      }
    }));

  test("closes its port at a stop", () =>
    running(async (at) => {
      begin(at);
      await at.server.stop(1_000);
      await assert.rejects(at.client.post("/", "", THRIFT), /ECONNREFUSED|refused|Unable to connect/i);
    }));
});
