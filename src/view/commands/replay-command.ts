import process from "node:process";
import { Buffer } from "node:buffer";
import { createConnection } from "node:net";
import { createLogger, describeError } from "../../base/log.ts";
import { createExporter } from "../../exporters/create-exporter.ts";
import { recordToPart } from "../../otlp/record-encoder.ts";
import { RequestBuilder } from "../../otlp/request-builder.ts";
import type { SpanRecord } from "../../otlp/span-record.ts";
import type { OtlpSettings } from "../../pipeline/settings.ts";
import { agentJson } from "../../record/agent-json.ts";
import { StoreReader } from "../../store/store-reader.ts";
import type { TraceStore } from "../../store/trace-store.ts";
import { FileError, loadFiles } from "./load-files.ts";

/** What `replay` was asked for. */
export interface ReplayRequest {
  readonly file: string;
  readonly otlp: OtlpSettings;
  /** Written to, instead of sending to a collector. */
  readonly socket: string | undefined;
  readonly frames: "otlp" | "json";
}

/** A request's size, bytes: a quarter of what gRPC servers take by default. */
const REQUEST_BYTES = 1024 * 1024;
/** Between two tries of a request that the collector asks to send again, milliseconds. */
const RETRY_MS = 1000;
/** Tries of a request. */
const MAX_TRIES = 10;

/**
 * Sends what a file holds: to a collector over OTLP, or into a socket as an agent would. Prints how many spans were
 * sent; resolves with the exit code. Rejects with a {@link FileError} or an error of the exporter's.
 */
export async function runReplay(
  request: ReplayRequest,
  write: (text: string) => void,
  warn: (text: string) => void,
): Promise<number> {
  const { store, problems } = loadFiles([request.file]);
  for (const problem of problems) warn(problem);
  try {
    const sent = request.socket === undefined
      ? await sendToCollector(store, request.otlp)
      : await writeToSocket(store, request.socket, request.frames);
    write(`${sent} spans sent to ${request.socket ?? request.otlp.url}\n`);
    return 0;
  } finally {
    store.close();
  }
}

function* records(store: TraceStore): Generator<SpanRecord> {
  const reader = new StoreReader(store);
  for (const sandbox of reader.sandboxes().reverse()) for (const { record } of reader.records(sandbox)) yield record;
}

async function sendToCollector(store: TraceStore, otlp: OtlpSettings): Promise<number> {
  const log = createLogger({
    level: "warn",
    format: "text",
    colour: false,
    write: (line) => process.stderr.write(line),
  });
  const exporter = await createExporter(otlp, log, { concurrency: 1 });
  let sent = 0;
  const send = async (builder: RequestBuilder): Promise<void> => {
    if (builder.spans === 0) return;
    const request = builder.finish();
    for (let tries = 1;; tries++) {
      const result = await exporter.send([request.slice()]);
      if (result.kind === "success") break;
      if (result.kind === "partial") {
        throw new FileError(`${otlp.url}: takes all but ${result.rejectedSpans} spans: ${result.message}`);
      }
      if (result.kind === "rejected" || tries === MAX_TRIES) {
        throw new FileError(`${otlp.url}: ${sent} spans sent, then: ${describeError(result.error)}`, {
          cause: result.error,
        });
      }
      await new Promise((resolve) => setTimeout(resolve, result.retryAfterMs ?? RETRY_MS));
    }
    sent += builder.spans;
    builder.clear();
  };
  try {
    const builder = new RequestBuilder();
    for (const record of records(store)) {
      builder.appendPart(recordToPart(record));
      if (builder.bytes >= REQUEST_BYTES) await send(builder);
    }
    await send(builder);
  } finally {
    exporter.close();
  }
  return sent;
}

async function writeToSocket(store: TraceStore, path: string, frames: ReplayRequest["frames"]): Promise<number> {
  const socket = createConnection(path);
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", (cause) => {
      reject(
        new FileError(`${path}: cannot be connected to: ${cause.message}: is a forwarder listening there?`, { cause }),
      );
    });
  });
  let sent = 0;
  for (const record of records(store)) {
    const payload = frames === "json" ? Buffer.from(agentJson(record)) : otlpPayload(record);
    const header = Buffer.alloc(8);
    header.writeBigUInt64BE(BigInt(payload.length));
    if (!socket.write(Buffer.concat([header, payload]))) await new Promise((resolve) => socket.once("drain", resolve));
    sent++;
  }
  await new Promise<void>((resolve) => socket.end(resolve));
  return sent;
}

function otlpPayload(record: SpanRecord): Uint8Array {
  const builder = new RequestBuilder();
  builder.appendPart(recordToPart(record));
  return builder.finish();
}
