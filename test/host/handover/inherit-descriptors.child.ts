import { readlinkSync } from "node:fs";
import process from "node:process";
import { loadLibc } from "../../../ffi/libc.ts";
import { inheritDescriptors } from "../../../src/host/handover/inherit-descriptors.ts";

/** fcntl(2) */
const F_GETFD = 1, FD_CLOEXEC = 1;

const libc = await loadLibc();
const inherited = inheritDescriptors(libc, process.env, process.pid).map(({ name, descriptor }) => ({
  name,
  path: readlinkSync(`/proc/self/fd/${descriptor}`),
  closesOnExec: libc.fcntl(descriptor, F_GETFD, 0) === FD_CLOEXEC,
}));
const left = Object.keys(process.env).filter((name) => name.startsWith("LISTEN_"));
console.log(JSON.stringify({ inherited, left }));
