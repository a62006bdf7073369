import { BlockList, isIP } from "node:net";

/** One entry of `no_proxy`: what it matches, and the port alone that it matches. */
interface Entry {
  readonly matches: (host: string) => boolean;
  readonly port: number | undefined;
}

/** The hosts that are reached without a proxy. */
export interface NoProxy {
  /** @param host a name or an address, without brackets. */
  covers(host: string, port: number): boolean;
  /** Entries that mean nothing, as they were written. */
  readonly unusable: readonly string[];
}

/**
 * Reads `no_proxy` as curl and Go do: entries are separated by commas or blanks. `*` is every host, `example.com` and
 * `.example.com` are that name and all below it, `*.example.com` is all below it. An address is itself, and
 * `10.0.0.0/8` each address in that range. `HOST:PORT` is that port alone.
 */
export function readNoProxy(value: string): NoProxy {
  const entries: Entry[] = [];
  const unusable: string[] = [];
  for (const text of value.split(/[\s,]+/)) {
    if (text === "") continue;
    const entry = readEntry(text);
    if (entry === undefined) unusable.push(text);
    else entries.push(entry);
  }
  return {
    covers: (host, port) => {
      const name = host.toLowerCase().replace(/\.$/, "");
      return entries.some((entry) => (entry.port ?? port) === port && entry.matches(name));
    },
    unusable,
  };
}

function readEntry(text: string): Entry | undefined {
  const [, bracketed, bare, digits] = /^(?:\[([^\]]*)\]|([^[\]]*?))(?::([0-9]{1,5}))?$/.exec(text) ?? [];
  // Without brackets the colons of an IPv6 address are its own.
  if (isIP(text) === 6) return { matches: addressMatcher(text, 128), port: undefined };
  const host = (bracketed ?? bare ?? "").toLowerCase();
  const port = digits === undefined ? undefined : Number(digits);
  const matches = hostMatcher(host);
  return matches && { matches, port };
}

function hostMatcher(host: string): Entry["matches"] | undefined {
  if (host === "*") return () => true;
  const [address = "", length, ...rest] = host.split("/");
  const family = isIP(address);
  if (length !== undefined) {
    const bits = family === 4 ? 32 : 128;
    const isRange = family !== 0 && rest.length === 0 && /^[0-9]{1,3}$/.test(length) && Number(length) <= bits;
    return isRange ? addressMatcher(address, Number(length)) : undefined;
  }
  if (family !== 0) return addressMatcher(address, family === 4 ? 32 : 128);
  const [, dots = "", name] = /^(\*?\.)?((?:[\p{L}\p{N}_-]+\.)*[\p{L}\p{N}_-]+)\.?$/u.exec(host) ?? [];
  if (name === undefined) return undefined;
  return (other) => (other === name && dots !== "*.") || other.endsWith(`.${name}`);
}

function addressMatcher(address: string, bits: number): Entry["matches"] {
  const range = new BlockList();
  range.addSubnet(address, bits, isIP(address) === 4 ? "ipv4" : "ipv6");
  return (host) => {
    const family = isIP(host);
    return family !== 0 && range.check(host, family === 4 ? "ipv4" : "ipv6");
  };
}
