/** Keeps connections and listening sockets for the next process, which takes them up again by their names. */
export interface DescriptorKeeper {
  /**
   * Keeps a descriptor under a name that no other has, until `release`.
   *
   * @param owner whose it is. Places are limited, and a newcomer takes one from the owner that has the most.
   * @param descriptor is asked each time that the descriptor is needed.
   */
  keep(name: string, owner: string, descriptor: () => number): void;
  /** To be called no later than in the turn of the event loop in which the descriptor closes. */
  release(name: string): void;
  /** Whether what is kept under a name is there for the next process when this one ends. */
  outlives(name: string): boolean;
  /** The names of what an earlier process has left and nobody has claimed. */
  readonly unclaimed: readonly string[];
  /** What an earlier process has left. It belongs to the caller from now on, who calls `keep` under the same name. */
  claim(name: string): number | undefined;
}
