import assert from "node:assert/strict";
import { linkSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";
import { loadLibc } from "../../../ffi/libc.ts";
import { loadStreamServers, type Stream, type StreamServer } from "../../../src/receivers/vsock/stream-server.ts";
import { dial, openDescriptors, turns } from "./guests.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

/** Waits until so many files are open: runtimes close them in their own time. */
async function filesBecome(expected: number): Promise<void> {
  while (openDescriptors() !== expected) await turns(1);
}

test("a server takes one descriptor, paused or not, however often it has been paused", async () => {
  using directory = temporaryDirectory();
  // A runtime removes the name that it bound when it closes a listener of it.
  const [bound, path] = [join(directory.path, "bound"), join(directory.path, "socket")];
  const servers = await loadStreamServers();
  const problems: unknown[] = [];
  let accepted = 0;
  const handlers = {
    accept: () => {
      accepted++;
      return { data: () => {}, end: () => {} };
    },
    problem: (message: string, error: unknown) => void problems.push(message, error),
  };
  const before = openDescriptors();
  const server: StreamServer = servers.unix(bound, handlers);
  linkSync(bound, path);
  const listening = before + 1;
  await filesBecome(listening);
  for (let round = 1; round <= 3; round++) {
    server.pause();
    server.pause();
    await filesBecome(listening);
    const waiting = await dial(path);
    assert.equal(server.resume(), true);
    assert.equal(server.resume(), true);
    while (accepted < round) await turns(1);
    waiting.end();
    waiting.resume();
    await filesBecome(listening);
  }
  server.pause();
  await server.close();
  await filesBecome(before);
  assert.deepEqual(problems, []);
});

test("many connections that wait are accepted in several turns of the event loop", async () => {
  using directory = temporaryDirectory();
  const path = join(directory.path, "bound");
  const servers = await loadStreamServers();
  const inTurns = [0];
  const handlers = {
    accept: () => {
      const count = inTurns.pop() ?? 0;
      if (count === 0) setImmediate(() => inTurns.push(0));
      inTurns.push(count + 1);
      return { data: () => {}, end: () => {} };
    },
    problem: (_: string, error: unknown) => assert.fail(String(error)),
  };
  const server = servers.unix(path, handlers);
  linkSync(path, join(directory.path, "socket"));
  server.pause();
  const waiting = await Promise.all(Array.from({ length: 300 }, () => dial(join(directory.path, "socket"))));
  assert.equal(server.resume(), true);
  const accepted = (): number => inTurns.reduce((sum, count) => sum + count, 0);
  while (accepted() < waiting.length) await turns(1);
  // Deno ends a turn by itself; Bun would accept all of them in one.
  if ("Bun" in globalThis) assert.ok(Math.max(...inTurns) <= 64, String(inTurns));
  assert.equal(accepted(), waiting.length);
  for (const socket of waiting) socket.destroy();
  await server.close();
});

/** socket(2) */
const AF_UNIX = 1, SOCK_STREAM = 1, SOCK_CLOEXEC = 0o2000000, MSG_DONTWAIT = 0x40;

const { adoption } = await loadStreamServers();
const NEEDS_ADOPTION = adoption === undefined ? { skip: "Deno cannot go on with a descriptor" } : {};

/** What has come of a connection. */
class Received {
  text = "";
  ended = false;
  stream: Stream | undefined;
  readonly problems: unknown[] = [];
  readonly handlers = {
    accept: (stream: Stream) => {
      this.stream = stream;
      return {
        data: (chunk: Uint8Array) => void (this.text += new TextDecoder().decode(chunk)),
        end: () => void (this.ended = true),
      };
    },
    problem: (message: string, error: unknown) => void this.problems.push(message, error),
  };
}

test("an adopted connection gives what came before it was adopted, and all that follows", NEEDS_ADOPTION, async () => {
  const libc = await loadLibc();
  const [guest, host] = libc.socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const write = (text: string) => libc.send(guest, new TextEncoder().encode(text), MSG_DONTWAIT);
  write("before ");
  const received = new Received();
  await adoption?.connection(host, received.handlers);
  assert.equal(received.stream?.descriptor, host);
  while (received.text !== "before ") await turns(1);
  received.stream?.pause();
  write("later");
  await sleep(20);
  assert.equal(received.text, "before ");
  received.stream?.resume();
  libc.close(guest);
  while (!received.ended) await turns(1);
  assert.equal(received.text, "before later");
  assert.deepEqual(received.problems, []);
});

test("an adopted connection whose guest has left still gives what that wrote", NEEDS_ADOPTION, async () => {
  const libc = await loadLibc();
  const [guest, host] = libc.socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  libc.send(guest, new TextEncoder().encode("last words"), MSG_DONTWAIT);
  libc.close(guest);
  const received = new Received();
  await adoption?.connection(host, received.handlers);
  while (!received.ended) await turns(1);
  assert.equal(received.text, "last words");
});

test("a descriptor that is no connection is refused and closed", NEEDS_ADOPTION, async () => {
  const libc = await loadLibc();
  const file = libc.memfdCreate("x", 0);
  const before = openDescriptors();
  await assert.rejects(async () => await adoption?.connection(file, new Received().handlers));
  await filesBecome(before - 1);
});

test("an adopted listening socket accepts who waits in its backlog", NEEDS_ADOPTION, async () => {
  using directory = temporaryDirectory();
  const [bound, path] = [join(directory.path, "bound"), join(directory.path, "socket")];
  const libc = await loadLibc();
  const servers = await loadStreamServers();
  const before = openDescriptors();
  const first = servers.unix(bound, new Received().handlers);
  linkSync(bound, path);
  const duplicate = libc.duplicate(first.descriptor as number);
  first.pause();
  const waiting = await dial(path);
  await first.close();
  const received = new Received();
  const second = adoption?.listener(duplicate, received.handlers);
  assert.equal(second?.descriptor, duplicate);
  waiting.end("hello");
  waiting.resume();
  while (!received.ended) await turns(1);
  assert.equal(received.text, "hello");
  await second?.close();
  await filesBecome(before);
});
