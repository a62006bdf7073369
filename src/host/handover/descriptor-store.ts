import type { Logger } from "../../base/log.ts";
import { isDescriptorName, type ServiceManager } from "../service-manager.ts";
import type { InheritedDescriptor } from "./inherit-descriptors.ts";

/**
 * How long all names together may be, bytes. systemd passes them on in one environment variable, which must be shorter
 * than 128 KiB (`MAX_ARG_STRLEN`, execve(2)). With a longer one the service could never be started again.
 */
const MAX_NAMES_BYTES = 120 * 1024;
/** How long the service manager may take to read its messages, milliseconds. */
const SETTLE_MS = 5000;

/** A descriptor of this process that another process can continue with. */
export interface KeptDescriptor {
  readonly name: string;
  readonly descriptor: number;
}

interface Entry {
  readonly owner: string;
  /** Asked for each time, because a paused listener has another descriptor. */
  readonly descriptor: () => number;
}

/**
 * Connections and listening sockets that may survive this process, each under a name that says whose it is. The service
 * manager stores them if it can, and a process that takes over gets all of them.
 */
export class DescriptorStore {
  readonly #manager: ServiceManager;
  readonly #log: Logger;
  readonly #entries = new Map<string, Entry>();
  /** What the process before this one left and nothing has claimed yet. */
  readonly #unclaimed = new Map<string, number>();
  /** The names that the manager has, with the owners of those in use. */
  readonly #stored = new Map<string, string | undefined>();
  /** The names of each owner, oldest first. */
  readonly #storedOf = new Map<string, Set<string>>();
  #namesBytes = 0;
  #isFullReported = false;
  #isFrozen = false;
  #isTakenOver = false;

  constructor(manager: ServiceManager, log: Logger) {
    this.#manager = manager;
    this.#log = log;
  }

  /** Whether descriptors survive this process even if no other process takes over. */
  get persists(): boolean {
    return this.#manager.descriptorPlaces > 0;
  }

  /**
   * Takes over what an earlier process has left.
   *
   * @param isStored whether the service manager has passed it on, and therefore still has it.
   */
  inherit(inherited: readonly InheritedDescriptor[], isStored: boolean): void {
    for (const { name, descriptor } of inherited) {
      this.#unclaimed.set(name, descriptor);
      if (isStored) this.#note(name, undefined);
    }
  }

  /** The names of what an earlier process has left and nothing has claimed yet. */
  get unclaimed(): readonly string[] {
    return [...this.#unclaimed.keys()];
  }

  /**
   * A descriptor that an earlier process has left. It belongs to the caller from now on, which calls {@link keep} for
   * it.
   */
  claim(name: string): number | undefined {
    const descriptor = this.#unclaimed.get(name);
    this.#unclaimed.delete(name);
    return descriptor;
  }

  /**
   * Keeps a descriptor under a unique name until {@link release}. If the manager has no place left, a newcomer takes
   * one from the owner that has the most, so that no owner can take all places.
   */
  keep(name: string, owner: string, descriptor: () => number): void {
    if (!isDescriptorName(name)) throw new Error(`a descriptor cannot be kept as ${JSON.stringify(name)}`);
    if (this.#isFrozen) return;
    this.#entries.set(name, { owner, descriptor });
    if (!this.persists || this.#isTakenOver) return;
    if (this.#stored.has(name)) this.#note(name, owner);
    else if (this.#hasPlace(name) || this.#makePlace(name, owner)) {
      this.#note(name, owner);
      this.#manager.storeDescriptor(name, descriptor());
    }
  }

  /** Keeps a descriptor only for a process that takes over. The service manager does not get it. */
  keepForTakeOver(name: string, descriptor: () => number): void {
    this.#entries.set(name, { owner: name, descriptor });
  }

  /** To be called before the end of the turn of the event loop in which the descriptor closes. */
  release(name: string): void {
    if (this.#isFrozen) return;
    this.#entries.delete(name);
    if (!this.#stored.has(name)) return;
    this.#forget(name);
    this.#manager.removeDescriptor(name);
  }

  /** Whether the next process gets what is kept under a name when this process ends. */
  outlives(name: string): boolean {
    return this.#isTakenOver ? this.#entries.has(name) : this.#stored.has(name);
  }

  /**
   * Another process continues with everything that is kept. The service manager no longer stores it, because its
   * service ends.
   */
  beginTakeOver(): void {
    this.#isTakenOver = true;
    for (const name of [...this.#stored.keys()]) {
      this.#forget(name);
      this.#manager.removeDescriptor(name);
    }
  }

  /** Replaces everything that is kept by duplicates, so that it no longer depends on its owners. */
  detach(duplicate: (descriptor: number) => number): void {
    for (const [name, { owner, descriptor }] of this.#entries) {
      const own = duplicate(descriptor());
      this.#entries.set(name, { owner, descriptor: () => own });
    }
  }

  /**
   * Resolves once the service manager has all messages, because another process may have the same manager and use the
   * same names. Rejects if the manager does not read.
   */
  async settled(): Promise<void> {
    if (!await this.#manager.flushed(SETTLE_MS)) throw new Error("the service manager does not read its messages");
  }

  /**
   * From now on nothing is kept or released, because what is kept belongs to the next process, whatever happens in this
   * one.
   */
  freeze(): void {
    this.#isFrozen = true;
  }

  /** Everything that is kept now. */
  get entries(): KeptDescriptor[] {
    return [...this.#entries].map(([name, { descriptor }]) => ({ name, descriptor: descriptor() }));
  }

  #hasPlace(name: string): boolean {
    const hasPlace = this.#stored.size < this.#manager.descriptorPlaces &&
      this.#namesBytes + name.length < MAX_NAMES_BYTES;
    if (!hasPlace && !this.#isFullReported) {
      this.#log.warn(
        "the service manager stores no more connections (FileDescriptorStoreMax=): a restart ends some of them",
        { kept: this.#stored.size },
      );
    }
    this.#isFullReported = !hasPlace;
    return hasPlace;
  }

  /** Takes a place from the owner that has the most, unless that is no more than the newcomer would have. */
  #makePlace(name: string, owner: string): boolean {
    let most = (this.#storedOf.get(owner)?.size ?? 0) + 1;
    let latest: string | undefined;
    for (const names of this.#storedOf.values()) {
      if (names.size > most) [most, latest] = [names.size, [...names].at(-1)];
    }
    if (latest === undefined || latest.length < name.length) return false;
    this.#forget(latest);
    this.#manager.removeDescriptor(latest);
    return true;
  }

  #note(name: string, owner: string | undefined): void {
    if (!this.#stored.has(name)) this.#namesBytes += name.length + 1;
    this.#stored.set(name, owner);
    if (owner === undefined) return;
    const names = this.#storedOf.get(owner) ?? new Set();
    this.#storedOf.set(owner, names.add(name));
  }

  #forget(name: string): void {
    const owner = this.#stored.get(name);
    this.#stored.delete(name);
    this.#namesBytes -= name.length + 1;
    if (owner === undefined) return;
    const names = this.#storedOf.get(owner);
    names?.delete(name);
    if (names?.size === 0) this.#storedOf.delete(owner);
  }
}
