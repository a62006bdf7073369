import { writeFileSync } from "node:fs";
import { performance } from "node:perf_hooks";
import type { StoredSandbox } from "../../store/store-reader.ts";
import { TraceStore } from "../../store/trace-store.ts";
import { exportHtml } from "../export/html.ts";
import { otlpJsonLines } from "../export/otlp-json.ts";
import { perfettoTrace } from "../export/perfetto.ts";
import { ApiHandler } from "../server/api-handler.ts";
import { FileError, loadFiles } from "./load-files.ts";

/** What `export` was asked for. */
export interface ExportRequest {
  readonly files: readonly string[];
  /** Read if there are no files. */
  readonly store: string | undefined;
  readonly sandbox: string | undefined;
  /** So many sandboxes with the longest starts. */
  readonly slowest: number | undefined;
  readonly html: string | undefined;
  readonly otlp: string | undefined;
  readonly perfetto: string | undefined;
  readonly withSecrets: boolean;
}

/** Writes sandboxes into files; prints what was written. Throws a {@link FileError} or a `StoreError`. */
export function runExport(request: ExportRequest, write: (text: string) => void, warn: (text: string) => void): void {
  const store = openSource(request, warn);
  try {
    const handler = new ApiHandler(store, () => performance.now());
    const sandboxes = chosen(handler, request);
    const options = { withSecrets: request.withSecrets };
    const put = (file: string | undefined, content: () => string): void => {
      if (file === undefined) return;
      try {
        writeFileSync(file, content());
      } catch (cause) {
        throw new FileError(`${file}: cannot be written: ${(cause as Error).message}`, { cause });
      }
      write(`${file}: ${sandboxes.length} sandbox${sandboxes.length === 1 ? "" : "es"}\n`);
    };
    put(request.html, () => exportHtml(handler, sandboxes.map(({ sid }) => sid), options));
    put(request.otlp, () => sandboxes.map((one) => otlpJsonLines(handler.reader, one, options)).join(""));
    const [first] = sandboxes;
    if (request.perfetto !== undefined && (first === undefined || sandboxes.length > 1)) {
      throw new FileError(`--perfetto: holds one sandbox, and there are ${sandboxes.length}: choose with --sandbox ID`);
    }
    put(request.perfetto, () => perfettoTrace(handler.reader, first as StoredSandbox, options));
  } finally {
    store.close();
  }
}

function openSource({ files, store }: ExportRequest, warn: (text: string) => void): TraceStore {
  if (files.length === 0) {
    if (store === undefined) throw new FileError("nothing to export: give FILE…, or --store FILE");
    return TraceStore.openForReading(store);
  }
  const loaded = loadFiles(files);
  for (const problem of loaded.problems) warn(problem);
  return loaded.store;
}

function chosen({ reader, index }: ApiHandler, { sandbox, slowest }: ExportRequest): StoredSandbox[] {
  const all = reader.sandboxes();
  if (sandbox !== undefined) {
    const found = all.filter(({ sid }) => sid === sandbox || sid.startsWith(sandbox));
    if (found.length === 1) return found;
    const known = all.slice(0, 10).map(({ sid }) => sid).join(", ") || "none";
    throw new FileError(
      `--sandbox ${sandbox}: ${found.length === 0 ? "not there" : "more than one"}; there are: ${known}`,
    );
  }
  if (slowest === undefined) return all;
  const starts = new Map(all.map((one) => [one.sid, index.summary(one).start ?? -1]));
  return all.sort((a, b) => (starts.get(b.sid) ?? 0) - (starts.get(a.sid) ?? 0)).slice(0, slowest);
}
