import { receiveDescriptors, sendDescriptors } from "../../ffi/descriptor-passing.ts";
import { errnoName } from "../../ffi/errors.ts";
import type { Libc } from "../../ffi/libc.ts";
import { MSG_DONTWAIT } from "../../ffi/sockets.ts";
import { LONGEST_MESSAGE } from "./protocol.ts";

/** A packet as it was received. */
export interface Packet {
  readonly text: string;
  /** Belongs to the receiver. */
  readonly descriptor: number | undefined;
}

const text = { encode: new TextEncoder(), decode: new TextDecoder() };

/**
 * Sends one packet. With `MSG_DONTWAIT` it throws EAGAIN if the other end has too many to read. Throws what sendmsg(2)
 * does.
 */
export function sendPacket(libc: Libc, socket: number, message: object, descriptor?: number, flags = 0): void {
  const bytes = text.encode.encode(JSON.stringify(message));
  if (bytes.length > LONGEST_MESSAGE) throw new Error(`a message of ${bytes.length} bytes is too long`);
  sendDescriptors(libc, socket, bytes, descriptor === undefined ? [] : [descriptor], flags);
}

/** The packets that wait at a socket, in order, up to where the other end has closed it. Throws what recvmsg(2) does. */
export function* receivePackets(libc: Libc, socket: number): Generator<Packet> {
  for (;;) {
    let packet: ReturnType<typeof receiveDescriptors>;
    try {
      packet = receiveDescriptors(libc, socket, LONGEST_MESSAGE, 1, MSG_DONTWAIT);
    } catch (error) {
      if (errnoName(error) === "EAGAIN") return;
      throw error;
    }
    if (packet.bytes.length === 0) return;
    yield { text: text.decode.decode(packet.bytes), descriptor: packet.descriptors[0] };
  }
}
