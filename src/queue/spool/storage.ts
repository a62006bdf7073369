/**
 * The file system as the spool uses it: one directory, and the files in it. `file-storage.ts` is the real one; the
 * tests have another, in memory, that fails and loses power where they say.
 *
 * All methods throw the system's error, which has a `code`, unless they say something else.
 */
export interface SpoolStorage {
  /** The directory's path, for messages. */
  readonly path: string;
  /** The names of everything in the directory. */
  list(): string[];
  /**
   * Opens a file that exists, for reading and writing.
   *
   * Throws {@link SpoolError} if the name is not a regular file of the forwarder's own user with this one name: a
   * symbolic link, FIFO, device or hard link could make the spool wait forever or write somewhere else.
   */
  open(name: string): StoredFile;
  /** Makes a new, empty file that only its owner may read. */
  create(name: string): StoredFile;
  /** Removes a file's name. */
  remove(name: string): void;
  exists(name: string): boolean;
  /** Makes all names in the directory durable: fsync(2) of the directory. */
  sync(): Promise<void>;
  /** Bytes that the file system has left for the forwarder's user. */
  freeBytes(): number;
  /** Closes everything, and lets other processes use the directory. */
  close(): void;
}

/** A file of the spool. */
export interface StoredFile {
  /** Its name in the directory, which changes when it is renamed. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Fills the buffers, one after the other. Returns how many bytes there were, which is fewer at the file's end. */
  read(buffers: readonly Uint8Array[], position: number): number;
  /** Writes all of the bytes. After an error it is unknown how many of them have been written. */
  write(bytes: Uint8Array, position: number): void;
  /** Makes everything written so far durable: fdatasync(2), on another thread. */
  sync(): Promise<void>;
  /** Gives it another name in the directory, durably after the next `sync` of the directory. */
  rename(name: string): void;
  /** Closes the descriptor. It is opened again if the file is used again. */
  close(): void;
}
