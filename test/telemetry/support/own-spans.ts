import { decode, type PlainMessage } from "../../otlp/support/otlp-proto.ts";

/** One of the forwarder's own spans, as a collector sees it. Values of attributes are text. */
export interface OwnSpan {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  /** Empty if there is none. */
  readonly parentSpanId: string;
  readonly kind: number;
  /** Nanoseconds since 1970. */
  readonly start: bigint;
  readonly end: bigint;
  readonly attributes: Readonly<Record<string, string>>;
  readonly events: readonly (readonly [name: string, attributes: Readonly<Record<string, string>>])[];
  readonly links: readonly {
    readonly traceId: string;
    readonly spanId: string;
    readonly flags: number;
  }[];
  /** OTLP's code: 0 unset, 1 ok, 2 error. */
  readonly status: number;
  readonly statusMessage: string;
  readonly resource: Readonly<Record<string, string>>;
  /** The name of its scope. */
  readonly scope: string;
}

interface Attribute {
  readonly key: string;
  readonly value: PlainMessage;
}
interface DecodedSpan extends PlainMessage {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly kind: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes?: Attribute[];
  readonly events?: { name: string; attributes?: Attribute[] }[];
  readonly links?: { traceId: string; spanId: string; flags: number }[];
  readonly status?: { code?: number; message?: string };
}
interface DecodedRequest {
  readonly resourceSpans?: {
    readonly resource?: { readonly attributes?: Attribute[] };
    readonly scopeSpans?: {
      readonly scope?: { readonly name?: string };
      readonly spans?: DecodedSpan[];
    }[];
  }[];
}

/** All spans of a request, including guests', decoded by an independent decoder. */
export function ownSpans(request: Uint8Array): OwnSpan[] {
  const { resourceSpans = [] } = decode("ExportTraceServiceRequest", request) as DecodedRequest;
  return resourceSpans.flatMap(({ resource, scopeSpans = [] }) =>
    scopeSpans.flatMap(({ scope, spans = [] }) =>
      spans.map((span) => ({
        name: span.name,
        traceId: span.traceId,
        spanId: span.spanId,
        parentSpanId: span.parentSpanId ?? "",
        kind: span.kind,
        start: BigInt(span.startTimeUnixNano),
        end: BigInt(span.endTimeUnixNano),
        attributes: textsOf(span.attributes),
        events: (span.events ?? []).map(({ name, attributes }) => [name, textsOf(attributes)] as const),
        links: (span.links ?? []).map(({ traceId, spanId, flags }) => ({ traceId, spanId, flags })),
        status: span.status?.code ?? 0,
        statusMessage: span.status?.message ?? "",
        resource: textsOf(resource?.attributes),
        scope: scope?.name ?? "",
      }))
    )
  );
}

function textsOf(attributes: readonly Attribute[] = []): Record<string, string> {
  return Object.fromEntries(
    attributes.map(({ key, value }) => [key, String(Object.values(value)[0])]),
  );
}
