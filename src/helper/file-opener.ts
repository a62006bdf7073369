import { closeSync, constants, fstatSync, openSync, readdirSync } from "node:fs";
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
  /** The name of the errno that open(2) would have. */
  readonly code: string;

  constructor(message: string, { code = "EPERM" }: { readonly code?: string } = {}) {
    super(message);
    this.code = code;
  }
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

/**
 * The first names in a directory that begin with a prefix, if files below it may be opened. Throws a
 * {@link FileRefusal}, or what open(2) does.
 */
export function listAllowed(
  libc: Libc,
  allowed: readonly (AllowedFile | AllowedFolder)[],
  path: string,
  prefix: string,
  most: number,
): string[] {
  for (const each of allowed) {
    if ("file" in each) continue;
    const names = each.directory === path ? [] : namesBelow(each.directory, path);
    if (names === undefined) continue;
    return inDirectory(libc, each.directory, names, path, (directory) => {
      return readdirSync(directory.path).filter((name) => name.startsWith(prefix)).slice(0, most);
    });
  }
  throw new FileRefusal(`${JSON.stringify(path)} is not a directory that the forwarder may read`);
}

/** The names that lead from a directory to a path, if they do so without a detour. */
function namesBelow(directory: string, path: string): string[] | undefined {
  const prefix = directory === "/" ? "/" : `${directory}/`;
  if (!path.startsWith(prefix) || path.includes("\0")) return undefined;
  const names = path.slice(prefix.length).split("/");
  const isPlain = names.every((name) => name !== "" && name !== "." && name !== "..");
  return isPlain && names.length <= MAX_DEPTH ? names : undefined;
}

function openBelow(libc: Libc, base: string, names: readonly string[], path: string): number {
  return inDirectory(libc, base, names.slice(0, -1), path, (directory) => {
    return requireFile(openSync(`${directory.path}/${names.at(-1)}`, FLAGS | constants.O_NOFOLLOW), path);
  });
}

/** Opens the directories that lead from one to another, and does something in the last. */
function inDirectory<Result>(
  libc: Libc,
  base: string,
  names: readonly string[],
  path: string,
  operation: (directory: Directory) => Result,
): Result {
  const opened: Directory[] = [];
  try {
    let current = Directory.open(libc, base);
    for (const name of names) {
      if (current === undefined) break;
      opened.push(current);
      current = current.child(name);
    }
    if (current === undefined) throw new FileRefusal(`${JSON.stringify(path)} does not exist`, { code: "ENOENT" });
    opened.push(current);
    return operation(current);
  } finally {
    for (const each of opened) each.close();
  }
}

function requireFile(descriptor: number, path: string): number {
  if (fstatSync(descriptor).isFile()) return descriptor;
  closeSync(descriptor);
  throw new FileRefusal(`${JSON.stringify(path)} is not a regular file`);
}
