import type { FrameReader } from "../../decode/frame-reader.ts";

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

/** Keeps what is read of connections and not processed yet for the next process, even if this one is killed. */
export interface ReadKeeper {
  /** @param name what the connection is kept as. @param account whose it is. */
  of(name: string, account: string): ConnectionReads;
}

/** What has been read of one connection and is not processed yet. Only `receive` throws. */
export interface ConnectionReads {
  /** How many bytes are kept. */
  readonly bytes: number;
  /**
   * Reads from a descriptor without waiting, so that what is read is kept from the moment that it leaves the kernel;
   * nothing at the end of the stream. Undefined if it cannot be kept: nothing is read then. Throws recvmmsg(2)'s error.
   */
  receive(descriptor: number): Uint8Array | undefined;
  /** Keeps bytes that have come otherwise. To be called before anything else is done with them. */
  read(bytes: Uint8Array): void;
  /** Some of it has been processed, and the reader says what is left. */
  processed(reader: Pick<FrameReader, "unread" | "unreadBytes" | "isSearching">): void;
  /** Everything has been processed, or is given up, and nothing more comes. */
  end(): void;
  /** What is left of it now goes to the next process. */
  leave(): void;
}
