import assert from "node:assert/strict";
import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import { describe, test } from "node:test";
import { HttpListenError } from "../../src/http/listen-error.ts";
import { type HttpConnection, type HttpHandler, textAnswer } from "../../src/http/messages.ts";
import { HttpServer } from "../../src/http/server.ts";
import { jaegerFile } from "../decode/support/jaeger-fixtures.ts";
import { HTTP2, LIMITS, RawClient, serving } from "./support/serving.ts";

const post = (body: string, path = "/x", ...headers: string[]): string =>
  [`POST ${path} HTTP/1.1`, "Host: h", `Content-Length: ${body.length}`, ...headers, "", body].join("\r\n");
const count = (text: string, what: RegExp): number => text.match(what)?.length ?? 0;

interface Answer {
  readonly status: number;
  readonly headers: Record<string, unknown>;
  readonly body: string;
  readonly trailers: Record<string, unknown>;
}

function http2Request(
  session: http2.ClientHttp2Session,
  headers: http2.OutgoingHttpHeaders,
  body?: Uint8Array | string,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const stream = session.request(headers, { endStream: body === undefined });
    let received: http2.IncomingHttpHeaders = {};
    let trailers: http2.IncomingHttpHeaders = {};
    const chunks: Buffer[] = [];
    stream.on("response", (sent) => received = sent);
    stream.on("trailers", (sent) => trailers = sent);
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("error", reject);
    stream.on("close", () =>
      resolve({
        status: Number(received[":status"]),
        headers: received,
        body: Buffer.concat(chunks).toString(),
        trailers,
      }));
    if (body !== undefined) stream.end(body);
  });
}

async function withSession(port: number, use: (session: http2.ClientHttp2Session) => Promise<void>): Promise<void> {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  session.on("error", () => {});
  try {
    await use(session);
  } finally {
    session.destroy();
  }
}

