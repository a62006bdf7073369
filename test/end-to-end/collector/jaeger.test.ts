import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, test } from "node:test";
import { type Jaeger, startJaeger } from "../../collector/jaeger.ts";
import { type HostWord, runAgent, type SentSpan, SESSION_SPANS } from "../support/agent.ts";
import { Forwarder } from "../support/forwarder.ts";
import { PATIENCE, program, Workshop } from "../support/programs.ts";
import { outline, type Sent, sentTree, shownTree } from "../support/trace-tree.ts";

const workshop = new Workshop();
after(() => workshop.close());

/** What an agent's session must look like: the RPCs and what each calls. */
const RPCS = `
create_sandbox
  setup_shared_namespaces
  add_storages
    mount_storage
      baremount
update_interface
  link_update
  enable_link
update_routes
  route_add
online_cpu_mem
  online_cpus
  online_memory
get_guest_details
create_container
  do_create_container
    add_devices
    add_storages
    setup_bundle
    start
start_container
  do_start_container
    exec
wait_process
  do_wait_process
read_stdout
stats_container
  get_stats
signal_process
  do_signal_process
remove_container
  do_remove_container
    destroy
destroy_sandbox
  destroy`.trim().split("\n");

/** The lines of {@link RPCS} at a depth, as {@link outline} writes them. */
function rpcs(depth: number, service: string): string[] {
  return RPCS.map((line) => line.replace(/^( *)/, `${"  ".repeat(depth)}$1${service}: `));
}

let started: Promise<Jaeger> | undefined;

/** One for all tests: their traces do not meet. */
async function jaeger(): Promise<Jaeger> {
  started ??= workshop.folder().then(async (directory) =>
    workshop.add(await startJaeger({ binary: program("KTF_JAEGER"), directory }))
  );
  return await started;
}

async function forwarderOf(sandbox: string, protocol: "grpc" | "http/protobuf"): Promise<{
  forwarder: Forwarder;
  directory: string;
}> {
  const { grpcPort, httpPort } = await jaeger();
  const port = protocol === "grpc" ? grpcPort : httpPort;
  const directory = await workshop.folder();
  const endpoint = ["--otlp-protocol", protocol, "--otlp-endpoint", `http://127.0.0.1:${port}`];
  const forwarder = await Forwarder.start({ directory, sandbox, arguments: endpoint });
  return { forwarder: workshop.add(forwarder), directory };
}

const agentOf = (sandbox: string): HostWord => ({
  "service.name": "kata-agent",
  "kata.sandbox.id": sandbox,
  "kata.component": "agent",
});

/** That Jaeger shows these spans of one trace as the tree that they are; returns its outline. */
async function assertShown(...sent: readonly Sent[]): Promise<string[]> {
  const spans = sent.flatMap(({ spans }) => spans);
  const traceIds = new Set(spans.map(({ traceId }) => traceId));
  assert.equal(traceIds.size, 1);
  const trace = await (await jaeger()).waitForTrace(
    [...traceIds].join(),
    spans.length,
    PATIENCE.timeout,
  );
  const shown = shownTree(trace);
  assert.deepEqual(shown, sentTree(...sent));
  return outline(shown);
}

/**
 * That Jaeger shows an isolated agent's spans as its traces: one for each RPC, and one for its root span. `spans` are
 * all that the agent sent.
 */
async function assertIsolated(sent: Sent): Promise<void> {
  const traces = [...Map.groupBy(sent.spans, ({ traceId }) => traceId).values()];
  const startOf = (spans: readonly SentSpan[]) =>
    spans.reduce((least, { startTimeUnixNano }) => startTimeUnixNano < least ? startTimeUnixNano : least, 1n << 64n);
  traces.sort((a, b) => startOf(a) < startOf(b) ? -1 : 1);
  const shown: string[] = [];
  for (const spans of traces) shown.push(...await assertShown({ ...sent, spans }));
  assert.deepEqual(shown, ["kata-agent: root-span", ...rpcs(0, "kata-agent")]);
}

for (const connections of ["static", "dynamic"] as const) {
  for (const encoding of ["bincode", "json"] as const) {
    const how = `${connections} connections, ${encoding}`;
    test(
      `an isolated agent has a trace for each RPC, and one for its root span: ${how}`,
      PATIENCE,
      async () => {
        const protocol = encoding === "bincode" ? "grpc" : "http/protobuf";
        const { forwarder, directory } = await forwarderOf("4f2a", protocol);
        const settings = { encoding, connections, pace: 2, resource: { "os.type": "linux" } };
        const spans = await runAgent(forwarder.socket, directory, settings);
        assert.equal(await forwarder.stop(), "exited with 0");

        assert.equal(spans.length, SESSION_SPANS);
        await assertIsolated({ spans, host: agentOf("4f2a") });

        const root = spans.find(({ name }) => name === "root-span");
        const { spans: [any], processes } = await (await jaeger()).waitForTrace(root?.traceId ?? "", 1);
        assert.deepEqual(processes[any?.processID ?? ""], {
          serviceName: "kata-agent",
          tags: [
            { key: "kata.component", type: "string", value: "agent" },
            { key: "kata.sandbox.id", type: "string", value: "4f2a" },
            { key: "os.type", type: "string", value: "linux" },
          ],
        });
        const failed = spans.filter(({ status }) => status.code !== 0).map(({ name }) => name);
        assert.deepEqual(failed, ["route_add"]);
      },
    );
  }
}

