import { type Removal, removalWord, SLOTS_AT } from "./segment-format.ts";
import type { StoredFile } from "./storage.ts";

/** Of a record with more spans than this, it is not noted how much of it has been removed. */
const MAX_PART = 65_536;

/** The slots of a segment: which of its records have been removed, and why. */
export class Removals {
  readonly #marker: Uint8Array;
  /** The slots as they are or should be on disk. */
  readonly #words: Uint32Array<ArrayBuffer>;
  /** The slots that have changed and are not on disk yet: from the first to before the last. */
  #changedFrom = Infinity;
  #changedTo = 0;

  /** @param words the slots on disk, little-endian like the machines that both runtimes are for. */
  constructor(marker: Uint8Array, words: Uint32Array<ArrayBuffer>) {
    this.#marker = marker;
    this.#words = words;
  }

  /** Whether the disk has all that was noted. */
  get isWritten(): boolean {
    return this.#changedTo === 0;
  }

  /**
   * Why a record of so many spans was removed, or how much of it. Undefined if it was not, or if its slot is damaged:
   * better to send it twice than not.
   */
  of(slot: number, spans: number): Removal | undefined {
    const word = this.#words[slot];
    if (word === 0) return undefined;
    const isMeant = (removal: Removal): boolean => word === removalWord(this.#marker, slot, removal);
    if (isMeant("delivered")) return "delivered";
    if (isMeant("damaged")) return "damaged";
    for (let part = 1; part < Math.min(spans, MAX_PART); part++) if (isMeant(part)) return part;
    return undefined;
  }

  note(slot: number, removal: Removal): void {
    this.#words[slot] = removalWord(this.#marker, slot, removal);
    this.#changedFrom = Math.min(this.#changedFrom, slot);
    this.#changedTo = Math.max(this.#changedTo, slot + 1);
  }

  /** Writes what has changed. Throws the storage's error, after which it is still to be written. */
  write(file: StoredFile): void {
    const { buffer, BYTES_PER_ELEMENT } = this.#words;
    const [from, to] = [this.#changedFrom * BYTES_PER_ELEMENT, this.#changedTo * BYTES_PER_ELEMENT];
    file.write(new Uint8Array(buffer, from, to - from), SLOTS_AT + from);
    this.#changedFrom = Infinity;
    this.#changedTo = 0;
  }
}
