import assert from "node:assert/strict";
import { test } from "node:test";
import { classifyGrpcStatus, decodeGrpcMessage, grpcTimeout, resetError } from "../../src/exporters/grpc-status.ts";
import { encode } from "../otlp/support/otlp-proto.ts";

/** Codes and messages as servers write them, and what they mean for the request. */
const REFUSALS: readonly (readonly [code: number, message: string, meaning: "retry" | "split" | "whole"])[] = [
  // About the size: halves may pass, whatever the code.
  [8, "grpc: received message larger than max (5000000 vs. 4194304)", "split"],
  [8, "gRPC message exceeds maximum size 4194304: 5000000", "split"],
  [8, "Received message exceeds the maximum configured message size.", "split"],
  [11, "Error, decoded message length too large: found 5000000 bytes, the limit is: 4194304 bytes", "split"],
  [9, "TRACE_TOO_LARGE: max size of trace (5000000) exceeded while adding 100 bytes to trace 0af7", "split"],
  [14, "request body too large", "split"],
  // About the load: later, or not at all, but not in parts.
  [8, "RATE_LIMITED: ingestion rate limit (15000000 bytes) exceeded while adding 10 bytes", "retry"],
  [8, "Quota exceeded for quota metric 'Ingestion'", "retry"],
  [8, "Too many requests", "retry"],
  [8, "request throttled", "retry"],
  [9, "LIVE_TRACES_EXCEEDED: max live traces per tenant exceeded", "whole"],
  [13, "rate limited", "whole"],
  // Neither says.
  [8, "no", "split"],
  [3, "a span is bad", "split"],
  [13, "a span is bad", "split"],
  [2, "a span is bad", "split"],
  [11, "out of range", "retry"],
  [16, "no token", "whole"],
];

for (const [code, message, meaning] of REFUSALS) {
  test(`${code}, "${message}": ${meaning}`, () => {
    const result = classifyGrpcStatus({ code, message });
    assert.equal(result.kind, meaning === "retry" ? "retryable" : "rejected");
    if (meaning !== "retry") assert.equal((result as { splitHelps?: boolean }).splitHelps, meaning === "split");
  });
}

test("no wait that a collector asks for is longer than five minutes", () => {
  const asking = (seconds: number): unknown => {
    const value = encode("RetryInfo", { retryDelay: { seconds } });
    const details = encode("RpcStatus", { details: [{ typeUrl: "x/google.rpc.RetryInfo", value }] });
    return (classifyGrpcStatus({ code: 14, message: "", details }) as { retryAfterMs?: number }).retryAfterMs;
  };
  assert.deepEqual([0, 5, 300, 301, 1_000_000_000].map(asking), [0, 5000, 300_000, 300_000, 300_000]);
});

test("messages are percent-encoded UTF-8, and what is not stays as it is", () => {
  assert.equal(decodeGrpcMessage("a%20b%C3%A4%0A"), "a bä\n");
  assert.equal(decodeGrpcMessage("100%"), "100%");
  assert.equal(decodeGrpcMessage("%ff"), "%ff");
});

test("a deadline has at most eight digits", () => {
  assert.deepEqual([1, 10_000, 0.2, 99_999_999, 1e8, 2 ** 31 - 1].map(grpcTimeout), [
    "1m",
    "10000m",
    "1m",
    "99999999m",
    "100000S",
    "2147484S",
  ]);
});

test("a reset names its reason", () => {
  assert.equal(resetError(11).message, "gRPC UNAVAILABLE: the stream was reset (ENHANCE_YOUR_CALM)");
  assert.equal(resetError(99).message, "gRPC UNAVAILABLE: the stream was reset (code 99)");
});
