// A process of guests. It connects to a socket, sends spans, prints its figures, and ends when it has written all.
// Use: bun load.ts LOAD, LOAD as JSON (see `Load`).
import net from "node:net";
import process from "node:process";
import { performance } from "node:perf_hooks";
import { type Frame, joinFrames, readFrames, shares, stampEndTime } from "./frames.ts";
import type { Load, LoadFigures } from "./processes.ts";

/** The least number of frames in a write, about 80 kB, which is enough to make writing cheap for the load. */
const LEAST_FRAMES_A_WRITE = 128;

function connect(path: string): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(path, () => resolve(socket));
    socket.once("error", reject);
  });
}

function end(socket: net.Socket): Promise<void> {
  return new Promise((resolve) => socket.end(resolve));
}

/** As fast as the socket takes it. */
async function flood(socket: net.Socket, frames: readonly Frame[], count: number): Promise<void> {
  // Each write contains all recorded frames a whole number of times, so that all writes are the same.
  const perWrite = Math.ceil(LEAST_FRAMES_A_WRITE / frames.length) * frames.length;
  const block = joinFrames(frames, perWrite);
  let left = count;
  for (; left >= perWrite; left -= perWrite) {
    if (!socket.write(block)) await new Promise((resolve) => socket.once("drain", resolve));
  }
  if (left > 0) socket.write(joinFrames(frames, left));
  await end(socket);
}

/** Each span's end time is when it was written, so that the collector knows how long it took. */
async function pace(
  sockets: readonly net.Socket[],
  frames: readonly Frame[],
  { spans, rate }: Load,
): Promise<void> {
  const began = performance.now();
  for (let sent = 0; sent < spans;) {
    const due = Math.min(spans, Math.floor(((performance.now() - began) * rate) / 1000));
    for (; sent < due; sent++) {
      const frame = frames[sent % frames.length] as Frame;
      stampEndTime(frame, performance.timeOrigin + performance.now());
      (sockets[sent % sockets.length] as net.Socket).write(frame.bytes.slice());
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await Promise.all(sockets.map(end));
}

const load = JSON.parse(process.argv[2] ?? "") as Load;
const { guests, spans } = load;
const frames = readFrames(load.fixture, load.encoding, load.spanBytes);
const sockets = await Promise.all(Array.from({ length: guests }, () => connect(load.socket)));
const cpu = process.cpuUsage();
const began = performance.now();
if (load.rate > 0) {
  await pace(sockets, frames, load);
} else {
  const counts = shares(spans, guests);
  await Promise.all(sockets.map((socket, guest) => flood(socket, frames, counts[guest] as number)));
}
const { user, system } = process.cpuUsage(cpu);
const figures: LoadFigures = {
  cpuSeconds: (user + system) / 1e6,
  seconds: (performance.now() - began) / 1000,
};
process.stdout.write(`${JSON.stringify(figures)}\n`);
process.exit(0);
