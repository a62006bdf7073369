/** Whether what arrived is what was sent. */

import assert from "node:assert/strict";
import type { ReceivedLink, ReceivedSpan } from "../../collector/spans.ts";
import type { HostWord, SentSpan } from "./agent.ts";

/**
 * OTLP's `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK` and `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`
 * (opentelemetry/proto/trace/v1/trace.proto).
 */
const HAS_IS_REMOTE = 0x100;
const IS_REMOTE = 0x200;

/** What an agent does not say. */
const NO_SCOPE = {
  name: "",
  version: "",
  attributes: {},
  droppedAttributesCount: 0,
  schemaUrl: "",
};

/**
 * That each sent span was received exactly once, in every field, with the host's word over its resource, and that
 * nothing else was received.
 */
export function assertReceived(
  received: readonly ReceivedSpan[],
  sent: readonly SentSpan[],
  host: HostWord,
): void {
  const left = new Map(received.map((span) => [identity(span), span]));
  assert.equal(left.size, received.length, "a span was received more than once");
  for (const span of sent) {
    const found = left.get(identity(span));
    assert.ok(found, `${describe(span)} was not received`);
    left.delete(identity(span));
    assert.deepEqual({ ...found, links: found.links.map(asSent) }, asReceived(span, host));
  }
  assert.deepEqual([...left.values()].map(describe), [], "spans that nobody sent");
}

/** That each sent span was received in every field at least once, however often, and nothing else was received. */
export function assertDelivered(
  received: readonly ReceivedSpan[],
  sent: readonly SentSpan[],
  host: HostWord,
): void {
  const unique = new Map<string, ReceivedSpan>();
  for (const span of received) {
    const before = unique.get(identity(span));
    if (before === undefined) unique.set(identity(span), span);
    else assert.deepEqual(span, before);
  }
  assertReceived([...unique.values()], sent, host);
}

/** A sent span as a collector must show it. */
export function asReceived(span: SentSpan, host: HostWord): ReceivedSpan {
  // Who a guest is, only the host says.
  const { "kata.sandbox.id": _, "kata.vsock.cid": __, "kata.component": ___, ...resource } = span.resource;
  return {
    ...span,
    links: span.links.map((link) => ({ ...link, flags: link.flags | HAS_IS_REMOTE })),
    resource: {
      attributes: { ...resource, ...host },
      droppedAttributesCount: 0,
      schemaUrl: "",
    },
    scope: NO_SCOPE,
  };
}

/** A link without what the agent's side does not tell of it. */
function asSent(link: ReceivedLink): ReceivedLink {
  return { ...link, flags: link.flags & ~IS_REMOTE };
}

/** Ids alone do not do: random spans have extreme ones, which come again. */
function identity(span: ReceivedSpan | SentSpan): string {
  const { traceId, spanId, parentSpanId, startTimeUnixNano, endTimeUnixNano } = span;
  return [traceId, spanId, parentSpanId, startTimeUnixNano, endTimeUnixNano].join(" ");
}

function describe({ name, traceId, spanId }: ReceivedSpan | SentSpan): string {
  return `span ${spanId} of trace ${traceId}, ${JSON.stringify(name)},`;
}
