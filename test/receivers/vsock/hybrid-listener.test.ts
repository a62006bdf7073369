import assert from "node:assert/strict";
import { existsSync, lstatSync, readdirSync, readlinkSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createListener } from "../../../src/receivers/vsock/create-listener.ts";
import { HybridListener } from "../../../src/receivers/vsock/hybrid-listener.ts";
import { bytesOf, dial, Guests, options, send, turns } from "./guests.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

const PORT = 10240;
const MODE = 0o660;

function hybrid(directory: string, using = options(), mode = MODE) {
  const settings = { kind: "hybrid", socketPath: join(directory, "clh.sock"), port: PORT, mode };
  return createListener([{ ...settings, kind: "hybrid" }], using);
}

test("guests come in, each with its own bytes and the sandbox's identity", async () => {
  using directory = temporaryDirectory();
  const guests = new Guests();
  const listener = hybrid(directory.path);
  await listener.listen(guests.accept);
  const [first, second] = [await dial(listener.address), await dial(listener.address)];
  await guests.until(() => guests.seen.length === 2);
  await send(first, "one");
  await guests.until(() => bytesOf(guests.seen[0]) === "one");
  await send(second, "two");
  first.end("!");
  second.end("?");
  await guests.until(() => guests.ended === 2);
  assert.deepEqual(guests.seen.map(bytesOf), ["one!", "two?"]);
  assert.deepEqual(guests.seen.map((guest) => guest.ends), [[undefined], [undefined]]);
  const id = directory.path.split("/").at(-1);
  assert.equal(guests.seen[0]?.connection.source.name, id);
  assert.deepEqual([...guests.seen[0]?.connection.source.attributes ?? []], [[
    "kata.sandbox.id",
    id,
  ]]);
  await listener.stopAccepting();
});

test("the socket lies beside the VMM's, with its mode, and nothing else does", async () => {
  using directory = temporaryDirectory();
  for (const mode of [0o660, 0o600, 0o777]) {
    const listener = hybrid(directory.path, options(), mode);
    await listener.listen(new Guests().accept);
    assert.equal(listener.address, join(directory.path, "clh.sock_10240"));
    assert.deepEqual(readdirSync(directory.path), ["clh.sock_10240"]);
    const file = lstatSync(listener.address);
    assert.equal(file.isSocket(), true);
    assert.equal(file.mode & 0o7777, mode);
    await listener.stopAccepting();
  }
});

test("a relative socket path is of the directory that the process started in", () => {
  const settings = { socketPath: "box/vm.sock", port: 1, mode: MODE };
  const listener = new HybridListener(settings, options());
  assert.equal(listener.address, join(process.cwd(), "box/vm.sock_1"));
});

test("what a guest writes before it is gone is not lost, paused or not", async () => {
  using directory = temporaryDirectory();
  const guests = new Guests();
  guests.onAccept = (guest) => guest.connection.pause();
  const listener = hybrid(directory.path);
  await listener.listen(guests.accept);
  const client = await dial(listener.address);
  // Below the least that a UNIX socket holds by default (net.core.wmem_default, 212992), so that it can be gone.
  const sent = "x".repeat(100_000);
  await send(client, sent);
  client.destroy();
  await guests.until(() => guests.seen.length === 1);
  await turns();
  assert.equal(bytesOf(guests.seen[0]), "");
  assert.deepEqual(guests.seen[0]?.ends, []);
  guests.seen[0]?.connection.resume();
  await guests.until(() => guests.ended === 1);
  assert.equal(bytesOf(guests.seen[0]), sent);
  await listener.stopAccepting();
});

