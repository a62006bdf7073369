import type { Socket } from "node:net";

/** What HTTP/2's client preface begins with (RFC 9113, section 3.4). No method of HTTP/1 begins so. */
const PREFACE = "PRI ";

/** Which version of HTTP a client speaks. */
export type Protocol = "HTTP/1" | "HTTP/2";

/**
 * Tells from a connection's first bytes which version of HTTP the client speaks, and puts them back. Never calls back
 * if the client closes or fails before.
 *
 * Both versions share a port in this way, because runtimes in Rust speak HTTP/2 without asking first ("prior
 * knowledge"), while `node:http` and `node:http2` each know one version.
 */
export function detectProtocol(socket: Socket, onDetected: (protocol: Protocol) => void): void {
  let seen: Uint8Array = new Uint8Array(0);
  const read = (): void => {
    const chunk = socket.read() as Uint8Array | null;
    if (chunk === null) return;
    seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
    const isPreface = beginsAlike(seen, PREFACE);
    if (isPreface && seen.length < PREFACE.length) return;
    socket.off("readable", read);
    socket.unshift(seen);
    onDetected(isPreface ? "HTTP/2" : "HTTP/1");
  };
  socket.on("readable", read);
}

/** Whether bytes and an ASCII text are the same as far as both go. */
function beginsAlike(bytes: Uint8Array, text: string): boolean {
  const length = Math.min(bytes.length, text.length);
  for (let i = 0; i < length; i++) if (bytes[i] !== text.charCodeAt(i)) return false;
  return true;
}
