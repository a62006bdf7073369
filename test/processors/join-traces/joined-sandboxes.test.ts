import assert from "node:assert/strict";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { SpanRecord } from "../../../src/otlp/span-record.ts";
import { attribute, encodedSpans } from "../../otlp/support/encoded.ts";
import { watchTimers } from "../../support/pending-timers.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";
import { guest, IDS, Joining, rootsOf, runtime, SANDBOX } from "./support.ts";

const traceId = new Array<number>(16).fill(1);
const spanIdOf = (number: number): number[] => [...Buffer.from(BigInt(number).toString(16).padStart(16, "0"), "hex")];

/** A span; times are seconds. */
const plain = (number: number, parent: number, from = 1_700_000_000, to = from + 1) => ({
  span: {
    traceId,
    spanId: spanIdOf(number),
    parentSpanId: parent === 0 ? [] : spanIdOf(parent),
    name: `span ${number}`,
    startTimeUnixNano: `${from}000000000`,
    endTimeUnixNano: `${to}000000000`,
  },
});

/** Start and end in whole seconds. */
const timesOf = (span: SpanRecord | undefined): number[] =>
  [span?.startTimeUnixNano, span?.endTimeUnixNano].map((time) => Number(BigInt(time ?? 0) / 1_000_000_000n));

test("a sandbox has ended when its guest has been gone for a while, and not before", () => {
  const joining = new Joining();
  const first = joining.join.open(guest());
  const second = joining.join.open(guest());
  first.accept(encodedSpans([plain(1, 0)]));
  first.close();
  first.close();
  joining.pass(100_000);
  assert.deepEqual(joining.roots, []);
  second.close();
  joining.pass(1_000);
  assert.deepEqual(joining.roots, []);
  joining.pass(10_000);
  assert.equal(joining.roots.length, 1);
  // When the last connection ended.
  assert.deepEqual(timesOf(joining.roots[0]), [1_700_000_000, 1_800_000_100]);
  joining.pass(1_000_000);
  assert.equal(joining.roots.length, 1);
});

test("the root bears what is known of the sandbox, and spans without a time do not move its start", () => {
  const joining = new Joining();
  const source = guest();
  const attributes = new Map([...source.attributes, ["k8s.pod.name", "web-0"]]);
  const way = joining.join.open({ ...source, attributes });
  way.accept(encodedSpans([plain(1, 0), { span: { traceId, spanId: spanIdOf(2), name: "timeless" } }]));
  // By a clock that is ahead of the host's.
  way.accept(encodedSpans([plain(3, 0, 1_900_000_000)]));
  way.close();
  joining.pass(10_000);
  assert.deepEqual(timesOf(joining.roots[0]), [1_700_000_000, 1_900_000_001]);
  const root = joining.sink.sources.at(-1)?.source;
  assert.deepEqual(root, {
    kind: "runtime",
    name: SANDBOX,
    account: `runtime:${SANDBOX}`,
    attributes: new Map<string, string | number>([
      ["kata.vsock.cid", 3],
      ["kata.sandbox.id", SANDBOX],
      ["k8s.pod.name", "web-0"],
    ]),
  });
});

test("with a runtime a sandbox goes on until the runtime's last spans are there", () => {
  const joining = new Joining();
  const shim = joining.join.open(runtime());
  const agent = joining.join.open(guest());
  shim.accept(encodedSpans([plain(1, 0)]));
  // Its connection is idle, and ends.
  shim.close();
  joining.pass(1_000_000);
  agent.close();
  joining.pass(10_000);
  assert.deepEqual(joining.roots, []);
  const again = joining.join.open(runtime());
  again.accept(encodedSpans([plain(2, 0)]));
  again.close();
  joining.pass(30_000);
  assert.deepEqual(joining.roots, []);
  joining.pass(30_000);
  assert.equal(joining.roots.length, 1);
});

test("as long as the runtime's process runs, its sandbox has not ended", async () => {
  const shims = new Set([SANDBOX]);
  const joining = new Joining(undefined, shims);
  const pass = async (ms: number): Promise<void> => {
    joining.pass(ms);
    await new Promise((resolve) => setTimeout(resolve, 1));
  };
  const shim = joining.join.open(runtime());
  shim.accept(encodedSpans([plain(1, 0)]));
  shim.close();
  // One without a runtime need not wait for that.
  const alone = joining.join.open(guest("alone"));
  alone.accept(encodedSpans([plain(1, 0)]));
  alone.close();
  joining.pass(10_000);
  assert.equal(joining.roots.length, 1);
  for (let minutes = 0; minutes < 10; minutes++) await pass(60_000);
  assert.equal(joining.roots.length, 1);
  shims.clear();
  for (let minutes = 0; minutes < 3; minutes++) await pass(60_000);
  assert.equal(joining.roots.length, 2);
});

