import assert from "node:assert/strict";
import { test } from "node:test";
import type { SandboxSummary } from "../../../src/view/api.ts";
import type { SandboxDetail } from "../../../src/view/api.ts";
import { parseFilter, type SpanFacts } from "../../../src/view/page/filter.ts";
import { fitsQuery } from "../../../src/view/page/sandbox-query.ts";
import { formatAgo, formatChange, formatDuration, visible } from "../../../src/view/page/format.ts";
import { buildRows, itemOfKey, keyOf, nameOf, visibleItems } from "../../../src/view/page/span-rows.ts";
import { padded, ticks, within, zoomed } from "../../../src/view/page/time-axis.ts";
import { formatUrl, parseStretch, parseUrl, withQuery } from "../../../src/view/page/url-state.ts";
import { ask, handlerOf, recordedStore, SANDBOX } from "../support.ts";

const SPAN: SpanFacts = { name: "create_sandbox", side: "agent", error: false, duration: 6e6, self: 1e6 };

function fits(filter: string, span: SpanFacts = SPAN): boolean {
  return parseFilter(filter).test?.(span) ?? true;
}

test("a filter's words all have to hold", () => {
  assert.ok(fits("sandbox"));
  assert.ok(fits("CREATE src:agent dur>5ms self<2ms"));
  assert.ok(!fits("create src:runtime"));
  assert.ok(!fits("dur>7"));
  assert.ok(fits("dur>5999us dur<1s"));
  assert.ok(!fits("error"));
  assert.ok(fits("error", { ...SPAN, error: true }));
  assert.ok(fits("  "));
});

test("attributes, and words for the list of sandboxes, are told apart", () => {
  const filter = parseFilter("mount.source=/dev/sda pod:web sandbox:6177 cid:3 boot");
  assert.deepEqual(filter.attributes, [{ key: "mount.source", value: "/dev/sda" }]);
  assert.deepEqual(filter.sandboxWords, ["pod:web", "sandbox:6177", "cid:3", "boot"]);
});

test("words for the list of sandboxes: each asks for what it names, any other for all there is", () => {
  const sandbox = {
    ...{ id: "6177abcd", label: "kata-4.1", state: "ended", vmm: "qemu", pod: "web-3", namespace: "shop", cid: 3 },
    ...{ baseNs: "0", phases: [], spans: 1, spansNotKept: 0, traces: 1, errors: 0, clock: { state: "not-aligned" } },
  } as const satisfies SandboxSummary;
  for (const query of ["", "web", "WEB-3 qemu", "pod:shop/web", "sandbox:6177", "cid:3", "kata-4.1 cid:3 pod:web"]) {
    assert.ok(fitsQuery(sandbox, query), query);
  }
  for (const query of ["pod:6177", "sandbox:web", "cid:6177", "cid:33", "web clh"]) {
    assert.ok(!fitsQuery(sandbox, query), query);
  }
});

test("dur asks the list of sandboxes how long a start took", () => {
  const { testStart } = parseFilter("dur>1s dur<2s self>9s");
  assert.deepEqual([0.5e9, 1.5e9, 2.5e9].map(testStart), [false, true, false]);
});

test("what a filter does not understand is named", () => {
  assert.deepEqual(parseFilter("dur>5parsecs dur>x self<3ms").problems, ["dur>5parsecs", "dur>x"]);
});

test("durations have three digits and the unit that suits", () => {
  const shown = [0, 999, 999.6, 1000, 61_900_000, 999_600_000, 1e9, 12.34e9, 5000e9].map((ns) => formatDuration(ns));
  assert.deepEqual(shown, ["0 ns", "999 ns", "1.00 µs", "1.00 µs", "61.9 ms", "1.00 s", "1.00 s", "12.3 s", "5000 s"]);
  assert.equal(formatDuration(-3_200_000), "−3.20 ms");
  assert.deepEqual([94_000, 2_093_000, 9_600_000, 123e6].map((ns) => formatDuration(ns, 1)), [
    "94 µs",
    "2 ms",
    "10 ms",
    "123 ms",
  ]);
  assert.deepEqual([0.081, -0.5, 2].map(formatChange), ["+8.1 %", "−50 %", "+200 %"]);
  assert.deepEqual([1e3, 120e3, 7.2e6, 3e8].map(formatAgo), ["1 s ago", "2 min ago", "2 h ago", "3 days ago"]);
});

