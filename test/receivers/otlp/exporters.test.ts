import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { SpanKind, SpanStatusCode } from "@opentelemetry/api";
import { ExportResultCode } from "@opentelemetry/core";
import { OTLPTraceExporter as GrpcExporter } from "@opentelemetry/exporter-trace-otlp-grpc";
import { OTLPTraceExporter as JsonExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { OTLPTraceExporter as ProtobufExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { CompressionAlgorithm } from "@opentelemetry/otlp-exporter-base";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, InMemorySpanExporter, type SpanExporter } from "@opentelemetry/sdk-trace-base";
import { SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { HttpServer } from "../../../src/http/server.ts";
import { Metrics } from "../../../src/pipeline/metrics.ts";
import { OTLP_HTTP2, OTLP_LIMITS, OtlpReceiver } from "../../../src/receivers/otlp/otlp-receiver.ts";
import { StepQueue } from "../../../src/receivers/otlp/step-queue.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";
import { RecordingSink } from "../support/recording-sink.ts";

/** Spans as an application's SDK makes them. */
function makeSpans() {
  const memory = new InMemorySpanExporter();
  const provider = new BasicTracerProvider({
    resource: resourceFromAttributes({ "service.name": "containerd" }),
    spanProcessors: [new SimpleSpanProcessor(memory)],
  });
  const tracer = provider.getTracer("lib", "1.0");
  const parent = tracer.startSpan("parent", {
    kind: SpanKind.SERVER,
    attributes: { text: "é🦀", yes: true, n: [1, 2.5] },
  });
  parent.addEvent("event", { a: 1 });
  const linked = tracer.startSpan("linked", { links: [{ context: parent.spanContext(), attributes: { l: "x" } }] });
  linked.setStatus({ code: SpanStatusCode.ERROR, message: "why" });
  linked.end();
  parent.end();
  return memory.getFinishedSpans();
}

const EXPORTERS: Record<string, (port: number) => SpanExporter> = {
  "HTTP with JSON": (port) => new JsonExporter({ url: `http://127.0.0.1:${port}/v1/traces` }),
  "HTTP with JSON and gzip": (port) =>
    new JsonExporter({ url: `http://127.0.0.1:${port}/v1/traces`, compression: CompressionAlgorithm.GZIP }),
  "HTTP with protobuf": (port) => new ProtobufExporter({ url: `http://127.0.0.1:${port}/v1/traces` }),
  "gRPC": (port) => new GrpcExporter({ url: `http://127.0.0.1:${port}` }),
  "gRPC with gzip": (port) =>
    new GrpcExporter({ url: `http://127.0.0.1:${port}`, compression: CompressionAlgorithm.GZIP }),
};

for (const [name, makeExporter] of Object.entries(EXPORTERS)) {
  test(`OpenTelemetry's exporter over ${name} delivers its spans as they are`, async () => {
    const sink = new RecordingSink();
    const receiver = new OtlpReceiver({ metrics: new Metrics(), log: new RecordingLogger() }, new StepQueue());
    const server = new HttpServer({
      handler: receiver,
      limits: OTLP_LIMITS,
      http2: OTLP_HTTP2,
      onError: (error) => {
        throw error;
      },
    });
    const { port } = await server.listen({ host: "127.0.0.1", port: 0 });
    receiver.begin(sink);
    const exporter = makeExporter(port);
    const spans = makeSpans();
    try {
      for (let i = 0; i < 2; i++) {
        const { code, error } = await new Promise<{ code: ExportResultCode; error?: Error }>((resolve) =>
          exporter.export(spans, resolve)
        );
        assert.equal(code, ExportResultCode.SUCCESS, String(error));
      }
    } finally {
      await exporter.shutdown();
      await server.close();
      receiver.close();
    }
    assert.equal(sink.spans.length, 4);
    const [linked, parent] = sink.spans;
    assert.equal(parent?.name, "parent");
    assert.equal(parent?.kind, 2);
    assert.deepEqual(parent?.attributes.map(({ key }) => key), ["text", "yes", "n"]);
    assert.deepEqual(parent?.attributes[0]?.value, { stringValue: "é🦀" });
    assert.deepEqual(parent?.attributes[2]?.value.arrayValue?.values.length, 2);
    assert.equal(parent?.events[0]?.name, "event");
    assert.deepEqual(linked?.status, { code: 2, message: "why" });
    assert.equal(linked?.links[0]?.spanId, parent?.spanId);
    assert.equal(linked?.traceId, spans[0]?.spanContext().traceId);
    assert.deepEqual([parent?.scope.name, parent?.scope.version], ["lib", "1.0"]);
    assert.deepEqual(parent?.resource.attributes.find(({ key }) => key === "service.name")?.value, {
      stringValue: "containerd",
    });
  });
}

test("the environment of the tests names no proxy or headers for the exporters", () => {
  assert.deepEqual(Object.keys(process.env).filter((name) => name.startsWith("OTEL_EXPORTER_")), []);
});
