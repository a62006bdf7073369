import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { afterEach, test } from "node:test";
import { createServer as createTlsServer } from "node:tls";
import { PREFIX_BYTES } from "../../src/exporters/grpc-answer.ts";
import { CA, SERVER } from "./support/certificates.ts";
import { withFiles } from "./support/environment.ts";
import { inParts, pattern } from "./support/exporting.ts";
import { OpenedExporters } from "./support/opened-exporters.ts";
import { listen } from "../support/ports.ts";

const exporters = new OpenedExporters();
afterEach(() => exporters.close());

/** A server that answers with success as soon as a request begins, and reads on later. */
class EarlyServer {
  readonly #protocol: Protocol;
  readonly #server: Server;
  #socket: Socket | undefined;
  readonly #chunks: Buffer[] = [];

  constructor(protocol: Protocol, isSecure: boolean) {
    this.#protocol = protocol;
    const serve = (socket: Socket): void => {
      this.#socket = socket;
      socket.on("error", () => {});
      if (protocol.greeting !== undefined) socket.write(protocol.greeting);
      const answer = (): void => {
        if (!protocol.hasBegun(this.#read())) return;
        socket.off("data", answer);
        socket.pause();
        socket.write(protocol.answer);
      };
      socket.on("data", (chunk: Buffer) => this.#chunks.push(chunk));
      socket.on("data", answer);
    };
    this.#server = isSecure
      ? createTlsServer({ ...SERVER, ALPNProtocols: [protocol.alpn] }, serve)
      : createServer(serve);
  }

  /** Returns its port. */
  listen(): Promise<number> {
    return listen(this.#server);
  }

  /** What the client has sent of a body by the time that it closes the connection. */
  async readOn(): Promise<Uint8Array> {
    const socket = this.#socket as Socket;
    const closed = once(socket, "close");
    socket.resume();
    await closed;
    return this.#protocol.body(this.#read());
  }

  close(): void {
    this.#socket?.destroy();
    this.#server.close();
  }

  #read(): Buffer {
    return Buffer.concat(this.#chunks);
  }
}

/** What an {@link EarlyServer} says, and how it understands what it has read. */
interface Protocol {
  /** Its name in TLS. */
  readonly alpn: string;
  readonly greeting?: Uint8Array;
  readonly answer: Uint8Array;
  hasBegun(read: Buffer): boolean;
  body(read: Buffer): Uint8Array;
}

const HTTP: Protocol = {
  alpn: "http/1.1",
  answer: Buffer.from("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
  hasBegun: (read) => read.includes("\r\n\r\n"),
  body: (read) => new Uint8Array(read.subarray(read.indexOf("\r\n\r\n") + 4)),
};

/** Frames of HTTP/2 (RFC 9113, 6) and where their parts are. */
const [DATA, HEADERS, SETTINGS, WINDOW_UPDATE] = [0, 1, 4, 8];
const [END_STREAM, END_HEADERS] = [1, 4];
const FRAME_HEAD_BYTES = 9;
const PREFACE_BYTES = 24;
/** A window that no request here fills. */
const WINDOW = [0x20, 0, 0, 0];

function frame(type: number, flags: number, stream: number, payload: readonly number[]): number[] {
  return [0, 0, payload.length, type, flags, 0, 0, 0, stream, ...payload];
}

/** A header that no table has, without Huffman's code (RFC 7541, 6.2.2). */
function header(name: string, value: string): number[] {
  return [0, name.length, ...Buffer.from(name), value.length, ...Buffer.from(value)];
}

function* framesIn(read: Buffer): Generator<{ readonly type: number; readonly payload: Buffer }> {
  for (let at = PREFACE_BYTES; at + FRAME_HEAD_BYTES <= read.length;) {
    const start = at + FRAME_HEAD_BYTES;
    const end = start + read.readUIntBE(at, 3);
    yield { type: read[at + 3] as number, payload: read.subarray(start, end) };
    at = end;
  }
}

const GRPC: Protocol = {
  alpn: "h2",
  // SETTINGS_INITIAL_WINDOW_SIZE is number 4.
  greeting: Uint8Array.from([...frame(SETTINGS, 0, 0, [0, 4, ...WINDOW]), ...frame(WINDOW_UPDATE, 0, 0, WINDOW)]),
  // `:status: 200` is number 8 of the static table.
  answer: Uint8Array.from(frame(HEADERS, END_STREAM | END_HEADERS, 1, [
    0x88,
    ...header("content-type", "application/grpc"),
    ...header("grpc-status", "0"),
  ])),
  hasBegun: (read) => [...framesIn(read)].some(({ type }) => type === HEADERS),
  body: (read) => {
    const data = [...framesIn(read)].filter(({ type }) => type === DATA).map(({ payload }) => payload);
    return new Uint8Array(Buffer.concat(data).subarray(PREFIX_BYTES));
  },
};

const CASES = [
  ["grpc", GRPC, "http"],
  ["grpc", GRPC, "https"],
  ["http/protobuf", HTTP, "http"],
  ["http/protobuf", HTTP, "https"],
] as const;
for (const [protocol, server, scheme] of CASES) {
  for (const length of [1_000, 60_000, 150_000, 1_000_000, 8_000_000]) {
    test(`${protocol}, ${scheme}: ${length} bytes answered early are not read once they are released`, async () => {
      const early = new EarlyServer(server, scheme === "https");
      const url = `${scheme}://127.0.0.1:${await early.listen()}/v1/traces`;
      const exporter = await withFiles({ CERTIFICATE: CA }, (paths) => exporters.open({ protocol, url }, paths));
      const request = inParts(pattern(length));
      const result = await exporter.send(request);
      assert.equal(result.kind, "success");
      const isReleased = result.kind === "success" && result.released === true;
      // As if they were somebody else's by now.
      if (isReleased) { for (const part of request) part.fill(0xee); }
      exporter.close();
      const read = await early.readOn();
      // The end may be missing, because the client has closed the connection.
      assert.deepEqual(read, pattern(length).subarray(0, read.length));
      if (length === 1_000 && isReleased) assert.equal(read.length, length);
      early.close();
    });
  }
}
