import * as grpc from "@grpc/grpc-js";
import { connect, createServer, type Socket } from "node:net";
import { listen } from "../../support/ports.ts";

/** A call as it came in. */
export interface GrpcCall {
  readonly body: Uint8Array;
  readonly metadata: Readonly<Record<string, unknown>>;
  /** What encoding the message was in, `identity` or `gzip`. */
  readonly encoding: string;
}

export type GrpcAnswer = (respond: grpc.sendUnaryData<Uint8Array>) => void;

/** The answer of a collector that took everything. */
export const accept: GrpcAnswer = (respond) => respond(null, new Uint8Array());

/** The answer of a collector that fails. */
export function fail(code: number, details: string, status?: Uint8Array): GrpcAnswer {
  const metadata = new grpc.Metadata();
  if (status !== undefined) metadata.set("grpc-status-details-bin", Buffer.from(status));
  return (respond) => respond({ code, details, metadata });
}

const METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/** A real gRPC server behind a TCP relay, so that connections can be counted and cut. */
export class GrpcReceiver {
  answer: GrpcAnswer = accept;
  readonly calls: GrpcCall[] = [];
  /** How many connections there have been. */
  connections = 0;
  readonly #server = new grpc.Server();
  readonly #sockets = new Set<Socket>();
  readonly #relay = createServer((socket) => this.#forward(socket));
  #backend = 0;
  #port = 0;

  /** The endpoint without TLS. */
  get url(): string {
    return `http://localhost:${this.#port}`;
  }

  async start(credentials = grpc.ServerCredentials.createInsecure()): Promise<void> {
    const raw = (bytes: Uint8Array): Buffer => Buffer.from(bytes);
    const definition = {
      export: {
        path: METHOD,
        requestStream: false,
        responseStream: false,
        requestSerialize: raw,
        requestDeserialize: raw,
        responseSerialize: raw,
        responseDeserialize: raw,
      },
    } as const;
    this.#server.addService(definition, {
      export: (
        call: grpc.ServerUnaryCall<Uint8Array, Uint8Array>,
        respond: grpc.sendUnaryData<Uint8Array>,
      ) => {
        const metadata = call.metadata.getMap();
        const encoding = String(metadata["grpc-encoding"] ?? "identity");
        this.calls.push({ body: Uint8Array.from(call.request), metadata, encoding });
        this.answer(respond);
      },
    });
    this.#backend = await new Promise((resolve, reject) => {
      this.#server.bindAsync(
        "localhost:0",
        credentials,
        (error, port) => error === null ? resolve(port) : reject(error),
      );
    });
    await this.open();
  }

  /** Takes connections, at the port it had before where it had one. */
  async open(): Promise<void> {
    this.#port = await listen(this.#relay, this.#port);
  }

  /** Takes no more connections and ends those that are there. */
  async shut(): Promise<void> {
    const closed = new Promise((resolve) => this.#relay.close(resolve));
    this.cut();
    await closed;
  }

  /** Ends all connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async stop(): Promise<void> {
    if (this.#relay.listening) await this.shut();
    this.#server.forceShutdown();
  }

  #forward(socket: Socket): void {
    this.connections++;
    const backend = connect(this.#backend, "localhost");
    for (const [one, other] of [[socket, backend], [backend, socket]] as const) {
      this.#sockets.add(one);
      one.on("error", () => {});
      one.on("close", () => {
        this.#sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  }
}
