/** A trace as the tree that Jaeger shows, and as it must show it. */

import type { JaegerTag, JaegerTrace } from "../../collector/jaeger.ts";
import type { Attributes, Value } from "../../collector/spans.ts";
import type { HostWord, SentSpan } from "./agent.ts";

/** A span with its children, in the order of their starts. Times are microseconds. */
export interface TreeSpan {
  readonly name: string;
  readonly spanId: string;
  /** The parent's, whether it is in the trace or not; empty where there is none. */
  readonly parentSpanId: string;
  readonly start: number;
  readonly duration: number;
  readonly tags: Attributes;
  readonly logs: readonly {
    readonly time: number;
    readonly fields: readonly (readonly [key: string, value: Value])[];
  }[];
  readonly service: string;
  /** The resource's attributes but for the service's name. */
  readonly process: Attributes;
  readonly children: TreeSpan[];
}

/** The spans of one sender. */
export interface Sent {
  readonly spans: readonly SentSpan[];
  readonly host: HostWord;
}

/** `span.kind` by OTLP's number of the kind. */
const KINDS = ["unspecified", "internal", "server", "client", "producer", "consumer"];
/** OTLP's `STATUS_CODE_ERROR`. */
const ERROR = 2;

/** The spans without a parent in the trace, each with all below it, as Jaeger shows them. */
export function shownTree(trace: JaegerTrace): TreeSpan[] {
  return tree(trace.spans.map((span) => {
    const process = trace.processes[span.processID];
    if (process === undefined) throw new Error(`Jaeger shows no process ${span.processID}`);
    // It warns of parents that are missing, and of times that it has changed.
    if (span.warnings !== null) throw new Error(`Jaeger warns of ${span.spanID}: ${span.warnings}`);
    return {
      name: span.operationName,
      spanId: span.spanID,
      parentSpanId: span.references.find(({ refType }) => refType === "CHILD_OF")?.spanID ?? "",
      start: span.startTime,
      duration: span.duration,
      tags: Object.fromEntries(span.tags.map(pair)),
      logs: span.logs.map(({ timestamp, fields }) => ({
        time: timestamp,
        fields: fields.map(pair).sort(byKey),
      })),
      service: process.serviceName,
      process: Object.fromEntries(process.tags.map(pair)),
      children: [],
    };
  }));
}

/** The same of what was sent. */
export function sentTree(...sent: readonly Sent[]): TreeSpan[] {
  return tree(sent.flatMap(({ spans, host }) => spans.map((span) => node(span, host))));
}

function node(span: SentSpan, host: HostWord): TreeSpan {
  const { "service.name": service, ...process } = { ...span.resource, ...host };
  return {
    name: span.name,
    spanId: span.spanId,
    parentSpanId: span.parentSpanId,
    start: microseconds(span.startTimeUnixNano),
    duration: microseconds(span.endTimeUnixNano - span.startTimeUnixNano),
    tags: {
      ...span.attributes,
      "span.kind": KINDS[span.kind] ?? "",
      ...(span.status.code === ERROR && {
        "otel.status_code": "ERROR",
        "otel.status_description": span.status.message,
        error: true,
      }),
    },
    logs: span.events.map(({ timeUnixNano, name, attributes }) => ({
      time: microseconds(timeUnixNano),
      fields: [["event", name] as const, ...attributes].sort(byKey),
    })),
    service: String(service),
    process,
    children: [],
  };
}

/** Jaeger cuts off the nanoseconds. */
function microseconds(nanoseconds: bigint): number {
  return Number(nanoseconds / 1000n);
}

function tree(spans: readonly TreeSpan[]): TreeSpan[] {
  const byId = new Map(spans.map((span) => [span.spanId, span]));
  if (byId.size !== spans.length) throw new Error("a span is there more than once");
  const roots: TreeSpan[] = [];
  const inOrder = [...spans].sort((a, b) => a.start - b.start || (a.spanId < b.spanId ? -1 : 1));
  for (const span of inOrder) (byId.get(span.parentSpanId)?.children ?? roots).push(span);
  return roots;
}

/** Jaeger shows an event's attributes in an order of its own. */
function byKey([a]: readonly [string, Value], [b]: readonly [string, Value]): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function pair({ key, type, value }: JaegerTag): readonly [string, Value] {
  return [key, type === "int64" ? BigInt(value) : value];
}

/** Names as an indented list, for a look at a tree's form alone. */
export function outline(spans: readonly TreeSpan[], depth = 0): string[] {
  return spans.flatMap(({ service, name, children }) => [
    `${"  ".repeat(depth)}${service}: ${name}`,
    ...outline(children, depth + 1),
  ]);
}
