/** Certificates for the tests of TLS, made with the `openssl` command. */

import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

/** Paths of two PEM files. */
export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}

/** What {@link makeCertificates} makes. `ca` has signed all the others. */
export interface Certificates {
  readonly ca: KeyPair;
  /** For `localhost` and `127.0.0.1`. */
  readonly server: KeyPair;
  readonly client: KeyPair;
  /** As `server`, but it has expired. */
  readonly expired: KeyPair;
}

// All that openssl needs, so that the machine's own configuration does not matter.
const CONFIGURATION = `
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
authorityKeyIdentifier = keyid
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
authorityKeyIdentifier = keyid
`;

/** Makes an authority and certificates of it in an existing folder. */
export async function makeCertificates(directory: string): Promise<Certificates> {
  const configuration = join(directory, "openssl.cnf");
  await writeFile(configuration, CONFIGURATION);

  const openssl = (options: readonly string[]) => promisify(execFile)("openssl", options);
  const pair = (name: string): KeyPair => ({
    certificate: join(directory, `${name}.pem`),
    key: join(directory, `${name}.key`),
  });
  /** What makes a key, and a request or certificate for it. */
  const request = (name: string, key: string): readonly string[] => [
    ...["req", "-new", "-config", configuration, "-noenc", "-keyout", key],
    ...["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
    ...["-subj", `/CN=kata-trace-forwarder test ${name}`],
  ];

  const ca = pair("ca");
  await openssl([
    ...request("ca", ca.key),
    ...["-x509", "-extensions", "ca", "-days", "365", "-out", ca.certificate],
  ]);

  const issue = async (name: string, use: "server" | "client", days: number): Promise<KeyPair> => {
    const { certificate, key } = pair(name);
    const csr = join(directory, `${name}.csr`);
    await openssl([...request(name, key), "-out", csr]);
    // In a second step because only "x509" makes a certificate that has expired.
    await openssl([
      ...["x509", "-req", "-in", csr, "-out", certificate, "-days", String(days)],
      ...["-CA", ca.certificate, "-CAkey", ca.key, "-CAcreateserial"],
      ...["-extfile", configuration, "-extensions", use],
    ]);
    return { certificate, key };
  };
  return {
    ca,
    server: await issue("server", "server", 365),
    client: await issue("client", "client", 365),
    expired: await issue("expired", "server", -1),
  };
}
