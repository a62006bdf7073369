import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { eventually } from "../../collector/daemon.ts";
import { type Jaeger, type JaegerTrace, startJaeger } from "../../collector/jaeger.ts";
import { concatenate, frame, splitFrames } from "../../decode/support/fixtures.ts";
import { jaegerBodies, jaegerFile } from "../../decode/support/jaeger-fixtures.ts";
import { REAL_STREAMS, streamBytes } from "../../decode/support/recorded-streams.ts";
import { expectedIds } from "../../processors/join-traces/support.ts";
import { HttpClient } from "../../receivers/support/http-post.ts";
import { Forwarder } from "../support/forwarder.ts";
import { PATIENCE, program, Workshop } from "../support/programs.ts";
import { outline, shownTree, type TreeSpan } from "../support/trace-tree.ts";

// Whole sandboxes as one trace in a real Jaeger, with --join-traces and a restart of the forwarder in the middle.

const workshop = new Workshop();
after(() => workshop.close());

let started: Promise<Jaeger> | undefined;
const jaeger = (): Promise<Jaeger> =>
  started ??= workshop.folder().then(async (directory) =>
    workshop.add(await startJaeger({ binary: program("KTF_JAEGER"), directory }))
  );

/** What a sandbox's two sides send. */
interface Session {
  readonly sandbox: string;
  readonly agent: readonly Uint8Array[];
  /** Bodies that the runtime posts; absent: it does not trace. */
  readonly runtime?: readonly Uint8Array[];
}

/** Waits until a forwarder has logged so many records with a message. */
async function waitForRecords(forwarder: Forwarder, message: string, count: number): Promise<void> {
  const isThere = () => forwarder.records().filter(({ msg }) => msg === message).length >= count || undefined;
  assert.equal(await eventually(PATIENCE.timeout, () => Promise.resolve(isThere())), true, message);
}

/**
 * Sends everything of a session to a forwarder; resolves when it has been read. One connection of the guest stays, so
 * that the sandbox has not ended; what ends it is returned.
 */
async function serve(forwarder: Forwarder, { agent, runtime = [] }: Session): Promise<() => Promise<void>> {
  const count = (message: string): number => forwarder.records().filter(({ msg }) => msg === message).length;
  const [connected, gone] = [count("guest connected"), count("guest gone")];
  // The runtime's service is known by its guest.
  const leave = forwarder.connect();
  await waitForRecords(forwarder, "guest connected", connected + 1);
  if (runtime.length > 0) {
    const client = new HttpClient(forwarder.portOf("--jaeger-listen"));
    for (const body of runtime) {
      const answer = await client.post("/api/traces", body, { "content-type": "application/x-thrift" });
      assert.equal(answer.status, 202);
    }
    client.close();
  }
  await forwarder.write(concatenate(agent.map(frame)));
  await waitForRecords(forwarder, "guest gone", gone + 1);
  return async () => {
    leave();
    await waitForRecords(forwarder, "guest gone", gone + 2);
  };
}

/**
 * The sandbox's root in Jaeger, and its only one, after the forwarder was killed or stopped in the middle of the
 * session.
 */
