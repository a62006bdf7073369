import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { createExporter } from "../../../src/exporters/create-exporter.ts";
import type { Exporter } from "../../../src/pipeline/exporter.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";
import { CA, CLIENT, SERVER } from "../support/certificates.ts";
import { withEnvironment } from "../support/environment.ts";
import { HttpReceiver } from "../support/http-receiver.ts";

/** An authority that has signed nothing here. */
const OTHER_CA = CLIENT.cert;

let directory: string;
let receiver: HttpReceiver;
let log: RecordingLogger;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "ktf-renewal-"));
  receiver = new HttpReceiver({ ...SERVER, ca: CA, requestCert: true });
  // Each request has a connection of its own.
  receiver.answer = (response) => response.writeHead(200, { connection: "close" }).end();
  await receiver.listen();
  log = new RecordingLogger();
});

afterEach(async () => {
  await receiver.close();
  rmSync(directory, { recursive: true });
});

function write(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

/** Replaces a file as cert-manager's sidecars and certbot do. */
function replace(name: string, text: string): void {
  renameSync(write(`${name}.new`, text), join(directory, name));
}

function open(path: (name: string) => string = (name) => join(directory, name)): Promise<Exporter> {
  return withEnvironment(
    { CERTIFICATE: path("ca.crt"), CLIENT_CERTIFICATE: path("tls.crt"), CLIENT_KEY: path("tls.key") },
    () => createExporter({ protocol: "http/protobuf", url: receiver.url }, log),
  );
}

async function kindOf(exporter: Exporter): Promise<string> {
  return (await exporter.send([Uint8Array.of(1)])).kind;
}

const said = (): string[] => log.records.map(({ level, message }) => `${level} ${message}`);
const RENEWED = "info certificates have been replaced: new connections use the new ones";
const NOT_RENEWED = "warn certificates cannot be renewed: connections use those that were read before";

test("an authority's file that is replaced counts for the next connection", async () => {
  write("tls.crt", CLIENT.cert);
  write("tls.key", CLIENT.key);
  write("ca.crt", OTHER_CA);
  const exporter = await open();
  assert.equal(await kindOf(exporter), "retryable");
  replace("ca.crt", OTHER_CA + CA);
  assert.equal(await kindOf(exporter), "success");
  assert.equal(await kindOf(exporter), "success");
  assert.deepEqual(said(), [RENEWED]);
  exporter.close();
});

test("a client's certificate and key that are replaced count for the next connection, once they fit", async () => {
  // The server takes no certificate that is not for a client.
  write("tls.crt", SERVER.cert);
  write("tls.key", SERVER.key);
  write("ca.crt", CA);
  const exporter = await open();
  assert.equal(await kindOf(exporter), "retryable");
  replace("tls.crt", CLIENT.cert);
  assert.equal(await kindOf(exporter), "retryable");
  replace("tls.key", CLIENT.key);
  assert.equal(await kindOf(exporter), "success");
  assert.deepEqual(said(), [NOT_RENEWED, RENEWED]);
  assert.match(
    String(log.records[0]?.fields["error"]),
    /OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: .* does not belong to the key/,
  );
  exporter.close();
});

test("a link to another directory is followed, as Kubernetes replaces a secret", async () => {
  const secret = (name: string, pair: { readonly cert: string; readonly key: string }): void => {
    mkdirSync(join(directory, name));
    write(`${name}/tls.crt`, pair.cert);
    write(`${name}/tls.key`, pair.key);
    write(`${name}/ca.crt`, CA);
    symlinkSync(name, join(directory, "..data.new"));
    renameSync(join(directory, "..data.new"), join(directory, "..data"));
  };
  secret("..1", SERVER);
  const exporter = await open((name) => join(directory, "..data", name));
  assert.equal(await kindOf(exporter), "retryable");
  secret("..2", CLIENT);
  assert.equal(await kindOf(exporter), "success");
  exporter.close();
});

test("files that are half written, empty or gone keep what was read before, which is told once", async () => {
  write("tls.crt", CLIENT.cert);
  write("tls.key", CLIENT.key);
  write("ca.crt", CA);
  const exporter = await open();
  for (
    const spoil of [
      () => write("ca.crt", CA.slice(0, 200)),
      () => write("ca.crt", ""),
      () => rmSync(join(directory, "ca.crt")),
    ]
  ) {
    spoil();
    for (let i = 0; i < 3; i++) assert.equal(await kindOf(exporter), "success");
  }
  write("ca.crt", CA);
  write("tls.key", CLIENT.key.slice(0, 100));
  assert.equal(await kindOf(exporter), "success");
  write("tls.key", CLIENT.key);
  assert.equal(await kindOf(exporter), "success");
  // No certificate, the same again, cannot be read, no key.
  assert.deepEqual(said(), [NOT_RENEWED, NOT_RENEWED, NOT_RENEWED]);
  exporter.close();
});

test("files are read by whoever may read them", async () => {
  write("tls.crt", CLIENT.cert);
  write("tls.key", CLIENT.key);
  write("ca.crt", CA);
  const read: string[] = [];
  const exporter = await withEnvironment(
    {
      CERTIFICATE: join(directory, "ca.crt"),
      CLIENT_CERTIFICATE: join(directory, "tls.crt"),
      CLIENT_KEY: join(directory, "tls.key"),
    },
    () =>
      createExporter({ protocol: "http/protobuf", url: receiver.url }, log, {
        readFile: (path) => {
          read.push(path.slice(directory.length + 1));
          return readFile(path);
        },
      }),
  );
  assert.deepEqual(read.sort(), ["ca.crt", "tls.crt", "tls.key"]);
  assert.equal(await kindOf(exporter), "success");
  assert.equal(read.length, 6);
  exporter.close();
});

test("a byte order mark, text around certificates, and blanks around a path do not matter", async () => {
  write("tls.crt", `\ufeffBag Attributes\r\n${CLIENT.cert.replaceAll("\n", "\r\n")}`);
  write("tls.key", `\ufeff${CLIENT.key}`);
  write("ca.crt", `\ufeff${CA}`);
  const exporter = await open((name) => ` ${join(directory, name)}\t `);
  assert.equal(await kindOf(exporter), "success");
  assert.deepEqual(said(), []);
  exporter.close();
});
