import assert from "node:assert/strict";
import http2 from "node:http2";
import { describe, test } from "node:test";
import { type HttpHandler, textAnswer } from "../../src/http/messages.ts";
import {
  ACK,
  END_HEADERS,
  END_STREAM,
  FRAME,
  frame,
  header,
  opening,
  parseFrames,
  postHeaders,
} from "./support/http2-frames.ts";
import { RawClient, type Serving, serving } from "./support/serving.ts";

const OK: HttpHandler = { answer: () => textAnswer(200, "fine") };

/** The server still answers others. */
async function assertServes({ port }: Serving): Promise<void> {
  const client = new RawClient(port);
  await client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  await client.until((text) => text.endsWith("fine"));
  client.end();
  const session = http2.connect(`http://127.0.0.1:${port}`);
  const stream = session.request({ ":path": "/" });
  const status = await new Promise((resolve, reject) => {
    stream.once("response", (headers) => resolve(headers[":status"]));
    stream.once("error", reject);
  });
  assert.equal(status, 200);
  session.destroy();
}

/** Bytes that end a connection, or not, and what comes back before. */
async function exchange(port: number, bytes: string | Uint8Array): Promise<string> {
  const client = new RawClient(port);
  await client.send(bytes);
  await client.closed;
  return client.text;
}

