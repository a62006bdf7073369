import assert from "node:assert/strict";
import { request } from "node:http";
import { readFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import type * as api from "../../../src/view/api.ts";
import { ViewServer } from "../../../src/view/server/view-server.ts";
import type { TraceStore } from "../../../src/store/trace-store.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";
import { incoming, madeUp, memoryStore } from "../../store/support.ts";
import { recordedStore, SANDBOX } from "../support.ts";

async function serving(
  store: TraceStore,
  run: (server: ViewServer, origin: string, cookie: string) => Promise<void>,
): Promise<void> {
  const server = await ViewServer.start({ store, address: { host: "127.0.0.1", port: 0 }, log: new RecordingLogger() });
  try {
    const { origin, hash } = new URL(server.url);
    const answer = await fetch(`${origin}/api/v1/session`, {
      method: "POST",
      body: JSON.stringify({ token: hash.slice("#token=".length) }),
    });
    assert.equal(answer.status, 200);
    await run(server, origin, (answer.headers.get("set-cookie") ?? "").split(";")[0] ?? "");
  } finally {
    await server.close();
    store.close();
  }
}

/** A status, as `fetch` would not let one ask. */
function statusOf(origin: string, path: string, headers: Record<string, string>, method = "GET"): Promise<number> {
  return new Promise((resolve, reject) => {
    request(`${origin}${path}`, { headers, method }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    }).on("error", reject).end();
  });
}

test("only whoever has the token gets anything", async () => {
  await serving(recordedStore(), async (_server, origin, cookie) => {
    const list = await fetch(`${origin}/api/v1/sandboxes`, { headers: { cookie } });
    assert.equal(((await list.json()) as api.SandboxList).total, 2);
    assert.equal((await fetch(`${origin}/api/v1/sandboxes`)).status, 401);
    assert.equal(await statusOf(origin, "/api/v1/sandboxes", { cookie: "ktf_view=wrong" }), 401);
    const wrong = await fetch(`${origin}/api/v1/session`, { method: "POST", body: '{"token":"wrong"}' });
    assert.equal(wrong.status, 401);
    assert.equal((await fetch(`${origin}/api/v1/session`, { method: "POST", body: "{" })).status, 400);
    assert.equal((await fetch(`${origin}/api/v1/session`, { method: "POST", body: "null" })).status, 401);
  });
});

test("another name for the address, or another site's page, is refused", async () => {
  await serving(recordedStore(), async (_server, origin, cookie) => {
    const path = "/api/v1/sandboxes";
    assert.equal(await statusOf(origin, path, { cookie, host: "evil.example" }), 421);
    assert.equal(await statusOf(origin, "/", { host: "evil.example:8690" }), 421);
    assert.equal(await statusOf(origin, path, { cookie, origin: "http://evil.example" }), 403);
    assert.equal(await statusOf(origin, path, { cookie, host: "localhost:1", origin: "http://localhost:1" }), 200);
  });
});

test("the page comes with a policy that lets it run its own script alone", async () => {
  await serving(recordedStore(), async (_server, origin) => {
    const page = await fetch(origin);
    const policy = page.headers.get("content-security-policy") ?? "";
    assert.match(policy, /^default-src 'none'; script-src 'sha256-[^']+'/);
    assert.ok(!policy.includes("unsafe"));
    assert.match(await page.text(), /<title>kata traces<\/title>/);
    assert.equal(page.headers.get("access-control-allow-origin"), null);
  });
});

test("an open page hears of changes", async () => {
  const store = memoryStore();
  await serving(store, async (server, origin, cookie) => {
    const stream = await fetch(`${origin}/api/v1/events`, { headers: { cookie } });
    const reader = stream.body?.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    const until = async (pattern: RegExp): Promise<void> => {
      while (!pattern.test(text)) text += (await reader?.read())?.value ?? "";
    };
    await until(/event: store\ndata: \{"bytes":\d+/);
    store.setRunning({ sandbox: SANDBOX });
    store.add(incoming("guest", [madeUp({ id: 1 }, { "kata.sandbox.id": SANDBOX })]));
    server.changed();
    await until(new RegExp(`event: sandbox\ndata: {"id":"${SANDBOX}","spans":1,"state":"running"}`));
    await reader?.cancel();
  });
});

test("a file is opened in the page, and a line that cannot be read costs only itself", async () => {
  await serving(memoryStore(), async (_server, origin, cookie) => {
    const fixture = new URL("../../fixtures/jaeger-thrift/go-session.expected.jsonl", import.meta.url);
    const lines = readFileSync(fixture, "utf8").trim().split("\n").map((line) => {
      const { resource: _, scope: _scope, traceFlags: _flags, isRemote: _remote, ...span } = JSON.parse(line);
      return JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] });
    });
    const body = [...lines.slice(0, 10), "not json", '{"resourceSpans":5}', ...lines.slice(10)].join("\n");
    const answer = await fetch(`${origin}/api/v1/open?label=mine`, { method: "POST", headers: { cookie }, body });
    const opened = await answer.json() as api.Opened;
    assert.equal(opened.spans, 34);
    assert.deepEqual(opened.problems, ["line 11: not JSON", 'line 12: "resourceSpans" is not an array of objects']);
    const list = await fetch(`${origin}/api/v1/sandboxes?label=mine`, { headers: { cookie } });
    assert.equal(((await list.json()) as api.SandboxList).total, 1);
  });
});

test("an exported page opens again with the same spans", async () => {
  await serving(recordedStore(), async (_server, origin, cookie) => {
    const page = await (await fetch(`${origin}/api/v1/sandboxes/${SANDBOX}.html`, { headers: { cookie } })).text();
    assert.ok(!page.includes("CreateSandboxRequest"), "requests hold what may be secret");
    await serving(memoryStore(), async (_other, otherOrigin, otherCookie) => {
      const answer = await fetch(`${otherOrigin}/api/v1/open`, {
        method: "POST",
        headers: { cookie: otherCookie },
        body: page,
      });
      assert.deepEqual(await answer.json(), { spans: 95, sandboxes: [SANDBOX], problems: [] });
    });
  });
});

test("a port in use is said, with who has it and the flag that moves it", async () => {
  const store = memoryStore();
  await serving(store, async (server) => {
    const port = Number(new URL(server.url).port);
    await assert.rejects(
      ViewServer.start({ store, address: { host: "127.0.0.1", port }, log: new RecordingLogger() }),
      {
        name: "ViewServerError",
        message: new RegExp(
          `^--view 127\\.0\\.0\\.1:${port}: \\S.* \\(process ${process.pid}\\) listens there: stop it`,
        ),
      },
    );
  });
});
