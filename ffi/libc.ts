import { LibcError } from "./errors.ts";
import { DECLARATIONS } from "./declarations.ts";
import { openCLibrary } from "./open-library.ts";
import { type ForeignFunctions, loadForeignFunctions, type NativeFunctions } from "./library.ts";

/** fcntl(2): duplicates a descriptor, with close-on-exec. */
const F_DUPFD_CLOEXEC = 1030;
/** Room for `struct passwd` (48 bytes) and `struct group` (32 bytes) of glibc and musl. */
const RECORD_BYTES = 64;
/** Where both C libraries have the numbers in them: `pw_uid` and `pw_gid` follow two pointers, and so does `gr_gid`. */
const FIRST_ID_OFFSET = 16;
const SECOND_ID_OFFSET = 20;
/**
 * Bytes for the strings of one record: at first, and at most. A group with thousands of members needs more at first.
 */
const LOOKUP_BYTES = 4096;
const LOOKUP_BYTES_MAX = 16 * 1024 * 1024;
/** `struct pollfd`: descriptor i32, events i16, what is true i16. */
const POLLFD_BYTES = 8;
/** mmap(2), asm-generic/mman-common.h. */
const PROT_READ = 0x1;
const PROT_WRITE = 0x2;
const MAP_SHARED = 0x1;
/** madvise(2) */
const MADV_REMOVE = 9;
/** fcntl(2) */
const O_CLOEXEC = 0o2000000;
/** A signal has interrupted a call (errno.h). */
const EINTR = 4;
/** errno(3) */
const ERANGE = 34;
/** struct sockaddr_storage, socket(7) */
const SOCKADDR_STORAGE_BYTES = 128;

const encoder = new TextEncoder();

/** A file's bytes in memory, which stay there until the process ends. */
export interface SharedMemory {
  /** Of the first byte. */
  readonly address: bigint;
  /** What is written here is in the file at once, also for processes that come later. */
  readonly bytes: Uint8Array;
  /** Gives pages back to the system, `[at, at + length)`: they are all zeros from then on. */
  discard(at: number, length: number): void;
}

/** A user's numbers in passwd(5). */
export interface UserRecord {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Calls to the C library. Each one is synchronous, does what the manual page of that name says, and throws a
 * {@link LibcError} where that page says -1.
 *
 * It belongs to the thread that opened it, because each thread has an errno of its own.
 */
export class Libc {
  readonly #ffi: ForeignFunctions;
  readonly #c: NativeFunctions<typeof DECLARATIONS>;
  /**
   * errno itself, not a copy. It has to be read without a native call in between, such as one to `__errno_location()`,
   * because that could change it.
   */
  readonly #errno: Int32Array;

  constructor(ffi: ForeignFunctions) {
    this.#ffi = ffi;
    this.#c = openCLibrary(ffi, DECLARATIONS);
    this.#errno = new Int32Array(ffi.view(this.#c.__errno_location(), 4));
  }

  /** Returns a call's result, or throws its errno. To be called right after the call. */
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

