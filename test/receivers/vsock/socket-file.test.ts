import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  constants,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { loadLibc } from "../../../ffi/libc.ts";
import { HybridListener } from "../../../src/receivers/vsock/hybrid-listener.ts";
import { ListenError } from "../../../src/receivers/vsock/listener.ts";
import { O_DIRECTORY, O_NOFOLLOW } from "../../../src/receivers/vsock/open-flags.ts";
import { AF_UNIX, unixSockaddr } from "../../../ffi/sockets.ts";
import { bindAt } from "../../../src/receivers/vsock/socket-file.ts";
import { bytesOf, dial, Guests, options } from "./guests.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

const SOCK_STREAM = 1, SOCK_DGRAM = 2, SOCK_NONBLOCK = 0o4000, SOCK_CLOEXEC = 0o2000000;
const libc = await loadLibc();

function listenerIn(directory: string, group?: string): HybridListener {
  const settings = { socketPath: join(directory, "clh.sock"), port: 7, mode: 0o660 };
  return new HybridListener(group === undefined ? settings : { ...settings, group }, options());
}

/** Listening must fail; gives what it says after the address. */
async function refusal(listener: HybridListener): Promise<string> {
  try {
    await listener.listen(new Guests().accept);
  } catch (error) {
    assert(error instanceof ListenError, `${error}`);
    const start = `cannot listen at ${listener.address}: `;
    assert(error.message.startsWith(start), error.message);
    return error.message.slice(start.length);
  }
  return assert.fail("listening should have failed");
}

/** A socket bound at a path, and listening where it is of streams. Returns its descriptor. */
function bound(path: string, type: number, backlog = 8): number {
  const fd = libc.socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  libc.bind(fd, unixSockaddr(path));
  if (type === SOCK_STREAM) libc.listen(fd, backlog);
  return fd;
}

for (const left of ["clh.sock_7", "clh.sock~7"]) {
  test(`a socket that a dead forwarder left as ${left} is replaced`, async () => {
    using directory = temporaryDirectory();
    libc.close(bound(join(directory.path, left), SOCK_STREAM));
    const listener = listenerIn(directory.path);
    const guests = new Guests();
    await listener.listen(guests.accept);
    assert.deepEqual(readdirSync(directory.path), ["clh.sock_7"]);
    const client = await dial(listener.address);
    client.end("hello");
    await guests.until(() => guests.ended === 1);
    assert.equal(bytesOf(guests.seen[0]), "hello");
    await listener.stopAccepting();
  });
}

test("a live socket is another forwarder's, and goes on working", async () => {
  using directory = temporaryDirectory();
  const guests = new Guests();
  const first = listenerIn(directory.path);
  await first.listen(guests.accept);
  const second = listenerIn(directory.path);
  assert.match(await refusal(second), /^another forwarder listens there \(or another process\): /);
  second.cleanUp();
  await second.stopAccepting();
  const client = await dial(first.address);
  client.end("hello");
  await guests.until(() => guests.seen.some((guest) => bytesOf(guest) === "hello"));
  await first.stopAccepting();
});

test("a live socket whose backlog is full is not taken for a dead one", async () => {
  using directory = temporaryDirectory();
  const path = join(directory.path, "clh.sock_7");
  const server = bound(path, SOCK_STREAM, 0);
  const clients: number[] = [];
  for (;;) {
    const client = libc.socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    clients.push(client);
    try {
      libc.connect(client, unixSockaddr(path));
    } catch (error) {
      assert.equal((error as { code?: string }).code, "EAGAIN");
      break;
    }
  }
  assert.match(await refusal(listenerIn(directory.path)), /^another forwarder listens there/);
  assert.equal(lstatSync(path).isSocket(), true);
  for (const fd of [server, ...clients]) libc.close(fd);
});

