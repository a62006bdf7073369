import type { RecoveredRecord } from "../spool-store.ts";

/** A batch in the spool of an earlier version: a whole request, of several accounts. */
export interface EarlierRecord {
  readonly sequence: number;
  readonly spans: number;
  /** Bytes of the request. */
  readonly size: number;
}

/** A spool of an earlier version, which is emptied and then no longer there. */
export interface EarlierSpool {
  /** What was found, oldest first. */
  readonly records: readonly EarlierRecord[];
  /** A batch's request, or undefined if it is damaged. Throws `SpoolError` if it cannot be read now. */
  read(sequence: number): Uint8Array | undefined;
  /** A batch is not wanted any more. Never fails. */
  remove(sequence: number): void;
  /** Closes it if something is left in it. */
  close(): void;
}

/** Nobody's name: a batch has spans of several accounts, and none of them is to pay for the others. */
const ACCOUNT = "spool of an earlier version";

/** The batches of an earlier spool among the records of this one: they have the IDs below 0. */
export class EarlierRecords {
  readonly #spool: EarlierSpool | undefined;
  readonly #left = new Map<number, EarlierRecord>();
  #usedBytes = 0;

  constructor(spool: EarlierSpool | undefined) {
    this.#spool = spool;
    const records = spool?.records ?? [];
    for (const [i, record] of records.entries()) {
      this.#left.set(i - records.length, record);
      this.#usedBytes += record.size;
    }
  }

  get count(): number {
    return this.#left.size;
  }
  get usedBytes(): number {
    return this.#usedBytes;
  }

  *recovered(): Generator<RecoveredRecord> {
    for (const [id, { spans, size }] of this.#left) {
      yield { id, account: ACCOUNT, kind: "guest", spans, removedSpans: 0, size };
    }
  }

  /** Like `Spool.read`. */
  read(id: number): Uint8Array | undefined {
    const record = this.#left.get(id);
    const bytes = record && this.#spool?.read(record.sequence);
    if (bytes === undefined) this.remove(id);
    return bytes;
  }

  remove(id: number): void {
    const record = this.#left.get(id);
    if (record === undefined) return;
    this.#left.delete(id);
    this.#usedBytes -= record.size;
    this.#spool?.remove(record.sequence);
  }

  close(): void {
    this.#spool?.close();
  }
}
