import { Buffer } from "node:buffer";
import type { Logger } from "../../base/log.ts";
import type { SpoolRecord } from "../spool-store.ts";
import { decodeJournal, type JournalRecord } from "./journal-format.ts";
import { storageError } from "./spool-error.ts";
import type { SpoolStorage } from "./storage.ts";

/** A journal's file is never longer than some megabytes; this is what is read of one at most, bytes. */
const MOST_READ_BYTES = 64 * 1024 * 1024;

/**
 * The chunks that killed processes had in their journals and that are not safe anywhere else, as far as they were
 * written. A file that cannot be read is logged, and costs only what is in it.
 */
export function readJournals(storage: SpoolStorage, names: readonly string[], log: Logger): SpoolRecord[] {
  const chunks = new Map<string, JournalRecord[]>();
  const safe = new Set<string>();
  for (const name of names) {
    try {
      const file = storage.open(name);
      const bytes = new Uint8Array(Math.min(file.size, MOST_READ_BYTES));
      const read = file.read([bytes], 0);
      file.close();
      for (const record of decodeJournal(bytes.subarray(0, read))) {
        const key = `${record.process} ${record.chunk}`;
        if (record.type === "safe") safe.add(key);
        else if (chunks.get(key)?.push(record) === undefined) chunks.set(key, [record]);
      }
    } catch (error) {
      log.error("a journal of the spool cannot be read: what a killed forwarder had in it is lost", {
        file: `${storage.path}/${name}`,
        error: storageError(error, "cannot read it"),
      });
    }
  }
  const found: SpoolRecord[] = [];
  for (const [key, records] of chunks) {
    const [first] = records;
    if (safe.has(key) || first === undefined) continue;
    const { account, kind } = first;
    const bytes = new Uint8Array(Buffer.concat(records.map(({ payload }) => payload)));
    found.push({ account, kind, spans: records.reduce((sum, { spans }) => sum + spans, 0), bytes });
  }
  return found;
}
