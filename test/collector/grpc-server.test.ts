import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { createExporter } from "../../src/exporters/create-exporter.ts";
import type { Exporter, ExportResult } from "../../src/pipeline/exporter.ts";
import { withEnvironment } from "../exporters/support/environment.ts";
import { errorOf, inParts, pattern, TAKEN } from "../exporters/support/exporting.ts";
import { RecordingLogger } from "../support/recording-logger.ts";
import { type Certificates, makeCertificates } from "./certificates.ts";
import { GrpcServer, type Receipt, receiptOf, sha256 } from "./grpc-server.ts";

/** Several windows of HTTP/2 (65,535 bytes), and no multiple of a frame. */
const MANY_WINDOWS = 700_001;

let root: string;
let certificates: Certificates;
let server: GrpcServer;
let mutual: GrpcServer;
let runs = 0;
const exporters: Exporter[] = [];

before(async () => {
  root = await mkdtemp(join(tmpdir(), "grpc-server-test-"));
  certificates = await makeCertificates(root);
  const binary = process.env["KTF_GRPC_SERVER"];
  assert.ok(binary, "KTF_GRPC_SERVER must be a path that test/collector/build prints");
  server = await GrpcServer.start(binary);
  const { ca, server: { certificate, key } } = certificates;
  mutual = await GrpcServer.start(binary, { certificate, key, clientCa: ca.certificate });
});

after(async () => {
  for (const exporter of exporters) exporter.close();
  await server.stop();
  await mutual.stop();
  await rm(root, { recursive: true });
});

interface Client {
  /** The server's address that is sent to, or another endpoint. */
  readonly to?: "grpc" | "aging" | "frames";
  readonly url?: string;
  readonly variables?: Readonly<Record<string, string>>;
  readonly concurrency?: number;
}

/** An exporter for one scenario. */
async function open(scenario: string, { to = "frames", url, variables = {}, concurrency = 4 }: Client = {}) {
  const headers = `x-scenario=${scenario},x-run=${++runs},${variables["HEADERS"] ?? ""}`;
  const exporter = await withEnvironment(
    { TIMEOUT: "10000", ...variables, HEADERS: headers },
    () =>
      createExporter({ protocol: "grpc", url: url ?? `http://${server.addresses[to]}` }, new RecordingLogger(), {
        concurrency,
      }),
  );
  exporters.push(exporter);
  return exporter;
}

async function assertTaken(result: ExportResult, message: Uint8Array): Promise<Receipt> {
  const receipt = receiptOf(result);
  assert.deepEqual([receipt.bytes, receipt.sha256], [message.length, await sha256(message)]);
  assert.equal((result as { released?: true }).released, true);
  return receipt;
}

/** Sends one request; it must arrive as it was sent. */
async function taken(scenario: string, client: Client = {}, length = MANY_WINDOWS): Promise<Receipt> {
  const message = pattern(length);
  return assertTaken(await (await open(scenario, client)).send(inParts(message)), message);
}

async function refused(
  scenario: string,
  kind: "retryable" | "rejected",
  client: Client = {},
  length = 1000,
): Promise<ExportResult & { message: string }> {
  const result = await (await open(scenario, client)).send(inParts(pattern(length)));
  return { ...result, message: errorOf(result, kind).message };
}

