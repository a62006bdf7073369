import assert from "node:assert/strict";
import { existsSync, lstatSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { adoptGuests } from "../../../src/receivers/vsock/adopted-guests.ts";
import { createListener } from "../../../src/receivers/vsock/create-listener.ts";
import { GuestServer, type ListenerOptions } from "../../../src/receivers/vsock/guest-server.ts";
import { vsockSource } from "../../../src/receivers/vsock/identity.ts";
import type { GuestConnection, GuestReceiver } from "../../../src/receivers/vsock/listener.ts";
import { loadStreamServers } from "../../../src/receivers/vsock/stream-server.ts";
import type { ListenSettings } from "../../../src/pipeline/settings.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";
import { until } from "../../support/until.ts";
import { FakeKeeper } from "./fake-keeper.ts";
import { bytesOf, dial, Guests, options, send } from "./guests.ts";

const { adoption } = await loadStreamServers();
const NEEDS_ADOPTION = adoption === undefined ? { skip: "Deno cannot go on with a descriptor" } : {};

/** One process: its listener and the guests that it reads, until it hands them over. */
class Process {
  readonly keeper: FakeKeeper;
  readonly guests = new Guests();
  readonly listener;
  readonly using: ReturnType<typeof options> & ListenerOptions;
  #isOver = false;

  constructor(listen: ListenSettings, keeper: FakeKeeper) {
    this.keeper = keeper;
    this.using = { ...options(), keeper };
    this.listener = createListener([listen], this.using);
  }

  readonly #accept = (connection: GuestConnection): GuestReceiver => {
    const guest = this.guests.accept(connection);
    // A process that has ended sees nothing any more.
    return {
      data: (chunk) => this.#isOver ? undefined : guest.data(chunk),
      end: (error) => this.#isOver ? undefined : guest.end(error),
    };
  };

  async start(unread: ReadonlyMap<string, Uint8Array> = new Map()): Promise<number> {
    await this.listener.listen(this.#accept);
    await this.listener.begin?.();
    return await adoptGuests(this.keeper, unread, this.using, this.#accept);
  }

  /** Ends without reading anything more; the next process's keeper. */
  async handOver(): Promise<FakeKeeper> {
    this.listener.handOver();
    for (const { connection } of this.guests.seen) connection.pause();
    const next = this.keeper.next();
    this.keeper.isFrozen = this.#isOver = true;
    await this.listener.stopAccepting();
    for (const { connection } of this.guests.seen) connection.destroy();
    return next;
  }
}

function places(directory: string): { name: string; address: string; listen: ListenSettings }[] {
  const common = { port: 7, mode: 0o660 };
  mkdirSync(join(directory, "box"));
  return [
    {
      name: "one path",
      address: join(directory, "vm.sock_7"),
      listen: { kind: "hybrid", socketPath: join(directory, "vm.sock"), ...common },
    },
    {
      name: "a template",
      address: join(directory, "box", "vm.sock_7"),
      listen: { kind: "template", directory, between: [], name: "vm.sock", ...common },
    },
  ];
}

for (const which of [0, 1]) {
  test(
    `guests and sockets of ${["one path", "a template"][which]} are handed over from process to process`,
    NEEDS_ADOPTION,
    async () => {
      using directory = temporaryDirectory();
      const { address, listen } = places(directory.path)[which] ?? assert.fail();
      const first = new Process(listen, new FakeKeeper());
      assert.equal(await first.start(), 0);
      const inode = lstatSync(address).ino;
      const client = await dial(address);
      await send(client, "one ");
      await until(() => bytesOf(first.guests.seen[0]) === "one ");
      const { source, keptAs } = first.guests.seen[0]?.connection ?? assert.fail();
      assert.equal(first.keeper.owners.get(keptAs ?? ""), source.account);
      const keeper = await first.handOver();
      // Nobody reads and nobody accepts at the moment.
      await send(client, "two ");
      const waiting = await dial(address);
      await send(waiting, "new");
      const second = new Process({ ...listen, mode: 0o600 } as ListenSettings, keeper);
      assert.equal(await second.start(new Map([[keptAs ?? "", new TextEncoder().encode("unread ")]])), 1);
      client.end("three");
      await until(() => second.guests.ended === 1 && second.guests.seen.length === 2);
      await until(() => second.guests.seen.some((guest) => bytesOf(guest) === "new"));
      const adopted = second.guests.seen.find(({ connection }) => connection.keptAs === keptAs);
      assert.equal(bytesOf(adopted), "unread two three");
      assert.deepEqual(adopted?.connection.source, source);
      assert.deepEqual([lstatSync(address).ino, lstatSync(address).mode & 0o777], [inode, 0o600]);
      // What is kept is the listening socket and the guest that is still there.
      assert.equal(keeper.kept.size, 2);
      waiting.destroy();
      await until(() => keeper.kept.size === 1);
      await second.listener.stopAccepting();
      assert.deepEqual([keeper.kept.size, existsSync(address)], [0, false]);
      assert.deepEqual([...first.using.problems, ...second.using.problems], []);
    },
  );
}

test("many guests are gone on with, some of them in each turn", NEEDS_ADOPTION, async () => {
  using directory = temporaryDirectory();
  const { address, listen } = places(directory.path)[0] ?? assert.fail();
  const first = new Process(listen, new FakeKeeper());
  await first.start();
  const clients = await Promise.all(Array.from({ length: 150 }, () => dial(address)));
  await until(() => first.guests.seen.length === clients.length);
  const second = new Process(listen, await first.handOver());
  let guests = 0;
  void second.start().then((count) => guests = count);
  for (let seen = 0; guests === 0;) {
    await nextTurn();
    assert.ok(second.guests.seen.length - seen <= 64, `${second.guests.seen.length} after ${seen}`);
    seen = second.guests.seen.length;
  }
  assert.deepEqual([guests, second.guests.seen.length], [150, 150]);
  for (const client of clients) client.end("end");
  await until(() => second.guests.ended === 150);
  assert.ok(second.guests.seen.every((guest) => bytesOf(guest) === "end"));
  await second.listener.stopAccepting();
});

test("a socket that is not kept is removed as at any other stop", async () => {
  using directory = temporaryDirectory();
  for (const { address, listen } of places(directory.path)) {
    const listener = createListener([listen], options());
    await listener.listen(new Guests().accept);
    await listener.begin?.();
    assert.equal(existsSync(address), true);
    listener.handOver();
    assert.equal(existsSync(address), false);
    await listener.stopAccepting();
  }
});

test("what nothing uses any more is closed, and an unreadable name costs only itself", NEEDS_ADOPTION, async () => {
  using directory = temporaryDirectory();
  const [{ address, listen } = assert.fail()] = places(directory.path);
  const first = new Process(listen, new FakeKeeper());
  await first.start();
  const client = await dial(address);
  client.resume();
  await until(() => first.guests.seen.length === 1);
  const keeper = await first.handOver();
  const elsewhere: ListenSettings = { kind: "hybrid", socketPath: join(directory.path, "other"), port: 7, mode: 0o600 };
  const second = new Process(elsewhere, keeper);
  // The guest is read on, the socket where it came in is not listened at any more.
  assert.equal(await second.start(), 1);
  assert.equal([...keeper.kept.keys()].filter((name) => name.startsWith("listen|unix|")).length, 1);
  await assert.rejects(dial(address), { code: "ECONNREFUSED" });
  client.end("bye");
  await until(() => second.guests.ended === 1);
  assert.equal(bytesOf(second.guests.seen[0]), "bye");
  await second.listener.stopAccepting();
});

test("what was read of a guest that has left since is gone on with too", NEEDS_ADOPTION, async () => {
  const keeper = new FakeKeeper();
  const guests = new Guests();
  const ended: string[] = [];
  const reads = {
    of: (name: string) => ({
      bytes: 1,
      receive: () => undefined,
      read: () => assert.fail("it is kept already"),
      processed: () => {},
      end: () => ended.push(name),
      leave: () => {},
    }),
  };
  const unread = new Map([
    ["guest|u1|box|3|vsock:3|guest:{}", new TextEncoder().encode("left over")],
    ["something else", Uint8Array.of(1)],
  ]);
  assert.equal(await adoptGuests(keeper, unread, { ...options(), keeper, reads }, guests.accept), 0);
  assert.equal(guests.seen.length, 1);
  const [guest] = guests.seen;
  assert.equal(bytesOf(guest), "left over");
  assert.deepEqual(guest?.ends, [undefined]);
  assert.equal(guest?.connection.source.attributes.get("kata.sandbox.id"), "box");
  // Whose it was cannot be known.
  assert.deepEqual(ended, ["something else"]);
});

test("a guest whose sandbox is still being looked for is kept as well", NEEDS_ADOPTION, () => {
  const keeper = new FakeKeeper();
  const using = { ...options(), keeper };
  const server = new GuestServer(using, () => new Promise(() => {}));
  server.start(
    { descriptor: 0, pause: () => {}, resume: () => true, close: () => Promise.resolve() },
    "listen|vsock|1|2",
  );
  const stream = { descriptor: 0, pause: () => {}, resume: () => {}, destroy: () => {} };
  server.handlers(new Guests().accept).accept(stream, { cid: 3, port: 1026 });
  assert.deepEqual([...keeper.owners.values()], ["listen|vsock|1|2"]);
  assert.equal(server.handOver(), true);
  assert.deepEqual([...keeper.owners.values()], ["listen|vsock|1|2", vsockSource({ cid: 3, port: 1026 }).account]);
  keeper[Symbol.dispose]();
});
