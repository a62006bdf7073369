/**
 * The system call filter of a forwarder without privileges.
 *
 * Installed with SECCOMP_FILTER_FLAG_TSYNC it also sets no_new_privs on every thread, which prctl(2) does only for the
 * calling one. It denies, with EPERM, what a forwarder never does but an attacker inside it would do next: running
 * programs, reaching into other processes, changing namespaces, mounts, users and clocks, loading code into the kernel,
 * memory that is shared by name, and the parts of the kernel that attackers have used most often to become root.
 *
 * It is a list of what is denied. What is not on it has to stay, because the runtime and the C libraries use other
 * calls with each version, kernel and machine: a list of what is allowed would end forwarders that nobody has attacked.
 *
 * Specification: seccomp(2), Documentation/userspace-api/seccomp_filter.rst; classic BPF: bpf(4) of the BSDs,
 * Documentation/networking/filter.rst.
 */

/** One architecture's numbers. Sources: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h. */
export interface SeccompArchitecture {
  /** AUDIT_ARCH_… of linux/audit.h, by which the kernel says what made a call. */
  readonly audit: number;
  /** seccomp(2) itself. */
  readonly seccomp: number;
  readonly clone: number;
  readonly clone3: number;
  readonly socket: number;
  /** The denied calls, by name. */
  readonly denied: { readonly [call: string]: number };
  /** From this number on calls belong to another ABI of the same machine (x32). */
  readonly foreignAbi?: number;
}

/** Newer calls, whose numbers are the same on all architectures. */
const DENIED_EVERYWHERE = {
  io_uring_setup: 425,
  io_uring_enter: 426,
  io_uring_register: 427,
  open_tree: 428,
  move_mount: 429,
  fsopen: 430,
  fsconfig: 431,
  fsmount: 432,
  fspick: 433,
  pidfd_getfd: 438,
  process_madvise: 440,
  mount_setattr: 442,
  quotactl_fd: 443,
  memfd_secret: 447,
  process_mrelease: 448,
} as const;

/** By the name in `process.arch`. */
export const SECCOMP_ARCHITECTURES: { readonly [name: string]: SeccompArchitecture } = {
  x64: {
    audit: 0xc000_003e,
    seccomp: 317,
    clone: 56,
    socket: 41,
    clone3: 435,
    foreignAbi: 0x4000_0000,
    denied: {
      execve: 59,
      execveat: 322,
      ptrace: 101,
      process_vm_readv: 310,
      process_vm_writev: 311,
      unshare: 272,
      setns: 308,
      chroot: 161,
      pivot_root: 155,
      mount: 165,
      umount2: 166,
      swapon: 167,
      swapoff: 168,
      reboot: 169,
      init_module: 175,
      finit_module: 313,
      delete_module: 176,
      kexec_load: 246,
      kexec_file_load: 320,
      bpf: 321,
      perf_event_open: 298,
      userfaultfd: 323,
      add_key: 248,
      request_key: 249,
      keyctl: 250,
      open_by_handle_at: 304,
      acct: 163,
      adjtimex: 159,
      capset: 126,
      clock_adjtime: 305,
      clock_settime: 227,
      fanotify_init: 300,
      kcmp: 312,
      lookup_dcookie: 212,
      migrate_pages: 256,
      mknodat: 259,
      move_pages: 279,
      mq_open: 240,
      msgctl: 71,
      msgget: 68,
      name_to_handle_at: 303,
      nfsservctl: 180,
      personality: 135,
      quotactl: 179,
      remap_file_pages: 216,
      semctl: 66,
      semget: 64,
      setdomainname: 171,
      setfsgid: 123,
      setfsuid: 122,
      setgid: 106,
      setgroups: 116,
      sethostname: 170,
      setregid: 114,
      setresgid: 119,
      setresuid: 117,
      setreuid: 113,
      settimeofday: 164,
      setuid: 105,
      shmat: 30,
      shmctl: 31,
      shmget: 29,
      syslog: 103,
      vhangup: 153,
      vmsplice: 278,
      ...DENIED_EVERYWHERE,
    },
  },
  arm64: {
    audit: 0xc000_00b7,
    seccomp: 277,
    clone: 220,
    socket: 198,
    clone3: 435,
    denied: {
      execve: 221,
      execveat: 281,
      ptrace: 117,
      process_vm_readv: 270,
      process_vm_writev: 271,
      unshare: 97,
      setns: 268,
      chroot: 51,
      pivot_root: 41,
      mount: 40,
      umount2: 39,
      swapon: 224,
      swapoff: 225,
      reboot: 142,
      init_module: 105,
      finit_module: 273,
      delete_module: 106,
      kexec_load: 104,
      kexec_file_load: 294,
      bpf: 280,
      perf_event_open: 241,
      userfaultfd: 282,
      add_key: 217,
      request_key: 218,
      keyctl: 219,
      open_by_handle_at: 265,
      acct: 89,
      adjtimex: 171,
      capset: 91,
      clock_adjtime: 266,
      clock_settime: 112,
      fanotify_init: 262,
      kcmp: 272,
      lookup_dcookie: 18,
      migrate_pages: 238,
      mknodat: 33,
      move_pages: 239,
      mq_open: 180,
      msgctl: 187,
      msgget: 186,
      name_to_handle_at: 264,
      nfsservctl: 42,
      personality: 92,
      quotactl: 60,
      remap_file_pages: 234,
      semctl: 191,
      semget: 190,
      setdomainname: 162,
      setfsgid: 152,
      setfsuid: 151,
      setgid: 144,
      setgroups: 159,
      sethostname: 161,
      setregid: 143,
      setresgid: 149,
      setresuid: 147,
      setreuid: 145,
      settimeofday: 170,
      setuid: 146,
      shmat: 196,
      shmctl: 195,
      shmget: 194,
      syslog: 116,
      vhangup: 58,
      vmsplice: 75,
      ...DENIED_EVERYWHERE,
    },
  },
};

