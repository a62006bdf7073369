import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import process from "node:process";
import type * as api from "../../src/view/api.ts";
import { REAL_STREAMS, streamBytes } from "../decode/support/recorded-streams.ts";
import { until } from "../support/until.ts";
import { startForwarder } from "./support/forwarder.ts";
import { Pipeline } from "./support/pipeline.ts";
import { Page, viewerUrl } from "./support/page.ts";
import { CLEAN, runToEnd } from "./support/process.ts";
import { Guest, guestLife, Sandbox } from "./support/sandbox.ts";
import { taken } from "./support/spans.ts";
import { test } from "./support/test.ts";
import { supervisorOf, viewerOf } from "./support/viewer-process.ts";

const SESSION = REAL_STREAMS.find(({ file }) => file.includes("4.1.0-session.json"));
/** Without pods, for which the forwarder may start another process. */
const VIEW = ["--view", "127.0.0.1:0", "--kubernetes-metadata", "off"];

/** The bodies of a runtime's recorded requests. */
function* bodiesOf(name: string): Generator<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(readFileSync(new URL(`../fixtures/jaeger-thrift/${name}.bodies`, import.meta.url)));
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < bytes.length;) {
    const length = Number(view.getBigUint64(at));
    yield bytes.slice(at + 8, at + 8 + length);
    at += 8 + length;
  }
}

