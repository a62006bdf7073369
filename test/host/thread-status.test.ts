import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { privilegesOf } from "../../src/host/privileges.ts";
import { parseThreadStatus, readThreads } from "../../src/host/thread-status.ts";

const ROOT = `Name:\tbun
Umask:\t0022
State:\tS (sleeping)
Tgid:\t10
Pid:\t12
Uid:\t0\t0\t0\t0
Gid:\t0\t0\t0\t0
FDSize:\t64
Groups:\t0 27 100 
CapInh:\t0000000000000000
CapPrm:\t000001ffffffffff
CapEff:\t000001ffffffffff
CapBnd:\t000001ffffffffff
CapAmb:\t0000000000000002
NoNewPrivs:\t0
Seccomp:\t0
Seccomp_filters:\t0
`;
const NOBODY = ROOT.replace(/^(Uid|Gid):.*$/gm, "$1:\t65534\t65534\t65534\t65534")
  .replace(/^Groups:.*$/m, "Groups:\t ").replace(
    /^(CapPrm|CapEff|CapAmb):.*$/gm,
    "$1:\t0000000000000000",
  )
  .replace("NoNewPrivs:\t0", "NoNewPrivs:\t1").replace("Seccomp:\t0", "Seccomp:\t2");
const USER = { name: "nobody", uid: 65534, gid: 65534 };

test("a status is read in the form that the kernel writes", () => {
  assert.deepEqual(parseThreadStatus(12, ROOT), {
    id: 12,
    uids: [0, 0, 0, 0],
    gids: [0, 0, 0, 0],
    groups: [0, 27, 100],
    permitted: 0x1ffffffffffn,
    effective: 0x1ffffffffffn,
    ambient: 2n,
    noNewPrivileges: false,
    seccomp: 0,
  });
  assert.deepEqual(parseThreadStatus(12, NOBODY).groups, []);
});

test("a status without a necessary line is an error", () => {
  assert.throws(() => parseThreadStatus(12, ROOT.replace(/^NoNewPrivs.*\n/m, "")), {
    message: "no NoNewPrivs in the status of thread 12",
  });
});

test("a thread without privileges has no violations", () => {
  assert.deepEqual(privilegesOf(parseThreadStatus(12, NOBODY), USER), []);
});

test("each remaining privilege is found", () => {
  assert.deepEqual(privilegesOf(parseThreadStatus(12, ROOT), USER), [
    "thread 12 has user IDs 0,0,0,0",
    "thread 12 has group IDs 0,0,0,0",
    "thread 12 has groups 0,27,100",
    "thread 12 has permitted capabilities 0x1ffffffffff",
    "thread 12 has effective capabilities 0x1ffffffffff",
    "thread 12 has ambient capabilities 0x2",
    "thread 12 may gain privileges (no no_new_privs)",
    "thread 12 has no system call filter",
  ]);
  for (
    const ids of [
      "0\t65534\t65534\t65534",
      "65534\t0\t65534\t65534",
      "65534\t65534\t0\t65534",
      "65534\t65534\t65534\t0",
      "65534",
    ]
  ) {
    const text = NOBODY.replace(/^Uid:.*$/m, `Uid:\t${ids}`);
    assert.deepEqual(privilegesOf(parseThreadStatus(1, text), USER), [
      `thread 1 has user IDs ${ids.replaceAll("\t", ",")}`,
    ]);
  }
});

test("this process's threads are read, including the first one", () => {
  const threads = readThreads();
  assert(threads.length > 1, `${threads.length} threads`);
  const main = threads.find((thread) => thread.id === process.pid);
  assert.equal(main?.uids[1], process.geteuid?.());
  assert.equal(main?.gids[1], process.getegid?.());
});
