import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { decodeBody, decodeOne, decodeTags, plain, thriftSpan } from "../support/jaeger-decode.ts";
import { binary, bool, double, encodeThriftBatch, long, string } from "../support/thrift-encoder.ts";
import type { ThriftReference, ThriftTag } from "../support/thrift-encoder.ts";

describe("kind", () => {
  test("a span without a span.kind is internal, with either exporter", () => {
    assert.equal(decodeTags().kind, 1);
  });
  for (
    const [name, kind] of [["internal", 1], ["server", 2], ["client", 3], ["producer", 4], ["consumer", 5]] as const
  ) {
    test(`span.kind ${name} is kind ${kind}, and no attribute`, () => {
      const span = decodeTags(string("span.kind", name), long("x", 1n));
      assert.equal(span.kind, kind);
      assert.deepEqual(plain(span.attributes), { x: "1" });
    });
  }
  test("the last span.kind is the exporter's, one before it the user's", () => {
    const span = decodeTags(string("span.kind", "server"), string("span.kind", "client"));
    assert.equal(span.kind, 3);
    assert.deepEqual(plain(span.attributes), { "span.kind": "server" });
  });
  test("a span.kind that is no kind or no string stays an attribute", () => {
    const span = decodeTags(string("span.kind", "Client"), long("a", 1n), long("span.kind", 3n));
    assert.equal(span.kind, 1);
    assert.deepEqual(plain(span.attributes), { "a": "1", "span.kind": "3" });
  });
});

describe("status", () => {
  const rows: readonly (readonly [what: string, tags: ThriftTag[], status: object, attributes: object])[] = [
    ["Go's 1 is Error", [long("otel.status_code", 1n), bool("error", true)], { code: 2, message: "" }, {}],
    ["Go's 2 is Ok", [long("otel.status_code", 2n)], { code: 1, message: "" }, {}],
    [
      "Go's description comes behind the code",
      [long("otel.status_code", 1n), string("otel.status_description", "why"), bool("error", true)],
      { code: 2, message: "why" },
      {},
    ],
    [
      "Rust's ERROR, with the error in front of the code",
      [bool("error", true), string("otel.status_code", "ERROR"), string("otel.status_description", "why")],
      { code: 2, message: "why" },
      {},
    ],
    ["Rust's OK", [string("otel.status_code", "OK")], { code: 1, message: "" }, {}],
    [
      "a user's code and description in front of Go's",
      [string("otel.status_code", "ERROR"), string("otel.status_description", "mine"), long("otel.status_code", 2n)],
      { code: 1, message: "" },
      { "otel.status_code": "ERROR", "otel.status_description": "mine" },
    ],
    ["a code that is none", [long("otel.status_code", 3n)], { code: 0, message: "" }, { "otel.status_code": "3" }],
    ["a name that is none", [string("otel.status_code", "ok")], { code: 0, message: "" }, { "otel.status_code": "ok" }],
    ["error=true alone is an error", [bool("error", true)], { code: 2, message: "" }, {}],
    ["error=false says nothing", [bool("error", false)], { code: 0, message: "" }, { error: false }],
    ["Kata's text in error says nothing", [string("error", "busy")], { code: 0, message: "" }, { error: "busy" }],
    [
      "Kata's text in error stays beside the exporter's",
      [string("error", "busy"), long("otel.status_code", 1n), bool("error", true)],
      { code: 2, message: "" },
      { error: "busy" },
    ],
    ["error=true of a span that is Ok is the user's", [bool("error", true), long("otel.status_code", 2n)], {
      code: 1,
      message: "",
    }, { error: true }],
    ["a description alone", [string("otel.status_description", "x")], { code: 0, message: "" }, {
      "otel.status_description": "x",
    }],
  ];
  for (const [what, tags, status, attributes] of rows) {
    test(what, () => {
      const span = decodeTags(...tags);
      assert.deepEqual(span.status, status);
      assert.deepEqual(plain(span.attributes), attributes);
    });
  }
});