test("a socket of another kind is left as it is", async () => {
  using directory = temporaryDirectory();
  const path = join(directory.path, "clh.sock_7");
  const datagrams = bound(path, SOCK_DGRAM);
  assert.match(
    await refusal(listenerIn(directory.path)),
    /^the socket there may be in use \(EPROTOTYPE\)/,
  );
  assert.equal(lstatSync(path).isSocket(), true);
  libc.close(datagrams);
});

test("a file that is not a socket is never touched", async () => {
  using directory = temporaryDirectory();
  const path = join(directory.path, "clh.sock_7");
  const refused = (what: string) => `${what} is there, which is left as it is: move it away`;

  writeFileSync(path, "precious");
  assert.equal(await refusal(listenerIn(directory.path)), refused("a file"));
  assert.equal(readFileSync(path, "utf8"), "precious");
  const file = join(directory.path, "precious");
  renameSync(path, file);

  symlinkSync(file, path);
  assert.equal(await refusal(listenerIn(directory.path)), refused("a symbolic link"));
  assert.equal(lstatSync(path).isSymbolicLink(), true);
  renameSync(path, join(directory.path, "link"));

  mkdirSync(path);
  assert.equal(await refusal(listenerIn(directory.path)), refused("a directory"));
  assert.equal(lstatSync(path).isDirectory(), true);
  renameSync(path, join(directory.path, "directory"));

  assert.equal(spawnSync("mkfifo", [path]).status, 0);
  assert.equal(
    await refusal(listenerIn(directory.path)),
    refused("something that is not a socket"),
  );
  assert.deepEqual(readdirSync(directory.path).sort(), [
    "clh.sock_7",
    "directory",
    "link",
    "precious",
  ]);
});

test("a symbolic link to a live or dead socket is not followed", async () => {
  using directory = temporaryDirectory();
  const target = join(directory.path, "elsewhere");
  libc.close(bound(target, SOCK_STREAM));
  symlinkSync(target, join(directory.path, "clh.sock_7"));
  assert.match(await refusal(listenerIn(directory.path)), /^a symbolic link is there/);
  assert.equal(lstatSync(target).isSocket(), true);
});

test("the directory must be there, and be one", async () => {
  using directory = temporaryDirectory();
  const missing = join(directory.path, "sandbox");
  assert.equal(
    await refusal(listenerIn(missing)),
    `the directory ${missing} does not exist: check --socket-path, or make the directory (mkdir -p ${missing}) ` +
      "before the sandbox starts",
  );
  writeFileSync(missing, "");
  assert.equal(
    await refusal(listenerIn(missing)),
    `${missing} is not a directory: check --socket-path`,
  );
  assert.match(await refusal(listenerIn(join(missing, "deeper"))), /^ENOTDIR/);
});

test("the longest path that the kernel takes is taken, a longer one is refused with the limit", async () => {
  using directory = temporaryDirectory();
  const settings = (bytes: number) => {
    const name = "ü".repeat(20);
    const rest = bytes - Buffer.byteLength(join(directory.path, name)) - "_7".length;
    return { socketPath: join(directory.path, name + "x".repeat(rest)), port: 7, mode: 0o600 };
  };
  const longest = new HybridListener(settings(107), options());
  const guests = new Guests();
  await longest.listen(guests.accept);
  const client = await dial(longest.address);
  client.end("hello");
  await guests.until(() => guests.ended === 1);
  await longest.stopAccepting();
  assert.equal(
    await refusal(new HybridListener(settings(108), options())),
    "the path is 108 bytes long, and a UNIX socket's has at most 107: use a shorter --socket-path",
  );
  assert.deepEqual(readdirSync(directory.path), []);
});

