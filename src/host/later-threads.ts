import { readFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import process from "node:process";
import { loadLibc } from "../../ffi/libc.ts";
import { passOnDescriptors } from "./handover/inherit-descriptors.ts";
import { PrivilegeError } from "./privileges.ts";

/**
 * These make Bun compile and collect garbage on the thread that runs JavaScript, instead of starting threads for it
 * (Source/JavaScriptCore/runtime/OptionsList.h; under the benchmark's load it takes no more time), and have as few
 * threads as possible for synchronous system calls, such as looking up names.
 */
const OPTIONS = {
  BUN_JSC_useConcurrentJIT: "0",
  BUN_JSC_useConcurrentGC: "0",
  BUN_JSC_numberOfGCMarkers: "1",
  UV_THREADPOOL_SIZE: "2",
} as const;

/**
 * Makes the runtime start no more threads. A process that retains a capability needs this, because a new thread would
 * have the capability too. Bun reads these options when it starts, so the program is started again, as the same
 * process. Nothing may be open yet.
 *
 * Resolves if the options are in effect, and under Deno, which does not have them. Rejects with a
 * {@link PrivilegeError} if the program cannot be started again.
 */
export async function startNoLaterThreads(): Promise<void> {
  const { env } = process;
  if (!("Bun" in globalThis)) return;
  if (Object.entries(OPTIONS).every(([name, value]) => env[name] === value)) {
    // This makes the runtime start the threads of its pool now.
    await Promise.all(Array.from({ length: 8 }, () => readdir("/proc/self/task")));
    return;
  }
  const libc = await loadLibc();
  const words = readFileSync("/proc/self/cmdline", "utf8").split("\0").slice(0, -1);
  const environment = Object.entries({ ...env, ...OPTIONS });
  passOnDescriptors(libc, env);
  try {
    libc.execve(process.execPath, words, environment.map(([name, value]) => `${name}=${value}`));
  } catch (error) {
    throw new PrivilegeError(
      "the program cannot start itself again, which it does to retain a right for one thread only: " +
        "allow execve(2), or give a --socket-path without {ID}",
      { cause: error },
    );
  }
}
