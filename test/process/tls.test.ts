import assert from "node:assert/strict";
import { chmodSync, renameSync, writeFileSync } from "node:fs";
import { ServerCredentials } from "@grpc/grpc-js";
import { CA, CLIENT, SERVER } from "../exporters/support/certificates.ts";
import { GrpcReceiver } from "../exporters/support/grpc-receiver.ts";
import { HttpReceiver } from "../exporters/support/http-receiver.ts";
import { decodeRequest } from "../support/collector-stub.ts";
import { Forwarder, fromEnvironment } from "./support/forwarder.ts";
import { assertOneLine, CLEAN, FAILED } from "./support/process.ts";
import { until } from "../support/until.ts";
import { guestLife, Sandbox } from "./support/sandbox.ts";
import { plainFrames } from "./support/spans.ts";
import { test } from "./support/test.ts";

/** Key and certificates as files that only their owner may read, which is root if the tests run as root. */
function keyFiles(sandbox: Sandbox, mode = 0o600): Readonly<Record<string, string>> {
  const files = {
    CERTIFICATE: CA,
    CLIENT_CERTIFICATE: CLIENT.cert,
    CLIENT_KEY: CLIENT.key,
  };
  return Object.fromEntries(
    Object.entries(files).map(([name, content]) => {
      const path = sandbox.path(name);
      writeFileSync(path, content);
      chmodSync(path, mode);
      return [`OTEL_EXPORTER_OTLP_${name}`, path];
    }),
  );
}

test("TLS works with a private authority and a client certificate, over HTTP and gRPC", async () => {
  const http = new HttpReceiver({ ...SERVER, ca: CA, requestCert: true });
  await http.listen();
  const grpc = new GrpcReceiver();
  const keys = [{ private_key: Buffer.from(SERVER.key), cert_chain: Buffer.from(SERVER.cert) }];
  await grpc.start(ServerCredentials.createSsl(Buffer.from(CA), keys, true));
  try {
    for (
      const [protocol, endpoint, received] of [
        ["http/protobuf", new URL(http.url).origin, () => http.requests],
        ["grpc", grpc.url.replace("http:", "https:"), () => grpc.calls],
      ] as const
    ) {
      using sandbox = new Sandbox();
      await using forwarder = await fromEnvironment(sandbox, {
        OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
        OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
        ...keyFiles(sandbox),
      });
      await guestLife(sandbox.address, plainFrames(1, 3));
      const spans = () => received().flatMap(({ body }) => decodeRequest(body));
      await until(() => spans().length === 3, `the spans arrive over ${protocol}`);
      assert.deepEqual(await forwarder.stop(), CLEAN);
    }
  } finally {
    await http.close();
    await grpc.stop();
  }
});

test("the start fails if a collector is not trusted, or if it requires a missing certificate", async () => {
  const http = new HttpReceiver({ ...SERVER, ca: CA, requestCert: true });
  await http.listen();
  try {
    using sandbox = new Sandbox();
    const files = keyFiles(sandbox);
    const { OTEL_EXPORTER_OTLP_CERTIFICATE = "" } = files;
    for (
      const [env, reason] of [
        [{}, /TLS|certificate/i],
        [{ OTEL_EXPORTER_OTLP_CERTIFICATE: "/nowhere/ca.pem" }, /OTEL_EXPORTER_OTLP_CERTIFICATE/],
        [
          { OTEL_EXPORTER_OTLP_CERTIFICATE, OTEL_EXPORTER_OTLP_CLIENT_KEY: "/nowhere" },
          /CLIENT_KEY/,
        ],
      ] as const
    ) {
      await using forwarder = new Forwarder(["--socket-path", sandbox.socketPath], {
        env: { OTEL_EXPORTER_OTLP_ENDPOINT: new URL(http.url).origin, ...env },
      });
      assert.deepEqual(await forwarder.exited, FAILED);
      assertOneLine(forwarder.stderr, reason);
    }
  } finally {
    await http.close();
  }
});

test("renewed certificates are used by new connections, over HTTP and gRPC, also root's", async () => {
  for (const [protocol, mode] of [["http/protobuf", 0o600], ["grpc", 0o644]] as const) {
    const server = await startServer(protocol);
    using sandbox = new Sandbox();
    const files = keyFiles(sandbox, mode);
    // The server does not accept a certificate that is not a client's.
    const { OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE = "", OTEL_EXPORTER_OTLP_CLIENT_KEY = "" } = files;
    writeFileSync(OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE, SERVER.cert);
    writeFileSync(OTEL_EXPORTER_OTLP_CLIENT_KEY, SERVER.key);
    try {
      await using forwarder = await fromEnvironment(sandbox, {
        OTEL_EXPORTER_OTLP_ENDPOINT: server.endpoint,
        OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
        KATA_TRACE_FORWARDER_WAIT_FOR_COLLECTOR: "true",
        ...files,
      });
      await guestLife(sandbox.address, plainFrames(1, 3));
      await forwarder.record("collector unreachable: spans are held until it is back");
      writeFileSync(`${OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE}.new`, CLIENT.cert, { mode });
      renameSync(`${OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE}.new`, OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE);
      writeFileSync(`${OTEL_EXPORTER_OTLP_CLIENT_KEY}.new`, CLIENT.key, { mode });
      renameSync(`${OTEL_EXPORTER_OTLP_CLIENT_KEY}.new`, OTEL_EXPORTER_OTLP_CLIENT_KEY);
      await forwarder.record("certificates have been replaced: new connections use the new ones");
      await until(() => server.spans() === 3, `the spans arrive over ${protocol}`);
      assert.deepEqual(await forwarder.stop(), CLEAN);
    } finally {
      await server.close();
    }
  }
});

/** A collector over TLS that requires a client's certificate. */
async function startServer(protocol: "grpc" | "http/protobuf") {
  if (protocol === "http/protobuf") {
    const receiver = new HttpReceiver({ ...SERVER, ca: CA, requestCert: true });
    await receiver.listen();
    const spans = (): number => receiver.requests.flatMap(({ body }) => decodeRequest(body)).length;
    return { endpoint: new URL(receiver.url).origin, spans, close: () => receiver.close() };
  }
  const receiver = new GrpcReceiver();
  const keys = [{ private_key: Buffer.from(SERVER.key), cert_chain: Buffer.from(SERVER.cert) }];
  await receiver.start(ServerCredentials.createSsl(Buffer.from(CA), keys, true));
  const spans = (): number => receiver.calls.flatMap(({ body }) => decodeRequest(body)).length;
  return { endpoint: receiver.url.replace("http:", "https:"), spans, close: () => receiver.stop() };
}
