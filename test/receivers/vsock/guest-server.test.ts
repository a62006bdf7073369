import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { GuestServer, type Identify } from "../../../src/receivers/vsock/guest-server.ts";
import type { Source } from "../../../src/pipeline/source.ts";
import type { GuestReceiver } from "../../../src/receivers/vsock/listener.ts";
import { loadStreamServers, type Stream, type StreamHandlers } from "../../../src/receivers/vsock/stream-server.ts";
import { bytesOf, dial, Guests, options, send, turns } from "./guests.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

const SOURCE: Source = {
  kind: "guest",
  name: "vsock:3:1",
  account: "vsock:3",
  attributes: new Map([["kata.vsock.cid", 3]]),
};
const BYTES = new TextEncoder().encode("span");

/** A stream that keeps what is done to it. */
class FakeStream implements Stream {
  readonly calls: string[] = [];
  receiver: GuestReceiver | undefined;

  connect(handlers: StreamHandlers): void {
    this.receiver = handlers.accept(this, { cid: 3, port: 1 });
  }
  pause(): void {
    this.calls.push("pause");
  }
  resume(): void {
    this.calls.push("resume");
  }
  destroy(): void {
    this.calls.push("destroy");
    queueMicrotask(() => this.receiver?.end());
  }
}

function serve(identify: Identify) {
  const using = options();
  const guests = new Guests();
  const stream = new FakeStream();
  return {
    using,
    guests,
    stream,
    handlers: new GuestServer(using, identify).handlers(guests.accept),
  };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test("who is known at once is read at once", () => {
  const { guests, stream, handlers } = serve(() => SOURCE);
  stream.connect(handlers);
  assert.equal(guests.seen[0]?.connection.source, SOURCE);
  assert.deepEqual(stream.calls, []);
});

test("who is known later is not read before", async () => {
  const known = Promise.withResolvers<Source>();
  const { using, guests, stream, handlers } = serve(() => known.promise);
  stream.connect(handlers);
  await settled();
  assert.deepEqual(stream.calls, ["pause"]);
  assert.equal(guests.seen.length, 0);
  // It has its descriptor already.
  assert.equal(using.budget.used, 1);
  assert.throws(() => stream.receiver?.data(BYTES), /a paused guest was read/);
  known.resolve(SOURCE);
  await settled();
  assert.deepEqual(stream.calls, ["pause", "resume"]);
  assert.equal(guests.seen[0]?.connection.source, SOURCE);
  stream.receiver?.data(BYTES);
  stream.receiver?.end(new Error("reset"));
  assert.equal(bytesOf(guests.seen[0]), "span");
  assert.equal(guests.seen[0]?.ends[0]?.message, "the connection of vsock:3:1 broke: reset");
  assert.equal(using.budget.used, 0);
  assert.deepEqual(using.problems, []);
});

test("who is paused as it is taken in stays so until it is resumed", async () => {
  const { guests, stream, handlers } = serve(() => Promise.resolve(SOURCE));
  guests.onAccept = ({ connection }) => connection.pause();
  stream.connect(handlers);
  await settled();
  assert.deepEqual(stream.calls, ["pause", "pause"]);
  guests.seen[0]?.connection.resume();
  assert.deepEqual(stream.calls, ["pause", "pause", "resume"]);
});

test("who is gone before it is known is never taken in", async () => {
  const known = Promise.withResolvers<Source>();
  const { using, guests, stream, handlers } = serve(() => known.promise);
  stream.connect(handlers);
  stream.receiver?.end(new Error("reset"));
  known.resolve(SOURCE);
  await settled();
  assert.equal(guests.seen.length, 0);
  assert.equal(using.budget.used, 0);
  assert.deepEqual(stream.calls, ["pause"]);
});

test("who is refused as it is taken in is ended once, and not resumed", async () => {
  const { using, guests, stream, handlers } = serve(() => Promise.resolve(SOURCE));
  guests.onAccept = ({ connection }) => connection.destroy();
  stream.connect(handlers);
  await settled();
  assert.deepEqual(stream.calls, ["pause", "destroy"]);
  assert.deepEqual(guests.seen[0]?.ends, [undefined]);
  assert.equal(using.budget.used, 0);
});

test("a failure to take one in, or to tell who it is, ends that one", async () => {
  for (
    const identify of [() => Promise.reject(new Error("fault")), () => Promise.resolve(SOURCE)]
  ) {
    const { using, guests, stream, handlers } = serve(identify);
    guests.onAccept = () => {
      throw new Error("fault");
    };
    stream.connect(handlers);
    await settled();
    assert.deepEqual(stream.calls, ["pause", "destroy"]);
    assert.equal(using.budget.used, 0);
    assert.equal(using.problems[0], "a guest could not be taken in");
    assert.equal((using.problems[1] as Error).message, "fault");
  }
});

test("what a guest wrote before it was known comes after, also of one that has gone meanwhile", async () => {
  using directory = temporaryDirectory();
  const path = join(directory.path, "socket");
  const known = Promise.withResolvers<Source>();
  const using = options();
  const guests = new Guests();
  const server = new GuestServer(using, () => known.promise);
  const servers = await loadStreamServers();
  server.start(servers.unix(path, server.handlers(guests.accept)));
  const [gone, staying] = [await dial(path), await dial(path)];
  await send(gone, "gone");
  gone.destroy();
  await send(staying, "stay");
  await turns();
  assert.equal(guests.seen.length, 0);
  assert.equal(using.budget.used, 3);
  known.resolve(SOURCE);
  await guests.until(() => guests.ended === 1 && guests.seen.length === 2);
  await send(staying, "ing");
  staying.end();
  await guests.until(() => guests.ended === 2);
  assert.deepEqual(guests.seen.map(bytesOf).sort(), ["gone", "staying"]);
  assert.deepEqual(guests.seen.map(({ ends }) => ends), [[undefined], [undefined]]);
  await server.close();
  assert.equal(using.budget.used, 0);
});

test("one that is refused when it is known at last, over a real socket", async () => {
  using directory = temporaryDirectory();
  const path = join(directory.path, "socket");
  const known = Promise.withResolvers<Source>();
  const using = options();
  const guests = new Guests();
  guests.onAccept = ({ connection }) => connection.destroy();
  const server = new GuestServer(using, () => known.promise);
  const servers = await loadStreamServers();
  server.start(servers.unix(path, server.handlers(guests.accept)));
  const client = await dial(path);
  client.resume();
  await send(client, "x");
  await turns(2);
  known.resolve(SOURCE);
  await guests.until(() => guests.ended === 1);
  assert.deepEqual(guests.seen.map(({ ends }) => ends), [[undefined]]);
  assert.equal(bytesOf(guests.seen[0]), "");
  await server.close();
  client.destroy();
  assert.deepEqual(using.problems, []);
  assert.equal(using.budget.used, 0);
});
