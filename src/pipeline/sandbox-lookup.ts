/** What the host knows of sandboxes besides their IDs, such as their pods: attributes for the resources of their spans. */
export interface SandboxLookup {
  /** What is known without looking; undefined if it has to be looked for, empty if there is nothing. */
  known(sandbox: string): ReadonlyMap<string, string> | undefined;
  /** Looks for it, once for all who ask. Never rejects, and does not take long. */
  find(sandbox: string): Promise<ReadonlyMap<string, string>>;
}