test("grpc-go takes requests of every size, with metadata and user agent", async () => {
  for (const length of [0, 1, 65_535, 65_536, 3_000_000]) {
    const { metadata } = await taken("", {
      to: "grpc",
      variables: { HEADERS: "authorization=Bearer%20x,x-bytes-bin=AAH%2F" },
    }, length);
    assert.equal(metadata["authorization"], "Bearer x");
    assert.equal(metadata["x-bytes-bin"], "\u0000\u0001\ufffd");
    assert.match(metadata["user-agent"] ?? "", /^kata-trace-forwarder\/\d.* OTel-OTLP-Exporter-JavaScript\//);
    assert.equal(metadata["content-type"], "application/grpc");
    assert.equal(metadata[":authority"], server.addresses.grpc);
  }
});

test("a server learns how long the answer is waited for", async () => {
  const { metadata } = await taken("", { variables: { TIMEOUT: "7000" } });
  assert.equal(metadata["grpc-timeout"], "7000m");
});

test("grpc-go takes gzip", async () => {
  const { metadata } = await taken("", { to: "grpc", variables: { COMPRESSION: "gzip" } });
  assert.equal(metadata["grpc-accept-encoding"], "identity,gzip");
});

test("a socket in the file system is a target, without TLS", async () => {
  const { metadata } = await taken("", { url: `unix://${server.addresses.unix}` });
  assert.equal(metadata[":authority"], "localhost");
});

test("TLS with an authority of one's own and a client certificate", async () => {
  const { ca, client } = certificates;
  const variables = {
    CERTIFICATE: ca.certificate,
    CLIENT_CERTIFICATE: client.certificate,
    CLIENT_KEY: client.key,
  };
  for (const host of ["localhost", "127.0.0.1"]) {
    for (const port of ["grpc", "frames"] as const) {
      const url = `https://${mutual.addresses[port].replace("127.0.0.1", host)}`;
      await taken("", { url, variables });
    }
  }
  const url = `https://${mutual.addresses.grpc}`;
  assert.match(
    (await refused("", "retryable", { url, variables: { CERTIFICATE: ca.certificate } })).message,
    /gRPC UNAVAILABLE/,
  );
  assert.match((await refused("", "retryable", { url })).message, /UNAVAILABLE: .*certificate/);
});

test("partial success, and statuses with their details", async () => {
  const partial = await (await open("partial", { to: "grpc" })).send(inParts(pattern(10)));
  assert.deepEqual(partial, { kind: "partial", rejectedSpans: 3, message: "three were bad" });
  for (const [scenario, name] of [["exhausted", "RESOURCE_EXHAUSTED"], ["unavailable", "UNAVAILABLE"]] as const) {
    const result = await refused(`${scenario}-with-retry-info`, "retryable", { to: "grpc" });
    assert.equal(result.message, `gRPC ${name}: wait, ä and %`);
    assert.equal((result as { retryAfterMs?: number }).retryAfterMs, 1500);
  }
  const limited = await refused("exhausted", "retryable", { to: "grpc" });
  assert.equal(limited.message, "gRPC RESOURCE_EXHAUSTED: RATE_LIMITED: over the limit of bytes");
  const invalid = await refused("invalid", "rejected", { to: "grpc" });
  assert.equal(invalid.message, "gRPC INVALID_ARGUMENT: a span is bad\\u{a}%ä");
  assert.equal((invalid as { splitHelps?: boolean }).splitHelps, true);
  const unknown = await refused("unauthenticated", "rejected", { to: "grpc" });
  assert.equal(unknown.message, "gRPC UNAUTHENTICATED: no token");
  assert.equal((unknown as { splitHelps?: boolean }).splitHelps, false);
});

test("a message larger than the server takes is refused, and splitting helps", async () => {
  const result = await refused("", "rejected", { to: "grpc" }, 5_000_000);
  assert.match(
    result.message,
    /^gRPC RESOURCE_EXHAUSTED: grpc: received message larger than max \(5000000 vs\. 4194304\)/,
  );
  assert.equal((result as { splitHelps?: boolean }).splitHelps, true);
});

test("a server that does not answer learns of the deadline", async () => {
  const result = await refused("silent", "retryable", { to: "grpc", variables: { TIMEOUT: "300" } });
  // Whoever notices first: the client, the handler, or grpc-go, which resets the stream.
  assert.match(result.message, /^(timed out: no answer within 300 ms|gRPC DEADLINE_EXCEEDED.*|gRPC .*CANCEL.*)$/);
});

test("big metadata in the answer, and an answer that is compressed", async () => {
  assert.equal((await taken("big-metadata", { to: "grpc" })).requests, 1);
  assert.equal((await taken("compressed", { to: "grpc" })).requests, 1);
});

test("a server that ages its connections costs no request", async () => {
  const exporter = await open("", { to: "aging" });
  const message = pattern(1000);
  let last: Receipt | undefined;
  const begun = Date.now();
  while (Date.now() - begun < 2500) last = await assertTaken(await exporter.send(inParts(message)), message);
  assert.ok(last !== undefined && last.connections > 2, JSON.stringify(last));
});

test("requests under way when a server ages its connections are answered", async () => {
  const exporter = await open("slow", { to: "aging" });
  for (let i = 0; i < 3; i++) {
    const receipt = await assertTaken(await exporter.send(inParts(pattern(100 + i))), pattern(100 + i));
    assert.equal(receipt.requests, i + 1);
  }
});

for (
  const scenario of [
    "tiny-window",
    "shrinking-window",
    "slow-read",
    "large-frames",
    "no-header-table",
    "goaway-then-answer",
    "content-type-proto",
    "interim",
    "pings",
    "unknown-frames",
    "split-everything",
  ]
) {
  test(`${scenario}: requests arrive as they were sent`, async () => {
    const exporter = await open(scenario);
    for (const length of [0, 1, MANY_WINDOWS, 70_000]) {
      // By the byte, a large one would take its time.
      const message = pattern(scenario === "slow-read" ? Math.min(length, 200_000) : length);
      await assertTaken(await exporter.send(inParts(message)), message);
    }
  });
}

for (const scenario of ["refused-stream", "goaway-untouched", "goaway-untouched-calm", "disconnect-on-reuse"]) {
  test(`${scenario}: what the server has not looked at is sent again at once`, async () => {
    const exporter = await open(scenario);
    const [first, second] = [pattern(2000), pattern(MANY_WINDOWS)];
    if (scenario === "disconnect-on-reuse") await assertTaken(await exporter.send(inParts(first)), first);
    const receipt = await assertTaken(await exporter.send(inParts(second)), second);
    assert.equal(receipt.requests, scenario === "disconnect-on-reuse" ? 3 : 2);
  });
}

test("a connection that the server has left is not used again", async () => {
  const exporter = await open("goaway-after-answer");
  for (let i = 1; i <= 3; i++) {
    const receipt = await assertTaken(await exporter.send(inParts(pattern(i))), pattern(i));
    assert.deepEqual([receipt.requests, receipt.connections], [i, i]);
  }
});

/** What leaves open whether the request was taken, or will pass: how it is told. */
const BROKEN: readonly (readonly [string, RegExp])[] = [
  ["always-refused", /^gRPC UNAVAILABLE: the stream was reset \(REFUSED_STREAM\)$/],
  ["reset-cancel", /^gRPC UNAVAILABLE: the stream was reset \(CANCEL\)$/],
  ["reset-internal", /^gRPC UNAVAILABLE: the stream was reset \(INTERNAL_ERROR\)$/],
  ["enhance-your-calm", /^gRPC UNAVAILABLE: the stream was reset \(ENHANCE_YOUR_CALM\)$/],
  ["reset-after-headers", /^gRPC UNAVAILABLE: the stream was reset \(INTERNAL_ERROR\)$/],
  ["disconnect", /^gRPC UNAVAILABLE: /],
  ["disconnect-in-answer", /^gRPC UNAVAILABLE: /],
  ["goaway-error-in-request", /^gRPC UNAVAILABLE: /],
  ["no-status", /^gRPC UNAVAILABLE: the answer broke off before its status$/],
  ["web-page", /^HTTP 200 with a web page \(text\/html\), so this is not an OTLP receiver: <title>Sign in/],
  ["json", /^HTTP 200 with an answer that is not gRPC's \(application\/json\)/],
  ["bad-gateway", /^gRPC UNAVAILABLE: not answered by a gRPC server: HTTP 502: <h1>502/],
  ["proxy-error", /^gRPC UNAVAILABLE: not answered by a gRPC server: HTTP 500: <h1>500/],
  ["interim-flood", /^gRPC UNAVAILABLE: interim answers \(1xx\) without end, and no answer$/],
  ["overrun-window", /^gRPC UNAVAILABLE: /],
  ["not-http2", /^gRPC UNAVAILABLE: /],
];
for (const [scenario, message] of BROKEN) {
  test(`${scenario} is retryable, and the next request has a new connection`, async () => {
    const result = await refused(scenario, "retryable");
    assert.match(result.message, message);
    if (scenario === "bad-gateway") assert.equal((result as { retryAfterMs?: number }).retryAfterMs, 7000);
  });
}

/** What a status says, wherever it is. */
const REFUSED: readonly (readonly [string, RegExp, boolean])[] = [
  ["trailers-only", /^gRPC INVALID_ARGUMENT: in the headers$/, true],
  ["status-in-headers", /^gRPC INVALID_ARGUMENT: early$/, true],
  ["strange-status", /^gRPC UNKNOWN: %zz$/, true],
  ["answer-then-reset", /^gRPC RESOURCE_EXHAUSTED: received message larger than max \(5000000 vs\. 4194304\)$/, true],
  ["early-refusal", /^gRPC UNAUTHENTICATED: no token$/, false],
  ["not-found", /^gRPC UNIMPLEMENTED: not answered by a gRPC server: HTTP 404: no such path$/, false],
  ["too-large-proxy", /^gRPC UNKNOWN: not answered by a gRPC server: HTTP 413: <h1>413/, true],
];
for (const [scenario, message, splitHelps] of REFUSED) {
  test(`${scenario} is a refusal`, async () => {
    const exporter = await open(scenario);
    for (let i = 0; i < 3; i++) {
      const result = await exporter.send(inParts(pattern(MANY_WINDOWS)));
      assert.match(errorOf(result, "rejected").message, message);
      assert.equal((result as { splitHelps?: boolean }).splitHelps, splitHelps);
    }
  });
}

test("an answer without a word is success", async () => {
  assert.deepEqual(await (await open("trailers-only-ok")).send(inParts(pattern(MANY_WINDOWS))), TAKEN);
});

test("requests at once go over connections of their own, and are used again", async () => {
  const exporter = await open("", { to: "grpc" });
  for (let round = 1; round <= 3; round++) {
    const messages = [1, 2, 3, 4].map((size) => pattern(size * 50_000));
    const results = await Promise.all(messages.map((message) => exporter.send(inParts(message))));
    for (const [i, result] of results.entries()) await assertTaken(result, messages[i] as Uint8Array);
    assert.equal(Math.max(...results.map((result) => receiptOf(result).connections)), 4);
  }
});
