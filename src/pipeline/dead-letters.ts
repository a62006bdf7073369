/** Takes requests whose spans are given up. */
export interface DeadLetters {
  /**
   * Resolves when the request is written, or cannot be, which is logged. Never rejects.
   *
   * @param request must not be changed until then.
   * @param signal nothing is written any more once it is aborted, and nothing read from `request`.
   */
  write(request: Uint8Array, signal: AbortSignal): Promise<void>;
}
