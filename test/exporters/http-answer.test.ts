import assert from "node:assert/strict";
import { test } from "node:test";
import { classifyHttpAnswer, NotOtlpError } from "../../src/exporters/http-answer.ts";
import type { ExportResult } from "../../src/pipeline/exporter.ts";
import { encode } from "../otlp/support/otlp-proto.ts";

const SUCCESS: ExportResult = { kind: "success" };

function classified(
  status: number,
  type: string | undefined,
  body: Uint8Array | string = "",
  { headers = {}, isCut = false }: { headers?: Record<string, string>; isCut?: boolean } = {},
): ExportResult {
  return classifyHttpAnswer({
    status,
    statusMessage: "Reason",
    headers: { ...headers, ...(type !== undefined && { "content-type": type }) },
    body: typeof body === "string" ? new TextEncoder().encode(body) : body,
    isCut,
  });
}

function assertNotOtlp(result: ExportResult, message: RegExp): void {
  assert.equal(result.kind, "retryable");
  const { error } = result as { error: Error };
  assert.ok(error instanceof NotOtlpError);
  assert.match(error.message, message);
}

const PARTIAL = { partialSuccess: { rejectedSpans: 3, errorMessage: "trace too large" } };
const PARTIAL_RESULT: ExportResult = { kind: "partial", rejectedSpans: 3, message: "trace too large" };

test("an OTLP receiver's success: protobuf, JSON, or nothing", () => {
  const protobuf = encode("ExportTraceServiceResponse", PARTIAL);
  for (const type of ["application/x-protobuf", "application/protobuf", "Application/X-Protobuf; a=b", undefined]) {
    assert.deepEqual(classified(200, type, protobuf), PARTIAL_RESULT, String(type));
    assert.deepEqual(classified(202, type), SUCCESS, String(type));
  }
  for (const type of ["application/json", "application/json; charset=utf-8", "application/vnd.api+json"]) {
    assert.deepEqual(classified(200, type, JSON.stringify(PARTIAL)), PARTIAL_RESULT, type);
    assert.deepEqual(classified(200, type, "{}"), SUCCESS, type);
    assert.deepEqual(classified(200, type), SUCCESS, type);
  }
  assert.deepEqual(classified(204, undefined), SUCCESS);
  // Receivers of other makes say nothing, in a type of their framework.
  assert.deepEqual(classified(200, "text/plain; charset=utf-8"), SUCCESS);
});

test("a success that is not an OTLP receiver's is no delivery", () => {
  assertNotOtlp(
    classified(200, "text/html; charset=utf-8", "<!doctype html><title>Sign in</title>"),
    /^HTTP 200 with a web page \(text\/html; charset=utf-8\), so this is not an OTLP receiver: <!doctype html><title>Sign in/,
  );
  assertNotOtlp(classified(200, "text/html"), /a web page/);
  assertNotOtlp(classified(200, "application/xhtml+xml", "<html/>"), /a web page/);
  assertNotOtlp(classified(200, "text/plain", "ok\u001b[2J"), /something else \(text\/plain\).*: ok\\u\{1b\}\[2J$/);
  assertNotOtlp(classified(200, undefined, "<html>"), /something else \(no Content-Type\)/);
  assertNotOtlp(classified(200, "image/png", "x"), /something else \(image\/png\)/);
  for (const text of ['"ok"', "[]", "<html>", '{"partialSuccess":3}']) {
    assertNotOtlp(classified(200, "application/json", text), /something else \(application\/json\)/);
  }
  for (const type of ["text/html", "text/plain", undefined]) {
    assertNotOtlp(classified(200, type, "x".repeat(1000), { isCut: true }), /not an OTLP receiver/);
  }
});

test("a collector that says it took the request is believed, even if its words cannot be read", () => {
  for (const options of [{}, { isCut: true }]) {
    const result = classified(200, "application/x-protobuf", "no protobuf", options);
    assert.equal(result.kind, "success");
    assert.notEqual((result as { warning?: string }).warning, undefined);
  }
  assert.equal(classified(200, "application/json", "{}", { isCut: true }).kind, "success");
});

/** What each status means: whether it is tried again, and if not, whether parts of the request may fare better. */
const STATUSES:
  readonly (readonly [status: number, type: string, body: string, meaning: "retry" | "split" | "whole"])[] = [
    [301, "text/html", "moved", "whole"],
    [308, "text/plain", "", "whole"],
    [400, "application/x-protobuf", "", "split"],
    [400, "application/json", '{"message":"bad span"}', "split"],
    [400, "text/plain", "bad span", "split"],
    [400, "text/html", "<h1>400</h1>", "whole"],
    [400, "text/plain", "rate limit exceeded", "whole"],
    [401, "text/plain", "", "whole"],
    [403, "text/html", "", "whole"],
    [404, "text/plain", "", "whole"],
    [407, "text/html", "", "retry"],
    [408, "text/html", "", "retry"],
    [413, "text/html", "<h1>413</h1>", "split"],
    [413, "application/x-protobuf", "", "split"],
    [415, "text/plain", "", "whole"],
    [422, "application/json", "{}", "split"],
    [425, "text/plain", "", "retry"],
    [429, "text/plain", "", "retry"],
    [500, "application/x-protobuf", "", "split"],
    [500, "text/plain", "a span is bad", "split"],
    [500, "text/plain", "RATE_LIMITED: ingestion rate limit", "whole"],
    [500, "text/html", "<h1>500</h1>", "whole"],
    [501, "text/plain", "", "whole"],
    [502, "text/html", "", "retry"],
    [503, "text/html", "", "retry"],
    [504, "text/html", "", "retry"],
    [505, "text/plain", "", "whole"],
    [507, "text/plain", "", "retry"],
    [522, "text/html", "", "retry"],
    [529, "application/json", "", "retry"],
  ];

for (const [status, type, body, meaning] of STATUSES) {
  test(`HTTP ${status}, ${type}, "${body}": ${meaning}`, () => {
    const result = classified(status, type, body, { headers: { "retry-after": "7" } });
    assert.equal(result.kind, meaning === "retry" ? "retryable" : "rejected");
    if (meaning === "retry") assert.equal((result as { retryAfterMs?: number }).retryAfterMs, 7000);
    else assert.equal((result as { splitHelps?: boolean }).splitHelps, meaning === "split");
  });
}

test("a refusal's message comes from a Status, in protobuf or JSON, or is the text", () => {
  const messageOf = (type: string, body: Uint8Array | string, headers = {}): string =>
    (classified(400, type, body, { headers }) as { error: Error }).error.message;
  assert.equal(
    messageOf("application/x-protobuf", encode("RpcStatus", { code: 3, message: "no ä" })),
    "HTTP 400: no ä",
  );
  assert.equal(messageOf("application/json", '{"code":3,"message":"no tenant"}'), "HTTP 400: no tenant");
  assert.equal(messageOf("application/json", '{"error":"no tenant"}'), 'HTTP 400: {"error":"no tenant"}');
  assert.equal(messageOf("text/plain", " no\ntenant\n"), "HTTP 400: no\\u{a}tenant");
  assert.equal(messageOf("text/plain", ""), "HTTP 400: Reason");
  assert.equal(
    messageOf("text/html", "moved", { location: "https://else.test/\u202e" }),
    "HTTP 400 to https://else.test/\\u{202e}: moved",
  );
});
