import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { rmSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { test } from "node:test";
import { ServerCredentials } from "@grpc/grpc-js";
import { createExporter } from "../../src/exporters/create-exporter.ts";
import type { ExportResult } from "../../src/pipeline/exporter.ts";
import type { OtlpProtocol } from "../../src/pipeline/settings.ts";
import { CA, CLIENT, EXPIRED, SERVER } from "./support/certificates.ts";
import { withEnvironment, withFiles } from "./support/environment.ts";
import { GrpcReceiver } from "./support/grpc-receiver.ts";
import { HttpReceiver } from "./support/http-receiver.ts";
import { RecordingLogger } from "../support/recording-logger.ts";

const BODY = Uint8Array.from({ length: 100_000 }, (_, i) => i * 31 + (i >> 8));

interface Receiver {
  /** The endpoint with TLS. */
  readonly url: string;
  readonly bodies: () => Uint8Array[];
  readonly close: () => Promise<void>;
}

/** A receiver that wants a client certificate if `mutual`. */
async function receive(
  protocol: OtlpProtocol,
  pair: { readonly cert: string; readonly key: string },
  mutual: boolean,
): Promise<Receiver> {
  if (protocol === "http/protobuf") {
    const receiver = new HttpReceiver(mutual ? { ...pair, ca: CA, requestCert: true } : pair);
    await receiver.listen();
    return {
      url: receiver.url,
      bodies: () => receiver.requests.map(({ body }) => body),
      close: () => receiver.close(),
    };
  }
  const receiver = new GrpcReceiver();
  const keys = [{ private_key: Buffer.from(pair.key), cert_chain: Buffer.from(pair.cert) }];
  await receiver.start(ServerCredentials.createSsl(Buffer.from(CA), keys, mutual));
  return {
    url: receiver.url.replace("http:", "https:"),
    bodies: () => receiver.calls.map(({ body }) => body),
    close: () => receiver.stop(),
  };
}

/** Sends one request with certificates of these contents. */
function sent(
  protocol: OtlpProtocol,
  url: string,
  files: { readonly CERTIFICATE?: string; CLIENT_CERTIFICATE?: string; CLIENT_KEY?: string },
): Promise<ExportResult> {
  return withFiles(files as Record<string, string>, async (paths) => {
    const exporter = await withEnvironment(
      { ...paths, TIMEOUT: "700" },
      () => createExporter({ protocol, url }, new RecordingLogger()),
    );
    // As when privileges have been dropped: what is needed of them has been read.
    for (const path of Object.values(paths)) rmSync(path);
    const result = await exporter.send([BODY]);
    exporter.close();
    return result;
  });
}

for (const protocol of ["http/protobuf", "grpc"] as const) {
  for (const host of ["localhost", "127.0.0.1"]) {
    test(`${protocol}: an authority of one's own, at ${host}`, async () => {
      const receiver = await receive(protocol, SERVER, false);
      const url = receiver.url.replace("localhost", host);
      const result = await sent(protocol, url, { CERTIFICATE: CA });
      assert.equal(result.kind, "success", JSON.stringify(result));
      assert.deepEqual(receiver.bodies(), [BODY]);
      await receiver.close();
    });
  }

  test(`${protocol}: a certificate for another name is not accepted`, async () => {
    const receiver = await receive(protocol, CLIENT, false);
    const result = await sent(protocol, receiver.url, { CERTIFICATE: CA });
    assert.equal(result.kind, "retryable");
    assert.deepEqual(receiver.bodies(), []);
    await receiver.close();
  });

  test(`${protocol}: a certificate for another address is not accepted`, async () => {
    const receiver = await receive(protocol, SERVER, false);
    const { port } = new URL(receiver.url);
    const elsewhere = createServer((socket) => {
      const backend = connect(Number(port), "127.0.0.1");
      for (const end of [socket, backend]) end.on("error", () => {});
      socket.pipe(backend).pipe(socket);
    });
    await new Promise<void>((resolve) => elsewhere.listen(0, "127.0.0.2", resolve));
    const { port: other } = elsewhere.address() as AddressInfo;
    const url = receiver.url.replace(`localhost:${port}`, `127.0.0.2:${other}`);
    const result = await sent(protocol, url, { CERTIFICATE: CA });
    assert.equal(result.kind, "retryable");
    const { message } = (result as { error: Error }).error;
    assert.match(message, /127\.0\.0\.2|ALTNAME|not valid for name/i);
    assert.deepEqual(receiver.bodies(), []);
    elsewhere.close();
    await receiver.close();
  });

  test(`${protocol}: a client certificate`, async () => {
    const receiver = await receive(protocol, SERVER, true);
    const files = { CERTIFICATE: CA, CLIENT_CERTIFICATE: CLIENT.cert, CLIENT_KEY: CLIENT.key };
    assert.equal((await sent(protocol, receiver.url, files)).kind, "success");
    assert.deepEqual(receiver.bodies(), [BODY]);
    const without = await sent(protocol, receiver.url, { CERTIFICATE: CA });
    assert.equal(without.kind, "retryable");
    assert.equal(receiver.bodies().length, 1);
    await receiver.close();
  });

  test(`${protocol}: a server that cannot be trusted gets nothing, and is tried again`, async () => {
    for (const [pair, files] of [[SERVER, {}], [EXPIRED, { CERTIFICATE: CA }]] as const) {
      const receiver = await receive(protocol, pair, false);
      const result = await sent(protocol, receiver.url, files);
      assert.equal(result.kind, "retryable");
      assert.match((result as { error: Error }).error.message, /certificate/i);
      assert.deepEqual(receiver.bodies(), []);
      await receiver.close();
    }
  });
}
