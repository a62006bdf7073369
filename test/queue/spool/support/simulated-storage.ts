import type { Random } from "../../../decode/support/random.ts";
import type { SpoolStorage, StoredFile } from "../../../../src/queue/spool/storage.ts";

/** What a disk writes as a whole, bytes. */
const SECTOR = 512;

/** An operation that is about to be done: a test may let it fail. */
export type Operation = "list" | "open" | "create" | "rename" | "remove" | "read" | "write" | "sync" | "sync directory";

/** An error as the file system has it. */
export function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: of the test`), { code });
}

/** Bytes that grow. */
class Growing {
  #bytes: Uint8Array<ArrayBuffer>;
  #length: number;

  constructor(bytes: Uint8Array = new Uint8Array(0)) {
    this.#bytes = new Uint8Array(bytes);
    this.#length = bytes.length;
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length);
  }

  write(bytes: Uint8Array, at: number): void {
    this.lengthen(at + bytes.length);
    this.#bytes.set(bytes, at);
  }

  lengthen(length: number): void {
    if (length > this.#bytes.length) {
      const larger = new Uint8Array(length * 2);
      larger.set(this.bytes);
      this.#bytes = larger;
    }
    this.#length = Math.max(this.#length, length);
  }
}

interface Write {
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** A file's contents: as processes see them, as the disk has them, and what has been written in between. */
class Content {
  readonly seen: Growing;
  readonly durable: Growing;
  unsynced: Write[];

  constructor(seen?: Uint8Array, durable?: Uint8Array, unsynced: readonly Write[] = []) {
    this.seen = new Growing(seen);
    this.durable = new Growing(durable);
    this.unsynced = [...unsynced];
  }

  write(bytes: Uint8Array, at: number): void {
    this.seen.write(bytes, at);
    this.unsynced.push({ at, bytes: bytes.slice() });
  }
}

/**
 * A disk in memory that fails when a test says so, has only so much space, and can lose power: then any of the sectors
 * that were written since the last sync are there or not, and any of the names that were changed.
 */
export class SimulatedStorage implements SpoolStorage {
  readonly path = "/simulated";
  /** How many operations there have been. */
  operations = 0;
  /** From this operation on, nothing is done any more, but for a part of it if it is a write. */
  stopAt = Infinity;
  /** Called before each operation; what it returns is thrown instead, a write having been done in part. */
  fail: (operation: Operation, name: string, number: number) => Error | undefined = () => undefined;
  /** Bytes that all files together may have. */
  capacity = Infinity;
  readonly #random: Random;
  #names = new Map<string, Content>();
  #durableNames = new Map<string, Content>();
  isClosed = false;

  constructor(random: Random) {
    this.#random = random;
  }

  /** As the next process finds it: with what this one has written, or only with what survives a power loss. */
  restarted(how: "killed" | "without power"): SimulatedStorage {
    const random = this.#random;
    const next = new SimulatedStorage(random);
    next.capacity = this.capacity;
    const names = new Map(how === "killed" ? this.#names : this.#durableNames);
    if (how === "without power") {
      for (const name of new Set([...this.#names.keys(), ...this.#durableNames.keys()])) {
        if (this.#names.get(name) === this.#durableNames.get(name) || random.oneIn(2)) continue;
        const content = this.#names.get(name);
        if (content === undefined) names.delete(name);
        else names.set(name, content);
      }
    }
    for (const [name, content] of names) {
      const left = how === "killed" ? undefined : afterPowerLoss(content, random);
      const copy = left === undefined
        ? new Content(content.seen.bytes, content.durable.bytes, content.unsynced)
        : new Content(left, left);
      next.#names.set(name, copy);
      next.#durableNames.set(name, copy);
    }
    return next;
  }

  /** Whether an operation has come at or after which nothing is done. */
  get hasStopped(): boolean {
    return this.operations > this.stopAt;
  }

  /** Changes a file behind the spool's back. */
  alter(name: string, change: (bytes: Uint8Array) => Uint8Array): void {
    const changed = change(this.contents(name));
    const content = new Content(changed, changed);
    this.#names.set(name, content);
    this.#durableNames.set(name, content);
  }

  contents(name: string): Uint8Array {
    return this.#names.get(name)?.seen.bytes.slice() ?? new Uint8Array(0);
  }

  get usedBytes(): number {
    let bytes = 0;
    for (const content of this.#names.values()) bytes += content.seen.bytes.length;
    return bytes;
  }

  list(): string[] {
    this.#begin("list", "");
    return [...this.#names.keys()];
  }

  open(name: string): StoredFile {
    this.#begin("open", name);
    const content = this.#names.get(name);
    if (content === undefined) throw systemError("ENOENT");
    return this.#file(name, content);
  }

  create(name: string): StoredFile {
    this.#begin("create", name);
    if (this.#names.has(name)) throw systemError("EEXIST");
    const content = new Content();
    this.#names.set(name, content);
    return this.#file(name, content);
  }

  remove(name: string): void {
    this.#begin("remove", name);
    if (!this.#names.delete(name)) throw systemError("ENOENT");
  }

  exists(name: string): boolean {
    return this.#names.has(name);
  }

  async sync(): Promise<void> {
    const names = new Map(this.#names);
    await Promise.resolve();
    this.#begin("sync directory", "");
    this.#durableNames = names;
  }

  freeBytes(): number {
    return this.capacity - this.usedBytes;
  }

  close(): void {
    this.isClosed = true;
  }

  #begin(operation: Operation, name: string): void {
    const error = this.#failure(operation, name);
    if (error !== undefined) throw error;
  }

  #failure(operation: Operation, name: string): Error | undefined {
    const number = this.operations++;
    return number >= this.stopAt ? systemError("EIO") : this.fail(operation, name, number);
  }

  /** How much is written of a write that fails: whole sectors. */
  #part(position: number, bytes: number): number {
    if (this.operations - 1 > this.stopAt) return 0;
    const end = position + this.#random.below(bytes + 1);
    return Math.max(0, end - end % SECTOR - position);
  }

  #file(name: string, content: Content): StoredFile {
    return new SimulatedFile(name, content, {
      failure: (operation, of) => this.#failure(operation, of),
      part: (position, bytes) => this.#part(position, bytes),
      freeBytes: () => this.freeBytes(),
      rename: (from, to) => {
        this.#names.delete(from);
        this.#names.set(to, content);
      },
    });
  }
}

/** What a file needs of its disk. */
interface Disk {
  failure(operation: Operation, name: string): Error | undefined;
  part(position: number, bytes: number): number;
  freeBytes(): number;
  rename(from: string, to: string): void;
}

class SimulatedFile implements StoredFile {
  #name: string;
  readonly #content: Content;
  readonly #disk: Disk;

  constructor(name: string, content: Content, disk: Disk) {
    this.#name = name;
    this.#content = content;
    this.#disk = disk;
  }

  get name(): string {
    return this.#name;
  }
  get size(): number {
    return this.#content.seen.bytes.length;
  }

  read(buffers: readonly Uint8Array[], position: number): number {
    this.#begin("read");
    let at = position;
    for (const buffer of buffers) {
      const part = this.#content.seen.bytes.subarray(at, at + buffer.length);
      buffer.set(part);
      at += part.length;
    }
    return Math.max(0, at - position);
  }

  write(bytes: Uint8Array, position: number): void {
    const error = this.#disk.failure("write", this.#name);
    const grown = Math.max(0, position + bytes.length - this.size);
    const noSpace = grown > this.#disk.freeBytes() ? systemError("ENOSPC") : undefined;
    let written = bytes.length;
    if (error !== undefined) written = this.#disk.part(position, bytes.length);
    else if (noSpace !== undefined) written = bytes.length - grown + this.#disk.freeBytes();
    if (written > 0) this.#content.write(bytes.subarray(0, written), position);
    if (error ?? noSpace) throw error ?? noSpace;
  }

  async sync(): Promise<void> {
    // Only what had been written when the sync began is durable when it ends.
    const count = this.#content.unsynced.length;
    await Promise.resolve();
    const error = this.#disk.failure("sync", this.#name);
    // After an error the kernel forgets what it could not write: a later sync does not write it either.
    const synced = this.#content.unsynced.splice(0, count);
    if (error !== undefined) throw error;
    for (const { at, bytes } of synced) this.#content.durable.write(bytes, at);
  }

  rename(to: string): void {
    this.#begin("rename");
    this.#disk.rename(this.#name, to);
    this.#name = to;
  }

  close(): void {}

  #begin(operation: Operation): void {
    const error = this.#disk.failure(operation, this.#name);
    if (error !== undefined) throw error;
  }
}

/** Each sector that was written since the last sync is as it was after any of the writes to it, or as before them. */
function afterPowerLoss({ seen, durable, unsynced }: Content, random: Random): Uint8Array {
  const after = new Growing(durable.bytes);
  if (random.oneIn(2)) after.lengthen(seen.bytes.length);
  for (const { at, bytes } of unsynced) {
    for (let sector = Math.floor(at / SECTOR); sector * SECTOR < at + bytes.length; sector++) {
      if (random.oneIn(2)) continue;
      const from = Math.max(at, sector * SECTOR);
      const to = Math.min(at + bytes.length, (sector + 1) * SECTOR);
      after.write(bytes.subarray(from - at, to - at), from);
    }
  }
  return after.bytes;
}
