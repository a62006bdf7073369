import type { InvalidReason } from "../pipeline/invalid-reason.ts";

export type { InvalidReason };

/**
 * A payload that is not a span. `offset` counts bytes from the payload's first.
 *
 * It is an `Error` by its prototype alone, so it has no stack: to record one takes longer than to find out that a small
 * payload is wrong, five times as long under Deno, and guests can send a great many. Where in the decoder a payload was
 * refused is told by `offset` and `message`.
 */
export class WireError implements Error {
  readonly reason: InvalidReason;
  readonly offset: number;
  /** The error for which it was refused, if there was one before this. */
  readonly cause: unknown;
  /** What is wrong, without where. */
  readonly detail: string;

  constructor(reason: InvalidReason, offset: number, detail: string, options?: ErrorOptions) {
    this.reason = reason;
    this.offset = offset;
    this.cause = options?.cause;
    this.detail = detail;
  }

  get name(): string {
    return "WireError";
  }

  get message(): string {
    return `${this.detail} at byte ${this.offset}`;
  }

  toString(): string {
    return `${this.name}: ${this.message}`;
  }
}
Object.setPrototypeOf(WireError.prototype, Error.prototype);
