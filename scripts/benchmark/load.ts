// A process of guests. It connects to a socket, sends spans, prints its figures, and ends when it has written all.
// Use: bun load.ts LOAD, LOAD as JSON (see `Load`).
import net from "node:net";
import process from "node:process";
import { performance } from "node:perf_hooks";
import { type Frame, joinFrames, readFrames, shares, stampEndTime } from "./frames.ts";
import type { Load, LoadFigures } from "./processes.ts";
import { requestOf } from "./requests.ts";

/** The least number of bytes in a write, which is enough to make writing cheap for the load. */
const LEAST_WRITE = 80_000;
/** What a Collector is fed with: as many spans as an SDK sends in a request, over as many connections at a time. */
const OTLP_SPANS = 512;
const OTLP_CONNECTIONS = 4;

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
  const recorded = frames.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const perWrite = Math.ceil(LEAST_WRITE / recorded) * frames.length;
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
  all: readonly Frame[],
  { spans, rate }: Load,
): Promise<void> {
  const frames = all.filter(({ endTime }) => endTime >= 0);
  const began = performance.now();
  for (let sent = 0; sent < spans;) {
    const due = Math.min(spans, Math.floor(((performance.now() - began) * rate) / 1000));
    // What is due at the same time is one write, as agents send a batch.
    const writes: Uint8Array[][] = sockets.map(() => []);
    for (; sent < due; sent++) {
      const frame = frames[sent % frames.length] as Frame;
      stampEndTime(frame, performance.timeOrigin + performance.now());
      (writes[sent % sockets.length] as Uint8Array[]).push(frame.bytes.slice());
    }
    writes.forEach((parts, guest) => {
      if (parts.length > 0) (sockets[guest] as net.Socket).write(Buffer.concat(parts));
    });
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await Promise.all(sockets.map(end));
}

/** Ready-made requests over OTLP/HTTP, as fast as they are taken: what a Collector is fed with. */
async function request(port: number, frames: readonly Frame[], spans: number): Promise<void> {
  const whole = requestOf(frames, OTLP_SPANS);
  let left = spans;
  const send = async () => {
    while (left > 0) {
      const body = left < OTLP_SPANS ? requestOf(frames, left) : whole;
      left -= Math.min(left, OTLP_SPANS);
      const headers = { "Content-Type": "application/x-protobuf" };
      const response = await fetch(`http://127.0.0.1:${port}/v1/traces`, { method: "POST", headers, body });
      if (!response.ok) throw new Error(`the collector answers ${response.status}`);
      await response.arrayBuffer();
    }
  };
  await Promise.all(Array.from({ length: OTLP_CONNECTIONS }, send));
}

const load = JSON.parse(process.argv[2] ?? "") as Load;
const { guests, spans, sockets: paths } = load;
const frames = readFrames(load.fixture, load.encoding, load.spanBytes);
const { otlpPort } = load;
const sockets = otlpPort === undefined
  ? await Promise.all(Array.from({ length: guests }, (_, i) => connect(paths[i % paths.length] as string)))
  : [];
const cpu = process.cpuUsage();
const began = performance.now();
if (otlpPort !== undefined) await request(otlpPort, frames, spans);
else if (load.rate > 0) {
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
