import assert from "node:assert/strict";
import { test } from "node:test";
import type * as api from "../../../src/view/api.ts";
import { parseRecord } from "../../../src/record/parse-record.ts";
import { incoming, madeUp, memoryStore } from "../../store/support.ts";
import { answerTo, ask, handlerOf, recordedStore, SANDBOX, textOf } from "../support.ts";

const handler = handlerOf(recordedStore());

test("the list has a line for each sandbox, whatever its number of traces", () => {
  const { sandboxes, total } = ask<api.SandboxList>(handler, "/sandboxes");
  assert.equal(total, 2);
  const agent = sandboxes.find(({ id }) => id === SANDBOX);
  assert.deepEqual([agent?.spans, agent?.traces, agent?.state, agent?.clock], [95, 27, "ended", {
    state: "not-aligned",
  }]);
  const runtime = sandboxes.find(({ id }) => id !== SANDBOX);
  assert.deepEqual([runtime?.spans, runtime?.traces, runtime?.errors], [42, 1, 1]);
  assert.equal(runtime?.clock.state, "aligned");
});

test("the list is filtered by words, state and errors", () => {
  const ids = (url: string): string[] => ask<api.SandboxList>(handler, url).sandboxes.map(({ id }) => id);
  assert.deepEqual(ids(`/sandboxes?q=${SANDBOX.slice(0, 8)}`), [SANDBOX]);
  assert.deepEqual(ids("/sandboxes?state=running"), []);
  assert.equal(ids("/sandboxes?error=true").length, 1);
});

test("a sandbox of an agent alone has its spans as one tree, with every parent that the agent wrote", () => {
  const { columns, start, phases, startStretch, critical } = ask<api.SandboxDetail>(handler, `/sandboxes/${SANDBOX}`);
  assert.equal(columns.id.length, 95);
  const name = (row: number): string | undefined => row < 0 ? undefined : columns.names[columns.name[row] as number];
  const parentOf = (span: string): (string | undefined)[] =>
    columns.id.flatMap((_, row) => name(row) === span ? [name(columns.parent[row] as number)] : []);
  assert.deepEqual(parentOf("do_create_container"), ["create_container"]);
  assert.deepEqual(parentOf("do_signal_process"), ["signal_process"]);
  assert.deepEqual(parentOf("create_container"), [undefined]);
  assert.deepEqual(phases.map(({ phase }) => phase), ["guest", "sandbox", "create", "start"]);
  assert.equal(phases.reduce((sum, { from, to }) => sum + to - from, 0), start);
  assert.equal(critical.reduce((sum, { from, to }) => sum + to - from, 0), start);
  assert.equal(startStretch?.from, 0);
});

test("the list names the hypervisors that there are, and can be of one of them", () => {
  const store = memoryStore();
  for (const [id, name] of [["a", "LaunchQemu"], ["b", "bootVM"], ["c", "LaunchQemu"], ["d", "something"]] as const) {
    store.add(incoming("runtime", [madeUp({ id: 1, name }, { "kata.sandbox.id": id })]));
  }
  const asked = handlerOf(store);
  assert.deepEqual(ask<api.SandboxList>(asked, "/sandboxes").vmms, ["clh", "qemu"]);
  const { sandboxes, vmms } = ask<api.SandboxList>(asked, "/sandboxes?vmm=qemu");
  assert.deepEqual(sandboxes.map(({ id }) => id).sort(), ["a", "c"]);
  assert.deepEqual(vmms, ["clh", "qemu"]);
});

test("what tracing cost is said of a start that waited for it", () => {
  const { sandboxes } = ask<api.SandboxList>(handler, "/sandboxes");
  const costs = sandboxes.map(({ id, spans }) => [
    spans,
    ask<api.SandboxDetail>(handler, `/sandboxes/${id}`).tracingCost,
  ]);
  assert.deepEqual(
    new Map(costs as [number, unknown][]),
    new Map<number, unknown>([[95, undefined], [42, {
      spans: 23,
      each: 91_000,
    }]]),
  );
});