async function shown(session: Session, how: "stopped" | "killed", spans: number): Promise<TreeSpan> {
  const { sandbox, agent, runtime = [] } = session;
  const { grpcPort, waitForTrace } = await jaeger();
  const directory = await workshop.folder();
  const start = async (): Promise<Forwarder> =>
    workshop.add(
      await Forwarder.start({
        directory,
        sandbox,
        arguments: [
          ...["--otlp-protocol", "grpc", "--otlp-endpoint", `http://127.0.0.1:${grpcPort}`, "--jaeger-listen", "0"],
          ...["--join-traces", "--spool-dir", `${directory}/spool`],
        ],
      }),
    );
  const halves = [0, 1].map((half): Session => ({
    sandbox,
    agent: half === 0 ? agent.slice(0, agent.length / 2) : agent.slice(agent.length / 2),
    runtime: half === 0 ? runtime.slice(0, runtime.length / 2) : runtime.slice(runtime.length / 2),
  }));
  // Of a whole ID the first half counts, which is all that Firecracker's guests know.
  const { traceId } = expectedIds(sandbox.length === 64 ? sandbox.slice(0, 32) : sandbox);

  const first = await start();
  await serve(first, halves[0] as Session);
  if (how === "killed") {
    // What has arrived is in the file beside the spool a second later.
    await waitForTrace(traceId, agent.length / 2 - 1, PATIENCE.timeout);
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    await first.kill();
  } else assert.equal(await first.stop(), "exited with 0");
  const second = await start();
  const leave = await serve(second, halves[1] as Session);
  await leave();
  assert.equal(await second.stop(), "exited with 0");

  const trace = await waitForTrace(traceId, spans, PATIENCE.timeout);
  assert.equal(trace.spans.length, spans);
  const [root, ...others] = shownTree(withoutClockSteps(trace));
  assert.deepEqual(others.map(({ name }) => name), []);
  assert.equal(root?.name, "sandbox");
  assert.equal(root.process["kata.sandbox.id"], sandbox);
  // It begins with the first span of all, which came before the restart.
  assert.equal(root.start, Math.min(...trace.spans.map(({ startTime }) => startTime)));
  return root;
}

/** A real agent sets the guest's clock while it traces that, of which Jaeger warns. */
function withoutClockSteps(trace: JaegerTrace): JaegerTrace {
  const spans = trace.spans.map((span) => {
    const warnings = span.warnings?.filter((warning) => !warning.startsWith("Negative duration detected")) ?? [];
    return { ...span, warnings: warnings.length > 0 ? warnings : null };
  });
  return { ...trace, spans };
}

/** The names of spans at the top level below the sandbox. */
const below = (root: TreeSpan): Set<string> => new Set(root.children.map(({ name }) => name));

describe("a whole sandbox is one trace with one root, across a restart", () => {
  const real = REAL_STREAMS.find(({ file }) => file.includes("4.1.0-session.json"));
  for (const [at, how] of (["stopped", "killed"] as const).entries()) {
    test(`the agent alone, ${how}`, PATIENCE, async () => {
      assert.ok(real !== undefined);
      const agent = splitFrames(streamBytes(real));
      const root = await shown({ sandbox: `agent-alone-${at}`, agent }, how, agent.length + 1);
      // Without the sandbox's root each of these would be a trace.
      assert.ok(root.children.length > 20);
      assert.ok(below(root).has("create_container"));
    });
  }

  test("the Go runtime and an agent of the same trace, stopped", PATIENCE, async () => {
    const sandbox = "00000000000000000000000000000000000000000000000040507b35c8cfdf40";
    const agent = splitFrames(jaegerFile("collated-agent.json-frames"));
    const root = await shown({ sandbox, agent, runtime: jaegerBodies("go-session") }, "stopped", 34 + agent.length + 1);
    assert.deepEqual(below(root), new Set(["rootSpan"]));
    const lines = outline([root]);
    assert.equal(lines.filter((line) => line.includes("kata-agent: ")).length, agent.length + 1);
    assert.equal(lines.filter((line) => line.includes("kata: ")).length, 34);
  });

  test("the Rust runtime, which exports no root, and an agent, stopped", PATIENCE, async () => {
    const sandbox = `9f3c51aa${"0123456789abcdef".repeat(4).slice(8)}`;
    assert.ok(real !== undefined);
    const agent = splitFrames(streamBytes(real));
    const runtime = jaegerBodies("rust-session");
    // Some of the 81 spans are of the HTTP/2 client.
    const root = await shown({ sandbox, agent, runtime }, "stopped", agent.length + RUST_SPANS + 2);
    const missing = root.children.filter(({ name }) => name === "missing span");
    assert.equal(missing.length, 1);
    assert.equal(missing[0]?.service, "kata-sb-9f3c51aa");
    assert.equal(missing[0].tags["kata.missing"], true);
    assert.ok(below(root).has("create_container"));
  });
});

/** Spans of the recorded session of runtime-rs that are not its HTTP/2 client's. */
const RUST_SPANS = 20;
