import type { BigIntStats } from "node:fs";
import type { Source } from "../../pipeline/source.ts";
import type { VsockAddress } from "./identity.ts";

/**
 * The names under which descriptors outlive the process, in fields with `|` between them:
 *
 * - `guest|<unique>|<sandbox>|<CID>|<name>|<account>`: a guest's connection, with its source. A sandbox or CID that is
 *   not known is empty, and `{}` stands for the sandbox in what follows it;
 * - `listen|vsock|<CID>|<port>`: a listening AF_VSOCK socket;
 * - `listen|unix|<device>|<inode>`: a listening UNIX socket by its file, whose inode remains its own while it exists.
 *
 * They must be ASCII without a colon, at most 255 bytes long, and 120 KiB all together (see `DescriptorStore`).
 */
const SEPARATOR = "|";
const SANDBOX = "{}";
const SANDBOX_ATTRIBUTE = "kata.sandbox.id";
const CID_ATTRIBUTE = "kata.vsock.cid";
/** What is percent-encoded: what a name must not contain, and what this format uses itself. */
const ENCODED = /[^A-Za-z0-9/._~@=+,-]/gu;
const LONGEST_NAME = 255;

/**
 * Makes names differ from those that earlier processes gave: most likely enough, as a name that is taken is not stored.
 */
const PROCESS = Math.random().toString(36).slice(2, 9);
let connections = 0;

/** A name for a new connection; undefined if it would be too long. */
export function guestDescriptorName({ name, account, attributes }: Source): string | undefined {
  const sandbox = attributes.get(SANDBOX_ATTRIBUTE);
  const cid = attributes.get(CID_ATTRIBUTE);
  const abbreviated = (text: string): string =>
    sandbox === undefined ? encode(text) : text.split(String(sandbox)).map(encode).join(SANDBOX);
  const fields = [encode(String(sandbox ?? "")), String(cid ?? ""), abbreviated(name), abbreviated(account)];
  const whole = ["guest", `${PROCESS}${(++connections).toString(36)}`, ...fields].join(SEPARATOR);
  return whole.length <= LONGEST_NAME ? whole : undefined;
}

/** The source in a connection's name; undefined for a name of something else. */
export function guestOfDescriptor(descriptorName: string): Source | undefined {
  const fields = descriptorName.split(SEPARATOR);
  if (fields.length !== 6 || fields[0] !== "guest") return undefined;
  const [, , sandbox = "", cid = "", name = "", account = ""] = fields;
  const attributes = new Map<string, string | number>();
  if (cid !== "") attributes.set(CID_ATTRIBUTE, Number(cid));
  if (sandbox !== "") attributes.set(SANDBOX_ATTRIBUTE, decodeURIComponent(sandbox));
  const whole = (text: string): string => decodeURIComponent(text.replaceAll(SANDBOX, () => sandbox));
  return { kind: "guest", name: whole(name), account: whole(account), attributes };
}

/** The name of an AF_VSOCK address's listening socket. */
export function vsockListenerName({ cid, port }: VsockAddress): string {
  return ["listen", "vsock", cid, port].join(SEPARATOR);
}

/** The name of the listening socket whose file this is. */
export function unixListenerName({ dev, ino }: BigIntStats): string {
  return ["listen", "unix", dev, ino].join(SEPARATOR);
}

/** Whether a name is one of {@link unixListenerName}. */
export function isUnixListenerName(name: string): boolean {
  return name.startsWith(["listen", "unix", ""].join(SEPARATOR));
}

function encode(text: string): string {
  return text.replace(
    ENCODED,
    (character) =>
      [...new TextEncoder().encode(character)].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join(""),
  );
}
