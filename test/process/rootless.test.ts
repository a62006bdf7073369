import assert from "node:assert/strict";
import { once } from "node:events";
import { chmodSync, chownSync, lstatSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { startChild } from "../support/child.ts";
import { NEEDS_ROOT } from "../support/root.ts";
import { until } from "../support/until.ts";
import { decodeResource } from "../decode/support/decode-span.ts";
import { startForwarder } from "./support/forwarder.ts";
import { startStub } from "./support/pipeline.ts";
import { CLEAN, runToEnd } from "./support/process.ts";
import { guestLife, Sandbox } from "./support/sandbox.ts";
import { plainFrames, plainIds, spansOf, taken, takenIds } from "./support/spans.ts";
import { test } from "./support/test.ts";

const CONNECT_AS = new URL("../receivers/vsock/connect-as.child.ts", import.meta.url);
const BELOW = "run/vc/vm";
const SOCKET = "clh.sock_10240";

/** A node on which Kata makes a user for each sandbox, as with `rootless = true`. */
class RootlessNode extends Sandbox {
  readonly template = this.path(`user/{UID}/${BELOW}/{ID}/clh.sock`);

  constructor() {
    super();
    chmodSync(this.directory, 0o755);
    mkdirSync(this.path("user"));
  }

  /** A user's directory, and a sandbox in it. */
  add(uid: number, id: string): void {
    const directory = this.path(`user/${uid}/${BELOW}/${id}`);
    mkdirSync(directory, { recursive: true });
    let path = this.path(`user/${uid}`);
    for (const name of ["", "run", "vc", "vm", id]) {
      if (name !== "") path += `/${name}`;
      chownSync(path, uid, uid);
      chmodSync(path, 0o750);
    }
  }

  socketOf(uid: number, id: string): string {
    return this.path(`user/${uid}/${BELOW}/${id}/${SOCKET}`);
  }

  listens(uid: number, id: string): boolean {
    return lstatSync(this.socketOf(uid, id), { throwIfNoEntry: false })?.isSocket() === true;
  }
}

test("rootless VMMs: each one's socket belongs to its own user, and nobody else may connect", async () => {
  await using stub = await startStub();
  using node = new RootlessNode();
  node.add(31_127, "first");
  await using forwarder = await startForwarder(["--socket-path", node.template, "--otlp-endpoint", stub.url]);
  // What was there at the start is served when it says that it listens.
  assert.ok(node.listens(31_127, "first"));
  node.add(31_128, "second");
  await until(() => node.listens(31_128, "second"), "a socket for the second user");
  for (const [uid, id] of [[31_127, "first"], [31_128, "second"]] as const) {
    const { uid: owner, gid, mode } = lstatSync(node.socketOf(uid, id));
    assert.deepEqual([owner, gid, mode & 0o777], [uid, uid, 0o660]);
  }
  await guestLife(node.socketOf(31_127, "first"), plainFrames(1, 2));
  await guestLife(node.socketOf(31_128, "second"), plainFrames(3, 2));
  await taken(stub, 4);
  assert.deepEqual(takenIds(stub), plainIds(1, 4));
  const sandboxes = spansOf(stub).map(({ resource }) =>
    decodeResource(resource, "canonical")?.find(({ key }) => key === "kata.sandbox.id")?.value
  );
  assert.deepEqual(new Set(sandboxes.map((value) => JSON.stringify(value))).size, 2);
  // As the VMM's own user, and as another one's.
  const connect = async (as: number): Promise<string> => {
    const child = startChild(CONNECT_AS, node.socketOf(31_127, "first"), ...Array<string>(3).fill(String(as)));
    let said = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => said += text);
    await once(child, "close");
    return said.trim();
  };
  assert.equal(await connect(31_127), "connected");
  assert.match(await connect(31_128), /EACCES/);
  rmSync(node.path("user/31128"), { recursive: true });
  await forwarder.record("no longer listening for a sandbox", ({ sandbox }) => sandbox === "second");
  assert.deepEqual(await forwarder.stop(), CLEAN);
  assert.equal(node.listens(31_127, "first"), false);
}, NEEDS_ROOT);

