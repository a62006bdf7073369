// A process of hostile guests: it writes one stream again and again on several connections, as fast as it is read, and
// connects again when it is disconnected. Told which on standard input, it says how often it has connected so far.
// Use: bun hostile-load.ts SOCKET; lines on standard input: NAME begins with another stream, an empty line asks.
import net from "node:net";
import process from "node:process";
import { createInterface } from "node:readline";
import { hostileStreams, plainJson } from "../../test/hostile/payloads.ts";

/** How many bytes are written at once at least, which is cheap for this process. */
const WRITE_BYTES = 256 * 1024;
const CONNECTIONS = 4;
/** Before it connects again, milliseconds. */
const RECONNECT_MS = 5;

const [socketPath = ""] = process.argv.slice(2);
const streams = new Map([plainJson(), ...hostileStreams()].map(({ name, bytes }) => [name, bytes]));
let block = new Uint8Array(0);
let generation = 0;
let connected = 0;

function run(mine: number): void {
  if (mine !== generation) return;
  const socket = net.connect(socketPath);
  const write = (): void => {
    if (mine !== generation) return void socket.destroy();
    socket.write(block, (error) => {
      if (error == null) write();
    });
  };
  socket.on("connect", () => {
    connected++;
    write();
  });
  socket.on("error", () => {});
  socket.on("close", () => setTimeout(() => run(mine), RECONNECT_MS));
}

for await (const line of createInterface({ input: process.stdin })) {
  if (line !== "") {
    const stream = streams.get(line);
    if (stream === undefined) throw new Error(`no stream is called ${line}`);
    const copies = Math.ceil(WRITE_BYTES / stream.length);
    block = new Uint8Array(Buffer.alloc(copies * stream.length, stream));
    generation++;
    connected = 0;
    for (let i = 0; i < CONNECTIONS; i++) run(generation);
  }
  process.stdout.write(`${connected}\n`);
}
process.exit();
