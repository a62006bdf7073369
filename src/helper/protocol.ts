import { isLoopback, type LocalConnection } from "../receivers/peers/socket-table.ts";
import type { TemplateSettings } from "../receivers/vsock/sandbox-template.ts";

/**
 * What the forwarder and its helper say to each other. Each message is a JSON object in one packet, and at most one
 * descriptor goes with it. The forwarder reads guests' bytes, so the helper takes nothing from it but these requests,
 * none of which names a place that the settings do not name.
 */

/** The variable that holds a helper's settings as JSON. A process that has it is a helper. */
export const HELPER_VARIABLE = "KATA_TRACE_FORWARDER_INTERNAL_HELPER";

/** The helper's end of the pair of sockets. */
export const HELPER_SOCKET = 3;

/** The longest message, bytes. */
export const LONGEST_MESSAGE = 32 * 1024;

/** The most names of sockets in one message. Each has at most some 60 bytes. */
export const MAX_KEYS = 256;

/** The most names of a directory's entries in one answer. Each has at most 255 bytes. */
export const MAX_NAMES = 16;

/** A file that the helper may open: the one at this path, wherever links lead to at that time. */
export interface AllowedFile {
  readonly file: string;
}

/** Files that the helper may open: those of this name, below this directory, without any link on the way. */
export interface AllowedFolder {
  readonly directory: string;
  readonly name: string;
}

export interface HelperSettings {
  /** The sandboxes whose sockets to make. */
  readonly templates: readonly TemplateSettings[];
  /** The user that the forwarder becomes, which may own sandboxes' directories. */
  readonly user: number;
  readonly readable: readonly (AllowedFile | AllowedFolder)[];
  /** Whether it says whose shim is at the other end of a connection. */
  readonly findsPeers: boolean;
}

/** What the forwarder asks for. */
export type HelperRequest =
  /** The forwarder has these sockets of an earlier process. */
  | { readonly type: "left"; readonly keys: readonly string[] }
  /** Begin to make sockets; answered with `begun` when there is one for each sandbox. */
  | { readonly type: "begin" }
  /** Make no more sockets; answered with `paused`. */
  | { readonly type: "pause" }
  /** Leave these sockets to the next process when `close` comes. */
  | { readonly type: "leave"; readonly keys: readonly string[] }
  /** Remove all other sockets; answered with `closed`. */
  | { readonly type: "close" }
  /** Open a file for reading; answered with `file`. */
  | { readonly type: "open"; readonly id: number; readonly path: string }
  /** Say the names in a directory that begin with `prefix`; answered with `names`. */
  | { readonly type: "list"; readonly id: number; readonly path: string; readonly prefix: string }
  /** Say whose shim is at the other end of a loopback connection; answered with `peer`. */
  | { readonly type: "peer"; readonly id: number; readonly connection: LocalConnection };

/** What the helper says. */
export type HelperMessage =
  /** It has started. For each template, why it cannot be watched. */
  | { readonly type: "started"; readonly problems: readonly (string | null)[] }
  | { readonly type: "failed"; readonly error: string }
  /** A sandbox's socket listens. Its descriptor comes along unless it is one that an earlier process has `left`. */
  | {
    readonly type: "listening";
    readonly key: string;
    readonly isLeft: boolean;
    readonly sandbox: string;
    readonly address: string;
    readonly mode: number;
    readonly gid?: number;
    readonly owner: number;
  }
  /** A socket has no name any more. */
  | { readonly type: "retired"; readonly key: string }
  | { readonly type: "begun" | "paused" | "closed" }
  /** A file's descriptor comes along, or it could not be opened. */
  | { readonly type: "file"; readonly id: number; readonly error?: string; readonly errno?: string }
  /** The first {@link MAX_NAMES} names, or none where there was an error. */
  | {
    readonly type: "names";
    readonly id: number;
    readonly names: readonly string[];
    readonly error?: string;
    readonly errno?: string;
  }
  /** The sandbox on a shim's command line, and nothing else of any process; absent if there is no such shim. */
  | { readonly type: "peer"; readonly id: number; readonly sandbox?: string }
  | { readonly type: "problem"; readonly message: string; readonly error: string }
  | { readonly type: "notice"; readonly message: string; readonly fields: Readonly<Record<string, string>> };

/**
 * Reads a request. Undefined for anything else, because an attacker who got hold of the forwarder's process may send
 * anything.
 */
export function readRequest(text: string): HelperRequest | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { type, keys, id, path, prefix, connection } = value as Readonly<Record<string, unknown>>;
  switch (type) {
    case "begin":
    case "pause":
    case "close":
      return { type };
    case "left":
    case "leave":
      return isKeys(keys) ? { type, keys } : undefined;
    case "open":
      return isId(id) && typeof path === "string" ? { type, id, path } : undefined;
    case "list":
      return isId(id) && typeof path === "string" && typeof prefix === "string"
        ? { type, id, path, prefix }
        : undefined;
    case "peer": {
      const ends = readConnection(connection);
      return isId(id) && ends !== undefined ? { type, id, connection: ends } : undefined;
    }
    default:
      return undefined;
  }
}

/** Only connections within this machine have a process at the other end. */
function readConnection(value: unknown): LocalConnection | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { address, port, peerAddress, peerPort } = value as Readonly<Record<string, unknown>>;
  if (!isAddress(address) || !isAddress(peerAddress) || !isPort(port) || !isPort(peerPort)) return undefined;
  return { address, port, peerAddress, peerPort };
}

function isAddress(value: unknown): value is string {
  return typeof value === "string" && isLoopback(value);
}

function isPort(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) > 0 && Number(value) < 65_536;
}

function isId(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value);
}

function isKeys(value: unknown): value is string[] {
  return Array.isArray(value) && value.length <= MAX_KEYS && value.every((key) => typeof key === "string");
}
