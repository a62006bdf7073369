import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { prepareSpoolDirectory } from "../../src/queue/spool/spool-directory.ts";
import { loadLibc } from "../../ffi/libc.ts";
import { FileStorage } from "../../src/queue/spool/file-storage.ts";
import { Spool } from "../../src/queue/spool/spool.ts";
import { SPOOL_MIN_BYTES } from "../../src/pipeline/settings.ts";
import type { ExportResult, RequestTrace } from "../../src/pipeline/exporter.ts";
import { type ExportOutcome, type ExportSpan, NO_SELF_TRACE, type SelfTrace } from "../../src/pipeline/self-trace.ts";
import { joinBytes } from "../../src/base/joined-bytes.ts";
import { decodeRequest } from "../support/collector-stub.ts";
import { AWAY, BAD_SPAN, FakeExporter, guestSource, payload, REFUSED, send, setUp } from "./support.ts";
import { range, spanId } from "../support/numbers.ts";
import { RecordingLogger } from "../support/recording-logger.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";

const libc = await loadLibc();

/** An export's span that keeps what it is told. */
class RecordingSpan implements ExportSpan {
  readonly traceparent: string;
  /** The ids of the spans that it is about. */
  readonly ids: readonly string[];
  readonly said: string[] = [];

  constructor(number: number, ids: readonly string[]) {
    this.traceparent = `trace ${number}`;
    this.ids = ids;
  }
  tried(): void {
    this.said.push("tried");
  }
  failed(error: Error): void {
    this.said.push(`failed: ${error.message}`);
  }
  refused(spans: number, reason: string): void {
    this.said.push(`refused ${spans}: ${reason}`);
  }
  end(outcome?: ExportOutcome): void {
    this.said.push(`end ${outcome}`);
  }
}

/** An exporter that also keeps which trace each request came with. */
class TracedExporter extends FakeExporter {
  readonly traces: (string | undefined)[] = [];

  override send(
    request: readonly Uint8Array[],
    _timeoutMs?: number,
    trace?: RequestTrace,
  ): Promise<ExportResult> {
    this.traces.push(trace?.traceparent);
    return super.send(request);
  }
}

function traced(): { spans: RecordingSpan[]; trace: SelfTrace } {
  const spans: RecordingSpan[] = [];
  const exporting = (request: readonly Uint8Array[], count: number): ExportSpan => {
    const ids = decodeRequest(joinBytes(request)).map((span) => span.spanId);
    assert.equal(ids.length, count);
    const span = new RecordingSpan(spans.length, ids);
    spans.push(span);
    return span;
  };
  return { spans, trace: { ...NO_SELF_TRACE, exporting } };
}

test("a batch has one span from its first request to its end, however often it is tried", async () => {
  const { spans, trace } = traced();
  const exporter = new TracedExporter((_, request) => request < 3 ? AWAY : { kind: "success" }, 1);
  const { delivery, metrics } = setUp({ trace }, exporter);
  send(metrics, delivery.open(guestSource("box")), payload(range(1, 10)));
  await until(() => metrics.collector.forwarded === 10);
  assert.deepEqual(spans.map(({ said }) => said), [[
    ...Array<string>(3).fill("failed: connection refused"),
    "end undefined",
  ]]);
  assert.deepEqual(spans[0]?.ids, range(1, 10).map(spanId));
  assert.deepEqual(exporter.traces, Array(4).fill("trace 0"));
  await delivery.abort();
});

test("each batch has its own", async () => {
  const { spans, trace } = traced();
  const exporter = new TracedExporter();
  const { delivery, metrics } = setUp({ trace }, exporter);
  send(metrics, delivery.open(guestSource("box")), payload(range(1, 30)));
  await until(() => metrics.collector.forwarded === 30);
  assert.deepEqual(exporter.traces.toSorted(), ["trace 0", "trace 1", "trace 2"]);
  assert.deepEqual(spans.map(({ said }) => said), Array(3).fill(["end undefined"]));
  await delivery.abort();
});

