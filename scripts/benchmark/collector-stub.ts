// A counting OTLP/HTTP collector in a process of its own: prints its port, answers each export with success once it has
// been read and counted, and tells its figures at /figures. A request that is none is answered with 400.
// Use: bun collector-stub.ts
import process from "node:process";
import { performance } from "node:perf_hooks";
import { quantile, SpanCount } from "./count-spans.ts";
import type { StubFigures } from "./processes.ts";

/** Larger than any request that the forwarder sends. */
const MAX_BODY_BYTES = 64 * 1024 * 1024;

let count = new SpanCount();
let requests = 0;

function figures(): StubFigures {
  const sorted = count.latencies.toSorted((a, b) => a - b);
  const { user, system } = process.cpuUsage();
  return {
    spans: count.spans,
    bytes: count.bytes,
    requests,
    cpuSeconds: (user + system) / 1e6,
    latencyMs: {
      p50: quantile(sorted, 0.5),
      p99: quantile(sorted, 0.99),
      max: sorted.at(-1) ?? Number.NaN,
    },
  };
}

async function receive(request: Request): Promise<Response> {
  const body = new Uint8Array(await request.arrayBuffer());
  const now = performance.timeOrigin + performance.now();
  try {
    count.add(body, now);
  } catch (error) {
    return new Response(String(error), { status: 400 });
  }
  requests++;
  return new Response("", { headers: { "Content-Type": "application/x-protobuf" } });
}

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  maxRequestBodySize: MAX_BODY_BYTES,
  fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/v1/traces") return receive(request);
    if (pathname === "/figures") return Response.json(figures());
    if (pathname !== "/reset") return new Response("", { status: 404 });
    count = new SpanCount(searchParams.has("latency"));
    requests = 0;
    return new Response("");
  },
});
process.stdout.write(`${server.port}\n`);
