import assert from "node:assert/strict";
import { test } from "node:test";
import { alignClock, alignedStarts, offsetIntervals } from "../../../src/view/model/clock.ts";
import { criticalPath } from "../../../src/view/model/critical-path.ts";
import { agentOperation, isBackground } from "../../../src/view/model/kata-operations.ts";
import { findStart } from "../../../src/view/model/phases.ts";
import { spanTable } from "../../../src/view/model/span-table.ts";
import { findUntraced } from "../../../src/view/model/untraced.ts";
import { collatedSandbox, recordedSpans, tableOf } from "./support.ts";

test("a request's name in the Go runtime leads to the agent's", () => {
  assert.equal(agentOperation("ttrpc.CreateContainer"), "create_container");
  assert.equal(agentOperation("ttrpc.OnlineCPUMem"), "online_cpumem");
  assert.equal(agentOperation("connect"), undefined);
});

test("each request bounds the guest's offset, and all of them together give it", () => {
  const table = tableOf(
    { id: "ttrpc.CreateSandbox", from: 1000, to: 1100 },
    { id: "create_sandbox", in: "ttrpc.CreateSandbox", side: "agent", from: 5020, to: 5090 },
    { id: "ttrpc.StartContainer", from: 2000, to: 2050 },
    { id: "start_container", in: "ttrpc.StartContainer", side: "agent", from: 6005, to: 6045 },
  );
  assert.deepEqual(offsetIntervals(table), [{ low: -4020, high: -3990 }, { low: -4005, high: -3995 }]);
  const clock = alignClock(offsetIntervals(table));
  assert.deepEqual(clock, { state: "aligned", offset: -4000, error: 5 });
  assert.deepEqual(
    [...alignedStarts(table, clock)],
    [0, 1000, 1020, 2005].map((_, row) => (table.start[row] as number) + (table.side[row] === "agent" ? -4000 : 0)),
  );
});

test("requests that contradict each other mean that the clock drifts; none that it is not aligned", () => {
  assert.deepEqual(alignClock([{ low: 0, high: 10 }, { low: 20, high: 30 }]), { state: "drifts" });
  assert.deepEqual(alignClock([]), { state: "not-aligned" });
});

test("the recorded sandbox of the Go runtime: its start, phases and clock", () => {
  const table = spanTable(collatedSandbox());
  const intervals = offsetIntervals(table);
  // update_interface, update_routes, create_sandbox, create_container, start_container, signal_process, destroy_sandbox
  assert.equal(intervals.length, 7);
  const clock = alignClock(intervals);
  assert.equal(clock.state, "aligned");
  const start = findStart(table, alignedStarts(table, clock));
  assert.ok(start !== undefined);
  assert.equal(start.from, 0);
  assert.deepEqual(start.phases.map(({ phase }) => phase), ["prepare", "vmm", "guest", "sandbox", "create", "start"]);
  assert.equal(start.phases[0]?.from, start.from);
  assert.equal(start.phases.at(-1)?.to, start.to);
  for (const [index, { from }] of start.phases.entries()) {
    if (index > 0) assert.equal(from, start.phases[index - 1]?.to);
  }
});

test("the recorded sandbox of the Rust runtime has a start without its root", () => {
  const table = spanTable(recordedSpans("rust-session", "runtime"));
  const start = findStart(table);
  assert.deepEqual(start?.phases.map(({ phase }) => phase), ["prepare", "vmm", "guest", "sandbox", "create", "start"]);
});

test("the agent alone: the start is from its first span to the end of its start_container", () => {
  const table = tableOf(
    { id: "root-span", side: "agent", from: 0, to: 9000 },
    { id: "create_sandbox", side: "agent", from: 100, to: 200 },
    { id: "create_container", side: "agent", from: 300, to: 500 },
    { id: "start_container", side: "agent", from: 600, to: 700 },
    { id: "start_container", side: "agent", from: 4000, to: 4100 },
  );
  assert.deepEqual(findStart(table), {
    from: 0,
    to: 700,
    phases: [
      { phase: "guest", from: 0, to: 100 },
      { phase: "sandbox", from: 100, to: 300 },
      { phase: "create", from: 300, to: 600 },
      { phase: "start", from: 600, to: 700 },
    ],
  });
});

test("a sandbox whose container has not started has no start", () => {
  assert.equal(findStart(tableOf({ id: "create_sandbox", side: "agent", from: 0, to: 5 })), undefined);
  assert.equal(findStart(tableOf()), undefined);
});

test("a gap is what no span explains for more than 5 % of the start", () => {
  const table = tableOf(
    { id: "root-span", side: "agent", from: 0, to: 5000 },
    { id: "create", from: 0, to: 300 },
    { id: "newSandbox", in: "create", from: 0, to: 100 },
    { id: "connect", in: "create", from: 104, to: 250 },
    { id: "leaf", from: 400, to: 900 },
    { id: "late", from: 940, to: 1000 },
  );
  const start = { from: 0, to: 1000 };
  const path = criticalPath(table, start, (row) => isBackground(table.side[row] ?? "host", table.name[row] ?? ""));
  const connect = table.name.indexOf("connect");
  assert.deepEqual(findUntraced(table, start, path), [
    { row: connect, from: 104, to: 250, isGuestBoot: true },
    { row: undefined, from: 300, to: 400, isGuestBoot: false },
  ]);
});
