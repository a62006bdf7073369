// The least that a forwarder on Bun does: it reads guests' frames from a socket, cuts them, counts them, and sends
// ready-made requests with as many spans over OTLP/HTTP. It decodes nothing.
// Use: bun floor.ts SOCKET PORT FIXTURE ENCODING
import process from "node:process";
import { FrameReader, TAKEN } from "../../src/decode/frame-reader.ts";
import { type LoadEncoding, readFrames } from "./frames.ts";
import { requestOf } from "./requests.ts";

/** As the forwarder has them. */
const REQUEST_SPANS = 2048;
const WAIT_MS = 50;
const REQUESTS_UNDER_WAY = 4;
const FRAME_LIMIT = 8 * 1024 * 1024;

const [unix = "", port = "", fixture = "", encoding = ""] = process.argv.slice(2);
const frames = readFrames(fixture, encoding as LoadEncoding);
const whole = requestOf(frames, REQUEST_SPANS);
let counted = 0;
let underWay = 0;
let timer: ReturnType<typeof setTimeout> | undefined;

function sendDue(): void {
  while (counted >= REQUEST_SPANS && underWay < REQUESTS_UNDER_WAY) void send(whole, REQUEST_SPANS);
  if (counted > 0) timer ??= setTimeout(sendRest, WAIT_MS);
}

function sendRest(): void {
  timer = undefined;
  if (counted > 0 && counted < REQUEST_SPANS) void send(requestOf(frames, counted), counted);
  sendDue();
}

async function send(body: Uint8Array<ArrayBuffer>, spans: number): Promise<void> {
  counted -= spans;
  underWay++;
  const headers = { "Content-Type": "application/x-protobuf" };
  await (await fetch(`http://127.0.0.1:${port}/v1/traces`, { method: "POST", headers, body })).arrayBuffer();
  underWay--;
  sendDue();
}

/** Cuts one guest's stream. */
function newReader(): FrameReader {
  return new FrameReader(FRAME_LIMIT, {
    payload: () => {
      counted++;
      return TAKEN;
    },
    resembles: () => false,
    begun: () => TAKEN,
    isText: false,
    oversized: () => {},
    givenUp: () => {},
    turnIsOver: () => false,
  });
}

Bun.listen<FrameReader>({
  unix,
  socket: {
    open: (socket) => void (socket.data = newReader()),
    data: (socket, chunk) => {
      socket.data.push(chunk);
      sendDue();
    },
  },
});