test("a paused guest's bytes wait outside the process, and come in order", async () => {
  using directory = temporaryDirectory();
  const guests = new Guests();
  let pausedAt = 0;
  guests.onData = (guest) => {
    if (pausedAt === 0) {
      guest.connection.pause();
      pausedAt = bytesOf(guest).length;
    }
  };
  const listener = hybrid(directory.path);
  await listener.listen(guests.accept);
  const client = await dial(listener.address);
  const sent = Buffer.alloc(4_000_000);
  for (let at = 0; at < sent.length; at += 4) sent.writeUInt32LE(at, at);
  client.end(sent);
  await guests.until(() => pausedAt > 0);
  await turns();
  assert.equal(bytesOf(guests.seen[0]).length, pausedAt);
  assert(pausedAt < sent.length, `${pausedAt} bytes came at once`);
  guests.seen[0]?.connection.resume();
  await guests.until(() => guests.ended === 1);
  assert.equal(Buffer.concat(guests.seen[0]?.chunks ?? []).equals(sent), true);
  await listener.stopAccepting();
});

test("a paused guest does not hold up another", async () => {
  using directory = temporaryDirectory();
  const guests = new Guests();
  const listener = hybrid(directory.path);
  await listener.listen(guests.accept);
  const slow = await dial(listener.address);
  await guests.until(() => guests.seen.length === 1);
  guests.seen[0]?.connection.pause();
  await send(slow, "waits");
  const fast = await dial(listener.address);
  fast.end("goes on");
  await guests.until(() => guests.ended === 1);
  assert.equal(bytesOf(guests.seen[1]), "goes on");
  assert.equal(bytesOf(guests.seen[0]), "");
  slow.destroy();
  guests.seen[0]?.connection.resume();
  await guests.until(() => guests.ended === 2);
  await listener.stopAccepting();
});

test("a destroyed guest is ended once, without an error, and hands on nothing more", async () => {
  using directory = temporaryDirectory();
  const guests = new Guests();
  let endedWithin = false;
  guests.onData = (guest) => {
    guest.connection.destroy();
    guest.connection.destroy();
    endedWithin = guest.ends.length > 0;
  };
  const listener = hybrid(directory.path);
  await listener.listen(guests.accept);
  const client = await dial(listener.address);
  client.write("a".repeat(1_000_000));
  await guests.until(() => guests.ended === 1);
  await turns();
  assert.equal(guests.seen[0]?.chunks.length, 1);
  assert.deepEqual(guests.seen[0]?.ends, [undefined]);
  assert.equal(endedWithin, false);
  client.destroy();
  await listener.stopAccepting();
});

test("a guest that is refused within accept is ended all the same", async () => {
  using directory = temporaryDirectory();
  const guests = new Guests();
  guests.onAccept = (guest) => guest.connection.destroy();
  const using = options();
  const listener = hybrid(directory.path, using);
  await listener.listen(guests.accept);
  const client = await dial(listener.address);
  client.resume();
  await guests.until(() => guests.ended === 1);
  await turns(2);
  assert.deepEqual(guests.seen[0]?.ends, [undefined]);
  assert.equal(using.budget.used, 1);
  client.destroy();
  await listener.stopAccepting();
  assert.equal(using.budget.used, 0);
});

test("a receiver that throws ends its own guest, with the error as cause", async () => {
  using directory = temporaryDirectory();
  const guests = new Guests();
  const fault = new Error("fault");
  guests.onData = (guest) => {
    if (bytesOf(guest) === "bad") throw fault;
  };
  const listener = hybrid(directory.path);
  await listener.listen(guests.accept);
  const [bad, good] = [await dial(listener.address), await dial(listener.address)];
  await guests.until(() => guests.seen.length === 2);
  await send(bad, "bad");
  await guests.until(() => guests.ended === 1);
  const error = guests.seen[0]?.ends[0];
  assert.equal(error?.name, "ConnectionError");
  assert.match(error?.message ?? "", /^the connection of ktf-test-\S+ broke: fault$/);
  assert.equal(error?.cause, fault);
  good.end("good");
  await guests.until(() => guests.ended === 2);
  assert.equal(bytesOf(guests.seen[1]), "good");
  bad.destroy();
  await listener.stopAccepting();
});

