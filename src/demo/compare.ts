import type { KeyValueRecord, SpanRecord } from "../otlp/json-record.ts";

/** A span as it must arrive, with the host's attributes in its resource. */
export type ExpectedSpan = Omit<SpanRecord, "scope" | "resource"> & {
  readonly resource: { readonly attributes: readonly KeyValueRecord[] };
};

/** Fields of a scope and a resource that agents' spans do not have. */
const NO_SCOPE = {
  name: "",
  version: "",
  attributes: [],
  droppedAttributesCount: 0,
  schemaUrl: "",
};
const REST_OF_RESOURCE = { droppedAttributesCount: 0, schemaUrl: "" };

/**
 * The differences between the spans that must arrive, each of them once, and those that did arrive. There is a line for
 * each missing, unexpected or repeated span, and for each different field. The order of a span's and a resource's
 * attributes does not matter.
 */
export function differences(
  expected: readonly ExpectedSpan[],
  received: readonly SpanRecord[],
): string[] {
  const found: string[] = [];
  const arrived = Map.groupBy(received, (span) => span.spanId);
  for (const span of expected) {
    const [first, ...more] = arrived.get(span.spanId) ?? [];
    arrived.delete(span.spanId);
    const title = `span ${span.spanId} (${span.name})`;
    if (first === undefined) {
      found.push(`${title} did not arrive`);
      continue;
    }
    if (more.length > 0) found.push(`${title} arrived ${more.length + 1} times`);
    const whole = {
      ...span,
      scope: NO_SCOPE,
      resource: { ...REST_OF_RESOURCE, ...span.resource },
    };
    for (const difference of fieldDifferences(sorted(whole), sorted(first))) {
      found.push(`${title}: ${difference}`);
    }
  }
  for (const [spanId, [span]] of arrived) found.push(`span ${spanId} (${span?.name}) was not sent`);
  return found;
}

function sorted(span: SpanRecord): SpanRecord {
  const byKey = (attributes: readonly KeyValueRecord[]) =>
    attributes.toSorted((a, b) => a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
  return {
    ...span,
    attributes: byKey(span.attributes),
    resource: { ...span.resource, attributes: byKey(span.resource.attributes) },
  };
}

function fieldDifferences(expected: SpanRecord, received: SpanRecord): string[] {
  const found: string[] = [];
  const names = new Set([...Object.keys(expected), ...Object.keys(received)]);
  for (const name of names as Set<keyof SpanRecord>) {
    const [wanted, got] = [canonical(expected[name]), canonical(received[name])];
    if (wanted !== got) found.push(`${name} is ${got}, not ${wanted}`);
  }
  return found;
}

/** JSON with the members of every object in one order. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, member: unknown) => {
    if (typeof member !== "object" || member === null || Array.isArray(member)) return member;
    return Object.fromEntries(
      Object.entries(member).sort(([a], [b]) => a < b ? -1 : 1),
    );
  });
}
