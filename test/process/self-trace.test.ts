import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { setTimeout as sleep } from "node:timers/promises";
import { GrpcReceiver } from "../exporters/support/grpc-receiver.ts";
import { accept, HttpReceiver } from "../exporters/support/http-receiver.ts";
import { type OwnSpan, ownSpans } from "../telemetry/support/own-spans.ts";
import type { CollectorStub } from "../support/collector-stub.ts";
import { Forwarder, startForwarder } from "./support/forwarder.ts";
import { Pipeline } from "./support/pipeline.ts";
import { type RunOptions, runToEnd } from "./support/process.ts";
import { until } from "../support/until.ts";
import { guestLife, Sandbox } from "./support/sandbox.ts";
import { assertReceived, ENCODINGS, plainFrames, spanSet, spansOf, taken } from "./support/spans.ts";
import { test } from "./support/test.ts";

const CALLER = {
  traceId: "0af7651916cd43dd8448eb211c80319c",
  spanId: "b7ad6b7169203331",
};
const TRACEPARENT = `00-${CALLER.traceId}-${CALLER.spanId}-01`;
const STEPS = ["probe", "listen to the host", "listen", "drop privileges"];
/** Far longer than own spans wait for others, so that spans about spans would show. */
const CHAIN_MS = 3_500;

/** A request over either protocol. */
interface Request {
  readonly body: Uint8Array;
  readonly traceparent: unknown;
}

/** A collector that keeps whole requests. */
interface Collector extends AsyncDisposable {
  readonly url: string;
  readonly requests: readonly Request[];
}

async function httpCollector(receiver: HttpReceiver = new HttpReceiver()): Promise<Collector> {
  await receiver.listen();
  return {
    url: receiver.url,
    get requests() {
      return receiver.requests.map(({ body, headers }) => ({
        body,
        traceparent: headers["traceparent"],
      }));
    },
    [Symbol.asyncDispose]: () => receiver.close(),
  };
}

async function grpcCollector(): Promise<Collector> {
  const receiver = new GrpcReceiver();
  await receiver.start();
  return {
    url: receiver.url,
    get requests() {
      return receiver.calls.map(({ body, metadata }) => ({
        body,
        traceparent: metadata["traceparent"],
      }));
    },
    [Symbol.asyncDispose]: () => receiver.stop(),
  };
}

/** All requests except the probe's empty one, with their spans, which are the forwarder's own or guests'. */
function requestsOf(
  { requests }: Collector,
  own: boolean,
): { readonly traceparent: unknown; readonly spans: readonly OwnSpan[]; readonly bytes: number }[] {
  return requests.filter(({ body }) => body.length > 0)
    .map(({ body, traceparent }) => ({ traceparent, spans: ownSpans(body), bytes: body.length }))
    .filter(({ spans }) => own === (spans[0]?.resource["service.name"] === "kata-trace-forwarder"));
}

function spansIn(collector: Collector, own: boolean): OwnSpan[] {
  return requestsOf(collector, own).flatMap(({ spans }) => spans);
}

function named(spans: readonly OwnSpan[], name: string): OwnSpan[] {
  return spans.filter((span) => span.name === name);
}

/** Runs a forwarder with own spans for one guest, and stops it. */
async function run(
  collector: Collector,
  protocol: string,
  stream: Uint8Array,
  options: RunOptions = {},
): Promise<{ readonly sandbox: string; readonly forwarder: Forwarder }> {
  using sandbox = new Sandbox();
  await using forwarder = await startForwarder([
    "--trace-self",
    ...["--socket-path", sandbox.socketPath],
    ...["--otlp-endpoint", collector.url, "--otlp-protocol", protocol],
  ], options);
  await guestLife(sandbox.address, stream);
  assert.deepEqual(await forwarder.stop(), { code: 0, signal: null });
  return { sandbox: sandbox.id, forwarder };
}

