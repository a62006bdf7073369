import { Buffer } from "node:buffer";
import { closeSync, constants, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import type { Logger } from "../../base/log.ts";
import type { Source } from "../../pipeline/source.ts";
import type { SavedSandbox } from "./joined-sandbox.ts";
import type { MissingParent } from "./missing-parents.ts";
import { hexOf, idFromHex } from "./span-id.ts";

/** The format that is written and read. */
const VERSION = 1;
/** Missing parents of a sandbox that are written down, and how many bytes their resources have together. */
const MAX_MISSING = 64;
const MAX_RESOURCE_BYTES = 16 * 1024;
/** So much is written at a stretch, UTF-16 units, which takes a millisecond. */
const PIECE_CHARACTERS = 64 * 1024;

const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants;

/** What one process leaves to the next. */
export interface SavedSandboxes {
  /** Those whose root has not been made. */
  readonly running: readonly SavedSandbox[];
  /** Those whose root has been made, the oldest first. */
  readonly ended: readonly string[];
}

type Attributes = readonly (readonly [key: string, value: string | number])[];

/** How a sandbox is written. Times are decimal, because they have 64 bits. */
interface SandboxJson {
  readonly key: string;
  readonly attributes: Attributes;
  readonly start?: string;
  readonly end: string;
  readonly guest: boolean;
  readonly runtime: boolean;
  readonly missing: readonly {
    readonly span: string;
    readonly source: Omit<Source, "attributes"> & { readonly attributes: Attributes };
    /** Base64. */
    readonly resource: string;
    readonly start: string;
    readonly end: string;
  }[];
}

/**
 * The file in which sandboxes survive the process, even if it is killed. It is written anew and renamed, but not
 * synced, because a power loss ends the sandboxes too.
 */
export class SandboxFile {
  readonly #path: string;
  readonly #log: Logger;

  /** @param path in a directory that only this process's user may write to. */
  constructor(path: string, log: Logger) {
    this.#path = path;
    this.#log = log;
  }

  /** What an earlier process has left; nothing if there is no file, or it cannot be used, which is logged. */
  load(): SavedSandboxes {
    let text: string;
    try {
      text = readFileSync(this.#path, "utf8");
    } catch (error) {
      if ((error as { code?: string }).code !== "ENOENT") this.#refuse(error as Error);
      return { running: [], ended: [] };
    }
    try {
      const { version, running, ended } = JSON.parse(text) as {
        version: number;
        running: SandboxJson[];
        ended: string[];
      };
      if (version !== VERSION) throw new Error(`its version is ${version}, not ${VERSION}`);
      return { running: running.map(fromJson), ended: ended.map(String) };
    } catch (error) {
      this.#refuse(error as Error);
      return { running: [], ended: [] };
    }
  }

  /**
   * Writes the file in pieces, after each of which it gives way. Until it is whole, the one before stays in its place.
   * Throws what writing a file does.
   */
  *save(running: Iterable<SavedSandbox>, ended: Iterable<string>): Generator<void> {
    const temporary = `${this.#path}.new`;
    const file = openSync(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
    try {
      let text = `{"version":${VERSION},"running":[`;
      let separator = "";
      for (const sandbox of running) {
        text += separator + JSON.stringify(toJson(sandbox));
        separator = ",";
        if (text.length < PIECE_CHARACTERS) continue;
        writeAll(file, text);
        text = "";
        yield;
      }
      writeAll(file, `${text}],"ended":${JSON.stringify([...ended])}}`);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, this.#path);
  }

  #refuse(error: Error): void {
    this.#log.warn("the sandboxes of an earlier process cannot be read: their traces' roots begin now", {
      file: this.#path,
      error,
    });
  }
}

function writeAll(file: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length;) at += writeSync(file, bytes, at);
}

function toJson(sandbox: SavedSandbox): SandboxJson {
  const { key, attributes, start, end, hasGuest, hasRuntime, missing } = sandbox;
  let resourceBytes = 0;
  const few = [...missing].slice(0, MAX_MISSING).filter(([, { resource }]) => {
    resourceBytes += resource.length;
    return resourceBytes <= MAX_RESOURCE_BYTES;
  });
  return {
    key,
    attributes: [...attributes],
    ...(start !== undefined && { start: String(start) }),
    end: String(end),
    guest: hasGuest,
    runtime: hasRuntime,
    missing: few.map(([span, parent]) => ({
      span: hexOf(span),
      source: { ...parent.source, attributes: [...parent.source.attributes] },
      resource: Buffer.from(parent.resource).toString("base64"),
      start: String(parent.start),
      end: String(parent.end),
    })),
  };
}

/** Throws on anything that is not as it was written. */
function fromJson({ key, attributes, start, end, guest, runtime, missing }: SandboxJson): SavedSandbox {
  const parents = missing.map(({ span, source, resource, start: from, end: to }): [string, MissingParent] => {
    const { kind, name, account } = source;
    return [idFromHex(span), {
      source: { kind, name, account, attributes: new Map(source.attributes) },
      resource: Buffer.from(resource, "base64"),
      start: BigInt(from),
      end: BigInt(to),
    }];
  });
  return {
    key: String(key),
    attributes: new Map(attributes),
    start: start === undefined ? undefined : BigInt(start),
    end: BigInt(end),
    hasGuest: guest,
    hasRuntime: runtime,
    missing: new Map(parents),
  };
}
