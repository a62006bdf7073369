import assert from "node:assert/strict";
import { once } from "node:events";
import { chmodSync, chownSync, lstatSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { loadLibc } from "../../ffi/libc.ts";
import { openPrivileges, PrivilegeError } from "../../src/host/privileges.ts";
import { NEEDS_ROOT } from "../support/root.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { asNobody, firstLine, threadsOf } from "./support/privileges.ts";
import { startChild } from "../support/child.ts";

const CHILD = new URL("./privileges.child.ts", import.meta.url);

test(
  "root becomes the user on every thread, for good, and goes on working",
  NEEDS_ROOT,
  async () => {
    using directory = temporaryDirectory();
    chmodSync(directory.path, 0o755);
    const nobody = (await loadLibc()).userByName("nobody");
    assert(nobody, "there is no user nobody");
    const own = join(directory.path, "own");
    mkdirSync(own);
    chownSync(own, nobody.uid, nobody.gid);
    const child = startChild(CHILD, "nobody", directory.path);
    try {
      const { pid, ...result } = await firstLine(child);
      const threads = threadsOf(Number(pid));
      assert(threads.length > 3, `${threads.length} threads`);
      for (const thread of threads) {
        assert.deepEqual(thread, {
          id: thread.id,
          uids: Array(4).fill(nobody.uid),
          gids: Array(4).fill(nobody.gid),
          groups: [],
          permitted: 0n,
          effective: 0n,
          ambient: 0n,
          noNewPrivileges: true,
          seccomp: 2,
        });
      }
      assert.deepEqual(result, {
        before: 0,
        owner: { name: "nobody", ...nobody },
        uid: nobody.uid,
        gid: nobody.gid,
        directory: "/",
        setuid: "EPERM",
        setgid: "EPERM",
        setgroups: "EPERM",
        write: "EACCES",
        ranProgram: false,
        execve: "EPERM",
        unshare: "EPERM",
        ptrace: "EPERM",
        mount: "EPERM",
        mkdir: "EACCES",
        workers: [42, 42],
        address: result["address"],
        connects: true,
        inRoots: [
          `cannot listen at ${directory.path}/own.sock_1: this user (uid ${nobody.uid}) may not write to ` +
          `${directory.path}: run as root, or use a --socket-path in a directory of this user's`,
          "clh.sock_1",
          "own",
        ],
        inOwn: ["own.sock_1"],
        rootsGroup: [
          `cannot listen at ${own}/own.sock_1: this user (uid ${nobody.uid}) may not give the socket to the ` +
          "group root: run as root, or use a --socket-group that this user is in",
        ],
        problems: [],
      });
      assert.match(String(result["address"]), /^(127\.0\.0\.1|::1)$/);
      // In root's directory the socket can no longer be removed, so the next start does it.
      const socket = join(directory.path, "clh.sock_1");
      assert.equal(lstatSync(socket).isSocket(), true);
      const next = startChild(CHILD, "nobody", directory.path);
      assert.equal((await firstLine(next))["uid"], nobody.uid);
      next.stdin?.end();
      await once(next, "close");
    } finally {
      child.stdin?.end();
      await once(child, "close");
    }
  },
);

test("a user can be given by number", NEEDS_ROOT, async () => {
  const nobody = (await loadLibc()).userByName("nobody");
  const child = startChild(CHILD, String(nobody?.uid));
  const result = await firstLine(child);
  assert.equal(result["uid"], nobody?.uid);
  child.stdin?.end();
  await once(child, "close");
});

test(
  "a user that is not there, or is root, is refused before anything changes",
  NEEDS_ROOT,
  async () => {
    await assert.rejects(openPrivileges("no-such-user-here"), (error) => {
      assert(error instanceof PrivilegeError);
      assert.match(error.message, /^there is no user "no-such-user-here" to run as: check --user/);
      return true;
    });
    for (const root of ["root", "0"]) {
      await assert.rejects(openPrivileges(root), {
        name: "PrivilegeError",
        message: `the user "${root}" is root, which must not handle what guests send: give --user another user`,
      });
    }
    assert.equal(process.geteuid?.(), 0);
  },
);

test("a process that is not root stays the user that it is", async () => {
  const privileges = await asNobody(() => openPrivileges("no-such-user-here"));
  assert.equal(privileges.owner, undefined);
  const before = process.geteuid?.();
  privileges.drop();
  assert.equal(process.geteuid?.(), before);
});
