import assert from "node:assert/strict";
import { test } from "node:test";
import { ProtobufTraceSerializer } from "@opentelemetry/otlp-transformer";
import {
  readExportResponse,
  readJsonExportResponse,
  readJsonStatusMessage,
  readRetryDelay,
  readStatusMessage,
} from "../../src/exporters/export-response.ts";
import { encode } from "../otlp/support/otlp-proto.ts";

const RESPONSE = "ExportTraceServiceResponse";

test("an answer without a word is success", () => {
  for (const message of [{}, { partialSuccess: {} }, { partialSuccess: { rejectedSpans: 0 } }]) {
    assert.deepEqual(readExportResponse(encode(RESPONSE, message)), { kind: "success" });
  }
});

test("rejected spans and messages are read as OpenTelemetry's own reader does", () => {
  for (const [rejectedSpans, errorMessage] of [[1, ""], [300, "ä"], [2 ** 40, "x"]] as const) {
    const body = encode(RESPONSE, { partialSuccess: { rejectedSpans, errorMessage } });
    assert.deepEqual(readExportResponse(body), {
      kind: "partial",
      rejectedSpans,
      message: errorMessage,
    });
    const theirs = ProtobufTraceSerializer.deserializeResponse(body).partialSuccess;
    assert.equal(Number(theirs?.rejectedSpans), rejectedSpans);
    assert.equal(theirs?.errorMessage ?? "", errorMessage);
  }
});

test("a message without rejected spans is a warning, and so is a nonsensical count", () => {
  for (const rejectedSpans of [0, -5]) {
    const body = encode(RESPONSE, { partialSuccess: { rejectedSpans, errorMessage: "mind" } });
    assert.deepEqual(readExportResponse(body), { kind: "success", warning: "mind" });
  }
});

test("unknown fields of an answer are passed over", () => {
  const body = Uint8Array.of(
    0x7a,
    1,
    9,
    ...encode(RESPONSE, { partialSuccess: { rejectedSpans: 2 } }),
  );
  assert.deepEqual(readExportResponse(body), { kind: "partial", rejectedSpans: 2, message: "" });
});

test("an answer that is no message is not read", () => {
  assert.equal(readExportResponse(new TextEncoder().encode("{}")), undefined);
});

test("an answer in JSON: counts are strings or numbers, and names have both spellings", () => {
  const partial = { kind: "partial", rejectedSpans: 3, message: "too large" };
  for (
    const text of [
      '{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too large"}}',
      '{"partialSuccess":{"rejectedSpans":3,"errorMessage":"too large"}}',
      ' {"partial_success":{"rejected_spans":"3","error_message":"too large"},"later":1}',
    ]
  ) assert.deepEqual(readJsonExportResponse(text), partial);
  for (
    const text of [
      "{}",
      ' {"partialSuccess":{}} ',
      '{"partialSuccess":null}',
      '{"partialSuccess":{"rejectedSpans":"0"}}',
    ]
  ) {
    assert.deepEqual(readJsonExportResponse(text), { kind: "success" }, text);
  }
  assert.deepEqual(readJsonExportResponse('{"partialSuccess":{"errorMessage":"mind"}}'), {
    kind: "success",
    warning: "mind",
  });
  assert.deepEqual(readJsonExportResponse('{"status":"ok"}'), {
    kind: "success",
    warning: 'the answer has fields of something else: {"status":"ok"}',
  });
  for (
    const text of [
      "",
      "[]",
      "3",
      '"ok"',
      "null",
      "{",
      '{"partialSuccess":3}',
      '{"partialSuccess":{"rejectedSpans":"x"}}',
    ]
  ) {
    assert.equal(readJsonExportResponse(text), undefined, text);
  }
});

test("the message of a status in JSON", () => {
  assert.equal(readJsonStatusMessage('{"code":3,"message":"no such tenant"}'), "no such tenant");
  for (const text of ["", "no", "[]", '{"message":3}']) assert.equal(readJsonStatusMessage(text), undefined);
});

test("the message of a status", () => {
  assert.equal(readStatusMessage(encode("RpcStatus", { code: 3, message: "näh" })), "näh");
  assert.equal(readStatusMessage(encode("RpcStatus", { code: 3 })), undefined);
  assert.equal(readStatusMessage(new TextEncoder().encode("<html>")), undefined);
});

/** A status with one detail. */
function detail(typeUrl: string, value: Uint8Array): Uint8Array {
  return encode("RpcStatus", { code: 14, details: [{ typeUrl, value }] });
}

test("RetryInfo's delay, in milliseconds", () => {
  const type = "type.googleapis.com/google.rpc.RetryInfo";
  const delay = (retryDelay: object): Uint8Array => detail(type, encode("RetryInfo", { retryDelay }));
  assert.equal(readRetryDelay(delay({ seconds: 3 })), 3000);
  assert.equal(readRetryDelay(delay({ seconds: 1, nanos: 500_000_000 })), 1500);
  assert.equal(readRetryDelay(delay({ nanos: 1_000_000 })), 1);
  assert.equal(readRetryDelay(delay({})), 0);
  assert.equal(readRetryDelay(delay({ seconds: -3 })), 0);
  assert.equal(readRetryDelay(detail(type, new Uint8Array())), 0);
  assert.equal(readRetryDelay(detail("google.rpc.RetryInfo", encode("RetryInfo", {}))), 0);
});

test("without RetryInfo there is no delay", () => {
  assert.equal(readRetryDelay(new Uint8Array()), undefined);
  assert.equal(readRetryDelay(encode("RpcStatus", { code: 14, message: "x" })), undefined);
  assert.equal(readRetryDelay(detail("x/google.rpc.DebugInfo", new Uint8Array([1]))), undefined);
  assert.equal(readRetryDelay(new TextEncoder().encode("garbage")), undefined);
});
