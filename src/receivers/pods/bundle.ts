import { CONTAINER_ID, NAMESPACE, POD_NAME, POD_UID, RUNTIME_NAME } from "../../pipeline/pod-attributes.ts";

/** A container's annotations, as its OCI bundle's `config.json` has them. */
type Annotations = Readonly<Record<string, unknown>>;

/** Which container runtime made a bundle; OpenTelemetry's `container.runtime.name`. */
export type ContainerRuntime = "containerd" | "cri-o";

/** What containerd's CRI plugin writes: `pkg/cri/annotations` in containerd. */
const CRI = "io.kubernetes.cri.";
/** What CRI-O writes: `annotations.go` in cri-o and containers/podman. */
const CRI_O = "io.kubernetes.cri-o.";
/** The pod's UID among CRI-O's labels, which are JSON. */
const UID_LABEL = "io.kubernetes.pod.uid";

/**
 * Names of pods are DNS subdomains, those of namespaces DNS labels
 * (https://kubernetes.io/docs/concepts/overview/working-with-objects/names/), and UIDs are mostly UUIDs, but those of
 * static pods are hexadecimal hashes.
 */
const NAME = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/;
const UID = /^[A-Za-z0-9-]{1,128}$/;

/**
 * What a sandbox's OCI bundle says of its pod. Undefined if it is not JSON, or is another container's bundle. What is
 * missing or not valid in it is left out.
 *
 * @param id the sandbox's, by which the bundle was found.
 */
export function podOfBundle(config: string, id: string, runtime: ContainerRuntime): Map<string, string> | undefined {
  const annotations = readAnnotations(config);
  if (annotations === undefined) return undefined;
  const prefix = runtime === "containerd" ? CRI : CRI_O;
  const [type, sandbox] = runtime === "containerd" ? ["container-type", "sandbox-id"] : ["ContainerType", "SandboxID"];
  // Without Kubernetes (ctr, nerdctl) there is neither. Every container is a sandbox of its own then.
  if ((annotations[prefix + type] ?? "sandbox") !== "sandbox") return undefined;
  if ((annotations[prefix + sandbox] ?? id) !== id) return undefined;
  const pod = new Map([[CONTAINER_ID, id], [RUNTIME_NAME, runtime]]);
  const add = (key: string, value: unknown, form: RegExp): void => {
    if (typeof value === "string" && form.test(value)) pod.set(key, value);
  };
  if (runtime === "containerd") {
    add(POD_NAME, annotations[`${CRI}sandbox-name`], NAME);
    add(NAMESPACE, annotations[`${CRI}sandbox-namespace`], NAME);
    add(POD_UID, annotations[`${CRI}sandbox-uid`], UID);
  } else {
    add(POD_NAME, annotations[`${CRI_O}KubeName`], NAME);
    add(NAMESPACE, annotations[`${CRI_O}Namespace`], NAME);
    add(POD_UID, annotations[UID_LABEL] ?? parseObject(annotations[`${CRI_O}Labels`])?.[UID_LABEL], UID);
  }
  return pod;
}

function readAnnotations(config: string): Annotations | undefined {
  const bundle = parseObject(config);
  if (bundle === undefined) return undefined;
  const { annotations } = bundle;
  return typeof annotations === "object" && annotations !== null ? annotations as Annotations : {};
}

/** Undefined for anything but an object in JSON. */
function parseObject(text: unknown): Readonly<Record<string, unknown>> | undefined {
  if (typeof text !== "string") return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value as Readonly<Record<string, unknown>> : undefined;
  } catch {
    return undefined;
  }
}
