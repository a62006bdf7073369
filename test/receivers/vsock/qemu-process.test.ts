import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { test } from "node:test";
import { parseQemuArguments, readQemuProcess, uptime } from "../../../src/receivers/vsock/qemu-process.ts";
import { FakeProc, qemuArguments } from "./fake-proc.ts";

const line = (words: readonly string[]): string => words.map((word) => `${word}\0`).join("");
const replaced = (from: string, to: string): string[] => qemuArguments(7, "foo").map((word) => word.replace(from, to));

test("both runtimes' command lines name sandbox and CID", () => {
  const id = "41cb92475d2d2b8b93befe133d6df302c08482e3f4bd1eae219b46e580b673e9";
  assert.deepEqual(parseQemuArguments(line(qemuArguments(2_889_501_141, id))), {
    cid: 2_889_501_141,
    sandbox: id,
  });
  const rust = ["qemu", "-name", "sandbox-a_b.c-1", "-device", "vhost-vsock-ccw,guest-cid=3"];
  assert.deepEqual(parseQemuArguments(line(rust)), { cid: 3, sandbox: "a_b.c-1" });
  const driver = ["qemu", "--name", "sandbox-x", "--device", "driver=vhost-vsock-pci,guest-cid=3"];
  assert.deepEqual(parseQemuArguments(line(driver)), { cid: 3, sandbox: "x" });
});

const REFUSED: Readonly<Record<string, readonly string[]>> = {
  "no process of Kata's": ["/usr/bin/sleep", "1000"],
  "a kernel thread": [],
  "a shell's one argument": ["sh", "-c", qemuArguments(7, "foo").join(" ")],
  "another name": replaced("sandbox-", "vm-"),
  "a name that no sandbox has": replaced("sandbox-foo", "sandbox-../foo"),
  "no name": replaced("-name", "-not-name"),
  "a name without its value": [...replaced("-name", "-not-name"), "-name"],
  "two names": [...qemuArguments(7, "foo"), "-name", "sandbox-bar"],
  "no vsock device": replaced("vhost-vsock-pci", "vhost-user-fs-pci"),
  "a device that only looks like one": replaced("vhost-vsock-pci", "x,vhost-vsock-pci"),
  "two vsock devices": [...qemuArguments(7, "foo"), "-device", "vhost-vsock-pci,guest-cid=8"],
  "no CID": replaced("guest-cid=7", "guest-cid="),
  "a CID that is no number": replaced("guest-cid=7", "guest-cid=0x7"),
  "two CIDs": replaced("guest-cid=7", "guest-cid=7,guest-cid=8"),
  "a machine out of a template": [...qemuArguments(7, "foo"), "-incoming", "defer"],
};

for (const [what, words] of Object.entries(REFUSED)) {
  test(`nothing is read out of ${what}`, () => {
    assert.equal(parseQemuArguments(line(words)), undefined);
  });
}

test("only root's processes are believed, and only those that are there", () => {
  using proc = new FakeProc();
  proc.add(12, { arguments: qemuArguments(7, "foo"), start: 4711 });
  proc.add(13, { arguments: qemuArguments(8, "bar"), uid: 1000 });
  assert.deepEqual(readQemuProcess(proc.path, 12), {
    pid: 12,
    start: 4711,
    cid: 7,
    sandbox: "foo",
  });
  assert.equal(readQemuProcess(proc.path, 13), undefined);
  assert.equal(readQemuProcess(proc.path, 14), undefined);
});

test("what cannot be read for another reason is told", () => {
  using proc = new FakeProc();
  assert.throws(() => readQemuProcess(`${proc.path}/loadavg`, 12), { code: "ENOTDIR" });
});

test("the time that the machine has been up is exact to the tick", () => {
  using proc = new FakeProc();
  // 0.29, 0.57 and 17155.19 times 100 are a little less in binary.
  for (const ticks of [0, 1, 29, 57, 1_715_519, 123_456_789]) {
    proc.setUptime(ticks);
    assert.equal(uptime(proc.path), ticks);
  }
});

test("a live process is read, and started before now", async () => {
  // -c and the script are followed by the script's own arguments.
  const child = spawn("/bin/sh", ["-c", "echo; read line", ...qemuArguments(7, "foo")], {
    stdio: ["pipe", "pipe", "ignore"],
  });
  try {
    await once(child.stdout, "data");
    const found = readQemuProcess("/proc", child.pid as number);
    if (process.geteuid?.() !== 0) return assert.equal(found, undefined);
    assert.equal(found?.sandbox, "foo");
    assert.equal(found.cid, 7);
    assert(found.start > 0 && found.start <= uptime("/proc"), `${found.start}`);
  } finally {
    child.kill();
    await once(child, "close");
  }
});
