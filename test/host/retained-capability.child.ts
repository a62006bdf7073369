/**
 * A process that drops all privileges except those that sockets in root's directories need. It writes what it may still
 * do to standard output, as one line of JSON, and waits for its standard input to end.
 * Arguments: a directory of root's, and the group to retain.
 */
import { chmodSync, chownSync, mkdirSync, readdirSync, rmdirSync, statSync, writeFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import process from "node:process";
import { loadLibc } from "../../ffi/libc.ts";
import { openPrivileges } from "../../src/host/privileges.ts";
import { attempt } from "./support/attempt.ts";

const [, , directory = "", group = ""] = process.argv;
const gid = Number(group);

/** The low half of this thread's effective set, as the kernel has it. */
function effective(): number {
  // struct __user_cap_header_struct, version 3, and its data, twice.
  const header = new Uint8Array(8);
  const data = new Uint8Array(24);
  new DataView(header.buffer).setUint32(0, 0x2008_0522, true);
  const capget = process.arch === "x64" ? 125 : 90;
  libc.syscall("capget", capget, libc.addressOf(header), libc.addressOf(data), 0n);
  return new DataView(data.buffer).getUint32(0, true);
}

const libc = await loadLibc();
const privileges = await openPrivileges("nobody", { directories: true, groups: [gid] });
const asRoot = privileges.run(() => attempt(() => readdirSync(directory)));
// Makes the runtime start the threads that read directories asynchronously.
await Promise.all(Array.from({ length: 32 }, () => readdir("/proc/self/task")));
libc.setgroups([0, 1, 2, gid]);

privileges.drop();

const made = `${directory}/made`;
const file = `${directory}/file`;
const result = {
  pid: process.pid,
  asRoot,
  without: attempt(() => mkdirSync(made)),
  within: privileges.run(() => attempt(() => mkdirSync(made))),
  afterwards: attempt(() => rmdirSync(made)),
  nested: privileges.run(() => {
    privileges.run(() => writeFileSync(file, ""));
    return attempt(() => rmdirSync(made));
  }),
  thrown: attempt(() =>
    privileges.run(() => {
      throw Object.assign(new Error("fault"), { code: "FAULT" });
    })
  ),
  afterThrown: attempt(() => mkdirSync(made)),
  raised: privileges.run(effective),
  lowered: effective(),
  // It may give its own file to the retained group, and to nobody else.
  toGroup: privileges.run(() => attempt(() => chownSync(file, -1, gid))),
  toOtherGroup: privileges.run(() => attempt(() => chownSync(file, -1, gid + 1))),
  toOther: privileges.run(() => attempt(() => chownSync(file, 0, -1))),
  foreign: privileges.run(() => attempt(() => chmodSync(directory, 0o777))),
  owner: privileges.run(() => [statSync(file).uid, statSync(file).gid]),
  setuid: privileges.run(() => attempt(() => libc.setresuid(0, 0, 0))),
  setgroups: privileges.run(() => attempt(() => libc.setgroups([0]))),
  chroot: privileges.run(() => attempt(() => libc.syscall("chroot", process.arch === "x64" ? 161 : 51, 0n, 0n, 0n))),
};
process.stdout.write(`${JSON.stringify(result)}\n`);
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
