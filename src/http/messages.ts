/** One TCP connection, the same object for all of its requests. */
export interface HttpConnection {
  /** The far end; empty if it had gone before it was asked for. */
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** This end. */
  readonly localAddress: string;
  readonly localPort: number;
  /** False from its end on. */
  readonly isOpen: boolean;
}

/** A request whose body has not been read. */
export interface HttpHead {
  readonly protocol: "HTTP/1" | "HTTP/2";
  readonly method: string;
  /** The request's target without its query, as it was sent: `/v1/traces`. */
  readonly path: string;
  /** What follows `?` in the target; empty if nothing does. */
  readonly query: string;
  /** By name in lower case. Of a name that came more than once: as `node:http` joins or drops them. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly connection: HttpConnection;
}

/** A request with its body. */
export interface HttpRequest extends HttpHead {
  /** As it was sent, perhaps compressed. Not shared with anything. */
  readonly body: Uint8Array;
}

/** What a request is answered with. */
export interface HttpAnswer {
  readonly status: number;
  /** Names in lower case. `content-length` is added. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
  /** Sent after the body over HTTP/2, as gRPC wants them; left out over HTTP/1. */
  readonly trailers?: Readonly<Record<string, string>>;
}

/** Why the server answers in place of its handler. */
export interface HttpProblem {
  /** 408: the body is too slow; 413: too large; 503: no room for it, or no answer in time; 500: the handler threw. */
  readonly status: 408 | 413 | 500 | 503;
  readonly text: string;
}

/** What a server does with its requests. What a method throws is logged and answered with 500. */
export interface HttpHandler {
  /** Refuses a request before its body is read, by answering it. Undefined to go on. */
  admit?(head: HttpHead): HttpAnswer | undefined;
  /** Answers a request. */
  answer(request: HttpRequest): HttpAnswer | Promise<HttpAnswer>;
  /** Says in the client's own terms what the server has to say: see {@link HttpProblem}. By default in words. */
  explain?(head: HttpHead, problem: HttpProblem): HttpAnswer;
  /** A connection has been accepted. */
  connected?(connection: HttpConnection): void;
  /** A connection has ended. */
  disconnected?(connection: HttpConnection): void;
}

/** A header that has one value; the first if it came more than once. */
export function headerOf(head: HttpHead, name: string): string | undefined {
  const value = head.headers[name];
  return typeof value === "object" ? value[0] : value;
}

/** A short answer in words, for people. */
export function textAnswer(status: number, text: string, headers: Readonly<Record<string, string>> = {}): HttpAnswer {
  return { status, headers: { "content-type": "text/plain; charset=utf-8", ...headers }, body: text };
}
