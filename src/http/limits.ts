/** What the clients of a server may use, one and all together. Times in milliseconds. */
export interface HttpLimits {
  /**
   * Connections at once. When a further one comes, the one that has been idle for longest is closed, those first that
   * have never sent a request; if none is idle, the new one is.
   */
  readonly maxConnections: number;
  /** Requests that one connection may have open at once: HTTP/2's streams, or pipelined ones of HTTP/1. */
  readonly maxOpenRequests: number;
  /** A request's line and headers, bytes. */
  readonly maxHeaderBytes: number;
  /** A request's body as it is sent, bytes. */
  readonly maxBodyBytes: number;
  /** The bodies of all requests that are being read, bytes. */
  readonly maxTotalBodyBytes: number;
  /** From a connection's start, or a request's first byte, to the end of its headers. */
  readonly headerMs: number;
  /** From the end of a request's headers to the end of its body. */
  readonly bodyMs: number;
  /** From there until the answer has been sent. */
  readonly answerMs: number;
  /** How long a connection without a request is kept. 0: it carries one request. */
  readonly idleMs: number;
}

/** What HTTP/2's clients are told in SETTINGS. */
export interface Http2Settings {
  /** Bytes of a stream that may be on their way; RFC 9113's default is 65,535. */
  readonly streamWindowBytes: number;
  /** The same for a connection. */
  readonly connectionWindowBytes: number;
  /** The largest frame; the default is 16,384, the most 16,777,215. */
  readonly maxFrameBytes: number;
}
