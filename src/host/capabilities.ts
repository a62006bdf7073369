import type { Libc } from "../../ffi/libc.ts";

/** Sets of capabilities, with a bit for each, numbered as in linux/capability.h; capabilities(7). */
export const NO_CAPABILITY = 0n;
/** Reading, writing and searching, whatever the permissions of files and directories are. */
export const CAP_DAC_OVERRIDE = 1n << 1n;

/** prctl(2): whether a thread keeps its permitted set when it becomes a user other than root. */
export const PR_SET_KEEPCAPS = 8;

/** `_LINUX_CAPABILITY_VERSION_3`: sets of 64 bits, in two halves. */
const VERSION_3 = 0x2008_0522;
/** `struct __user_cap_header_struct`: version u32, thread i32 (0: the calling one). */
const HEADER_BYTES = 8;
/**
 * `struct __user_cap_data_struct`, one for the low and one for the high half: effective, permitted, inheritable, u32
 * each.
 */
const DATA_BYTES = 12;

/**
 * Capabilities that one thread retains. They are always permitted, but effective only while an operation runs.
 *
 * They belong to the thread that makes this object, which is the only one that may use it. If that thread starts
 * another one later, the kernel gives it the same sets, and nothing can take them away. The executable therefore starts
 * none (see `startNoLaterThreads`). Deno does start some: for them the capabilities are permitted, but not effective.
 */
export class RetainedCapabilities {
  readonly #libc: Libc;
  readonly #header = new Uint8Array(HEADER_BYTES);
  readonly #lowered: Uint8Array;
  readonly #raised: Uint8Array;
  #depth = 0;

  /** Gives up all other capabilities, and lowers these until they are needed. Throws what capset(2) does. */
  constructor(libc: Libc, set: bigint) {
    this.#libc = libc;
    new DataView(this.#header.buffer).setUint32(0, VERSION_3, true);
    this.#lowered = capabilityData(NO_CAPABILITY, set);
    this.#raised = capabilityData(set, set);
    libc.capset(this.#header, this.#lowered);
  }

  /**
   * Runs an operation while they are effective. It must be synchronous throughout, because asynchronous work happens on
   * other threads, or after this has returned.
   */
  run<Result>(operation: () => Result): Result {
    if (this.#depth++ === 0) this.#libc.capset(this.#header, this.#raised);
    try {
      return operation();
    } finally {
      if (--this.#depth === 0) this.#libc.capset(this.#header, this.#lowered);
    }
  }
}

/** Nothing is inheritable, because no program is run. */
function capabilityData(effective: bigint, permitted: bigint): Uint8Array {
  const view = new DataView(new ArrayBuffer(2 * DATA_BYTES));
  for (const half of [0, 1]) {
    const bits = (set: bigint) => Number((set >> BigInt(32 * half)) & 0xffff_ffffn);
    view.setUint32(half * DATA_BYTES, bits(effective), true);
    view.setUint32(half * DATA_BYTES + 4, bits(permitted), true);
  }
  return new Uint8Array(view.buffer);
}
