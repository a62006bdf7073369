import { constants } from "node:os";

/** Names by number. The first name wins, so 11 is EAGAIN and not its alias EWOULDBLOCK. */
const ERRNO_NAMES = new Map<number, string>();
for (const [name, number] of Object.entries(constants.errno)) {
  if (!ERRNO_NAMES.has(number)) ERRNO_NAMES.set(number, name);
}

/** A call to libc has failed, with this errno(3). */
export class LibcError extends Error {
  override readonly name = "LibcError";
  /** The function of libc. */
  readonly call: string;
  readonly errno: number;
  /** The errno's name, such as `EADDRINUSE`, or `errno 4711` for a number without a name. */
  readonly code: string;

  constructor(call: string, errno: number) {
    const code = ERRNO_NAMES.get(errno) ?? `errno ${errno}`;
    super(`${call}: ${code}`);
    this.call = call;
    this.errno = errno;
    this.code = code;
  }
}

/** The C library could not be found or opened. The message says why and what to do. */
export class LibraryError extends Error {
  override readonly name = "LibraryError";
}

/** The name of the errno in an error of libc or of a runtime; undefined if it has none. */
export function errnoName(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}
