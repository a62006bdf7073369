import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { formatTraceparent } from "../../src/pipeline/trace-context.ts";
import type { Exporter, ExportResult } from "../../src/pipeline/exporter.ts";
import type { SelfTrace } from "../../src/pipeline/self-trace.ts";
import { openSelfTrace } from "../../src/telemetry/tracer.ts";
import type { SelfTraceSettings } from "../../src/pipeline/settings.ts";
import { VERSION } from "../../src/base/version.ts";
import { RecordingLogger } from "../support/recording-logger.ts";
import { encode } from "../otlp/support/otlp-proto.ts";
import { withVariables } from "./support/environment.ts";
import { type OwnSpan, ownSpans } from "./support/own-spans.ts";

const PARENT = {
  traceId: "0af7651916cd43dd8448eb211c80319c",
  spanId: "b7ad6b7169203331",
  flags: 1,
};

/** Keeps what it is sent, and answers as told. */
class RecordingExporter implements Exporter {
  readonly concurrency = 1;
  readonly requests: Uint8Array[] = [];
  answer: () => ExportResult | Promise<ExportResult> = () => ({ kind: "success" });
  underWay = 0;
  closed = false;

  async send([request = new Uint8Array()]: readonly Uint8Array[]): Promise<ExportResult> {
    assert.equal(++this.underWay, 1, "one at a time");
    this.requests.push(request);
    const result = await this.answer();
    this.underWay--;
    return result;
  }
  close(): void {
    this.closed = true;
  }
}

interface SetUp {
  readonly trace: SelfTrace;
  readonly exporter: RecordingExporter;
  readonly log: RecordingLogger;
  /** Ends the trace, and returns all its spans by name, in the order in which they ended. */
  readonly finish: () => Promise<OwnSpan[]>;
}

function setUp(
  settings: SelfTraceSettings = {},
  resourceAttributes: ReadonlyMap<string, string> = new Map(),
): SetUp {
  const exporter = new RecordingExporter();
  const log = new RecordingLogger();
  const trace = openSelfTrace({ settings, resourceAttributes, exporter, log, began: Date.now() });
  const finish = async (): Promise<OwnSpan[]> => {
    await trace.stop(10_000);
    return exporter.requests.flatMap(ownSpans);
  };
  return { trace, exporter, log, finish };
}

function named(spans: readonly OwnSpan[], name: string): OwnSpan {
  const found = spans.filter((span) => span.name === name);
  assert.equal(found.length, 1, `${found.length} spans named ${name}`);
  return found[0] as OwnSpan;
}

/** A request with one span in each of so many traces. */
function requestOf(...traces: number[]): Uint8Array {
  return encode("ExportTraceServiceRequest", {
    resourceSpans: [{
      scopeSpans: [{
        spans: traces.map((trace) => ({
          traceId: [...new Array<number>(15).fill(0), trace],
          spanId: [...new Array<number>(7).fill(0), trace && 7],
        })),
      }],
    }],
  });
}

test("the start and its steps are spans", async () => {
  const { trace, finish, exporter } = setUp(
    {},
    new Map([["host.name", "node1"], ["service.version", "host's"]]),
  );
  const before = BigInt(Date.now() - 1) * 1_000_000n;
  assert.equal(trace.step("sync", () => 1), 1);
  assert.equal(await trace.step("async", () => Promise.resolve(2)), 2);
  trace.started();
  const spans = await finish();
  assert.deepEqual(spans.map(({ name }) => name), ["sync", "async", "start"]);
  assert.ok(exporter.closed);

  const start = named(spans, "start");
  assert.equal(start.parentSpanId, "");
  for (const name of ["sync", "async"]) {
    const step = named(spans, name);
    assert.equal(step.traceId, start.traceId);
    assert.equal(step.parentSpanId, start.spanId);
    assert.equal(step.status, 0);
    assert.equal(step.kind, 1);
    assert.ok(step.start >= before && step.end >= step.start);
  }
  const { resource, scope } = start;
  assert.equal(resource["service.name"], "kata-trace-forwarder");
  assert.equal(resource["service.version"], VERSION);
  assert.equal(resource["host.name"], "node1");
  assert.equal(resource["process.pid"], String(process.pid));
  assert.equal(resource["telemetry.sdk.language"], "nodejs");
  assert.equal(scope, "kata-trace-forwarder");
});

