import { getRandomValues } from "node:crypto";
import { ProtobufWriter } from "../otlp/protobuf-writer.ts";
import { halfSipHash } from "./half-sip-hash.ts";

/** How many numbers describe one entry: where its field begins, its key begins, the key's length, the key's print. */
const STRIDE = 4;
/** Up to this many entries, comparing each with each is faster than a table. */
const FEW = 32;
/** Memory for more entries than this is given back after the map. */
const RETAINED_ENTRIES = 4096;
/** Stands in before the first map. */
const NO_WRITER = new ProtobufWriter(0);
/** Knuth's multiplier: 2^32 divided by the golden ratio. */
const GOLDEN = 0x9e3779b1;

/** The key of the hash, another in each process: no guest can pick attribute keys that collide. */
const [SEED_LOW, SEED_HIGH] = getRandomValues(new Int32Array(2)) as unknown as [number, number];

/**
 * Makes a map of attributes that are written one after the other: of two entries with the same key the later one stays.
 *
 * It works on what has been written, so it does not know which encoding the keys came in. The time it takes is linear
 * in the bytes written, whatever the keys are. Use: `begin(writer)`, then for each entry write its field and `add(…)`,
 * then `end()`.
 *
 * Its members are `private`, not `#private`: this is on the path of every attribute, and JavaScriptCore takes a tenth
 * longer for a span when it has to check for the latter.
 */
export class AttributeMap {
  private writer = NO_WRITER;
  private entries = new Int32Array(STRIDE * FEW);
  private count = 0;
  /** How many entries a later one has replaced. Their key's length is -1. */
  private replaced = 0;
  /** Open addressing: an entry's number plus one, 0 where free; a power of two long. Used while `#hashed`. */
  private table = new Int32Array(0);
  private hashed = false;

  /** Begins a map with what is written to `writer` next. */
  begin(writer: ProtobufWriter): void {
    this.writer = writer;
    this.count = 0;
    this.replaced = 0;
    this.hashed = false;
  }

  /**
   * Takes the entry just written: its field is the writer's buffer from `fieldStart` to its position, and its key the
   * `keyLength` bytes at `keyStart`.
   */
  add(fieldStart: number, keyStart: number, keyLength: number): void {
    if (this.hashed) {
      this.addHashed(fieldStart, keyStart, keyLength);
      return;
    }
    const entries = this.entries;
    const used = this.count * STRIDE;
    const print = this.fingerprint(keyStart, keyLength);
    for (let entry = 0; entry < used; entry += STRIDE) {
      if (entries[entry + 3] !== print || entries[entry + 2] !== keyLength) continue;
      if (!this.sameBytes(entries[entry + 1] as number, keyStart, keyLength)) {
        // The fingerprint does not tell these keys apart. Comparing such keys each with each could take forever.
        this.startHashing();
        this.addHashed(fieldStart, keyStart, keyLength);
        return;
      }
      entries[entry + 2] = -1;
      this.replaced++;
      break;
    }
    if (this.count === FEW) {
      this.startHashing();
      this.addHashed(fieldStart, keyStart, keyLength);
      return;
    }
    entries[used] = fieldStart;
    entries[used + 1] = keyStart;
    entries[used + 2] = keyLength;
    entries[used + 3] = print;
    this.count++;
  }

  /** Ends the map with the last entry added: takes what was replaced out of the writer's bytes. */
  end(): void {
    if (this.replaced > 0) this.compact();
    if (this.entries.length > STRIDE * RETAINED_ENTRIES) {
      this.entries = new Int32Array(STRIDE * FEW);
      this.table = new Int32Array(0);
    }
  }

  /**
   * Equal keys have equal fingerprints; different ones nearly always different ones, unless someone wants otherwise.
   */
  private fingerprint(keyStart: number, keyLength: number): number {
    const view = this.writer.view;
    if (keyLength >= 4) {
      const first = view.getInt32(keyStart, true);
      const last = view.getInt32(keyStart + keyLength - 4, true);
      return (Math.imul(first, GOLDEN) ^ last) + keyLength | 0;
    }
    let print = 0;
    for (let i = 0; i < keyLength; i++) print = (print << 8) | view.getUint8(keyStart + i);
    return print;
  }

  private sameBytes(left: number, right: number, length: number): boolean {
    const buffer = this.writer.buffer;
    for (let i = 0; i < length; i++) {
      if (buffer[left + i] !== buffer[right + i]) return false;
    }
    return true;
  }

  /** Puts what is there into a table, under hashes in place of fingerprints. */
  private startHashing(): void {
    this.hashed = true;
    const entries = this.entries;
    const view = this.writer.view;
    for (let entry = 0; entry < this.count * STRIDE; entry += STRIDE) {
      const keyStart = entries[entry + 1] as number;
      const keyLength = entries[entry + 2] as number;
      if (keyLength < 0) continue;
      entries[entry + 3] = halfSipHash(view, keyStart, keyStart + keyLength, SEED_LOW, SEED_HIGH);
    }
    this.fillTable(FEW * 4);
  }

  private fillTable(size: number): void {
    if (this.table.length === size) this.table.fill(0);
    else this.table = new Int32Array(size);
    const entries = this.entries;
    const table = this.table;
    for (let number = 0; number < this.count; number++) {
      if ((entries[number * STRIDE + 2] as number) < 0) continue;
      let slot = (entries[number * STRIDE + 3] as number) & (size - 1);
      while (table[slot] !== 0) slot = (slot + 1) & (size - 1);
      table[slot] = number + 1;
    }
  }

  private addHashed(fieldStart: number, keyStart: number, keyLength: number): void {
    if (this.count * STRIDE === this.entries.length) {
      const grown = new Int32Array(this.entries.length * 2);
      grown.set(this.entries);
      this.entries = grown;
    }
    // At most half full, so that a free slot is near.
    if ((this.count - this.replaced) * 2 >= this.table.length) {
      this.fillTable(this.table.length * 2);
    }
    const entries = this.entries;
    const table = this.table;
    const mask = table.length - 1;
    const hash = halfSipHash(
      this.writer.view,
      keyStart,
      keyStart + keyLength,
      SEED_LOW,
      SEED_HIGH,
    );
    let slot = hash & mask;
    for (; table[slot] !== 0; slot = (slot + 1) & mask) {
      const entry = ((table[slot] as number) - 1) * STRIDE;
      if (
        entries[entry + 3] === hash && entries[entry + 2] === keyLength &&
        this.sameBytes(entries[entry + 1] as number, keyStart, keyLength)
      ) {
        entries[entry + 2] = -1;
        this.replaced++;
        break;
      }
    }
    const used = this.count * STRIDE;
    entries[used] = fieldStart;
    entries[used + 1] = keyStart;
    entries[used + 2] = keyLength;
    entries[used + 3] = hash;
    table[slot] = ++this.count;
  }

  private compact(): void {
    const writer = this.writer;
    const entries = this.entries;
    const used = this.count * STRIDE;
    let to = entries[0] as number;
    for (let entry = 0; entry < used; entry += STRIDE) {
      if ((entries[entry + 2] as number) < 0) continue;
      const start = entries[entry] as number;
      const end = entry + STRIDE < used ? entries[entry + STRIDE] as number : writer.position;
      if (to !== start) writer.buffer.copyWithin(to, start, end);
      to += end - start;
    }
    writer.position = to;
  }
}