describe("the Go exporter up to 0.15", () => {
  const ended = (code: bigint, message: string, kind: string): ThriftTag[] => [
    string("status", "mine"),
    string("otel.instrumentation_library.name", "kata"),
    string("otel.instrumentation_library.version", "1"),
    long("status.code", code),
    string("status.message", message),
    string("span.kind", kind),
    ...code === 1n ? [bool("error", true)] : [],
  ];
  test("its three tags at the end are status and kind", () => {
    const cases = [[0n, 0, "", "internal", 1], [1n, 2, "why", "client", 3], [2n, 1, "", "server", 2]] as const;
    for (const [code, status, message, kind, number] of cases) {
      const span = decodeTags(...ended(code, message, kind));
      assert.deepEqual(span.status, { code: status, message });
      assert.equal(span.kind, number);
      assert.deepEqual(plain(span.attributes), { status: "mine" });
      assert.deepEqual(span.scope, { name: "kata", version: "1" });
    }
  });
  test("elsewhere or of another type they are attributes", () => {
    const moved = decodeTags(...ended(0n, "", "client"), long("x", 1n));
    assert.equal(plain(moved.attributes)["status.code"], "0");
    assert.equal(plain(moved.attributes)["otel.instrumentation_library.name"], "kata");
    assert.deepEqual(moved.scope, { name: "", version: "" });
    assert.equal(decodeTags(...ended(7n, "", "client")).status.code, 0);
    assert.deepEqual(plain(decodeTags(string("status.code", "1")).attributes), { "status.code": "1" });
  });
  test("an event's name is its last field, `name`", () => {
    const fields = [string("name", "an attribute"), string("event", "another"), string("name", "the name")];
    const [event] = decodeOne({ tags: ended(0n, "", "internal"), logs: [{ timestamp: 7n, fields }] }).events;
    assert.equal(event?.name, "the name");
    assert.deepEqual(plain(event?.attributes ?? []), { name: "an attribute", event: "another" });
    const [later] = decodeOne({ logs: [{ timestamp: 7n, fields }] }).events;
    assert.equal(later?.name, "another");
  });
  test("its references are links, though they say CHILD_OF", () => {
    const references = [{ refType: 0, traceIdLow: 2n, traceIdHigh: 1n, spanId: 9n }];
    const span = decodeOne({ tags: ended(0n, "", "internal"), references });
    assert.equal(span.parentSpanId, "");
    assert.deepEqual(span.links.map(({ spanId }) => spanId), ["0000000000000009"]);
  });
});

describe("scope", () => {
  test("name and version come from otel.library.*", () => {
    const span = decodeTags(string("otel.library.name", "lib"), string("otel.library.version", "1.2"));
    assert.deepEqual(span.scope, { name: "lib", version: "1.2" });
    assert.deepEqual(span.attributes, []);
  });
  test("a user's tags in front of the exporter's stay attributes", () => {
    const span = decodeTags(
      string("otel.library.version", "mine"),
      string("otel.library.name", "mine"),
      string("otel.library.name", "lib"),
    );
    assert.deepEqual(span.scope, { name: "lib", version: "" });
    assert.deepEqual(plain(span.attributes), { "otel.library.name": "mine", "otel.library.version": "mine" });
  });
  test("spans of one scope share its bytes", () => {
    const lib = (name: string) => thriftSpan({ tags: [string("otel.library.name", name)] });
    const body = encodeThriftBatch({
      serviceName: "kata",
      spans: [lib("a"), lib("a"), lib("b"), thriftSpan(), lib("b")],
    });
    assert.deepEqual(decodeBody(body).records.map(({ scope }) => scope.name), ["a", "a", "b", "", "b"]);
  });
});

describe("resource", () => {
  const resource = (serviceName: string, processTags?: ThriftTag[]) => {
    const batch = { serviceName, ...processTags && { processTags }, spans: [thriftSpan()] };
    return decodeBody(encodeThriftBatch(batch)).records[0]?.resource ?? [];
  };
  test("the service's name and the process's tags", () => {
    assert.deepEqual(plain(resource("kata", [string("exporter", "jaeger"), bool("b", true)])), {
      "b": true,
      "exporter": "jaeger",
      "service.name": "kata",
    });
  });
  test("the service's name comes once, whatever a tag says", () => {
    assert.deepEqual(plain(resource("kata", [string("service.name", "kata"), long("service.name", 1n)])), {
      "service.name": "kata",
    });
  });
  test("without a service's name the tag is taken, and nothing at all is no resource", () => {
    assert.deepEqual(plain(resource("", [string("service.name", "tag")])), { "service.name": "tag" });
    assert.deepEqual(resource(""), []);
  });
});

