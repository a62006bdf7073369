import assert from "node:assert/strict";
import { test } from "node:test";
import { convertLegacyHttpOptions, createOtlpHttpExportDelegate } from "@opentelemetry/otlp-exporter-base/node-http";
import { convertLegacyOtlpGrpcOptions, createOtlpGrpcExportDelegate } from "@opentelemetry/otlp-grpc-exporter-base";
import { createExporter } from "../../src/exporters/create-exporter.ts";
import { RecordingLogger } from "../support/recording-logger.ts";
import { withEnvironment } from "./support/environment.ts";
import { pattern, TAKEN } from "./support/exporting.ts";
import { GrpcReceiver } from "./support/grpc-receiver.ts";
import { HttpReceiver } from "./support/http-receiver.ts";

/** Environments in which OpenTelemetry's exporters and the forwarder's must send the same. */
const ENVIRONMENTS: readonly Readonly<Record<string, string>>[] = [
  {},
  { HEADERS: "authorization=Bearer%20x, A = 1 ,empty=,b=%25%2C%3D", TRACES_HEADERS: "a=2,c=" },
  { COMPRESSION: "gzip" },
  { COMPRESSION: "gzip", TRACES_COMPRESSION: "none" },
  { TIMEOUT: "5000" },
  { HEADERS: "content-type=text/plain,x=y" },
];

/** What a request is serialised to, which is what it is. */
const AS_IT_IS = {
  serializeRequest: (request: Uint8Array): Uint8Array => request,
  deserializeResponse: (): undefined => undefined,
};
const ITEMS = { name: "span", countItems: (): number => 0 } as const;

/** OpenTelemetry's exporter for a protocol, and how it ends. */
function theirs(protocol: "grpc" | "http/protobuf", url: string) {
  if (protocol === "grpc") {
    const options = convertLegacyOtlpGrpcOptions({ url }, "TRACES");
    const path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    return createOtlpGrpcExportDelegate<Uint8Array, undefined>(
      options,
      AS_IT_IS,
      "otlp_grpc_span_exporter",
      ITEMS,
      undefined,
      "TraceExportService",
      path,
    );
  }
  const headers = { "Content-Type": "application/x-protobuf" };
  const options = convertLegacyHttpOptions({ url }, "TRACES", "v1/traces", headers);
  return createOtlpHttpExportDelegate<Uint8Array, undefined>(
    options,
    AS_IT_IS,
    "otlp_http_span_exporter",
    ITEMS,
    undefined,
  );
}

/** Sends one request with each exporter. */
async function sendBoth(
  protocol: "grpc" | "http/protobuf",
  url: string,
  variables: Readonly<Record<string, string>>,
  request: Uint8Array,
): Promise<void> {
  await withEnvironment(variables, async () => {
    const delegate = theirs(protocol, url);
    await new Promise<void>((resolve, reject) => {
      delegate.export(request, ({ error }) => error === undefined ? resolve() : reject(error));
    });
    await delegate.shutdown();
    const ours = await createExporter({ protocol, url }, new RecordingLogger());
    assert.deepEqual(await ours.send([request]), TAKEN);
    ours.close();
  });
}

type Fields = Readonly<Record<string, unknown>>;

/** Without the fields in which the two may differ. */
function common(fields: Fields, ...except: readonly string[]): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => !except.includes(name)).sort());
}

for (const variables of ENVIRONMENTS) {
  const how = JSON.stringify(variables);

  test(`HTTP: the same headers and bytes as OpenTelemetry's exporter sends: ${how}`, async () => {
    const receiver = new HttpReceiver();
    await receiver.listen();
    try {
      const request = pattern(100_000);
      await sendBoth("http/protobuf", receiver.url, variables, request);
      const [other, own] = receiver.requests;
      assert.ok(other !== undefined && own !== undefined);
      assert.deepEqual([own.method, own.url], [other.method, other.url]);
      assert.deepEqual([own.body, other.body], [request, request]);
      // Theirs goes out in chunks, ours with its length, which is known.
      assert.deepEqual(
        common(own.headers, "user-agent", "content-length"),
        common(other.headers, "user-agent", "transfer-encoding", "content-length"),
      );
    } finally {
      await receiver.close();
    }
  });

  test(`gRPC: the same metadata and bytes as OpenTelemetry's exporter sends: ${how}`, async () => {
    const receiver = new GrpcReceiver();
    await receiver.start();
    try {
      const request = pattern(100_000);
      await sendBoth("grpc", receiver.url, variables, request);
      const [other, own] = receiver.calls;
      assert.ok(other !== undefined && own !== undefined);
      assert.deepEqual([own.body, other.body], [request, request]);
      const except = ["user-agent", "grpc-accept-encoding", "grpc-timeout"];
      assert.deepEqual(common(own.metadata, ...except), common(other.metadata, ...except));
    } finally {
      await receiver.stop();
    }
  });
}
