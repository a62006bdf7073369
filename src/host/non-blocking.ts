import { constants, fstatSync, openSync } from "node:fs";

/**
 * A descriptor of the same pipe or terminal that never waits for its reader. A file description of its own: the flag
 * on the given one would be a surprise to the other processes that share it, and a runtime may or may not have set it.
 *
 * The given one where it is neither, or may not be opened again (it belongs to another user): writing may wait then.
 */
export function nonBlocking(fd: number): number {
  const { O_NOCTTY, O_NONBLOCK, O_WRONLY } = constants;
  try {
    const file = fstatSync(fd);
    // A file's own description has its own position: other writers' text would be written over.
    if (!file.isFIFO() && !file.isCharacterDevice()) return fd;
    return openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_NONBLOCK | O_NOCTTY);
  } catch (error) {
    if (error instanceof Error && "code" in error) return fd;
    throw error;
  }
}
