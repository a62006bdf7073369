import * as fs from "node:fs";
import { basename, join } from "node:path";
import process from "node:process";
import { describeError } from "../../base/log.ts";
import { errnoOf, SpoolError } from "./spool-error.ts";
import type { SpoolStorage, StoredFile } from "./storage.ts";

/** What `file-storage.ts` needs of the C library; {@link loadLibc} in `ffi/` has it. */
export interface FileLocks {
  /** flock(2). Throws an error whose `code` is the errno's name. */
  flock(fd: number, operation: number): void;
}

/** flock(2): for this process alone, and an error instead of waiting. */
const LOCK_EX = 2;
const LOCK_NB = 4;

/**
 * Descriptors that the spool keeps open besides that of its directory. The one used longest ago is closed first. A
 * replay reads the records of many guests in turns, each guest's in order, so it goes to and fro between segments. A
 * spool of 512 MiB has as many as this.
 */
const MAX_OPEN_FILES = 32;

/** Permission bits that let other users in. */
const OTHERS = 0o077;

/** The file system's own directory and files. */
export class FileStorage implements SpoolStorage {
  readonly path: string;
  readonly #directory: number;
  readonly #open: OpenFiles;

  private constructor(path: string, directory: number, most: number) {
    this.path = path;
    this.#directory = directory;
    this.#open = { files: new Set(), most };
  }

  /**
   * Opens the spool's directory for this process alone. The lock ends with the process, however it ends.
   *
   * @param path of a directory that `prepareSpoolDirectory` has prepared. @param mostOpen files at the same time.
   * Throws {@link SpoolError}, of kind `locked` if another process has it.
   */
  static open(path: string, locks: FileLocks, mostOpen: number = MAX_OPEN_FILES): FileStorage {
    const directory = openDirectory(path);
    try {
      checkOwner(path, directory);
      lock(path, directory, locks);
      return new FileStorage(path, directory, mostOpen);
    } catch (error) {
      fs.closeSync(directory);
      throw error;
    }
  }

  list(): string[] {
    return fs.readdirSync(this.path);
  }

  open(name: string): StoredFile {
    const file = new File(this.#open, this.path, name);
    file.openExisting();
    return file;
  }

  create(name: string): StoredFile {
    const file = new File(this.#open, this.path, name);
    file.create();
    return file;
  }

  remove(name: string): void {
    fs.unlinkSync(join(this.path, name));
  }

  exists(name: string): boolean {
    return fs.lstatSync(join(this.path, name), { throwIfNoEntry: false }) !== undefined;
  }

  sync(): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.fsync(this.#directory, (error) => error ? reject(error) : resolve());
    });
  }

  freeBytes(): number {
    const { bavail, bsize } = fs.statfsSync(this.path);
    return bavail * bsize;
  }

