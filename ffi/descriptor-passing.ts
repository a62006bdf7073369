import type { Libc } from "./libc.ts";

/** socket(7), unix(7), recv(2): x86_64 and aarch64 alike. */
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const SO_PEERCRED = 17;
const SO_PEERGROUPS = 59;
/** `NGROUPS_MAX`, linux/limits.h, and the size of `gid_t`. */
const MAX_GROUPS = 65_536;
const GROUP_BYTES = 4;
const MSG_CTRUNC = 0x8;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x4000_0000;

/** `struct msghdr`: seven words of 64 bits, of which the last holds the flags; recvmsg(2). */
const MSGHDR_BYTES = 56;
const CONTROL_ADDRESS_OFFSET = 32;
const CONTROL_LENGTH_OFFSET = 40;
const FLAGS_OFFSET = 48;
/** `struct cmsghdr`: length u64, level i32, type i32; the data follows, padded to 64 bits; cmsg(3). */
const CMSGHDR_BYTES = 16;
const DESCRIPTOR_BYTES = 4;
/** `SCM_MAX_FD`, include/net/scm.h: how many descriptors the kernel takes in one message. */
export const MAX_DESCRIPTORS = 253;
/** `struct ucred`: process i32, user u32, group u32; unix(7). */
const UCRED_BYTES = 12;

/** A message with descriptors, which belong to the receiver from now on. */
export interface DescriptorMessage {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Close-on-exec. */
  readonly descriptors: readonly number[];
  /** Whether there were more descriptors than asked for. The kernel has closed the others. */
  readonly isTruncated: boolean;
}

/** The process at the other end of a UNIX socket, as the kernel saw it when the connection was made. */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/**
 * Sends bytes from a connected UNIX socket, with duplicates of descriptors attached to the first byte. Returns how many
 * bytes were sent. There must be at least one byte and at most {@link MAX_DESCRIPTORS} descriptors. Throws what
 * sendmsg(2) does.
 */
export function sendDescriptors(
  libc: Libc,
  socket: number,
  bytes: Uint8Array<ArrayBuffer>,
  descriptors: readonly number[],
  flags = 0,
): number {
  const control = zeroes(controlBytes(descriptors.length));
  const view = new DataView(control.buffer);
  if (descriptors.length > 0) {
    view.setBigUint64(0, BigInt(CMSGHDR_BYTES + descriptors.length * DESCRIPTOR_BYTES), true);
    view.setInt32(8, SOL_SOCKET, true);
    view.setInt32(12, SCM_RIGHTS, true);
    descriptors.forEach((fd, index) => view.setInt32(CMSGHDR_BYTES + index * DESCRIPTOR_BYTES, fd, true));
  }
  const { header, keepAlive } = messageHeader(libc, bytes, control);
  try {
    return libc.sendmsg(socket, header, flags | MSG_NOSIGNAL);
  } finally {
    keepAlive();
  }
}

/**
 * Receives a message, or the bytes that a stream has at the moment, with up to `maxDescriptors` descriptors. No bytes
 * mean that the other end has closed. Throws what recvmsg(2) does.
 */
export function receiveDescriptors(
  libc: Libc,
  socket: number,
  maxBytes: number,
  maxDescriptors: number,
  flags = 0,
): DescriptorMessage {
  const buffer = zeroes(maxBytes);
  const control = zeroes(controlBytes(maxDescriptors));
  const { header, keepAlive } = messageHeader(libc, buffer, control);
  const length = libc.recvmsg(socket, header, flags | MSG_CMSG_CLOEXEC);
  keepAlive();
  const words = new DataView(header.buffer);
  const controlEnd = Number(words.getBigUint64(CONTROL_LENGTH_OFFSET, true));
  return {
    bytes: buffer.subarray(0, length),
    descriptors: readDescriptors(new DataView(control.buffer, 0, controlEnd)),
    isTruncated: (words.getInt32(FLAGS_OFFSET, true) & MSG_CTRUNC) !== 0,
  };
}

/** Finds out which process is at the other end of a connected UNIX socket. Throws what getsockopt(2) does. */
export function peerCredentials(libc: Libc, socket: number): PeerCredentials {
  const bytes = libc.getsockopt(socket, SOL_SOCKET, SO_PEERCRED, UCRED_BYTES);
  const view = new DataView(bytes.buffer);
  return { pid: view.getInt32(0, true), uid: view.getUint32(4, true), gid: view.getUint32(8, true) };
}

/** The supplementary groups of the process at the other end of a UNIX socket. Throws what getsockopt(2) does. */
export function peerGroups(libc: Libc, socket: number): number[] {
  const bytes = libc.getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, MAX_GROUPS * GROUP_BYTES);
  return [...new Uint32Array(bytes.buffer, 0, Math.floor(bytes.length / GROUP_BYTES))];
}

/** `CMSG_SPACE`, cmsg(3). */
function controlBytes(descriptors: number): number {
  return descriptors === 0 ? 0 : CMSGHDR_BYTES + Math.ceil(descriptors * DESCRIPTOR_BYTES / 8) * 8;
}

/** Memory of its own, whose address does not change; see `ForeignFunctions.addressOf`. */
function zeroes(bytes: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new ArrayBuffer(bytes));
}

function messageHeader(libc: Libc, bytes: Uint8Array<ArrayBuffer>, control: Uint8Array<ArrayBuffer>) {
  const header = zeroes(MSGHDR_BYTES);
  // `struct iovec`: address and length.
  const vector = new BigUint64Array([libc.addressOf(bytes), BigInt(bytes.length)]);
  const words = new DataView(header.buffer);
  words.setBigUint64(16, libc.addressOf(new Uint8Array(vector.buffer)), true);
  words.setBigUint64(24, 1n, true);
  if (control.length > 0) {
    words.setBigUint64(CONTROL_ADDRESS_OFFSET, libc.addressOf(control), true);
    words.setBigUint64(CONTROL_LENGTH_OFFSET, BigInt(control.length), true);
  }
  // To be called after the system call, because C has the addresses of these until then.
  const keepAlive = (): void => {
    if (vector.length + bytes.length + control.length === 0) throw new Error("a message without a vector");
  };
  return { header, keepAlive };
}

function readDescriptors(control: DataView): number[] {
  const descriptors: number[] = [];
  for (let at = 0; at + CMSGHDR_BYTES <= control.byteLength;) {
    const length = Number(control.getBigUint64(at, true));
    if (length < CMSGHDR_BYTES) break;
    if (control.getInt32(at + 8, true) === SOL_SOCKET && control.getInt32(at + 12, true) === SCM_RIGHTS) {
      for (let each = at + CMSGHDR_BYTES; each + DESCRIPTOR_BYTES <= at + length; each += DESCRIPTOR_BYTES) {
        descriptors.push(control.getInt32(each, true));
      }
    }
    at += Math.ceil(length / 8) * 8;
  }
  return descriptors;
}