describe("events", () => {
  const event = (...fields: ThriftTag[]) => decodeOne({ logs: [{ timestamp: 7n, fields }] }).events[0];
  test("Go's name is the first field, Rust's the last", () => {
    assert.equal(event(string("event", "go"), string("event", "attribute"))?.name, "go");
    assert.equal(event(long("x", 1n), string("event", "rust"))?.name, "rust");
    assert.equal(event(long("event", 1n))?.name, "");
  });
  test("the number of dropped attributes", () => {
    const dropped = event(string("event", "e"), long("otel.event.dropped_attributes_count", 7n));
    assert.equal(dropped?.droppedAttributesCount, 7);
    assert.deepEqual(dropped?.attributes, []);
    const negative = event(long("otel.event.dropped_attributes_count", -1n));
    assert.equal(negative?.droppedAttributesCount, 0);
    assert.deepEqual(plain(negative?.attributes ?? []), { "otel.event.dropped_attributes_count": "-1" });
  });
});

describe("links and parents", () => {
  const reference = (refType: number, spanId: bigint, traceIdLow = 2n): ThriftReference => ({
    refType,
    traceIdLow,
    traceIdHigh: 1n,
    spanId,
  });
  test("FOLLOWS_FROM is a link, also into its own trace, and never a parent", () => {
    const span = decodeOne({ references: [reference(1, 8n), reference(1, 9n, 77n)] });
    assert.equal(span.parentSpanId, "");
    assert.deepEqual(span.links.map(({ traceId, spanId }) => [traceId, spanId]), [
      ["00000000000000010000000000000002", "0000000000000008"],
      ["0000000000000001000000000000004d", "0000000000000009"],
    ]);
  });
  test("CHILD_OF in the span's trace is its parent, as OpenTracing's clients say it", () => {
    const span = decodeOne({ references: [reference(0, 5n, 77n), reference(0, 8n), reference(0, 9n)] });
    assert.equal(span.parentSpanId, "0000000000000008");
    assert.deepEqual(span.links.map(({ spanId }) => spanId), ["0000000000000005", "0000000000000009"]);
    const twice = decodeOne({ parentSpanId: 8n, references: [reference(0, 8n)] });
    assert.equal(twice.parentSpanId, "0000000000000008");
    assert.deepEqual(twice.links, []);
  });
  test("a link to nothing is left out and counted", () => {
    const span = decodeOne({ references: [reference(1, 0n), reference(1, 4n)] });
    assert.equal(span.links.length, 1);
    assert.equal(span.droppedLinksCount, 1);
  });
});

describe("times", () => {
  const times = (startTime: bigint, duration: bigint) => {
    const span = decodeOne({ startTime, duration });
    return [span.startTimeUnixNano, span.endTimeUnixNano];
  };
  test("microseconds are exact in nanoseconds, and the end is start and duration", () => {
    assert.deepEqual(times(1_787_000_000_124_071n, 7432n), ["1787000000124071000", "1787000000131503000"]);
    assert.deepEqual(times(18_446_744_073_709_551n, 0n), ["18446744073709551000", "18446744073709551000"]);
  });
  test("a negative duration ends before the start, and what is before 1970 is 0", () => {
    assert.deepEqual(times(10n, -4n), ["10000", "6000"]);
    assert.deepEqual(times(10n, -40n), ["10000", "0"]);
    assert.deepEqual(times(-10n, 40n), ["0", "30000"]);
    assert.deepEqual(times(-(1n << 63n), -(1n << 63n)), ["0", "0"]);
  });
  test("a time that OTLP cannot tell costs its span alone", () => {
    const late = [
      thriftSpan({ startTime: 18_446_744_073_709_552n }),
      thriftSpan({ startTime: (1n << 63n) - 1n, duration: (1n << 63n) - 1n }),
      thriftSpan({ duration: (1n << 63n) - 1n }),
      thriftSpan({ logs: [{ timestamp: (1n << 63n) - 1n, fields: [] }] }),
    ];
    const body = encodeThriftBatch({ serviceName: "kata", spans: [...late, thriftSpan({ operationName: "good" })] });
    const { batch, records } = decodeBody(body);
    assert.deepEqual(records.map(({ name }) => name), ["good"]);
    assert.deepEqual([...batch.invalid], [["time-out-of-range", 4]]);
  });
});

