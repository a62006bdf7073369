import { readFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import process from "node:process";
import { loadLibc } from "../../ffi/libc.ts";
import { passOnDescriptors } from "./handover/inherit-descriptors.ts";
import { PrivilegeError } from "./privileges.ts";

/**
 * How Bun is told to start no threads when it needs them: to compile and to collect garbage on the thread that runs
 * JavaScript (Source/JavaScriptCore/runtime/OptionsList.h; measured with the benchmark's load, it takes no more time),
 * and to have as few threads as it can for what the system does synchronously, such as looking up names.
 */
const OPTIONS = {
  BUN_JSC_useConcurrentJIT: "0",
  BUN_JSC_useConcurrentGC: "0",
  BUN_JSC_numberOfGCMarkers: "1",
  UV_THREADPOOL_SIZE: "2",
} as const;

/**
 * Makes the runtime start no more threads, for the process that keeps a capability: a new thread would have it too.
 * Bun reads the options for that when it starts, so the program is started again, as the same process; nothing may be
 * open yet.
 *
 * Resolves where they are in effect, and under Deno, which has no such options. Rejects with a {@link PrivilegeError}
 * where the program cannot be started again.
 */
export async function startNoLaterThreads(): Promise<void> {
  const { env } = process;
  if (!("Bun" in globalThis)) return;
  if (Object.entries(OPTIONS).every(([name, value]) => env[name] === value)) {
    // These threads are started when they are first needed: now.
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
      "the program cannot start itself again, as it does to keep a right for one thread alone: allow execve(2), or " +
        "give a --socket-path without {ID}",
      { cause: error },
    );
  }
}