for (
  const [protocol, start] of [["http/protobuf", httpCollector], ["grpc", grpcCollector]] as const
) {
  test(`there are own spans over ${protocol} for the start, a guest's connection and its spans' export`, async () => {
    await using collector = await start();
    const { stream, expected } = spanSet("session-isolated", "bincode");
    const { sandbox } = await run(collector, protocol, stream);

    const own = spansIn(collector, true);
    for (const { resource, scope } of own) {
      assert.equal(resource["service.name"], "kata-trace-forwarder");
      assert.equal(scope, "kata-trace-forwarder");
      assert.equal(resource["kata.sandbox.id"], undefined);
    }
    const [root, ...others] = named(own, "start");
    assert.ok(root !== undefined && others.length === 0);
    assert.equal(root.parentSpanId, "");
    for (const name of STEPS) {
      const steps = named(own, name);
      assert.deepEqual(
        steps.map(({ traceId, parentSpanId }) => [traceId, parentSpanId]),
        [[root.traceId, root.spanId]],
        name,
      );
      const [step] = steps as [OwnSpan];
      assert.ok(step.start >= root.start && step.end <= root.end + 1_000_000n, name);
    }

    const connections = named(own, "guest connection");
    assert.deepEqual(connections.map(({ attributes }) => attributes), [{
      "kata.sandbox.id": sandbox,
      "kata.peer": sandbox,
      "kata.spans": String(expected.length),
      "kata.bytes": String(stream.length),
      "kata.invalid": "0",
    }]);
    assert.deepEqual([connections[0]?.parentSpanId, connections[0]?.status], ["", 0]);

    // Each request with guests' spans has the context of its own export's span.
    const exports = new Map(
      named(own, "export").map((span) => [`00-${span.traceId}-${span.spanId}-01`, span]),
    );
    const forwarded = requestsOf(collector, false);
    assert.equal(exports.size, forwarded.length);
    for (const { traceparent, spans, bytes } of forwarded) {
      const span = exports.get(String(traceparent));
      assert.ok(span !== undefined, `no export has ${traceparent}`);
      assert.deepEqual([span.parentSpanId, span.kind, span.status], ["", 3, 0]);
      assert.deepEqual(span.attributes, {
        "kata.spans": String(spans.length),
        "kata.bytes": String(bytes),
        "kata.outcome": "delivered",
        "kata.tries": "1",
        "kata.spans_refused": "0",
      });
      const [first] = spans as [OwnSpan];
      assert.deepEqual(span.links, [
        { traceId: first.traceId, spanId: first.spanId, flags: 0x301 },
      ]);
      assert.equal(first.traceId, expected[0]?.traceId);
    }
    assert.equal(own.length, 1 + STEPS.length + 1 + exports.size);
    for (const { traceparent } of requestsOf(collector, true)) assert.equal(traceparent, undefined);

    const ids = spansIn(collector, false).map(({ spanId }) => spanId).sort();
    assert.deepEqual(ids, expected.map(({ spanId }) => spanId).sort());
  });
}

test("sending own spans makes no more own spans", async () => {
  await using collector = await httpCollector();
  using sandbox = new Sandbox();
  await using _forwarder = await startForwarder([
    "--trace-self",
    ...["--socket-path", sandbox.socketPath, "--otlp-endpoint", collector.url],
  ]);
  const count = 1 + STEPS.length;
  await until(() => spansIn(collector, true).length === count, "the start's spans arrive");
  const before = collector.requests.length;
  await sleep(CHAIN_MS);
  assert.equal(collector.requests.length, before);
  assert.equal(spansIn(collector, true).length, count);
});

test("a trace context in the environment makes own spans part of the caller's trace", async () => {
  for (const variable of ["TRACEPARENT", "TRACECONTEXT"]) {
    await using collector = await httpCollector();
    const env = { [variable]: TRACEPARENT };
    await run(collector, "http/protobuf", plainFrames(1, 3), { env });
    const own = spansIn(collector, true);
    const [root] = named(own, "start");
    for (const { name, traceId, parentSpanId } of own) {
      assert.equal(traceId, CALLER.traceId, name);
      const parent = STEPS.includes(name) ? root?.spanId : CALLER.spanId;
      assert.equal(parentSpanId, parent, name);
    }
    assert.equal(own.length, 1 + STEPS.length + 2);
    for (const { traceparent } of requestsOf(collector, false)) {
      assert.match(String(traceparent), new RegExp(`^00-${CALLER.traceId}-[0-9a-f]{16}-01$`));
    }
  }
});

