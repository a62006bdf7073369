import { Buffer } from "node:buffer";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createSecureContext, type SecureContext } from "node:tls";
import type { Logger } from "../../base/log.ts";
import { ExporterSettingsError } from "../../pipeline/exporter.ts";
import type { NamedFile, TlsFiles } from "../environment.ts";
import { certificatesIn } from "./pem.ts";
import type { TrustStore } from "./trust-store.ts";

/** Reads a whole file; rejects as `fs.readFile` does. */
export type ReadFile = (path: string) => Promise<Uint8Array>;

/** What TLS needs beside its files. */
export interface TlsCredentialsOptions {
  /** Who is trusted where `OTEL_EXPORTER_OTLP_CERTIFICATE` names nobody. */
  readonly trustStore: TrustStore;
  readonly log: Logger;
  /** Default: `fs.readFile`. */
  readonly readFile?: ReadFile;
}

/** The files' contents at one time. */
interface Contents {
  readonly authority?: string;
  readonly certificate?: string;
  readonly key?: string;
  /** The host's store, where it counts. */
  readonly store?: string;
}

/**
 * Certificates and keys for new connections, as the files are at that time. cert-manager, SPIFFE and the kubelet
 * replace them every few hours or weeks, by renaming, by a link to another directory, or in place, so that each new
 * connection reads them anew. While a replacement cannot be read, or is only half written, the one before is used.
 */
export class TlsCredentials {
  readonly #files: TlsFiles;
  readonly #options: TlsCredentialsOptions;
  #contents: Contents;
  #context: SecureContext;
  #reading: Promise<SecureContext> | undefined;
  /** Why the files as they are now are not used; undefined while they are. */
  #problem: string | undefined;

  private constructor(
    files: TlsFiles,
    options: TlsCredentialsOptions,
    contents: Contents,
    context: SecureContext,
  ) {
    this.#files = files;
    this.#options = options;
    this.#contents = contents;
    this.#context = context;
  }

  /** Reads and checks all files once. Rejects with an {@link ExporterSettingsError} that names the variable. */
  static async open(files: TlsFiles, options: TlsCredentialsOptions): Promise<TlsCredentials> {
    const { certificate, key } = files;
    if ((certificate === undefined) !== (key === undefined)) {
      const missing = key === undefined ? "CLIENT_KEY" : "CLIENT_CERTIFICATE";
      throw new ExporterSettingsError(
        `${(certificate ?? key)?.name} is set without OTEL_EXPORTER_OTLP_${missing}: ` +
          "a client certificate and its key go together",
      );
    }
    const contents = await readContents(files, options);
    return new TlsCredentials(files, options, contents, makeContext(files, contents, options.trustStore));
  }

  /** What a new connection is to use. */
  context(): Promise<SecureContext> {
    this.#reading ??= this.#renew().finally(() => this.#reading = undefined);
    return this.#reading;
  }

  async #renew(): Promise<SecureContext> {
    const { log, trustStore } = this.#options;
    try {
      const contents = await readContents(this.#files, this.#options);
      if (!isSame(contents, this.#contents)) {
        this.#context = makeContext(this.#files, contents, trustStore);
        this.#contents = contents;
        log.info("certificates have been replaced: new connections use the new ones");
      }
      this.#problem = undefined;
    } catch (error) {
      if (!(error instanceof ExporterSettingsError)) throw error;
      if (error.message !== this.#problem) {
        log.warn("certificates cannot be renewed: connections use those that were read before", { error });
      }
      this.#problem = error.message;
    }
    return this.#context;
  }
}

async function readContents(
  { authority, certificate, key }: TlsFiles,
  { trustStore, readFile: read = readFile }: TlsCredentialsOptions,
): Promise<Contents> {
  const text = async (file: NamedFile | undefined): Promise<string | undefined> => {
    if (file === undefined) return undefined;
    try {
      // Decoding takes a byte order mark away.
      return new TextDecoder().decode(await read(file.path));
    } catch (cause) {
      throw fileError(file, "cannot be read", cause);
    }
  };
  const [ofAuthority, ofCertificate, ofKey] = await Promise.all([text(authority), text(certificate), text(key)]);
  return {
    ...(ofAuthority === undefined ? { store: trustStore.version() } : { authority: ofAuthority }),
    ...(ofCertificate !== undefined && { certificate: ofCertificate }),
    ...(ofKey !== undefined && { key: ofKey }),
  };
}

function isSame(a: Contents, b: Contents): boolean {
  return a.authority === b.authority && a.certificate === b.certificate && a.key === b.key && a.store === b.store;
}

function makeContext(files: TlsFiles, contents: Contents, trustStore: TrustStore): SecureContext {
  const { authority, certificate, key } = files;
  const client = certificate && key && clientPair(certificate, contents.certificate ?? "", key, contents.key ?? "");
  const trusted = authority === undefined
    ? usable(trustStore.read())
    : checkedCertificates(authority, contents.authority ?? "");
  try {
    return createSecureContext({ ca: [...trusted], ...client });
  } catch (cause) {
    const names = [authority, certificate, key].flatMap((file) => file === undefined ? [] : [file.name]);
    throw new ExporterSettingsError(`TLS cannot be set up with the files in ${names.join(", ")}`, { cause });
  }
}

/** A host's store without what is not a certificate: one bad entry must not cost the connection. */
function usable(certificates: readonly string[]): readonly string[] {
  return certificates.filter((certificate) => {
    try {
      return new X509Certificate(certificate).subject !== undefined;
    } catch {
      return false;
    }
  });
}

function checkedCertificates(file: NamedFile, text: string): string[] {
  const certificates = certificatesIn(text);
  try {
    for (const certificate of certificates) new X509Certificate(certificate);
  } catch (cause) {
    throw fileError(file, "holds a certificate that cannot be read", cause);
  }
  if (certificates.length === 0) throw fileError(file, "holds no certificate in PEM");
  return certificates;
}

function clientPair(certificate: NamedFile, chain: string, key: NamedFile, secret: string) {
  const certificates = checkedCertificates(certificate, chain);
  let privateKey: ReturnType<typeof createPrivateKey>;
  try {
    privateKey = createPrivateKey(secret);
  } catch (cause) {
    throw fileError(key, "holds no private key in PEM without a passphrase", cause);
  }
  if (!new X509Certificate(certificates[0] as string).checkPrivateKey(privateKey)) {
    throw fileError(certificate, `does not belong to the key of ${key.name}`);
  }
  return { cert: certificates.join("\n"), key: Buffer.from(secret) };
}

function fileError({ name, path }: NamedFile, problem: string, cause?: unknown): ExporterSettingsError {
  return new ExporterSettingsError(`${name}: ${JSON.stringify(path)} ${problem}`, { cause });
}