test("a step that fails and a start that fails are errors", async () => {
  const { trace, finish } = setUp();
  const error = new Error("no", { cause: new Error("because\x1b") });
  assert.throws(() =>
    trace.step("sync", () => {
      throw error;
    }), (thrown) => thrown === error);
  await assert.rejects(
    trace.step("async", () => Promise.reject(error)),
    (thrown) => thrown === error,
  );
  const spans = await finish();
  for (const name of ["sync", "async"]) {
    const { status, statusMessage } = named(spans, name);
    assert.deepEqual([status, statusMessage], [2, "no: because\\u{1b}"]);
  }
  assert.deepEqual(named(spans, "start").status, 2);
});

test("a guest's connection is a span", async () => {
  const { trace, finish } = setUp();
  trace.started();
  const whole = trace.connection();
  const broken = trace.connection();
  const counts = { spans: 3, bytes: 400, invalid: 1 };
  whole?.end({
    source: { kind: "guest", name: "vsock:3:1026", account: "vsock:3", attributes: new Map([["kata.vsock.cid", 3]]) },
    ...counts,
  });
  broken?.end({
    source: { kind: "guest", name: "foo", account: "foo", attributes: new Map([["kata.sandbox.id", "foo"]]) },
    ...counts,
    error: new Error("reset"),
  });
  const [first, second, ...more] = (await finish()).filter(({ name }) => name === "guest connection");
  assert.ok(first !== undefined && second !== undefined && more.length === 0);
  const counted = { "kata.spans": "3", "kata.bytes": "400", "kata.invalid": "1" };
  assert.deepEqual(first.attributes, {
    "kata.vsock.cid": "3",
    "kata.peer": "vsock:3:1026",
    ...counted,
  });
  assert.deepEqual(second.attributes, {
    "kata.sandbox.id": "foo",
    "kata.peer": "foo",
    ...counted,
  });
  assert.deepEqual([first.status, second.status, second.statusMessage], [0, 2, "reset"]);
  // Each guest has a trace of its own.
  assert.deepEqual([first.parentSpanId, second.parentSpanId], ["", ""]);
  assert.notEqual(first.traceId, second.traceId);
});

test("an export has links to the traces in its batch, and its requests carry its context", async () => {
  const { trace, finish } = setUp();
  trace.started();
  const request = requestOf(1, 2, 0, 1);
  const exporting = trace.exporting([request], 4);
  assert.ok(exporting !== undefined);
  exporting.tried();
  exporting.failed(new Error("refused"));
  exporting.tried();
  exporting.tried();
  exporting.end();
  exporting.end("lost");
  const span = named(await finish(), "export");
  assert.equal(exporting.traceparent, formatTraceparent({ ...span, flags: 1 }));
  assert.equal(span.kind, 3);
  assert.equal(span.status, 0);
  assert.equal(span.parentSpanId, "");
  assert.deepEqual(span.attributes, {
    "kata.spans": "4",
    "kata.bytes": String(request.length),
    "kata.outcome": "delivered",
    "kata.tries": "3",
    "kata.spans_refused": "0",
  });
  assert.deepEqual(span.events, [["failed", { "error.message": "refused" }]]);
  // A context of zeros is invalid.
  assert.deepEqual(span.links, [
    { traceId: "1".padStart(32, "0"), spanId: "7".padStart(16, "0"), flags: 0x301 },
    { traceId: "2".padStart(32, "0"), spanId: "7".padStart(16, "0"), flags: 0x301 },
  ]);
});

test("the number of an export's links is bounded", async () => {
  const { trace, finish } = setUp();
  const traces = Array.from({ length: 100 }, (_, i) => i + 1);
  trace.exporting([requestOf(...traces)], 100)?.end();
  const { links } = named(await finish(), "export");
  assert.deepEqual(
    links.map(({ traceId }) => Number.parseInt(traceId, 16)),
    traces.slice(0, 16),
  );
});

test("an export has each outcome", async () => {
  const { trace, finish } = setUp();
  const begin = () => trace.exporting([requestOf(1)], 10);
  const partial = begin();
  partial?.refused(4, "bad");
  partial?.refused(5, "worse\n");
  partial?.end();
  const rejected = begin();
  rejected?.refused(10, "all bad");
  rejected?.end();
  const lost = begin();
  lost?.failed(new Error("away"));
  lost?.end("lost");
  begin()?.end("spooled");
  const exports = (await finish()).filter(({ name }) => name === "export");
  assert.deepEqual(
    exports.map(({ attributes, status, statusMessage }) => [
      attributes["kata.outcome"],
      attributes["kata.spans_refused"],
      status,
      statusMessage,
    ]),
    [
      ["partial", "9", 2, "worse\\u{a}"],
      ["rejected", "10", 2, "all bad"],
      ["lost", "0", 2, "away"],
      ["spooled", "0", 0, ""],
    ],
  );
});

