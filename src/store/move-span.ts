import { ROW_BYTES } from "./schema.ts";
import { bytesOf, type StoreDatabase } from "./store-database.ts";

/** What identifies a stored span. IDs are lower-case hexadecimal. */
export interface SpanKey {
  readonly traceId: string;
  readonly spanId: string;
}

/** A row of the table `sandbox`, as far as it is in memory. */
export interface SandboxRow {
  readonly id: number;
  readonly sid: string;
  label: string;
  spans: number;
  bytes: number;
}

/**
 * Moves a stored span, with the values that it refers to, from one sandbox to another; both rows follow.
 *
 * @param targetFrom the other sandbox, made if it is not there, whose first span starts then (Unix nanoseconds).
 * @returns false if the sandbox does not have the span, or the other one has it already.
 */
export function moveSpan(
  database: StoreDatabase,
  { traceId, spanId }: SpanKey,
  source: SandboxRow,
  targetFrom: (startNs: bigint) => SandboxRow,
): boolean {
  const [trace, span] = [bytesOf(traceId), bytesOf(spanId)];
  const row = database.all(
    "SELECT CAST(start AS TEXT) AS start, error, resource, scope, large, length(body) AS size FROM span WHERE " +
      "sandbox = ? AND trace = ? AND span = ?",
    source.id,
    trace,
    span,
  )[0];
  if (row === undefined) return false;
  const startNs = BigInt(String(row["start"]));
  const target = targetFrom(startNs);
  const large = row["large"] === null ? [] : JSON.parse(String(row["large"])) as { hash: string }[];
  const hashes = [
    row["resource"] as Uint8Array,
    row["scope"] as Uint8Array,
    ...large.map(({ hash }) => bytesOf(hash)),
  ];
  for (const hash of hashes) {
    database.run(
      "INSERT OR IGNORE INTO blob SELECT ?, hash, body FROM blob WHERE sandbox = ? AND hash = ?",
      target.id,
      source.id,
      hash,
    );
  }
  const moved = database.run(
    "UPDATE OR IGNORE span SET sandbox = ? WHERE sandbox = ? AND trace = ? AND span = ?",
    target.id,
    source.id,
    trace,
    span,
  );
  if (moved === 0) return false;
  const bytes = Number(row["size"]) + ROW_BYTES;
  const error = Number(row["error"]);
  source.spans--;
  source.bytes -= bytes;
  target.spans++;
  target.bytes += bytes;
  database.run(
    "UPDATE sandbox SET spans = spans - 1, errors = errors - ?, bytes = ?, summary_spans = -1 WHERE id = ?",
    error,
    source.bytes,
    source.id,
  );
  database.run(
    "UPDATE sandbox SET spans = spans + 1, errors = errors + ?, bytes = ?, base_ns = min(base_ns, ?), " +
      "summary_spans = -1 WHERE id = ?",
    error,
    target.bytes,
    startNs,
    target.id,
  );
  return true;
}
