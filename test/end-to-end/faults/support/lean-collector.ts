import { Buffer } from "node:buffer";
import { createServer, type Server } from "node:http";
import { once } from "node:events";
import { performance } from "node:perf_hooks";
import { ProtobufReader } from "../../../../src/otlp/protobuf-reader.ts";
import { spansOf } from "../../../../src/otlp/request.ts";

/** `Span.span_id`, with its wire type. */
const SPAN_ID = 0x12;
const RESOURCE_SPANS = 0x0a;
/** The host's attributes are within so many bytes of the beginning, if the guest has few of its own. */
const HOST_BYTES = 512;

/**
 * A collector that takes whatever comes over OTLP/HTTP, and looks only at the spans of one sandbox, so that it has time
 * for those of others that send all they can.
 */
export class LeanCollector implements AsyncDisposable {
  /** When the spans of that sandbox arrived, by their ID; monotonic milliseconds. */
  readonly arrivals = new Map<string, number>();
  /** How many bytes have come, of all sandboxes. */
  bytes = 0;
  readonly #server: Server;
  readonly #sandbox: Buffer;

  private constructor(sandbox: string) {
    this.#sandbox = Buffer.from(sandbox);
    this.#server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.once("end", () => {
        this.#take(Buffer.concat(chunks));
        response.writeHead(200, { "content-type": "application/x-protobuf" }).end();
      });
    });
  }

  static async start(sandbox: string): Promise<LeanCollector> {
    const collector = new LeanCollector(sandbox);
    collector.#server.listen(0, "127.0.0.1");
    await once(collector.#server, "listening");
    return collector;
  }

  get url(): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("it does not listen");
    return `http://127.0.0.1:${address.port}/v1/traces`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  #take(request: Buffer): void {
    const at = performance.now();
    this.bytes += request.length;
    if (!request.includes(this.#sandbox)) return;
    const fields = new ProtobufReader(request);
    while (fields.next()) {
      if (fields.tag !== RESOURCE_SPANS) continue;
      const part = request.subarray(fields.fieldStart, fields.position);
      if (!part.subarray(0, HOST_BYTES).includes(this.#sandbox)) continue;
      for (const span of spansOf(part)) {
        const message = span.message();
        while (message.next()) {
          if (message.tag !== SPAN_ID) continue;
          const id = Buffer.from(message.bytes()).toString("hex");
          if (!this.arrivals.has(id)) this.arrivals.set(id, at);
        }
      }
    }
  }
}
