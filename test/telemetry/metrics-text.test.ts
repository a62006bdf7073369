import assert from "node:assert/strict";
import { test } from "node:test";
import { Histogram } from "../../src/pipeline/metrics.ts";
import { exposition } from "../../src/telemetry/metrics-text.ts";
import { readExposition } from "./support/exposition.ts";

test("counters, gauges and labels are written in the format", () => {
  const text = exposition([
    { name: "a_total", help: "Of a.", type: "counter", samples: [{ value: 3 }] },
    {
      name: "b",
      help: "Of b.",
      type: "gauge",
      samples: [
        { labels: { x: "1", y: "two" }, value: 0.5 },
        { labels: { x: "2", y: "two" }, value: 1e21 },
      ],
    },
  ]);
  assert.equal(
    text,
    "# HELP a_total Of a.\n# TYPE a_total counter\na_total 3\n" +
      '# HELP b Of b.\n# TYPE b gauge\nb{x="1",y="two"} 0.5\nb{x="2",y="two"} 1e+21\n',
  );
  assert.equal(readExposition(text).get("b")?.series.get('b{x="2",y="two"}'), 1e21);
});

test("help and label values are escaped, and infinities are spelled as in Prometheus", () => {
  const text = exposition([{
    name: "c",
    help: 'back\\slash\nnewline "quote"',
    type: "gauge",
    samples: [
      { labels: { l: 'a"b\\c\nd' }, value: Infinity },
      { labels: { l: "" }, value: -Infinity },
      { labels: { l: "n" }, value: NaN },
    ],
  }]);
  assert.equal(
    text,
    '# HELP c back\\\\slash\\nnewline "quote"\n# TYPE c gauge\n' +
      'c{l="a\\"b\\\\c\\nd"} +Inf\nc{l=""} -Inf\nc{l="n"} NaN\n',
  );
  assert.equal(readExposition(text).get("c")?.series.get('c{l=""}'), -Infinity);
});

test("a histogram is cumulative and ends with +Inf", () => {
  const histogram = new Histogram([0.25, 1]);
  for (const value of [0.25, 0.5, 0.75, 8]) histogram.observe(value);
  const text = exposition([{
    name: "h_seconds",
    help: "Of h.",
    type: "histogram",
    histograms: [{ labels: { of: "x" }, histogram }],
  }]);
  assert.equal(
    text,
    "# HELP h_seconds Of h.\n# TYPE h_seconds histogram\n" +
      'h_seconds_bucket{of="x",le="0.25"} 1\nh_seconds_bucket{of="x",le="1"} 3\n' +
      'h_seconds_bucket{of="x",le="+Inf"} 4\nh_seconds_sum{of="x"} 9.5\nh_seconds_count{of="x"} 4\n',
  );
});

test("the strict reader refuses invalid text", () => {
  const good = "# HELP a_total x\n# TYPE a_total counter\na_total 1\n";
  assert.equal(readExposition(good).size, 1);
  for (
    const bad of [
      good.slice(0, -1), // no end
      good + good, // twice
      good.replace("# HELP a_total x\n", ""), // no help
      good.replaceAll("a_total", "a"), // a counter without its suffix
      good.replace("counter", "gauge"), // a gauge with it
      good.replace("a_total 1", "a_total -1"), // a counter below 0
      good.replace("a_total 1", "a_total Nan"),
      good.replace("a_total 1", "a_total  1"),
      good.replace("a_total 1", "b_total 1"), // another family's sample
      good + "a_total 2\n", // a series twice
      good.replace("a_total 1", 'a_total{x="\\q"} 1'), // an escape that is none
      good.replace("a_total 1", "a_total 1 1700000000000"), // a timestamp
      '# HELP h x\n# TYPE h histogram\nh_bucket{le="1"} 2\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n',
      '# HELP h x\n# TYPE h histogram\nh_bucket{le="1"} 1\nh_sum 1\nh_count 1\n',
    ]
  ) assert.throws(() => readExposition(bad), Error, bad);
});
