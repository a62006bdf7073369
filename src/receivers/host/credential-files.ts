import { Buffer } from "node:buffer";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import type { TlsCredentials } from "../../http/tls.ts";
import type { ListenTlsSettings } from "../../pipeline/settings.ts";
import { HostReceiverError } from "./host-receiver-error.ts";

/** The largest file of a key, a certificate or a password that is read, bytes. */
const MAX_BYTES = 1024 * 1024;

/** Reads the certificate and key that receivers speak TLS with. Throws a {@link HostReceiverError}. */
export function readTlsCredentials(files: ListenTlsSettings): TlsCredentials {
  const certificate = read("--listen-cert", files.certificateFile);
  const key = read("--listen-key", files.keyFile);
  const clientAuthority = files.clientAuthorityFile === undefined
    ? undefined
    : read("--listen-client-ca", files.clientAuthorityFile);
  const pair = `--listen-cert ${files.certificateFile}, --listen-key ${files.keyFile}`;
  try {
    const isPair = new X509Certificate(certificate).checkPrivateKey(createPrivateKey(Buffer.from(key)));
    if (!isPair) throw new HostReceiverError(`${pair}: the key is another certificate's`);
    if (clientAuthority !== undefined) new X509Certificate(clientAuthority);
  } catch (cause) {
    if (cause instanceof HostReceiverError) throw cause;
    throw new HostReceiverError(`${pair}: ${(cause as Error).message}: give a certificate and its key, in PEM`, {
      cause,
    });
  }
  return { certificate, key, ...clientAuthority && { clientAuthority } };
}

/** Reads a file's first line, without the end of the line. Throws a {@link HostReceiverError}. */
export function readFirstLine(option: string, path: string): string {
  const [line = ""] = new TextDecoder().decode(read(option, path)).split(/\r?\n/, 1);
  if (line === "") throw new HostReceiverError(`${option} ${path}: the first line is empty`);
  return line;
}

function read(option: string, path: string): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    throw new HostReceiverError(`${option} ${path}: ${(cause as Error).message}`, { cause });
  }
  if (bytes.length > MAX_BYTES) throw new HostReceiverError(`${option} ${path}: larger than ${MAX_BYTES} bytes`);
  return bytes;
}