  /** Sends from a connected socket. Returns how many bytes were sent. */
  send(fd: number, bytes: Uint8Array, flags: number): number {
    return Number(this.#check("send", this.#c.send(fd, bytes, BigInt(bytes.length), flags)));
  }

  /** Sends the message that a `struct msghdr` describes. Returns how many bytes of data were sent. */
  sendmsg(fd: number, header: Uint8Array, flags: number): number {
    return Number(this.#check("sendmsg", this.#c.sendmsg(fd, header, flags)));
  }

  /** Receives a message into the buffers of a `struct msghdr`. Returns how many bytes of data were received. */
  recvmsg(fd: number, header: Uint8Array, flags: number): number {
    return Number(this.#check("recvmsg", this.#c.recvmsg(fd, header, flags)));
  }

  /** Receives into a buffer. Returns how many bytes were received. */
  recv(fd: number, buffer: Uint8Array, flags: number): number {
    return Number(this.#check("recv", this.#c.recv(fd, buffer, BigInt(buffer.length), flags)));
  }

  /**
   * Receives one message as the `struct mmsghdr` at an address says. The kernel writes the data and how much that is
   * there, so both are there even if the process is killed in this call.
   */
  recvmmsg(fd: number, header: bigint, flags: number): void {
    this.#check("recvmmsg", this.#c.recvmmsg(fd, header, 1, flags, 0n));
  }

  /** Two sockets that are connected to each other. */
  socketpair(domain: number, type: number, protocol: number): readonly [number, number] {
    const pair = new Int32Array(2);
    this.#check("socketpair", this.#c.socketpair(domain, type, protocol, new Uint8Array(pair.buffer)));
    return [pair[0] as number, pair[1] as number];
  }

  /** What of `events` is true of a descriptor now, and what of it is an error; poll(2) without waiting. */
  poll(fd: number, events: number): number {
    const descriptor = new Uint8Array(POLLFD_BYTES);
    const view = new DataView(descriptor.buffer);
    view.setInt32(0, fd, true);
    view.setInt16(4, events, true);
    // Even a call that does not wait is interrupted by a signal that has just come.
    let result: number;
    do result = this.#c.poll(descriptor, 1n, 0); while (result < 0 && this.#errno[0] === EINTR);
    this.#check("poll", result);
    return view.getInt16(6, true);
  }

  /** A new epoll instance's descriptor; epoll(7). */
  epollCreate(flags: number): number {
    return this.#check("epoll_create1", this.#c.epoll_create1(flags));
  }

  /** Adds, changes or removes a descriptor. `event` is a `struct epoll_event`, or null to remove it. */
  epollControl(epoll: number, operation: number, fd: number, event: Uint8Array | null): void {
    this.#check("epoll_ctl", this.#c.epoll_ctl(epoll, operation, fd, event));
  }

  /** What is ready now, as an array of `struct epoll_event`. Returns how many there are. */
  epollPoll(epoll: number, events: Uint8Array, most: number): number {
    let result: number;
    do result = this.#c.epoll_wait(epoll, events, most, 0); while (result < 0 && this.#errno[0] === EINTR);
    return this.#check("epoll_wait", result);
  }

  /** Makes a descriptor stand for another one's open file, with close-on-exec; dup3(2). */
  replace(fd: number, by: number): void {
    this.#check("dup3", this.#c.dup3(by, fd, O_CLOEXEC));
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

  /** fcntl(2) with a number as its argument. */
  fcntl(fd: number, command: number, argument: number): number {
    return this.#check("fcntl", this.#c.fcntl(fd, command, BigInt(argument)));
  }

  /** Locks or unlocks an open file; flock(2). */
  flock(fd: number, operation: number): void {
    this.#check("flock", this.#c.flock(fd, operation));
  }

  /** A second descriptor of the same open file, with close-on-exec. */
  duplicate(fd: number): number {
    return this.fcntl(fd, F_DUPFD_CLOEXEC, 0);
  }

  close(fd: number): void {
    this.#check("close", this.#c.close(fd));
  }

  /** openat(2) of something that exists. Nothing is created. */
  openAt(directory: number, path: string, flags: number): number {
    return this.#check("openat", this.#c.openat(directory, cString(path), flags));
  }

  /** A file without a name, which is in memory for as long as it is open anywhere; memfd_create(2). */
  memfdCreate(name: string, flags: number): number {
    return this.#check("memfd_create", this.#c.memfd_create(cString(name), flags));
  }

  /** Makes a file this long; ftruncate(2). */
  truncate(fd: number, bytes: number): void {
    this.#check("ftruncate", this.#c.ftruncate(fd, BigInt(bytes)));
  }

  /**
   * A file's first bytes as memory that is shared with it. The file must be that long, and must stay so: reading past
   * its end kills the process (SIGBUS, mmap(2)).
   */
  mapShared(fd: number, length: number): SharedMemory {
    const protection = PROT_READ | PROT_WRITE;
    const address = this.#check("mmap", this.#c.mmap(0n, BigInt(length), protection, MAP_SHARED, fd, 0n));
    return {
      address,
      bytes: new Uint8Array(this.#ffi.view(address, length)),
      discard: (at, bytes) =>
        void this.#check("madvise", this.#c.madvise(address + BigInt(at), BigInt(bytes), MADV_REMOVE)),
    };
  }

  /** Reads into a buffer. Returns how many bytes were read. */
  read(fd: number, buffer: Uint8Array): number {
    return Number(this.#check("read", this.#c.read(fd, buffer, BigInt(buffer.length))));
  }

  /** A new inotify instance's descriptor; inotify(7). */
  inotifyInit(flags: number): number {
    return this.#check("inotify_init1", this.#c.inotify_init1(flags));
  }

  /** The watch descriptor of a path, which is the same for the same file. */
  inotifyAddWatch(fd: number, path: string, mask: number): number {
    const name = cString(path);
    return this.#check("inotify_add_watch", this.#c.inotify_add_watch(fd, name, mask));
  }

  inotifyRemoveWatch(fd: number, watch: number): void {
    this.#check("inotify_rm_watch", this.#c.inotify_rm_watch(fd, watch));
  }

  /** prctl(2) with one argument. It affects only the calling thread. */
  prctl(option: number, argument: bigint): number {
    return this.#check("prctl", this.#c.prctl(option, argument, 0n, 0n, 0n));
  }

  /** Supplementary groups of every thread. */
  setgroups(gids: readonly number[]): void {
    const list = new Uint8Array(Uint32Array.from(gids).buffer);
    this.#check("setgroups", this.#c.setgroups(BigInt(gids.length), list));
  }

  /** Real, effective and saved group ID of every thread, because libc, unlike the kernel, changes all of them. */
  setresgid(real: number, effective: number, saved: number): void {
    this.#check("setresgid", this.#c.setresgid(real, effective, saved));
  }

  /** Real, effective and saved user ID of every thread, like {@link setresgid}. */
  setresuid(real: number, effective: number, saved: number): void {
    this.#check("setresuid", this.#c.setresuid(real, effective, saved));
  }

  /**
   * The group and the user of the calling thread for access to files. Returns those before. They do not fail, but
   * change nothing if that is not allowed; setfsuid(2).
   */
  setfsgid(gid: number): number {
    return this.#c.setfsgid(gid) >>> 0;
  }
  setfsuid(uid: number): number {
    return this.#c.setfsuid(uid) >>> 0;
  }

  /** syscall(2), for calls that libc has no function for. Returns the kernel's result. */
  syscall(name: string, number: number, first: bigint, second: bigint, third: bigint, fourth: bigint = 0n): bigint {
    return this.#check(name, this.#c.syscall(BigInt(number), first, second, third, fourth));
  }

  /** The user of this name, from the databases in nsswitch.conf(5); undefined if there is none. */
  userByName(name: string): UserRecord | undefined {
    if (name.includes("\0")) return undefined;
    const nameBytes = cString(name);
    const record = this.#lookUp(
      "getpwnam_r",
      (...rest) => this.#c.getpwnam_r(nameBytes, ...rest),
    );
    return record && userRecord(record);
  }

  /** The user of this number; undefined if there is none. */
  userById(uid: number): UserRecord | undefined {
    const record = this.#lookUp("getpwuid_r", (...rest) => this.#c.getpwuid_r(uid, ...rest));
    return record && userRecord(record);
  }

  /** The number of the group of this name; undefined if there is none. */
  groupByName(name: string): number | undefined {
    if (name.includes("\0")) return undefined;
    const nameBytes = cString(name);
    const record = this.#lookUp(
      "getgrnam_r",
      (...rest) => this.#c.getgrnam_r(nameBytes, ...rest),
    );
    return record?.getUint32(FIRST_ID_OFFSET, true);
  }

  /** These return an errno instead of setting it, and ask for a larger buffer with ERANGE; getpwnam(3). */
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
      // The page says that 0, ENOENT, ESRCH, EBADF and EPERM can all mean "not found".
      if (errno !== ERANGE) return undefined;
      if (bytes >= LOOKUP_BYTES_MAX) throw new LibcError(call, errno);
    }
  }

  /** The address of a buffer; see {@link ForeignFunctions.addressOf} for how long it is valid. */
  addressOf(buffer: Uint8Array<ArrayBuffer>): bigint {
    return this.#ffi.addressOf(buffer);
  }
}

let opened: Libc | undefined;

/** The C library through a given interface, opened once in each thread. Throws {@link LibraryError}. */
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