test("with an invalid trace context own spans begin a new trace, and the log says so", async () => {
  await using collector = await httpCollector();
  const env = { TRACEPARENT: TRACEPARENT.toUpperCase() };
  const { forwarder } = await run(collector, "http/protobuf", plainFrames(1, 1), { env });
  assert.deepEqual(named(spansIn(collector, true), "start").map((span) => span.parentSpanId), [""]);
  const [record] = forwarder.recordsOf("own spans begin a trace of their own");
  assert.match(String(record?.["reason"]), /^TRACEPARENT: invalid trace context "00-0AF/);
});

test("the SDK's variables OTEL_SDK_DISABLED and OTEL_TRACES_SAMPLER have an effect", async () => {
  for (
    const [env, traceparent] of [
      [{ OTEL_SDK_DISABLED: "True", TRACEPARENT }, /^undefined$/],
      // Requests have a context, but it is not recorded.
      [{ OTEL_TRACES_SAMPLER: "always_off" }, /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/],
    ] as const
  ) {
    await using collector = await httpCollector();
    await run(collector, "http/protobuf", plainFrames(1, 3), { env });
    assert.deepEqual(spansIn(collector, true), []);
    assert.equal(spansIn(collector, false).length, 3);
    for (const request of requestsOf(collector, false)) {
      assert.match(String(request.traceparent), traceparent);
    }
  }
});

test("without the option there are no own spans, and requests carry no trace context", async () => {
  await using pipeline = await Pipeline.start([], { env: { TRACEPARENT } });
  const { sandbox, stub, forwarder } = pipeline;
  await guestLife(sandbox.address, plainFrames(1, 3));
  await taken(stub, 3);
  assert.deepEqual(await forwarder.stop(), { code: 0, signal: null });
  assert.equal(spansOf(stub).length, 3);
  for (const { headers } of stub.requests) assert.equal(headers["traceparent"], undefined);
});

test("guests' spans are forwarded even if the collector does not accept own spans", async () => {
  const receiver = new HttpReceiver();
  receiver.answer = (response, request) => {
    const isOwn = Buffer.from(request.body).includes("process.pid");
    if (isOwn) response.writeHead(400).end("no");
    else accept(response, request);
  };
  await using collector = await httpCollector(receiver);
  const { forwarder } = await run(collector, "http/protobuf", plainFrames(1, 100));
  assert.equal(spansIn(collector, false).length, 100);
  const [record, ...more] = forwarder.recordsOf(
    "own spans are lost: the collector does not take them",
  );
  assert.equal(more.length, 0);
  assert.match(String(record?.["error"]), /^HTTP 400/);
});

test("a failed start is reported to the collector, unless the collector itself failed", async () => {
  await using collector = await httpCollector();
  using sandbox = new Sandbox();
  const args = [
    "--trace-self",
    ...["--socket-path", `${sandbox.directory}/nowhere/clh.sock`],
    ...["--otlp-endpoint", collector.url],
  ];
  const { code, stderr } = await runToEnd(args);
  assert.equal(code, 1);
  assert.match(stderr, /^kata-trace-forwarder: cannot listen .*\n$/);
  const own = spansIn(collector, true);
  assert.deepEqual(own.map(({ name, status }) => [name, status]), [
    ["probe", 0],
    ["listen to the host", 0],
    ["listen", 2],
    ["start", 2],
  ]);
  assert.match(named(own, "listen")[0]?.statusMessage ?? "", /^cannot listen at .*nowhere/);

  await collector[Symbol.asyncDispose]();
  const away = await runToEnd(args);
  assert.equal(away.code, 1);
  assert.match(away.stderr, /^kata-trace-forwarder: no collector at .*\n$/);
});

/** A set's spans as they must arrive: root spans have a link to the caller behind their other links. */
function linked({ expected }: ReturnType<typeof spanSet>): typeof expected {
  const link = {
    ...CALLER,
    traceFlags: 1,
    isRemote: true,
    traceState: "",
    attributes: [],
    droppedAttributesCount: 0,
  };
  return expected.map((span) => span.parentSpanId === "" ? { ...span, links: [...span.links, link] } : span);
}

for (const encoding of ENCODINGS) {
  test(`root spans get a link to the caller, and nothing else changes: ${encoding}`, async () => {
    for (const name of ["session-isolated", "random"] as const) {
      await using pipeline = await Pipeline.start(["--link-traceparent"], { env: { TRACEPARENT } });
      const { sandbox, stub, host } = pipeline;
      const set = spanSet(name, encoding);
      await guestLife(sandbox.address, set.stream);
      await taken(stub, set.expected.length);
      assertReceived(spansOf(stub), linked(set), host, "lenient");
      assertTraceparents(stub);
    }
  });
}

/** Without --trace-self no request has a context, whatever is in the environment. */
function assertTraceparents({ requests }: CollectorStub): void {
  for (const { headers } of requests) assert.equal(headers["traceparent"], undefined);
}

test("a link to the caller is in the dump too", async () => {
  using sandbox = new Sandbox();
  await using forwarder = await startForwarder(
    ["--dump-only", "--link-traceparent", "--socket-path", sandbox.socketPath],
    { env: { TRACECONTEXT: TRACEPARENT } },
  );
  await guestLife(sandbox.address, plainFrames(1, 1));
  assert.deepEqual(await forwarder.stop(), { code: 0, signal: null });
  const [line = ""] = forwarder.stdout.split("\n");
  assert.match(
    line,
    new RegExp(`"links":\\[\\{"traceId":"${CALLER.traceId}","spanId":"${CALLER.spanId}"`),
  );
});

test("a link to a missing or invalid context is an error before anything is opened", async () => {
  using sandbox = new Sandbox();
  const args = ["--link-traceparent", "--socket-path", sandbox.socketPath];
  for (
    const [env, reason] of [
      [{}, /^kata-trace-forwarder: TRACEPARENT: neither it nor TRACECONTEXT is set.*\n$/],
      [{ TRACEPARENT: "x" }, /^kata-trace-forwarder: TRACEPARENT: invalid trace context "x": .*\n$/],
      [
        { TRACECONTEXT: "x" },
        /^kata-trace-forwarder: TRACECONTEXT: invalid trace context "x": .*\n$/,
      ],
    ] as const
  ) {
    const { code, stdout, stderr } = await runToEnd(args, { env });
    assert.deepEqual([code, stdout], [1, ""]);
    assert.match(stderr, reason);
  }
});
