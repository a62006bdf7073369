import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { columns } from "../../../src/view/terminal/terminal-text.ts";
import { waterfall, type WaterfallSpan, type WaterfallStyle } from "../../../src/view/terminal/waterfall.ts";

const PLAIN: WaterfallStyle = { width: 60, colour: false, unicode: true };
const MS = 1_000_000n;

/** A span from `start` to `end`, milliseconds. */
function span(
  id: string,
  parent: string,
  start: number,
  end: number,
  more: Partial<WaterfallSpan> = {},
): WaterfallSpan {
  return {
    traceId: "t",
    spanId: id,
    parentSpanId: parent,
    name: `span-${id}`,
    start: BigInt(start) * MS,
    end: BigInt(end) * MS,
    ...more,
  };
}

function draws(
  spans: readonly WaterfallSpan[],
  style: Partial<WaterfallStyle>,
  expected: string,
): void {
  const lines = waterfall(spans, { ...PLAIN, ...style });
  assert.equal(lines.map((line) => line.trimEnd()).join("\n"), expected.replace(/^\n|\n *$/g, ""));
}

const FAMILY = [
  span("c", "a", 50, 100),
  span("a", "", 0, 100),
  span("b", "a", 10, 40, { error: "it broke" }),
  span("d", "b", 20, 30),
];

test("a tree by parent and start, bars by time, failures marked and explained", () => {
  draws(
    FAMILY,
    {},
    `
trace t, 4 spans, 100 ms
span-a       ██████████████████████████████████████   100 ms
├─ ✗ span-b     ████████████                         30.0 ms
│    it broke
│  └─ span-d        ████                             10.0 ms
└─ span-c                       ███████████████████  50.0 ms
`,
  );
});

test("ASCII alone where the terminal knows no more", () => {
  draws(
    [...FAMILY, span("é\u202e", "a", 60, 60, { name: "né" })],
    { unicode: false, width: 50 },
    `
trace t, 5 spans, 100 ms
span-a       ############################   100 ms
|- x span-b    #########                   30.0 ms
|    it broke
|  \`- span-d      ###                      10.0 ms
|- span-c                  ##############  50.0 ms
\`- n\\u{e9}                   |                0 ns
`,
  );
});

