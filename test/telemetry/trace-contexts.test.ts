import assert from "node:assert/strict";
import { test } from "node:test";
import { traceContexts } from "../../src/telemetry/trace-contexts.ts";
import { encode } from "../otlp/support/otlp-proto.ts";

function id(bytes: number, number: number): number[] {
  return [...new Array<number>(bytes - 1).fill(0), number];
}
function hex(bytes: number, number: number): string {
  return number.toString(16).padStart(2 * bytes, "0");
}
function span(trace: number, number: number): object {
  return { name: "n", traceId: id(16, trace), spanId: id(8, number) };
}
function ids(trace: number, number: number): object {
  return { traceId: hex(16, trace), spanId: hex(8, number) };
}

const REQUEST = encode("ExportTraceServiceRequest", {
  resourceSpans: [
    {
      resource: { attributes: [{ key: "a", value: { stringValue: "b" } }] },
      scopeSpans: [
        { scope: { name: "s" }, spans: [span(1, 11), span(1, 12), span(2, 21)] },
        { spans: [span(1, 13), span(3, 31)] },
      ],
    },
    {},
    { scopeSpans: [{}, { spans: [span(3, 32), span(4, 41)], schemaUrl: "u" }] },
  ],
});

test("each trace is found once, with its first span", () => {
  assert.deepEqual(traceContexts([REQUEST], 16), [ids(1, 11), ids(2, 21), ids(3, 31), ids(4, 41)]);
});

test("a trace that is in several parts of a request is found once", () => {
  assert.deepEqual(traceContexts([REQUEST, new Uint8Array(), REQUEST], 16), traceContexts([REQUEST], 16));
  const other = encode("ExportTraceServiceRequest", { resourceSpans: [{ scopeSpans: [{ spans: [span(5, 51)] }] }] });
  assert.deepEqual(traceContexts([other, REQUEST], 16), [ids(5, 51), ids(1, 11), ids(2, 21), ids(3, 31), ids(4, 41)]);
  assert.deepEqual(traceContexts([REQUEST, other], 5).at(-1), ids(5, 51));
  assert.deepEqual(traceContexts([other, REQUEST], 1), [ids(5, 51)]);
});

test("no more traces are found than asked for", () => {
  assert.deepEqual(traceContexts([REQUEST], 4).length, 4);
  assert.deepEqual(traceContexts([REQUEST], 2), [ids(1, 11), ids(2, 21)]);
  assert.deepEqual(traceContexts([REQUEST], 0), []);
});

test("no traces are found without spans, and in bytes that are not a request", () => {
  assert.deepEqual(traceContexts([new Uint8Array()], 16), []);
  assert.deepEqual(traceContexts([Uint8Array.of(0xff, 0xff)], 16), []);
  const cut = REQUEST.subarray(0, REQUEST.length - 1);
  assert.deepEqual(traceContexts([cut], 16), [ids(1, 11), ids(2, 21), ids(3, 31)]);
});
