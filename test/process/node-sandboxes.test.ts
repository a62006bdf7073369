import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { decodeResource } from "../decode/support/decode-span.ts";
import { type Forwarder, startForwarder } from "./support/forwarder.ts";
import { descriptorsOf, Node, residentMiB } from "./support/node.ts";
import { startStub } from "./support/pipeline.ts";
import { CLEAN } from "./support/process.ts";
import { spanId } from "../support/numbers.ts";
import { until } from "../support/until.ts";
import { guestLife } from "./support/sandbox.ts";
import { plainFrames, plainIds, spansOf, taken, takenIds } from "./support/spans.ts";
import { test } from "./support/test.ts";

/** How many connections to the collector may be open, at most. */
const CONNECTIONS = 8;
/** The time between two sandboxes, milliseconds, so that a thousand take ten seconds. */
const INTERVAL_MS = 10;

async function start(node: Node, url: string): Promise<Forwarder> {
  return await startForwarder(["--socket-path", node.template, "--otlp-endpoint", url]);
}

/** Starts `count` sandboxes one after another. Each sends one span with its own number. */
async function lives(node: Node, first: number, count: number): Promise<void> {
  const all: Promise<string | undefined>[] = [];
  for (let number = first; number < first + count; number++) {
    const life = node.life(`box-${number}`, plainFrames(number, 1));
    all.push(life.then(() => undefined, (error: Error) => `box-${number}: ${error.message}`));
    await sleep(INTERVAL_MS);
  }
  const failed = (await Promise.all(all)).filter((failure) => failure !== undefined);
  assert.deepEqual(failed, []);
}

test("a guest that connects as soon as its socket appears is never refused, in 1000 lives beside 500", async () => {
  await using stub = await startStub();
  using node = new Node();
  await using forwarder = await start(node, stub.url);
  const before = descriptorsOf(forwarder.pid);
  const idle = Array.from({ length: 500 }, (_, i) => `idle-${i}`);
  for (const id of idle) node.add(id);
  await until(() => idle.every((id) => node.listens(id)), "all 500 are listened for");
  await lives(node, 1, 300);
  await until(() => descriptorsOf(forwarder.pid) <= before + 500 + CONNECTIONS, "the sockets are closed");
  const memory = residentMiB(forwarder.pid);

  await lives(node, 301, 1000);
  await taken(stub, 1300);
  assert.deepEqual(takenIds(stub), plainIds(1, 1300));
  for (const { resource, spanId: id } of spansOf(stub)) {
    const sandbox = decodeResource(resource, "canonical")
      ?.find(({ key }) => key === "kata.sandbox.id")?.value;
    assert.deepEqual(sandbox, { stringValue: `box-${Number.parseInt(id, 16)}` });
  }
  await until(() => descriptorsOf(forwarder.pid) <= before + 500 + CONNECTIONS, "the sockets are closed");
  const growth = residentMiB(forwarder.pid) - memory;
  assert.ok(growth < 16, `${growth.toFixed(1)} MiB more after a thousand more sandboxes`);

  for (const id of idle) node.remove(id);
  await until(() => descriptorsOf(forwarder.pid) <= before + CONNECTIONS, "all sockets are closed");
  assert.deepEqual(forwarder.records.filter(({ level }) => level !== "INFO"), []);
  assert.deepEqual(await forwarder.stop(), CLEAN);
});

test("500 sandboxes start at once, each with a guest", async () => {
  await using stub = await startStub();
  using node = new Node();
  await using forwarder = await start(node, stub.url);
  const ids = Array.from({ length: 500 }, (_, i) => `box-${i}`);
  for (const id of ids) node.add(id);
  await until(() => ids.every((id) => node.listens(id)), "all are listened for");
  await Promise.all(ids.map((id, i) => guestLife(node.addressOf(id), plainFrames(1 + i, 1))));
  await taken(stub, 500);
  assert.deepEqual(takenIds(stub), plainIds(1, 500));
  assert.deepEqual(await forwarder.stop(), CLEAN);
  for (const id of ids) assert.equal(node.listens(id), false, id);
});

test("the sandboxes' directory may be missing at the start, go while guests are connected and come again", async () => {
  await using stub = await startStub();
  using node = new Node();
  const [first, second] = [spanId(1), spanId(2)];
  using late = new Node();
  late[Symbol.dispose]();
  await using forwarder = await startForwarder([
    ...["--socket-path", node.template, "--socket-path", late.template],
    ...["--otlp-endpoint", stub.url],
  ]);
  node.add("old");
  await until(() => node.listens("old"), "a socket");
  const life = guestLife(node.addressOf("old"), plainFrames(1, 1));
  await forwarder.record("guest connected");
  node.remove("../firecracker");
  node.add("new");
  await until(() => node.listens("new"), "a socket in the new directory");
  await life;
  late.add("box");
  await until(() => late.listens("box"), "a socket where nothing was at the start");
  await guestLife(late.addressOf("box"), plainFrames(2, 1));
  await taken(stub, 2);
  assert.deepEqual(takenIds(stub), [first, second]);
  assert.deepEqual(await forwarder.stop(), CLEAN);
  late[Symbol.dispose]();
});