test("characters that could hide or reorder text are made visible", () => {
  assert.equal(visible("a\u0000b\u001b[2Jc\u202ed\u200be\u007f\ud800"), "a␀b␛[2Jc\\u{202e}d\\u{200b}e␡\\u{d800}");
  assert.equal(visible("x".repeat(1000), 10), `${"x".repeat(10)}…`);
  assert.equal(visible("ünïcødé 🐈 <b>"), "ünïcødé 🐈 <b>");
});

test("the address says all that is visible, and is read back", () => {
  const state = parseUrl("#/sandbox/a%2Fb?t=1-2&f=src%3Aagent");
  assert.deepEqual([state.page, state.id, state.query.get("f")], ["sandbox", "a/b", "src:agent"]);
  assert.equal(formatUrl(state), "#/sandbox/a%2Fb?t=1-2&f=src%3Aagent");
  assert.equal(formatUrl(withQuery(state, { t: undefined, span: "ab" })), "#/sandbox/a%2Fb?f=src%3Aagent&span=ab");
  for (const wrong of ["", "#/nothing", "#/sandbox/%ff", "#token=x"]) {
    assert.ok(parseUrl(wrong).query.get("f") === null);
  }
  assert.deepEqual(parseStretch("-5-20"), { from: -5, to: 20 });
  for (const wrong of ["5-5", "9-1", "a-b", "", null]) assert.equal(parseStretch(wrong), undefined);
});

test("zooming keeps the point under the pointer, and stays within everything", () => {
  const all = { from: 0, to: 1000 };
  assert.deepEqual(zoomed({ from: 0, to: 1000 }, 250, 0.5, all), { from: 125, to: 625 });
  assert.deepEqual(zoomed({ from: 0, to: 500 }, 0, 10, all), all);
  assert.deepEqual(within({ from: -50, to: 50 }, all), { from: 0, to: 100 });
  assert.deepEqual(padded({ from: 100, to: 1100 }, 0.1), { from: 0, to: 1200 });
});

test("ticks are round numbers", () => {
  assert.deepEqual(ticks({ from: 0, to: 956e6 }), [0, 200e6, 400e6, 600e6, 800e6]);
  assert.ok(ticks({ from: 1.23e9, to: 1.230001e9 }).length <= 7);
});

const detail = ask<SandboxDetail>(handlerOf(recordedStore()), `/sandboxes/${SANDBOX}`);

test("rows are a tree: parents before children, siblings by start", () => {
  const rows = buildRows(detail, false);
  assert.equal(rows.order.length, detail.columns.id.length + detail.untraced.length);
  const at = new Map([...rows.order].map((item, index) => [item, index]));
  for (const item of rows.order) {
    const parent = rows.parent[item] as number;
    if (parent >= 0) assert.ok((at.get(parent) as number) < (at.get(item) as number));
  }
  const root = rows.order[0] as number;
  assert.equal(nameOf(detail, root), "root-span");
  assert.equal(rows.depth[root], 0);
});

test("folding hides exactly what is below", () => {
  const rows = buildRows(detail, false);
  const create = detail.columns.name.findIndex((name) => detail.columns.names[name] === "create_container");
  const visible = visibleItems(rows, new Set([create]));
  assert.equal(visible.length, rows.order.length - (rows.subtree[create] as number) + 1);
  assert.ok(visible.includes(create));
  assert.ok(![...visible].some((item) => rows.parent[item] === create));
});

test("an item's key in the address leads back to it", () => {
  const { count } = buildRows(detail, false);
  for (let item = 0; item < count; item++) assert.equal(itemOfKey(detail, keyOf(detail, item)), item);
  assert.equal(itemOfKey(detail, "gap99"), -1);
  assert.equal(itemOfKey(detail, "ffffffffffffffff"), -1);
});

test("a guest's times move by its clock's offset, unless they are shown raw", () => {
  const aligned = { ...detail, clock: { state: "aligned", offset: -500, error: 1 } } as const;
  const [there, raw] = [buildRows(aligned, false), buildRows(aligned, true)];
  for (let item = 0; item < there.spans; item++) assert.equal(there.start[item], (raw.start[item] as number) - 500);
});
