import { Buffer } from "node:buffer";
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { recordToPart } from "../../otlp/record-encoder.ts";
import { StoreReader } from "../../store/store-reader.ts";
import type { IncomingSpan } from "../../store/span-source.ts";
import { TraceStore } from "../../store/trace-store.ts";
import { openRecords } from "../open-records.ts";

/** What every SQLite file begins with (https://www.sqlite.org/fileformat.html). */
const SQLITE_MAGIC = "SQLite format 3\0";

/** A file of spans cannot be opened. The message names it, and says what it can be. */
export class FileError extends Error {
  override readonly name = "FileError";
}

export interface LoadOptions {
  /** The cohort of a file's sandboxes, whatever they say themselves; "" leaves it to them. */
  readonly labelOf?: (file: string) => string;
  /** The resource attribute that says which cohort a sandbox belongs to. */
  readonly labelBy?: string | undefined;
}

/** A store with what files hold, and what could not be read of them. */
export interface LoadedFiles {
  readonly store: TraceStore;
  readonly problems: readonly string[];
}

/**
 * Opens files of spans: the store's own file, which is read where it is if it is the only one, or any that
 * `openRecords` reads. Throws a {@link FileError} or a `StoreError`.
 *
 * A store's sandboxes have their own labels.
 */
export function loadFiles(files: readonly string[], { labelOf = () => "", labelBy }: LoadOptions = {}): LoadedFiles {
  const [only] = files;
  if (files.length === 1 && only !== undefined && isStore(only)) {
    return { store: TraceStore.openForReading(only), problems: [] };
  }
  // Whoever names files wants all that is in them.
  const store = TraceStore.open(":memory:", { maxBytes: Number.MAX_SAFE_INTEGER, keepMs: Infinity }, "", labelBy);
  const problems: string[] = [];
  for (const file of files) {
    if (isStore(file)) copyStore(file, store);
    else {
      const opened = openRecords(store, read(file), labelOf(file));
      if (opened.spans === 0 && opened.problems.length > 0) {
        throw new FileError(
          `${file}: no spans in it (${
            opened.problems[0]
          }): it can be OTLP/JSON, a dump, a dead letter file, Jaeger's ` +
            "JSON, an exported page or a trace store",
        );
      }
      problems.push(...opened.problems.map((problem) => `${file}: ${problem}`));
    }
  }
  return { store, problems };
}

function isStore(file: string): boolean {
  const head = Buffer.alloc(SQLITE_MAGIC.length);
  try {
    const fd = openSync(file, "r");
    try {
      readSync(fd, head, 0, head.length, 0);
    } finally {
      closeSync(fd);
    }
  } catch (cause) {
    throw new FileError(`${file}: cannot be read: ${(cause as Error).message}`, { cause });
  }
  return head.toString("latin1") === SQLITE_MAGIC;
}

function read(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (cause) {
    throw new FileError(`${file}: cannot be read: ${(cause as Error).message}`, { cause });
  }
}

function copyStore(file: string, target: TraceStore): void {
  const source = TraceStore.openForReading(file);
  try {
    const reader = new StoreReader(source);
    for (const sandbox of reader.sandboxes()) {
      const spans = [...reader.records(sandbox)].map(({ record }): IncomingSpan => {
        return { kind: "file", part: recordToPart(record) };
      });
      target.add(spans, Date.now(), sandbox.label);
    }
  } finally {
    source.close();
  }
}
