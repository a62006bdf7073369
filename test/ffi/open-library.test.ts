import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { LibraryError } from "../../ffi/errors.ts";
import { cLibraryPath, openLibrary } from "../../ffi/open-library.ts";
import { type ForeignFunctions, loadForeignFunctions } from "../../ffi/library.ts";

const CLOSE = { close: { parameters: ["i32"], result: "i32" } } as const;

/** Stands in for a runtime that cannot open libraries. */
function failing(message: string): ForeignFunctions {
  return {
    open: () => {
      throw new TypeError(message);
    },
    addressOf: () => 0n,
    view: () => new ArrayBuffer(0),
  };
}

test("the C library is the one that the process runs with, by its absolute path", () => {
  const path = cLibraryPath();
  assert.match(path, /^\/.*(libc\.so\.6|ld-musl-.*\.so\.1)$/);
  assert.ok(existsSync(path));
});

test("glibc and musl are found in a memory map, and nothing that only looks like them", () => {
  const line = (path: string): string => `7fa914139000-7fa91415f000 r--p 00000000 fe:00 326269        ${path}\n`;
  const other = line("/usr/bin/x") + line("[heap]") + line("/tmp/notlibc.so.6") + line("/tmp/libc.so.6.evil") +
    line("/lib/libc.so.6 (deleted)") + "7fa914139000-7fa91415f000 rw-p 00000000 00:00 0 \n";
  assert.equal(
    cLibraryPath(other + line("/usr/lib/x86_64-linux-gnu/libc.so.6")),
    "/usr/lib/x86_64-linux-gnu/libc.so.6",
  );
  // Debian 11, Ubuntu 20.04, RHEL 8.
  assert.equal(cLibraryPath(other + line("/lib/libc-2.31.so") + line("/lib/libc-client.so")), "/lib/libc-2.31.so");
  assert.equal(cLibraryPath(other + line("/lib/ld-musl-aarch64.so.1")), "/lib/ld-musl-aarch64.so.1");
  assert.equal(cLibraryPath(line("/a b/libc.musl-x86_64.so.1")), "/a b/libc.musl-x86_64.so.1");
  assert.throws(() => cLibraryPath(other), LibraryError);
  assert.throws(() => cLibraryPath(""), /the C library cannot be found/);
});

test("a bare name is refused, because a runtime would look for it in the current directory", async () => {
  const ffi = await loadForeignFunctions();
  assert.throws(() => openLibrary(ffi, "libc.so.6", CLOSE), LibraryError);
  assert.throws(() => openLibrary(ffi, "./libc.so.6", CLOSE), LibraryError);
});

test("if executable memory is forbidden, the error says so and what forbids it", () => {
  assert.throws(
    () => openLibrary(failing("bun:ffi requires the JIT"), "/lib/libc.so.6", CLOSE),
    (error) =>
      error instanceof LibraryError && error.cause instanceof TypeError &&
      /^executable memory is forbidden here \(MemoryDenyWriteExecute=, SELinux execmem, LimitDATA= or/.test(
        error.message,
      ),
  );
});

test("a library that cannot be opened is an error with its path and the reason", async () => {
  const ffi = await loadForeignFunctions();
  assert.throws(
    () => openLibrary(ffi, "/nonexistent/libc.so.6", CLOSE),
    (error) =>
      error instanceof LibraryError && error.cause instanceof Error &&
      error.message === "the C library /nonexistent/libc.so.6 cannot be opened",
  );
});