test("IDs are the halves as unsigned numbers, the high one first; zeros cost the span", () => {
  const span = decodeOne({ traceIdLow: -1n, traceIdHigh: -(1n << 63n), spanId: -2n, parentSpanId: -3n });
  assert.equal(span.traceId, "8000000000000000ffffffffffffffff");
  assert.equal(span.spanId, "fffffffffffffffe");
  assert.equal(span.parentSpanId, "fffffffffffffffd");
  assert.equal(decodeOne({ traceIdHigh: 0n }).traceId, "00000000000000000000000000000002");
  const none = [thriftSpan({ traceIdLow: 0n, traceIdHigh: 0n }), thriftSpan({ spanId: 0n })];
  const { batch, records } = decodeBody(encodeThriftBatch({ serviceName: "kata", spans: none }));
  assert.deepEqual(records, []);
  assert.deepEqual([...batch.invalid], [["invalid-value", 2]]);
});

test("of the flags only the low eight bits are W3C's", () => {
  assert.deepEqual([0, 1, 0x103, -1].map((flags) => decodeOne({ flags }).traceFlags), [0, 1, 3, 0xff]);
});

test("values keep their type, and arrays stay the text that exporters make of them", () => {
  const span = decodeTags(
    string("array", '["a","b"]'),
    double("double", -0.5),
    double("nan", NaN),
    long("long", -(1n << 63n)),
    binary("bytes", Uint8Array.of(0, 255)),
  );
  assert.deepEqual(plain(span.attributes), {
    array: '["a","b"]',
    bytes: "AP8=",
    double: -0.5,
    long: "-9223372036854775808",
    nan: "NaN",
  });
});

test("a tag without the value of its type has an empty one; of an unknown type, the one that is there", () => {
  const span = decodeTags(
    { key: "text", vType: 0, vLong: 5n },
    { key: "long", vType: 3 },
    { key: "odd", vType: 99, vLong: 5n },
    { key: "none", vType: -1 },
  );
  assert.deepEqual(plain(span.attributes), { text: "", long: "0", odd: "5", none: "" });
});

test("of two tags with one key the later one stays", () => {
  assert.deepEqual(plain(decodeTags(long("a", 1n), long("b", 2n), string("a", "3")).attributes), { a: "3", b: "2" });
});

test("spans of the exporter's own HTTP/2 client are left out and counted, unless they are wanted", () => {
  const from = (namespace: string) =>
    thriftSpan({ operationName: namespace, tags: [string("code.namespace", namespace)] });
  const body = encodeThriftBatch({
    serviceName: "kata-sb-12345678",
    spans: ["h2::proto::x", "hyper::client", "h2", "h2client::x", "runtime_rs::h2::x"].map(from),
  });
  const { batch, records } = decodeBody(body);
  assert.deepEqual(records.map(({ name }) => name), ["h2", "h2client::x", "runtime_rs::h2::x"]);
  assert.equal(batch.noise, 2);
  const kept = decodeBody(body, true);
  assert.equal(kept.records.length, 5);
  assert.equal(kept.batch.noise, 0);
});

test("a batch tells its service, and its sandbox if its spans name one alone", () => {
  const named = (...ids: (string | undefined)[]) => {
    const list = ids.map((id) => thriftSpan(id === undefined ? {} : { tags: [string("sandbox_id", id)] }));
    return decodeBody(encodeThriftBatch({ serviceName: "kata", spans: list })).batch;
  };
  assert.equal(named("a").serviceName, "kata");
  assert.equal(named(undefined, "a", "a").sandboxId, "a");
  assert.equal(named("a", "b", "a").sandboxId, undefined);
  assert.equal(named(undefined).sandboxId, undefined);
  assert.equal(named("").sandboxId, undefined);
});
