import type { DescriptorKeeper } from "../../../src/receivers/vsock/descriptor-keeper.ts";
import { loadLibc } from "../../../ffi/libc.ts";

const libc = await loadLibc();

/** Keeps duplicates of descriptors, as a service manager does, so that they outlive a listener. */
export class FakeKeeper implements DescriptorKeeper {
  readonly kept = new Map<string, number>();
  readonly owners = new Map<string, string>();
  readonly #left = new Map<string, number>();
  /** Set at the end of a process: nothing is released any more. */
  isFrozen = false;

  keep(name: string, owner: string, descriptor: () => number): void {
    this.owners.set(name, owner);
    if (!this.kept.has(name)) this.kept.set(name, libc.duplicate(descriptor()));
  }

  release(name: string): void {
    const descriptor = this.kept.get(name);
    if (this.isFrozen || descriptor === undefined) return;
    libc.close(descriptor);
    this.kept.delete(name);
    this.owners.delete(name);
  }

  outlives(name: string): boolean {
    return this.kept.has(name);
  }

  get unclaimed(): readonly string[] {
    return [...this.#left.keys()];
  }

  claim(name: string): number | undefined {
    const descriptor = this.#left.get(name);
    this.#left.delete(name);
    return descriptor;
  }

  /** The keeper of the next process, which has been left everything that this one has kept. */
  next(): FakeKeeper {
    const next = new FakeKeeper();
    for (const [name, descriptor] of this.kept) {
      next.kept.set(name, descriptor);
      next.#left.set(name, libc.duplicate(descriptor));
    }
    return next;
  }

  [Symbol.dispose](): void {
    for (const descriptor of [...this.kept.values(), ...this.#left.values()]) libc.close(descriptor);
    this.kept.clear();
    this.#left.clear();
  }
}
