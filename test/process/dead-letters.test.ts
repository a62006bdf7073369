import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { type Forwarder, startForwarder } from "./support/forwarder.ts";
import { startStub } from "./support/pipeline.ts";
import { CLEAN } from "./support/process.ts";
import { Guest, guestLife, Sandbox } from "./support/sandbox.ts";
import { plainFrames, plainIds } from "./support/spans.ts";
import { until } from "../support/until.ts";
import { test } from "./support/test.ts";

/** Enough for several requests, whose lines take a while. */
const COUNT = 600;
const SPAN_BYTES = 10_000;
/** About who asks, so it is neither asked again nor split: the spans are given up. */
const REFUSED = { kind: "status", status: 403 } as const;

/** The IDs of the spans in a file, each of whose lines must be whole. */
function lettersIn(file: string): string[] {
  const lines = readFileSync(file, "utf8").split("\n");
  assert.equal(lines.pop(), "", "the last line is whole");
  return lines.flatMap((line) => {
    const { resourceSpans } = JSON.parse(line) as {
      resourceSpans: { scopeSpans: { spans: { spanId: string }[] }[] }[];
    };
    return resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans))
      .map(({ spanId }) => spanId);
  });
}

test("whatever is refused is in the --dead-letter file when the forwarder has stopped", async () => {
  using sandbox = new Sandbox();
  await using stub = await startStub();
  const file = sandbox.path("letters");
  await using forwarder = await startForwarder([
    ...["--socket-path", sandbox.socketPath, "--otlp-endpoint", stub.url, "--dead-letter", file, "--metrics", "0"],
  ]);
  // With credentials that are refused it would not start.
  stub.answer = () => REFUSED;
  await guestLife(sandbox.address, plainFrames(1, COUNT, SPAN_BYTES));
  await until(() => stub.requests.length > 0, "a request is refused");
  assert.deepEqual(await forwarder.stop(), CLEAN);
  assert.deepEqual(lettersIn(file).sort(), plainIds(1, COUNT));
});

test("with a spool, what was refused by a process that is killed is in the file after the next one", async () => {
  using sandbox = new Sandbox();
  await using stub = await startStub();
  stub.answer = () => REFUSED;
  const file = sandbox.path("letters");
  const start = (): Promise<Forwarder> =>
    startForwarder([
      ...["--socket-path", sandbox.socketPath, "--otlp-endpoint", stub.url, "--metrics", "0"],
      ...["--dead-letter", file, "--spool-dir", sandbox.path("spool")],
    ]);
  {
    await using forwarder = await start();
    using guest = await Guest.connect(sandbox.address);
    await guest.write(plainFrames(1, COUNT, SPAN_BYTES));
    await until(async () => (await forwarder.figures()).received === COUNT, "all are read");
    await forwarder.stop("SIGKILL");
  }
  await using forwarder = await start();
  await until(async () => (await forwarder.figures()).held === 0, "all are settled");
  assert.deepEqual(await forwarder.stop(), CLEAN);
  assert.deepEqual([...new Set(lettersIn(file))].sort(), plainIds(1, COUNT));
});
