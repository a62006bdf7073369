import type { SpanRecord } from "../otlp/span-record.ts";
import type { SpanPart } from "../otlp/request-builder.ts";

/** Who sent a span: `file` is one that was read from a file, where everything is trusted alike. */
export type StoredKind = "guest" | "runtime" | "host" | "file";

/** Which program a span is from. */
export type Side = "runtime" | "agent" | "containerd" | "host";

/** The resource attribute that `--label` becomes, so that spans can be compared wherever they have gone. */
export const LABEL_ATTRIBUTE = "kata.label";

/** A span on its way into the store. */
export interface IncomingSpan {
  readonly kind: StoredKind;
  readonly part: SpanPart;
}

/** What the store has to know of a resource. */
export interface ResourceFacts {
  readonly serviceName: string | undefined;
  readonly sandbox: string | undefined;
  readonly cid: number | undefined;
  readonly component: string | undefined;
  /** The cohort that the host says it belongs to. */
  readonly label: string | undefined;
}

/** @param labelBy the attribute that says which cohort the resource belongs to. */
export function resourceFacts(
  { attributes }: SpanRecord["resource"],
  labelBy: string = LABEL_ATTRIBUTE,
): ResourceFacts {
  const text = (key: string): string | undefined => attributes.find((one) => one.key === key)?.value.stringValue;
  const cid = attributes.find((one) => one.key === "kata.vsock.cid")?.value.intValue;
  return {
    serviceName: text("service.name"),
    sandbox: text("kata.sandbox.id"),
    cid: cid === undefined ? undefined : Number(cid),
    component: text("kata.component"),
    label: text(labelBy),
  };
}

/** Which program spans with a resource are from. A guest is the agent, whatever it says. */
export function sideOf(kind: StoredKind, facts: ResourceFacts): Side {
  if (kind === "guest") return "agent";
  if (kind === "runtime") return "runtime";
  const { serviceName = "", component } = facts;
  if (kind === "file") {
    if (component === "agent" || component === "runtime") return component;
    if (serviceName === "kata-agent" || facts.cid !== undefined) return "agent";
  }
  if (serviceName === "kata" || serviceName.startsWith("kata-sb-")) return "runtime";
  if (serviceName.startsWith("containerd")) return "containerd";
  // Before the forwarder told components apart, a sandbox's ID on the resource meant the agent.
  return kind === "file" && facts.sandbox !== undefined ? "agent" : "host";
}
