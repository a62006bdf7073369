import process from "node:process";
import { LibcError, LibraryError } from "./errors.ts";
import { type Declarations, type ForeignFunctions, loadForeignFunctions, type NativeFunctions } from "./library.ts";

const DECLARATIONS = {
  __errno_location: { parameters: [], result: "u64" },
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  listen: { parameters: ["i32", "i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  getpeername: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  send: { parameters: ["i32", "buffer", "u64", "i32"], result: "i64" },
  fcntl: { parameters: ["i32", "i32", "i64"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  openat: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "u64"], result: "i64" },
  inotify_init1: { parameters: ["i32"], result: "i32" },
  inotify_add_watch: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  inotify_rm_watch: { parameters: ["i32", "i32"], result: "i32" },
  prctl: { parameters: ["i32", "u64", "u64", "u64", "u64"], result: "i32" },
  setgroups: { parameters: ["u64", "buffer"], result: "i32" },
  setresgid: { parameters: ["u32", "u32", "u32"], result: "i32" },
  setresuid: { parameters: ["u32", "u32", "u32"], result: "i32" },
  capset: { parameters: ["buffer", "buffer"], result: "i32" },
  execve: { parameters: ["buffer", "buffer", "buffer"], result: "i32" },
  getpwnam_r: { parameters: ["buffer", "buffer", "buffer", "u64", "buffer"], result: "i32" },
  getpwuid_r: { parameters: ["u32", "buffer", "buffer", "u64", "buffer"], result: "i32" },
  getgrnam_r: { parameters: ["buffer", "buffer", "buffer", "u64", "buffer"], result: "i32" },
  syscall: { parameters: ["i64", "i64", "i64", "i64"], result: "i64" },
} as const satisfies Declarations;

/** fcntl(2): duplicate a descriptor, close-on-exec. */
const F_DUPFD_CLOEXEC = 1030;
/** Room for `struct passwd` (48 bytes) and `struct group` (32 bytes) of glibc and musl. */
const RECORD_BYTES = 64;
/** Where both C libraries keep the numbers in them: `pw_uid` and `pw_gid` after two pointers, and `gr_gid` likewise. */
const FIRST_ID_OFFSET = 16;
const SECOND_ID_OFFSET = 20;
/** Strings of one record: first try and limit, bytes. A group with thousands of members needs more than the first. */
const LOOKUP_BYTES = 4096;
const LOOKUP_BYTES_MAX = 16 * 1024 * 1024;
/** errno(3) */
const ERANGE = 34;
/** struct sockaddr_storage, socket(7) */
const SOCKADDR_STORAGE_BYTES = 128;

const encoder = new TextEncoder();

/** The numbers that passwd(5) has for a user. */
export interface UserRecord {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Calls to the C library. Every one is synchronous, does what the manual page of its name says, and throws a
 * {@link LibcError} where that page says -1.
 *
 * Belongs to the thread that opened it: errno is a thread's own.
 */
export class Libc {
  readonly #ffi: ForeignFunctions;
  readonly #c: NativeFunctions<typeof DECLARATIONS>;
  /**
   * errno itself, not a copy. It is read with no native call in between, which could change it: asking
   * `__errno_location()` after each failure would be one.
   */
  readonly #errno: Int32Array;

  constructor(ffi: ForeignFunctions) {
    this.#ffi = ffi;
    this.#c = openAny(ffi, libcNames(), DECLARATIONS);
    this.#errno = new Int32Array(ffi.view(this.#c.__errno_location(), 4));
  }

  /** Gives a call's result back, or throws what errno says. To be called right after it. */
  #check<Result extends number | bigint>(call: string, result: Result): Result {
    if (result < 0) throw new LibcError(call, this.#errno[0] as number);
    return result;
  }

  /** A new socket's descriptor. */
  socket(domain: number, type: number, protocol: number): number {
    return this.#check("socket", this.#c.socket(domain, type, protocol));
  }

  /** Binds to a `struct sockaddr_*`. */
  bind(fd: number, address: Uint8Array): void {
    this.#check("bind", this.#c.bind(fd, address, address.length));
  }

  listen(fd: number, backlog: number): void {
    this.#check("listen", this.#c.listen(fd, backlog));
  }

  /** Connects to a `struct sockaddr_*`. */
  connect(fd: number, address: Uint8Array): void {
    this.#check("connect", this.#c.connect(fd, address, address.length));
  }

  /** Sends from a connected socket; gives how many bytes it took. */
  send(fd: number, bytes: Uint8Array, flags: number): number {
    return Number(this.#check("send", this.#c.send(fd, bytes, BigInt(bytes.length), flags)));
  }

  /** The peer's `struct sockaddr_*`. */
  getpeername(fd: number): Uint8Array {
    const address = new Uint8Array(SOCKADDR_STORAGE_BYTES);
    const length = new Uint32Array([address.length]);
    this.#check("getpeername", this.#c.getpeername(fd, address, new Uint8Array(length.buffer)));
    return address.subarray(0, length[0]);
  }

  /** fcntl(2) with a number for argument. */
  fcntl(fd: number, command: number, argument: number): number {
    return this.#check("fcntl", this.#c.fcntl(fd, command, BigInt(argument)));
  }

  /** A second descriptor of the same open file, close-on-exec. */
  duplicate(fd: number): number {
    return this.fcntl(fd, F_DUPFD_CLOEXEC, 0);
  }

  close(fd: number): void {
    this.#check("close", this.#c.close(fd));
  }

  /** openat(2) of something that is there: nothing is created. */
  openAt(directory: number, path: string, flags: number): number {
    return this.#check("openat", this.#c.openat(directory, cString(path), flags));
  }

  /** Reads into a buffer; gives how many bytes it got. */
  read(fd: number, buffer: Uint8Array): number {
    return Number(this.#check("read", this.#c.read(fd, buffer, BigInt(buffer.length))));
  }

  /** A new inotify instance's descriptor; inotify(7). */
  inotifyInit(flags: number): number {
    return this.#check("inotify_init1", this.#c.inotify_init1(flags));
  }

  /** The watch descriptor of a path: the same one for the same file. */
  inotifyAddWatch(fd: number, path: string, mask: number): number {
    const name = cString(path);
    return this.#check("inotify_add_watch", this.#c.inotify_add_watch(fd, name, mask));
  }

  inotifyRemoveWatch(fd: number, watch: number): void {
    this.#check("inotify_rm_watch", this.#c.inotify_rm_watch(fd, watch));
  }

  /** prctl(2) with one argument; it acts on the calling thread alone. */
  prctl(option: number, argument: bigint): number {
    return this.#check("prctl", this.#c.prctl(option, argument, 0n, 0n, 0n));
  }

  /** Supplementary groups of every thread. */
  setgroups(gids: readonly number[]): void {
    const list = new Uint8Array(Uint32Array.from(gids).buffer);
    this.#check("setgroups", this.#c.setgroups(BigInt(gids.length), list));
  }

  /** Real, effective and saved group ID of every thread: libc, unlike the kernel, carries the change to all of them. */
  setresgid(real: number, effective: number, saved: number): void {
    this.#check("setresgid", this.#c.setresgid(real, effective, saved));
  }

  /** Real, effective and saved user ID of every thread, as {@link setresgid}. */
  setresuid(real: number, effective: number, saved: number): void {
    this.#check("setresuid", this.#c.setresuid(real, effective, saved));
  }

  /** Capabilities of the calling thread alone, as `struct __user_cap_header_struct` and `…_data_struct[2]`; capset(2). */
  capset(header: Uint8Array, data: Uint8Array): void {
    this.#check("capset", this.#c.capset(header, data));
  }

  /** Becomes another program, with the same process ID; returns only by throwing. execve(2) */
  execve(path: string, words: readonly string[], environment: readonly string[]): void {
    const lists = [words, environment].map((list) => list.map(cString));
    const [argv, envp] = lists.map((list) => {
      const pointers = BigUint64Array.from([...list.map((text) => this.#ffi.addressOf(text)), 0n]);
      return new Uint8Array(pointers.buffer);
    });
    const result = this.#c.execve(cString(path), argv as Uint8Array, envp as Uint8Array);
    this.#check("execve", result);
    // Never reached: keeps the strings reachable until then.
    throw new Error(`execve of ${lists.flat().length} strings came back`);
  }

  /** syscall(2), for what libc has no function for. Gives what the kernel gives. */
  syscall(name: string, number: number, first: bigint, second: bigint, third: bigint): bigint {
    return this.#check(name, this.#c.syscall(BigInt(number), first, second, third));
  }

  /** The user of this name, wherever nsswitch.conf(5) says that users are; undefined where there is none. */
  userByName(name: string): UserRecord | undefined {
    if (name.includes("\0")) return undefined;
    const nameBytes = cString(name);
    const record = this.#lookUp(
      "getpwnam_r",
      (...rest) => this.#c.getpwnam_r(nameBytes, ...rest),
    );
    return record && userRecord(record);
  }

  /** The user of this number; undefined where there is none. */
  userById(uid: number): UserRecord | undefined {
    const record = this.#lookUp("getpwuid_r", (...rest) => this.#c.getpwuid_r(uid, ...rest));
    return record && userRecord(record);
  }

  /** The number of the group of this name; undefined where there is none. */
  groupByName(name: string): number | undefined {
    if (name.includes("\0")) return undefined;
    const nameBytes = cString(name);
    const record = this.#lookUp(
      "getgrnam_r",
      (...rest) => this.#c.getgrnam_r(nameBytes, ...rest),
    );
    return record?.getUint32(FIRST_ID_OFFSET, true);
  }

  /** getpwnam(3): these give an errno back instead of setting it, and ask for more room with ERANGE. */
  #lookUp(
    call: string,
    look: (record: Uint8Array, strings: Uint8Array, size: bigint, found: Uint8Array) => number,
  ): DataView | undefined {
    const record = new Uint8Array(RECORD_BYTES);
    const found = new BigUint64Array(1);
    for (let bytes = LOOKUP_BYTES;; bytes *= 4) {
      const strings = new Uint8Array(bytes);
      const errno = look(record, strings, BigInt(bytes), new Uint8Array(found.buffer));
      if (found[0] !== 0n) return new DataView(record.buffer);
      // "Not found" has no one value: 0, ENOENT, ESRCH, EBADF, EPERM are all in use, as the page says.
      if (errno !== ERANGE) return undefined;
      if (bytes >= LOOKUP_BYTES_MAX) throw new LibcError(call, errno);
    }
  }

  /** The address of a buffer; see {@link ForeignFunctions.addressOf} for how long it holds. */
  addressOf(buffer: Uint8Array<ArrayBuffer>): bigint {
    return this.#ffi.addressOf(buffer);
  }
}

let opened: Libc | undefined;

/** The C library through a given interface; opened once a thread. Throws {@link LibraryError}. */
export function openLibc(ffi: ForeignFunctions): Libc {
  return opened ??= new Libc(ffi);
}

/** The C library, opened at the first call. Rejects with {@link LibraryError}. */
export async function loadLibc(): Promise<Libc> {
  return opened ?? openLibc(await loadForeignFunctions());
}

/** What the C library is called: by glibc, by musl (whose linker also takes the first for itself), by Alpine. */
export function libcNames(architecture: string = process.arch): readonly string[] {
  const machine = architecture === "arm64" ? "aarch64" : "x86_64";
  return ["libc.so.6", `libc.musl-${machine}.so.1`, `ld-musl-${machine}.so.1`];
}

/** Opens the first library that there is. Throws {@link LibraryError} with what each name came to. */
export function openAny<const D extends Declarations>(
  ffi: ForeignFunctions,
  names: readonly string[],
  declarations: D,
): NativeFunctions<D> {
  const failures: unknown[] = [];
  for (const name of names) {
    try {
      return ffi.open(name, declarations);
    } catch (error) {
      failures.push(error);
    }
  }
  throw new LibraryError(`cannot open the C library as any of ${names.join(", ")}`, {
    cause: new AggregateError(failures, failures.map(String).join("; ")),
  });
}

function cString(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(`${text}\0`);
}

function userRecord(record: DataView): UserRecord {
  return {
    uid: record.getUint32(FIRST_ID_OFFSET, true),
    gid: record.getUint32(SECOND_ID_OFFSET, true),
  };
}