test("after stopAccepting the socket is gone, and those connected stay", async () => {
  using directory = temporaryDirectory();
  const guests = new Guests();
  const listener = hybrid(directory.path);
  await listener.listen(guests.accept);
  const client = await dial(listener.address);
  await guests.until(() => guests.seen.length === 1);
  await listener.stopAccepting();
  listener.cleanUp();
  assert.equal(existsSync(listener.address), false);
  await assert.rejects(dial(listener.address));
  client.end("still here");
  await guests.until(() => guests.ended === 1);
  assert.equal(bytesOf(guests.seen[0]), "still here");
  await listener.stopAccepting();
});

test("a newer forwarder's socket at the same path is left alone", async () => {
  using directory = temporaryDirectory();
  const [older, newer] = [hybrid(directory.path), hybrid(directory.path)];
  await older.listen(new Guests().accept);
  unlinkSync(older.address);
  const guests = new Guests();
  await newer.listen(guests.accept);
  await older.stopAccepting();
  older.cleanUp();
  const client = await dial(newer.address);
  client.end("hello");
  await guests.until(() => guests.ended === 1);
  assert.equal(bytesOf(guests.seen[0]), "hello");
  await newer.stopAccepting();
  assert.deepEqual(readdirSync(directory.path), []);
});

test("out of descriptors, guests wait and come in as others leave; nothing is lost", async () => {
  using directory = temporaryDirectory();
  const guests = new Guests();
  // Half of it for guests: the listening socket and 7 connections.
  const using = options(16);
  const listener = hybrid(directory.path, using);
  await listener.listen(guests.accept);
  const clients = [];
  for (let client = 0; client < 40; client++) {
    const socket = await dial(listener.address);
    await send(socket, `guest ${client}`);
    clients.push(socket);
  }
  await guests.until(() => guests.seen.length >= 7);
  await turns();
  // Deno has an accept under way when the last one comes.
  assert([7, 8].includes(guests.seen.length), `${guests.seen.length} accepted`);
  assert.equal(using.problems.length, 1);
  for (const socket of clients) {
    const ended = guests.ended;
    socket.end();
    await guests.until(() => guests.ended > ended);
  }
  assert.equal(guests.seen.length, 40);
  const received = guests.seen.map(bytesOf).sort();
  assert.deepEqual(received, clients.map((_, client) => `guest ${client}`).sort());
  assert.equal(using.budget.used, 1);
  const late = await dial(listener.address);
  late.end("late");
  await guests.until(() => guests.ended === 41);
  assert.equal(bytesOf(guests.seen[40]), "late");
  assert.deepEqual(readdirSync(directory.path), ["clh.sock_10240"]);
  await listener.stopAccepting();
  assert.deepEqual(readdirSync(directory.path), []);
  assert.equal(using.problems.length, 1);
});

test("as many guests at once as the kernel lets wait find room", async () => {
  using directory = temporaryDirectory();
  const guests = new Guests();
  const settings = options();
  const listener = hybrid(directory.path, settings);
  await listener.listen(guests.accept);
  // Within one turn of the event loop, so that none is accepted in between; more than the 512 of Bun's own listener.
  const burst = 600;
  const dialled = Array.from({ length: burst }, () => dial(listener.address));
  const sockets = await Promise.all(dialled);
  await guests.until(() => guests.seen.length === burst);
  for (const socket of sockets) socket.destroy();
  await guests.until(() => guests.ended === burst);
  assert.deepEqual(settings.problems, []);
  await listener.stopAccepting();
});

test("a listener that stops while paused leaves no socket open", async () => {
  using directory = temporaryDirectory();
  const before = socketsOpen();
  const guests = new Guests();
  const listener = hybrid(directory.path, options(4));
  await listener.listen(guests.accept);
  const client = await dial(listener.address);
  await guests.until(() => guests.seen.length === 1);
  await listener.stopAccepting();
  client.end();
  await guests.until(() => guests.ended === 1);
  await turns();
  assert.deepEqual([...socketsOpen()].filter((socket) => !before.has(socket)), []);
});

/** The sockets that this process has open, as `socket:[inode]`. */
function socketsOpen(): Set<string> {
  const links = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      // The descriptor of the listing itself, which is closed by now.
      return "";
    }
  });
  return new Set(links.filter((link) => link.startsWith("socket:")));
}