test("spans that the collector refuses: by themselves, all, and without saying which", async () => {
  const { spans, trace } = traced();
  const exporter = new TracedExporter(
    (ids, request) =>
      request === 0
        ? { kind: "partial", rejectedSpans: 4, message: "some" }
        : ids.includes(spanId(13))
        ? BAD_SPAN
        : ids.includes(spanId(21))
        ? REFUSED
        : { kind: "success" },
    1,
  );
  const { delivery, metrics } = setUp({ trace }, exporter);
  send(metrics, delivery.open(guestSource("box")), payload(range(1, 30)));
  await until(() => metrics.heldNow === 0);
  assert.deepEqual(spans.map(({ said }) => said), [
    ["refused 4: some", "end undefined"],
    ["refused 1: 400 bad span", "end undefined"],
    ["refused 10: 401 who are you", "end undefined"],
  ]);
  // The parts of a batch are requests of one export.
  assert.ok(exporter.traces.filter((name) => name === "trace 1").length > 2);
  await delivery.abort();
});

test("what is dropped was never sent, so it has no span; what was sent is not dropped", async () => {
  const { spans, trace } = traced();
  const exporter = new TracedExporter(() => AWAY, 1);
  const { delivery, metrics } = setUp({
    trace,
    queue: { maxBytes: 2000, whenFull: "drop-oldest" },
    retry: { initialMs: 60_000, maxMs: 60_000 },
  }, exporter);
  const guest = delivery.open(guestSource("box"));
  send(metrics, guest, payload(range(1, 10)));
  await until(() => spans[0]?.said.length === 1);
  send(metrics, guest, payload(range(11, 100)));
  await until(() => (metrics.collector.dropped["queue-full"] ?? 0) > 0);
  assert.deepEqual(spans.map(({ said }) => said), [["failed: connection refused"]]);
  await delivery.abort();
  assert.deepEqual(spans.map(({ said }) => said), [["failed: connection refused", "end lost"]]);
});

test("a batch that is lost at the end, tried before or under way", async () => {
  for (const behaviour of [() => AWAY, () => new Promise<ExportResult>(() => {})]) {
    const { spans, trace } = traced();
    const exporter = new TracedExporter(behaviour, 1);
    const { delivery, metrics } = setUp({ trace }, exporter);
    send(metrics, delivery.open(guestSource("box")), payload(range(1, 10)));
    await until(() => exporter.traces.length > 0);
    assert.equal(await delivery.abort(), 10);
    assert.equal(spans[0]?.said.at(-1), "end lost");
    assert.equal(spans[0]?.said.filter((said) => said.startsWith("end")).length, 1);
  }
});

test("a batch that stays in the spool ends as that, and begins anew in the next process", async () => {
  using temporary = temporaryDirectory();
  const directory = prepareSpoolDirectory(join(temporary.path, "spool"));
  for (const answer of [AWAY, { kind: "success" } as const]) {
    const { spans, trace } = traced();
    const exporter = new TracedExporter(() => answer, 1);
    const spool = Spool.open({
      storage: FileStorage.open(directory, libc),
      maxBytes: SPOOL_MIN_BYTES,
      log: new RecordingLogger(),
    });
    const { delivery, metrics } = setUp({ trace, spool }, exporter);
    if (answer === AWAY) send(metrics, delivery.open(guestSource("box")), payload(range(1, 8)));
    await until(() => spans.length === 1 && exporter.traces.length > 0);
    assert.equal(await delivery.drain(10_000), 0);
    assert.equal(spans[0]?.said.at(-1), answer === AWAY ? "end spooled" : "end undefined");
    assert.deepEqual(spans[0]?.ids, range(1, 8).map(spanId));
  }
});

test("without self-tracing requests carry nothing", async () => {
  for (const options of [{}, { trace: NO_SELF_TRACE }]) {
    const exporter = new TracedExporter();
    const { delivery, metrics } = setUp(options, exporter);
    send(metrics, delivery.open(guestSource("box")), payload(range(1, 10)));
    await until(() => metrics.collector.forwarded === 10);
    assert.deepEqual(exporter.traces, [undefined]);
    await delivery.abort();
  }
});
