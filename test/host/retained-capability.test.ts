import assert from "node:assert/strict";
import { chmodSync } from "node:fs";
import { once } from "node:events";
import { test } from "node:test";
import { loadLibc } from "../../ffi/libc.ts";
import { openPrivileges } from "../../src/host/privileges.ts";
import { NEEDS_ROOT } from "../support/root.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { asNobody, firstLine, threadsOf } from "./support/privileges.ts";
import { startChild } from "../support/child.ts";

const CHILD = new URL("./retained-capability.child.ts", import.meta.url);
/** linux/capability.h */
const CAP_DAC_OVERRIDE = 0b10n;
/** A group that the user is not in by itself. */
const GROUP = 4711;

test(
  "one thread retains one capability, which is effective only while it is used",
  NEEDS_ROOT,
  async () => {
    using directory = temporaryDirectory();
    chmodSync(directory.path, 0o750);
    const nobody = (await loadLibc()).userByName("nobody");
    assert(nobody, "there is no user nobody");
    const child = startChild(CHILD, directory.path, String(GROUP));
    try {
      const { pid, ...result } = await firstLine(child);
      assert.deepEqual(result, {
        asRoot: "done",
        without: "EACCES",
        within: "done",
        afterwards: "EACCES",
        nested: "done",
        thrown: "FAULT",
        afterThrown: "EACCES",
        raised: Number(CAP_DAC_OVERRIDE),
        lowered: 0,
        toGroup: "done",
        toOtherGroup: "EPERM",
        toOther: "EPERM",
        foreign: "EPERM",
        owner: [nobody.uid, GROUP],
        setuid: "EPERM",
        setgroups: "EPERM",
        chroot: "EPERM",
      });
      const threads = threadsOf(Number(pid));
      const main = threads.find(({ id }) => id === Number(pid));
      assert.equal(main?.permitted, CAP_DAC_OVERRIDE);
      for (const thread of threads) {
        assert.equal(thread.effective, 0n);
        assert.equal(thread.ambient, 0n);
        // Threads that the runtime has started since inherit the permitted set, see RetainedCapabilities.
        assert.equal(thread.permitted & ~CAP_DAC_OVERRIDE, 0n);
        assert.deepEqual(thread.uids, Array(4).fill(nobody.uid));
        assert.deepEqual(thread.gids, Array(4).fill(nobody.gid));
        assert.deepEqual(thread.groups, [GROUP]);
        assert.equal(thread.noNewPrivileges, true);
        assert.equal(thread.seccomp, 2);
      }
      assert(threads.some(({ permitted }) => permitted === 0n), "every thread has it");
    } finally {
      child.stdin?.end();
      await once(child, "close");
    }
  },
);

test("root's group is not retained", NEEDS_ROOT, async () => {
  await assert.rejects(openPrivileges("nobody", { directories: true, groups: [0] }), {
    name: "PrivilegeError",
    message: "root's group cannot be retained for sockets that are made later: give --socket-group another group",
  });
});

test("without root there is nothing to retain, and operations just run", async () => {
  const kept = { directories: true, groups: [0] };
  const privileges = await asNobody(() => openPrivileges("nobody", kept));
  privileges.drop();
  assert.equal(privileges.run(() => 42), 42);
});