describe("HTTP/1", () => {
  const refused: Record<string, readonly [bytes: string, answer: RegExp]> = {
    "no HTTP": ["\u0001\u0002 nonsense\r\n\r\n", /^HTTP\/1\.1 400 /],
    "TLS": ["\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003", /^HTTP\/1\.1 400 /],
    "headers without end": [`GET / HTTP/1.1\r\nHost: h\r\nX: ${"y".repeat(9000)}`, /^HTTP\/1\.1 431 /],
    "a path without end": [`GET /${"y".repeat(100_000)}`, /^HTTP\/1\.1 431 /],
    "both lengths": [
      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
      /^HTTP\/1\.1 400 /,
    ],
    "a negative length": ["POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", /^HTTP\/1\.1 400 /],
    "a preface with a fault": ["PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", /^/],
    "a chunk without a size": [
      "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
      /^HTTP\/1\.1 400 /,
    ],
  };
  for (const [what, [bytes, answer]] of Object.entries(refused)) {
    test(`${what} ends the connection`, () =>
      serving(async (at) => {
        const text = await exchange(at.port, Buffer.from(bytes, "latin1"));
        assert.match(text, answer);
        assert.doesNotMatch(text, / 200 /);
        await assertServes(at);
      }, { handler: OK }));
  }

  test("a body that is too large is refused as soon as it says so, or is", () =>
    serving(async (at) => {
      const declared = new RawClient(at.port);
      await declared.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100001\r\n\r\n");
      await declared.until((text) => text.startsWith("HTTP/1.1 413 "));
      const chunked = new RawClient(at.port);
      const chunk = `${(50_000).toString(16)}\r\n${"a".repeat(50_000)}\r\n`;
      await chunked.send(`POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}${chunk}1\r\na\r\n`);
      await chunked.until((text) => text.startsWith("HTTP/1.1 413 "));
      // Whoever does not stop is stopped.
      await Promise.all([declared.closed, chunked.closed]);
      await assertServes(at);
    }, { handler: OK }));

  test("bodies that come at once may not take more than all of them may", () =>
    serving(async (at) => {
      const clients = Array.from({ length: 4 }, () => new RawClient(at.port));
      for (const client of clients) {
        await client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 90000\r\n\r\n");
        await client.send("a".repeat(80_000));
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
      for (const client of clients) await client.send("a".repeat(10_000));
      await Promise.all(clients.map((client) => client.until((text) => text.includes("\r\n\r\n"))));
      const statuses = clients.map(({ text }) => text.slice(9, 12));
      // How many find room depends on which are done before others go on.
      assert.ok(statuses.includes("200") && statuses.includes("503"), String(statuses));
      assert.ok(statuses.every((status) => status === "200" || status === "503"), String(statuses));
      for (const client of clients) client.end();
      await assertServes(at);
    }, { handler: OK, limits: { maxTotalBodyBytes: 250_000, bodyMs: 10_000 } }));

  test("slow headers, the first and later ones, and slow bodies are ended", () =>
    serving(async (at) => {
      const first = new RawClient(at.port);
      const later = new RawClient(at.port);
      const body = new RawClient(at.port);
      await later.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
      await later.until((text) => text.endsWith("fine"));
      await body.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\n");
      const drip = setInterval(() => {
        for (const client of [first, later]) void client.send("GET / HTTP/1.1\r\n".slice(0, 1));
        void body.send("a");
      }, 40);
      await Promise.all([first.closed, later.closed, body.closed]);
      clearInterval(drip);
      assert.match(body.text, /^HTTP\/1\.1 408 /);
      await assertServes(at);
    }, { handler: OK, limits: { headerMs: 300, bodyMs: 300 } }));

  test("a connection that says nothing, at first or any more, is ended", () =>
    serving(async (at) => {
      const silent = new RawClient(at.port);
      const idle = new RawClient(at.port);
      await idle.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
      await idle.until((text) => text.endsWith("fine"));
      await Promise.all([silent.closed, idle.closed]);
    }, { handler: OK, limits: { headerMs: 200, idleMs: 300 } }));

  test("some pipelined requests are answered in turn, very many end the connection", () =>
    serving(async (at) => {
      const request = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
      const some = new RawClient(at.port);
      await some.send(request.repeat(10));
      await some.until((text) => text.match(/fine/g)?.length === 10);
      some.end();
      const many = new RawClient(at.port);
      // The answers are not read.
      many.socket.pause();
      for (let i = 0; i < 50 && !many.socket.destroyed; i++) await many.send(request.repeat(1000));
      many.socket.resume();
      await many.closed;
      await assertServes(at);
    }, { handler: OK }));

  test("a new connection takes the place of one that never spoke, else of one that has been idle for longest", () =>
    serving(async (at) => {
      const talk = async (client: RawClient): Promise<void> => {
        await client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        await client.until((text) => text.endsWith("fine"));
      };
      const talked = [new RawClient(at.port), new RawClient(at.port)];
      for (const client of talked) await talk(client);
      const silent = new RawClient(at.port);
      await silent.send("GET / HTT");
      await new Promise((resolve) => setTimeout(resolve, 20));
      const third = new RawClient(at.port);
      await talk(third);
      await silent.closed;
      const fourth = new RawClient(at.port);
      await talk(fourth);
      await talked[0]?.closed;
      assert.equal(talked[1]?.socket.destroyed, false);
      for (const client of [...talked, third, fourth]) client.end();
    }, { handler: OK, limits: { maxConnections: 3 } }));

  test("if every connection has a request, a further one is refused", async () => {
    const release = Promise.withResolvers<void>();
    let begun = 0;
    const handler: HttpHandler = {
      answer: async () => {
        begun++;
        await release.promise;
        return textAnswer(200, "fine");
      },
    };
    await serving(async ({ port }) => {
      const busy = [new RawClient(port), new RawClient(port)];
      for (const client of busy) await client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
      while (begun < 2) await new Promise((resolve) => setTimeout(resolve, 5));
      const further = new RawClient(port);
      await further.closed;
      release.resolve();
      for (const client of busy) await client.until((text) => text.endsWith("fine"));
    }, { handler, limits: { maxConnections: 2, answerMs: 30_000 } });
  });
});

describe("HTTP/2", () => {
  /** Sends what `next` makes until the connection ends, and returns how much that was; ends after `most` bytes. */
  async function flood(at: Serving, next: (stream: number) => Uint8Array, most: number): Promise<RawClient> {
    const client = new RawClient(at.port);
    await client.send(opening());
    let stream = 1;
    for (let sent = 0; sent < most && !client.socket.destroyed;) {
      const frames = Array.from({ length: 100 }, () => {
        const bytes = next(stream);
        stream += 2;
        return bytes;
      });
      const bytes = Buffer.concat(frames);
      sent += bytes.length;
      await client.send(bytes);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return client;
  }

  const begin = (stream: number, flags = END_HEADERS): Buffer => frame(FRAME.HEADERS, flags, stream, postHeaders());
  const cancel = (stream: number): Buffer => frame(FRAME.RST_STREAM, 0, stream, Uint8Array.of(0, 0, 0, 8));

  const ended: Record<string, (stream: number) => Uint8Array> = {
    "streams that are reset at once": (stream) => Buffer.concat([begin(stream), cancel(stream)]),
    "requests that are reset at once": (stream) =>
      Buffer.concat([begin(stream, END_HEADERS | END_STREAM), cancel(stream)]),
    "headers that go on and on": (stream) =>
      frame(stream === 1 ? FRAME.HEADERS : FRAME.CONTINUATION, 0, 1, header("x", "y".repeat(100))),
    "settings": () => frame(FRAME.SETTINGS, 0, 0),
    "pings": () => frame(FRAME.PING, 0, 0, Buffer.alloc(8)),
    "more streams than there may be": (stream) => begin(stream),
    "empty data": (stream) => stream === 1 ? begin(1) : frame(FRAME.DATA, 0, 1),
  };
  for (const [what, next] of Object.entries(ended)) {
    test(`a flood of ${what} ends the connection`, () =>
      serving(async (at) => {
        const client = await flood(at, next, 50_000_000);
        await client.closed;
        await assertServes(at);
      }, { handler: OK }));
  }

  const borne: Record<string, (stream: number) => Uint8Array> = {
    "priorities": () => frame(FRAME.PRIORITY, 0, 1, Uint8Array.of(0, 0, 0, 3, 1)),
    "window updates": () => frame(FRAME.WINDOW_UPDATE, 0, 0, Uint8Array.of(0, 0, 0, 1)),
    "empty continuations": (stream) =>
      stream === 1 ? frame(FRAME.HEADERS, 0, 1, postHeaders()) : frame(FRAME.CONTINUATION, 0, 1),
  };
  for (const [what, next] of Object.entries(borne)) {
    test(`a flood of ${what} costs nobody else anything`, () =>
      serving(async (at) => {
        const client = await flood(at, next, 3_000_000);
        await assertServes(at);
        client.end();
      }, { handler: OK }));
  }

  test("a connection whose headers never end is ended", () =>
    serving(async (at) => {
      const client = new RawClient(at.port);
      await client.send(opening());
      await client.send(frame(FRAME.HEADERS, 0, 1, postHeaders()));
      await client.closed;
    }, { handler: OK, limits: { headerMs: 200 } }));

  test("headers that grow in HPACK's table are refused", () =>
    serving(async (at) => {
      const client = new RawClient(at.port);
      await client.send(opening());
      // The table holds one large header, and each byte 0xbe repeats it.
      await client.send(
        frame(FRAME.HEADERS, END_HEADERS | END_STREAM, 1, postHeaders(header("a", "b".repeat(3000), true))),
      );
      for (let stream = 3; stream < 20 && !client.socket.destroyed; stream += 2) {
        const bomb = Buffer.concat([postHeaders(), Buffer.alloc(10_000, 0xbe)]);
        await client.send(frame(FRAME.HEADERS, END_HEADERS | END_STREAM, stream, bomb));
      }
      await client.until(() => parseFrames(client.received).some(({ type }) => type === FRAME.RST_STREAM))
        .catch(() => {});
      const answered = parseFrames(client.received).filter(({ type }) => type === FRAME.DATA);
      assert.ok(answered.length <= 1, `${answered.length} were answered`);
      client.end();
      await assertServes(at);
    }, { handler: OK }));

  test("a client whose window stays shut holds its answers for as long as an answer may take", () =>
    serving(async (at) => {
      const client = new RawClient(at.port);
      // SETTINGS_INITIAL_WINDOW_SIZE 0.
      await client.send(opening(Uint8Array.of(0, 4, 0, 0, 0, 0)));
      for (let stream = 1; stream < 20; stream += 2) await client.send(begin(stream, END_HEADERS | END_STREAM));
      await client.until(() => {
        const resets = parseFrames(client.received).filter(({ type }) => type === FRAME.RST_STREAM);
        return resets.length >= 10;
      });
      client.end();
      await assertServes(at);
    }, { handler: OK, limits: { answerMs: 200 } }));

  test("a body without end is cut off", () =>
    serving(async (at) => {
      const client = new RawClient(at.port);
      await client.send(Buffer.concat([opening(), frame(FRAME.SETTINGS, ACK, 0), begin(1)]));
      for (let i = 0; i < 12 && !client.socket.destroyed; i++) {
        await client.send(frame(FRAME.DATA, 0, 1, Buffer.alloc(16_384)));
      }
      // The answer, or the library's word that the client minds no window.
      await client.until(() =>
        parseFrames(client.received).some(({ type, stream }) => stream === 1 && type !== FRAME.WINDOW_UPDATE)
      );
      client.end();
      await assertServes(at);
    }, { handler: OK }));
});