test("a rootless VMM's path without {UID} is served like one with it, and no other user's", async () => {
  await using stub = await startStub();
  using node = new RootlessNode();
  node.add(31_128, "other");
  // It comes later than the forwarder.
  const template = node.path(`user/31127/${BELOW}/{ID}/clh.sock`);
  await using forwarder = await startForwarder(["--socket-path", template, "--otlp-endpoint", stub.url]);
  node.add(31_127, "first");
  await until(() => node.listens(31_127, "first"), "a socket for the user that is named");
  const { uid, gid, mode } = lstatSync(node.socketOf(31_127, "first"));
  assert.deepEqual([uid, gid, mode & 0o777], [31_127, 31_127, 0o660]);
  await guestLife(node.socketOf(31_127, "first"), plainFrames(1, 2));
  await taken(stub, 2);
  assert.deepEqual(takenIds(stub), plainIds(1, 2));
  assert.equal(node.listens(31_128, "other"), false);
  assert.deepEqual(forwarder.recordsOf(/cannot/), []);
  assert.deepEqual(await forwarder.stop(), CLEAN);
  assert.equal(node.listens(31_127, "first"), false);
}, NEEDS_ROOT);

test("root's sandboxes below a directory that is a user's by its name alone are served as others are", async () => {
  await using stub = await startStub();
  using node = new RootlessNode();
  node.add(31_127, "box");
  for (const below of ["", "/run", "/run/vc", "/run/vc/vm", "/run/vc/vm/box"]) {
    chownSync(node.path(`user/31127${below}`), 0, 0);
  }
  const template = node.path(`user/31127/${BELOW}/{ID}/clh.sock`);
  await using forwarder = await startForwarder(["--socket-path", template, "--otlp-endpoint", stub.url]);
  assert.equal(lstatSync(node.socketOf(31_127, "box")).uid, 0);
  assert.deepEqual(await forwarder.stop(), CLEAN);
}, NEEDS_ROOT);

test("a rootless VMM that somebody got hold of can make the forwarder touch nothing but its own files", async () => {
  await using stub = await startStub();
  using node = new RootlessNode();
  // What only root may write to, and what everybody may reach.
  const victim = node.path("victim");
  mkdirSync(`${victim}/box`, { recursive: true });
  chmodSync(victim, 0o755);
  chmodSync(`${victim}/box`, 0o755);
  node.add(31_127, "own");
  await using forwarder = await startForwarder(["--socket-path", node.template, "--otlp-endpoint", stub.url]);
  // Links in the place of the directory of all sandboxes, and of one sandbox.
  node.add(31_128, "x");
  await until(() => node.listens(31_128, "x"), "a socket");
  const below = node.path(`user/31128/${BELOW}`);
  renameSync(below, `${below}-away`);
  symlinkSync(victim, below);
  node.add(31_129, "y");
  await until(() => node.listens(31_129, "y"), "a socket");
  symlinkSync(`${victim}/box`, node.path(`user/31129/${BELOW}/link`));
  // Another sandbox's ID.
  node.add(31_130, "own");
  await forwarder.record("cannot listen for sandbox own", ({ error }) => /has this ID/.test(String(error)));
  // More sandboxes than a user has.
  for (let i = 0; i < 20; i++) node.add(31_131, `many-${i}`);
  await forwarder.record(/^cannot listen for sandbox many-\d+$/);
  // A directory of another user's, and what is not a user's number.
  node.add(31_132, "z");
  chownSync(node.path("user/31132"), 31_127, 31_127);
  for (const name of ["root", "0", "-1", "4294967295", "31133x"]) {
    mkdirSync(node.path(`user/${name}/${BELOW}/box`), { recursive: true });
  }
  // It is looked at each second.
  await sleep(2500);
  assert.deepEqual(readdirSync(`${victim}/box`), []);
  assert.equal(node.listens(31_130, "own"), false);
  assert.equal(node.listens(31_132, "z"), false);
  assert.equal(readdirSync(node.path(`user/31131/${BELOW}`)).filter((id) => node.listens(31_131, id)).length, 8);
  for (const name of ["root", "0", "-1", "4294967295", "31133x"]) {
    assert.deepEqual(readdirSync(node.path(`user/${name}/${BELOW}/box`)), [], name);
  }
  await guestLife(node.socketOf(31_127, "own"), plainFrames(1, 1));
  await taken(stub, 1);
  assert.deepEqual(await forwarder.stop(), CLEAN);
}, NEEDS_ROOT);

test("{UID} must stand for a directory above {ID}", async () => {
  for (
    const path of ["/run/user/{UID}/clh.sock", "/{UID}/{ID}/clh.sock", "/run/{ID}/{UID}/clh.sock", "/a{UID}/{ID}/c"]
  ) {
    const { code, stderr } = await runToEnd(["--socket-path", path, "--dump-only"]);
    assert.equal(code, 1);
    assert.match(stderr, /^kata-trace-forwarder: .*\{U?ID\} must stand for one whole directory above .*\n$/, path);
  }
});
