import { LibcError } from "./errors.ts";
import { DECLARATIONS } from "./declarations.ts";
import { openCLibrary } from "./open-library.ts";
import { type ForeignFunctions, loadForeignFunctions, type NativeFunctions } from "./library.ts";

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
    this.#c = openCLibrary(ffi, DECLARATIONS);
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

  /** Sends the message that a `struct msghdr` describes; gives how many bytes of data it took. */
  sendmsg(fd: number, header: Uint8Array, flags: number): number {
    return Number(this.#check("sendmsg", this.#c.sendmsg(fd, header, flags)));
  }

  /** Receives a message into what a `struct msghdr` describes; gives how many bytes of data it got. */
  recvmsg(fd: number, header: Uint8Array, flags: number): number {
    return Number(this.#check("recvmsg", this.#c.recvmsg(fd, header, flags)));
  }

  /** Two sockets that are connected to each other. */
  socketpair(domain: number, type: number, protocol: number): readonly [number, number] {
    const pair = new Int32Array(2);
    this.#check("socketpair", this.#c.socketpair(domain, type, protocol, new Uint8Array(pair.buffer)));
    return [pair[0] as number, pair[1] as number];
  }

  /** A socket's option, of at most `size` bytes. */
  getsockopt(fd: number, level: number, option: number, size: number): Uint8Array<ArrayBuffer> {
    const value = new Uint8Array(size);
    const length = new Uint32Array([size]);
    this.#check("getsockopt", this.#c.getsockopt(fd, level, option, value, new Uint8Array(length.buffer)));
    return value.subarray(0, length[0]);
  }

  /** The socket's own `struct sockaddr_*`. */
  getsockname(fd: number): Uint8Array {
    return this.#address("getsockname", (address, length) => this.#c.getsockname(fd, address, length));
  }

  /** The peer's `struct sockaddr_*`. */
  getpeername(fd: number): Uint8Array {
    return this.#address("getpeername", (address, length) => this.#c.getpeername(fd, address, length));
  }

  #address(call: string, ask: (address: Uint8Array, length: Uint8Array) => number): Uint8Array {
    const address = new Uint8Array(SOCKADDR_STORAGE_BYTES);
    const length = new Uint32Array([address.length]);
    this.#check(call, ask(address, new Uint8Array(length.buffer)));
    return address.subarray(0, length[0]);
  }

  /** fcntl(2) with a number for argument. */
  fcntl(fd: number, command: number, argument: number): number {
    return this.#check("fcntl", this.#c.fcntl(fd, command, BigInt(argument)));
  }

  /** Locks or unlocks an open file; flock(2). */
  flock(fd: number, operation: number): void {
    this.#check("flock", this.#c.flock(fd, operation));
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

  /** A file without a name that lives in memory for as long as somebody has it open; memfd_create(2). */
  memfdCreate(name: string, flags: number): number {
    return this.#check("memfd_create", this.#c.memfd_create(cString(name), flags));
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

  /**
   * Capabilities of the calling thread alone, as `struct __user_cap_header_struct` and `…_data_struct[2]`; capset(2).
   */
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

function cString(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(`${text}\0`);
}

function userRecord(record: DataView): UserRecord {
  return {
    uid: record.getUint32(FIRST_ID_OFFSET, true),
    gid: record.getUint32(SECOND_ID_OFFSET, true),
  };
}
