import { connect } from "node:net";
import { pipeline } from "node:stream/promises";
import { setImmediate } from "node:timers/promises";

/** Sizes of the chunks that a session is cut into, bytes, in a cycle, so that headers, IDs and texts are cut. */
const CHUNK_SIZES = [1, 1, 2, 3, 5, 8, 1, 13, 60, 7, 333, 1, 4096, 17, 1000];

/**
 * Writes a session to the UNIX socket at `path` as an agent's VMM does, but in awkward pieces, and closes the stream.
 * Resolves once the system has everything. Rejects if the socket fails.
 */
export async function replay(path: string, session: Uint8Array): Promise<void> {
  await pipeline(pieces(session), connect(path));
}

async function* pieces(session: Uint8Array): AsyncGenerator<Uint8Array, void> {
  for (const chunk of chunksOf(session)) {
    yield chunk;
    // Lets the forwarder read this piece by itself.
    await setImmediate();
  }
}

/** The pieces in which {@link replay} writes. */
export function* chunksOf(session: Uint8Array): Generator<Uint8Array, void> {
  let position = 0;
  for (let i = 0; position < session.length; i++) {
    const size = CHUNK_SIZES[i % CHUNK_SIZES.length] as number;
    yield session.subarray(position, position + size);
    position += size;
  }
}
