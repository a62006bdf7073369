import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { REAL_STREAMS, streamBytes } from "../decode/support/recorded-streams.ts";
import { decodeSpan } from "../decode/support/decode-span.ts";
import { until } from "../support/until.ts";
import { startForwarder } from "./support/forwarder.ts";
import { Pipeline, startStub } from "./support/pipeline.ts";
import { CLEAN, Running, runToEnd } from "./support/process.ts";
import { guestLife, Sandbox } from "./support/sandbox.ts";
import { taken } from "./support/spans.ts";
import { test } from "./support/test.ts";

const SESSION = REAL_STREAMS.find(({ file }) => file.includes("4.1.0-session.json"));

function session(): Uint8Array {
  assert.ok(SESSION !== undefined);
  return streamBytes(SESSION);
}

/** What `view --terminal` draws of a file, less the sandbox's ID. */
async function drawing(file: string): Promise<string> {
  const { stdout, stderr, code } = await runToEnd(["view", "--terminal", file]);
  assert.equal(code, 0, stderr);
  assert.equal(stderr, "");
  return stdout.replace(/^sandbox .*\n/, "");
}

test("everything that the forwarder writes opens as the same sandbox", async () => {
  using files = new Sandbox();
  const [record, deadLetter, store, dump] = ["record", "dead-letters", "store", "dump"].map((name) => files.path(name));
  assert.ok(record !== undefined && deadLetter !== undefined && store !== undefined && dump !== undefined);
  {
    await using pipeline = await Pipeline.start([
      ...["--record", record, "--dead-letter", deadLetter],
      ...["--view", "127.0.0.1:0", "--store", store],
    ]);
    let bad: string | undefined;
    pipeline.stub.answer = ({ spans }) => {
      bad ??= spans[0]?.spanId;
      return { kind: spans.some(({ spanId }) => spanId === bad) ? "status" : "ok", status: 400 };
    };
    await guestLife(pipeline.sandbox.address, session());
    await until(() => readFileSync(deadLetter, "utf8").includes("\n"), "one span is a dead letter");
    await taken(pipeline.stub, 94);
    assert.deepEqual(await pipeline.forwarder.stop(), CLEAN);
  }
  {
    using sandbox = new Sandbox();
    await using dumping = new Running(["--socket-path", sandbox.socketPath, "--dump-only"]);
    await until(() => dumping.stderr.includes('"listening"'), "it listens");
    await guestLife(sandbox.address, session());
    await until(() => dumping.stdout.trimEnd().split("\n").length === 95, "all are dumped");
    writeFileSync(dump, dumping.stdout);
  }
  const wanted = await drawing(record);
  assert.match(wanted, /^ended, 95 spans in 27 traces\n5\.81 s to start: /);
  for (const file of [store, dump]) assert.equal(await drawing(file), wanted, file);
  assert.match(await drawing(deadLetter), /^ended without a root, 1 span in 1 trace\nits start was not traced\n.*\n$/);

  const compressed = files.path("compressed");
  writeFileSync(compressed, gzipSync(readFileSync(dump)));
  assert.equal(await drawing(compressed), wanted);

  for (const format of ["html", "otlp"] as const) {
    const exported = files.path(format);
    const { code, stderr } = await runToEnd(["export", store, `--${format}`, exported]);
    assert.equal(code, 0, stderr);
    assert.equal(await drawing(exported), wanted, format);
  }
  // Several at once are one sandbox too, because a span that comes twice is one.
  const { stdout } = await runToEnd(["view", "--terminal", record, deadLetter, store]);
  assert.equal(stdout.replace(/^sandbox .*\n/, ""), wanted);
});

test("a sandbox whose traces were joined has the same start, by the IDs that its spans had before", async () => {
  using files = new Sandbox();
  const [plain, joined] = [files.path("plain"), files.path("joined")];
  for (const [file, args] of [[plain, []], [joined, ["--join-traces"]]] as const) {
    await using pipeline = await Pipeline.start(["--record", file, ...args]);
    await guestLife(pipeline.sandbox.address, session());
    await taken(pipeline.stub, 95);
    assert.deepEqual(await pipeline.forwarder.stop(), CLEAN);
  }
  const [about, phases] = (await drawing(joined)).split("\n");
  assert.equal(phases, (await drawing(plain)).split("\n")[1]);
  // All of the agent's own traces, and the one of the root that was made.
  assert.equal(about, "ended, 96 spans in 28 traces");
});

test("what was recorded is replayed to a collector, and as an agent's frames into a socket", async () => {
  using files = new Sandbox();
  const file = files.path("record");
  const meaning = new Map<string, string>();
  {
    await using pipeline = await Pipeline.start(["--record", file]);
    await guestLife(pipeline.sandbox.address, session());
    await taken(pipeline.stub, 95);
    for (const { spans } of pipeline.stub.requests) {
      for (const { spanId, span } of spans) meaning.set(spanId, JSON.stringify(decodeSpan(span)));
    }
    await pipeline.forwarder.stop();
  }
  assert.equal(meaning.size, 95);
  const check = (requests: readonly { spans: readonly { spanId: string; span: Uint8Array }[] }[]): void => {
    const received = requests.flatMap(({ spans }) => spans);
    assert.equal(received.length, 95);
    for (const { spanId, span } of received) assert.equal(JSON.stringify(decodeSpan(span)), meaning.get(spanId));
  };
  {
    await using stub = await startStub();
    const { stdout, code } = await runToEnd(["replay", file, "--otlp-endpoint", stub.url]);
    assert.deepEqual([code, stdout], [0, `95 spans sent to ${stub.url}\n`]);
    check(stub.requests);
  }
  for (const frames of ["otlp", "json"]) {
    await using pipeline = await Pipeline.start();
    const { address } = pipeline.sandbox;
    const { stdout, stderr, code } = await runToEnd(["replay", file, "--socket", address, "--frames", frames]);
    assert.deepEqual([code, stdout], [0, `95 spans sent to ${address}\n`], stderr);
    await taken(pipeline.stub, 95);
    check(pipeline.stub.requests);
  }
});

test("a file that is none of these costs one line; a line that is broken costs only itself", async () => {
  using files = new Sandbox();
  const nothing = files.path("nothing");
  writeFileSync(nothing, "hello\nworld\n");
  const refused = await runToEnd(["view", "--terminal", nothing]);
  assert.equal(refused.code, 1);
  assert.match(
    refused.stderr,
    /^kata-trace-forwarder: \S+nothing: no spans in it \(line 1: not JSON\): it can be .*\n$/,
  );
  const missing = await runToEnd(["view", "--terminal", files.path("missing")]);
  assert.match(missing.stderr, /^kata-trace-forwarder: \S+missing: cannot be read: [^\n]+\n$/);
  using sandbox = new Sandbox();
  const file = files.path("record");
  await using forwarder = await startForwarder(["--socket-path", sandbox.socketPath, "--dump-only"]);
  await guestLife(sandbox.address, session());
  await until(() => forwarder.stdout.trimEnd().split("\n").length === 95, "all are dumped");
  const lines = forwarder.stdout.split("\n");
  writeFileSync(file, [...lines.slice(0, 40), "{broken", ...lines.slice(40)].join("\n"));
  const { stdout } = await runToEnd(["view", "--terminal", file]);
  assert.match(stdout, /line 41: not JSON/);
  assert.match(stdout, /95 spans in 27 traces/);
});
