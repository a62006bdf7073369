import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import https from "node:https";
import net from "node:net";
import { join } from "node:path";
import process from "node:process";
import { describe, test } from "node:test";
import { parseCommandLine } from "../../../src/options/cli.ts";
import { Metrics } from "../../../src/pipeline/metrics.ts";
import type { Settings } from "../../../src/pipeline/settings.ts";
import { KnownSandboxes } from "../../../src/receivers/accounts/known-sandboxes.ts";
import { HostReceiverError } from "../../../src/receivers/host/host-receiver-error.ts";
import {
  type HostReceiverOptions,
  type HostReceivers,
  openHostReceivers,
} from "../../../src/receivers/host/host-receivers.ts";
import { encodeThriftBatch } from "../../decode/support/thrift-encoder.ts";
import { thriftSpan } from "../../decode/support/jaeger-decode.ts";
import { CA, CLIENT, SERVER } from "../../exporters/support/certificates.ts";
import { freePort, listen } from "../../support/ports.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";
import { HttpClient } from "../support/http-post.ts";
import { RecordingSink } from "../support/recording-sink.ts";

const THRIFT = { "content-type": "application/x-thrift" };
const BATCH = encodeThriftBatch({ serviceName: "kata", spans: [thriftSpan()] });

function settings(...argv: string[]): Settings {
  const command = parseCommandLine(argv, {});
  if (command.kind !== "run") throw new Error(command.kind);
  return command.settings;
}

interface Opened {
  readonly receivers: HostReceivers;
  readonly log: RecordingLogger;
  readonly sink: RecordingSink;
  /** The ports that are listened at, by option. */
  readonly ports: Record<string, number[]>;
}

async function opened(
  given: Settings,
  use: (opened: Opened) => Promise<void>,
  options: Partial<HostReceiverOptions> = {},
): Promise<void> {
  const log = new RecordingLogger();
  const receivers = await openHostReceivers(given, {
    metrics: new Metrics(),
    log,
    sandboxes: new KnownSandboxes(),
    ...options,
  });
  const sink = new RecordingSink();
  receivers.begin(sink);
  const ports: Record<string, number[]> = {};
  for (const { fields } of log.find("listening to the host")) {
    (ports[String(fields["option"])] ??= []).push(Number(String(fields["address"]).split(":").at(-1)));
  }
  try {
    await use({ receivers, log, sink, ports });
  } finally {
    await receivers.abort();
  }
}

function refusal(given: Settings): Promise<string> {
  return opened(given, () => Promise.resolve()).then(
    () => assert.fail("was opened"),
    (error: unknown) => {
      assert.ok(error instanceof HostReceiverError, String(error));
      return error.message;
    },
  );
}

test("each receiver listens where it is told, and hands its spans to one sink", () =>
  opened(
    settings("--jaeger-listen", "0", "--otlp-listen", "0", "--otlp-listen", "0"),
    async ({ ports, sink, receivers }) => {
      assert.equal(ports["--jaeger-listen"]?.length, 1);
      assert.equal(ports["--otlp-listen"]?.length, 2);
      const jaeger = new HttpClient(ports["--jaeger-listen"]?.[0] as number);
      assert.equal((await jaeger.post("/api/traces", BATCH, THRIFT)).status, 202);
      for (const port of ports["--otlp-listen"] ?? []) {
        const otlp = new HttpClient(port);
        const answer = await otlp.post("/v1/traces", "{}", { "content-type": "application/json" });
        assert.equal(answer.status, 200);
        otlp.close();
      }
      jaeger.close();
      await receivers.stop(1000);
      assert.equal(sink.spans.length, 1);
      assert.equal(sink.sources.every(({ isClosed }) => isClosed), true);
    },
  ));

test("runtimes are answered by a thread of their own", () =>
  opened(settings("--jaeger-listen", "0"), ({ receivers, log }) => {
    assert.equal(receivers.holdsRuntimesUp, false);
    assert.deepEqual(log.records.filter(({ level }) => level !== "info"), []);
    return Promise.resolve();
  }));

test("without such a thread they are answered by this one, with one warning", () =>
  opened(settings("--jaeger-listen", "0"), async ({ ports, sink, receivers, log }) => {
    assert.equal(receivers.holdsRuntimesUp, true);
    assert.equal(log.find("no thread can be started").length, 1);
    const client = new HttpClient(ports["--jaeger-listen"]?.[0] as number);
    assert.equal((await client.post("/api/traces", BATCH, THRIFT)).status, 202);
    client.close();
    await receivers.stop(1000);
    assert.equal(sink.spans.length, 1);
  }, { jaegerThread: new URL("./no-such-module.ts", import.meta.url) }));

