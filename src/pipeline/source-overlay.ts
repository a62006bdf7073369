import { ResourceOverlay } from "../otlp/resource.ts";
import { POD_ATTRIBUTES } from "./pod-attributes.ts";
import type { Source } from "./source.ts";

/** The resource attribute that names a service (OpenTelemetry semantic conventions). */
const SERVICE_NAME = "service.name";
/** Which of Kata's components a resource is of. Runtimes' listeners say so themselves. */
const COMPONENT = "kata.component";
const AGENT = "agent";
/** The attributes by which the host identifies a guest begin with this. */
const IDENTITY_PREFIX = "kata.";

/** What the host has to say about every resource. */
export interface HostResource {
  /** `service.name` of guests, and of other sources that have none. */
  readonly traceName: string;
  /** From `OTEL_RESOURCE_ATTRIBUTES`. Its `service.name`, if any, does not count: that is the trace name. */
  readonly resourceAttributes: ReadonlyMap<string, string>;
}

/**
 * How the host's attributes are laid over the resources of a source.
 *
 * A guest's word never passes for the host's: all of the host's attributes are forced, and a guest says nothing under
 * `kata.`, nor which pod it is. The host's own programs (runtimes, containerd) keep what they say, their `service.name`
 * above all, and get the host's attributes where they have none; only the listener says who they are.
 */
export function overlayFor(source: Source, host: HostResource): ResourceOverlay {
  const own = new Map<string, string | number>([[SERVICE_NAME, host.traceName]]);
  for (const [key, value] of host.resourceAttributes) if (key !== SERVICE_NAME) own.set(key, value);
  for (const key of source.attributes.keys()) own.delete(key);
  return source.kind === "guest"
    ? new ResourceOverlay({
      forced: new Map([...own, ...source.attributes, [COMPONENT, AGENT]]),
      reservedPrefix: IDENTITY_PREFIX,
      reservedKeys: POD_ATTRIBUTES,
    })
    : new ResourceOverlay({ completing: own, forced: source.attributes });
}
