import assert from "node:assert/strict";
import { test } from "node:test";
import { differences, type ExpectedSpan } from "../../src/demo/compare.ts";
import type { SpanRecord } from "../../src/otlp/json-record.ts";

const RECEIVED: SpanRecord = {
  traceId: "8af00a133fad517d86cc7763222724a2",
  spanId: "fc9562c3091f55b7",
  traceState: "a=b",
  parentSpanId: "6da293fb18d37054",
  flags: 1,
  name: "mount",
  kind: 1,
  startTimeUnixNano: "1767000000636485099",
  endTimeUnixNano: "1767000000641971299",
  attributes: [{ key: "a", value: { intValue: "1" } }, { key: "b", value: { stringValue: "x" } }],
  droppedAttributesCount: 1,
  events: [{ timeUnixNano: "3", name: "e", attributes: [], droppedAttributesCount: 0 }],
  droppedEventsCount: 2,
  links: [],
  droppedLinksCount: 3,
  status: { code: 2, message: "failed" },
  resource: {
    attributes: [{ key: "service.name", value: { stringValue: "kata-agent" } }],
    droppedAttributesCount: 0,
    schemaUrl: "",
  },
  scope: { name: "", version: "", attributes: [], droppedAttributesCount: 0, schemaUrl: "" },
};
const { scope: _, ...rest } = RECEIVED;
const EXPECTED: ExpectedSpan = {
  ...rest,
  resource: { attributes: RECEIVED.resource.attributes },
};

test("spans that arrive as they were sent have no differences, whatever the order of attributes and members", () => {
  assert.deepEqual(differences([EXPECTED], [RECEIVED]), []);
  const reordered = {
    ...RECEIVED,
    attributes: RECEIVED.attributes.toReversed(),
    status: { message: "failed", code: 2 },
  };
  assert.deepEqual(differences([EXPECTED], [reordered]), []);
});

test("every field is compared", () => {
  const changes: Partial<SpanRecord> = {
    traceId: "x",
    traceState: "",
    parentSpanId: "",
    flags: 0,
    name: "umount",
    kind: 2,
    startTimeUnixNano: "1767000000636485100",
    endTimeUnixNano: "1767000000641971300",
    attributes: RECEIVED.attributes.slice(1),
    droppedAttributesCount: 0,
    events: [],
    droppedEventsCount: 0,
    links: [{
      traceId: "x",
      spanId: "y",
      traceState: "",
      attributes: [],
      droppedAttributesCount: 0,
      flags: 0,
    }],
    droppedLinksCount: 0,
    status: { code: 2, message: "" },
    resource: { ...RECEIVED.resource, schemaUrl: "s" },
    scope: { ...RECEIVED.scope, name: "n" },
  };
  assert.deepEqual(
    new Set([...Object.keys(changes), "spanId"]),
    new Set(Object.keys(RECEIVED)),
    "each field is changed once",
  );
  for (const [name, value] of Object.entries(changes)) {
    const found = differences([EXPECTED], [{ ...RECEIVED, [name]: value }]);
    assert.equal(found.length, 1, name);
    assert.match(found[0] ?? "", new RegExp(`^span fc9562c3091f55b7 \\(mount\\): ${name} is `));
  }
  assert.deepEqual(differences([EXPECTED], [{ ...RECEIVED, name: "umount" }]), [
    'span fc9562c3091f55b7 (mount): name is "umount", not "mount"',
  ]);
});

test("the order of events matters, and so do repeated attributes", () => {
  const events = [
    { timeUnixNano: "3", name: "e", attributes: [], droppedAttributesCount: 0 },
    { timeUnixNano: "4", name: "f", attributes: [], droppedAttributesCount: 0 },
  ];
  assert.equal(
    differences([{ ...EXPECTED, events }], [{ ...RECEIVED, events: [...events].reverse() }]).length,
    1,
  );
  const twice = [...RECEIVED.attributes, ...RECEIVED.attributes.slice(0, 1)];
  assert.equal(differences([EXPECTED], [{ ...RECEIVED, attributes: twice }]).length, 1);
});

test("missing, repeated and unexpected spans are differences", () => {
  assert.deepEqual(differences([EXPECTED], []), ["span fc9562c3091f55b7 (mount) did not arrive"]);
  assert.deepEqual(differences([EXPECTED], [RECEIVED, RECEIVED]), [
    "span fc9562c3091f55b7 (mount) arrived 2 times",
  ]);
  assert.deepEqual(differences([EXPECTED], [RECEIVED, { ...RECEIVED, spanId: "1" }]), [
    "span 1 (mount) was not sent",
  ]);
});
