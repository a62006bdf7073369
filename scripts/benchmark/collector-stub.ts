// A counting collector in a process of its own. It prints its ports for OTLP/HTTP and OTLP/gRPC, answers each export
// with success once it has been read and counted, and serves its figures at /figures over HTTP. An invalid request is
// answered with 400 or INVALID_ARGUMENT.
// Use: bun collector-stub.ts
import * as grpc from "@grpc/grpc-js";
import process from "node:process";
import { performance } from "node:perf_hooks";
import { gunzipSync } from "node:zlib";
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

/** Throws `RangeError` for an invalid request. */
function take(request: Uint8Array): void {
  count.add(request, performance.timeOrigin + performance.now());
  requests++;
}

async function receive(request: Request): Promise<Response> {
  try {
    const body = new Uint8Array(await request.arrayBuffer());
    take(request.headers.get("content-encoding") === "gzip" ? gunzipSync(body) : body);
  } catch (error) {
    return new Response(String(error), { status: 400 });
  }
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

const raw = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
const EXPORT = {
  path: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
  requestStream: false,
  responseStream: false,
  requestSerialize: raw,
  requestDeserialize: raw,
  responseSerialize: raw,
  responseDeserialize: raw,
} as const;

const grpcServer = new grpc.Server({ "grpc.max_receive_message_length": MAX_BODY_BYTES });
grpcServer.addService({ export: EXPORT }, {
  export: (
    { request }: grpc.ServerUnaryCall<Buffer, Buffer>,
    respond: grpc.sendUnaryData<Buffer>,
  ): void => {
    try {
      take(request);
    } catch (error) {
      respond({ code: grpc.status.INVALID_ARGUMENT, details: String(error) });
      return;
    }
    respond(null, Buffer.alloc(0));
  },
});
grpcServer.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, grpcPort) => {
  if (error !== null) throw error;
  process.stdout.write(`${server.port} ${grpcPort}\n`);
});
