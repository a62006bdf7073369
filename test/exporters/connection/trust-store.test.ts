import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { rootCertificates } from "node:tls";
import { hostTrustStore } from "../../../src/exporters/connection/trust-store.ts";
import { CA, CLIENT, SERVER } from "../support/certificates.ts";

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "ktf-trust-store-"));
});

afterEach(() => rmSync(directory, { recursive: true }));

function write(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

const pem = (...certificates: readonly string[]): string[] => certificates.map((certificate) => certificate.trim());

test("SSL_CERT_FILE and SSL_CERT_DIR name another store, of which each certificate counts once", () => {
  const file = write("bundle.crt", `# Company CA\r\n${CA}\n${CLIENT.cert}`);
  const [one, two] = [join(directory, "one"), join(directory, "two")];
  mkdirSync(one);
  mkdirSync(two);
  writeFileSync(join(one, "ca.pem"), CA);
  writeFileSync(join(two, "server.pem"), `\ufeff${SERVER.cert}`);
  writeFileSync(join(two, "README"), "no certificate");
  symlinkSync("nowhere", join(two, "12345678.0"));
  mkdirSync(join(two, "java"));
  const read = (environment: Record<string, string>) => hostTrustStore(environment).read();
  assert.deepEqual(read({ SSL_CERT_FILE: file, SSL_CERT_DIR: "" }), pem(CA, CLIENT.cert));
  assert.deepEqual(
    read({ SSL_CERT_FILE: file, SSL_CERT_DIR: `${one}:${two}:/no/such/directory` }),
    pem(CA, CLIENT.cert, SERVER.cert),
  );
});

test("without any certificate the runtime's own authorities count", () => {
  const store = hostTrustStore({}, { files: [join(directory, "none")], directories: [join(directory, "none")] });
  assert.deepEqual(store.read(), rootCertificates);
});

test("the first file that there is counts, and each directory", () => {
  const files = [join(directory, "none"), write("a", CA), write("b", SERVER.cert)];
  mkdirSync(join(directory, "c"));
  write("c/client", CLIENT.cert);
  const places = { files, directories: [join(directory, "none"), join(directory, "c")] };
  assert.deepEqual(hostTrustStore({}, places).read(), pem(CA, CLIENT.cert));
});

test("an SSL_CERT_FILE without a certificate is an error that names it", () => {
  for (const path of [join(directory, "none"), write("empty", ""), write("key", SERVER.key)]) {
    assert.throws(() => hostTrustStore({ SSL_CERT_FILE: path }).read(), {
      name: "ExporterSettingsError",
      message: `SSL_CERT_FILE: "${path}" holds no certificate in PEM`,
    });
  }
});

test("the version changes with the file and with a directory", () => {
  const file = write("bundle.crt", CA);
  const store = hostTrustStore({ SSL_CERT_FILE: file, SSL_CERT_DIR: directory });
  const first = store.version();
  assert.equal(store.version(), first);
  renameSync(write("new", CA + CLIENT.cert), file);
  // A change within the millisecond that a runtime tells times by would not be seen.
  utimesSync(directory, 1, 1);
  const second = store.version();
  assert.notEqual(second, first);
  write("another.pem", CA);
  assert.notEqual(store.version(), second);
});

test("no other variable changes who is trusted", () => {
  const file = write("extra.pem", CA);
  const certificates = hostTrustStore({}).read();
  for (const name of ["NODE_EXTRA_CA_CERTS", "DENO_CERT", "NODE_USE_SYSTEM_CA"]) {
    assert.deepEqual(hostTrustStore({ [name]: file }).read(), certificates);
  }
});
