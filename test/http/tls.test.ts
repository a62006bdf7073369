import assert from "node:assert/strict";
import http2 from "node:http2";
import https from "node:https";
import net from "node:net";
import { test } from "node:test";
import { HttpServer } from "../../src/http/server.ts";
import { CA, CLIENT, SERVER } from "../exporters/support/certificates.ts";
import { ECHO, HTTP2, LIMITS } from "./support/serving.ts";

const TLS = { certificate: Buffer.from(SERVER.cert), key: Buffer.from(SERVER.key) };

async function withServer(mutual: boolean, use: (port: number) => Promise<void>): Promise<void> {
  const server = new HttpServer({
    handler: ECHO,
    limits: LIMITS,
    http2: HTTP2,
    tls: mutual ? { ...TLS, clientAuthority: Buffer.from(CA) } : TLS,
    onError: () => {},
  });
  const { port } = await server.listen({ host: "127.0.0.1", port: 0 });
  try {
    await use(port);
  } finally {
    await server.close();
  }
}

function get(port: number, options: https.RequestOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    https.get({ host: "127.0.0.1", port, path: "/a", agent: false, ...options }, (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => text += chunk.toString());
      response.on("end", () => resolve(text));
    }).on("error", reject);
  });
}

test("both versions of HTTP are spoken over TLS", () =>
  withServer(false, async (port) => {
    assert.match(await get(port, { ca: CA }), /^HTTP\/1 GET \/a/);
    const session = http2.connect(`https://127.0.0.1:${port}`, { ca: CA });
    const stream = session.request({ ":path": "/b" });
    let text = "";
    for await (const chunk of stream) text += String(chunk);
    assert.match(text, /^HTTP\/2 GET \/b/);
    session.destroy();
  }));

test("a client without the certificate that is asked for gets no answer", () =>
  withServer(true, async (port) => {
    assert.match(await get(port, { ca: CA, cert: CLIENT.cert, key: CLIENT.key }), /^HTTP\/1 GET/);
    await assert.rejects(get(port, { ca: CA }));
  }));

test("a client that does not speak TLS, or stays silent, is disconnected", () =>
  withServer(false, async (port) => {
    for (const bytes of ["GET / HTTP/1.1\r\nHost: h\r\n\r\n", ""]) {
      const socket = net.connect(port, "127.0.0.1");
      let text = "";
      socket.on("data", (chunk: Buffer) => text += chunk.toString("latin1"));
      socket.on("error", () => {});
      if (bytes !== "") socket.write(bytes);
      await new Promise((resolve) => socket.once("close", resolve));
      assert.doesNotMatch(text, /200/);
    }
    assert.match(await get(port, { ca: CA }), /^HTTP\/1 GET/);
  }));
