import http from "node:http";

/** An answer as a client sees it. */
export interface PostAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

/** A client with one connection, which it keeps. */
export class HttpClient {
  readonly #port: number;
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

  constructor(port: number) {
    this.#port = port;
  }

  post(path: string, body: Uint8Array | string, headers: http.OutgoingHttpHeaders = {}): Promise<PostAnswer> {
    return this.request("POST", path, body, headers);
  }

  request(
    method: string,
    path: string,
    body: Uint8Array | string = "",
    headers: http.OutgoingHttpHeaders = {},
  ): Promise<PostAnswer> {
    return new Promise((resolve, reject) => {
      const request = http.request(
        {
          host: "127.0.0.1",
          port: this.#port,
          path,
          method,
          agent: this.#agent,
          headers: { "content-length": Buffer.byteLength(body as Uint8Array), ...headers },
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => chunks.push(chunk));
          response.on(
            "end",
            () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }),
          );
        },
      );
      request.on("error", reject);
      request.end(body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}