test("view shows a sandbox while it runs and after it has ended", async () => {
  assert.ok(SESSION !== undefined);
  using sandbox = new Sandbox();
  await using forwarder = await startForwarder(["view", ...VIEW, "--socket-path", sandbox.socketPath]);
  const page = await Page.open(await viewerUrl(forwarder));
  const guest = await Guest.connect(sandbox.address);
  await guest.write(streamBytes(SESSION));
  const running = await page.sandboxes(({ sandboxes }) => sandboxes[0]?.spans === 95);
  assert.deepEqual([running.sandboxes[0]?.id, running.sandboxes[0]?.state], [sandbox.id, "running"]);
  assert.equal(running.store.running, 1);
  await guest.end();
  const ended = await page.sandboxes(({ sandboxes }) => sandboxes[0]?.state === "ended");
  assert.equal(ended.sandboxes[0]?.start, 5_814_715_720);
  const detail = await page.get<api.SandboxDetail>(`/sandboxes/${sandbox.id}`);
  assert.equal(detail.columns.id.length, 95);
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

test("view joins what runtimes send: one sandbox, one tree", async () => {
  using sandbox = new Sandbox();
  await using forwarder = await startForwarder([
    "view",
    ...VIEW,
    ...["--socket-path", sandbox.socketPath],
    ...["--jaeger-listen", "127.0.0.1:0"],
  ]);
  const page = await Page.open(await viewerUrl(forwarder));
  const { address } = await forwarder.record("listening to the host");
  for (const body of bodiesOf("go-session")) {
    const headers = { "content-type": "application/x-thrift" };
    const answer = await fetch(`http://${address}/api/traces`, { method: "POST", headers, body });
    assert.equal(answer.status, 202);
  }
  const { sandboxes } = await page.sandboxes((list) => list.sandboxes.some(({ spans }) => spans === 34));
  const [runtime] = sandboxes;
  assert.ok(runtime !== undefined);
  const { columns, state } = await page.get<api.SandboxDetail>(`/sandboxes/${runtime.id}`);
  assert.equal(columns.parent.filter((row) => row < 0).length, 1);
  assert.deepEqual(new Set(columns.side), new Set(["runtime"]));
  assert.equal(state, "ended");
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

test("a viewer that is killed comes back in its place, and forwarding is not affected", async () => {
  assert.ok(SESSION !== undefined);
  await using pipeline = await Pipeline.start([...VIEW, "--metrics", "127.0.0.1:0"]);
  const { sandbox, stub, forwarder } = pipeline;
  const url = await viewerUrl(forwarder);
  const page = await Page.open(url);
  const session = streamBytes(SESSION);
  const middle = Math.floor(session.length / 2);
  using guest = await Guest.connect(sandbox.address);
  await guest.write(session.subarray(0, middle));
  const before = await page.sandboxes(({ sandboxes }) => sandboxes[0]?.state === "running" && sandboxes[0].spans > 0);
  process.kill(viewerOf(forwarder), "SIGKILL");
  await forwarder.record(/^the viewer has ended: it is started again/);
  const { url: again } = await forwarder.record(/^the viewer serves its page again/);
  assert.equal(again, url);
  // The page's session, the spans that were stored, and who is connected are as they were.
  const after = await page.sandboxes(({ sandboxes }) => sandboxes[0]?.state === "running");
  assert.ok((after.sandboxes[0]?.spans ?? 0) >= (before.sandboxes[0]?.spans ?? 0));
  await guest.write(session.subarray(middle));
  await taken(stub, 95);
  await guest.end();
  const ended = await page.sandboxes(({ sandboxes }) => sandboxes[0]?.state === "ended");
  // What the killed process had read and not stored is lost to the page alone.
  assert.ok((ended.sandboxes[0]?.spans ?? 0) > (after.sandboxes[0]?.spans ?? 0));
  assert.equal(await forwarder.metric("spans_dropped_total", "collector"), 0);
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

test("when the forwarder is killed and the viewer cannot start any more, its supervisor ends too", async () => {
  using files = new Sandbox();
  await using pipeline = await Pipeline.start([...VIEW, "--store", files.path("store")]);
  const { forwarder } = pipeline;
  await viewerUrl(forwarder);
  const supervisor = supervisorOf(forwarder);
  const viewer = viewerOf(forwarder);
  // What is no file cannot be opened as a store.
  for (const suffix of ["", "-wal", "-shm"]) rmSync(files.path(`store${suffix}`), { force: true });
  mkdirSync(files.path("store"));
  process.kill(forwarder.child.pid as number, "SIGKILL");
  try {
    process.kill(viewer, "SIGKILL");
  } catch (error) {
    // It has ended by itself, because the forwarder did.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
  await until(() => !existsSync(`/proc/${supervisor}`), "the supervisor has ended");
});

test("without its supervisor the viewer stays away; forwarding goes on, and the spans are counted", async () => {
  assert.ok(SESSION !== undefined);
  await using pipeline = await Pipeline.start([...VIEW, "--metrics", "127.0.0.1:0"]);
  const { sandbox, stub, forwarder } = pipeline;
  await viewerUrl(forwarder);
  process.kill(supervisorOf(forwarder), "SIGKILL");
  await forwarder.record(/^the viewer's supervisor has ended/);
  await guestLife(sandbox.address, streamBytes(SESSION));
  await taken(stub, 95);
  await until(async () => await forwarder.metric("spans_dropped_total", "viewer-gone") === 95, "they are counted");
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

test("a viewer that hangs loses only its own oldest spans, which are counted", async () => {
  assert.ok(SESSION !== undefined);
  await using pipeline = await Pipeline.start([...VIEW, "--metrics", "127.0.0.1:0"]);
  const { sandbox, stub, forwarder } = pipeline;
  await viewerUrl(forwarder);
  const viewer = viewerOf(forwarder);
  process.kill(viewer, "SIGSTOP");
  // More than fits into the pipe and the queue for it.
  const session = streamBytes(SESSION);
  const lives = Math.ceil((40 * 1024 * 1024) / session.length);
  try {
    for (let i = 0; i < lives; i++) await guestLife(sandbox.address, session);
    // The collector gets the same spans again and again, without a loss.
    await until(async () => await forwarder.metric("spans_forwarded_total", "collector") === lives * 95, "all arrive");
    assert.equal(stub.taken.size, 95);
    assert.ok(await forwarder.metric("spans_dropped_total", "store") > 0);
  } finally {
    // Even if this fails, because it has the forwarder's standard error open.
    process.kill(viewer, "SIGCONT");
  }
  await until(async () => await forwarder.metric("spans_held", "store") === 0, "the viewer has caught up");
  const store = await forwarder.metric("spans_forwarded_total", "store") +
    await forwarder.metric("spans_dropped_total", "store");
  assert.equal(store, lives * 95);
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

test("a damaged store is moved away and a new one begun; forwarding is not affected", async () => {
  assert.ok(SESSION !== undefined);
  using files = new Sandbox();
  const store = files.path("store");
  const args = [...VIEW, "--store", store];
  {
    await using pipeline = await Pipeline.start(args);
    await guestLife(pipeline.sandbox.address, streamBytes(SESSION));
    await taken(pipeline.stub, 95);
    assert.deepEqual(await pipeline.forwarder.stop(), CLEAN);
  }
  const bytes = readFileSync(store);
  // Everything but the first page, which says that it is a store.
  writeFileSync(store, bytes.fill(0xa5, 4096));
  await using pipeline = await Pipeline.start(args);
  const { error } = await pipeline.forwarder.record(
    /^the trace store is damaged: it is now .*\.damaged, and a new one/,
  );
  assert.match(String(error), /malformed/);
  const page = await Page.open(await viewerUrl(pipeline.forwarder));
  await guestLife(pipeline.sandbox.address, streamBytes(SESSION));
  await taken(pipeline.stub, 95);
  const { sandboxes } = await page.sandboxes((list) => list.sandboxes[0]?.spans === 95);
  assert.equal(sandboxes.length, 1);
  assert.equal(readFileSync(`${store}.damaged`).length, bytes.length);
  assert.deepEqual(await pipeline.forwarder.stop(), CLEAN);
});

test("--record keeps what is forwarded, and view reads it", async () => {
  assert.ok(SESSION !== undefined);
  using other = new Sandbox();
  const file = other.path("spans.jsonl");
  await using pipeline = await Pipeline.start(["--record", file]);
  await guestLife(pipeline.sandbox.address, streamBytes(SESSION));
  await taken(pipeline.stub, 95);
  assert.deepEqual(await pipeline.forwarder.stop(), CLEAN);
  const { stdout, code } = await runToEnd(["view", file, "--terminal"]);
  assert.equal(code, 0);
  const [head, about, phases, ...spans] = stdout.trim().split("\n");
  assert.equal(head, `sandbox ${pipeline.sandbox.id}`);
  assert.equal(about, "ended, 95 spans in 27 traces");
  assert.match(phases ?? "", /^5\.81 s to start: /);
  assert.equal(spans.length, 95);
});
