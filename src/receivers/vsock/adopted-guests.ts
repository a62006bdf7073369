import { setImmediate as nextTurn } from "node:timers/promises";
import { loadLibc } from "../../../ffi/libc.ts";
import type { DescriptorKeeper } from "./descriptor-keeper.ts";
import { guestOfDescriptor } from "./descriptor-names.ts";
import { GuestServer, type ListenerOptions } from "./guest-server.ts";
import { vsockSource } from "./identity.ts";
import { ConnectionError, type GuestConnection, type GuestReceiver } from "./listener.ts";
import { SandboxFinder } from "./sandbox-finder.ts";
import { loadStreamServers } from "./stream-server.ts";

/** How many connections are adopted in one turn of the event loop: it takes a few milliseconds. */
const ADOPTED_AT_ONCE = 64;

/**
 * Goes on with the connections that an earlier process has left, and closes everything else it has left that nobody has
 * claimed. To be called when all listeners have claimed what is theirs. Resolves with the number of guests.
 *
 * @param unread what that process has read and not processed, by the names of the descriptors. Of connections that
 * have ended since, it is processed too.
 */
export async function adoptGuests(
  keeper: DescriptorKeeper,
  unread: ReadonlyMap<string, Uint8Array>,
  options: ListenerOptions,
  accept: (connection: GuestConnection) => GuestReceiver,
): Promise<number> {
  const { adoption } = await loadStreamServers();
  if (adoption === undefined) return 0;
  const libc = await loadLibc();
  const discard = (name: string, descriptor: number | undefined): number => {
    keeper.release(name);
    if (descriptor !== undefined) libc.close(descriptor);
    options.onNotice?.("closing what an earlier process left and nothing uses any more", { name });
    return 0;
  };
  const finder = new SandboxFinder(options.onProblem);
  const server = new GuestServer(options, async (peer) => {
    // Never asked for a hybrid vsock guest, whose name says who it is.
    if (peer === undefined) throw new Error("a connection's sandbox is unknown");
    return vsockSource(peer, await finder.find(peer.cid));
  });
  const names = keeper.unclaimed;
  const finish = (name: string, cause?: Error): void => {
    const source = guestOfDescriptor(name);
    const reads = options.reads?.of(name, source?.account ?? name);
    const bytes = unread.get(name);
    if (source === undefined || bytes === undefined) {
      reads?.end();
      return;
    }
    const receiver = accept({ source, reads, pause: () => {}, resume: () => {}, destroy: () => {} });
    if (reads?.bytes === 0) reads.read(bytes);
    receiver.data(bytes);
    receiver.end(cause && new ConnectionError(source.name, cause));
  };
  for (const name of unread.keys()) if (!names.includes(name)) finish(name);
  const adopt = async (name: string): Promise<number> => {
    const descriptor = keeper.claim(name);
    const source = guestOfDescriptor(name);
    if (descriptor === undefined || source === undefined) return discard(name, descriptor);
    try {
      await adoption.connection(descriptor, server.adopt({ source, name, unread: unread.get(name) }, accept));
      return 1;
    } catch (error) {
      keeper.release(name);
      options.onProblem(`the connection of ${source.name} could not be taken over`, error as Error);
      finish(name, error as Error);
      return 0;
    }
  };
  let guests = 0;
  for (let at = 0; at < names.length; at += ADOPTED_AT_ONCE) {
    const counts = await Promise.all(names.slice(at, at + ADOPTED_AT_ONCE).map(adopt));
    guests += counts.reduce((sum, count) => sum + count, 0);
    // Those that have been adopted are read meanwhile.
    await nextTurn();
  }
  return guests;
}
