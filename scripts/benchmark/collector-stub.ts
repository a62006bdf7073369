// A counting OTLP/HTTP collector: prints its port, answers every export with success, and tells its figures on GET /figures.
// Counts by walking lengths only, so that it is never the bottleneck.
import process from "node:process";
import { performance } from "node:perf_hooks";

/** `end_time_unix_nano` of Span: field 8, wire type 1. */
const END_TIME_TAG = (8 << 3) | 1;
const LENGTH_DELIMITED = 2;

let spans = 0;
let requests = 0;
let bytes = 0;
let measure = false;
let latencies: number[] = [];

/** Calls `each` for every length-delimited field `field` in the message; skips all others. */
function fields(
  view: DataView,
  start: number,
  end: number,
  field: number,
  each: (start: number, end: number) => void,
): void {
  let at = start;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1;; scale *= 128) {
      const byte = view.getUint8(at++);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  while (at < end) {
    const tag = varint();
    if ((tag & 7) === LENGTH_DELIMITED) {
      const length = varint();
      if (tag >> 3 === field) each(at, at + length);
      at += length;
    } else if ((tag & 7) === 1) at += 8;
    else if ((tag & 7) === 5) at += 4;
    else varint();
  }
}

function endTimeMs(view: DataView, start: number, end: number): number {
  // Span's ids come first; the end time is found by walking the fields.
  let at = start;
  while (at < end) {
    const tag = view.getUint8(at++);
    if (tag === END_TIME_TAG) return Number(view.getBigUint64(at, true)) / 1e6;
    if ((tag & 7) === 1) at += 8;
    else if ((tag & 7) === 5) at += 4;
    else {
      let value = 0;
      for (let scale = 1;; scale *= 128) {
        const byte = view.getUint8(at++);
        value += (byte & 0x7f) * scale;
        if (byte < 0x80) break;
      }
      if ((tag & 7) === LENGTH_DELIMITED) at += value;
    }
  }
  return Number.NaN;
}

function count(request: Uint8Array): void {
  const now = performance.timeOrigin + performance.now();
  const view = new DataView(request.buffer, request.byteOffset, request.byteLength);
  fields(view, 0, request.length, 1, (from, to) => {
    fields(view, from, to, 2, (scopeFrom, scopeTo) => {
      fields(view, scopeFrom, scopeTo, 2, (spanFrom, spanTo) => {
        spans++;
        if (measure) latencies.push(now - endTimeMs(view, spanFrom, spanTo));
      });
    });
  });
}

function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
}

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/figures") {
      const sorted = latencies.sort((a, b) => a - b);
      return Response.json({
        spans,
        requests,
        bytes,
        p50: quantile(sorted, 0.5),
        p99: quantile(sorted, 0.99),
        max: sorted.at(-1) ?? Number.NaN,
      });
    }
    if (pathname === "/reset") {
      spans = requests = bytes = 0;
      latencies = [];
      measure = request.url.endsWith("?latency");
      return new Response("");
    }
    const body = new Uint8Array(await request.arrayBuffer());
    requests++;
    bytes += body.length;
    count(body);
    return new Response("", { headers: { "Content-Type": "application/x-protobuf" } });
  },
});
process.stdout.write(`${server.port}\n`);
