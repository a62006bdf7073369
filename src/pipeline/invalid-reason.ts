/** Why a payload or a frame is invalid, in words that are few and fixed, because they label counters. */
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