test("Kata's version is what the host says, or else a runtime or an agent, and never another program's", () => {
  const store = memoryStore();
  const versions: Readonly<Record<string, Readonly<Record<string, string>>>> = {
    host: { "service.name": "kata-agent", "kata.version": "4.1.0", "service.version": "1" },
    agent: { "service.name": "kata-agent", "service.version": "4.0.1" },
    runtime: { "service.name": "kata", "service.version": "3.32.0" },
    containerd: { "service.name": "containerd", "service.version": "2.1.0", "kata.component": "host" },
    none: { "service.name": "kata" },
  };
  for (const [id, resource] of Object.entries(versions)) {
    store.add(incoming("file", [madeUp({ id: 1 }, { ...resource, "kata.sandbox.id": id })]));
  }
  const { sandboxes } = ask<api.SandboxList>(handlerOf(store), "/sandboxes");
  assert.deepEqual(Object.fromEntries(sandboxes.map(({ id, kataVersion }) => [id, kataVersion])), {
    host: "4.1.0",
    agent: "4.0.1",
    runtime: "3.32.0",
    containerd: undefined,
    none: undefined,
  });
});

test("do_signal_process has another trace than its parent", () => {
  const { columns } = ask<api.SandboxDetail>(handler, `/sandboxes/${SANDBOX}`);
  const row = columns.name.findIndex((name) => columns.names[name] === "do_signal_process");
  const parent = columns.parent[row] as number;
  assert.notEqual(columns.trace[row], columns.trace[parent]);
});

test("a span comes with its attributes, its resource and its own time", () => {
  const { columns } = ask<api.SandboxDetail>(handler, `/sandboxes/${SANDBOX}`);
  const row = columns.name.findIndex((name) => columns.names[name] === "create_sandbox");
  const trace = columns.traceIds[columns.trace[row] as number];
  const span = ask<api.SpanDetail>(handler, `/sandboxes/${SANDBOX}/spans/${columns.id[row]}?trace=${trace}`);
  assert.equal(span.name, "create_sandbox");
  assert.equal(span.self, columns.self[row]);
  assert.ok(span.attributes.some(({ key }) => key === "req"));
  assert.ok(span.resource.some(({ key, value }) => key === "kata.sandbox.id" && value === SANDBOX));
});

test("operations are summed over all sandboxes, those that starts waited for longest first", () => {
  const { rows, edges } = ask<api.OperationList>(handler, "/operations");
  const shares = rows.map(({ ofStart = 0 }) => ofStart);
  assert.deepEqual(shares, shares.toSorted((a, b) => b - a));
  // Together they are all of the starts, less the stretches without a span that are too short to be shown.
  const sum = shares.reduce((total, share) => total + share, 0);
  assert.ok(sum > 0.8 && sum <= 1 + 1e-9, String(sum));
  const driverTypes = rows.find(({ name }) => name === "driver_types");
  assert.equal(driverTypes?.count, 10);
  const guestDetails = rows.findIndex(({ name }) => name === "get_guest_details");
  const edge = edges.find(({ from, to }) => from === guestDetails && rows[to]?.name === "driver_types");
  assert.equal(edge?.count, 10);
});

test("operations are divided by an attribute, and limited to a phase", () => {
  const grouped = ask<api.OperationList>(handler, "/operations?group=subsystem");
  assert.ok(grouped.rows.some(({ group }) => group === "factory"));
  const byThread = ask<api.OperationList>(handler, "/operations?group=thread.id");
  const reader = handler.reader;
  const counts = new Map<string, number>();
  for (const sandbox of reader.sandboxes()) {
    for (const { record } of reader.records(sandbox)) {
      const thread = record.attributes.find(({ key }) => key === "thread.id")?.value.intValue ?? "";
      counts.set(thread, (counts.get(thread) ?? 0) + 1);
    }
  }
  const counted = new Map<string, number>();
  for (const { group = "", count } of byThread.rows) counted.set(group, (counted.get(group) ?? 0) + count);
  assert.deepEqual([...counted].sort(), [...counts].sort());
  const inPhase = ask<api.OperationList>(handler, "/operations?phase=start");
  assert.ok(inPhase.rows.some(({ name }) => name === "do_start_container"));
  assert.ok(!inPhase.rows.some(({ name }) => name === "create_sandbox"));
});