test("a sandbox that sent nothing has no root, and one that comes back has no second", () => {
  const joining = new Joining();
  joining.join.open(guest("silent")).close();
  joining.pass(10_000);
  assert.deepEqual(joining.roots, []);
  for (let i = 0; i < 3; i++) {
    const way = joining.join.open(guest());
    way.accept(encodedSpans([plain(i + 1, 0)]));
    way.close();
    joining.pass(10_000);
    assert.equal(joining.roots.length, 1);
    assert.equal(joining.sink.spans.at(-1)?.traceId, IDS.traceId);
  }
});

test("a parent that comes late is not missing, and one that never comes is stood in for once", () => {
  const joining = new Joining();
  const way = joining.join.open(guest());
  way.accept(encodedSpans([plain(1, 100), plain(2, 100, 1_700_000_005), plain(3, 200), plain(300, 0), plain(4, 300)]));
  way.accept(encodedSpans([plain(200, 0), plain(5, 200), plain(6, 6)]));
  way.close();
  joining.pass(10_000);
  const missing = joining.own.filter(({ name }) => name === "missing span");
  assert.deepEqual(missing.map(({ spanId }) => BigInt(`0x${spanId}`)), [100n]);
  assert.deepEqual(timesOf(missing[0]), [1_700_000_000, 1_700_000_006]);
  assert.deepEqual(rootsOf(joining.sink.spans), ["sandbox"]);
});

/** Joining, of whose sandbox a guest has just gone that named very many parents which have not come. */
function manyMissing(): Joining {
  const joining = new Joining();
  const way = joining.join.open(guest());
  for (let at = 0; at < 20_000; at += 1_000) {
    way.accept(encodedSpans(Array.from({ length: 1_000 }, (_, i) => plain(at + i + 1, 1_000_000 + at + i))));
  }
  way.close();
  return joining;
}

test("a guest with very many spans and parents costs a bounded amount, and little of it in one turn", async () => {
  const joining = manyMissing();
  joining.pass(10_000);
  for (let sent = 0, turns = 1; joining.roots.length === 0; turns++) {
    assert.ok(joining.own.length - sent <= 128, `${joining.own.length} after ${sent}, in ${turns} turns`);
    sent = joining.own.length;
    await nextTurn();
  }
  assert.equal(joining.own.length, 1_024 + 1);
  assert.equal(joining.own.at(-1)?.name, "sandbox");
  assert.equal(joining.sink.spans.filter(({ name }) => name.startsWith("span")).length, 20_000);
});

test("a stop sends what is left of the spans that stand for others", async () => {
  const joining = manyMissing();
  joining.pass(10_000);
  assert.equal(joining.own.length, 128);
  await joining.join.drain(0);
  assert.equal(joining.own.length, 1_024 + 1);
  await nextTurn();
  assert.equal(joining.own.length, 1_024 + 1);
});

test("a large resource is not remembered for a parent that does not come", () => {
  for (const [bytes, isRemembered] of [[1000, true], [5000, false]] as const) {
    const joining = new Joining();
    const way = joining.join.open(guest());
    const resource = { resource: { attributes: [attribute("own", "x".repeat(bytes))] } };
    way.accept(encodedSpans([{ resource, ...plain(1, 100) }]));
    way.close();
    joining.pass(10_000);
    const missing = joining.own.find(({ name }) => name === "missing span");
    assert.equal(missing?.resource.attributes.some(({ key }) => key === "own"), isRemembered);
  }
});

test("without another process a stop makes all roots", async () => {
  const joining = new Joining();
  const way = joining.join.open(guest());
  way.accept(encodedSpans([plain(1, 0)]));
  joining.join.stopping(false);
  way.close();
  await joining.join.drain(0);
  assert.equal(joining.roots.length, 1);
});

