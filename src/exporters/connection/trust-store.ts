import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { rootCertificates } from "node:tls";
import { ExporterSettingsError } from "../../pipeline/exporter.ts";
import type { Environment } from "../environment.ts";
import { certificatesIn } from "./pem.ts";

/**
 * Where Linux distributions keep all trusted certificates in one file: Debian, Gentoo and Arch; Fedora and RHEL 6;
 * openSUSE; OpenELEC; RHEL 7 and later; Alpine. The first that can be read counts, as in Go
 * (crypto/x509/root_linux.go).
 */
const FILES = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/pki/tls/cacert.pem",
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

/** Where they keep one certificate in each file: SLES, Debian; Fedora and RHEL. */
const DIRECTORIES = ["/etc/ssl/certs", "/etc/pki/tls/certs"];

/** The host's certificate authorities, as files that other programs on the host read too. */
export interface TrustStore {
  /** What changes when the store does. Cheap: only the file and the directories are looked at. */
  version(): string;
  /**
   * Every certificate of the store in PEM, each once. Where the host has no store, the authorities that the runtime
   * comes with: Mozilla's. Throws an `ExporterSettingsError` for an `SSL_CERT_FILE` without a certificate.
   */
  read(): readonly string[];
}

/** Where a host keeps its certificates: files of which the first counts, and directories that all count. */
export interface Places {
  readonly files: readonly string[];
  readonly directories: readonly string[];
}

/**
 * The host's store. `SSL_CERT_FILE` and `SSL_CERT_DIR` (several with `:` between them) name another file and other
 * directories, as for OpenSSL, curl and Go. All variables of the runtime itself are ignored.
 */
export function hostTrustStore(
  environment: Environment = process.env,
  places: Places = { files: FILES, directories: DIRECTORIES },
): TrustStore {
  const named = environment["SSL_CERT_FILE"] || undefined;
  const files = named === undefined ? places.files : [named];
  const directories = environment["SSL_CERT_DIR"]?.split(":").filter((path) => path !== "") ?? places.directories;
  return {
    version: () => [...files, ...directories].map(versionOf).join(),
    read: () => {
      const certificates = new Set<string>();
      for (const file of files) {
        const found = certificatesIn(textOf(file));
        for (const certificate of found) certificates.add(certificate);
        if (found.length > 0) break;
      }
      if (named !== undefined && certificates.size === 0) {
        throw new ExporterSettingsError(`SSL_CERT_FILE: ${JSON.stringify(named)} holds no certificate in PEM`);
      }
      for (const directory of directories) {
        for (const name of namesIn(directory)) {
          for (const certificate of certificatesIn(textOf(join(directory, name)))) certificates.add(certificate);
        }
      }
      return certificates.size > 0 ? [...certificates] : rootCertificates;
    },
  };
}

/** What changes when a file or directory does; empty where there is none. */
function versionOf(path: string): string {
  try {
    const { dev, ino, size, mtimeMs } = statSync(path);
    return `${dev}:${ino}:${size}:${mtimeMs}`;
  } catch {
    // Most of the places are those of other distributions.
    return "";
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    // A directory, a dangling link, or another distribution's place: others of the list have the certificates.
    return "";
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
