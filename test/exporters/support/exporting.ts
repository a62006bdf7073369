import assert from "node:assert/strict";
import { ExportError, type ExportResult } from "../../../src/pipeline/exporter.ts";

/** What comes of a request that was read to its end, and accepted. */
export const TAKEN: ExportResult = { kind: "success", released: true };

/** A request's bytes, in which a mistake would show. */
export function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => i * 31 + (i >> 8));
}

/** The error of a request that was not accepted, in this way. */
export function errorOf(result: ExportResult, kind: "retryable" | "rejected"): ExportError {
  assert.equal(result.kind, kind);
  const { error } = result as { error: Error };
  assert.ok(error instanceof ExportError, String(error));
  return error;
}