test("with a caller's trace everything belongs to it", async () => {
  const { trace, finish, log } = setUp({ parent: PARENT });
  trace.step("step", () => {});
  trace.started();
  const exporting = trace.exporting([requestOf(1)], 1);
  exporting?.end();
  trace.connection()?.end({
    source: { kind: "guest", name: "p", account: "p", attributes: new Map() },
    spans: 0,
    bytes: 0,
    invalid: 0,
  });
  const spans = await finish();
  assert.equal(spans.length, 4);
  for (const span of spans) assert.equal(span.traceId, PARENT.traceId);
  for (const name of ["start", "guest connection", "export"]) {
    assert.equal(named(spans, name).parentSpanId, PARENT.spanId);
  }
  assert.equal(named(spans, "step").parentSpanId, named(spans, "start").spanId);
  assert.deepEqual(log.records, []);
});

test("nothing is recorded if the caller does not sample, and a broken context begins a new trace", async () => {
  const unsampled = setUp({ parent: { ...PARENT, flags: 0 } });
  const traceparent = unsampled.trace.exporting([requestOf(1)], 1)?.traceparent;
  assert.match(traceparent ?? "", new RegExp(`^00-${PARENT.traceId}-[0-9a-f]{16}-00$`));
  assert.deepEqual(await unsampled.finish(), []);

  const broken = setUp({ parentProblem: "TRACEPARENT: no" });
  broken.trace.started();
  assert.equal((await broken.finish()).length, 1);
  assert.deepEqual(broken.log.records, [{
    level: "warn",
    message: "own spans begin a trace of their own",
    fields: { reason: "TRACEPARENT: no" },
  }]);
});

test("the environment chooses the SDK's sampler", async () => {
  await withVariables({ OTEL_TRACES_SAMPLER: "always_off" }, async () => {
    const { trace, finish } = setUp();
    trace.step("step", () => {});
    trace.started();
    assert.match(trace.exporting([requestOf(1)], 1)?.traceparent ?? "", /-00$/);
    assert.deepEqual(await finish(), []);
  });
});

test("the variables for guests' batches do not affect own spans", async () => {
  const all = await withVariables({ OTEL_BSP_MAX_QUEUE_SIZE: "1" }, async () => {
    const { trace, finish } = setUp();
    for (let i = 0; i < 100; i++) trace.exporting([requestOf(1)], 1)?.end();
    return await finish();
  });
  assert.equal(all.filter(({ name }) => name === "export").length, 100);
});

test("the queue is bounded, and its rest is sent one request at a time", async () => {
  const { trace, finish, exporter } = setUp();
  let release = (): void => {};
  const held = new Promise<void>((resolve) => release = resolve);
  exporter.answer = async () => {
    await held;
    return { kind: "success" };
  };
  for (let i = 0; i < 5000; i++) trace.exporting([requestOf(1)], 1)?.end();
  const finished = finish();
  release();
  // The first 512 are under way, and 2048 more wait.
  assert.equal((await finished).length, 512 + 2048);
});

test("spans that the collector does not accept are lost, and logged once", async () => {
  const { trace, exporter, log } = setUp();
  exporter.answer = () => ({ kind: "retryable", error: new Error("away") });
  for (let i = 0; i < 512 + 10; i++) trace.exporting([requestOf(1)], 1)?.end();
  await trace.stop(10_000);
  assert.deepEqual(exporter.requests.map((request) => ownSpans(request).length), [512, 11]);
  assert.deepEqual(
    log.records.map(({ level, message, fields }) => [level, message, fields["error"]]),
    [["warn", "own spans are lost: the collector does not take them", "away"]],
  );
});

test("the end waits no longer than told, and an abort does not wait", async () => {
  const { trace, exporter, log } = setUp();
  exporter.answer = () => new Promise(() => {});
  trace.started();
  await trace.stop(20);
  assert.ok(exporter.closed);
  assert.deepEqual(log.records.map(({ message }) => message), [
    "own spans are lost: the collector has not taken them in time",
  ]);

  const aborted = setUp();
  aborted.exporter.answer = () => new Promise(() => {});
  let isStopped = false;
  void aborted.trace.stop(60_000).then(() => isStopped = true);
  await aborted.trace.stop(0);
  assert.ok(aborted.exporter.closed);
  assert.equal(isStopped, false);
});
