/**
 * What a source of spans is to the host, which decides how far its word is trusted and what happens when it is too
 * fast:
 *
 * - `guest`: an agent in a sandbox. Untrusted; it is not read while there is no room for its spans.
 * - `runtime`: a Kata runtime on the host. A sandbox's start waits for its answers, so it is never held up.
 * - `host`: any other program on the host, such as containerd. It is told to come again when there is no room.
 */
export type SourceKind = "guest" | "runtime" | "host";

/** Where spans come from, in the words of the listener that took the source in. Nothing here comes from a guest. */
export interface Source {
  readonly kind: SourceKind;
  /** For log lines only, such as `vsock:3:1026` or a sandbox's ID. Two sources may have the same name. */
  readonly name: string;
  /**
   * The key of the budgets that everything from this source is charged to. All connections of one guest share it, and
   * no two guests do. The listener sets it from what the guest cannot choose (its CID, the path of its socket), and
   * nobody takes it apart.
   */
  readonly account: string;
  /**
   * Who the source is: `kata.vsock.cid`, `kata.sandbox.id` or both. They are laid over each of its resources, whatever
   * its kind; a string becomes a `stringValue`, a number (a safe integer) an `intValue`.
   */
  readonly attributes: ReadonlyMap<string, string | number>;
}
