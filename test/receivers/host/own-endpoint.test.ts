import assert from "node:assert/strict";
import { hostname, networkInterfaces } from "node:os";
import { test } from "node:test";
import { isOwnEndpoint } from "../../../src/receivers/host/own-endpoint.ts";

const LOOPBACK = { host: "127.0.0.1", port: 4317 };
const ANY4 = { host: "0.0.0.0", port: 4317 };
const ANY6 = { host: "::", port: 4317 };

test("an endpoint that leads to a listener is found, however it is written", async () => {
  const own = [
    ["http://127.0.0.1:4317", LOOPBACK],
    ["http://localhost:4317", LOOPBACK],
    ["http://LOCALHOST:4317/v1/traces", LOOPBACK],
    ["https://localhost:4317", LOOPBACK],
    ["http://0.0.0.0:4317", LOOPBACK],
    ["http://127.0.0.1:4317", { host: "localhost", port: 4317 }],
    ["http://[::1]:4317", { host: "::1", port: 4317 }],
    ["http://[0:0:0:0:0:0:0:1]:4317", { host: "::1", port: 4317 }],
    ["http://[::ffff:127.0.0.1]:4317", LOOPBACK],
    ["http://localhost:4317", ANY4],
    ["http://127.0.0.9:4317", ANY4],
    ["http://[::1]:4317", ANY6],
    ["http://127.0.0.1:4317", ANY6],
    ["http://localhost", { host: "127.0.0.1", port: 80 }],
    ["https://localhost", { host: "127.0.0.1", port: 443 }],
  ] as const;
  for (const [url, bound] of own) assert.equal(await isOwnEndpoint(url, bound), true, `${url} ${bound.host}`);
  for (const { address, family } of Object.values(networkInterfaces()).flatMap((each) => each ?? [])) {
    const host = family === "IPv6" ? `[${address}]` : address;
    assert.equal(await isOwnEndpoint(`http://${host}:4317`, ANY6), true, address);
  }
  assert.equal(await isOwnEndpoint(`http://${hostname()}:4317`, ANY6), true, hostname());
});

test("any other is not", async () => {
  const others = [
    ["http://127.0.0.1:4318", LOOPBACK],
    ["http://127.0.0.2:4317", LOOPBACK],
    ["http://[::1]:4317", LOOPBACK],
    ["http://192.0.2.1:4317", ANY4],
    ["http://no.such.invalid:4317", ANY4],
    ["unix:///run/otel.sock", ANY4],
  ] as const;
  for (const [url, bound] of others) assert.equal(await isOwnEndpoint(url, bound), false, `${url} ${bound.host}`);
});