/** linux/seccomp.h: the operation, its flag, and a filter's results (the errno is in the low 16 bits). */
export const SECCOMP_SET_MODE_FILTER = 1n;
export const SECCOMP_FILTER_FLAG_TSYNC = 1n;
const RET_ALLOW = 0x7fff_0000;
const RET_ERRNO = 0x0005_0000;
const EPERM = 1;
const ENOSYS = 38;
/**
 * bits/socket.h: AF_UNIX, AF_INET, AF_INET6, AF_VSOCK, and AF_NETLINK, by which C libraries find out which addresses
 * the machine has. The kernel has forty other families, whose rarely used code has often let users become root.
 */
const ALLOWED_FAMILIES = [1, 2, 10, 16, 40] as const;
/** sched.h */
const CLONE_NEWUSER = 0x1000_0000;

/** `struct seccomp_data`: number, architecture, instruction pointer, six arguments of 64 bits. */
const OFFSET_NUMBER = 0;
const OFFSET_ARCHITECTURE = 4;
const OFFSET_FIRST_ARGUMENT = 16;

/** linux/bpf_common.h: load a word, jump if equal, if greater or equal, if a bit is set, return. */
const LOAD = 0x20;
const JUMP_EQUAL = 0x15;
const JUMP_GREATER_EQUAL = 0x35;
const JUMP_SET = 0x45;
const RETURN = 0x06;

/** `struct sock_filter`: code u16, jump if true u8, jump if false u8, operand u32. */
const INSTRUCTION_BYTES = 8;

type Label = "clone" | "socket" | "allow" | "deny" | "unknown";
interface Instruction {
  readonly label?: Label;
  readonly code: number;
  readonly operand: number;
  /** Where a jump goes if its condition holds. Otherwise the next instruction follows. */
  readonly to?: Label;
}

/**
 * The filter's program, as `struct sock_filter[]`.
 *
 * @param needed the names of denied calls that this process makes all the same.
 */
export function seccompProgram(
  architecture: SeccompArchitecture,
  needed: readonly string[] = [],
): Uint8Array<ArrayBuffer> {
  const { audit, foreignAbi, clone, clone3, socket, denied } = architecture;
  const deny = (call: number): Instruction => ({ code: JUMP_EQUAL, operand: call, to: "deny" });
  const instructions: Instruction[] = [
    { code: LOAD, operand: OFFSET_ARCHITECTURE },
    // Skips the next instruction on this architecture. On another one the numbers mean other calls.
    { code: JUMP_EQUAL, operand: audit },
    { code: RETURN, operand: RET_ERRNO | EPERM },
    { code: LOAD, operand: OFFSET_NUMBER },
  ];
  if (foreignAbi !== undefined) {
    instructions.push({ code: JUMP_GREATER_EQUAL, operand: foreignAbi, to: "deny" });
  }
  instructions.push(
    { code: JUMP_EQUAL, operand: clone, to: "clone" },
    { code: JUMP_EQUAL, operand: clone3, to: "unknown" },
    { code: JUMP_EQUAL, operand: socket, to: "socket" },
    ...Object.entries(denied).filter(([call]) => !needed.includes(call)).map(([, number]) => deny(number)),
    { code: RETURN, operand: RET_ALLOW },
    // In a user namespace an ordinary user reaches privileged parts of the kernel.
    { label: "clone", code: LOAD, operand: OFFSET_FIRST_ARGUMENT },
    { code: JUMP_SET, operand: CLONE_NEWUSER, to: "deny" },
    { code: RETURN, operand: RET_ALLOW },
    { label: "socket", code: LOAD, operand: OFFSET_FIRST_ARGUMENT },
    ...ALLOWED_FAMILIES.map((family): Instruction => ({ code: JUMP_EQUAL, operand: family, to: "allow" })),
    { label: "deny", code: RETURN, operand: RET_ERRNO | EPERM },
    { label: "allow", code: RETURN, operand: RET_ALLOW },
    // Its flags are in memory, where a filter cannot see them. C libraries fall back to clone, as on an older kernel.
    { label: "unknown", code: RETURN, operand: RET_ERRNO | ENOSYS },
  );
  return assemble(instructions);
}

function assemble(instructions: readonly Instruction[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(new ArrayBuffer(instructions.length * INSTRUCTION_BYTES));
  const view = new DataView(bytes.buffer);
  instructions.forEach(({ code, operand, to }, index) => {
    const at = index * INSTRUCTION_BYTES;
    const target = to === undefined
      ? index + (code === JUMP_EQUAL ? 2 : 1)
      : instructions.findIndex(({ label }) => label === to);
    view.setUint16(at, code, true);
    // A jump's target counts from the next instruction, and cannot be negative.
    view.setUint8(at + 2, target - index - 1);
    view.setUint32(at + 4, operand, true);
  });
  return bytes;
}

/**
 * `struct sock_fprog`: the number of instructions u16, padding, and their address u64. The program must stay reachable
 * until the kernel has copied it.
 */
export function sockFprog(program: Uint8Array, address: bigint): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(new ArrayBuffer(16));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, program.length / INSTRUCTION_BYTES, true);
  view.setBigUint64(8, address, true);
  return bytes;
}
