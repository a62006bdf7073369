/** A gRPC server, written in Go, that does to a client what a server may do: see `grpcserver/main.go`. */

import { Buffer } from "node:buffer";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { ExportResult } from "../../src/pipeline/exporter.ts";

/** Paths of the PEM files with which it serves TLS. */
export interface GrpcServerTls {
  readonly certificate: string;
  readonly key: string;
  /** If given, clients must show a certificate that this authority has signed. */
  readonly clientCa?: string;
}

/** What arrived, as the server saw it. */
export interface Receipt {
  /** Of the message, in hexadecimal digits. */
  readonly sha256: string;
  readonly bytes: number;
  /** How many requests with the same `x-run` have come, this one included. */
  readonly requests: number;
  /** How many connections they came over. */
  readonly connections: number;
  readonly metadata: Readonly<Record<string, string>>;
}

interface Addresses {
  readonly grpc: string;
  readonly aging: string;
  readonly frames: string;
  readonly unix: string;
}

/** The running server. It ends with the process that started it. */
export class GrpcServer {
  /**
   * `grpc` as a collector uses it, `aging` with a connection's age limited, `frames` of single frames, `unix` a path.
   */
  readonly addresses: Addresses;
  readonly #process: ChildProcess;

  private constructor(child: ChildProcess, addresses: Addresses) {
    this.#process = child;
    this.addresses = addresses;
  }

  /** @param binary the path that `build` prints. */
  static async start(binary: string, tls?: GrpcServerTls): Promise<GrpcServer> {
    const flags = tls === undefined ? [] : ["-cert", tls.certificate, "-key", tls.key];
    if (tls?.clientCa !== undefined) flags.push("-client-ca", tls.clientCa);
    const child = spawn(binary, flags, { stdio: ["pipe", "pipe", "inherit"] });
    const [line] = await once(createInterface(child.stdout), "line") as [string];
    return new GrpcServer(child, JSON.parse(line) as Addresses);
  }

  async stop(): Promise<void> {
    const ended = once(this.#process, "exit");
    this.#process.stdin?.end();
    await ended;
  }
}

/** The receipt in an answer. Throws where the request was not taken. */
export function receiptOf(result: ExportResult): Receipt {
  if (result.kind !== "success" || result.warning === undefined) {
    throw new Error(`no receipt: ${JSON.stringify(result)} ${String((result as { error?: Error }).error?.message)}`);
  }
  return JSON.parse(result.warning) as Receipt;
}

/** The SHA-256 of a message, in hexadecimal digits. */
export async function sha256(message: Uint8Array): Promise<string> {
  return Buffer.from(await crypto.subtle.digest("SHA-256", message as Uint8Array<ArrayBuffer>)).toString("hex");
}
