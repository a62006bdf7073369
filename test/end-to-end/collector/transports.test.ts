import assert from "node:assert/strict";
import { after, test } from "node:test";
import { type Certificates, makeCertificates } from "../../collector/certificates.ts";
import { type Collector, startCollector } from "../../collector/collector.ts";
import { type AgentSettings, runAgent, SESSION_SPANS } from "../support/agent.ts";
import { assertReceived } from "../support/compare.ts";
import { startCountingProxy } from "../support/counting-proxy.ts";
import { Forwarder } from "../support/forwarder.ts";
import { PATIENCE, program, Workshop } from "../support/programs.ts";

const workshop = new Workshop();
after(() => workshop.close());

/** What the forwarder is told of TLS: nothing, the authority, or a certificate of its own too. */
const SECURITIES = ["plain", "TLS", "mutual TLS"] as const;
type Security = (typeof SECURITIES)[number];

/** Enough of each agent that compression shows beside the handshake of TLS. */
const SESSIONS = 10;

/** Agents of both encodings and modes, with connections of both kinds. */
const AGENTS = ([
  { encoding: "bincode", mode: "isolated" },
  { encoding: "json", mode: "collated" },
  { encoding: "bincode", mode: "collated", connections: "dynamic" },
  { encoding: "json", mode: "isolated", connections: "dynamic", resource: { "os.type": "linux" } },
] as readonly AgentSettings[]).map((settings) => ({ ...settings, sessions: SESSIONS }));

let made: Promise<Certificates> | undefined;

async function certificates(): Promise<Certificates> {
  made ??= workshop.folder().then(makeCertificates);
  return await made;
}

async function collectorWith(security: Security): Promise<Collector> {
  const settings = { binary: program("KTF_OTELCOL"), directory: await workshop.folder() };
  if (security === "plain") return workshop.add(await startCollector(settings));
  const { server, ca } = await certificates();
  const tls = security === "TLS" ? server : { ...server, clientCa: ca.certificate };
  return workshop.add(await startCollector({ ...settings, tls }));
}

async function securityVariables(security: Security): Promise<Record<string, string>> {
  if (security === "plain") return {};
  const { ca, client } = await certificates();
  return {
    OTEL_EXPORTER_OTLP_CERTIFICATE: ca.certificate,
    ...(security === "mutual TLS" && {
      OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: client.certificate,
      OTEL_EXPORTER_OTLP_CLIENT_KEY: client.key,
    }),
  };
}

for (const protocol of ["grpc", "http/protobuf"] as const) {
  for (const security of SECURITIES) {
    for (const compression of ["none", "gzip"] as const) {
      const how = `${protocol}, ${security}, compression ${compression}`;
      test(`what agents sent arrives field for field: ${how}`, PATIENCE, async () => {
        const collector = await collectorWith(security);
        const port = protocol === "grpc" ? collector.grpcPort : collector.httpPort;
        const proxy = workshop.add(await startCountingProxy(port));
        const directory = await workshop.folder();
        const scheme = security === "plain" ? "http" : "https";
        const forwarder = workshop.add(
          await Forwarder.start({
            directory,
            sandbox: "sandbox-7",
            arguments: ["--otlp-protocol", protocol, "--trace-name", "traced"],
            environment: {
              // TLS knows an address and a name in different ways.
              OTEL_EXPORTER_OTLP_ENDPOINT: `${scheme}://${
                compression === "gzip" ? "127.0.0.1" : "localhost"
              }:${proxy.port}`,
              OTEL_EXPORTER_OTLP_COMPRESSION: compression,
              OTEL_RESOURCE_ATTRIBUTES: "host.name=node%201,deployment=test",
              ...await securityVariables(security),
            },
          }),
        );

        const sent = await Promise.all(
          AGENTS.map((settings) => runAgent(forwarder.socket, directory, settings)),
        );
        assert.equal(await forwarder.stop(), "exited with 0");

        assert.equal(sent.flat().length, AGENTS.length * SESSIONS * SESSION_SPANS);
        // Without a wait: a clean exit says that all is delivered.
        assertReceived(await collector.spans(), sent.flat(), {
          "service.name": "traced",
          "host.name": "node 1",
          deployment: "test",
          "kata.sandbox.id": "sandbox-7",
          "kata.component": "agent",
        });
        const uncompressed = forwarder.figures()["exported_bytes"] as number;
        if (compression === "none") assert.ok(proxy.sentBytes() >= uncompressed);
        else assert.ok(proxy.sentBytes() < uncompressed / 2);
      });
    }
  }
}
