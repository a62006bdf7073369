import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";

/** A small file system in memory (tmpfs(5)), which only root may mount. */
export function mountSmall(directory: string, bytes: number): Disposable {
  fs.mkdirSync(directory);
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${bytes},mode=0777`, "tmpfs", directory], { stdio: "pipe" });
  } catch (cause) {
    throw new Error("a full disk can only be tested by root, who may mount a tmpfs", { cause });
  }
  return { [Symbol.dispose]: () => void execFileSync("umount", ["--lazy", directory]) };
}

/** Fills a file system to its last byte. */
export function fillUp(directory: string): void {
  const filler = fs.openSync(join(directory, "filler"), "a");
  try {
    for (let bytes = 1024 * 1024; bytes > 0;) {
      try {
        fs.writeSync(filler, new Uint8Array(bytes));
      } catch (error) {
        if (!(error instanceof Error && "code" in error && error.code === "ENOSPC")) throw error;
        bytes = Math.floor(bytes / 2);
      }
    }
  } finally {
    fs.closeSync(filler);
  }
}
