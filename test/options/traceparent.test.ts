import assert from "node:assert/strict";
import { test } from "node:test";
import { traceparent } from "../../src/options/traceparent.ts";
import { formatTraceparent } from "../../src/pipeline/trace-context.ts";
import { UsageError } from "../../src/options/values.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";
const CONTEXT = { traceId: TRACE, spanId: SPAN, flags: 1 };

test("a trace context is read as in the specification's example", () => {
  assert.deepEqual(traceparent(`00-${TRACE}-${SPAN}-01`), CONTEXT);
  assert.deepEqual(traceparent(` 00-${TRACE}-${SPAN}-00\n`), { ...CONTEXT, flags: 0 });
  assert.deepEqual(traceparent(`00-${TRACE}-${SPAN}-ff`), { ...CONTEXT, flags: 255 });
});

test("a later version may add something", () => {
  assert.deepEqual(traceparent(`01-${TRACE}-${SPAN}-01`), CONTEXT);
  assert.deepEqual(traceparent(`cc-${TRACE}-${SPAN}-01-what-ever`), CONTEXT);
});

test("an invalid trace context is refused, with what a valid one looks like", () => {
  for (
    const value of [
      "",
      "x",
      `${TRACE}-${SPAN}-01`,
      `00-${TRACE}-${SPAN}`,
      `00-${TRACE}-${SPAN}-1`,
      `00-${TRACE}-${SPAN}-01-more`,
      `01-${TRACE}-${SPAN}-01.more`,
      `ff-${TRACE}-${SPAN}-01`,
      `00-${TRACE.toUpperCase()}-${SPAN}-01`,
      `00-${TRACE}0-${SPAN}-01`,
      `00-${"0".repeat(32)}-${SPAN}-01`,
      `00-${TRACE}-${"0".repeat(16)}-01`,
    ]
  ) {
    assert.throws(
      () => traceparent(value),
      (error) => error instanceof UsageError && /^invalid trace context .*: give 00-/.test(error.message),
      value,
    );
  }
});

test("a trace context is written as it was read", () => {
  for (const flags of ["00", "01", "0a", "ff"]) {
    const text = `00-${TRACE}-${SPAN}-${flags}`;
    assert.equal(formatTraceparent(traceparent(text)), text);
  }
});
