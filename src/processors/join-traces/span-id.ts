import { Buffer } from "node:buffer";

/** An ID's bytes as a string with a character for each, which is cheap to make and to look up. */
export function idOf(buffer: Uint8Array, start: number, end: number): string {
  return Buffer.prototype.toString.call(buffer as Buffer, "latin1", start, end);
}

/** What {@link idOf} made, in hexadecimal. */
export function hexOf(id: string): string {
  return Buffer.from(id, "latin1").toString("hex");
}

/** The inverse of {@link hexOf}. */
export function idFromHex(hex: string): string {
  return Buffer.from(hex, "hex").toString("latin1");
}
