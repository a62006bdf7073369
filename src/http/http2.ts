import {
  constants,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { Connection } from "./connections.ts";
import { Exchange, type ExchangeContext, type Transport } from "./exchange.ts";
import type { Http2Settings } from "./limits.ts";
import type { HttpAnswer, HttpHead } from "./messages.ts";

/** Headers that a request may have: some ten of the exporters and their proxies, and the four pseudo-headers. */
const MAX_HEADERS = 64;
/** Settings that one frame may have; RFC 9113 knows six. */
const MAX_SETTINGS = 32;
/** Frames that are invalid, and streams that are refused, before a session is closed. Node allows 1,000 and 100. */
const MAX_INVALID_FRAMES = 32;
const MAX_REFUSED_STREAMS = 32;
const MEBIBYTE = 1024 * 1024;

/**
 * Speaks HTTP/2 on sockets that a listener has accepted. Floods of control frames and of resets are the library's to
 * end.
 */
export class Http2 {
  readonly #server: Http2Server;
  readonly #context: ExchangeContext;
  readonly #settings: Http2Settings;
  readonly #connections = new WeakMap<ServerHttp2Session, Connection>();
  /** The connection that is being taken over. */
  #current: Connection | undefined;

  constructor(context: ExchangeContext, settings: Http2Settings) {
    this.#context = context;
    this.#settings = settings;
    const { limits } = context;
    this.#server = createServer({
      settings: {
        maxConcurrentStreams: limits.maxOpenRequests,
        maxHeaderListSize: limits.maxHeaderBytes,
        initialWindowSize: settings.streamWindowBytes,
        maxFrameSize: settings.maxFrameBytes,
        enablePush: false,
      },
      maxSettings: MAX_SETTINGS,
      maxHeaderListPairs: MAX_HEADERS,
      maxSessionInvalidFrames: MAX_INVALID_FRAMES,
      maxSessionRejectedStreams: MAX_REFUSED_STREAMS,
      maxSessionMemory: Math.ceil((settings.connectionWindowBytes + limits.maxBodyBytes) / MEBIBYTE),
    });
    this.#server.on("session", (session: ServerHttp2Session) => this.#beginSession(session));
    this.#server.on(
      "stream",
      (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => this.#begin(stream, headers),
    );
    // What a client does wrong ends its session, and there is nobody to tell.
    this.#server.on("sessionError", () => {});
    this.#server.on("error", () => {});
    Object.defineProperty(this.#server, "listening", { get: () => true });
  }

  /** Takes over a connection. */
  serve(connection: Connection): void {
    this.#current = connection;
    this.#server.emit("connection", connection.socket);
    this.#current = undefined;
  }

  #beginSession(session: ServerHttp2Session): void {
    const connection = this.#current;
    if (connection === undefined) throw new Error("a session on a connection that was not taken over");
    this.#connections.set(session, connection);
    // Says GOAWAY, and ends the connection after the last stream.
    connection.endGently = () => session.close();
    session.on("error", () => {});
    session.setLocalWindowSize(this.#settings.connectionWindowBytes);
  }

  #begin(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    const connection = stream.session === undefined
      ? undefined
      : this.#connections.get(stream.session as ServerHttp2Session);
    stream.on("error", () => {});
    if (connection === undefined) {
      stream.close(constants.NGHTTP2_REFUSED_STREAM);
      return;
    }
    connection.requestBegan();
    const transport = new Http2Transport(stream, headers, connection);
    const exchange = new Exchange(transport, this.#context);
    stream.on("data", (chunk: Uint8Array) => exchange.chunk(chunk));
    stream.on("end", () => {
      transport.isBodyRead = true;
      exchange.end();
    });
    stream.once("close", () => {
      exchange.close();
      connection.requestEnded();
    });
  }
}

class Http2Transport implements Transport {
  readonly head: HttpHead;
  readonly declaredBytes: number | undefined;
  isBodyRead = false;
  readonly #stream: ServerHttp2Stream;

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, connection: Connection) {
    this.#stream = stream;
    const target = headers[":path"] ?? "";
    const mark = target.indexOf("?");
    const length = headers["content-length"];
    this.declaredBytes = length === undefined ? undefined : Number(length);
    this.head = {
      protocol: "HTTP/2",
      method: headers[":method"] ?? "",
      path: mark < 0 ? target : target.slice(0, mark),
      query: mark < 0 ? "" : target.slice(mark + 1),
      headers,
      connection,
    };
  }

  send({ status, headers, body, trailers }: HttpAnswer): void {
    const stream = this.#stream;
    if (stream.destroyed || stream.closed || stream.headersSent) return;
    const bytes = typeof body === "string" ? Buffer.from(body) : body;
    const isEmpty = bytes === undefined || bytes.length === 0;
    // Once the answer is complete the client need not send the rest of its body (RFC 9113, section 8.1).
    const finishReading = (): void => {
      if (!this.isBodyRead) stream.close(constants.NGHTTP2_NO_ERROR);
    };
    if (trailers === undefined) stream.once("finish", finishReading);
    else {
      stream.once("wantTrailers", () => {
        stream.sendTrailers({ ...trailers });
        setImmediate(finishReading);
      });
    }
    stream.respond({
      ":status": status,
      ...headers,
      // gRPC's messages have their length themselves.
      ...trailers === undefined && { "content-length": bytes?.length ?? 0 },
    }, { waitForTrailers: trailers !== undefined, endStream: isEmpty && trailers === undefined });
    if (!isEmpty && this.head.method !== "HEAD") stream.end(bytes);
    else if (!stream.writableEnded) stream.end();
    if (!this.isBodyRead) stream.resume();
  }

  destroy(): void {
    // `close` alone waits until what has been written is sent, which a client with a shut window never lets happen.
    this.#stream.close(constants.NGHTTP2_CANCEL);
    this.#stream.destroy();
  }
}
