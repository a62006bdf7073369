import { constants, fstatSync, openSync } from "node:fs";

/**
 * Opens the same pipe or terminal again, so that writing never waits for its reader. The flag is not set on the given
 * descriptor, because other processes share it and would be surprised, and a runtime may or may not have set it.
 *
 * Returns the given descriptor if it is neither a pipe nor a terminal, or if it may not be opened again because it
 * belongs to another user. Writing may wait then.
 */
export function nonBlocking(fd: number): number {
  const { O_NOCTTY, O_NONBLOCK, O_WRONLY } = constants;
  try {
    const file = fstatSync(fd);
    // A file that is opened again has a position of its own, so it would overwrite other writers' text.
    if (!file.isFIFO() && !file.isCharacterDevice()) return fd;
    return openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_NONBLOCK | O_NOCTTY);
  } catch (error) {
    if (error instanceof Error && "code" in error) return fd;
    throw error;
  }
}