test("two sandboxes at once have traces of their own, each of its own sandbox", PATIENCE, async () => {
  const sandboxes = [["aa01", "grpc"], ["bb02", "http/protobuf"]] as const;
  const sent = await Promise.all(sandboxes.map(async ([sandbox, protocol]) => {
    const { forwarder, directory } = await forwarderOf(sandbox, protocol);
    const settings = { sandboxId: sandbox, pace: 5 };
    const spans = await runAgent(forwarder.socket, directory, settings);
    assert.equal(await forwarder.stop(), "exited with 0");
    return { spans, host: agentOf(sandbox) };
  }));
  const traces = sent.flatMap(({ spans }) => [...new Set(spans.map(({ traceId }) => traceId))]);
  assert.equal(new Set(traces).size, traces.length);
  for (const sandbox of sent) await assertIsolated(sandbox);
});

const RUNTIME: HostWord = { "service.name": "kata" };

/** A span of the runtime, over the time of the spans that it calls for. */
function runtimeSpan(
  name: string,
  traceId: string,
  spanId: string,
  parentSpanId: string,
  start: bigint,
  end: bigint,
): SentSpan {
  return {
    ...{ name, traceId, spanId, parentSpanId, traceState: "", flags: 1, kind: 3 },
    ...{ startTimeUnixNano: start, endTimeUnixNano: end, status: { code: 0, message: "" } },
    ...{ attributes: {}, events: [], links: [], resource: {} },
    ...{ droppedAttributesCount: 0, droppedEventsCount: 0, droppedLinksCount: 0 },
  };
}

/** Sends the runtime's spans to Jaeger itself, as the runtime does. */
async function sendRuntime(spans: readonly SentSpan[]): Promise<void> {
  const value = (text: unknown) => ({ stringValue: text });
  const resource = {
    attributes: Object.entries(RUNTIME).map(([key, text]) => ({ key, value: value(text) })),
  };
  const plain = spans.map(({ startTimeUnixNano, endTimeUnixNano, resource: _, ...span }) => ({
    ...span,
    attributes: [],
    startTimeUnixNano: String(startTimeUnixNano),
    endTimeUnixNano: String(endTimeUnixNano),
  }));
  const response = await fetch(`http://127.0.0.1:${(await jaeger()).httpPort}/v1/traces`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ resourceSpans: [{ resource, scopeSpans: [{ spans: plain }] }] }),
  });
  assert.equal(response.status, 200, await response.text());
}

const id = (bytes: number) => randomBytes(bytes).toString("hex");

test(
  "a collated agent's spans hang below the runtime's span that was there first",
  PATIENCE,
  async () => {
    const [traceId, root, call] = [id(16), id(8), id(8)];
    const start = BigInt(Date.now()) * 1_000_000n;
    const end = start + 60_000_000_000n;
    const runtime = [
      runtimeSpan("rootSpan", traceId, root, "", start, end),
      runtimeSpan("startVM", traceId, call, root, start + 1_000_000n, end),
    ];
    await sendRuntime(runtime);

    const { forwarder, directory } = await forwarderOf("c01a", "grpc");
    const traceparent = `00-${traceId}-${call}-01`;
    const sent = await Promise.all(
      (["bincode", "json"] as const).map((encoding) =>
        runAgent(forwarder.socket, directory, { encoding, mode: "collated", traceparent })
      ),
    );
    assert.equal(await forwarder.stop(), "exited with 0");

    // A collated agent's root span covers its life, and is a trace by itself.
    const [rootSpans, spans] = [true, false].map((isRoot) =>
      sent.flat().filter(({ name }) => (name === "root-span") === isRoot)
    ) as [SentSpan[], SentSpan[]];
    assert.equal(rootSpans.length, 2);
    for (const span of rootSpans) {
      const shown = await assertShown({ spans: [span], host: agentOf("c01a") });
      assert.deepEqual(shown, ["kata-agent: root-span"]);
    }
    const shown = await assertShown(
      { spans: runtime, host: RUNTIME },
      { spans, host: agentOf("c01a") },
    );
    assert.deepEqual(shown.slice(0, 2), ["kata: rootSpan", "  kata: startVM"]);
    assert.deepEqual(
      shown.slice(2).sort(),
      [...rpcs(2, "kata-agent"), ...rpcs(2, "kata-agent")].sort(),
    );
  },
);

test("a collated agent's spans find the runtime's that come later", PATIENCE, async () => {
  const { forwarder, directory } = await forwarderOf("c01b", "http/protobuf");
  const all = await runAgent(forwarder.socket, directory, { mode: "collated" });
  assert.equal(await forwarder.stop(), "exited with 0");

  const spans = all.filter(({ name }) => name !== "root-span");
  const ids = new Set(spans.map(({ spanId }) => spanId));
  const top = spans.filter(({ parentSpanId }) => !ids.has(parentSpanId));
  const [first] = top;
  assert.ok(first);
  const root = id(8);
  // Each RPC has a span of the runtime's as its parent.
  const runtime = top.map(({ traceId, parentSpanId, name, startTimeUnixNano, endTimeUnixNano }) =>
    runtimeSpan(`call ${name}`, traceId, parentSpanId, root, startTimeUnixNano, endTimeUnixNano)
  );
  const ends = top.map(({ endTimeUnixNano }) => endTimeUnixNano);
  const end = ends.reduce((latest, each) => each > latest ? each : latest);
  runtime.push(runtimeSpan("rootSpan", first.traceId, root, "", first.startTimeUnixNano, end));
  await sendRuntime(runtime);

  const shown = await assertShown(
    { spans: runtime, host: RUNTIME },
    { spans, host: agentOf("c01b") },
  );
  const expected = rpcs(2, "kata-agent").flatMap((line) => {
    const rpc = /^ {4}kata-agent: (.*)$/.exec(line)?.[1];
    return rpc === undefined ? [line] : [`  kata: call ${rpc}`, line];
  });
  assert.deepEqual(shown, ["kata: rootSpan", ...expected]);
});
