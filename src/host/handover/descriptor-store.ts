import type { Logger } from "../../base/log.ts";
import { isDescriptorName, type ServiceManager } from "../service-manager.ts";
import type { InheritedDescriptor } from "./inherit-descriptors.ts";

/**
 * How long all names together may be, bytes: systemd passes them on in one environment variable, which must be shorter
 * than 128 KiB (`MAX_ARG_STRLEN`, execve(2)). Beyond that the service could never be started again.
 */
const MAX_NAMES_BYTES = 120 * 1024;
/**
 * How many descriptors of one owner the manager keeps: an agent has one connection, or one for each of its exporters,
 * and nobody must be able to take the others' places.
 */
export const MAX_DESCRIPTORS_OF_ONE = 64;

/** A descriptor of this process that another one could go on with. */
export interface KeptDescriptor {
  readonly name: string;
  readonly descriptor: number;
}

interface Entry {
  readonly owner: string;
  /** Asked for when it is needed, because a paused listener changes it. */
  readonly descriptor: () => number;
}

/**
 * Connections and listening sockets that may outlive this process, each under a name that says whose it is. The service
 * manager keeps them if it can, and a process that takes over is given all of them.
 */
export class DescriptorStore {
  readonly #manager: ServiceManager;
  readonly #log: Logger;
  readonly #entries = new Map<string, Entry>();
  /** What the process before this one left, until somebody claims it. */
  readonly #unclaimed = new Map<string, number>();
  /** Names that the manager has, and the owners of those that are in use. */
  readonly #stored = new Map<string, string | undefined>();
  readonly #storedOf = new Map<string, number>();
  #namesBytes = 0;
  #isFullReported = false;

  constructor(manager: ServiceManager, log: Logger) {
    this.#manager = manager;
    this.#log = log;
  }

  /** Whether what is kept outlives this process even if nobody takes over. */
  get persists(): boolean {
    return this.#manager.descriptorPlaces > 0;
  }

  /**
   * Takes over what an earlier process has left.
   *
   * @param isStored whether the service manager has passed it on, and so has it still.
   */
  inherit(inherited: readonly InheritedDescriptor[], isStored: boolean): void {
    for (const { name, descriptor } of inherited) {
      this.#unclaimed.set(name, descriptor);
      if (isStored) this.#note(name, undefined);
    }
  }

  /** The names of what an earlier process has left and nobody has claimed. */
  get unclaimed(): readonly string[] {
    return [...this.#unclaimed.keys()];
  }

  /**
   * A descriptor that an earlier process has left; it belongs to the caller from now on, who calls {@link keep} for it.
   */
  claim(name: string): number | undefined {
    const descriptor = this.#unclaimed.get(name);
    this.#unclaimed.delete(name);
    return descriptor;
  }

  /**
   * Keeps a descriptor under a name that no other has, until {@link release}.
   *
   * @param owner whose it is: each has a limited number of places.
   */
  keep(name: string, owner: string, descriptor: () => number): void {
    if (!isDescriptorName(name)) throw new Error(`a descriptor cannot be kept as ${JSON.stringify(name)}`);
    this.#entries.set(name, { owner, descriptor });
    if (!this.persists) return;
    if (this.#stored.has(name)) this.#note(name, owner);
    else if (this.#hasPlace(name, owner)) {
      this.#note(name, owner);
      this.#manager.storeDescriptor(name, descriptor());
    }
  }

  /** To be called before the descriptor closes, or at the latest in the same turn of the event loop. */
  release(name: string): void {
    this.#entries.delete(name);
    if (!this.#stored.has(name)) return;
    this.#forget(name);
    this.#manager.removeDescriptor(name);
  }

  /** Whether what is kept under a name outlives this process even if nobody takes over. */
  isStored(name: string): boolean {
    return this.#stored.has(name);
  }

  /** Everything that is kept at the moment. */
  get entries(): KeptDescriptor[] {
    return [...this.#entries].map(([name, { descriptor }]) => ({ name, descriptor: descriptor() }));
  }

  #hasPlace(name: string, owner: string): boolean {
    const isFull = this.#stored.size >= this.#manager.descriptorPlaces ||
      this.#namesBytes + name.length >= MAX_NAMES_BYTES;
    if (isFull && !this.#isFullReported) {
      this.#log.warn(
        "the service manager keeps no more connections (FileDescriptorStoreMax=): a restart ends those of new guests",
        { kept: this.#stored.size },
      );
    }
    this.#isFullReported = isFull;
    return !isFull && (this.#storedOf.get(owner) ?? 0) < MAX_DESCRIPTORS_OF_ONE;
  }

  #note(name: string, owner: string | undefined): void {
    if (!this.#stored.has(name)) this.#namesBytes += name.length + 1;
    this.#stored.set(name, owner);
    if (owner !== undefined) this.#storedOf.set(owner, (this.#storedOf.get(owner) ?? 0) + 1);
  }

  #forget(name: string): void {
    const owner = this.#stored.get(name);
    this.#stored.delete(name);
    this.#namesBytes -= name.length + 1;
    if (owner === undefined) return;
    const left = (this.#storedOf.get(owner) ?? 1) - 1;
    if (left > 0) this.#storedOf.set(owner, left);
    else this.#storedOf.delete(owner);
  }
}
