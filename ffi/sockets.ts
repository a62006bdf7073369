/** Constants of sockets, which x86_64 and aarch64 have in common, and addresses of UNIX sockets. */

/** socket(2) */
export const AF_UNIX = 1;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_SEQPACKET = 5;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;

/** send(2), recv(2) */
export const MSG_DONTWAIT = 0x40;

/** `sun_path` of `struct sockaddr_un`, unix(7): 108 bytes, one of which is the NUL at its end. */
export const MAX_PATH_BYTES = 107;

/** `struct sockaddr_un` of a path. */
export function unixSockaddr(path: string): Uint8Array {
  const name = new TextEncoder().encode(path);
  const bytes = new Uint8Array(2 + name.length + 1);
  new DataView(bytes.buffer).setUint16(0, AF_UNIX, true);
  bytes.set(name, 2);
  return bytes;
}
