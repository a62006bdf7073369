/** A TCP connection between two processes of this machine, seen from the other one. */
export interface LocalConnection {
  /** The other process's end. */
  readonly address: string;
  readonly port: number;
  /** This process's end. */
  readonly peerAddress: string;
  readonly peerPort: number;
}

/** States, as the tables write them (include/net/tcp_states.h). */
const ESTABLISHED = "01";
const LISTEN = "0A";
/** How the tables write what stands in front of an IPv4 address in an IPv6 one (RFC 4291, section 2.5.5.2). */
const IPV4_MAPPED = "0000000000000000FFFF0000";
const IPV4 = /^(?:::ffff:)?(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/i;

/** Whether an address leads back to the machine it is used on. */
export function isLoopback(address: string): boolean {
  return address === "::1" || IPV4.exec(address)?.[1] === "127";
}

/**
 * The socket's inode in a line of /proc/net/tcp or tcp6, if the line is the other end of this connection; proc_net(5).
 *
 * A line has a number, the local address and port, the remote ones, the state, two pairs of numbers, a counter, the
 * user, a timeout and the inode.
 */
export function inodeOf(line: string, connection: LocalConnection): number | undefined {
  const { local, remote, state, inode } = columns(line);
  if (state !== ESTABLISHED || inode === undefined) return undefined;
  const isIt = isEndpoint(local, connection.address, connection.port) &&
    isEndpoint(remote, connection.peerAddress, connection.peerPort);
  const number = Number(inode);
  // 0: no process has it open any more.
  return isIt && number > 0 ? number : undefined;
}

/** The inode of a socket that listens at a port, at whatever address, in the text of a table. */
export function listeningInode(table: string, port: number): number | undefined {
  for (const line of table.split("\n")) {
    const { local, state, inode } = columns(line);
    if (state === LISTEN && Number.parseInt(local?.split(":")[1] ?? "", 16) === port) return Number(inode);
  }
  return undefined;
}

function columns(line: string): { local?: string; remote?: string; state?: string; inode?: string } {
  const [, local, remote, state, , , , , , inode] = line.trim().split(/\s+/);
  return { ...local && { local }, ...remote && { remote }, ...state && { state }, ...inode && { inode } };
}

function isEndpoint(written: string | undefined, address: string, port: number): boolean {
  const [host = "", digits = ""] = (written ?? "").split(":");
  return Number.parseInt(digits, 16) === port && hexForms(address).includes(host);
}

/** How the tables write an address: 32-bit words of it in hexadecimal, each in the machine's byte order, little endian. */
function hexForms(address: string): string[] {
  const bytes = IPV4.exec(address)?.slice(1).map(Number);
  if (bytes !== undefined) {
    const word = bytes.reverse().map(hexByte).join("");
    return [word, IPV4_MAPPED + word];
  }
  const groups = expandIpv6(address);
  if (groups === undefined) return [];
  const words = [0, 2, 4, 6].map((at) => {
    const [high = 0, low = 0] = groups.slice(at, at + 2);
    return [low & 0xff, low >> 8, high & 0xff, high >> 8].map(hexByte).join("");
  });
  return [words.join("")];
}

/** The eight groups of an IPv6 address in any of its short forms, without a zone. */
function expandIpv6(address: string): number[] | undefined {
  const [head = "", tail, ...more] = (address.split("%")[0] ?? "").split("::");
  const parse = (part: string): number[] =>
    part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16));
  const before = parse(head);
  const after = parse(tail ?? "");
  const zeros = 8 - before.length - after.length;
  if (more.length > 0 || (tail === undefined ? zeros !== 0 : zeros < 1)) return undefined;
  const groups = [...before, ...new Array<number>(zeros).fill(0), ...after];
  return groups.every((group) => group >= 0 && group <= 0xffff) ? groups : undefined;
}

function hexByte(byte: number): string {
  return byte.toString(16).toUpperCase().padStart(2, "0");
}
