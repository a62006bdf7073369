import { readFileSync } from "node:fs";
import type { CriticalSegment } from "../../../src/view/model/critical-path.ts";
import { type Side, type SpanInput, type SpanTable, spanTable } from "../../../src/view/model/span-table.ts";

/** Spans of a recorded set, as one side's. */
export function recordedSpans(name: string, side: Side): SpanInput[] {
  const file = new URL(`../../fixtures/jaeger-thrift/${name}.expected.jsonl`, import.meta.url);
  return readFileSync(file, "utf8").trim().split("\n").map((line) => {
    const span = JSON.parse(line) as Record<"traceId" | "spanId" | "parentSpanId" | "name", string> & {
      startTimeUnixNano: string;
      endTimeUnixNano: string;
      status: { code: number };
    };
    return {
      traceId: span.traceId,
      spanId: span.spanId,
      parentSpanId: span.parentSpanId,
      name: span.name,
      side,
      startNs: BigInt(span.startTimeUnixNano),
      endNs: BigInt(span.endTimeUnixNano),
      error: span.status.code === 2,
    };
  });
}

/** A sandbox of the Go runtime with its agent: one trace on two clocks. */
export function collatedSandbox(): SpanInput[] {
  return [...recordedSpans("go-session", "runtime"), ...recordedSpans("collated-agent", "agent")];
}

/** A made-up span: times in nanoseconds since an arbitrary moment. */
export interface ShortSpan {
  readonly id: string;
  readonly in?: string;
  readonly trace?: string;
  readonly side?: Side;
  readonly from: number;
  readonly to: number;
}

/** A moment that no double holds exactly. */
const MOMENT = 1_795_694_948_255_537_001n;

export function shortSpans(spans: readonly ShortSpan[]): SpanInput[] {
  return spans.map(({ id, in: parent = "", trace = "t", side = "runtime", from, to }) => ({
    traceId: trace,
    spanId: id,
    parentSpanId: parent,
    name: id,
    side,
    startNs: MOMENT + BigInt(from),
    endNs: MOMENT + BigInt(to),
    error: false,
  }));
}

export function tableOf(...spans: ShortSpan[]): ReturnType<typeof spanTable> {
  return spanTable(shortSpans(spans));
}

/** How long each span is on the path, nanoseconds, by row. */
export function criticalTimes(table: SpanTable, path: readonly CriticalSegment[]): Float64Array {
  const times = new Float64Array(table.count);
  for (const { row, from, to } of path) if (row !== undefined) times[row] = (times[row] as number) + to - from;
  return times;
}
