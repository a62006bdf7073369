import assert from "node:assert/strict";
import { ExportError, type ExportResult } from "../../../src/pipeline/exporter.ts";

/** What comes of a request that was read to its end, and accepted. */
export const TAKEN: ExportResult = { kind: "success", released: true };

/** A request's bytes, in which a mistake would show. */
export function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => i * 31 + (i >> 8));
}

/** How long the parts of a request are, bytes, in turns: less and more than a frame of HTTP/2 or its first window. */
const PART_BYTES = [40_000, 70_000, 65_536, 1, 200_000];

/** A request's bytes in several parts, each with memory of its own. */
export function inParts(bytes: Uint8Array): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += parts.at(-1)?.length ?? 0) {
    parts.push(bytes.slice(at, at + (PART_BYTES[parts.length % PART_BYTES.length] as number)));
  }
  return parts;
}

/** The error of a request that was not accepted, in this way. */
export function errorOf(result: ExportResult, kind: "retryable" | "rejected"): ExportError {
  assert.equal(result.kind, kind);
  const { error } = result as { error: Error };
  assert.ok(error instanceof ExportError, String(error));
  return error;
}
