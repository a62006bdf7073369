import type { AnyValueRecord } from "../../otlp/span-record.ts";
import type { StoredSandbox, StoreReader } from "../../store/store-reader.ts";
import { exportable, type ExportOptions } from "./secrets.ts";

/** Times are microseconds, which may have a fraction. */
const NANOS_PER_MICRO = 1000;

/**
 * A sandbox in the Trace Event Format, which Perfetto and Chrome's tracing open: a process for each program, and as
 * many threads as spans of it ran beside each other, because spans of one thread have to be nested.
 *
 * Specification: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
 */
export function perfettoTrace(reader: StoreReader, sandbox: StoredSandbox, options: ExportOptions): string {
  const events: object[] = [];
  const programs = new Map<string, Lanes>();
  const base = sandbox.baseNs;
  for (const { record, side } of reader.records(sandbox)) {
    let lanes = programs.get(side);
    if (lanes === undefined) {
      lanes = new Lanes(programs.size + 1);
      programs.set(side, lanes);
      events.push({ name: "process_name", ph: "M", pid: lanes.process, args: { name: side } });
    }
    const start = Number(BigInt(record.startTimeUnixNano) - base);
    const duration = Math.max(0, Number(BigInt(record.endTimeUnixNano) - BigInt(record.startTimeUnixNano)));
    events.push({
      name: record.name,
      ph: "X",
      ts: start / NANOS_PER_MICRO,
      dur: duration / NANOS_PER_MICRO,
      pid: lanes.process,
      tid: lanes.place(start, start + duration),
      args: {
        trace: record.traceId,
        span: record.spanId,
        parent: record.parentSpanId,
        ...Object.fromEntries(exportable(record.attributes, options).map(({ key, value }) => [key, plain(value)])),
      },
    });
  }
  return `${JSON.stringify({ displayTimeUnit: "ms", otherData: { sandbox: sandbox.sid }, traceEvents: events })}\n`;
}

/** The threads of one program. */
class Lanes {
  readonly process: number;
  /** The ends of the spans that are open in each lane, the innermost last. */
  readonly #open: number[][] = [];

  constructor(process: number) {
    this.process = process;
  }

  /** The first lane in which a span is nested or comes after all. Spans have to come by their start. */
  place(start: number, end: number): number {
    for (const [lane, open] of this.#open.entries()) {
      while (open.length > 0 && (open.at(-1) as number) <= start) open.pop();
      if (open.length > 0 && end > (open.at(-1) as number)) continue;
      open.push(end);
      return lane + 1;
    }
    this.#open.push([end]);
    return this.#open.length;
  }
}

function plain(value: AnyValueRecord): unknown {
  if (value.arrayValue !== undefined) return value.arrayValue.values.map(plain);
  if (value.kvlistValue !== undefined) return value.kvlistValue.values.map((one) => [one.key, plain(one.value)]);
  return value.stringValue ?? value.boolValue ?? value.intValue ?? value.doubleValue ?? value.bytesValue ?? null;
}
