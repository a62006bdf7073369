/** The helper cannot be started, or does not answer. The message says why and what to do. */
export class HelperError extends Error {
  override readonly name = "HelperError";
  /** The name of the errno that the helper met; absent if there was none. */
  readonly code: string | undefined;

  constructor(message: string, { errno, ...options }: ErrorOptions & { readonly errno?: string | undefined } = {}) {
    super(message, options);
    this.code = errno;
  }
}