describe("a port that is taken", () => {
  const withTaken = async (use: (port: number) => Promise<void>): Promise<void> => {
    const server = net.createServer();
    const port = await listen(server, await freePort());
    try {
      await use(port);
    } finally {
      server.close();
    }
  };

  test("is an error that names who has it", () =>
    withTaken(async (port) => {
      for (const option of ["--jaeger-listen", "--otlp-listen"]) {
        const message = await refusal(settings(option, String(port)));
        const owner = `(process ${process.pid}) listens there: stop it, or choose another port`;
        assert.ok(message.startsWith(`${option} 127.0.0.1:${port}: `) && message.endsWith(owner), message);
      }
    }));

  test("is a warning if the address is only a default", () =>
    withTaken(async (port) => {
      const given = settings("--otlp-listen", "0");
      const optional = { host: "127.0.0.1", port, optional: true } as const;
      await opened({ ...given, otlpListen: [optional, ...given.otlpListen] }, async ({ log, ports }) => {
        assert.equal(ports["--otlp-listen"]?.length, 1);
        assert.deepEqual(log.records.map(({ level }) => level), ["warn", "info"]);
        assert.match(
          log.records[0]?.message ?? "",
          new RegExp(`^--otlp-listen 127\\.0\\.0\\.1:${port}: .* listens there`),
        );
        await Promise.resolve();
      });
    }));

  test("leaves none of the others open", () =>
    withTaken(async (port) => {
      const free = await freePort();
      await refusal(settings("--jaeger-listen", String(free), "--otlp-listen", String(port)));
      const server = net.createServer();
      assert.equal(await listen(server, free), free);
      server.close();
    }));
});

describe("a collector's address that leads back", () => {
  test("is an error, however it is written", async () => {
    const port = await freePort();
    for (const host of ["127.0.0.1", "localhost", "0.0.0.0"]) {
      const message = await refusal(
        settings("--otlp-listen", String(port), "--otlp-endpoint", `http://${host}:${port}`),
      );
      assert.match(
        message,
        /^--otlp-listen 127\.0\.0\.1:\d+: the collector's address, .*, leads there, so the forwarder/,
      );
    }
    const any = ["--otlp-listen", `0.0.0.0:${port}`, "--insecure-listen"];
    await refusal(settings(...any, "--otlp-endpoint", `http://localhost:${port}`));
  });

  test("is left to the collector if the receiver's address is only a default", async () => {
    const port = await freePort();
    const given = settings("--otlp-endpoint", `http://localhost:${port}`);
    const otlpListen = [{ host: "127.0.0.1", port, optional: true }] as const;
    await opened({ ...given, otlpListen }, async ({ log, ports }) => {
      assert.deepEqual(ports, {});
      assert.match(
        log.records[0]?.message ?? "",
        /^not listening at 127\.0\.0\.1:\d+, because the collector is expected/,
      );
      await Promise.resolve();
    });
  });

  test("is none of its business if nothing is sent", async () => {
    const port = await freePort();
    const given = settings("--dump-only", "--otlp-listen", String(port), "--otlp-endpoint", `http://localhost:${port}`);
    await opened(given, async ({ ports }) => {
      assert.deepEqual(ports["--otlp-listen"], [port]);
      await Promise.resolve();
    });
  });
});

describe("files", () => {
  test("the password is a file's first line", async () => {
    using directory = temporaryDirectory();
    const file = join(directory.path, "password");
    writeFileSync(file, "s3cret\nmore\n");
    const given = ["--jaeger-listen", "0", "--jaeger-user", "kata", "--jaeger-password-file", file];
    await opened(settings(...given), async ({ ports }) => {
      const client = new HttpClient(ports["--jaeger-listen"]?.[0] as number);
      const authorization = `Basic ${Buffer.from("kata:s3cret").toString("base64")}`;
      assert.equal((await client.post("/", BATCH, { ...THRIFT, authorization })).status, 202);
      assert.equal((await client.post("/", BATCH, THRIFT)).status, 401);
      client.close();
    });
    writeFileSync(file, "\n");
    assert.equal(await refusal(settings(...given)), `--jaeger-password-file ${file}: the first line is empty`);
    given[5] = join(directory.path, "no such file");
    assert.match(await refusal(settings(...given)), /^--jaeger-password-file .*no such file: .*ENOENT/);
  });

  test("with a certificate and its key all of them speak TLS", async () => {
    using directory = temporaryDirectory();
    const [cert, key] = [join(directory.path, "cert.pem"), join(directory.path, "key.pem")];
    writeFileSync(cert, SERVER.cert);
    writeFileSync(key, SERVER.key);
    const given = ["--jaeger-listen", "0", "--listen-cert", cert, "--listen-key", key];
    await opened(settings(...given), async ({ ports }) => {
      const status = await new Promise((resolve, reject) => {
        const request = https.request(
          {
            host: "127.0.0.1",
            port: ports["--jaeger-listen"]?.[0],
            method: "POST",
            ca: CA,
            agent: false,
            headers: THRIFT,
          },
          (response) => resolve(response.statusCode),
        );
        request.on("error", reject);
        request.end(BATCH);
      });
      assert.equal(status, 202);
    });
    writeFileSync(key, CLIENT.key);
    assert.match(await refusal(settings(...given)), /: the key is another certificate's$/);
    writeFileSync(key, "no key");
    assert.match(await refusal(settings(...given)), /^--listen-cert .*cert\.pem, --listen-key .*key\.pem: .* in PEM$/);
  });
});