test("the group is the one asked for, by number or name", async () => {
  using directory = temporaryDirectory();
  // One's own group may always be given; root may give any.
  const gid = process.geteuid?.() === 0 ? 4_000_000_000 : process.getegid?.() as number;
  const listener = listenerIn(directory.path, String(gid));
  await listener.listen(new Guests().accept);
  assert.equal(lstatSync(listener.address).gid, gid);
  await listener.stopAccepting();
  assert.equal(
    await refusal(listenerIn(directory.path, "no-such-group-here")),
    'there is no group "no-such-group-here": check --socket-group',
  );
  // chown(2) takes this number for "none".
  for (const group of ["4294967295", "99999999999"]) {
    const refused = await refusal(listenerIn(directory.path, group));
    assert.equal(refused, `there is no group "${group}": check --socket-group`);
  }
  assert.deepEqual(readdirSync(directory.path), []);
});

test("a socket appears at its path only when it listens, and nobody may use it before", async () => {
  using directory = temporaryDirectory();
  const [path, temporary] = [join(directory.path, "final"), join(directory.path, "temporary")];
  const server = new FakeServer();
  const { file } = bindAt(path, temporary, { mode: 0o640, gid: undefined }, libc, (at) => {
    assert.equal(at, temporary);
    server.open(at);
    assert.equal(lstatSync(at).mode & 0o7777, 0);
    assert.deepEqual(readdirSync(directory.path), ["temporary"]);
    return server;
  });
  assert.deepEqual(readdirSync(directory.path), ["final"]);
  assert.equal(lstatSync(path).mode & 0o7777, 0o640);
  file.remove();
  file.remove();
  assert.deepEqual(readdirSync(directory.path), []);
  await server.close();
});

test("what has come to the path meanwhile is left there, and the socket closed", () => {
  using directory = temporaryDirectory();
  const [path, temporary] = [join(directory.path, "final"), join(directory.path, "temporary")];
  const server = new FakeServer();
  assert.throws(
    () =>
      bindAt(path, temporary, { mode: 0o640, gid: undefined }, libc, (at) => {
        server.open(at);
        writeFileSync(path, "precious", { mode: 0o600 });
        return server;
      }),
    { code: "EEXIST" },
  );
  assert.equal(server.closed, true);
  assert.deepEqual(readdirSync(directory.path), ["final"]);
  assert.equal(lstatSync(path).isFile(), true);
});

test("what is put in the socket's place as it is made is not touched", () => {
  using directory = temporaryDirectory();
  const at = (name: string) => join(directory.path, name);
  writeFileSync(at("precious"), "precious", { mode: 0o600 });
  for (const link of [true, false]) {
    const server = new FakeServer();
    const bind = (temporary: string) => {
      server.open(temporary);
      unlinkSync(temporary);
      if (link) symlinkSync(at("precious"), temporary);
      else writeFileSync(temporary, "", { mode: 0o600 });
      return server;
    };
    const access = { mode: 0o666, gid: process.getegid?.() };
    assert.throws(() => bindAt(at("final"), at("temporary"), access, libc, bind), {
      name: "ListenError",
      message: `${at("temporary")} is not the socket that was made there: somebody replaced it`,
    });
    assert.equal(server.closed, true);
    assert.deepEqual(readdirSync(directory.path), ["precious"]);
    assert.equal(lstatSync(at("precious")).mode & 0o777, 0o600);
  }
});

test("the flags of open(2) are this architecture's", () => {
  assert.equal(O_DIRECTORY, constants.O_DIRECTORY);
  assert.equal(O_NOFOLLOW, constants.O_NOFOLLOW);
});

/** A socket without a runtime around it. */
class FakeServer {
  #fd = -1;
  closed = false;
  open(path: string): void {
    this.#fd = bound(path, SOCK_STREAM);
  }
  close(): Promise<void> {
    libc.close(this.#fd);
    this.closed = true;
    return Promise.resolve();
  }
}

test("the process's umask is what it was", async () => {
  using directory = temporaryDirectory();
  const before = process.umask(0o027);
  try {
    const listener = listenerIn(directory.path);
    await listener.listen(new Guests().accept);
    assert.equal(process.umask(), 0o027);
    assert.equal(lstatSync(listener.address).mode & 0o7777, 0o660);
    await listener.stopAccepting();
  } finally {
    process.umask(before);
  }
});
