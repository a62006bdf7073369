import { readFileSync } from "node:fs";
import { LibraryError } from "./errors.ts";
import type { Declarations, ForeignFunctions, NativeFunctions } from "./library.ts";

/**
 * The file names of glibc (before 2.34 `libc.so.6` is a link to `libc-2.31.so` and the like), and of musl as its linker
 * maps it and as Alpine also calls it.
 */
const C_LIBRARY = /^(?:libc\.so\.6|libc-2\.[0-9]+\.so|ld-musl-[a-z0-9_]+\.so\.1|libc\.musl-[a-z0-9_]+\.so\.1)$/;

/** Bun's error if memory cannot be made executable, which calls into libraries need; bun:ffi. */
const NO_EXECUTABLE_MEMORY = /requires the JIT/;

/**
 * The absolute path of the C library that this process runs with, from its own memory map. An absolute path, because
 * Bun looks for a bare name in the current directory too, and would run whatever code it finds there.
 *
 * @param maps `/proc/self/maps`; proc_pid_maps(5).
 */
export function cLibraryPath(maps: string = readFileSync("/proc/self/maps", "utf8")): string {
  for (const line of maps.split("\n")) {
    const path = line.slice(Math.max(line.indexOf(" /") + 1, 0));
    if (path.startsWith("/") && C_LIBRARY.test(path.slice(path.lastIndexOf("/") + 1))) return path;
  }
  throw new LibraryError("the C library cannot be found: /proc/self/maps names neither glibc's nor musl's");
}

/** Opens the C library that this process runs with. Throws {@link LibraryError}. */
export function openCLibrary<const D extends Declarations>(ffi: ForeignFunctions, declarations: D): NativeFunctions<D> {
  return openLibrary(ffi, cLibraryPath(), declarations);
}

/** Opens a library by its absolute path. Throws {@link LibraryError}. */
export function openLibrary<const D extends Declarations>(
  ffi: ForeignFunctions,
  path: string,
  declarations: D,
): NativeFunctions<D> {
  if (!path.startsWith("/")) throw new LibraryError(`the path of a library must be absolute: ${path}`);
  try {
    return ffi.open(path, declarations);
  } catch (error) {
    if (error instanceof Error && NO_EXECUTABLE_MEMORY.test(error.message)) {
      throw new LibraryError(
        "executable memory is forbidden here (MemoryDenyWriteExecute=, SELinux execmem, LimitDATA= or LimitAS=), and " +
          "the runtime needs it to call the C library: allow it, or raise the limit",
        { cause: error },
      );
    }
    throw new LibraryError(`the C library ${path} cannot be opened`, { cause: error });
  }
}
