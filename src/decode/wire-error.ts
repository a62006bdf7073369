/** Why a payload or a frame is invalid, in words that are few and fixed: they label counters. */
export type InvalidReason =
  | "truncated"
  | "trailing-bytes"
  | "invalid-utf8"
  | "invalid-tag"
  | "invalid-value"
  | "missing-field"
  | "duplicate-field"
  | "time-out-of-range"
  | "too-deep"
  | "too-large"
  | "unknown-encoding";

/** A payload that is no span. `offset` counts bytes from the payload's first. */
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
