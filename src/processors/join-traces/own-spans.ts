import { Buffer } from "node:buffer";
import { VERSION } from "../../base/version.ts";
import { EncodedSpans } from "../../otlp/encoded-spans.ts";
import { recordToPart } from "../../otlp/record-encoder.ts";
import type { KeyValueRecord, SpanRecord } from "../../otlp/span-record.ts";
import { KIND_INTERNAL } from "../../otlp/trace-fields.ts";
import type { SpanSink } from "../../pipeline/sink.ts";
import type { Source } from "../../pipeline/source.ts";
import type { JoinedSandbox } from "./joined-sandbox.ts";
import type { MissingParent } from "./missing-parents.ts";
import { hexOf } from "./span-id.ts";

/** The name of a sandbox's root. */
const ROOT_NAME = "sandbox";
/** The name of a span that stands for one that never came, and the attribute that says so. */
const MISSING_NAME = "missing span";
const MISSING_ATTRIBUTE = "kata.missing";

/** W3C Trace Context: this span is sampled. */
const SAMPLED = 1;

const NO_RESOURCE: SpanRecord["resource"] = { attributes: [], droppedAttributesCount: 0, schemaUrl: "" };
const SCOPE: SpanRecord["scope"] = {
  name: "kata-trace-forwarder",
  version: VERSION,
  attributes: [],
  droppedAttributesCount: 0,
  schemaUrl: "",
};

/** A span of the forwarder's own. Times are Unix nanoseconds. */
interface OwnSpan {
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly start: bigint;
  readonly end: bigint;
  readonly attributes: readonly KeyValueRecord[];
}

/**
 * Hands on a span for each parent that a sandbox's spans name and that never came, and then the sandbox's root. Gives
 * way after each of them. At the end the sandbox gives back what it knows of spans.
 *
 * @param end when the sandbox ended, Unix nanoseconds. Spans may have ended later, by the guest's clock.
 * @param received is called for each span, before it is handed on.
 */
export function* sendOwnSpans(
  sink: SpanSink,
  sandbox: JoinedSandbox,
  end: bigint,
  received: () => void,
): Generator<void> {
  const { trace, attributes, parents } = sandbox;
  const traceId = Buffer.from(trace.traceId).toString("hex");
  const rootId = Buffer.from(trace.rootSpanId).toString("hex");
  const spans = new EncodedSpans();
  const send = (source: Source, resource: Uint8Array, span: OwnSpan): void => {
    spans.clear();
    addSpan(spans, resource, traceId, span);
    const way = sink.open(source);
    received();
    way.accept(spans);
    way.close();
  };
  for (const [id, parent] of parents.missing) {
    // It is the root itself that they name.
    if (hexOf(id) === rootId) continue;
    send(parent.source, parent.resource, missingSpan(hexOf(id), rootId, parent));
    yield;
  }
  parents.close();
  if (sandbox.start === undefined) return;
  const root: OwnSpan = {
    spanId: rootId,
    parentSpanId: "",
    name: ROOT_NAME,
    start: sandbox.start,
    end: [sandbox.start, sandbox.end, end].reduce((latest, time) => time > latest ? time : latest),
    attributes: [],
  };
  // Like the runtime's own spans it is never held up, and it belongs to the sandbox whatever becomes of its guest.
  const id = String(attributes.get("kata.sandbox.id"));
  send({ kind: "runtime", name: id, account: `runtime:${id}`, attributes }, new Uint8Array(0), root);
}

function missingSpan(spanId: string, rootId: string, { start, end }: MissingParent): OwnSpan {
  const attributes = [{ key: MISSING_ATTRIBUTE, value: { boolValue: true } }];
  return { spanId, parentSpanId: rootId, name: MISSING_NAME, start, end, attributes };
}

function addSpan(spans: EncodedSpans, resource: Uint8Array, traceId: string, own: OwnSpan): void {
  const { start, end, ...rest } = own;
  const part = recordToPart({
    traceId,
    ...rest,
    traceState: "",
    kind: KIND_INTERNAL,
    startTimeUnixNano: String(start),
    endTimeUnixNano: String(end),
    droppedAttributesCount: 0,
    events: [],
    droppedEventsCount: 0,
    links: [],
    droppedLinksCount: 0,
    status: { code: 0, message: "" },
    flags: SAMPLED,
    resource: NO_RESOURCE,
    scope: SCOPE,
  });
  const { writer } = spans;
  const put = (bytes: Uint8Array): [start: number, end: number] => {
    const from = writer.position;
    writer.bytes(bytes);
    return [from, writer.position];
  };
  spans.setResource(...put(resource));
  spans.setScope(...put(part.scope));
  spans.add(...put(part.span));
}
