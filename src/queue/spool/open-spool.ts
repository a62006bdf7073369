import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Logger } from "../../base/log.ts";
import { type FileLocks, FileStorage } from "./file-storage.ts";
import { Spool } from "./spool.ts";
import { type Owner, prepareSpoolDirectory } from "./spool-directory.ts";

/** The name of the database that earlier versions had as their spool. */
const OLD_SPOOL = "spool.db";

/** Where the spool is, and how large it may be. */
export interface SpoolPlace {
  readonly directory: string;
  /** Of all files together, bytes. */
  readonly maxBytes: number;
}

/**
 * Does what must be done while the process still has its privileges. Returns what opens the spool once they are gone.
 * Both throw {@link SpoolError}.
 *
 * @param owner the user that the process will run as; see {@link prepareSpoolDirectory}.
 */
export async function prepareSpool(
  place: SpoolPlace,
  owner: Owner | undefined,
  locks: FileLocks,
): Promise<(log: Logger) => Spool> {
  const directory = prepareSpoolDirectory(place.directory, owner);
  const path = join(directory, OLD_SPOOL);
  // Loaded only if there is one, because SQLite comes with it.
  const { OldSpool } = existsSync(path) ? await import("./old-spool.ts") : {};
  return (log) => {
    const storage = FileStorage.open(directory, locks);
    const earlier = OldSpool && (() => OldSpool.open(path, log));
    return Spool.open({ storage, maxBytes: place.maxBytes, log, earlier });
  };
}
