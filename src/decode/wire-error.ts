import type { InvalidReason } from "../pipeline/invalid-reason.ts";

export type { InvalidReason };

/** A payload that is not a span. `offset` counts bytes from the payload's first. */
export class WireError extends Error {
  override readonly name = "WireError";
  readonly reason: InvalidReason;
  readonly offset: number;

  constructor(reason: InvalidReason, offset: number, detail: string, options?: ErrorOptions) {
    super(`${detail} at byte ${offset}`, options);
    this.reason = reason;
    this.offset = offset;
  }
}
