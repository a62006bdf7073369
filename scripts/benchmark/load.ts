// A process of guests: connects GUESTS times to SOCKET and sends SPANS spans of fixture FILE in all, at RATE a second (0: flat out).
// Use: bun load.ts SOCKET FILE GUESTS SPANS RATE. Ends when the last byte is written.
import net from "node:net";
import process from "node:process";
import { performance } from "node:perf_hooks";
import { type Frame, joinFrames, readFrames, stampEndTime } from "./frames.ts";

/** Frames a write: large enough that writing costs the load little, about 80 kB. */
const FRAMES_A_WRITE = 128;

const [socketPath = "", file = "", guestsText = "1", spansText = "1", rateText = "0"] = process.argv
  .slice(2);
const guests = Number(guestsText);
const spans = Number(spansText);
const rate = Number(rateText);
const frames = readFrames(file);

function connect(): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(socketPath, () => resolve(socket));
    socket.once("error", reject);
  });
}

async function flood(socket: net.Socket, count: number): Promise<void> {
  const block = joinFrames(frames, FRAMES_A_WRITE);
  let left = count;
  for (; left >= FRAMES_A_WRITE; left -= FRAMES_A_WRITE) {
    if (!socket.write(block)) await new Promise((resolve) => socket.once("drain", resolve));
  }
  if (left > 0) socket.write(joinFrames(frames, left));
  await new Promise<void>((resolve) => socket.end(resolve));
}

/** Each span carries the moment of its writing as its end time, so that the collector knows how long it took. */
async function paced(sockets: readonly net.Socket[], count: number): Promise<void> {
  const began = performance.now();
  for (let sent = 0; sent < count;) {
    const due = Math.min(count, Math.floor(((performance.now() - began) * rate) / 1000));
    for (; sent < due; sent++) {
      const frame = frames[sent % frames.length] as Frame;
      stampEndTime(frame, performance.timeOrigin + performance.now());
      (sockets[sent % sockets.length] as net.Socket).write(frame.bytes.slice());
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await Promise.all(
    sockets.map((socket) => new Promise<void>((resolve) => socket.end(resolve))),
  );
}

const sockets = await Promise.all(Array.from({ length: guests }, connect));
if (rate > 0) {
  await paced(sockets, spans);
} else {
  const share = Math.floor(spans / guests);
  await Promise.all(
    sockets.map((socket, index) =>
      flood(socket, index === 0 ? spans - share * (guests - 1) : share)
    ),
  );
}
process.exit(0);
