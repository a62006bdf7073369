import assert from "node:assert/strict";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import type { ListenerOptions } from "../../../src/receivers/vsock/guest-server.ts";
import { HybridListener } from "../../../src/receivers/vsock/hybrid-listener.ts";
import type { TemplateSettings } from "../../../src/receivers/vsock/sandbox-template.ts";
import { TemplateListener } from "../../../src/receivers/vsock/template-listener.ts";
import { NEEDS_ROOT } from "../../support/root.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";
import { bytesOf, dial, Guests, inotifies, openDescriptors, options, send, turns } from "./guests.ts";

const SOCKET = "vm.sock_7";

/** A node: the sandboxes' directory (which is not made), a listener for them, and what it takes in and tells. */
class Node implements AsyncDisposable {
  readonly #temporary = temporaryDirectory();
  readonly directory = join(this.#temporary.path, "vc", "vm");
  readonly guests = new Guests();
  readonly using: ListenerOptions & { readonly problems: (string | Error)[] };
  readonly listener: TemplateListener;

  constructor(settings: Partial<TemplateSettings> = {}, more: Partial<ListenerOptions> = {}) {
    // Descriptors for a socket and a guest each of hundreds of sandboxes.
    this.using = { ...options(4096), ...more };
    this.listener = new TemplateListener(
      {
        directory: this.directory,
        between: [],
        name: "vm.sock",
        port: 7,
        mode: 0o660,
        ...settings,
      },
      this.using,
    );
  }

  get base(): string {
    return this.#temporary.path;
  }

  path(...names: string[]): string {
    return join(this.directory, ...names);
  }

  /** Makes a directory in the sandboxes', with those above it. */
  make(...names: string[]): string {
    const path = this.path(...names);
    mkdirSync(path, { recursive: true, mode: 0o750 });
    return path;
  }

  async start(): Promise<void> {
    await this.listener.listen(this.guests.accept);
    this.listener.begin();
  }

  /** Waits until it listens in a directory. */
  async listens(...names: string[]): Promise<string> {
    const socket = this.path(...names, SOCKET);
    while (!existsSync(socket)) await turns(1);
    return socket;
  }

  /** The problems that it told, without repetitions of their causes. */
  get told(): string[] {
    return this.using.problems.map((problem) => typeof problem === "string" ? problem : problem.message);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.listener.stopAccepting();
    this.#temporary[Symbol.dispose]();
  }
}

/** Connects, sends, and ends. */
async function say(socket: string, text: string): Promise<void> {
  const client = await dial(socket);
  await send(client, text);
  client.end();
  client.resume();
}

test("the address is the template with the port", () => {
  const address = (settings: Partial<TemplateSettings>) =>
    new TemplateListener(
      { directory: "/run/vc/vm", between: [], name: "clh.sock", port: 1, mode: 0, ...settings },
      options(),
    ).address;
  assert.equal(address({}), "/run/vc/vm/{ID}/clh.sock_1");
  assert.equal(address({ between: ["root", "x"] }), "/run/vc/vm/{ID}/root/x/clh.sock_1");
  assert.equal(address({ directory: "/" }), "/{ID}/clh.sock_1");
});

test("sandboxes that are there at the start, and each that comes, with its own identity", async () => {
  await using node = new Node({ mode: 0o600 });
  node.make("first");
  node.make("second");
  await node.start();
  // Before anything else happens.
  for (const id of ["first", "second"]) {
    assert.deepEqual(readdirSync(node.path(id)), [SOCKET]);
    assert.equal(lstatSync(node.path(id, SOCKET)).mode & 0o7777, 0o600);
  }
  node.make("third");
  await say(await node.listens("third"), "3");
  await say(node.path("first", SOCKET), "1");
  await node.guests.until(() => node.guests.ended === 2);
  const seen = node.guests.seen.map((guest) => [
    guest.connection.source.name,
    ...guest.connection.source.attributes.values(),
    bytesOf(guest),
  ]);
  assert.deepEqual(seen.sort(), [["first", "first", "1"], ["third", "third", "3"]]);
  assert.deepEqual(
    [...node.guests.seen[0]?.connection.source.attributes.keys() ?? []],
    ["kata.sandbox.id"],
  );
  assert.deepEqual(node.told, []);
});

test("nothing is listened in before the start is done", async () => {
  await using node = new Node();
  node.make("early");
  await node.listener.listen(node.guests.accept);
  node.make("later");
  await turns();
  assert.deepEqual(readdirSync(node.path("early")), []);
  node.listener.begin();
  await node.listens("early");
  await node.listens("later");
});

test("directories between come later, go and come again", async () => {
  await using node = new Node({ between: ["root", "run"] });
  node.make("box");
  await node.start();
  await turns();
  node.make("box", "root");
  await turns();
  node.make("box", "root", "run");
  await node.listens("box", "root", "run");
  rmSync(node.path("box", "root"), { recursive: true });
  await turns();
  node.make("box", "root", "run");
  await say(await node.listens("box", "root", "run"), "again");
  await node.guests.until(() => node.guests.ended === 1);
  assert.equal(bytesOf(node.guests.seen[0]), "again");
  assert.equal(node.guests.seen[0]?.connection.source.name, "box");
  assert.deepEqual(node.told, []);
});

test("a sandbox goes: its guests stay to their end, its socket is closed, its name may be used again", async () => {
  const notices: string[] = [];
  const onNotice = (message: string, fields: Readonly<Record<string, string>>) =>
    notices.push(`${message}: ${fields["sandbox"]}`);
  await using node = new Node({}, { onNotice });
  node.make("box");
  await node.start();
  const client = await dial(node.path("box", SOCKET));
  await node.guests.until(() => node.guests.seen.length === 1);
  const used = node.using.budget.used;
  rmSync(node.path("box"), { recursive: true });
  node.make("box");
  await node.listens("box");
  await say(node.path("box", SOCKET), "new");
  client.end("old");
  await node.guests.until(() => node.guests.ended === 2);
  assert.deepEqual(node.guests.seen.map(bytesOf), ["old", "new"]);
  rmSync(node.path("box"), { recursive: true });
  // One connection and one socket; a socket is closed a little later.
  assert.equal(used, 2);
  while (node.using.budget.used > 0) await turns(1);
  assert.deepEqual(notices, [
    "listening for a sandbox: box",
    "no longer listening for a sandbox: box",
    "listening for a sandbox: box",
    "no longer listening for a sandbox: box",
  ]);
});

test("what a guest sent right before its sandbox went is not lost", async () => {
  await using node = new Node();
  node.make("box");
  await node.start();
  for (let round = 1; round <= 20; round++) {
    const client = await dial(await node.listens("box"));
    await send(client, "last");
    client.destroy();
    rmSync(node.path("box"), { recursive: true });
    node.make("box");
    await node.guests.until(() => node.guests.ended === round);
  }
  assert.deepEqual(node.guests.seen.map(bytesOf), Array(20).fill("last"));
});

test("the sandboxes' directory comes late, step by step, goes and comes again", async () => {
  await using node = new Node();
  await node.start();
  assert.deepEqual(readdirSync(node.base), []);
  mkdirSync(join(node.base, "vc"));
  await turns();
  mkdirSync(node.directory);
  await turns();
  node.make("one");
  await node.listens("one");
  // Three ways to go: with all in it, with what is above, moved away.
  rmSync(node.directory, { recursive: true });
  node.make("two");
  await node.listens("two");
  rmSync(join(node.base, "vc"), { recursive: true });
  await turns();
  node.make("three");
  await node.listens("three");
  renameSync(node.directory, join(node.base, "moved"));
  node.make("four");
  await say(await node.listens("four"), "4");
  await node.guests.until(() => node.guests.ended === 1);
  assert.equal(node.guests.seen[0]?.connection.source.name, "four");
  assert.deepEqual(node.told, []);
});

test("a link is followed on the way to the sandboxes' directory, and in the place of a sandbox's never", async () => {
  await using node = new Node({ between: ["root"] });
  const victim = join(node.base, "victim");
  mkdirSync(join(victim, "root"), { recursive: true });
  mkdirSync(join(node.base, "real"));
  symlinkSync("real", join(node.base, "vc"));
  node.make("good", "root");
  symlinkSync(victim, node.path("evil"));
  node.make("worse");
  symlinkSync(join(victim, "root"), node.path("worse", "root"));
  await node.start();
  await node.listens("good", "root");
  // In the place of one that is listened in.
  renameSync(node.path("good", "root"), node.path("good", "away"));
  symlinkSync(join(victim, "root"), node.path("good", "root"));
  while (node.told.length < 6) await turns(1);
  // Looked at each second, told once.
  await new Promise((resolve) => setTimeout(resolve, 1500));
  assert.deepEqual(readdirSync(join(victim, "root")), []);
  const refused = (id: string, link: string) => [
    `cannot listen for sandbox ${id}`,
    `${node.path(link)} is a link or not a directory: nothing is made there`,
  ];
  assert.deepEqual(
    // Directories are listed in any order.
    node.told.toSorted(),
    [
      ...refused("evil", "evil"),
      ...refused("worse", "worse/root"),
      ...refused("good", "good/root"),
    ].sort(),
  );
  // Nor is anything removed there.
  writeFileSync(join(victim, "root", SOCKET), "precious");
  await node.listener.stopAccepting();
  assert.deepEqual(readdirSync(join(victim, "root")), [SOCKET]);
});

test("a directory that everyone may write to is refused until it is not", async () => {
  await using node = new Node();
  await node.start();
  const path = node.make("box");
  await node.listens("box");
  chmodSync(path, 0o777);
  while (node.told.length === 0) await turns(1);
  assert.deepEqual(node.told, [
    "cannot listen for sandbox box",
    `everyone may write to ${path}`,
  ]);
  const answers = () => dial(node.path("box", SOCKET)).then((client) => client.destroy() && true, () => false);
  // Who has found it before is taken in for a while.
  while (await answers()) await turns(1);
  chmodSync(path, 0o750);
  while (!await answers()) await turns(1);
  assert.equal(node.told.length, 2);
});

test(
  "another user's directory is refused, a sandbox's and the one of all",
  NEEDS_ROOT,
  async () => {
    await using node = new Node({}, { user: 4711 });
    chownSync(node.make("users"), 4711, 4711);
    chownSync(node.make("foreign"), 4712, 0);
    node.make("roots");
    await node.start();
    assert.deepEqual(readdirSync(node.path("users")), [SOCKET]);
    assert.deepEqual(readdirSync(node.path("roots")), [SOCKET]);
    assert.deepEqual(readdirSync(node.path("foreign")), []);
    const belongs = "belongs to the user 4712, neither to root nor to the user that the forwarder runs as (4711)";
    assert.deepEqual(node.told, [
      "cannot listen for sandbox foreign",
      `${node.path("foreign")} ${belongs}`,
    ]);
    await using all = new Node({}, { user: 4711 });
    all.make("box");
    chownSync(all.directory, 4712, 0);
    await assert.rejects(all.start(), {
      name: "ListenError",
      message: `cannot listen at ${all.listener.address}: ${all.directory} ${belongs}`,
    });
    assert.deepEqual(readdirSync(all.path("box")), []);
  },
);

test("what is no sandbox's directory is left alone, in silence", async () => {
  await using node = new Node({ except: ["firecracker"] });
  node.make(".hidden");
  node.make("firecracker");
  node.make("with blank");
  node.make("lost+found");
  writeFileSync(join(node.make(), "file"), "");
  await node.start();
  writeFileSync(node.path("another"), "");
  node.make("-flag");
  node.make("box");
  await node.listens("box");
  assert.deepEqual(
    readdirSync(node.directory, { recursive: true }).map(String).sort(),
    [
      "-flag",
      ".hidden",
      "another",
      "box",
      `box/${SOCKET}`,
      "file",
      "firecracker",
      "lost+found",
      "with blank",
    ],
  );
  assert.deepEqual(node.told, []);
});

test("a problem with one sandbox costs only that one, and is over when its cause is", async () => {
  await using node = new Node();
  const other = new HybridListener(
    { socketPath: join(node.make("taken"), "vm.sock"), port: 7, mode: 0o660 },
    options(),
  );
  await other.listen(node.guests.accept);
  writeFileSync(join(node.make("file"), SOCKET), "precious");
  await node.start();
  node.make("fine");
  await node.listens("fine");
  assert.deepEqual(node.told.filter((_, at) => at % 2 === 0).sort(), [
    "cannot listen for sandbox file",
    "cannot listen for sandbox taken",
  ]);
  assert.match(node.told.join("\n"), /another forwarder listens there/);
  assert.match(node.told.join("\n"), /a file is there, which is left as it is/);
  await other.stopAccepting();
  unlinkSync(node.path("file", SOCKET));
  await say(await node.listens("taken"), "a");
  await say(await node.listens("file"), "b");
  await node.guests.until(() => node.guests.ended === 2);
  assert.equal(node.told.length, 4);
});

test("sockets that a dead forwarder left are replaced", async () => {
  await using node = new Node();
  const path = node.make("box");
  {
    await using dead = new Node({ directory: node.directory });
    await dead.start();
    renameSync(join(path, SOCKET), join(path, "kept"));
  }
  renameSync(join(path, "kept"), join(path, SOCKET));
  await node.start();
  await say(join(path, SOCKET), "x");
  await node.guests.until(() => node.guests.ended === 1);
  assert.deepEqual(readdirSync(path), [SOCKET]);
});

test("what no event tells is found all the same", async () => {
  await using node = new Node({ between: ["root"] }, { rescanMs: 200 });
  node.make("whole", "root");
  node.make("half");
  await node.start();
  await node.listens("whole", "root");
  // As if the kernel told nothing any more.
  process.removeAllListeners("SIGURG");
  node.make("new", "root");
  await node.listens("new", "root");
  rmSync(node.directory, { recursive: true });
  node.make("again", "root");
  await node.listens("again", "root");
});

test("events that the kernel has lost are made up for at once", async () => {
  await using node = new Node();
  node.make("old");
  await node.start();
  const noise = node.make("noise");
  // More than fs.inotify.max_queued_events, 16,384 by default, while nobody reads.
  for (let i = 0; i < 20_000; i++) chmodSync(noise, i % 2 === 0 ? 0o700 : 0o750);
  node.make("new");
  rmSync(node.path("old"), { recursive: true });
  await node.listens("new");
  await node.listens("noise");
  while (node.using.budget.used > 2) await turns(1);
  assert.deepEqual(node.told, []);
});

test("a socket that somebody removed is made again when its sandbox is looked at; guests stay", async () => {
  await using node = new Node({ between: ["root"] });
  node.make("box", "root");
  await node.start();
  const socket = await node.listens("box", "root");
  const early = await dial(socket);
  await node.guests.until(() => node.guests.seen.length === 1);
  unlinkSync(socket);
  // Something to look for; without, it is found when all are looked at, every ten seconds.
  node.make("box", "other");
  await node.listens("box", "root");
  await say(socket, "new");
  early.end("old");
  await node.guests.until(() => node.guests.ended === 2);
  assert.deepEqual(node.guests.seen.map(bytesOf), ["old", "new"]);
  assert.deepEqual(node.told, []);
  await node.listener.stopAccepting();
  assert.deepEqual(readdirSync(node.path("box", "root")), []);
});

test("five hundred sandboxes at once, and none is left of them", async () => {
  const before = openDescriptors();
  {
    await using node = new Node({ between: ["root"] });
    await node.start();
    const ids = Array.from({ length: 500 }, (_, i) => `box-${i}`);
    for (const id of ids) node.make(id, "root");
    for (const id of ids) await node.listens(id, "root");
    await Promise.all(ids.map((id) => say(node.path(id, "root", SOCKET), id)));
    await node.guests.until(() => node.guests.ended === 500);
    assert.deepEqual(
      node.guests.seen.map((guest) => [guest.connection.source.name, bytesOf(guest)]).sort(),
      ids.map((id) => [id, id]).sort(),
    );
    rmSync(node.directory, { recursive: true });
    while (node.using.budget.used > 0) await turns(1);
    assert.deepEqual(node.told, []);
  }
  while (openDescriptors() > before) await turns(1);
});

test("a stop removes all sockets, and takes in who has found one before", async () => {
  await using node = new Node({ between: ["root"] });
  for (const id of ["a", "b", "c"]) node.make(id, "root");
  await node.start();
  const client = dial(node.path("b", "root", SOCKET));
  await client;
  node.listener.cleanUp();
  for (const id of ["a", "b", "c"]) assert.deepEqual(readdirSync(node.path(id, "root")), []);
  node.make("d", "root");
  (await client).end("found");
  await node.guests.until(() => node.guests.ended === 1);
  assert.equal(bytesOf(node.guests.seen[0]), "found");
  await node.listener.stopAccepting();
  assert.equal(node.using.budget.used, 0);
  assert.deepEqual(readdirSync(node.path("d", "root")), []);
});

test("a newer forwarder's socket is left to it", async () => {
  await using node = new Node();
  node.make("box");
  await node.start();
  unlinkSync(node.path("box", SOCKET));
  await using newer = new Node({ directory: node.directory });
  await newer.start();
  await node.listener.stopAccepting();
  await say(node.path("box", SOCKET), "x");
  await newer.guests.until(() => newer.guests.ended === 1);
  assert.equal(bytesOf(newer.guests.seen[0]), "x");
});

test("what prevents listening at all is an error, or is told where the listener is optional", async () => {
  await using file = new Node();
  writeFileSync(join(file.base, "vc"), "");
  const message = `cannot listen at ${file.listener.address}: cannot watch ${file.directory}: openat: ENOTDIR`;
  await assert.rejects(file.start(), { name: "ListenError", message });
  await using optional = new Node({ directory: file.directory, optional: true });
  await optional.start();
  assert.deepEqual(optional.told, ["not all sandboxes can be listened for", message]);
  unlinkSync(join(file.base, "vc"));
  file.make("box");
  await file.listens("box");
  assert.equal(optional.told.length, 2);
  await using group = new Node({ group: "no-such-group-here" });
  await assert.rejects(
    group.start(),
    /there is no group "no-such-group-here": check --socket-group/,
  );
});

test("it leaves no watch and no timer behind", async () => {
  const before = inotifies();
  {
    await using node = new Node();
    await node.start();
    assert.equal(inotifies(), before + 1);
    await node.listener.stopAccepting();
    node.make("late");
    await new Promise((resolve) => setTimeout(resolve, 1200));
    assert.deepEqual(readdirSync(node.path("late")), []);
  }
  assert.equal(inotifies(), before);
});