test("an export as OTLP/JSON has every span, without what may be secret unless somebody asks", () => {
  const spans = parseRecord(JSON.parse(textOf(answerTo(handler, `/sandboxes/${SANDBOX}.otlp.json`))));
  assert.equal(spans.length, 95);
  const keys = new Set(spans.flatMap(({ attributes }) => attributes.map(({ key }) => key)));
  for (const secret of ["req", "self", "spec", "env", "c", "config"]) assert.ok(!keys.has(secret), secret);
  const all = parseRecord(JSON.parse(textOf(answerTo(handler, `/sandboxes/${SANDBOX}.otlp.json?all=true`))));
  assert.ok(all.some(({ attributes }) => attributes.some(({ key }) => key === "req")));
});

test("an export for Perfetto nests the spans of each thread", () => {
  const { traceEvents } = JSON.parse(textOf(answerTo(handler, `/sandboxes/${SANDBOX}.perfetto.json`))) as {
    traceEvents: { ph: string; tid: number; ts: number; dur: number }[];
  };
  const spans = traceEvents.filter(({ ph }) => ph === "X");
  assert.equal(spans.length, 95);
  for (const tid of new Set(spans.map((span) => span.tid))) {
    const open: number[] = [];
    for (const span of spans.filter((one) => one.tid === tid)) {
      while (open.length > 0 && (open.at(-1) as number) <= span.ts) open.pop();
      assert.ok(open.length === 0 || span.ts + span.dur <= (open.at(-1) as number) + 1e-6);
      open.push(span.ts + span.dur);
    }
  }
});

test("two labels are compared sandbox by sandbox", () => {
  const store = memoryStore();
  const fill = (label: string, factor: number): void => {
    for (let i = 0; i < 30; i++) {
      const resource = { "kata.sandbox.id": `${label}-${i}` };
      const end = Math.round(1e6 * factor * (1 + (i * 7919 % 30) / 100));
      store.add(
        incoming("guest", [
          madeUp({ id: 1, name: "create_sandbox", to: end }, resource),
          madeUp({ id: 2, name: "steady", to: 5e5 + i }, resource),
          madeUp({ id: 3, name: "start_container", from: end, to: end + 1000 }, resource),
        ]),
        Date.now(),
        label,
      );
    }
  };
  fill("old", 1);
  fill("new", 1.3);
  const { rows, a, b } = ask<api.Comparison>(handlerOf(store), "/compare?a=old&b=new");
  assert.deepEqual([a.sandboxes, b.sandboxes], [30, 30]);
  const verdicts = Object.fromEntries(rows.map(({ name, verdict }) => [name, verdict]));
  assert.deepEqual(verdicts, {
    "whole start": "slower",
    "create_sandbox": "slower",
    "steady": "same",
    "start_container": "same",
  });
  const change = rows.find(({ name }) => name === "create_sandbox")?.change ?? 0;
  assert.ok(Math.abs(change - 0.3) < 1e-6);
});

test("with fewer than 20 sandboxes a comparison says so", () => {
  const { rows } = ask<api.Comparison>(handler, "/compare?a=&b=");
  assert.ok(rows.every(({ verdict }) => verdict === "too few"));
});

test("what is not there is answered with an error of one line", () => {
  for (const url of ["/sandboxes/none", `/sandboxes/${SANDBOX}/spans/0000000000000000`, "/nothing", "/sandboxes/%ff"]) {
    const answer = answerTo(handler, url);
    assert.equal(answer.status, 404);
    assert.match((JSON.parse(textOf(answer)) as api.ApiError).error, /^[^\n]+$/);
  }
  assert.equal(handler.answer({ method: "POST", path: "/sandboxes", query: new URLSearchParams() }).status, 405);
  assert.equal(answerTo(handler, "/compare?a=x").status, 400);
});