test("colours: the tree dim, bars cyan, failures red", () => {
  const lines = waterfall(FAMILY, { ...PLAIN, colour: true });
  assert.equal(lines[0], "\x1b[1mtrace t, 4 spans, 100 ms\x1b[0m");
  assert.equal(
    lines[2],
    "\x1b[2m├─ \x1b[0m\x1b[31m✗ span-b\x1b[0m     \x1b[31m████████████\x1b[0m                         30.0 ms",
  );
  assert.equal(lines[3], "\x1b[2m│  \x1b[0m\x1b[31m  it broke\x1b[0m");
  assert.match(lines[4] as string, /^\x1b\[2m│ {2}└─ \x1b\[0mspan-d +\x1b\[36m████\x1b\[0m/);
  // Without the colours it is what is drawn without them.
  const plain = lines.map((line) => line.replace(/\x1b\[\d+m/g, ""));
  assert.deepEqual(plain, waterfall(FAMILY, PLAIN));
});

test("a span whose parent is not there is a root", () => {
  draws(
    [span("a", "gone", 0, 10), span("b", "lost", 5, 10), span("c", "b", 6, 8)],
    { width: 40 },
    `
trace t, 3 spans, 10.0 ms
span-a    █████████████████████  10.0 ms
span-b              ███████████  5.00 ms
└─ span-c             █████      2.00 ms
`,
  );
});

test("spans without length are shown, and so is a trace without any", () => {
  draws(
    [span("a", "", 0, 10), span("b", "a", 0, 0), span("c", "a", 10, 10)],
    { width: 40 },
    `
trace t, 3 spans, 10.0 ms
span-a    █████████████████████  10.0 ms
├─ span-b ▏                         0 ns
└─ span-c                     ▏     0 ns
`,
  );
  draws(
    [span("a", "", 7, 7), span("b", "a", 7, 7)],
    { width: 40 },
    `
trace t, 2 spans, 0 ns
span-a    ▏                         0 ns
└─ span-b ▏                         0 ns
`,
  );
  assert.deepEqual(waterfall([], PLAIN), []);
});

test("clock skew: children outside their parent, ends before starts", () => {
  draws(
    [span("a", "", 40, 60), span("b", "a", 0, 20), span("c", "a", 100, 80)],
    { width: 40 },
    `
trace t, 3 spans, 100 ms
span-a            █████          20.0 ms
├─ span-b ████                   20.0 ms
└─ span-c                 █████ -20.0 ms
`,
  );
});

test("times have all their bits: one nanosecond in 2^64", () => {
  const start = 2n ** 64n - 3n;
  const spans = [
    span("a", "", 0, 0, { start, end: start + 2n }),
    span("b", "a", 0, 0, { start: start + 1n, end: start + 2n }),
  ];
  draws(
    spans,
    { width: 40 },
    `
trace t, 2 spans, 2 ns
span-a    █████████████████████     2 ns
└─ span-b           ███████████     1 ns
`,
  );
});

test("several traces, each on its own time", () => {
  const other = span("x", "a", 1000, 1001, { traceId: "u" });
  draws(
    [span("a", "", 0, 10), other, span("b", "a", 0, 10)],
    { width: 40 },
    `
trace t, 2 spans, 10.0 ms
span-a    █████████████████████  10.0 ms
└─ span-b █████████████████████  10.0 ms
trace u, 1 span, 1.00 ms
span-x ████████████████████████  1.00 ms
`,
  );
});

test("deep trees: beyond half the width, the depth is a number", () => {
  const chain = Array.from(
    { length: 9 },
    (_, i) => span(`${i}`, i === 0 ? "" : `${i - 1}`, i, 20 - i, i === 7 ? { error: "deep" } : {}),
  );
  draws(
    chain,
    { width: 44 },
    `
trace t, 9 spans, 20.0 ms
span-0          ███████████████████  20.0 ms
└─ span-1       ██████████████████   18.0 ms
   └─ span-2     ████████████████    16.0 ms
      └─ span-3   ██████████████     14.0 ms
…4 span-4          ████████████      12.0 ms
…5 span-5           ██████████       10.0 ms
…6 span-6            ████████        8.00 ms
…7 ✗ span-7           ██████         6.00 ms
     deep
…8 span-8              ████          4.00 ms
`,
  );
});

test("a chain of 20,000 spans, a circle, a span that is its own parent, one id twice", () => {
  const chain = Array.from(
    { length: 20_000 },
    (_, i) => span(`${i}`, i === 0 ? "" : `${i - 1}`, i, i + 1),
  );
  const lines = waterfall(chain, PLAIN);
  assert.equal(lines.length, 20_001);
  assert.match(lines[20_000] as string, /^…19999 span-19999 +▏ {2}1\.00 ms$/);

  const strange = [
    span("a", "b", 0, 4),
    span("b", "a", 1, 3),
    span("s", "s", 5, 6),
    span("r", "", 7, 8),
    span("r", "", 7, 8),
    span("k", "r", 7, 8),
  ];
  draws(
    strange,
    { width: 40 },
    `
trace t, 6 spans, 8.00 ms
span-r                      ███  1.00 ms
└─ span-k                   ███  1.00 ms
span-r                      ███  1.00 ms
span-a    ███████████            4.00 ms
└─ span-b   ██████               2.00 ms
span-s                 ███       1.00 ms
`,
  );
});

test("what spans say cannot leave its column or steer the terminal", () => {
  const hostile = "\x1b[2J\x1b]0;x\x07\r\n\u202e" + "x".repeat(500);
  for (const width of [40, 61, 100, 200]) {
    for (const unicode of [true, false]) {
      const spans = [
        span("a", "", 0, 10, { traceId: hostile, name: hostile, error: hostile }),
        span("b", "a", 0, 10, {
          traceId: hostile,
          name: "中文".repeat(99),
          error: "é🙂".repeat(99),
        }),
        span("c", "b", 0, 10, { traceId: hostile, name: "" }),
      ];
      const lines = waterfall(spans, { width, colour: false, unicode });
      assert.equal(lines.length, 6);
      for (const line of lines) {
        assert.doesNotMatch(line, /[\p{Cc}\p{Cf}]/u);
        if (!unicode) assert.match(line, /^[ -~]*$/);
        assert.ok(columns(line) <= width, `${columns(line)} > ${width}: ${line}`);
      }
      // Bars and durations stay in their columns, however wide the characters before them.
      assert.ok([1, 3, 5].every((row) => columns(lines[row] as string) === width));
    }
  }
});

test("the recorded session, at 100 columns", () => {
  const fixture = new URL("../../fixtures/session-isolated.expected.jsonl", import.meta.url);
  const spans = readFileSync(fixture, "utf8").trim().split("\n").map((line): WaterfallSpan => {
    const record = JSON.parse(line);
    return {
      ...record,
      start: BigInt(record.startTimeUnixNano),
      end: BigInt(record.endTimeUnixNano),
      ...(record.status.code === 2 && { error: record.status.message }),
    };
  });
  const golden = readFileSync(new URL("session.golden.txt", import.meta.url), "utf8");
  assert.equal(`${waterfall(spans, { ...PLAIN, width: 100 }).join("\n")}\n`, golden);
});
