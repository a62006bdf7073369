import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { networkInterfaces } from "node:os";
import { isLoopback } from "../peers/socket-table.ts";
import type { ListenAddress } from "../../http/listen-error.ts";

/** Addresses that stand for all of the machine's own. */
const ANY: ReadonlySet<string> = new Set(["0.0.0.0", "::"]);
const DEFAULT_PORTS: Readonly<Record<string, number>> = { "http:": 80, "https:": 443 };

/**
 * Whether a collector's URL leads to an address that this process listens at: by the same address, by one of the
 * machine's own if it listens at all of them, or by a name of either. False if the name does not resolve: then nothing
 * is sent to it either.
 */
export async function isOwnEndpoint(url: string, bound: ListenAddress): Promise<boolean> {
  const { protocol, hostname, port } = new URL(url);
  const endpointPort = port === "" ? DEFAULT_PORTS[protocol] : Number(port);
  if (endpointPort !== bound.port) return false;
  const [targets, listening] = await Promise.all([
    addressesOf(hostname.replace(/^\[|\]$/g, "")),
    addressesOf(bound.host),
  ]);
  // A client that connects to 0.0.0.0 or :: comes to the loopback address.
  const reached = targets.flatMap((target) => ANY.has(target) ? ["127.0.0.1", "::1"] : [target]);
  if (!listening.some((address) => ANY.has(address))) return reached.some((address) => listening.includes(address));
  const own = new Set(ownAddresses());
  return reached.some((address) => isLoopback(address) || own.has(address));
}

async function addressesOf(host: string): Promise<string[]> {
  if (isIP(host) > 0) return [normalised(host)];
  try {
    return (await lookup(host, { all: true })).map(({ address }) => normalised(address));
  } catch {
    return [];
  }
}

function ownAddresses(): string[] {
  const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  return addresses.map(({ address }) => normalised(address));
}

/** One form for each address: an IPv4 address as such, also one within IPv6; an IPv6 address as URLs write it. */
function normalised(address: string): string {
  if (isIP(address) !== 6) return address;
  const [plain = ""] = address.split("%");
  const ipv6 = new URL(`http://[${plain}]`).hostname.slice(1, -1);
  const [, high, low] = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(ipv6) ?? [];
  if (high === undefined || low === undefined) return ipv6;
  return [high, low].flatMap((group) => {
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  }).join(".");
}