describe("both versions of HTTP on one port", () => {
  test("HTTP/1: method, path, query and body; the connection is kept", () =>
    serving(async ({ port }) => {
      const client = new RawClient(port);
      await client.send(post("abc", "/a?b=c"));
      await client.until((text) => text.endsWith("HTTP/1 POST /a?b=c 3 abc"));
      assert.match(client.text, /^HTTP\/1\.1 200 OK\r\n/);
      await client.send(post("de"));
      await client.until((text) => text.endsWith("HTTP/1 POST /x? 2 de"));
      assert.equal(client.socket.destroyed, false);
      client.end();
    }));

  test("HTTP/2 with prior knowledge, many requests at once", () =>
    serving(async ({ port }) => {
      await withSession(port, async (session) => {
        const answers = await Promise.all(
          Array.from({ length: 16 }, (_, i) => http2Request(session, { ":method": "POST", ":path": `/${i}?q` }, "abc")),
        );
        assert.deepEqual(
          answers.map(({ status, body }) => [status, body]),
          answers.map((_, i) => [200, `HTTP/2 POST /${i}?q 3 abc`]),
        );
      });
    }));

  test("what the runtime of Kata 4 sends first, byte for byte", () =>
    serving(async ({ port }) => {
      const client = new RawClient(port);
      await client.send(jaegerFile("rust-h2c.first-connection.bin"));
      await client.until((text) => text.includes("HTTP/2 POST /api/traces?"));
      client.end();
    }));

  test("the first bytes one at a time", () =>
    serving(async ({ port }) => {
      for (
        const [bytes, expected] of [[post("abc"), "HTTP/1 POST"], [
          Buffer.from(jaegerFile("rust-h2c.first-connection.bin")).toString("latin1"),
          "HTTP/2 POST",
        ]] as const
      ) {
        const client = new RawClient(port);
        client.socket.setNoDelay(true);
        for (const byte of bytes.slice(0, 30)) {
          await client.send(Buffer.from(byte, "latin1"));
          await new Promise((resolve) => setImmediate(resolve));
        }
        await client.send(Buffer.from(bytes.slice(30), "latin1"));
        await client.until((text) => text.includes(expected));
        client.end();
      }
    }));

  test("trailers go over HTTP/2 alone, and HEAD has no body", async () => {
    const handler: HttpHandler = {
      answer: () => ({ status: 200, headers: { a: "b" }, body: "text", trailers: { "grpc-status": "0" } }),
    };
    await serving(async ({ port }) => {
      await withSession(port, async (session) => {
        const answer = await http2Request(session, { ":method": "POST", ":path": "/" }, "x");
        assert.deepEqual([answer.status, answer.headers["a"], answer.body], [200, "b", "text"]);
        assert.equal(answer.trailers["grpc-status"], "0");
      });
      const client = new RawClient(port);
      await client.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
      await client.until((text) => text.endsWith("\r\n\r\n"));
      assert.match(client.text, /content-length: 4\r\n/i);
      assert.doesNotMatch(client.text, /grpc-status/i);
      client.end();
    }, { handler });
  });

  test("an answer without a body is complete with its headers", () =>
    serving(async ({ port }) => {
      const client = new RawClient(port);
      await client.send(post(""));
      await client.until((text) => text.endsWith("\r\n\r\n"));
      assert.match(client.text, /^HTTP\/1\.1 202 Accepted\r\ncontent-length: 0\r\n/i);
      client.end();
      await withSession(port, async (session) => {
        const answer = await http2Request(session, { ":method": "POST", ":path": "/" }, "x");
        assert.deepEqual([answer.status, answer.headers["content-length"], answer.body], [202, "0", ""]);
      });
    }, { handler: { answer: () => ({ status: 202 }) } }));

  test("bodies may be chunked, expect to be continued, and be offered an upgrade", () =>
    serving(async ({ port }) => {
      const requests = [
        "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        post("abc", "/x", "Expect: 100-continue"),
        post("abc", "/x", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
      ];
      for (const request of requests) {
        const client = new RawClient(port);
        await client.send(request);
        await client.until((text) => text.endsWith("HTTP/1 POST /x? 3 abc"));
        client.end();
      }
    }));
});

describe("a handler", () => {
  test("may refuse a request by its headers, and sees no body of it", async () => {
    let answered = 0;
    const handler: HttpHandler = {
      admit: ({ path }) => path === "/no" ? textAnswer(404, "not here") : undefined,
      answer: () => {
        answered++;
        return { status: 200 };
      },
    };
    await serving(async ({ port }) => {
      const client = new RawClient(port);
      await client.send(post("a".repeat(90_000), "/no") + post("abc"));
      await client.until((text) => count(text, /HTTP\/1\.1 /g) === 2);
      assert.match(client.text, /^HTTP\/1\.1 404 [^]*not hereHTTP\/1\.1 200 /);
      client.end();
      await withSession(port, async (session) => {
        const refused = await http2Request(session, { ":method": "POST", ":path": "/no" }, "a".repeat(90_000));
        assert.deepEqual([refused.status, refused.body], [404, "not here"]);
        assert.equal((await http2Request(session, { ":method": "POST", ":path": "/" }, "x")).status, 200);
      });
      assert.equal(answered, 2);
    }, { handler });
  });

  test("that throws or rejects costs that request", async () => {
    const handler: HttpHandler = {
      admit: ({ path }) => {
        if (path === "/admit") throw new Error("in admit");
        return undefined;
      },
      answer: ({ path }) => {
        if (path === "/throw") throw new Error("in answer");
        if (path === "/reject") return Promise.reject(new Error("later"));
        return Promise.resolve({ status: 200 });
      },
    };
    await serving(async ({ port, errors }) => {
      await withSession(port, async (session) => {
        const status = async (path: string) =>
          (await http2Request(session, { ":method": "POST", ":path": path }, "x")).status;
        assert.deepEqual([await status("/admit"), await status("/throw"), await status("/reject"), await status("/")], [
          500,
          500,
          500,
          200,
        ]);
      });
      assert.deepEqual(errors, ["/admit: in admit", "/throw: in answer", "/reject: later"]);
    }, { handler });
  });

  test("is told of connections, the same object for each of their requests", async () => {
    const events: string[] = [];
    const seen = new Set<HttpConnection>();
    const gone = Promise.withResolvers<void>();
    const handler: HttpHandler = {
      connected: (connection) => {
        seen.add(connection);
        events.push(`connected from ${connection.remoteAddress}`);
      },
      disconnected: (connection) => {
        events.push(`disconnected ${seen.has(connection)}`);
        gone.resolve();
      },
      answer: ({ connection }) => textAnswer(200, `${seen.has(connection)} ${connection.remotePort}`),
    };
    await serving(async ({ port }) => {
      const client = new RawClient(port);
      await client.send(post("a"));
      await client.until((text) => text.includes("true"));
      assert.ok(client.text.endsWith(`true ${client.socket.localPort}`));
      client.end();
      await gone.promise;
      assert.deepEqual(events, ["connected from 127.0.0.1", "disconnected true"]);
      await withSession(port, async (session) => {
        const { body } = await http2Request(session, { ":method": "POST", ":path": "/" }, "x");
        assert.match(body, /^true \d+$/);
      });
    }, { handler });
  });

  test("that does not answer in time is answered for", () =>
    serving(async ({ port }) => {
      const client = new RawClient(port);
      await client.send(post("a"));
      await client.until((text) => text.startsWith("HTTP/1.1 503 "));
      client.end();
      await withSession(port, async (session) => {
        assert.equal((await http2Request(session, { ":method": "POST", ":path": "/" }, "x")).status, 503);
      });
    }, { handler: { answer: () => new Promise(() => {}) }, limits: { answerMs: 100 } }));
});

describe("stopping", () => {
  test("answers what is in flight, then ends the connections, and accepts no more", async () => {
    const release = Promise.withResolvers<void>();
    let inFlight = 0;
    const handler: HttpHandler = {
      answer: async ({ path }) => {
        if (path === "/wait") {
          inFlight++;
          await release.promise;
        }
        return textAnswer(200, "answered");
      },
    };
    await serving(async ({ server, port }) => {
      const idle = new RawClient(port);
      await idle.send(post("a"));
      await idle.until((text) => text.endsWith("answered"));
      const waiting = new RawClient(port);
      await waiting.send(post("a", "/wait"));
      const session = http2.connect(`http://127.0.0.1:${port}`);
      session.on("error", () => {});
      const over2 = http2Request(session, { ":method": "POST", ":path": "/wait" }, "x");
      while (inFlight < 2) await new Promise((resolve) => setTimeout(resolve, 5));
      const stopped = server.stop(10_000);
      await idle.closed;
      assert.equal(waiting.text, "");
      const late = net.connect(port, "127.0.0.1");
      const refused = await new Promise<Error>((resolve) => late.once("error", resolve));
      assert.equal((refused as NodeJS.ErrnoException).code, "ECONNREFUSED");
      release.resolve();
      await waiting.closed;
      assert.match(waiting.text, /^HTTP\/1\.1 200 [^]*connection: close[^]*answered$/i);
      assert.equal((await over2).body, "answered");
      await stopped;
      session.destroy();
    }, { handler, limits: { answerMs: 30_000 } });
  });

  test("takes no longer than it may", () =>
    serving(async ({ server, port }) => {
      const client = new RawClient(port);
      await client.send(post("a"));
      await new Promise((resolve) => setTimeout(resolve, 50));
      await server.stop(50);
      await client.closed;
      assert.equal(client.text, "");
    }, { handler: { answer: () => new Promise(() => {}) }, limits: { answerMs: 60_000 } }));

  test("close ends everything at once and frees the port", async () => {
    const options = { handler: { answer: () => ({ status: 200 }) }, limits: LIMITS, http2: HTTP2, onError: () => {} };
    const first = new HttpServer(options);
    const { port } = await first.listen({ host: "127.0.0.1", port: 0 });
    const client = new RawClient(port);
    await client.send("POST / HT");
    await first.close();
    await client.closed;
    const second = new HttpServer(options);
    assert.equal((await second.listen({ host: "127.0.0.1", port })).port, port);
    await second.close();
  });
});

test("an address that cannot be listened at is an error that says why", () =>
  serving(async ({ port }) => {
    const server = new HttpServer({ handler: { answer: () => ({ status: 200 }) }, limits: LIMITS, onError: () => {} });
    await assert.rejects(
      server.listen({ host: "127.0.0.1", port }),
      (error) =>
        error instanceof HttpListenError && error.isInUse && error.cause instanceof Error &&
        error.message === `127.0.0.1:${port}: the port is in use: stop what listens there, or choose another`,
    );
    // TEST-NET-1 (RFC 5737): no machine has it.
    await assert.rejects(
      new HttpServer({ handler: { answer: () => ({ status: 200 }) }, limits: LIMITS, onError: () => {} })
        .listen({ host: "192.0.2.1", port: 0 }),
      { name: "HttpListenError", message: "192.0.2.1:0: this machine has no such address" },
    );
  }));

test("a client of node:http keeps its connection, and one of an IPv6 address is told apart", async () => {
  const server = new HttpServer({
    handler: { answer: ({ connection }) => textAnswer(200, connection.remoteAddress) },
    limits: LIMITS,
    http2: HTTP2,
    onError: () => {},
  });
  const { port } = await server.listen({ host: "::1", port: 0 });
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const ports = new Set<number | undefined>();
  const get = () =>
    new Promise<string>((resolve, reject) => {
      http.get({ host: "::1", port, agent }, (response) => {
        ports.add(response.socket.localPort);
        let text = "";
        response.on("data", (chunk: Buffer) => text += chunk.toString());
        response.on("end", () => resolve(text));
      }).on("error", reject);
    });
  assert.equal(await get(), "::1");
  assert.equal(await get(), "::1");
  assert.equal(ports.size, 1);
  agent.destroy();
  await server.close();
});
