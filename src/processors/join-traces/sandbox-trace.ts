import { createHash } from "node:crypto";

/** The IDs that all spans of one sandbox share, or hang below. */
export interface SandboxTrace {
  /** 16 bytes. */
  readonly traceId: Uint8Array;
  /** The span ID of the sandbox's root, 8 bytes. */
  readonly rootSpanId: Uint8Array;
}

/**
 * The first bytes of every trace ID that is made here, "kata" in ASCII. Guests whose sandbox is not known may not use
 * them, so that nobody gets into a sandbox's trace by computing its ID.
 */
const MARK = new TextEncoder().encode("kata");

/** Containerd's and CRI-O's IDs: 64 hexadecimal digits, all of them random. */
const FULL_ID = /^[0-9a-f]{64}$/;
/** Firecracker's sockets are in directories that are named by so many characters of the sandbox's ID. */
const SHORT_ID_LENGTH = 32;

/** Makes the digest another one than anybody else's of the same ID. */
const DOMAIN = "kata-trace-forwarder sandbox ";
const TRACE_BYTES = 16;
const SPAN_BYTES = 8;

/** A sandbox's name that all of its sources agree on: Firecracker's guests know only the first half of the ID. */
export function sandboxKey(id: string): string {
  return FULL_ID.test(id) ? id.slice(0, SHORT_ID_LENGTH) : id;
}

/**
 * The IDs of a sandbox, made from its own ID by SHA-256: the same in every process, on every node, and for ever.
 */
export function sandboxTrace(id: string): SandboxTrace {
  const digest = createHash("sha256").update(DOMAIN + sandboxKey(id)).digest();
  const traceId = new Uint8Array(TRACE_BYTES);
  traceId.set(MARK);
  traceId.set(digest.subarray(0, TRACE_BYTES - MARK.length), MARK.length);
  return { traceId, rootSpanId: new Uint8Array(digest.subarray(TRACE_BYTES, TRACE_BYTES + SPAN_BYTES)) };
}

/** Whether a trace ID at `buffer[start …]` could have been made by {@link sandboxTrace}. */
export function isMarked(buffer: Uint8Array, start: number): boolean {
  return MARK.every((byte, at) => buffer[start + at] === byte);
}

/** Changes a trace ID so that {@link isMarked} is false, always in the same way. */
export function unmark(buffer: Uint8Array, start: number): void {
  buffer[start] = (buffer[start] as number) ^ 0x80;
}
