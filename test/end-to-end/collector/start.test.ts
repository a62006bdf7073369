import assert from "node:assert/strict";
import { copyFile } from "node:fs/promises";
import { after, test } from "node:test";
import { makeCertificates } from "../../collector/certificates.ts";
import { type Collector, type CollectorTls, startCollector } from "../../collector/collector.ts";
import { freePorts } from "../../support/ports.ts";
import { runAgent, SESSION_SPANS } from "../support/agent.ts";
import { assertReceived } from "../support/compare.ts";
import { Forwarder } from "../support/forwarder.ts";
import { PATIENCE, program, Workshop } from "../support/programs.ts";

const workshop = new Workshop();
after(() => workshop.close());

const HOST = { "service.name": "kata-agent", "kata.sandbox.id": "sandbox", "kata.component": "agent" };
const PROTOCOLS = ["grpc", "http/protobuf"] as const;
type Protocol = (typeof PROTOCOLS)[number];

async function collectorWith(tls: CollectorTls): Promise<Collector> {
  const directory = await workshop.folder();
  return workshop.add(await startCollector({ binary: program("KTF_OTELCOL"), directory, tls }));
}

function endpoint(protocol: Protocol, collector: Pick<Collector, "grpcPort" | "httpPort">): string {
  return `https://localhost:${protocol === "grpc" ? collector.grpcPort : collector.httpPort}`;
}

/** Starts a forwarder; one that cannot start rejects. */
async function forwarderTo(
  protocol: Protocol,
  url: string,
  variables: Readonly<Record<string, string>>,
  ...options: readonly string[]
): Promise<Forwarder> {
  const forwarder = await Forwarder.start({
    directory: await workshop.folder(),
    sandbox: "sandbox",
    arguments: ["--otlp-protocol", protocol, "--otlp-endpoint", url, ...options],
    environment: variables,
  });
  return workshop.add(forwarder);
}

/** The last line that a forwarder printed, which could not start, and its exit code 1. */
async function failedStart(...start: Parameters<typeof forwarderTo>): Promise<string> {
  let error: unknown;
  try {
    await forwarderTo(...start);
  } catch (failure) {
    error = failure;
  }
  assert.ok(error instanceof Error, "it started");
  assert.match(error.message, /exited with 1; its output ended with:\n/);
  return error.message.split("\n").at(-1) ?? "";
}

for (const protocol of PROTOCOLS) {
  test(
    `${protocol}: certificates that cannot work end the start with the reason`,
    PATIENCE,
    async () => {
      const { ca, server, client, expired } = await makeCertificates(await workshop.folder());
      const outdated = endpoint(protocol, await collectorWith(expired));
      const mutual = endpoint(
        protocol,
        await collectorWith({ ...server, clientCa: ca.certificate }),
      );
      const authority = { OTEL_EXPORTER_OTLP_CERTIFICATE: ca.certificate };
      const noAnswer = (url: string) => `kata-trace-forwarder: what listens at ${url}`;

      const late = await failedStart(protocol, outdated, authority);
      assert.ok(late.startsWith(noAnswer(outdated)), late);
      assert.match(late, /check .*OTEL_EXPORTER_OTLP_CERTIFICATE.*certificate has expired/);

      const unknown = await failedStart(protocol, mutual, {});
      assert.ok(unknown.startsWith(noAnswer(mutual)), unknown);
      assert.match(unknown, /unable to verify the first certificate/);

      const anonymous = await failedStart(protocol, mutual, authority);
      assert.ok(anonymous.startsWith(noAnswer(mutual)), anonymous);
      assert.match(anonymous, /CERTIFICATE_REQUIRED/);

      const mismatched = await failedStart(protocol, mutual, {
        ...authority,
        OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: client.certificate,
        OTEL_EXPORTER_OTLP_CLIENT_KEY: server.key,
      });
      assert.match(
        mismatched,
        /OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: .* does not belong to the key/,
      );

      const plain = await failedStart(protocol, mutual.replace("https:", "http:"), {});
      assert.match(plain, protocol === "grpc" ? /no answer over gRPC: .*https:/ : /speaks TLS/);
    },
  );

  test(`${protocol}: where no collector is, the start fails`, PATIENCE, async () => {
    const [port = 0] = await freePorts(1);
    const message = await failedStart(protocol, `http://127.0.0.1:${port}`, {});
    assert.match(message, /^kata-trace-forwarder: no collector at .*: start it.*ECONNREFUSED/);
  });

  test(
    `${protocol}: spans wait for a collector whose certificate is renewed`,
    PATIENCE,
    async () => {
      const folder = await workshop.folder();
      const { ca, server, expired } = await makeCertificates(folder);
      const inUse = { certificate: `${folder}/in-use.pem`, key: `${folder}/in-use.key` };
      const use = async (pair: CollectorTls) => {
        await copyFile(pair.certificate, inUse.certificate);
        await copyFile(pair.key, inUse.key);
      };
      await use(expired);
      const collector = await collectorWith(inUse);
      const forwarder = await forwarderTo(
        protocol,
        endpoint(protocol, collector),
        { OTEL_EXPORTER_OTLP_CERTIFICATE: ca.certificate },
        "--wait-for-collector",
      );
      const sent = await runAgent(forwarder.socket, folder);

      const { error } = await forwarder.waitForRecord(
        "collector unreachable: spans are held until it is back",
      );
      assert.match(String(error), /certificate has expired/);
      assert.deepEqual(await collector.spans(), []);

      await use(server);
      await collector.restart();
      await collector.waitForSpans(SESSION_SPANS, PATIENCE.timeout);
      await forwarder.waitForRecord("collector is back");
      assert.equal(await forwarder.stop(), "exited with 0");
      assertReceived(await collector.spans(), sent, HOST);
    },
  );
}