  close(): void {
    for (const file of [...this.#open.files]) file.close();
    fs.closeSync(this.#directory);
  }
}

interface OpenFiles {
  /** Those with an open descriptor, the one used longest ago first. */
  readonly files: Set<File>;
  /** How many may be open. */
  readonly most: number;
}

class File implements StoredFile {
  readonly #open: OpenFiles;
  readonly #directory: string;
  #name: string;
  #fd: number | undefined;
  /** What the name led to when it was opened first. */
  #identity: { readonly dev: number; readonly ino: number } | undefined;
  #size = 0;
  /** How many calls on other threads use the descriptor. */
  #underWay = 0;

  constructor(open: OpenFiles, directory: string, name: string) {
    this.#open = open;
    this.#directory = directory;
    this.#name = name;
  }

  get name(): string {
    return this.#name;
  }
  get size(): number {
    return this.#size;
  }
  get #path(): string {
    return join(this.#directory, this.#name);
  }

  openExisting(): void {
    this.#use(openRegular(this.#path, this.#name));
  }

  create(): void {
    const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = fs.constants;
    this.#use(fs.openSync(this.#path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600));
  }

  rename(name: string): void {
    const path = this.#path;
    this.#name = name;
    try {
      fs.renameSync(path, this.#path);
    } catch (error) {
      this.#name = basename(path);
      throw error;
    }
  }

  read(buffers: readonly Uint8Array[], position: number): number {
    const fd = this.#descriptor();
    const wanted = buffers.reduce((sum, { length }) => sum + length, 0);
    let read = fs.readvSync(fd, buffers, position);
    // Fewer bytes than asked for are rare, and mostly the file's end.
    while (read > 0 && read < wanted) {
      const more = fs.readvSync(fd, rest(buffers, read), position + read);
      if (more === 0) break;
      read += more;
    }
    return read;
  }

  write(bytes: Uint8Array, position: number): void {
    const fd = this.#descriptor();
    for (let written = 0; written < bytes.length;) {
      written += fs.writeSync(fd, bytes, written, bytes.length - written, position + written);
      this.#size = Math.max(this.#size, position + written);
    }
  }

  sync(): Promise<void> {
    const fd = this.#descriptor();
    this.#underWay++;
    return new Promise((resolve, reject) => {
      fs.fdatasync(fd, (error) => {
        this.#underWay--;
        if (error) reject(error);
        else resolve();
      });
    });
  }

  close(): void {
    if (this.#fd === undefined) return;
    this.#open.files.delete(this);
    const fd = this.#fd;
    this.#fd = undefined;
    fs.closeSync(fd);
  }

  #descriptor(): number {
    if (this.#fd === undefined) this.#use(openRegular(this.#path, this.#name));
    // Used last.
    this.#open.files.delete(this);
    this.#open.files.add(this);
    return this.#fd as number;
  }

  #use(fd: number): void {
    try {
      const { dev, ino, size } = fs.fstatSync(fd);
      this.#identity ??= { dev, ino };
      if (dev !== this.#identity.dev || ino !== this.#identity.ino) {
        throw new SpoolError("failed", `${this.#path} has been replaced by another file`);
      }
      this.#size = size;
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
    this.#fd = fd;
    const { files, most } = this.#open;
    files.add(this);
    for (const file of files) {
      if (files.size <= most) break;
      if (file !== this && file.#underWay === 0) file.close();
    }
  }
}

/** What of the buffers is behind the first so many bytes. */
function rest(buffers: readonly Uint8Array[], bytes: number): Uint8Array[] {
  const left: Uint8Array[] = [];
  for (const buffer of buffers) {
    const skipped = Math.min(bytes, buffer.length);
    bytes -= skipped;
    if (skipped < buffer.length) left.push(buffer.subarray(skipped));
  }
  return left;
}

/** Opens a file that only the forwarder can have made. */
function openRegular(path: string, name: string): number {
  const { O_RDWR, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
  const refuse = (what: string): SpoolError =>
    new SpoolError("failed", `${name} in the spool's directory is ${what}: the forwarder did not make it`);
  // Before it is opened too, because to open a device may do something.
  if (!fs.lstatSync(path).isFile()) throw refuse("not a regular file");
  const fd = fs.openSync(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK);
  try {
    const stat = fs.fstatSync(fd);
    if (!stat.isFile()) throw refuse("not a regular file");
    if (stat.nlink !== 1) throw refuse("a hard link, or has one elsewhere");
    if (stat.uid !== process.geteuid?.()) throw refuse(`a file of user ${stat.uid}`);
    return fd;
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
}

function openDirectory(path: string): number {
  const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = fs.constants;
  try {
    return fs.openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  } catch (cause) {
    const message = errnoOf(cause) === "EACCES"
      ? `spool directory ${path} is out of reach for the user that the forwarder runs as: ` +
        "make each directory above it passable for that user (chmod o+x), or give another"
      : `spool directory ${path} cannot be opened: ${describeError(cause)}`;
    throw new SpoolError("failed", message, { cause });
  }
}

/** Once more after `prepareSpoolDirectory`, because the process may have been another user then. */
function checkOwner(path: string, directory: number): void {
  const { uid, mode } = fs.fstatSync(directory);
  if (uid !== process.geteuid?.()) {
    throw new SpoolError("failed", `spool directory ${path} belongs to user ${uid}: chown it, or give another`);
  }
  if ((mode & OTHERS) !== 0) {
    throw new SpoolError("failed", `spool directory ${path} is open to other users: chmod 700 it`);
  }
}

/**
 * The directory itself is what is locked, so that nothing need be written, and no file can be put in a lock's place.
 */
function lock(path: string, directory: number, locks: FileLocks): void {
  try {
    locks.flock(directory, LOCK_EX | LOCK_NB);
  } catch (cause) {
    if (errnoOf(cause) !== "EAGAIN") {
      throw new SpoolError("failed", `spool directory ${path} cannot be locked: ${describeError(cause)}`, { cause });
    }
    const holder = lockHolder(fs.fstatSync(directory).ino);
    const process = holder === undefined ? "" : ` (process ${holder})`;
    throw new SpoolError("locked", `spool ${path}: in use by another forwarder${process}`, { cause });
  }
}

/** The process that has an inode locked, if the kernel says so (proc_locks(5)); it may be in another PID namespace. */
export function lockHolder(inode: number): number | undefined {
  try {
    const locks = fs.readFileSync("/proc/locks", "utf8");
    const match = new RegExp(` (\\d+) [0-9a-f]+:[0-9a-f]+:${inode} `).exec(locks);
    return match === null || match[1] === "0" ? undefined : Number(match[1]);
  } catch (error) {
    // It only helps whoever reads the message: without /proc it is left out.
    if (!(error instanceof Error)) throw error;
    return undefined;
  }
}