test("guests that another process goes on with get no root", async () => {
  const joining = new Joining();
  const way = joining.join.open(guest());
  const gone = joining.join.open(guest("gone"));
  for (const each of [way, gone]) each.accept(encodedSpans([plain(1, 0)]));
  gone.close();
  joining.join.stopping(true);
  way.close();
  await joining.join.drain(0);
  // It had left by itself.
  assert.deepEqual(joining.sink.sources.at(-1)?.source.name, "gone");
  assert.equal(joining.roots.length, 1);
});

for (const how of ["stopped", "killed"] as const) {
  test(`a sandbox survives that the process is ${how}, with its first span's time and what is missing`, async () => {
    using directory = temporaryDirectory();
    const file = join(directory.path, "sandboxes.json");
    const before = new Joining(file);
    const agent = before.join.open({
      ...guest(),
      attributes: new Map<string, string | number>([["kata.sandbox.id", SANDBOX], ["k8s.pod.name", "web-0"]]),
    });
    const shim = before.join.open(runtime());
    agent.accept(encodedSpans([plain(1, 0)]));
    shim.accept(encodedSpans([plain(2, 100, 1_600_000_000)]));
    if (how === "stopped") {
      before.join.stopping(false);
      agent.close();
      shim.close();
      await before.join.drain(0);
    } else before.pass(1_000);
    assert.deepEqual(before.own, []);
    assert.equal(statSync(file).mode & 0o777, 0o600);

    const after = new Joining(file);
    const again = after.join.open(runtime());
    again.accept(encodedSpans([plain(3, 100), plain(4, 300)]));
    again.close();
    after.pass(60_000);
    const [missing, root, ...more] = after.own;
    assert.deepEqual(more, []);
    assert.deepEqual([root?.traceId, root?.spanId], [IDS.traceId, IDS.rootId]);
    assert.deepEqual(timesOf(root), [1_600_000_000, 1_800_000_000]);
    // What came before the restart is not known any more, so only what was missing then is.
    assert.deepEqual([missing?.name, BigInt(`0x${missing?.spanId}`)], ["missing span", 100n]);
    assert.equal(after.sink.sources.at(-1)?.source.attributes.get("k8s.pod.name"), "web-0");
    assert.deepEqual(after.log.records, []);

    // A third process knows that there is a root.
    const third = new Joining(file);
    const late = third.join.open(runtime());
    late.accept(encodedSpans([plain(5, 0)]));
    late.close();
    third.pass(60_000);
    assert.deepEqual(third.own, []);
  });
}

test("a sandbox that nobody connects for after a restart ends with its last span", () => {
  using directory = temporaryDirectory();
  const file = join(directory.path, "sandboxes.json");
  const before = new Joining(file);
  before.join.open(guest()).accept(encodedSpans([plain(1, 0)]));
  before.pass(1_000);
  const after = new Joining(file);
  after.pass(10_000);
  assert.deepEqual(after.roots, []);
  after.pass(60_000);
  assert.deepEqual(timesOf(after.roots[0]), [1_700_000_000, 1_700_000_001]);
});

test("a file that cannot be used costs a warning, and is replaced", () => {
  using directory = temporaryDirectory();
  const file = join(directory.path, "sandboxes.json");
  for (const text of ["", "{", "null", '{"version":2}', '{"version":1,"running":[{}],"ended":[]}']) {
    writeFileSync(file, text);
    const joining = new Joining(file);
    assert.equal(joining.log.find("cannot be read").length, 1, text);
    joining.join.open(guest()).accept(encodedSpans([plain(1, 0)]));
    joining.pass(1_000);
    assert.match(readFileSync(file, "utf8"), /"version":1/);
  }
});

test("a file that cannot be written costs a warning, and no span", () => {
  using directory = temporaryDirectory();
  const file = join(directory.path, "gone", "sandboxes.json");
  const joining = new Joining(file);
  joining.join.open(guest()).accept(encodedSpans([plain(1, 0)]));
  joining.pass(1_000);
  assert.equal(joining.log.find("cannot be written down").length, 1);
  assert.equal(joining.sink.spans.length, 1);
  assert.equal(existsSync(file), false);
});

test("a timer is set only while a sandbox may end, and for when it does", () => {
  using timers = watchTimers();
  const delays = () => timers.list().map(({ delayMs }) => delayMs);
  const joining = new Joining();
  const way = joining.join.open(guest());
  assert.deepEqual(delays(), []);
  way.close();
  assert.deepEqual(delays(), [5000]);
  joining.pass(5000);
  assert.deepEqual(delays(), []);
});
