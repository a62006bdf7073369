import { closeSync, constants, fstatSync, openSync } from "node:fs";
import type { Libc } from "../../ffi/libc.ts";
import { Directory } from "../receivers/vsock/directory.ts";
import type { AllowedFile, AllowedFolder } from "./protocol.ts";

/** The deepest that a file may be below a folder: the names of directories on the way. */
const MAX_DEPTH = 16;
/** A FIFO or a device in the place of a file must not make this process wait. */
const FLAGS = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;

/** Why a file is not opened. */
export class FileRefusal extends Error {
  override readonly name = "FileRefusal";
}

/**
 * Opens a file for reading, if it is one of those that may be opened, and a regular file. Returns its descriptor.
 * Throws a {@link FileRefusal}, or what open(2) does.
 */
export function openAllowed(libc: Libc, allowed: readonly (AllowedFile | AllowedFolder)[], path: string): number {
  for (const each of allowed) {
    if ("file" in each) {
      if (each.file === path) return requireFile(openSync(path, FLAGS), path);
    } else {
      const names = namesBelow(each.directory, path);
      if (names?.at(-1) === each.name) return openBelow(libc, each.directory, names, path);
    }
  }
  throw new FileRefusal(`${JSON.stringify(path)} is not a file that the forwarder may read`);
}

/** The names that lead from a directory to a path, if they do so without a detour. */
function namesBelow(directory: string, path: string): string[] | undefined {
  const prefix = directory === "/" ? "/" : `${directory}/`;
  if (!path.startsWith(prefix) || path.includes("\0")) return undefined;
  const names = path.slice(prefix.length).split("/");
  const isPlain = names.every((name) => name !== "" && name !== "." && name !== "..");
  return isPlain && names.length <= MAX_DEPTH ? names : undefined;
}

function openBelow(libc: Libc, directory: string, names: readonly string[], path: string): number {
  const opened: Directory[] = [];
  try {
    let current = Directory.open(libc, directory);
    for (const name of names.slice(0, -1)) {
      if (current === undefined) break;
      opened.push(current);
      current = current.child(name);
    }
    if (current === undefined) throw new FileRefusal(`${JSON.stringify(path)} does not exist`);
    opened.push(current);
    const file = openSync(`${current.path}/${names.at(-1)}`, FLAGS | constants.O_NOFOLLOW);
    return requireFile(file, path);
  } finally {
    for (const each of opened) each.close();
  }
}

function requireFile(descriptor: number, path: string): number {
  if (fstatSync(descriptor).isFile()) return descriptor;
  closeSync(descriptor);
  throw new FileRefusal(`${JSON.stringify(path)} is not a regular file`);
}
